//! The lab's own image: what the scenarios copy where no other source is named, so that they need no network.
//!
//! A real multi-platform image as an OCI image layout: an index, linux/amd64 and linux/arm64, each with a config whose
//! diff_ids are true and two gzip layers, a root file system and a file that tells the platform. It holds no program: there
//! is nothing to run in it, and nothing to keep up to date. Every byte follows from this file (times, owners, order and
//! compression are fixed), so its digests never change; a test holds them.

use flate2::{Compression, GzBuilder};
use oci::{Descriptor, Digest, Platform, media_type};
use serde_json::{Map, Value, json};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The tag that the layout lists its index under.
pub const TAG: &str = "latest";

/// Every file's time, and the image's: 2022-09-25 00:00:00 UTC, when the working group had finished.
const CREATED_SECONDS: u64 = 1_664_064_000;
/// [`CREATED_SECONDS`] as configs write it.
const CREATED: &str = "2022-09-25T00:00:00Z";

const PLATFORMS: [&str; 2] = ["amd64", "arm64"];

/// A file or folder of a layer: path (a folder ends with a slash), mode, content.
type Entry = (&'static str, u32, &'static str);

/// The layer that both platforms share.
const ROOT: &[Entry] = &[
    ("bin/", 0o755, ""),
    ("dev/", 0o755, ""),
    ("etc/", 0o755, ""),
    ("etc/group", 0o644, "root:x:0:\nnobody:x:65534:\n"),
    ("etc/hostname", 0o644, "referrers-lab\n"),
    (
        "etc/os-release",
        0o644,
        "NAME=\"Referrers Lab\"\nID=referrers-lab\nVERSION_ID=1\nPRETTY_NAME=\"Referrers Lab fixture image\"\n",
    ),
    (
        "etc/passwd",
        0o644,
        "root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n",
    ),
    ("home/", 0o755, ""),
    ("proc/", 0o555, ""),
    ("root/", 0o700, ""),
    ("sys/", 0o555, ""),
    ("tmp/", 0o1777, ""),
    ("usr/", 0o755, ""),
    ("usr/share/", 0o755, ""),
    ("usr/share/referrers-lab/", 0o755, ""),
    (
        "usr/share/referrers-lab/README",
        0o644,
        "This image is what the lab's scenarios push, pull and attach artifacts to.\n\
         It holds files, and no program.\n",
    ),
    ("var/", 0o755, ""),
];

/// Why the layout could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the fixture image to {}: {source}", path.display())]
pub struct FixtureError {
    /// The file or folder.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// One layer in both of its forms.
struct Layer {
    gzip: Vec<u8>,
    diff_id: Digest,
}

/// Writes the image as an OCI image layout into `folder`, which is made, and gives the digest of its index.
///
/// Writing again gives the same bytes.
///
/// # Errors
/// [`FixtureError`] if the folder cannot be written to.
///
/// Source: OCI image-spec 1.1, image-layout.md.
pub fn write(folder: &Path) -> Result<Digest, FixtureError> {
    let store = Layout { folder };
    let root = layer(ROOT).map_err(|source| store.error(source))?;
    let mut manifests = Vec::new();
    for architecture in PLATFORMS {
        let told = format!("linux/{architecture}\n");
        let own = layer(&[("etc/", 0o755, ""), ("etc/platform", 0o644, &told)])
            .map_err(|source| store.error(source))?;
        manifests.push(platform(&store, architecture, &[&root, &own])?);
    }
    let index = store.put_json(
        media_type::OCI_INDEX,
        &json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": manifests}),
    )?;
    let mut listed = index.clone();
    listed.annotations = Some(
        [("org.opencontainers.image.ref.name".to_owned(), TAG.to_owned())]
            .into_iter()
            .collect(),
    );
    let layout = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [listed]});
    store.write("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    store.write("index.json", layout.to_string().as_bytes())?;
    Ok(index.digest)
}

/// One platform's layers, config and manifest.
fn platform(store: &Layout<'_>, architecture: &str, layers: &[&Layer]) -> Result<Descriptor, FixtureError> {
    let history: Vec<Value> = ["the root file system", "the platform's own file"]
        .iter()
        .map(|what| json!({"created": CREATED, "created_by": format!("lab fixture: {what}")}))
        .collect();
    let diff_ids: Vec<&Digest> = layers.iter().map(|layer| &layer.diff_id).collect();
    let config = json!({
        "created": CREATED,
        "author": "Referrers Lab",
        "architecture": architecture,
        "os": "linux",
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "WorkingDir": "/",
            "Labels": {"org.opencontainers.image.title": "referrers-lab fixture"},
        },
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": history,
    });
    let config = store.put_json(media_type::OCI_CONFIG, &config)?;
    let layers = layers
        .iter()
        .map(|layer| store.put(media_type::OCI_LAYER_GZIP, &layer.gzip))
        .collect::<Result<Vec<Descriptor>, FixtureError>>()?;
    let mut manifest = store.put_json(
        media_type::OCI_MANIFEST,
        &json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config, "layers": layers}),
    )?;
    manifest.platform = Some(Platform {
        os: "linux".to_owned(),
        architecture: architecture.to_owned(),
        variant: None,
        os_version: None,
        other: Map::new(),
    });
    Ok(manifest)
}

/// A tar archive of the entries, gzipped, with nothing in it that differs between two runs.
fn layer(entries: &[(&str, u32, &str)]) -> io::Result<Layer> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, mode, content) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_path(path)?;
        header.set_mode(*mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(CREATED_SECONDS);
        header.set_size(content.len() as u64);
        header.set_entry_type(match path.ends_with('/') {
            true => tar::EntryType::Directory,
            false => tar::EntryType::Regular,
        });
        header.set_cksum();
        archive.append(&header, content.as_bytes())?;
    }
    let tar = archive.into_inner()?;
    // No name and no time; 255 means an unknown system, so that the header is the same everywhere.
    let mut gzip = GzBuilder::new()
        .mtime(0)
        .operating_system(255)
        .write(Vec::new(), Compression::new(6));
    gzip.write_all(&tar)?;
    Ok(Layer {
        gzip: gzip.finish()?,
        diff_id: Digest::sha256(&tar),
    })
}

/// The folder that is being written.
struct Layout<'a> {
    folder: &'a Path,
}

impl Layout<'_> {
    fn put(&self, media_type: &str, content: &[u8]) -> Result<Descriptor, FixtureError> {
        let digest = Digest::sha256(content);
        self.write(&format!("blobs/{}/{}", digest.algorithm(), digest.hex()), content)?;
        Ok(Descriptor::new(media_type, digest, content.len() as u64))
    }

    fn put_json(&self, media_type: &str, content: &Value) -> Result<Descriptor, FixtureError> {
        self.put(media_type, content.to_string().as_bytes())
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<(), FixtureError> {
        let path = self.folder.join(name);
        let made = path.parent().map_or(Ok(()), fs::create_dir_all);
        made.and_then(|()| fs::write(&path, content))
            .map_err(|source| FixtureError { path, source })
    }

    fn error(&self, source: io::Error) -> FixtureError {
        FixtureError {
            path: self.folder.to_owned(),
            source,
        }
    }
}
