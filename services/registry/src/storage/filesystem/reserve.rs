//! Room on the disk that is kept back: a file that is there only to be removed.
//!
//! To take something away is a record, too, so on a disk without any room nothing could be taken away.

use super::found;
use crate::storage::disk;
use std::{io, os::unix::fs::MetadataExt, path::Path};

/// The length of the file. So much may have to be written before anything goes: if the process before was killed, the 2 MiB that the
/// ledger held in memory, as a table; then the first removals.
pub(super) const RESERVE_BYTES: u64 = 3 << 20;

/// The unit of [`MetadataExt::blocks`], whatever the file system's own is.
const BLOCK_BYTES: u64 = 512;

/// Makes the file, unless it is there whole; without room for all of it, none is left.
///
/// It is not synced: a start after a power cut finds it missing.
pub(super) fn lay(path: &Path) -> io::Result<()> {
    // Not by its length: who copied the folder may have left the zeros out.
    let kept = found(disk::metadata(path))?.map_or(0, |file| file.blocks() * BLOCK_BYTES);
    if kept >= RESERVE_BYTES {
        return Ok(());
    }
    let laid = disk::create(path).and_then(|file| disk::allocate(&file, path, RESERVE_BYTES));
    if laid.is_err() {
        let _ = disk::remove(path);
    }
    laid
}
