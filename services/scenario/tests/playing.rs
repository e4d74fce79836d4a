//! Playing, with a shell in place of a tool: what a step gets, what is kept of it, and how a hanging one ends.

#![cfg(unix)]
#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

use oci::Digest;
use scenario::{Actor, Cast, Exit, Outcome, PlayError, Program, Scenario, play};
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

/// A tool that does what its first argument says. It has nothing to delete.
const TOOL: &str = r#"case "$0" in
delete) exit ${CLEAR:-3} ;;
say) echo "$1"; echo "$2" >&2; exit "$3" ;;
read) cat hello.txt - ;;
env) echo "$GENERATION $(basename "$REFERRERS_LAB_HAR")"; cat "$REFERRERS_LAB_CONFIG"; echo changed > "$REFERRERS_LAB_CONFIG" ;;
hang) echo begun; exec sleep 600 ;;
die) kill -9 $$ ;;
esac"#;

fn scenario(steps: &str) -> Scenario {
    let text = format!(
        "scenario: 8\ntitle: t\nsupported: true\nproducer: intermediate\nregistry: current\nconsumer: intermediate\n\
         story: s\nimage: localhost:5001/a:latest\nsteps:\n{steps}\n  - {{ step: last, run: intermediate-consumer say, exits: 0 }}\n\
         expect:\n  - that: t\n    exchanges: [{{ by: anybody, request: any x }}]\n"
    );
    Scenario::parse(Path::new("test.yaml"), &text).expect("a sound scenario")
}

struct Stage {
    scenario: Scenario,
    folder: tempfile::TempDir,
}

