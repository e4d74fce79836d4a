//! A ledger: many small values under keys in order, in a few files that are only ever appended to or replaced whole.
//!
//! ```text
//! version                        format of the other files
//! <number>-<mark>.log            what was committed last, in frames
//! <first>-<last>.table           what the logs of these numbers held, sorted
//! ```
//!
//! A commit is written to the log and applied to memory. When memory has grown to a bound, a new log is begun and a thread
//! writes what memory held to a table; tables of like size are merged into one. A value is looked for in memory first and
//! then in the tables, newest first. So a commit costs one write and one sync, whatever is stored, and whoever commits
//! meanwhile shares the next sync.
//!
//! The names say all that there is to know at a start: a table replaces the logs of its numbers and the tables within them, so
//! whatever a crash leaves behind is told from what counts, and no file is a list of the others.
//!
//! A frame is the commits that shared a sync: after a power cut it is there whole or not at all. Frames and blocks of tables carry
//! checksums. What does not match its own is never read as something else: the keys in it fail, all others go on.

mod bloom;
mod codec;
mod group;
mod log;
mod memory;
mod names;
mod open;
mod scan;
mod table;
mod tend;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trials;

use bytes::Bytes;
use group::Group;
use log::Log;
use memory::Memory;
use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};
use table::Table;
use tend::Tender;

pub(super) use codec::Batch;

/// How often the bytes that memory is meant to hold it may hold at most.
const AT_MOST: u64 = 8;

/// What is stored under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    /// The bytes.
    pub(super) bytes: Bytes,
    /// When it was put, in milliseconds since 1970.
    pub(super) millis: u64,
}

impl Value {
    /// The same in memory of its own. In a log's memory it is a part of a frame, and whoever kept it would keep all of that.
    fn own(&self) -> Value {
        Value {
            bytes: Bytes::copy_from_slice(&self.bytes),
            millis: self.millis,
        }
    }

    /// When it was put.
    pub(super) fn time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.millis)
    }
}

/// What is known of a key: its value, or `None` if it was removed.
type Entry = Option<Value>;

/// A ledger in a folder that belongs to this process alone. Dropping it waits for its thread.
pub(super) struct Ledger {
    inner: Arc<Inner>,
}

/// How a ledger is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// Whether commits and tables are brought to the disk before they count.
    pub(super) durable: bool,
    /// Bytes of logs after which memory is written to a table. No commit goes beyond eight times as many: it waits, and fails if
    /// no table can be written.
    pub(super) memory_bytes: u64,
}

impl Settings {
    /// The usual ones.
    pub(super) fn new(durable: bool) -> Settings {
        Settings {
            durable,
            memory_bytes: 2 << 20,
        }
    }
}

struct Inner {
    folder: PathBuf,
    settings: Settings,
    group: Group,
    /// Held by the one commit that writes for all.
    log: Mutex<Log>,
    view: RwLock<View>,
    tender: Tender,
    /// Whether there were tables to merge at the start: done beside the first commits, because many never commit.
    has_many_tables: AtomicBool,
    /// Ends long work early.
    stopping: AtomicBool,
    /// What was found damaged at the start in a way that does not tell which keys are lost.
    lost: Mutex<Vec<String>>,
}

/// What readers look at.
struct View {
    active: Memory,
    /// Being written to a table.
    frozen: Option<Arc<Memory>>,
    /// Newest first.
    tables: Arc<[Arc<Table>]>,
}

impl Ledger {
    /// The value under a key.
    ///
    /// # Errors
    /// `InvalidData` if the place that it would stand at is damaged.
    pub(super) fn get(&self, key: &[u8]) -> io::Result<Option<Value>> {
        let (frozen, tables) = {
            let view = self.inner.view();
            if let Some(entry) = view.active.get(key) {
                return Ok(entry.as_ref().map(Value::own));
            }
            (view.frozen.clone(), view.tables.clone())
        };
        if let Some(entry) = frozen.as_ref().and_then(|memory| memory.get(key)) {
            return Ok(entry.as_ref().map(Value::own));
        }
        for table in tables.iter() {
            if let Some(entry) = table.get(key)? {
                return Ok(entry);
            }
        }
        Ok(None)
    }

