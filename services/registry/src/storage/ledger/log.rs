//! The log: frames behind one another, each the commits that share a sync.
//!
//! `mark` (8 bytes, the log's own), the payload's length (4), a checksum of all but itself (4), the payload. Where the ledger is
//! durable, zeros are laid ahead of the frames: a sync has then only data to bring to the disk, and no new length of the file.
//!
//! A frame without a payload is a seal: it says that all before it came to the disk, so that a last frame which is not whole is
//! told from one that was being written. The next frame takes its place.

use super::names::{Listing, LogName};
use crate::storage::disk;
use bytes::Bytes;
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

const HEAD_BYTES: usize = 16;

/// Zeros that are laid ahead at once. Few in tests, which so come to the end of them.
const AHEAD_BYTES: usize = if cfg!(test) { 16 << 10 } else { 1 << 20 };

/// The log that is written to.
#[derive(Debug)]
pub(super) struct Log {
    folder: PathBuf,
    durable: bool,
    next_number: u64,
    /// `None` until there is something to write.
    current: Option<Current>,
    /// Whether frames that are in memory may not be on the disk, and no sync would change that.
    is_unsure: bool,
}

#[derive(Debug)]
struct Current {
    file: File,
    path: PathBuf,
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
            is_unsure: false,
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
        let written = self
            .make_room(&mut current, frame.len())
            .and_then(|()| current.write(&frame));
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
        disk::sync(&current.file, &current.path).inspect_err(|_| self.is_unsure = true)?;
        current.seal();
        Ok(())
    }

    /// Lays zeros ahead, if a frame of this length would go beyond them.
    fn make_room(&mut self, current: &mut Current, frame_bytes: usize) -> io::Result<()> {
        let end = current.end + frame_bytes as u64;
        if !self.durable || end <= current.reserved {
            return Ok(());
        }
        let zeros = vec![0; AHEAD_BYTES.max(frame_bytes)];
        let from = current.reserved.max(current.end);
        match disk::write_at(&current.file, &current.path, &zeros, from) {
            Ok(()) => {}
            // There may be room for the frame still: what removes something is to succeed on a disk that is nearly full.
            Err(error) if is_full(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
        disk::sync(&current.file, &current.path).inspect_err(|_| self.is_unsure = true)?;
        current.reserved = from + zeros.len() as u64;
        Ok(())
    }

    pub(super) fn is_unsure(&self) -> bool {
        self.is_unsure
    }

    /// Frames of an earlier process were read: it may not have come to sync them, or may have failed to.
    pub(super) fn doubt(&mut self) {
        self.is_unsure = true;
    }

    /// What may not be on the disk is safe by other means.
    pub(super) fn forgive(&mut self) {
        self.is_unsure = false;
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
        let file = disk::create_new(&path)?;
        // Also of a log that could not be begun: its file may be there still.
        self.next_number += 1;
        if self.durable
            && let Err(error) = disk::sync_folder(&self.folder)
        {
            let _ = disk::remove(&path);
            return Err(error);
        }
        Ok(Current {
            file,
            path,
            name,
            end: 0,
            reserved: 0,
        })
    }
}

impl Current {
    fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        disk::write_at(&self.file, &self.path, frame, self.end)?;
        self.end += frame.len() as u64;
        Ok(())
    }

    /// Says that all frames are on the disk. It need not come there itself: it tells of bits that flip after a process ended, and
    /// what ends with the power was no promise. Nothing is lost if it cannot be written.
    fn seal(&self) {
        let seal = frame(self.name.mark, &[]);
        if self.end + seal.len() as u64 <= self.reserved {
            let _ = disk::write_at(&self.file, &self.path, &seal, self.end);
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
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
    /// Bytes between frames that are no frames. What ends a log without a seal is not among them: the last commit may have been cut
    /// off, and nobody was told that it is safe.
    pub(super) damaged_bytes: usize,
}

/// Reads a log of an earlier process.
pub(super) fn read(folder: &Path, name: &LogName) -> io::Result<Recovered> {
    let bytes = Bytes::from(disk::read(&name.path(folder))?);
    let mark = name.mark.to_be_bytes();
    let (mut at, mut payloads, mut damaged_bytes) = (0, Vec::new(), 0);
    while at < bytes.len() {
        if let Some(payload) = frame_at(&bytes, at, &mark) {
            at += HEAD_BYTES + payload.len();
            if !payload.is_empty() {
                payloads.push(payload);
            }
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
    use std::fs;

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
    fn a_flipped_bit_in_the_last_frame_is_told_if_it_had_come_to_the_disk() {
        let (folder, name) = written(true, &[b"one", b"two"]);
        let path = name.path(folder.path());
        let good = fs::read(&path).expect("the log");
        let last = HEAD_BYTES + 3..2 * (HEAD_BYTES + 3);
        for at in last.end..last.end + HEAD_BYTES {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).expect("a log");
            let read = read(folder.path(), &name).expect("the log");
            assert_eq!(
                (read.payloads.len(), read.damaged_bytes),
                (2, 0),
                "a seal without its frames' damage"
            );
        }
        for at in last {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).expect("a log");
            let read = read(folder.path(), &name).expect("the log");
            assert_eq!(
                (read.payloads, read.damaged_bytes > 0),
                (vec![Bytes::from("one")], true),
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
