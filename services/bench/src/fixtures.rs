//! What must be stored before a workload can be timed: pushed by plain OCI protocol, once a target and run, and read
//! back before anything is timed with it.

use crate::clients::{Making, PushBlobs, PushManifests};
use crate::connection::{Body, Failure};
use crate::content::{self, Blob, LargeBlobs};
use crate::load::{self, Client, LoadError};
use crate::protocol::Registry;
use crate::settings::{Kind, Settings, Target};
use crate::wire::{Method, Request};
use oci::media_type::OCI_MANIFEST;
use oci::{Descriptor, Digest};
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Why a workload has no value on a target.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The target does not offer what the workload is about. No failure.
    #[error("{0}")]
    Unsupported(String),
    /// An answer was wrong, or none came.
    #[error("{0}")]
    Failed(#[from] LoadError),
    /// Setting up took too long to go on.
    #[error("set-up ended after {} s with {done} of {wanted} done", .limit.as_secs())]
    SetUpTooLong {
        /// Operations done.
        done: u64,
        /// Operations wanted.
        wanted: u64,
        /// The limit.
        limit: Duration,
    },
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Trouble {
        Trouble::Failed(LoadError::Failed(failure))
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Trouble {
        Trouble::Failed(LoadError::Start(error))
    }
}

/// A state of a target's storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fixture {
    /// One image under one tag.
    OneTag,
    /// This many images, each under its own tag.
    Tags(u64),
    /// A large blob.
    Large,
    /// An image with this many referrers of ten types.
    Referrers(u64),
    /// Small blobs to mount, and the large one.
    MountSource,
}

/// Artifact types of the referrers of [`Fixture::Referrers`].
pub const REFERRER_TYPES: u64 = 10;

/// Small blobs of [`Fixture::MountSource`].
pub const MOUNTABLE_BLOBS: u64 = 256;

/// Clients that push set-up content.
const SET_UP_CLIENTS: u64 = 8;

/// Makes fixtures and remembers which are there.
#[derive(Debug)]
pub struct Fixtures<'a> {
    settings: &'a Settings,
    large: Arc<LargeBlobs>,
    ready: HashSet<(String, Fixture)>,
}

