//! Pushing a manifest: check it, make sure that all it needs is there, store it, and only then make it reachable.

use super::{Error, Manifest, Registry, Result};
use crate::storage::{Change, Key};
use bytes::Bytes;
use oci::{Algorithm, Descriptor, Digest, ManifestRef, ManifestView, RepositoryName, Tag, media_type};
use std::collections::BTreeSet;

/// What a tag must be for a change to take place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Expect {
    /// Anything.
    #[default]
    Anything,
    /// It must not be there.
    Absent,
    /// It must be there, wherever it leads.
    Present,
    /// It must lead to one of these.
    OneOf(Vec<Digest>),
    /// It must not lead to any of these.
    NoneOf(Vec<Digest>),
}

impl Expect {
    /// Checks the condition against where the tag leads.
    ///
    /// # Errors
    /// `TagChanged` if it does not hold.
    pub(super) fn check(&self, tag: &Tag, actual: Option<Digest>) -> Result<()> {
        let holds = match (self, actual) {
            (Expect::Anything, _) => true,
            (Expect::Absent, actual) => actual.is_none(),
            (Expect::Present, actual) => actual.is_some(),
            (Expect::OneOf(digests), Some(actual)) => digests.contains(&actual),
            (Expect::OneOf(_), None) => false,
            (Expect::NoneOf(digests), Some(actual)) => !digests.contains(&actual),
            (Expect::NoneOf(_), None) => true,
        };
        if holds {
            Ok(())
        } else {
            Err(Error::TagChanged {
                tag: tag.clone(),
                actual,
            })
        }
    }
}

/// A manifest to store.
#[derive(Clone, Debug)]
pub struct ManifestPush {
    /// Where to.
    pub name: RepositoryName,
    /// The tag to set, or the digest that the bytes must have.
    pub reference: ManifestRef,
    /// More tags to set.
    pub tags: Vec<Tag>,
    /// The `Content-Type` that it came with, without parameters.
    pub content_type: Option<String>,
    /// The bytes.
    pub body: Bytes,
    /// What the tag must be now. Without a tag in `reference`, the first of `tags` is meant.
    pub expect: Expect,
}

/// A manifest that was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Its digest.
    pub digest: Digest,
    /// The subjects that it was indexed under.
    pub subjects: Vec<Digest>,
    /// The tags that lead to it now, of those asked for.
    pub tags: Vec<Tag>,
}

impl Registry {
    /// Stores a manifest, then makes it reachable by its tags.
    ///
    /// The tags move last, so no reader follows one to missing content. Where referrers are on, it is listed under its
    /// subjects, which need not be there.
    ///
    /// # Errors
    /// `ManifestTooLarge`, `ManifestInvalid`, `ManifestKindRefused`. `DigestMismatch` if the reference is a digest and the
    /// bytes have another. `MissingContent` naming every absent blob and manifest, not just the first. `TagChanged` if the
    /// condition does not hold.
    ///
    /// Source: OCI distribution-spec 1.1, "Pushing Manifests".
    pub fn push_manifest(&self, push: ManifestPush) -> Result<Pushed> {
        self.require_writable()?;
        let view = self.accepted_view(&push)?;
        let digest = checked_digest(&push)?;
        let tags: Vec<Tag> = push
            .reference
            .tag()
            .into_iter()
            .chain(&push.tags)
            .cloned()
            .collect();
        let name = push.name.clone();
        let _repository = self.0.locks.push_into(&name);
        let _leases: Vec<_> = needed(&view)
            .map(|descriptor| descriptor.digest)
            .chain([digest])
            .map(|digest| self.0.locks.lease(digest))
            .collect();
        self.require_content(&name, &view)?;
        let _tags = self.0.locks.tags(&name, &tags);
        if let Some(tag) = tags.first()
            && push.expect != Expect::Anything
        {
            push.expect.check(tag, self.resolve(&name, tag)?)?;
        }
        let manifest = Manifest::new(digest, served_media_type(&push, &view), self.own(push.body));
        let subjects = self.store_manifest(&name, &manifest, &view, &tags)?;
        self.remember_manifest(&name, manifest);
        self.0.catalog.add(&name);
        for tag in &tags {
            self.remember_tag(&name, tag, Some(digest));
        }
        Ok(Pushed {
            digest,
            subjects,
            tags,
        })
    }

    /// Reads the manifest and checks that this registry takes its kind.
    fn accepted_view(&self, push: &ManifestPush) -> Result<ManifestView> {
        let limit = self.0.limits.max_manifest_bytes;
        if push.body.len() > limit {
            return Err(Error::ManifestTooLarge { limit });
        }
        let view = ManifestView::parse(push.content_type.as_deref(), &push.body)?;
        if self.0.capabilities.accepts(view.kind) {
            Ok(view)
        } else {
            Err(Error::ManifestKindRefused {
                media_type: view.kind.media_type(),
            })
        }
    }

