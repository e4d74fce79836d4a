//! Garbage collection and verification, on both stores.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use bytes::Bytes;
use oci::{Digest, RepositoryName, Tag, digest_tag, media_type};
use registry::domain::{Capabilities, Collect, Collected, Damage, Garbage, Limits, Registry, Verify};
use registry::storage::{Change, Contents, Durability, Key, Records, filesystem::Filesystem, memory::Memory};
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};
use support::{
    Request, Server, complete,
    faulty::{Fault, Faulty},
    image, index,
};

/// Long after everything in a test was pushed.
fn later() -> SystemTime {
    SystemTime::now() + Limits::default().garbage_age + Duration::from_secs(60)
}

fn collect(registry: &Registry, now: SystemTime, dry_run: bool) -> (Collected, Vec<Garbage>) {
    let mut gone = Vec::new();
    let collected = registry
        .collect_garbage(
            Collect {
                dry_run,
                uploads: true,
                now,
            },
            &mut |garbage| gone.push(garbage.clone()),
        )
        .unwrap();
    (collected, gone)
}

fn status(server: &Server, reference: impl ToString) -> u16 {
    server
        .get(&format!("/v2/a/manifests/{}", reference.to_string()))
        .status
}

fn untag(server: &Server, tag: &str) {
    assert_eq!(
        server
            .send(Request::new("DELETE", &format!("/v2/a/manifests/{tag}")))
            .status,
        202
    );
}

fn stores() -> Vec<Server> {
    vec![Server::start(complete()), Server::in_memory(complete())]
}

#[test]
fn what_a_tag_reaches_stays_and_the_rest_goes() {
    for server in stores() {
        let (tagged, _) = server.push_image("a", "v", b"kept layer");
        let (child, _) = server.push_image("a", "child", b"child layer");
        server.push_manifest("a", "index", media_type::OCI_INDEX, &index(&[child]));
        untag(&server, "child");
        let referrer = server.attach("a", "subject", &tagged, b"signature", "1");
        let of_referrer = server.attach("a", "refers", &referrer, b"signature of the signature", "2");
        let of_child = server.attach("a", "subject", &child, b"sbom", "3");
        let (lost, _) = server.push_image("a", "lost", b"lost layer");
        let of_lost = server.attach("a", "subject", &lost, b"lost signature", "4");
        let orphan = server.push_blob("a", b"never named");
        untag(&server, "lost");

        assert_eq!(
            collect(&server.registry, SystemTime::now(), false).0,
            Collected::default(),
            "all of it is fresh"
        );
        let (told, gone) = collect(&server.registry, later(), true);
        assert_eq!(status(&server, lost), 200, "a dry run removes nothing");
        let (done, removed) = collect(&server.registry, later(), false);
        assert_eq!(told, done);
        assert_eq!(gone.len(), removed.len());
        assert_eq!((done.manifests, done.blobs), (2, 3), "{removed:?}");
        for kept in [tagged, child, referrer, of_referrer, of_child] {
            assert_eq!(status(&server, kept), 200, "{kept}");
        }
        for lost in [lost, of_lost] {
            assert_eq!(status(&server, lost), 404);
        }
        assert_eq!(server.get(&format!("/v2/a/blobs/{orphan}")).status, 404);
        // Layers of the lost image, of its signature, and the orphan; and two manifests.
        assert_eq!(done.contents, 5);
        assert_eq!(
            server
                .registry
                .verify(Verify::default(), &mut |damage| panic!("{damage}"))
                .unwrap()
                .damages,
            0
        );
        assert_eq!(collect(&server.registry, later(), false).0, Collected::default());
    }
}

#[test]
fn deleting_a_subject_makes_its_untagged_referrers_collectable() {
    for server in stores() {
        let (subject, _) = server.push_image("a", "v", b"layer");
        let referrer = server.attach("a", "subject", &subject, b"signature", "1");
        let tagged = server.attach("a", "subject", &subject, b"tagged signature", "2");
        let body = server.get(&format!("/v2/a/manifests/{tagged}")).text();
        server.push_manifest("a", "keep", media_type::OCI_MANIFEST, &body);
        server.send(Request::new("DELETE", &format!("/v2/a/manifests/{subject}")));
        collect(&server.registry, later(), false);
        assert_eq!((status(&server, referrer), status(&server, tagged)), (404, 200));
        let listed = server.get(&format!("/v2/a/referrers/{subject}")).json()["manifests"]
            .as_array()
            .unwrap()
            .len();
        assert_eq!(listed, 1);
    }
}

