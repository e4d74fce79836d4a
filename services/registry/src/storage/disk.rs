//! What the stores do to a disk. Each call of the system stands here once, so that a test can let any of them fail, and can tell
//! what a power cut at any moment would leave: see `trial`. Elsewhere are: the bytes of a content on their way out and of an upload
//! that is hashed again (`super::Content`), `Path::exists`, the folder's lock, and the import of folders of before the ledger.

#[cfg(test)]
pub(super) mod trial;

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// Bytes that are copied at once.
const COPIED_AT_ONCE: usize = 256 << 10;

/// An operation, as a trial sees it.
#[cfg_attr(not(test), expect(dead_code, reason = "only a trial looks at it"))]
enum Operation<'a> {
    Open(&'a Path),
    List(&'a Path),
    Read(&'a Path),
    Create(&'a Path),
    Write(&'a Path, &'a File, &'a [u8], u64),
    SetLen(&'a Path, u64),
    Allocate(&'a Path, u64),
    Sync(&'a Path),
    SyncFolder(&'a Path),
    Rename(&'a Path, &'a Path),
    Remove(&'a Path),
    Metadata(&'a Path),
    MakeFolder(&'a Path),
}

#[cfg(not(test))]
fn carry_out<T>(_: &Operation<'_>, action: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    action()
}

#[cfg(test)]
use trial::carry_out;

/// Opens a file for reading.
pub(super) fn open(path: &Path) -> io::Result<File> {
    carry_out(&Operation::Open(path), || File::open(path))
}

/// Opens a file that is there for reading and writing.
pub(super) fn open_to_write(path: &Path) -> io::Result<File> {
    carry_out(&Operation::Open(path), || {
        OpenOptions::new().read(true).write(true).open(path)
    })
}

/// All bytes of a file.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    carry_out(&Operation::Read(path), || fs::read(path))
}

/// Fills the buffer from a place in a file.
pub(super) fn read_exact_at(file: &File, path: &Path, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    carry_out(&Operation::Read(path), || file.read_exact_at(buffer, offset))
}

/// The names in a folder.
pub(super) fn list(folder: &Path) -> io::Result<fs::ReadDir> {
    carry_out(&Operation::List(folder), || fs::read_dir(folder))
}

/// What the file system says of a file.
pub(super) fn metadata(path: &Path) -> io::Result<Metadata> {
    carry_out(&Operation::Metadata(path), || fs::metadata(path))
}

/// Makes a folder and those above it, unless they are there.
pub(super) fn make_folder(path: &Path) -> io::Result<()> {
    carry_out(&Operation::MakeFolder(path), || fs::create_dir_all(path))
}

/// Copies a file to a new one, or over one that is there.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let (source, len) = (open(from)?, metadata(from)?.len());
    let mut target = NewFile::create(to)?;
    let mut buffer = vec![0; COPIED_AT_ONCE];
    while target.len < len {
        let count = usize::try_from(len - target.len).map_or(COPIED_AT_ONCE, |left| left.min(COPIED_AT_ONCE));
        read_exact_at(&source, from, &mut buffer[..count], target.len)?;
        target.write_all(&buffer[..count])?;
    }
    Ok(())
}

/// Makes a file, empty whatever was there.
pub(super) fn create(path: &Path) -> io::Result<File> {
    carry_out(&Operation::Create(path), || File::create(path))
}

/// Makes a file that was not there.
pub(super) fn create_new(path: &Path) -> io::Result<File> {
    carry_out(&Operation::Create(path), || File::create_new(path))
}

/// Writes all bytes at a place in a file. How many were written is not known if it fails.
pub(super) fn write_at(file: &File, path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
    carry_out(&Operation::Write(path, file, bytes, offset), || {
        file.write_all_at(bytes, offset)
    })
}

/// Cuts a file to a length.
pub(super) fn set_len(file: &File, path: &Path, len: u64) -> io::Result<()> {
    carry_out(&Operation::SetLen(path, len), || file.set_len(len))
}

/// Takes room on the disk for an empty file, in bytes; where the file system cannot do only that, by writing so many.
pub(super) fn allocate(file: &File, path: &Path, len: u64) -> io::Result<()> {
    carry_out(&Operation::Allocate(path, len), || {
        allocate_blocks(file, len).unwrap_or_else(|| write_zeros(file, len))
    })
}

/// `None` where the file system cannot do it.
#[cfg(target_os = "linux")]
fn allocate_blocks(file: &File, len: u64) -> Option<io::Result<()>> {
    use rustix::{
        fs::{FallocateFlags, fallocate},
        io::{Errno, retry_on_intr},
    };
    match retry_on_intr(|| fallocate(file, FallocateFlags::empty(), 0, len)) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => None,
        done => Some(done.map_err(io::Error::from)),
    }
}

#[cfg(not(target_os = "linux"))]
fn allocate_blocks(_: &File, _: u64) -> Option<io::Result<()>> {
    None
}

fn write_zeros(mut file: &File, len: u64) -> io::Result<()> {
    io::copy(&mut io::repeat(0).take(len), &mut file).map(|_| ())
}

/// Brings the bytes of a file to the disk. After it failed once, the same bytes are lost for any later call: the system may take
/// them for written.
pub(super) fn sync(file: &File, path: &Path) -> io::Result<()> {
    carry_out(&Operation::Sync(path), || file.sync_data())
}

/// Brings the names in a folder to the disk.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    carry_out(&Operation::SyncFolder(folder), || File::open(folder)?.sync_all())
}

/// Puts a file in another's place.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    carry_out(&Operation::Rename(from, to), || fs::rename(from, to))
}

/// Removes a file.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    carry_out(&Operation::Remove(path), || fs::remove_file(path))
}

/// A new file that is written from its beginning to its end.
#[derive(Debug)]
pub(super) struct NewFile {
    file: File,
    path: PathBuf,
    len: u64,
}

impl NewFile {
    /// Makes it, empty whatever was there.
    pub(super) fn create(path: &Path) -> io::Result<NewFile> {
        Ok(NewFile {
            file: create(path)?,
            path: path.to_owned(),
            len: 0,
        })
    }

    /// Brings its bytes to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        sync(&self.file, &self.path)
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write_at(&self.file, &self.path, bytes, self.len)?;
        self.len += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_file_has_its_room_whether_the_file_system_gives_it_or_zeros_are_written() {
        let folder = trial::folder();
        let path = folder.path().join("file");
        let file = create(&path).expect("a file");
        for way in [allocate, |file: &File, _: &Path, len| write_zeros(file, len)] {
            file.set_len(0).expect("an empty file");
            way(&file, &path, 100_000).expect("room");
            let metadata = metadata(&path).expect("a file");
            assert_eq!(metadata.len(), 100_000);
            assert!(metadata.blocks() * 512 >= 100_000);
        }
    }
}
