//! `Range` and `Content-Range`: the parsers agree with expressions, and what a range takes agrees with counting bytes.

use crate::grammar::{header, whole};
use oci::headers::{ByteRange, parse_chunk_range};
use regex_lite::Regex;
use std::sync::LazyLock;

/// RFC 9110, section 14.1.2, of one range.
static RANGE: LazyLock<Regex> =
    LazyLock::new(|| whole(r"[ \t]*(?i:bytes)[ \t]*=[ \t]*(?P<first>[0-9]*)-(?P<last>[0-9]*)[ \t]*"));

/// What clients send with a chunk.
static CHUNK: LazyLock<Regex> =
    LazyLock::new(|| whole(r"[ \t]*(?:bytes[ =]*)?(?P<first>[0-9]+)-(?P<last>[0-9]+)(?:/.*)?[ \t]*"));

/// Any header.
pub fn check(input: &[u8]) {
    let Some(text) = header(input) else { return };
    let range = ByteRange::parse(text);
    assert_eq!(range, range_by_expression(text), "{text:?}");
    if let Some(range) = range {
        takes_what_counting_takes(range);
    }
    let chunk = parse_chunk_range(text);
    assert_eq!(chunk, chunk_by_expression(text), "{text:?}");
}

fn range_by_expression(text: &str) -> Option<ByteRange> {
    let parts = RANGE.captures(text)?;
    match (&parts["first"], &parts["last"]) {
        ("", last) => last.parse().ok().map(ByteRange::Last),
        (first, "") => first.parse().ok().map(|first| ByteRange::From(first, None)),
        (first, last) => Some(ByteRange::From(first.parse().ok()?, Some(last.parse().ok()?))),
    }
}

fn chunk_by_expression(text: &str) -> Option<(u64, u64)> {
    let parts = CHUNK.captures(text)?;
    let (first, last) = (parts["first"].parse().ok()?, parts["last"].parse().ok()?);
    (first <= last).then_some((first, last))
}

/// Byte by byte, for small contents; and inside of the content for large ones.
fn takes_what_counting_takes(range: ByteRange) {
    for size in 0..20_u64 {
        let taken: Vec<u64> = (0..size)
            .filter(|at| match range {
                ByteRange::From(first, last) => *at >= first && last.is_none_or(|last| *at <= last),
                ByteRange::Last(count) => size - at <= count,
            })
            .collect();
        let within: Vec<u64> = range
            .within(size)
            .map_or(Vec::new(), |(start, end)| (start..end).collect());
        assert_eq!(within, taken, "{range:?} of {size} bytes");
    }
    for size in [u64::MAX, u64::MAX - 1, 1 << 32] {
        if let Some((start, end)) = range.within(size) {
            assert!(start < end && end <= size, "{range:?} of {size} bytes");
        }
    }
}
