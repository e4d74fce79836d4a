//! Records, in the ledger.

use super::{Filesystem, SMALL_CONTENT_BYTES, keys};
use crate::storage::{Change, Key, Records, Result, ledger::Batch};
use bytes::Bytes;
use foldhash::quality::RandomState;
use oci::{Digest, RepositoryName, Tag};
use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

impl Records for Filesystem {
    fn record(&self, key: &Key) -> Result<Option<Bytes>> {
        let value = self
            .ledger
            .get(&keys::record(key))
            .map_err(|source| self.failed("read", key, source))?;
        Ok(value.map(|value| value.bytes))
    }

    fn record_time(&self, key: &Key) -> Result<Option<SystemTime>> {
        let value = self
            .ledger
            .get(&keys::record(key))
            .map_err(|source| self.failed("read", key, source))?;
        Ok(value.map(|value| value.time()))
    }

    /// Large contents come to the disk first, as files; everything else is one entry of the ledger's log, which is there whole or
    /// not at all.
    fn commit(&self, changes: &[Change]) -> Result<()> {
        let mut batch = Batch::new();
        for change in changes {
            match change {
                Change::Content(digest, bytes) if self.has_whole(digest, bytes.len() as u64)? => {}
                Change::Content(digest, bytes) if bytes.len() > SMALL_CONTENT_BYTES => {
                    self.put_file(digest, bytes)?
                }
                Change::Content(digest, bytes) => batch.put(&keys::content(digest), bytes),
                Change::Put(key, value) => self.put_record(&mut batch, key, value)?,
                Change::Remove(key) => {
                    batch.remove(&keys::record(key));
                    if let Key::Blob(name, digest) = key {
                        batch.remove(&keys::owner(digest, name));
                    }
                }
            }
        }
        let subject = || changes.first().map_or_else(String::new, ToString::to_string);
        self.ledger
            .commit(batch)
            .map_err(|source| self.failed("write", subject(), source))
    }

    fn has_repository(&self, name: &RepositoryName) -> Result<bool> {
        let found = self.ledger.get(&keys::repository(name));
        Ok(found
            .map_err(|source| self.failed("read", name, source))?
            .is_some())
    }

    fn repositories(&self) -> Result<Vec<RepositoryName>> {
        self.list(&keys::repositories(), keys::read_name)
    }

    fn blobs(&self, name: &RepositoryName) -> Result<Vec<Digest>> {
        self.list(&keys::blobs(name), keys::read_digest)
    }

    fn manifests(&self, name: &RepositoryName) -> Result<Vec<Digest>> {
        self.list(&keys::manifests(name), keys::read_digest)
    }

    fn tags(&self, name: &RepositoryName) -> Result<Vec<Tag>> {
        self.list(&keys::tags(name), keys::read_tag)
    }

    fn subjects(&self, name: &RepositoryName) -> Result<Vec<Digest>> {
        let mut subjects = self.list(&keys::subjects(name), keys::read_digest)?;
        subjects.dedup();
        Ok(subjects)
    }

    fn referrers(&self, name: &RepositoryName, subject: &Digest) -> Result<Vec<Digest>> {
        self.list(&keys::referrers(name, subject), keys::read_digest)
    }

    fn is_blob_anywhere(&self, digest: &Digest) -> Result<bool> {
        let mut is_found = false;
        let mut visit = |_: &[u8], _: &_| {
            is_found = true;
            false
        };
        self.ledger
            .scan(&keys::owners(digest), &mut visit)
            .map_err(|source| self.failed("read", digest, source))?;
        Ok(is_found)
    }

    fn check_records(&self, mend: bool) -> Result<Vec<String>> {
        let aside = mend.then(|| self.layout.aside_folder());
        self.ledger
            .check(aside.as_deref())
            .map_err(|source| self.failed("check", "the records", source))
    }
}

/// Names of repositories that are noted in the ledger, as far as they are remembered.
#[derive(Debug, Default)]
pub(super) struct Noted(Mutex<HashSet<RepositoryName, RandomState>>);

impl Noted {
    /// Names that are remembered at most; then it begins anew.
    const MOST: usize = 10_000;

    fn contains(&self, name: &RepositoryName) -> bool {
        self.lock().contains(name)
    }

    fn add(&self, name: &RepositoryName) {
        let mut names = self.lock();
        if names.len() >= Noted::MOST {
            names.clear();
        }
        names.insert(name.clone());
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<RepositoryName, RandomState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Filesystem {
    /// Whether a repository is noted, as far as it is worth looking: one whose place cannot be read is noted again. Notes are
    /// never taken back.
    fn is_known_repository(&self, name: &RepositoryName) -> Result<bool> {
        if self.noted.contains(name) {
            return Ok(true);
        }
        match self.has_repository(name) {
            Err(error) if error.is_damaged() => Ok(false),
            Ok(true) => {
                self.noted.add(name);
                Ok(true)
            }
            known => known,
        }
    }

    fn put_record(&self, batch: &mut Batch, key: &Key, value: &[u8]) -> Result<()> {
        batch.put(&keys::record(key), value);
        if let Key::Blob(name, _) | Key::Manifest(name, _) = key
            && !self.is_known_repository(name)?
        {
            batch.put(&keys::repository(name), &[]);
        }
        if let Key::Blob(name, digest) = key {
            batch.put(&keys::owner(digest, name), &[]);
        }
        Ok(())
    }

    /// What is left of each key behind a prefix, read.
    fn list<T>(&self, prefix: &[u8], read: fn(&[u8]) -> Option<T>) -> Result<Vec<T>> {
        let mut found = Vec::new();
        let mut visit = |key: &[u8], _: &_| {
            found.extend(read(&key[prefix.len()..]));
            true
        };
        self.ledger
            .scan(prefix, &mut visit)
            .map_err(|source| self.failed("list", "records", source))?;
        Ok(found)
    }
}
