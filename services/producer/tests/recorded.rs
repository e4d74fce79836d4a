//! The producer does what the original tools did: the recorded source image is copied and referred to, and every digest is
//! the recorded one.

#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

use base64::Engine;
use serde_json::Value;
use std::collections::HashMap;
use testkit::{FaultServer, Registry, Reply, Tool};

const SUBJECT: &str = "sha256:7daa25b1b1e74eae9ae4ab37553afc802200b9bf6154ba5fe7d8ee3a110c4664";
const BY_INTERMEDIATE: &str = "sha256:e09d5216ba4481cfe6cb2c4a39350115003903fe993750fdb7f021838812ae87";
const BY_COMPLETE: &str = "sha256:075956837d9f68aea9cde7bc9d94c6b48f6eb04f1f66f4ae96d8cf0246eda810";
const REPOSITORY: &str = "scenario/alpine-base";

/// The registry that the original tools copied from, as far as they asked it.
fn recorded_source() -> FaultServer {
    let mut answers = HashMap::new();
    for line in include_str!("recordings/source.jsonl").lines() {
        let exchange: Value = serde_json::from_str(line).expect("a recorded exchange");
        let text = |key: &str| exchange[key].as_str().expect("a text").to_owned();
        let body = match &exchange["body"] {
            Value::String(text) => text.clone().into_bytes(),
            binary => base64::engine::general_purpose::STANDARD
                .decode(binary["base64"].as_str().expect("base64"))
                .expect("base64"),
        };
        answers.insert(text("path"), (text("content_type"), body));
    }
    FaultServer::start(
        move |request| match (request.method.as_str(), answers.get(&request.path)) {
            ("GET", Some((content_type, body))) => Reply::new(200, &[("Content-Type", content_type)], body),
            ("HEAD", Some((content_type, body))) => {
                Reply::head(200, &[("Content-Type", content_type)], body.len())
            }
            _ => Reply::new(404, &[], "404 page not found\n"),
        },
    )
}

fn copied(generation: &str, registry: &Registry) -> Tool {
    let source = recorded_source();
    let producer = Tool::new(env!("CARGO_BIN_EXE_producer")).generation(generation);
    let from = format!("{}/distroless/alpine-base:latest", source.host());
    let to = format!("{}/{REPOSITORY}:latest", registry.host());
    let ran = producer.run(&["image", "copy", &from, &to]).expect(0);
    assert_eq!(ran.text().trim(), SUBJECT);
    producer
}

#[test]
fn the_intermediate_producer_attaches_the_manifest_of_the_recordings() {
    for registry in [Registry::current(), Registry::complete()] {
        let producer = copied("intermediate", &registry);
        producer.write("hello.txt", "hello world\n");
        let image = format!("{}/{REPOSITORY}:latest", registry.host());
        let ran = producer
            .run(&["attach", "hello.txt", "text/plain", "misc", &image])
            .expect(0);
        assert_eq!(ran.text().trim(), BY_INTERMEDIATE);
        registry
            .get(&format!("/v2/{REPOSITORY}/manifests/{BY_INTERMEDIATE}"))
            .expect(200);
    }
}

#[test]
fn the_complete_producer_puts_the_manifest_of_the_recordings() {
    let registry = Registry::complete();
    let producer = copied("complete", &registry);
    let image = format!("{}/{REPOSITORY}:latest", registry.host());
    let ran = producer
        .run_with_input(
            &[
                "artifact",
                "put",
                "--refers",
                &image,
                "--annotation",
                "org.opencontainers.artifact.type=misc",
                "--manifest-media-type",
                "application/vnd.oci.artifact.manifest.v1+json",
            ],
            b"hello world\n",
        )
        .expect(0);
    assert_eq!(ran.text().trim(), BY_COMPLETE);
}
