//! OCI image layouts: a folder to read and write, or a tar archive to read.
//!
//! Blobs lie under their digests, so nothing in them is ever changed; `index.json` is replaced whole, under a lock.
//! References are kept as regclient keeps them in a folder: an index under the digest tag of their subject.
//!
//! Source: OCI image-spec 1.1, image-layout.md.

mod archive;
mod index;

use crate::{
    Error, Result,
    blobs::{Wrong, collect, verified},
    digest_tag::{self, Change, TagIndex},
    location::LayoutReference,
    repository::{BlobOutcome, BlobSource, ByteStream, Manifest},
};
use bytes::Bytes;
use futures_util::{StreamExt, future::LocalBoxFuture};
use oci::{Descriptor, Digest, ManifestRef, ManifestView, Tag, media_type};
use std::{
    collections::HashSet,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    rc::Rc,
};
use tokio::io::AsyncWriteExt;

/// The file that marks a layout.
const MARKER: &str = "oci-layout";
/// The file that marks an archive of `docker save`.
const DOCKERS_MARKER: &str = "manifest.json";
/// The only version there is.
const VERSION: &str = "1.0.0";
/// The folder of the blobs.
const BLOBS: &str = "blobs";

/// An OCI image layout. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Layout {
    /// What the user named: the folder, or the archive.
    path: PathBuf,
    /// Where the files are, if it is an archive.
    archive: Option<Rc<archive::Contents>>,
}

/// Where the bytes of a file of a layout are.
struct Part {
    path: PathBuf,
    offset: u64,
    size: u64,
}

impl Layout {
    /// Opens a layout that exists.
    ///
    /// # Errors
    /// `NoLayout` if nothing is there, `Layout` if it is none, `LayoutVersion` if `imageLayoutVersion` is not 1.0.0.
    pub fn open(path: &Path) -> Result<Layout> {
        check_exists(path)?;
        let layout = Layout {
            path: path.to_owned(),
            archive: None,
        };
        layout.check_version()?;
        layout.index()?;
        Ok(layout)
    }

    /// Opens a layout, or makes an empty one where nothing (or an empty folder) is.
    ///
    /// # Errors
    /// As [`Layout::open`], and `Io`.
    pub fn open_or_create(path: &Path) -> Result<Layout> {
        let is_free = match fs::read_dir(path) {
            Ok(mut entries) => entries.next().is_none(),
            Err(e) if e.kind() == ErrorKind::NotFound => true,
            Err(e) => return Err(Error::io("read the folder", path)(e)),
        };
        if is_free {
            let blobs = path.join(BLOBS).join("sha256");
            fs::create_dir_all(&blobs).map_err(Error::io("create the folder", blobs))?;
            crate::files::write_atomically(&path.join(index::FILE), index::EMPTY.as_bytes())?;
            // The marker last: before it, this is no layout.
            let marker = format!("{{\"imageLayoutVersion\":\"{VERSION}\"}}");
            crate::files::write_atomically(&path.join(MARKER), marker.as_bytes())?;
        }
        Layout::open(path)
    }

    /// Opens a layout in a tar archive. Its files are read where they are; of a gzip archive a decompressed copy is kept in
    /// a temporary file, which goes with the last clone and is at most 100 times as large (or 1 GiB).
    ///
    /// # Errors
    /// `NoLayout` if nothing is there; `Layout` if it is none, or expands too far; `Io`.
    pub async fn open_archive(path: &Path) -> Result<Layout> {
        check_exists(path)?;
        let archive = path.to_owned();
        let contents = actix_rt::task::spawn_blocking(move || archive::Contents::read(&archive)).await;
        let contents = contents.unwrap_or_else(|e| {
            Err(Error::Layout {
                path: path.to_owned(),
                problem: e.to_string(),
            })
        })?;
        let layout = Layout {
            path: path.to_owned(),
            archive: Some(Rc::new(contents)),
        };
        layout.check_version()?;
        layout.index()?;
        Ok(layout)
    }

