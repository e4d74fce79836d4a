//! The commands of the executable, as an operator types them.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on ends"
)]

use oci::Digest;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};
use testkit::{
    Certificate,
    http::{Connection, Request, request},
};

/// The executable, without the variables that this test itself may have been given.
fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_registry"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("REGISTRY_") {
            command.env_remove(name);
        }
    }
    command
}

fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().expect("the executable")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A folder with a configuration in it: a free port, and storage beside it.
fn folder(more: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("registry.yaml");
    let root = folder.path().join("storage");
    let text = format!(
        "version: 0.1\nstorage:\n  filesystem: {{rootdirectory: {}, durability: none}}\n  maintenance: {{gc: {{grace: 0s}}}}\n\
         extensions: {{oci: {{artifacts: [referrers], ext: [discover]}}}}\n{more}",
        root.display()
    );
    std::fs::write(&file, text).unwrap();
    (folder, file)
}

/// A registry that was started by command; it is killed if the test ends before it does.
struct Served {
    child: Child,
    address: SocketAddr,
    line: String,
}

impl Served {
    fn start(file: &Path, variables: &[(&str, &str)]) -> Served {
        let mut child = program()
            .arg("serve")
            .arg(file)
            .env("REGISTRY_HTTP_ADDR", "127.0.0.1:0")
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the executable");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line
            .split("://")
            .nth(1)
            .and_then(|rest| rest.split(';').next()?.parse().ok());
        let Some(address) = address else {
            let _ = child.kill();
            let mut errors = String::new();
            child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
            panic!("no address in {line:?}: {errors}");
        };
        Served { child, address, line }
    }

    /// Asks it to stop, as an orchestrator does.
    fn terminate(&self) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    }

    /// Its exit code, and what it logged.
    fn wait(mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut log)
            .unwrap();
        (self.child.wait().unwrap().code(), log)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_wrong_command_line_is_exit_code_2_and_help_shows_examples() {
    for arguments in [&["nonsense"][..], &[], &["check"], &["gc", "--nonsense"]] {
        assert_eq!(run(arguments).status.code(), Some(2), "{arguments:?}");
    }
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(text(&help.stdout).contains("registry serve config/registry/current.yaml"));
}

#[test]
fn check_tells_the_generation_and_refuses_what_is_wrong_with_exit_code_2() {
    let (_folder, file) = folder("");
    let checked = run(&["check", file.to_str().unwrap()]);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
    assert!(
        text(&checked.stdout).contains("complete registry"),
        "{}",
        text(&checked.stdout)
    );
    let (_folder, file) = folder("http: {adr: x}\n");
    let refused = run(&["check", file.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(2));
    let expected = format!("registry: {}: http.adr: unknown field `adr`", file.display());
    assert!(
        text(&refused.stderr).starts_with(&expected),
        "{}",
        text(&refused.stderr)
    );
    for command in ["serve", "gc", "verify", "healthcheck"] {
        assert_eq!(
            run(&[command, file.to_str().unwrap()]).status.code(),
            Some(2),
            "{command}"
        );
    }
}

#[test]
fn the_shipped_configurations_are_fine() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/registry");
    for (name, generation) in [("current.yaml", "current"), ("complete.yaml", "complete")] {
        let checked = run(&["check", shipped.join(name).to_str().unwrap()]);
        assert!(
            text(&checked.stdout).contains(generation),
            "{}{}",
            text(&checked.stdout),
            text(&checked.stderr)
        );
    }
}

#[test]
fn serve_says_where_it_listens_and_sigterm_lets_the_request_under_way_end() {
    let (_folder, file) = folder("");
    let served = Served::start(&file, &[]);
    assert!(
        served
            .line
            .contains("complete registry listens on http://127.0.0.1:"),
        "{}",
        served.line
    );
    let location = request(served.address, "POST", "/v2/a/blobs/uploads/", &[], b"")
        .expect(202)
        .location();
    // Half of a body is there when the signal comes, and the other half after it.
    let mut upload = Connection::open(served.address);
    upload.write(
        format!(
            "PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n01234"
        )
        .as_bytes(),
    );
    upload.read_interim().expect("a request under way");
    let mut idle = Connection::open(served.address);
    idle.exchange(&Request::new("GET", "/v2/")).expect(200);
    served.terminate();
    // The idle connection is closed: the registry has begun to stop.
    assert_eq!(idle.read_to_end().expect("the end"), b"");
    upload.write(b"56789");
    assert_eq!(
        upload.read(false).expect("an answer").expect(202).header("range"),
        Some("0-9")
    );
    let (code, log) = served.wait();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("SIGTERM"), "{log}");
    // The upload goes on after the restart.
    let served = Served::start(&file, &[]);
    assert_eq!(
        request(served.address, "GET", &location, &[], b"")
            .expect(204)
            .header("range"),
        Some("0-9")
    );
    let digest = Digest::sha256(b"0123456789");
    request(
        served.address,
        "PUT",
        &format!("{location}?digest={digest}"),
        &[],
        b"",
    )
    .expect(201);
}

