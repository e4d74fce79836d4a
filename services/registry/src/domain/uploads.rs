//! Uploads: sessions that receive a blob in any number of pieces, and end as a blob or not at all.
//!
//! What was received is in storage; that is what a session is. One that has received nothing has only its id, see
//! [`super::session_id`]: most pushes begin a session and fill it with the next request, and a small blob then goes straight
//! to its place. Memory keeps who is writing, and the state of the hash, so that a chunk does not have to be hashed twice;
//! after a restart it is computed again.

use super::{
    Error, Registry, Result,
    sessions::{Client, Empty, Session},
};
use crate::storage::{Content, StorageError, StoredUpload, UploadKey, UploadWriter};
use oci::{Algorithm, Digest, Hasher, RepositoryName};
use std::time::SystemTime;

/// Bytes that are read at once to compute a hash again.
const REHASH_BYTES: usize = 256 * 1024;

/// Longest id that is looked up; ours have 36 characters.
const MAX_ID_BYTES: usize = 64;

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
    /// `None` until there is something to write.
    writer: Option<Box<dyn UploadWriter>>,
    /// Whether storage may know of the upload.
    may_be_stored: bool,
    hasher: Hasher,
    begun_at: u64,
    /// Bytes that are in storage for certain; after a failed write there may be more.
    received: u64,
    /// Nobody else knows the session: it goes if this request does not finish it.
    ephemeral: bool,
    over: bool,
}

impl Registry {
    /// Begins an upload, which counts as its client's until it is over. Nothing is written until something is received, so
    /// that this does not block.
    ///
    /// # Errors
    /// `TooManyUploads` or `TooManyUploadsOfClient`, or the registry is read-only.
    pub fn begin_upload(
        &self,
        name: &RepositoryName,
        algorithm: Option<Algorithm>,
        client: Option<Client>,
    ) -> Result<UploadStatus> {
        self.require_writable()?;
        let empty = Empty {
            name: name.clone(),
            algorithm: algorithm.unwrap_or(Algorithm::Sha256),
            since: SystemTime::now(),
        };
        let id = self.0.sessions.begin(empty, client, &self.0.limits)?;
        Ok(UploadStatus { id, received: 0 })
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
        let mut receiving = self.receive(name, id, None)?;
        receiving.ephemeral = true;
        Ok(())
    }

    /// Opens an upload for this request alone. `from` is where its bytes begin, if it says so.
    ///
    /// # Errors
    /// `UploadUnknown`, `UploadBusy`, or `OutOfOrder` if `from` is not where the last chunk ended.
    pub fn receive(&self, name: &RepositoryName, id: &str, from: Option<u64>) -> Result<Receiving> {
        self.require_writable()?;
        let upload = self.find_upload(name, id)?;
        let busy = Session::Busy(name.clone());
        let before = match self.0.sessions.lock().set(id, busy) {
            Some(Session::Busy(_)) => return Err(Error::UploadBusy { id: id.to_owned() }),
            before => before,
        };
        let opened = self.open_upload(upload, from, &before);
        if opened.is_err() {
            self.rest(id, before);
        }
        opened
    }

