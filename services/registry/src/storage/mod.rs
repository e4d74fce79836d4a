//! Where content and records are kept: small traits with their promises, and the stores that keep them.
//!
//! Three kinds of things are stored. *Contents* are immutable bytes under their digest. *Records* are small values under a
//! [`Key`]: that a repository has a blob or a manifest, where a tag leads, which referrers a subject has. *Uploads* are
//! contents on their way in. No record is ever read, modified and written back, so a local disk and an object store can
//! keep the same promises. Everything here blocks; callers are on the blocking pool.
//!
//! What is left out: what a manifest means, who may do what, caches.

mod disk;
pub mod filesystem;
mod key;
mod ledger;
pub mod memory;

pub use key::{Change, Key};

use bytes::Bytes;
use oci::{Algorithm, Digest, RepositoryName, Tag};
use std::{
    fs::{File, Metadata},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What went wrong in a store: the operation, on what, and the system's own error.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {subject}: {source}")]
pub struct StorageError {
    /// A verb, such as `read`.
    pub operation: &'static str,
    /// What it was done to: a path inside the store or a key.
    pub subject: String,
    /// The system's error.
    pub source: io::Error,
}

impl StorageError {
    /// Wraps a system error with what was tried.
    pub fn new(operation: &'static str, subject: impl ToString, source: io::Error) -> StorageError {
        StorageError {
            operation,
            subject: subject.to_string(),
            source,
        }
    }

    /// Whether the store has no room left.
    pub fn is_full(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }

    /// Whether the store found that its own bytes are not what it wrote.
    pub fn is_damaged(&self) -> bool {
        self.source.kind() == io::ErrorKind::InvalidData
    }
}

/// The result of a store's operation.
pub type Result<T> = std::result::Result<T, StorageError>;

/// When an acknowledged change is safe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// It survives power loss: files and folders are synced before the answer. Concurrent changes share a sync.
    #[default]
    Full,
    /// It survives the end of the process, `kill -9` included, but not power loss.
    None,
}

/// What room is kept back for: see [`Storage::lay_reserve`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserve {
    /// Garbage collections.
    Collection,
    /// What clients delete.
    Deletes,
}

/// What the file system says of a file at one moment. While two moments' are equal and not [`FileState::is_fresh`], nobody
/// changed the file through the file system between them; what the disk itself does to its bytes does not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileState {
    /// The length in bytes.
    pub len: u64,
    /// Device and inode: another file in its place has others.
    id: (u64, u64),
    /// Seconds and nanoseconds of the last change of the bytes. Whoever writes can set it back.
    modified: (i64, i64),
    /// The same of the last change of anything. It cannot be set.
    changed: (i64, i64),
    /// Whether the last change was so short a time ago that another one may get the same time.
    pub is_fresh: bool,
}

/// File systems tell times in ticks of the kernel's clock, of at most ten milliseconds.
const TICKS: Duration = Duration::from_millis(20);

impl FileState {
    /// Whether it is the same file, changed or not. One of the two must be open still: else the other may have been given its place
    /// on the disk.
    pub fn is_same_file(&self, other: &FileState) -> bool {
        self.id == other.id
    }
}

impl From<&Metadata> for FileState {
    fn from(metadata: &Metadata) -> FileState {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let changed = u64::try_from(metadata.ctime()).unwrap_or_default();
        let changed = Duration::new(changed, u32::try_from(metadata.ctime_nsec()).unwrap_or_default());
        FileState {
            is_fresh: now.saturating_sub(changed) < TICKS,
            len: metadata.len(),
            id: (metadata.dev(), metadata.ino()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Bytes that can be read at any offset, held open: they can be read to the end even if they are removed meanwhile.
#[derive(Clone, Debug)]
pub enum Content {
    /// A file as it was when it was opened.
    File(Arc<File>, FileState),
    /// Bytes in memory.
    Memory(Bytes),
}

impl Content {
    /// An open file's bytes.
    ///
    /// # Errors
    /// The system's.
    pub fn of_file(file: File) -> io::Result<Content> {
        let state = FileState::from(&file.metadata()?);
        Ok(Content::File(Arc::new(file), state))
    }

    /// The state of its file; `None` for bytes in memory.
    pub fn file_state(&self) -> Option<FileState> {
        match self {
            Content::File(_, state) => Some(*state),
            Content::Memory(_) => None,
        }
    }

    /// The length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Content::File(_, state) => state.len,
            Content::Memory(bytes) => bytes.len() as u64,
        }
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills the buffer with the bytes from `offset` on.
    ///
    /// # Errors
    /// The system's; `UnexpectedEof` if the content ends before the buffer is full.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Content::File(file, _) => file.read_exact_at(buffer, offset),
            Content::Memory(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let end = start.saturating_add(buffer.len());
                let piece = bytes.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?;
                buffer.copy_from_slice(piece);
                Ok(())
            }
        }
    }

    /// All the bytes at once; for contents that are known to be small.
    ///
    /// # Errors
    /// The system's.
    pub fn read_all(&self) -> io::Result<Bytes> {
        match self {
            Content::Memory(bytes) => Ok(bytes.clone()),
            Content::File(_, state) => {
                let mut buffer = vec![0; usize::try_from(state.len).map_err(|_| io::ErrorKind::OutOfMemory)?];
                self.read_exact_at(&mut buffer, 0)?;
                Ok(buffer.into())
            }
        }
    }
}

/// Immutable bytes under their digest, shared by all repositories.
///
/// Promises: what is readable under a digest is whole, never a part. Removing is seen at once, but an open [`Content`] stays
/// readable. The store does not hash: callers give the digest that they computed.
pub trait Contents {
    /// Opens a content; `None` if there is none.
    ///
    /// # Errors
    /// The store cannot be read.
    fn content(&self, digest: &Digest) -> Result<Option<Content>>;

