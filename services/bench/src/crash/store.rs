//! What several rounds share: the registry's storage, on a disk whose power can be cut or in a plain folder, and the models of
//! what is in it.

use super::disk::Disk;
use super::model::Model;
use super::{CrashError, End, Options};
use crate::server::Folder;
use oci::{Algorithm, Digest};
use std::collections::BTreeSet;
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

/// The first file of a storage that nothing needs after a collection without any grace, which was the last thing that was done
/// to it: only what is kept is in `blobs`, records are in whole tables, and nothing was found damaged.
pub(super) fn needless(storage: &Path, kept: &BTreeSet<Digest>) -> io::Result<Option<PathBuf>> {
    if let Some(path) = leftover(storage)? {
        return Ok(Some(path));
    }
    let is_needed = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match path
            .strip_prefix(storage)
            .ok()
            .and_then(|path| path.iter().next())
        {
            Some(top) if top == "blobs" => Algorithm::ALL
                .into_iter()
                .filter_map(|algorithm| Digest::from_hex(algorithm, &name))
                .any(|digest| kept.contains(&digest)),
            Some(top) if top == "records" => name == "version" || is_table(&name),
            Some(top) => top != "aside",
            None => false,
        }
    };
    Ok(files(storage)?.into_iter().find(|path| !is_needed(path)))
}

/// `<first>-<last>.table`, the numbers of the logs that it is made of.
fn is_table(name: &str) -> bool {
    let numbers = name.strip_suffix(".table").and_then(|name| name.split_once('-'));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    numbers.is_some_and(|(first, last)| is_number(first) && is_number(last))
}

/// Every file below a folder.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => found.extend(files(&entry.path())?),
            false => found.push(entry.path()),
        }
    }
    Ok(found)
}

/// The first file below a folder that is only there because a process ended: half written, or an upload under way.
fn leftover(folder: &Path) -> io::Result<Option<PathBuf>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_kept_and_whole_tables_are_needed() {
        let folder = Folder::new("needless").expect("a folder");
        let kept = Digest::sha256(b"kept");
        let blob = |digest: &Digest| format!("blobs/sha256/{}/{}", &digest.hex()[..2], digest.hex());
        let write = |name: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(&path, "").expect("a file");
            path
        };
        for name in [
            "lock",
            "reserve",
            "records/version",
            "records/0000000001-0000000004.table",
            &blob(&kept),
        ] {
            write(name);
        }
        let needless = || needless(folder.path(), &BTreeSet::from([kept])).expect("a listing");
        assert_eq!(needless(), None);
        for name in [
            blob(&Digest::sha256(b"garbage")),
            "blobs/sha256/aa/.7".to_owned(),
            "records/0000000005-00000000000000aa.log".to_owned(),
            "records/0000000005-0000000006.table.new".to_owned(),
            "repositories/a/_uploads/1.sha256".to_owned(),
            "aside/sha256-00".to_owned(),
        ] {
            let path = write(&name);
            assert_eq!(needless().as_ref(), Some(&path));
            fs::remove_file(path).expect("a file");
        }
    }
}
