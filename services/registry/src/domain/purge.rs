//! Purging: uploads that nobody goes on with are dropped, or told of.

use super::{Collect, Registry, Result, sessions::Session};
use crate::storage::StoredUpload;
use oci::RepositoryName;
use std::time::{Duration, SystemTime};

/// An upload that has rested for too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abandoned {
    /// The repository that it was begun in.
    pub name: RepositoryName,
    /// The session's id, which is a secret: whoever has it can go on with the session.
    pub id: String,
    /// Bytes that it had received.
    pub bytes: u64,
    /// When the last of them came.
    pub touched: SystemTime,
}

/// What purging came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Upload sessions that are gone, or would be.
    pub uploads: usize,
    /// The bytes that they had received.
    pub bytes: u64,
}

impl Purged {
    fn add(&mut self, bytes: u64) {
        self.uploads += 1;
        self.bytes += bytes;
    }
}

impl Registry {
    /// Drops the uploads that rested for longer than [`super::Limits::upload_age`]; `each` is told of every one.
    ///
    /// With [`Collect::dry_run`] nothing is dropped, and the same is told.
    ///
    /// # Errors
    /// The store failed. What was dropped until then stays dropped.
    pub fn purge_uploads(&self, how: Collect, each: &mut dyn FnMut(&Abandoned)) -> Result<Purged> {
        let mut purged = Purged::default();
        for upload in self.storage().uploads()? {
            if self.is_abandoned(upload.touched, how.now) && self.purge_upload(&upload, how.dry_run)? {
                purged.add(upload.len);
                each(&Abandoned {
                    name: upload.key.name,
                    id: upload.key.id,
                    bytes: upload.len,
                    touched: upload.touched,
                });
            }
        }
        self.purge_empty(how, &mut |empty| {
            purged.add(0);
            each(&empty);
        });
        Ok(purged)
    }

    fn is_abandoned(&self, touched: SystemTime, now: SystemTime) -> bool {
        let age: Duration = now.duration_since(touched).unwrap_or_default();
        age >= self.0.limits.upload_age
    }

    /// Drops an upload, unless a request is writing to it.
    fn purge_upload(&self, upload: &StoredUpload, dry_run: bool) -> Result<bool> {
        // Held to the end, so that no request begins to write meanwhile.
        let mut known = self.0.sessions.lock();
        if matches!(known.get(&upload.key.id), Some(Session::Busy(_))) {
            return Ok(false);
        }
        if !dry_run {
            known.remove(&upload.key.id);
            self.storage().drop_upload(upload)?;
        }
        Ok(true)
    }

    /// Sessions that have received nothing are in memory alone.
    fn purge_empty(&self, how: Collect, each: &mut dyn FnMut(Abandoned)) {
        let mut known = self.0.sessions.lock();
        let abandoned: Vec<Abandoned> = known
            .empty()
            .filter(|(_, empty)| self.is_abandoned(empty.since, how.now))
            .map(|(id, empty)| Abandoned {
                name: empty.name.clone(),
                id: id.to_owned(),
                bytes: 0,
                touched: empty.since,
            })
            .collect();
        if !how.dry_run {
            known.forget_empty(|empty| !self.is_abandoned(empty.since, how.now));
        }
        drop(known);
        abandoned.into_iter().for_each(each);
    }
}
