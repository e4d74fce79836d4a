//! A registry and a repository in it: the handles that requests start from.

use crate::{Client, Result};
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::LocalBoxStream;
use oci::{Descriptor, Digest, ManifestKind, ManifestRef, ManifestView, RepositoryName};

/// A registry. Cloning is cheap.
#[derive(Clone)]
pub struct Registry {
    client: Client,
    name: String,
}

/// A repository in a registry. Cloning is cheap.
#[derive(Clone)]
pub struct Repository {
    registry: Registry,
    name: RepositoryName,
}

/// A manifest as it was received, verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Its bytes, exactly.
    pub bytes: Bytes,
    /// The media type that it was served with, without parameters.
    pub media_type: String,
    /// The digest of the bytes, in the algorithm that was asked for (sha256 for a tag).
    pub digest: Digest,
    /// The entity tag for conditional requests, with its quotes.
    pub etag: Option<String>,
}

impl Manifest {
    /// A manifest made here.
    pub fn new(media_type: impl Into<String>, bytes: impl Into<Bytes>) -> Manifest {
        let bytes = bytes.into();
        Manifest {
            digest: Digest::sha256(&bytes),
            media_type: media_type.into(),
            bytes,
            etag: None,
        }
    }

    /// Media type, digest and size.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(&*self.media_type, self.digest, self.bytes.len() as u64)
    }

    /// What it is; `None` if the media type is not a manifest's that is known here.
    pub fn kind(&self) -> Option<ManifestKind> {
        ManifestKind::from_media_type(&self.media_type)
    }

    /// What it says.
    ///
    /// # Errors
    /// `ManifestError`, the first thing found wrong.
    pub fn view(&self) -> Result<ManifestView, oci::ManifestError> {
        ManifestView::parse(Some(&self.media_type), &self.bytes)
    }
}

/// When a PUT of a manifest may happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Always.
    Always,
    /// Only if the tag is still this entity tag: `If-Match`.
    IfMatch(String),
    /// Only if the tag does not exist: `If-None-Match: *`.
    IfAbsent,
}

/// What the registry answered to a PUT of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutManifest {
    /// The digest of the bytes.
    pub digest: Digest,
    /// The entity tag, if the registry told it.
    pub etag: Option<String>,
    /// `OCI-Subject`: the subject whose referrer this was indexed as.
    pub subject: Option<Digest>,
}

/// A stream of pieces of a blob.
pub type ByteStream = LocalBoxStream<'static, Result<Bytes>>;

/// Where the bytes of a blob come from; opened again, from an offset, when a transfer must be resumed.
pub trait BlobSource {
    /// The bytes from `offset` to the end.
    fn open(&self, offset: u64) -> LocalBoxFuture<'_, Result<ByteStream>>;
}

impl BlobSource for Bytes {
    fn open(&self, offset: u64) -> LocalBoxFuture<'_, Result<ByteStream>> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        let rest = self.slice(start..);
        Box::pin(async move {
            let stream: ByteStream = Box::pin(futures_util::stream::once(async move { Ok(rest) }));
            Ok(stream)
        })
    }
}

/// A file whose content is a blob.
#[derive(Clone, Debug)]
pub struct FileSource(pub std::path::PathBuf);

impl BlobSource for FileSource {
    fn open(&self, offset: u64) -> LocalBoxFuture<'_, Result<ByteStream>> {
        let _ = offset;
        todo!()
    }
}

/// How a blob came to the registry, see [`crate::progress::BlobOutcome`].
pub use crate::progress::BlobOutcome;

impl Registry {
    /// The name as references write it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A repository in it.
    pub fn repository(&self, name: &RepositoryName) -> Repository {
        Repository {
            registry: self.clone(),
            name: name.clone(),
        }
    }

    /// `GET /v2/`: whether this is a registry, and whether the credentials hold.
    ///
    /// # Errors
    /// Every failure.
    pub async fn ping(&self) -> Result<()> {
        todo!()
    }

    /// Every repository, all pages.
    ///
    /// # Errors
    /// Every failure; many registries refuse this.
    pub async fn catalog(&self) -> Result<Vec<String>> {
        todo!()
    }
}

impl Repository {
    /// Its name.
    pub fn name(&self) -> &RepositoryName {
        &self.name
    }