    /// What a commit of so many bytes under this digest would find in their place; `None` if nothing. It may overlook a content that
    /// such a commit would cover, so that a store need not look everywhere for what is mostly nowhere.
    ///
    /// # Errors
    /// The store cannot be read.
    fn content_in_place(&self, digest: &Digest, _len: u64) -> Result<Option<Content>> {
        self.content(digest)
    }

    /// The size of a content in bytes; `None` if there is none.
    ///
    /// # Errors
    /// The store cannot be read.
    fn content_size(&self, digest: &Digest) -> Result<Option<u64>>;

    /// When a content was written; `None` if there is none.
    ///
    /// # Errors
    /// The store cannot be read.
    fn content_time(&self, digest: &Digest) -> Result<Option<SystemTime>>;

    /// Visits every content with its size, in no order.
    ///
    /// # Errors
    /// The store cannot be read. Contents that are added or removed meanwhile may be visited or not.
    fn each_content(&self, visit: &mut dyn FnMut(Digest, u64)) -> Result<()>;

    /// Removes a content; the size it had, or `None` if there was none.
    ///
    /// # Errors
    /// The store cannot be written.
    fn remove_content(&self, digest: &Digest) -> Result<Option<u64>>;

    /// Takes a content out of service without destroying it, for a person to look at.
    ///
    /// # Errors
    /// The store cannot be written.
    fn set_aside_content(&self, digest: &Digest) -> Result<()>;
}

/// Small values under keys.
///
/// Promises: a value is replaced as a whole; a reader sees the old or the new one. [`Records::commit`] applies its changes
/// in order and returns when all of them are as durable as the store was opened for. After a crash or, with
/// [`Durability::Full`], power loss, a change is there only if all those before it in the same commit are, and the record of
/// a blob or manifest only if the contents are that were finished or committed before it: else a client would find the blob
/// there, not push it again, and be promised an image without it. Lists hold each key that was there during the whole call.
pub trait Records {
    /// The value under a key.
    ///
    /// # Errors
    /// The store cannot be read.
    fn record(&self, key: &Key) -> Result<Option<Bytes>>;

    /// When a record was last put, whether or not its value changed; `None` if there is none.
    ///
    /// # Errors
    /// The store cannot be read.
    fn record_time(&self, key: &Key) -> Result<Option<SystemTime>>;

    /// Applies changes in order.
    ///
    /// # Errors
    /// The store cannot be written. The changes before the failing one may have been applied; nothing after it was.
    fn commit(&self, changes: &[Change]) -> Result<()>;

    /// Whether anything was ever stored in this repository.
    ///
    /// # Errors
    /// The store cannot be read.
    fn has_repository(&self, name: &RepositoryName) -> Result<bool>;

    /// The repositories that something was ever stored in; in no order.
    ///
    /// # Errors
    /// The store cannot be read.
    fn repositories(&self) -> Result<Vec<RepositoryName>>;

    /// The blobs that a repository has, in no order.
    ///
    /// # Errors
    /// The store cannot be read.
    fn blobs(&self, name: &RepositoryName) -> Result<Vec<Digest>>;

    /// The manifests that a repository has, in no order.
    ///
    /// # Errors
    /// The store cannot be read.
    fn manifests(&self, name: &RepositoryName) -> Result<Vec<Digest>>;

    /// The tags of a repository, in no order.
    ///
    /// # Errors
    /// The store cannot be read.
    fn tags(&self, name: &RepositoryName) -> Result<Vec<Tag>>;

