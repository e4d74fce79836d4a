//! Damaged storage: bits that flipped on the disk, and what power loss leaves behind. Nothing of it is served as good, and
//! `verify` finds it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use oci::{Digest, media_type};
use registry::{
    Config,
    domain::{Collect, Damage, Limits, Registry, Verified, Verify},
    storage::{Durability, FileState, filesystem::Filesystem},
};
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use support::{Request, Server, complete, image};
use testkit::http::Connection;

fn open(folder: &Path) -> Registry {
    let storage = Filesystem::open(folder, Durability::None).unwrap();
    Registry::open(Arc::new(storage), complete(), Limits::default()).unwrap()
}

fn content_path(folder: &Path, digest: &Digest) -> PathBuf {
    let hex = digest.hex();
    folder.join("blobs/sha256").join(&hex[..2]).join(hex)
}

fn verify(folder: &Path, repair: bool) -> (Verified, Vec<Damage>) {
    let mut found = Vec::new();
    let verified = open(folder)
        .verify(Verify { repair }, &mut |damage| found.push(damage.clone()))
        .unwrap();
    (verified, found)
}

#[test]
fn a_content_that_power_loss_cut_off_before_a_repository_had_it_is_no_damage_and_goes_with_the_garbage() {
    let folder = tempfile::tempdir().unwrap();
    drop(Server::on_folder(folder.path(), complete()));
    let path = content_path(folder.path(), &Digest::sha256(b"layer"));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "").unwrap();
    let (verified, damages) = verify(folder.path(), false);
    assert_eq!((verified.unfinished, damages), (1, vec![]));

    let server = Server::on_folder(folder.path(), complete());
    let pushed = server.push_blob("a", b"layer");
    assert_eq!(server.get(&format!("/v2/a/blobs/{pushed}")).text(), "layer");
    drop(server);
    fs::remove_dir_all(folder.path().join("repositories")).unwrap();
    fs::write(&path, "").unwrap();
    let later = SystemTime::now() + Limits::default().garbage_age + Duration::from_secs(60);
    let how = Collect {
        dry_run: false,
        uploads: true,
        now: later,
    };
    let collected = open(folder.path()).collect_garbage(how, &mut |_| {}).unwrap();
    assert_eq!((collected.contents, path.exists()), (1, false));
}

#[test]
fn what_a_process_that_was_killed_left_half_written_goes_soon_after_the_next_start() {
    let mut registry = testkit::Registry::start(Config::complete());
    let path = format!("/v2/a/blobs/{}", registry.push_blob("a", &large()));
    let pushed = Instant::now();
    registry.stop();
    let root = registry.storage_dir();
    let records = root.join("records");
    // What tidied up beside the first requests may close the ledger, a moment after the server has stopped.
    let (kept, table) = loop {
        let files = files(&root);
        let of_kind = |kind: &str| {
            let named = |file: &&PathBuf| file.extension().is_some_and(|e| e == kind);
            files.iter().find(named).cloned()
        };
        if let (Some(table), None) = (of_kind("table"), of_kind("log")) {
            break (files, table);
        }
        assert!(pushed.elapsed().as_secs() < 120, "the ledger is not closed");
        std::thread::sleep(Duration::from_millis(10));
    };
    let first = table.file_name().unwrap().to_str().unwrap()[..10].to_owned();
    let left = [
        root.join("blobs/.3"),
        root.join("blobs/sha256/ab/.0-1"),
        content_path(&root, &Digest::sha256(&large())).with_file_name(".0badcafe-7"),
        records.join("0000000008-0000000009.table.new"),
        records.join("version.new"),
        // Its content is in the table already.
        records.join(format!("{first}-00000000000000aa.log")),
    ];
    for file in &left {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "half").unwrap();
    }
    registry.restart();
    let started = Instant::now();
    while let Some(file) = left.iter().find(|file| file.exists()) {
        assert!(started.elapsed().as_secs() < 120, "{} stays", file.display());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(registry.get(&path).expect(200).body == large());
    registry.stop();
    let kept_now: Vec<_> = files(&root)
        .into_iter()
        .filter(|file| kept.contains(file))
        .collect();
    assert_eq!(kept_now, kept);
}

