//! A repository or a layout, for code that does not care which.

use crate::{
    Error, Layout, Repository, Result,
    blobs::RemoteBlob,
    copy::Remark,
    digest_tag::{self, TagIndex},
    layout::LayoutBlob,
    referrers::ApiAnswer,
    repository::{BlobSource, ByteStream, Manifest},
};
use bytes::Bytes;
use oci::{Descriptor, Digest, ManifestRef};

/// A repository or a layout.
#[derive(Clone)]
pub enum Store {
    /// In a registry.
    Repository(Repository),
    /// A folder or an unpacked archive.
    Layout(Layout),
}

impl Store {
    /// A manifest, verified.
    ///
    /// # Errors
    /// `NotFound` or `NotInLayout`, and what the two kinds have.
    pub async fn get_manifest(&self, target: &ManifestRef) -> Result<Manifest> {
        match self {
            Store::Repository(repository) => repository.get_manifest(target).await,
            Store::Layout(layout) => {
                let found = layout.try_get_manifest(target).await?;
                found.ok_or_else(|| Error::NotInLayout {
                    path: layout.path().to_owned(),
                    what: format!("manifest {target}"),
                    hint: String::new(),
                })
            }
        }
    }

    /// As [`Store::get_manifest`], `None` if it is not there.
    ///
    /// # Errors
    /// As there.
    pub async fn try_get_manifest(&self, target: &ManifestRef) -> Result<Option<Manifest>> {
        match self {
            Store::Repository(repository) => repository.try_get_manifest(target).await,
            Store::Layout(layout) => layout.try_get_manifest(target).await,
        }
    }

    /// A blob as a stream, verified at its end.
    ///
    /// # Errors
    /// As [`Repository::get_blob`] and [`Layout::get_blob`].
    pub async fn get_blob(&self, blob: &Descriptor) -> Result<ByteStream> {
        match self {
            Store::Repository(repository) => repository.get_blob(blob).await,
            Store::Layout(layout) => layout.get_blob(blob).await,
        }
    }

    /// A blob in memory, verified, of at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Store::get_blob`]; `TooLarge` or `Layout`.
    pub async fn get_blob_bytes(&self, blob: &Descriptor, limit: u64) -> Result<Bytes> {
        match self {
            Store::Repository(repository) => repository.get_blob_bytes(blob, limit).await,
            Store::Layout(layout) => layout.get_blob_bytes(blob, limit).await,
        }
    }

    /// Every tag.
    ///
    /// # Errors
    /// As [`Repository::tags`] and [`Layout::tags`].
    pub async fn tags(&self) -> Result<Vec<String>> {
        match self {
            Store::Repository(repository) => repository.tags().await,
            Store::Layout(layout) => layout.tags(),
        }
    }

    /// The references to a subject: by the API, else by the digest tag; in a layout, all that it knows.
    ///
    /// # Errors
    /// As [`Repository::referrers`], [`crate::digest_tag::read`] and [`Layout::referrers`].
    pub async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        Ok(self.look_up(subject).await?.0)
    }

    /// As [`Store::referrers`], with what a person should know of how they were found.
    pub(crate) async fn look_up(&self, subject: &Digest) -> Result<(Vec<Descriptor>, Vec<Remark>)> {
        let mut remarks = Vec::new();
        let entries = match self {
            Store::Layout(layout) => Some(layout.referrers(subject).await?),
            Store::Repository(repository) => match repository.referrers(subject, None).await? {
                ApiAnswer::Listed(listing) => return Ok((listing.entries, remarks)),
                ApiAnswer::Missing => None,
                ApiAnswer::NotAnIndex(answer) => {
                    remarks.push(Remark::NotAnIndex(answer));
                    None
                }
            },
        };
        let Some(index) = self.digest_tag(subject).await? else {
            return Ok((entries.unwrap_or_default(), remarks));
        };
        remarks.extend(
            index
                .unreadable
                .into_iter()
                .map(|(position, why)| Remark::UnreadableEntry {
                    tag: index.tag.clone(),
                    position,
                    why,
                }),
        );
        Ok((entries.unwrap_or(index.entries), remarks))
    }

    /// The index under the digest tag of a subject; `None` if there is no such tag.
    ///
    /// # Errors
    /// As [`digest_tag::read`] and [`Layout::digest_tag`].
    pub async fn digest_tag(&self, subject: &Digest) -> Result<Option<TagIndex>> {
        match self {
            Store::Repository(repository) => digest_tag::read(repository, subject).await,
            Store::Layout(layout) => layout.digest_tag(subject).await,
        }
    }

    /// A blob of this store as the source of an upload.
    pub(crate) fn blob_source(&self, blob: &Descriptor) -> Box<dyn BlobSource> {
        let blob = blob.clone();
        match self.clone() {
            Store::Repository(repository) => Box::new(RemoteBlob { repository, blob }),
            Store::Layout(layout) => Box::new(LayoutBlob { layout, blob }),
        }
    }
}
