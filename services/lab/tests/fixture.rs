//! The fixture image: the same bytes on every machine, and an image that runtimes accept.

#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

use lab::fixture;
use oci::Digest;
use serde_json::Value;
use std::io::Read;
use std::path::Path;

/// The index's digest. It changes when a file of the image does, or when flate2 begins to compress in another way; either
/// is a change that readers of recorded digests should be told of.
const INDEX: &str = "sha256:a7081023bd970f12461c785e13825a6b5df66a63ccfb0366261544cd65e2da42";

fn written() -> (tempfile::TempDir, Digest) {
    let folder = tempfile::tempdir().expect("a folder");
    let digest = fixture::write(folder.path()).expect("it can be written");
    (folder, digest)
}

fn blob(folder: &Path, descriptor: &Value) -> Vec<u8> {
    let digest = Digest::parse(descriptor["digest"].as_str().expect("a digest")).expect("a digest");
    let path = folder
        .join("blobs")
        .join(digest.algorithm().name())
        .join(digest.hex());
    let content = std::fs::read(&path).expect("a blob");
    assert!(digest.matches(&content), "{digest} holds other bytes");
    assert_eq!(descriptor["size"], content.len(), "{digest}");
    content
}

fn json(content: &[u8]) -> Value {
    serde_json::from_slice(content).expect("JSON")
}

#[test]
fn its_digest_never_changes() {
    let (_folder, digest) = written();
    assert_eq!(digest.to_string(), INDEX);
}

#[test]
fn writing_it_again_changes_nothing() {
    let (folder, first) = written();
    let index = std::fs::read(folder.path().join("index.json")).expect("an index");
    assert_eq!(fixture::write(folder.path()).expect("again"), first);
    assert_eq!(
        std::fs::read(folder.path().join("index.json")).expect("an index"),
        index
    );
}

#[test]
fn every_blob_is_there_and_every_diff_id_is_true() {
    let (folder, digest) = written();
    let folder = folder.path();
    let layout = json(&std::fs::read(folder.join("index.json")).expect("an index"));
    assert_eq!(layout["manifests"][0]["digest"], digest.to_string());
    assert_eq!(
        layout["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"],
        fixture::TAG
    );
    let index = json(&blob(folder, &layout["manifests"][0]));
    let platforms: Vec<&str> = index["manifests"]
        .as_array()
        .expect("manifests")
        .iter()
        .filter_map(|manifest| manifest["platform"]["architecture"].as_str())
        .collect();
    assert_eq!(platforms, ["amd64", "arm64"]);
    for manifest in index["manifests"].as_array().expect("manifests") {
        let manifest = json(&blob(folder, manifest));
        let config = json(&blob(folder, &manifest["config"]));
        let layers = manifest["layers"].as_array().expect("layers");
        let diff_ids = config["rootfs"]["diff_ids"].as_array().expect("diff_ids");
        assert_eq!(layers.len(), diff_ids.len());
        assert_eq!(config["history"].as_array().map(Vec::len), Some(layers.len()));
        for (layer, diff_id) in layers.iter().zip(diff_ids) {
            let mut tar = Vec::new();
            flate2::read::GzDecoder::new(blob(folder, layer).as_slice())
                .read_to_end(&mut tar)
                .expect("gzip");
            assert_eq!(diff_id, &Digest::sha256(&tar).to_string());
            assert!(tar::Archive::new(tar.as_slice()).entries().expect("tar").count() > 0);
        }
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_told() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let error = fixture::write(file.path())
        .expect_err("it is no folder")
        .to_string();
    assert!(error.contains(&*file.path().to_string_lossy()), "{error}");
}
