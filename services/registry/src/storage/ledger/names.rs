//! Names of a ledger's files, which say what each replaces.

use crate::storage::disk;
use std::{
    io,
    path::{Path, PathBuf},
};

/// What the name of a file that is not finished ends with.
const UNFINISHED: &str = ".new";

/// A log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LogName {
    /// Logs are numbered in the order of their beginnings.
    pub(super) number: u64,
    /// Stands before each frame: no other log's frames are taken for this one's, in blocks that the disk had used before.
    pub(super) mark: u64,
}

impl LogName {
    pub(super) fn path(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{:010}-{:016x}.log", self.number, self.mark))
    }

    fn parse(name: &str) -> Option<LogName> {
        let (number, mark) = name.strip_suffix(".log")?.split_once('-')?;
        Some(LogName {
            number: number.parse().ok()?,
            mark: u64::from_str_radix(mark, 16).ok()?,
        })
    }
}

/// A table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TableName {
    /// The first log whose content it has.
    pub(super) first: u64,
    /// The last.
    pub(super) last: u64,
}

impl TableName {
    pub(super) fn path(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{:010}-{:010}.table", self.first, self.last))
    }

    /// Where it is written until it is whole.
    pub(super) fn unfinished(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{:010}-{:010}.table{UNFINISHED}", self.first, self.last))
    }

    fn parse(name: &str) -> Option<TableName> {
        let (first, last) = name.strip_suffix(".table")?.split_once('-')?;
        let name = TableName {
            first: first.parse().ok()?,
            last: last.parse().ok()?,
        };
        (name.first <= name.last).then_some(name)
    }

    fn covers(&self, other: &TableName) -> bool {
        self.first <= other.first && other.last <= self.last
    }
}

/// The files of a folder, told apart.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Those that count, newest first.
    pub(super) tables: Vec<TableName>,
    /// Those that are in no table yet, oldest first.
    pub(super) logs: Vec<LogName>,
    /// What was replaced.
    pub(super) obsolete: Vec<PathBuf>,
    /// What is being written, or never was finished.
    pub(super) unfinished: Vec<PathBuf>,
}

impl Listing {
    pub(super) fn read(folder: &Path) -> io::Result<Listing> {
        let (mut tables, mut logs, mut obsolete, mut unfinished) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for entry in disk::list(folder)? {
            let name = entry?.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.ends_with(UNFINISHED) {
                unfinished.push(folder.join(name));
            }
            tables.extend(TableName::parse(name));
            logs.extend(LogName::parse(name));
        }
        let is_replaced =
            |table: &TableName| tables.iter().any(|other| other != table && other.covers(table));
        let (old, mut kept): (Vec<TableName>, Vec<TableName>) =
            tables.iter().partition(|table| is_replaced(table));
        obsolete.extend(old.iter().map(|table| table.path(folder)));
        kept.sort_by(|a, b| b.cmp(a));
        logs.sort();
        let is_in_table = |log: &LogName| {
            kept.iter()
                .any(|table| table.first <= log.number && log.number <= table.last)
        };
        let (old, logs): (Vec<LogName>, Vec<LogName>) = logs.into_iter().partition(is_in_table);
        obsolete.extend(old.iter().map(|log| log.path(folder)));
        Ok(Listing {
            tables: kept,
            logs,
            obsolete,
            unfinished,
        })
    }

    /// A number that no log had.
    pub(super) fn next_number(&self) -> u64 {
        let tables = self.tables.iter().map(|table| table.last);
        let logs = self.logs.iter().map(|log| log.number);
        tables.chain(logs).max().unwrap_or(0) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_a_table_replaces_does_not_count() {
        let folder = tempfile::tempdir().expect("a folder");
        let touch = |name: &str| fs::write(folder.path().join(name), "").expect("a file");
        for name in [
            "0000000001-0000000003.table",
            "0000000002-0000000003.table",
            "0000000004-0000000004.table",
            "0000000005-0000000006.table.new",
            "0000000003-00000000000000aa.log",
            "0000000005-00000000000000ab.log",
            "0000000006-00000000000000ac.log",
            "version",
            "of a person",
        ] {
            touch(name);
        }
        let listing = Listing::read(folder.path()).expect("a listing");
        let ranges: Vec<_> = listing
            .tables
            .iter()
            .map(|table| (table.first, table.last))
            .collect();
        assert_eq!(ranges, [(4, 4), (1, 3)]);
        let logs: Vec<_> = listing.logs.iter().map(|log| (log.number, log.mark)).collect();
        assert_eq!(logs, [(5, 0xab), (6, 0xac)]);
        assert_eq!(
            (listing.obsolete.len(), listing.unfinished.len()),
            (2, 1),
            "{listing:?}"
        );
        assert_eq!(listing.next_number(), 7);
    }
}
