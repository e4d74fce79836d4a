//! Every command of README.md: run here as it is written, or found in the script that CI runs.
//!
//! A `cargo` and the tools of the lab's own stand first on the path, so that bash runs each line unchanged: `cargo run
//! --release -- …` becomes the executable under test. `localhost:5001`, `localhost:5002` and `ghcr.io` are led to registries
//! of the test by client configuration alone. Lines for Docker are read from README.md, and run, by `.ci/compose-tests`.

#![cfg(unix)]
#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

use generations::MATRIX;
use serde_json::json;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use testkit::Registry;

/// Who sees to it that a line of README.md works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// This test runs it to its end.
    Run,
    /// This test runs it until it says that it listens, and then ends it as Ctrl-C does.
    Serve,
    /// `.ci/run` has the command as a stage of its own.
    CiStage,
    /// `.ci/compose-tests` reads it from README.md and runs it.
    Compose,
    /// The package has a test of its own that runs the same program.
    BenchTests,
}

/// How a line is proven, by what it begins with; the first row that fits counts.
const PROOFS: &[(&str, Proof)] = &[
    ("cargo run --release -p bench", Proof::BenchTests),
    ("cargo test --release --workspace", Proof::CiStage),
    ("cargo run --release -- run --keep", Proof::Serve),
    ("cargo run --release -- ", Proof::Run),
    ("cargo run --release", Proof::CiStage),
    ("SOURCE_IMAGE=", Proof::Run),
    ("docker ", Proof::Compose),
    ("registry serve", Proof::Serve),
    ("registry ", Proof::Run),
    ("lab ", Proof::Run),
    ("producer ", Proof::Run),
    ("consumer ", Proof::Run),
    ("echo ", Proof::Run),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).expect("README.md")
}

/// The lines of the blocks marked `sh`, in their order, without comments; a line that ends in a backslash goes on.
fn commands(text: &str) -> Vec<String> {
    let mut inside = false;
    let mut begun = String::new();
    let mut commands = Vec::new();
    for line in text.lines() {
        if let Some(language) = line.strip_prefix("```") {
            inside = language == "sh";
            continue;
        }
        let code = line.split("  #").next().unwrap_or_default().trim_end();
        if !inside || code.is_empty() || code.starts_with('#') {
            continue;
        }
        begun.push_str(code);
        if code.ends_with('\\') {
            begun.push('\n');
            continue;
        }
        commands.push(std::mem::take(&mut begun));
    }
    commands
}

fn proof(command: &str) -> Proof {
    PROOFS
        .iter()
        .find(|(start, _)| command.starts_with(start))
        .map(|(_, proof)| *proof)
        .unwrap_or_else(|| panic!("nothing proves this line of README.md: {command}"))
}

/// A folder as a newcomer has it after building: the checkout's configuration and scenarios, and the programs on the path.
struct Newcomer {
    folder: tempfile::TempDir,
    current: Registry,
    _complete: Registry,
}

impl Newcomer {
    fn new() -> Newcomer {
        let folder = tempfile::tempdir().expect("a folder");
        let (current, complete) = (Registry::current(), Registry::complete());
        let at = folder.path();
        for name in ["config", "scenarios"] {
            std::os::unix::fs::symlink(root().join(name).canonicalize().expect(name), at.join(name))
                .expect("a link");
        }
        let bin = at.join("path");
        fs::create_dir(&bin).expect("a folder");
        let lab = env!("CARGO_BIN_EXE_lab");
        for name in ["lab", "registry", "producer", "consumer"] {
            std::os::unix::fs::symlink(lab, bin.join(name)).expect("a link");
        }
        let cargo = format!(
            "#!/bin/sh\n[ \"$1 $2\" = 'run --release' ] || {{ echo \"no such cargo command here: $*\" >&2; exit 99; }}\n\
             shift 2\n[ \"$1\" != -- ] || shift\nexec '{lab}' \"$@\"\n"
        );
        fs::write(bin.join("cargo"), cargo).expect("a script");
        fs::set_permissions(bin.join("cargo"), fs::Permissions::from_mode(0o755)).expect("executable");
        let plain = |registry: &Registry| json!({"hostname": registry.host(), "tls": "disabled"});
        let settings = json!({"registries": {
            "localhost:5001": plain(&current),
            "localhost:5002": plain(&complete),
            "ghcr.io": plain(&current),
        }});
        fs::write(at.join("client.json"), settings.to_string()).expect("a file");
        let newcomer = Newcomer {
            folder,
            current,
            _complete: complete,
        };
        newcomer.ready();
        newcomer
    }

    /// The image that README.md calls by its place in the tools' images, and the one that the lab's document copies.
    fn ready(&self) {
        for line in [
            "lab fixture fixture",
            "producer copy oci:fixture:latest ghcr.io/distroless/alpine-base:latest",
        ] {
            let output = self.run(line);
            assert!(output.status.success(), "{line}: {output:?}");
        }
    }

