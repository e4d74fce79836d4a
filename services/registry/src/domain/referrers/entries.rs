//! The entries of a list of referrers, in the order of their digests: few in a vector, many in a tree.
//!
//! Most subjects have a signature or two, and even the smallest tree takes a node of more than a KiB for them.

use oci::Digest;
use std::{
    collections::{BTreeMap, BTreeSet, btree_map},
    ops::Bound,
    slice,
    sync::Arc,
};

/// The most entries in a vector: as many as one node of the tree would hold.
const FEW: usize = 11;

/// A tree of so few becomes a vector again: not at once, lest a list at the border is rebuilt at every change.
const FEW_AGAIN: usize = FEW / 2;

/// What an entry costs in memory beside its descriptor and its type, in bytes, as measured by the test of weights in `domain`: its
/// place in a vector, and what an allocation of that size takes.
const PLACE_BYTES: usize = 128;

/// The same in a tree, whose nodes are between half and quite full.
const PLACE_IN_TREE_BYTES: usize = 208;

/// What a tree costs beside its entries, with the types that are in it.
const TREE_BYTES: usize = 512;

/// What a type costs beside its text.
const TYPE_BYTES: usize = 32;

/// Why a manifest is listed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::domain) enum Source {
    /// The manifest itself says that it refers to the subject.
    Manifest,
    /// The subject's digest tag lists it.
    Tag,
}

/// One referrer.
pub(super) struct Entry {
    pub(super) json: Box<[u8]>,
    /// Shared by all entries of this type, so that two are of the same if they point to the same.
    pub(super) artifact_type: Option<Arc<str>>,
    pub(super) source: Source,
}

/// The referrers of one subject.
pub(super) struct Entries {
    places: Places,
    json_bytes: usize,
    type_bytes: usize,
}

enum Places {
    /// Sorted.
    Few(Vec<(Digest, Entry)>),
    Many(Box<Tree>),
}

#[derive(Default)]
struct Tree {
    entries: BTreeMap<Digest, Entry>,
    types: BTreeSet<Arc<str>>,
}

impl Default for Entries {
    fn default() -> Entries {
        Entries {
            places: Places::Few(Vec::new()),
            json_bytes: 0,
            type_bytes: 0,
        }
    }
}

