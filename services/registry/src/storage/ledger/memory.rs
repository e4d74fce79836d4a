//! What logs hold, in memory and in order.

use super::Entry;
use bytes::Bytes;
use std::{collections::BTreeMap, ops::Bound};

/// Entries of one log or of several that follow each other.
#[derive(Debug, Default)]
pub(super) struct Memory {
    entries: BTreeMap<Bytes, Entry>,
    log_bytes: u64,
    /// Numbers of the first and the last log.
    logs: Option<(u64, u64)>,
}

impl Memory {
    pub(super) fn get(&self, key: &[u8]) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// Keys and values are parts of the frame that they came in, which stays in memory with any of them. That is bounded by the
    /// bytes of the logs.
    pub(super) fn set(&mut self, key: Bytes, entry: Entry) {
        self.entries.insert(key, entry);
    }

    /// Notes that a log has more bytes.
    pub(super) fn grow(&mut self, bytes: u64, log: u64) {
        self.log_bytes += bytes;
        self.logs = Some((self.logs.map_or(log, |(first, _)| first), log));
    }

    pub(super) fn log_bytes(&self) -> u64 {
        self.log_bytes
    }

    /// Numbers of the first and the last log that it holds entries of.
    pub(super) fn logs(&self) -> Option<(u64, u64)> {
        self.logs
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Bytes, &Entry)> {
        self.entries.iter()
    }

    /// The entries whose keys begin with a prefix.
    pub(super) fn beginning_with<'a>(
        &'a self,
        prefix: &'a [u8],
    ) -> impl Iterator<Item = (&'a Bytes, &'a Entry)> {
        self.entries
            .range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
    }
}
