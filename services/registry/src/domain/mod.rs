//! What a registry does: push and pull manifests and blobs, list tags and referrers, delete, collect garbage, verify.
//!
//! Facts in, facts out: nothing here knows HTTP, and nothing here knows files. Every function blocks and may be called from
//! any thread, but for those whose names begin with `known_`: they answer from memory alone, at once, or not at all.
//!
//! One process owns its storage, so what is remembered here stays true: every change goes through this module, which
//! changes storage first and its memory afterwards.

mod blobs;
mod cache;
mod catalog;
mod error;
mod gc;
mod graph;
mod lists;
mod locks;
mod manifests;
mod purge;
mod push;
mod referrers;
mod reserves;
mod session_id;
mod sessions;
mod shares;
mod tags;
mod upgrade;
mod uploads;
mod usage;
mod verify;
#[cfg(test)]
mod weights;
mod whole;

pub use blobs::{Blob, Mounted};
pub use error::Error;
pub use gc::{Collect, Collected, Garbage};
pub use manifests::{Kept, Manifest};
pub use purge::{Abandoned, Purged};
pub use push::{Expect, ManifestPush, Pushed};
pub use referrers::{MAX_PAGE_BYTES, ReferrerPage, ReferrerQuery};
pub use sessions::Client;
pub use tags::Page;
pub use upgrade::Indexed;
pub use uploads::{Receiving, UploadStatus};
pub use usage::Usage;
pub use verify::{Damage, Verified, Verify};

use crate::storage::Storage;
use cache::Cache;
use locks::Locks;
use oci::{Digest, ManifestKind, RepositoryName, Tag};
use std::{sync::Arc, time::Duration};

/// The result of a registry's operation.
pub type Result<T> = std::result::Result<T, Error>;

/// What this registry can do; made once from its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// `refers` and `subject` are indexed, and the referrers API answers on both of its paths.
    pub referrers: bool,
    /// The artifact manifest of Proposal E is accepted.
    pub artifact_manifest: bool,
    /// `_oci/ext/discover` answers.
    pub extension_discovery: bool,
    /// Tags, manifests and blobs can be deleted.
    pub delete: bool,
    /// Nothing can be changed at all.
    pub read_only: bool,
    /// An image is refused while a blob of its is missing.
    pub complete_images: bool,
    /// An index is refused while a manifest of its is missing.
    pub complete_indexes: bool,
}

impl Default for Capabilities {
    /// An OCI 1.0 registry of 2022: everything but referrers.
    fn default() -> Capabilities {
        Capabilities {
            referrers: false,
            artifact_manifest: false,
            extension_discovery: false,
            delete: true,
            read_only: false,
            complete_images: true,
            complete_indexes: true,
        }
    }
}

impl Capabilities {
    /// Whether manifests of this kind are accepted.
    pub fn accepts(&self, kind: ManifestKind) -> bool {
        match kind {
            ManifestKind::Image
            | ManifestKind::Index
            | ManifestKind::DockerImage
            | ManifestKind::DockerList => true,
            ManifestKind::Artifact => self.artifact_manifest,
        }
    }
}

/// Bounds on what a request may ask for and on what is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest manifest, in bytes.
    pub max_manifest_bytes: usize,
    /// The most upload sessions that may be open at once, of those begun or gone on with in this process.
    pub max_uploads: usize,
    /// The most of them that one client may have open, of those begun in this process; 0 for any number.
    pub max_client_uploads: usize,
    /// How long an upload may rest before it is purged.
    pub upload_age: Duration,
    /// How long content that nothing reaches is kept: a push puts its blobs first and its manifest last.
    pub garbage_age: Duration,
    /// How long a large content that was read whole and had its digest is taken for good while its file stays as it was. A bit that
    /// the disk itself changed is found after that, on the next read.
    pub whole_age: Duration,
    /// Bytes of manifests, small blobs, tags, and lists of tags and of referrers that are kept in memory together.
    pub cache_bytes: usize,
}

