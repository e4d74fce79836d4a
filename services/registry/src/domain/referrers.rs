//! Referrers: which manifests of a repository refer to a subject.
//!
//! A subject's list is read at its first need and then kept, in the order of digests. A page begins after a digest, so
//! whatever is added or removed between two pages, every referrer that was there all the time is in exactly one of them.
//!
//! What old clients list under a subject's digest tag is merged in, as long as the tag is there.

mod listed;

use super::{
    Error, Manifest, Registry, Result,
    lists::{Lists, Shared},
};
use crate::storage::Key;
use bytes::Bytes;
use listed::{Listed, Source};
use oci::{Descriptor, Digest, ManifestView, RepositoryName, digest_tag};
use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The most bytes of descriptors in an answer, so that a client that takes manifests of 4 MiB can read the whole of it. What
/// stands around them takes less than 512 bytes.
///
/// Source: OCI distribution-spec 1.1, "Listing Referrers": a list that does not fit one manifest has pages.
pub const MAX_PAGE_BYTES: usize = oci::MAX_MANIFEST_BYTES - 512;

/// A question for referrers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferrerQuery {
    /// The repository.
    pub name: RepositoryName,
    /// The manifest that is referred to.
    pub subject: Digest,
    /// Only those of this type.
    pub artifact_type: Option<String>,
    /// Only those after this digest.
    pub last: Option<Digest>,
    /// The most bytes of descriptors in the answer.
    pub max_bytes: usize,
    /// The most descriptors in the answer.
    pub max_count: Option<usize>,
}

/// A part of the list of referrers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReferrerPage {
    /// The descriptors, as the inside of a JSON array: separated by commas, without brackets.
    pub json: Bytes,
    /// The last digest, if more follow it.
    pub next: Option<Digest>,
}

/// A place among the referrers of a subject.
pub(super) struct ReferrerEntry {
    pub(super) subject: Digest,
    pub(super) json: Bytes,
    pub(super) artifact_type: Option<String>,
}

/// The repository and the subject of a list.
type ListKey = (RepositoryName, Digest);

/// The lists that were asked for.
pub(super) struct ReferrerLists {
    lists: Lists<ListKey, Listed>,
    /// The subjects whose lists were merged with what a digest tag lists, so that any manifest may matter to them. Every other
    /// list is about manifests that name its subject.
    tagged: Mutex<HashMap<RepositoryName, HashSet<Digest>>>,
}

impl ReferrerLists {
    pub(super) fn new(bytes: usize) -> ReferrerLists {
        ReferrerLists {
            lists: Lists::new(bytes),
            tagged: Mutex::default(),
        }
    }

    fn tagged(&self) -> MutexGuard<'_, HashMap<RepositoryName, HashSet<Digest>>> {
        self.tagged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lists of a repository that were merged with what a digest tag lists.
    fn with_tag(&self, name: &RepositoryName) -> Vec<Shared<Listed>> {
        let mut tagged = self.tagged();
        let Some(subjects) = tagged.get_mut(name) else {
            return Vec::new();
        };
        let mut lists = Vec::new();
        subjects.retain(|subject| {
            let list = self.lists.peek(&(name.clone(), *subject));
            let is_kept = list.is_some();
            lists.extend(list);
            is_kept
        });
        if subjects.is_empty() {
            tagged.remove(name);
        }
        lists
    }

    /// Notes that a list was merged with what a digest tag lists.
    fn note_tag(&self, name: &RepositoryName, subject: &Digest) {
        self.tagged().entry(name.clone()).or_default().insert(*subject);
    }

    /// Forgets every list of a repository.
    pub(super) fn drop_lists(&self, name: &RepositoryName) {
        self.lists.retain(|(in_name, _)| in_name != name);
    }
}

/// Changes a list, if it is loaded; what it weighs then.
fn change(list: &Shared<Listed>, with: impl FnOnce(&mut Listed)) -> Option<usize> {
    let mut list = list.write().unwrap_or_else(PoisonError::into_inner);
    let list = list.as_mut()?;
    with(list);
    Some(list.weight())
}

