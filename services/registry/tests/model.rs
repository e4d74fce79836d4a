//! Any sequence of operations, compared with a model of a registry that is a few maps: each answer, and after each all that can be
//! read. On disk, with restarts between.
//!
//! `PROPTEST_CASES` says how many sequences, for a long run by hand.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use oci::{Algorithm, Digest, ManifestRef, RepositoryName, Tag, media_type};
use proptest::prelude::*;
use registry::{
    domain::{Collect, Error, Expect, Limits, ManifestPush, Mounted, ReferrerQuery, Registry, Verify},
    storage::{Durability, filesystem::Filesystem},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::SystemTime,
};
use support::{complete, image, index};

const REPOSITORIES: usize = 2;
const TAGS: usize = 3;
const BLOBS: usize = 3;
/// Manifests: images of one blob each, then what refers to each of these, then an index of the first two images.
const MANIFESTS: usize = 2 * BLOBS + 1;

#[derive(Clone, Debug)]
enum Step {
    PushBlob(usize, usize),
    Mount(usize, usize),
    DeleteBlob(usize, usize),
    /// Repository, manifest, tag if any, condition.
    Push(usize, usize, Option<usize>, Condition),
    DeleteTag(usize, usize, Condition),
    DeleteManifest(usize, usize),
    Collect,
    Restart,
}

#[derive(Clone, Debug)]
enum Condition {
    None,
    Absent,
    Present,
    Is(usize),
    IsNot(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (repository, blob) = (0..REPOSITORIES, 0..BLOBS);
    let condition = || {
        prop_oneof![
            5 => Just(Condition::None),
            1 => Just(Condition::Absent),
            1 => Just(Condition::Present),
            1 => (0..MANIFESTS).prop_map(Condition::Is),
            1 => (0..MANIFESTS).prop_map(Condition::IsNot),
        ]
    };
    let step = prop_oneof![
        6 => (repository.clone(), blob.clone()).prop_map(|(r, b)| Step::PushBlob(r, b)),
        1 => (repository.clone(), blob.clone()).prop_map(|(r, b)| Step::Mount(r, b)),
        1 => (repository.clone(), blob).prop_map(|(r, b)| Step::DeleteBlob(r, b)),
        12 => (repository.clone(), 0..MANIFESTS, prop::option::weighted(0.7, 0..TAGS), condition())
            .prop_map(|(r, m, t, c)| Step::Push(r, m, t, c)),
        2 => (repository.clone(), 0..TAGS, condition()).prop_map(|(r, t, c)| Step::DeleteTag(r, t, c)),
        1 => (repository, 0..MANIFESTS).prop_map(|(r, m)| Step::DeleteManifest(r, m)),
        1 => Just(Step::Collect),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..80)
}

/// Everything that the steps are about.
struct Content {
    names: Vec<RepositoryName>,
    tags: Vec<Tag>,
    blobs: Vec<Vec<u8>>,
    manifests: Vec<String>,
}

impl Content {
    fn new() -> Content {
        // One is so large that it has a file of its own.
        let blobs: Vec<Vec<u8>> = vec![b"{}".to_vec(), b"a layer".to_vec(), vec![7; 20_000]];
        let of = |content: &[u8]| Digest::sha256(content);
        let of_image = |blob: &Vec<u8>, more: &str| image(&of(&blobs[0]), &of(blob), blob.len(), more);
        let mut manifests: Vec<String> = blobs.iter().map(|blob| of_image(blob, "")).collect();
        for subject in manifests.clone() {
            let subject = of(subject.as_bytes());
            let more = format!(
                ",\"subject\":{{\"mediaType\":\"{}\",\"size\":2,\"digest\":\"{subject}\"}}",
                media_type::OCI_MANIFEST
            );
            manifests.push(of_image(&blobs[0], &more));
        }
        let children = [0, 1].map(|n: usize| of(manifests[n].as_bytes()));
        manifests.push(index(&children));
        Content {
            names: ["a", "a/b"]
                .map(|text| RepositoryName::parse(text).unwrap())
                .to_vec(),
            tags: ["one", "two", "three"]
                .map(|text| Tag::parse(text).unwrap())
                .to_vec(),
            blobs,
            manifests,
        }
    }

    fn blob(&self, number: usize) -> Digest {
        Digest::sha256(&self.blobs[number])
    }

    fn manifest(&self, number: usize) -> Digest {
        Digest::sha256(self.manifests[number].as_bytes())
    }

