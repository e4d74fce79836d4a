//! Changes that race: of one tag, one blob, one subject, and with deletes and garbage collection. What is found afterwards, and what
//! each reader saw meanwhile, must be what some order of the changes would have shown.
//!
//! `RACE_ROUNDS` says how many rounds are run, for a long run by hand.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use oci::{Algorithm, Digest, ManifestRef, RepositoryName, Tag, media_type};
use registry::{
    config::{self, Config},
    domain::{
        Collect, Error, Expect, Limits, Manifest, ManifestPush, Mounted, ReferrerQuery, Registry, Verify,
    },
    storage::{Durability, Key, Records, Storage, filesystem::Filesystem, memory::Memory},
};
use std::{
    collections::{BTreeSet, HashSet},
    path::{Path, PathBuf},
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};
use support::{
    complete,
    faulty::{Fault, Faulty},
    image, index,
};

/// Rounds of a race, unless more are asked for.
fn rounds(few: u64) -> u64 {
    let told = std::env::var("RACE_ROUNDS").ok();
    told.map_or(few, |told| told.parse().unwrap())
}

fn name(text: &str) -> RepositoryName {
    RepositoryName::parse(text).unwrap()
}

fn tag(text: &str) -> Tag {
    Tag::parse(text).unwrap()
}

/// A registry without any grace for garbage.
fn registry(storage: Arc<dyn Storage>) -> Registry {
    let limits = Limits {
        garbage_age: Duration::ZERO,
        ..Limits::default()
    };
    Registry::open(storage, complete(), limits).unwrap()
}

fn in_memory() -> Registry {
    registry(Arc::new(Memory::new()))
}

/// A registry in files, and its folder.
fn on_disk(durability: Durability) -> (Registry, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let storage = Filesystem::open(folder.path(), durability).unwrap();
    (registry(Arc::new(storage)), folder)
}

/// Collects all garbage; how many contents that were.
fn collect(registry: &Registry) -> usize {
    let how = Collect {
        dry_run: false,
        uploads: true,
        now: SystemTime::now(),
    };
    registry.collect_garbage(how, &mut |_| {}).unwrap().contents
}

fn push_blob(registry: &Registry, name: &RepositoryName, content: &[u8]) -> Digest {
    let digest = Digest::sha256(content);
    let receiving = registry.receive_once(name, Algorithm::Sha256, None).unwrap();
    receiving.finish(content, &digest).unwrap();
    digest
}

/// As [`push_blob`], by a session of two requests.
fn push_blob_by_session(registry: &Registry, name: &RepositoryName, content: &[u8]) -> Digest {
    let digest = Digest::sha256(content);
    let begun = registry.begin_upload(name, None, None).unwrap();
    let (first, last) = content.split_at(content.len() / 2);
    let mut receiving = registry.receive(name, &begun.id, Some(0)).unwrap();
    receiving.write(first).unwrap();
    receiving.pause();
    let receiving = registry
        .receive(name, &begun.id, Some(first.len() as u64))
        .unwrap();
    receiving.finish(last, &digest).unwrap();
    digest
}

fn manifest(name: &RepositoryName, reference: ManifestRef, body: &str, expect: Expect) -> ManifestPush {
    let view: serde_json::Value = serde_json::from_str(body).unwrap();
    ManifestPush {
        name: name.clone(),
        reference,
        tags: Vec::new(),
        content_type: Some(view["mediaType"].as_str().unwrap().to_owned()),
        body: body.to_owned().into(),
        expect,
    }
}

fn nothing_is_damaged(registry: &Registry) {
    registry
        .verify(Verify::default(), &mut |damage| panic!("{damage}"))
        .unwrap();
}

