//! Blobs of a repository: asked for, downloaded, uploaded, mounted, deleted. Memory does not grow with their size.

mod download;
mod upload;
mod verify;

pub(crate) use verify::{Wrong, collect, verified, watch};

use crate::{
    Repository, Result,
    repository::{BlobSource, ByteStream},
    transport::Method,
};
use futures_util::future::LocalBoxFuture;
use oci::{Descriptor, Digest, Route};

impl Repository {
    /// The size of a blob, `None` if it is not there.
    ///
    /// # Errors
    /// Every failure but a 404.
    pub async fn head_blob(&self, digest: &Digest) -> Result<Option<u64>> {
        let ask = self.reading(Method::HEAD, &Route::Blob(self.name().clone(), *digest));
        let response = self.session().send(ask).await?;
        match response.status() {
            200 => {
                let size = response.content_length().unwrap_or_default();
                response.discard().await;
                Ok(Some(size))
            }
            404 => {
                response.discard().await;
                Ok(None)
            }
            400.. => Err(response.into_error(&format!("blob {digest} in {self}")).await),
            _ => Err(response.unexpected("200 or 404").await),
        }
    }

    /// Deletes a blob.
    ///
    /// # Errors
    /// As [`Repository::delete_manifest`].
    pub async fn delete_blob(&self, digest: &Digest) -> Result<()> {
        let route = Route::Blob(self.name().clone(), *digest);
        self.delete(&route, &format!("blob {digest} in {self}")).await
    }
}

/// A blob of a repository as the source of another.
pub(crate) struct RemoteBlob {
    pub repository: Repository,
    pub blob: Descriptor,
}

impl BlobSource for RemoteBlob {
    fn open(&self, offset: u64) -> LocalBoxFuture<'_, Result<ByteStream>> {
        Box::pin(self.repository.get_blob_from(&self.blob, offset))
    }
}