impl Entries {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        match &self.places {
            Places::Few(few) => few.len(),
            Places::Many(tree) => tree.entries.len(),
        }
    }

    /// Whether they are more than a vector holds.
    pub(super) fn are_many(&self) -> bool {
        matches!(self.places, Places::Many(_))
    }

    /// Bytes of all descriptors.
    pub(super) fn json_bytes(&self) -> usize {
        self.json_bytes
    }

    /// Bytes that they take in memory, about.
    pub(super) fn weight(&self) -> usize {
        let places = match &self.places {
            Places::Few(few) => few.len() * PLACE_BYTES,
            Places::Many(tree) => TREE_BYTES + tree.entries.len() * PLACE_IN_TREE_BYTES,
        };
        places + self.json_bytes + self.type_bytes
    }

    /// Whether there is one of this digest.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        match &self.places {
            Places::Few(few) => position(few, digest).is_ok(),
            Places::Many(tree) => tree.entries.contains_key(digest),
        }
    }

    /// Those after a digest, which need not be among them, or all.
    pub(super) fn after(&self, last: Option<&Digest>) -> After<'_> {
        match &self.places {
            Places::Few(few) => {
                let from = last.map_or(0, |last| few.partition_point(|(digest, _)| digest <= last));
                After::Few(few[from..].iter())
            }
            Places::Many(tree) => {
                let from = last.map_or(Bound::Unbounded, Bound::Excluded);
                After::Many(tree.entries.range((from, Bound::Unbounded)))
            }
        }
    }

    /// The type of this name, if any entry has it.
    pub(super) fn known_type(&self, name: &str) -> Option<Arc<str>> {
        match &self.places {
            Places::Few(few) => {
                let types = few.iter().filter_map(|(_, entry)| entry.artifact_type.as_ref());
                types.into_iter().find(|known| ***known == *name).cloned()
            }
            Places::Many(tree) => tree.types.get(name).cloned(),
        }
    }

    /// Puts one in, in the place of what has its digest.
    pub(super) fn insert(&mut self, digest: Digest, source: Source, type_name: Option<&str>, json: &[u8]) {
        self.remove(&digest);
        let entry = Entry {
            json: json.into(),
            artifact_type: type_name.map(|name| self.type_of(name)),
            source,
        };
        self.json_bytes += json.len();
        match &mut self.places {
            Places::Few(few) if few.len() < FEW => {
                let at = few.partition_point(|(before, _)| *before < digest);
                few.reserve_exact(1);
                few.insert(at, (digest, entry));
            }
            Places::Few(few) => {
                let mut tree = Tree::of(std::mem::take(few));
                tree.types.extend(entry.artifact_type.clone());
                tree.entries.insert(digest, entry);
                self.places = Places::Many(Box::new(tree));
            }
            Places::Many(tree) => {
                tree.entries.insert(digest, entry);
            }
        }
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, digest: &Digest) -> Option<Entry> {
        let removed = match &mut self.places {
            Places::Few(few) => {
                let at = position(few, digest).ok()?;
                let (_, removed) = few.remove(at);
                few.shrink_to_fit();
                removed
            }
            Places::Many(tree) => tree.entries.remove(digest)?,
        };
        self.json_bytes -= removed.json.len();
        if let Some(artifact_type) = &removed.artifact_type {
            self.forget_type(artifact_type);
        }
        if let Places::Many(tree) = &mut self.places
            && tree.entries.len() <= FEW_AGAIN
        {
            self.places = Places::Few(std::mem::take(&mut tree.entries).into_iter().collect());
        }
        Some(removed)
    }

    fn type_of(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.known_type(name) {
            return known;
        }
        let new: Arc<str> = name.into();
        self.type_bytes += TYPE_BYTES + name.len();
        if let Places::Many(tree) = &mut self.places {
            tree.types.insert(Arc::clone(&new));
        }
        new
    }

    /// Forgets a type if the entry that was just removed was the last of it.
    fn forget_type(&mut self, artifact_type: &Arc<str>) {
        let of_nobody = match self.places {
            Places::Few(_) => 1,
            // The tree has it beside its entries.
            Places::Many(_) => 2,
        };
        if Arc::strong_count(artifact_type) > of_nobody {
            return;
        }
        self.type_bytes -= TYPE_BYTES + artifact_type.len();
        if let Places::Many(tree) = &mut self.places {
            tree.types.remove(artifact_type);
        }
    }
}

impl Tree {
    fn of(few: Vec<(Digest, Entry)>) -> Tree {
        Tree {
            types: few
                .iter()
                .filter_map(|(_, entry)| entry.artifact_type.clone())
                .collect(),
            entries: few.into_iter().collect(),
        }
    }
}

fn position(few: &[(Digest, Entry)], digest: &Digest) -> Result<usize, usize> {
    few.binary_search_by(|(before, _)| before.cmp(digest))
}

