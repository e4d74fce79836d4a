//! A registry and a repository in it: the handles that requests start from.

use crate::{
    Client, Result,
    auth::Scopes,
    session::{Ask, Session},
    transport::Method,
};
use bytes::Bytes;
use futures_util::{future::LocalBoxFuture, stream::LocalBoxStream};
use oci::{Descriptor, Digest, ManifestKind, ManifestView, RepositoryName, Route};
use std::fmt;

/// A registry. Cloning is cheap.
#[derive(Clone)]
pub struct Registry {
    client: Client,
    session: Session,
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
        Box::pin(crate::files::stream(&self.0, offset, u64::MAX))
    }
}

/// How a blob came to the registry, see [`crate::progress::BlobOutcome`].
pub use crate::progress::BlobOutcome;

impl Registry {
    pub(crate) fn new(client: Client, session: Session) -> Registry {
        Registry { client, session }
    }

    /// The name as references write it.
    pub fn name(&self) -> &str {
        &self.session.name
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

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// `GET /v2/`: whether this is a registry, and whether the credentials hold.
    ///
    /// # Errors
    /// Every failure.
    pub async fn ping(&self) -> Result<()> {
        let url = self.session.url(&Route::Base.to_string());
        let response = self
            .session
            .send(Ask::new(Method::GET, url, Scopes::new()))
            .await?;
        match response.status() {
            200 => {
                response.discard().await;
                Ok(())
            }
            _ => Err(response.into_error("a registry").await),
        }
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

    pub(crate) fn session(&self) -> &Session {
        self.registry.session()
    }

    /// A request to read in this repository.
    pub(crate) fn reading(&self, method: Method, route: &Route) -> Ask {
        let url = self.session().url(&route.to_string());
        Ask::new(method, url, crate::auth::pull(&self.name))
    }

    /// A request to write to this repository.
    pub(crate) fn writing(&self, method: Method, route: &Route) -> Ask {
        let url = self.session().url(&route.to_string());
        Ask::new(method, url, crate::auth::push(&self.name))
    }
}

impl fmt::Display for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry.name(), self.name)
    }
}
