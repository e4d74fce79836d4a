//! What memory knows of upload sessions: whose they are, who is writing, the state of the hash, and sessions that have
//! received nothing.

use super::{
    Error, Limits, Result,
    session_id::{Ids, KEY_BYTES},
};
use crate::storage::{Change, Key, Storage};
use oci::{Algorithm, Hasher, RepositoryName};
use std::{
    collections::{HashMap, HashSet},
    fmt, mem,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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

/// Whom a session is counted for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// Who gave a name and its password.
    User(Arc<str>),
    /// Anybody at this address.
    Address(IpAddr),
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Client::User(name) => write!(f, "user {name:?}"),
            Client::Address(address) => write!(f, "address {address}"),
        }
    }
}

/// The sessions that are open, and those that must not come back.
#[derive(Default)]
pub(super) struct Known {
    sessions: HashMap<String, Entry>,
    /// How many of them each client has; none has zero.
    counts: HashMap<Client, usize>,
    /// Sessions of an earlier process that ended before they had a file.
    ended: HashSet<String>,
}

/// A session, and the client who began it in this process.
struct Entry {
    session: Session,
    client: Option<Client>,
}

impl Known {
    pub(super) fn get(&self, id: &str) -> Option<&Session> {
        self.sessions.get(id).map(|entry| &entry.session)
    }

    /// Changes what is known of a session, and tells what it was. It stays its client's.
    pub(super) fn set(&mut self, id: &str, session: Session) -> Option<Session> {
        if let Some(entry) = self.sessions.get_mut(id) {
            return Some(mem::replace(&mut entry.session, session));
        }
        let client = None;
        self.sessions.insert(id.to_owned(), Entry { session, client });
        None
    }

    pub(super) fn remove(&mut self, id: &str) {
        if let Some(entry) = self.sessions.remove(id) {
            uncount(&mut self.counts, entry.client.as_ref());
        }
    }

    /// Forgets the sessions that have received nothing and are not to be kept; how many.
    pub(super) fn forget_empty(&mut self, keep: impl Fn(&Empty) -> bool) -> usize {
        let (before, counts) = (self.sessions.len(), &mut self.counts);
        self.sessions.retain(|_, entry| {
            let keeps = match &entry.session {
                Session::Empty(empty) => keep(empty),
                Session::Busy(_) | Session::Resting(..) => true,
            };
            if !keeps {
                uncount(counts, entry.client.as_ref());
            }
            keeps
        });
        before - self.sessions.len()
    }

    /// The sessions that have received nothing.
    pub(super) fn empty(&self) -> impl Iterator<Item = (&str, &Empty)> {
        self.sessions
            .iter()
            .filter_map(|(id, entry)| match &entry.session {
                Session::Empty(empty) => Some((id.as_str(), empty)),
                Session::Busy(_) | Session::Resting(..) => None,
            })
    }

    /// # Errors
    /// There is no room for another session of this client, or of anybody.
    fn room_for(&self, client: Option<&Client>, limits: &Limits) -> Result<()> {
        if self.sessions.len() >= limits.max_uploads {
            return Err(Error::TooManyUploads {
                limit: limits.max_uploads,
            });
        }
        let limit = limits.max_client_uploads;
        match client {
            Some(client) if limit > 0 && self.counts.get(client).is_some_and(|count| *count >= limit) => {
                Err(Error::TooManyUploadsOfClient {
                    client: client.clone(),
                    limit,
                })
            }
            _ => Ok(()),
        }
    }

    fn insert(&mut self, id: String, session: Session, client: Option<Client>) {
        if let Some(client) = &client {
            *self.counts.entry(client.clone()).or_default() += 1;
        }
        self.sessions.insert(id, Entry { session, client });
    }
}

fn uncount(counts: &mut HashMap<Client, usize>, client: Option<&Client>) {
    let Some(client) = client else { return };
    if let Some(count) = counts.get_mut(client) {
        *count -= 1;
        if *count == 0 {
            counts.remove(client);
        }
    }
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
    pub(super) fn begin(&self, empty: Empty, client: Option<Client>, limits: &Limits) -> Result<String> {
        let id = self.ids.give(&empty.name, empty.algorithm);
        let mut known = self.lock();
        if known.room_for(client.as_ref(), limits).is_err() {
            let now = empty.since;
            known.forget_empty(|empty| now.duration_since(empty.since).unwrap_or_default() < EMPTY_AGE);
            known.room_for(client.as_ref(), limits)?;
        }
        known.insert(id.clone(), Session::Empty(empty), client);
        Ok(id)
    }

    /// A session that has received nothing: of this process, or by its id of an earlier one.
    pub(super) fn empty(&self, name: &RepositoryName, id: &str, max_age: Duration) -> Option<Empty> {
        let known = self.lock();
        match known.get(id) {
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
        known.remove(id);
        if self.ids.given_before(name, id).is_some() {
            known.ended.insert(id.to_owned());
        }
    }

    /// Whether an earlier process on this store gave this id; the session may then have a file that memory does not know of.
    pub(super) fn is_of_earlier_process(&self, name: &RepositoryName, id: &str) -> bool {
        self.ids.given_before(name, id).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory::Memory;

    fn begun(minutes_ago: u64) -> Empty {
        Empty {
            name: RepositoryName::parse("a").expect("a name"),
            algorithm: Algorithm::Sha256,
            since: SystemTime::now() - Duration::from_secs(60 * minutes_ago),
        }
    }

    #[test]
    fn a_session_that_waits_for_its_first_byte_for_long_makes_room_for_another() {
        let limits = Limits {
            max_uploads: 2,
            ..Limits::default()
        };
        for (waits, is_room) in [(14, false), (16, true)] {
            let sessions = Sessions::open(&Memory::new(), false).expect("sessions");
            let old = sessions.begin(begun(waits), None, &limits).expect("room");
            let young = sessions.begin(begun(1), None, &limits).expect("room");
            let third = sessions.begin(begun(0), None, &limits);
            assert_eq!(third.is_ok(), is_room, "after {waits} minutes");
            assert_eq!(sessions.lock().get(&old).is_none(), is_room);
            assert!(sessions.lock().get(&young).is_some());
        }
    }

    #[test]
    fn a_session_that_has_received_something_makes_no_room() {
        let limits = Limits {
            max_uploads: 1,
            ..Limits::default()
        };
        let sessions = Sessions::open(&Memory::new(), false).expect("sessions");
        let id = sessions.begin(begun(60), None, &limits).expect("room");
        let hasher = Box::new(Hasher::new(Algorithm::Sha256));
        sessions.lock().set(&id, Session::Resting(hasher, 1));
        assert!(sessions.begin(begun(0), None, &limits).is_err());
    }
}