#[test]
fn a_blob_that_is_deleted_while_it_is_pushed_or_mounted_is_there_for_all_or_for_nobody() {
    let registry = in_memory();
    let (a, b) = (name("a"), name("b"));
    for round in 0..rounds(300) {
        let content = format!("content {round}");
        let digest = push_blob(&registry, &a, content.as_bytes());
        push_blob(&registry, &b, content.as_bytes());
        let config = push_blob(&registry, &b, b"{}");
        let start = Barrier::new(4);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                push_blob(&registry, &b, content.as_bytes());
            });
            scope.spawn(|| {
                start.wait();
                assert_eq!(registry.mount_blob(&b, &digest, Some(&a)).unwrap(), Mounted::Yes);
            });
            scope.spawn(|| {
                start.wait();
                match registry.delete_blob(&b, &digest) {
                    Ok(()) | Err(Error::BlobUnknown { .. }) => {}
                    Err(other) => panic!("{other}"),
                }
            });
            scope.spawn(|| {
                start.wait();
                let _ = registry.blob_size(&b, &digest);
            });
        });
        // An image is taken exactly if the blob is there, and has it then whatever is collected.
        let body = image(&config, &digest, content.len(), "");
        let there = registry.blob_size(&b, &digest).unwrap().is_some();
        let reference = ManifestRef::from(tag("t"));
        let pushed = registry.push_manifest(manifest(&b, reference, &body, Expect::Anything));
        assert_eq!(pushed.is_ok(), there, "round {round}: {pushed:?}");
        nothing_is_damaged(&registry);
    }
}

#[test]
fn a_blob_that_is_deleted_after_its_record_and_before_its_answer_is_gone() {
    let inner = Arc::new(Memory::new());
    let (storage, faults) = Faulty::new(inner.clone());
    let registry = registry(storage);
    let (a, b) = (name("a"), name("b"));
    let pushed = |content: &[u8]| push_blob(&registry, &b, content);
    let mounted = |content: &[u8]| {
        let digest = Digest::sha256(content);
        assert_eq!(registry.mount_blob(&b, &digest, Some(&a)).unwrap(), Mounted::Yes);
        digest
    };
    type Add<'a> = &'a (dyn Fn(&[u8]) -> Digest + Sync);
    let ways: [(&str, Add<'_>); 2] = [("push", &pushed), ("mount", &mounted)];
    for (way, add) in ways {
        // The last thing that the store does for the one is what the other waits at.
        let (first, second) = (format!("first {way}"), format!("second {way}"));
        for content in [&first, &second] {
            push_blob(&registry, &a, content.as_bytes());
        }
        faults.set(Fault::None);
        add(first.as_bytes());
        let last = faults.count() - 1;
        faults.set(Fault::SlowOnce(last, Duration::from_millis(200)));
        let digest = Digest::sha256(second.as_bytes());
        let key = Key::Blob(b.clone(), digest);
        std::thread::scope(|scope| {
            scope.spawn(|| add(second.as_bytes()));
            while inner.record(&key).unwrap().is_none() {
                std::thread::yield_now();
            }
            registry.delete_blob(&b, &digest).unwrap();
        });
        assert_eq!(inner.record(&key).unwrap(), None, "{way}");
        assert_eq!(registry.blob_size(&b, &digest).unwrap(), None, "{way}");
    }
}

#[test]
fn a_collection_beside_pushes_and_mounts_of_what_it_looks_at_breaks_no_image() {
    let content = |number| format!("content {number}").into_bytes();
    a_collection_breaks_no_image(&in_memory(), content, rounds(300));
}

#[test]
fn a_collection_beside_pushes_and_mounts_of_contents_in_files_breaks_no_image() {
    for (durability, few) in [(Durability::None, 300), (Durability::Full, 30)] {
        let (registry, folder) = on_disk(durability);
        a_collection_breaks_no_image(&registry, own_file, rounds(few));
        // Each session's bytes went to their place, or away with it.
        let left = files_below(&folder.path().join("repositories"));
        assert!(left.is_empty(), "{left:?}");
    }
}

/// A content that is too large for the ledger.
fn own_file(number: u64) -> Vec<u8> {
    let mut content = format!("content {number}").into_bytes();
    content.resize(20_000, b' ');
    content
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files_below(&path)),
            false => found.push(path),
        }
    }
    found
}

/// Tells those beside that they are no longer needed, also if the test has failed.
struct SetsWhenDropped<'a>(&'a AtomicBool);

