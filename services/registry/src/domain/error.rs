//! What can go wrong, as facts.

use super::Client;
use crate::storage::StorageError;
use oci::{Digest, ManifestError, ManifestRef, RepositoryName, Tag};

/// Why an operation was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing was ever stored in this repository.
    #[error("repository {0} is not known here")]
    NameUnknown(RepositoryName),
    /// The repository has no such manifest.
    #[error("repository {name} has no manifest {reference}")]
    ManifestUnknown {
        /// The repository asked.
        name: RepositoryName,
        /// What was asked for.
        reference: ManifestRef,
    },
    /// The repository has no such blob.
    #[error("repository {name} has no blob {digest}")]
    BlobUnknown {
        /// The repository asked.
        name: RepositoryName,
        /// What was asked for.
        digest: Digest,
    },
    /// No upload session of that id in that repository.
    #[error(
        "there is no upload session {id:?} in repository {name}: it never began, has ended or has expired"
    )]
    UploadUnknown {
        /// The repository asked.
        name: RepositoryName,
        /// The id, cut to a printable length.
        id: String,
    },
    /// Another request is writing to the session.
    #[error("upload session {id:?} is receiving bytes from another request: wait for that to end")]
    UploadBusy {
        /// The session.
        id: String,
    },
    /// A chunk does not begin where the last one ended.
    #[error(
        "the chunk begins at byte {got}, but {expected} bytes were received: ask for the status and go on from there"
    )]
    OutOfOrder {
        /// The session.
        id: String,
        /// Bytes received so far.
        expected: u64,
        /// Where the chunk begins.
        got: u64,
    },
    /// A body is not as long as was said.
    #[error("{got} bytes were received, but {stated} were announced")]
    LengthMismatch {
        /// Bytes announced.
        stated: u64,
        /// Bytes received.
        got: u64,
    },
    /// Too many sessions are open.
    #[error("{limit} upload sessions are open: finish or cancel some")]
    TooManyUploads {
        /// The limit.
        limit: usize,
    },
    /// One client has too many sessions open.
    #[error("{client} has {limit} upload sessions open, as many as one client may: finish or cancel some")]
    TooManyUploadsOfClient {
        /// Whose they are.
        client: Client,
        /// The limit.
        limit: usize,
    },
    /// The bytes received do not have the digest that was told.
    #[error("the content received has the digest {computed}, but {expected} was announced")]
    DigestMismatch {
        /// The digest told.
        expected: Digest,
        /// The digest of what came. Boxed, to keep every result small.
        computed: Box<Digest>,
    },
    /// A manifest names content that the repository does not have.
    #[error("the manifest names {} that the repository does not have: push what is missing first", count(.blobs.len(), .manifests.len()))]
    MissingContent {
        /// Every missing blob.
        blobs: Vec<Digest>,
        /// Every missing manifest.
        manifests: Vec<Digest>,
    },
    /// The bytes are not a manifest.
    #[error(transparent)]
    ManifestInvalid(#[from] ManifestError),
    /// A kind of manifest that this registry does not accept.
    #[error("manifests of media type {media_type} are not accepted by this registry")]
    ManifestKindRefused {
        /// The media type.
        media_type: &'static str,
    },
    /// A manifest above the limit.
    #[error("the manifest is larger than the {limit} bytes that are accepted")]
    ManifestTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The tag is not what the caller expects it to be.
    #[error("tag {tag} {}, which is not what the condition expects: read it again", leads(.actual))]
    TagChanged {
        /// The tag.
        tag: Tag,
        /// Where it leads; `None` if it is not there.
        actual: Option<Digest>,
    },
    /// Deleting is switched off.
    #[error("deleting is disabled on this registry")]
    DeleteDisabled,
    /// All changes are switched off.
    #[error("this registry is read-only")]
    ReadOnly,
    /// Stored bytes no longer have the digest that they are stored under.
    #[error("the stored content of {digest} is damaged")]
    Damaged {
        /// The digest it should have.
        digest: Digest,
    },
    /// The store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

fn count(blobs: usize, manifests: usize) -> String {
    match (blobs, manifests) {
        (blobs, 0) => format!("{blobs} blob(s)"),
        (0, manifests) => format!("{manifests} manifest(s)"),
        (blobs, manifests) => format!("{blobs} blob(s) and {manifests} manifest(s)"),
    }
}

fn leads(actual: &Option<Digest>) -> String {
    match actual {
        Some(digest) => format!("leads to {digest}"),
        None => "does not exist".to_owned(),
    }
}
