//! Referrers: which manifests of a repository refer to a subject.
//!
//! A subject's list is read at its first need and then kept, in the order of digests. A page begins after a digest, so
//! whatever is added or removed between two pages, every referrer that was there all the time is in exactly one of them.
//!
//! What old clients list under a subject's digest tag is merged in, as long as the tag is there.

mod entries;
mod listed;

use super::{
    Error, Manifest, Registry, Result,
    lists::{Lists, Shared},
};
use crate::storage::Key;
use bytes::Bytes;
use entries::Source;
use listed::Listed;
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
    tagged: Mutex<Tagged>,
}

/// Subjects by their repositories.
struct Tagged {
    subjects: HashMap<RepositoryName, HashSet<Digest>>,
    len: usize,
    /// With so many, those whose lists are gone are forgotten.
    full: usize,
}

/// So many subjects are kept although their lists may be gone.
const TAGGED_AT_LEAST: usize = 1024;

impl Default for Tagged {
    fn default() -> Tagged {
        Tagged {
            subjects: HashMap::new(),
            len: 0,
            full: TAGGED_AT_LEAST,
        }
    }
}

impl Tagged {
    /// Forgets those that are not to be kept. That is done when they have doubled, so that each costs the same however many there are.
    fn retain(&mut self, is_kept: impl Fn(&RepositoryName, &Digest) -> bool) {
        self.subjects.retain(|name, subjects| {
            subjects.retain(|subject| is_kept(name, subject));
            subjects.shrink_to_fit();
            !subjects.is_empty()
        });
        self.subjects.shrink_to_fit();
        self.len = self.subjects.values().map(HashSet::len).sum();
        self.full = (2 * self.len).max(TAGGED_AT_LEAST);
    }
}

impl ReferrerLists {
    pub(super) fn new(bytes: usize) -> ReferrerLists {
        ReferrerLists {
            lists: Lists::new(bytes),
            tagged: Mutex::default(),
        }
    }

    fn tagged(&self) -> MutexGuard<'_, Tagged> {
        self.tagged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lists of a repository that were merged with what a digest tag lists.
    fn with_tag(&self, name: &RepositoryName) -> Vec<Shared<Listed>> {
        let mut tagged = self.tagged();
        let Tagged {
            subjects: all, len, ..
        } = &mut *tagged;
        let Some(subjects) = all.get_mut(name) else {
            return Vec::new();
        };
        let mut lists = Vec::new();
        *len -= subjects.len();
        subjects.retain(|subject| {
            let list = self.lists.peek(&(name.clone(), *subject));
            let is_kept = list.is_some();
            lists.extend(list);
            is_kept
        });
        *len += subjects.len();
        if subjects.is_empty() {
            all.remove(name);
        }
        lists
    }

