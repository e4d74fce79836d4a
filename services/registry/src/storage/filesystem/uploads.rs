//! Uploads in files: the length of the file is what was received, its name tells the algorithm, its folder the repository.

use super::{Filesystem, each_name, found};
use crate::storage::{Content, Result, StorageError, StoredUpload, UploadKey, UploadWriter, Uploads, disk};
use oci::{Algorithm, Digest, RepositoryName};
use std::{
    fs::File,
    path::{Path, PathBuf},
};

impl Uploads for Filesystem {
    fn begin_upload(&self, key: &UploadKey, algorithm: Algorithm) -> Result<()> {
        let path = self.layout.upload(key, algorithm);
        self.in_folder(&path, || disk::create_new(&path))
            .map(|_| ())
            .map_err(|source| self.error("begin", &path, source))
    }

    fn upload(&self, key: &UploadKey) -> Result<Option<StoredUpload>> {
        for algorithm in Algorithm::ALL {
            let path = self.layout.upload(key, algorithm);
            let metadata =
                found(disk::metadata(&path)).map_err(|source| self.error("read", &path, source))?;
            if let Some(metadata) = metadata {
                let touched = metadata
                    .modified()
                    .map_err(|source| self.error("read", &path, source))?;
                return Ok(Some(StoredUpload {
                    key: key.clone(),
                    algorithm,
                    len: metadata.len(),
                    touched,
                }));
            }
        }
        Ok(None)
    }

    fn write_upload(&self, upload: &StoredUpload) -> Result<Box<dyn UploadWriter>> {
        let path = self.layout.upload(&upload.key, upload.algorithm);
        let opened = disk::open_to_write(&path).and_then(|file| {
            let len = file.metadata()?.len();
            Ok((file, len))
        });
        match opened {
            Ok((file, len)) => Ok(Box::new(Writer {
                file,
                path,
                durable: self.durable,
                len,
                begun: len,
            })),
            Err(source) => Err(self.error("open", &path, source)),
        }
    }

    fn finish_upload(&self, upload: &StoredUpload, digest: &Digest) -> Result<()> {
        if self.has_whole(digest, upload.len)? {
            return self.drop_upload(upload);
        }
        let path = self.layout.upload(&upload.key, upload.algorithm);
        if self.durable {
            let file = disk::open(&path).map_err(|source| self.error("finish", &path, source))?;
            if let Err(source) = disk::sync(&file, &path) {
                // The next sync would succeed, and the bytes not be there after a power cut: they must be pushed again.
                let _ = disk::remove(&path);
                return Err(self.error("sync", &path, source));
            }
        }
        self.put_in_place(&path, &self.layout.content(digest))
    }

    fn drop_upload(&self, upload: &StoredUpload) -> Result<()> {
        let path = self.layout.upload(&upload.key, upload.algorithm);
        found(disk::remove(&path))
            .map(|_| ())
            .map_err(|source| self.error("drop", &path, source))
    }

    fn uploads(&self) -> Result<Vec<StoredUpload>> {
        let mut keys = Vec::new();
        let mut failed = None;
        self.each_repository(&mut |name, folder| {
            if let Err(error) = each_upload(&folder.join("_uploads"), &mut |id| {
                keys.push(UploadKey {
                    name: name.clone(),
                    id: id.to_owned(),
                });
            }) {
                failed = Some(error);
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        let mut uploads = Vec::with_capacity(keys.len());
        for key in keys {
            uploads.extend(self.upload(&key)?);
        }
        Ok(uploads)
    }
}

fn each_upload(folder: &Path, visit: &mut dyn FnMut(&str)) -> Result<()> {
    each_name(folder, &mut |name, _| {
        if let Some((id, _)) = name.split_once('.') {
            visit(id);
        }
    })
}

struct Writer {
    file: File,
    path: PathBuf,
    durable: bool,
    /// Bytes that were written.
    len: u64,
    /// Up to here they are on their way to the disk.
    begun: u64,
}

/// Bytes after which the system is told to bring them to the disk: the sync at the end then has little left to wait for.
const BEGIN_BYTES: u64 = 8 << 20;

impl Writer {
    /// Begins to bring what was written to the disk, without waiting for it. It stays in memory for those who read it next.
    #[cfg(target_os = "linux")]
    fn begin_sync(&mut self) {
        if let Some(count) = std::num::NonZeroU64::new(self.len - self.begun) {
            // The advice for pages that are not clean is to write them. It is only advice: what fails is synced at the end.
            let _ = rustix::fs::fadvise(&self.file, self.begun, Some(count), rustix::fs::Advice::DontNeed);
        }
        self.begun = self.len;
    }

    #[cfg(not(target_os = "linux"))]
    fn begin_sync(&mut self) {
        self.begun = self.len;
    }
}

impl UploadWriter for Writer {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        disk::write_at(&self.file, &self.path, bytes, self.len)
            .map_err(|source| StorageError::new("append to", "an upload", source))?;
        self.len += bytes.len() as u64;
        if self.durable && self.len - self.begun >= BEGIN_BYTES {
            self.begin_sync();
        }
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> Result<()> {
        disk::set_len(&self.file, &self.path, len)
            .map_err(|source| StorageError::new("cut", "an upload", source))?;
        self.len = len;
        self.begun = self.begun.min(len);
        Ok(())
    }

    fn content(&self) -> Result<Content> {
        let opened = self.file.try_clone().and_then(Content::of_file);
        opened.map_err(|source| StorageError::new("read", "an upload", source))
    }
}

impl Filesystem {
    /// Visits every folder below `repositories/` that holds a folder of ours, with the name that it stands for.
    pub(super) fn each_repository(&self, visit: &mut dyn FnMut(RepositoryName, &Path)) -> Result<()> {
        each_repository(&self.layout.repositories_folder(), visit)
    }
}

/// See [`Filesystem::each_repository`].
pub(super) fn each_repository(root: &Path, visit: &mut dyn FnMut(RepositoryName, &Path)) -> Result<()> {
    let mut waiting = vec![(String::new(), root.to_owned())];
    while let Some((name, folder)) = waiting.pop() {
        let mut is_repository = false;
        each_name(&folder, &mut |part, kind| {
            if part.starts_with('_') {
                is_repository = true;
            } else if kind.is_dir() {
                let inner = if name.is_empty() {
                    part.to_owned()
                } else {
                    format!("{name}/{part}")
                };
                waiting.push((inner, folder.join(part)));
            }
        })?;
        if is_repository && let Ok(name) = RepositoryName::parse(&name) {
            visit(name, &folder);
        }
    }
    Ok(())
}