#[test]
fn a_request_that_does_not_end_is_cut_after_the_drain_timeout() {
    let (_folder, file) = folder("");
    let served = Served::start(&file, &[("REGISTRY_HTTP_DRAINTIMEOUT", "1s")]);
    let location = request(served.address, "POST", "/v2/a/blobs/uploads/", &[], b"")
        .expect(202)
        .location();
    let mut upload = Connection::open(served.address);
    upload.write(
        format!(
            "PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n01234"
        )
        .as_bytes(),
    );
    upload.read_interim().expect("a request under way");
    let mut idle = Connection::open(served.address);
    idle.exchange(&Request::new("GET", "/v2/")).expect(200);
    served.terminate();
    assert_eq!(served.wait().0, Some(0));
}

#[test]
fn an_address_or_a_folder_that_is_taken_is_told_with_exit_code_1() {
    let (folder, file) = folder("");
    let served = Served::start(&file, &[]);
    let again = program()
        .arg("serve")
        .arg(&file)
        .env("REGISTRY_HTTP_ADDR", "127.0.0.1:0")
        .output()
        .unwrap();
    assert_eq!(again.status.code(), Some(1));
    let said = text(&again.stderr);
    assert!(
        said.contains("another registry is using the storage folder"),
        "{said}"
    );
    for command in ["gc", "verify"] {
        assert_eq!(
            run(&[command, file.to_str().unwrap()]).status.code(),
            Some(1),
            "{command}"
        );
    }
    let same_port = program()
        .arg("serve")
        .arg(&file)
        .env("REGISTRY_HTTP_ADDR", served.address.to_string())
        .env(
            "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY",
            folder.path().join("other"),
        )
        .output()
        .unwrap();
    assert_eq!(same_port.status.code(), Some(1));
    let said = text(&same_port.stderr);
    assert!(said.contains("is taken by another program"), "{said}");
}

#[test]
fn healthcheck_asks_the_running_registry_over_http_and_https() {
    let (folder, file) = folder("");
    let certificate = Certificate::in_folder(folder.path());
    let (cert, key) = (
        certificate.certificate.to_str().unwrap(),
        certificate.key.to_str().unwrap(),
    );
    for tls in [
        &[][..],
        &[
            ("REGISTRY_HTTP_TLS_CERTIFICATE", cert),
            ("REGISTRY_HTTP_TLS_KEY", key),
        ],
    ] {
        let served = Served::start(&file, tls);
        let check = |address: &str| {
            let mut command = program();
            command
                .args(["healthcheck"])
                .env("REGISTRY_HTTP_ADDR", address)
                .envs(tls.iter().copied());
            command.output().unwrap()
        };
        let address = served.address.to_string();
        let healthy = check(&address);
        assert_eq!(healthy.status.code(), Some(0), "{}", text(&healthy.stderr));
        // As in a container, where it listens on every interface.
        let any = format!("0.0.0.0:{}", served.address.port());
        assert_eq!(check(&any).status.code(), Some(0));
        drop(served);
        let gone = check(&address);
        assert_eq!(gone.status.code(), Some(1));
        assert!(
            text(&gone.stderr).contains("does not answer"),
            "{}",
            text(&gone.stderr)
        );
    }
}

#[test]
fn a_request_is_one_line_with_its_id_and_no_secret() {
    let (_folder, file) = folder("log: {formatter: json, fields: {service: lab}}\n");
    let served = Served::start(&file, &[]);
    let answer = Request::new("GET", "/v2/a/tags/list?token=hidden")
        .basic_auth("alice", "secret")
        .header("Cookie", "c=hidden")
        .send(served.address)
        .expect(404);
    served.terminate();
    let (_, log) = served.wait();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}")))
        .collect();
    let of_requests: Vec<_> = lines.iter().filter(|line| line["message"] == "request").collect();
    assert_eq!(of_requests.len(), 1, "{log}");
    let line = of_requests[0];
    assert_eq!(
        (&line["method"], &line["path"], &line["status"]),
        (&"GET".into(), &"/v2/a/tags/list".into(), &404.into())
    );
    assert_eq!(
        (&line["id"], &line["service"]),
        (&answer.header("x-request-id").unwrap().into(), &"lab".into())
    );
    assert_eq!(line["bytes"], answer.body.len());
    assert!(line["duration_ms"].is_number());
    for secret in ["hidden", "secret", "YWxpY2U"] {
        assert!(!log.contains(secret), "{log}");
    }
    for quiet in [
        ("REGISTRY_LOG_ACCESSLOG_DISABLED", "true"),
        ("REGISTRY_LOG_LEVEL", "warn"),
    ] {
        let served = Served::start(&file, &[quiet]);
        request(served.address, "GET", "/v2/", &[], b"").expect(200);
        served.terminate();
        let (_, log) = served.wait();
        assert!(!log.contains("/v2/"), "{quiet:?}: {log}");
    }
}

