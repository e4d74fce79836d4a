//! What an operator can set, as types that cannot hold a wrong value.
//!
//! The shape is the YAML file's: distribution's keys, and a few of our own where it has none. `load` reads the file and
//! the environment; nothing here opens files or sockets of the registry itself. Whatever is not a field here is refused.

mod load;
mod network;
mod storage;
mod values;

pub use load::{Base, ConfigError, default_root_directory};
pub use network::Network;
pub use storage::{
    BlobDescriptorCache, Cache, Delete, Durability, Empty, Filesystem, Gc, Maintenance, ReadOnly, Storage,
    UploadPurging,
};
pub use values::{ByteCount, Duration, Listen};

use load::written;
use serde::Deserialize;
use std::{collections::BTreeMap, path::PathBuf};

/// The whole configuration of one registry.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Version of the file's format.
    pub version: Version,
    /// What is logged, and how.
    pub log: Log,
    /// Where content is kept.
    pub storage: Storage,
    /// How clients reach the registry.
    pub http: Http,
    /// When the registry calls itself ready.
    pub health: Health,
    /// Who may do what; everybody everything if absent.
    #[serde(deserialize_with = "written")]
    pub auth: Option<Auth>,
    /// What a manifest must have before it is taken.
    pub validation: Validation,
    /// Extensions of the protocol. They decide the registry's generation.
    pub extensions: Extensions,
}

impl Config {
    /// A registry of 2022, before referrers: no extension, the rest as by default.
    pub fn current() -> Config {
        Config::default()
    }

    /// A registry with the referrers API and its discovery, the rest as by default.
    pub fn complete() -> Config {
        let oci = OciExtensions {
            artifacts: vec![ArtifactsExtension::Referrers],
            ext: vec![ExtExtension::Discover],
        };
        Config {
            extensions: Extensions { oci },
            ..Config::default()
        }
    }

    /// Whether referrers are served and the artifact manifest is accepted.
    pub fn serves_referrers(&self) -> bool {
        self.extensions
            .oci
            .artifacts
            .contains(&ArtifactsExtension::Referrers)
    }

    /// Whether extensions tell about themselves.
    pub fn serves_discovery(&self) -> bool {
        self.extensions.oci.ext.contains(&ExtExtension::Discover)
    }
}

/// The version of the file's format; there is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Version;

/// `log`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// From which level on lines are written.
    pub level: LogLevel,
    /// What a line looks like.
    pub formatter: LogFormatter,
    /// Fields that stand on every line.
    pub fields: BTreeMap<String, String>,
    /// The line for each request.
    pub accesslog: AccessLog,
}

/// `log.level`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Only what failed.
    Error,
    /// Also what may become a failure.
    Warn,
    /// Also what happened.
    #[default]
    Info,
    /// Also how.
    Debug,
    /// Everything.
    Trace,
}

/// `log.formatter`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormatter {
    /// For people: time, level, message, fields.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// `log.accesslog`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessLog {
    /// No line for each request.
    pub disabled: bool,
}

/// `http`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Where to listen.
    pub addr: Listen,
    /// Headers of every answer.
    pub headers: BTreeMap<String, Vec<String>>,
    /// How long requests under way may go on after SIGTERM.
    pub draintimeout: Duration,
    /// Serve https with this certificate.
    #[serde(deserialize_with = "written")]
    pub tls: Option<Tls>,
    /// A second address, for operators only.
    #[serde(deserialize_with = "written")]
    pub debug: Option<Debug>,
    /// Bounds that keep one client from taking everything.
    pub limits: Limits,
}

impl Default for Http {
    fn default() -> Http {
        Http {
            addr: Listen::loopback(5000),
            headers: BTreeMap::new(),
            draintimeout: Duration::seconds(30),
            tls: None,
            debug: None,
            limits: Limits::default(),
        }
    }
}

/// `http.tls`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// PEM file: the server's certificate, then the ones that lead to the authority.
    pub certificate: PathBuf,
    /// PEM file: the private key.
    pub key: PathBuf,
}

/// `http.debug`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Debug {
    /// Where to listen. Plain http, without a password: keep it off public networks.
    pub addr: Listen,
    /// The metrics.
    #[serde(default)]
    pub prometheus: Prometheus,
}

/// `http.debug.prometheus`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Prometheus {
    /// Whether metrics are counted and served.
    pub enabled: bool,
    /// Where on the debug address.
    pub path: String,
}

impl Default for Prometheus {
    fn default() -> Prometheus {
        Prometheus {
            enabled: true,
            path: "/metrics".to_owned(),
        }
    }
}

