//! The judge can fail: a case that holds, and every kind of expectation broken once in it.

#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

use futures_util::future::LocalBoxFuture;
use lab::ask::{Answer, Ask, AskError};
use lab::judge::{Case, JudgeError, judge};
use lab::verdict::Verdict;
use oci::Digest;
use scenario::{Actor, Exit, Outcome, Scenario, StepOutcome};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

const IMAGE: &str = r#"{"schemaVersion":2,"manifests":[]}"#;
const ARTIFACT: &str = r#"{"schemaVersion":2,"refers":{"size":1}}"#;

/// A scenario whose every expectation is met by [`Left::whole`] and [`Registry`].
const SCENARIO: &str = r#"
scenario: 8
title: A title
supported: true
producer: intermediate
registry: current
consumer: intermediate
story: A story.
image: localhost:5001/app:latest
steps:
  - step: copy
    run: intermediate-producer copy ${source} ${image}
    exits: 0
    remember: { subject: any manifests/latest }
  - step: attach
    run: intermediate-producer attach hello.txt text/plain misc ${image}
    exits: 5
    remember: { code: "PUT manifests/sha256:* /errors/0/code" }
  - step: list
    run: intermediate-consumer refs ${image}
    exits: 0
expect:
  - that: Texts are compared
    printed:
      - { by: list, stdout: { is: "{\"manifests\":[1]}", contains: [manifests], lacks: [error] } }
      - { by: list, stderr: { contains: [warning] } }
  - that: JSON is compared
    printed:
      - { by: list, stdout: { counts: { /manifests: 1 }, json: { /manifests/0: 1 } } }
  - that: Exchanges are counted and compared
    exchanges:
      - { by: attach, request: "PUT manifests/sha256:*", times: once, answered: 400, sent: { media-type: application/x, json: { /refers/size: 1 } }, received: { contains: ["${code}"] } }
      - { by: anybody, request: any referrers-api, times: never }
      - { by: copy, request: PUT manifests/latest, times: some, answered: 201, sent: { digest: "${subject}" } }
  - that: The registry is read
    registry:
      - { read: HEAD manifests/latest, answered: 200, digest: "${subject}" }
      - { read: GET tags/list, answered: 200, received: { media-type: application/json, json: { /tags: [latest] } } }
      - { read: GET referrers-api, answered: 404 }
      - { read: "GET manifests/${digest-tag}", answered: 404 }
"#;

fn subject() -> Digest {
    Digest::sha256(IMAGE.as_bytes())
}

/// What the actors left.
struct Left {
    folder: tempfile::TempDir,
    file: Digest,
}

fn entry(
    method: &str,
    path: &str,
    status: u16,
    sent: Option<&str>,
    received: &str,
    digest: Option<Digest>,
) -> Value {
    let mut headers = vec![json!({"name": "content-type", "value": "application/json; charset=utf-8"})];
    headers.extend(digest.map(|digest| json!({"name": "Docker-Content-Digest", "value": digest})));
    json!({
        "startedDateTime": "2026-01-01T00:00:00Z", "time": 1.5, "comment": "localhost:5001",
        "request": {
            "method": method, "url": format!("http://127.0.0.1:4000/v2/app/{path}"),
            "headers": [{"name": "Content-Type", "value": "application/x"}],
            "postData": sent.map(|text| json!({"mimeType": "application/x", "text": text})),
        },
        "response": {"status": status, "headers": headers, "content": {"size": received.len(), "text": received}},
    })
}

impl Left {
    fn whole(file: Digest) -> Left {
        let left = Left {
            folder: tempfile::tempdir().expect("a folder"),
            file,
        };
        let put = entry("PUT", "manifests/latest", 201, Some(IMAGE), "", Some(subject()));
        let artifact = format!("manifests/{}", Digest::sha256(ARTIFACT.as_bytes()));
        let refusal = r#"{"errors":[{"code":"MANIFEST_INVALID"}]}"#;
        let attach = entry("PUT", &artifact, 400, Some(ARTIFACT), refusal, None);
        left.outcome(
            Actor::Producer,
            10,
            &[("copy", 0, "", ""), ("attach", 5, "", "refused")],
        );
        left.outcome(
            Actor::Consumer,
            20,
            &[("list", 0, "{\"manifests\":[1]}", "a warning")],
        );
        left.har(Actor::Producer, "copy", &[put]);
        left.har(Actor::Producer, "attach", &[attach]);
        left.har(
            Actor::Consumer,
            "list",
            &[entry("HEAD", "manifests/latest", 200, None, "", Some(subject()))],
        );
        left
    }

