//! Whether contents are what their digests say: checked once in a process, remembered, and put right by the next push.
//!
//! What is small is hashed whenever it is read from storage. What is large is hashed while it is sent whole for the first
//! time; a part of it could not be judged, so before the first part is sent all of it is hashed. What was found damaged is refused from then
//! on, to `HEAD` as well, and counts as missing for pushes, so that good bytes can take its place.

use super::{Error, Registry, Result, cache::Cache};
use crate::storage::{self, Content, StorageError};
use bytes::Bytes;
use oci::{Digest, Hasher};
use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
};

/// Bytes that are read at once.
const PIECE_BYTES: usize = 256 * 1024;

/// Contents that are looked at side by side.
const LOOKS: usize = 16;

/// What was found out about contents.
pub(super) struct Whole {
    /// `true`: it was read to its end and had its digest. `false`: it had not.
    found: Cache<Digest, bool>,
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
    /// Whether this content was read whole before, and had its digest: then it need not be hashed again while it is sent.
    pub fn is_known_whole(&self, digest: &Digest) -> bool {
        self.0.whole.found.get(digest) == Some(true)
    }

    /// Tells of a content that was read whole and had its digest.
    pub fn remember_whole(&self, digest: &Digest) {
        self.0.whole.found.insert(*digest, true, 0);
    }

    /// Tells of a content that does not have its digest. It is not served any more.
    pub fn remember_damaged(&self, digest: &Digest) {
        log::error!(
            "the stored content of {digest} is damaged: push it again, or run registry verify --repair"
        );
        self.0.whole.found.insert(*digest, false, 0);
        self.0.whole.any_damaged.store(true, Relaxed);
    }

    /// Whether this content was found not to have its digest.
    pub(super) fn is_known_damaged(&self, digest: &Digest) -> bool {
        self.0.whole.any_damaged.load(Relaxed) && self.0.whole.found.get(digest) == Some(false)
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
            self.remember_damaged(digest);
            Err(Error::Damaged { digest: *digest })
        }
    }

    /// Makes sure, before a part of a content is sent, that the whole is what its digest says. The first time, that takes as long
    /// as reading all of it.
    ///
    /// # Errors
    /// `Damaged`, or the store cannot be read.
    pub fn require_whole(&self, digest: &Digest, content: &Content) -> Result<()> {
        if self.is_known_whole(digest) {
            return Ok(());
        }
        let _look = self.0.whole.look(digest);
        self.look_at(digest, content)
    }

    /// As [`Registry::require_whole`]; the caller looks alone.
    fn look_at(&self, digest: &Digest, content: &Content) -> Result<()> {
        match self.0.whole.found.get(digest) {
            Some(true) => return Ok(()),
            Some(false) => {}
            None if hash(content, digest)? == *digest => {
                self.remember_whole(digest);
                return Ok(());
            }
            None => self.remember_damaged(digest),
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
            if self.is_known_damaged(digest) {
                self.remember_whole(digest);
            }
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
        if self.is_known_damaged(digest) {
            self.remember_whole(digest);
        }
        Ok(())
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
