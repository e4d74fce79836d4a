//! Layouts in tar archives: nothing is unpacked. The archive is walked once for where each of the layout's files begins,
//! and those are read from there.
//!
//! Only a gzip archive is decompressed, to one temporary file that goes with the layout, up to a bound. Links, names that
//! lead outside and whatever else an archive may hold are passed over: only regular files with a layout's names count.

use super::{DOCKERS_MARKER, MARKER};
use crate::{Error, Result};
use flate2::read::MultiGzDecoder;
use oci::{Algorithm, Digest};
use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::{Component, Path, PathBuf},
};
use tar::{EntryType, Header};
use tempfile::NamedTempFile;

/// The first bytes of gzip.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// A gzip archive may become so many times as large: layers are compressed already, so layouts hardly shrink again.
const MAX_EXPANSION: u64 = 100;
/// What a gzip archive may always become, in bytes, however small it is.
const ALWAYS_ALLOWED_BYTES: u64 = 1024 * 1024 * 1024;
/// How many files of a layout an archive may have.
const MAX_FILES: usize = 100_000;
/// How long an entry's name or extended header may be, in bytes.
const MAX_EXTENSION_BYTES: u64 = 64 * 1024;
/// The unit of tar, in bytes.
const BLOCK_BYTES: u64 = 512;

/// Offset and size in bytes, by name.
type Files = HashMap<PathBuf, (u64, u64)>;

/// Where the files of a layout are in an archive.
#[derive(Debug)]
pub(super) struct Contents {
    /// The archive, or what it was decompressed to.
    path: PathBuf,
    files: Files,
    /// Whether it has the file that `docker save` writes; newer ones write a layout beside it.
    pub(super) is_dockers: bool,
    /// Removed with this.
    _decompressed: Option<NamedTempFile>,
}

impl Contents {
    /// Looks through an archive.
    ///
    /// # Errors
    /// `Layout` for a broken archive or one that expands too far, `Io`.
    pub(super) fn read(path: &Path) -> Result<Contents> {
        let mut file = File::open(path).map_err(Error::io("open", path))?;
        let metadata = file.metadata().map_err(Error::io("read", path))?;
        if !metadata.is_file() {
            return Err(problem(path, "it is no file".to_owned()));
        }
        let decompressed = match is_gzip(&mut file).map_err(Error::io("read", path))? {
            true => {
                let limit = ALWAYS_ALLOWED_BYTES.max(metadata.len().saturating_mul(MAX_EXPANSION));
                Some(decompress(path, file, limit)?)
            }
            false => None,
        };
        let readable = decompressed.as_ref().map_or(path, NamedTempFile::path);
        let file = File::open(readable).map_err(Error::io("open", readable))?;
        let (files, is_dockers) =
            walk(file).map_err(|e| problem(path, format!("the archive cannot be read: {e}")))?;
        Ok(Contents {
            path: readable.to_owned(),
            files,
            is_dockers,
            _decompressed: decompressed,
        })
    }

    /// The file with the bytes, and where in it they are: offset and size.
    pub(super) fn find(&self, name: &Path) -> Option<(&Path, u64, u64)> {
        let (offset, size) = *self.files.get(name)?;
        Some((&self.path, offset, size))
    }
}

fn problem(path: &Path, problem: String) -> Error {
    Error::Layout {
        path: path.to_owned(),
        problem,
    }
}

fn is_gzip(file: &mut File) -> io::Result<bool> {
    let mut start = Vec::new();
    file.by_ref().take(2).read_to_end(&mut start)?;
    file.rewind()?;
    Ok(start == GZIP_MAGIC)
}

fn decompress(path: &Path, file: File, limit: u64) -> Result<NamedTempFile> {
    let mut target = tempfile::Builder::new()
        .prefix("referrers-lab-")
        .tempfile()
        .map_err(Error::io("create a file in", std::env::temp_dir()))?;
    let mut reader = MultiGzDecoder::new(BufReader::new(file)).take(limit + 1);
    let written = io::copy(&mut reader, target.as_file_mut())
        .map_err(|e| problem(path, format!("the archive cannot be decompressed: {e}")))?;
    match written > limit {
        true => Err(problem(
            path,
            format!(
                "it expands to more than {limit} bytes, which is the limit for a gzip archive of its size"
            ),
        )),
        false => Ok(target),
    }
}

