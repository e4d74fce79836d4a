//! Whether contents are what their digests say: checked, remembered for a while, and put right by the next push.
//!
//! What is small is hashed whenever it is read from storage. What is large is hashed while it is sent whole for the first
//! time; a part of it could not be judged, so before the first part is sent all of it is hashed. That is remembered of the file as it
//! was then: of one that has changed it says nothing, and after [`super::Limits::whole_age`] it is forgotten, because what the disk
//! does to the bytes changes nothing that the file system tells of. What was found damaged is refused from then on, to `HEAD` as
//! well, and counts as missing for pushes, so that good bytes can take its place.

use super::{Error, Registry, Result, cache::Cache};
use crate::storage::{self, Content, FileState, StorageError};
use bytes::Bytes;
use oci::{Digest, Hasher};
use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Instant,
};

/// Bytes that are read at once.
const PIECE_BYTES: usize = 256 * 1024;

/// Contents that are looked at side by side.
const LOOKS: usize = 16;

/// What was found out about a content.
#[derive(Clone, Copy)]
enum Finding {
    /// It was read to its end and had its digest; at this time, from a file in this state.
    Whole(Option<FileState>, Instant),
    /// It does not have its digest.
    Damaged,
}

/// What was found out about contents.
pub(super) struct Whole {
    found: Cache<Digest, Finding>,
    /// Whether anything was ever found damaged; if not, nobody need ask.
    any_damaged: AtomicBool,
    /// One look at a content at a time: others who want the same wait for what it finds.
    looks: [Mutex<()>; LOOKS],
}

impl Whole {
    pub(super) fn new(bytes: usize) -> Whole {
        Whole {
            found: Cache::new(bytes),
            any_damaged: AtomicBool::new(false),
            looks: std::array::from_fn(|_| Mutex::new(())),
        }
    }

