//! Which file holds what. The only place that knows the layout of the folder.

use crate::storage::{Reserve, UploadKey};
use oci::{Algorithm, Digest, RepositoryName};
use std::path::{Path, PathBuf};

/// The paths below one storage folder.
#[derive(Debug)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(super) fn new(root: &Path) -> Layout {
        Layout {
            root: root.to_owned(),
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn repositories_folder(&self) -> PathBuf {
        self.root.join("repositories")
    }

    /// The folders that always are there, and below which files are written one by one.
    pub(super) fn fixed_folders(&self) -> [PathBuf; 2] {
        [self.root.join("blobs"), self.repositories_folder()]
    }

    /// Where the ledger is.
    pub(super) fn records(&self) -> PathBuf {
        self.root.join("records")
    }

    /// There since a process wrote without durability.
    pub(super) fn unsynced(&self) -> PathBuf {
        self.root.join("unsynced")
    }

    /// Room that is kept back.
    pub(super) fn reserve(&self, reserve: Reserve) -> PathBuf {
        self.root.join(match reserve {
            Reserve::Collection => "reserve",
            Reserve::Deletes => "reserve-for-deletes",
        })
    }

    /// Where what is damaged is put.
    pub(super) fn aside_folder(&self) -> PathBuf {
        self.root.join("aside")
    }

    pub(super) fn contents_folder(&self, algorithm: Algorithm) -> PathBuf {
        self.root.join("blobs").join(algorithm.name())
    }

    pub(super) fn content(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        let mut path = String::with_capacity(self.root.as_os_str().len() + 160);
        path.push_str("blobs/");
        path.push_str(digest.algorithm().name());
        path.push('/');
        path.push_str(&hex[..2]);
        path.push('/');
        path.push_str(&hex);
        self.root.join(path)
    }

    /// Where a damaged content is put.
    pub(super) fn aside(&self, digest: &Digest) -> PathBuf {
        self.aside_folder().join(joined(digest))
    }

    pub(super) fn repository(&self, name: &RepositoryName) -> PathBuf {
        self.repositories_folder().join(name.as_str())
    }

    pub(super) fn uploads(&self, name: &RepositoryName) -> PathBuf {
        self.repository(name).join("_uploads")
    }

    pub(super) fn upload(&self, key: &UploadKey, algorithm: Algorithm) -> PathBuf {
        self.uploads(&key.name).join(format!("{}.{algorithm}", key.id))
    }
}

/// `<alg>-<hex>`
fn joined(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm(), digest.hex())
}

/// Reads `<alg>-<hex>` back.
pub(super) fn parse_joined(text: &str) -> Option<Digest> {
    let (algorithm, hex) = text.split_once('-')?;
    Digest::from_hex(Algorithm::from_name(algorithm)?, hex)
}
