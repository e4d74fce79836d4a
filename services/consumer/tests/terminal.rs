//! What a person at a terminal sees: bars, colours, and neither where they are not wanted.

#![cfg(target_os = "linux")]
#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

use oci::{Descriptor, media_type};
use serde_json::json;
use testkit::{FaultServer, Reply, Tool, fault::Gate, terminal::Terminal};

/// The length of the layer, of which half comes at once.
const LAYER_BYTES: usize = 2 * 1024 * 1024;

fn consumer() -> Tool {
    Tool::new(env!("CARGO_BIN_EXE_consumer")).generation("intermediate")
}

/// A registry with one image, which keeps back the second half of its layer until the gate opens.
fn slow(gate: &Gate) -> FaultServer {
    let layer = vec![b'x'; LAYER_BYTES];
    let config = b"{}";
    let blob = Descriptor::of(media_type::OCI_LAYER, &layer);
    let manifest = json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "config": Descriptor::of(media_type::OCI_CONFIG, config), "layers": [blob]})
    .to_string();
    let (path, gate) = (format!("/v2/app/blobs/{}", blob.digest), gate.clone());
    FaultServer::start(move |request| match request.path.as_str() {
        "/v2/app/manifests/latest" => {
            Reply::new(200, &[("Content-Type", media_type::OCI_MANIFEST)], &manifest)
        }
        asked if asked == path => {
            let (first, rest) = layer.split_at(LAYER_BYTES / 2);
            let mut head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LAYER_BYTES}\r\n\r\n").into_bytes();
            head.extend_from_slice(first);
            Reply::Gated {
                first: head,
                gate: gate.clone(),
                rest: rest.to_vec(),
            }
        }
        asked if asked.contains("/blobs/") => Reply::new(200, &[], config),
        _ => Reply::new(404, &[], ""),
    })
}

/// Whether a text sets colours: bars move the cursor by other sequences.
fn is_coloured(shown: &str) -> bool {
    shown.split("\u{1b}[").skip(1).any(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != ';');
        end.is_some_and(|end| rest[end..].starts_with('m'))
    })
}

#[test]
fn a_blob_under_way_has_a_bar_with_its_bytes_and_leaves_a_line() {
    if !Terminal::can_be_made() {
        return;
    }
    let gate = Gate::default();
    let server = slow(&gate);
    let line = format!("pull {}/app:latest", server.host());
    let mut terminal = Terminal::start(&consumer().env("NO_COLOR", "1"), &line);
    terminal.wait_for("KiB/2.00 MiB");
    gate.open();
    let (code, shown) = terminal.end();
    assert_eq!(code, 0, "{shown:?}");
    assert!(
        shown.contains("sha256:") && shown.contains("[=") && shown.contains("/s"),
        "{shown:?}"
    );
    assert!(shown.contains("transferred, 2.0 MiB"), "{shown:?}");
    assert!(shown.contains("\u{1b}[2K"), "the bar is taken away: {shown:?}");
    assert!(!is_coloured(&shown), "{shown:?}");
}

#[test]
fn quiet_shows_the_data_alone_also_on_a_terminal() {
    if !Terminal::can_be_made() {
        return;
    }
    let gate = Gate::default();
    gate.open();
    let server = slow(&gate);
    let line = format!("--quiet pull {}/app:latest", server.host());
    let (code, shown) = Terminal::start(&consumer(), &line).end();
    assert_eq!(code, 0, "{shown:?}");
    assert!(
        shown.starts_with("sha256:") && shown.trim_end().len() == "sha256:".len() + 64,
        "{shown:?}"
    );
}

#[test]
fn an_error_is_coloured_on_a_terminal_unless_no_color_is_set() {
    if !Terminal::can_be_made() {
        return;
    }
    let server = FaultServer::start(|_| Reply::new(404, &[], ""));
    for line in [
        format!("pull {}/app:latest", server.host()),
        format!("-v pull {}/app:latest", server.host()),
        "pull".to_owned(),
        "--help".to_owned(),
    ] {
        let (_, shown) = Terminal::start(&consumer(), &line).end();
        assert!(is_coloured(&shown), "{line}: {shown:?}");
        let (_, shown) = Terminal::start(&consumer().env("NO_COLOR", "1"), &line).end();
        assert!(!is_coloured(&shown), "{line}: {shown:?}");
    }
}
