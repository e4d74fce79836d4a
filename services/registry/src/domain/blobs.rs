//! Blobs: whether a repository has one, its bytes, mounting and deleting.

use super::{Error, Registry, Result};
use crate::storage::{Change, Content, Key};
use bytes::Bytes;
use oci::{Digest, RepositoryName};

/// Blobs up to this size are kept in memory whole: one page of the file system, as configurations and signatures have.
const SMALL_BLOB_BYTES: u64 = 64 * 1024;

/// What is remembered about a blob.
#[derive(Clone, Debug)]
pub struct Blob {
    /// Size in bytes.
    pub size: u64,
    /// The bytes, if they are few and were asked for.
    pub bytes: Option<Bytes>,
}

/// How a request to mount a blob ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mounted {
    /// The repository has the blob now.
    Yes,
    /// There was nothing to mount: the client must push it.
    No,
}

impl Registry {
    /// What is known about a blob without asking storage.
    pub fn known_blob(&self, name: &RepositoryName, digest: &Digest) -> Option<Blob> {
        if self.is_known_damaged(digest) {
            return None;
        }
        self.0.blobs.get(&(name.clone(), *digest))
    }

    /// Size of a blob that this repository has; `None` if it has not.
    ///
    /// # Errors
    /// The store cannot be read; `Damaged` if the blob was found so.
    pub fn blob_size(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<u64>> {
        match self.linked_size(name, digest)? {
            Some(_) if self.is_known_damaged(digest) => Err(Error::Damaged { digest: *digest }),
            size => Ok(size),
        }
    }

    /// Size of a blob that something new may rely on: one that is known to be damaged must be pushed again first.
    pub(super) fn good_blob_size(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<u64>> {
        match self.linked_size(name, digest) {
            Err(Error::Damaged { .. }) => Ok(None),
            size => Ok(size?.filter(|_| !self.is_known_damaged(digest))),
        }
    }

    fn linked_size(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<u64>> {
        let key = (name.clone(), *digest);
        if let Some(blob) = self.0.blobs.get(&key) {
            return Ok(Some(blob.size));
        }
        let ticket = self.0.blobs.ticket(&key);
        let record = self.storage().record(&Key::Blob(name.clone(), *digest));
        if self.or_damaged(digest, record)?.is_none() {
            return Ok(None);
        }
        let size = self.stored_size(digest)?;
        if let Some(size) = size {
            self.0.blobs.fill(ticket, key, Blob { size, bytes: None }, 0);
        }
        Ok(size)
    }

    /// Opens a blob.
    ///
    /// # Errors
    /// `BlobUnknown` if the repository has not got it; `Damaged` if it is small and its bytes no longer have its digest.
    pub fn open_blob(&self, name: &RepositoryName, digest: &Digest) -> Result<Content> {
        let key = (name.clone(), *digest);
        if let Some(Blob {
            bytes: Some(bytes), ..
        }) = self.0.blobs.get(&key)
        {
            return Ok(Content::Memory(bytes));
        }
        let unknown = || Error::BlobUnknown {
            name: name.clone(),
            digest: *digest,
        };
        let ticket = self.0.blobs.ticket(&key);
        let size = self.blob_size(name, digest)?.ok_or_else(unknown)?;
        let content = self.stored_content(digest)?.ok_or_else(unknown)?;
        if content.len() != size {
            self.remember_damaged(digest);
            return Err(Error::Damaged { digest: *digest });
        }
        if content.len() > SMALL_BLOB_BYTES {
            return Ok(content);
        }
        let bytes = self.read_whole(digest, &content)?;
        let blob = Blob {
            size: bytes.len() as u64,
            bytes: Some(bytes.clone()),
        };
        self.0.blobs.fill(ticket, key, blob, bytes.len());
        Ok(Content::Memory(bytes))
    }

    /// Makes a content a blob of this repository. The caller holds a lease of the content.
    pub(super) fn link_blob(&self, name: &RepositoryName, digest: &Digest, size: u64) -> Result<()> {
        let key = Key::Blob(name.clone(), *digest);
        let _repository = self.0.locks.push_into(name);
        self.storage().commit(&[Change::Put(key, Bytes::new())])?;
        self.remember_blob(name, digest, size);
        Ok(())
    }

    /// Makes bytes a content and a blob of this repository, both at once. The caller holds a lease of the content.
    pub(super) fn store_blob(&self, name: &RepositoryName, digest: &Digest, bytes: &[u8]) -> Result<()> {
        let content = Change::Content(*digest, Bytes::copy_from_slice(bytes));
        let key = Key::Blob(name.clone(), *digest);
        let _repository = self.0.locks.push_into(name);
        self.storage()
            .commit(&[content, Change::Put(key, Bytes::new())])?;
        self.remember_blob(name, digest, bytes.len() as u64);
        Ok(())
    }

    fn remember_blob(&self, name: &RepositoryName, digest: &Digest, size: u64) {
        self.0
            .blobs
            .insert((name.clone(), *digest), Blob { size, bytes: None }, 0);
        self.0.catalog.add(name);
    }

    /// Makes a blob of another repository a blob of this one. Nothing is copied.
    ///
    /// Without `from`, any repository will do: the caller must be allowed to read all of them.
    ///
    /// # Errors
    /// The registry is read-only or the store failed. A blob that is not there is no error.
    pub fn mount_blob(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        from: Option<&RepositoryName>,
    ) -> Result<Mounted> {
        self.require_writable()?;
        let _lease = self.0.locks.lease(*digest);
        let size = match (self.good_blob_size(name, digest)?, from) {
            (Some(size), _) => Some(size),
            (None, Some(from)) => self.good_blob_size(from, digest)?,
            (None, None) => self
                .size_anywhere(digest)?
                .filter(|_| !self.is_known_damaged(digest)),
        };
        match size {
            Some(size) => {
                self.link_blob(name, digest, size)?;
                Ok(Mounted::Yes)
            }
            None => Ok(Mounted::No),
        }
    }

    /// Size of a blob that any repository has.
    fn size_anywhere(&self, digest: &Digest) -> Result<Option<u64>> {
        match self.storage().is_blob_anywhere(digest)? {
            true => self.stored_size(digest),
            false => Ok(None),
        }
    }

    /// Takes a blob away from a repository, at once. Other repositories keep it.
    ///
    /// # Errors
    /// `BlobUnknown` if the repository has not got it; deleting may be disabled.
    pub fn delete_blob(&self, name: &RepositoryName, digest: &Digest) -> Result<()> {
        self.require_delete()?;
        let _alone = self.0.locks.delete_from(name);
        let key = Key::Blob(name.clone(), *digest);
        if self.storage().record(&key)?.is_none() {
            return Err(Error::BlobUnknown {
                name: name.clone(),
                digest: *digest,
            });
        }
        let removed = self.commit_deletion(&[Change::Remove(key)]);
        self.0.blobs.remove(&(name.clone(), *digest));
        Ok(removed?)
    }
}
