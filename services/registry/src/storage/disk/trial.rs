//! A disk on trial: a folder whose operations fail as a test says, and whose state after a power cut can be made.
//!
//! While a trial of a folder lives, everything that is done to files below it is written down. [`Trial::power_cut`] makes a
//! folder that holds what a disk may hold if the power went at one moment: of each file what was synced, and of what was
//! written since, any sectors or none; of the names in each folder what was synced, and of the changes since, those before a
//! moment of their own, or any. So nothing is there only because this machine's file system is kind.
//!
//! A sync that fails makes the system take its bytes for written: no later sync brings them to the disk.

use super::Operation;
use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

const SECTOR_BYTES: u64 = 512;

static TRIALS: RwLock<Vec<Arc<Inner>>> = RwLock::new(Vec::new());

/// Which operations fail, counted from one, and with which error of the system.
#[derive(Clone, Copy, Debug)]
pub(in crate::storage) enum Fault {
    /// This one.
    Once(usize, i32),
    /// This one and all after it.
    From(usize, i32),
}

/// What took place, in its order.
#[derive(Clone, Debug)]
enum Event {
    Create(PathBuf),
    Write(PathBuf, u64, Vec<u8>),
    SetLen(PathBuf, u64),
    Sync(PathBuf),
    FailedSync(PathBuf),
    SyncFolder(PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    /// The test was promised something.
    Promise(usize),
}

/// A folder for a trial; in memory where that is possible, as there are many syncs.
pub(in crate::storage) fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a folder")
}

/// How many rounds of chance a test takes: few, or what `STORAGE_TRIALS` says.
pub(in crate::storage) fn rounds(few: u64) -> u64 {
    std::env::var("STORAGE_TRIALS")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(few)
}

/// Chance that a seed repeats (xorshift64*).
#[derive(Debug)]
pub(in crate::storage) struct Chance(u64);

impl Chance {
    pub(in crate::storage) fn new(seed: u64) -> Chance {
        Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number less than `limit`, which is not zero.
    pub(in crate::storage) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }
}

/// A folder on trial, until this is dropped.
pub(in crate::storage) struct Trial(Arc<Inner>);

struct Inner {
    root: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    fault: Option<Fault>,
    count: usize,
    /// What failed first.
    failed: Option<String>,
    events: Vec<Event>,
}

impl Trial {
    pub(in crate::storage) fn new(root: &Path) -> Trial {
        let inner = Arc::new(Inner {
            root: root.to_owned(),
            state: Mutex::default(),
        });
        TRIALS
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(inner.clone());
        Trial(inner)
    }

    /// Says what fails from now on, and counts from the beginning again.
    pub(in crate::storage) fn set(&self, fault: Option<Fault>) {
        let mut state = self.0.state();
        (state.fault, state.count, state.failed) = (fault, 0, None);
    }

    /// Operations since the last [`Trial::set`].
    pub(in crate::storage) fn count(&self) -> usize {
        self.0.state().count
    }

    /// What failed first since the last [`Trial::set`].
    pub(in crate::storage) fn failed(&self) -> Option<String> {
        self.0.state().failed.clone()
    }

    /// Notes that the test has been promised something by now.
    pub(in crate::storage) fn promised(&self, what: usize) {
        self.0.state().events.push(Event::Promise(what));
    }

    /// How many events there were: moments at which the power can go.
    pub(in crate::storage) fn moments(&self) -> usize {
        self.0.state().events.len()
    }

