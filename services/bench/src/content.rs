//! The content that workloads move: made from numbers, so that a static file server and a bare answer can hold the
//! very same bytes as the registries.

use crate::connection::Body;
use crate::settings::{STATIC_REPOSITORY, Scale};
use oci::media_type::{OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST};
use oci::{Algorithm, Descriptor, Digest, Hasher};
use serde_json::{Value, json};
use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Bytes of the small blob: 4 KiB.
pub const SMALL_BLOB_BYTES: usize = 4096;

/// The repeated part of a large blob, in bytes. One block is all the memory that a push of any size needs.
pub const BLOCK_BYTES: usize = 1024 * 1024;

/// The tag that single-tag workloads ask for.
pub const TAG: &str = "latest";

/// Pseudo-random bytes that depend on the seed alone (xorshift64*): nothing can compress or share them.
pub fn bytes(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut made = Vec::with_capacity(count + 8);
    while made.len() < count {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        made.extend(state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    made.truncate(count);
    made
}

/// A blob that fits in memory.
#[derive(Clone, Debug)]
pub struct Blob {
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub content: Vec<u8>,
}

impl Blob {
    /// A blob with these bytes.
    pub fn new(content: Vec<u8>) -> Blob {
        Blob {
            digest: Digest::sha256(&content),
            content,
        }
    }

    /// The blob of 4 KiB that every registry gets.
    pub fn small() -> Blob {
        Blob::new(bytes(1, SMALL_BLOB_BYTES))
    }
}

/// Large blobs of one size that differ in their last bytes only, so that the digest of each costs little.
#[derive(Clone, Debug)]
pub struct LargeBlobs {
    block: Vec<u8>,
    repeats: usize,
    tail_bytes: usize,
    prefix: Hasher,
}

/// One of them: what follows the blocks, and the digest of the whole.
#[derive(Clone, Debug)]
pub struct LargeBlob {
    /// What follows the repeated blocks.
    pub tail: Vec<u8>,
    /// Digest of the whole.
    pub digest: Digest,
}

impl LargeBlobs {
    /// Blobs of `total` bytes, at least 64.
    pub fn new(total: u64) -> LargeBlobs {
        let total = usize::try_from(total).unwrap_or(usize::MAX).max(64);
        let block_bytes = BLOCK_BYTES.min(total / 2);
        let repeats = (total - 32) / block_bytes;
        let block = bytes(2, block_bytes);
        let mut prefix = Hasher::new(Algorithm::Sha256);
        for _ in 0..repeats {
            prefix.update(&block);
        }
        LargeBlobs {
            tail_bytes: total - repeats * block_bytes,
            block,
            repeats,
            prefix,
        }
    }

    /// Bytes of each blob.
    pub fn len(&self) -> u64 {
        (self.block.len() * self.repeats + self.tail_bytes) as u64
    }

    /// Never: each has at least 64 bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The blob of this number.
    pub fn blob(&self, number: u64) -> LargeBlob {
        let tail = bytes(number.wrapping_add(3), self.tail_bytes);
        let mut hasher = self.prefix.clone();
        hasher.update(&tail);
        LargeBlob {
            tail,
            digest: hasher.finish(),
        }
    }

    /// The body to send for it.
    pub fn body<'a>(&'a self, blob: &'a LargeBlob) -> Body<'a> {
        Body {
            block: &self.block,
            repeats: self.repeats,
            tail: &blob.tail,
        }
    }
}

/// The configuration that fixture images share.
pub fn config() -> Blob {
    Blob::new(br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#.to_vec())
}

/// An image manifest over the shared configuration and small blob. Manifests of different numbers differ in one annotation of
/// fixed width, so that all have the same length.
pub fn manifest(number: u64) -> Vec<u8> {
    let layer = Descriptor::new(OCI_LAYER_GZIP, Blob::small().digest, SMALL_BLOB_BYTES as u64);
    image(&config(), layer, number, None)
}

/// An image manifest that refers to `subject`, of one of `types` artifact types.
pub fn referrer(subject: &Descriptor, number: u64, types: u64) -> Vec<u8> {
    let layer = Descriptor::new(OCI_LAYER_GZIP, Blob::small().digest, SMALL_BLOB_BYTES as u64);
    let extra = json!({ "artifactType": artifact_type(number % types), "subject": subject });
    image(&config(), layer, number, Some(extra))
}

/// The artifact type of this number.
pub fn artifact_type(number: u64) -> String {
    format!("application/vnd.example.type-{number}")
}

/// An image manifest over one layer.
pub fn image(config: &Blob, layer: Descriptor, number: u64, extra: Option<Value>) -> Vec<u8> {
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": Descriptor::new(OCI_CONFIG, config.digest, config.content.len() as u64),
        "layers": [layer],
        "annotations": { "org.example.number": format!("{number:020}") },
    });
    if let (Some(fields), Some(Value::Object(extra))) = (manifest.as_object_mut(), extra) {
        fields.extend(extra);
    }
    manifest.to_string().into_bytes()
}

/// The tag of this number; tags sort as their numbers do.
pub fn tag(number: u64) -> String {
    format!("v{number:07}")
}

/// What a file of [`files`] holds.
#[derive(Clone, Debug)]
pub enum FileContent {
    /// These bytes.
    Whole(Vec<u8>),
    /// Large blob number 0.
    Large,
}

/// What a server of fixed content must hold: pairs of path (without the first slash) and content.
pub fn files(scale: &Scale) -> Vec<(String, FileContent)> {
    let first = manifest(0);
    let base = format!("v2/{STATIC_REPOSITORY}");
    let large = LargeBlobs::new(scale.large_bytes).blob(0).digest;
    let mut files = vec![
        (
            format!("{base}/manifests/{TAG}"),
            FileContent::Whole(first.clone()),
        ),
        (
            format!("{base}/manifests/{}", Digest::sha256(&first)),
            FileContent::Whole(first),
        ),
        (format!("{base}/blobs/{large}"), FileContent::Large),
    ];
    for blob in [config(), Blob::small()] {
        files.push((
            format!("{base}/blobs/{}", blob.digest),
            FileContent::Whole(blob.content),
        ));
    }
    for number in 0..scale.some_tags {
        let path = format!("{base}/manifests/{}", tag(number));
        files.push((path, FileContent::Whole(manifest(number))));
    }
    files
}

/// Writes [`files`] below a folder, for a server of static files.
///
/// # Errors
/// Of the file system.
pub fn write_files(folder: &Path, scale: &Scale) -> io::Result<()> {
    for (path, content) in files(scale) {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        match content {
            FileContent::Whole(bytes) => fs::write(path, bytes)?,
            FileContent::Large => {
                let blobs = LargeBlobs::new(scale.large_bytes);
                let blob = blobs.blob(0);
                let mut file = fs::File::create(path)?;
                for _ in 0..blobs.repeats {
                    file.write_all(&blobs.block)?;
                }
                file.write_all(&blob.tail)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_blob_hashes_to_its_digest_and_has_the_size_asked_for() {
        for total in [64, 1000, BLOCK_BYTES as u64, 3 * BLOCK_BYTES as u64 + 7] {
            let blobs = LargeBlobs::new(total);
            let blob = blobs.blob(9);
            let body = blobs.body(&blob);
            let mut whole = body.block.repeat(body.repeats);
            whole.extend(body.tail);
            assert_eq!((whole.len() as u64, blobs.len()), (total, total));
            assert!(blob.digest.matches(&whole));
            assert_ne!(blobs.blob(10).digest, blob.digest);
        }
    }

    #[test]
    fn manifests_differ_and_have_one_length() {
        let (a, b) = (manifest(1), manifest(99_999));
        assert_ne!(a, b);
        assert_eq!(a.len(), b.len());
    }

    #[test]
    fn a_referrer_names_its_subject_and_type() {
        let subject = Descriptor::of(OCI_MANIFEST, &manifest(1));
        let body = referrer(&subject, 13, 10);
        let view = oci::ManifestView::parse(Some(OCI_MANIFEST), &body).expect("a manifest");
        assert_eq!(view.subjects(), [&subject]);
        assert_eq!(
            view.listed_artifact_type(),
            Some("application/vnd.example.type-3")
        );
    }
}