#[test]
fn what_a_digest_tag_lists_stays() {
    let server = Server::start(complete());
    let (subject, _) = server.push_image("a", "v", b"layer");
    let (listed, _) = server.push_image("a", "listed", b"listed");
    server.push_manifest(
        "a",
        digest_tag::of(&subject).as_str(),
        media_type::OCI_INDEX,
        &index(&[listed]),
    );
    untag(&server, "listed");
    assert_eq!(collect(&server.registry, later(), false).0.manifests, 0);
    assert_eq!(status(&server, listed), 200);
}

#[test]
fn a_content_that_another_repository_has_stays() {
    let server = Server::start(complete());
    let digest = server.push_blob("a", b"shared layer");
    server.push_image("b", "v", b"shared layer");
    let (done, _) = collect(&server.registry, later(), false);
    assert_eq!((done.blobs, done.contents), (1, 0));
    assert_eq!(server.get(&format!("/v2/b/blobs/{digest}")).status, 200);
}

#[test]
fn pushes_beside_a_collection_lose_nothing() {
    let limits = Limits {
        garbage_age: Duration::ZERO,
        ..Limits::default()
    };
    let server = Server::on(Arc::new(Memory::new()), complete(), limits);
    let name = RepositoryName::parse("a").unwrap();
    std::thread::scope(|scope| {
        let collector = scope.spawn(|| {
            for _ in 0..300 {
                collect(&server.registry, SystemTime::now(), false);
            }
        });
        // With no age to protect it, a push can lose its blobs before its manifest comes, and is then refused; but what was
        // answered 201 is complete.
        let mut accepted = 0;
        for n in 0u32.. {
            let layer = format!("layer {}", n % 5);
            let (config, digest) = (
                server.push_blob("a", b"{}"),
                server.push_blob("a", layer.as_bytes()),
            );
            let body = support::image(&config, &digest, layer.len(), "");
            let tag = format!("t{}", n % 7);
            if server
                .push_manifest("a", &tag, media_type::OCI_MANIFEST, &body)
                .status
                == 201
            {
                accepted += 1;
                assert_eq!(server.get(&format!("/v2/a/manifests/{tag}")).text(), body);
                assert_eq!(server.get(&format!("/v2/a/blobs/{digest}")).text(), layer);
                if n % 3 == 0 {
                    untag(&server, &tag);
                }
            }
            if collector.is_finished() && accepted > 20 {
                break;
            }
        }
    });
    assert!(server.registry.tags(&name, None, None).is_ok());
    server
        .registry
        .verify(Verify::default(), &mut |damage| panic!("{damage}"))
        .unwrap();
}

fn store(folder: &Path) -> Filesystem {
    Filesystem::open(folder, Durability::None).unwrap()
}

fn open(folder: &Path) -> Registry {
    Registry::open(Arc::new(store(folder)), complete(), Limits::default()).unwrap()
}

/// Changes records behind the registry's back.
fn change(folder: &Path, changes: &[Change]) {
    store(folder).commit(changes).unwrap();
}

fn content_path(folder: &Path, digest: &Digest) -> std::path::PathBuf {
    let hex = digest.hex();
    folder.join("blobs/sha256").join(&hex[..2]).join(hex)
}

fn damages(registry: &Registry, repair: bool) -> Vec<Damage> {
    let mut found = Vec::new();
    registry
        .verify(Verify { repair }, &mut |damage| found.push(damage.clone()))
        .unwrap();
    found
}