impl Drop for SetsWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Pushes the same few contents over and over, garbage at one moment and needed at the next, beside a collector that gives no
/// grace.
fn a_collection_breaks_no_image(
    registry: &Registry,
    content: impl Fn(u64) -> Vec<u8> + Copy + Send,
    rounds: u64,
) {
    let (a, b) = (name("a"), name("b"));
    let is_over = AtomicBool::new(false);
    let (accepted, removed) = (&AtomicUsize::new(0), &AtomicUsize::new(0));
    // On a busy machine the collector may not have its turn for all these rounds.
    let has_happened = || accepted.load(Ordering::Relaxed) > 0 && removed.load(Ordering::Relaxed) > 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                removed.fetch_add(collect(registry), Ordering::Relaxed);
            }
        });
        let _over = SetsWhenDropped(&is_over);
        let pushers: Vec<_> = (0..3)
            .map(|pusher| {
                let (a, b) = (&a, &b);
                scope.spawn(move || {
                    for round in (0..100 * rounds).take_while(|round| *round < rounds || !has_happened()) {
                        let content = content((round + pusher) % 3);
                        let push = match round / 2 % 2 {
                            0 => push_blob,
                            _ => push_blob_by_session,
                        };
                        let digest = push(registry, a, &content);
                        let config = push_blob(registry, b, b"{}");
                        if round % 2 == 0 {
                            push(registry, b, &content);
                        } else if registry.mount_blob(b, &digest, Some(a)).unwrap() == Mounted::No {
                            continue;
                        }
                        let tag = tag(&format!("t{pusher}"));
                        let body = image(&config, &digest, content.len(), "");
                        let push = manifest(b, tag.clone().into(), &body, Expect::Anything);
                        match registry.push_manifest(push) {
                            Ok(_) => {}
                            // It was collected before the manifest came.
                            Err(Error::MissingContent { .. }) => continue,
                            Err(other) => panic!("{other}"),
                        }
                        accepted.fetch_add(1, Ordering::Relaxed);
                        let there = registry.manifest(b, &tag.clone().into()).unwrap();
                        assert_eq!(there.body, body.as_bytes());
                        let blob = registry.open_blob(b, &digest).unwrap().read_all().unwrap();
                        assert_eq!(blob, content);
                        if round % 3 == 0 {
                            registry.delete_tag(b, &tag, &Expect::Anything).unwrap();
                        }
                    }
                })
            })
            .collect();
        pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
    });
    assert!(
        has_happened(),
        "{accepted:?} images taken, {removed:?} contents removed"
    );
    nothing_is_damaged(registry);
}

#[test]
fn a_referrer_that_is_pushed_and_deleted_at_once_is_listed_exactly_if_it_is_there() {
    let (there, gone) = referrers_pushed_and_deleted(Arc::new(Memory::new()), rounds(200));
    assert!(there > 0 && gone > 0, "there {there} times, gone {gone} times");
    for (durability, few) in [(Durability::None, 100), (Durability::Full, 20)] {
        let folder = tempfile::tempdir().unwrap();
        let storage = Filesystem::open(folder.path(), durability).unwrap();
        referrers_pushed_and_deleted(Arc::new(storage), rounds(few));
    }
}

