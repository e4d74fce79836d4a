//! The log: frames behind one another, each the commits that share a sync.
//!
//! `mark` (8 bytes, the log's own), the payload's length (4), a checksum of all but itself (4), the payload. Where the ledger is
//! durable, zeros are laid ahead of the frames: a sync has then only data to bring to the disk, and no new length of the file.

use super::{
    names::{Listing, LogName},
    sync_folder,
};
use bytes::Bytes;
use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

const HEAD_BYTES: usize = 16;

/// Zeros that are laid ahead at once.
const AHEAD_BYTES: usize = 1 << 20;

/// The log that is written to.
#[derive(Debug)]
pub(super) struct Log {
    folder: PathBuf,
    durable: bool,
    next_number: u64,
    /// `None` until there is something to write.
    current: Option<Current>,
    has_failed: bool,
}

#[derive(Debug)]
struct Current {
    file: File,
    name: LogName,
    /// Where the next frame goes.
    end: u64,
    /// Up to here there are bytes on the disk.
    reserved: u64,
}

impl Log {
    pub(super) fn new(folder: &Path, durable: bool, listing: &Listing) -> Log {
        Log {
            folder: folder.to_owned(),
            durable,
            next_number: listing.next_number(),
            current: None,
            has_failed: false,
        }
    }

    /// Number of the log that the last frame went to.
    pub(super) fn number(&self) -> u64 {
        self.current.as_ref().map_or(0, |current| current.name.number)
    }

    /// Writes one frame; its payload. What fails leaves nothing that is ever read: the next frame takes its place.
    pub(super) fn append(&mut self, payloads: &[Vec<u8>]) -> io::Result<Bytes> {
        let mut current = match self.current.take() {
            Some(current) => current,
            None => self.begin()?,
        };
        let frame = frame(current.name.mark, payloads);
        let written = current.write(&frame, self.durable);
        self.current = Some(current);
        written?;
        Ok(Bytes::from(frame).slice(HEAD_BYTES..))
    }

    /// Brings all frames to the disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        let Some(current) = &self.current else {
            return Ok(());
        };
        // After a sync that failed, the next may succeed without having brought anything to the disk.
        current.file.sync_data().inspect_err(|_| self.has_failed = true)
    }

    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// What a failed sync may have lost is safe by other means.
    pub(super) fn forgive(&mut self) {
        self.has_failed = false;
    }

    /// Lets the next frame begin a new log.
    pub(super) fn end(&mut self) {
        self.current = None;
    }

    fn begin(&mut self) -> io::Result<Current> {
        let name = LogName {
            number: self.next_number,
            mark: rand::random(),
        };
        let path = name.path(&self.folder);
        let file = File::create_new(&path)?;
        // Also of a log that could not be begun: its file may be there still.
        self.next_number += 1;
        if self.durable
            && let Err(error) = sync_folder(&self.folder)
        {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(Current {
            file,
            name,
            end: 0,
            reserved: 0,
        })
    }
}

impl Current {
    fn write(&mut self, frame: &[u8], durable: bool) -> io::Result<()> {
        let end = self.end + frame.len() as u64;
        if durable && end > self.reserved {
            let zeros = vec![0; AHEAD_BYTES.max(frame.len())];
            self.file.write_all_at(&zeros, self.reserved.max(self.end))?;
            self.file.sync_all()?;
            self.reserved = self.reserved.max(self.end) + zeros.len() as u64;
        }
        self.file.write_all_at(frame, self.end)?;
        self.end = end;
        Ok(())
    }
}

fn frame(mark: u64, payloads: &[Vec<u8>]) -> Vec<u8> {
    let len: usize = payloads.iter().map(Vec::len).sum();
    let mut frame = Vec::with_capacity(HEAD_BYTES + len);
    frame.extend(mark.to_be_bytes());
    frame.extend((len as u32).to_be_bytes());
    frame.extend([0; 4]);
    payloads
        .iter()
        .for_each(|payload| frame.extend_from_slice(payload));
    let sum = checksum(&frame);
    frame[12..HEAD_BYTES].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// Of everything in a frame but the four bytes that are for it.
fn checksum(frame: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&frame[..12]);
    hasher.update(&frame[HEAD_BYTES..]);
    hasher.finalize()
}

/// What a log holds.
#[derive(Debug)]
pub(super) struct Recovered {
    /// Payloads of the frames, in order.
    pub(super) payloads: Vec<Bytes>,
    /// Bytes between frames that are no frames. What ends a log is not among them: the last commit may have been cut off, and
    /// nobody was told that it is safe.
    pub(super) damaged_bytes: usize,
}