    /// Visits the keys that begin with a prefix, in order, until the visitor returns `false`.
    ///
    /// # Errors
    /// `InvalidData` if some place that such keys would stand at is damaged.
    pub(super) fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &Value) -> bool) -> io::Result<()> {
        let mut sources = scan::Sources::default();
        let tables = {
            let view = self.inner.view();
            sources.add_memory(&view.active, prefix);
            if let Some(frozen) = &view.frozen {
                sources.add_memory(frozen, prefix);
            }
            view.tables.clone()
        };
        for table in tables.iter() {
            sources.add_table(table.clone(), prefix);
        }
        while let Some((key, entry)) = sources.next()? {
            if !key.starts_with(prefix) {
                break;
            }
            if let Some(value) = entry
                && !visit(&key, &value)
            {
                break;
            }
        }
        Ok(())
    }

    /// Applies all changes of a batch, in order. They are seen when they are written, and durable when this returns, if the
    /// ledger was opened so.
    ///
    /// # Errors
    /// The log could not be written: nothing was applied. Or it could not be synced: the batch is seen, and may be lost if power
    /// is.
    pub(super) fn commit(&self, batch: Batch) -> io::Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let payload = batch.into_payload();
        if self.inner.settings.durable {
            let write = |payloads: &[Vec<u8>]| self.inner.write(payloads);
            self.inner.group.commit(payload, write)
        } else {
            // Without a sync there is nothing worth sharing: to wait for one's turn takes longer than to write.
            self.inner.write(&[payload])
        }
    }

    /// What was found damaged at the start in a way that does not tell which keys are lost, in words.
    pub(super) fn lost(&self) -> Option<String> {
        lock(&self.inner.lost).first().cloned()
    }

    /// Reads everything; what is damaged. With `mend`, what cannot be read is dropped, after the files that it stands in were
    /// copied to `aside`.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub(super) fn check(&self, mend: Option<&Path>) -> io::Result<Vec<String>> {
        self.inner.check(mend)
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.inner.stop();
    }
}

impl Inner {
    fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn view_mut(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what several commits want in one frame, applies it, and makes it durable.
    fn write(self: &Arc<Inner>, payloads: &[Vec<u8>]) -> io::Result<()> {
        let mut log = lock(&self.log);
        self.make_room(&mut log)?;
        let payload = log.append(payloads)?;
        {
            let mut view = self.view_mut();
            for (key, entry) in codec::entries(&payload).flatten() {
                view.active.set(key, entry);
            }
            view.active.grow(payload.len() as u64, log.number());
        }
        if self.settings.durable {
            log.sync()?;
        }
        Ok(())
    }

    /// Begins a new log if memory has had enough of this one, or if this one cannot be trusted any more.
    fn make_room(self: &Arc<Inner>, log: &mut Log) -> io::Result<()> {
        let (bytes, is_frozen) = {
            let view = self.view();
            (view.active.log_bytes(), view.frozen.is_some())
        };
        // The system may have dropped what it could not sync: it is written again, to a table.
        let must = log.is_unsure() || bytes >= AT_MOST * self.settings.memory_bytes;
        if must && is_frozen {
            self.write_all_frozen()?;
        }
        if must || (bytes >= self.settings.memory_bytes && !is_frozen) {
            self.turn_over(log);
        }
        if must {
            self.write_all_frozen()?;
            log.forgive();
        } else if self.view().frozen.is_some() || self.has_many_tables.swap(false, Relaxed) {
            self.tender.wake(self);
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A place whose bytes are not what was written there.
fn damaged(what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what} is damaged"))
}
