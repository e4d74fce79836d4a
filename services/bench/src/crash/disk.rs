//! A disk whose power can be cut: a file system in an image file, and a copy of the image as it is at one moment.
//!
//! The image lies on a file system that shares blocks between files (XFS), so that a copy is made at once while writers wait.
//! It holds what the inner file system had written to its device by then; what waited in memory, because nobody had
//! synced it, is not in it. That is what power loss leaves behind on a disk without a cache of its own, or with one that
//! keeps what it has taken. Left out: disks that lose what they acknowledged, or write it in another order.

use crate::server::Folder;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Room for the images. The files have holes, so that only what is written takes room.
const OUTER_BYTES: u64 = 8 << 30;

/// Size of the disk.
const DISK_BYTES: u64 = 1 << 30;

/// The file system that the registry's storage is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileSystem {
    /// ext4 as `mkfs.ext4` makes it.
    #[default]
    Ext4,
    /// XFS as `mkfs.xfs` makes it.
    Xfs,
}

impl FileSystem {
    /// Reads a name.
    pub fn from_name(name: &str) -> Option<FileSystem> {
        match name {
            "ext4" => Some(FileSystem::Ext4),
            "xfs" => Some(FileSystem::Xfs),
            _ => None,
        }
    }

    fn make(self, image: &Path) -> io::Result<()> {
        match self {
            FileSystem::Ext4 => run("mkfs.ext4", &["-q", "-F"], &[image]),
            FileSystem::Xfs => run("mkfs.xfs", &["-q", "-m", "reflink=1"], &[image]),
        }
    }

    /// How it is mounted. A container that starts just then holds on to what is unmounted, for a moment, and XFS does not let two
    /// disks of one name be there at once unless it is told to.
    const fn options(self) -> &'static str {
        match self {
            FileSystem::Ext4 => "loop,noatime",
            FileSystem::Xfs => "loop,noatime,nouuid",
        }
    }
}

/// A mounted file system whose power can be cut.
#[derive(Debug)]
pub(crate) struct Disk {
    /// Unmounted before the outer one, which is unmounted before the folder goes.
    inner: Mount,
    outer: Mount,
    kind: FileSystem,
    folder: Folder,
    /// Number of the image that is mounted.
    number: u32,
}

impl Disk {
    /// An empty disk.
    ///
    /// # Errors
    /// If the machine does not let us, with what it said: this takes root, loop devices and `xfsprogs`.
    pub(crate) fn new(kind: FileSystem) -> io::Result<Disk> {
        let folder = Folder::new("power-loss")?;
        let image = folder.path().join("outer.img");
        File::create_new(&image)?.set_len(OUTER_BYTES)?;
        FileSystem::Xfs.make(&image)?;
        let outer = Mount::new(FileSystem::Xfs, &image, &folder.path().join("outer"))?;
        let image = image_of(outer.path(), 0);
        File::create_new(&image)?.set_len(DISK_BYTES)?;
        kind.make(&image)?;
        let inner = Mount::new(kind, &image, &folder.path().join("disk"))?;
        Ok(Disk {
            inner,
            outer,
            kind,
            folder,
            number: 0,
        })
    }

    /// A folder on it.
    pub(crate) fn storage(&self) -> PathBuf {
        self.inner.path().join("storage")
    }

    /// Keeps the disk as it is at some moment of this call, for [`Disk::power_on`]. Writers go on, to the disk that will be lost.
    pub(crate) fn cut(&self) -> io::Result<()> {
        let from = image_of(self.outer.path(), self.number);
        let to = image_of(self.outer.path(), self.number + 1);
        run("cp", &["--reflink=always"], &[&from, &to])
    }

    /// Mounts what was kept in place of the disk that was lost. Nothing may have a file open on it.
    pub(crate) fn power_on(&mut self) -> io::Result<()> {
        self.inner.unmount()?;
        fs::remove_file(image_of(self.outer.path(), self.number))?;
        self.number += 1;
        self.inner = Mount::new(
            self.kind,
            &image_of(self.outer.path(), self.number),
            &self.folder.path().join("disk"),
        )?;
        Ok(())
    }

    /// Copies the storage to a folder that stays, for a person to look at.
    pub(crate) fn keep(&self) -> io::Result<PathBuf> {
        let kept = Folder::new("power-loss-left")?.into_path();
        run("cp", &["--archive"], &[&self.storage(), &kept])?;
        Ok(kept.join("storage"))
    }
}

fn image_of(outer: &Path, number: u32) -> PathBuf {
    outer.join(format!("{number}.img"))
}

/// An image that is mounted through a loop device, until it is dropped.
#[derive(Debug)]
struct Mount {
    point: PathBuf,
    mounted: bool,
}

impl Mount {
    fn new(kind: FileSystem, image: &Path, point: &Path) -> io::Result<Mount> {
        fs::create_dir_all(point)?;
        run("mount", &["-o", kind.options()], &[image, point])?;
        Ok(Mount {
            point: point.to_owned(),
            mounted: true,
        })
    }

    fn path(&self) -> &Path {
        &self.point
    }

    fn unmount(&mut self) -> io::Result<()> {
        if self.mounted {
            run("umount", &[], &[&self.point])?;
            self.mounted = false;
        }
        Ok(())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = self.unmount() {
            eprintln!("{} stays mounted: {error}", self.point.display());
        }
    }
}

/// Runs a program of the system to its end.
fn run(program: &str, options: &[&str], paths: &[&Path]) -> io::Result<()> {
    let output = Command::new(program)
        .args(options)
        .args(paths)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{program}: {}", said.trim())))
}