    fn outcome(&self, actor: Actor, started_ms: u64, steps: &[(&str, i32, &str, &str)]) {
        let folder = Outcome::folder(self.folder.path(), actor);
        std::fs::create_dir_all(&folder).expect("a folder");
        let step = |(name, code, stdout, stderr): &(&str, i32, &str, &str)| StepOutcome {
            step: (*name).to_owned(),
            command: vec![],
            exit: Exit::Code(*code),
            stdout: (*stdout).to_owned(),
            stderr: (*stderr).to_owned(),
            duration_ms: 1,
            har: format!("{name}.har"),
        };
        let outcome = Outcome {
            actor,
            generation: "intermediate".to_owned(),
            scenario: 8,
            file: self.file,
            source: "oci:/fixture:latest".to_owned(),
            started_ms,
            finished_ms: started_ms + 5,
            steps: steps.iter().map(step).collect(),
        };
        outcome.write(self.folder.path()).expect("an outcome");
    }

    fn har(&self, actor: Actor, step: &str, entries: &[Value]) {
        let path = Outcome::folder(self.folder.path(), actor).join(format!("{step}.har"));
        let har = json!({"log": {"version": "1.2", "creator": {"name": "test", "version": "0"}, "entries": entries}});
        std::fs::write(path, har.to_string()).expect("a recording");
    }
}

/// A registry that answers what the scenario expects; `up: false` answers nothing.
struct Registry {
    up: bool,
    tags: &'static str,
}

impl Ask for Registry {
    fn ask<'a>(
        &'a self,
        registry: &'a str,
        method: &'a str,
        path: &'a str,
    ) -> LocalBoxFuture<'a, Result<Answer, AskError>> {
        let (status, body) = match path {
            "/v2/app/manifests/latest" => (200, ""),
            "/v2/app/tags/list" => (200, self.tags),
            _ => (404, "not found"),
        };
        let answer = Answer {
            url: format!("http://{registry}{path}"),
            status,
            media_type: Some("application/json".to_owned()),
            digest: Some(subject().to_string()),
            size: None,
            body: body.as_bytes().to_vec(),
            time: Duration::ZERO,
        };
        let error = AskError {
            registry: registry.to_owned(),
            method: method.to_owned(),
            path: path.to_owned(),
            why: "connection refused".to_owned(),
        };
        Box::pin(std::future::ready(if self.up { Ok(answer) } else { Err(error) }))
    }
}

const SOUND: Registry = Registry {
    up: true,
    tags: r#"{"name":"app","tags":["latest"]}"#,
};

fn judged(text: &str, left: &Left, registry: &Registry) -> Result<Verdict, JudgeError> {
    let scenario = Scenario::parse(Path::new("test.yaml"), text).expect("a sound scenario");
    let case = Case {
        scenario: &scenario,
        file: Digest::sha256(text.as_bytes()),
        results: left.folder.path(),
        registry,
    };
    actix_rt::System::new()
        .block_on(judge(&case))
        .map(|(verdict, _)| verdict)
}

fn left(text: &str) -> Left {
    Left::whole(Digest::sha256(text.as_bytes()))
}

#[test]
fn what_is_as_expected_holds() {
    let verdict = judged(SCENARIO, &left(SCENARIO), &SOUND).expect("a verdict");
    let failures: Vec<_> = verdict.failures().collect();
    assert!(verdict.holds(), "{failures:#?}");
    assert!(verdict.findings.len() > 20, "{} findings", verdict.findings.len());
}

/// Breaks one expectation of the file, and gives the finding that tells.
fn broken(from: &str, to: &str) -> lab::verdict::Finding {
    assert!(SCENARIO.contains(from), "nothing is changed: {from}");
    let text = SCENARIO.replacen(from, to, 1);
    let verdict = judged(&text, &left(&text), &SOUND).expect("a verdict");
    assert!(!verdict.holds(), "it holds with {to}");
    let mut failures = verdict.failures().cloned();
    let first = failures.next().expect("a failure");
    assert_eq!(failures.next(), None, "one broken expectation fails alone: {to}");
    first
}

