//! Talks to any OCI registry, and to OCI image layouts. Policy-free: it knows what the wire can do, not what a generation does.
//!
//! A map, from what a tool meets first:
//!
//! | module | what |
//! | --- | --- |
//! | [`Client`], [`Options`] | one for a process: connections, credentials, settings, recording. Cheap to clone, not `Send`; use it on an actix `System` |
//! | [`location`] | SRC and DST as people type them: a registry reference, `oci:PATH:TAG`, `ocidir://PATH:TAG`, a folder, an archive |
//! | [`repository`] | [`Registry`] and [`Repository`]: ping, manifests, blobs, tags, catalog |
//! | [`store`] | [`Store`]: a repository or a layout, with one set of methods, for code that does not care which |
//! | [`referrers`] | asks the referrers API; tells which path answered, or that it is missing |
//! | [`digest_tag`] | reads, extends, mends and prunes the index under a digest tag, without losing entries |
//! | [`mod@copy`] | copies images between any two locations, with their references on demand |
//! | [`layout`] | OCI image layouts: folders, and tar archives for reading |
//! | [`settings`] | the configuration file, `registry set` |
//! | [`har`] | the recorder of all exchanges, HAR 1.2 |
//! | [`progress`] | what transfers tell an observer |
//! | [`error`], [`exit`] | what went wrong, as facts, and the exit code of each |
//!
//! `transport` is the only user of `awc`; `auth` finds credentials and tokens. Both are private.
//!
//! ```no_run
//! # async fn example() -> client::Result<()> {
//! let client = client::Client::new(client::Options::default())?;
//! let image = oci::ImageReference::parse("localhost:5001/app:latest")?;
//! let repository = client.repository(&image)?;
//! let manifest = repository.get_manifest(&image.target()).await?;
//! let answer = repository.referrers(&manifest.digest, None).await?;
//! # Ok(()) }
//! ```

pub mod copy;
pub mod digest_tag;
pub mod error;
pub mod exit;
pub mod har;
pub mod layout;
pub mod location;
pub mod progress;
pub mod referrers;
pub mod repository;
pub mod settings;
pub mod store;

mod auth;
mod blobs;
mod client;
mod files;
mod manifests;
mod pages;
mod raw;
mod redact;
mod session;
mod transport;

pub use client::{Client, Options, Timeouts};
pub use copy::{Copied, CopyOptions, copy};
pub use error::{Answer, Asked, Error, Result};
pub use exit::ExitCode;
pub use layout::Layout;
pub use location::Location;
pub use raw::{RawAnswer, RawPages};
pub use repository::{BlobSource, Condition, Manifest, PutManifest, Registry, Repository};
pub use settings::{RegistrySettings, Settings, Tls};
pub use store::Store;
pub use transport::Proxies;
