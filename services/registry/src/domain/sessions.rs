//! What memory knows of upload sessions: who is writing, the state of the hash, and sessions that have received nothing.

use super::{
    Error, Result,
    session_id::{Ids, KEY_BYTES},
};
use crate::storage::{Change, Key, Storage};
use oci::{Algorithm, Hasher, RepositoryName};
use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

/// How long a session may wait for its first byte where others need its place.
const EMPTY_AGE: Duration = Duration::from_secs(15 * 60);

/// The note that holds the secret of a store's session ids.
const KEY_NOTE: Key = Key::Note("upload-key");

/// Sessions of this process.
pub(super) struct Sessions {
    ids: Ids,
    known: Mutex<Known>,
}

/// The sessions that are open, and those that must not come back.
#[derive(Default)]
pub(super) struct Known {
    pub(super) sessions: HashMap<String, Session>,
    /// Sessions of an earlier process that ended before they had a file.
    ended: HashSet<String>,
}

/// What memory knows of a session.
#[derive(Clone)]
pub(super) enum Session {
    /// Nothing was received yet.
    Empty(Empty),
    /// A request is writing to this repository's session.
    Busy(RepositoryName),
    /// The hash of this many bytes.
    Resting(Box<Hasher>, u64),
}

/// A session that has received nothing.
#[derive(Clone)]
pub(super) struct Empty {
    pub(super) name: RepositoryName,
    pub(super) algorithm: Algorithm,
    pub(super) since: SystemTime,
}

impl Sessions {
    /// Reads the secret of the store's session ids, or makes one.
    pub(super) fn open(storage: &dyn Storage, read_only: bool) -> Result<Sessions> {
        let kept = storage.record(&KEY_NOTE)?;
        let key: [u8; KEY_BYTES] = match kept.as_deref().and_then(|kept| kept.try_into().ok()) {
            Some(key) => key,
            None => {
                let key = rand::random::<[u8; KEY_BYTES]>();
                if !read_only {
                    storage.commit(&[Change::Put(KEY_NOTE, key.to_vec().into())])?;
                }
                key
            }
        };
        Ok(Sessions {
            ids: Ids::new(key, SystemTime::now()),
            known: Mutex::default(),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many sessions are known to this process.
    pub(super) fn len(&self) -> usize {
        self.lock().sessions.len()
    }

    /// Keeps a new session, unless there are too many; those that wait for their first byte for long make room.
    pub(super) fn begin(&self, empty: Empty, limit: usize) -> Result<String> {
        let id = self.ids.give(&empty.name, empty.algorithm);
        let mut known = self.lock();
        if known.sessions.len() >= limit {
            let now = empty.since;
            known.sessions.retain(|_, session| match session {
                Session::Empty(empty) => now.duration_since(empty.since).unwrap_or_default() < EMPTY_AGE,
                Session::Busy(_) | Session::Resting(..) => true,
            });
        }
        if known.sessions.len() >= limit {
            return Err(Error::TooManyUploads { limit });
        }
        known.sessions.insert(id.clone(), Session::Empty(empty));
        Ok(id)
    }

    /// A session that has received nothing: of this process, or by its id of an earlier one.
    pub(super) fn empty(&self, name: &RepositoryName, id: &str, max_age: Duration) -> Option<Empty> {
        let known = self.lock();
        match known.sessions.get(id) {
            Some(Session::Empty(empty)) => return (empty.name == *name).then(|| empty.clone()),
            Some(Session::Busy(_) | Session::Resting(..)) => return None,
            None => {}
        }
        let given = self
            .ids
            .given_before(name, id)
            .filter(|_| !known.ended.contains(id))?;
        let age = SystemTime::now().duration_since(given.at).unwrap_or_default();
        (age < max_age).then(|| Empty {
            name: name.clone(),
            algorithm: given.algorithm,
            since: given.at,
        })
    }

    /// Forgets a session that is over.
    pub(super) fn end(&self, name: &RepositoryName, id: &str) {
        let mut known = self.lock();
        known.sessions.remove(id);
        if self.ids.given_before(name, id).is_some() {
            known.ended.insert(id.to_owned());
        }
    }

    /// Whether an earlier process on this store gave this id; the session may then have a file that memory does not know of.
    pub(super) fn is_of_earlier_process(&self, name: &RepositoryName, id: &str) -> bool {
        self.ids.given_before(name, id).is_some()
    }
}