    fn check_version(&self) -> Result<()> {
        let is_dockers = self.archive.as_ref().is_some_and(|archive| archive.is_dockers);
        if is_dockers && self.part(Path::new(MARKER))?.is_none() {
            return Err(self.problem(
                "it is an archive of `docker save` without a layout; `skopeo copy docker-archive:FILE oci:FOLDER:TAG` makes one"
                    .to_owned(),
            ));
        }
        let text = self.document(MARKER)?;
        let marker: serde_json::Value =
            serde_json::from_slice(&text).map_err(|e| self.problem(format!("{MARKER}: {e}")))?;
        match marker
            .get("imageLayoutVersion")
            .and_then(serde_json::Value::as_str)
        {
            Some(VERSION) => Ok(()),
            other => Err(Error::LayoutVersion {
                path: self.path.clone(),
                version: crate::error::clean(other.unwrap_or_default()),
            }),
        }
    }

    /// Folder or archive.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn problem(&self, problem: String) -> Error {
        Error::Layout {
            path: self.path.clone(),
            problem,
        }
    }

    /// The folder, to be written to.
    fn folder(&self) -> Result<&Path> {
        match self.archive {
            None => Ok(&self.path),
            Some(_) => Err(self.problem("an archive is for reading".to_owned())),
        }
    }

    /// Where a file is; `None` if it is not there.
    fn part(&self, name: &Path) -> Result<Option<Part>> {
        if let Some(archive) = &self.archive {
            let found = archive.find(name);
            return Ok(found.map(|(path, offset, size)| Part {
                path: path.to_owned(),
                offset,
                size,
            }));
        }
        let path = self.path.join(name);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(Some(Part {
                size: metadata.len(),
                path,
                offset: 0,
            })),
            Err(e) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&e.kind()) => Ok(None),
            Err(e) => Err(Error::io("read", path)(e)),
        }
    }

    /// The content of one of the files that every layout has.
    fn document(&self, name: &str) -> Result<Vec<u8>> {
        let part = self
            .part(Path::new(name))?
            .ok_or_else(|| self.problem(format!("there is no file {name}")))?;
        if part.size > oci::MAX_MANIFEST_BYTES as u64 {
            return Err(self.problem(format!("{name} is larger than {} bytes", oci::MAX_MANIFEST_BYTES)));
        }
        crate::files::read_part(&part.path, part.offset, part.size)
    }

    /// A manifest, verified; `None` if it is not there.
    ///
    /// # Errors
    /// `LayoutDigest`, `Layout`, `Io`.
    pub async fn try_get_manifest(&self, target: &ManifestRef) -> Result<Option<Manifest>> {
        let named = match target {
            ManifestRef::Tag(tag) => match self.tagged(tag)? {
                Some(named) => named,
                None => return Ok(None),
            },
            ManifestRef::Digest(digest) => Descriptor::new("", *digest, 0),
        };
        let digest = named.digest;
        let Some(size) = self.blob_size(&digest)? else {
            return Ok(None);
        };
        let blob = Descriptor::new(named.media_type, digest, size);
        let bytes = self.get_blob_bytes(&blob, oci::MAX_MANIFEST_BYTES as u64).await?;
        // The file has no type of its own: the descriptor tells it, or the content.
        let media_type = match ManifestView::parse(Some(&blob.media_type), &bytes) {
            Ok(view) => view.kind.media_type().to_owned(),
            Err(_) => blob.media_type,
        };
        Ok(Some(Manifest {
            bytes,
            media_type,
            digest,
            etag: None,
        }))
    }

    /// The size of a blob, `None` if it is not there.
    ///
    /// # Errors
    /// `Io`.
    pub fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        Ok(self.part(&blob_name(digest))?.map(|part| part.size))
    }

    /// A blob as a stream, verified at its end.
    ///
    /// # Errors
    /// `NotInLayout`, `Io`; in the stream `LayoutDigest`.
    pub async fn get_blob(&self, blob: &Descriptor) -> Result<ByteStream> {
        self.get_blob_from(blob, 0).await
    }

    async fn get_blob_from(&self, blob: &Descriptor, offset: u64) -> Result<ByteStream> {
        let part = self
            .part(&blob_name(&blob.digest))?
            .ok_or_else(|| Error::NotInLayout {
                path: self.path.clone(),
                what: format!("blob {}", blob.digest),
                hint: String::new(),
            })?;
        let left = part.size.saturating_sub(offset);
        let stream = crate::files::stream(&part.path, part.offset + offset, left).await?;
        Ok(verified(stream, blob, offset, move |wrong| {
            wrong_file(&part.path, wrong)
        }))
    }

    /// A blob in memory, verified.
    ///
    /// # Errors
    /// As [`Layout::get_blob`]; `Layout` if it is larger than `limit` bytes.
    pub async fn get_blob_bytes(&self, blob: &Descriptor, limit: u64) -> Result<Bytes> {
        if blob.size > limit {
            return Err(self.problem(format!("{} is larger than {limit} bytes", blob.digest)));
        }
        collect(self.get_blob(blob).await?, blob.size).await
    }

    /// Stores a blob: written aside, verified, then moved to its name.
    ///
    /// # Errors
    /// `LayoutDigest` if the bytes are not the descriptor's; `Io`.
    pub async fn put_blob(&self, blob: &Descriptor, source: &dyn BlobSource) -> Result<BlobOutcome> {
        let path = self.folder()?.join(blob_name(&blob.digest));
        if self.blob_size(&blob.digest)? == Some(blob.size) {
            return Ok(BlobOutcome::Present);
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(Error::io("create the folder", folder))?;
        }
        let temporary = crate::files::Aside::of(&path);
        let shown = path.clone();
        let stream = source.open(0).await?;
        let stream = verified(stream, blob, 0, move |wrong| wrong_file(&shown, wrong));
        write_stream(temporary.path(), stream).await?;
        temporary.put_in_place(&path)?;
        Ok(BlobOutcome::Copied)
    }

    /// Stores a manifest and, with a tag, names it in `index.json` (whole, or not at all).
    ///
    /// # Errors
    /// `Layout`, `Io`.
    pub async fn put_manifest(&self, manifest: &Manifest, tag: Option<&Tag>) -> Result<()> {
        self.put_blob(&manifest.descriptor(), &manifest.bytes.clone())
            .await?;
        match tag {
            Some(tag) => self.name(&manifest.descriptor(), Some(tag)),
            None => Ok(()),
        }
    }

    /// The index under the digest tag of a subject; `None` if there is no such tag.
    ///
    /// # Errors
    /// `NotADigestTag`, `Layout`, `LayoutDigest`, `Io`.
    pub async fn digest_tag(&self, subject: &Digest) -> Result<Option<TagIndex>> {
        let tag = oci::digest_tag::of(subject);
        let manifest = self.try_get_manifest(&ManifestRef::Tag(tag.clone())).await?;
        let place = format!("oci:{}", self.path.display());
        manifest
            .map(|manifest| TagIndex::parse(&place, &tag, &manifest))
            .transpose()
    }

    /// The referrers of a subject among the manifests of this layout: those under its digest tag, and those that
    /// `index.json` or its indexes name and that refer to it.
    ///
    /// # Errors
    /// `Layout`, `LayoutDigest`, `Io`.
    pub async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let mut found = match self.digest_tag(subject).await? {
            Some(index) => index.entries,
            None => Vec::new(),
        };
        let mut seen: HashSet<Digest> = found.iter().map(|entry| entry.digest).collect();
        for entry in self.index()?.descriptors() {
            if !seen.insert(entry.digest) || oci::ManifestKind::from_media_type(&entry.media_type).is_none() {
                continue;
            }
            let Some(manifest) = self.try_get_manifest(&ManifestRef::Digest(entry.digest)).await? else {
                continue;
            };
            let Ok(view) = manifest.view() else { continue };
            if view.subjects().iter().any(|s| s.digest == *subject) {
                let size = manifest.bytes.len() as u64;
                found.push(view.referrer_descriptor(&manifest.media_type, manifest.digest, size));
            }
        }
        Ok(found)
    }

    /// Lists references under the digest tag of their subject, beside those that are there.
    ///
    /// # Errors
    /// `Layout`, `LayoutDigest`, `Io`.
    pub async fn add_referrers(&self, subject: &Digest, entries: &[Descriptor]) -> Result<Tag> {
        let tag = oci::digest_tag::of(subject);
        let before = self.digest_tag(subject).await?.map(|index| index.document);
        let changes: Vec<Change> = entries.iter().cloned().map(Change::Append).collect();
        let index = digest_tag::preview(before.as_ref(), &changes);
        let index = Manifest::new(media_type::OCI_INDEX, index.to_string());
        self.put_manifest(&index, Some(&tag)).await?;
        Ok(tag)
    }
}

