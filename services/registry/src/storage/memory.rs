//! A store in memory, for tests and throw-away registries. It keeps the same promises, but for those about restarts.

use super::{
    Change, Content, Contents, Key, Records, Result, Storage, StorageError, StoredUpload, UploadKey,
    UploadWriter, Uploads,
};
use bytes::Bytes;
use oci::{Algorithm, Digest, RepositoryName, Tag};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

/// A store in memory.
#[derive(Debug, Default)]
pub struct Memory {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    contents: HashMap<Digest, (Bytes, SystemTime)>,
    records: BTreeMap<Key, (Bytes, SystemTime)>,
    repositories: BTreeSet<RepositoryName>,
    uploads: BTreeMap<UploadKey, Upload>,
}

#[derive(Debug)]
struct Upload {
    algorithm: Algorithm,
    bytes: Arc<Mutex<Vec<u8>>>,
    touched: SystemTime,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    /// An empty store.
    pub fn new() -> Memory {
        Memory::default()
    }

    fn keys<T>(&self, pick: impl Fn(&Key) -> Option<T>) -> Vec<T> {
        lock(&self.state).records.keys().filter_map(pick).collect()
    }
}

impl Storage for Memory {
    fn is_quick(&self) -> bool {
        true
    }

    /// Nothing is ever half written, and a dead process leaves nothing.
    fn remove_leftovers(&self) -> Result<usize> {
        Ok(0)
    }
}

impl Contents for Memory {
    fn content(&self, digest: &Digest) -> Result<Option<Content>> {
        let state = lock(&self.state);
        Ok(state
            .contents
            .get(digest)
            .map(|(bytes, _)| Content::Memory(bytes.clone())))
    }

    fn content_size(&self, digest: &Digest) -> Result<Option<u64>> {
        Ok(self.content(digest)?.map(|content| content.len()))
    }

    fn content_time(&self, digest: &Digest) -> Result<Option<SystemTime>> {
        Ok(lock(&self.state).contents.get(digest).map(|(_, time)| *time))
    }

    fn each_content(&self, visit: &mut dyn FnMut(Digest, u64)) -> Result<()> {
        let found: Vec<(Digest, u64)> = lock(&self.state)
            .contents
            .iter()
            .map(|(digest, (bytes, _))| (*digest, bytes.len() as u64))
            .collect();
        found.into_iter().for_each(|(digest, size)| visit(digest, size));
        Ok(())
    }

    fn remove_content(&self, digest: &Digest) -> Result<Option<u64>> {
        let removed = lock(&self.state).contents.remove(digest);
        Ok(removed.map(|(bytes, _)| bytes.len() as u64))
    }

    fn set_aside_content(&self, digest: &Digest) -> Result<()> {
        self.remove_content(digest).map(|_| ())
    }
}

impl Records for Memory {
    fn record(&self, key: &Key) -> Result<Option<Bytes>> {
        Ok(lock(&self.state).records.get(key).map(|(value, _)| value.clone()))
    }

    fn record_time(&self, key: &Key) -> Result<Option<SystemTime>> {
        Ok(lock(&self.state).records.get(key).map(|(_, time)| *time))
    }

    fn commit(&self, changes: &[Change]) -> Result<()> {
        let mut state = lock(&self.state);
        for change in changes {
            match change {
                Change::Content(digest, bytes) => {
                    state
                        .contents
                        .entry(*digest)
                        .or_insert_with(|| (bytes.clone(), SystemTime::now()));
                }
                Change::Put(key, value) => {
                    if let Key::Manifest(name, _) | Key::Blob(name, _) = key {
                        state.repositories.insert(name.clone());
                    }
                    state
                        .records
                        .insert(key.clone(), (value.clone(), SystemTime::now()));
                }
                Change::Remove(key) => {
                    state.records.remove(key);
                }
            }
        }
        Ok(())
    }

    fn has_repository(&self, name: &RepositoryName) -> Result<bool> {
        Ok(lock(&self.state).repositories.contains(name))
    }

    fn repositories(&self) -> Result<Vec<RepositoryName>> {
        Ok(lock(&self.state).repositories.iter().cloned().collect())
    }