    fn bash(&self, line: &str) -> Command {
        let at = self.folder.path();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("bash");
        command
            .args(["-o", "pipefail", "-c", line])
            .current_dir(at)
            .env("PATH", format!("{}:{path}", at.join("path").display()))
            .env("REFERRERS_LAB_CONFIG", at.join("client.json"))
            .env("HOME", at)
            .env("XDG_DATA_HOME", at.join("data"))
            .env("DOCKER_CONFIG", at.join("docker"))
            .env("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", at.join("storage"))
            .env_remove("GENERATION")
            .env_remove("SOURCE_IMAGE")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, line: &str) -> Output {
        self.bash(line).output().expect("bash runs")
    }

    /// Runs a line until it has said that it listens, or has ended; its ports are free ones.
    fn serve(&self, line: &str) {
        let line = line.replace("5001,5002", "0,0");
        let mut child = self
            .bash(&format!("exec 2>&1; {line}"))
            .env("REGISTRY_HTTP_ADDR", "127.0.0.1:0")
            .stdout(Stdio::piped())
            .spawn()
            .expect("bash runs");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut said = String::new();
        for text in lines.map_while(Result::ok) {
            said.push_str(&text);
            said.push('\n');
            if text.contains("listens on") || text.contains("Ctrl-C") {
                break;
            }
        }
        // Bash replaces itself by the last command of the line, so this is the program's own process.
        let ended = Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status()
            .expect("kill runs");
        let status = child.wait().expect("it ends");
        assert!(ended.success(), "{line} had ended by itself:\n{said}");
        assert!(matches!(status.code(), Some(0 | 130)), "{line}: {status}\n{said}");
    }
}

#[test]
fn every_command_of_the_readme_works_as_typed() {
    let newcomer = Newcomer::new();
    let ci = fs::read_to_string(root().join(".ci/run")).expect(".ci/run");
    let compose = fs::read_to_string(root().join(".ci/compose-tests")).expect(".ci/compose-tests");
    let commands = commands(&readme());
    assert!(commands.len() >= 20, "only {} commands found", commands.len());
    for command in commands {
        println!("{command}");
        match proof(&command) {
            Proof::Run => {
                let output = newcomer.run(&command);
                assert!(output.status.success(), "{command}: {output:#?}");
            }
            Proof::Serve => newcomer.serve(&command),
            Proof::CiStage => {
                let stage = ci
                    .lines()
                    .any(|line| line.starts_with("stage ") && line.ends_with(&command));
                assert!(stage, ".ci/run has no stage {command}");
            }
            Proof::Compose => assert!(compose.contains("README.md"), "{command}"),
            Proof::BenchTests => assert!(root().join("services/bench/tests/smoke.rs").exists()),
        }
    }
    assert!(
        newcomer.current.get("/v2/").status == 200,
        "the registry of the test is still there"
    );
}

#[test]
fn the_matrix_of_the_readme_is_the_one_that_a_run_prints() {
    let text = readme();
    for row in MATRIX {
        let icons = format!(
            "{} → {} → {}",
            row.producer.icon(),
            row.registry.icon(),
            row.consumer.icon()
        );
        let line = text
            .lines()
            .find(|line| line.trim_start().starts_with(&format!("{}  {icons}", row.number)))
            .unwrap_or_else(|| panic!("scenario {} is not in the matrix of README.md", row.number));
        assert!(line.ends_with(row.description), "{line}");
        assert!(line.contains("✓ holds"), "{line}");
        let supported = if row.supported { "yes" } else { "no" };
        assert!(line.split_whitespace().any(|word| word == supported), "{line}");
    }
}

#[test]
fn the_page_on_the_scenarios_says_what_their_files_say() {
    let page = fs::read_to_string(root().join("scenarios/SCENARIOS.md")).expect("the page");
    for row in MATRIX {
        let path = scenario::Scenario::find(&root().join("scenarios"), row.number).expect("a file");
        let scenario = scenario::Scenario::load(&path).expect("a scenario");
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let (_, section) = page
            .split_once(&format!("## {}: ", row.number))
            .expect("a section");
        let section = section.split("\n## ").next().unwrap_or_default();
        assert!(
            section.contains(scenario.story.trim()),
            "the story of scenario {}",
            row.number
        );
        assert!(
            section.contains(&format!("({name})")),
            "the file of scenario {}",
            row.number
        );
        for expectation in &scenario.expect {
            let mut letters = expectation.that.chars();
            let first: String = letters.next().into_iter().flat_map(char::to_lowercase).collect();
            let sentence = format!("{first}{}", letters.as_str());
            assert!(section.contains(&sentence), "scenario {}: {sentence}", row.number);
        }
    }
}
