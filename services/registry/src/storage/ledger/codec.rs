//! How entries are written, in logs and in tables alike.
//!
//! `kind` (1 byte: 0 removed, 1 put), the key's length and the key, then for a put the time and the value's length and the value.
//! Lengths and times are in base 128, least digit first, as in protocol buffers.

use super::{Entry, Value};
use bytes::Bytes;
use std::time::SystemTime;

const REMOVED: u8 = 0;
const PUT: u8 = 1;

/// Changes that are applied together.
#[derive(Debug)]
pub(in crate::storage) struct Batch {
    payload: Vec<u8>,
    millis: u64,
}

impl Batch {
    /// A batch of changes that take place now.
    pub(in crate::storage) fn new() -> Batch {
        Batch {
            payload: Vec::new(),
            millis: millis(SystemTime::now()),
        }
    }

    /// Sets a value.
    pub(in crate::storage) fn put(&mut self, key: &[u8], value: &[u8]) {
        write_put(&mut self.payload, key, value, self.millis);
    }

    /// Sets a value that was put at another time.
    pub(in crate::storage) fn put_at(&mut self, key: &[u8], value: &[u8], time: SystemTime) {
        write_put(&mut self.payload, key, value, millis(time));
    }

    /// Removes a value.
    pub(in crate::storage) fn remove(&mut self, key: &[u8]) {
        write_removed(&mut self.payload, key);
    }

    pub(in crate::storage) fn is_empty(&self) -> bool {
        self.payload.is_empty()
    }

    /// Bytes that it takes.
    pub(in crate::storage) fn len(&self) -> usize {
        self.payload.len()
    }

    pub(super) fn into_payload(self) -> Vec<u8> {
        self.payload
    }
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Appends an entry.
pub(super) fn write_entry(out: &mut Vec<u8>, key: &[u8], entry: &Entry) {
    match entry {
        Some(value) => write_put(out, key, &value.bytes, value.millis),
        None => write_removed(out, key),
    }
}

fn write_put(out: &mut Vec<u8>, key: &[u8], value: &[u8], millis: u64) {
    out.push(PUT);
    write_bytes(out, key);
    write_number(out, millis);
    write_bytes(out, value);
}

fn write_removed(out: &mut Vec<u8>, key: &[u8]) {
    out.push(REMOVED);
    write_bytes(out, key);
}

/// Appends a length and that many bytes.
pub(super) fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(super) fn write_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads what the functions above write; `None` where the bytes end or make no sense.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a Bytes) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn range(&mut self) -> Option<std::ops::Range<usize>> {
        let len = usize::try_from(self.number()?).ok()?;
        let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len())?;
        let range = self.at..end;
        self.at = end;
        Some(range)
    }

    /// A part of the bytes that are read; nothing is copied.
    pub(super) fn bytes(&mut self) -> Option<Bytes> {
        let range = self.range()?;
        Some(self.bytes.slice(range))
    }

    /// An entry whose parts are borrowed.
    fn raw_entry(&mut self) -> Option<RawEntry> {
        match self.byte()? {
            REMOVED => Some((self.range()?, None)),
            PUT => {
                let key = self.range()?;
                let millis = self.number()?;
                Some((key, Some((millis, self.range()?))))
            }
            _ => None,
        }
    }
}

type RawEntry = (std::ops::Range<usize>, Option<(u64, std::ops::Range<usize>)>);

/// The entries in a payload. An error where it makes no sense, and then no more.
pub(super) fn entries(payload: &Bytes) -> impl Iterator<Item = Result<(Bytes, Entry), Nonsense>> {
    let mut reader = Reader::new(payload);
    let mut is_over = false;
    std::iter::from_fn(move || {
        if is_over || reader.is_at_end() {
            return None;
        }
        let Some((key, value)) = reader.raw_entry() else {
            is_over = true;
            return Some(Err(Nonsense));
        };
        let entry = value.map(|(millis, range)| Value {
            bytes: payload.slice(range),
            millis,
        });
        Some(Ok((payload.slice(key), entry)))
    })
}

/// The entry of a key in a payload that is sorted by key. Nothing is copied, and nothing is counted but for what is found.
pub(super) fn find(payload: &Bytes, key: &[u8]) -> Result<Option<Entry>, Nonsense> {
    let mut reader = Reader::new(payload);
    while !reader.is_at_end() {
        let (at, value) = reader.raw_entry().ok_or(Nonsense)?;
        match payload[at].cmp(key) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Greater => break,
            std::cmp::Ordering::Equal => {
                return Ok(Some(value.map(|(millis, range)| Value {
                    // Its own bytes: a block must not stay in memory for the sake of a tag.
                    bytes: Bytes::copy_from_slice(&payload[range]),
                    millis,
                })));
            }
        }
    }
    Ok(None)
}

/// Bytes with a right checksum that are no entries: they were written by something else.
#[derive(Debug)]
pub(super) struct Nonsense;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            changes in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), prop::option::of(prop::collection::vec(any::<u8>(), 0..300))), 0..20),
        ) {
            let mut batch = Batch::new();
            for (key, value) in &changes {
                match value {
                    Some(value) => batch.put(key, value),
                    None => batch.remove(key),
                }
            }
            let payload = Bytes::from(batch.into_payload());
            let read: Vec<_> = entries(&payload)
                .map(|entry| entry.expect("an entry"))
                .map(|(key, entry)| (key.to_vec(), entry.map(|value| value.bytes.to_vec())))
                .collect();
            prop_assert_eq!(read, changes);
        }

        #[test]
        fn any_bytes_end_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let payload = Bytes::from(bytes);
            let count = entries(&payload).count();
            prop_assert!(count <= payload.len());
            let _ = find(&payload, b"key");
        }

        #[test]
        fn numbers_are_read_back(number in any::<u64>()) {
            let mut out = Vec::new();
            write_number(&mut out, number);
            let bytes = Bytes::from(out);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.number(), Some(number));
            prop_assert!(reader.is_at_end());
        }
    }
}
