//! OCI image layouts: a folder to read and write, or a tar archive to read.

use crate::repository::{BlobOutcome, BlobSource, ByteStream, Manifest};
use crate::{Result, location::LayoutReference};
use bytes::Bytes;
use oci::{Descriptor, Digest, ManifestRef, Tag};
use std::path::Path;

/// An OCI image layout. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Layout {}

impl Layout {
    /// Opens a layout that exists.
    ///
    /// # Errors
    /// `Layout` if it is none, `LayoutVersion` if `imageLayoutVersion` is not 1.0.0.
    pub fn open(path: &Path) -> Result<Layout> {
        let _ = path;
        todo!()
    }

    /// Opens a layout, or makes an empty one where nothing (or an empty folder) is.
    ///
    /// # Errors
    /// As [`Layout::open`], and `Io`.
    pub fn open_or_create(path: &Path) -> Result<Layout> {
        let _ = path;
        todo!()
    }

    /// Opens a layout in a tar archive (gzip or not): it is unpacked to a temporary folder that goes with the last clone.
    ///
    /// # Errors
    /// `Layout` if it is none or an entry leaves the folder; `Io`.
    pub async fn open_archive(path: &Path) -> Result<Layout> {
        let _ = path;
        todo!()
    }

    /// Folder or archive.
    pub fn path(&self) -> &Path {
        todo!()
    }

    /// What a reference in this layout leads to: the tag's or digest's descriptor; without a target the only image, else `latest`.
    ///
    /// # Errors
    /// `NotInLayout`, naming the tags that there are.
    pub fn resolve(&self, reference: &LayoutReference) -> Result<Descriptor> {
        let _ = reference;
        todo!()
    }

    /// A manifest, verified; `None` if it is not there.
    ///
    /// # Errors
    /// `LayoutDigest`, `Layout`, `Io`.
    pub async fn try_get_manifest(&self, target: &ManifestRef) -> Result<Option<Manifest>> {
        let _ = target;
        todo!()
    }

    /// Every tag (`org.opencontainers.image.ref.name`) in the order of `index.json`.
    ///
    /// # Errors
    /// `Layout`, `Io`.
    pub fn tags(&self) -> Result<Vec<String>> {
        todo!()
    }

    /// The size of a blob, `None` if it is not there.
    ///
    /// # Errors
    /// `Io`.
    pub fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        let _ = digest;
        todo!()
    }

    /// A blob as a stream, verified at its end.
    ///
    /// # Errors
    /// `NotInLayout`, `Io`; in the stream `LayoutDigest`.
    pub async fn get_blob(&self, blob: &Descriptor) -> Result<ByteStream> {
        let _ = blob;
        todo!()
    }

    /// A blob in memory, verified.
    ///
    /// # Errors
    /// As [`Layout::get_blob`]; `Layout` if it is larger than `limit` bytes.
    pub async fn get_blob_bytes(&self, blob: &Descriptor, limit: u64) -> Result<Bytes> {
        let _ = (blob, limit);
        todo!()
    }

    /// Stores a blob: written aside, verified, then moved to its name.
    ///
    /// # Errors
    /// `LayoutDigest` if the bytes are not the descriptor's; `Io`.
    pub async fn put_blob(&self, blob: &Descriptor, source: &dyn BlobSource) -> Result<BlobOutcome> {
        let _ = (blob, source);
        todo!()
    }

    /// Stores a manifest and, with a tag, names it in `index.json` (whole, or not at all).
    ///
    /// # Errors
    /// `Layout`, `Io`.
    pub async fn put_manifest(&self, manifest: &Manifest, tag: Option<&Tag>) -> Result<()> {
        let _ = (manifest, tag);
        todo!()
    }

    /// The referrers of a subject among the manifests of this layout: those under its digest tag, and those that
    /// `index.json` or its indexes name and that refer to it.
    ///
    /// # Errors
    /// `Layout`, `LayoutDigest`, `Io`.
    pub async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let _ = subject;
        todo!()
    }
}
