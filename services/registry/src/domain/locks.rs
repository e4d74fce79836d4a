//! Who may change what at once.
//!
//! Three kinds, always taken in this order: a repository (shared by pushes, alone by deletes of manifests and blobs, so that
//! no push relies on content that is just going away, and what memory knows changes in the order in which storage does);
//! tags (one change at a time, so that conditions hold); contents (leased while something is made to reach them, so that
//! garbage collection leaves them alone; nobody waits for a lease, so it may be taken first). Who deletes on a full disk is alone
//! in that, taken last of all.

use oci::{Digest, RepositoryName, Tag};
use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError,
    },
};

const REPOSITORY_STRIPES: usize = 64;

pub(super) struct Locks {
    hasher: RandomState,
    repositories: [RwLock<()>; REPOSITORY_STRIPES],
    tags: Mutex<HashSet<(RepositoryName, Tag)>>,
    tag_freed: Condvar,
    leases: Mutex<Leases>,
    collection: Mutex<()>,
    full_disk: Mutex<()>,
}

#[derive(Default)]
struct Leases {
    held: HashMap<Digest, usize>,
    /// While garbage is collected: every content leased when the collection began, or since.
    since_mark: Option<HashSet<Digest>>,
}

impl Default for Locks {
    fn default() -> Locks {
        Locks {
            hasher: RandomState::new(),
            repositories: std::array::from_fn(|_| RwLock::new(())),
            tags: Mutex::default(),
            tag_freed: Condvar::new(),
            leases: Mutex::default(),
            collection: Mutex::default(),
            full_disk: Mutex::default(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Locks {
    /// Shared with other pushes into the repository.
    pub(super) fn push_into(&self, name: &RepositoryName) -> RwLockReadGuard<'_, ()> {
        self.repository(name)
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// No push into the repository meanwhile.
    pub(super) fn delete_from(&self, name: &RepositoryName) -> RwLockWriteGuard<'_, ()> {
        self.repository(name)
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn repository(&self, name: &RepositoryName) -> &RwLock<()> {
        &self.repositories[self.hasher.hash_one(name) as usize % REPOSITORY_STRIPES]
    }

    /// All of these tags of one repository at once: taken together, so two pushes of several tags cannot wait for each other.
    pub(super) fn tags(&self, name: &RepositoryName, tags: &[Tag]) -> TagLock<'_> {
        let keys: HashSet<_> = tags.iter().map(|tag| (name.clone(), tag.clone())).collect();
        let mut held = lock(&self.tags);
        while keys.iter().any(|key| held.contains(key)) {
            held = self.tag_freed.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        held.extend(keys.iter().cloned());
        TagLock { locks: self, keys }
    }

    /// Keeps a content from being collected while the lease is held.
    pub(super) fn lease(&self, digest: Digest) -> Lease<'_> {
        let mut leases = lock(&self.leases);
        *leases.held.entry(digest).or_default() += 1;
        if let Some(since_mark) = &mut leases.since_mark {
            since_mark.insert(digest);
        }
        Lease { locks: self, digest }
    }
}

impl Locks {
    /// One garbage collection at a time.
    pub(super) fn collect(&self) -> MutexGuard<'_, ()> {
        lock(&self.collection)
    }

    /// As [`Locks::collect`], for who must not wait for a collection, as that may wait for it.
    pub(super) fn collect_unless_under_way(&self) -> Option<MutexGuard<'_, ()>> {
        match self.collection.try_lock() {
            Ok(alone) => Some(alone),
            Err(TryLockError::Poisoned(error)) => Some(error.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// One at a time has the room that is kept back for deletes.
    pub(super) fn delete_on_full_disk(&self) -> MutexGuard<'_, ()> {
        lock(&self.full_disk)
    }

    /// Begins to note every content that is leased or will be, until the returned value is dropped.
    pub(super) fn note_leases(&self) -> LeaseNotes<'_> {
        let mut leases = lock(&self.leases);
        leases.since_mark = Some(leases.held.keys().copied().collect());
        LeaseNotes { locks: self }
    }
}

/// While it lives, every lease is noted.
pub(super) struct LeaseNotes<'a> {
    locks: &'a Locks,
}

impl LeaseNotes<'_> {
    /// Does something to a content unless it was leased at any time since the notes began; no lease begins meanwhile.
    pub(super) fn unless_leased<T>(&self, digest: &Digest, action: impl FnOnce() -> T) -> Option<T> {
        let leases = lock(&self.locks.leases);
        let noted = leases
            .since_mark
            .as_ref()
            .is_some_and(|noted| noted.contains(digest));
        (!noted && !leases.held.contains_key(digest)).then(action)
    }
}

impl Drop for LeaseNotes<'_> {
    fn drop(&mut self) {
        lock(&self.locks.leases).since_mark = None;
    }
}

/// Tags that one change holds.
pub(super) struct TagLock<'a> {
    locks: &'a Locks,
    keys: HashSet<(RepositoryName, Tag)>,
}

impl Drop for TagLock<'_> {
    fn drop(&mut self) {
        let mut held = lock(&self.locks.tags);
        for key in &self.keys {
            held.remove(key);
        }
        self.locks.tag_freed.notify_all();
    }
}

/// A content that must not be collected.
pub(super) struct Lease<'a> {
    locks: &'a Locks,
    digest: Digest,
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut leases = lock(&self.locks.leases);
        if let Some(count) = leases.held.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                leases.held.remove(&self.digest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_began_before_the_notes_and_ended_since_counts() {
        let (early, late, never) = (Digest::sha256(b"e"), Digest::sha256(b"l"), Digest::sha256(b"n"));
        let locks = Locks::default();
        let before = locks.lease(early);
        let notes = locks.note_leases();
        drop(before);
        drop(locks.lease(late));
        assert_eq!(notes.unless_leased(&early, || ()), None);
        assert_eq!(notes.unless_leased(&late, || ()), None);
        assert_eq!(notes.unless_leased(&never, || ()), Some(()));
    }
}