impl Registry {
    /// The places that a manifest gets among the referrers of its subjects; none where referrers are off.
    pub(super) fn referrer_entries(&self, manifest: &Manifest, view: &ManifestView) -> Vec<ReferrerEntry> {
        if !self.0.capabilities.referrers {
            return Vec::new();
        }
        let subjects = view.subjects();
        if subjects.is_empty() {
            return Vec::new();
        }
        let (descriptor, json) = fitting(listed_descriptor(manifest, view));
        subjects
            .iter()
            .map(|subject| ReferrerEntry {
                subject: subject.digest,
                json: json.clone(),
                artifact_type: descriptor.artifact_type.clone(),
            })
            .collect()
    }

    /// Tells of a manifest that was stored with these places among referrers.
    pub(super) fn remember_referrer(
        &self,
        name: &RepositoryName,
        digest: Digest,
        entries: Vec<ReferrerEntry>,
    ) {
        if !self.0.capabilities.referrers {
            return;
        }
        let lists = &self.0.referrer_lists;
        for entry in entries {
            let key = (name.clone(), entry.subject);
            let Some(list) = lists.lists.known(&key) else {
                continue;
            };
            let (source, artifact_type) = (Source::Manifest, entry.artifact_type.as_deref());
            if let Some(weight) = change(&list, |list| {
                list.insert(digest, source, artifact_type, entry.json);
            }) {
                lists.lists.weigh(&key, weight);
            }
        }
        for list in lists.with_tag(name) {
            change(&list, |list| {
                if list.tag_was_sparse {
                    list.tag = None;
                }
            });
        }
    }

    /// Tells of a manifest that was removed, and of its subjects; `None` if it could not be read.
    pub(super) fn forget_referrer(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        subjects: Option<&[Digest]>,
    ) {
        let lists = &self.0.referrer_lists;
        let Some(subjects) = subjects else {
            return lists.drop_lists(name);
        };
        let named = subjects
            .iter()
            .filter_map(|subject| lists.lists.peek(&(name.clone(), *subject)));
        for list in named.chain(lists.with_tag(name)) {
            change(&list, |list| list.remove(digest));
        }
    }

    /// A page of the referrers of a subject, if all that it takes is in memory.
    pub fn known_referrers(&self, query: &ReferrerQuery) -> Option<ReferrerPage> {
        let tag_key = (query.name.clone(), digest_tag::of(&query.subject));
        let tag = self.0.tags.get(&tag_key)?;
        let key = (query.name.clone(), query.subject);
        let list = self.0.referrer_lists.lists.known(&key)?;
        let list = list.try_read().ok()?;
        let list = list.as_ref().filter(|list| list.tag == tag)?;
        Some(list.page(query))
    }

