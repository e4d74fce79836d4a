//! Copies between registries and layouts: every digest and every reference is kept.

use crate::{assert_error, client, location, options, repository, run, tag};
use client::{Client, CopyOptions, ExitCode, Store, copy};
use oci::{Descriptor, Digest};
use serde_json::json;
use std::{
    collections::HashMap,
    sync::{Condvar, Mutex},
};
use testkit::{FaultServer, Image, Registry, Reply};

fn all() -> CopyOptions {
    CopyOptions {
        referrers: true,
        digest_tags: true,
        ..CopyOptions::default()
    }
}

/// An image on the complete registry with a reference, and a reference to that.
fn image_with_references(registry: &Registry) -> (Image, Digest, Digest) {
    let image = Image::push(registry, "source/app");
    let (first, size) = image.refer_by_image(registry, b"signature", json!({}));
    let second = registry.push_image_with(
        "source/app",
        "",
        b"signature of the signature",
        json!({"subject": {"mediaType": oci::media_type::OCI_MANIFEST, "size": size, "digest": first}}),
    );
    (image, first, second.digest)
}

async fn references(store: &Store, subject: &Digest) -> Vec<Digest> {
    let entries = store.referrers(subject).await.expect("a list");
    entries.iter().map(|entry: &Descriptor| entry.digest).collect()
}

#[test]
fn a_plain_copy_keeps_the_digest_and_asks_for_no_reference() {
    let (from, to) = (Registry::complete(), Registry::current());
    let image = Image::push(&from, "source/app");
    let folder = tempfile::tempdir().expect("a folder");
    let har = folder.path().join("copy.har");
    run(async {
        let client = Client::new(client::Options {
            har: Some(har.clone()),
            ..options()
        })
        .expect("a client");
        let (source, destination) = (
            format!("{}/source/app", from.host()),
            format!("{}/copied/app:latest", to.host()),
        );
        let copied = copy(
            &client,
            &location(&source),
            &location(&destination),
            &CopyOptions::default(),
        )
        .await
        .expect("copied");
        assert_eq!(
            (copied.root.digest, copied.manifests, copied.blobs_copied),
            (image.index, 3, 4)
        );
        let again = copy(
            &client,
            &location(&source),
            &location(&destination),
            &CopyOptions::default(),
        )
        .await
        .expect("copied again");
        assert_eq!((again.manifests, again.blobs_copied), (1, 0));
        let copy = repository(&to.host(), "copied/app");
        assert_eq!(copy.tags().await.expect("tags"), ["latest"]);
        client.finish().expect("a recording");
    });
    let recorded = std::fs::read_to_string(&har).expect("a file");
    assert!(
        !recorded.contains("referrers?") && !recorded.contains("sha256-"),
        "{recorded}"
    );
    let document: serde_json::Value = serde_json::from_str(&recorded).expect("JSON");
    let entries = document["log"]["entries"].as_array().expect("entries");
    assert!(entries.iter().any(|e| e["comment"] == json!(from.host())));
    assert!(entries.iter().any(|e| e["comment"] == json!(to.host())));
    assert!(entries.iter().all(|e| e["response"]["status"] != json!(0)));
}

#[test]
fn references_travel_between_every_mix_of_generations() {
    for destination in [Registry::complete(), Registry::current()] {
        let from = Registry::complete();
        let (image, first, second) = image_with_references(&from);
        run(async {
            let source = location(&format!("{}/source/app", from.host()));
            let target = location(&format!("{}/copied/app:v1", destination.host()));
            let copied = copy(&client(), &source, &target, &all()).await.expect("copied");
            assert_eq!(copied.referrers.len(), 2);
            let store = Store::Repository(repository(&destination.host(), "copied/app"));
            assert_eq!(references(&store, &image.index).await, [first]);
            assert_eq!(references(&store, &first).await, [second]);

            // And back, from digest tags or API, to a registry with the API.
            let home = Registry::complete();
            let back = location(&format!("{}/home/app:v1", home.host()));
            copy(&client(), &target, &back, &all())
                .await
                .expect("copied back");
            let store = Store::Repository(repository(&home.host(), "home/app"));
            assert_eq!(references(&store, &image.index).await, [first]);
            assert_eq!(references(&store, &first).await, [second]);
        });
    }
}