    fn expect(&self, condition: &Condition) -> Expect {
        match condition {
            Condition::None => Expect::Anything,
            Condition::Absent => Expect::Absent,
            Condition::Present => Expect::Present,
            Condition::Is(number) => Expect::OneOf(vec![self.manifest(*number)]),
            Condition::IsNot(number) => Expect::NoneOf(vec![self.manifest(*number)]),
        }
    }
}

/// The blobs that a manifest needs.
fn blobs_of(manifest: usize) -> BTreeSet<usize> {
    match manifest {
        image if image < BLOBS => BTreeSet::from([0, image]),
        referrer if referrer < 2 * BLOBS => BTreeSet::from([0]),
        _ => BTreeSet::new(),
    }
}

/// The manifests that it needs.
fn children_of(manifest: usize) -> BTreeSet<usize> {
    match manifest == 2 * BLOBS {
        true => BTreeSet::from([0, 1]),
        false => BTreeSet::new(),
    }
}

/// What it refers to.
fn subject_of(manifest: usize) -> Option<usize> {
    (BLOBS..2 * BLOBS).contains(&manifest).then(|| manifest - BLOBS)
}

#[derive(Clone, Debug, Default)]
struct Repository {
    blobs: BTreeSet<usize>,
    manifests: BTreeSet<usize>,
    tags: BTreeMap<usize, usize>,
    /// Something was stored in it once.
    is_known: bool,
}

impl Repository {
    fn holds(&self, tag: usize, condition: &Condition) -> bool {
        let now = self.tags.get(&tag);
        match condition {
            Condition::None => true,
            Condition::Absent => now.is_none(),
            Condition::Present => now.is_some(),
            Condition::Is(manifest) => now == Some(manifest),
            Condition::IsNot(manifest) => now != Some(manifest),
        }
    }

    fn has_all_of(&self, manifest: usize) -> bool {
        blobs_of(manifest).is_subset(&self.blobs) && children_of(manifest).is_subset(&self.manifests)
    }

