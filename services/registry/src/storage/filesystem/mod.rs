//! A store in a folder of the local file system.
//!
//! ```text
//! lock                                        held by the process that owns the folder
//! records/                                    the ledger: all records, and contents up to 16 KiB
//! blobs/<alg>/<2 hex>/<hex>                   larger contents
//! repositories/<name>/_uploads/<id>.<alg>     bytes received so far
//! aside/                                      contents that did not match their digest, and damaged parts of the ledger
//! unsynced                                    there since a process wrote without durability
//! reserve                                     room that a garbage collection gives up while it removes
//! reserve-for-deletes                         room that the first delete gives up that finds no other
//! ```
//!
//! A small push is thus one write to the ledger's log and one sync, which concurrent pushes share. A file of `blobs` is written
//! as `.<process>-<number>` beside its place and renamed into it, so no reader meets a part of it; what a dead process left under
//! such a name is removed soon after the next start.

mod contents;
mod keys;
mod legacy;
mod names;
mod paths;
mod records;
mod reserve;
#[cfg(test)]
mod tests;
mod uploads;

use super::{
    Durability, Reserve, Result, Storage, StorageError, disk,
    ledger::{Ledger, Settings},
};
use names::Names;
use paths::Layout;
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// Contents up to this size are in the ledger: a file of their own would cost more than they do.
const SMALL_CONTENT_BYTES: usize = 16 << 10;

/// What the names of temporary files begin with; no digest, tag or repository does.
const TEMPORARY: char = '.';

/// A store in a folder.
pub struct Filesystem {
    layout: Layout,
    ledger: Ledger,
    noted: records::Noted,
    /// Whether what is written must be on the disk before it counts.
    durable: bool,
    /// Which names of contents have come to the disk.
    names: Names,
    /// What the names of this process's temporary files begin with: chance, so that those of others are told from them.
    temporaries: String,
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
    let missing: Vec<&Path> = root.ancestors().take_while(|folder| !folder.exists()).collect();
    disk::make_folder(root).map_err(wrap)?;
    for above in missing.iter().filter_map(|folder| folder.parent()) {
        // The folder above may be one that we must not read.
        let _ = disk::sync_folder(above);
    }
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
    /// The folder cannot be made or written, or its records are damaged in a way that nobody can tell which of them are lost: a
    /// tag could lead to where it led before.
    pub fn open(root: &Path, durability: Durability) -> Result<Filesystem> {
        let store = Filesystem::open_to_verify(root, durability)?;
        match store.ledger.lost() {
            None => Ok(store),
            Some(what) => {
                let advice = format!("{what}: registry verify --repair gives up what stood there");
                let source = io::Error::new(io::ErrorKind::InvalidData, advice);
                Err(StorageError::new("use", store.layout.records().display(), source))
            }
        }
    }

    /// As [`Filesystem::open`], whatever is damaged. Nothing may be served from it before it was repaired.
    ///
    /// # Errors
    /// The folder cannot be made or written.
    pub fn open_to_verify(root: &Path, durability: Durability) -> Result<Filesystem> {
        let layout = Layout::new(root);
        for folder in layout.fixed_folders() {
            disk::make_folder(&folder)
                .map_err(|source| StorageError::new("make", folder.display(), source))?;
        }
        let durable = durability == Durability::Full;
        settle_durability(&layout, durable)
            .map_err(|source| StorageError::new("sync", root.display(), source))?;
        let wrap = |source| StorageError::new("open", layout.records().display(), source);
        legacy::import(&layout, durable)?;
        Ok(Filesystem {
            ledger: Ledger::open(&layout.records(), settings(durable)).map_err(wrap)?,
            layout,
            noted: records::Noted::default(),
            durable,
            names: Names::default(),
            temporaries: format!("{TEMPORARY}{:08x}-", rand::random::<u32>()),
            next_temporary: AtomicU64::new(0),
        })
    }

    /// Where the store is.
    pub fn root(&self) -> &Path {
        self.layout.root()
    }

