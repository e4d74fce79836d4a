//! The referrer index of a store that was written without one.
//!
//! A note in the store says that its index is complete. A registry without referrers takes the note away when it opens the
//! store, because it will not keep the index; the next one with referrers then reads every manifest once, and puts the note
//! back. So going back and forth loses nothing, and a start with the note costs nothing.
//!
//! Source: Proposal E, "Registry Upgrade Expectations"; OCI distribution-spec 1.1, "Enabling the Referrers API".

use super::{Error, Registry, Result};
use crate::storage::{Change, Key};
use bytes::Bytes;
use oci::{Digest, RepositoryName, digest_tag};
use std::collections::BTreeSet;

/// The note that tells that the referrer index is complete, and in which form.
const INDEX_NOTE: Key = Key::Note("referrer-index");
/// The form of the index that this code writes. Another form is written anew.
const INDEX_FORM: &[u8] = b"1";

/// Changes that are committed together while a store is indexed.
const CHANGES_AT_ONCE: usize = 1000;

/// What indexing a store came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Indexed {
    /// Manifests that were read.
    pub manifests: usize,
    /// Those of them that refer to a subject by `refers` or `subject`, and are listed by that.
    pub by_field: usize,
    /// Digest tags that were found.
    pub digest_tags: usize,
    /// Manifests that they list and that are there; they are listed as long as the tag is.
    pub by_digest_tag: usize,
    /// Entries of an older index whose manifest is gone.
    pub stale: usize,
    /// Manifests that could not be read because they are damaged.
    pub damaged: usize,
}

impl Registry {
    /// Brings the referrer index up to date if need be; what that came to, or `None` if there was nothing to do.
    pub(super) fn upgrade(&self) -> Result<Option<Indexed>> {
        if !self.0.capabilities.referrers {
            if self.storage().record(&INDEX_NOTE)?.is_some() && !self.0.capabilities.read_only {
                self.storage().commit(&[Change::Remove(INDEX_NOTE)])?;
            }
            return Ok(None);
        }
        if self.0.capabilities.read_only || self.has_index()? {
            return Ok(None);
        }
        let mut indexed = Indexed::default();
        for name in self.storage().repositories()? {
            self.index_repository(&name, &mut indexed)?;
        }
        self.storage()
            .commit(&[Change::Put(INDEX_NOTE, Bytes::from_static(INDEX_FORM))])?;
        Ok(Some(indexed))
    }

    /// Whether the store has a complete index. One that is read-only may be without it for as long as it is open.
    pub(super) fn has_index(&self) -> Result<bool> {
        let note = self.storage().record(&INDEX_NOTE)?;
        Ok(note.as_deref() == Some(INDEX_FORM))
    }

    fn index_repository(&self, name: &RepositoryName, indexed: &mut Indexed) -> Result<()> {
        let mut expected = BTreeSet::new();
        let mut changes = Vec::new();
        for digest in self.storage().manifests(name)? {
            indexed.manifests += 1;
            let manifest = match self.read_manifest(name, &digest) {
                Ok(Some(manifest)) => manifest,
                Ok(None) => continue,
                Err(Error::Damaged { .. }) => {
                    indexed.damaged += 1;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let Ok(view) = manifest.view() else { continue };
            let entries = self.referrer_entries(&manifest, &view);
            indexed.by_field += usize::from(!entries.is_empty());
            for entry in entries {
                expected.insert((entry.subject, digest));
                changes.push(Change::Put(
                    Key::Referrer(name.clone(), entry.subject, digest),
                    entry.json,
                ));
            }
            if changes.len() >= CHANGES_AT_ONCE {
                self.storage().commit(&std::mem::take(&mut changes))?;
            }
        }
        for (subject, digest) in self.stored_referrers(name)? {
            if !expected.contains(&(subject, digest)) {
                indexed.stale += 1;
                changes.push(Change::Remove(Key::Referrer(name.clone(), subject, digest)));
            }
        }
        if !changes.is_empty() {
            self.storage().commit(&changes)?;
        }
        self.count_digest_tags(name, indexed)
    }

    /// Every place among referrers that the store has for a repository: subject and referrer.
    pub(super) fn stored_referrers(&self, name: &RepositoryName) -> Result<Vec<(Digest, Digest)>> {
        let mut places = Vec::new();
        for subject in self.storage().subjects(name)? {
            let referrers = self.storage().referrers(name, &subject)?;
            places.extend(referrers.into_iter().map(|digest| (subject, digest)));
        }
        Ok(places)
    }

    /// Digest tags need no index of their own: a list of referrers reads the tag. They are counted for the report.
    fn count_digest_tags(&self, name: &RepositoryName, indexed: &mut Indexed) -> Result<()> {
        for tag in self.storage().tags(name)? {
            let is_digest_tag = digest_tag::parse(tag.as_str()).is_some_and(|parsed| parsed.suffix.is_none());
            let leads_to = if is_digest_tag {
                self.resolve(name, &tag)?
            } else {
                None
            };
            let entries = match leads_to {
                Some(index) => match self.tag_entries(name, &index) {
                    Err(Error::Damaged { .. }) => Vec::new(),
                    entries => entries?,
                },
                None => continue,
            };
            indexed.digest_tags += 1;
            for entry in entries {
                indexed.by_digest_tag += usize::from(self.has_manifest(name, &entry.digest)?);
            }
        }
        Ok(())
    }
}
