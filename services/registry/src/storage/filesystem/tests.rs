//! The store on a disk that fails and loses power: a blob that was promised is there, and is what was pushed.

use super::*;
use crate::storage::{
    Change, Contents, Key, Records, Reserve, StoredUpload, UploadKey, Uploads,
    disk::trial::{Chance, Fault, Trial, folder, rounds},
};
use bytes::Bytes;
use oci::{Algorithm, Digest, RepositoryName};
use std::{
    collections::BTreeSet,
    os::unix::fs::MetadataExt,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::SystemTime,
};

const ERRORS: [i32; 3] = [28, 5, 24];

/// Contents that all push; some are so large that they have files.
fn content(number: u64) -> Bytes {
    let len = if number.is_multiple_of(3) { 300 } else { 17_000 };
    vec![number as u8; len].into()
}

const CONTENTS: u64 = 9;

fn repository(number: u64) -> RepositoryName {
    RepositoryName::parse(&format!("r{number}")).expect("a name")
}

fn open(root: &Path) -> Filesystem {
    Filesystem::open(root, Durability::Full).expect("a store")
}

/// Pushes a content into a repository, by an upload or at once.
fn push(
    store: &Filesystem,
    repository: RepositoryName,
    number: u64,
    by_upload: bool,
    id: usize,
) -> Result<()> {
    let bytes = content(number);
    let digest = Digest::sha256(&bytes);
    let key = Change::Put(Key::Blob(repository.clone(), digest), Bytes::new());
    if !by_upload {
        return store.commit(&[Change::Content(digest, bytes), key]);
    }
    let upload = StoredUpload {
        key: UploadKey {
            name: repository,
            id: format!("{id:x}"),
        },
        algorithm: Algorithm::Sha256,
        len: bytes.len() as u64,
        touched: SystemTime::now(),
    };
    store.begin_upload(&upload.key, upload.algorithm)?;
    let mut writer = store.write_upload(&upload)?;
    for piece in bytes.chunks(5_000) {
        writer.append(piece)?;
    }
    drop(writer);
    if store.finish_upload(&upload, &digest).is_err() {
        // The client tries again, with the session if it is there still.
        if store.upload(&upload.key)?.is_none() {
            return push(store, upload.key.name, number, false, id);
        }
        store.finish_upload(&upload, &digest)?;
    }
    store.commit(&[key])
}

/// What was promised must be there, and what is there must be right.
fn check(root: &Path, promised: &[usize], moment: usize) {
    let store = open(root);
    let mut found = BTreeSet::new();
    for name in store.repositories().expect("repositories") {
        for digest in store.blobs(&name).expect("blobs") {
            let content = store.content(&digest).expect("a content");
            let content = content.unwrap_or_else(|| panic!("{name} has lost {digest} at moment {moment}"));
            let bytes = content.read_all().expect("the bytes");
            assert_eq!(Digest::sha256(&bytes), digest, "at moment {moment}");
            found.insert((name.clone(), digest));
        }
    }
    for promise in promised.iter().map(|promise| *promise as u64) {
        let digest = Digest::sha256(&content(promise % CONTENTS));
        assert!(
            found.contains(&(repository(promise / CONTENTS), digest)),
            "a blob that was promised is not there at moment {moment}"
        );
    }
}

#[test]
fn pushes_of_the_same_contents_at_once_keep_their_promises_over_power_cuts() {
    for seed in 0..rounds(30) {
        let place = folder();
        let trial = Trial::new(place.path());
        let (store, ids) = (open(place.path()), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for worker in 0..3 {
                let (store, ids, trial) = (&store, &ids, &trial);
                scope.spawn(move || {
                    let mut chance = Chance::new(3 * seed + worker);
                    for _ in 0..12 {
                        let number = chance.below(CONTENTS);
                        let by_upload = chance.below(2) == 0;
                        push(
                            store,
                            repository(worker),
                            number,
                            by_upload,
                            ids.fetch_add(1, Relaxed),
                        )
                        .expect("a push");
                        trial.promised((worker * CONTENTS + number) as usize);
                    }
                });
            }
        });
        let mut chance = Chance::new(seed);
        for _ in 0..20 {
            let moment = chance.below(trial.moments() as u64 + 1) as usize;
            let after = folder();
            let promised = trial.power_cut(moment, after.path(), &mut chance);
            check(after.path(), &promised, moment);
        }
    }
}

