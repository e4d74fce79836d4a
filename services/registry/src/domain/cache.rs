//! A bounded cache that stays coherent with storage.
//!
//! Who changes storage says so with [`Cache::insert`] or [`Cache::remove`]. Who read storage takes a [`Ticket`] first and
//! offers what it read with [`Cache::fill`], which is refused if anything was changed meanwhile: so a slow reader never puts
//! an old value over a new one.

use foldhash::quality::RandomState;
use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash},
    sync::{Mutex, MutexGuard, PoisonError},
};

const SHARDS: usize = 16;

/// What the texts of a key take: the names, and what their allocations do.
const TEXT_BYTES: usize = 80;

/// A cache of at most a number of bytes, in two generations: what is used stays, what is not goes when its generation does.
pub(super) struct Cache<K, V> {
    shards: [Mutex<Shard<K, V>>; SHARDS],
    hasher: RandomState,
    generation_bytes: usize,
}

/// Keys are hashed quickly: who finds many that collide makes a look-up read one shard's worth of them, and a shard is small.
type Table<K, V> = HashMap<K, (V, usize), RandomState>;

struct Shard<K, V> {
    young: Table<K, V>,
    old: Table<K, V>,
    young_bytes: usize,
    changes: u64,
}

/// The state of a part of the cache before storage was read.
#[derive(Clone, Copy)]
pub(super) struct Ticket(u64);

/// What an entry costs beside what its value points to, in bytes, as measured by the test of weights: the texts of its key, and its
/// slots in a table that is between seven eighths and half of that full.
const fn entry_bytes<K, V>() -> usize {
    TEXT_BYTES + size_of::<(K, (V, usize))>() * 15 / 8
}

impl<K: Hash + Eq + Clone, V: Clone> Cache<K, V> {
    /// A cache of at most about this many bytes.
    pub(super) fn new(bytes: usize) -> Cache<K, V> {
        Cache {
            shards: std::array::from_fn(|_| Mutex::new(Shard::new())),
            hasher: RandomState::default(),
            generation_bytes: bytes / SHARDS / 2,
        }
    }

    /// Whether a value of this size would be remembered.
    pub(super) fn has_room_for(&self, bytes: usize) -> bool {
        bytes.saturating_add(entry_bytes::<K, V>()) <= self.generation_bytes
    }

    /// The value, if it is remembered.
    pub(super) fn get(&self, key: &K) -> Option<V> {
        let mut shard = self.shard(key);
        if let Some((value, _)) = shard.young.get(key) {
            return Some(value.clone());
        }
        let (value, bytes) = shard.old.remove(key)?;
        shard.put(key.clone(), value.clone(), bytes, self.generation_bytes);
        Some(value)
    }

    /// To be taken before storage is read.
    pub(super) fn ticket(&self, key: &K) -> Ticket {
        Ticket(self.shard(key).changes)
    }

    /// Remembers what was read, unless something changed since the ticket was taken. `bytes` is the size of what
    /// the value points to.
    pub(super) fn fill(&self, ticket: Ticket, key: K, value: V, bytes: usize) {
        let mut shard = self.shard(&key);
        if shard.changes == ticket.0 {
            shard.put(key, value, bytes, self.generation_bytes);
        }
    }

    /// Remembers what was written.
    pub(super) fn insert(&self, key: K, value: V, bytes: usize) {
        let mut shard = self.shard(&key);
        shard.changes += 1;
        shard.old.remove(&key);
        shard.put(key, value, bytes, self.generation_bytes);
    }

    /// Forgets what was removed.
    pub(super) fn remove(&self, key: &K) {
        let mut shard = self.shard(key);
        shard.changes += 1;
        if let Some((_, bytes)) = shard.young.remove(key) {
            shard.young_bytes = shard.young_bytes.saturating_sub(bytes + entry_bytes::<K, V>());
        }
        shard.old.remove(key);
    }

    /// What an entry weighs beside its value.
    #[cfg(test)]
    pub(super) fn entry_bytes(&self) -> usize {
        entry_bytes::<K, V>()
    }