fn check_exists(path: &Path) -> Result<()> {
    match path.try_exists() {
        Ok(false) => Err(Error::NoLayout {
            path: path.to_owned(),
        }),
        // What keeps it from being read is told by who reads it.
        Ok(true) | Err(_) => Ok(()),
    }
}

/// Which images there are; lists of references are none that a person would ask for.
fn hint(mut tags: Vec<String>) -> String {
    tags.retain(|tag| oci::digest_tag::parse(tag).is_none());
    match tags.as_slice() {
        [] => String::new(),
        tags => format!("; there is: {}", crate::error::clean(&tags.join(", "))),
    }
}

/// The name of a blob's file. A digest has only hexadecimal digits, so it cannot leave the folder.
fn blob_name(digest: &Digest) -> PathBuf {
    [BLOBS, digest.algorithm().name(), &digest.hex()].iter().collect()
}

fn wrong_file(path: &Path, wrong: Wrong) -> Error {
    match wrong {
        Wrong::Digest { expected, computed } => Error::LayoutDigest {
            path: path.to_owned(),
            expected,
            computed,
        },
        Wrong::Length { expected, received } => Error::Layout {
            path: path.to_owned(),
            problem: format!("wrong length: expected {expected} bytes, there are {received}"),
        },
    }
}

async fn write_stream(path: &Path, mut stream: ByteStream) -> Result<()> {
    let io = |doing| Error::io(doing, path);
    // Made at once, so that it is not made after all when this is given up meanwhile.
    let file = tokio::fs::File::from_std(fs::File::create_new(path).map_err(io("write"))?);
    let mut file = tokio::io::BufWriter::with_capacity(256 * 1024, file);
    while let Some(piece) = stream.next().await {
        file.write_all(&piece?).await.map_err(io("write"))?;
    }
    file.flush().await.map_err(io("write"))?;
    file.get_ref().sync_all().await.map_err(io("write"))
}

