//! Where tags lead, and their lists.

use super::{Error, Registry, Result, lists::Lists};
use crate::storage::Key;
use oci::{Digest, RepositoryName, Tag};
use std::{collections::BTreeSet, ops::Bound, sync::PoisonError};

/// What a tag costs in a list beside its text, in bytes, as measured by the test of weights: its place in a tree whose nodes are between
/// half and quite full, and what an allocation takes.
const TAG_BYTES: usize = 60;

/// What the first node of that tree costs beside the tags in it.
const NODE_BYTES: usize = 128;

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
pub(super) struct TagLists(Lists<RepositoryName, TagList>);

/// The tags of one repository.
#[derive(Default)]
pub(super) struct TagList {
    tags: BTreeSet<Tag>,
    text_bytes: usize,
}

impl TagList {
    fn of(tags: impl IntoIterator<Item = Tag>) -> TagList {
        let tags = BTreeSet::from_iter(tags);
        TagList {
            text_bytes: tags.iter().map(|tag| tag.as_str().len()).sum(),
            tags,
        }
    }

    /// Notes that a tag is there, or is not.
    fn set(&mut self, tag: &Tag, there: bool) {
        let len = tag.as_str().len();
        match there {
            true if self.tags.insert(tag.clone()) => self.text_bytes += len,
            false if self.tags.remove(tag) => self.text_bytes -= len,
            true | false => {}
        }
    }

    /// Bytes that it takes, about.
    fn weight(&self) -> usize {
        NODE_BYTES + self.tags.len() * TAG_BYTES + self.text_bytes
    }
}

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
        let Some(list) = self.0.known(name) else { return };
        let weight = {
            let mut list = list.write().unwrap_or_else(PoisonError::into_inner);
            let Some(list) = &mut *list else { return };
            list.set(tag, there);
            list.weight()
        };
        self.0.weigh(name, weight);
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
        let list = self.0.tag_lists.0.known(name)?;
        let list = list.try_read().ok()?;
        list.as_ref().map(|list| page(&list.tags, last, limit))
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
        let shared = self.0.tag_lists.0.entry(name);
        {
            let list = shared.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(list) = &*list {
                return Ok(read(&list.tags));
            }
        }
        // Loaded under the lock: whoever changes a tag meanwhile has changed storage before, or waits to tell of it.
        let mut guard = shared.write().unwrap_or_else(PoisonError::into_inner);
        let list = match &mut *guard {
            Some(list) => list,
            none => none.insert(TagList::of(self.storage().tags(name)?)),
        };
        let (answer, weight) = (read(&list.tags), list.weight());
        drop(guard);
        self.0.tag_lists.0.weigh(name, weight);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::weights::is_as_measured;

    #[test]
    fn a_list_of_tags_weighs_more_with_each_and_less_without_it() {
        let lists = TagLists::new(1 << 20);
        let name = RepositoryName::parse("a").expect("a name");
        *lists.0.entry(&name).write().expect("a list") = Some(TagList::default());
        let tags: Vec<Tag> = (0..100)
            .map(|n| Tag::parse(&format!("v{n}")).expect("a tag"))
            .collect();
        let weight = || {
            let list = lists.0.peek(&name).expect("a list");
            let list = list.read().expect("a list");
            list.as_ref().map(TagList::weight)
        };
        for there in [true, true, false, false] {
            tags.iter().for_each(|tag| lists.set(&name, tag, there));
            let of_tags: usize = match there {
                true => tags.iter().map(|tag| TAG_BYTES + tag.as_str().len()).sum(),
                false => 0,
            };
            let expected = NODE_BYTES + of_tags;
            assert_eq!(weight(), Some(expected));
            assert_eq!(lists.0.weight_of(&name), Some(expected));
        }
    }

    #[test]
    #[ignore = "a measurement, see `weights`"]
    fn lists_of_tags_weigh_what_is_measured() {
        for (count, len) in [(50_000, 1), (50_000, 3), (5_000, 100), (1, 1_000_000)] {
            for suffix in [
                "",
                "-of-a-name-that-is-as-long-as-those-that-build-systems-give-to-their-images",
            ] {
                is_as_measured(&format!("{count} lists of {len} tags such as 7{suffix}"), || {
                    let lists = TagLists::new(usize::MAX);
                    for n in 0..count {
                        let name = RepositoryName::parse(&format!("group/application-{n}")).expect("a name");
                        let tags = (0..len).map(|n| Tag::parse(&format!("{n}{suffix}")).expect("a tag"));
                        let list = TagList::of(tags);
                        let weight = list.weight();
                        *lists.0.entry(&name).write().expect("a list") = Some(list);
                        lists.0.weigh(&name, weight);
                    }
                    let weight = lists.0.weight();
                    (lists, weight)
                });
            }
        }
    }
}
