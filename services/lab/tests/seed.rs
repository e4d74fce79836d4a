//! The commands of the document that this project began with, each exactly as it is written there.
//!
//! `seed.txt` is that document. Its two `serve` lines and every command of scenarios 8, 11, 13, 14, 15 and 18 are read from it
//! and run by bash, pipes to jq included. Nothing but the client configuration leads `ghcr.io` to a registry of ours that has
//! the image. The ports and storage folders are those of the document, so only one such test can run on a machine at a time.

#![cfg(unix)]
#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use testkit::Registry;

const SEED: &str = include_str!("seed.txt");

/// The ports that the document's configurations listen on.
const PORTS: [u16; 2] = [5001, 5002];

/// What the document tells to run.
#[derive(Debug, Default)]
struct Document {
    /// The lines that start the registries, those before them included.
    setup: Vec<String>,
    /// The commands of each scenario; none for one that says TODO.
    scenarios: BTreeMap<u8, Vec<String>>,
}

impl Document {
    fn read(text: &str) -> Document {
        let mut document = Document::default();
        let mut scenario: Option<u8> = None;
        let mut command = String::new();
        for line in text.lines() {
            if let Some(number) = heading(line) {
                scenario = Some(number);
            }
            let begins = ["bin/", "echo ", "rm -rf "]
                .iter()
                .any(|start| line.starts_with(start));
            if command.is_empty() && !begins {
                continue;
            }
            command.push_str(line);
            if line.ends_with('\\') {
                command.push('\n');
                continue;
            }
            let whole = std::mem::take(&mut command);
            match scenario {
                None => document.setup.push(whole),
                Some(number) => document.scenarios.entry(number).or_default().push(whole),
            }
        }
        document
    }
}

/// The number of a line such as `8: 🌿 --> 🚲 --> 🐿`.
fn heading(line: &str) -> Option<u8> {
    let (number, rest) = line.split_once(": ")?;
    rest.contains("-->").then(|| number.parse().ok()).flatten()
}

/// Whether CI runs this, where nothing may be skipped.
fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|ci| ci == "true")
}

/// Why this cannot run here, if it cannot.
fn obstacle() -> Option<String> {
    for program in ["bash", "jq"] {
        let there = Command::new(program)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !there.is_ok_and(|status| status.success()) {
            return Some(format!("{program} is not installed"));
        }
    }
    PORTS
        .into_iter()
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_err())
        .map(|port| format!("port {port} is taken"))
}

/// A working folder as after `make build-all`: bin/ and config/, and a client configuration beside them.
struct Folder {
    folder: tempfile::TempDir,
    config: PathBuf,
}

impl Folder {
    fn new(source: &Registry) -> Folder {
        let folder = tempfile::tempdir().expect("a folder");
        let lab = env!("CARGO_BIN_EXE_lab");
        let made = Command::new(lab)
            .args(["links", "bin"])
            .current_dir(&folder)
            .status()
            .expect("lab runs");
        assert!(made.success(), "lab links failed");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        std::fs::create_dir_all(folder.path().join("config/registry")).expect("a folder");
        for name in ["current.yaml", "complete.yaml"] {
            let path = Path::new("config/registry").join(name);
            std::fs::copy(root.join(&path), folder.path().join(&path)).expect("a configuration");
        }
        let config = folder.path().join("client.json");
        let settings = json!({"registries": {"ghcr.io": {"hostname": source.host(), "tls": "disabled"}}});
        std::fs::write(&config, settings.to_string()).expect("a file");
        Folder { folder, config }
    }

    /// bash with one line of the document; a pipe fails with the first of its commands that does.
    fn bash(&self, line: &str) -> Command {
        let mut command = Command::new("bash");
        command
            .args(["-o", "pipefail", "-c", line])
            .current_dir(&self.folder)
            .env("REFERRERS_LAB_CONFIG", &self.config)
            .env_remove("GENERATION")
            .env_remove("REFERRERS_LAB_HAR")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, line: &str) -> Output {
        self.bash(line).output().expect("bash runs")
    }
}

/// A registry that the document's line started; it ends when this is dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn answers(port: u16) -> bool {
    use std::io::{Read, Write};
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.write_all(b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut start = [0; 12];
        stream.read_exact(&mut start)?;
        Ok(start.ends_with(b" 200"))
    };
    ask().unwrap_or(false)
}

