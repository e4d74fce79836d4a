//! A repository or a layout, for code that does not care which.

use crate::repository::{ByteStream, Manifest};
use crate::{Layout, Repository, Result};
use bytes::Bytes;
use oci::{Descriptor, ManifestRef};

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
        let _ = target;
        todo!()
    }

    /// As [`Store::get_manifest`], `None` if it is not there.
    ///
    /// # Errors
    /// As there.
    pub async fn try_get_manifest(&self, target: &ManifestRef) -> Result<Option<Manifest>> {
        let _ = target;
        todo!()
    }

    /// A blob as a stream, verified at its end.
    ///
    /// # Errors
    /// As [`Repository::get_blob`] and [`Layout::get_blob`].
    pub async fn get_blob(&self, blob: &Descriptor) -> Result<ByteStream> {
        let _ = blob;
        todo!()
    }

    /// A blob in memory, verified, of at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Store::get_blob`]; `TooLarge` or `Layout`.
    pub async fn get_blob_bytes(&self, blob: &Descriptor, limit: u64) -> Result<Bytes> {
        let _ = (blob, limit);
        todo!()
    }

    /// Every tag.
    ///
    /// # Errors
    /// As [`Repository::tags`] and [`Layout::tags`].
    pub async fn tags(&self) -> Result<Vec<String>> {
        todo!()
    }
}
