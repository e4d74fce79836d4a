//! The digest tag: the index of references on a registry without the referrers API, changed without losing entries.
//!
//! Where the registry honours conditional requests, the tag moves only if it is still what was read. Elsewhere a written
//! entry can be lost to a writer that had read before: the tag is read back until it stayed unchanged, with the entry in it,
//! for longer than any writer may take between its read and its write; a lost entry is merged and written again.
//! Both are bounded and end in `Conflict`.

use crate::{Repository, Result};
use oci::{Descriptor, Digest, Tag};

/// The index under a digest tag, as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct TagIndex {
    /// The tag.
    pub tag: Tag,
    /// The index's own digest.
    pub digest: Digest,
    /// The whole document, every field kept in its order.
    pub document: serde_json::Value,
    /// Its entries that can be read, in their order.
    pub entries: Vec<Descriptor>,
    /// The entries that cannot be read as descriptors: position and reason. They stay as they are.
    pub unreadable: Vec<(usize, String)>,
}

/// How a change of a digest tag ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// The tag.
    pub tag: Tag,
    /// Whether anything had to be written.
    pub changed: bool,
    /// Whether the tag was deleted because nothing was left in it.
    pub pruned: bool,
    /// How many PUTs it took, the refused ones included; 0 if nothing had to be written.
    pub attempts: u32,
    /// Whether the registry honours conditional requests (else the tag was read back until it held).
    pub conditional: bool,
}

/// What to change in a digest tag's index.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Add this entry, if none has its digest.
    Append(Descriptor),
    /// Take out every entry with this digest.
    Remove(Digest),
    /// Put this entry in the place of the (first) one with its digest and drop its duplicates; add it if there is none. For repairs.
    Replace(Descriptor),
}

/// Reads the index under the digest tag of a subject; `None` if there is no such tag.
///
/// # Errors
/// `NotADigestTag` if the tag holds something else than an image index.
pub async fn read(repository: &Repository, subject: &Digest) -> Result<Option<TagIndex>> {
    let _ = (repository, subject);
    todo!()
}

/// Applies changes to the digest tag of a subject; all of them or none. Entries and fields that are not named stay as they are.
///
/// With `prune`, a tag whose index has become empty is deleted (or left empty where the registry cannot delete).
///
/// # Errors
/// `NotADigestTag`; `Conflict` if other writers won too often, telling what was and was not written; every failure of a request.
pub async fn change(
    repository: &Repository,
    subject: &Digest,
    changes: &[Change],
    prune: bool,
) -> Result<Written> {
    let _ = (repository, subject, changes, prune);
    todo!()
}

/// What [`change`] would make of a document (`None`: an absent tag); pure, for dry runs. The result equals the input if
/// nothing changes.
pub fn preview(document: Option<&serde_json::Value>, changes: &[Change]) -> serde_json::Value {
    let _ = (document, changes);
    todo!()
}

/// The tags of the older form, `sha256-<hex>.<suffix>`, found by listing all tags of the repository.
///
/// # Errors
/// As [`Repository::tags`]; a repository without tags has none.
pub async fn prefixed(repository: &Repository, subject: &Digest) -> Result<Vec<Tag>> {
    let _ = (repository, subject);
    todo!()
}