    /// The registry it is in.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The client.
    pub fn client(&self) -> &Client {
        self.registry.client()
    }

    /// A manifest, verified against the digest that was asked for and against the registry's digest header.
    ///
    /// # Errors
    /// `NotFound`, `DigestMismatch`, `TooLarge` above 4 MiB, `WrongContentType`, and every failure of the request.
    pub async fn get_manifest(&self, target: &ManifestRef) -> Result<Manifest> {
        let _ = target;
        todo!()
    }

    /// As [`Repository::get_manifest`], but `None` for a 404.
    ///
    /// # Errors
    /// As there, but for `NotFound`.
    pub async fn try_get_manifest(&self, target: &ManifestRef) -> Result<Option<Manifest>> {
        let _ = target;
        todo!()
    }

    /// Media type, digest and size of a manifest, without its body; `None` if it is not there. A registry that does not
    /// tell the digest is asked for the body.
    ///
    /// # Errors
    /// Every failure but a 404.
    pub async fn head_manifest(&self, target: &ManifestRef) -> Result<Option<Descriptor>> {
        let _ = target;
        todo!()
    }

    /// Puts a manifest.
    ///
    /// # Errors
    /// `Refused` with the registry's code and message; `PreconditionFailed`; `DigestMismatch` if `target` is a digest
    /// that the bytes do not have, or the registry answers another digest.
    pub async fn put_manifest(
        &self,
        target: &ManifestRef,
        manifest: &Manifest,
        condition: &Condition,
    ) -> Result<PutManifest> {
        let _ = (target, manifest, condition);
        todo!()
    }

    /// Deletes a manifest (by digest) or a tag.
    ///
    /// # Errors
    /// `NotFound`; `Unsupported` where the registry does not delete.
    pub async fn delete_manifest(&self, target: &ManifestRef) -> Result<()> {
        let _ = target;
        todo!()
    }

    /// The size of a blob, `None` if it is not there.
    ///
    /// # Errors
    /// Every failure but a 404.
    pub async fn head_blob(&self, digest: &Digest) -> Result<Option<u64>> {
        let _ = digest;
        todo!()
    }

    /// A blob as a stream of pieces; a broken transfer is resumed, and the last piece comes only if all bytes hash to the
    /// descriptor's digest and have its size. Memory does not grow with the blob.
    ///
    /// # Errors
    /// At once if it cannot be had; in the stream `DigestMismatch`, `WrongLength` and broken connections.
    pub async fn get_blob(&self, blob: &Descriptor) -> Result<ByteStream> {
        let _ = blob;
        todo!()
    }

    /// A blob in memory, verified.
    ///
    /// # Errors
    /// As [`Repository::get_blob`]; `TooLarge` if it is larger than `limit` bytes.
    pub async fn get_blob_bytes(&self, blob: &Descriptor, limit: u64) -> Result<Bytes> {
        let _ = (blob, limit);
        todo!()
    }

    /// Brings a blob to the repository: skips it if it is there, else uploads it; an upload that breaks is resumed.
    ///
    /// # Errors
    /// Every failure; `DigestMismatch` if the source's bytes are not the descriptor's.
    pub async fn put_blob(&self, blob: &Descriptor, source: &dyn BlobSource) -> Result<BlobOutcome> {
        let _ = (blob, source);
        todo!()
    }

    /// As [`Repository::put_blob`] for a blob of another repository of the same registry: mounts it if the registry can.
    ///
    /// # Errors
    /// As there.
    pub async fn mount_blob(
        &self,
        blob: &Descriptor,
        from: &RepositoryName,
        source: &dyn BlobSource,
    ) -> Result<BlobOutcome> {
        let _ = (blob, from, source);
        todo!()
    }

    /// Deletes a blob.
    ///
    /// # Errors
    /// As [`Repository::delete_manifest`].
    pub async fn delete_blob(&self, digest: &Digest) -> Result<()> {
        let _ = digest;
        todo!()
    }

    /// Every tag, all pages, in the registry's order.
    ///
    /// # Errors
    /// `NotFound` if the repository is unknown; `EndlessPages`.
    pub async fn tags(&self) -> Result<Vec<String>> {
        todo!()
    }
}

impl std::fmt::Display for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.registry.name, self.name)
    }
}
