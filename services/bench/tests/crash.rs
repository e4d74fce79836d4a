//! Ten kills under mixed load lose nothing, nor do a few power losses, and a registry that does lose something is found out. Nor
//! does one grow under mixed load, or under many connections. And `bench` measures what it starts one for.
//! These tests are their own registry: called as `… registry` the executable is one, so that there is a process to kill.
//!
//! Power loss takes root, loop devices and `xfsprogs`; where these are missing its tests say `skipped: …`, and fail where
//! `CI=true`.

#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

use bench::crash::{CrashError, End, FileSystem, Options, Summary, run};
use bench::server::{Folder, Server};
use bench::settings::StartCommand;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Kills in a run of the tests; `crash --rounds` does more.
const ROUNDS: u32 = 10;

/// Power losses of each file system in a run of the tests; `crash --power-loss --rounds` does more.
const POWER_LOSSES: u32 = 6;

/// What a test found wrong, in words.
type Tested = Result<(), String>;
type Test = fn() -> Tested;

/// The tests, by their names.
const TESTS: &[(&str, Test)] = &[
    ("ten_kills_under_mixed_load_lose_nothing", ten_kills_lose_nothing),
    ("a_registry_that_forgets_is_found_out", forgetting_is_found_out),
    (
        "a_registry_that_forgets_uploads_is_found_out",
        forgotten_uploads_are_found_out,
    ),
    ("power_loss_on_ext4_loses_nothing", || {
        power_loss_loses_nothing(FileSystem::Ext4)
    }),
    ("power_loss_on_xfs_loses_nothing", || {
        power_loss_loses_nothing(FileSystem::Xfs)
    }),
    (
        "power_loss_without_durability_is_found_out",
        losses_without_durability_are_found_out,
    ),
    (
        "memory_and_descriptors_stay_flat_under_mixed_load",
        a_soak_is_flat,
    ),
    (
        "a_thousand_connections_take_little_and_leave_nothing",
        many_connections_take_little,
    ),
    (
        "a_start_and_idle_connections_of_our_registry_are_measured",
        what_needs_a_process_is_measured,
    ),
];

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    match arguments.get(1).and_then(|first| first.to_str()) {
        Some("registry") => return testkit::registry_main(arguments[1..].to_vec()),
        Some(forgetful @ ("forgetful" | "forgetful of uploads")) => {
            forget(match forgetful {
                "forgetful" => "records",
                _ => "repositories",
            });
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

fn options(registry: &str, rounds: u32) -> Options {
    let this = std::env::current_exe().expect("this test's path");
    Options {
        registry: vec![this.to_string_lossy().into_owned(), registry.to_owned()],
        rounds,
        clients: 4,
        seed: u64::from(std::process::id()),
        durability: "full".to_owned(),
        end: End::Kill,
    }
}

fn crash(options: &Options) -> Result<Summary, CrashError> {
    run(options, |line| println!("{line}"))
}

fn ten_kills_lose_nothing() -> Tested {
    all_done(crash(&options("registry", ROUNDS)), ROUNDS)
}

fn all_done(summary: Result<Summary, CrashError>, expected: u32) -> Tested {
    let summary = summary.map_err(|error| error.to_string())?;
    match summary {
        Summary {
            rounds,
            acknowledged: 1..,
            compared: 1..,
        } if rounds == expected => Ok(()),
        _ => Err(format!("too little was done: {summary:?}")),
    }
}

fn forgetting_is_found_out() -> Tested {
    is_found_out(crash(&options("forgetful", ROUNDS)))
}

fn forgotten_uploads_are_found_out() -> Tested {
    is_found_out(crash(&options("forgetful of uploads", ROUNDS)))
}

fn is_found_out(summary: Result<Summary, CrashError>) -> Tested {
    match summary {
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

fn power_loss_loses_nothing(file_system: FileSystem) -> Tested {
    let options = Options {
        end: End::PowerLoss(file_system),
        ..options("registry", POWER_LOSSES)
    };
    unless_impossible(crash(&options), |summary| all_done(summary, POWER_LOSSES))
}

fn losses_without_durability_are_found_out() -> Tested {
    let options = Options {
        durability: "none".to_owned(),
        end: End::PowerLoss(FileSystem::Ext4),
        ..options("registry", POWER_LOSSES)
    };
    unless_impossible(crash(&options), is_found_out)
}

/// `soak` does a day's worth.
fn a_soak_is_flat() -> Tested {
    let soak = bench::soak::Options {
        registry: options("registry", 0).registry,
        operations: 8_000,
        clients: 4,
        cache: Some("1MiB".to_owned()),
    };
    let looks = bench::soak::run(&soak, |line| println!("{line}"));
    looks.map(drop).map_err(|error| error.to_string())
}

/// `soak --connections` takes ten times as many.
fn many_connections_take_little() -> Tested {
    let held =
        bench::hold::hold(&options("registry", 0).registry, 1_000).map_err(|error| error.to_string())?;
    println!("{held:?}");
    held.too_much().map_or(Ok(()), Err)
}

/// The workloads that `smoke.rs` cannot run against a registry of ours: they start it themselves.
fn what_needs_a_process_is_measured() -> Tested {
    let folder = Folder::new("smoke").map_err(|error| error.to_string())?;
    let json = folder.path().join("results.json");
    let settings = "REGISTRY_HTTP_ADDR=127.0.0.1:{port} REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY={dir}";
    let start = format!("{settings} {} serve", options("registry", 0).registry.join(" "));
    let command = StartCommand::parse(&start).ok_or("no command")?;
    let running =
        Server::start(&command, &folder.path().join("storage")).map_err(|error| error.to_string())?;
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .arg(format!("ours={}", running.address()))
        .arg(format!("--start=ours={start}"))
        .arg(format!("--json={}", json.display()))
        .args(["--smoke", "--workload=start,idle-1000"])
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let report = std::fs::read_to_string(json).map_err(|error| error.to_string())?;
    match report.matches("\"measured\"").count() {
        2 => Ok(()),
        _ => Err(report),
    }
}

/// Judges what came of a run, unless this machine has no disk whose power can be cut.
fn unless_impossible(
    summary: Result<Summary, CrashError>,
    judge: impl FnOnce(Result<Summary, CrashError>) -> Tested,
) -> Tested {
    match summary {
        Err(error @ CrashError::NoDisk(_)) if std::env::var_os("CI").is_some_and(|ci| ci == "true") => {
            Err(error.to_string())
        }
        Err(error @ CrashError::NoDisk(_)) => {
            println!("skipped: {error}");
            Ok(())
        }
        summary => judge(summary),
    }
}

/// Loses a folder of the storage, as a registry would that had answered before anything was written: `records` has what
/// repositories hold, `repositories` the uploads.
fn forget(folder: &str) {
    if let Some(root) = std::env::var_os("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY") {
        let _ = std::fs::remove_dir_all(Path::new(&root).join(folder));
    }
}
