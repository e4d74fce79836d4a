//! Folders of the time before the ledger, when each record was a file.
//!
//! ```text
//! repositories/<name>/_blobs/<alg>/<hex>                  empty
//! repositories/<name>/_manifests/<alg>/<hex>              media type
//! repositories/<name>/_tags/<tag>                         digest
//! repositories/<name>/_referrers/<alg>-<hex>/<alg>-<hex>  descriptor
//! notes/                                                  notes about the store as a whole
//! ```
//!
//! Their records are written to a ledger beside its place, which is put there when all of them are in it; then the files go. Contents
//! stay as they are.

use super::{
    Ledger, Result, Settings, StorageError, each_name, keys,
    paths::{Layout, parse_joined},
    uploads::each_repository,
};
use crate::storage::{Key, ledger::Batch};
use oci::{Algorithm, Digest, RepositoryName, Tag};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Folders of a repository that held records.
const FOLDERS: [&str; 4] = ["_blobs", "_manifests", "_tags", "_referrers"];

/// Bytes of records that are committed at once.
const BATCH_BYTES: usize = 256 << 10;

/// Moves records into a ledger, if the folder is of that time.
pub(super) fn import(layout: &Layout, durable: bool) -> Result<()> {
    let notes = layout.root().join("notes");
    if !notes.exists() {
        return Ok(());
    }
    if !Ledger::is_there(&layout.records()) {
        let unfinished = layout.root().join("records.new");
        let moved = move_records(layout, &notes, &unfinished, durable);
        let moved = moved?;
        log::info!(
            "moved {moved} records of earlier files into {}",
            layout.records().display()
        );
    }
    each_repository(&layout.repositories_folder(), &mut |_, folder| {
        for name in FOLDERS {
            remove(&folder.join(name));
        }
    })?;
    remove(&notes);
    Ok(())
}

/// What stays is read by nobody, and is tried again at the next start.
fn remove(folder: &Path) {
    if let Err(error) = fs::remove_dir_all(folder)
        && error.kind() != io::ErrorKind::NotFound
    {
        log::warn!(
            "cannot remove {}, whose records have been moved: {error}",
            folder.display()
        );
    }
}

fn move_records(layout: &Layout, notes: &Path, unfinished: &Path, durable: bool) -> Result<usize> {
    let wrap = |source| StorageError::new("move records to", unfinished.display(), source);
    if unfinished.exists() {
        fs::remove_dir_all(unfinished).map_err(wrap)?;
    }
    let ledger = Ledger::open(unfinished, Settings::new(false)).map_err(wrap)?;
    let mut import = Import {
        ledger: &ledger,
        batch: Batch::new(),
        moved: 0,
    };
    let mut names = Vec::new();
    each_name(notes, &mut |name, _| names.push(name.to_owned()))?;
    for name in names {
        import
            .file(&keys::note(&name), &notes.join(&name))
            .map_err(wrap)?;
    }
    let mut repositories = Vec::new();
    each_repository(&layout.repositories_folder(), &mut |name, folder| {
        repositories.push((name, folder.to_owned()));
    })?;
    for (name, folder) in repositories {
        import.repository(&name, &folder)?;
    }
    import.flush().map_err(wrap)?;
    let moved = import.moved;
    drop(ledger);
    let finish = || {
        if durable {
            for entry in fs::read_dir(unfinished)? {
                File::open(entry?.path())?.sync_all()?;
            }
            File::open(unfinished)?.sync_all()?;
        }
        fs::rename(unfinished, layout.records())?;
        if durable {
            File::open(layout.root())?.sync_all()
        } else {
            Ok(())
        }
    };
    finish().map_err(wrap)?;
    Ok(moved)
}

/// Records on their way into a ledger.
struct Import<'a> {
    ledger: &'a Ledger,
    batch: Batch,
    moved: usize,
}

impl Import<'_> {
    fn repository(&mut self, name: &RepositoryName, folder: &Path) -> Result<()> {
        let wrap = |source| StorageError::new("move the records of", name, source);
        let [blobs, manifests, tags, referrers] = FOLDERS.map(|part| folder.join(part));
        if blobs.exists() || manifests.exists() {
            self.batch.put(&keys::repository(name), &[]);
        }
        for (digest, path) in split_digests(&blobs)? {
            self.batch.put(&keys::owner(&digest, name), &[]);
            self.file(&keys::record(&Key::Blob(name.clone(), digest)), &path)
                .map_err(wrap)?;
        }
        for (digest, path) in split_digests(&manifests)? {
            self.file(&keys::record(&Key::Manifest(name.clone(), digest)), &path)
                .map_err(wrap)?;
        }
        let mut found = Vec::new();
        each_name(&tags, &mut |tag, _| found.extend(Tag::parse(tag)))?;
        for tag in found {
            let path = tags.join(tag.as_str());
            self.file(&keys::record(&Key::Tag(name.clone(), tag)), &path)
                .map_err(wrap)?;
        }
        for (subject, folder) in joined_digests(&referrers)? {
            for (digest, path) in joined_digests(&folder)? {
                self.file(
                    &keys::record(&Key::Referrer(name.clone(), subject, digest)),
                    &path,
                )
                .map_err(wrap)?;
            }
        }
        Ok(())
    }

    /// One record: its value is the file's bytes, its time the file's.
    fn file(&mut self, key: &[u8], path: &Path) -> io::Result<()> {
        let time = fs::metadata(path)?
            .modified()
            .unwrap_or_else(|_| SystemTime::now());
        self.batch.put_at(key, &fs::read(path)?, time);
        self.moved += 1;
        if self.batch.len() >= BATCH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.ledger
            .commit(std::mem::replace(&mut self.batch, Batch::new()))
    }
}

/// Digests that stand as `<alg>/<hex>` below a folder.
fn split_digests(folder: &Path) -> Result<Vec<(Digest, PathBuf)>> {
    let mut digests = Vec::new();
    for algorithm in Algorithm::ALL {
        let folder = folder.join(algorithm.name());
        each_name(&folder, &mut |hex, _| {
            digests.extend(Digest::from_hex(algorithm, hex).map(|digest| (digest, folder.join(hex))));
        })?;
    }
    Ok(digests)
}

/// Digests that stand as `<alg>-<hex>` in a folder.
fn joined_digests(folder: &Path) -> Result<Vec<(Digest, PathBuf)>> {
    let mut digests = Vec::new();
    each_name(folder, &mut |name, _| {
        digests.extend(parse_joined(name).map(|digest| (digest, folder.join(name))));
    })?;
    Ok(digests)
}
