//! One suite for every store: the promises that stand on the traits.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use oci::{Algorithm, Digest, RepositoryName, Tag};
use registry::storage::{
    Change, Contents, Durability, Key, Records, Storage, UploadKey, Uploads, filesystem,
    filesystem::Filesystem, memory::Memory,
};
use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

struct Store {
    storage: Arc<dyn Storage>,
    _folder: Option<tempfile::TempDir>,
}

fn stores() -> Vec<Store> {
    let on_disk = |durability| {
        let folder = tempfile::tempdir().unwrap();
        Store {
            storage: Arc::new(Filesystem::open(folder.path(), durability).unwrap()),
            _folder: Some(folder),
        }
    };
    let memory = Store {
        storage: Arc::new(Memory::new()),
        _folder: None,
    };
    vec![memory, on_disk(Durability::Full), on_disk(Durability::None)]
}

fn put_content(storage: &dyn Storage, digest: &Digest, bytes: &'static [u8]) {
    storage
        .commit(&[Change::Content(*digest, Bytes::from_static(bytes))])
        .unwrap();
}

fn name(text: &str) -> RepositoryName {
    RepositoryName::parse(text).unwrap()
}

fn tag(text: &str) -> Tag {
    Tag::parse(text).unwrap()
}

fn set<T: Ord>(items: Vec<T>) -> BTreeSet<T> {
    items.into_iter().collect()
}

#[test]
fn a_content_is_there_whole_until_it_is_removed_and_an_open_one_stays_readable() {
    for Store { storage, .. } in stores() {
        let digest = Digest::of(Algorithm::Sha512, b"content");
        assert!(storage.content(&digest).unwrap().is_none());
        put_content(&*storage, &digest, b"content");
        put_content(&*storage, &digest, b"content");
        assert_eq!(storage.content_size(&digest).unwrap(), Some(7));
        let age = SystemTime::now().duration_since(storage.content_time(&digest).unwrap().unwrap());
        assert!(age.unwrap_or_default() < Duration::from_secs(60));
        let open = storage.content(&digest).unwrap().unwrap();
        let mut visited = Vec::new();
        storage
            .each_content(&mut |digest, size| visited.push((digest, size)))
            .unwrap();
        assert_eq!(visited, [(digest, 7)]);
        assert_eq!(storage.remove_content(&digest).unwrap(), Some(7));
        assert_eq!(storage.remove_content(&digest).unwrap(), None);
        assert!(storage.content(&digest).unwrap().is_none());
        let mut middle = [0; 3];
        open.read_exact_at(&mut middle, 2).unwrap();
        assert_eq!(
            (&middle, open.read_all().unwrap()),
            (b"nte", Bytes::from_static(b"content"))
        );
        assert!(open.read_exact_at(&mut middle, 5).is_err());
        put_content(&*storage, &digest, b"content");
        storage.set_aside_content(&digest).unwrap();
        assert!(storage.content(&digest).unwrap().is_none());
    }
}

#[test]
fn records_are_replaced_as_a_whole_listed_and_removed() {
    for Store { storage, .. } in stores() {
        let (a, ab) = (name("a"), name("a/b"));
        let digests: Vec<Digest> = (0..3u8).map(|n| Digest::sha256(&[n])).collect();
        assert!(!storage.has_repository(&a).unwrap());
        let put = |key: Key, value: &'static str| Change::Put(key, Bytes::from_static(value.as_bytes()));
        storage
            .commit(&[
                put(Key::Referrer(a.clone(), digests[0], digests[1]), "{}"),
                put(Key::Blob(a.clone(), digests[2]), ""),
                put(Key::Manifest(a.clone(), digests[1]), "type"),
                put(Key::Tag(a.clone(), tag("v1")), "old"),
                put(Key::Tag(a.clone(), tag("v2")), "other"),
                put(Key::Blob(ab.clone(), digests[2]), ""),
            ])
            .unwrap();
        storage
            .commit(&[put(Key::Tag(a.clone(), tag("v1")), "new")])
            .unwrap();
        let value = |key: &Key| storage.record(key).unwrap();
        assert_eq!(
            value(&Key::Tag(a.clone(), tag("v1"))),
            Some(Bytes::from_static(b"new"))
        );
        assert_eq!(value(&Key::Blob(a.clone(), digests[2])), Some(Bytes::new()));
        assert_eq!(value(&Key::Blob(a.clone(), digests[0])), None);
        assert!(
            storage
                .record_time(&Key::Blob(a.clone(), digests[2]))
                .unwrap()
                .is_some()
        );
        assert_eq!(
            storage.record_time(&Key::Blob(a.clone(), digests[0])).unwrap(),
            None
        );
        assert_eq!(
            set(storage.repositories().unwrap()),
            set(vec![a.clone(), ab.clone()])
        );
        assert_eq!(storage.blobs(&a).unwrap(), [digests[2]]);
        assert_eq!(storage.manifests(&a).unwrap(), [digests[1]]);
        assert_eq!(set(storage.tags(&a).unwrap()), set(vec![tag("v1"), tag("v2")]));
        assert_eq!(storage.tags(&ab).unwrap(), []);
        assert_eq!(storage.subjects(&a).unwrap(), [digests[0]]);
        assert_eq!(storage.referrers(&a, &digests[0]).unwrap(), [digests[1]]);
        storage
            .commit(&[
                Change::Remove(Key::Tag(a.clone(), tag("v2"))),
                Change::Remove(Key::Tag(a.clone(), tag("never"))),
                Change::Remove(Key::Referrer(a.clone(), digests[0], digests[1])),
            ])
            .unwrap();
        assert_eq!(storage.tags(&a).unwrap(), [tag("v1")]);
        assert_eq!(storage.referrers(&a, &digests[0]).unwrap(), []);
        assert!(storage.has_repository(&a).unwrap());
    }
}

