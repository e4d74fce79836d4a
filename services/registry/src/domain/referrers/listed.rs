//! The list of one subject's referrers, and its pages.

use super::{
    MAX_PAGE_BYTES, ReferrerPage, ReferrerQuery,
    entries::{Entries, Source},
};
use oci::Digest;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a digest tag that a list was merged with costs, in bytes, about: with the list's place among those of its repository that
/// were.
const TAG_BYTES: usize = 384;

/// How large a page may be, in bytes and in descriptors.
type Extent = (usize, Option<usize>);

/// The referrers of one subject.
#[derive(Default)]
pub(super) struct Listed {
    entries: Entries,
    /// The first page of all types of a list that is long, as it was last asked for: joining thousands of descriptors costs as much
    /// as sending them. Those of a short list are joined anew each time.
    first: Mutex<Option<Box<(Extent, ReferrerPage)>>>,
    tag: Option<Box<Digest>>,
    /// Whether the digest tag listed manifests that were not there.
    pub(super) tag_was_sparse: bool,
}

impl Listed {
    /// Bytes that it takes, about, with its first page, which most that ask are given.
    pub(super) fn weight(&self) -> usize {
        let first = match self.entries.are_many() {
            true => self.entries.json_bytes().min(MAX_PAGE_BYTES),
            false => 0,
        };
        let tag = match &self.tag {
            Some(_) => TAG_BYTES,
            None => 0,
        };
        self.entries.weight() + first + tag
    }

    /// The page that is kept.
    fn first(&self) -> MutexGuard<'_, Option<Box<(Extent, ReferrerPage)>>> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the digest tag led when its entries were merged.
    pub(super) fn tag(&self) -> Option<Digest> {
        self.tag.as_deref().copied()
    }

    /// Notes where the digest tag led.
    pub(super) fn set_tag(&mut self, tag: Option<Digest>) {
        self.tag = tag.map(Box::new);
    }

    /// Whether this manifest is listed.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.entries.has(digest)
    }

    /// Those that are listed because of the digest tag alone.
    pub(super) fn of_tag(&self) -> Vec<Digest> {
        let of_tag = self
            .entries
            .after(None)
            .filter(|(_, entry)| entry.source == Source::Tag);
        of_tag.map(|(digest, _)| *digest).collect()
    }

    /// Lists a manifest, with its descriptor as JSON.
    pub(super) fn insert(
        &mut self,
        digest: Digest,
        source: Source,
        artifact_type: Option<&str>,
        json: &[u8],
    ) {
        *self.first() = None;
        self.entries.insert(digest, source, artifact_type, json);
    }

    /// Lists a manifest no more.
    pub(super) fn remove(&mut self, digest: &Digest) {
        *self.first() = None;
        if let Some(removed) = self.entries.remove(digest) {
            // The digest tag lists it still: should it come back, it is a referrer again.
            self.tag_was_sparse |= removed.source == Source::Tag;
        }
    }

    /// A part of the list.
    pub(super) fn page(&self, query: &ReferrerQuery) -> ReferrerPage {
        if query.artifact_type.is_some() || query.last.is_some() || !self.entries.are_many() {
            let (json, next) = self.make_page(query);
            return ReferrerPage {
                json: json.into(),
                next,
            };
        }
        let extent = (query.max_bytes, query.max_count);
        if let Some(kept) = &*self.first()
            && kept.0 == extent
        {
            return kept.1.clone();
        }
        let (mut json, next) = self.make_page(query);
        json.shrink_to_fit();
        let page = ReferrerPage {
            json: json.into(),
            next,
        };
        *self.first() = Some(Box::new((extent, page.clone())));
        page
    }

    fn make_page(&self, query: &ReferrerQuery) -> (Vec<u8>, Option<Digest>) {
        let wanted = match &query.artifact_type {
            None => None,
            Some(name) => match self.entries.known_type(name) {
                None => return (Vec::new(), None),
                known => known,
            },
        };
        let mut json = Vec::with_capacity(match wanted {
            None if query.max_count.is_none() => {
                let all = self.entries.json_bytes() + self.entries.len();
                all.min(query.max_bytes)
            }
            _ => 0,
        });
        let (mut last, mut count, mut next) = (None, 0, None);
        for (digest, entry) in self.entries.after(query.last.as_ref()) {
            let is_wanted = |wanted| matches!(&entry.artifact_type, Some(of) if Arc::ptr_eq(of, wanted));
            if !wanted.as_ref().is_none_or(is_wanted) {
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
        (json, next)
    }
}
