//! What the manifests of a repository lead to: read once, because a manifest never changes.

use super::{Error, Registry, Result, push::may_be_elsewhere};
use oci::{Digest, ManifestView, RepositoryName};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What one manifest leads to.
#[derive(Clone, Debug, Default)]
pub(super) struct Edges {
    /// Its configuration, layers or blobs, as far as they must be there.
    pub(super) blobs: Vec<Digest>,
    /// Layers that clients may fetch from elsewhere.
    pub(super) optional_blobs: Vec<Digest>,
    /// The manifests that it lists.
    pub(super) children: Vec<Digest>,
    /// The manifests that it refers to.
    pub(super) subjects: Vec<Digest>,
    /// Whether it could not be read, so that nothing is known of it.
    pub(super) is_unknown: bool,
}

impl Edges {
    pub(super) fn of(view: &ManifestView) -> Edges {
        let blobs = view.config.iter().chain(&view.blobs);
        let (optional, required): (Vec<_>, Vec<_>) = blobs.partition(|blob| may_be_elsewhere(blob));
        let digests = |descriptors: Vec<&oci::Descriptor>| descriptors.iter().map(|d| d.digest).collect();
        Edges {
            blobs: digests(required),
            optional_blobs: digests(optional),
            children: digests(view.manifests.iter().collect()),
            subjects: digests(view.subjects()),
            is_unknown: false,
        }
    }

    fn unknown() -> Edges {
        Edges {
            is_unknown: true,
            ..Edges::default()
        }
    }
}

/// The manifests of a repository, as far as they were read.
#[derive(Default)]
pub(super) struct Graph {
    edges: HashMap<Digest, Edges>,
}

impl Graph {
    /// What a manifest leads to. One that is damaged leads nowhere, and is nobody's referrer.
    pub(super) fn edges(
        &mut self,
        registry: &Registry,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<&Edges> {
        if !self.edges.contains_key(digest) {
            let edges = match registry.read_manifest(name, digest) {
                Ok(Some(manifest)) => manifest
                    .view()
                    .map_or_else(|_| Edges::unknown(), |view| Edges::of(&view)),
                Ok(None) | Err(Error::Damaged { .. }) => Edges::unknown(),
                Err(error) => return Err(error),
            };
            self.edges.insert(*digest, edges);
        }
        Ok(&self.edges[digest])
    }

    /// Everything that is kept because of `roots`: they, what they list, and what refers to any of these; again and again.
    pub(super) fn reachable(
        &mut self,
        registry: &Registry,
        name: &RepositoryName,
        manifests: &[Digest],
        roots: impl IntoIterator<Item = Digest>,
    ) -> Result<BTreeSet<Digest>> {
        let mut referrers: BTreeMap<Digest, Vec<Digest>> = BTreeMap::new();
        for digest in manifests {
            for subject in &self.edges(registry, name, digest)?.subjects {
                referrers.entry(*subject).or_default().push(*digest);
            }
        }
        let mut kept = BTreeSet::new();
        let mut waiting: Vec<Digest> = roots.into_iter().collect();
        while let Some(digest) = waiting.pop() {
            if kept.insert(digest) {
                waiting.extend(referrers.get(&digest).into_iter().flatten());
                waiting.extend(&self.edges(registry, name, &digest)?.children);
            }
        }
        Ok(kept)
    }
}
