//! What one client may read in its repositories, by what was acknowledged to it and what was cut off.

use oci::Digest;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    /// Acknowledged: it must be.
    Present,
    /// Its removal was acknowledged: it must not be.
    Absent,
    /// The operation was cut off: it may be.
    Unknown,
}

/// A manifest that was pushed or begun to be.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    /// Its bytes.
    pub(crate) body: Vec<u8>,
    /// The blobs that it needs.
    pub(crate) blobs: Vec<Digest>,
    /// What it refers to.
    pub(crate) subject: Option<Digest>,
    /// Whether it is there.
    pub(crate) fact: Fact,
}

/// An upload session that its client has left.
#[derive(Clone, Debug)]
pub(crate) struct Left {
    /// Its path.
    pub(crate) location: String,
    /// All bytes of the blob that it is to become.
    pub(crate) content: Vec<u8>,
    /// How many of them were acknowledged: the session has no fewer.
    pub(crate) acknowledged: u64,
    /// How many of them were sent: it has no more.
    pub(crate) sent: u64,
}

/// All that one client knows.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    /// The repository that it works in.
    pub(crate) repository: String,
    /// The repository that it mounts from.
    pub(crate) source: String,
    /// Where each tag may lead; `None`: it is not there.
    pub(crate) tags: BTreeMap<String, BTreeSet<Option<Digest>>>,
    /// Manifests.
    pub(crate) manifests: BTreeMap<Digest, Stored>,
    /// Blobs of both repositories that belong to no manifest that was acknowledged, by the name of the repository.
    pub(crate) blobs: BTreeMap<(String, Digest), Fact>,
    /// Upload sessions into the repository that it works in.
    pub(crate) left: Vec<Left>,
    /// Set when a copy of the disk is about to be made: what is acknowledged from then on may be in the copy or not, so
    /// nothing is settled any more.
    noted: Arc<AtomicBool>,
}

impl Model {
    /// Of the client of this number: nothing is stored yet. `noted` is shared by all models.
    pub(crate) fn new(client: usize, noted: &Arc<AtomicBool>) -> Model {
        Model {
            noted: Arc::clone(noted),
            repository: format!("crash/client-{client}/work"),
            source: format!("crash/client-{client}/source"),
            tags: BTreeMap::new(),
            manifests: BTreeMap::new(),
            blobs: BTreeMap::new(),
            left: Vec::new(),
        }
    }

    /// A tag is being moved: it may lead to the new place, or to any that it may lead to now.
    pub(crate) fn move_begins(&mut self, tag: &str, to: Option<Digest>) {
        let possible = self
            .tags
            .entry(tag.to_owned())
            .or_insert_with(|| BTreeSet::from([None]));
        possible.insert(to);
    }

    /// A tag leads here, and nowhere else.
    pub(crate) fn settle_tag(&mut self, tag: &str, to: Option<Digest>) {
        if !self.is_noted() {
            self.tags.insert(tag.to_owned(), BTreeSet::from([to]));
        }
    }

    fn is_noted(&self) -> bool {
        self.noted.load(Ordering::SeqCst)
    }

    /// The tags that may lead to a manifest.
    pub(crate) fn tags_to(&self, digest: &Digest) -> Vec<String> {
        let leads = |(tag, possible): (&String, &BTreeSet<Option<Digest>>)| {
            possible.contains(&Some(*digest)).then(|| tag.clone())
        };
        self.tags.iter().filter_map(leads).collect()
    }

    /// Whether garbage collection must keep a manifest: a tag leads to it for certain, or it refers to one that is kept.
    pub(crate) fn is_reached(&self, digest: &Digest) -> bool {
        let only = BTreeSet::from([Some(*digest)]);
        if self.tags.values().any(|possible| *possible == only) {
            return true;
        }
        let subject = self.manifests.get(digest).and_then(|stored| stored.subject);
        subject.is_some_and(|subject| self.has(&subject) && self.is_reached(&subject))
    }