/// A content of its own file that begins with a text: small ones share blocks of the ledger, which
/// `a_damaged_block_of_the_ledger_…` is about.
fn own_file(text: &str) -> Vec<u8> {
    text.bytes().chain([b' '; 20_000]).collect()
}

/// An image in a file of its own, whose blobs are there.
fn large_image(server: &Server) -> String {
    let (config, layer) = (server.push_blob("a", b"{}"), server.push_blob("a", b"layer"));
    let note = "x".repeat(20_000);
    let body = image(
        &config,
        &layer,
        5,
        &format!(",\"annotations\":{{\"note\":\"{note}\"}}"),
    );
    let pushed = server.push_manifest("a", "large", media_type::OCI_MANIFEST, &body);
    assert_eq!(pushed.status, 201, "{}", pushed.text());
    body
}

/// Too large to be kept in memory; sent in pieces.
fn large() -> Vec<u8> {
    (0..400_000_u32)
        .map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3])
        .collect()
}

/// Flips the lowest bit of one byte in a file; its length stays.
fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

/// The file that holds these bytes somewhere, and where.
fn holder(folder: &Path, bytes: &[u8]) -> (PathBuf, usize) {
    let found = files(folder).into_iter().find_map(|path| {
        let there = fs::read(&path).unwrap();
        let at = there.windows(bytes.len()).position(|window| window == bytes)?;
        Some((path, at))
    });
    found.expect("the bytes are in some file")
}

/// Flips a bit in the middle of these bytes, wherever they are stored.
fn flip_in(folder: &Path, bytes: &[u8]) {
    let (path, at) = holder(folder, &bytes[..bytes.len().min(64)]);
    flip(&path, at + bytes.len() / 2);
}

/// A registry with these blobs and an image, damaged in one of its contents, and started again.
fn damaged(folder: &Path, blobs: &[&[u8]], bad: &[u8]) -> Server {
    let server = Server::on_folder(folder, complete());
    for blob in blobs {
        server.push_blob("a", blob);
    }
    large_image(&server);
    drop(server);
    flip_in(folder, bad);
    Server::on_folder(folder, complete())
}

fn blob_path(content: &[u8]) -> String {
    format!("/v2/a/blobs/{}", Digest::sha256(content))
}

fn ask(server: &Server, method: &str, path: &str, range: Option<&str>) -> u16 {
    let mut request = Request::new(method, path);
    if let Some(range) = range {
        request = request.header("Range", range);
    }
    server.send(request).status
}

/// The bytes of a body that came, and how many were announced.
fn read_raw(server: &Server, path: &str) -> (usize, usize) {
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.write_all(&Request::new("GET", path).to_bytes()).unwrap();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).unwrap();
    (
        bytes.len() - end,
        length.split('\r').next().unwrap().parse().unwrap(),
    )
}

#[test]
fn a_range_of_a_damaged_large_blob_is_refused_wherever_the_damage_is() {
    let folder = tempfile::tempdir().unwrap();
    let server = damaged(folder.path(), &[&large()], &large());
    let path = blob_path(&large());
    for range in ["bytes=0-9", "bytes=399990-", "bytes=-5"] {
        assert_eq!(ask(&server, "GET", &path, Some(range)), 500, "{range}");
    }
    assert_eq!(
        ask(&server, "HEAD", &path, None),
        500,
        "what is known to be damaged is not said to be there"
    );
    assert_eq!(ask(&server, "GET", &path, None), 500);
}