/// Runs the setup: removes the old storage, starts both registries, and waits until they answer.
fn start_registries(folder: &Folder, setup: &[String]) -> Vec<Server> {
    let mut servers = Vec::new();
    for line in setup {
        if line.contains(" serve ") {
            // bash becomes the one command that it is given, so ending this child ends the registry.
            let child = folder
                .bash(line)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("bash runs");
            servers.push(Server(child));
        } else if line.starts_with("rm -rf /tmp/registry-") {
            assert!(folder.run(line).status.success(), "{line}");
        }
    }
    let begun = Instant::now();
    while !PORTS.into_iter().all(answers) {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "the registries do not answer"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    servers
}

/// Pushes the fixture to where `ghcr.io` is led.
fn provide_source(folder: &Folder) {
    let lab = env!("CARGO_BIN_EXE_lab");
    let line = format!(
        "'{lab}' fixture fixture && '{lab}' producer copy oci:fixture:latest ghcr.io/distroless/alpine-base:latest"
    );
    let pushed = folder.run(&line);
    assert!(
        pushed.status.success(),
        "{}",
        String::from_utf8_lossy(&pushed.stderr)
    );
}

/// How a command ended, with what it said.
#[derive(Debug)]
struct Ran {
    /// Shown where an assertion fails.
    #[allow(dead_code, reason = "read by Debug")]
    line: String,
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn play(folder: &Folder, commands: &[String]) -> Vec<Ran> {
    let run = |line: &String| {
        let output = folder.run(line);
        Ran {
            line: line.clone(),
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    };
    commands.iter().map(run).collect()
}

/// Everything succeeds, and the last command lists one manifest of this type.
fn ends_with_a_list_of(ran: &[Ran], media_type: &str) {
    for one in ran {
        assert_eq!(one.code, Some(0), "{one:#?}");
    }
    let last = ran.last().expect("a command");
    let list: Value = serde_json::from_str(&last.stdout).unwrap_or_else(|error| panic!("{error}: {last:#?}"));
    let manifests = list["manifests"]
        .as_array()
        .unwrap_or_else(|| panic!("no list: {last:#?}"));
    assert_eq!(manifests.len(), 1, "{last:#?}");
    assert_eq!(manifests[0]["mediaType"], media_type, "{last:#?}");
    assert_eq!(
        manifests[0]["annotations"]["org.opencontainers.artifact.type"], "misc",
        "{last:#?}"
    );
}

/// Everything but the last command succeeds, and the last is refused.
fn ends_with_a_refusal(ran: &[Ran]) {
    let (last, before) = ran.split_last().expect("a command");
    for one in before {
        assert_eq!(one.code, Some(0), "{one:#?}");
    }
    assert_eq!(last.code, Some(5), "{last:#?}");
    assert!(last.stderr.contains("MANIFEST_INVALID"), "{last:#?}");
}

#[test]
fn the_document_is_read_as_it_is_written() {
    let document = Document::read(SEED);
    assert_eq!(
        document.setup,
        [
            "rm -rf /tmp/registry-current-root-dir",
            "bin/current-registry serve config/registry/current.yaml",
            "rm -rf /tmp/registry-complete-root-dir",
            "bin/complete-registry serve config/registry/complete.yaml",
        ]
    );
    let counts: Vec<(u8, usize)> = document
        .scenarios
        .iter()
        .map(|(number, lines)| (*number, lines.len()))
        .collect();
    assert_eq!(counts, [(8, 4), (11, 4), (13, 3), (14, 3), (15, 3), (18, 4)]);
    let last = document.scenarios[&18].last().expect("a command");
    assert!(
        last.ends_with("--format '{{ jsonPretty .Manifest}}' | jq"),
        "{last}"
    );
}

#[test]
fn every_command_of_the_document_does_what_it_says() {
    // Only one test a machine can have the document's ports and folders.
    let lock = File::create(std::env::temp_dir().join("referrers-lab-seed.lock")).expect("a lock file");
    lock.lock().expect("the lock");
    if let Some(obstacle) = obstacle() {
        assert!(!in_ci(), "in CI this must run, but {obstacle}");
        println!("skipped: {obstacle}");
        return;
    }
    let document = Document::read(SEED);
    let source = Registry::complete();
    let folder = Folder::new(&source);
    provide_source(&folder);
    let _servers = start_registries(&folder, &document.setup);

    let image = "application/vnd.oci.image.manifest.v1+json";
    let artifact = "application/vnd.oci.artifact.manifest.v1+json";
    for (number, commands) in &document.scenarios {
        let ran = play(&folder, commands);
        match number {
            8 | 11 => ends_with_a_list_of(&ran, image),
            13..=15 => ends_with_a_refusal(&ran),
            18 => ends_with_a_list_of(&ran, artifact),
            other => panic!("scenario {other} has commands now: say what must come of them"),
        }
    }
}

#[test]
fn links_lead_to_the_program_and_generation_that_they_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = Command::new(env!("CARGO_BIN_EXE_lab"))
        .args(["links", "bin"])
        .current_dir(&folder)
        .output()
        .expect("lab runs");
    let printed: Vec<String> = BufReader::new(made.stdout.as_slice())
        .lines()
        .collect::<Result<_, _>>()
        .expect("UTF-8");
    assert_eq!(printed.len(), 8, "{printed:?}");
    for name in ["current-registry", "intermediate-producer", "complete-consumer"] {
        let help = Command::new(folder.path().join("bin").join(name))
            .arg("--help")
            .output()
            .expect("a program");
        let text = String::from_utf8_lossy(&help.stdout).into_owned();
        let tool = name.rsplit('-').next().expect("a name");
        assert!(help.status.success() && text.contains(tool), "{name}: {text}");
    }
}