    /// Whether a manifest is there for certain.
    pub(crate) fn has(&self, digest: &Digest) -> bool {
        self.manifests
            .get(digest)
            .is_some_and(|stored| stored.fact == Fact::Present)
    }

    /// An operation on a manifest begins: it may be there, or not.
    pub(crate) fn unsettle_manifest(&mut self, digest: &Digest) {
        if let Some(stored) = self.manifests.get_mut(digest) {
            stored.fact = Fact::Unknown;
        }
    }

    /// Says what is known of a manifest from now on.
    pub(crate) fn settle_manifest(&mut self, digest: &Digest, fact: Fact) {
        if self.is_noted() {
            return;
        }
        if let Some(stored) = self.manifests.get_mut(digest) {
            stored.fact = fact;
        }
    }

    /// A blob is being pushed or deleted: it may be there, or not.
    pub(crate) fn unsettle_blob(&mut self, repository: &str, blob: &Digest) {
        self.blobs.insert((repository.to_owned(), *blob), Fact::Unknown);
    }

    /// Says what is known from now on of a blob that belongs to no manifest.
    pub(crate) fn settle_blob(&mut self, repository: &str, blob: &Digest, fact: Fact) {
        if !self.is_noted() {
            self.blobs.insert((repository.to_owned(), *blob), fact);
        }
    }

    /// A manifest that needs this blob was acknowledged: it is looked at with that.
    pub(crate) fn blob_is_taken(&mut self, blob: &Digest) {
        if !self.is_noted() {
            self.blobs.remove(&(self.repository.clone(), *blob));
        }
    }

    /// Blobs that are there for certain and that no manifest needs which is there, or may be.
    pub(crate) fn lone_blobs(&self) -> Vec<(String, Digest)> {
        let needing = self
            .manifests
            .values()
            .filter(|stored| stored.fact != Fact::Absent);
        let needed: BTreeSet<Digest> = needing.flat_map(|stored| &stored.blobs).copied().collect();
        let is_lone = |((repository, digest), fact): &(&(String, Digest), &Fact)| {
            **fact == Fact::Present && !(*repository == self.repository && needed.contains(digest))
        };
        let lone = self.blobs.iter().filter(is_lone);
        lone.map(|(blob, _)| blob.clone()).collect()
    }

    /// So many bytes of the session that was begun last are being sent: they may be there, or not.
    pub(crate) fn chunk_begins(&mut self, end: u64) {
        if let Some(left) = self.left.last_mut() {
            left.sent = end;
        }
    }

    /// What was sent of the session that was begun last was acknowledged.
    pub(crate) fn chunk_is_taken(&mut self) {
        let is_noted = self.is_noted();
        if let Some(left) = self.left.last_mut().filter(|_| !is_noted) {
            left.acknowledged = left.sent;
        }
    }

    /// What must be left when all garbage was collected: the manifests that are kept, and what they need.
    pub(crate) fn kept(&self) -> BTreeSet<Digest> {
        let kept = self
            .manifests
            .iter()
            .filter(|(digest, stored)| stored.fact == Fact::Present && self.is_reached(digest));
        kept.flat_map(|(digest, stored)| stored.blobs.iter().chain([digest]))
            .copied()
            .collect()
    }

    /// Manifests that are there for certain and refer to nothing: what tags lead to and referrers refer to.
    pub(crate) fn images(&self) -> Vec<Digest> {
        self.select(|stored| stored.subject.is_none())
    }

    /// Referrers that are there for certain.
    pub(crate) fn referrers(&self) -> Vec<Digest> {
        self.select(|stored| stored.subject.is_some())
    }

