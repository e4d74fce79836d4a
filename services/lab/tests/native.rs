//! `lab run`, from the outside: all 18 scenarios, a scenario that is made to fail, reports, and what is left behind.

#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn lab(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
    command
        .args(arguments)
        .current_dir(folder)
        .env("REFERRERS_LAB_CONFIG", folder.join("client.json"))
        .env_remove("REFERRERS_LAB_REGISTRIES")
        .env_remove("SOURCE_IMAGE")
        .stdin(Stdio::null());
    command
}

fn run(folder: &Path, arguments: &[&str]) -> (Output, String, String) {
    let output = lab(folder, arguments).output().expect("lab runs");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, stdout, stderr)
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// A copy of the scenario files in `folder/scenarios`, the one with this number changed.
fn changed_scenarios(folder: &Path, number: u8, from: &str, to: &str) -> PathBuf {
    let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    let copy = folder.join("scenarios");
    std::fs::create_dir(&copy).expect("a folder");
    for entry in std::fs::read_dir(original).expect("the scenarios") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let mut text = std::fs::read_to_string(&path).expect("a file");
        if name.starts_with(&format!("{number:02}-")) {
            assert!(text.contains(from), "nothing is changed: {from}");
            text = text.replacen(from, to, 1);
        }
        std::fs::write(copy.join(name), text).expect("a file");
    }
    copy
}

#[test]
fn all_18_scenarios_hold_on_fresh_registries() {
    let folder = folder();
    let (output, stdout, stderr) = run(
        folder.path(),
        &["--report", "json", "--report", "junit", "--report", "html"],
    );
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.contains("18 of 18 scenarios hold"), "{stdout}");
    assert!(!stdout.contains('\x1b'), "escape codes in a pipe");
    let json = std::fs::read_to_string(folder.path().join("referrers-lab.json")).expect("a report");
    let report: Value = serde_json::from_str(&json).expect("JSON");
    let scenarios = report["scenarios"].as_array().expect("scenarios");
    assert_eq!(scenarios.len(), 18);
    for scenario in scenarios {
        assert_eq!(scenario["state"]["verdict"], "holds", "{}", scenario["number"]);
        let count = |key: &str| scenario[key].as_array().map_or(0, Vec::len);
        assert!(
            count("findings") > 8 && count("exchanges") > 5 && count("reads") > 1,
            "{}",
            scenario["number"]
        );
    }
    let xml = std::fs::read_to_string(folder.path().join("referrers-lab.xml")).expect("a report");
    assert_eq!(xml.matches("<testsuite ").count(), 18);
    assert!(xml.contains("failures=\"0\" errors=\"0\"") && !xml.contains("<failure"));
    let html = std::fs::read_to_string(folder.path().join("referrers-lab.html")).expect("a report");
    assert_eq!(html.matches("<section class=\"scenario\"").count(), 18);
    assert!(
        !html.contains("src=") && !html.contains("<script") && !html.contains("<link"),
        "the page stands alone"
    );
}