/// A blob of a layout as the source of another.
pub(crate) struct LayoutBlob {
    pub layout: Layout,
    pub blob: Descriptor,
}

impl BlobSource for LayoutBlob {
    fn open(&self, offset: u64) -> LocalBoxFuture<'_, Result<ByteStream>> {
        Box::pin(self.layout.get_blob_from(&self.blob, offset))
    }
}

impl Layout {
    /// What a reference in this layout leads to: the tag's or digest's descriptor; without a target the only image, else `latest`.
    ///
    /// # Errors
    /// `NotInLayout`, naming the tags that there are.
    pub fn resolve(&self, reference: &LayoutReference) -> Result<Descriptor> {
        let index = self.index()?;
        let found = match &reference.target {
            Some(ManifestRef::Tag(tag)) => index.tagged(tag.as_str()),
            Some(ManifestRef::Digest(digest)) => {
                let named = index
                    .descriptors()
                    .into_iter()
                    .find(|entry| entry.digest == *digest);
                let size = self.blob_size(digest)?;
                named.or(size.map(|size| Descriptor::new("", *digest, size)))
            }
            None => index.only().or_else(|| index.tagged(Tag::latest().as_str())),
        };
        found.ok_or_else(|| Error::NotInLayout {
            path: self.path.clone(),
            what: match &reference.target {
                Some(target) => target.to_string(),
                None => "an image that could be meant without a tag".to_owned(),
            },
            hint: hint(index.tags()),
        })
    }

    /// Every tag (`org.opencontainers.image.ref.name`) in the order of `index.json`.
    ///
    /// # Errors
    /// `Layout`, `Io`.
    pub fn tags(&self) -> Result<Vec<String>> {
        Ok(self.index()?.tags())
    }
}
