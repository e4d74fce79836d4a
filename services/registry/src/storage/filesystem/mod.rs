//! A store in a folder of the local file system.
//!
//! ```text
//! lock                                                  held by the process that owns the folder
//! blobs/<alg>/<2 hex>/<hex>                             contents
//! repositories/<name>/_blobs/<alg>/<hex>                empty: the repository has that blob
//! repositories/<name>/_manifests/<alg>/<hex>            media type
//! repositories/<name>/_tags/<tag>                       digest
//! repositories/<name>/_referrers/<alg>-<hex>/<alg>-<hex>  descriptor to list
//! repositories/<name>/_uploads/<id>.<alg>               bytes received so far
//! tmp/                                                  files on their way; emptied at start
//! aside/                                                contents that did not match their digest
//! notes/                                                notes about the store as a whole
//! ```
//!
//! Whatever is not empty is written to `tmp/` and renamed into place, so no reader meets a part of it.

mod contents;
mod paths;
mod records;
mod syncer;
mod uploads;

use super::{Durability, Result, Storage, StorageError};
use oci::Digest;
use paths::Layout;
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};
use syncer::Syncer;

/// A store in a folder.
#[derive(Debug)]
pub struct Filesystem {
    layout: Layout,
    syncer: Option<Syncer>,
    /// Numbers the files in `tmp/`, which this process alone writes.
    next_temporary: AtomicU64,
}

/// Shows that this process owns a storage folder; dropping it gives the folder up.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why a storage folder could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("another registry is using the storage folder {0}: stop it, or give this one another folder")]
    Taken(PathBuf),
    /// The folder or its lock file cannot be made.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Takes a storage folder for this process, making it if need be.
///
/// # Errors
/// [`LockError::Taken`] if another process has it.
pub fn lock(root: &Path) -> std::result::Result<Lock, LockError> {
    let wrap = |source| StorageError::new("lock", root.display(), source);
    fs::create_dir_all(root).map_err(wrap)?;
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(root.join("lock"))
        .map_err(wrap)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock { _file: file }),
        Err(TryLockError::WouldBlock) => Err(LockError::Taken(root.to_owned())),
        Err(TryLockError::Error(source)) => Err(wrap(source).into()),
    }
}

impl Filesystem {
    /// Opens the store in a folder, making it if need be, and clears what a dead process left in `tmp/`.
    ///
    /// The caller holds the folder's [`Lock`].
    ///
    /// # Errors
    /// The folder cannot be made or written.
    pub fn open(root: &Path, durability: Durability) -> Result<Filesystem> {
        let layout = Layout::new(root);
        for folder in layout.fixed_folders() {
            fs::create_dir_all(&folder)
                .map_err(|source| StorageError::new("make", folder.display(), source))?;
        }
        clear(&layout.temporary_folder())?;
        let syncer = match durability {
            Durability::Full => {
                Some(Syncer::open(root).map_err(|source| StorageError::new("open", root.display(), source))?)
            }
            Durability::None => None,
        };
        Ok(Filesystem {
            layout,
            syncer,
            next_temporary: AtomicU64::new(0),
        })
    }

    /// Where the store is.
    pub fn root(&self) -> &Path {
        self.layout.root()
    }

    /// Returns when everything written before the call is on the disk, if the store is durable.
    fn sync(&self) -> Result<()> {
        match &self.syncer {
            Some(syncer) => syncer
                .sync()
                .map_err(|source| StorageError::new("sync", self.root().display(), source)),
            None => Ok(()),
        }
    }

    fn temporary(&self) -> PathBuf {
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        self.layout.temporary_folder().join(number.to_string())
    }

    /// Writes a file whole: to `tmp/`, then into place.
    fn write_whole(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let temporary = self.temporary();
        let written =
            fs::write(&temporary, bytes).and_then(|()| in_folder(path, || fs::rename(&temporary, path)));
        written.map_err(|source| {
            let _ = fs::remove_file(&temporary);
            self.error("write", path, source)
        })
    }

    /// Whether a content of this length is there, so that it need not be written again: another power cut could lose what
    /// an earlier push was promised. One of another length was lost to such a cut already, and is replaced.
    fn has_whole(&self, path: &Path, len: u64) -> bool {
        fs::metadata(path).is_ok_and(|there| there.len() == len)
    }

    fn error(&self, operation: &'static str, path: &Path, source: io::Error) -> StorageError {
        let inside = path.strip_prefix(self.root()).unwrap_or(path);
        StorageError::new(operation, inside.display(), source)
    }
}

impl Storage for Filesystem {
    fn put_content(&self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        let path = self.layout.content(digest);
        if self.has_whole(&path, bytes.len() as u64) {
            return Ok(());
        }
        self.write_whole(&path, bytes)
    }
}

/// Does something that needs a path's folder, making the folder if it turns out to be missing.
fn in_folder<T>(path: &Path, mut action: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    match action() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            action()
        }
        result => result,
    }
}

/// `None` where the thing is not there.
fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn clear(folder: &Path) -> Result<()> {
    let wrap = |source| StorageError::new("clear", folder.display(), source);
    for entry in fs::read_dir(folder).map_err(wrap)? {
        fs::remove_file(entry.map_err(wrap)?.path()).map_err(wrap)?;
    }
    Ok(())
}

/// Visits the names in a folder; a folder that is not there has none.
fn each_name(folder: &Path, visit: &mut dyn FnMut(&str, fs::FileType)) -> Result<()> {
    let wrap = |source| StorageError::new("list", folder.display(), source);
    let Some(entries) = found(fs::read_dir(folder)).map_err(wrap)? else {
        return Ok(());
    };
    for entry in entries {
        let entry = entry.map_err(wrap)?;
        let kind = match found(entry.file_type()).map_err(wrap)? {
            Some(kind) => kind,
            None => continue,
        };
        if let Some(name) = entry.file_name().to_str() {
            visit(name, kind);
        }
    }
    Ok(())
}
