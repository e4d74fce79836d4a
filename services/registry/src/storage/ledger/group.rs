//! Commits that share a write and a sync.
//!
//! Who comes first writes for all who wait by then; who comes while that takes place waits, and one of them writes next for all of
//! those. So with many writers there are few syncs, and with one there is no wait.

use super::lock;
use std::{
    io,
    sync::{Arc, Mutex},
    thread::{self, Thread},
};

/// Bytes after which a group takes no more commits.
const GROUP_BYTES: usize = 4 << 20;

#[derive(Debug, Default)]
pub(super) struct Group(Mutex<Turns>);

#[derive(Debug, Default)]
struct Turns {
    /// Empty while nobody writes.
    waiting: Vec<(Vec<u8>, Arc<Turn>)>,
    is_writing: bool,
}

/// One who commits. Each is woken alone, and only when there is something for it: waking all for each group costs more than
/// the commits themselves.
#[derive(Debug)]
struct Turn {
    thread: Thread,
    told: Mutex<Option<Told>>,
}

#[derive(Debug)]
enum Told {
    /// The next group is to be written, and one's own commit is the first in it.
    Write,
    /// One's own commit is over.
    Done(io::Result<()>),
}

impl Group {
    /// Commits a payload by `write`, which is given it with others, in order, by this caller or by another. The result of that call
    /// is the result of all of them.
    pub(super) fn commit(
        &self,
        payload: Vec<u8>,
        write: impl Fn(&[Vec<u8>]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mine = Turn::new();
        let is_first = {
            let mut turns = lock(&self.0);
            turns.waiting.push((payload, Arc::clone(&mine)));
            !std::mem::replace(&mut turns.is_writing, true)
        };
        if !is_first {
            if let Told::Done(result) = mine.wait() {
                return result;
            }
            // Where many commit, others are just about to: they can share this sync instead of the next.
            thread::yield_now();
        }
        let (payloads, members) = lock(&self.0).take();
        let mut lead = Lead {
            group: self,
            members,
            result: Err(io::Error::other("the commit was given up")),
        };
        lead.result = write(&payloads);
        again(&lead.result)
    }
}

/// The turn to write for all of a group. Its end, even by a panic, tells the others how their commits ended, and gives the turn to
/// the next: nobody waits for ever.
struct Lead<'a> {
    group: &'a Group,
    /// The one who leads is the first.
    members: Vec<Arc<Turn>>,
    result: io::Result<()>,
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        for other in self.members.iter().skip(1) {
            other.tell(Told::Done(again(&self.result)));
        }
        let mut turns = lock(&self.group.0);
        match turns.waiting.first() {
            Some((_, next)) => next.tell(Told::Write),
            None => turns.is_writing = false,
        }
    }
}

impl Turns {
    /// The commits that are written next: all who wait, unless they are too many bytes. The first is always among them.
    fn take(&mut self) -> (Vec<Vec<u8>>, Vec<Arc<Turn>>) {
        let mut bytes = 0;
        let count = self
            .waiting
            .iter()
            .take_while(|(payload, _)| {
                let fits = bytes == 0 || bytes + payload.len() <= GROUP_BYTES;
                bytes += payload.len();
                fits
            })
            .count();
        self.waiting.drain(..count).unzip()
    }
}

impl Turn {
    fn new() -> Arc<Turn> {
        Arc::new(Turn {
            thread: thread::current(),
            told: Mutex::new(None),
        })
    }

    fn tell(&self, told: Told) {
        *lock(&self.told) = Some(told);
        self.thread.unpark();
    }

    fn wait(&self) -> Told {
        loop {
            // In a statement of its own: nobody could tell anything while it is locked.
            let told = lock(&self.told).take();
            match told {
                Some(told) => return told,
                // It may return for no reason, or for one that is over.
                None => thread::park(),
            }
        }
    }
}

/// The same result for one more who waited.
fn again(result: &io::Result<()>) -> io::Result<()> {
    match result {
        Ok(()) => Ok(()),
        Err(error) => Err(match error.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(error.kind(), error.to_string()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
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
        assert!(lock(&group.0).waiting.is_empty() && !lock(&group.0).is_writing);
        assert!(writes.load(Ordering::Relaxed) < 64, "nobody shared");
    }

    #[test]
    fn a_panic_of_one_who_writes_fails_its_group_and_no_other() {
        let group = Group::default();
        let write = |payloads: &[Vec<u8>]| {
            thread::sleep(Duration::from_millis(2));
            assert!(
                !payloads.iter().any(|payload| payload == b"panic"),
                "as asked for"
            );
            Ok(())
        };
        thread::scope(|scope| {
            let commits: Vec<_> = (0..32)
                .map(|n| if n == 5 { b"panic".to_vec() } else { vec![n] })
                .map(|payload| {
                    scope.spawn({
                        let group = &group;
                        move || group.commit(payload, write)
                    })
                })
                .collect();
            let panicked = commits.into_iter().map(thread::ScopedJoinHandle::join);
            assert_eq!(panicked.filter(Result::is_err).count(), 1);
        });
        assert!(group.commit(b"after".to_vec(), write).is_ok());
    }
}