/// Reads a log of an earlier process.
pub(super) fn read(folder: &Path, name: &LogName) -> io::Result<Recovered> {
    let bytes = Bytes::from(fs::read(name.path(folder))?);
    let mark = name.mark.to_be_bytes();
    let (mut at, mut payloads, mut damaged_bytes) = (0, Vec::new(), 0);
    while at < bytes.len() {
        if let Some(payload) = frame_at(&bytes, at, &mark) {
            at += HEAD_BYTES + payload.len();
            payloads.push(payload);
            continue;
        }
        let next = (at + 1..bytes.len().saturating_sub(HEAD_BYTES - 1))
            .filter(|at| bytes[*at] == mark[0])
            .find(|at| frame_at(&bytes, *at, &mark).is_some());
        match next {
            Some(next) => {
                damaged_bytes += next - at;
                at = next;
            }
            None => break,
        }
    }
    Ok(Recovered {
        payloads,
        damaged_bytes,
    })
}

fn frame_at(bytes: &Bytes, at: usize, mark: &[u8; 8]) -> Option<Bytes> {
    let head = bytes.get(at..at + HEAD_BYTES)?;
    if head[..8] != mark[..] {
        return None;
    }
    let number =
        |range: std::ops::Range<usize>| head[range].iter().fold(0, |n: u32, b| n << 8 | u32::from(*b));
    let end = (at + HEAD_BYTES).checked_add(usize::try_from(number(8..12)).ok()?)?;
    let frame = bytes.get(at..end)?;
    (checksum(frame) == number(12..16)).then(|| bytes.slice(at + HEAD_BYTES..end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(folder: &Path, durable: bool) -> Log {
        Log::new(folder, durable, &Listing::read(folder).expect("a listing"))
    }

    /// A folder with a log of these payloads.
    fn written(durable: bool, payloads: &[&[u8]]) -> (tempfile::TempDir, LogName) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut log = log(folder.path(), durable);
        for payload in payloads {
            log.append(&[payload.to_vec()]).expect("a frame");
            log.sync().expect("a sync");
        }
        let name = Listing::read(folder.path()).expect("a listing").logs.remove(0);
        (folder, name)
    }

    #[test]
    fn frames_are_read_back_up_to_where_the_last_was_cut_off() {
        for durable in [true, false] {
            let (folder, name) = written(durable, &[b"one", b"two", b"three"]);
            let bytes = fs::read(name.path(folder.path())).expect("the log");
            let whole = 3 * HEAD_BYTES + 11;
            assert_eq!(bytes.len(), if durable { AHEAD_BYTES } else { whole });
            for cut in 0..=whole {
                let mut cut_off = bytes[..cut].to_vec();
                if durable {
                    cut_off.resize(AHEAD_BYTES, 0);
                }
                fs::write(name.path(folder.path()), &cut_off).expect("a log");
                let read = read(folder.path(), &name).expect("the log");
                let count = [whole, 2 * HEAD_BYTES + 6, HEAD_BYTES + 3]
                    .iter()
                    .filter(|end| **end <= cut)
                    .count();
                assert_eq!(
                    read.payloads,
                    [&b"one"[..], b"two", b"three"][..count],
                    "cut at {cut}"
                );
                assert_eq!(read.damaged_bytes, 0);
            }
        }
    }

    #[test]
    fn a_damaged_frame_is_told_and_those_behind_it_are_read() {
        let (folder, name) = written(true, &[b"one", b"two", b"three"]);
        let path = name.path(folder.path());
        let good = fs::read(&path).expect("the log");
        for at in 0..2 * HEAD_BYTES + 6 {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            fs::write(&path, &bad).expect("a log");
            let read = read(folder.path(), &name).expect("the log");
            assert!(read.damaged_bytes > 0, "byte {at}");
            let (lost, kept) = if at < HEAD_BYTES + 3 {
                ("one", "two")
            } else {
                ("two", "one")
            };
            assert!(
                read.payloads.iter().any(|payload| payload == kept)
                    && !read.payloads.iter().any(|payload| payload == lost)
            );
            assert_eq!(
                read.payloads.last().map(|p| p.to_vec()),
                Some(b"three".to_vec()),
                "byte {at}"
            );
        }
    }

    #[test]
    fn frames_of_another_log_are_none_of_this_one() {
        let (folder, name) = written(false, &[b"one"]);
        let (elsewhere, other) = written(false, &[b"an older one"]);
        let mut bytes = fs::read(name.path(folder.path())).expect("the log");
        bytes.extend(fs::read(other.path(elsewhere.path())).expect("the other"));
        fs::write(name.path(folder.path()), bytes).expect("a log");
        assert_eq!(
            read(folder.path(), &name).expect("the log").payloads,
            [&b"one"[..]]
        );
    }
}