#[test]
fn faults_and_power_cuts_lose_no_blob_that_was_promised() {
    for seed in 0..rounds(150) {
        let mut chance = Chance::new(seed);
        let place = folder();
        let trial = Trial::new(place.path());
        let mut store = open(place.path());
        for id in 0..40 {
            if chance.below(3) == 0 {
                let error = ERRORS[chance.below(3) as usize];
                trial.set(Some(Fault::Once(1 + chance.below(15) as usize, error)));
            }
            let (name, number) = (chance.below(3), chance.below(CONTENTS));
            if push(&store, repository(name), number, chance.below(2) == 0, id).is_ok() {
                trial.promised((name * CONTENTS + number) as usize);
            }
            if chance.below(15) == 0 {
                trial.set(None);
                drop(store);
                store = open(place.path());
            }
        }
        trial.set(None);
        push(&store, repository(0), 1, true, 100).expect("a push");
        for _ in 0..4 {
            let moment = chance.below(trial.moments() as u64 + 1) as usize;
            let after = folder();
            let promised = trial.power_cut(moment, after.path(), &mut chance);
            check(after.path(), &promised, moment);
        }
    }
}

#[test]
fn what_was_written_without_durability_is_brought_to_the_disk_once_durability_is_asked_for() {
    let place = folder();
    let note = place.path().join("unsynced");
    drop(Filesystem::open(place.path(), Durability::None).expect("a store"));
    assert!(note.exists());
    drop(open(place.path()));
    assert!(!note.exists());
}

#[test]
fn a_file_that_is_being_written_is_no_leftover_however_old_it_is() {
    let folder = folder();
    let store = open(folder.path());
    let digest = Digest::sha256(b"content");
    let path = store.layout.content(&digest);
    let temporary = store.temporary_beside(&path);
    let write = |path: &Path| {
        store
            .in_folder(path, || fs::write(path, b"content"))
            .expect("a file");
    };
    write(temporary.path());
    write(&path.with_file_name(".left"));
    assert_eq!(store.remove_leftovers().expect("a sweep"), 1);
    temporary.put_in_place(&path).expect("it is there still");
    assert!(path.exists());
}

#[test]
fn a_reserve_is_whole_or_not_there_whichever_operation_fails() {
    let folder = folder();
    let store = open(folder.path());
    let path = store.layout.reserve(Reserve::Collection);
    let trial = Trial::new(folder.path());
    let room = || fs::metadata(&path).map_or(0, |file| file.blocks() * 512);
    for error in ERRORS {
        for number in 1.. {
            trial.set(Some(Fault::Once(number, error)));
            let laid = store.lay_reserve(Reserve::Collection);
            let is_over = trial.failed().is_none();
            trial.set(None);
            assert_eq!((laid.is_ok(), path.exists()), (is_over, is_over));
            if is_over {
                assert!(number > 3, "only {number} operations");
                break;
            }
        }
        assert!(room() >= reserve::RESERVE_BYTES);
        trial.set(Some(Fault::Once(1, error)));
        assert!(store.give_up_reserve(Reserve::Collection).is_err());
        trial.set(None);
        assert!(path.exists());
        store.give_up_reserve(Reserve::Collection).expect("room");
        store
            .give_up_reserve(Reserve::Collection)
            .expect("none there is no error");
        assert!(!path.exists());
    }
}

#[test]
fn a_reserve_without_its_room_is_laid_again_and_one_that_has_it_stays() {
    let folder = folder();
    let store = open(folder.path());
    let path = store.layout.reserve(Reserve::Collection);
    let copy = fs::File::create(&path).expect("a file");
    copy.set_len(reserve::RESERVE_BYTES).expect("a hole");
    let state = || fs::metadata(&path).expect("a reserve");
    assert_eq!(state().blocks(), 0);
    store.lay_reserve(Reserve::Collection).expect("room");
    assert!(state().blocks() * 512 >= reserve::RESERVE_BYTES);
    fs::write(&path, vec![7; 4 << 20]).expect("another one");
    store.lay_reserve(Reserve::Collection).expect("it is there");
    assert_eq!(state().len(), 4 << 20);
}
