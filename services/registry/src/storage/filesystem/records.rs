//! Records in files.

use super::paths::parse_joined;
use super::{Filesystem, Temporary, each_name, found, in_folder};
use crate::storage::{Change, Key, Records, Result};
use bytes::Bytes;
use oci::{Algorithm, Digest, RepositoryName, Tag};
use std::{
    fs::{self, File, OpenOptions},
    io::ErrorKind,
    path::{Path, PathBuf},
    time::SystemTime,
};

impl Records for Filesystem {
    fn record(&self, key: &Key) -> Result<Option<Bytes>> {
        let path = self.layout.record(key);
        let value = found(fs::read(&path)).map_err(|source| self.error("read", &path, source))?;
        Ok(value.map(Bytes::from))
    }

    fn record_time(&self, key: &Key) -> Result<Option<SystemTime>> {
        let path = self.layout.record(key);
        found(fs::metadata(&path).and_then(|m| m.modified()))
            .map_err(|source| self.error("read", &path, source))
    }

    /// In two steps, the first durable before the second begins: bytes are written where nobody looks for them, then names are
    /// given to them in the order of the changes. File systems bring names to the disk in the order in which they were given, but
    /// may do so before the bytes: a power cut would leave an empty record, or the record of a content that was lost.
    fn commit(&self, changes: &[Change]) -> Result<()> {
        let placed: Vec<Placed<'_>> = changes
            .iter()
            .map(|change| self.prepare(change))
            .collect::<Result<_>>()?;
        if changes.iter().any(|change| matches!(change, Change::Put(..))) {
            self.sync()?;
        }
        placed.into_iter().try_for_each(|placed| self.place(placed))?;
        self.sync()
    }

    fn has_repository(&self, name: &RepositoryName) -> Result<bool> {
        for folder in [self.layout.manifests(name), self.layout.blobs(name)] {
            let there = folder
                .try_exists()
                .map_err(|source| self.error("read", &folder, source))?;
            if there {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn repositories(&self) -> Result<Vec<RepositoryName>> {
        let mut names = Vec::new();
        self.each_repository(&mut |name, folder| {
            if folder.join("_manifests").exists() || folder.join("_blobs").exists() {
                names.push(name);
            }
        })?;
        Ok(names)
    }

    fn blobs(&self, name: &RepositoryName) -> Result<Vec<Digest>> {
        split_digests(&self.layout.blobs(name))
    }

    fn manifests(&self, name: &RepositoryName) -> Result<Vec<Digest>> {
        split_digests(&self.layout.manifests(name))
    }

    fn tags(&self, name: &RepositoryName) -> Result<Vec<Tag>> {
        let mut tags = Vec::new();
        each_name(&self.layout.tags(name), &mut |name, _| {
            tags.extend(Tag::parse(name));
        })?;
        Ok(tags)
    }

    fn subjects(&self, name: &RepositoryName) -> Result<Vec<Digest>> {
        joined_digests(&self.layout.subjects(name))
    }

    fn referrers(&self, name: &RepositoryName, subject: &Digest) -> Result<Vec<Digest>> {
        joined_digests(&self.layout.referrers(name, subject))
    }
}

/// A change whose bytes are written.
enum Placed<'a> {
    /// The record's value waits to get its name.
    Value(Temporary<'a>, PathBuf),
    /// A record without a value.
    Empty(PathBuf),
    /// A record to be removed.
    Removal(PathBuf),
}

impl Filesystem {
    fn prepare(&self, change: &Change) -> Result<Placed<'_>> {
        Ok(match change {
            Change::Put(key, value) => {
                let path = self.layout.record(key);
                match value.is_empty() {
                    true => Placed::Empty(path),
                    false => Placed::Value(self.write_temporary(&path, value)?, path),
                }
            }
            Change::Remove(key) => Placed::Removal(self.layout.record(key)),
        })
    }

    fn place(&self, placed: Placed<'_>) -> Result<()> {
        match placed {
            Placed::Value(temporary, path) => temporary.rename(&path),
            Placed::Empty(path) => self.put_empty(&path),
            Placed::Removal(path) => found(fs::remove_file(&path))
                .map(|_| ())
                .map_err(|source| self.error("remove", &path, source)),
        }
    }

    /// One that is there already counts as put again, so that garbage collection sees it as fresh.
    fn put_empty(&self, path: &Path) -> Result<()> {
        in_folder(path, || match File::create_new(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => OpenOptions::new()
                .append(true)
                .open(path)?
                .set_modified(SystemTime::now()),
            created => created.map(|_| ()),
        })
        .map_err(|source| self.error("write", path, source))
    }

    /// Visits every folder below `repositories/` that holds a folder of ours, with the name that it stands for.
    pub(super) fn each_repository(&self, visit: &mut dyn FnMut(RepositoryName, &Path)) -> Result<()> {
        let root = self.layout.repositories_folder();
        let mut waiting = vec![(String::new(), root)];
        while let Some((name, folder)) = waiting.pop() {
            let mut is_repository = false;
            each_name(&folder, &mut |part, kind| {
                if part.starts_with('_') {
                    is_repository = true;
                } else if kind.is_dir() {
                    let inner = if name.is_empty() {
                        part.to_owned()
                    } else {
                        format!("{name}/{part}")
                    };
                    waiting.push((inner, folder.join(part)));
                }
            })?;
            if is_repository && let Ok(name) = RepositoryName::parse(&name) {
                visit(name, &folder);
            }
        }
        Ok(())
    }
}

/// Digests that stand as `<alg>/<hex>` below a folder.
fn split_digests(folder: &Path) -> Result<Vec<Digest>> {
    let mut digests = Vec::new();
    for algorithm in Algorithm::ALL {
        each_name(&folder.join(algorithm.name()), &mut |hex, _| {
            digests.extend(Digest::from_hex(algorithm, hex));
        })?;
    }
    Ok(digests)
}

/// Digests that stand as `<alg>-<hex>` in a folder.
fn joined_digests(folder: &Path) -> Result<Vec<Digest>> {
    let mut digests = Vec::new();
    each_name(folder, &mut |name, _| digests.extend(parse_joined(name)))?;
    Ok(digests)
}
