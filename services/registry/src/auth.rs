//! Who may do what: names and passwords against a file of bcrypt hashes.
//!
//! bcrypt is slow on purpose, so checking is done beside the event loop, a few at a time, and what was found right is
//! remembered for a while under a salted hash. Nothing here knows HTTP beyond the value of an `Authorization` header.

mod htpasswd;

pub use htpasswd::{HtpasswdError, Users, line as htpasswd_line};

use crate::config;
use base64::{Engine, engine::general_purpose::STANDARD};
use oci::{Algorithm, Digest, Hasher};
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::Semaphore;

/// How long a password that was right is not checked again.
const REMEMBER: Duration = Duration::from_secs(300);
/// How many right passwords are remembered: more clients than this are checked more often.
const MAX_REMEMBERED: usize = 1024;
/// The longest `Authorization` header that is looked at, in bytes: bcrypt reads 72 bytes of a password.
const MAX_HEADER_BYTES: usize = 4096;

/// What a request wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read.
    Pull,
    /// Anything else.
    Push,
}

/// What is decided about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on; the user's name, if one was told.
    Allowed(Option<Arc<str>>),
    /// Ask for a name and a password.
    Refused,
}

/// The gate of a registry with `auth.htpasswd`.
pub struct Auth {
    realm: String,
    path: PathBuf,
    anonymous_pull: bool,
    state: Mutex<State>,
    /// Part of what a remembered password is kept under; new in each process.
    salt: [u8; 32],
    /// bcrypt takes a processor for a tenth of a second: strangers must not take them all.
    turns: Arc<Semaphore>,
}

struct State {
    users: Arc<Users>,
    stamp: Option<Stamp>,
    remembered: HashMap<Digest, (Arc<str>, Instant)>,
}

/// What tells that a file has changed.
type Stamp = (SystemTime, u64, u64);

impl Auth {
    /// Reads the file of users.
    ///
    /// # Errors
    /// [`HtpasswdError`], naming the file and the line.
    pub fn open(settings: &config::Htpasswd) -> Result<Auth, HtpasswdError> {
        let stamp = stamp(&settings.path);
        let users = Users::read(&settings.path)?;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Auth {
            realm: settings.realm.clone(),
            path: settings.path.clone(),
            anonymous_pull: settings.anonymous == config::Anonymous::Pull,
            state: Mutex::new(State {
                users: Arc::new(users),
                stamp,
                remembered: HashMap::new(),
            }),
            salt: rand::random(),
            turns: Arc::new(Semaphore::new(processors.div_ceil(2))),
        })
    }

    /// The value of `WWW-Authenticate`.
    pub fn challenge(&self) -> String {
        format!("Basic realm=\"{}\"", self.realm.replace(['"', '\\'], ""))
    }

    /// Decides about a request with this `Authorization` header.
    pub async fn decide(&self, authorization: Option<&[u8]>, access: Access) -> Verdict {
        let Some(header) = authorization else {
            return match access {
                Access::Pull if self.anonymous_pull => Verdict::Allowed(None),
                Access::Pull | Access::Push => Verdict::Refused,
            };
        };
        let Some((name, password)) = credentials(header) else {
            return Verdict::Refused;
        };
        let key = self.key(&name, &password);
        let users = {
            let mut state = self.current();
            match state.remembered.get(&key) {
                Some((name, until)) if Instant::now() < *until => {
                    return Verdict::Allowed(Some(Arc::clone(name)));
                }
                Some(_) => {
                    state.remembered.remove(&key);
                }
                None => {}
            }
            Arc::clone(&state.users)
        };
        self.check(users, key, name, password).await
    }

    async fn check(&self, users: Arc<Users>, key: Digest, name: String, password: Vec<u8>) -> Verdict {
        let Ok(turn) = Arc::clone(&self.turns).acquire_owned().await else {
            return Verdict::Refused;
        };
        let checked = Arc::clone(&users);
        let outcome = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            checked.verify(&name, &password).then(|| Arc::<str>::from(name))
        });
        let Ok(Some(name)) = outcome.await else {
            return Verdict::Refused;
        };
        let mut state = self.lock();
        // The file may have changed while this was checked: what it says now counts from the next request on.
        if Arc::ptr_eq(&state.users, &users) {
            state.remember(key, Arc::clone(&name));
        }
        Verdict::Allowed(Some(name))
    }

    /// The state, after a look at whether the file has changed.
    ///
    /// A file that cannot be read, or has a bad line, changes nothing: it may be half written.
    fn current(&self) -> MutexGuard<'_, State> {
        let stamp = stamp(&self.path);
        let mut state = self.lock();
        if stamp != state.stamp {
            state.stamp = stamp;
            match Users::read(&self.path) {
                Ok(users) => {
                    log::info!("{}: read again, {} users", self.path.display(), users.count());
                    state.users = Arc::new(users);
                    state.remembered.clear();
                }
                Err(error) => log::error!("{error}; the users read before still count"),
            }
        }
        state
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What right credentials are remembered under: nobody can read the password from it.
    fn key(&self, name: &str, password: &[u8]) -> Digest {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(&self.salt);
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update(password);
        hasher.finish()
    }
}

impl State {
    fn remember(&mut self, key: Digest, name: Arc<str>) {
        let now = Instant::now();
        if self.remembered.len() >= MAX_REMEMBERED {
            self.remembered.retain(|_, (_, until)| now < *until);
        }
        if self.remembered.len() < MAX_REMEMBERED {
            self.remembered.insert(key, (name, now + REMEMBER));
        }
    }
}