/// What an extended header says of the entry that follows it.
#[derive(Default)]
struct Extension {
    name: Option<PathBuf>,
    size: Option<u64>,
}

/// Goes from header to header; content is skipped, not read. Tells the files of a layout, and whether there is Docker's.
fn walk(file: File) -> io::Result<(Files, bool)> {
    let end = file.metadata()?.len();
    let mut file = BufReader::new(file);
    let mut files = HashMap::new();
    let mut is_dockers = false;
    let mut extension = Extension::default();
    let mut offset = 0;
    while let Some(header) = next_header(&mut file)? {
        offset += BLOCK_BYTES;
        let size = extension.size.take().map_or_else(|| header.entry_size(), Ok)?;
        let after = size
            .checked_next_multiple_of(BLOCK_BYTES)
            .and_then(|s| s.checked_add(offset));
        let after = match after {
            Some(after) if offset.checked_add(size).is_some_and(|last| last <= end) => after,
            _ => return Err(invalid("it ends within an entry")),
        };
        match header.entry_type() {
            EntryType::GNULongName => {
                let text = extended(&mut file, size)?;
                let name = text.split(|byte| *byte == 0).next().unwrap_or_default();
                extension.name = Some(PathBuf::from(String::from_utf8_lossy(name).into_owned()));
            }
            EntryType::XHeader => extension = pax(&extended(&mut file, size)?)?,
            kind => {
                let own = String::from_utf8_lossy(&header.path_bytes()).into_owned();
                let name = extension.name.take().unwrap_or_else(|| PathBuf::from(own));
                is_dockers |= name == Path::new(DOCKERS_MARKER);
                if let Some(name) = wanted(&name).filter(|_| kind.is_file()) {
                    // As tar unpacks them, the last one of a name counts.
                    files.insert(name, (offset, size));
                }
            }
        }
        if files.len() > MAX_FILES {
            return Err(invalid(&format!("it has more than {MAX_FILES} files")));
        }
        offset = after;
        file.seek(SeekFrom::Start(offset))?;
    }
    Ok((files, is_dockers))
}

/// The next header; `None` at the end, which is a block of zeros or that of the file.
fn next_header(file: &mut impl Read) -> io::Result<Option<Header>> {
    let mut header = Header::new_old();
    let mut block = Vec::new();
    file.take(BLOCK_BYTES).read_to_end(&mut block)?;
    if block.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    if block.len() < header.as_bytes().len() {
        return Err(invalid("it ends within a header"));
    }
    header.as_mut_bytes().copy_from_slice(&block);
    let (before, after) = (&block[..148], &block[156..]);
    let sum: u32 = before.iter().chain(after).map(|byte| u32::from(*byte)).sum();
    // The checksum's own eight bytes count as spaces.
    match header.cksum() {
        Ok(stated) if stated == sum + 8 * u32::from(b' ') => Ok(Some(header)),
        _ => Err(invalid(
            "it is no tar archive, or damaged: a header has a wrong checksum",
        )),
    }
}

fn extended(file: &mut impl Read, size: u64) -> io::Result<Vec<u8>> {
    if size > MAX_EXTENSION_BYTES {
        return Err(invalid(&format!(
            "an extended header has more than {MAX_EXTENSION_BYTES} bytes"
        )));
    }
    let mut content = Vec::new();
    file.take(size).read_to_end(&mut content)?;
    Ok(content)
}

