//! The ledger on a disk that fails and loses power, against a map.

use super::{tests::all, *};
use crate::storage::disk::trial::{Chance, Fault, Trial, folder, rounds};
use std::collections::BTreeMap;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

const ENOSPC: i32 = 28;
const EIO: i32 = 5;
const EMFILE: i32 = 24;
const ERRORS: [i32; 3] = [ENOSPC, EIO, EMFILE];

fn settings(durable: bool) -> Settings {
    Settings {
        durable,
        memory_bytes: 2_000,
    }
}

/// A ledger that is driven by chance, and what may be in it.
struct Driven {
    chance: Chance,
    place: tempfile::TempDir,
    trial: Trial,
    durable: bool,
    ledger: Option<Ledger>,
    /// What is to be read now.
    now: Map,
    /// What may be on the disk.
    possible: Vec<Map>,
    /// What was possible from each promise on.
    promises: Vec<Vec<Map>>,
    waits: bool,
}

impl Driven {
    fn new(seed: u64, durable: bool) -> Driven {
        let place = folder();
        let trial = Trial::new(place.path());
        let mut driven = Driven {
            chance: Chance::new(seed),
            place,
            trial,
            durable,
            ledger: None,
            now: Map::new(),
            possible: vec![Map::new()],
            promises: Vec::new(),
            waits: seed.is_multiple_of(2),
        };
        driven.promise();
        driven
    }

    fn promise(&mut self) {
        self.trial.promised(self.promises.len());
        self.promises.push(self.possible.clone());
    }

    /// Opens the ledger. What fails succeeds when the disk is well.
    fn open(&mut self) {
        let path = self.place.path().to_owned();
        let ledger = Ledger::open(&path, settings(self.durable)).unwrap_or_else(|_| {
            self.trial.set(None);
            Ledger::open(&path, settings(self.durable)).expect("a ledger")
        });
        assert_eq!(ledger.lost(), None);
        self.ledger = Some(ledger);
        self.look();
    }

    /// Reads everything, which must be as is possible.
    fn look(&mut self) {
        self.trial.set(None);
        let found = all(self.ledger.as_ref().expect("a ledger"), b"");
        assert!(self.possible.contains(&found), "something else is read");
        self.now = found;
    }

    fn change(&mut self) -> (Batch, Map) {
        let (mut batch, mut next) = (Batch::new(), self.now.clone());
        for _ in 0..=self.chance.below(3) {
            let key = vec![b'k', self.chance.below(60) as u8];
            if self.chance.below(5) == 0 {
                batch.remove(&key);
                next.remove(&key);
            } else {
                let value = vec![self.chance.below(256) as u8; self.chance.below(400) as usize];
                batch.put(&key, &value);
                next.insert(key, value);
            }
        }
        (batch, next)
    }

    /// Commits something; whether that succeeded.
    fn commit(&mut self) -> bool {
        let (batch, next) = self.change();
        self.possible.push(next.clone());
        self.promise();
        let ledger = self.ledger.as_ref().expect("a ledger");
        let done = ledger.commit(batch).is_ok();
        if self.waits {
            // What goes on beside commits then takes place at the same moments each time.
            ledger.inner.tender.wait_until_idle();
        }
        if done {
            self.possible = vec![next.clone()];
            self.now = next;
            self.promise();
        } else {
            self.look();
        }
        done
    }

    /// Ends the process.
    fn end(&mut self) {
        let Some(ledger) = self.ledger.take() else { return };
        if self.chance.below(2) == 0 {
            super::tests::kill(ledger);
        }
    }

    /// Compares what a power cut leaves with what is possible then, and goes on with that.
    fn cut(&mut self, moment: usize) {
        let after = folder();
        let promised = self.trial.power_cut(moment, after.path(), &mut self.chance);
        let Some(promised) = promised.last() else { return };
        let possible = &self.promises[*promised];
        let ledger = Ledger::open(after.path(), settings(true)).expect("a ledger");
        assert_eq!(ledger.lost(), None, "at moment {moment}");
        let found = all(&ledger, b"");
        assert!(possible.contains(&found), "something was lost at moment {moment}");
        let mut batch = Batch::new();
        batch.put(b"after", b"the cut");
        ledger.commit(batch).expect("a commit");
        drop(ledger);
        let ledger = Ledger::open(after.path(), settings(true)).expect("a ledger");
        assert_eq!(all(&ledger, b"k"), found, "at moment {moment}");
        assert!(ledger.check(None).expect("a check").is_empty());
    }