    fn look(&self, digest: &Digest) -> MutexGuard<'_, ()> {
        let first = digest.bytes().first().copied().unwrap_or_default();
        self.looks[usize::from(first) % LOOKS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    /// Whether this content was read whole lately, had its digest, and its file has not changed since: then it need not be hashed
    /// again while it is sent.
    pub fn is_known_whole(&self, digest: &Digest, content: &Content) -> bool {
        match self.0.whole.found.get(digest) {
            Some(Finding::Whole(state, when)) => {
                state == content.file_state() && when.elapsed() < self.0.limits.whole_age
            }
            Some(Finding::Damaged) | None => false,
        }
    }

    /// Tells of a content that was read whole since it was opened, and had its digest.
    pub fn remember_whole(&self, digest: &Digest, content: &Content) {
        let state = content.file_state();
        match state.is_some_and(|state| state.is_fresh) {
            // If it changed now, its state would not show that.
            true => self.0.whole.found.remove(digest),
            false => {
                let finding = Finding::Whole(state, Instant::now());
                self.0.whole.found.insert(*digest, finding, 0);
            }
        }
    }

    /// Tells of a content that does not have its digest. It is not served any more.
    pub fn remember_damaged(&self, digest: &Digest) {
        log::error!(
            "the stored content of {digest} is damaged: push it again, or run registry verify --repair"
        );
        self.0.whole.found.insert(*digest, Finding::Damaged, 0);
        self.0.whole.any_damaged.store(true, Relaxed);
    }

    /// As [`Registry::remember_damaged`], of bytes that were read from `content`. If another file has taken the place of theirs
    /// meanwhile, that is what is served from now on, and nothing is known against it.
    pub fn remember_damaged_content(&self, digest: &Digest, content: &Content) {
        let is_there_still = match (content.file_state(), self.storage().content(digest)) {
            (Some(read), Ok(there)) => there
                .and_then(|there| there.file_state())
                .is_some_and(|there| there.is_same_file(&read)),
            (None, _) | (_, Err(_)) => true,
        };
        if is_there_still {
            self.remember_damaged(digest);
        }
    }

    /// Whether this content was found not to have its digest.
    pub(super) fn is_known_damaged(&self, digest: &Digest) -> bool {
        self.0.whole.any_damaged.load(Relaxed)
            && matches!(self.0.whole.found.get(digest), Some(Finding::Damaged))
    }

    /// A content, if it is there. One whose place in the store is damaged is so itself.
    pub(super) fn stored_content(&self, digest: &Digest) -> Result<Option<Content>> {
        self.or_damaged(digest, self.storage().content(digest))
    }

    /// The size of a content, as [`Registry::stored_content`].
    pub(super) fn stored_size(&self, digest: &Digest) -> Result<Option<u64>> {
        self.or_damaged(digest, self.storage().content_size(digest))
    }

    /// An error of the store as one of this content, if the store says that it is damaged.
    pub(super) fn or_damaged<T>(&self, digest: &Digest, read: storage::Result<T>) -> Result<T> {
        read.map_err(|error| {
            if error.is_damaged() {
                self.remember_damaged(digest);
                Error::Damaged { digest: *digest }
            } else {
                error.into()
            }
        })
    }

    /// Reads a small content and makes sure that it is what its digest says.
    pub(super) fn read_whole(&self, digest: &Digest, content: &Content) -> Result<Bytes> {
        let bytes = content
            .read_all()
            .map_err(|source| StorageError::new("read", digest, source))?;
        if digest.matches(&bytes) {
            Ok(bytes)
        } else {
            self.remember_damaged_content(digest, content);
            Err(Error::Damaged { digest: *digest })
        }
    }

    /// Makes sure, before a part of a content is sent, that the whole is what its digest says. If that is not known, it takes as
    /// long as reading all of it.
    ///
    /// # Errors
    /// `Damaged`, or the store cannot be read.
    pub fn require_whole(&self, digest: &Digest, content: &Content) -> Result<()> {
        if self.is_known_whole(digest, content) {
            return Ok(());
        }
        let _look = self.0.whole.look(digest);
        self.look_at(digest, content)
    }

    /// As [`Registry::require_whole`]; the caller looks alone.
    fn look_at(&self, digest: &Digest, content: &Content) -> Result<()> {
        if self.is_known_whole(digest, content) {
            return Ok(());
        }
        if !self.is_known_damaged(digest) {
            if hash(content, digest)? == *digest {
                self.remember_whole(digest, content);
                return Ok(());
            }
            self.remember_damaged_content(digest, content);
        }
        Err(Error::Damaged { digest: *digest })
    }

    /// Sets a damaged content aside, because its good bytes are about to be stored: a store keeps what it has already. They
    /// are `bytes`, or an upload of `len` bytes.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub(super) fn make_way(&self, digest: &Digest, len: u64, bytes: Option<&[u8]>) -> Result<()> {
        let found = match bytes {
            Some(_) => self.or_damaged(digest, self.storage().content_in_place(digest, len)),
            None => self.stored_content(digest),
        };
        let there = match found {
            // The store itself puts the good bytes in the place of what it cannot read.
            Err(Error::Damaged { .. }) => None,
            read => read?,
        };
        let Some(there) = there else {
            self.forget_damage(digest);
            return Ok(());
        };
        // One that was cut off is replaced by the store itself.
        if there.len() == len {
            let _look = self.0.whole.look(digest);
            let is_good = match bytes {
                Some(bytes) => {
                    let read = there
                        .read_all()
                        .map_err(|source| StorageError::new("read", digest, source))?;
                    *bytes == *read
                }
                None => match self.look_at(digest, &there) {
                    Err(Error::Damaged { .. }) => false,
                    looked => looked.map(|()| true)?,
                },
            };
            if !is_good {
                self.storage().set_aside_content(digest)?;
                log::warn!("the damaged content of {digest} is set aside: it is being pushed again");
            }
        }
        self.forget_damage(digest);
        Ok(())
    }

    /// Good bytes take the place of what was damaged.
    fn forget_damage(&self, digest: &Digest) {
        if self.is_known_damaged(digest) {
            self.0.whole.found.remove(digest);
        }
    }
}