#[test]
fn registry_to_layout_to_registry_keeps_every_digest_and_reference() {
    let (from, to) = (Registry::complete(), Registry::current());
    let (image, first, second) = image_with_references(&from);
    let folder = tempfile::tempdir().expect("a folder");
    let layout = location(&format!("oci:{}:kept", folder.path().join("layout").display()));
    run(async {
        let client = client();
        let source = location(&format!("{}/source/app", from.host()));
        copy(&client, &source, &layout, &all())
            .await
            .expect("to the layout");
        let store = client.open(&layout).await.expect("a layout");
        assert_eq!(references(&store, &image.index).await, [first]);
        let target = location(&format!("{}/copied/app:latest", to.host()));
        let copied = copy(&client, &layout, &target, &all())
            .await
            .expect("to the registry");
        assert_eq!(copied.root.digest, image.index);
        let store = Store::Repository(repository(&to.host(), "copied/app"));
        assert_eq!(references(&store, &image.index).await, [first]);
        assert_eq!(references(&store, &first).await, [second]);
        for layer in image.layers {
            let Store::Repository(repository) = &store else {
                unreachable!()
            };
            assert!(repository.head_blob(&layer).await.expect("asked").is_some());
        }
    });
}

#[test]
fn a_layout_in_an_archive_is_read_and_never_written() {
    let (from, to) = (Registry::current(), Registry::current());
    let image = Image::push(&from, "source/app");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("layout");
    for gzip in [false, true] {
        let archive = folder
            .path()
            .join(if gzip { "layout.tar.gz" } else { "layout.tar" });
        run(async {
            let client = client();
            let source = location(&format!("{}/source/app", from.host()));
            let layout = location(&format!("oci:{}:latest", path.display()));
            copy(&client, &source, &layout, &CopyOptions::default())
                .await
                .expect("to the layout");
            pack(&path, &archive, gzip);
            let archive = location(&archive.display().to_string());
            let target = location(&format!("{}/copied/app:{gzip}", to.host()));
            let copied = copy(&client, &archive, &target, &CopyOptions::default())
                .await
                .expect("copied");
            assert_eq!(copied.root.digest, image.index);
            let error = copy(&client, &source, &archive, &CopyOptions::default())
                .await
                .expect_err("read only");
            assert_error(&error, ExitCode::Usage, &["for reading"]);
        });
    }
}

fn pack(folder: &std::path::Path, archive: &std::path::Path, gzip: bool) {
    let file = std::fs::File::create(archive).expect("a file");
    let writer: Box<dyn std::io::Write> = match gzip {
        true => Box::new(flate2::write::GzEncoder::new(file, flate2::Compression::fast())),
        false => Box::new(file),
    };
    let mut builder = tar::Builder::new(writer);
    builder.append_dir_all(".", folder).expect("packed");
    builder.into_inner().expect("packed");
}

#[test]
fn one_platform_is_copied_as_the_image_that_it_is() {
    let (from, to) = (Registry::complete(), Registry::current());
    let image = Image::push(&from, "source/app");
    run(async {
        let source = location(&format!("{}/source/app", from.host()));
        let target = location(&format!("{}/copied/app", to.host()));
        let only = |platform: &str| CopyOptions {
            platform: Some(client::copy::parse_platform(platform).expect("a platform")),
            ..CopyOptions::default()
        };
        let copied = copy(&client(), &source, &target, &only("linux/arm64"))
            .await
            .expect("copied");
        assert_eq!((copied.root.digest, copied.blobs_copied), (image.manifests[1], 2));
        let error = copy(&client(), &source, &target, &only("plan9/arm64"))
            .await
            .expect_err("no such platform");
        assert_error(&error, ExitCode::NotFound, &["plan9/arm64", "linux/amd64"]);
    });
}