#[test]
fn every_kind_of_expectation_can_fail() {
    for (from, to, expected, seen) in [
        ("exits: 5", "exits: 0", "exit code 0", "exit code 5: refused"),
        (
            "is: \"{",
            "is: \"x{",
            r#""x{\"manifests\":[1]}""#,
            r#""{\"manifests\":[1]}""#,
        ),
        (
            "contains: [manifests]",
            "contains: [referrers]",
            "contains \"referrers\"",
            r#""{\"manifests\":[1]}""#,
        ),
        (
            "lacks: [error]",
            "lacks: [manifests]",
            "lacks \"manifests\"",
            r#""{\"manifests\":[1]}""#,
        ),
        (
            "contains: [warning]",
            "contains: [error]",
            "contains \"error\"",
            "\"a warning\"",
        ),
        ("/manifests: 1", "/manifests: 2", "2", "1"),
        ("/manifests: 1", "/nothing: 1", "1", "(absent)"),
        ("/manifests: 1", "/manifests/0: 1", "1", "no array: 1"),
        ("/manifests/0: 1", "/manifests/0: 2", "2", "1"),
        ("/manifests/0: 1", "/manifests/0: \"1\"", "\"1\"", "1"),
        ("/manifests/0: 1", "/manifests/1: 1", "1", "(absent)"),
        ("times: once", "times: twice", "2 times", "once (400)"),
        ("times: never", "times: once", "once", "never"),
        ("times: some", "times: never", "never", "once (201)"),
        ("answered: 400", "answered: 201", "201", "400"),
        (
            "media-type: application/x,",
            "media-type: application/y,",
            "application/y",
            "application/x",
        ),
        ("/refers/size: 1", "/refers/size: 2", "2", "1"),
        (
            "contains: [\"${code}\"]",
            "contains: [DENIED]",
            "contains \"DENIED\"",
            r#""{\"errors\":[{\"code\":\"MANIFEST_INVALID\"}]}""#,
        ),
        (
            "manifests/latest, answered: 200",
            "manifests/latest, answered: 404",
            "404",
            "200",
        ),
        (
            "media-type: application/json",
            "media-type: text/html",
            "text/html",
            "application/json",
        ),
        (
            "/tags: [latest]",
            "/tags: [latest, other]",
            r#"["latest","other"]"#,
            r#"["latest"]"#,
        ),
        (
            "manifests/${digest-tag}\", answered: 404",
            "manifests/${digest-tag}\", answered: 200",
            "200",
            "404",
        ),
    ] {
        let finding = broken(from, to);
        assert_eq!(
            (finding.expected.as_str(), finding.seen.as_str()),
            (expected, seen),
            "{to}"
        );
    }
}

#[test]
fn a_wrong_digest_fails_wherever_it_is_compared() {
    let other = Digest::sha256(b"other").to_string();
    for (from, to) in [
        (
            "answered: 200, digest: \"${subject}\"",
            format!("answered: 200, digest: \"{other}\""),
        ),
        (
            "sent: { digest: \"${subject}\" }",
            format!("sent: {{ digest: \"{other}\" }}"),
        ),
    ] {
        let finding = broken(from, &to);
        assert_eq!(
            (finding.expected, finding.seen),
            (other.clone(), subject().to_string()),
            "{to}"
        );
    }
}

#[test]
fn both_paths_of_the_referrers_api_are_read() {
    let text = SCENARIO.replace(
        "GET referrers-api, answered: 404",
        "GET referrers-api, answered: 200",
    );
    let verdict = judged(&text, &left(&text), &SOUND).expect("a verdict");
    let urls: Vec<String> = verdict
        .failures()
        .filter_map(|f| f.exchange.as_ref().map(|e| e.url.clone()))
        .collect();
    assert_eq!(urls.len(), 2, "{urls:?}");
    assert!(
        urls[0].contains("_oci/artifacts/referrers?digest=sha256") && urls[1].contains("/referrers/sha256:")
    );
}

#[test]
fn a_failure_names_the_exchange_that_it_was_read_from() {
    let finding = broken("answered: 400", "answered: 201");
    let exchange = finding.exchange.expect("an exchange");
    assert_eq!((exchange.step.as_str(), exchange.place), ("attach", 1));
    assert!(
        exchange
            .summary()
            .starts_with("PUT http://127.0.0.1:4000/v2/app/manifests/sha256:")
    );
}

