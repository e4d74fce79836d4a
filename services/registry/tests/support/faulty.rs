//! A store around any other that fails, or waits, at chosen operations.
//!
//! Operations are counted. One that changes several things counts once for each place where it can fail: a commit may have
//! applied any number of its changes, a content may be there though the answer is an error.

use bytes::Bytes;
use oci::{Algorithm, Digest, RepositoryName, Tag};
use registry::storage::{
    Change, Content, Contents, FileState, Key, Records, Reserve, Result, Storage, StorageError, StoredUpload,
    UploadKey, UploadWriter, Uploads,
};
use std::{
    fs::File,
    io,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

/// What happens to operations, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: they are only counted.
    None,
    /// This one fails with this error of the system.
    Once(usize, i32),
    /// This one and all that follow fail.
    From(usize, i32),
    /// Every one waits.
    Slow(Duration),
    /// This one waits.
    SlowOnce(usize, Duration),
    /// This one does not end before another fault is set, or none.
    Held(usize),
}

#[derive(Debug)]
struct State {
    fault: Fault,
    count: usize,
    /// The operation that failed first.
    failed: Option<&'static str>,
}

/// The switch of a faulty store. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Faults(Arc<Mutex<State>>);

impl Faults {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Sets the fault, and counts from 0 again.
    pub fn set(&self, fault: Fault) {
        *self.lock() = State {
            fault,
            count: 0,
            failed: None,
        };
    }

    /// Operations since then.
    pub fn count(&self) -> usize {
        self.lock().count
    }