#[test]
fn a_range_of_a_good_large_blob_is_served() {
    let folder = tempfile::tempdir().unwrap();
    drop(damaged(
        folder.path(),
        &[&large(), &own_file("another blob")],
        &own_file("another blob"),
    ));
    let server = Server::on_folder(folder.path(), complete());
    for _ in 0..2 {
        let request = Request::new("GET", &blob_path(&large())).header("Range", "bytes=1000-1999");
        let response = server.send(request);
        assert_eq!(
            (response.status, response.body.as_slice()),
            (206, &large()[1000..2000])
        );
    }
}

#[test]
fn a_damaged_large_blob_breaks_off_once_and_is_refused_from_then_on() {
    let folder = tempfile::tempdir().unwrap();
    let server = damaged(folder.path(), &[&large()], &large());
    let path = blob_path(&large());
    assert_eq!(ask(&server, "HEAD", &path, None), 200, "nobody has looked yet");
    let (came, announced) = read_raw(&server, &path);
    assert!(came < announced, "{came} of {announced}");
    for method in ["HEAD", "GET"] {
        assert_eq!(ask(&server, method, &path, None), 500, "{method}");
    }
}

/// Flips the lowest bit of one byte where it stands, as nobody does who goes through the registry.
fn flip_in_place(path: &Path, at: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

/// Reads a content until that was done so long after the last change of its file that another change would show; then once more.
fn until_it_is_remembered(file: &Path, read: impl Fn()) {
    while FileState::from(&fs::metadata(file).unwrap()).is_fresh {
        read();
    }
    read();
    read();
}

/// Asks for a blob; whether an answer came to its end with the right bytes.
fn is_served(registry: &testkit::Registry, path: &str, content: &[u8]) -> bool {
    let mut connection = Connection::open(registry.address());
    connection.write(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
    match connection.read(false) {
        Ok(answer) if answer.status == 200 => {
            assert!(answer.body == content, "wrong bytes are served as good");
            true
        }
        Ok(answer) => {
            assert_eq!(answer.status, 500, "{}", answer.text());
            false
        }
        Err(_) => false,
    }
}

/// Pushes a blob in pieces into another repository, so that no link to it is there.
fn push_in_pieces(registry: &testkit::Registry, content: &[u8]) {
    let mut location = registry
        .request("POST", "/v2/b/blobs/uploads/", &[], b"")
        .expect(202)
        .location();
    for piece in content.chunks(content.len() / 3) {
        location = registry
            .request("PATCH", &location, &[], piece)
            .expect(202)
            .location();
    }
    let end = format!("{location}?digest={}", Digest::sha256(content));
    registry.request("PUT", &end, &[], b"").expect(201);
}

#[test]
fn a_bit_that_flips_while_the_registry_serves_is_not_served_as_good_and_goes_with_the_next_push() {
    let registry = testkit::Registry::start(Config::complete());
    // More than any buffer between the two ends takes.
    let content: Vec<u8> = large().into_iter().cycle().take(24 << 20).collect();
    let path = format!("/v2/a/blobs/{}", registry.push_blob("a", &content));
    let file = content_path(&registry.storage_dir(), &Digest::sha256(&content));
    let len = content.len() as u64;
    for (at, looks_first) in [(len / 2, true), (len - 1, false), (0, true), (1, false)] {
        until_it_is_remembered(&file, || assert!(is_served(&registry, &path, &content)));
        // Now the kernel sends the file.
        flip_in_place(&file, at);
        if looks_first {
            assert!(!is_served(&registry, &path, &content), "byte {at}");
            assert_eq!(registry.request("HEAD", &path, &[], b"").status, 500);
            let range = [("Range", "bytes=0-999")];
            assert_eq!(registry.request("GET", &path, &range, b"").status, 500);
        }
        push_in_pieces(&registry, &content);
        assert_eq!(registry.request("HEAD", &path, &[], b"").status, 200);
    }
    assert!(is_served(&registry, &path, &content));
}

#[test]
fn who_still_reads_a_damaged_file_brings_no_blame_on_the_good_one_that_took_its_place() {
    let registry = testkit::Registry::start(Config::complete());
    let content: Vec<u8> = large().into_iter().cycle().take(24 << 20).collect();
    let path = format!("/v2/a/blobs/{}", registry.push_blob("a", &content));
    let file = content_path(&registry.storage_dir(), &Digest::sha256(&content));
    flip_in_place(&file, content.len() as u64 - 1);
    let mut reader = testkit::http::socket(registry.address());
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    reader.write_all(request.as_bytes()).unwrap();
    reader.read_exact(&mut [0; 1000]).unwrap();
    push_in_pieces(&registry, &content);
    let mut rest = Vec::new();
    // It ends early, with or without a reset.
    let _ = reader.read_to_end(&mut rest);
    assert!(rest.len() < content.len(), "{}", rest.len());
    assert_eq!(registry.request("HEAD", &path, &[], b"").status, 200);
    assert!(is_served(&registry, &path, &content));
}

#[test]
fn a_range_of_a_large_blob_that_changed_since_it_was_read_is_refused() {
    let registry = testkit::Registry::start(Config::complete());
    let path = format!("/v2/a/blobs/{}", registry.push_blob("a", &large()));
    let range = [("Range", "bytes=0-99999")];
    let file = content_path(&registry.storage_dir(), &Digest::sha256(&large()));
    until_it_is_remembered(&file, || {
        registry.request("GET", &path, &range, b"").expect(206);
    });
    flip_in_place(&file, 399_999);
    registry.request("GET", &path, &range, b"").expect(500);
}

#[test]
fn what_is_known_to_be_damaged_counts_as_missing_for_pushes() {
    let folder = tempfile::tempdir().unwrap();
    let server = damaged(folder.path(), &[&own_file("the layer")], &own_file("the layer"));
    assert_eq!(ask(&server, "GET", &blob_path(&own_file("the layer")), None), 500);
    let body = image(
        &Digest::sha256(b"{}"),
        &Digest::sha256(&own_file("the layer")),
        20_009,
        ",\"annotations\":{}",
    );
    let refused = server.push_manifest("a", "w", media_type::OCI_MANIFEST, &body);
    assert_eq!(refused.code(), "MANIFEST_BLOB_UNKNOWN");
    let mount = format!(
        "/v2/b/blobs/uploads/?mount={}&from=a",
        Digest::sha256(&own_file("the layer"))
    );
    assert_eq!(ask(&server, "POST", &mount, None), 202, "an upload, and no mount");
}

#[test]
fn good_bytes_that_are_pushed_again_take_the_place_of_damaged_ones() {
    let blobs: [&[u8]; 2] = [&own_file("a blob that is sent at once"), &large()];
    for (bad, looks_first) in [
        (blobs[0], false),
        (blobs[0], true),
        (blobs[1], false),
        (blobs[1], true),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let server = damaged(folder.path(), &blobs, bad);
        if looks_first {
            assert_eq!(ask(&server, "GET", &blob_path(bad), Some("bytes=0-1")), 500);
        }
        server.push_blob("b", bad);
        assert_eq!(server.get(&blob_path(bad)).body, bad);
        drop(server);
        let server = Server::on_folder(folder.path(), complete());
        assert_eq!(server.get(&blob_path(bad)).body, bad);
        drop(server);
        assert_eq!(verify(folder.path(), false).1, []);
    }
}

#[test]
fn a_damaged_manifest_that_is_pushed_again_is_good_again() {
    for looks_first in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::on_folder(folder.path(), complete());
        let body = large_image(&server);
        drop(server);
        flip_in(folder.path(), body.as_bytes());
        let server = Server::on_folder(folder.path(), complete());
        if looks_first {
            for method in ["HEAD", "GET"] {
                assert_eq!(ask(&server, method, "/v2/a/manifests/large", None), 500);
            }
        }
        assert_eq!(large_image(&server), body);
        drop(server);
        let server = Server::on_folder(folder.path(), complete());
        assert_eq!(server.get("/v2/a/manifests/large").text(), body);
        drop(server);
        assert_eq!(verify(folder.path(), false).1, []);
    }
}

/// Some hundred small images, so that the ledger has blocks enough, and the file of its table.
fn many_images(folder: &Path) -> (Vec<String>, PathBuf) {
    let server = Server::on_folder(folder, complete());
    let tags: Vec<String> = (0..200).map(|n| format!("v{n}")).collect();
    for tag in &tags {
        server.push_image("a", tag, tag.as_bytes());
    }
    drop(server);
    let table = files(&folder.join("records"))
        .into_iter()
        .find(|path| path.extension().is_some_and(|e| e == "table"));
    (tags, table.unwrap())
}

#[test]
fn a_damaged_block_of_the_ledger_fails_what_stands_there_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (tags, table) = many_images(folder.path());
    let manifest = |n: usize| {
        image(
            &Digest::sha256(b"{}"),
            &Digest::sha256(tags[n].as_bytes()),
            tags[n].len(),
            "",
        )
    };
    let bytes = fs::read(&table).unwrap();
    let wanted = manifest(70);
    let at = bytes
        .windows(wanted.len())
        .position(|window| window == wanted.as_bytes());
    let at = at.unwrap() + 50;
    flip(&table, at);

    let server = Server::on_folder(folder.path(), complete());
    let answers: Vec<(u16, String)> = tags
        .iter()
        .map(|tag| server.get(&format!("/v2/a/manifests/{tag}")))
        .map(|response| (response.status, response.text()))
        .collect();
    for (n, (status, text)) in answers.iter().enumerate() {
        assert!(
            *status == 500 || (*status == 200 && *text == manifest(n)),
            "{n}: {status} {text}"
        );
    }
    let failed = answers.iter().filter(|(status, _)| *status == 500).count();
    assert!((1..20).contains(&failed), "{failed} failed");
    assert_eq!(answers[70].0, 500);
    // Pushed again it is good, also after a restart; the rest waits for a repair.
    server.push_image("a", &tags[70], tags[70].as_bytes());
    assert_eq!(server.get("/v2/a/manifests/v70").text(), manifest(70));
    drop(server);
    let server = Server::on_folder(folder.path(), complete());
    assert_eq!(server.get("/v2/a/manifests/v70").text(), manifest(70));
    drop(server);
    let (verified, found) = verify(folder.path(), true);
    assert!(matches!(found.first(), Some(Damage::Records(_))), "{found:?}");
    // Images that have lost a layer wait for it to be pushed again; everything else is repaired.
    let waits = |damage: &Damage| matches!(damage, Damage::Incomplete { .. });
    let waiting = found.iter().filter(|damage| waits(damage)).count();
    assert_eq!(verified.damages, verified.repaired + waiting, "{found:?}");
    let found = verify(folder.path(), false).1;
    assert!(found.len() == waiting && found.iter().all(waits), "{found:?}");
    let server = Server::on_folder(folder.path(), complete());
    for (n, tag) in tags.iter().enumerate() {
        let response = server.get(&format!("/v2/a/manifests/{tag}"));
        assert!(response.status == 404 || response.text() == manifest(n), "{n}");
        server.push_image("a", tag, tag.as_bytes());
        assert_eq!(server.get(&format!("/v2/a/manifests/{tag}")).text(), manifest(n));
    }
}