    /// Makes `folder` what a disk may hold if the power went at a moment; what had been promised by then.
    pub(in crate::storage) fn power_cut(
        &self,
        moment: usize,
        folder: &Path,
        chance: &mut Chance,
    ) -> Vec<usize> {
        let state = self.0.state();
        let mut disk = Disk::default();
        let mut promises = Vec::new();
        for event in &state.events[..moment] {
            match event {
                Event::Promise(what) => promises.push(*what),
                event => disk.apply(event),
            }
        }
        disk.lose_power(chance);
        disk.write_to(&self.0.root, folder);
        promises
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        let mut trials = TRIALS.write().unwrap_or_else(PoisonError::into_inner);
        trials.retain(|trial| !Arc::ptr_eq(trial, &self.0));
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does what is asked, unless it is on trial and is to fail.
pub(super) fn carry_out<T>(
    operation: &Operation<'_>,
    action: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    let path = operation.path();
    let trial = {
        let trials = TRIALS.read().unwrap_or_else(PoisonError::into_inner);
        trials.iter().find(|trial| path.starts_with(&trial.root)).cloned()
    };
    match trial {
        None => action(),
        // One at a time, so that what is written down is in the order in which it took place.
        Some(trial) => trial.state().carry_out(operation, action),
    }
}

impl Operation<'_> {
    fn path(&self) -> &Path {
        match self {
            Operation::Open(path)
            | Operation::List(path)
            | Operation::Read(path)
            | Operation::Create(path)
            | Operation::Write(path, ..)
            | Operation::SetLen(path, _)
            | Operation::Allocate(path, _)
            | Operation::Sync(path)
            | Operation::SyncFolder(path)
            | Operation::Rename(path, _)
            | Operation::Remove(path)
            | Operation::Metadata(path)
            | Operation::MakeFolder(path) => path,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Operation::Open(_) => "open",
            Operation::List(_) => "list",
            Operation::Read(_) => "read",
            Operation::Create(_) => "create",
            Operation::Write(..) => "write",
            Operation::SetLen(..) => "cut",
            Operation::Allocate(..) => "allocate",
            Operation::Sync(_) => "sync",
            Operation::SyncFolder(_) => "sync folder",
            Operation::Rename(..) => "rename",
            Operation::Remove(_) => "remove",
            Operation::Metadata(_) => "metadata",
            Operation::MakeFolder(_) => "make folder",
        }
    }

    fn event(&self) -> Option<Event> {
        let owned = |path: &Path| path.to_owned();
        match self {
            Operation::Open(_)
            | Operation::List(_)
            | Operation::Read(_)
            | Operation::Metadata(_)
            // That a folder comes to the disk with its files is what syncing it and those above it is tried for.
            | Operation::MakeFolder(_) => None,
            Operation::Create(path) => Some(Event::Create(owned(path))),
            Operation::Write(path, _, bytes, offset) => {
                Some(Event::Write(owned(path), *offset, bytes.to_vec()))
            }
            Operation::SetLen(path, len) | Operation::Allocate(path, len) => {
                Some(Event::SetLen(owned(path), *len))
            }
            Operation::Sync(path) => Some(Event::Sync(owned(path))),
            Operation::SyncFolder(path) => Some(Event::SyncFolder(owned(path))),
            Operation::Rename(from, to) => Some(Event::Rename(owned(from), owned(to))),
            Operation::Remove(path) => Some(Event::Remove(owned(path))),
        }
    }
}

impl State {
    fn carry_out<T>(
        &mut self,
        operation: &Operation<'_>,
        action: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        self.count += 1;
        let error = match self.fault {
            Some(Fault::Once(number, error)) if number == self.count => error,
            Some(Fault::From(number, error)) if number <= self.count => error,
            _ => {
                let done = action()?;
                self.events.extend(operation.event());
                return Ok(done);
            }
        };
        self.failed
            .get_or_insert_with(|| format!("{} {}", operation.name(), operation.path().display()));
        match operation {
            // Half of it came to the file.
            Operation::Write(path, file, bytes, offset) => {
                let half = &bytes[..bytes.len() / 2];
                file.write_all_at(half, *offset)?;
                let event = Event::Write(path.to_path_buf(), *offset, half.to_vec());
                self.events.push(event);
            }
            Operation::Sync(path) => self.events.push(Event::FailedSync(path.to_path_buf())),
            _ => {}
        }
        Err(io::Error::from_raw_os_error(error))
    }
}

/// Bytes of a file: those on the disk, and what was done to them since.
#[derive(Clone, Debug, Default)]
struct File {
    synced: Vec<u8>,
    since: Vec<Change>,
}

#[derive(Clone, Debug)]
struct Change {
    offset: u64,
    /// `None` cuts the file.
    bytes: Option<Vec<u8>>,
    /// The system takes it for written, and it may not be.
    is_given_up: bool,
}

/// A change of a folder's names, to the number of a file or to nothing.
type Naming = Vec<(PathBuf, Option<usize>)>;

/// What is known of a disk.
#[derive(Default)]
struct Disk {
    files: Vec<File>,
    /// As the process sees them.
    names: BTreeMap<PathBuf, usize>,
    /// As they are on the disk.
    synced_names: BTreeMap<PathBuf, usize>,
    /// Changes of names since, by folder.
    since: BTreeMap<PathBuf, Vec<Naming>>,
}

impl Disk {
    fn apply(&mut self, event: &Event) {
        match event {
            Event::Create(path) => match self.names.get(path) {
                Some(number) => self.change(*number, 0, None),
                None => {
                    self.files.push(File::default());
                    self.name(vec![(path.clone(), Some(self.files.len() - 1))]);
                }
            },
            // A file that is removed while it is open can be written to still.
            Event::Write(path, offset, bytes) => {
                if let Some(number) = self.names.get(path) {
                    self.change(*number, *offset, Some(bytes.clone()));
                }
            }
            Event::SetLen(path, len) => {
                let number = self.names[path];
                self.change(number, *len, None);
            }
            Event::Sync(path) => self.files[self.names[path]].sync(),
            Event::FailedSync(path) => {
                let number = self.names[path];
                let since = &mut self.files[number].since;
                since.iter_mut().for_each(|change| change.is_given_up = true);
            }
            Event::SyncFolder(folder) => {
                for naming in self.since.remove(folder).unwrap_or_default() {
                    set(&mut self.synced_names, &naming);
                }
            }
            Event::Rename(from, to) => {
                let number = self.names[from];
                self.name(vec![(from.clone(), None), (to.clone(), Some(number))]);
            }
            Event::Remove(path) => self.name(vec![(path.clone(), None)]),
            Event::Promise(_) => {}
        }
    }

