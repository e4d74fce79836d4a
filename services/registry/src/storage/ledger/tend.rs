//! What goes on beside commits: memory is written to tables, tables are merged, damage is looked for.

use super::{
    Inner, View, lock,
    log::Log,
    memory::Memory,
    names::{Listing, TableName},
    open::file_name,
    scan::Sources,
    table::{self, Table},
};
use crate::storage::disk;
use std::{
    io,
    path::Path,
    sync::{Arc, Condvar, Mutex, PoisonError, atomic::Ordering::Relaxed},
    thread::JoinHandle,
    time::Duration,
};

/// As many tables of like size are merged at once.
const MERGED_AT_ONCE: usize = 4;

/// How long a thread that failed waits before it tries again.
const RETRY: Duration = Duration::from_millis(if cfg!(test) { 10 } else { 1000 });

/// Entries after which a merge looks whether something else is to be done.
const LOOK_UP: u64 = 4096;

/// The thread that tends a ledger. It is there only while there is something to do.
#[derive(Debug, Default)]
pub(super) struct Tender {
    state: Mutex<State>,
    woken: Condvar,
    /// Held while files are written or replaced.
    work: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    thread: Option<JoinHandle<()>>,
    is_running: bool,
    is_wanted: bool,
    is_over: bool,
}

impl Tender {
    /// Sees to it that all is tended to, soon.
    pub(super) fn wake(&self, inner: &Arc<Inner>) {
        let mut state = lock(&self.state);
        state.is_wanted = true;
        if state.is_running || state.is_over {
            return;
        }
        if let Some(finished) = state.thread.take() {
            let _ = finished.join();
        }
        let tended = inner.clone();
        match std::thread::Builder::new()
            .name("ledger".into())
            .spawn(move || tended.run())
        {
            Ok(thread) => {
                state.is_running = true;
                state.thread = Some(thread);
            }
            // The next commit tries again, and the one that finds memory full does it itself.
            Err(error) => ::log::warn!("no thread to tend the records: {error}"),
        }
    }

    /// Waits until the thread has ended, and lets no other begin.
    pub(super) fn join(&self) {
        let thread = {
            let mut state = lock(&self.state);
            state.is_over = true;
            self.woken.notify_all();
            state.thread.take()
        };
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }

    /// Waits until there is nothing to do, or a failure is waited for to pass.
    #[cfg(test)]
    pub(super) fn wait_until_idle(&self) {
        let began = std::time::Instant::now();
        while lock(&self.state).is_running && began.elapsed() < 5 * RETRY {
            std::thread::yield_now();
        }
    }

    /// Whether there is more to do; if not, the thread is no longer counted as running.
    fn goes_on(&self) -> bool {
        let mut state = lock(&self.state);
        state.is_running = state.is_wanted && !state.is_over;
        state.is_wanted = false;
        state.is_running
    }

    fn rest(&self) {
        let mut state = lock(&self.state);
        state.is_wanted = true;
        if !state.is_over {
            drop(
                self.woken
                    .wait_timeout(state, RETRY)
                    .unwrap_or_else(PoisonError::into_inner),
            );
        }
    }
}

impl Inner {
    fn run(&self) {
        let mut has_complained = false;
        while self.tender.goes_on() {
            let Err(error) = self.tend() else { continue };
            if !has_complained {
                ::log::error!(
                    "cannot write the records' tables in {}: {error}",
                    self.folder.display()
                );
            }
            has_complained = true;
            if !table::is_damage(&error) {
                self.tender.rest();
            }
        }
    }

    /// Writes frozen memory to a table, and merges tables until that is worth it no more.
    pub(super) fn tend(&self) -> io::Result<()> {
        let _work = lock(&self.tender.work);
        self.write_frozen()?;
        while !self.stopping.load(Relaxed) {
            let due = due(&self.view().tables);
            if due.is_empty() {
                break;
            }
            self.merge(&due)?;
            self.write_frozen()?;
        }
        Ok(())
    }

    /// Writes frozen memory to a table, for a commit that cannot go on without. Tables may wait to be merged, or be damaged, and
    /// that must not keep a commit from being made.
    pub(super) fn write_all_frozen(&self) -> io::Result<()> {
        let _work = lock(&self.tender.work);
        self.write_frozen()
    }

    fn write_frozen(&self) -> io::Result<()> {
        let Some(frozen) = self.view().frozen.clone() else {
            return Ok(());
        };
        let table = self.write_memory(&frozen)?;
        {
            let mut view = self.view_mut();
            view.frozen = None;
            view.tables = table
                .into_iter()
                .map(Arc::new)
                .chain(view.tables.iter().cloned())
                .collect();
        }
        self.remove_obsolete()
    }

    fn write_memory(&self, memory: &Memory) -> io::Result<Option<Table>> {
        let Some((first, last)) = memory.logs() else {
            return Ok(None);
        };
        let mut writer = table::Writer::create(&self.folder, TableName { first, last }, memory.len())?;
        memory
            .iter()
            .try_for_each(|(key, entry)| writer.add(key, entry))?;
        writer.finish(self.settings.durable).map(Some)
    }

    /// Makes one table of several that follow each other.
    fn merge(&self, tables: &[Arc<Table>]) -> io::Result<()> {
        let mut sources = Sources::default();
        tables
            .iter()
            .for_each(|table| sources.add_table(table.clone(), &[]));
        if let Some(merged) = self.write_merged(tables, &mut sources)? {
            self.replace(tables, merged);
            self.remove_obsolete()?;
        }
        Ok(())
    }

