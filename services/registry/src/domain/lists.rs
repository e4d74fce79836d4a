//! Lists that are read from storage at their first need and then kept up to date, within a bound of memory.
//!
//! They are kept in two generations, as in [`Cache`](super::cache::Cache): a list that is used moves to the young one, and when that
//! is full it becomes the old one, whose lists go. So finding, adding and making room cost the same however many lists there are.
//!
//! One list may take more than a generation, and then others go for it. One that is larger than the whole bound is not kept:
//! whoever asks for it has it read.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

/// What a list costs beside its entries, in bytes, as measured by the test of weights in `domain`: its key and the text in that, its
/// place in a table that may be half empty, its lock.
const LIST_BYTES: usize = 288;

/// A list; `None` until it is loaded, which is done under its lock.
pub(super) type Shared<L> = Arc<RwLock<Option<L>>>;

/// The lists that were asked for, by their keys.
pub(super) struct Lists<K, L> {
    kept: Mutex<Kept<K, L>>,
    bytes: usize,
}

/// Lists, each with the bytes of its entries when it was weighed last. Keys are large, and a table is half empty at times: so
/// it holds only where they are.
type Generation<K, L> = HashMap<Box<K>, (Shared<L>, usize)>;

struct Kept<K, L> {
    young: Generation<K, L>,
    old: Generation<K, L>,
    young_bytes: usize,
    old_bytes: usize,
}