#[test]
fn an_upload_is_found_written_cut_and_finished_in_its_own_repository() {
    for Store { storage, .. } in stores() {
        let key = UploadKey {
            name: name("a/b"),
            id: "1234-abcd".into(),
        };
        storage.begin_upload(&key, Algorithm::Sha512).unwrap();
        let found = storage.upload(&key).unwrap().unwrap();
        assert_eq!((found.algorithm, found.len), (Algorithm::Sha512, 0));
        let elsewhere = UploadKey {
            name: name("a"),
            ..key.clone()
        };
        assert!(storage.upload(&elsewhere).unwrap().is_none());
        let mut writer = storage.write_upload(&found).unwrap();
        writer.append(b"hello, ").unwrap();
        writer.append(b"wrong").unwrap();
        writer.truncate(7).unwrap();
        writer.append(b"world").unwrap();
        assert_eq!(
            writer.content().unwrap().read_all().unwrap(),
            Bytes::from_static(b"hello, world")
        );
        drop(writer);
        let found = storage.upload(&key).unwrap().unwrap();
        assert_eq!(found.len, 12);
        storage.write_upload(&found).unwrap().append(b"!").unwrap();
        assert_eq!(storage.uploads().unwrap().len(), 1);
        let digest = Digest::sha256(b"hello, world!");
        let found = storage.upload(&key).unwrap().unwrap();
        storage.finish_upload(&found, &digest).unwrap();
        assert_eq!(
            storage.content(&digest).unwrap().unwrap().read_all().unwrap(),
            "hello, world!"
        );
        assert!(storage.upload(&key).unwrap().is_none());
        storage.begin_upload(&key, Algorithm::Sha256).unwrap();
        let again = storage.upload(&key).unwrap().unwrap();
        storage.drop_upload(&again).unwrap();
        storage.drop_upload(&again).unwrap();
        assert_eq!(storage.uploads().unwrap(), []);
    }
}

#[test]
fn a_folder_keeps_everything_over_a_restart_and_what_was_half_written_can_be_removed() {
    let folder = tempfile::tempdir().unwrap();
    let digest = Digest::sha256(b"content");
    let key = Key::Tag(name("a"), tag("v"));
    {
        let storage: Arc<dyn Storage> = Arc::new(Filesystem::open(folder.path(), Durability::Full).unwrap());
        put_content(&*storage, &digest, b"content");
        storage
            .commit(&[Change::Put(key.clone(), Bytes::from_static(b"x"))])
            .unwrap();
        std::fs::write(folder.path().join("blobs/.7"), "half").unwrap();
    }
    let storage: Arc<dyn Storage> = Arc::new(Filesystem::open(folder.path(), Durability::Full).unwrap());
    assert_eq!(storage.content_size(&digest).unwrap(), Some(7));
    assert_eq!(storage.record(&key).unwrap(), Some(Bytes::from_static(b"x")));
    assert_eq!(storage.tags(&name("a")).unwrap(), [tag("v")]);
    assert_eq!(storage.remove_leftovers().unwrap(), 1);
    assert_eq!(storage.remove_leftovers().unwrap(), 0);
    assert_eq!(storage.content_size(&digest).unwrap(), Some(7));
}

#[test]
fn leftovers_are_removed_beside_writers_who_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(Filesystem::open(folder.path(), Durability::None).unwrap());
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let remover = scope.spawn(|| {
            while !is_over.load(Relaxed) {
                assert_eq!(storage.remove_leftovers().unwrap(), 0);
            }
        });
        for n in 0..200_u32 {
            // Large enough for a file of its own.
            let bytes: Vec<u8> = n.to_le_bytes().repeat(5_000);
            let content = Change::Content(Digest::sha256(&bytes), bytes.into());
            storage.commit(&[content]).unwrap();
        }
        is_over.store(true, Relaxed);
        remover.join().unwrap();
    });
}

