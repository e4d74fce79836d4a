//! The vocabulary of the OCI specifications, without I/O.
//!
//! Everything here is a value, a parser or a table: digests, names and references, media types, descriptors, a view of
//! manifests, error codes and their envelope, the routes of a registry, and the headers that they use. The registry and
//! the client share it, so a rule of the wire stands in one place. No sockets, no files, no policy: what a generation
//! does with these words stands in the `generations` crate.

pub mod descriptor;
pub mod digest;
pub mod digest_tag;
pub mod error;
pub mod headers;
pub mod manifest;
pub mod media_type;
pub mod name;
pub mod reference;
pub mod routes;

pub use descriptor::{Annotations, Descriptor, Platform};
pub use digest::{Algorithm, Digest, DigestError, Hasher};
pub use error::{ErrorCode, ErrorEntry, ErrorEnvelope};
pub use manifest::{ManifestError, ManifestKind, ManifestView};
pub use name::{ManifestRef, NameError, RepositoryName, Tag};
pub use reference::{ImageReference, ReferenceError};
pub use routes::{RawRoute, Route};

/// The largest manifest that every registry must accept, in bytes: 4 MiB.
///
/// Source: OCI distribution-spec 1.1, "Pushing Manifests" ("should support at least 4 megabytes").
pub const MAX_MANIFEST_BYTES: usize = 4 * 1024 * 1024;