/// Lets the same referrer be pushed, by its digest and by tags, while it, its subject and those tags are deleted, its list is
/// read, and in every other round garbage is collected. In how many rounds it was there afterwards, and in how many not.
fn referrers_pushed_and_deleted(storage: Arc<dyn Storage>, rounds: u64) -> (u64, u64) {
    let registry = registry(storage.clone());
    let name = &name("a");
    let config = push_blob(&registry, name, b"{}");
    let mut ended = (0, 0);
    for round in 0..rounds {
        // Tagged, so that no collection takes the configuration.
        let kept = manifest(
            name,
            tag("kept").into(),
            &image(&config, &config, 2, ""),
            Expect::Anything,
        );
        registry.push_manifest(kept).unwrap();
        let subject_body = image(
            &config,
            &config,
            2,
            &format!(",\"annotations\":{{\"n\":\"{round}\"}}"),
        );
        let subject = Digest::sha256(subject_body.as_bytes());
        let body = image(&config, &config, 2, &referring_to(&subject, round));
        let referrer = Digest::sha256(body.as_bytes());
        let (one, other) = (tag(&format!("one{round}")), tag(&format!("other{round}")));
        let push = |body: &str, reference: ManifestRef| {
            registry
                .push_manifest(manifest(name, reference, body, Expect::Anything))
                .unwrap();
        };
        let delete = |digest: &Digest| may_be_missing(registry.delete_manifest(name, digest));
        let delete_tag = |tag: &Tag| may_be_missing(registry.delete_tag(name, tag, &Expect::Anything));
        let start = Barrier::new(8);
        let race = |what: &dyn Fn()| {
            start.wait();
            what();
        };
        std::thread::scope(|scope| {
            scope.spawn(|| race(&|| push(&body, referrer.into())));
            scope.spawn(|| race(&|| push(&body, one.clone().into())));
            scope.spawn(|| race(&|| push(&body, other.clone().into())));
            scope.spawn(|| race(&|| push(&subject_body, subject.into())));
            scope.spawn(|| race(&|| delete(&referrer)));
            scope.spawn(|| race(&|| delete(&subject)));
            scope.spawn(|| race(&|| [&one, &other].into_iter().for_each(delete_tag)));
            scope.spawn(|| {
                race(&|| {
                    let listed = listed(&registry, name, &subject);
                    assert!(listed.is_empty() || listed == BTreeSet::from([referrer.to_string()]));
                    if round % 2 == 1 {
                        collect(&registry);
                    }
                });
            });
        });
        // What is remembered, and what somebody finds who remembers nothing.
        let anew = self::registry(storage.clone());
        for registry in [&registry, &anew] {
            let is_there = registry.manifest(name, &referrer.into()).is_ok();
            let expected: BTreeSet<String> = is_there.then(|| referrer.to_string()).into_iter().collect();
            assert_eq!(listed(registry, name, &subject), expected, "round {round}");
            for tag in [&one, &other] {
                match registry.manifest(name, &tag.clone().into()) {
                    Ok(found) => assert!(is_there && found.digest == referrer, "round {round}"),
                    Err(Error::ManifestUnknown { .. }) => {}
                    Err(other) => panic!("round {round}: {other}"),
                }
            }
        }
        match registry.manifest(name, &referrer.into()) {
            Ok(_) => ended.0 += 1,
            Err(_) => ended.1 += 1,
        }
        nothing_is_damaged(&registry);
    }
    ended
}

/// A deletion of what another may have deleted.
fn may_be_missing(deleted: registry::domain::Result<()>) {
    match deleted {
        Ok(()) | Err(Error::ManifestUnknown { .. } | Error::NameUnknown { .. }) => {}
        Err(other) => panic!("{other}"),
    }
}

/// The fields of a manifest that refers to a subject, and is not the same for two numbers.
fn referring_to(subject: &Digest, number: u64) -> String {
    format!(
        ",\"subject\":{{\"mediaType\":\"{}\",\"size\":2,\"digest\":\"{subject}\"}},\"annotations\":{{\"n\":\"{number}\"}}",
        media_type::OCI_MANIFEST
    )
}

#[test]
fn of_64_that_attach_at_once_none_is_lost_in_a_hundred_rounds() {
    for (durability, few) in [(Durability::None, 100), (Durability::Full, 10)] {
        let (registry, _folder) = on_disk(durability);
        let name = name("a");
        let config = push_blob(&registry, &name, b"{}");
        for round in 0..rounds(few) {
            let subject = Digest::sha256(format!("subject {round}").as_bytes());
            let attached = attach_64(&config, &subject, |digest, body| {
                let push = manifest(&name, digest.into(), body, Expect::Anything);
                registry.push_manifest(push).unwrap();
            });
            assert_eq!(listed(&registry, &name, &subject), attached, "round {round}");
        }
    }
}