/// Entries in order.
pub(super) enum After<'a> {
    Few(slice::Iter<'a, (Digest, Entry)>),
    Many(btree_map::Range<'a, Digest, Entry>),
}

impl<'a> Iterator for After<'a> {
    type Item = (&'a Digest, &'a Entry);

    fn next(&mut self) -> Option<(&'a Digest, &'a Entry)> {
        match self {
            After::Few(few) => few.next().map(|(digest, entry)| (digest, entry)),
            After::Many(many) => many.next(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: usize) -> Digest {
        Digest::sha256(&n.to_le_bytes())
    }

    fn type_name(n: usize) -> String {
        format!("application/x-{}", n % 3)
    }

    /// Entries of these numbers, each put in twice.
    fn entries(numbers: impl Iterator<Item = usize>) -> Entries {
        let mut entries = Entries::default();
        for n in numbers {
            entries.insert(digest(n), Source::Tag, Some("of another type"), b"to be replaced");
            entries.insert(
                digest(n),
                Source::Manifest,
                Some(&type_name(n)),
                n.to_string().as_bytes(),
            );
        }
        entries
    }

    /// Compares with a map that holds the same numbers.
    fn agree(entries: &Entries, expected: &BTreeMap<Digest, usize>) {
        assert_eq!(entries.len(), expected.len());
        let texts = || expected.values().map(usize::to_string);
        assert_eq!(
            entries.json_bytes(),
            texts().map(|text| text.len()).sum::<usize>()
        );
        let types: BTreeSet<String> = expected.values().map(|n| type_name(*n)).collect();
        let types_bytes = types.iter().map(|name| TYPE_BYTES + name.len()).sum::<usize>();
        assert_eq!(entries.type_bytes, types_bytes);
        assert!(entries.known_type("of another type").is_none());
        for (from, last) in [None, Some(digest(0)), Some(digest(3)), Some(digest(usize::MAX))]
            .iter()
            .enumerate()
        {
            let bound = last.map_or(Bound::Unbounded, Bound::Excluded);
            let wanted: Vec<_> = expected
                .range((bound, Bound::Unbounded))
                .map(|(d, n)| (*d, n.to_string()))
                .collect();
            let found: Vec<_> = entries
                .after(last.as_ref())
                .map(|(d, entry)| (*d, String::from_utf8_lossy(&entry.json).into_owned()))
                .collect();
            assert_eq!(found, wanted, "from {from}");
        }
        for (digest, n) in expected {
            assert!(entries.has(digest));
            let known = entries.known_type(&type_name(*n)).expect("a type");
            let (_, entry) = entries
                .after(None)
                .find(|(of, _)| *of == digest)
                .expect("an entry");
            assert!(
                entry
                    .artifact_type
                    .as_ref()
                    .is_some_and(|of| Arc::ptr_eq(of, &known))
            );
            if expected.len() > 100 {
                break;
            }
        }
    }

    #[test]
    fn a_list_of_any_length_has_what_was_put_in_in_order_and_what_was_taken_out_no_more() {
        for len in [0, 1, 2, FEW_AGAIN, FEW - 1, FEW, FEW + 1, 100, 10_000] {
            let mut list = entries(0..len);
            let mut expected: BTreeMap<Digest, usize> = (0..len).map(|n| (digest(n), n)).collect();
            agree(&list, &expected);
            assert_eq!(list.are_many(), len > FEW, "{len}");
            assert!(list.remove(&digest(len)).is_none());
            for n in (0..len).step_by(2).chain((0..len).skip(1).step_by(2)) {
                let removed = list.remove(&digest(n)).expect("an entry");
                assert_eq!(*removed.json, *n.to_string().as_bytes());
                drop(removed);
                expected.remove(&digest(n));
                if expected.len() < 2 * FEW || expected.len().is_multiple_of(1_000) {
                    agree(&list, &expected);
                }
            }
            assert_eq!((list.weight(), list.are_many()), (0, false), "{len}");
        }
    }

    #[test]
    fn a_list_at_the_border_is_not_rebuilt_at_every_change() {
        let mut list = entries(0..FEW + 1);
        for n in (FEW_AGAIN..FEW + 1).rev() {
            assert!(list.are_many(), "{n}");
            list.remove(&digest(n));
        }
        assert!(!list.are_many());
        list.insert(digest(FEW), Source::Manifest, None, b"");
        assert!(!list.are_many());
    }

    #[test]
    fn a_type_that_nobody_has_any_more_takes_no_room() {
        let mut list = entries(0..100);
        let before = list.weight();
        for n in 0..1_000 {
            list.insert(
                digest(100),
                Source::Manifest,
                Some(&format!("application/x-once-{n}")),
                b"",
            );
            list.remove(&digest(100));
        }
        assert_eq!(list.weight(), before);
        assert!(list.known_type("application/x-once-7").is_none());
    }
}