    fn open_upload(
        &self,
        found: StoredUpload,
        from: Option<u64>,
        before: &Option<Session>,
    ) -> Result<Receiving> {
        // Looked up again if it has a file: it may have grown before this request became the only one.
        let mut upload = match before {
            Some(Session::Empty(_)) => found,
            _ => self.storage().upload(&found.key)?.unwrap_or(found),
        };
        let stored = upload.len;
        upload.len = taken_in(before.as_ref(), stored);
        if let Some(got) = from
            && got != upload.len
        {
            return Err(Error::OutOfOrder {
                id: upload.key.id,
                expected: upload.len,
                got,
            });
        }
        let mut writer = match stored {
            0 => None,
            _ => Some(self.storage().write_upload(&upload)?),
        };
        if let Some(writer) = &mut writer
            && upload.len < stored
        {
            writer.truncate(upload.len)?;
        }
        let hasher = match (before, &writer) {
            (Some(Session::Resting(hasher, hashed)), _) if *hashed == upload.len => (**hasher).clone(),
            (_, Some(writer)) => rehash(&writer.content()?, upload.algorithm)?,
            (_, None) => Hasher::new(upload.algorithm),
        };
        Ok(Receiving {
            registry: self.clone(),
            begun_at: upload.len,
            received: upload.len,
            upload,
            may_be_stored: !matches!(before, Some(Session::Empty(_))),
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
    pub fn receive_once(
        &self,
        name: &RepositoryName,
        algorithm: Algorithm,
        client: Option<Client>,
    ) -> Result<Receiving> {
        let begun = self.begin_upload(name, Some(algorithm), client)?;
        let mut receiving = self.receive(name, &begun.id, None)?;
        receiving.ephemeral = true;
        Ok(receiving)
    }

    fn rest(&self, id: &str, state: Option<Session>) {
        let mut known = self.0.sessions.lock();
        match state {
            Some(session) => {
                known.set(id, session);
            }
            None => known.remove(id),
        }
    }

    fn find_upload(&self, name: &RepositoryName, id: &str) -> Result<StoredUpload> {
        let is_id = !id.is_empty()
            && id.len() <= MAX_ID_BYTES
            && id
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b) || b == b'-');
        let unknown = || Error::UploadUnknown {
            name: name.clone(),
            id: id.chars().take(MAX_ID_BYTES).collect(),
        };
        if !is_id {
            return Err(unknown());
        }
        let key = UploadKey {
            name: name.clone(),
            id: id.to_owned(),
        };
        let max_age = self.0.limits.upload_age;
        if let Some(empty) = self.0.sessions.empty(name, id, max_age) {
            // A session of an earlier process may have a file, too.
            let is_ours = !self.0.sessions.is_of_earlier_process(name, id);
            let stored = if is_ours {
                None
            } else {
                self.storage().upload(&key)?
            };
            return Ok(stored.unwrap_or(StoredUpload {
                key,
                algorithm: empty.algorithm,
                len: 0,
                touched: empty.since,
            }));
        }
        let Some(mut upload) = self.storage().upload(&key)? else {
            return self.busy_without_file(key).ok_or_else(unknown);
        };
        upload.len = taken_in(self.0.sessions.lock().get(id), upload.len);
        Ok(upload)
    }

    /// A session that another request is just beginning to write to.
    fn busy_without_file(&self, key: UploadKey) -> Option<StoredUpload> {
        let is_busy = match self.0.sessions.lock().get(&key.id) {
            Some(Session::Busy(name)) => *name == key.name,
            _ => false,
        };
        is_busy.then(|| StoredUpload {
            key,
            algorithm: Algorithm::Sha256,
            len: 0,
            touched: SystemTime::now(),
        })
    }

    /// Whether nothing was received in this session yet: then it has no file that something is to be done with.
    pub fn is_new_upload(&self, name: &RepositoryName, id: &str) -> bool {
        let is_empty = self
            .0
            .sessions
            .empty(name, id, self.0.limits.upload_age)
            .is_some();
        is_empty && !self.0.sessions.is_of_earlier_process(name, id)
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
        self.append(bytes)?;
        self.hasher.update(bytes);
        Ok(())
    }

    /// As [`Receiving::write`], with the bytes hashed beside, while they are written. `begin` is given the hasher to begin with;
    /// what it returns is called when they are written, and gives the hasher back with the same bytes taken in.
    ///
    /// # Errors
    /// As [`Receiving::write`].
    pub fn write_beside<W: FnOnce() -> Hasher>(
        &mut self,
        bytes: &[u8],
        begin: impl FnOnce(Hasher) -> W,
    ) -> Result<()> {
        let hashed = begin(self.hasher.clone());
        let appended = self.append(bytes);
        let hasher = hashed();
        appended?;
        self.hasher = hasher;
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let received = self.received;
        let writer = self.writer()?;
        if let Err(error) = writer.append(bytes) {
            // If even that fails, the next request to the session cuts what was not taken in.
            let _ = writer.truncate(received);
            return Err(error.into());
        }
        self.received += bytes.len() as u64;
        Ok(())
    }

    fn writer(&mut self) -> Result<&mut Box<dyn UploadWriter>> {
        match &mut self.writer {
            Some(writer) => Ok(writer),
            none => {
                let storage = self.registry.storage();
                self.may_be_stored = true;
                if storage.upload(&self.upload.key)?.is_none() {
                    storage.begin_upload(&self.upload.key, self.upload.algorithm)?;
                }
                Ok(none.insert(storage.write_upload(&self.upload)?))
            }
        }
    }

    /// Holds nothing open until more is received.
    pub fn rest(&mut self) {
        if self.received > 0 {
            self.writer = None;
        }
    }

    /// Forgets what this request brought, as if it had never come.
    ///
    /// # Errors
    /// The store failed.
    pub fn undo(mut self) -> Result<UploadStatus> {
        if self.received > self.begun_at {
            let (begun_at, algorithm) = (self.begun_at, self.upload.algorithm);
            let writer = self.writer()?;
            writer.truncate(begun_at)?;
            self.hasher = rehash(&writer.content()?, algorithm)?;
        }
        self.received = self.begun_at;
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

    /// Ends the session with these bytes as its last: all of them become a blob of its repository, if they have this digest.
    ///
    /// # Errors
    /// `DigestMismatch`; the session and its bytes are then gone. The store failed; the session then has what it had before,
    /// unless its bytes are in their place already, or may not have come to the disk: then it is gone, and they must be pushed
    /// again to be a blob.
    pub fn finish(mut self, last: &[u8], expected: &Digest) -> Result<u64> {
        let registry = self.registry.clone();
        let name = self.upload.key.name.clone();
        let _lease = registry.0.locks.lease(*expected);
        if self.received == 0 {
            let size = last.len() as u64;
            self.require(Digest::of(expected.algorithm(), last), expected)?;
            registry.make_way(expected, size, Some(last))?;
            registry.store_blob(&name, expected, last)?;
            self.ephemeral = true;
            return Ok(size);
        }
        let before = (self.received, self.hasher.clone());
        if let Err(error) = self.place(last, expected) {
            // The last bytes can be sent again: they are cut off when the session goes on, if there is one still.
            (self.received, self.hasher) = before;
            if matches!(registry.storage().upload(&self.upload.key), Ok(None)) {
                self.end();
            }
            return Err(error);
        }
        registry.link_blob(&name, expected, self.received)?;
        Ok(self.received)
    }

    /// Takes in the last bytes and makes all of them a content.
    fn place(&mut self, last: &[u8], expected: &Digest) -> Result<()> {
        self.write(last)?;
        let computed = self.hash_as(expected.algorithm())?;
        self.require(computed, expected)?;
        self.upload.len = self.received;
        self.registry.make_way(expected, self.received, None)?;
        self.registry.storage().finish_upload(&self.upload, expected)?;
        self.end();
        Ok(())
    }

    /// A session with the wrong bytes goes.
    fn require(&mut self, computed: Digest, expected: &Digest) -> Result<()> {
        if computed == *expected {
            return Ok(());
        }
        self.ephemeral = true;
        Err(Error::DigestMismatch {
            expected: *expected,
            computed: Box::new(computed),
        })
    }

    fn hash_as(&mut self, algorithm: Algorithm) -> Result<Digest> {
        if algorithm == self.upload.algorithm {
            return Ok(self.hasher.clone().finish());
        }
        Ok(rehash(&self.writer()?.content()?, algorithm)?.finish())
    }

    fn end(&mut self) {
        self.over = true;
        self.registry
            .0
            .sessions
            .end(&self.upload.key.name, &self.upload.key.id);
    }

    /// Removes what was written, if anything was.
    fn discard(&mut self) {
        self.end();
        if self.may_be_stored
            && let Err(error) = self.registry.storage().drop_upload(&self.upload)
        {
            log::warn!("the rest of an upload stays until it expires: {error}");
        }
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        if self.ephemeral {
            return self.discard();
        }
        let session = match &self.writer {
            _ if self.received > 0 => Session::Resting(Box::new(self.hasher.clone()), self.received),
            Some(_) => Session::Resting(Box::new(self.hasher.clone()), self.received),
            None => Session::Empty(Empty {
                name: self.upload.key.name.clone(),
                algorithm: self.upload.algorithm,
                since: self.upload.touched,
            }),
        };
        self.registry.rest(&self.upload.key.id, Some(session));
    }
}

/// Bytes of a session that count: a write that failed may have left more in storage.
fn taken_in(session: Option<&Session>, stored: u64) -> u64 {
    match session {
        Some(Session::Resting(_, taken_in)) => stored.min(*taken_in),
        Some(Session::Empty(_) | Session::Busy(_)) | None => stored,
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