    fn change(&mut self, number: usize, offset: u64, bytes: Option<Vec<u8>>) {
        self.files[number].since.push(Change {
            offset,
            bytes,
            is_given_up: false,
        });
    }

    /// A rename is noted where it leads to.
    fn name(&mut self, naming: Naming) {
        set(&mut self.names, &naming);
        let folder = naming
            .last()
            .and_then(|(path, _)| path.parent())
            .unwrap_or(Path::new(""))
            .to_owned();
        self.since.entry(folder).or_default().push(naming);
    }

    fn lose_power(&mut self, chance: &mut Chance) {
        for namings in self.since.values() {
            // A file system with a journal keeps the order; others need not.
            let in_order = chance.below(2) == 0;
            let until = chance.below(namings.len() as u64 + 1) as usize;
            for (number, naming) in namings.iter().enumerate() {
                if (in_order && number < until) || (!in_order && chance.below(2) == 0) {
                    set(&mut self.synced_names, naming);
                }
            }
        }
        for file in &mut self.files {
            file.lose_power(chance);
        }
    }

    fn write_to(&self, root: &Path, folder: &Path) {
        for (path, number) in &self.synced_names {
            let path = folder.join(path.strip_prefix(root).expect("below the root"));
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, &self.files[*number].synced).expect("a file");
        }
    }
}

fn set(names: &mut BTreeMap<PathBuf, usize>, naming: &Naming) {
    for (path, number) in naming {
        match number {
            Some(number) => names.insert(path.clone(), *number),
            None => names.remove(path),
        };
    }
}

impl File {
    fn sync(&mut self) {
        for change in std::mem::take(&mut self.since) {
            if !change.is_given_up {
                self.put(change.offset, change.bytes.as_deref());
            }
        }
    }

    fn put(&mut self, offset: u64, bytes: Option<&[u8]>) {
        let offset = offset as usize;
        match bytes {
            None => self.synced.resize(offset, 0),
            Some(bytes) => {
                let end = offset + bytes.len();
                let len = self.synced.len().max(end);
                self.synced.resize(len, 0);
                self.synced[offset..end].copy_from_slice(bytes);
            }
        }
    }

    /// All of what was not synced, none of it, or any of its sectors.
    fn lose_power(&mut self, chance: &mut Chance) {
        let how = chance.below(3);
        for change in std::mem::take(&mut self.since) {
            match &change.bytes {
                None if how == 0 || (how == 1 && chance.below(2) == 0) => self.put(change.offset, None),
                None => {}
                Some(bytes) => {
                    for (at, sector) in sectors(change.offset, bytes) {
                        if how == 0 || (how == 1 && chance.below(2) == 0) {
                            self.put(at, Some(sector));
                        }
                    }
                }
            }
        }
    }
}

/// The parts of bytes that are in one sector each, and where they are.
fn sectors(offset: u64, bytes: &[u8]) -> Vec<(u64, &[u8])> {
    let (mut parts, mut at) = (Vec::new(), offset);
    let end = offset + bytes.len() as u64;
    while at < end {
        let next = ((at / SECTOR_BYTES + 1) * SECTOR_BYTES).min(end);
        parts.push((at, &bytes[(at - offset) as usize..(next - offset) as usize]));
        at = next;
    }
    parts
}