    fn select(&self, wanted: impl Fn(&Stored) -> bool) -> Vec<Digest> {
        let chosen = self
            .manifests
            .iter()
            .filter(|(_, stored)| stored.fact == Fact::Present && wanted(stored));
        chosen.map(|(digest, _)| *digest).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Model {
        Model::new(0, &Arc::default())
    }

    fn stored(subject: Option<Digest>) -> Stored {
        Stored {
            body: Vec::new(),
            blobs: Vec::new(),
            subject,
            fact: Fact::Present,
        }
    }

    #[test]
    fn a_move_that_was_cut_off_leaves_both_places_possible() {
        let (old, new) = (Digest::sha256(b"old"), Digest::sha256(b"new"));
        let mut model = model();
        model.settle_tag("t", Some(old));
        model.move_begins("t", Some(new));
        assert_eq!(model.tags["t"], BTreeSet::from([Some(old), Some(new)]));
        model.settle_tag("t", Some(new));
        assert_eq!(model.tags["t"], BTreeSet::from([Some(new)]));
        model.move_begins("other", Some(new));
        assert_eq!(model.tags["other"], BTreeSet::from([None, Some(new)]));
    }

    #[test]
    fn what_is_acknowledged_while_a_copy_is_made_is_not_certain() {
        let (image, other) = (Digest::sha256(b"i"), Digest::sha256(b"o"));
        let mut model = model();
        model.manifests.insert(image, stored(None));
        model.settle_tag("t", Some(image));
        model.noted.store(true, Ordering::SeqCst);
        model.unsettle_manifest(&image);
        model.settle_manifest(&image, Fact::Absent);
        assert_eq!(model.manifests[&image].fact, Fact::Unknown);
        model.move_begins("t", Some(other));
        model.settle_tag("t", Some(other));
        assert_eq!(model.tags["t"], BTreeSet::from([Some(image), Some(other)]));
        let repository = model.repository.clone();
        model.unsettle_blob(&repository, &other);
        model.settle_blob(&repository, &other, Fact::Present);
        model.blob_is_taken(&other);
        assert_eq!(model.blobs[&(repository, other)], Fact::Unknown);
        model.left.push(Left {
            location: String::new(),
            content: Vec::new(),
            acknowledged: 0,
            sent: 0,
        });
        model.chunk_begins(5);
        model.chunk_is_taken();
        assert_eq!((model.left[0].acknowledged, model.left[0].sent), (0, 5));
    }

    #[test]
    fn a_blob_that_a_manifest_may_need_is_not_alone() {
        let (image, blob) = (Digest::sha256(b"i"), Digest::sha256(b"b"));
        let mut model = model();
        let (work, source) = (model.repository.clone(), model.source.clone());
        for repository in [&work, &source] {
            model.settle_blob(repository, &blob, Fact::Present);
        }
        let mut needing = stored(None);
        needing.blobs.push(blob);
        model.manifests.insert(image, needing);
        for fact in [Fact::Present, Fact::Unknown] {
            model.settle_manifest(&image, fact);
            assert_eq!(model.lone_blobs(), [(source.clone(), blob)]);
        }
        model.settle_manifest(&image, Fact::Absent);
        assert_eq!(model.lone_blobs().len(), 2);
    }

    #[test]
    fn what_a_tag_reaches_is_kept_with_its_blobs_and_nothing_else() {
        let (image, other, blob) = (Digest::sha256(b"i"), Digest::sha256(b"o"), Digest::sha256(b"b"));
        let mut model = model();
        let mut needing = stored(None);
        needing.blobs.push(blob);
        model.manifests.insert(image, needing);
        model.manifests.insert(other, stored(None));
        assert_eq!(model.kept(), BTreeSet::new());
        model.settle_tag("t", Some(image));
        assert_eq!(model.kept(), BTreeSet::from([image, blob]));
    }

    #[test]
    fn garbage_is_what_no_certain_tag_reaches() {
        let (image, referrer, of_referrer) =
            (Digest::sha256(b"i"), Digest::sha256(b"r"), Digest::sha256(b"rr"));
        let mut model = model();
        model.manifests.insert(image, stored(None));
        model.manifests.insert(referrer, stored(Some(image)));
        model.manifests.insert(of_referrer, stored(Some(referrer)));
        assert!(!model.is_reached(&of_referrer));
        model.settle_tag("t", Some(image));
        assert!(model.is_reached(&image) && model.is_reached(&referrer) && model.is_reached(&of_referrer));
        model.move_begins("t", None);
        assert!(!model.is_reached(&image));
    }
}