/// Makes 64 referrers of a subject and pushes all of them at once. Their digests.
fn attach_64(config: &Digest, subject: &Digest, push: impl Fn(Digest, &str) + Sync) -> BTreeSet<String> {
    let start = Barrier::new(64);
    let attach = |number: u64| {
        let body = image(config, config, 2, &referring_to(subject, number));
        let digest = Digest::sha256(body.as_bytes());
        start.wait();
        push(digest, &body);
        digest.to_string()
    };
    let attached: BTreeSet<String> = std::thread::scope(|scope| {
        let attach = &attach;
        let all: Vec<_> = (0..64).map(|n| scope.spawn(move || attach(n))).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(attached.len(), 64);
    attached
}

#[test]
fn of_64_clients_that_attach_at_once_none_is_lost_by_a_server_that_syncs_nor_after_its_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = Config::complete();
    settings.storage.filesystem = Some(config::Filesystem {
        rootdirectory: folder.path().to_owned(),
        durability: config::Durability::Full,
    });
    let mut server = testkit::Registry::start(settings);
    let config = server.push_blob("a", b"{}");
    let mut all = Vec::new();
    for round in 0..rounds(3) {
        let subject = Digest::sha256(format!("subject {round}").as_bytes());
        let attached = attach_64(&config, &subject, |digest, body| {
            let path = format!("/v2/a/manifests/{digest}");
            let headers = [("Content-Type", media_type::OCI_MANIFEST)];
            let answer = server.request("PUT", &path, &headers, body.as_bytes());
            assert_eq!(answer.status, 201, "{}", answer.text());
        });
        all.push((subject, attached));
    }
    for _ in 0..2 {
        for (subject, attached) in &all {
            let answer = server.get(&format!("/v2/a/referrers/{subject}"));
            assert_eq!(answer.status, 200);
            assert_eq!(digests_of(&answer.json()["manifests"]), *attached);
        }
        server.restart();
    }
}

/// The digests in a list of descriptors.
fn digests_of(entries: &serde_json::Value) -> BTreeSet<String> {
    let entries = entries.as_array().unwrap();
    entries
        .iter()
        .map(|entry| entry["digest"].as_str().unwrap().to_owned())
        .collect()
}

fn listed(registry: &Registry, name: &RepositoryName, subject: &Digest) -> BTreeSet<String> {
    let query = ReferrerQuery {
        name: name.clone(),
        subject: *subject,
        artifact_type: None,
        last: None,
        max_bytes: usize::MAX,
        max_count: None,
    };
    let page = registry.referrers(&query).unwrap();
    let text = format!("[{}]", String::from_utf8_lossy(&page.json));
    digests_of(&serde_json::from_str(&text).unwrap())
}

#[test]
fn of_64_that_keep_a_list_under_one_tag_none_is_lost_if_each_asks_for_what_it_has_read() {
    let registry = in_memory();
    let name = name("a");
    let config = push_blob(&registry, &name, b"{}");
    for round in 0..rounds(3) {
        let list = tag(&format!("list{round}"));
        let start = Barrier::new(64);
        let conflicts = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for number in 0..64 {
                let (registry, name, list, start, conflicts) = (&registry, &name, &list, &start, &conflicts);
                let more = format!(",\"annotations\":{{\"n\":\"{round}-{number}\"}}");
                let body = image(&config, &config, 2, &more);
                scope.spawn(move || {
                    let mine = Digest::sha256(body.as_bytes());
                    registry
                        .push_manifest(manifest(name, mine.into(), &body, Expect::Anything))
                        .unwrap();
                    start.wait();
                    loop {
                        let (mut entries, expect) = match registry.manifest(name, &list.clone().into()) {
                            Ok(now) => (entries_of(&now.body), Expect::OneOf(vec![now.digest])),
                            Err(Error::ManifestUnknown { .. }) => (BTreeSet::new(), Expect::Absent),
                            Err(other) => panic!("{other}"),
                        };
                        entries.insert(mine);
                        let body = index(&entries.into_iter().collect::<Vec<_>>());
                        match registry.push_manifest(manifest(name, list.clone().into(), &body, expect)) {
                            Ok(_) => return,
                            Err(Error::TagChanged { .. }) => {
                                conflicts.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(other) => panic!("{other}"),
                        }
                    }
                });
            }
        });
        let now = registry.manifest(&name, &list.clone().into()).unwrap();
        assert_eq!(entries_of(&now.body).len(), 64);
    }
}

