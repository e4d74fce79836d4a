//! Files of the caller: written whole or not at all, and never outside of the folder that was named.

use crate::Failure;
use std::io::Write;
use std::path::{Component, Path, PathBuf};

/// A file that becomes visible under its name once it is complete; dropped before, it leaves nothing.
#[derive(Debug)]
pub struct WholeFile {
    temporary: tempfile::NamedTempFile,
    path: PathBuf,
}

impl WholeFile {
    /// Begins a file beside its final place. Folders that are missing are made.
    ///
    /// # Errors
    /// If the folder cannot be made or written to.
    pub fn create(path: &Path) -> Result<WholeFile, Failure> {
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        std::fs::create_dir_all(folder).map_err(|error| Failure::io("make folder", folder, &error))?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(".partial-");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // As every other file of the caller's: the umask takes away what it takes away.
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let temporary = builder
            .tempfile_in(folder)
            .map_err(|error| Failure::io("write to folder", folder, &error))?;
        Ok(WholeFile {
            temporary,
            path: path.to_owned(),
        })
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// If the disk is full or the like.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.temporary
            .write_all(bytes)
            .map_err(|error| Failure::io("write", &self.path, &error))
    }

    /// Ends the writing, and keeps the content aside without holding a file open.
    pub fn close(self) -> ReadyFile {
        ReadyFile {
            temporary: self.temporary.into_temp_path(),
            path: self.path,
        }
    }
}

/// A file that is complete but not in its place; dropped before, it leaves nothing.
#[derive(Debug)]
pub struct ReadyFile {
    temporary: tempfile::TempPath,
    path: PathBuf,
}

impl ReadyFile {
    /// Puts the file in its place, over one that was there.
    ///
    /// # Errors
    /// If it cannot be moved there, such as onto a folder.
    pub fn finish(self) -> Result<PathBuf, Failure> {
        match self.temporary.persist(&self.path) {
            Ok(()) => Ok(self.path),
            Err(error) => Err(Failure::io("write", &self.path, &error.error)),
        }
    }
}

/// Writes a whole file at once.
///
/// # Errors
/// As [`WholeFile`]; nothing half-written stays.
pub fn write(path: &Path, content: &[u8]) -> Result<PathBuf, Failure> {
    let mut file = WholeFile::create(path)?;
    file.write(content)?;
    file.close().finish()
}

/// The place of a file, named by somebody else, in a folder of the caller's.
///
/// The name may have folders in it. It is refused if it is absolute, empty, climbs with `..`, holds a backslash, a colon or
/// a control character (which mean something elsewhere), or passes through a symbolic link.
///
/// # Errors
/// The name and what is wrong with it.
pub fn place_in(folder: &Path, name: &str) -> Result<PathBuf, Failure> {
    let refuse = |why: &str| {
        let code = client::ExitCode::Failed;
        Err(Failure::new(
            code,
            format!("file name {name:?} is refused: {why}; nothing was written"),
        ))
    };
    if name.is_empty() || name.ends_with('/') {
        return refuse("it names no file");
    }
    if name.contains(|c: char| c.is_control() || matches!(c, '\\' | ':')) {
        return refuse("it has a backslash, a colon or a control character");
    }
    let mut place = folder.to_owned();
    for component in Path::new(name).components() {
        match component {
            Component::Normal(part) => place.push(part),
            Component::ParentDir | Component::CurDir | Component::RootDir | Component::Prefix(_) => {
                return refuse("it leaves the output folder");
            }
        }
        let is_link = place.symlink_metadata().is_ok_and(|found| found.is_symlink());
        if is_link {
            return refuse("it passes through a symbolic link");
        }
    }
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in [
            "",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a/..",
            "..",
            ".",
            "a/",
            "a\\b",
            "C:x",
            "a\nb",
            "./a",
            "a\0b",
        ] {
            let refused = place_in(folder.path(), name).expect_err(name);
            assert!(refused.message.contains("is refused"), "{name:?}: {refused:?}");
        }
    }

    #[test]
    fn names_within_the_folder_are_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["hello.txt", "a/b.json", "..x", "x..", "ünï code"] {
            let place = place_in(folder.path(), name).expect(name);
            assert_eq!(place, folder.path().join(name));
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_symbolic_link_in_the_folder_is_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::symlink("/tmp", folder.path().join("out")).expect("a link");
        assert!(place_in(folder.path(), "out/x").is_err());
        assert!(place_in(folder.path(), "out").is_err());
    }

    #[test]
    fn a_file_that_is_not_finished_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a/b");
        let mut file = WholeFile::create(&path).expect("a file");
        file.write(b"half").expect("written");
        drop(file);
        assert!(!path.exists());
        assert_eq!(
            std::fs::read_dir(folder.path().join("a"))
                .expect("the folder")
                .count(),
            0
        );
        write(&path, b"whole").expect("written");
        assert_eq!(std::fs::read(&path).expect("the file"), b"whole");
    }
}