impl Stage {
    fn new(steps: &str) -> Stage {
        Stage {
            scenario: scenario(steps),
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    fn play_with(&self, script: &str, config: Option<&Path>) -> Result<Outcome, PlayError> {
        let cast = Cast {
            scenario: &self.scenario,
            file: Digest::sha256(b"file"),
            actor: Actor::Producer,
            program: Program {
                path: "/bin/sh".into(),
                prefix: vec![OsString::from("-c"), OsString::from(script)],
            },
            results: self.folder.path(),
            source: "oci:/source:latest",
            client_config: config,
        };
        runtime().block_on(play(&cast))
    }

    fn play(&self) -> Outcome {
        self.play_with(TOOL, None).expect("it can be played")
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

#[test]
fn what_a_step_printed_and_how_it_ended_is_kept() {
    let stage =
        Stage::new("  - { step: one, run: 'intermediate-producer say ${image} \"to err\" 5', exits: 5 }");
    let outcome = stage.play();
    let step = &outcome.steps[0];
    assert_eq!(
        (step.stdout.as_str(), step.stderr.as_str(), &step.exit),
        ("localhost:5001/a:latest\n", "to err\n", &Exit::Code(5))
    );
    assert_eq!(step.command[1..3], ["say", "localhost:5001/a:latest"]);
    assert_eq!(
        Outcome::read(stage.folder.path(), Actor::Producer).expect("an outcome"),
        outcome
    );
}

#[test]
fn a_failed_step_does_not_keep_the_next_from_being_played() {
    let stage = Stage::new(
        "  - { step: one, run: intermediate-producer say a b 1, exits: 0 }\n  - { step: two, run: intermediate-producer die, exits: 0 }\n  - { step: three, run: intermediate-producer say a b 0, exits: 0 }",
    );
    let exits: Vec<Exit> = stage.play().steps.into_iter().map(|step| step.exit).collect();
    assert_eq!(exits, [Exit::Code(1), Exit::Signal, Exit::Code(0)]);
}

#[test]
fn a_step_finds_its_files_and_its_standard_input() {
    let stage = Stage::new(
        "  - { step: one, run: intermediate-producer read, stdin: \"from stdin\\n\", files: { hello.txt: \"from file\\n\" }, exits: 0 }",
    );
    assert_eq!(stage.play().steps[0].stdout, "from file\nfrom stdin\n");
}

#[test]
fn a_step_is_told_its_generation_its_recording_and_a_configuration_of_its_own() {
    let stage = Stage::new("  - { step: one, run: intermediate-producer env, exits: 0 }");
    let config = stage.folder.path().join("original.json");
    std::fs::write(&config, "original\n").expect("a file");
    let outcome = stage.play_with(TOOL, Some(&config)).expect("it can be played");
    assert_eq!(outcome.steps[0].stdout, "intermediate 01-one.har\noriginal\n");
    assert_eq!(
        std::fs::read_to_string(&config).expect("a file"),
        "original\n",
        "a step changed the original"
    );
}

#[test]
fn a_step_that_hangs_is_ended_and_the_play_with_it() {
    let stage = Stage::new(
        "  - { step: one, run: intermediate-producer hang, timeout-seconds: 1, exits: 0 }\n  - { step: two, run: intermediate-producer say a b 0, exits: 0 }",
    );
    let outcome = stage.play();
    assert_eq!(
        outcome.steps.len(),
        1,
        "nothing is played after a step that hangs"
    );
    let step = &outcome.steps[0];
    assert_eq!(
        (&step.exit, step.stdout.as_str()),
        (&Exit::TimedOut(1), "begun\n")
    );
    assert!(step.exit.to_string().contains("hung, and was ended after 1 s"));
}

#[test]
fn a_program_that_is_not_there_is_an_outcome_and_no_pass() {
    let stage = Stage::new("  - { step: one, run: intermediate-producer say, exits: 0 }");
    let cast = Cast {
        scenario: &stage.scenario,
        file: Digest::sha256(b"file"),
        actor: Actor::Consumer,
        program: Program {
            path: "/nowhere/tool".into(),
            prefix: Vec::new(),
        },
        results: stage.folder.path(),
        source: "",
        client_config: None,
    };
    let outcome = runtime().block_on(play(&cast)).expect("it can be played");
    assert!(matches!(&outcome.steps[0].exit, Exit::NotStarted(why) if why.contains("/nowhere/tool")));
}

#[test]
fn what_an_earlier_play_left_is_gone() {
    let stage = Stage::new("  - { step: one, run: intermediate-producer say a b 0, exits: 0 }");
    let left = Outcome::folder(stage.folder.path(), Actor::Producer).join("left-over");
    std::fs::create_dir_all(left.parent().expect("a parent")).expect("a folder");
    std::fs::write(&left, "").expect("a file");
    stage.play();
    assert!(!left.exists());
}

#[test]
fn a_stage_that_cannot_be_cleared_is_told_and_no_outcome_is_left() {
    let stage = Stage::new("  - { step: one, run: intermediate-producer say a b 0, exits: 0 }");
    let script = TOOL.replace("${CLEAR:-3}", "7");
    let error = stage
        .play_with(&script, None)
        .expect_err("it cannot be cleared")
        .to_string();
    assert!(
        error.contains("delete --referrers localhost:5001/a:latest") && error.contains("exit code 7"),
        "{error}"
    );
    assert!(Outcome::read(stage.folder.path(), Actor::Producer).is_err());
}

#[test]
fn a_play_that_is_dropped_ends_its_child() {
    let stage = Stage::new("  - { step: one, run: intermediate-producer hang, exits: 0 }");
    let fifo = stage.folder.path().join("alive");
    // The child holds the pipe's writing end for as long as it lives; reading it to the end means that it is gone.
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    if !made.is_ok_and(|status| status.success()) {
        println!("skipped: mkfifo is not there");
        return;
    }
    let script = format!(
        "case \"$0\" in delete) exit 3 ;; esac\nexec 3> '{}'; echo here >&3; exec sleep 600",
        fifo.display()
    );
    runtime().block_on(async {
        let cast = Cast {
            scenario: &stage.scenario,
            file: Digest::sha256(b"file"),
            actor: Actor::Producer,
            program: Program {
                path: "/bin/sh".into(),
                prefix: vec![OsString::from("-c"), OsString::from(script)],
            },
            results: stage.folder.path(),
            source: "",
            client_config: None,
        };
        let reading = tokio::task::spawn_blocking(move || {
            use std::io::{BufRead, BufReader};
            let mut pipe = BufReader::new(std::fs::File::open(fifo).expect("a pipe"));
            let mut line = String::new();
            pipe.read_line(&mut line).expect("a line");
            (line, pipe)
        });
        let mut playing = Box::pin(play(&cast));
        let (line, mut pipe) = tokio::select! {
            _ = &mut playing => panic!("the step ended by itself"),
            read = reading => read.expect("a reader"),
        };
        assert_eq!(line, "here\n");
        drop(playing);
        let ended = tokio::task::spawn_blocking(move || {
            use std::io::Read;
            pipe.read_to_end(&mut Vec::new())
        });
        let waited = tokio::time::timeout(Duration::from_secs(60), ended).await;
        assert!(waited.is_ok(), "the child still runs");
    });
}