#[test]
fn blobs_are_mounted_within_one_registry() {
    let registry = Registry::current();
    Image::push(&registry, "source/app");
    run(async {
        let source = location(&format!("{}/source/app", registry.host()));
        let target = location(&format!("{}/mounted/app", registry.host()));
        let copied = copy(&client(), &source, &target, &CopyOptions::default())
            .await
            .expect("copied");
        assert_eq!((copied.blobs_mounted, copied.blobs_copied), (4, 0));
    });
}

/// How many are there now, and how many there were at most; and whoever waits for more.
type AtOnce = std::sync::Arc<(Mutex<[usize; 2]>, Condvar)>;

/// A registry with one image of eight layers, which keeps every layer back until so many are asked for at once; and the
/// most that ever were.
fn registry_that_waits(for_so_many: usize) -> (FaultServer, AtOnce) {
    let layers: Vec<String> = (0..8).map(|n| format!("layer {n}\n")).collect();
    let blobs = layers
        .iter()
        .map(|layer| Descriptor::of(oci::media_type::OCI_LAYER, layer.as_bytes()));
    let manifest = json!({"schemaVersion": 2, "mediaType": oci::media_type::OCI_MANIFEST,
        "config": Descriptor::of(oci::media_type::OCI_CONFIG, b"{}"), "layers": blobs.collect::<Vec<_>>()})
    .to_string();
    let at_once = AtOnce::default();
    let counted = std::sync::Arc::clone(&at_once);
    let server = FaultServer::start(move |seen| {
        let is_layer = |layer: &&String| seen.path.ends_with(&Digest::sha256(layer.as_bytes()).to_string());
        match layers.iter().find(is_layer) {
            Some(layer) => {
                let (count, changed) = &*counted;
                let mut now = count.lock().expect("no panic");
                now[0] += 1;
                now[1] = now[1].max(now[0]);
                changed.notify_all();
                let patience = std::time::Duration::from_secs(10);
                let enough = |now: &mut [usize; 2]| now[1] < for_so_many;
                now = changed
                    .wait_timeout_while(now, patience, enough)
                    .expect("no panic")
                    .0;
                now[0] -= 1;
                Reply::new(200, &[], layer)
            }
            None if seen.path.contains("/blobs/") => Reply::new(200, &[], "{}"),
            None => Reply::new(200, &[("Content-Type", oci::media_type::OCI_MANIFEST)], &manifest),
        }
    });
    (server, at_once)
}

#[test]
fn as_many_blobs_move_at_once_as_is_asked_for() {
    for (jobs, most) in [(0, 4), (2, 2), (1, 1)] {
        let (from, at_once) = registry_that_waits(most);
        let to = Registry::current();
        let options = CopyOptions {
            jobs,
            ..CopyOptions::default()
        };
        run(async {
            let source = location(&format!("{}/source/app", from.host()));
            let target = location(&format!("{}/copied/app", to.host()));
            let copied = copy(&client(), &source, &target, &options).await.expect("copied");
            assert_eq!(copied.blobs_copied, 9);
        });
        let seen = at_once.0.lock().expect("no panic")[1];
        assert_eq!(seen, most, "--jobs {jobs}");
    }
}

#[test]
fn tags_of_the_old_form_are_copied_on_demand() {
    let (from, to) = (Registry::current(), Registry::current());
    let image = Image::push(&from, "source/app");
    let old = format!("{}.sig", oci::digest_tag::of(&image.index));
    let signature = from.push_image("source/app", &old, b"cosign's");
    run(async {
        let source = location(&format!("{}/source/app", from.host()));
        let target = location(&format!("{}/copied/app", to.host()));
        copy(&client(), &source, &target, &all()).await.expect("copied");
        let copied = repository(&to.host(), "copied/app")
            .get_manifest(&tag(&old))
            .await
            .expect("the tag");
        assert_eq!(copied.digest, signature.digest);
    });
}