impl<K: Hash + Eq + Clone, L> Lists<K, L> {
    /// Lists of at most about this many bytes together.
    pub(super) fn new(bytes: usize) -> Lists<K, L> {
        Lists {
            kept: Mutex::new(Kept {
                young: HashMap::new(),
                old: HashMap::new(),
                young_bytes: 0,
                old_bytes: 0,
            }),
            bytes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept<K, L>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The list, if it is kept.
    pub(super) fn known(&self, key: &K) -> Option<Shared<L>> {
        let mut kept = self.lock();
        if let Some((list, _)) = kept.young.get(key) {
            return Some(Arc::clone(list));
        }
        let (key, list, bytes) = kept.take(key)?;
        let gone = kept.put(key, Arc::clone(&list), bytes, self.bytes);
        drop(kept);
        drop(gone);
        Some(list)
    }

    /// As [`Lists::known`], but it is no use of the list.
    pub(super) fn peek(&self, key: &K) -> Option<Shared<L>> {
        self.lock().get(key).map(|(list, _)| Arc::clone(list))
    }

    /// Whether the list is kept.
    pub(super) fn has(&self, key: &K) -> bool {
        self.lock().get(key).is_some()
    }

    /// The list, to be loaded if it is `None`.
    pub(super) fn entry(&self, key: &K) -> Shared<L> {
        if let Some(list) = self.known(key) {
            return list;
        }
        let mut kept = self.lock();
        if let Some((list, _)) = kept.young.get(key) {
            return Arc::clone(list);
        }
        let list = Shared::default();
        let gone = kept.put(Box::new(key.clone()), Arc::clone(&list), 0, self.bytes);
        drop(kept);
        drop(gone);
        list
    }

    /// Tells how many bytes the entries of a list have by now. It need not be told of every change: a list is weighed as it was
    /// told last.
    pub(super) fn weigh(&self, key: &K, bytes: usize) {
        let mut kept = self.lock();
        let Some((key, list, _)) = kept.take(key) else {
            return;
        };
        let gone = kept.put(key, list, bytes, self.bytes);
        drop(kept);
        drop(gone);
    }

    /// What all that is kept weighs.
    #[cfg(test)]
    pub(super) fn weight(&self) -> usize {
        let kept = self.lock();
        kept.young_bytes + kept.old_bytes
    }

    /// What the entries of a list that is kept were told to weigh.
    #[cfg(test)]
    pub(super) fn weight_of(&self, key: &K) -> Option<usize> {
        self.lock().get(key).map(|(_, bytes)| *bytes)
    }

    /// Forgets a list.
    pub(super) fn remove(&self, key: &K) {
        let gone = self.lock().take(key);
        drop(gone);
    }

    /// Forgets the lists that are not to be kept.
    pub(super) fn retain(&self, is_kept: impl Fn(&K) -> bool) {
        let mut kept = self.lock();
        let Kept {
            young,
            old,
            young_bytes,
            old_bytes,
        } = &mut *kept;
        for (lists, bytes) in [(young, young_bytes), (old, old_bytes)] {
            lists.retain(|key, (_, weighed)| {
                let is_kept = is_kept(key);
                if !is_kept {
                    *bytes -= LIST_BYTES + *weighed;
                }
                is_kept
            });
        }
    }
}

/// What no longer is kept, to be dropped without the lock.
type Gone<K, L> = (Vec<Generation<K, L>>, Option<Shared<L>>);

impl<K: Hash + Eq, L> Kept<K, L> {
    fn get(&self, key: &K) -> Option<&(Shared<L>, usize)> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// Takes a list out.
    fn take(&mut self, key: &K) -> Option<(Box<K>, Shared<L>, usize)> {
        let (key, (list, bytes)) = if let Some(found) = self.young.remove_entry(key) {
            self.young_bytes -= LIST_BYTES + found.1.1;
            found
        } else {
            let found = self.old.remove_entry(key)?;
            self.old_bytes -= LIST_BYTES + found.1.1;
            found
        };
        Some((key, list, bytes))
    }

    /// Puts a list that is not there among the young ones; those that go for it.
    #[must_use]
    fn put(&mut self, key: Box<K>, list: Shared<L>, bytes: usize, bound: usize) -> Gone<K, L> {
        let weight = LIST_BYTES + bytes;
        if weight > bound {
            return (Vec::new(), Some(list));
        }
        let mut gone = Vec::new();
        if self.young_bytes + weight > bound / 2 && !self.young.is_empty() {
            gone.push(std::mem::replace(&mut self.old, std::mem::take(&mut self.young)));
            self.old_bytes = std::mem::take(&mut self.young_bytes);
        }
        self.young_bytes += weight;
        self.young.insert(key, (list, bytes));
        if self.young_bytes + self.old_bytes > bound {
            gone.push(std::mem::take(&mut self.old));
            self.old_bytes = 0;
        }
        (gone, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(lists: &Lists<u32, u32>) -> usize {
        let kept = lists.lock();
        kept.young.len() + kept.old.len()
    }

    /// What all lists that are kept weigh, as it was added up and as it is.
    fn weight(lists: &Lists<u32, u32>) -> usize {
        let kept = lists.lock();
        let added =
            |of: &Generation<u32, u32>| of.values().map(|(_, bytes)| LIST_BYTES + bytes).sum::<usize>();
        assert_eq!(
            (kept.young_bytes, kept.old_bytes),
            (added(&kept.young), added(&kept.old))
        );
        kept.young_bytes + kept.old_bytes
    }

    #[test]
    fn what_is_used_stays_and_the_rest_makes_room() {
        let lists: Lists<u32, u32> = Lists::new(2 * 10 * LIST_BYTES);
        *lists.entry(&0).write().expect("a list") = Some(7);
        for n in 1..1_000 {
            lists.entry(&n);
            let used = lists.known(&0).expect("it is used");
            assert_eq!(*used.read().expect("a list"), Some(7), "after {n}");
            assert!(count(&lists) <= 20, "{}", count(&lists));
        }
        assert!(lists.known(&1).is_none() && lists.known(&999).is_some());
    }

    #[test]
    fn a_list_that_grows_makes_others_go_and_stays_itself_while_it_is_within_the_bound() {
        let lists: Lists<u32, u32> = Lists::new(2 * 10 * LIST_BYTES);
        for n in 0..8 {
            lists.entry(&n);
        }
        for entries in 1..20 {
            lists.weigh(&3, entries * LIST_BYTES);
            assert!(lists.known(&3).is_some(), "{entries}");
        }
        assert_eq!(count(&lists), 1, "nothing has room beside it");
        lists.weigh(&3, 15 * LIST_BYTES);
        lists.entry(&8);
        lists.entry(&9);
        assert_eq!((count(&lists), lists.known(&0).is_some()), (3, false));
        lists.weigh(&3, 0);
        assert_eq!(weight(&lists), 3 * LIST_BYTES);
        lists.weigh(&3, 20 * LIST_BYTES);
        assert!(lists.known(&3).is_none(), "it is larger than the bound");
        assert_eq!(weight(&lists), 2 * LIST_BYTES);
    }

    #[test]
    fn lists_of_any_weights_never_weigh_more_than_the_bound() {
        let bound = 100 * LIST_BYTES;
        let lists: Lists<u32, u32> = Lists::new(bound);
        let mut most = 0;
        // The same numbers each time, in an order without a pattern.
        let mut state = 1_u32;
        for _ in 0..100_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (key, what, weighed) = (state >> 8 & 255, state >> 16 & 7, state >> 19);
            match what {
                0 => drop(lists.known(&key)),
                1 => lists.remove(&key),
                2 => lists.weigh(&key, weighed as usize % (2 * bound)),
                3..6 => lists.weigh(&key, weighed as usize % (4 * LIST_BYTES)),
                _ => drop(lists.entry(&key)),
            }
            let weight = weight(&lists);
            assert!(weight <= bound, "{weight}");
            most = most.max(weight);
        }
        assert!(most > bound * 9 / 10, "the bound is used: {most}");
    }

    #[test]
    fn what_is_forgotten_weighs_nothing() {
        let lists: Lists<u32, u32> = Lists::new(2 * 10 * LIST_BYTES);
        for n in 0..15 {
            lists.entry(&n);
            lists.weigh(&n, 10);
        }
        assert_eq!(weight(&lists), 15 * (LIST_BYTES + 10));
        lists.remove(&0);
        lists.retain(|n| *n < 3);
        assert_eq!((count(&lists), weight(&lists)), (2, 2 * (LIST_BYTES + 10)));
        assert!(lists.has(&1) && !lists.has(&0));
    }
}
