//! Ten kills under mixed load lose nothing, and a registry that does lose something is found out. These tests are their own
//! registry: called as `… registry` the executable is one, so that there is a process to kill.

#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

use bench::crash::{CrashError, Options, Summary, run};
use std::path::Path;
use std::process::ExitCode;

/// Kills in a run of the tests; `crash --rounds` does more.
const ROUNDS: u32 = 10;

/// What a test found wrong, in words.
type Tested = Result<(), String>;
type Test = fn() -> Tested;

/// The tests, by their names.
const TESTS: &[(&str, Test)] = &[
    ("ten_kills_under_mixed_load_lose_nothing", ten_kills_lose_nothing),
    ("a_registry_that_forgets_is_found_out", forgetting_is_found_out),
];

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    match arguments.get(1).and_then(|first| first.to_str()) {
        Some("registry") => return testkit::registry_main(arguments[1..].to_vec()),
        Some("forgetful") => {
            forget();
            return testkit::registry_main(arguments[1..].to_vec());
        }
        _ => {}
    }
    let mut code = ExitCode::SUCCESS;
    for (name, test) in TESTS {
        match test() {
            Ok(()) => println!("test {name} ... ok"),
            Err(why) => {
                println!("test {name} ... FAILED: {why}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

fn crash(registry: &str, rounds: u32) -> Result<Summary, CrashError> {
    let this = std::env::current_exe().expect("this test's path");
    let options = Options {
        registry: vec![this.to_string_lossy().into_owned(), registry.to_owned()],
        rounds,
        clients: 4,
        seed: u64::from(std::process::id()),
        durability: "full".to_owned(),
    };
    run(&options, |line| println!("{line}"))
}

fn ten_kills_lose_nothing() -> Tested {
    let summary = crash("registry", ROUNDS).map_err(|error| error.to_string())?;
    match summary {
        Summary {
            rounds: ROUNDS,
            acknowledged: 1..,
            compared: 1..,
        } => Ok(()),
        _ => Err(format!("too little was done: {summary:?}")),
    }
}

fn forgetting_is_found_out() -> Tested {
    match crash("forgetful", ROUNDS) {
        Err(CrashError::Broken { storage, what, .. }) => {
            std::fs::remove_dir_all(storage).map_err(|error| error.to_string())?;
            let is_told = what.contains("may lead to") || what.contains("missing");
            if is_told {
                Ok(())
            } else {
                Err(format!("found for another reason: {what}"))
            }
        }
        other => Err(format!("not found out: {other:?}")),
    }
}

/// Loses what repositories hold, as a registry would that had answered before anything was written.
fn forget() {
    if let Some(root) = std::env::var_os("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY") {
        let _ = std::fs::remove_dir_all(Path::new(&root).join("repositories"));
    }
}
