//! The section `storage`: where content is kept, and what is done to keep it in order.

use super::{
    ByteCount, Duration,
    load::{present, written},
};
use crate::domain;
use serde::Deserialize;
use std::path::PathBuf;

/// `storage`: the file system or the memory, and what is done to keep it in order.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// A folder. If neither this nor `inmemory` is given, a folder in the platform's data directory.
    #[serde(deserialize_with = "written")]
    pub filesystem: Option<Filesystem>,
    /// Memory, gone when the registry stops.
    #[serde(deserialize_with = "present")]
    pub inmemory: Option<Empty>,
    /// What is kept in memory.
    pub cache: Cache,
    /// Whether content may be deleted.
    pub delete: Delete,
    /// Housekeeping.
    pub maintenance: Maintenance,
}

/// A section without keys of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// `storage.filesystem`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filesystem {
    /// The folder. It is made if it is not there.
    pub rootdirectory: PathBuf,
    /// What an answer of 201 promises.
    #[serde(default)]
    pub durability: Durability,
}

/// `storage.filesystem.durability`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// What was answered 201 survives a power loss: file and folder are synced first.
    #[default]
    Full,
    /// What was answered 201 survives the end of the process, however violent; faster.
    None,
}

/// `storage.cache`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cache {
    /// Distribution's cache of blob descriptors; only `inmemory` is known. Accepted, so that files written for it can be used; this
    /// storage needs none.
    pub blobdescriptor: Option<BlobDescriptorCache>,
    /// Ours: the most that is kept in memory of manifests, small blobs, tags, and lists of tags and of referrers together, in bytes.
    pub memory: ByteCount,
}

impl Default for Cache {
    fn default() -> Cache {
        Cache {
            blobdescriptor: None,
            memory: ByteCount(domain::Limits::DEFAULT_CACHE_BYTES as u64),
        }
    }
}

/// `storage.cache.blobdescriptor`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobDescriptorCache {
    /// Without effect.
    InMemory,
}

/// `storage.delete`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Delete {
    /// Whether tags, manifests and blobs can be deleted; 405 if not.
    pub enabled: bool,
}

impl Default for Delete {
    fn default() -> Delete {
        Delete { enabled: true }
    }
}

/// `storage.maintenance`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Maintenance {
    /// Removal of uploads that nobody goes on with.
    pub uploadpurging: UploadPurging,
    /// No writes.
    pub readonly: ReadOnly,
    /// Removal of content that nothing reaches.
    pub gc: Gc,
}

/// `storage.maintenance.uploadpurging`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UploadPurging {
    /// Whether it is done at all.
    pub enabled: bool,
    /// Uploads untouched for longer than this are removed.
    pub age: Duration,
    /// Time from one round to the next.
    pub interval: Duration,
    /// Only say what would be removed.
    pub dryrun: bool,
}

impl Default for UploadPurging {
    fn default() -> UploadPurging {
        UploadPurging {
            enabled: true,
            age: Duration::hours(168),
            interval: Duration::hours(24),
            dryrun: false,
        }
    }
}

/// `storage.maintenance.readonly`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReadOnly {
    /// Refuse every write with 405.
    pub enabled: bool,
}

/// `storage.maintenance.gc`: ours; distribution collects only by command.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gc {
    /// Whether garbage is collected in the background.
    pub enabled: bool,
    /// Time from one round to the next.
    pub interval: Duration,
    /// Content younger than this stays, reached or not: its manifest may be on its way.
    pub grace: Duration,
    /// Only say what would be removed.
    pub dryrun: bool,
}

impl Default for Gc {
    fn default() -> Gc {
        Gc {
            enabled: false,
            interval: Duration::hours(24),
            grace: Duration::hours(1),
            dryrun: false,
        }
    }
}