#[test]
fn no_password_is_in_the_log_whatever_is_logged() {
    let (folder, file) = folder("log: {level: trace}\n");
    let users = folder.path().join("htpasswd");
    // "right", hashed with the least cost.
    std::fs::write(
        &users,
        "alice:$2b$04$abcdefghijklmnopqrstuuFmEfrkTQnczNzw475xE2VhDrK1uwJiC\n",
    )
    .unwrap();
    let served = Served::start(
        &file,
        &[
            ("REGISTRY_AUTH", "htpasswd"),
            ("REGISTRY_AUTH_HTPASSWD_PATH", users.to_str().unwrap()),
        ],
    );
    let get = Request::new("GET", "/v2/");
    for (name, password, status) in [
        ("alice", "right", 200),
        ("alice", "xyzzy-wrong", 401),
        ("plugh-nobody", "xyzzy-wrong", 401),
    ] {
        let asked = get.clone().basic_auth(name, password);
        asked.send(served.address).expect(status);
    }
    served.terminate();
    let (_, log) = served.wait();
    assert!(log.contains("TRACE"), "{log}");
    // Beginnings of the headers' values, and the passwords; "right" may stand in other words.
    for secret in ["YWxpY2U6", "cGx1Z2gt", "xyzzy", "plugh", ":right", "$2b$04"] {
        assert!(!log.contains(secret), "{secret} is in: {log}");
    }
}

#[test]
fn gc_says_what_it_removes_and_a_dry_run_removes_nothing() {
    let (_folder, file) = folder("");
    let digest = Digest::sha256(b"garbage");
    let served = Served::start(&file, &[]);
    request(
        served.address,
        "POST",
        &format!("/v2/a/blobs/uploads/?digest={digest}"),
        &[],
        b"garbage",
    )
    .expect(201);
    // A repository is what holds manifests.
    let index =
        br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
    let kind = ("Content-Type", "application/vnd.oci.image.index.v1+json");
    request(served.address, "PUT", "/v2/a/manifests/kept", &[kind], index).expect(201);
    served.terminate();
    served.wait();
    for (arguments, verb) in [(&["gc", "--dry-run"][..], "would remove"), (&["gc"], "removed")] {
        let output = program().args(arguments).arg(&file).output().unwrap();
        let said = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert!(
            said.contains(&format!("{verb} content {digest}, 7 bytes")),
            "{said}"
        );
    }
    let again = text(&run(&["gc", file.to_str().unwrap()]).stdout);
    assert!(again.contains("0 contents with 0 bytes"), "{again}");
    let served = Served::start(&file, &[]);
    request(served.address, "GET", "/v2/a/manifests/kept", &[], b"").expect(200);
    request(served.address, "GET", &format!("/v2/a/blobs/{digest}"), &[], b"").expect(404);
}

#[test]
fn verify_finds_a_changed_byte_with_exit_code_1_and_repair_sets_it_aside() {
    let (folder, file) = folder("");
    // A content with a file of its own.
    let mut content = [b'c'; 20_000];
    let digest = Digest::sha256(&content);
    let served = Served::start(&file, &[]);
    request(
        served.address,
        "POST",
        &format!("/v2/a/blobs/uploads/?digest={digest}"),
        &[],
        &content,
    )
    .expect(201);
    served.terminate();
    served.wait();
    let verify = |arguments: &[&str]| {
        program()
            .arg("verify")
            .args(arguments)
            .arg(&file)
            .output()
            .unwrap()
    };
    assert_eq!(verify(&[]).status.code(), Some(0));
    let hex = digest.hex();
    let blob = folder
        .path()
        .join("storage/blobs/sha256")
        .join(&hex[..2])
        .join(&hex);
    std::fs::remove_file(&blob).unwrap();
    content[1] = b'0';
    std::fs::write(&blob, content).unwrap();
    for arguments in [&[][..], &["--repair"]] {
        let damaged = verify(arguments);
        assert_eq!(damaged.status.code(), Some(1));
        assert!(
            text(&damaged.stdout).contains(&digest.to_string()),
            "{}",
            text(&damaged.stdout)
        );
    }
    let served = Served::start(&file, &[]);
    request(served.address, "GET", &format!("/v2/a/blobs/{digest}"), &[], b"").expect(404);
}