    /// The disk is well: the ledger must take what comes, and nothing half-written may stay.
    fn goes_on(&mut self) {
        self.trial.set(None);
        assert!(self.commit(), "it does not go on");
        self.look();
        drop(self.ledger.take());
        self.open();
        let names = super::tests::names(self.place.path(), "");
        let half = names
            .iter()
            .find(|path| path.extension().is_some_and(|e| e == "new"));
        assert_eq!(half, None);
        let logs = names
            .iter()
            .filter(|path| path.extension().is_some_and(|e| e == "log"));
        assert_eq!(logs.count(), 0, "a ledger that was closed has no log");
    }
}

/// A life of a ledger: commits, with a kill in their middle.
fn life(driven: &mut Driven) {
    driven.open();
    for number in 0..40 {
        driven.commit();
        if number == 25 {
            driven.end();
            driven.open();
        }
    }
}

#[test]
fn whichever_operation_of_the_disk_fails_nothing_is_lost_and_commits_go_on() {
    for (durable, seed) in [(true, 2), (false, 4)] {
        let mut well = Driven::new(seed, durable);
        well.trial.set(None);
        let path = well.place.path().to_owned();
        well.ledger = Some(Ledger::open(&path, settings(durable)).expect("a ledger"));
        (0..26).for_each(|_| assert!(well.commit()));
        let operations = well.trial.count();
        assert!(operations > 40, "{operations}");
        for number in 1..=operations {
            for error in ERRORS {
                for fault in [Fault::Once(number, error), Fault::From(number, error)] {
                    let mut driven = Driven::new(seed, durable);
                    driven.trial.set(Some(fault));
                    let opened = Ledger::open(driven.place.path(), settings(durable));
                    match opened {
                        Ok(ledger) => driven.ledger = Some(ledger),
                        Err(_) => driven.open(),
                    }
                    // A commit that failed has ended the fault.
                    let mut failures = (0..26).filter(|_| !driven.commit()).count();
                    failures += usize::from(driven.trial.failed().is_some());
                    assert!(failures <= 2, "{fault:?}");
                    driven.goes_on();
                    if durable {
                        driven.cut(driven.trial.moments());
                    }
                }
            }
        }
    }
}

#[test]
fn a_power_cut_at_any_moment_takes_nothing_that_was_acknowledged() {
    for seed in 0..rounds(2) {
        let mut driven = Driven::new(seed, true);
        life(&mut driven);
        for moment in 0..=driven.trial.moments() {
            driven.cut(moment);
        }
    }
}

#[test]
fn faults_kills_and_power_cuts_in_any_order_lose_nothing() {
    for seed in 0..rounds(60) {
        let mut driven = Driven::new(seed, true);
        driven.open();
        for _ in 0..60 {
            match driven.chance.below(20) {
                0 => {
                    driven.end();
                    driven.open();
                }
                1..5 => {
                    let error = ERRORS[driven.chance.below(3) as usize];
                    let number = 1 + driven.chance.below(12) as usize;
                    let fault = match driven.chance.below(3) {
                        0 => Fault::From(number, error),
                        _ => Fault::Once(number, error),
                    };
                    driven.trial.set(Some(fault));
                }
                _ => {
                    driven.commit();
                }
            }
        }
        for _ in 0..12 {
            let moment = driven.chance.below(driven.trial.moments() as u64 + 1) as usize;
            driven.cut(moment);
        }
        driven.goes_on();
    }
}

#[test]
fn a_table_that_is_damaged_keeps_no_commit_from_being_made_after_a_sync_has_failed() {
    let place = folder();
    let trial = Trial::new(place.path());
    let put = |ledger: &Ledger, number: usize| {
        let mut batch = Batch::new();
        batch.put(format!("key {number}").as_bytes(), &[7; 300]);
        ledger.commit(batch)
    };
    for number in 0..21 {
        // Tables of three logs each, too few to be merged.
        let ledger = Ledger::open(place.path(), settings(true)).expect("a ledger");
        if number < 3 {
            (0..7).for_each(|n| put(&ledger, 7 * number + n).expect("a commit"));
        }
    }
    let table = super::tests::names(place.path(), ".table").remove(0);
    let mut bytes = std::fs::read(&table).expect("a table");
    bytes[100] ^= 1;
    std::fs::write(&table, bytes).expect("a table");
    let ledger = Ledger::open(place.path(), settings(true)).expect("a ledger");
    for number in 100..140 {
        put(&ledger, number).expect("a commit");
    }
    // The sync of the next commit fails.
    trial.set(Some(Fault::Once(2, EIO)));
    while put(&ledger, 200).is_ok() {
        trial.set(Some(Fault::Once(2, EIO)));
    }
    trial.set(None);
    for number in 300..320 {
        put(&ledger, number).expect("a commit");
    }
}
