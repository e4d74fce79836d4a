//! Contents in files.

use super::{Filesystem, each_name, found, in_folder};
use crate::storage::{Content, Contents, Result};
use oci::{Algorithm, Digest};
use std::{fs, sync::Arc, time::SystemTime};

impl Contents for Filesystem {
    fn content(&self, digest: &Digest) -> Result<Option<Content>> {
        let path = self.layout.content(digest);
        let opened = found(fs::File::open(&path)).and_then(|file| {
            file.map(|file| Ok(Content::File(Arc::new(file.try_clone()?), file.metadata()?.len())))
                .transpose()
        });
        opened.map_err(|source| self.error("open", &path, source))
    }

    fn content_size(&self, digest: &Digest) -> Result<Option<u64>> {
        let path = self.layout.content(digest);
        let metadata = found(fs::metadata(&path)).map_err(|source| self.error("read", &path, source))?;
        Ok(metadata.map(|m| m.len()))
    }

    fn content_time(&self, digest: &Digest) -> Result<Option<SystemTime>> {
        let path = self.layout.content(digest);
        found(fs::metadata(&path).and_then(|m| m.modified()))
            .map_err(|source| self.error("read", &path, source))
    }

    fn each_content(&self, visit: &mut dyn FnMut(Digest, u64)) -> Result<()> {
        for algorithm in Algorithm::ALL {
            let folder = self.layout.contents_folder(algorithm);
            let mut groups = Vec::new();
            each_name(&folder, &mut |group, _| groups.push(folder.join(group)))?;
            for group in groups {
                each_name(&group, &mut |name, _| {
                    if let Some(digest) = Digest::from_hex(algorithm, name)
                        && let Ok(metadata) = fs::metadata(group.join(name))
                    {
                        visit(digest, metadata.len());
                    }
                })?;
            }
        }
        Ok(())
    }

    fn remove_content(&self, digest: &Digest) -> Result<Option<u64>> {
        let size = self.content_size(digest)?;
        let path = self.layout.content(digest);
        found(fs::remove_file(&path)).map_err(|source| self.error("remove", &path, source))?;
        Ok(size)
    }

    fn set_aside_content(&self, digest: &Digest) -> Result<()> {
        let (path, aside) = (self.layout.content(digest), self.layout.aside(digest));
        found(in_folder(&aside, || fs::rename(&path, &aside)))
            .map(|_| ())
            .map_err(|source| self.error("set aside", &path, source))
    }
}
