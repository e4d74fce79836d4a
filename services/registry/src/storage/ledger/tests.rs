//! The ledger as a whole, against a map.

use super::*;
use proptest::prelude::*;
use std::{collections::BTreeMap, fs, thread};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// So small that a few commits fill it.
const TINY: u64 = 2_000;

fn open(folder: &Path, durable: bool) -> Ledger {
    let settings = Settings {
        durable,
        memory_bytes: TINY,
    };
    Ledger::open(folder, settings).expect("a ledger")
}

fn put(ledger: &Ledger, key: &str, value: &str) {
    let mut batch = Batch::new();
    batch.put(key.as_bytes(), value.as_bytes());
    ledger.commit(batch).expect("a commit");
}

fn get(ledger: &Ledger, key: &str) -> Option<Vec<u8>> {
    let value = ledger.get(key.as_bytes()).expect("an answer");
    value.map(|value| value.bytes.to_vec())
}

pub(super) fn all(ledger: &Ledger, prefix: &[u8]) -> Map {
    let mut found = Map::new();
    ledger
        .scan(prefix, &mut |key, value| {
            assert!(
                found.insert(key.to_vec(), value.bytes.to_vec()).is_none(),
                "a key is visited once"
            );
            true
        })
        .expect("a scan");
    found
}

pub(super) fn names(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect();
    names.sort();
    names
}

/// What ends a ledger.
#[derive(Clone, Copy, Debug)]
enum End {
    Closed,
    /// As after `kill -9`: nothing is written any more. The thread is let end, as nothing else would.
    Killed,
}

fn end(ledger: Ledger, how: End) {
    if matches!(how, End::Killed) {
        kill(ledger);
    }
}

/// See [`End::Killed`].
pub(super) fn kill(ledger: Ledger) {
    ledger.inner.stopping.store(true, Relaxed);
    ledger.inner.tender.join();
    std::mem::forget(ledger);
}

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<(u8, Option<Vec<u8>>)>),
    Reopen(End),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = (
        any::<u8>(),
        prop::option::weighted(0.8, prop::collection::vec(any::<u8>(), 0..400)),
    );
    let step = prop_oneof![
        20 => prop::collection::vec(change, 1..6).prop_map(Step::Commit),
        1 => prop_oneof![Just(End::Closed), Just(End::Killed)].prop_map(Step::Reopen),
    ];
    prop::collection::vec(step, 1..150)
}

/// Two bytes, so that prefixes mean something.
fn key(n: u8) -> Vec<u8> {
    vec![n >> 5, n]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn it_is_a_map_that_outlives_its_process(steps in steps(), durable in prop::bool::weighted(0.2)) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut model = Map::new();
        let mut ledger = open(folder.path(), durable);
        for step in steps {
            match step {
                Step::Commit(changes) => {
                    let mut batch = Batch::new();
                    for (n, value) in changes {
                        match value {
                            Some(value) => {
                                batch.put(&key(n), &value);
                                model.insert(key(n), value);
                            }
                            None => {
                                batch.remove(&key(n));
                                model.remove(&key(n));
                            }
                        }
                    }
                    ledger.commit(batch).expect("a commit");
                }
                Step::Reopen(how) => {
                    end(ledger, how);
                    ledger = open(folder.path(), durable);
                }
            }
        }
        for n in 0..=255 {
            let found = ledger.get(&key(n)).expect("an answer").map(|value| value.bytes.to_vec());
            prop_assert_eq!(found.as_ref(), model.get(&key(n)));
        }
        prop_assert_eq!(&all(&ledger, b""), &model);
        for group in 0..8 {
            let expected: Map = model.iter().filter(|(key, _)| key[0] == group).map(|(k, v)| (k.clone(), v.clone())).collect();
            prop_assert_eq!(all(&ledger, &[group]), expected);
        }
        prop_assert_eq!(ledger.check(None).expect("a check"), Vec::<String>::new());
    }
}

#[test]
fn many_writers_lose_nothing_and_read_what_they_wrote() {
    for durable in [true, false] {
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = open(folder.path(), durable);
        thread::scope(|scope| {
            for writer in 0..8 {
                let ledger = &ledger;
                scope.spawn(move || {
                    for n in 0..100 {
                        put(ledger, &format!("{writer}/{n}"), &"x".repeat(n));
                        put(ledger, &format!("{writer}/last"), &n.to_string());
                        assert_eq!(
                            get(ledger, &format!("{writer}/last")),
                            Some(n.to_string().into_bytes())
                        );
                        assert_eq!(all(ledger, format!("{writer}/").as_bytes()).len(), n + 2);
                    }
                });
            }
        });
        drop(ledger);
        let ledger = open(folder.path(), durable);
        assert_eq!(all(&ledger, b"").len(), 8 * 101);
        // 8 writers with some 15 KB each, in pieces of 2 KB: they were merged, and what was merged is gone.
        assert!(
            names(folder.path(), ".table").len() < 20,
            "{:?}",
            names(folder.path(), "")
        );
        assert_eq!(names(folder.path(), ".log").len(), 0);
    }
}

