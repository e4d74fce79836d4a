//! Uploads: sessions that receive a blob in any number of pieces, and end as a blob or not at all.
//!
//! What was received is in storage; that, and nothing in memory, is what a session is. Memory keeps who is writing, and the
//! state of the hash, so that a chunk does not have to be hashed twice; after a restart it is computed again.

use super::{Error, Registry, Result};
use crate::storage::{Content, StorageError, StoredUpload, UploadKey, UploadWriter};
use oci::{Algorithm, Digest, Hasher, RepositoryName};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

/// Bytes that are read at once to compute a hash again.
const REHASH_BYTES: usize = 256 * 1024;

/// Longest id that is looked up; ours have 36 characters.
const MAX_ID_BYTES: usize = 64;

/// Sessions of this process.
#[derive(Default)]
pub(super) struct Sessions {
    known: Mutex<HashMap<String, Session>>,
}

enum Session {
    /// A request is writing.
    Busy,
    /// The hash of this many bytes.
    Resting(Box<Hasher>, u64),
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many sessions are known to this process.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }
}

/// How far an upload is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadStatus {
    /// The session's id.
    pub id: String,
    /// Bytes received.
    pub received: u64,
}

/// A session that this request writes to; no other can meanwhile. Dropping it keeps what was received.
pub struct Receiving {
    registry: Registry,
    upload: StoredUpload,
    writer: Box<dyn UploadWriter>,
    hasher: Hasher,
    begun_at: u64,
    /// Bytes that are in storage for certain; after a failed write there may be more.
    received: u64,
    /// Nobody else knows the session: it goes if this request does not finish it.
    ephemeral: bool,
    over: bool,
}

impl Registry {
    /// Begins an upload.
    ///
    /// # Errors
    /// `TooManyUploads`; the registry is read-only or the store failed.
    pub fn begin_upload(&self, name: &RepositoryName, algorithm: Option<Algorithm>) -> Result<UploadStatus> {
        self.require_writable()?;
        let limit = self.0.limits.max_uploads;
        if self.0.sessions.len() >= limit {
            return Err(Error::TooManyUploads { limit });
        }
        let algorithm = algorithm.unwrap_or(Algorithm::Sha256);
        let key = UploadKey {
            name: name.clone(),
            id: random_id(),
        };
        self.storage().begin_upload(&key, algorithm)?;
        let resting = Session::Resting(Box::new(Hasher::new(algorithm)), 0);
        self.0.sessions.lock().insert(key.id.clone(), resting);
        Ok(UploadStatus {
            id: key.id,
            received: 0,
        })
    }

    /// How far an upload is.
    ///
    /// # Errors
    /// `UploadUnknown` if the repository has no such session.
    pub fn upload_status(&self, name: &RepositoryName, id: &str) -> Result<UploadStatus> {
        let upload = self.find_upload(name, id)?;
        Ok(UploadStatus {
            id: upload.key.id,
            received: upload.len,
        })
    }

    /// Ends an upload without a blob.
    ///
    /// # Errors
    /// `UploadUnknown`, or `UploadBusy` while a request writes to it.
    pub fn cancel_upload(&self, name: &RepositoryName, id: &str) -> Result<()> {
        self.require_writable()?;
        let upload = self.find_upload(name, id)?;
        let mut sessions = self.0.sessions.lock();
        if matches!(sessions.get(id), Some(Session::Busy)) {
            return Err(Error::UploadBusy { id: id.to_owned() });
        }
        sessions.remove(id);
        Ok(self.storage().drop_upload(&upload)?)
    }

    /// Opens an upload for this request alone. `from` is where its bytes begin, if it says so.
    ///
    /// # Errors
    /// `UploadUnknown`, `UploadBusy`, or `OutOfOrder` if `from` is not where the last chunk ended.
    pub fn receive(&self, name: &RepositoryName, id: &str, from: Option<u64>) -> Result<Receiving> {
        self.require_writable()?;
        let found = self.find_upload(name, id)?;
        let resting = match self.0.sessions.lock().insert(id.to_owned(), Session::Busy) {
            Some(Session::Busy) => return Err(Error::UploadBusy { id: id.to_owned() }),
            Some(Session::Resting(hasher, hashed)) => Some((*hasher, hashed)),
            None => None,
        };
        let opened = self.open_upload(&found.key, from, resting.clone());
        if opened.is_err() {
            self.rest(id, resting);
        }
        opened
    }

    fn open_upload(
        &self,
        key: &UploadKey,
        from: Option<u64>,
        resting: Option<(Hasher, u64)>,
    ) -> Result<Receiving> {
        // Read again: it may have grown before this request became the only one.
        let upload = self.find_upload(&key.name, &key.id)?;
        if let Some(got) = from
            && got != upload.len
        {
            return Err(Error::OutOfOrder {
                id: key.id.clone(),
                expected: upload.len,
                got,
            });
        }
        let writer = self.storage().write_upload(&upload)?;
        let hasher = match resting {
            Some((hasher, hashed)) if hashed == upload.len => hasher,
            _ => rehash(&writer.content()?, upload.algorithm)?,
        };
        Ok(Receiving {
            registry: self.clone(),
            begun_at: upload.len,
            received: upload.len,
            upload,
            writer,
            hasher,
            ephemeral: false,
            over: false,
        })
    }

