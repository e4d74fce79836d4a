//! Lists that are read from storage at their first need and then kept up to date, within a bound of memory.
//!
//! They are kept in two generations, as in [`Cache`](super::cache::Cache): a list that is used moves to the young one, and when that
//! is full it becomes the old one, whose lists go. So finding, adding and making room cost the same however many lists there are.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

/// What a list costs beside its entries, in bytes, about: its key, its locks, the first node of its tree.
const LIST_BYTES: usize = 2048;

/// A list; `None` until it is loaded, which is done under its lock.
pub(super) type Shared<L> = Arc<RwLock<Option<L>>>;

/// The lists that were asked for, by their keys.
pub(super) struct Lists<K, L> {
    kept: Mutex<Kept<K, L>>,
    generation_bytes: usize,
}

/// Lists, each with the bytes of its entries when it was weighed last.
type Generation<K, L> = HashMap<K, (Shared<L>, usize)>;

struct Kept<K, L> {
    young: Generation<K, L>,
    old: Generation<K, L>,
    young_bytes: usize,
}

impl<K: Hash + Eq + Clone, L> Lists<K, L> {
    /// Lists of about this many bytes together.
    pub(super) fn new(bytes: usize) -> Lists<K, L> {
        Lists {
            kept: Mutex::new(Kept {
                young: HashMap::new(),
                old: HashMap::new(),
                young_bytes: 0,
            }),
            generation_bytes: bytes / 2,
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
        let (list, bytes) = kept.old.remove(key)?;
        let gone = kept.put(key.clone(), Arc::clone(&list), bytes, self.generation_bytes);
        drop(kept);
        drop(gone);
        Some(list)
    }

    /// As [`Lists::known`], but it is no use of the list.
    pub(super) fn peek(&self, key: &K) -> Option<Shared<L>> {
        let kept = self.lock();
        let found = kept.young.get(key).or_else(|| kept.old.get(key));
        found.map(|(list, _)| Arc::clone(list))
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
        let gone = kept.put(key.clone(), Arc::clone(&list), 0, self.generation_bytes);
        drop(kept);
        drop(gone);
        list
    }

    /// Tells how many bytes the entries of a list have by now. It need not be told of every change: a list is weighed as it was
    /// told last.
    pub(super) fn weigh(&self, key: &K, bytes: usize) {
        let mut kept = self.lock();
        let young = kept.young.get(key).map(|(list, _)| Arc::clone(list));
        let Some(list) = young.or_else(|| Some(kept.old.remove(key)?.0)) else {
            return;
        };
        let gone = kept.put(key.clone(), list, bytes, self.generation_bytes);
        drop(kept);
        drop(gone);
    }

    /// Forgets a list.
    pub(super) fn remove(&self, key: &K) {
        self.lock().remove(key);
    }

    /// Forgets the lists that are not to be kept.
    pub(super) fn retain(&self, is_kept: impl Fn(&K) -> bool) {
        let mut kept = self.lock();
        kept.old.retain(|key, _| is_kept(key));
        let gone: Vec<K> = kept.young.keys().filter(|key| !is_kept(key)).cloned().collect();
        gone.iter().for_each(|key| kept.remove(key));
    }
}

impl<K: Hash + Eq, L> Kept<K, L> {
    /// Puts a list among the young ones; those that go for it, to be dropped by the caller without the lock.
    #[must_use]
    fn put(&mut self, key: K, list: Shared<L>, bytes: usize, generation_bytes: usize) -> Generation<K, L> {
        let weight = LIST_BYTES + bytes;
        if let Some((_, before)) = self.young.remove(&key) {
            self.young_bytes -= LIST_BYTES + before;
        }
        let mut gone = HashMap::new();
        if self.young_bytes + weight > generation_bytes && !self.young.is_empty() {
            gone = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
            self.young_bytes = 0;
        }
        self.young_bytes += weight;
        self.young.insert(key, (list, bytes));
        gone
    }

    fn remove(&mut self, key: &K) {
        self.old.remove(key);
        if let Some((_, bytes)) = self.young.remove(key) {
            self.young_bytes -= LIST_BYTES + bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(lists: &Lists<u32, u32>) -> usize {
        let kept = lists.lock();
        kept.young.len() + kept.old.len()
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
    fn a_list_that_grows_makes_others_go_and_stays_itself() {
        let lists: Lists<u32, u32> = Lists::new(2 * 10 * LIST_BYTES);
        for n in 0..8 {
            lists.entry(&n);
        }
        for entries in 1..100 {
            lists.weigh(&3, entries * LIST_BYTES);
            assert!(lists.known(&3).is_some(), "{entries}");
        }
        lists.entry(&8);
        lists.entry(&9);
        assert_eq!((count(&lists), lists.known(&0).is_some()), (3, false));
        lists.weigh(&3, 0);
        assert_eq!(lists.lock().young_bytes, 3 * LIST_BYTES);
    }

    #[test]
    fn what_is_forgotten_weighs_nothing() {
        let lists: Lists<u32, u32> = Lists::new(2 * 10 * LIST_BYTES);
        for n in 0..9 {
            lists.entry(&n);
            lists.weigh(&n, 10);
        }
        lists.remove(&0);
        lists.retain(|n| *n < 3);
        assert_eq!(
            (count(&lists), lists.lock().young_bytes),
            (2, 2 * (LIST_BYTES + 10))
        );
    }
}
