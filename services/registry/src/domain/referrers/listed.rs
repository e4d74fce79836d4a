//! The list of one subject's referrers, and its pages.

use super::{ReferrerPage, ReferrerQuery};
use bytes::Bytes;
use oci::Digest;
use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What an entry costs in memory beside its descriptor, in bytes, about.
const ENTRY_BYTES: usize = 160;

/// Why a manifest is listed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The manifest itself says that it refers to the subject.
    Manifest,
    /// The subject's digest tag lists it.
    Tag,
}

struct Entry {
    source: Source,
    /// Index into `Listed::types`; `None` without a type.
    artifact_type: Option<u32>,
    json: Bytes,
}

/// How large a page may be, in bytes and in descriptors.
type Extent = (usize, Option<usize>);

/// The referrers of one subject.
#[derive(Default)]
pub(super) struct Listed {
    entries: BTreeMap<Digest, Entry>,
    types: Vec<Box<str>>,
    bytes: usize,
    /// The first page of all types, as it was last asked for: joining thousands of descriptors costs as much as sending them.
    first: Mutex<Option<(Extent, ReferrerPage)>>,
    /// Where the digest tag led when its entries were merged.
    pub(super) tag: Option<Digest>,
    /// Whether the digest tag listed manifests that were not there.
    pub(super) tag_was_sparse: bool,
}

impl Listed {
    /// Bytes that it takes, about, with its first page, which most that ask are given.
    pub(super) fn weight(&self) -> usize {
        2 * self.bytes - self.entries.len() * ENTRY_BYTES
    }

    /// The page that is kept.
    fn first(&self) -> MutexGuard<'_, Option<(Extent, ReferrerPage)>> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this manifest is listed.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.entries.contains_key(digest)
    }

    /// Those that are listed because of the digest tag alone.
    pub(super) fn of_tag(&self) -> Vec<Digest> {
        let of_tag = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.source == Source::Tag);
        of_tag.map(|(digest, _)| *digest).collect()
    }

    /// Lists a manifest, with its descriptor as JSON.
    pub(super) fn insert(
        &mut self,
        digest: Digest,
        source: Source,
        artifact_type: Option<&str>,
        json: Bytes,
    ) {
        *self.first() = None;
        let artifact_type = artifact_type.map(|text| self.type_number(text));
        self.bytes += json.len() + ENTRY_BYTES;
        let entry = Entry {
            source,
            artifact_type,
            json,
        };
        if let Some(replaced) = self.entries.insert(digest, entry) {
            self.bytes -= replaced.json.len() + ENTRY_BYTES;
        }
    }

    /// Lists a manifest no more.
    pub(super) fn remove(&mut self, digest: &Digest) {
        *self.first() = None;
        if let Some(removed) = self.entries.remove(digest) {
            self.bytes -= removed.json.len() + ENTRY_BYTES;
            // The digest tag lists it still: should it come back, it is a referrer again.
            self.tag_was_sparse |= removed.source == Source::Tag;
        }
    }

    /// A subject has few types, so that looking through them costs less than a table.
    fn type_number(&mut self, text: &str) -> u32 {
        let found = self.types.iter().position(|known| &**known == text);
        let number = found.unwrap_or_else(|| {
            self.types.push(text.into());
            self.types.len() - 1
        });
        u32::try_from(number).unwrap_or(u32::MAX)
    }

    /// A part of the list.
    pub(super) fn page(&self, query: &ReferrerQuery) -> ReferrerPage {
        if query.artifact_type.is_some() || query.last.is_some() {
            return self.make_page(query);
        }
        let extent = (query.max_bytes, query.max_count);
        if let Some((of, page)) = &*self.first()
            && *of == extent
        {
            return page.clone();
        }
        let page = self.make_page(query);
        *self.first() = Some((extent, page.clone()));
        page
    }

    fn make_page(&self, query: &ReferrerQuery) -> ReferrerPage {
        let wanted = match &query.artifact_type {
            None => None,
            Some(text) => match self.types.iter().position(|known| **known == **text) {
                None => return ReferrerPage::default(),
                number => Some(number.and_then(|n| u32::try_from(n).ok())),
            },
        };
        let from = query.last.map_or(Bound::Unbounded, Bound::Excluded);
        let mut json = Vec::with_capacity(match wanted {
            None if query.max_count.is_none() => {
                let all = self.bytes - self.entries.len() * (ENTRY_BYTES - 1);
                all.min(query.max_bytes)
            }
            _ => 0,
        });
        let (mut last, mut count, mut next) = (None, 0, None);
        for (digest, entry) in self.entries.range((from, Bound::Unbounded)) {
            if wanted.is_some_and(|wanted| entry.artifact_type != wanted) {
                continue;
            }
            let is_full = json.len() + entry.json.len() + 1 > query.max_bytes
                || query.max_count.is_some_and(|max| count >= max);
            if is_full && last.is_some() {
                next = last;
                break;
            }
            if count > 0 {
                json.push(b',');
            }
            json.extend_from_slice(&entry.json);
            last = Some(*digest);
            count += 1;
        }
        ReferrerPage {
            json: json.into(),
            next,
        }
    }
}