#[test]
fn an_exchange_with_another_registry_or_repository_does_not_count() {
    let left = left(SCENARIO);
    let mut elsewhere = entry("GET", "referrers/sha256:00", 200, None, "", None);
    elsewhere["comment"] = json!("ghcr.io");
    let mut other = entry("GET", "referrers/sha256:00", 200, None, "", None);
    other["request"]["url"] = json!("http://127.0.0.1:4000/v2/other/referrers/sha256:00");
    left.har(Actor::Consumer, "list", &[elsewhere, other]);
    assert!(judged(SCENARIO, &left, &SOUND).expect("a verdict").holds());
}

#[test]
fn a_forbidden_request_that_was_sent_fails() {
    let left = left(SCENARIO);
    left.har(
        Actor::Consumer,
        "list",
        &[entry(
            "GET",
            "_oci/artifacts/referrers?digest=x",
            404,
            None,
            "",
            None,
        )],
    );
    let verdict = judged(SCENARIO, &left, &SOUND).expect("a verdict");
    let failure = verdict.failures().next().expect("a failure");
    assert_eq!(
        (failure.expected.as_str(), failure.seen.as_str()),
        ("never", "once (404)")
    );
}

#[test]
fn one_of_several_answers_that_differs_fails() {
    let left = left(SCENARIO);
    let put = |status| {
        entry(
            "PUT",
            "manifests/latest",
            status,
            Some(IMAGE),
            "",
            Some(subject()),
        )
    };
    left.har(Actor::Producer, "copy", &[put(500), put(201)]);
    let verdict = judged(SCENARIO, &left, &SOUND).expect("a verdict");
    let failure = verdict.failures().next().expect("a failure");
    assert_eq!((failure.expected.as_str(), failure.seen.as_str()), ("201", "500"));
}

#[test]
fn a_digest_that_no_step_told_fails_and_all_that_needs_it() {
    let left = left(SCENARIO);
    left.har(Actor::Producer, "copy", &[]);
    let verdict = judged(SCENARIO, &left, &SOUND).expect("a verdict");
    let seen: Vec<&str> = verdict.failures().map(|failure| failure.seen.as_str()).collect();
    assert!(
        seen.contains(&"none") && seen.contains(&"no step told one"),
        "{seen:?}"
    );
}

#[test]
fn a_step_that_was_never_played_fails() {
    let left = left(SCENARIO);
    left.outcome(Actor::Consumer, 20, &[]);
    let verdict = judged(SCENARIO, &left, &SOUND).expect("a verdict");
    assert!(
        verdict
            .failures()
            .any(|failure| failure.seen == "it was never played")
    );
}

#[test]
fn what_is_missing_or_foreign_is_an_error_and_no_verdict() {
    let gone = |name: &str| {
        let left = left(SCENARIO);
        std::fs::remove_file(left.folder.path().join(name)).expect("it was there");
        left
    };
    let garbled = left(SCENARIO);
    std::fs::write(garbled.folder.path().join("producer/copy.har"), "{}").expect("a file");
    let other_file = left("another text");
    let earlier = left(SCENARIO);
    earlier.outcome(Actor::Consumer, 1, &[("list", 0, "", "")]);
    for (left, told) in [
        (gone("producer/outcome.json"), "producer/outcome.json"),
        (gone("consumer/outcome.json"), "consumer/outcome.json"),
        (gone("consumer/list.har"), "list.har"),
        (garbled, "malformed"),
        (other_file, "the scenario file that was played"),
        (earlier, "of an earlier run"),
    ] {
        let error = judged(SCENARIO, &left, &SOUND).expect_err(told).to_string();
        assert!(error.contains(told), "{error}");
    }
}

#[test]
fn an_unreachable_registry_is_an_error_and_no_verdict() {
    let down = Registry { up: false, ..SOUND };
    let error = judged(SCENARIO, &left(SCENARIO), &down)
        .expect_err("no answer")
        .to_string();
    assert!(
        error.contains("connection refused") && error.contains("localhost:5001"),
        "{error}"
    );
}

#[test]
fn a_registry_that_changed_afterwards_fails() {
    let changed = Registry {
        tags: r#"{"name":"app","tags":["latest","surprise"]}"#,
        ..SOUND
    };
    let verdict = judged(SCENARIO, &left(SCENARIO), &changed).expect("a verdict");
    let failure = verdict.failures().next().expect("a failure");
    assert_eq!(failure.seen, r#"["latest","surprise"]"#);
}