    /// Begins an upload that this one request must finish; if it does not, nothing is left of it.
    ///
    /// # Errors
    /// As [`Registry::begin_upload`].
    pub fn receive_once(&self, name: &RepositoryName, algorithm: Algorithm) -> Result<Receiving> {
        let begun = self.begin_upload(name, Some(algorithm))?;
        let mut receiving = self.receive(name, &begun.id, None)?;
        receiving.ephemeral = true;
        Ok(receiving)
    }

    fn rest(&self, id: &str, state: Option<(Hasher, u64)>) {
        let mut sessions = self.0.sessions.lock();
        match state {
            Some((hasher, hashed)) => {
                sessions.insert(id.to_owned(), Session::Resting(Box::new(hasher), hashed))
            }
            None => sessions.remove(id),
        };
    }

    fn find_upload(&self, name: &RepositoryName, id: &str) -> Result<StoredUpload> {
        let is_id = !id.is_empty()
            && id.len() <= MAX_ID_BYTES
            && id
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b) || b == b'-');
        let found = if is_id {
            self.storage().upload(&UploadKey {
                name: name.clone(),
                id: id.to_owned(),
            })?
        } else {
            None
        };
        found.ok_or_else(|| Error::UploadUnknown {
            name: name.clone(),
            id: id.chars().take(MAX_ID_BYTES).collect(),
        })
    }

    /// Drops the uploads that rested for longer than [`super::Limits::upload_age`]; how many.
    ///
    /// # Errors
    /// The store failed.
    pub fn purge_uploads(&self, now: SystemTime) -> Result<usize> {
        let mut purged = 0;
        for upload in self.storage().uploads()? {
            let rested = now.duration_since(upload.touched).unwrap_or_default();
            let mut sessions = self.0.sessions.lock();
            if rested >= self.0.limits.upload_age
                && !matches!(sessions.get(&upload.key.id), Some(Session::Busy))
            {
                sessions.remove(&upload.key.id);
                self.storage().drop_upload(&upload)?;
                purged += 1;
            }
        }
        Ok(purged)
    }

    /// How many upload sessions this process knows of.
    pub fn uploads_under_way(&self) -> usize {
        self.0.sessions.len()
    }
}

impl Receiving {
    /// Bytes that the session has now.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Bytes that this request brought.
    pub fn brought(&self) -> u64 {
        self.received - self.begun_at
    }

    /// Takes in the next bytes.
    ///
    /// # Errors
    /// The store failed; the session then has what it had before.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if let Err(error) = self.writer.append(bytes) {
            // If even that fails, the next request to the session finds bytes that were not hashed, and hashes again.
            let _ = self.writer.truncate(self.received);
            return Err(error.into());
        }
        self.hasher.update(bytes);
        self.received += bytes.len() as u64;
        Ok(())
    }

    /// Forgets what this request brought, as if it had never come.
    ///
    /// # Errors
    /// The store failed.
    pub fn undo(mut self) -> Result<UploadStatus> {
        self.writer.truncate(self.begun_at)?;
        self.received = self.begun_at;
        self.hasher = rehash(&self.writer.content()?, self.upload.algorithm)?;
        Ok(self.status())
    }

    /// Keeps what was received for a later request.
    pub fn pause(self) -> UploadStatus {
        self.status()
    }

    fn status(&self) -> UploadStatus {
        UploadStatus {
            id: self.upload.key.id.clone(),
            received: self.received,
        }
    }

    /// Ends the session: its bytes become a blob of its repository, if they have this digest.
    ///
    /// # Errors
    /// `DigestMismatch`; the session and its bytes are then gone.
    pub fn finish(mut self, expected: &Digest) -> Result<()> {
        let computed = if expected.algorithm() == self.upload.algorithm {
            self.hasher.clone().finish()
        } else {
            rehash(&self.writer.content()?, expected.algorithm())?.finish()
        };
        let registry = self.registry.clone();
        if computed != *expected {
            self.end();
            registry.storage().drop_upload(&self.upload)?;
            return Err(Error::DigestMismatch {
                expected: *expected,
                computed: Box::new(computed),
            });
        }
        let _lease = registry.0.locks.lease(computed);
        self.upload.len = self.received;
        registry.storage().finish_upload(&self.upload, &computed)?;
        self.end();
        registry.link_blob(&self.upload.key.name, &computed, self.received)
    }

    fn end(&mut self) {
        self.over = true;
        self.registry.0.sessions.lock().remove(&self.upload.key.id);
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        if self.ephemeral && !self.over {
            self.end();
            if let Err(error) = self.registry.storage().drop_upload(&self.upload) {
                log::warn!("the rest of an upload stays until it expires: {error}");
            }
        }
        if !self.over {
            self.registry
                .rest(&self.upload.key.id, Some((self.hasher.clone(), self.received)));
        }
    }
}

fn rehash(content: &Content, algorithm: Algorithm) -> Result<Hasher> {
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = vec![0; REHASH_BYTES];
    let mut offset = 0;
    while offset < content.len() {
        let piece =
            usize::try_from(content.len() - offset).map_or(REHASH_BYTES, |left| left.min(REHASH_BYTES));
        content
            .read_exact_at(&mut buffer[..piece], offset)
            .map_err(|source| StorageError::new("read", "an upload", source))?;
        hasher.update(&buffer[..piece]);
        offset += piece as u64;
    }
    Ok(hasher)
}

/// 122 random bits in the form of a UUID of version 4.
fn random_id() -> String {
    let bits = rand::random::<u128>() & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