#[test]
fn htpasswd_makes_a_line_that_lets_in() {
    let (folder, file) = folder("");
    let mut child = program()
        .args(["htpasswd", "alice"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the executable");
    child.stdin.take().unwrap().write_all(b"right\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let users = folder.path().join("htpasswd");
    std::fs::write(&users, &output.stdout).unwrap();
    let served = Served::start(
        &file,
        &[
            ("REGISTRY_AUTH", "htpasswd"),
            ("REGISTRY_AUTH_HTPASSWD_PATH", users.to_str().unwrap()),
        ],
    );
    let get = Request::new("GET", "/v2/");
    get.send(served.address).expect(401);
    get.clone()
        .basic_auth("alice", "right")
        .send(served.address)
        .expect(200);
}

#[test]
fn an_upgrade_in_place_is_told_in_the_log_with_counts() {
    let (_folder, file) = folder("");
    let current = [("REGISTRY_EXTENSIONS_OCI_ARTIFACTS", "[]")];
    let served = Served::start(&file, &current);
    let subject = Digest::sha256(b"subject");
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[],"refers":{{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":7,"digest":"{subject}"}}}}"#
    );
    let kind = ("Content-Type", "application/vnd.oci.image.index.v1+json");
    request(
        served.address,
        "PUT",
        "/v2/a/manifests/v1",
        &[kind],
        index.as_bytes(),
    )
    .expect(201);
    served.terminate();
    served.wait();
    let served = Served::start(&file, &[]);
    let list = request(
        served.address,
        "GET",
        &format!("/v2/a/referrers/{subject}"),
        &[],
        b"",
    )
    .expect(200);
    assert_eq!(list.json()["manifests"].as_array().map(Vec::len), Some(1));
    served.terminate();
    let (_, log) = served.wait();
    assert!(
        log.contains("1 of 1 manifests are now listed as referrers (1 by refers or subject"),
        "{log}"
    );
}

#[test]
fn serve_without_a_file_keeps_its_content_in_the_platform_s_data_directory() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    // Where the platform keeps data is told by one of these.
    let of_the_platform = |command: &mut Command| {
        command
            .env("HOME", home.path())
            .env("XDG_DATA_HOME", &data)
            .env("LOCALAPPDATA", &data);
    };
    let mut command = program();
    of_the_platform(&mut command);
    let mut child = command
        .arg("serve")
        .env("REGISTRY_HTTP_ADDR", "127.0.0.1:0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the executable");
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.contains("registry listens on http://127.0.0.1:"), "{line}");
    let below = |folder: &Path| folder.join("referrers-lab/registry");
    let places = [
        below(&data),
        below(&home.path().join("Library/Application Support")),
    ];
    assert!(places.iter().any(|place| place.is_dir()), "{places:?}");
}

#[test]
fn a_failure_of_ours_is_told_once_in_the_log_and_the_line_of_its_request_has_its_id() {
    let (folder, file) = folder("log: {formatter: json}\n");
    let content = [b'c'; 20_000];
    let digest = Digest::sha256(&content);
    let served = Served::start(&file, &[]);
    let push = format!("/v2/a/blobs/uploads/?digest={digest}");
    request(served.address, "POST", &push, &[], &content).expect(201);
    let hex = digest.hex();
    let blobs = folder.path().join("storage/blobs/sha256").join(&hex[..2]);
    // A folder where the content's file should be.
    std::fs::remove_file(blobs.join(&hex)).unwrap();
    std::fs::create_dir(blobs.join(&hex)).unwrap();
    let failed = request(served.address, "GET", &format!("/v2/a/blobs/{digest}"), &[], b"").expect(500);
    request(served.address, "GET", "/v2/a/manifests/nothing", &[], b"").expect(404);
    // Known by now, it fails each request and is told no more.
    request(served.address, "GET", &format!("/v2/a/blobs/{digest}"), &[], b"").expect(500);
    served.terminate();
    let (_, log) = served.wait();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}")))
        .collect();
    let of_level = |level: &str| lines.iter().filter(|line| line["level"] == level).count();
    assert_eq!((of_level("error"), of_level("warn")), (1, 0), "{log}");
    let told = lines.iter().find(|line| line["level"] == "error").unwrap();
    assert!(
        told["message"].as_str().unwrap().contains(&digest.to_string()),
        "{told}"
    );
    let id = failed.header("x-request-id").unwrap();
    let of_request = lines.iter().find(|line| line["id"] == id).expect("its line");
    assert_eq!(of_request["status"], 500);
}