impl Limits {
    /// What [`Limits::cache_bytes`] is if nobody says otherwise. The largest lists decide: half of what the lists of a kind have is
    /// more than 100,000 referrers of one subject take, and all of it more than a million tags of one repository do.
    pub const DEFAULT_CACHE_BYTES: usize = 256 * 1024 * 1024;

    /// With less, every part of what is kept has room for too few things to be of use.
    pub const MIN_CACHE_BYTES: usize = 1024 * 1024;
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_manifest_bytes: oci::MAX_MANIFEST_BYTES,
            max_uploads: 10_000,
            max_client_uploads: 1_000,
            upload_age: Duration::from_secs(7 * 24 * 3600),
            garbage_age: Duration::from_secs(3600),
            whole_age: Duration::from_secs(3600),
            cache_bytes: Limits::DEFAULT_CACHE_BYTES,
        }
    }
}

/// A registry on a store. Cloning shares it.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    storage: Arc<dyn Storage>,
    capabilities: Capabilities,
    limits: Limits,
    locks: Locks,
    manifests: Cache<(RepositoryName, Digest), Arc<Manifest>>,
    blobs: Cache<(RepositoryName, Digest), Blob>,
    whole: whole::Whole,
    /// Where tags lead; `None` for a tag that is known not to be there.
    tags: Cache<(RepositoryName, Tag), Option<Digest>>,
    tag_lists: tags::TagLists,
    referrer_lists: referrers::ReferrerLists,
    catalog: catalog::Catalog,
    sessions: sessions::Sessions,
    indexed: std::sync::OnceLock<Indexed>,
}

impl Registry {
    /// Opens a registry on a store.
    ///
    /// Where referrers are on and the store was last written without them, all its manifests are indexed first;
    /// [`Registry::indexed`] tells what that came to.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn open(storage: Arc<dyn Storage>, capabilities: Capabilities, limits: Limits) -> Result<Registry> {
        let shares = shares::Shares::of(limits.cache_bytes);
        let registry = Registry(Arc::new(Inner {
            manifests: Cache::new(shares.manifests),
            blobs: Cache::new(shares.blobs),
            whole: whole::Whole::new(shares.whole),
            tags: Cache::new(shares.tags),
            tag_lists: tags::TagLists::new(shares.tag_lists),
            referrer_lists: referrers::ReferrerLists::new(shares.referrer_lists),
            catalog: catalog::Catalog::default(),
            sessions: sessions::Sessions::open(&*storage, capabilities.read_only)?,
            indexed: std::sync::OnceLock::new(),
            locks: Locks::default(),
            storage,
            capabilities,
            limits,
        }));
        if let Some(indexed) = registry.upgrade()? {
            let _ = registry.0.indexed.set(indexed);
        }
        Ok(registry)
    }

    /// What was indexed when the store was opened; `None` if its index was complete, or referrers are off.
    pub fn indexed(&self) -> Option<&Indexed> {
        self.0.indexed.get()
    }

    /// What it can do.
    pub fn capabilities(&self) -> &Capabilities {
        &self.0.capabilities
    }

    /// Its bounds.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Whether a look-up and a small change take no longer than a few calls of the system.
    pub fn is_quick(&self) -> bool {
        self.0.storage.is_quick()
    }

    fn storage(&self) -> &dyn Storage {
        &*self.0.storage
    }

    /// Refuses a change to a registry that is read-only.
    fn require_writable(&self) -> Result<()> {
        if self.0.capabilities.read_only {
            Err(Error::ReadOnly)
        } else {
            Ok(())
        }
    }

    /// Refuses a delete where it is switched off.
    fn require_delete(&self) -> Result<()> {
        self.require_writable()?;
        if self.0.capabilities.delete {
            Ok(())
        } else {
            Err(Error::DeleteDisabled)
        }
    }
}
