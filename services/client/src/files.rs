//! Writing files so that a reader sees the old or the new content, never a part.

use crate::{Error, Result, repository::ByteStream};
use bytes::BytesMut;
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A file beside its final place, under a name that nobody else uses. Dropped before it is put in place, it is removed: also
/// when the transfer that fills it is given up halfway.
pub(crate) struct Aside(PathBuf);

impl Aside {
    pub(crate) fn of(path: &Path) -> Aside {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        name.push(format!(".{}-{count}.tmp", std::process::id()));
        Aside(path.with_file_name(name))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Moves the file to its name.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn put_in_place(self, path: &Path) -> Result<()> {
        fs::rename(&self.0, path).map_err(Error::io("write", path))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // After the move there is nothing; else what is left is of no use, and nobody is left to tell.
        let _ = fs::remove_file(&self.0);
    }
}

/// Writes a file aside, syncs it and moves it to its name. Folders are made.
///
/// # Errors
/// `Io`.
pub(crate) fn write_atomically(path: &Path, content: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(Error::io("create the folder", folder))?;
    }
    let temporary = Aside::of(path);
    write_synced(temporary.path(), content).map_err(Error::io("write", path))?;
    temporary.put_in_place(path)
}

fn write_synced(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create_new(path)?;
    io::Write::write_all(&mut file, content)?;
    file.sync_all()
}

/// How large the pieces of a file are when it is read, in bytes: large enough to cost few system calls.
const READ_PIECE_BYTES: usize = 256 * 1024;

/// Reads `length` bytes of a file from an offset, fewer where it ends before, in pieces.
///
/// # Errors
/// `Io`, at once or in the stream.
pub(crate) async fn stream(path: &Path, offset: u64, length: u64) -> Result<ByteStream> {
    let mut file = tokio::fs::File::open(path)
        .await
        .map_err(Error::io("open", path))?;
    if offset > 0 {
        file.seek(io::SeekFrom::Start(offset))
            .await
            .map_err(Error::io("read", path))?;
    }
    file.set_max_buf_size(READ_PIECE_BYTES);
    let path = path.to_owned();
    Ok(Box::pin(futures_util::stream::unfold(
        Some(file.take(length)),
        move |file| {
            let path = path.clone();
            async move {
                let mut file = file?;
                let mut piece = BytesMut::with_capacity(READ_PIECE_BYTES);
                match file.read_buf(&mut piece).await {
                    Ok(0) => None,
                    Ok(_) => Some((Ok(piece.freeze()), Some(file))),
                    Err(e) => Some((Err(Error::io("read", path)(e)), None)),
                }
            }
        },
    )))
}

/// Reads `length` bytes of a file from an offset, fewer where it ends before.
///
/// # Errors
/// `Io`.
pub(crate) fn read_part(path: &Path, offset: u64, length: u64) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    let mut read = || {
        let mut file = fs::File::open(path)?;
        io::Seek::seek(&mut file, io::SeekFrom::Start(offset))?;
        io::Read::read_to_end(&mut io::Read::take(file, length), &mut content)
    };
    read().map_err(Error::io("read", path))?;
    Ok(content)
}
