//! Garbage collection, beside traffic.
//!
//! Kept are: every tagged manifest; what a kept index lists; what refers to a kept manifest; the blobs of all of these; and
//! whatever was pushed lately, because a push puts its blobs first and its tag last. The rest goes, repository by repository,
//! and then the contents that no repository has any more.
//!
//! A repository is first looked at beside its traffic. Only if something is to go is it taken alone, for as long as it takes
//! to look at its tags again: what its manifests lead to is known by then and never changes.
//!
//! Source: Proposal E, "Garbage Collection".

use super::{Abandoned, Purged, Registry, Result, graph::Graph, manifests::removal, reserves::RoomToCollect};
use crate::storage::{Change, Key};
use oci::{Digest, RepositoryName};
use std::{
    collections::{BTreeSet, HashSet},
    time::SystemTime,
};

/// How to collect garbage.
#[derive(Clone, Copy, Debug)]
pub struct Collect {
    /// Only tell what would go.
    pub dry_run: bool,
    /// Whether uploads that rested for too long go with the garbage.
    pub uploads: bool,
    /// The time that ages are reckoned from.
    pub now: SystemTime,
}

/// Something that was removed, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Garbage {
    /// A manifest that nothing keeps in its repository.
    Manifest(RepositoryName, Digest),
    /// A blob that no kept manifest of its repository names.
    Blob(RepositoryName, Digest),
    /// A content that no repository has, and its bytes.
    Content(Digest, u64),
    /// An upload that nobody goes on with.
    Upload(Abandoned),
}

/// What a collection came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Manifests taken out of repositories.
    pub manifests: usize,
    /// Blobs taken out of repositories.
    pub blobs: usize,
    /// Contents removed.
    pub contents: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Upload sessions that had rested for too long, and what they had received.
    pub uploads: Purged,
}

/// What is to go from a repository.
#[derive(Default)]
struct Doomed {
    manifests: Vec<Digest>,
    blobs: Vec<Digest>,
}

impl Doomed {
    fn is_empty(&self) -> bool {
        self.manifests.is_empty() && self.blobs.is_empty()
    }
}

/// The first bytes of digests: two that begin alike can only keep garbage, never lose content.
#[derive(Default)]
struct Linked(HashSet<u64>);

impl Linked {
    fn key(digest: &Digest) -> u64 {
        digest
            .bytes()
            .iter()
            .take(8)
            .fold(0, |key, byte| key << 8 | u64::from(*byte))
    }

    fn add(&mut self, digest: &Digest) {
        self.0.insert(Linked::key(digest));
    }

    fn has(&self, digest: &Digest) -> bool {
        self.0.contains(&Linked::key(digest))
    }
}

impl Registry {
    /// Collects garbage; `each` is told of everything that goes. One collection runs at a time.
    ///
    /// # Errors
    /// The registry is read-only, or the store failed. What was removed until then stays removed; nothing that is kept is
    /// touched.
    pub fn collect_garbage(&self, how: Collect, each: &mut dyn FnMut(&Garbage)) -> Result<Collected> {
        self.require_writable()?;
        let _alone = self.0.locks.collect();
        let mut collected = Collected::default();
        if how.uploads {
            collected.uploads =
                self.purge_uploads(how, &mut |upload| each(&Garbage::Upload(upload.clone())))?;
        }
        let reserve = (!how.dry_run).then(|| RoomToCollect::of(self));
        if reserve.is_some() {
            self.storage().remove_leftovers()?;
        }
        // From here on every push is noted: it may make use of a content that looks unused.
        let notes = self.0.locks.note_leases();
        let mut linked = Linked::default();
        for name in self.storage().repositories()? {
            let doomed = self.collect_repository(&name, how, reserve.as_ref())?;
            for digest in &doomed.manifests {
                each(&Garbage::Manifest(name.clone(), *digest));
            }
            for digest in &doomed.blobs {
                each(&Garbage::Blob(name.clone(), *digest));
            }
            collected.manifests += doomed.manifests.len();
            collected.blobs += doomed.blobs.len();
            if let Some(reserve) = &reserve {
                self.remove_unfinished(&name, how, reserve)?;
            }
            self.link(&name, &doomed, &mut linked)?;
        }
        let mut unlinked = Vec::new();
        self.storage().each_content(&mut |digest, size| {
            if !linked.has(&digest) {
                unlinked.push((digest, size));
            }
        })?;
        for (digest, size) in unlinked {
            if !self.is_old(self.storage().content_time(&digest)?, how) {
                continue;
            }
            let remove = || match &reserve {
                None => Ok(Some(size)),
                Some(reserve) => {
                    reserve.give_up();
                    self.storage().remove_content(&digest)
                }
            };
            if let Some(Some(size)) = notes.unless_leased(&digest, remove).transpose()? {
                each(&Garbage::Content(digest, size));
                collected.contents += 1;
                collected.bytes += size;
            }
        }
        Ok(collected)
    }

    /// Removes what processes that were killed left half written; how many files.
    ///
    /// # Errors
    /// The registry is read-only, or the store failed.
    pub fn remove_leftovers(&self) -> Result<usize> {
        self.require_writable()?;
        Ok(self.storage().remove_leftovers()?)
    }