#[test]
fn a_scenario_that_is_made_to_fail_fails_with_expected_and_seen() {
    let folder = folder();
    changed_scenarios(
        folder.path(),
        8,
        "hello world\\n\" } }\n\n",
        "hello moon\\n\" } }\n\n",
    );
    let (output, stdout, _) = run(folder.path(), &["run", "8", "1", "--report", "junit"]);
    assert_eq!(output.status.code(), Some(1), "{stdout}");
    assert!(stdout.contains("1 of 2 scenarios hold"), "{stdout}");
    assert!(
        stdout.contains(r#"expected  "hello moon\n""#) && stdout.contains(r#"seen      "hello world\n""#),
        "{stdout}"
    );
    let xml = std::fs::read_to_string(folder.path().join("referrers-lab.xml")).expect("a report");
    assert_eq!(xml.matches("<failure ").count(), 1, "{xml}");
}

#[test]
fn a_failure_on_the_wire_names_the_exchange() {
    let folder = folder();
    changed_scenarios(
        folder.path(),
        7,
        "times: once, answered: 404",
        "times: once, answered: 403",
    );
    let (output, stdout, _) = run(folder.path(), &["run", "7"]);
    assert_eq!(output.status.code(), Some(1), "{stdout}");
    let told = "read from attach, exchange ";
    assert!(
        stdout.contains("expected  403") && stdout.contains("seen      404") && stdout.contains(told),
        "{stdout}"
    );
    assert!(
        stdout.contains("GET http://") && stdout.contains("/_oci/artifacts/referrers"),
        "{stdout}"
    );
}

#[test]
fn a_malformed_scenario_is_refused_before_anything_is_played() {
    let folder = folder();
    changed_scenarios(folder.path(), 8, "supported:", "suported:");
    let (output, stdout, stderr) = run(folder.path(), &["run", "1", "8"]);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(
        stderr.contains("08-digest-tag.yaml") && stderr.contains("suported"),
        "{stderr}"
    );
    assert!(stdout.is_empty(), "{stdout}");
}

#[test]
fn a_missing_scenario_file_is_refused() {
    let folder = folder();
    let scenarios = changed_scenarios(folder.path(), 1, "", "");
    std::fs::remove_file(scenarios.join("08-digest-tag.yaml")).expect("it was there");
    let (output, _, stderr) = run(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("no scenario 8"), "{stderr}");
}

#[test]
fn a_number_outside_the_matrix_is_refused() {
    let folder = folder();
    let (output, _, stderr) = run(folder.path(), &["run", "19"]);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("19"), "{stderr}");
}

#[test]
fn registries_that_do_not_run_are_an_error_and_no_pass() {
    let folder = folder();
    // Nobody listens on port 1 of this machine.
    let nobody = "current=127.0.0.1:1,complete=127.0.0.1:1";
    let (output, stdout, _) = run(folder.path(), &["run", "1", "--registries", nobody]);
    assert_eq!(output.status.code(), Some(1), "{stdout}");
    assert!(
        stdout.contains("✗ error") && stdout.contains("0 of 1 scenario holds"),
        "{stdout}"
    );
    assert!(stdout.contains("cannot clear the stage"), "{stdout}");
}

#[test]
fn a_step_that_hangs_is_named() {
    let folder = folder();
    // A registry that accepts connections, and never says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address").to_string();
    let slow = format!("intermediate-consumer pull {address}/app:latest\n    timeout-seconds: 1");
    changed_scenarios(folder.path(), 2, "intermediate-consumer refs ${image}", &slow);
    let (output, stdout, _) = run(folder.path(), &["run", "2"]);
    assert_eq!(output.status.code(), Some(1), "{stdout}");
    assert!(stdout.contains("list: intermediate-consumer pull"), "{stdout}");
    assert!(
        stdout.contains("seen      hung, and was ended after 1 s"),
        "{stdout}"
    );
}

#[test]
fn verbose_shows_each_exchange() {
    let folder = folder();
    let (output, stdout, _) = run(folder.path(), &["run", "8", "-v"]);
    assert!(output.status.success(), "{stdout}");
    assert!(
        stdout.contains("producer attach") && stdout.contains("PUT    http://"),
        "{stdout}"
    );
}

#[test]
fn scenarios_are_listed_and_told_in_words() {
    let folder = folder();
    let (_, list, _) = run(folder.path(), &["scenarios"]);
    assert_eq!(list.lines().count(), 18, "{list}");
    let (output, told, _) = run(folder.path(), &["show", "17"]);
    assert!(output.status.success());
    assert!(
        told.contains("🌲 → 🏍 → 🐿") && told.contains("does not support this") && told.contains("exit code 4"),
        "{told}"
    );
}

/// Reads the addresses that `--keep` tells.
fn kept(reader: &mut impl BufRead) -> Vec<String> {
    let mut addresses = Vec::new();
    let mut staying = false;
    for line in reader.lines().map_while(Result::ok) {
        if line.contains("stay up until Ctrl-C") {
            staying = true;
        } else if line.contains("Storage, results") {
            break;
        } else if staying && let Some((_, rest)) = line.split_once("http://") {
            addresses.extend(rest.split_whitespace().next().map(str::to_owned));
        }
    }
    addresses
}