#[test]
fn flipped_bits_are_found_and_never_served_as_good() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::on_folder(folder.path(), complete());
    // Contents with files of their own; tests/damage.rs has those in the ledger.
    let content = [b'l'; 20_000];
    let (config, layer) = (server.push_blob("a", b"{}"), server.push_blob("a", &content));
    let note = format!(",\"annotations\":{{\"note\":\"{}\"}}", "x".repeat(20_000));
    let body = image(&config, &layer, content.len(), &note);
    let manifest = Digest::sha256(body.as_bytes());
    assert_eq!(
        server
            .push_manifest("a", "v", media_type::OCI_MANIFEST, &body)
            .status,
        201
    );
    drop(server);
    for digest in [manifest, layer] {
        let path = content_path(folder.path(), &digest);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[2] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }
    let server = Server::on_folder(folder.path(), complete());
    for path in ["/v2/a/manifests/v".to_owned(), format!("/v2/a/blobs/{layer}")] {
        let response = server.get(&path);
        assert_eq!(
            (response.status, response.code().as_str()),
            (500, "UNKNOWN"),
            "{path}"
        );
    }
    drop(server);
    let registry = open(folder.path());
    let found = damages(&registry, false);
    assert!(
        found.contains(&Damage::Corrupt(manifest)) && found.contains(&Damage::Corrupt(layer)),
        "{found:?}"
    );
    damages(&registry, true);
    drop(registry);
    assert_eq!(damages(&open(folder.path()), true), []);
    assert_eq!(std::fs::read_dir(folder.path().join("aside")).unwrap().count(), 2);

    let server = Server::on_folder(folder.path(), complete());
    assert_eq!(server.get("/v2/a/manifests/v").status, 404);
    server.push_blob("a", &content);
    assert_eq!(
        server
            .push_manifest("a", "v", media_type::OCI_MANIFEST, &body)
            .status,
        201
    );
}

#[test]
fn a_large_blob_that_is_damaged_is_never_sent_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..900_000u32).map(|n| (n % 241) as u8).collect();
    let server = Server::on_folder(folder.path(), complete());
    let digest = server.push_blob("a", &content);
    for _ in 0..2 {
        assert_eq!(server.get(&format!("/v2/a/blobs/{digest}")).body, content);
    }
    drop(server);
    let path = content_path(folder.path(), &digest);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[123_456] ^= 0x40;
    std::fs::write(&path, bytes).unwrap();
    let server = Server::on_folder(folder.path(), complete());
    let mut stream = std::net::TcpStream::connect(server.address).unwrap();
    let request = Request::new("GET", &format!("/v2/a/blobs/{digest}")).to_bytes();
    std::io::Write::write_all(&mut stream, &request).unwrap();
    let mut received = Vec::new();
    let _ = std::io::Read::read_to_end(&mut stream, &mut received);
    assert!(
        received.starts_with(b"HTTP/1.1 200") && received.len() < content.len(),
        "{}",
        received.len()
    );
}

#[test]
fn what_can_be_rebuilt_is_rebuilt() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::on_folder(folder.path(), complete());
    let (subject, _) = server.push_image("a", "v", b"layer");
    let referrer = server.attach("a", "subject", &subject, b"signature", "1");
    let stranger = server.attach("a", "subject", &Digest::sha256(b"other"), b"stranger", "2");
    drop(server);
    let name = RepositoryName::parse("a").unwrap();
    let gone = Bytes::from(Digest::sha256(b"gone").to_string());
    change(
        folder.path(),
        &[
            Change::Remove(Key::Blob(name.clone(), Digest::sha256(b"layer"))),
            Change::Remove(Key::Referrer(name.clone(), subject, referrer)),
            Change::Put(
                Key::Referrer(name.clone(), subject, stranger),
                Bytes::from_static(b"{}"),
            ),
            Change::Put(Key::Tag(name, Tag::parse("gone").unwrap()), gone),
        ],
    );

    let found = damages(&open(folder.path()), true);
    assert_eq!(found.len(), 4, "{found:?}");
    assert_eq!(damages(&open(folder.path()), false), []);
    let server = Server::on_folder(folder.path(), complete());
    let listed = server.get(&format!("/v2/a/referrers/{subject}")).json()["manifests"].clone();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(listed[0]["digest"], referrer.to_string());
    assert_eq!(
        server
            .get(&format!("/v2/a/blobs/{}", Digest::sha256(b"layer")))
            .status,
        200
    );
    assert_eq!(
        server.get("/v2/a/tags/list").json()["tags"],
        serde_json::json!(["v"])
    );
}