/// Name and password of a `Basic` header.
fn credentials(header: &[u8]) -> Option<(String, Vec<u8>)> {
    let header = std::str::from_utf8(header)
        .ok()
        .filter(|header| header.len() <= MAX_HEADER_BYTES)?;
    let (scheme, value) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = STANDARD.decode(value.trim()).ok()?;
    let colon = decoded.iter().position(|b| *b == b':')?;
    let name = String::from_utf8(decoded[..colon].to_vec()).ok()?;
    Some((name, decoded[colon + 1..].to_vec()))
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    #[cfg(unix)]
    let id = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let id = 0;
    Some((metadata.modified().ok()?, metadata.len(), id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(text: &str) -> Vec<u8> {
        format!("Basic {}", STANDARD.encode(text)).into_bytes()
    }

    /// A gate for alice with the password "right".
    fn gate(anonymous: config::Anonymous) -> (tempfile::TempDir, Auth) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("htpasswd");
        fs::write(&path, line("alice", "right")).expect("a file");
        let auth = Auth::open(&config::Htpasswd {
            realm: "a \"lab\"".into(),
            path,
            anonymous,
        });
        (folder, auth.expect("users"))
    }

    fn line(name: &str, password: &str) -> String {
        format!("{name}:{}\n", bcrypt::hash(password, 4).expect("a hash"))
    }

    fn decide(auth: &Auth, header: Option<&[u8]>, access: Access) -> Verdict {
        actix_rt::System::new().block_on(auth.decide(header, access))
    }

    #[test]
    fn only_the_right_password_opens() {
        let (_folder, auth) = gate(config::Anonymous::None);
        let right = basic("alice:right");
        for _ in 0..2 {
            let verdict = decide(&auth, Some(&right), Access::Push);
            assert_eq!(verdict, Verdict::Allowed(Some("alice".into())));
            for wrong in [
                "alice:wrong",
                "alice:",
                "alice",
                "bob:right",
                ":right",
                "alice:right ",
                "",
                "alice:right\0",
            ] {
                assert_eq!(
                    decide(&auth, Some(&basic(wrong)), Access::Pull),
                    Verdict::Refused,
                    "{wrong}"
                );
            }
        }
        for header in [&b"Bearer x"[..], b"Basic", b"Basic !!!", b"\xff", b""] {
            assert_eq!(decide(&auth, Some(header), Access::Pull), Verdict::Refused);
        }
        assert_eq!(decide(&auth, None, Access::Pull), Verdict::Refused);
        assert_eq!(auth.challenge(), "Basic realm=\"a lab\"");
    }

    #[test]
    fn few_wrong_logins_are_verified_at_once_and_who_is_known_waits_for_none_of_them() {
        let (_folder, auth) = gate(config::Anonymous::None);
        let turns = auth.turns.available_permits();
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        assert!((1..=processors.div_ceil(2)).contains(&turns), "{turns}");
        let (right, wrong) = (basic("alice:right"), basic("alice:wrong"));
        actix_rt::System::new().block_on(async {
            let known = auth.decide(Some(&right), Access::Pull).await;
            assert_eq!(known, Verdict::Allowed(Some("alice".into())));
            let taken = Arc::clone(&auth.turns)
                .acquire_many_owned(turns as u32)
                .await
                .expect("all turns");
            let logins = (0..20).map(|_| auth.decide(Some(&wrong), Access::Pull));
            let mut logins = std::pin::pin!(futures_util::future::join_all(logins));
            // A hash of this cost takes a few milliseconds.
            let early = tokio::time::timeout(Duration::from_millis(300), &mut logins).await;
            assert!(early.is_err(), "they are verified without a turn");
            assert_eq!(auth.decide(Some(&right), Access::Pull).await, known);
            drop(taken);
            assert!(logins.await.iter().all(|verdict| *verdict == Verdict::Refused));
        });
        assert_eq!(auth.turns.available_permits(), turns);
    }

    #[test]
    fn a_header_longer_than_any_password_is_not_hashed() {
        let long = "x".repeat(MAX_HEADER_BYTES);
        assert_eq!(credentials(&basic(&format!("alice:{long}"))), None);
        let short = basic("alice:right");
        assert!(credentials(&short).is_some() && short.len() < MAX_HEADER_BYTES);
    }

    #[test]
    fn anonymous_pull_opens_reading_alone_and_to_no_wrong_password() {
        let (_folder, auth) = gate(config::Anonymous::Pull);
        assert_eq!(decide(&auth, None, Access::Pull), Verdict::Allowed(None));
        assert_eq!(decide(&auth, None, Access::Push), Verdict::Refused);
        assert_eq!(
            decide(&auth, Some(&basic("alice:wrong")), Access::Pull),
            Verdict::Refused
        );
    }

    #[test]
    fn a_changed_file_counts_at_once_and_a_broken_one_not_at_all() {
        let (folder, auth) = gate(config::Anonymous::None);
        let path = folder.path().join("htpasswd");
        let (old, new) = (basic("alice:right"), basic("alice:newer password"));
        assert_ne!(decide(&auth, Some(&old), Access::Pull), Verdict::Refused);
        fs::write(&path, line("alice", "newer password") + &line("bob", "b")).expect("a file");
        assert_eq!(decide(&auth, Some(&old), Access::Pull), Verdict::Refused);
        assert_ne!(decide(&auth, Some(&new), Access::Pull), Verdict::Refused);
        fs::write(&path, "alice:plain text").expect("a file");
        assert_ne!(decide(&auth, Some(&new), Access::Pull), Verdict::Refused);
        fs::remove_file(&path).expect("a file");
        assert_ne!(decide(&auth, Some(&new), Access::Pull), Verdict::Refused);
    }
}
