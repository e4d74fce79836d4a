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
//! aside/                                                contents that did not match their digest
//! notes/                                                notes about the store as a whole
//! ```
//!
//! Whatever is not empty is written as `.<number>` beside its place and renamed into it, so no reader meets a part of it. What
//! a dead process left under such a name is removed with the garbage.

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
    time::SystemTime,
};
use syncer::Syncer;

/// What the names of temporary files begin with; no digest, tag or repository does.
const TEMPORARY: char = '.';

/// A store in a folder.
#[derive(Debug)]
pub struct Filesystem {
    layout: Layout,
    syncer: Option<Syncer>,
    /// Numbers temporary files, which this process alone writes.
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
    /// Opens the store in a folder, making it if need be.
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

    /// Writes a file whole: under a name that nobody looks for, then into its place.
    fn write_whole(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        self.write_temporary(path, bytes)?.rename(path)
    }

    /// Writes bytes under a name that nobody looks for, beside the place that they are for. In the same folder, because the
    /// kernel lets only one rename between folders take place at a time.
    fn write_temporary(&self, path: &Path, bytes: &[u8]) -> Result<Temporary<'_>> {
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        let temporary = Temporary {
            store: self,
            path: path.with_file_name(format!("{TEMPORARY}{number}")),
            in_place: false,
        };
        in_folder(&temporary.path, || fs::write(&temporary.path, bytes))
            .map_err(|source| self.error("write", path, source))?;
        Ok(temporary)
    }

    /// Removes the temporary files in a folder and below that are older than a time.
    fn sweep(&self, folder: &Path, before: SystemTime) -> Result<usize> {
        let (mut folders, mut leftovers) = (Vec::new(), Vec::new());
        each_name(folder, &mut |name, kind| {
            if kind.is_dir() {
                folders.push(folder.join(name));
            } else if name.starts_with(TEMPORARY) {
                leftovers.push(folder.join(name));
            }
        })?;
        let mut removed = 0;
        for path in leftovers {
            let is_old = found(fs::metadata(&path).and_then(|m| m.modified()))
                .map_err(|source| self.error("read", &path, source))?
                .is_some_and(|time| time < before);
            if is_old {
                found(fs::remove_file(&path)).map_err(|source| self.error("remove", &path, source))?;
                removed += 1;
            }
        }
        for folder in folders {
            removed += self.sweep(&folder, before)?;
        }
        Ok(removed)
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
    fn remove_leftovers(&self, before: SystemTime) -> Result<usize> {
        self.layout
            .fixed_folders()
            .iter()
            .map(|folder| self.sweep(folder, before))
            .sum()
    }

    fn put_content(&self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        let path = self.layout.content(digest);
        if self.has_whole(&path, bytes.len() as u64) {
            return Ok(());
        }
        self.write_whole(&path, bytes)
    }
}

/// A file that waits to be renamed into its place; it goes if it is not.
struct Temporary<'a> {
    store: &'a Filesystem,
    path: PathBuf,
    in_place: bool,
}

impl Temporary<'_> {
    fn rename(mut self, path: &Path) -> Result<()> {
        fs::rename(&self.path, path).map_err(|source| self.store.error("write", path, source))?;
        self.in_place = true;
        Ok(())
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.in_place {
            let _ = fs::remove_file(&self.path);
        }
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