#[test]
fn a_layout_of_another_version_or_a_wrong_blob_is_refused() {
    let from = Registry::current();
    let image = Image::push(&from, "source/app");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("layout");
    let layout = location(&format!("oci:{}:latest", path.display()));
    run(async {
        let client = client();
        let source = location(&format!("{}/source/app", from.host()));
        copy(&client, &source, &layout, &CopyOptions::default())
            .await
            .expect("to the layout");
        let missing = location(&format!("oci:{}:other", path.display()));
        let error = copy(&client, &missing, &source, &CopyOptions::default())
            .await
            .expect_err("no such tag");
        assert_error(&error, ExitCode::NotFound, &["other", "latest"]);

        let blob = path.join("blobs/sha256").join(image.layers[0].hex());
        let length = std::fs::metadata(&blob).expect("a blob").len();
        std::fs::write(&blob, vec![b'x'; length as usize]).expect("spoilt");
        let target = location(&format!("{}/copied/app:latest", from.host()));
        let error = copy(&client, &layout, &target, &CopyOptions::default())
            .await
            .expect_err("spoilt");
        assert_error(&error, ExitCode::Failed, &[&image.layers[0].to_string()]);
        let tags = repository(&from.host(), "copied/app").tags().await;
        assert!(
            tags.is_err() || tags.is_ok_and(|tags| tags.is_empty()),
            "nothing is tagged"
        );

        std::fs::write(path.join("oci-layout"), r#"{"imageLayoutVersion":"2.0.0"}"#).expect("written");
        let error = client.open(&layout).await.err().expect("another version");
        assert_error(&error, ExitCode::Unsupported, &["2.0.0", "1.0.0"]);
    });
}

#[test]
fn a_copy_that_cannot_begin_leaves_no_layout_behind() {
    let from = Registry::current();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("layout");
    run(async {
        let source = location(&format!("{}/no/such:image", from.host()));
        let target = location(&format!("oci:{}:x", path.display()));
        let error = copy(&client(), &source, &target, &CopyOptions::default())
            .await
            .expect_err("no such image");
        assert_error(&error, ExitCode::NotFound, &["no/such", "404"]);
    });
    assert!(!path.exists());
}

/// A registry whose referrers API lists nothing, whatever is pushed.
fn registry_that_indexes_nothing() -> FaultServer {
    let manifests: Mutex<HashMap<String, (String, Vec<u8>)>> = Mutex::default();
    FaultServer::start(move |seen| {
        let mut manifests = manifests.lock().expect("the manifests");
        let media_type = seen.header("Content-Type").unwrap_or_default().to_owned();
        let empty = json!({"schemaVersion": 2, "mediaType": oci::media_type::OCI_INDEX, "manifests": []});
        match (seen.method.as_str(), seen.path.rsplit_once("/manifests/")) {
            ("PUT", Some((_, target))) => {
                let stored = (media_type, seen.body.clone());
                manifests.insert(Digest::sha256(&seen.body).to_string(), stored.clone());
                manifests.insert(target.to_owned(), stored);
                Reply::new(201, &[], "")
            }
            (method, Some((_, target))) => match manifests.get(target) {
                Some((media_type, body)) if method == "HEAD" => {
                    Reply::head(200, &[("Content-Type", media_type)], body.len())
                }
                Some((media_type, body)) => Reply::new(200, &[("Content-Type", media_type)], body),
                None => Reply::new(404, &[], ""),
            },
            (_, None) if seen.path.contains("/blobs/") => Reply::head(200, &[], 0),
            _ => Reply::new(
                200,
                &[("Content-Type", oci::media_type::OCI_INDEX)],
                empty.to_string(),
            ),
        }
    })
}

#[test]
fn references_that_the_api_does_not_list_after_a_copy_are_told_and_kept_under_the_digest_tag() {
    let (from, to) = (Registry::complete(), registry_that_indexes_nothing());
    let (image, first, second) = image_with_references(&from);
    run(async {
        let source = location(&format!("{}/source/app", from.host()));
        let target = location(&format!("{}/copied/app", to.host()));
        let copied = copy(&client(), &source, &target, &all()).await.expect("copied");
        assert_eq!(copied.unlisted, [first, second]);
        let repository = repository(&to.host(), "copied/app");
        for (subject, reference) in [(image.index, first), (first, second)] {
            let index = client::digest_tag::read(&repository, &subject)
                .await
                .expect("read");
            let entries = index.expect("a digest tag").entries;
            assert_eq!(entries.iter().map(|e| e.digest).collect::<Vec<_>>(), [reference]);
        }
    });
}