    /// A page of the referrers of a subject, in the order of their digests. None at all is no error.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn referrers(&self, query: &ReferrerQuery) -> Result<ReferrerPage> {
        if let Some(page) = self.known_referrers(query) {
            return Ok(page);
        }
        let (name, subject) = (&query.name, &query.subject);
        let tag = self.resolve(name, &digest_tag::of(subject))?;
        let key = (name.clone(), *subject);
        let shared = self.0.referrer_lists.lists.entry(&key);
        // Loaded under the lock: whoever adds or removes one meanwhile has changed storage before, or waits to tell of it.
        let mut guard = shared.write().unwrap_or_else(PoisonError::into_inner);
        let list = match &mut *guard {
            Some(list) => list,
            none => none.insert(self.load_referrers(name, subject)?),
        };
        if list.tag != tag {
            self.0.referrer_lists.note_tag(name, subject);
            self.merge_tag(name, list, tag)?;
        }
        let (page, weight) = (list.page(query), list.weight());
        drop(guard);
        self.0.referrer_lists.lists.weigh(&key, weight);
        Ok(page)
    }

    fn load_referrers(&self, name: &RepositoryName, subject: &Digest) -> Result<Listed> {
        let mut list = Listed::default();
        if !self.has_index()? {
            self.read_referrers(name, subject, &mut list)?;
            return Ok(list);
        }
        for digest in self.storage().referrers(name, subject)? {
            let Some(json) = self
                .storage()
                .record(&Key::Referrer(name.clone(), *subject, digest))?
            else {
                continue;
            };
            // A push that did not end, or a delete, may have left the place of a manifest that is not there.
            if self.has_manifest(name, &digest)?
                && let Ok(descriptor) = serde_json::from_slice::<Descriptor>(&json)
            {
                list.insert(
                    digest,
                    Source::Manifest,
                    descriptor.artifact_type.as_deref(),
                    // Not a part of what storage has read with it.
                    Bytes::copy_from_slice(&json),
                );
            }
        }
        Ok(list)
    }

    /// Finds the referrers of a subject in the manifests themselves: the store has no index of them, and this registry may not
    /// write one.
    fn read_referrers(&self, name: &RepositoryName, subject: &Digest, list: &mut Listed) -> Result<()> {
        for digest in self.storage().manifests(name)? {
            let manifest = match self.read_manifest(name, &digest) {
                Ok(Some(manifest)) => manifest,
                Ok(None) | Err(Error::Damaged { .. }) => continue,
                Err(error) => return Err(error),
            };
            let Ok(view) = manifest.view() else { continue };
            for entry in self.referrer_entries(&manifest, &view) {
                if entry.subject == *subject {
                    list.insert(
                        digest,
                        Source::Manifest,
                        entry.artifact_type.as_deref(),
                        entry.json,
                    );
                }
            }
        }
        Ok(())
    }

    /// Puts what the digest tag lists now in the place of what it listed before.
    fn merge_tag(&self, name: &RepositoryName, list: &mut Listed, tag: Option<Digest>) -> Result<()> {
        let before = list.of_tag();
        before.iter().for_each(|digest| list.remove(digest));
        list.tag_was_sparse = false;
        if let Some(index) = tag {
            for told in self.tag_entries(name, &index)? {
                if list.has(&told.digest) {
                    continue;
                }
                match self.manifest_by_digest(name, &told.digest)? {
                    Some(manifest) => {
                        let (descriptor, json) = fitting(described_by_tag(&manifest, told));
                        list.insert(
                            manifest.digest,
                            Source::Tag,
                            descriptor.artifact_type.as_deref(),
                            json,
                        );
                    }
                    None => list.tag_was_sparse = true,
                }
            }
        }
        list.tag = tag;
        Ok(())
    }

    /// What the index that a digest tag leads to lists; nothing if it is no index.
    pub(super) fn tag_entries(&self, name: &RepositoryName, index: &Digest) -> Result<Vec<Descriptor>> {
        let Some(manifest) = self.manifest_by_digest(name, index)? else {
            return Ok(Vec::new());
        };
        Ok(match manifest.view() {
            Ok(view) if view.kind.is_list() => view.manifests,
            Ok(_) | Err(_) => Vec::new(),
        })
    }
}

fn listed_descriptor(manifest: &Manifest, view: &ManifestView) -> Descriptor {
    let media_type = String::from_utf8_lossy(&manifest.media_type);
    view.referrer_descriptor(&media_type, manifest.digest, manifest.body.len() as u64)
}

/// What to list for a manifest that does not itself name the subject: what it says of itself, and where it says nothing,
/// what the digest tag's writer said of it.
fn described_by_tag(manifest: &Manifest, told: Descriptor) -> Descriptor {
    let Ok(view) = manifest.view() else { return told };
    let mut descriptor = listed_descriptor(manifest, &view);
    if view.artifact_type.is_none() && told.artifact_type.as_ref().is_some_and(|t| !t.is_empty()) {
        descriptor.artifact_type = told.artifact_type;
    }
    if let Some(annotations) = told.annotations {
        let own = descriptor.annotations.get_or_insert_default();
        for (key, value) in annotations {
            own.entry(key).or_insert(value);
        }
    }
    descriptor
}

/// A descriptor as it can be listed, and its JSON. Where annotations of megabytes would not fit a page, it is listed without
/// them, and without a type of megabytes too: better than not at all, and the manifest has both.
fn fitting(mut descriptor: Descriptor) -> (Descriptor, Bytes) {
    let mut json = to_json(&descriptor);
    if json.len() > MAX_PAGE_BYTES {
        descriptor.annotations = None;
        json = to_json(&descriptor);
    }
    if json.len() > MAX_PAGE_BYTES {
        descriptor.artifact_type = None;
        json = to_json(&descriptor);
    }
    (descriptor, json)
}

/// A descriptor has only texts, numbers and maps with text keys, which always have JSON.
fn to_json(descriptor: &Descriptor) -> Bytes {
    serde_json::to_vec(descriptor)
        .map(Bytes::from)
        .unwrap_or_default()
}