    /// A name that nobody looks for, beside a file's place. In the same folder, because the kernel lets only one rename between
    /// folders take place at a time.
    fn temporary_beside(&self, path: &Path) -> Temporary<'_> {
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        Temporary {
            store: self,
            path: path.with_file_name(format!("{}{number}", self.temporaries)),
            in_place: false,
        }
    }

    /// Does something that needs a path's folder, making the folder if it turns out to be missing.
    fn in_folder<T>(&self, path: &Path, mut action: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        match action() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(folder) = path.parent() {
                    self.make_folder(folder)?;
                }
                action()
            }
            result => result,
        }
    }

    /// Makes a folder and those above it. If the store is durable, so are they.
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = folder.ancestors().take_while(|folder| !folder.exists()).collect();
        disk::make_folder(folder)?;
        if self.durable {
            for above in missing.iter().filter_map(|folder| folder.parent()) {
                disk::sync_folder(above)?;
            }
        }
        Ok(())
    }

    /// Renames a file to the place of a content, and brings its name to the disk, if the store is durable.
    fn put_in_place(&self, from: &Path, content: &Path) -> Result<()> {
        let rename = || self.in_folder(content, || disk::rename(from, content));
        self.names
            .change(content, rename)
            .map_err(|source| self.error("write", content, source))?;
        self.settle(content)
    }

    /// Makes sure that the name of a content that is there has come to the disk, if the store is durable: who put it there may be
    /// about to see to that, may have failed to, or may have been killed.
    fn settle(&self, content: &Path) -> Result<()> {
        if !self.durable {
            return Ok(());
        }
        self.names
            .settle(content)
            .map_err(|source| self.error("sync", content, source))
    }

    /// Removes the temporary files in a folder and below that are not of this process; how many.
    fn sweep(&self, folder: &Path) -> Result<usize> {
        let (mut folders, mut leftovers) = (Vec::new(), Vec::new());
        each_name(folder, &mut |name, kind| {
            if kind.is_dir() {
                folders.push(folder.join(name));
            } else if name.starts_with(TEMPORARY) && !name.starts_with(&self.temporaries) {
                leftovers.push(folder.join(name));
            }
        })?;
        let mut removed = 0;
        for path in leftovers {
            found(disk::remove(&path)).map_err(|source| self.error("remove", &path, source))?;
            removed += 1;
        }
        for folder in folders {
            removed += self.sweep(&folder)?;
        }
        Ok(removed)
    }

    fn failed(&self, operation: &'static str, subject: impl ToString, source: io::Error) -> StorageError {
        StorageError::new(operation, subject, source)
    }

    fn error(&self, operation: &'static str, path: &Path, source: io::Error) -> StorageError {
        let inside = path.strip_prefix(self.root()).unwrap_or(path);
        StorageError::new(operation, inside.display(), source)
    }
}

impl Storage for Filesystem {
    fn is_quick(&self) -> bool {
        !self.durable
    }

    fn remove_leftovers(&self) -> Result<usize> {
        self.layout
            .fixed_folders()
            .iter()
            .map(|folder| self.sweep(folder))
            .sum()
    }

    fn lay_reserve(&self, reserve: Reserve) -> Result<()> {
        let path = self.layout.reserve(reserve);
        reserve::lay(&path).map_err(|source| self.error("lay", &path, source))
    }

    fn give_up_reserve(&self, reserve: Reserve) -> Result<()> {
        let path = self.layout.reserve(reserve);
        found(disk::remove(&path))
            .map(|_| ())
            .map_err(|source| self.error("give up", &path, source))
    }
}

/// A file that waits to be renamed into its place; it goes if it is not.
struct Temporary<'a> {
    store: &'a Filesystem,
    path: PathBuf,
    in_place: bool,
}

impl Temporary<'_> {
    fn path(&self) -> &Path {
        &self.path
    }

    /// See [`Filesystem::put_in_place`].
    fn put_in_place(mut self, content: &Path) -> Result<()> {
        let placed = self.store.put_in_place(&self.path, content);
        // It may be there although its name could not be synced.
        self.in_place = placed.is_ok();
        placed
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.in_place {
            let _ = disk::remove(&self.path);
        }
    }
}

/// How the ledger is kept. In tests, so that a few commits fill its memory.
fn settings(durable: bool) -> Settings {
    let usual = Settings::new(durable);
    match cfg!(test) {
        true => Settings {
            memory_bytes: 4000,
            ..usual
        },
        false => usual,
    }
}

/// Notes that nothing is brought to the disk from now on; or if that was so until now, and is not any more, brings everything
/// there: what is pushed with durability may be built on it.
fn settle_durability(layout: &Layout, durable: bool) -> io::Result<()> {
    let note = layout.unsynced();
    if !durable {
        return disk::create(&note).map(|_| ());
    }
    if note.exists() {
        sync_all_of(layout.root())?;
        disk::remove(&note)?;
    }
    Ok(())
}

/// Brings the whole file system that a folder is on to the disk.
#[cfg(target_os = "linux")]
fn sync_all_of(folder: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(folder)?)?)
}

#[cfg(not(target_os = "linux"))]
fn sync_all_of(_: &Path) -> io::Result<()> {
    rustix::fs::sync();
    Ok(())
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
    let Some(entries) = found(disk::list(folder)).map_err(wrap)? else {
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