#[cfg(unix)]
#[test]
fn what_is_kept_ends_with_ctrl_c_and_leaves_no_process() {
    let folder = folder();
    let mut child = lab(folder.path(), &["run", "1", "4", "--keep"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("lab runs");
    let mut reader = BufReader::new(child.stdout.take().expect("a pipe"));
    let addresses = kept(&mut reader);
    assert_eq!(addresses.len(), 2, "{addresses:?}");
    for address in &addresses {
        TcpStream::connect(address).expect("a registry that stays up");
    }
    let sent = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .expect("kill runs");
    assert!(sent.success());
    assert_eq!(
        child.wait().expect("it ends").code(),
        Some(0),
        "the verdict is the exit code"
    );
    let begun = Instant::now();
    for address in &addresses {
        while TcpStream::connect(address).is_ok() {
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "{address} still listens"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_in_the_middle_of_a_step_ends_the_step_too() {
    use std::io::Read;
    let folder = folder();
    // A registry that accepts connections, and never says a word: the step hangs once it has connected.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address").to_string();
    let slow = format!("intermediate-consumer pull {address}/app:latest");
    changed_scenarios(folder.path(), 2, "intermediate-consumer refs ${image}", &slow);
    let mut child = lab(folder.path(), &["run", "2"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("lab runs");
    let (mut connection, _) = silent.accept().expect("the step connects");
    let sent = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .expect("kill runs");
    assert!(sent.success());
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    connection
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a timeout");
    // The connection is closed when the process that holds it is gone; a reset tells the same.
    let mut asked = Vec::new();
    match connection.read_to_end(&mut asked) {
        Ok(_) => {}
        Err(error) => assert_eq!(
            error.kind(),
            std::io::ErrorKind::ConnectionReset,
            "the step still runs"
        ),
    }
}

#[test]
fn a_source_in_a_registry_is_copied_and_its_exchanges_do_not_count() {
    let folder = folder();
    let source = testkit::Registry::complete();
    let config =
        serde_json::json!({"registries": {"ghcr.io": {"hostname": source.host(), "tls": "disabled"}}});
    std::fs::write(folder.path().join("client.json"), config.to_string()).expect("a file");
    run(folder.path(), &["fixture", "fixture"]);
    let image = "ghcr.io/distroless/alpine-base:latest";
    let (pushed, _, stderr) = run(folder.path(), &["producer", "copy", "oci:fixture:latest", image]);
    assert!(pushed.status.success(), "{stderr}");
    let (output, stdout, _) = run(folder.path(), &["run", "1", "8", "18", "--source", image]);
    assert!(output.status.success(), "{stdout}");
}

#[test]
fn the_registries_listen_on_the_ports_that_are_given() {
    let folder = folder();
    let free = || {
        std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .expect("a port")
            .port()
    };
    let (current, complete) = (free(), free());
    let ports = format!("{current},{complete}");
    let arguments = ["run", "1", "4", "--ports", &ports, "--report", "json"];
    let (output, stdout, stderr) = run(folder.path(), &arguments);
    assert!(output.status.success(), "{stdout}{stderr}");
    let text = std::fs::read_to_string(folder.path().join("referrers-lab.json")).expect("a report");
    let report: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(report["registries"][0]["address"], format!("127.0.0.1:{current}"));
    assert_eq!(
        report["registries"][1]["address"],
        format!("127.0.0.1:{complete}")
    );
}

#[test]
fn a_port_that_is_taken_is_an_error_and_nothing_is_played() {
    let folder = folder();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let (output, stdout, stderr) = run(folder.path(), &["run", "1", "--ports", &format!("{port},0")]);
    assert_eq!(output.status.code(), Some(1), "{stdout}");
    assert!(
        stderr.contains("the current registry on port") && stderr.contains(&port),
        "{stderr}"
    );
}