    /// Notes that a list was merged with what a digest tag lists.
    fn note_tag(&self, name: &RepositoryName, subject: &Digest) {
        let mut tagged = self.tagged();
        if tagged.subjects.entry(name.clone()).or_default().insert(*subject) {
            tagged.len += 1;
        }
        if tagged.len >= tagged.full {
            tagged.retain(|name, subject| self.lists.has(&(name.clone(), *subject)));
        }
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
                list.insert(digest, source, artifact_type, &entry.json);
            }) {
                lists.lists.weigh(&key, weight);
            }
        }
        for list in lists.with_tag(name) {
            change(&list, |list| {
                if list.tag_was_sparse {
                    list.set_tag(None);
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
        let list = list.as_ref().filter(|list| list.tag() == tag)?;
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
        if list.tag() != tag {
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
                    &json,
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
                        &entry.json,
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
                            &json,
                        );
                    }
                    None => list.tag_was_sparse = true,
                }
            }
        }
        list.set_tag(tag);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Capabilities, Expect, Limits, ManifestPush, shares::Shares, weights::is_as_measured},
        storage::memory::Memory,
    };
    use std::sync::Arc;

    fn subject(n: usize) -> ListKey {
        let name = RepositoryName::parse("group/application").expect("a name");
        (name, Digest::sha256(&n.to_le_bytes()))
    }

    /// A descriptor as signatures have it.
    fn descriptor(n: usize) -> (Digest, String) {
        let digest = Digest::sha256(&(!n).to_le_bytes());
        let json = format!(
            "{{\"mediaType\":\"{}\",\"digest\":\"{digest}\",\"size\":{n},\"artifactType\":\"{}\"}}",
            oci::media_type::OCI_MANIFEST,
            type_name(n)
        );
        (digest, json)
    }

    fn type_name(n: usize) -> String {
        format!("application/vnd.example.signature.v{}+json", n % 3)
    }

    fn list_of(len: usize) -> Listed {
        let mut list = Listed::default();
        for n in 0..len {
            let (digest, json) = descriptor(n);
            list.insert(digest, Source::Manifest, Some(&type_name(n)), json.as_bytes());
        }
        list
    }

    fn query(last: Option<Digest>, artifact_type: Option<String>, max_count: Option<usize>) -> ReferrerQuery {
        let (name, subject) = subject(0);
        ReferrerQuery {
            name,
            subject,
            artifact_type,
            last,
            max_bytes: MAX_PAGE_BYTES,
            max_count,
        }
    }

    /// Every descriptor of a list in pages of so many, with how many pages that took.
    fn in_pages(
        list: &mut Listed,
        count: usize,
        artifact_type: Option<&str>,
        between: impl Fn(&mut Listed, &Digest),
    ) -> (String, usize) {
        let (mut all, mut pages, mut last) = (Vec::new(), 0, None);
        loop {
            let page = list.page(&query(last, artifact_type.map(str::to_owned), Some(count)));
            pages += 1;
            all.push(String::from_utf8(page.json.to_vec()).expect("a text"));
            last = page.next;
            match &last {
                Some(last) => between(list, last),
                None => return (all.join(","), pages),
            }
        }
    }

    fn sorted(len: usize, is_wanted: impl Fn(usize) -> bool) -> Vec<(Digest, String)> {
        let mut all: Vec<_> = (0..len).filter(|n| is_wanted(*n)).map(descriptor).collect();
        all.sort();
        all
    }

    fn joined(all: &[(Digest, String)]) -> String {
        let all: Vec<&str> = all.iter().map(|(_, json)| json.as_str()).collect();
        all.join(",")
    }

    #[test]
    fn a_list_of_any_length_is_told_whole_by_type_and_in_pages() {
        for len in [0, 1, 2, 11, 12, 13, 10_000] {
            let mut list = list_of(len);
            let all = sorted(len, |_| true);
            // The second is answered from the first where that is kept.
            for _ in 0..2 {
                let page = list.page(&query(None, None, None));
                assert_eq!((page.json, page.next), (joined(&all).into(), None), "{len}");
            }
            let of_type = sorted(len, |n| n % 3 == 1);
            let page = list.page(&query(None, Some(type_name(1)), None));
            assert_eq!((page.json, page.next), (joined(&of_type).into(), None), "{len}");
            let page = list.page(&query(None, Some("application/x-unknown".to_owned()), None));
            assert_eq!(page, ReferrerPage::default(), "{len}");
            let keep = |_: &mut Listed, _: &Digest| {};
            assert_eq!(
                in_pages(&mut list, 7, None, keep),
                (joined(&all), all.len().div_ceil(7).max(1))
            );
            let pages = of_type.len().div_ceil(7).max(1);
            assert_eq!(
                in_pages(&mut list, 7, Some(&type_name(1)), keep),
                (joined(&of_type), pages)
            );
        }
    }

    #[test]
    fn a_page_after_a_digest_that_is_gone_begins_where_it_was() {
        for len in [1, 11, 12, 10_000] {
            let mut list = list_of(len);
            let told = in_pages(&mut list, 3, None, |list, last| list.remove(last));
            assert_eq!(told, (joined(&sorted(len, |_| true)), len.div_ceil(3)), "{len}");
        }
    }

    #[test]
    fn a_page_that_is_kept_is_made_anew_after_a_change() {
        let mut list = list_of(20);
        for len in (15..20).rev() {
            assert!(!list.page(&query(None, None, None)).json.is_empty());
            list.remove(&descriptor(len).0);
            let page = list.page(&query(None, None, None));
            assert_eq!(page.json, joined(&sorted(len, |_| true)));
        }
    }

    #[test]
    fn subjects_whose_lists_are_gone_are_forgotten_however_many_have_digest_tags() {
        let lists = ReferrerLists::new(1 << 20);
        for n in 0..100_000 {
            let key = subject(n);
            lists.lists.entry(&key);
            lists.note_tag(&key.0, &key.1);
        }
        let tagged = lists.tagged();
        let (len, kept) = (tagged.len, lists.lists.weight());
        assert_eq!(len, tagged.subjects.values().map(HashSet::len).sum::<usize>());
        assert!(len < 20_000 && kept <= 1 << 20, "{len} of {kept} bytes");
        drop(tagged);
        let with_tag = lists.with_tag(&subject(0).0).len();
        assert_eq!(lists.tagged().len, with_tag);
        assert!(with_tag > 1_000, "{with_tag}");
    }

    /// A registry that keeps little, where each of these subjects has as many referrers as its number modulo 3.
    fn with_subjects(count: usize) -> Registry {
        let capabilities = Capabilities {
            referrers: true,
            complete_indexes: false,
            ..Capabilities::default()
        };
        let limits = Limits {
            cache_bytes: Limits::MIN_CACHE_BYTES,
            ..Limits::default()
        };
        let registry = Registry::open(Arc::new(Memory::new()), capabilities, limits).expect("a registry");
        for n in 0..count {
            let (name, subject) = subject(n);
            for part in 0..n % 3 {
                let body = format!(
                    r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[],"subject":{{"mediaType":"{INDEX}","digest":"{subject}","size":2}},"annotations":{{"part":"{part}"}}}}"#,
                    INDEX = oci::media_type::OCI_INDEX
                );
                let push = ManifestPush {
                    name: name.clone(),
                    reference: Digest::sha256(body.as_bytes()).into(),
                    tags: Vec::new(),
                    content_type: None,
                    body: body.into(),
                    expect: Expect::Anything,
                };
                registry.push_manifest(push).expect("it is taken");
            }
        }
        registry
    }

    #[test]
    fn lists_of_many_subjects_are_told_right_and_never_weigh_more_than_their_share() {
        let registry = with_subjects(3_000);
        let share = Shares::of(Limits::MIN_CACHE_BYTES).referrer_lists;
        let mut most = 0;
        for round in 0..2 {
            for n in 0..3_000 {
                let (name, subject) = subject(n);
                let asked = ReferrerQuery {
                    name,
                    subject,
                    ..query(None, None, None)
                };
                let page = registry.referrers(&asked).expect("a page");
                let told = String::from_utf8_lossy(&page.json).matches("\"digest\"").count();
                assert_eq!(told, n % 3, "{n} in round {round}");
                let weight = registry.0.referrer_lists.lists.weight();
                assert!(weight <= share, "{weight} at {n}");
                most = most.max(weight);
            }
        }
        assert!(most > share * 3 / 4, "the share is used: {most}");
    }

    #[test]
    #[ignore = "a measurement, see `weights`"]
    fn lists_of_referrers_weigh_what_is_measured() {
        for (count, len, is_tagged) in [
            (60_000, 0, false),
            (60_000, 1, false),
            (100_000, 1, false),
            (60_000, 1, true),
            (30_000, 3, false),
            (10_000, 11, false),
            (10_000, 12, false),
            (1_000, 100, false),
            (5, 10_000, false),
            (1, 100_000, false),
        ] {
            let what = format!(
                "{count} lists of {len} referrers{}",
                if is_tagged { ", tagged" } else { "" }
            );
            is_as_measured(&what, || {
                let lists = ReferrerLists::new(usize::MAX);
                for n in 0..count {
                    let key = subject(n);
                    let mut list = list_of(len);
                    if is_tagged {
                        list.set_tag(Some(key.1));
                        lists.note_tag(&key.0, &key.1);
                    }
                    list.page(&query(None, None, None));
                    let weight = list.weight();
                    *lists.lists.entry(&key).write().expect("a list") = Some(list);
                    lists.lists.weigh(&key, weight);
                }
                let weight = lists.lists.weight();
                (lists, weight)
            });
        }
    }
}