#[test]
fn what_is_read_keeps_nothing_of_the_frame_that_it_came_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = open(folder.path(), false);
    for n in 0..100 {
        let key = format!("key {n}");
        put(&ledger, &key, "a value");
        let value = ledger.get(key.as_bytes()).expect("an answer").expect("a value");
        assert!(value.bytes.is_unique(), "somebody else has a part of it");
    }
}

#[test]
fn what_was_removed_takes_no_room_in_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = open(folder.path(), false);
    for round in 0..200 {
        put(&ledger, "moving", &round.to_string().repeat(300));
    }
    let mut batch = Batch::new();
    batch.remove(b"moving");
    ledger.commit(batch).expect("a commit");
    drop(ledger);
    let bytes: u64 = names(folder.path(), ".table")
        .iter()
        .map(|path| fs::metadata(path).expect("a table").len())
        .sum();
    assert!(bytes < 20_000, "{bytes} bytes for nothing");
}

#[test]
fn a_log_that_is_damaged_in_its_middle_is_told_and_mended_without_the_rest() {
    let folder = tempfile::tempdir().expect("a folder");
    let aside = folder.path().join("aside");
    let ledger = open(folder.path(), true);
    for key in ["one", "two", "three"] {
        put(&ledger, key, key);
    }
    end(ledger, End::Killed);
    let path = names(folder.path(), ".log").remove(0);
    let mut bytes = fs::read(&path).expect("the log");
    let at = bytes
        .windows(3)
        .position(|window| window == b"two")
        .expect("the key");
    bytes[at] ^= 1;
    fs::write(&path, &bytes).expect("the log");

    let ledger = open(folder.path(), true);
    assert!(ledger.lost().is_some_and(|what| what.contains(".log")));
    // Closing it must not make the damage disappear.
    drop(ledger);
    let ledger = open(folder.path(), true);
    assert_eq!(ledger.check(None).expect("a check").len(), 1);
    assert_eq!(ledger.check(Some(&aside)).expect("a check").len(), 1);
    assert_eq!(fs::read_dir(&aside).expect("what was set aside").count(), 1);
    drop(ledger);
    let ledger = open(folder.path(), true);
    assert_eq!(
        (ledger.lost(), ledger.check(None).expect("a check")),
        (None, vec![])
    );
    assert_eq!(get(&ledger, "one"), Some(b"one".to_vec()));
    assert_eq!(get(&ledger, "two"), None);
    assert_eq!(get(&ledger, "three"), Some(b"three".to_vec()));
}

#[test]
fn a_table_that_is_damaged_fails_its_keys_until_it_is_mended_or_they_are_written_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let aside = folder.path().join("aside");
    let settings = Settings::new(false);
    let ledger = Ledger::open(folder.path(), settings).expect("a ledger");
    let name = |n: usize| format!("key {n:04}");
    for n in 0..300 {
        put(&ledger, &name(n), &"v".repeat(100));
    }
    drop(ledger);
    let path = names(folder.path(), ".table").remove(0);
    let mut bytes = fs::read(&path).expect("the table");
    bytes[6_000] ^= 1;
    fs::write(&path, &bytes).expect("the table");

    let ledger = Ledger::open(folder.path(), settings).expect("a ledger");
    let is_lost = |ledger: &Ledger, n: usize| ledger.get(name(n).as_bytes()).is_err();
    let lost: Vec<usize> = (0..300).filter(|n| is_lost(&ledger, *n)).collect();
    assert!(!lost.is_empty() && lost.len() < 60, "{}", lost.len());
    assert!(ledger.scan(b"key", &mut |_, _| true).is_err());
    put(&ledger, &name(lost[0]), "again");
    assert_eq!(get(&ledger, &name(lost[0])), Some(b"again".to_vec()));
    assert_eq!(ledger.check(None).expect("a check").len(), 1);
    assert_eq!(ledger.check(Some(&aside)).expect("a check").len(), 1);
    assert_eq!(ledger.check(None).expect("a check").len(), 0);
    assert_eq!(fs::read_dir(&aside).expect("what was set aside").count(), 1);
    assert_eq!(all(&ledger, b"key").len(), 300 - lost.len() + 1);
    drop(ledger);
    let ledger = Ledger::open(folder.path(), settings).expect("a ledger");
    assert_eq!(get(&ledger, &name(lost[0])), Some(b"again".to_vec()));
    assert_eq!(get(&ledger, &name(lost[1])), None);
}

#[test]
fn a_folder_of_another_format_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("version"), "2\n").expect("a file");
    let error = Ledger::open(folder.path(), Settings::new(true))
        .err()
        .expect("a refusal");
    assert!(
        error
            .to_string()
            .contains("use the registry that wrote the folder"),
        "{error}"
    );
}