    fn blobs(&self, name: &RepositoryName) -> Result<Vec<Digest>> {
        Ok(self.keys(|key| match key {
            Key::Blob(in_name, digest) if in_name == name => Some(*digest),
            _ => None,
        }))
    }

    fn manifests(&self, name: &RepositoryName) -> Result<Vec<Digest>> {
        Ok(self.keys(|key| match key {
            Key::Manifest(in_name, digest) if in_name == name => Some(*digest),
            _ => None,
        }))
    }

    fn tags(&self, name: &RepositoryName) -> Result<Vec<Tag>> {
        Ok(self.keys(|key| match key {
            Key::Tag(in_name, tag) if in_name == name => Some(tag.clone()),
            _ => None,
        }))
    }

    fn subjects(&self, name: &RepositoryName) -> Result<Vec<Digest>> {
        let mut subjects = self.keys(|key| match key {
            Key::Referrer(in_name, subject, _) if in_name == name => Some(*subject),
            _ => None,
        });
        subjects.dedup();
        Ok(subjects)
    }

    fn referrers(&self, name: &RepositoryName, subject: &Digest) -> Result<Vec<Digest>> {
        Ok(self.keys(|key| match key {
            Key::Referrer(in_name, of, digest) if in_name == name && of == subject => Some(*digest),
            _ => None,
        }))
    }

    fn is_blob_anywhere(&self, digest: &Digest) -> Result<bool> {
        let state = lock(&self.state);
        Ok(state
            .records
            .keys()
            .any(|key| matches!(key, Key::Blob(_, of) if of == digest)))
    }

    fn check_records(&self, _: bool) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}

impl Uploads for Memory {
    fn begin_upload(&self, key: &UploadKey, algorithm: Algorithm) -> Result<()> {
        let upload = Upload {
            algorithm,
            bytes: Arc::default(),
            touched: SystemTime::now(),
        };
        lock(&self.state).uploads.insert(key.clone(), upload);
        Ok(())
    }

    fn upload(&self, key: &UploadKey) -> Result<Option<StoredUpload>> {
        Ok(lock(&self.state).uploads.get(key).map(|upload| StoredUpload {
            key: key.clone(),
            algorithm: upload.algorithm,
            len: lock(&upload.bytes).len() as u64,
            touched: upload.touched,
        }))
    }

    fn write_upload(&self, upload: &StoredUpload) -> Result<Box<dyn UploadWriter>> {
        let mut state = lock(&self.state);
        let found = state
            .uploads
            .get_mut(&upload.key)
            .ok_or_else(|| StorageError::new("open", &upload.key.id, io::ErrorKind::NotFound.into()))?;
        found.touched = SystemTime::now();
        Ok(Box::new(Writer {
            bytes: found.bytes.clone(),
        }))
    }

    fn finish_upload(&self, upload: &StoredUpload, digest: &Digest) -> Result<()> {
        let mut state = lock(&self.state);
        let removed = state
            .uploads
            .remove(&upload.key)
            .ok_or_else(|| StorageError::new("finish", &upload.key.id, io::ErrorKind::NotFound.into()))?;
        let bytes = std::mem::take(&mut *lock(&removed.bytes));
        state
            .contents
            .entry(*digest)
            .or_insert_with(|| (bytes.into(), SystemTime::now()));
        Ok(())
    }

    fn drop_upload(&self, upload: &StoredUpload) -> Result<()> {
        lock(&self.state).uploads.remove(&upload.key);
        Ok(())
    }

    fn uploads(&self) -> Result<Vec<StoredUpload>> {
        let keys: Vec<UploadKey> = lock(&self.state).uploads.keys().cloned().collect();
        let mut uploads = Vec::with_capacity(keys.len());
        for key in keys {
            uploads.extend(self.upload(&key)?);
        }
        Ok(uploads)
    }
}

struct Writer {
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl UploadWriter for Writer {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        lock(&self.bytes).extend_from_slice(bytes);
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> Result<()> {
        lock(&self.bytes).truncate(usize::try_from(len).unwrap_or(usize::MAX));
        Ok(())
    }

    fn content(&self) -> Result<Content> {
        Ok(Content::Memory(Bytes::copy_from_slice(&lock(&self.bytes))))
    }
}
