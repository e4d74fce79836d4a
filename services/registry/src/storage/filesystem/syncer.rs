//! Makes what was written durable, in a way that concurrent writers share.
//!
//! One `syncfs` brings everything written before it to the disk: files, folders and renames. A writer that arrives while
//! one is running waits for the next, together with all others who arrived; so with many writers there are few syncs.

use std::{
    fs::File,
    io,
    path::Path,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

/// The one place that syncs a store's file system.
#[derive(Debug)]
pub(super) struct Syncer {
    root: File,
    turns: Mutex<Turns>,
    done: Condvar,
}

#[derive(Debug, Default)]
struct Turns {
    /// Number of the sync that covers what is written from now on.
    next: u64,
    /// Syncs with a lower number are over.
    finished: u64,
    /// Whether one is running.
    running: bool,
    /// The last sync that failed, and how.
    failed: Option<(u64, io::ErrorKind)>,
}

impl Syncer {
    pub(super) fn open(root: &Path) -> io::Result<Syncer> {
        Ok(Syncer {
            root: File::open(root)?,
            turns: Mutex::default(),
            done: Condvar::new(),
        })
    }

    /// Returns when everything written before the call is durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        let mut turns = self.turns();
        let mine = turns.next;
        loop {
            if turns.finished > mine {
                return match turns.failed {
                    Some((number, kind)) if number >= mine => Err(kind.into()),
                    _ => Ok(()),
                };
            }
            if turns.running {
                turns = self.done.wait(turns).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            turns.running = true;
            let number = turns.next;
            turns.next += 1;
            drop(turns);
            let result = self.sync_file_system();
            turns = self.turns();
            turns.running = false;
            turns.finished = number + 1;
            if let Err(error) = result {
                turns.failed = Some((number, error.kind()));
            }
            self.done.notify_all();
        }
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(target_os = "linux")]
    fn sync_file_system(&self) -> io::Result<()> {
        rustix::fs::syncfs(&self.root).map_err(io::Error::from)
    }

    /// Elsewhere there is `sync` for all file systems, which cannot tell of a failure.
    #[cfg(not(target_os = "linux"))]
    fn sync_file_system(&self) -> io::Result<()> {
        rustix::fs::sync();
        self.root.sync_all()
    }
}