    fn shard(&self, key: &K) -> MutexGuard<'_, Shard<K, V>> {
        let index = self.hasher.hash_one(key) as usize % SHARDS;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq, V> Shard<K, V> {
    fn new() -> Shard<K, V> {
        Shard {
            young: Table::default(),
            old: Table::default(),
            young_bytes: 0,
            changes: 0,
        }
    }

    fn put(&mut self, key: K, value: V, bytes: usize, generation_bytes: usize) {
        let weight = bytes + entry_bytes::<K, V>();
        if weight > generation_bytes {
            // Too large to keep; an older value must not stay in its place.
            self.young.remove(&key);
            return;
        }
        if self.young_bytes + weight > generation_bytes {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += weight;
        if let Some((_, replaced)) = self.young.insert(key, (value, bytes)) {
            self.young_bytes = self.young_bytes.saturating_sub(replaced + entry_bytes::<K, V>());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Blob, weights::is_as_measured};
    use bytes::Bytes;
    use oci::{Digest, RepositoryName, Tag};

    #[test]
    fn what_is_used_stays_and_the_rest_makes_room() {
        let cache: Cache<u32, u32> = Cache::new(SHARDS * 2 * 10 * entry_bytes::<u32, u32>());
        cache.insert(0, 0, 0);
        for n in 1..10_000 {
            cache.insert(n, n, 0);
            assert_eq!(cache.get(&0), Some(0), "after {n}");
        }
        let kept = (0..10_000).filter(|n| cache.get(n).is_some()).count();
        assert!((1..=SHARDS * 2 * 10).contains(&kept), "{kept}");
    }

    #[test]
    fn a_slow_reader_does_not_bring_an_old_value_back() {
        let cache: Cache<u32, &str> = Cache::new(1 << 20);
        let ticket = cache.ticket(&1);
        cache.insert(1, "new", 3);
        cache.fill(ticket, 1, "old", 3);
        assert_eq!(cache.get(&1), Some("new"));
        let ticket = cache.ticket(&1);
        cache.remove(&1);
        cache.fill(ticket, 1, "old", 3);
        assert_eq!(cache.get(&1), None);
        let ticket = cache.ticket(&1);
        cache.fill(ticket, 1, "read", 4);
        assert_eq!(cache.get(&1), Some("read"));
    }

    #[test]
    fn a_value_larger_than_the_cache_is_not_kept_and_replaces_what_was() {
        let cache: Cache<u32, u32> = Cache::new(1 << 20);
        cache.insert(1, 1, 4);
        cache.insert(1, 2, 1 << 30);
        assert_eq!(cache.get(&1), None);
    }

    #[test]
    #[ignore = "a measurement, see `weights`"]
    fn entries_weigh_what_is_measured() {
        let cache = || Cache::<(RepositoryName, Tag), Option<Digest>>::new(usize::MAX);
        for count in [60_000, 200_000, 300_000] {
            is_as_measured(&format!("targets of {count} tags"), || {
                let cache = cache();
                for n in 0..count {
                    let name = RepositoryName::parse("group/application").expect("a name");
                    let tag = Tag::parse(&format!("v1.0.{n}")).expect("a tag");
                    cache.insert((name, tag), Some(Digest::sha256(b"x")), 0);
                }
                (
                    cache,
                    count * entry_bytes::<(RepositoryName, Tag), Option<Digest>>(),
                )
            });
        }
        for (count, size) in [
            (200_000, None),
            (200_000, Some(2)),
            (50_000, Some(2_000)),
            (4_000, Some(40_000)),
        ] {
            is_as_measured(&format!("blobs of {size:?} bytes"), || {
                let cache: Cache<(RepositoryName, Digest), Blob> = Cache::new(usize::MAX);
                for n in 0..count {
                    let name = RepositoryName::parse("group/application").expect("a name");
                    let digest = Digest::sha256(&usize::to_le_bytes(n));
                    let bytes = size.map(|size| Bytes::from(vec![1; size]));
                    let blob = Blob { size: 7, bytes };
                    cache.insert((name, digest), blob, size.unwrap_or_default());
                }
                let each = entry_bytes::<(RepositoryName, Digest), Blob>() + size.unwrap_or_default();
                (cache, count * each)
            });
        }
    }
}