#[test]
fn whatever_bit_of_the_records_flips_nothing_wrong_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let (tags, table) = many_images(folder.path());
    let good = fs::read(&table).unwrap();
    let (mut opened, mut read) = (0, 0);
    for step in 0..24 {
        let at = good.len() * step / 24 + step;
        let bit = Digest::sha256(&[step as u8]).bytes()[0] % 8;
        let mut bad = good.clone();
        bad[at] ^= 1 << bit;
        fs::write(&table, bad).unwrap();
        let registry = Filesystem::open(folder.path(), Durability::None)
            .map_err(|error| error.to_string())
            .and_then(|storage| {
                Registry::open(Arc::new(storage), complete(), Limits::default()).map_err(|e| e.to_string())
            });
        let registry = match registry {
            Ok(registry) => registry,
            Err(told) => {
                assert!(told.contains("damaged"), "byte {at}, bit {bit}: {told}");
                continue;
            }
        };
        opened += 1;
        let name = oci::RepositoryName::parse("a").unwrap();
        for (n, tag) in tags.iter().enumerate() {
            let reference = oci::Tag::parse(tag).unwrap().into();
            if let Ok(manifest) = registry.manifest(&name, &reference) {
                let expected = image(
                    &Digest::sha256(b"{}"),
                    &Digest::sha256(tag.as_bytes()),
                    tag.len(),
                    "",
                );
                assert_eq!(manifest.body, expected, "byte {at}, {n}");
                read += 1;
            } else {
                let error = registry.manifest(&name, &reference).unwrap_err();
                assert!(error.to_string().contains("damaged"), "byte {at}: {error}");
            }
        }
    }
    // One bit takes a block with it, and nothing else.
    assert!(opened > 12, "only {opened} of 24 could be opened");
    let all = opened * tags.len();
    assert!(read > all / 2, "only {read} of {all} manifests could be read");
}