    /// The subjects that a repository has referrers of, in no order.
    ///
    /// # Errors
    /// The store cannot be read.
    fn subjects(&self, name: &RepositoryName) -> Result<Vec<Digest>>;

    /// The referrers of a subject, in no order.
    ///
    /// # Errors
    /// The store cannot be read.
    fn referrers(&self, name: &RepositoryName, subject: &Digest) -> Result<Vec<Digest>>;

    /// Whether any repository has this blob.
    ///
    /// # Errors
    /// The store cannot be read.
    fn is_blob_anywhere(&self, digest: &Digest) -> Result<bool>;

    /// Reads everything that records are kept in; what was found damaged, in words. With `mend`, records that cannot be read are
    /// given up, after what they stood in was set aside.
    ///
    /// # Errors
    /// The store cannot be read or written.
    fn check_records(&self, mend: bool) -> Result<Vec<String>>;
}

/// What identifies an upload: its repository, its secret id, and the algorithm to hash with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UploadKey {
    /// The repository that it was begun in.
    pub name: RepositoryName,
    /// Unguessable, of `0-9a-f` and `-` alone.
    pub id: String,
}

/// An upload that was found in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredUpload {
    /// Its key.
    pub key: UploadKey,
    /// The algorithm told at its beginning.
    pub algorithm: Algorithm,
    /// Bytes received.
    pub len: u64,
    /// When the last of them came.
    pub touched: SystemTime,
}

/// An upload that is open for writing.
pub trait UploadWriter: Send {
    /// Appends bytes.
    ///
    /// # Errors
    /// The store cannot be written; how much was appended is then unknown, until [`UploadWriter::truncate`].
    fn append(&mut self, bytes: &[u8]) -> Result<()>;

    /// Cuts the upload back to a length.
    ///
    /// # Errors
    /// The store cannot be written.
    fn truncate(&mut self, len: u64) -> Result<()>;

    /// What was received so far, to hash it again.
    ///
    /// # Errors
    /// The store cannot be read.
    fn content(&self) -> Result<Content>;
}

/// Contents on their way in. They outlive the process.
pub trait Uploads {
    /// Begins an upload without bytes.
    ///
    /// # Errors
    /// The store cannot be written.
    fn begin_upload(&self, key: &UploadKey, algorithm: Algorithm) -> Result<()>;

    /// Looks an upload up; `None` if there is none of that id in that repository.
    ///
    /// # Errors
    /// The store cannot be read.
    fn upload(&self, key: &UploadKey) -> Result<Option<StoredUpload>>;

    /// Opens an upload for writing at its end.
    ///
    /// # Errors
    /// The store cannot be written, or there is no such upload.
    fn write_upload(&self, upload: &StoredUpload) -> Result<Box<dyn UploadWriter>>;

    /// Makes an upload of `upload.len` bytes a content, whole from the first moment that it is seen. If the content is there
    /// already, the upload goes away.
    ///
    /// # Errors
    /// The store cannot be written. The upload is there still, unless its bytes are in their place already, or the system may have
    /// lost some of them.
    fn finish_upload(&self, upload: &StoredUpload, digest: &Digest) -> Result<()>;

    /// Drops an upload. None there is no error.
    ///
    /// # Errors
    /// The store cannot be written.
    fn drop_upload(&self, upload: &StoredUpload) -> Result<()>;

    /// Every upload, in no order.
    ///
    /// # Errors
    /// The store cannot be read.
    fn uploads(&self) -> Result<Vec<StoredUpload>>;
}

/// A whole store.
pub trait Storage: Contents + Records + Uploads + Send + Sync {
    /// Whether looking up and committing little takes no longer than a few calls of the system, because no device is waited for.
    /// It may then be done on a thread that serves connections.
    fn is_quick(&self) -> bool;

    /// Removes what dead processes left half written; how many files. What this process is writing stays.
    ///
    /// # Errors
    /// The store cannot be read or written.
    fn remove_leftovers(&self) -> Result<usize>;

    /// Keeps a little room back, so that a removal can be written down when there is no other: see
    /// [`Storage::give_up_reserve`]. A reserve that is there stays as it is. A store that cannot run out of room needs none.
    ///
    /// # Errors
    /// There is no room to keep, or the store cannot be written. No part of this reserve is left then.
    fn lay_reserve(&self, _reserve: Reserve) -> Result<()> {
        Ok(())
    }

    /// Leaves the room that was kept back to whoever writes next. None there is no error.
    ///
    /// # Errors
    /// The store cannot be written.
    fn give_up_reserve(&self, _reserve: Reserve) -> Result<()> {
        Ok(())
    }
}
