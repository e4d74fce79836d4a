//! What several rounds share: the registry's storage, on a disk whose power can be cut or in a plain folder, and the models of
//! what is in it.

use super::disk::Disk;
use super::model::Model;
use super::{CrashError, End, Options};
use crate::server::Folder;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A storage, and what must be in it.
pub(super) struct Store {
    place: Place,
    pub(super) models: Vec<Model>,
    /// Set while a copy of the disk is made, see [`Model`].
    noted: Arc<AtomicBool>,
}

enum Place {
    Folder(Folder),
    Disk(Box<Disk>),
    /// A person is to look at it.
    Kept(PathBuf),
}

impl Store {
    /// An empty one.
    pub(super) fn new(options: &Options) -> Result<Store, CrashError> {
        let place = match options.end {
            End::Kill => Place::Folder(Folder::new("crash")?),
            End::PowerLoss(kind) => Place::Disk(Box::new(Disk::new(kind).map_err(CrashError::NoDisk)?)),
        };
        let noted = Arc::default();
        Ok(Store {
            place,
            models: (0..options.clients)
                .map(|client| Model::new(client, &noted))
                .collect(),
            noted,
        })
    }

    /// Where it is.
    pub(super) fn storage(&self) -> PathBuf {
        match &self.place {
            Place::Folder(folder) => folder.path().to_owned(),
            Place::Disk(disk) => disk.storage(),
            Place::Kept(path) => path.clone(),
        }
    }

    /// Cuts the power, if this has any. What was acknowledged before must be there afterwards.
    pub(super) fn cut_power(&self) -> io::Result<()> {
        match &self.place {
            Place::Disk(disk) => {
                self.noted.store(true, Ordering::SeqCst);
                disk.cut()
            }
            Place::Folder(_) | Place::Kept(_) => Ok(()),
        }
    }

    /// Goes on with what was left, after the registry has ended.
    pub(super) fn power_on(&mut self) -> io::Result<()> {
        if let Place::Disk(disk) = &mut self.place {
            disk.power_on()?;
        }
        self.noted.store(false, Ordering::SeqCst);
        Ok(())
    }

    /// Keeps the storage as it is; where.
    pub(super) fn keep(&mut self) -> PathBuf {
        let now = self.storage();
        let kept = match std::mem::replace(&mut self.place, Place::Kept(now.clone())) {
            Place::Folder(folder) => folder.into_path(),
            Place::Disk(disk) => disk.keep().unwrap_or(now),
            Place::Kept(path) => path,
        };
        self.place = Place::Kept(kept.clone());
        kept
    }
}

/// The first file below a folder that is only there because a process ended: half written, or an upload under way.
pub(super) fn leftover(folder: &Path) -> io::Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let in_uploads = folder.ends_with("_uploads");
        if in_uploads || name.to_string_lossy().starts_with('.') {
            return Ok(Some(path));
        }
        if entry.file_type()?.is_dir()
            && let Some(found) = leftover(&path)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
