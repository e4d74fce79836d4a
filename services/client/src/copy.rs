//! Copies images between any two locations: content before manifests, children before parents, the tag last.
//!
//! Bytes are never rewritten, so every digest is kept.

use crate::{Client, Location, Result};
use oci::{Descriptor, Platform, Tag};

/// What to copy beside the image itself.
#[derive(Clone, Debug, Default)]
pub struct CopyOptions {
    /// Only this platform's image of an index; `None`: the whole index.
    pub platform: Option<Platform>,
    /// How many blobs move at once; 0 means the default, 4.
    pub jobs: usize,
    /// The references too, and theirs, found by API or digest tag and written so that the destination lists them.
    pub referrers: bool,
    /// The tags of the old form that belong to the copied manifests.
    pub digest_tags: bool,
}

/// What a copy did.
#[derive(Clone, Debug)]
pub struct Copied {
    /// What the destination's tag leads to now.
    pub root: Descriptor,
    /// Manifests that were written.
    pub manifests: u64,
    /// Blobs whose bytes were sent.
    pub blobs_copied: u64,
    /// Blobs that were mounted.
    pub blobs_mounted: u64,
    /// Blobs that were there already.
    pub blobs_present: u64,
    /// Bytes of the copied blobs.
    pub bytes: u64,
    /// The references that were copied, of all levels.
    pub referrers: Vec<Descriptor>,
    /// Digest tags that were written: those that were copied, and those that make references findable.
    pub digest_tags: Vec<Tag>,
}

/// Reads `os/arch[/variant]`.
///
/// # Errors
/// `Usage` with the text.
pub fn parse_platform(text: &str) -> Result<Platform> {
    let _ = text;
    todo!()
}

/// Finds the entry of an index for a platform; without a variant any variant will do, the first one wins.
///
/// # Errors
/// `NoPlatform`, naming the platforms that there are.
pub fn select_platform<'a>(
    index: &'a oci::ManifestView,
    digest: &oci::Digest,
    wanted: &Platform,
) -> Result<&'a Descriptor> {
    let _ = (index, digest, wanted);
    todo!()
}

/// Copies an image.
///
/// The destination's tag is its written tag, else the source's, else none (a digest alone).
///
/// # Errors
/// Every failure of either side. What was copied before stays at the destination, but no tag leads to anything incomplete.
pub async fn copy(
    client: &Client,
    source: &Location,
    destination: &Location,
    options: &CopyOptions,
) -> Result<Copied> {
    let _ = (client, source, destination, options);
    todo!()
}
