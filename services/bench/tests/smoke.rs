//! Every workload once, with small sizes, against a registry of ours, a bare answer and the limit for pushes: for errors
//! only, never for times.

#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A server of this package, which prints its address when it listens, and ends when dropped.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(program: &str, arguments: &[&str]) -> Server {
        let mut child = Command::new(program)
            .args(["127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut address = String::new();
        let output = child.stdout.take().expect("its output");
        BufReader::new(output)
            .read_line(&mut address)
            .expect("its address");
        Server {
            child,
            address: address.trim().to_owned(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn bench(arguments: &[String]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(arguments)
        .output()
        .expect("bench runs");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn every_workload_that_needs_no_process_of_its_own_runs_without_an_error() {
    let registry = testkit::Registry::complete();
    let folder = tempfile::tempdir().expect("a folder");
    let limit_folder = folder.path().join("limit").display().to_string();
    let bare = Server::start(env!("CARGO_BIN_EXE_bare"), &["--smoke"]);
    let limit = Server::start(
        env!("CARGO_BIN_EXE_limit"),
        &["--folder", &limit_folder, "--sync"],
    );
    let json = folder.path().join("results.json");
    let arguments = [
        format!("ours={}", registry.host()),
        format!("--files=bare={}", bare.address),
        format!("--sink=limit={}", limit.address),
        format!(
            "--start=bare={} 127.0.0.1:{{port}} --empty",
            env!("CARGO_BIN_EXE_bare")
        ),
        format!("--json={}", json.display()),
        "--smoke".to_owned(),
        "--seconds=0.1".to_owned(),
    ];
    let (code, text, errors) = bench(&arguments);
    assert_eq!(code, Some(0), "{text}\n{errors}");

    let report: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&json).expect("results")).expect("JSON");
    let rows = report["workloads"].as_array().expect("workloads");
    assert_eq!(rows.len(), bench::workload::WORKLOADS.len());
    for row in rows {
        for cell in row["cells"].as_array().expect("cells") {
            // Our registry is in this process: `crash.rs`, which can start one, has these workloads measured.
            let starts_its_own = row["name"] == "start" || row["name"] == "idle-1000";
            let is_excused =
                starts_its_own && cell["target"] != "bare" && cell["why"] == "no --start command";
            assert!(
                cell["result"] == "measured" || is_excused,
                "{}: {cell:#}",
                row["name"]
            );
        }
    }
}

#[test]
fn a_wrong_answer_fails_the_workload_and_the_run() {
    let bare = Server::start(env!("CARGO_BIN_EXE_bare"), &["--smoke"]);
    // A bare answer refuses pushes, so as a registry it fails, however fast it answers.
    let arguments = [
        format!("bare={}", bare.address),
        "--smoke".to_owned(),
        "--workload=manifest-by-tag,push-256m".to_owned(),
    ];
    let (code, text, errors) = bench(&arguments);
    assert_eq!(code, Some(1), "{text}\n{errors}");
    assert_eq!(text.matches("FAILED: POST /v2/").count(), 2, "{text}");
}
