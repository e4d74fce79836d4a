//! Copies images between any two locations: content before manifests, children before parents, the tag last.
//!
//! Bytes are never rewritten, so every digest is kept.

mod plan;
mod platform;
mod remark;
mod write;

pub use platform::{parse_platform, select_platform};
pub use remark::Remark;

use crate::{Client, Error, Layout, Location, Manifest, Result, Store};
use oci::{Descriptor, Digest, ManifestKind, ManifestRef, Platform, Tag};
use plan::Plan;

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
    /// References that the destination's API did not list after they were pushed: they are listed under the digest tag.
    pub unlisted: Vec<Digest>,
    /// What was left out, or done in another way than asked.
    pub remarks: Vec<Remark>,
    /// Digest tags that were written: those that were copied, and those that make references findable.
    pub digest_tags: Vec<Tag>,
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
    let from = client.open(source).await?;
    let root = resolve_root(&from, source, options.platform.as_ref()).await?;
    let target = destination_target(source, destination, &root)?;
    check_writable(destination)?;
    let repository = destination
        .as_reference()
        .map(|reference| client.repository(reference))
        .transpose()?;
    let plan = Plan::make(&from, repository.as_ref(), root, options).await?;
    // A layout is made only now that there is something to put into it.
    let to = match repository {
        Some(repository) => Store::Repository(repository),
        None => Store::Layout(open_layout(destination)?),
    };
    let tag = match &target {
        ManifestRef::Tag(tag) => Some(tag.clone()),
        ManifestRef::Digest(_) => None,
    };
    write::write(client, &from, &to, plan, tag.as_ref(), options).await
}

/// The manifest to copy: what the location names, or the one of the wanted platform in it.
async fn resolve_root(from: &Store, source: &Location, platform: Option<&Platform>) -> Result<Manifest> {
    let target = match (source, from) {
        (Location::Registry(reference), _) => reference.target(),
        (Location::Layout(reference) | Location::Archive(reference), Store::Layout(layout)) => {
            ManifestRef::Digest(layout.resolve(reference)?.digest)
        }
        (Location::Layout(_) | Location::Archive(_), Store::Repository(_)) => {
            unreachable!("a path is opened as a layout")
        }
    };
    let mut root = from.get_manifest(&target).await?;
    let Some(wanted) = platform else { return Ok(root) };
    // An index may hold an index for the platform, but hardly a third.
    for _ in 0..plan::MAX_DEPTH {
        if !root.kind().is_some_and(ManifestKind::is_list) {
            break;
        }
        let view = root.view().map_err(|e| plan::bad(&root, e))?;
        let chosen = select_platform(&view, &root.digest, wanted)?.digest;
        root = from.get_manifest(&ManifestRef::Digest(chosen)).await?;
    }
    Ok(root)
}

/// The tag or digest to write at the destination.
fn destination_target(source: &Location, destination: &Location, root: &Manifest) -> Result<ManifestRef> {
    let written = |location: &Location| match location {
        Location::Registry(reference) => (reference.tag.clone(), reference.digest),
        Location::Layout(reference) | Location::Archive(reference) => match &reference.target {
            Some(ManifestRef::Tag(tag)) => (Some(tag.clone()), None),
            Some(ManifestRef::Digest(digest)) => (None, Some(*digest)),
            None => (None, None),
        },
    };
    let (tag, digest) = written(destination);
    if let Some(digest) = digest.filter(|digest| !digest.matches(&root.bytes)) {
        return Err(Error::Usage(format!(
            "the destination names {digest}, but the source is {}: a copy keeps its digest",
            root.digest
        )));
    }
    Ok(match (tag, digest, written(source)) {
        (Some(tag), _, _) => ManifestRef::Tag(tag),
        (None, Some(digest), _) => ManifestRef::Digest(digest),
        (None, None, (Some(tag), _)) => ManifestRef::Tag(tag),
        (None, None, (None, Some(_))) => ManifestRef::Digest(root.digest),
        (None, None, (None, None)) => ManifestRef::Tag(Tag::latest()),
    })
}

fn check_writable(destination: &Location) -> Result<()> {
    match destination {
        Location::Registry(_) | Location::Layout(_) => Ok(()),
        Location::Archive(reference) => Err(Error::Usage(format!(
            "{} is an archive, and archives are for reading; copy to a folder (oci:PATH:TAG) and pack it",
            reference.path.display()
        ))),
    }
}

fn open_layout(destination: &Location) -> Result<Layout> {
    match destination {
        Location::Layout(reference) | Location::Archive(reference) => Layout::open_or_create(&reference.path),
        Location::Registry(reference) => unreachable!("{reference} is no path"),
    }
}