#[test]
fn what_is_lost_is_told_with_all_that_misses_it_and_repair_takes_away_what_leads_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::on_folder(folder.path(), complete());
    let (image, _) = server.push_image("a", "v", b"layer");
    let (child, _) = server.push_image("a", "child", b"layer of the child");
    let list = index(&[child]);
    server.push_manifest("a", "index", media_type::OCI_INDEX, &list);
    let list = Digest::sha256(list.as_bytes());
    drop(server);
    let (name, layer) = (RepositoryName::parse("a").unwrap(), Digest::sha256(b"layer"));
    let no_manifest = Digest::sha256(b"no manifest");
    for lost in [layer, child] {
        store(folder.path()).remove_content(&lost).unwrap();
    }
    change(
        folder.path(),
        &[
            Change::Content(no_manifest, Bytes::from_static(b"no manifest")),
            Change::Put(
                Key::Manifest(name.clone(), no_manifest),
                Bytes::from_static(media_type::OCI_MANIFEST.as_bytes()),
            ),
        ],
    );

    let misses = |manifest, missing| Damage::Incomplete {
        name: name.clone(),
        manifest,
        missing,
    };
    let for_ever = [
        Damage::ManifestUnreadable(name.clone(), no_manifest),
        misses(image, layer),
        misses(list, child),
    ];
    let repaired = [
        Damage::BlobLost(name.clone(), layer),
        Damage::ManifestLost(name.clone(), child),
        Damage::TagDangling(name.clone(), Tag::parse("child").unwrap()),
    ];
    for repair in [false, true] {
        let found = damages(&open(folder.path()), repair);
        assert_eq!(found.len(), 6, "{found:?}");
        for damage in for_ever.iter().chain(&repaired) {
            assert!(found.contains(damage), "{damage} in {found:?}");
        }
    }
    let left = damages(&open(folder.path()), true);
    assert_eq!(left.len(), 3, "{left:?}");
    assert!(for_ever.iter().all(|damage| left.contains(damage)), "{left:?}");
}

#[test]
fn what_a_push_that_was_cut_off_left_among_the_referrers_is_no_damage_and_goes_with_the_garbage() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::on_folder(folder.path(), complete());
    let (subject, _) = server.push_image("a", "v", b"layer");
    let referrer = server.attach("a", "subject", &subject, b"signature", "1");
    drop(server);
    let name = RepositoryName::parse("a").unwrap();
    // As after a deletion that was cut off before it came to the place among the referrers.
    change(
        folder.path(),
        &[Change::Remove(Key::Manifest(name.clone(), referrer))],
    );
    let place = Key::Referrer(name, subject, referrer);
    let is_there = || store(folder.path()).record(&place).unwrap().is_some();

    assert_eq!(damages(&open(folder.path()), false), []);
    collect(&open(folder.path()), SystemTime::now(), false);
    assert!(is_there(), "it may belong to a push under way");
    collect(&open(folder.path()), later(), true);
    assert!(is_there(), "a dry run removes nothing");
    collect(&open(folder.path()), later(), false);
    assert!(!is_there());
}

#[test]
fn the_room_that_is_kept_back_is_given_up_for_garbage_alone_and_kept_back_again() {
    let server = Server::start(complete());
    let reserve = server.folder.as_ref().unwrap().path().join("reserve");
    let size = || std::fs::metadata(&reserve).unwrap().len();
    collect(&server.registry, later(), true);
    assert!(!reserve.exists());
    collect(&server.registry, later(), false);
    let usual = size();
    // One that is told from another.
    std::fs::write(&reserve, vec![7; usize::try_from(usual).unwrap() + 1]).unwrap();
    server.push_image("a", "v", b"kept");
    collect(&server.registry, later(), false);
    assert_eq!(size(), usual + 1, "nothing has gone");
    untag(&server, "v");
    collect(&server.registry, later(), true);
    assert_eq!(size(), usual + 1, "nothing was to go");
    assert_eq!(collect(&server.registry, later(), false).0.manifests, 1);
    assert_eq!(size(), usual);
}