fn pax(content: &[u8]) -> io::Result<Extension> {
    let mut extension = Extension::default();
    for field in tar::PaxExtensions::new(content) {
        let field = field?;
        match (field.key(), field.value()) {
            (Ok("path"), Ok(value)) => extension.name = Some(PathBuf::from(value)),
            (Ok("size"), Ok(value)) => {
                let size = value
                    .parse()
                    .map_err(|_| invalid("an extended header has a size that is no number"))?;
                extension.size = Some(size);
            }
            _ => {}
        }
    }
    Ok(extension)
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// The name that an entry has in a layout, if it is one of a layout's files.
fn wanted(name: &Path) -> Option<PathBuf> {
    let mut parts = Vec::new();
    for component in name.components() {
        match component {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    match parts.as_slice() {
        [file] if [MARKER, super::index::FILE].contains(file) => Some(PathBuf::from(file)),
        ["blobs", algorithm, hex] => {
            Digest::from_hex(Algorithm::from_name(algorithm)?, hex)?;
            Some(parts.iter().collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// An archive of entries: kind, name, content.
    fn archive(entries: &[(EntryType, &str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (kind, name, content) in entries {
            let mut header = Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_size(content.len() as u64);
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            builder.append(&header, *content).expect("an entry");
        }
        builder.into_inner().expect("an archive")
    }

    fn read(archive: &[u8]) -> Result<Contents> {
        let mut file = NamedTempFile::new().expect("a file");
        file.write_all(archive).expect("written");
        Contents::read(file.path())
    }

    #[test]
    fn only_the_files_of_a_layout_are_seen() {
        let blob = format!("blobs/sha256/{}", "a".repeat(64));
        for (name, expected) in [
            ("oci-layout", true),
            ("./index.json", true),
            (blob.as_str(), true),
            ("manifest.json", false),
            ("../index.json", false),
            ("/index.json", false),
            ("blobs/sha256/../../x", false),
            ("blobs/sha256/abc", false),
        ] {
            assert_eq!(wanted(Path::new(name)).is_some(), expected, "{name}");
            let contents = read(&archive(&[(EntryType::Regular, name, b"x")])).expect("an archive");
            assert_eq!(contents.files.len(), usize::from(expected), "{name}");
        }
    }

    #[test]
    fn links_and_devices_with_the_names_of_a_layout_are_passed_over() {
        for kind in [
            EntryType::Symlink,
            EntryType::Link,
            EntryType::Char,
            EntryType::Directory,
            EntryType::Fifo,
        ] {
            let contents = read(&archive(&[(kind, "index.json", b"")])).expect("an archive");
            assert!(contents.files.is_empty(), "{kind:?}");
        }
    }

    #[test]
    fn names_and_sizes_in_extended_headers_are_read() {
        let long = format!("blobs/sha512/{}", "b".repeat(128));
        let record = format!("19{} path={long}\n", 0);
        let record = record.replacen("190", &(long.len() + 10).to_string(), 1);
        assert_eq!(record.len(), long.len() + 10);
        for (kind, extension) in [
            (EntryType::XHeader, record),
            (EntryType::GNULongName, format!("{long}\0")),
        ] {
            let entries = [
                (kind, "x", extension.as_bytes()),
                (EntryType::Regular, "x", b"content".as_slice()),
            ];
            let contents = read(&archive(&entries)).expect("an archive");
            let (_, offset, size) = contents.find(Path::new(&long)).expect("the blob");
            assert_eq!((offset, size), (1536, 7), "{kind:?}");
        }
    }

    #[test]
    fn damaged_and_endless_archives_are_told() {
        let whole = archive(&[(EntryType::Regular, "index.json", &[b'x'; 2000])]);
        let mut huge = whole.clone();
        huge[124..136].copy_from_slice(b"77777777777\0");
        let mut header = Header::new_gnu();
        header.as_mut_bytes().copy_from_slice(&huge[..512]);
        header.set_cksum();
        huge[..512].copy_from_slice(header.as_bytes());
        let name = vec![b'a'; 100_000];
        let long_name = archive(&[(EntryType::GNULongName, "x", &name)]);
        for (bytes, expected) in [
            (&whole[..1000], "within an entry"),
            (&whole[..100], "within a header"),
            (&huge[..], "within an entry"),
            (&[b'x'; 2048][..], "no tar archive"),
            (&long_name[..], "extended header"),
        ] {
            let error = read(bytes).expect_err(expected).to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }

    #[test]
    fn a_gzip_archive_is_decompressed_up_to_a_bound_and_leaves_nothing() {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed
            .write_all(&archive(&[(EntryType::Regular, "index.json", b"{}")]))
            .expect("written");
        let packed = packed.finish().expect("gzip");
        let contents = read(&packed).expect("an archive");
        let (path, ..) = contents.find(Path::new("index.json")).expect("the index");
        let path = path.to_owned();
        assert!(path.exists());
        drop(contents);
        assert!(!path.exists());

        let mut file = NamedTempFile::new().expect("a file");
        file.write_all(&packed).expect("written");
        let opened = File::open(file.path()).expect("open");
        let error = decompress(file.path(), opened, 1000)
            .expect_err("too large")
            .to_string();
        assert!(error.contains("more than 1000 bytes"), "{error}");
    }
}