fn entries_of(body: &[u8]) -> BTreeSet<Digest> {
    let list: serde_json::Value = serde_json::from_slice(body).unwrap();
    let entries = list["manifests"].as_array().unwrap();
    entries
        .iter()
        .map(|entry| Digest::parse(entry["digest"].as_str().unwrap()).unwrap())
        .collect()
}

/// What was done to a tag, as its client saw it.
#[derive(Clone, Debug)]
enum Did {
    /// Read; where it led.
    Read(Option<Digest>),
    /// Asked for it to lead there, or nowhere, if it led to one of these (`None` for no condition); whether that was done.
    Moved(Option<Digest>, Option<Vec<Option<Digest>>>, bool),
}

/// Something that was done, and when it was asked for and answered.
#[derive(Clone, Debug)]
struct Deed {
    did: Did,
    asked: u64,
    answered: u64,
}

/// Where the tag leads after this deed, if it can have been done when the tag led here.
fn after(did: &Did, now: Option<Digest>) -> Option<Option<Digest>> {
    match did {
        Did::Read(found) => (*found == now).then_some(now),
        Did::Moved(to, condition, done) => {
            let holds = condition.as_ref().is_none_or(|of| of.contains(&now));
            // What is not there cannot be taken away.
            let can_be_done = holds && (to.is_some() || now.is_some());
            match (can_be_done, done) {
                (true, true) => Some(*to),
                (false, false) => Some(now),
                _ => None,
            }
        }
    }
}

/// Whether there is an order of the deeds that keeps what was over before another began before it, and in which each could have
/// had its answer (Wing and Gong's search, with what was tried before).
fn is_linearizable(deeds: &[Deed]) -> bool {
    assert!(deeds.len() <= 64);
    let all = u64::MAX >> (64 - deeds.len());
    let (mut open, mut tried) = (vec![(0u64, None)], HashSet::new());
    while let Some((done, now)) = open.pop() {
        if done == all {
            return true;
        }
        if !tried.insert((done, now)) {
            continue;
        }
        let left = || (0..deeds.len()).filter(|n| done & (1 << n) == 0);
        let first_answer = left().map(|n| deeds[n].answered).min().unwrap();
        for number in left().filter(|n| deeds[*n].asked < first_answer) {
            if let Some(next) = after(&deeds[number].did, now) {
                open.push((done | 1 << number, next));
            }
        }
    }
    false
}

#[test]
fn the_search_for_an_order_finds_what_no_order_explains() {
    let (a, b) = (Digest::sha256(b"a"), Digest::sha256(b"b"));
    let deed = |did, asked, answered| Deed { did, asked, answered };
    let moved = |to, asked, answered| deed(Did::Moved(Some(to), None, true), asked, answered);
    let old_after_new = [moved(a, 0, 1), moved(b, 2, 3), deed(Did::Read(Some(a)), 4, 5)];
    assert!(!is_linearizable(&old_after_new));
    let meanwhile = [
        moved(a, 0, 1),
        moved(b, 2, 6),
        deed(Did::Read(Some(b)), 3, 4),
        deed(Did::Read(Some(a)), 3, 5),
    ];
    assert!(is_linearizable(&meanwhile));
    let back_again = [
        moved(a, 0, 1),
        moved(b, 2, 9),
        deed(Did::Read(Some(b)), 3, 4),
        deed(Did::Read(Some(a)), 5, 6),
    ];
    assert!(!is_linearizable(&back_again));
    let condition = |done| deed(Did::Moved(Some(b), Some(vec![None]), done), 2, 3);
    assert!(is_linearizable(&[moved(a, 0, 1), condition(false)]));
    assert!(!is_linearizable(&[moved(a, 0, 1), condition(true)]));
}

#[test]
fn whatever_happens_to_a_tag_at_once_could_have_happened_one_by_one() {
    for (durability, few) in [(Durability::None, 200), (Durability::Full, 20)] {
        let (registry, _folder) = on_disk(durability);
        histories_of_a_tag_have_an_order(&registry, rounds(few));
    }
}