#[test]
fn a_log_whose_middle_is_damaged_is_served_by_nobody_before_it_was_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::on_folder(folder.path(), complete());
    for tag in ["old", "new"] {
        server.push_image("a", tag, tag.as_bytes());
    }
    // As a killed process leaves it: with a log and no table.
    let killed = tempfile::tempdir().unwrap();
    for path in files(folder.path()) {
        let to = killed.path().join(path.strip_prefix(folder.path()).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(&path, to).unwrap();
    }
    drop(server);
    flip_in(
        killed.path(),
        image(&Digest::sha256(b"{}"), &Digest::sha256(b"old"), 3, "").as_bytes(),
    );

    let refused = Filesystem::open(killed.path(), Durability::None)
        .err()
        .unwrap()
        .to_string();
    assert!(
        refused.contains(".log are damaged: registry verify --repair"),
        "{refused}"
    );
    let storage = Filesystem::open_to_verify(killed.path(), Durability::None).unwrap();
    assert_eq!(
        registry::storage::Records::check_records(&storage, true)
            .unwrap()
            .len(),
        1
    );
    drop(storage);
    assert_eq!(verify(killed.path(), true).1, []);
    let server = Server::on_folder(killed.path(), complete());
    assert_eq!(ask(&server, "GET", "/v2/a/manifests/old", None), 404);
    assert_eq!(ask(&server, "GET", "/v2/a/manifests/new", None), 200);
}

#[test]
fn an_upload_whose_bytes_flip_never_becomes_a_blob_that_is_served() {
    for restarts in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Server::on_folder(folder.path(), complete());
        let begun = server.send(Request::new("POST", "/v2/a/blobs/uploads/"));
        let session = begun.header("location").unwrap().to_owned();
        let chunk = Request::new("PATCH", &session).body(&large());
        assert_eq!(server.send(chunk).status, 202);
        flip_in(folder.path(), &large());
        if restarts {
            drop(server);
            server = Server::on_folder(folder.path(), complete());
        }
        let path = format!("{session}?digest={}", Digest::sha256(&large()));
        let ended = ask(&server, "PUT", &path, None);
        if restarts {
            assert_eq!(ended, 400, "its bytes are read again, and have another digest");
            continue;
        }
        // They were hashed as they came, so this shows only when they are read.
        assert_eq!(ended, 201);
        assert_eq!(ask(&server, "GET", &blob_path(&large()), Some("bytes=0-1")), 500);
        drop(server);
        let found = verify(folder.path(), false).1;
        assert!(
            found.contains(&Damage::Corrupt(Digest::sha256(&large()))),
            "{found:?}"
        );
    }
}
