//! The way of Compose, without Compose: the actors play by themselves, the judge waits for both, and storage stays.

#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use testkit::Registry;

fn scenario(number: u8) -> PathBuf {
    scenario::Scenario::find(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios"),
        number,
    )
    .expect("a file")
}

/// Two registries, and what the containers have in common.
struct Lab {
    folder: tempfile::TempDir,
    registries: [Registry; 2],
}

impl Lab {
    fn new() -> Lab {
        let folder = tempfile::tempdir().expect("a folder");
        let registries = [Registry::current(), Registry::complete()];
        let config = serde_json::json!({"registries": {
            "localhost:5001": {"hostname": registries[0].host(), "tls": "disabled"},
            "localhost:5002": {"hostname": registries[1].host(), "tls": "disabled"},
        }});
        std::fs::write(folder.path().join("client.json"), config.to_string()).expect("a file");
        lab::fixture::write(&folder.path().join("fixture")).expect("the fixture");
        Lab { folder, registries }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
        command
            .args(arguments)
            .current_dir(&self.folder)
            .env("REFERRERS_LAB_CONFIG", self.folder.path().join("client.json"))
            .env("SOURCE_IMAGE", "oci:fixture:latest")
            .env_remove("GENERATION")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("lab runs")
    }

    fn start(&self, arguments: &[&str]) -> Actor {
        Actor(
            self.command(arguments)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("lab runs"),
        )
    }

    /// As a profile does it: producer, consumer and judge at once, each waiting for the one before.
    fn profile(&self, file: &Path) -> Output {
        // Every profile has results of its own, which are gone with its containers.
        let results = tempfile::tempdir_in(&self.folder).expect("a folder");
        let results = results.path().to_str().expect("UTF-8");
        let file = file.to_str().expect("UTF-8");
        let _producer = self.start(&["producer", "play", file, "--results", results, "--stay"]);
        let _consumer = self.start(&[
            "consumer",
            "play",
            file,
            "--results",
            results,
            "--wait-for",
            "producer",
            "--stay",
        ]);
        self.run(&["judge", file, "--results", results, "--wait"])
    }
}

/// An actor that stays until this is dropped.
struct Actor(Child);

impl Drop for Actor {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn every_scenario_holds_twice_against_the_same_storage() {
    const AT_ONCE: usize = 4;
    let lab = Lab::new();
    for round in ["fresh", "used"] {
        let numbers: Vec<u8> = (1..=18).collect();
        for some in numbers.chunks(AT_ONCE) {
            std::thread::scope(|scope| {
                for number in some {
                    let lab = &lab;
                    scope.spawn(move || {
                        let verdict = lab.profile(&scenario(*number));
                        assert!(
                            verdict.status.success(),
                            "{number} on {round} storage: {}",
                            text(&verdict)
                        );
                    });
                }
            });
        }
    }
}

#[test]
fn a_scenario_that_is_made_to_fail_ends_the_judge_with_1() {
    let lab = Lab::new();
    let original = std::fs::read_to_string(scenario(18)).expect("a file");
    let file = lab.folder.path().join("18-broken.yaml");
    std::fs::write(
        &file,
        original.replace("hello world\\n\" } }\n\n", "hello moon\\n\" } }\n\n"),
    )
    .expect("a file");
    let verdict = lab.profile(&file);
    assert_eq!(verdict.status.code(), Some(1), "{}", text(&verdict));
    assert!(text(&verdict).contains("hello moon"), "{}", text(&verdict));
}

#[test]
fn a_malformed_file_ends_the_judge_and_the_actors_with_2() {
    let lab = Lab::new();
    let file = lab.folder.path().join("18-broken.yaml");
    std::fs::write(&file, "scenario: 18\nwhat: ever\n").expect("a file");
    let file = file.to_str().expect("UTF-8");
    for command in [
        vec!["producer", "play", file],
        vec!["consumer", "play", file],
        vec!["judge", file],
    ] {
        let output = lab.run(&command);
        assert_eq!(output.status.code(), Some(2), "{command:?}: {}", text(&output));
        assert!(text(&output).contains("18-broken.yaml"), "{}", text(&output));
    }
}

#[test]
fn a_judge_without_outcomes_gives_no_verdict() {
    let lab = Lab::new();
    let file = scenario(1);
    let verdict = lab.run(&["judge", file.to_str().expect("UTF-8")]);
    assert_eq!(verdict.status.code(), Some(1), "{}", text(&verdict));
    assert!(text(&verdict).contains("outcome.json"), "{}", text(&verdict));
}

#[test]
fn an_actor_is_healthy_once_it_has_played() {
    let lab = Lab::new();
    let file = scenario(1);
    let file = file.to_str().expect("UTF-8");
    let healthcheck = |actor: &str| lab.run(&[actor, "healthcheck"]).status.code();
    assert_eq!(healthcheck("producer"), Some(1));
    assert!(lab.run(&["producer", "play", file]).status.success());
    assert_eq!(
        (healthcheck("producer"), healthcheck("consumer")),
        (Some(0), Some(1))
    );
}

#[test]
fn registries_that_run_already_are_played_against_and_stay() {
    let lab = Lab::new();
    let [current, complete] = &lab.registries;
    let registries = format!("current=http://{},complete={}", current.host(), complete.host());
    for round in ["fresh", "used"] {
        let run = lab.run(&["run", "8", "15", "18", "--registries", &registries]);
        assert!(run.status.success(), "{round}: {}", text(&run));
    }
    let tags = current
        .get("/v2/scenario-8/alpine-base/tags/list")
        .expect(200)
        .json();
    assert_eq!(
        tags["tags"].as_array().map(Vec::len),
        Some(2),
        "the digest tag is still there: {tags}"
    );
}

#[test]
fn a_registry_of_the_other_generation_is_no_pass() {
    let lab = Lab::new();
    let [current, complete] = &lab.registries;
    let swapped = format!("current={},complete={}", complete.host(), current.host());
    let run = lab.run(&["run", "2", "5", "8", "11", "14", "18", "--registries", &swapped]);
    assert_eq!(run.status.code(), Some(1), "{}", text(&run));
    assert!(text(&run).contains("0 of 6 scenarios hold"), "{}", text(&run));
}
