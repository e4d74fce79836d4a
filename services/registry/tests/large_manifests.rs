//! What large manifests that are pushed at once may hold in memory. It is one budget for the process, so this is alone in its own.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on ends"
)]

use oci::{MAX_MANIFEST_BYTES, media_type};
use testkit::{
    Registry,
    http::{Connection, Response},
};

/// As many manifests of the largest size as may be under way at once.
const AT_ONCE: usize = 16;

/// An index of so many bytes.
fn padded(size: usize) -> Vec<u8> {
    let mut body = br#"{"schemaVersion":2,"manifests":[]}"#.to_vec();
    body.resize(size, b' ');
    body
}

fn push(registry: &Registry, tag: &str, size: usize) -> Response {
    registry.put_manifest("a", tag, media_type::OCI_INDEX, &padded(size))
}

#[test]
fn senders_of_large_manifests_that_pause_hold_bounded_memory_and_keep_out_nobody_with_a_small_one() {
    let registry = Registry::current();
    let body = padded(MAX_MANIFEST_BYTES);
    let mut slow: Vec<Connection> = (0..AT_ONCE)
        .map(|n| {
            let mut sender = Connection::open(registry.address());
            let head = format!(
                "PUT /v2/a/manifests/slow-{n} HTTP/1.1\r\nHost: x\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
                media_type::OCI_INDEX,
                body.len()
            );
            sender.write(head.as_bytes());
            sender.write(&body[..body.len() - 1]);
            sender
        })
        .collect();
    for n in 0..3 {
        push(&registry, &format!("small-{n}"), 50_000).expect(201);
    }
    // It may come before the last of them has its share.
    let mut tries = (0..100).map(|_| push(&registry, "large", MAX_MANIFEST_BYTES));
    let refused = tries
        .find(|answer| answer.status != 201)
        .expect("a refusal")
        .expect(429);
    assert_eq!(refused.error_code(), "TOOMANYREQUESTS");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    // A share is free again when its manifest is stored, and when its sender is gone.
    let mut first = slow.remove(0);
    first.write(b" ");
    first.read(false).expect("an answer").expect(201);
    push(&registry, "large", MAX_MANIFEST_BYTES).expect(201);
    drop(slow);
    for n in 0..2 * AT_ONCE {
        push(&registry, &format!("larger-{n}"), MAX_MANIFEST_BYTES - n).expect(201);
    }
}