/// Lets four clients move, delete and read a tag, round by round, beside a collector.
fn histories_of_a_tag_have_an_order(registry: &Registry, rounds: u64) {
    let name = name("a");
    let config = push_blob(registry, &name, b"{}");
    // Tagged, so that the collection beside leaves them.
    let bodies: Vec<String> = (0..3)
        .map(|n| {
            image(
                &config,
                &config,
                2,
                &format!(",\"annotations\":{{\"n\":\"{n}\"}}"),
            )
        })
        .collect();
    for (number, body) in bodies.iter().enumerate() {
        let kept = tag(&format!("kept{number}"));
        registry
            .push_manifest(manifest(&name, kept.into(), body, Expect::Anything))
            .unwrap();
    }
    let digests: Vec<Digest> = bodies
        .iter()
        .map(|body| Digest::sha256(body.as_bytes()))
        .collect();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                collect(registry);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let _over = SetsWhenDropped(&is_over);
        for round in 0..rounds {
            let tag = tag(&format!("t{round}"));
            let (clock, start) = (AtomicU64::new(0), Barrier::new(4));
            let history = Mutex::new(Vec::new());
            std::thread::scope(|scope| {
                for client in 0..4u64 {
                    let (name, tag) = (&name, &tag);
                    let (clock, start, history) = (&clock, &start, &history);
                    let (bodies, digests) = (&bodies, &digests);
                    scope.spawn(move || {
                        start.wait();
                        for step in 0..12u64 {
                            let dice = Digest::sha256(format!("{round} {client} {step}").as_bytes());
                            let dice = dice.bytes();
                            let asked = clock.fetch_add(1, Ordering::SeqCst);
                            let did = act(registry, name, tag, bodies, digests, dice);
                            let answered = clock.fetch_add(1, Ordering::SeqCst);
                            history.lock().unwrap().push(Deed { did, asked, answered });
                        }
                    });
                }
            });
            let history = history.into_inner().unwrap();
            assert!(is_linearizable(&history), "round {round}: {history:#?}");
        }
    });
    nothing_is_damaged(registry);
}

/// Does one thing to a tag, as the dice say.
fn act(
    registry: &Registry,
    name: &RepositoryName,
    tag: &Tag,
    bodies: &[String],
    digests: &[Digest],
    dice: &[u8],
) -> Did {
    let which = usize::from(dice[0]) % bodies.len();
    let other = digests[usize::from(dice[1]) % digests.len()];
    let (expect, condition) = match dice[2] % 4 {
        0 | 1 => (Expect::Anything, None),
        2 => (Expect::Absent, Some(vec![None])),
        _ => (Expect::OneOf(vec![other]), Some(vec![Some(other)])),
    };
    match dice[3] % 7 {
        number @ 0..4 => match read(registry, name, &tag.clone().into(), number % 2 == 0) {
            Ok(found) => Did::Read(Some(found.digest)),
            Err(Error::ManifestUnknown { .. }) => Did::Read(None),
            Err(other) => panic!("{other}"),
        },
        4 | 5 => {
            let push = manifest(name, tag.clone().into(), &bodies[which], expect);
            let done = match registry.push_manifest(push) {
                Ok(_) => true,
                Err(Error::TagChanged { .. }) => false,
                Err(other) => panic!("{other}"),
            };
            Did::Moved(Some(digests[which]), condition, done)
        }
        _ => {
            let done = match registry.delete_tag(name, tag, &expect) {
                Ok(()) => true,
                Err(Error::TagChanged { .. } | Error::ManifestUnknown { .. }) => false,
                Err(other) => panic!("{other}"),
            };
            Did::Moved(None, condition, done)
        }
    }
}

/// Reads a manifest; from memory, if it is there, as most requests are answered.
fn read(
    registry: &Registry,
    name: &RepositoryName,
    reference: &ManifestRef,
    from_memory: bool,
) -> registry::domain::Result<Arc<Manifest>> {
    let known = from_memory
        .then(|| registry.known_manifest(name, reference))
        .flatten();
    known.map_or_else(|| registry.manifest(name, reference), Ok)
}
