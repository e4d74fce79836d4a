//! Which names of contents have come to the disk.
//!
//! A content is there for everybody as soon as it has its name, and its name is on the disk a little later, when its folder was
//! synced. Who finds one there meanwhile, and is to be promised something that needs it, must not rely on another's sync.

use crate::storage::disk;
use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The folders of contents that this process has changed or relied on.
#[derive(Debug, Default)]
pub(super) struct Names {
    folders: Mutex<HashMap<PathBuf, Folder>>,
}

#[derive(Debug, Default)]
struct Folder {
    /// Changes that are taking place now.
    under_way: usize,
    /// Changes that took place.
    changes: u64,
    /// How many of them have come to the disk; `None` until the folder was synced by this process.
    synced: Option<u64>,
}

impl Names {
    /// Changes a name by an action.
    pub(super) fn change<T>(&self, path: &Path, action: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let Some(folder) = path.parent() else {
            return action();
        };
        self.lock().entry(folder.to_owned()).or_default().under_way += 1;
        let done = action();
        let mut folders = self.lock();
        let folder = folders.entry(folder.to_owned()).or_default();
        folder.under_way -= 1;
        folder.changes += 1;
        done
    }

    /// Returns when a name that was seen has come to the disk.
    pub(super) fn settle(&self, path: &Path) -> io::Result<()> {
        let Some(parent) = path.parent() else {
            return Ok(());
        };
        let (changes, is_first) = {
            let mut folders = self.lock();
            let folder = folders.entry(parent.to_owned()).or_default();
            if folder.under_way == 0 && folder.synced == Some(folder.changes) {
                return Ok(());
            }
            (folder.changes, folder.synced.is_none())
        };
        disk::sync_folder(parent)?;
        if is_first {
            // Its own name may have been made by somebody who has not come to sync it: `blobs/<alg>`, `blobs`.
            for above in parent.ancestors().skip(1).take(2) {
                disk::sync_folder(above)?;
            }
        }
        let mut folders = self.lock();
        let folder = folders.entry(parent.to_owned()).or_default();
        folder.synced = folder.synced.max(Some(changes));
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Folder>> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