    fn is_old(&self, time: Option<SystemTime>, how: Collect) -> bool {
        time.is_some_and(|time| how.now.duration_since(time).unwrap_or_default() >= self.0.limits.garbage_age)
    }

    /// Takes away places among referrers whose manifest is not there, and no list shows them: a push that was cut off has made
    /// them, or a deletion has not come to them.
    fn remove_unfinished(
        &self,
        name: &RepositoryName,
        how: Collect,
        reserve: &RoomToCollect<'_>,
    ) -> Result<()> {
        let unfinished = |place: (Digest, Digest)| -> Result<Option<Key>> {
            let key = Key::Referrer(name.clone(), place.0, place.1);
            let has_manifest = self
                .storage()
                .record(&Key::Manifest(name.clone(), place.1))?
                .is_some();
            let is_left = !has_manifest && self.is_old(self.storage().record_time(&key)?, how);
            Ok(is_left.then_some(key))
        };
        let mut suspects = Vec::new();
        for place in self.stored_referrers(name)? {
            if unfinished(place)?.is_some() {
                suspects.push(place);
            }
        }
        if suspects.is_empty() {
            return Ok(());
        }
        reserve.give_up();
        // Looked at again alone: a push of the same manifest may have come meanwhile.
        let _alone = self.0.locks.delete_from(name);
        let mut changes = Vec::new();
        for place in suspects {
            changes.extend(unfinished(place)?.map(Change::Remove));
        }
        Ok(self.storage().commit(&changes)?)
    }

    /// Notes what the repository has after what is doomed has gone.
    fn link(&self, name: &RepositoryName, doomed: &Doomed, linked: &mut Linked) -> Result<()> {
        let (manifests, blobs): (HashSet<_>, HashSet<_>) =
            (doomed.manifests.iter().collect(), doomed.blobs.iter().collect());
        for digest in self
            .storage()
            .manifests(name)?
            .iter()
            .filter(|d| !manifests.contains(d))
        {
            linked.add(digest);
        }
        for digest in self.storage().blobs(name)?.iter().filter(|d| !blobs.contains(d)) {
            linked.add(digest);
        }
        Ok(())
    }

    /// Takes away what nothing keeps; what it was. Without a reserve, for a collection that only tells, it stays.
    fn collect_repository(
        &self,
        name: &RepositoryName,
        how: Collect,
        reserve: Option<&RoomToCollect<'_>>,
    ) -> Result<Doomed> {
        let mut graph = Graph::default();
        let doomed = self.doomed(name, &mut graph, how)?;
        let Some(reserve) = reserve.filter(|_| !doomed.is_empty()) else {
            return Ok(doomed);
        };
        reserve.give_up();
        let _alone = self.0.locks.delete_from(name);
        let doomed = self.doomed(name, &mut graph, how)?;
        let mut changes = Vec::new();
        for digest in &doomed.manifests {
            changes.extend(removal(name, digest, &graph.edges(self, name, digest)?.subjects));
        }
        changes.extend(
            doomed
                .blobs
                .iter()
                .map(|digest| Change::Remove(Key::Blob(name.clone(), *digest))),
        );
        let committed = self.storage().commit(&changes);
        for digest in &doomed.manifests {
            let edges = graph.edges(self, name, digest)?;
            self.forget_manifest(name, digest, (!edges.is_unknown).then_some(&edges.subjects));
        }
        for digest in &doomed.blobs {
            self.0.blobs.remove(&(name.clone(), *digest));
        }
        if committed.is_err() {
            self.forget_lists(name, &[]);
        }
        committed?;
        Ok(doomed)
    }

    /// What nothing keeps in a repository, as it is now.
    fn doomed(&self, name: &RepositoryName, graph: &mut Graph, how: Collect) -> Result<Doomed> {
        // Manifests before tags: a push stores the manifest first.
        let manifests = self.storage().manifests(name)?;
        let blobs = self.storage().blobs(name)?;
        let mut roots = BTreeSet::new();
        for digest in &manifests {
            if !self.is_old(
                self.storage()
                    .record_time(&Key::Manifest(name.clone(), *digest))?,
                how,
            ) {
                roots.insert(*digest);
            }
        }
        for tag in self.storage().tags(name)? {
            roots.extend(self.resolve(name, &tag)?);
        }
        let kept = graph.reachable(self, name, &manifests, roots)?;
        let mut named = HashSet::new();
        for digest in &kept {
            let edges = graph.edges(self, name, digest)?;
            // An index may list a blob.
            named.extend(
                edges
                    .blobs
                    .iter()
                    .chain(&edges.optional_blobs)
                    .chain(&edges.children)
                    .copied(),
            );
        }
        let mut doomed = Doomed {
            manifests: manifests
                .into_iter()
                .filter(|digest| !kept.contains(digest))
                .collect(),
            blobs: Vec::new(),
        };
        for digest in blobs.into_iter().filter(|digest| !named.contains(digest)) {
            if self.is_old(self.storage().record_time(&Key::Blob(name.clone(), digest))?, how) {
                doomed.blobs.push(digest);
            }
        }
        Ok(doomed)
    }
}