#[test]
fn a_delete_that_finds_no_room_takes_what_is_kept_back_for_deletes_and_leaves_the_rest() {
    const NO_ROOM: i32 = 28;
    let folder = tempfile::tempdir().unwrap();
    let inner = Arc::new(Filesystem::open(folder.path(), Durability::None).unwrap());
    let (storage, faults) = Faulty::new(inner);
    let server = Server::on(storage, complete(), Limits::default());
    server.registry.lay_reserves().unwrap();
    let [collections, deletes] =
        ["reserve", "reserve-for-deletes"].map(|reserve| folder.path().join(reserve));
    let size = |reserve: &Path| std::fs::metadata(reserve).unwrap().len();
    let usual = size(&deletes);
    let mark = |reserve: &Path| {
        // One that is told from another.
        std::fs::write(reserve, vec![7; usize::try_from(usual).unwrap() + 1]).unwrap();
    };
    mark(&collections);
    let layer = Digest::sha256(b"layer");
    let manifest = server.push_image("a", "v", b"layer").0;
    for path in [
        "/v2/a/manifests/v".to_owned(),
        format!("/v2/a/manifests/{manifest}"),
        format!("/v2/a/blobs/{layer}"),
    ] {
        let mut taken = 0;
        for operation in 0.. {
            server.push_image("a", "v", b"layer");
            mark(&deletes);
            faults.set(Fault::Once(operation, NO_ROOM));
            let deleted = server.send(Request::new("DELETE", &path)).status;
            let is_over = faults.failed().is_none();
            faults.set(Fault::None);
            let is_taken = size(&deletes) == usual;
            if is_taken {
                assert_eq!(deleted, 202, "{path}, operation {operation}");
                taken += 1;
            }
            assert_eq!(
                server.get(&path).status,
                if deleted == 202 { 404 } else { 200 },
                "{path}, operation {operation}"
            );
            if is_over {
                assert_eq!((deleted, is_taken), (202, false), "{path}");
                break;
            }
        }
        assert!(taken > 0, "{path}");
    }
    assert_eq!(size(&collections), usual + 1);
}

#[test]
fn a_delete_beside_a_collection_leaves_it_to_that_to_keep_room_back_again() {
    let folder = tempfile::tempdir().unwrap();
    let inner = Arc::new(Filesystem::open(folder.path(), Durability::None).unwrap());
    let (storage, faults) = Faulty::new(inner);
    let server = Server::on(storage, complete(), Limits::default());
    server.registry.lay_reserves().unwrap();
    let deletes = folder.path().join("reserve-for-deletes");
    let (_, body) = server.push_image("a", "kept", b"kept");
    server.push_blob("a", b"garbage");
    let delete = || {
        // Whichever of its operations it is that finds no room.
        for operation in 0..10 {
            let pushed = server.push_manifest("a", "v", media_type::OCI_MANIFEST, &body);
            assert_eq!(pushed.status, 201);
            faults.set(Fault::Once(operation, 28));
            untag(&server, "v");
            faults.set(Fault::None);
        }
    };
    delete();
    assert!(deletes.exists(), "nothing else is under way");
    let how = Collect {
        dry_run: false,
        uploads: false,
        now: later(),
    };
    let mut gone = 0;
    let collected = server.registry.collect_garbage(how, &mut |_| {
        gone += 1;
        delete();
        assert!(!deletes.exists(), "it would take the room of the collection");
    });
    assert!(collected.is_ok() && gone > 0);
    assert!(deletes.exists());
}

#[test]
fn a_read_only_registry_collects_nothing_and_keeps_no_room_back() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Filesystem::open(folder.path(), Durability::None).unwrap();
    let read_only = Capabilities {
        read_only: true,
        ..complete()
    };
    let registry = Registry::open(Arc::new(storage), read_only, Limits::default()).unwrap();
    let how = Collect {
        dry_run: false,
        uploads: true,
        now: later(),
    };
    assert!(registry.collect_garbage(how, &mut |_| {}).is_err());
    assert!(registry.lay_reserves().is_err());
    assert!(!folder.path().join("reserve").exists());
}
