//! What the original tools of 2022 sent, sent again: every request gets the status that the original registries gave. There
//! was no status to better in these four; what came back is compared as far as it does not depend on time and place.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on ends"
)]

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
use std::{collections::HashMap, path::Path};
use testkit::{
    Registry,
    http::{Request, Response},
};

/// One request and what it got.
struct Exchange {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    status: u16,
    response: Value,
}

/// The requests of a recording that went to a registry of ours, in their order, and which registry that was.
fn read(name: &str) -> (String, Vec<Exchange>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/recordings")
        .join(name);
    let text = std::fs::read_to_string(path).expect("a recording");
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let ours: Vec<Value> = lines.filter(|line| line["registry"] != "source").collect();
    let registry = ours[0]["registry"].as_str().unwrap().to_owned();
    assert!(
        ours.iter().all(|line| line["registry"] == registry.as_str()),
        "{name} went to two registries"
    );
    let exchange = |line: Value| Exchange {
        method: line["method"].as_str().unwrap().to_owned(),
        path: line["path"].as_str().unwrap().to_owned(),
        headers: line["request_headers"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
            .collect(),
        body: bytes(&line["request_body"]),
        status: u16::try_from(line["status"].as_u64().unwrap()).unwrap(),
        response: line,
    };
    (registry, ours.into_iter().map(exchange).collect())
}

/// A body as it was: text, or `{"base64": …}`.
fn bytes(body: &Value) -> Vec<u8> {
    match (body.as_str(), body["base64"].as_str()) {
        (Some(text), _) => text.as_bytes().to_vec(),
        (None, Some(text)) => STANDARD.decode(text).expect("base64"),
        (None, None) => Vec::new(),
    }
}

/// The id of the upload session in a path or location.
fn session_id(path: &str) -> Option<&str> {
    let (_, id) = path.split('?').next()?.rsplit_once("/blobs/uploads/")?;
    Some(id).filter(|id| !id.is_empty())
}

/// The target to send to: where the original named a session of its own, ours, with the digest that the original gave.
fn target(path: &str, sessions: &HashMap<String, String>) -> String {
    let Some(id) = session_id(path) else {
        return path.to_owned();
    };
    let ours = sessions.get(id).expect("a session that was begun before").clone();
    let query = path.split_once('?').map_or("", |(_, query)| query);
    match query.split('&').find(|pair| pair.starts_with("digest=")) {
        Some(digest) if ours.contains('?') => format!("{ours}&{digest}"),
        Some(digest) => format!("{ours}?{digest}"),
        None => ours,
    }
}

fn send(registry: &Registry, exchange: &Exchange, target: &str) -> Response {
    let mut request = Request::new(&exchange.method, target).body(&exchange.body);
    for (name, value) in &exchange.headers {
        if name.eq_ignore_ascii_case("transfer-encoding") {
            request = request.chunked(1000);
        } else {
            request = request.header(name, value);
        }
    }
    request.send(registry.address())
}

/// Compares what does not depend on when and where it was recorded.
fn compare(exchange: &Exchange, answer: &Response) {
    let original = &exchange.response["response_headers"];
    if let Some(digest) = original["Docker-Content-Digest"].as_str() {
        assert_eq!(answer.header("docker-content-digest"), Some(digest));
    }
    let body = &exchange.response["response_body"];
    if exchange.method != "GET" || exchange.status != 200 {
        return;
    }
    if exchange.path.contains("/manifests/") || exchange.path.contains("/blobs/") {
        assert_eq!(answer.header("content-type"), original["Content-Type"].as_str());
        assert!(answer.body == bytes(body), "{}", answer.text());
    } else if exchange.path.contains("/referrers") {
        let listed = |list: &Value| -> Vec<Value> {
            let digests = list["manifests"].as_array().or(list["referrers"].as_array());
            digests
                .expect("a list")
                .iter()
                .map(|descriptor| descriptor["digest"].clone())
                .collect()
        };
        let original = serde_json::from_slice(&bytes(body)).expect("JSON");
        assert_eq!(listed(&answer.json()), listed(&original));
    } else if exchange.path.contains("/tags/list") {
        assert_eq!(
            answer.json(),
            serde_json::from_slice::<Value>(&bytes(body)).expect("JSON")
        );
    }
}

fn replay(recording: &str) {
    let (name, exchanges) = read(recording);
    let registry = match name.as_str() {
        "current" => Registry::current(),
        "complete" => Registry::complete(),
        other => panic!("{other} is no registry of ours"),
    };
    let mut sessions: HashMap<String, String> = HashMap::new();
    for (number, exchange) in exchanges.iter().enumerate() {
        let what = format!(
            "{recording}, request {}: {} {}",
            number + 1,
            exchange.method,
            exchange.path
        );
        let answer = send(&registry, exchange, &target(&exchange.path, &sessions));
        assert_eq!(answer.status, exchange.status, "{what}\n{}", answer.text());
        println!("{what}: {}", answer.status);
        compare(exchange, &answer);
        if answer.status == 202 {
            let original = exchange.response["response_headers"]["Location"]
                .as_str()
                .expect("a location");
            let id = session_id(original).expect("a session").to_owned();
            sessions.insert(id, answer.location());
        }
    }
}

#[test]
fn scenario_8_is_answered_as_the_original_current_registry_did() {
    replay("scenario-08.jsonl");
}

#[test]
fn scenario_11_is_answered_as_the_original_complete_registry_did() {
    replay("scenario-11.jsonl");
}

#[test]
fn scenario_13_is_answered_as_the_original_current_registry_did() {
    replay("scenario-13.jsonl");
}

#[test]
fn scenario_18_is_answered_as_the_original_complete_registry_did() {
    replay("scenario-18.jsonl");
}
