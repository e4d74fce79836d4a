//! Layouts in tar archives: the files that a layout has are unpacked, and nothing else.

use super::MARKER;
use crate::{Error, Result};
use flate2::read::MultiGzDecoder;
use oci::{Algorithm, Digest};
use std::{
    fs::{self, File},
    io::{self, BufReader, Read, Seek},
    path::{Component, Path, PathBuf},
};
use tempfile::TempDir;

/// The first bytes of gzip.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Unpacks an archive to a temporary folder.
///
/// # Errors
/// `Layout` for a broken archive, `Io`.
pub(super) fn unpack(path: &Path) -> Result<TempDir> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let reader = decompressed(file).map_err(Error::io("read", path))?;
    let folder = tempfile::Builder::new()
        .prefix("referrers-lab-")
        .tempdir()
        .map_err(Error::io("create a folder in", std::env::temp_dir()))?;
    let broken = |e: io::Error| Error::Layout {
        path: path.to_owned(),
        problem: format!("the archive cannot be read: {e}"),
    };
    let mut archive = tar::Archive::new(reader);
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let Some(name) = wanted(&entry.path().map_err(broken)?) else {
            continue;
        };
        if entry.header().entry_type().is_file() {
            let target = folder.path().join(name);
            write(&target, &mut entry).map_err(Error::io("write", &target))?;
        }
    }
    Ok(folder)
}

fn decompressed(mut file: File) -> io::Result<Box<dyn Read>> {
    let mut start = [0; 2];
    let read = file.read(&mut start)?;
    file.rewind()?;
    let file = BufReader::new(file);
    Ok(match read == 2 && start == GZIP_MAGIC {
        true => Box::new(MultiGzDecoder::new(file)),
        false => Box::new(file),
    })
}

/// The path to unpack an entry to, if it is one of a layout's files. Whatever else its name says, it goes nowhere.
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

fn write(target: &Path, content: &mut impl Read) -> io::Result<()> {
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder)?;
    }
    io::copy(content, &mut File::create(target)?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_files_of_a_layout_are_unpacked() {
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
        }
    }
}
