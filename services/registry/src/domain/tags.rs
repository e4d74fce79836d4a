//! Where tags lead, and their lists.

use super::{Error, Registry, Result, lists::Lists};
use crate::storage::Key;
use oci::{Digest, RepositoryName, Tag};
use std::{collections::BTreeSet, ops::Bound, sync::PoisonError};

/// Bytes that a tag costs in a list, about.
const TAG_BYTES: usize = 96;

/// A part of an ordered list of names, none of which needs escaping in JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The names as a JSON array.
    pub json: String,
    /// The last name, if more follow it.
    pub next: Option<String>,
}

impl Page {
    /// Takes the first `limit` of the names, or all.
    pub(super) fn of<'a>(names: impl Iterator<Item = &'a str>, limit: Option<usize>) -> Page {
        let mut page = Page {
            json: String::from("["),
            next: None,
        };
        let mut last = "";
        for (taken, name) in names.enumerate() {
            if limit.is_some_and(|limit| taken >= limit) {
                // A page of none cannot say where the next would begin.
                page.next = (taken > 0).then(|| last.to_owned());
                break;
            }
            page.json.push_str(if taken == 0 { "\"" } else { ",\"" });
            page.json.push_str(name);
            page.json.push('"');
            last = name;
        }
        page.json.push(']');
        page
    }
}

/// The tags of repositories whose lists were asked for.
pub(super) struct TagLists(Lists<RepositoryName, BTreeSet<Tag>>);

/// So many more tags are worth weighing a list again.
const WEIGHED_TAGS: usize = 64;

impl TagLists {
    pub(super) fn new(bytes: usize) -> TagLists {
        TagLists(Lists::new(bytes))
    }

    /// Forgets the list of a repository, to be read again.
    pub(super) fn drop_list(&self, name: &RepositoryName) {
        self.0.remove(name);
    }

    /// Tells of a tag that is there now, or is not. Called under the tag's lock, after storage was changed.
    pub(super) fn set(&self, name: &RepositoryName, tag: &Tag, there: bool) {
        let Some(set) = self.0.known(name) else { return };
        let len = {
            let mut set = set.write().unwrap_or_else(PoisonError::into_inner);
            match &mut *set {
                Some(tags) if there => tags.insert(tag.clone()).then_some(tags.len()),
                Some(tags) => {
                    tags.remove(tag);
                    None
                }
                None => None,
            }
        };
        if let Some(len) = len.filter(|len| len % WEIGHED_TAGS == 0) {
            self.0.weigh(name, len * TAG_BYTES);
        }
    }
}

impl Registry {
    /// Where a tag leads; `None` if there is no such tag.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn resolve(&self, name: &RepositoryName, tag: &Tag) -> Result<Option<Digest>> {
        let key = (name.clone(), tag.clone());
        if let Some(known) = self.0.tags.get(&key) {
            return Ok(known);
        }
        let ticket = self.0.tags.ticket(&key);
        let value = self.storage().record(&Key::Tag(name.clone(), tag.clone()))?;
        let digest = value
            .as_deref()
            .and_then(|value| std::str::from_utf8(value).ok())
            .and_then(|text| Digest::parse(text).ok());
        self.0.tags.fill(ticket, key, digest, 0);
        Ok(digest)
    }

    /// Remembers where a tag leads now. Called under the tag's lock, after storage was changed.
    pub(super) fn remember_tag(&self, name: &RepositoryName, tag: &Tag, digest: Option<Digest>) {
        self.0.tags.insert((name.clone(), tag.clone()), digest, 0);
        self.0.tag_lists.set(name, tag, digest.is_some());
    }

    /// A page of a repository's tags in ASCII order: those after `last`, at most `limit`. `None` if it is not in memory.
    pub fn known_tags(
        &self,
        name: &RepositoryName,
        last: Option<&str>,
        limit: Option<usize>,
    ) -> Option<Page> {
        let set = self.0.tag_lists.0.known(name)?;
        let tags = set.try_read().ok()?;
        tags.as_ref().map(|tags| page(tags, last, limit))
    }

    /// A page of a repository's tags in ASCII order: those after `last`, at most `limit`.
    ///
    /// The list is read at the first need and then kept, so that neither a page nor a push costs more with more tags.
    ///
    /// # Errors
    /// `NameUnknown` if nothing was ever stored in the repository.
    pub fn tags(&self, name: &RepositoryName, last: Option<&str>, limit: Option<usize>) -> Result<Page> {
        if let Some(page) = self.known_tags(name, last, limit) {
            return Ok(page);
        }
        if !self.storage().has_repository(name)? {
            return Err(Error::NameUnknown(name.clone()));
        }
        self.with_tags(name, |tags| page(tags, last, limit))
    }

    /// Calls with the tags of a repository, loaded if need be.
    pub(super) fn with_tags<T>(
        &self,
        name: &RepositoryName,
        read: impl FnOnce(&BTreeSet<Tag>) -> T,
    ) -> Result<T> {
        let set = self.0.tag_lists.0.entry(name);
        {
            let tags = set.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(tags) = &*tags {
                return Ok(read(tags));
            }
        }
        // Loaded under the lock: whoever changes a tag meanwhile has changed storage before, or waits to tell of it.
        let mut guard = set.write().unwrap_or_else(PoisonError::into_inner);
        let tags = match &mut *guard {
            Some(tags) => tags,
            none => none.insert(self.storage().tags(name)?.into_iter().collect()),
        };
        let (answer, len) = (read(tags), tags.len());
        drop(guard);
        self.0.tag_lists.0.weigh(name, len * TAG_BYTES);
        Ok(answer)
    }
}

fn page(tags: &BTreeSet<Tag>, last: Option<&str>, limit: Option<usize>) -> Page {
    let from = last.map_or(Bound::Unbounded, Bound::Excluded);
    Page::of(
        tags.range::<str, _>((from, Bound::Unbounded)).map(Tag::as_str),
        limit,
    )
}
