//! Commits that share a write and a sync.
//!
//! Who comes first writes for all who wait by then; who comes while that takes place waits, and one of them writes next for all of
//! those. So with many writers there are few syncs, and with one there is no wait.

use super::lock;
use std::{
    collections::HashMap,
    io,
    sync::{Arc, Condvar, Mutex, PoisonError},
};

/// Bytes after which a group takes no more commits.
const GROUP_BYTES: usize = 4 << 20;

#[derive(Debug, Default)]
pub(super) struct Group {
    turns: Mutex<Turns>,
    done: Condvar,
}

#[derive(Debug, Default)]
struct Turns {
    waiting: Vec<Vec<u8>>,
    /// Number of the first that waits.
    first: u64,
    /// Commits with a lower number are over.
    finished: u64,
    is_writing: bool,
    /// How those ended that failed, until who waits has asked.
    failed: HashMap<u64, Arc<io::Error>>,
}

impl Group {
    /// Commits a payload by `write`, which is given it with others, in order, by this caller or by another. The result of that call
    /// is the result of all of them.
    pub(super) fn commit(
        &self,
        payload: Vec<u8>,
        write: impl Fn(&[Vec<u8>]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut turns = lock(&self.turns);
        let mine = turns.first + turns.waiting.len() as u64;
        turns.waiting.push(payload);
        loop {
            if turns.finished > mine {
                return match turns.failed.remove(&mine) {
                    Some(error) => Err(again(&error)),
                    None => Ok(()),
                };
            }
            if turns.is_writing {
                turns = self.done.wait(turns).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let payloads = turns.take();
            let numbers = turns.first..turns.first + payloads.len() as u64;
            turns.first = numbers.end;
            turns.is_writing = true;
            drop(turns);
            let result = write(&payloads).map_err(Arc::new);
            turns = lock(&self.turns);
            turns.is_writing = false;
            turns.finished = numbers.end;
            if let Err(error) = result {
                turns.failed.extend(numbers.map(|number| (number, error.clone())));
            }
            self.done.notify_all();
        }
    }
}

impl Turns {
    /// The commits that are written next: all who wait, unless they are too many bytes.
    fn take(&mut self) -> Vec<Vec<u8>> {
        let mut bytes = 0;
        let count = self
            .waiting
            .iter()
            .take_while(|payload| {
                let fits = bytes == 0 || bytes + payload.len() <= GROUP_BYTES;
                bytes += payload.len();
                fits
            })
            .count();
        self.waiting.drain(..count).collect()
    }
}

/// The same error for one more who waited.
fn again(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        thread,
        time::Duration,
    };

    #[test]
    fn who_waits_shares_a_write_and_each_learns_how_its_own_ended() {
        let (group, writes, written) = (Group::default(), AtomicUsize::new(0), Mutex::new(Vec::new()));
        let write = |payloads: &[Vec<u8>]| {
            writes.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(2));
            if payloads.iter().any(|payload| payload == b"bad") {
                return Err(io::ErrorKind::StorageFull.into());
            }
            lock(&written).extend(payloads.to_vec());
            Ok(())
        };
        let mut failed = 0;
        thread::scope(|scope| {
            let commit = |n: u32| {
                let payload = if n == 7 {
                    b"bad".to_vec()
                } else {
                    n.to_le_bytes().to_vec()
                };
                let result = group.commit(payload.clone(), write);
                (payload, result)
            };
            let all: Vec<_> = (0..64).map(|n| scope.spawn(move || commit(n))).collect();
            for one in all {
                let (payload, result) = one.join().expect("a commit");
                match result {
                    Ok(()) => assert!(lock(&written).contains(&payload)),
                    Err(error) => {
                        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
                        assert!(!lock(&written).contains(&payload));
                        failed += 1;
                    }
                }
            }
        });
        assert!(failed >= 1);
        assert_eq!(lock(&written).len() + failed, 64);
        assert!(lock(&group.turns).failed.is_empty());
        assert!(writes.load(Ordering::Relaxed) < 64, "nobody shared");
    }
}
