//! The consumers at the registries of 2022: what these answered to the original tools, and what those had left there, is
//! served again, and the consumers find in it what each scenario says.
//!
//! `recordings/scenario-NN.jsonl` has one answer a line, by its path: what the original consumer got, and what the original
//! producer had pushed. The original complete registry's index has neither `mediaType` nor artifact types.

#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

use base64::Engine;
use serde_json::{Value, json};
use std::collections::HashMap;
use testkit::{FaultServer, Ran, Reply, Tool};

const BY_INTERMEDIATE: &str = "sha256:e09d5216ba4481cfe6cb2c4a39350115003903fe993750fdb7f021838812ae87";
const BY_COMPLETE: &str = "sha256:075956837d9f68aea9cde7bc9d94c6b48f6eb04f1f66f4ae96d8cf0246eda810";
const AMD64: &str = "sha256:955690303cc1de8de56ffb0e187907c478bdef759c3db75b0d1d530698b3ce3d";

/// A registry as the original tools left it, and the image's name there.
struct Recorded {
    server: FaultServer,
    number: u8,
}

impl Recorded {
    fn scenario(number: u8, recording: &str) -> Recorded {
        let mut answers = HashMap::new();
        for line in recording.lines() {
            let answer: Value = serde_json::from_str(line).expect("a recorded answer");
            let text = |key: &str| answer[key].as_str().expect("a text").to_owned();
            let body = match &answer["body"] {
                Value::String(text) => text.clone().into_bytes(),
                binary => base64::engine::general_purpose::STANDARD
                    .decode(binary["base64"].as_str().expect("base64"))
                    .expect("base64"),
            };
            let status = u16::try_from(answer["status"].as_u64().expect("a status")).expect("a status");
            answers.insert(text("path"), (status, text("content_type"), body));
        }
        let server =
            FaultServer::start(
                move |request| match (request.method.as_str(), answers.get(&request.path)) {
                    ("HEAD", Some((status, kind, body))) => {
                        Reply::head(*status, &[("Content-Type", kind)], body.len())
                    }
                    ("GET", Some((status, kind, body))) => {
                        Reply::new(*status, &[("Content-Type", kind)], body)
                    }
                    _ => Reply::new(
                        404,
                        &[("Content-Type", "text/plain; charset=utf-8")],
                        "404 page not found\n",
                    ),
                },
            );
        Recorded { server, number }
    }

    fn run(&self, generation: &str, command: &[&str]) -> Ran {
        let tool = Tool::new(env!("CARGO_BIN_EXE_consumer")).generation(generation);
        let (host, number) = (self.server.host(), self.number);
        let image = format!("{host}/scenario-{number}/alpine-base:latest");
        tool.run(&[command, &[&image]].concat())
    }

    /// The digests that `refs` prints.
    fn listed(&self, generation: &str) -> Vec<String> {
        let index = self.run(generation, &["refs"]).expect(0).json();
        let entries = index["manifests"].as_array().expect("a list");
        let digest = |entry: &Value| entry["digest"].as_str().expect("a digest").to_owned();
        entries.iter().map(digest).collect()
    }
}

#[test]
fn scenario_8_the_original_left_no_digest_tag_and_the_list_is_empty() {
    let recorded = Recorded::scenario(8, include_str!("recordings/scenario-08.jsonl"));
    for generation in ["intermediate", "complete"] {
        assert_eq!(recorded.listed(generation), Vec::<String>::new());
    }
    let asked = recorded.server.lines();
    assert!(
        asked
            .iter()
            .any(|line| line.contains("/manifests/sha256-7daa25b1")),
        "{asked:?}"
    );
}

#[test]
fn scenario_11_the_intermediate_consumer_finds_and_reads_the_image_manifest() {
    let recorded = Recorded::scenario(11, include_str!("recordings/scenario-11.jsonl"));
    for generation in ["intermediate", "complete"] {
        assert_eq!(recorded.listed(generation), [BY_INTERMEDIATE]);
        let got = recorded.run(generation, &["artifact", "get", "--filter-artifact-type", "misc"]);
        assert_eq!(got.expect(0).text(), "hello world\n");
    }
    // The registry's own list says less than it should, which is told.
    let lint = recorded.run("intermediate", &["lint"]).expect(1);
    assert!(lint.text().contains("missing artifactType"), "{}", lint.text());
}

#[test]
fn scenario_13_the_current_consumer_pulls_the_image_that_no_reference_was_added_to() {
    let recorded = Recorded::scenario(13, include_str!("recordings/scenario-13.jsonl"));
    let pulled = recorded
        .run("current", &["pull", "--platform", "linux/amd64"])
        .expect(0);
    assert_eq!(pulled.text().trim(), AMD64);
    recorded.run("current", &["refs"]).expect(4);
    assert_eq!(recorded.listed("complete"), Vec::<String>::new());
}

#[test]
fn scenario_18_the_complete_consumer_finds_and_reads_the_artifact_manifest() {
    let recorded = Recorded::scenario(18, include_str!("recordings/scenario-18.jsonl"));
    assert_eq!(recorded.listed("complete"), [BY_COMPLETE]);
    let formatted = recorded.run(
        "complete",
        &[
            "-v",
            "debug",
            "artifact",
            "list",
            "--format",
            "{{ jsonPretty .Manifest}}",
        ],
    );
    let manifest = formatted.expect(0).json();
    assert_eq!(
        manifest["manifests"][0]["annotations"],
        json!({"org.opencontainers.artifact.type": "misc"})
    );
    assert_eq!(
        recorded.run("complete", &["artifact", "get"]).expect(0).text(),
        "hello world\n"
    );
    recorded.run("intermediate", &["artifact", "get"]).expect(4);
}
