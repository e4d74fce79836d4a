//! Opening a ledger: reading what its files hold.

use super::{
    Group, Inner, Ledger, Settings, View, codec,
    log::{self, Log},
    memory::Memory,
    names::{Listing, LogName},
    table::Table,
    tend::{Tender, due},
};
use crate::storage::disk;
use std::{
    borrow::Cow,
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex, RwLock, atomic::AtomicBool},
};

/// What the file `version` says.
const VERSION: &str = "1\n";

impl Ledger {
    /// Whether a ledger was made in this folder.
    pub(in crate::storage) fn is_there(folder: &Path) -> bool {
        folder.join("version").exists()
    }

    /// Opens the ledger in a folder, making it if need be. The caller sees to it that no other process has it.
    ///
    /// # Errors
    /// The files cannot be read, or were written in another format.
    pub(in crate::storage) fn open(folder: &Path, settings: Settings) -> io::Result<Ledger> {
        let durable = settings.durable;
        disk::make_folder(folder)?;
        require_version(folder, durable)?;
        let listing = Listing::read(folder)?;
        if durable && !(listing.logs.is_empty() && listing.obsolete.is_empty()) {
            // A process ended suddenly. What its tables are called must be on the disk before what they replace goes.
            disk::sync_folder(folder)?;
        }
        for path in listing.obsolete.iter().chain(&listing.unfinished) {
            disk::remove(path)?;
        }
        let tables: Vec<Arc<Table>> = listing
            .tables
            .iter()
            .map(|name| Table::open(folder, *name).map(Arc::new))
            .collect::<io::Result<_>>()?;
        let mut lost: Vec<String> = tables
            .iter()
            .filter(|table| !table.is_complete)
            .map(|table| format!("the end of {} is damaged", file_name(table.path())))
            .collect();
        let active = recovered(folder, &listing.logs, &mut lost)?;
        let mut log = Log::new(folder, durable, &listing);
        if durable && active.logs().is_some() {
            log.doubt();
        }
        Ok(Ledger {
            inner: Arc::new(Inner {
                log: Mutex::new(log),
                folder: folder.to_owned(),
                settings,
                group: Group::default(),
                view: RwLock::new(View {
                    active,
                    frozen: None,
                    tables: tables.clone().into(),
                }),
                tender: Tender::default(),
                has_many_tables: AtomicBool::new(!due(&tables).is_empty()),
                stopping: AtomicBool::new(false),
                lost: Mutex::new(lost),
            }),
        })
    }
}

/// What the logs of an earlier process hold. What is damaged in them is told to `lost`.
fn recovered(folder: &Path, logs: &[LogName], lost: &mut Vec<String>) -> io::Result<Memory> {
    let mut memory = Memory::default();
    for name in logs {
        let recovered = log::read(folder, name)?;
        let path = name.path(folder);
        if recovered.damaged_bytes > 0 {
            lost.push(format!(
                "{} bytes of {} are damaged",
                recovered.damaged_bytes,
                file_name(&path)
            ));
        }
        let mut makes_sense = true;
        for payload in &recovered.payloads {
            for entry in codec::entries(payload) {
                match entry {
                    Ok((key, entry)) => memory.set(key, entry),
                    Err(codec::Nonsense) => makes_sense = false,
                }
            }
            memory.grow(payload.len() as u64, name.number);
        }
        if !makes_sense {
            lost.push(format!("{} holds what is no entry", file_name(&path)));
        }
        if recovered.damaged_bytes > 0 {
            // Whatever it held: what is written of it to a table takes its place.
            memory.grow(0, name.number);
        } else if recovered.payloads.is_empty() {
            disk::remove(&path)?;
        }
    }
    Ok(memory)
}

/// A file's name without its folder, for people.
pub(super) fn file_name(path: &Path) -> Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}

/// Makes sure that the folder is of this format, and makes it so if it is new.
fn require_version(folder: &Path, durable: bool) -> io::Result<()> {
    let path = folder.join("version");
    match disk::read(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()) {
        Ok(version) if version == VERSION => Ok(()),
        Ok(version) => Err(io::Error::other(format!(
            "{} says {version:?} where this registry writes {VERSION:?}: use the registry that wrote the folder",
            path.display()
        ))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let unfinished = folder.join("version.new");
            let mut file = disk::NewFile::create(&unfinished)?;
            file.write_all(VERSION.as_bytes())?;
            if durable {
                file.sync()?;
            }
            disk::rename(&unfinished, &path)?;
            if durable {
                disk::sync_folder(folder)?;
                folder.parent().map_or(Ok(()), disk::sync_folder)?;
            }
            Ok(())
        }
        Err(error) => Err(error),
    }
}
