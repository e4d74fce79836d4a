//! Contents: small ones in the ledger, others in files.

use super::{Filesystem, SMALL_CONTENT_BYTES, each_name, found, keys};
use crate::storage::{
    Content, Contents, Result, disk,
    ledger::{Batch, Value},
};
use oci::{Algorithm, Digest};
use std::{fs::Metadata, io::Write, time::SystemTime};

impl Contents for Filesystem {
    fn content(&self, digest: &Digest) -> Result<Option<Content>> {
        if let Some(value) = self.small(digest)? {
            return Ok(Some(Content::Memory(value.bytes)));
        }
        let path = self.layout.content(digest);
        let opened = found(disk::open(&path)).and_then(|file| file.map(Content::of_file).transpose());
        opened.map_err(|source| self.error("open", &path, source))
    }

    /// A small content that was received in parts is a file. It is covered by one in the ledger.
    fn content_in_place(&self, digest: &Digest, len: u64) -> Result<Option<Content>> {
        if len > SMALL_CONTENT_BYTES as u64 {
            return self.content(digest);
        }
        Ok(self.small(digest)?.map(|value| Content::Memory(value.bytes)))
    }

    fn content_size(&self, digest: &Digest) -> Result<Option<u64>> {
        match self.small(digest)? {
            Some(value) => Ok(Some(value.bytes.len() as u64)),
            None => Ok(self.file_metadata(digest)?.map(|metadata| metadata.len())),
        }
    }

    fn content_time(&self, digest: &Digest) -> Result<Option<SystemTime>> {
        if let Some(value) = self.small(digest)? {
            return Ok(Some(value.time()));
        }
        let path = self.layout.content(digest);
        found(disk::metadata(&path).and_then(|m| m.modified()))
            .map_err(|source| self.error("read", &path, source))
    }

    fn each_content(&self, visit: &mut dyn FnMut(Digest, u64)) -> Result<()> {
        let prefix = keys::contents();
        let mut visit_small = |key: &[u8], value: &Value| {
            if let Some(digest) = keys::read_digest(&key[prefix.len()..]) {
                visit(digest, value.bytes.len() as u64);
            }
            true
        };
        self.ledger
            .scan(&prefix, &mut visit_small)
            .map_err(|source| self.failed("list", "contents", source))?;
        for algorithm in Algorithm::ALL {
            let folder = self.layout.contents_folder(algorithm);
            let mut groups = Vec::new();
            each_name(&folder, &mut |group, _| groups.push(folder.join(group)))?;
            for group in groups {
                each_name(&group, &mut |name, _| {
                    if let Some(digest) = Digest::from_hex(algorithm, name)
                        && let Ok(metadata) = disk::metadata(&group.join(name))
                    {
                        visit(digest, metadata.len());
                    }
                })?;
            }
        }
        Ok(())
    }

    fn remove_content(&self, digest: &Digest) -> Result<Option<u64>> {
        let size = self.content_size(digest)?;
        self.remove_small(digest)?;
        let path = self.layout.content(digest);
        found(disk::remove(&path)).map_err(|source| self.error("remove", &path, source))?;
        Ok(size)
    }

    fn set_aside_content(&self, digest: &Digest) -> Result<()> {
        let aside = self.layout.aside(digest);
        if let Ok(Some(value)) = self.small(digest) {
            self.in_folder(&aside, || disk::NewFile::create(&aside)?.write_all(&value.bytes))
                .map_err(|source| self.error("set aside", &aside, source))?;
        }
        self.remove_small(digest)?;
        let path = self.layout.content(digest);
        found(self.in_folder(&aside, || disk::rename(&path, &aside)))
            .map(|_| ())
            .map_err(|source| self.error("set aside", &path, source))
    }
}

impl Filesystem {
    /// A content that is in the ledger.
    fn small(&self, digest: &Digest) -> Result<Option<Value>> {
        self.ledger
            .get(&keys::content(digest))
            .map_err(|source| self.failed("read", digest, source))
    }

    /// One whose place cannot be read counts as there.
    fn remove_small(&self, digest: &Digest) -> Result<()> {
        if matches!(self.small(digest), Ok(None)) {
            return Ok(());
        }
        let mut batch = Batch::new();
        batch.remove(&keys::content(digest));
        self.ledger
            .commit(batch)
            .map_err(|source| self.failed("remove", digest, source))
    }

    fn file_metadata(&self, digest: &Digest) -> Result<Option<Metadata>> {
        let path = self.layout.content(digest);
        found(disk::metadata(&path)).map_err(|source| self.error("read", &path, source))
    }

    /// Whether a content of this length is there, as durable as if it had just been written, so that it need not be written again: a
    /// power cut while it is could lose what an earlier push was promised. One of another length, or one that cannot be read, is
    /// replaced.
    pub(super) fn has_whole(&self, digest: &Digest, len: u64) -> Result<bool> {
        match self.small(digest) {
            // Whoever commits next syncs it with that.
            Ok(Some(value)) => return Ok(value.bytes.len() as u64 == len),
            // See `content_in_place`.
            Ok(None) if len <= SMALL_CONTENT_BYTES as u64 => return Ok(false),
            Ok(None) => {}
            Err(error) if error.is_damaged() => return Ok(false),
            Err(error) => return Err(error),
        }
        if self.file_metadata(digest)?.is_none_or(|file| file.len() != len) {
            return Ok(false);
        }
        self.settle(&self.layout.content(digest))?;
        Ok(true)
    }

    /// Makes bytes a file under their digest: under a name that nobody looks for, then into its place.
    pub(super) fn put_file(&self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        let path = self.layout.content(digest);
        let temporary = self.temporary_beside(&path);
        let write = || {
            let mut file = disk::NewFile::create(temporary.path())?;
            file.write_all(bytes)?;
            if self.durable { file.sync() } else { Ok(()) }
        };
        self.in_folder(temporary.path(), write)
            .map_err(|source| self.error("write", &path, source))?;
        temporary.put_in_place(&path)
    }
}