    /// The operation that failed first, if any did.
    pub fn failed(&self) -> Option<&'static str> {
        self.lock().failed
    }

    /// Waits until the fault is another.
    fn wait_while(&self, state: MutexGuard<'_, State>) -> Result<()> {
        let fault = state.fault;
        drop(state);
        while self.lock().fault == fault {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// One more operation.
    fn step(&self, operation: &'static str) -> Result<()> {
        let mut state = self.lock();
        let number = state.count;
        state.count += 1;
        let error = match state.fault {
            Fault::Once(at, error) if number == at => error,
            Fault::From(at, error) if number >= at => error,
            Fault::Slow(wait) => return wait_without(state, wait),
            Fault::SlowOnce(at, wait) if number == at => return wait_without(state, wait),
            Fault::Held(at) if number == at => return self.wait_while(state),
            Fault::None | Fault::Once(..) | Fault::From(..) | Fault::SlowOnce(..) | Fault::Held(_) => {
                return Ok(());
            }
        };
        state.failed.get_or_insert(operation);
        let source = io::Error::from_raw_os_error(error);
        Err(StorageError::new(operation, "what the test has chosen", source))
    }
}

/// Waits while others may go on.
fn wait_without(state: MutexGuard<'_, State>, wait: Duration) -> Result<()> {
    drop(state);
    std::thread::sleep(wait);
    Ok(())
}

/// A store that fails as it is told.
pub struct Faulty {
    inner: Arc<dyn Storage>,
    faults: Faults,
}

impl Faulty {
    /// Around this one; without any fault yet.
    pub fn new(inner: Arc<dyn Storage>) -> (Arc<Faulty>, Faults) {
        let faults = Faults(Arc::new(Mutex::new(State {
            fault: Fault::None,
            count: 0,
            failed: None,
        })));
        let faulty = Faulty {
            inner,
            faults: faults.clone(),
        };
        (Arc::new(faulty), faults)
    }

    /// An operation that may fail before it does anything, and after it has done all.
    fn around<T>(
        &self,
        before: &'static str,
        after: &'static str,
        change: impl FnOnce(&dyn Storage) -> Result<T>,
    ) -> Result<T> {
        self.faults.step(before)?;
        let changed = change(&*self.inner)?;
        self.faults.step(after)?;
        Ok(changed)
    }
}

/// A content that opens, and cannot be read.
fn unreadable(len: u64) -> Content {
    let folder = File::open("/").unwrap();
    let mut state = FileState::from(&folder.metadata().unwrap());
    state.len = len;
    Content::File(Arc::new(folder), state)
}

impl Contents for Faulty {
    fn content(&self, digest: &Digest) -> Result<Option<Content>> {
        self.faults.step("open a content")?;
        let Some(content) = self.inner.content(digest)? else {
            return Ok(None);
        };
        Ok(Some(match self.faults.step("read a content") {
            Ok(()) => content,
            Err(_) => unreadable(content.len()),
        }))
    }

    fn content_size(&self, digest: &Digest) -> Result<Option<u64>> {
        self.faults.step("size a content")?;
        self.inner.content_size(digest)
    }

    fn content_time(&self, digest: &Digest) -> Result<Option<SystemTime>> {
        self.faults.step("date a content")?;
        self.inner.content_time(digest)
    }

    fn each_content(&self, visit: &mut dyn FnMut(Digest, u64)) -> Result<()> {
        self.around("list contents", "end a list of contents", |inner| {
            inner.each_content(visit)
        })
    }

    fn remove_content(&self, digest: &Digest) -> Result<Option<u64>> {
        self.around("remove a content", "sync a content's removal", |inner| {
            inner.remove_content(digest)
        })
    }

    fn set_aside_content(&self, digest: &Digest) -> Result<()> {
        self.around("set a content aside", "sync what was set aside", |inner| {
            inner.set_aside_content(digest)
        })
    }
}

impl Records for Faulty {
    fn record(&self, key: &Key) -> Result<Option<Bytes>> {
        self.faults.step("read a record")?;
        self.inner.record(key)
    }

    fn record_time(&self, key: &Key) -> Result<Option<SystemTime>> {
        self.faults.step("date a record")?;
        self.inner.record_time(key)
    }

    fn commit(&self, changes: &[Change]) -> Result<()> {
        for (done, _) in changes.iter().enumerate() {
            if let Err(error) = self.faults.step("apply a change") {
                self.inner.commit(&changes[..done])?;
                return Err(error);
            }
        }
        self.inner.commit(changes)?;
        self.faults.step("sync changes")
    }

    fn has_repository(&self, name: &RepositoryName) -> Result<bool> {
        self.faults.step("look for a repository")?;
        self.inner.has_repository(name)
    }

    fn repositories(&self) -> Result<Vec<RepositoryName>> {
        self.faults.step("list repositories")?;
        self.inner.repositories()
    }

    fn blobs(&self, name: &RepositoryName) -> Result<Vec<Digest>> {
        self.faults.step("list blobs")?;
        self.inner.blobs(name)
    }

    fn manifests(&self, name: &RepositoryName) -> Result<Vec<Digest>> {
        self.faults.step("list manifests")?;
        self.inner.manifests(name)
    }

    fn tags(&self, name: &RepositoryName) -> Result<Vec<Tag>> {
        self.faults.step("list tags")?;
        self.inner.tags(name)
    }

    fn subjects(&self, name: &RepositoryName) -> Result<Vec<Digest>> {
        self.faults.step("list subjects")?;
        self.inner.subjects(name)
    }

    fn referrers(&self, name: &RepositoryName, subject: &Digest) -> Result<Vec<Digest>> {
        self.faults.step("list referrers")?;
        self.inner.referrers(name, subject)
    }

    fn is_blob_anywhere(&self, digest: &Digest) -> Result<bool> {
        self.faults.step("look for a blob anywhere")?;
        self.inner.is_blob_anywhere(digest)
    }

    fn check_records(&self, mend: bool) -> Result<Vec<String>> {
        self.faults.step("check the records")?;
        self.inner.check_records(mend)
    }
}

impl Uploads for Faulty {
    fn begin_upload(&self, key: &UploadKey, algorithm: Algorithm) -> Result<()> {
        self.around("begin an upload", "sync an upload's beginning", |inner| {
            inner.begin_upload(key, algorithm)
        })
    }

    fn upload(&self, key: &UploadKey) -> Result<Option<StoredUpload>> {
        self.faults.step("look for an upload")?;
        self.inner.upload(key)
    }

    fn write_upload(&self, upload: &StoredUpload) -> Result<Box<dyn UploadWriter>> {
        self.faults.step("open an upload")?;
        let inner = self.inner.write_upload(upload)?;
        Ok(Box::new(Writer {
            inner,
            faults: self.faults.clone(),
        }))
    }

    fn finish_upload(&self, upload: &StoredUpload, digest: &Digest) -> Result<()> {
        self.around("finish an upload", "sync a finished upload", |inner| {
            inner.finish_upload(upload, digest)
        })
    }

    fn drop_upload(&self, upload: &StoredUpload) -> Result<()> {
        self.around("drop an upload", "sync a dropped upload", |inner| {
            inner.drop_upload(upload)
        })
    }

    fn uploads(&self) -> Result<Vec<StoredUpload>> {
        self.faults.step("list uploads")?;
        self.inner.uploads()
    }
}

impl Storage for Faulty {
    /// It may have to wait.
    fn is_quick(&self) -> bool {
        false
    }

    fn remove_leftovers(&self) -> Result<usize> {
        self.faults.step("remove leftovers")?;
        self.inner.remove_leftovers()
    }

    fn lay_reserve(&self, reserve: Reserve) -> Result<()> {
        self.faults.step("lay a reserve")?;
        self.inner.lay_reserve(reserve)
    }

    fn give_up_reserve(&self, reserve: Reserve) -> Result<()> {
        self.faults.step("give up a reserve")?;
        self.inner.give_up_reserve(reserve)
    }
}

struct Writer {
    inner: Box<dyn UploadWriter>,
    faults: Faults,
}

impl UploadWriter for Writer {
    /// A full disk takes a part of what is written.
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.faults.step("append")?;
        if let Err(error) = self.faults.step("append the other half") {
            self.inner.append(&bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        self.inner.append(bytes)
    }

    fn truncate(&mut self, len: u64) -> Result<()> {
        self.faults.step("cut an upload")?;
        self.inner.truncate(len)
    }

    fn content(&self) -> Result<Content> {
        self.faults.step("open an upload's content")?;
        let content = self.inner.content()?;
        Ok(match self.faults.step("read an upload's content") {
            Ok(()) => content,
            Err(_) => unreadable(content.len()),
        })
    }
}