    /// Makes sure that the repository has what the manifest needs, unless it may be sparse.
    fn require_content(&self, name: &RepositoryName, view: &ManifestView) -> Result<()> {
        let (mut blobs, mut manifests) = (BTreeSet::new(), BTreeSet::new());
        if self.0.capabilities.complete_images {
            for blob in view
                .config
                .iter()
                .chain(&view.blobs)
                .filter(|blob| !may_be_elsewhere(blob))
            {
                if self.good_blob_size(name, &blob.digest)?.is_none() {
                    blobs.insert(blob.digest);
                }
            }
        }
        if self.0.capabilities.complete_indexes {
            for child in &view.manifests {
                // An index may hold anything by digest; what is not a manifest here may be a blob.
                if !self.has_manifest(name, &child.digest)?
                    && self.good_blob_size(name, &child.digest)?.is_none()
                {
                    manifests.insert(child.digest);
                }
            }
        }
        if blobs.is_empty() && manifests.is_empty() {
            return Ok(());
        }
        Err(Error::MissingContent {
            blobs: blobs.into_iter().collect(),
            manifests: manifests.into_iter().collect(),
        })
    }

    /// Writes the manifest and everything that leads to it, in the order in which it may be seen.
    fn store_manifest(
        &self,
        name: &RepositoryName,
        manifest: &Manifest,
        view: &ManifestView,
        tags: &[Tag],
    ) -> Result<Vec<Digest>> {
        let digest = manifest.digest;
        let entries = self.referrer_entries(manifest, view);
        let mut changes = vec![Change::Content(digest, manifest.body.clone())];
        changes.extend(entries.iter().map(|entry| {
            Change::Put(
                Key::Referrer(name.clone(), entry.subject, digest),
                entry.json.clone(),
            )
        }));
        changes.push(Change::Put(
            Key::Manifest(name.clone(), digest),
            manifest.media_type.clone(),
        ));
        changes.extend(tags.iter().map(|tag| {
            let key = Key::Tag(name.clone(), tag.clone());
            Change::Put(key, manifest.digest_text.clone())
        }));
        self.make_way(&digest, manifest.body.len() as u64, Some(&manifest.body))?;
        if let Err(error) = self.storage().commit(&changes) {
            self.0.manifests.remove(&(name.clone(), digest));
            self.forget_lists(name, tags);
            return Err(error.into());
        }
        let subjects = entries.iter().map(|entry| entry.subject).collect();
        self.remember_referrer(name, digest, entries);
        Ok(subjects)
    }

    /// The same bytes in memory of their own, if they will be kept. As they came, they may be a part of a connection's buffer, and
    /// all of that would be kept for as long as they are.
    fn own(&self, bytes: Bytes) -> Bytes {
        match self.0.manifests.has_room_for(bytes.len()) {
            true => Bytes::copy_from_slice(&bytes),
            false => bytes,
        }
    }
}

/// The digest to store the manifest under: the one told, if it is right, else SHA-256.
fn checked_digest(push: &ManifestPush) -> Result<Digest> {
    let expected = push.reference.digest();
    let algorithm = expected.map_or(Algorithm::Sha256, Digest::algorithm);
    let computed = Digest::of(algorithm, &push.body);
    match expected {
        Some(expected) if *expected != computed => Err(Error::DigestMismatch {
            expected: *expected,
            computed: Box::new(computed),
        }),
        _ => Ok(computed),
    }
}

/// The media type to serve: the one told, unless that says nothing.
fn served_media_type(push: &ManifestPush, view: &ManifestView) -> Bytes {
    match push
        .content_type
        .as_deref()
        .filter(|t| !t.is_empty() && *t != media_type::JSON)
    {
        Some(told) => Bytes::copy_from_slice(told.as_bytes()),
        None => Bytes::from_static(view.kind.media_type().as_bytes()),
    }
}

/// Every descriptor of content that the manifest is made of. Its subject is not.
fn needed(view: &ManifestView) -> impl Iterator<Item = &Descriptor> {
    view.config.iter().chain(&view.blobs).chain(&view.manifests)
}

/// Whether a layer may stay out of the registry, because clients fetch it from its `urls`.
pub(super) fn may_be_elsewhere(blob: &Descriptor) -> bool {
    media_type::is_non_distributable(&blob.media_type)
        && blob.urls.as_ref().is_some_and(|urls| !urls.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Capabilities, Limits},
        storage::memory::Memory,
    };
    use std::sync::Arc;

    #[test]
    fn a_manifest_that_is_kept_keeps_nothing_of_the_buffer_that_it_came_in() {
        let capabilities = Capabilities {
            complete_indexes: false,
            ..Capabilities::default()
        };
        let registry =
            Registry::open(Arc::new(Memory::new()), capabilities, Limits::default()).expect("a registry");
        let body = br#"{"schemaVersion":2,"manifests":[]}"#;
        let mut buffer = body.to_vec();
        buffer.resize(1 << 20, 0);
        let buffer = Bytes::from(buffer);
        let name = RepositoryName::parse("a").expect("a name");
        let reference = oci::ManifestRef::from(Tag::parse("t").expect("a tag"));
        let push = ManifestPush {
            name: name.clone(),
            reference: reference.clone(),
            tags: Vec::new(),
            content_type: Some(media_type::OCI_INDEX.to_owned()),
            body: buffer.slice(..body.len()),
            expect: Expect::Anything,
        };
        registry.push_manifest(push).expect("it is taken");
        assert!(buffer.is_unique(), "somebody keeps all of it");
        let kept = registry
            .known_manifest(&name, &reference)
            .expect("it is in memory");
        assert_eq!(kept.body, body.as_slice());
    }
}