impl<'a> Fixtures<'a> {
    /// None is there yet.
    pub fn new(settings: &'a Settings) -> Fixtures<'a> {
        Fixtures {
            settings,
            large: Arc::new(LargeBlobs::new(settings.scale.large_bytes)),
            ready: HashSet::new(),
        }
    }

    /// The large blobs of this run's size; number 0 is the one in [`Fixture::Large`].
    pub fn large(&self) -> Arc<LargeBlobs> {
        Arc::clone(&self.large)
    }

    /// The fixture's repository on the target, made and verified if it is not there yet.
    ///
    /// # Errors
    /// `Trouble`; the fixture is then tried again when it is next asked for.
    pub fn repository(&mut self, target: &Target, fixture: Fixture) -> Result<String, Trouble> {
        let name = match fixture {
            Fixture::OneTag => "one-tag".to_owned(),
            Fixture::Tags(count) => format!("tags-{count}"),
            Fixture::Large => "large".to_owned(),
            Fixture::Referrers(count) => format!("referrers-{count}"),
            Fixture::MountSource => "mount-source".to_owned(),
        };
        let repository = self.settings.repository(target, &name);
        let key = (target.name.clone(), fixture);
        if !self.ready.contains(&key) {
            if target.kind != Kind::Files {
                self.push(target, fixture, &repository)?;
            }
            if target.kind != Kind::Sink {
                self.verify(target, fixture, &repository)?;
            }
            self.ready.insert(key);
        }
        Ok(repository)
    }

    fn push(&self, target: &Target, fixture: Fixture, repository: &str) -> Result<(), Trouble> {
        let shared: Vec<Blob> = vec![content::config(), Blob::small()];
        match fixture {
            Fixture::OneTag => {
                self.push_blobs(target, repository, shared)?;
                self.put_first(target, repository)
            }
            Fixture::Tags(count) => {
                self.push_blobs(target, repository, shared)?;
                self.push_manifests(target, repository, &Making::Tagged, 0..count)
            }
            Fixture::Large => self.push_large(target, repository),
            Fixture::Referrers(count) => {
                let subject = subject();
                require_referrers_api(target, repository, &subject.digest)?;
                self.push_blobs(target, repository, shared)?;
                self.put_first(target, repository)?;
                let making = Making::Referrers(Box::new(subject), REFERRER_TYPES);
                self.push_manifests(target, repository, &making, 0..count)
            }
            Fixture::MountSource => {
                self.push_blobs(target, repository, mountable().to_vec())?;
                self.push_large(target, repository)
            }
        }
    }

    fn push_large(&self, target: &Target, repository: &str) -> Result<(), Trouble> {
        let blob = self.large.blob(0);
        let body = self.large.body(&blob);
        let mut registry = Registry::new(target.address);
        load::runtime()?.block_on(registry.push_blob(repository, &blob.digest, &body))?;
        Ok(())
    }

    /// Pushes blobs, each once.
    ///
    /// # Errors
    /// `Trouble`.
    pub fn push_blobs(&self, target: &Target, repository: &str, blobs: Vec<Blob>) -> Result<(), Trouble> {
        let count = blobs.len() as u64;
        let blobs: Arc<[Blob]> = blobs.into();
        let clients = (0..count.min(SET_UP_CLIENTS)).map(|_| PushBlobs {
            registry: Registry::new(target.address),
            repository: repository.to_owned(),
            blobs: Arc::clone(&blobs),
        });
        self.all(clients.collect(), count)
    }

    /// Pushes the manifests with these numbers.
    ///
    /// # Errors
    /// `Trouble`.
    pub fn push_manifests(
        &self,
        target: &Target,
        repository: &str,
        making: &Making,
        numbers: Range<u64>,
    ) -> Result<(), Trouble> {
        let clients = (0..SET_UP_CLIENTS).map(|_| PushManifests {
            registry: Registry::new(target.address),
            repository: repository.to_owned(),
            making: making.clone(),
            first: numbers.start,
        });
        self.all(clients.collect(), numbers.end.saturating_sub(numbers.start))
    }

    /// Pushes the first of all manifests under the tag `latest`.
    ///
    /// # Errors
    /// `Trouble`.
    pub fn put_first(&self, target: &Target, repository: &str) -> Result<(), Trouble> {
        let mut registry = Registry::new(target.address);
        let manifest = content::manifest(0);
        load::runtime()?.block_on(registry.put_manifest(repository, content::TAG, &manifest))?;
        Ok(())
    }

    fn all<C: Client>(&self, clients: Vec<C>, wanted: u64) -> Result<(), Trouble> {
        let outcome = load::run(clients, self.settings.set_up_plan(wanted))?;
        if outcome.operations == wanted {
            return Ok(());
        }
        Err(Trouble::SetUpTooLong {
            done: outcome.operations,
            wanted,
            limit: self.settings.set_up,
        })
    }

    /// Reads back what the fixture is for, and compares it byte by byte or by its digest.
    fn verify(&self, target: &Target, fixture: Fixture, repository: &str) -> Result<(), Trouble> {
        let mut registry = Registry::new(target.address);
        let first = content::manifest(0);
        let digest = Digest::sha256(&first);
        let manifest = |reference: &str| registry.manifest_request(Method::Get, repository, reference);
        let reads: Vec<(Request, Digest)> = match fixture {
            Fixture::OneTag => {
                let small = Blob::small().digest;
                vec![
                    (manifest(content::TAG), digest),
                    (manifest(&digest.to_string()), digest),
                    (registry.blob_request(Method::Get, repository, &small), small),
                ]
            }
            Fixture::Tags(count) => [0, count - 1]
                .into_iter()
                .map(|n| (manifest(&content::tag(n)), Digest::sha256(&content::manifest(n))))
                .collect(),
            Fixture::Large => {
                let large = self.large.blob(0).digest;
                vec![(registry.blob_request(Method::Get, repository, &large), large)]
            }
            Fixture::Referrers(_) => vec![(manifest(content::TAG), digest)],
            Fixture::MountSource => Vec::new(),
        };
        let runtime = load::runtime()?;
        for (request, digest) in reads {
            let fetched = registry.connection.fetch_status(&request, &Body::EMPTY, 200);
            if !digest.matches(&runtime.block_on(fetched)?.body) {
                return Err(Trouble::from(Failure::Content {
                    request: crate::connection::line(&request),
                    what: format!("the answer's body does not hash to {digest}"),
                }));
            }
        }
        Ok(())
    }
}

/// The small blobs of [`Fixture::MountSource`].
pub fn mountable() -> Arc<[Blob]> {
    (0..MOUNTABLE_BLOBS)
        .map(|number| Blob::new(content::bytes(1000 + number, 256)))
        .collect()
}

/// The descriptor of the image that referrers refer to.
pub fn subject() -> Descriptor {
    subject_of(0)
}

/// The numbered manifest as a subject. It need not be there.
pub fn subject_of(number: u64) -> Descriptor {
    Descriptor::of(OCI_MANIFEST, &content::manifest(number))
}

/// Where a registry lists the referrers of the fixture's subject.
pub fn referrers_path(repository: &str, digest: &Digest) -> String {
    format!("/v2/{repository}/referrers/{digest}")
}

/// Asks for the referrers of a subject.
///
/// # Errors
/// `Unsupported` where the registry answers 404.
pub fn require_referrers_api(target: &Target, repository: &str, digest: &Digest) -> Result<(), Trouble> {
    let mut registry = Registry::new(target.address);
    let request = registry.get_request(&referrers_path(repository, digest));
    let answer = load::runtime()?.block_on(registry.connection.fetch(&request, &Body::EMPTY))?;
    match answer.status {
        404 => Err(Trouble::Unsupported("no referrers API".to_owned())),
        _ => Ok(()),
    }
}