    /// `None` if the ledger is being closed: a merge can be made again.
    fn write_merged(&self, tables: &[Arc<Table>], sources: &mut Sources) -> io::Result<Option<Table>> {
        let (Some(newest), Some(oldest)) = (tables.first(), tables.last()) else {
            return Ok(None);
        };
        let name = TableName {
            first: oldest.name.first,
            last: newest.name.last,
        };
        // Below the oldest of all there is nothing that a removal could still hide.
        let is_all = self
            .view()
            .tables
            .last()
            .is_some_and(|last| last.name == oldest.name);
        let keys: u64 = tables.iter().map(|table| table.keys).sum();
        let mut writer =
            table::Writer::create(&self.folder, name, usize::try_from(keys).unwrap_or(usize::MAX))?;
        let mut entries = 0u64;
        while let Some((key, entry)) = sources.next()? {
            entries += 1;
            if entries.is_multiple_of(LOOK_UP) {
                if self.stopping.load(Relaxed) {
                    return Ok(None);
                }
                // Commits must not wait for a merge, however long it takes.
                self.write_frozen()?;
            }
            if entry.is_some() || !is_all {
                writer.add(&key, &entry)?;
            }
        }
        writer.finish(self.settings.durable).map(Some)
    }

    fn replace(&self, old: &[Arc<Table>], new: Table) {
        let mut view = self.view_mut();
        let is_old = |table: &Arc<Table>| old.iter().any(|old| old.name == table.name);
        let mut new = Some(Arc::new(new));
        let mut tables = Vec::new();
        for table in view.tables.iter() {
            if !is_old(table) {
                tables.push(table.clone());
            } else if let Some(new) = new.take() {
                tables.push(new);
            }
        }
        view.tables = tables.into();
    }

    /// Removes the files that others have replaced.
    fn remove_obsolete(&self) -> io::Result<()> {
        for path in Listing::read(&self.folder)?.obsolete {
            disk::remove(&path)?;
        }
        Ok(())
    }

    /// See [`super::Ledger::check`].
    pub(super) fn check(&self, aside: Option<&Path>) -> io::Result<Vec<String>> {
        let mut log = lock(&self.log);
        let _work = lock(&self.tender.work);
        let mut all = lock(&self.lost).clone();
        let tables = self.view().tables.clone();
        for table in tables.iter() {
            let file = file_name(table.path());
            let mut found: Vec<String> = table
                .has_damaged_index
                .then(|| format!("the index of {file} is damaged"))
                .into_iter()
                .collect();
            let mut sources = Sources::default();
            sources.add_what_is_left_of(table.clone());
            while sources.next()?.is_some() {}
            found.extend(sources.damage());
            if !found.is_empty()
                && let Some(aside) = aside
            {
                self.mend(table, aside)?;
            }
            all.append(&mut found);
        }
        if let Some(aside) = aside {
            self.mend_logs(&mut log, aside)?;
        }
        Ok(all)
    }

    /// Writes a table again without what cannot be read.
    fn mend(&self, table: &Arc<Table>, aside: &Path) -> io::Result<()> {
        copy_to(table.path(), aside)?;
        let mut sources = Sources::default();
        sources.add_what_is_left_of(table.clone());
        let one = std::slice::from_ref(table);
        if let Some(mended) = self.write_merged(one, &mut sources)? {
            self.replace(one, mended);
        }
        Ok(())
    }

    /// Writes what damaged logs hold to a table, which takes their place.
    fn mend_logs(&self, log: &mut Log, aside: &Path) -> io::Result<()> {
        if lock(&self.lost).is_empty() {
            return Ok(());
        }
        for name in Listing::read(&self.folder)?.logs {
            copy_to(&name.path(&self.folder), aside)?;
        }
        self.turn_over(log);
        self.write_frozen()?;
        lock(&self.lost).clear();
        Ok(())
    }

    /// Ends the thread. What is in memory alone becomes a table: the next start has no log to read, and what is damaged in a
    /// table is told key by key.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Relaxed);
        self.tender.join();
        if !lock(&self.lost).is_empty() {
            return;
        }
        let written = self.tend().and_then(|()| {
            self.turn_over(&mut lock(&self.log));
            self.tend()
        });
        if let Err(error) = written {
            ::log::warn!("the next start reads the log again, as no table could be written: {error}");
        }
    }

    /// Freezes what memory holds, and lets the next frame begin a new log.
    pub(super) fn turn_over(&self, log: &mut Log) {
        let mut guard = self.view_mut();
        let View { active, frozen, .. } = &mut *guard;
        if frozen.is_none() && active.logs().is_some() {
            log.end();
            *frozen = Some(Arc::new(std::mem::take(active)));
        }
    }
}

/// The newest tables that are worth to be merged: as many as it takes until the next is more than twice as large as all of them.
pub(super) fn due(tables: &[Arc<Table>]) -> Vec<Arc<Table>> {
    let mut bytes = 0;
    let count = tables
        .iter()
        .take_while(|table| {
            let is_like = bytes == 0 || table.bytes <= 2 * bytes;
            bytes += table.bytes;
            is_like
        })
        .count();
    match count >= MERGED_AT_ONCE {
        true => tables[..count].to_vec(),
        false => Vec::new(),
    }
}

fn copy_to(file: &Path, folder: &Path) -> io::Result<()> {
    disk::make_folder(folder)?;
    disk::copy(file, &folder.join(file.file_name().unwrap_or_default()))
}
