//! Recordings: HAR 1.2 with every field that the format and the developer tools of browsers want.
//!
//! Source: HAR 1.2 (<http://www.softwareishard.com/blog/har-12-spec/>), and how Firefox and Chrome import it: the former
//! opens no file without the list of pages, the latter none whose sizes and times are no numbers.

use crate::{options, repository_of, run, tag};
use bytes::Bytes;
use client::{Client, Options};
use oci::{Descriptor, media_type};
use serde_json::Value;
use testkit::{FaultServer, Reply};

const INDEX: &str = r#"{"schemaVersion":2,"manifests":[]}"#;

#[track_caller]
fn text<'v>(of: &'v Value, key: &str) -> &'v str {
    of[key]
        .as_str()
        .unwrap_or_else(|| panic!("{key} is no text: {of}"))
}

#[track_caller]
fn number(of: &Value, key: &str) -> f64 {
    of[key]
        .as_f64()
        .unwrap_or_else(|| panic!("{key} is no number: {of}"))
}

#[track_caller]
fn list<'v>(of: &'v Value, key: &str) -> &'v [Value] {
    of[key]
        .as_array()
        .unwrap_or_else(|| panic!("{key} is no list: {of}"))
}

#[track_caller]
fn assert_pairs(of: &Value, key: &str) {
    for pair in list(of, key) {
        text(pair, "name");
        text(pair, "value");
    }
}

/// What requests and responses have in common.
#[track_caller]
fn assert_message(message: &Value) {
    text(message, "httpVersion");
    assert_pairs(message, "cookies");
    assert_pairs(message, "headers");
    for size in ["headersSize", "bodySize"] {
        assert!(number(message, size) >= -1.0, "{message}");
    }
}

#[track_caller]
fn assert_entry(entry: &Value) {
    // 2026-11-24T00:16:10.123Z
    let (day, time) = text(entry, "startedDateTime")
        .split_once('T')
        .expect("a date and a time");
    assert!(
        day.len() == 10 && time.len() == 13 && time.ends_with('Z'),
        "{entry}"
    );
    let request = &entry["request"];
    assert_message(request);
    assert!(
        !text(request, "method").is_empty() && text(request, "url").starts_with("http"),
        "{entry}"
    );
    assert_pairs(request, "queryString");
    if let Some(posted) = request.get("postData") {
        text(posted, "mimeType");
        text(posted, "text");
        list(posted, "params");
    }
    let response = &entry["response"];
    assert_message(response);
    let answered = number(response, "status") >= 200.0;
    assert!(
        answered || entry["_error"].is_string(),
        "no answer, and no reason: {entry}"
    );
    text(response, "statusText");
    text(response, "redirectURL");
    assert!(number(&response["content"], "size") >= 0.0, "{entry}");
    text(&response["content"], "mimeType");
    assert!(entry["cache"].is_object(), "{entry}");
    let parts = ["send", "wait", "receive"].map(|part| number(&entry["timings"], part));
    assert!(parts.iter().all(|part| *part >= 0.0), "{entry}");
    let sum: f64 = parts.iter().sum();
    assert!(
        (number(entry, "time") - sum).abs() < 0.01,
        "time is the sum of its parts: {entry}"
    );
}

#[test]
fn a_recording_has_what_the_developer_tools_of_browsers_read() {
    let server = FaultServer::start(|seen| {
        let index = [("Content-Type", media_type::OCI_INDEX)];
        match (
            seen.method.as_str(),
            seen.path.rsplit('/').next().unwrap_or_default(),
        ) {
            ("GET", "moved") => Reply::new(307, &[("Location", "/v2/a/b/manifests/here?n=1")], ""),
            ("GET", "gone") => Reply::new(404, &[], ""),
            ("GET", "broken") => Reply::Close,
            ("GET", "torn") => {
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nContent-Length: 99\r\n\r\n{{",
                    index[0].1
                );
                Reply::BytesThenClose(head.into_bytes())
            }
            ("GET", _) => Reply::new(200, &index, INDEX),
            ("HEAD", _) => Reply::head(404, &[], 0),
            ("POST", _) => Reply::new(202, &[("Location", "/v2/a/b/blobs/uploads/1?state=x")], ""),
            _ => Reply::new(201, &[], ""),
        }
    });
    let folder = tempfile::tempdir().expect("a folder");
    let har = folder.path().join("x.har");
    run(async {
        let options = Options {
            har: Some(har.clone()),
            attempts: 1,
            ..options()
        };
        let client = Client::new(options).expect("a client");
        let repository = repository_of(&client, &server.host(), "a/b");
        for name in ["latest", "moved"] {
            repository.get_manifest(&tag(name)).await.expect("found");
        }
        for name in ["gone", "broken", "torn"] {
            repository.get_manifest(&tag(name)).await.expect_err(name);
        }
        let manifest = client::Manifest::new(media_type::OCI_INDEX, INDEX);
        repository
            .put_manifest(&tag("new"), &manifest, &client::Condition::Always)
            .await
            .expect("written");
        let content = Bytes::from_static(b"hello");
        let blob = Descriptor::of("x/y", &content);
        repository.put_blob(&blob, &content).await.expect("uploaded");
        client.finish().expect("a recording");
    });
    let document: Value = serde_json::from_slice(&std::fs::read(&har).expect("a file")).expect("JSON");
    let log = &document["log"];
    assert_eq!(text(log, "version"), "1.2");
    text(&log["creator"], "name");
    text(&log["creator"], "version");
    assert_eq!(list(log, "pages"), &[] as &[Value]);
    let entries = list(log, "entries");
    assert_eq!(
        entries.len(),
        server.requests().len(),
        "every exchange, and nothing else"
    );
    entries.iter().for_each(assert_entry);

    let of = |ending: &str| {
        let mut entries = entries.iter();
        entries
            .find(|entry| text(&entry["request"], "url").ends_with(ending))
            .expect(ending)
    };
    assert_eq!(of("/latest")["response"]["content"]["text"], INDEX);
    assert_eq!(
        of("/moved")["response"]["redirectURL"],
        "/v2/a/b/manifests/here?n=1"
    );
    assert_eq!(
        of("/here?n=1")["request"]["queryString"],
        serde_json::json!([{"name": "n", "value": "1"}])
    );
    assert_eq!(of("/new")["request"]["postData"]["text"], INDEX);
    assert_eq!(of("/broken")["response"]["status"], 0);
    assert!(
        text(of("/torn"), "_error").contains("expected 99 bytes"),
        "{}",
        of("/torn")
    );
    let put = of(&format!(
        "digest={}",
        oci::routes::query_value(&Descriptor::of("x/y", b"hello").digest.to_string())
    ));
    assert_eq!(
        (&put["request"]["bodySize"], put["request"].get("postData")),
        (&5.into(), None),
        "blobs are not kept"
    );
}