/// `http.limits`: ours.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The largest manifest that is accepted, in bytes; 413 above.
    pub manifest: ByteCount,
    /// How many clients may be connected at once; the others wait. Each worker counts its own, so that it is rounded up to a
    /// multiple of the workers.
    pub connections: usize,
    /// How many threads serve requests; 0 for one a processor, at most 8.
    pub workers: usize,
    /// How long a client may take to send a request's head, from its first byte on; and to send the first byte of all.
    pub headtimeout: Duration,
    /// How long a client may be silent in the middle of a body, in either direction.
    pub bodytimeout: Duration,
    /// Bytes a second that a client must send of a body, and read of an answer; 0 for any. Waiting for it is held against it, at
    /// most `bodytimeout` in all, and each second's worth of bytes makes up for one second: pauses and bursts do no harm, a
    /// lasting trickle ends with 408. A reader has what the system's buffers hold on top. The default is below the slowest modem's rate.
    pub bodyrate: ByteCount,
    /// How long a connection is kept after an answer while nothing comes.
    pub keepalive: Duration,
    /// How many upload sessions may be open at once, whoever began them; 429 above. Those of before the start count from the
    /// moment on that somebody goes on with them.
    pub uploads: usize,
    /// How many of them one client may have open, of those begun since the start; 429 above, 0 for any number. A client is
    /// a user, or without a password an address: of IPv6, its first 64 bits.
    pub clientuploads: usize,
    /// Proxies in front of the registry, by address or network: of a request from one of them, `X-Forwarded-For` tells the
    /// client's address.
    pub proxies: Vec<Network>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            manifest: ByteCount(oci::MAX_MANIFEST_BYTES as u64),
            connections: 10_000,
            workers: 0,
            headtimeout: Duration::seconds(15),
            bodytimeout: Duration::seconds(60),
            bodyrate: ByteCount(512),
            keepalive: Duration::seconds(75),
            uploads: 10_000,
            clientuploads: 1_000,
            proxies: Vec::new(),
        }
    }
}

/// `health`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Health {
    /// Whether the storage can be written to.
    pub storagedriver: StorageHealth,
}

/// `health.storagedriver`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StorageHealth {
    /// Whether it is looked at.
    pub enabled: bool,
    /// Time from one look to the next.
    pub interval: Duration,
    /// After so many failures in a row `/readyz` answers 503.
    pub threshold: u32,
}

impl Default for StorageHealth {
    fn default() -> StorageHealth {
        StorageHealth {
            enabled: true,
            interval: Duration::seconds(10),
            threshold: 3,
        }
    }
}

/// `auth`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// A file of names and hashed passwords.
    pub htpasswd: Htpasswd,
}

/// `auth.htpasswd`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Htpasswd {
    /// What a client shows when it asks for the password.
    #[serde(default = "default_realm")]
    pub realm: String,
    /// The file, `name:bcrypt-hash` a line. It is read again when it changes.
    pub path: PathBuf,
    /// What may be done without a password.
    #[serde(default)]
    pub anonymous: Anonymous,
}

fn default_realm() -> String {
    "registry".to_owned()
}

/// `auth.htpasswd.anonymous`: ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anonymous {
    /// Nothing.
    #[default]
    None,
    /// Reading.
    Pull,
}

/// `validation`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Validation {
    /// Take manifests whose content is not there: the same as `none` in both fields of `manifests`.
    pub disabled: bool,
    /// What manifests need.
    pub manifests: ManifestValidation,
}

impl Validation {
    /// Whether an image may come without its configuration and layers.
    pub fn allows_sparse_images(&self) -> bool {
        self.disabled || self.manifests.images.blobs == Required::None
    }

    /// Whether an index may come without its manifests.
    pub fn allows_sparse_indexes(&self) -> bool {
        self.disabled || self.manifests.indexes.platforms == Required::None
    }
}

/// `validation.manifests`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ManifestValidation {
    /// Images and artifacts.
    pub images: ImageValidation,
    /// Indexes and lists.
    pub indexes: IndexValidation,
}

/// `validation.manifests.images`: ours.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImageValidation {
    /// Which configuration and layers must be there first.
    pub blobs: Required,
}

/// `validation.manifests.indexes`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IndexValidation {
    /// Which platforms' manifests must be there first.
    pub platforms: Required,
}

/// How much of what a manifest names must be there before it is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Required {
    /// All of it.
    #[default]
    All,
    /// Nothing: sparse content is allowed.
    None,
}

/// `extensions`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Extensions {
    /// The namespace of the OCI.
    pub oci: OciExtensions,
}

/// `extensions.oci`
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OciExtensions {
    /// `referrers`: the referrers API on both paths, and the artifact manifest.
    pub artifacts: Vec<ArtifactsExtension>,
    /// `discover`: the list of extensions.
    pub ext: Vec<ExtExtension>,
}

/// A component of `extensions.oci.artifacts`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArtifactsExtension {
    /// Referrers.
    Referrers,
}

/// A component of `extensions.oci.ext`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtExtension {
    /// Discovery.
    Discover,
}
