//! The scenario file: what is read, and what is refused with file, place and reason.

#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

use scenario::{Actor, FileError, Scenario};
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios")
}

/// A small scenario, sound as it stands.
const SOUND: &str = r#"
scenario: 8
title: A title
supported: true
producer: intermediate
registry: current
consumer: intermediate
story: A story.
image: localhost:5001/scenario-8/alpine-base:latest
steps:
  - step: copy
    run: intermediate-producer copy ${source} ${image}
    exits: 0
    remember: { subject: any manifests/latest }
  - step: list
    run: intermediate-consumer refs ${image}
    exits: 0
expect:
  - that: Something was seen
    printed:
      - { by: list, stdout: { contains: ["${subject}"] } }
    exchanges:
      - { by: anybody, request: any referrers-api, times: never }
    registry:
      - { read: "GET manifests/${digest-tag}", answered: 404 }
"#;

fn parse(text: &str) -> Result<Scenario, FileError> {
    Scenario::parse(Path::new("08-test.yaml"), text)
}

#[test]
fn every_file_of_the_lab_is_sound_and_named_by_its_number() {
    for number in 1..=18 {
        let path = Scenario::find(&folder(), number).expect("a file for every number");
        let scenario = Scenario::load(&path).expect("a sound file");
        assert_eq!(scenario.scenario, number, "{}", path.display());
        let image = scenario.reference().expect("a reference");
        let port = if scenario.registry.name() == "current" {
            5001
        } else {
            5002
        };
        assert_eq!(
            image.to_string(),
            format!("localhost:{port}/scenario-{number}/alpine-base:latest"),
            "each scenario has a repository of its own"
        );
    }
}

#[test]
fn titles_and_supported_flags_are_the_working_groups() {
    for combination in &generations::MATRIX {
        let path = Scenario::find(&folder(), combination.number).expect("a file");
        let scenario = Scenario::load(&path).expect("a sound file");
        assert_eq!(
            (scenario.title.as_str(), scenario.supported),
            (combination.description, combination.supported),
            "{}",
            path.display()
        );
    }
}

#[test]
fn steps_belong_to_the_actor_that_their_command_names() {
    let scenario = parse(SOUND).expect("sound");
    let of = |actor| {
        scenario
            .steps_of(actor)
            .map(|step| step.step.as_str())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (of(Actor::Producer), of(Actor::Consumer)),
        (vec!["copy"], vec!["list"])
    );
}

/// Changes one thing in the sound scenario and gives what is said about it.
fn refused(from: &str, to: &str) -> String {
    assert!(SOUND.contains(from), "the change changes nothing: {from}");
    parse(&SOUND.replacen(from, to, 1)).expect_err(to).to_string()
}

#[test]
fn an_unknown_key_is_refused_with_its_name_and_line() {
    for (from, to, key, line) in [
        ("title: A title", "titel: A title", "titel", "3"),
        ("    exits: 0\n", "    exit: 0\n", "exit", "13"),
        ("answered: 404", "answerd: 404", "answerd", "25"),
    ] {
        let error = refused(from, to);
        assert!(
            error.contains("08-test.yaml") && error.contains(key) && error.contains(line),
            "{error}"
        );
    }
}

#[test]
fn a_missing_key_is_refused_by_name() {
    let error = refused("    exits: 0\n    remember", "    remember");
    assert!(error.contains("exits"), "{error}");
}

#[test]
fn what_cannot_be_meant_is_refused_with_the_reason() {
    for (from, to, told) in [
        ("scenario: 8", "scenario: 19", "none of the 18"),
        (
            "scenario: 8",
            "scenario: 9",
            "expected producer intermediate, registry current, consumer complete",
        ),
        (
            "producer: intermediate",
            "producer: modern",
            "expected current, intermediate, complete",
        ),
        ("alpine-base:latest", "alpine-base:la:test", "in reference"),
        ("step: list", "step: copy", "is there twice"),
        ("step: list", "step: consumer", "no actor's"),
        ("step: list", "step: List it", "lower-case"),
        (
            "run: intermediate-producer",
            "run: complete-producer",
            "expected intermediate-producer or intermediate-consumer",
        ),
        (
            "refs ${image}",
            "refs ${picture}",
            "${picture} stands for nothing",
        ),
        (
            "refs ${image}",
            "refs ${subject}",
            "${subject} stands for nothing",
        ),
        ("refs ${image}", "refs 'open", "single quotes"),
        ("by: list", "by: get", "no step \"get\""),
        (
            "by: anybody",
            "by: everybody",
            "expected producer, consumer, anybody",
        ),
        ("times: never", "times: seldom", "is no count"),
        ("any referrers-api", "ask referrers-api", "names no request"),
        (
            "contains: [\"${subject}\"]",
            "contains: [\"${thing}\"]",
            "${thing} stands for nothing",
        ),
        (
            "stdout: { contains: [\"${subject}\"] }",
            "stdout: {}",
            "nothing is expected of it",
        ),
        (
            "stdout: { contains: [\"${subject}\"] }",
            "stdout: { json: { key: 1 } }",
            "no JSON pointer",
        ),
        (
            "stdout: { contains: [\"${subject}\"] }",
            "stdout: { media-type: text/plain }",
            "what a step prints has none",
        ),
        ("read: \"GET", "read: \"PUT", "expected GET or HEAD"),
        (
            "{ subject: any manifests/latest }",
            "{}",
            "${subject} stands for nothing",
        ),
    ] {
        let error = refused(from, to);
        assert!(error.contains(told), "{to:?}: {error}");
    }
}

#[test]
fn a_scenario_that_expects_nothing_is_refused() {
    let (head, _) = SOUND.split_once("expect:").expect("expectations");
    let error = parse(&format!("{head}expect: []\n"))
        .expect_err("nothing could fail")
        .to_string();
    assert!(error.contains("nothing could fail"), "{error}");
    let error = parse(&format!("{head}expect:\n  - that: All is well\n"))
        .expect_err("nowhere to look")
        .to_string();
    assert!(
        error.contains("All is well") && error.contains("where to look"),
        "{error}"
    );
}

#[test]
fn the_consumer_does_not_play_before_the_producer() {
    let scenario = SOUND
        .replace("intermediate-producer copy", "intermediate-consumer pull")
        .replace("intermediate-consumer refs", "intermediate-producer copy");
    let error = parse(&scenario).expect_err("the wrong order").to_string();
    assert!(error.contains("before the consumer's"), "{error}");
}

#[test]
fn an_actor_without_steps_is_refused() {
    let scenario = SOUND.replace("intermediate-consumer refs", "intermediate-producer refs");
    let error = parse(&scenario).expect_err("an idle consumer").to_string();
    assert!(error.contains("the consumer does nothing"), "{error}");
}

#[test]
fn a_missing_file_is_told_by_its_path() {
    let error = Scenario::load(Path::new("/nowhere/08.yaml"))
        .expect_err("no file")
        .to_string();
    assert!(error.contains("/nowhere/08.yaml"), "{error}");
    let empty = tempfile::tempdir().expect("a folder");
    let error = Scenario::find(empty.path(), 8).expect_err("no file").to_string();
    assert!(error.contains("08-"), "{error}");
}