    /// Keeps what a tag reaches: children, and what refers to what is kept.
    fn collect(&mut self) {
        let mut kept: BTreeSet<usize> = self.tags.values().copied().collect();
        loop {
            let more: BTreeSet<usize> = self
                .manifests
                .iter()
                .copied()
                .filter(|manifest| {
                    let is_child = kept.iter().any(|kept| children_of(*kept).contains(manifest));
                    is_child || subject_of(*manifest).is_some_and(|subject| kept.contains(&subject))
                })
                .filter(|manifest| !kept.contains(manifest))
                .collect();
            if more.is_empty() {
                break;
            }
            kept.extend(more);
        }
        self.manifests.retain(|manifest| kept.contains(manifest));
        let named: BTreeSet<usize> = kept.iter().flat_map(|manifest| blobs_of(*manifest)).collect();
        self.blobs.retain(|blob| named.contains(blob));
    }
}

fn open(folder: &Path) -> Registry {
    let storage = Filesystem::open(folder, Durability::None).unwrap();
    Registry::open(Arc::new(storage), complete(), Limits::default()).unwrap()
}

/// Does a step to both, and compares how it ended.
fn take(registry: &Registry, model: &mut [Repository], content: &Content, step: &Step) {
    let name = |number: &usize| &content.names[*number];
    match step {
        Step::PushBlob(r, b) => {
            let receiving = registry.receive_once(name(r), Algorithm::Sha256, None).unwrap();
            receiving.finish(&content.blobs[*b], &content.blob(*b)).unwrap();
            model[*r].blobs.insert(*b);
            model[*r].is_known = true;
        }
        Step::Mount(r, b) => {
            let from = (*r + 1) % REPOSITORIES;
            let mounted = registry.mount_blob(name(r), &content.blob(*b), Some(name(&from)));
            let is_there = [*r, from].iter().any(|r| model[*r].blobs.contains(b));
            assert_eq!(mounted.unwrap() == Mounted::Yes, is_there);
            if is_there {
                model[*r].blobs.insert(*b);
                model[*r].is_known = true;
            }
        }
        Step::DeleteBlob(r, b) => {
            let deleted = registry.delete_blob(name(r), &content.blob(*b));
            assert_eq!(deleted.is_ok(), model[*r].blobs.remove(b));
        }
        Step::Push(r, m, t, condition) => push(registry, &mut model[*r], content, (*r, *m, *t), condition),
        Step::DeleteTag(r, t, condition) => {
            let deleted = registry.delete_tag(name(r), &content.tags[*t], &content.expect(condition));
            let expected = model[*r].holds(*t, condition) && model[*r].tags.contains_key(t);
            assert_eq!(deleted.is_ok(), expected, "{deleted:?}");
            if expected {
                model[*r].tags.remove(t);
            }
        }
        Step::DeleteManifest(r, m) => {
            let deleted = registry.delete_manifest(name(r), &content.manifest(*m));
            assert_eq!(deleted.is_ok(), model[*r].manifests.remove(m));
            model[*r].tags.retain(|_, leads_to| leads_to != m);
        }
        Step::Collect => {
            let how = Collect {
                dry_run: false,
                uploads: true,
                now: SystemTime::now() + 2 * Limits::default().upload_age,
            };
            registry.collect_garbage(how, &mut |_| {}).unwrap();
            model.iter_mut().for_each(Repository::collect);
        }
        Step::Restart => {}
    }
}

fn push(
    registry: &Registry,
    model: &mut Repository,
    content: &Content,
    (r, m, t): (usize, usize, Option<usize>),
    condition: &Condition,
) {
    // A condition is about a tag.
    let condition = if t.is_some() { condition } else { &Condition::None };
    let reference = match t {
        Some(t) => content.tags[t].clone().into(),
        None => ManifestRef::from(content.manifest(m)),
    };
    let is_index = !children_of(m).is_empty();
    let pushed = registry.push_manifest(ManifestPush {
        name: content.names[r].clone(),
        reference,
        tags: Vec::new(),
        content_type: Some(
            if is_index {
                media_type::OCI_INDEX
            } else {
                media_type::OCI_MANIFEST
            }
            .to_owned(),
        ),
        body: content.manifests[m].clone().into(),
        expect: content.expect(condition),
    });
    let holds = t.is_none_or(|t| model.holds(t, condition));
    match (model.has_all_of(m), holds, pushed) {
        (true, true, Ok(_)) => {
            model.manifests.insert(m);
            model.is_known = true;
            if let Some(t) = t {
                model.tags.insert(t, m);
            }
        }
        (false, _, Err(Error::MissingContent { .. })) | (true, false, Err(Error::TagChanged { .. })) => {}
        (complete, holds, pushed) => panic!("complete {complete}, condition {holds}: {pushed:?}"),
    }
}

/// Compares all that can be read.
fn compare(registry: &Registry, model: &[Repository], content: &Content) {
    for (r, model) in model.iter().enumerate() {
        let name = &content.names[r];
        for b in 0..BLOBS {
            let size = registry.blob_size(name, &content.blob(b)).unwrap();
            let expected = model.blobs.contains(&b).then(|| content.blobs[b].len() as u64);
            assert_eq!(size, expected, "blob {b} of {name}");
            if expected.is_some() {
                let opened = registry.open_blob(name, &content.blob(b)).unwrap();
                assert_eq!(opened.read_all().unwrap(), content.blobs[b]);
            }
        }
        for m in 0..MANIFESTS {
            let found = registry.manifest(name, &content.manifest(m).into());
            let found = found.ok().map(|found| found.body.to_vec());
            let expected = model
                .manifests
                .contains(&m)
                .then(|| content.manifests[m].as_bytes().to_vec());
            assert_eq!(found, expected, "manifest {m} of {name}");
        }
        for (t, tag) in content.tags.iter().enumerate() {
            let expected = model.tags.get(&t).map(|m| content.manifest(*m));
            assert_eq!(registry.resolve(name, tag).unwrap(), expected, "{name}:{tag}");
        }
        let mut tags: Vec<&str> = model.tags.keys().map(|t| content.tags[*t].as_str()).collect();
        tags.sort_unstable();
        match registry.tags(name, None, None) {
            Ok(page) => assert_eq!(page.json, serde_json::to_string(&tags).unwrap()),
            Err(Error::NameUnknown(_)) => assert!(!model.is_known && tags.is_empty()),
            Err(other) => panic!("{other}"),
        }
        for subject in 0..BLOBS {
            let query = ReferrerQuery {
                name: name.clone(),
                subject: content.manifest(subject),
                artifact_type: None,
                last: None,
                max_bytes: usize::MAX,
                max_count: None,
            };
            let page = registry.referrers(&query).unwrap();
            let is_listed =
                String::from_utf8_lossy(&page.json).contains(&content.manifest(subject + BLOBS).to_string());
            assert_eq!(is_listed, model.manifests.contains(&(subject + BLOBS)));
        }
    }
}

/// Few, unless more are asked for.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").map_or(150, |told| told.parse().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_registry_does_what_a_few_maps_do(steps in steps()) {
        let (folder, content) = (tempfile::tempdir().unwrap(), Content::new());
        let mut model = vec![Repository::default(); REPOSITORIES];
        let mut registry = open(folder.path());
        for step in &steps {
            if matches!(step, Step::Restart) {
                drop(registry);
                registry = open(folder.path());
            }
            take(&registry, &mut model, &content, step);
            compare(&registry, &model, &content);
        }
        // A blob or a child that was deleted from under a manifest is all that may be missing.
        registry.verify(Verify::default(), &mut |damage| {
            let is_told = damage.to_string();
            assert!(is_told.contains("names"), "{is_told}");
        }).unwrap();
    }
}
