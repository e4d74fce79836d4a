//! Reads blobs piece by piece, and lets a person see it.

use cli::{Context, Failure};
use client::Store;
use client::progress::BlobOutcome;
use futures_util::TryStreamExt;
use oci::Descriptor;

/// Hands the pieces of a blob to `take`. Success means that all of them together have the blob's digest and size; until
/// then they are not to be trusted.
///
/// # Errors
/// Every failure of the request, of verification, and of `take`.
pub async fn fetch(
    store: &Store,
    blob: &Descriptor,
    context: &Context,
    mut take: impl FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let progress = context.progress();
    progress.blob_started(blob);
    let mut position = 0;
    let mut stream = store.get_blob(blob).await?;
    while let Some(piece) = stream.try_next().await? {
        take(&piece)?;
        position += piece.len() as u64;
        progress.blob_moved(&blob.digest, position);
    }
    progress.blob_done(blob, BlobOutcome::Copied);
    Ok(())
}