/// The digest of all the bytes of a content, as it is now.
pub(super) fn hash(content: &Content, digest: &Digest) -> Result<Digest> {
    let mut hasher = Hasher::new(digest.algorithm());
    let mut buffer = vec![0; PIECE_BYTES];
    let mut offset = 0;
    while offset < content.len() {
        let len = usize::try_from(content.len() - offset).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
        content
            .read_exact_at(&mut buffer[..len], offset)
            .map_err(|source| StorageError::new("read", digest, source))?;
        hasher.update(&buffer[..len]);
        offset += len as u64;
    }
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Capabilities, Limits},
        storage::{Durability, filesystem::Filesystem},
    };
    use oci::RepositoryName;
    use std::{path::Path, sync::Arc, time::Duration};

    /// A registry that takes what it has read for good so long, and a large blob of its.
    fn with_blob(folder: &Path, whole_age: Duration) -> (Registry, RepositoryName, Digest) {
        let storage = Filesystem::open(folder, Durability::None).expect("a store");
        let limits = Limits {
            whole_age,
            ..Limits::default()
        };
        let registry =
            Registry::open(Arc::new(storage), Capabilities::default(), limits).expect("a registry");
        let (name, bytes) = (RepositoryName::parse("a").expect("a name"), vec![7; 100_000]);
        let digest = Digest::sha256(&bytes);
        let receiving = registry
            .receive_once(&name, digest.algorithm(), None)
            .expect("an upload");
        receiving.finish(&bytes, &digest).expect("a blob");
        (registry, name, digest)
    }

    /// Opens a blob whose file has just changed, or so long after its last change that another would show.
    fn open_when(registry: &Registry, name: &RepositoryName, digest: &Digest, is_fresh: bool) -> Content {
        loop {
            let content = registry.open_blob(name, digest).expect("a blob");
            if content
                .file_state()
                .is_some_and(|state| state.is_fresh == is_fresh)
            {
                return content;
            }
            if let (true, Content::File(file, _)) = (is_fresh, &content) {
                file.set_modified(std::time::SystemTime::now()).expect("a change");
            }
        }
    }

    #[test]
    fn a_file_is_known_to_be_whole_while_it_stays_as_it_was_and_another_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let (registry, name, digest) = with_blob(folder.path(), Duration::from_secs(3600));
        let open = || open_when(&registry, &name, &digest, false);
        assert!(!registry.is_known_whole(&digest, &open()));
        registry.require_whole(&digest, &open()).expect("whole");
        assert!(registry.is_known_whole(&digest, &open()));
        let hex = digest.hex();
        let path = folder.path().join("blobs/sha256").join(&hex[..2]).join(&hex);
        let copy = folder.path().join("copy");
        std::fs::copy(&path, &copy).expect("a copy");
        std::fs::rename(&copy, &path).expect("in its place");
        assert!(
            !registry.is_known_whole(&digest, &open()),
            "nobody has read this file"
        );
        registry.require_whole(&digest, &open()).expect("whole");
        assert!(registry.is_known_whole(&digest, &open()));
    }

    #[test]
    fn a_file_that_has_just_changed_is_not_remembered_because_another_change_would_not_show() {
        let folder = tempfile::tempdir().expect("a folder");
        let (registry, name, digest) = with_blob(folder.path(), Duration::from_secs(3600));
        let content = open_when(&registry, &name, &digest, true);
        registry.require_whole(&digest, &content).expect("whole");
        assert!(!registry.is_known_whole(&digest, &content));
    }

    #[test]
    fn what_was_read_is_taken_for_good_no_longer_than_its_age() {
        let folder = tempfile::tempdir().expect("a folder");
        let (registry, name, digest) = with_blob(folder.path(), Duration::ZERO);
        let content = open_when(&registry, &name, &digest, false);
        registry.require_whole(&digest, &content).expect("whole");
        assert!(!registry.is_known_whole(&digest, &content));
    }
}
