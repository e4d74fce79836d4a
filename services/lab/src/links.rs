//! `lab links DIR`: the names that the working group's document calls the programs by, all leading to one executable.

use std::io;
use std::path::{Path, PathBuf};

/// Every name, and the program and generation that it means.
pub const NAMES: [&str; 8] = [
    "current-registry",
    "complete-registry",
    "current-producer",
    "intermediate-producer",
    "complete-producer",
    "current-consumer",
    "intermediate-consumer",
    "complete-consumer",
];

/// A link that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make {}: {source}", path.display())]
pub struct LinkError {
    /// Which.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// Makes the folder, and in it a link to `executable` under each of [`NAMES`]; what stood there under these names is replaced.
///
/// # Errors
/// [`LinkError`] with the path. Nothing else in the folder is touched.
pub fn make(folder: &Path, executable: &Path) -> Result<Vec<PathBuf>, LinkError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| LinkError { path, source }
    };
    std::fs::create_dir_all(folder).map_err(failed(folder))?;
    let mut made = Vec::new();
    for name in NAMES {
        let path = folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&path)(error)),
            _ => {}
        }
        link(executable, &path).map_err(failed(&path))?;
        made.push(path);
    }
    Ok(made)
}

#[cfg(unix)]
fn link(executable: &Path, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(executable, path)
}

/// Symbolic links need a privilege elsewhere; a second name for the same file does as well.
#[cfg(not(unix))]
fn link(executable: &Path, path: &Path) -> io::Result<()> {
    std::fs::hard_link(executable, path)
}