#[test]
fn a_folder_has_one_owner_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let first = filesystem::lock(folder.path()).unwrap();
    let refused = filesystem::lock(folder.path()).unwrap_err().to_string();
    assert!(refused.contains("another registry is using"), "{refused}");
    drop(first);
    filesystem::lock(folder.path()).unwrap();
}

#[test]
fn writers_who_sync_at_once_all_see_their_changes_stored() {
    let folder = tempfile::tempdir().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(Filesystem::open(folder.path(), Durability::Full).unwrap());
    std::thread::scope(|scope| {
        for writer in 0..16 {
            let storage = &storage;
            scope.spawn(move || {
                for n in 0..5 {
                    let key = Key::Tag(name("a"), tag(&format!("w{writer}-{n}")));
                    storage
                        .commit(&[Change::Put(key.clone(), Bytes::from_static(b"x"))])
                        .unwrap();
                    assert!(storage.record(&key).unwrap().is_some());
                }
            });
        }
    });
    assert_eq!(storage.tags(&name("a")).unwrap().len(), 80);
}

/// A folder as registries of the time before the ledger left it: a file for each record.
fn folder_of_files(root: &Path, subject: &Digest, referrer: &Digest) {
    let write = |path: String, bytes: &[u8]| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let hex = Digest::sha256(b"content").hex();
    write(format!("blobs/sha256/{}/{hex}", &hex[..2]), b"content");
    write(format!("repositories/a/b/_blobs/sha256/{hex}"), b"");
    write(
        format!("repositories/a/b/_manifests/sha256/{}", subject.hex()),
        b"type",
    );
    write("repositories/a/b/_tags/v1".into(), subject.to_string().as_bytes());
    let joined = |digest: &Digest| format!("sha256-{}", digest.hex());
    write(
        format!(
            "repositories/a/b/_referrers/{}/{}",
            joined(subject),
            joined(referrer)
        ),
        b"{}",
    );
    write("repositories/a/b/_uploads/12-ab.sha256".into(), b"half");
    write("notes/referrer-index".into(), b"1");
}

#[test]
fn records_of_the_time_before_the_ledger_are_moved_into_it_once() {
    let (subject, referrer) = (Digest::sha256(b"subject"), Digest::sha256(b"referrer"));
    for durability in [Durability::Full, Durability::None] {
        for cut_off in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            folder_of_files(folder.path(), &subject, &referrer);
            if cut_off {
                fs::create_dir(folder.path().join("records.new")).unwrap();
                fs::write(folder.path().join("records.new/version"), "?").unwrap();
            }
            for _ in 0..2 {
                let store = Filesystem::open(folder.path(), durability).unwrap();
                let name = name("a/b");
                let blob = Digest::sha256(b"content");
                assert_eq!(store.repositories().unwrap(), std::slice::from_ref(&name));
                assert_eq!(store.blobs(&name).unwrap(), [blob]);
                assert!(store.is_blob_anywhere(&blob).unwrap());
                assert_eq!(
                    store.content(&blob).unwrap().unwrap().read_all().unwrap(),
                    "content"
                );
                assert_eq!(store.manifests(&name).unwrap(), [subject]);
                let tagged = store.record(&Key::Tag(name.clone(), tag("v1"))).unwrap();
                assert_eq!(tagged, Some(Bytes::from(subject.to_string())));
                assert_eq!(store.referrers(&name, &subject).unwrap(), [referrer]);
                assert_eq!(store.record(&Key::Note("referrer-index")).unwrap().unwrap(), "1");
                assert_eq!(store.uploads().unwrap().len(), 1);
            }
            for gone in [
                "notes",
                "records.new",
                "repositories/a/b/_tags",
                "repositories/a/b/_blobs",
            ] {
                assert!(!folder.path().join(gone).exists(), "{gone}");
            }
        }
    }
}

#[test]
fn small_contents_share_files_and_large_ones_have_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let store = Filesystem::open(folder.path(), Durability::None).unwrap();
    for len in [0, 16 << 10, (16 << 10) + 1] {
        let bytes = Bytes::from(vec![7; len]);
        let digest = Digest::sha256(&bytes);
        store.commit(&[Change::Content(digest, bytes.clone())]).unwrap();
        assert_eq!(store.content_size(&digest).unwrap(), Some(len as u64));
        assert_eq!(
            store.content(&digest).unwrap().unwrap().read_all().unwrap(),
            bytes
        );
        let hex = digest.hex();
        let file = folder.path().join("blobs/sha256").join(&hex[..2]).join(hex);
        assert_eq!(file.exists(), len > 16 << 10);
    }
}
