//! Manifests: pulling and deleting. Pushing is in `push`.

use super::{Error, Expect, Registry, Result};
use crate::storage::{Change, Key};
use bytes::Bytes;
use oci::{Digest, ManifestRef, ManifestView, RepositoryName, Tag};
use std::{
    any::Any,
    fmt,
    sync::{Arc, OnceLock},
};

/// A stored manifest that is larger is damaged: it is read into memory whole. It may be larger than what is accepted today, as
/// the limit may have been higher.
const MAX_STORED_BYTES: u64 = 256 << 20;

/// What a manifest costs in memory beside its body, in bytes, as measured by the test of weights: digest and media type as texts,
/// the headers that are kept with it, and what their allocations take.
const MANIFEST_BYTES: usize = 700;

/// A manifest as it was pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The digest that it is known by.
    pub digest: Digest,
    /// The digest's text, ready to be sent.
    pub digest_text: Bytes,
    /// The `Content-Type` that it was pushed with.
    pub media_type: Bytes,
    /// The bytes.
    pub body: Bytes,
    /// What whoever answers requests makes of it once, such as headers.
    pub kept: Kept,
}

/// Room for one value of any type, made at its first need. It is no part of what it is kept with: all are equal, and a clone
/// is empty.
#[derive(Default)]
pub struct Kept(OnceLock<Box<dyn Any + Send + Sync>>);

impl Kept {
    /// The value, made now if there is none yet.
    pub fn get_or<T: Any + Clone + Send + Sync>(&self, make: impl Fn() -> T) -> T {
        let kept = self.0.get_or_init(|| Box::new(make()));
        kept.downcast_ref().cloned().unwrap_or_else(make)
    }
}

impl Clone for Kept {
    fn clone(&self) -> Kept {
        Kept::default()
    }
}

impl PartialEq for Kept {
    fn eq(&self, _: &Kept) -> bool {
        true
    }
}

impl Eq for Kept {}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept")
    }
}

impl Manifest {
    pub(super) fn new(digest: Digest, media_type: Bytes, body: Bytes) -> Manifest {
        Manifest {
            digest,
            digest_text: digest.to_string().into(),
            media_type,
            body,
            kept: Kept::default(),
        }
    }

    /// What the manifest says.
    ///
    /// # Errors
    /// Its bytes are not a manifest; it was stored by other means than a push.
    pub fn view(&self) -> std::result::Result<ManifestView, oci::ManifestError> {
        ManifestView::parse(std::str::from_utf8(&self.media_type).ok(), &self.body)
    }

    /// Bytes that it takes, about.
    fn weight(&self) -> usize {
        MANIFEST_BYTES + self.body.len()
    }
}

impl Registry {
    /// A manifest, if it is in memory.
    pub fn known_manifest(&self, name: &RepositoryName, reference: &ManifestRef) -> Option<Arc<Manifest>> {
        let digest = match reference {
            ManifestRef::Digest(digest) => *digest,
            ManifestRef::Tag(tag) => self.0.tags.get(&(name.clone(), tag.clone()))??,
        };
        self.0.manifests.get(&(name.clone(), digest))
    }

    /// A manifest.
    ///
    /// # Errors
    /// `ManifestUnknown`, or `Damaged` if its bytes no longer have its digest.
    pub fn manifest(&self, name: &RepositoryName, reference: &ManifestRef) -> Result<Arc<Manifest>> {
        let digest = match reference {
            ManifestRef::Digest(digest) => Some(*digest),
            ManifestRef::Tag(tag) => self.resolve(name, tag)?,
        };
        let manifest = match digest {
            Some(digest) => self.manifest_by_digest(name, &digest)?,
            None => None,
        };
        manifest.ok_or_else(|| Error::ManifestUnknown {
            name: name.clone(),
            reference: reference.clone(),
        })
    }

    /// A manifest that the repository may have.
    pub(super) fn manifest_by_digest(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Arc<Manifest>>> {
        let key = (name.clone(), *digest);
        if let Some(known) = self.0.manifests.get(&key) {
            return Ok(Some(known));
        }
        let ticket = self.0.manifests.ticket(&key);
        let manifest = self.read_manifest(name, digest)?.map(Arc::new);
        if let Some(manifest) = &manifest {
            self.0
                .manifests
                .fill(ticket, key, manifest.clone(), manifest.weight());
        }
        Ok(manifest)
    }

    /// A manifest that the repository may have, from storage; it is not remembered.
    pub(super) fn read_manifest(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<Manifest>> {
        let record = self.storage().record(&Key::Manifest(name.clone(), *digest));
        let Some(media_type) = self.or_damaged(digest, record)? else {
            return Ok(None);
        };
        let Some(content) = self.stored_content(digest)? else {
            return Err(Error::Damaged { digest: *digest });
        };
        if content.len() > (self.0.limits.max_manifest_bytes as u64).max(MAX_STORED_BYTES) {
            return Err(Error::Damaged { digest: *digest });
        }
        Ok(Some(Manifest::new(
            *digest,
            media_type,
            self.read_whole(digest, &content)?,
        )))
    }

    /// Whether the repository has this manifest.
    pub(super) fn has_manifest(&self, name: &RepositoryName, digest: &Digest) -> Result<bool> {
        let key = (name.clone(), *digest);
        if self.0.manifests.get(&key).is_some() {
            return Ok(true);
        }
        Ok(self
            .storage()
            .record(&Key::Manifest(name.clone(), *digest))?
            .is_some())
    }

    /// Remembers a manifest that was stored.
    pub(super) fn remember_manifest(&self, name: &RepositoryName, manifest: Manifest) {
        let weight = manifest.weight();
        let key = (name.clone(), manifest.digest);
        self.0.manifests.insert(key, Arc::new(manifest), weight);
    }

    /// Takes a tag away. The manifest that it leads to stays.
    ///
    /// # Errors
    /// `ManifestUnknown` if there is no such tag; `TagChanged` if it is not as expected; deleting may be disabled.
    pub fn delete_tag(&self, name: &RepositoryName, tag: &Tag, expect: &Expect) -> Result<()> {
        self.require_delete()?;
        let _repository = self.0.locks.push_into(name);
        let _tag = self.0.locks.tags(name, std::slice::from_ref(tag));
        let actual = self.resolve(name, tag)?;
        expect.check(tag, actual)?;
        if actual.is_none() {
            return Err(Error::ManifestUnknown {
                name: name.clone(),
                reference: tag.clone().into(),
            });
        }
        let removed = self.commit_deletion(&[Change::Remove(Key::Tag(name.clone(), tag.clone()))]);
        if removed.is_ok() {
            self.remember_tag(name, tag, None);
        } else {
            self.forget_lists(name, std::slice::from_ref(tag));
        }
        Ok(removed?)
    }

    /// Takes a manifest away, with every tag that leads to it and its places among the referrers of its subjects.
    ///
    /// # Errors
    /// `ManifestUnknown` if the repository has not got it, `NameUnknown` if there is no such repository; deleting may be
    /// disabled.
    pub fn delete_manifest(&self, name: &RepositoryName, digest: &Digest) -> Result<()> {
        self.require_delete()?;
        let _alone = self.0.locks.delete_from(name);
        self.delete_manifest_alone(name, digest)
    }

    /// As [`Registry::delete_manifest`], for who has the repository alone.
    fn delete_manifest_alone(&self, name: &RepositoryName, digest: &Digest) -> Result<()> {
        let key = Key::Manifest(name.clone(), *digest);
        if self.storage().record(&key)?.is_none() {
            return Err(Error::ManifestUnknown {
                name: name.clone(),
                reference: (*digest).into(),
            });
        }
        let tags = self.tags_of(name, digest)?;
        let subjects = self.subjects_of(name, digest)?;
        // Tags first and referrers last: wherever this is cut off, no tag leads nowhere, and no list names what is not there,
        // because lists leave out referrers without a manifest.
        let mut changes: Vec<Change> = tags
            .iter()
            .map(|tag| Change::Remove(Key::Tag(name.clone(), tag.clone())))
            .collect();
        changes.extend(removal(name, digest, subjects.as_deref().unwrap_or_default()));
        let committed = self.commit_deletion(&changes);
        self.0.manifests.remove(&(name.clone(), *digest));
        if committed.is_ok() {
            for tag in &tags {
                self.remember_tag(name, tag, None);
            }
            self.forget_referrer(name, digest, subjects.as_deref());
        } else {
            self.forget_lists(name, &tags);
        }
        Ok(committed?)
    }

    /// A change of these tags, or of what is listed in a repository, failed: some of it may have been applied. All that memory
    /// knows of them is read again when it is asked for next.
    pub(super) fn forget_lists(&self, name: &RepositoryName, tags: &[Tag]) {
        for tag in tags {
            self.0.tags.remove(&(name.clone(), tag.clone()));
        }
        self.0.tag_lists.drop_list(name);
        self.0.referrer_lists.drop_lists(name);
    }

    /// Tells of a manifest that was removed, and of its subjects; `None` if it could not be read.
    pub(super) fn forget_manifest(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        subjects: Option<&[Digest]>,
    ) {
        self.0.manifests.remove(&(name.clone(), *digest));
        self.forget_referrer(name, digest, subjects);
    }

    /// The tags that lead to a manifest.
    fn tags_of(&self, name: &RepositoryName, digest: &Digest) -> Result<Vec<Tag>> {
        let all: Vec<Tag> = self.with_tags(name, |tags| tags.iter().cloned().collect())?;
        let mut leading = Vec::new();
        for tag in all {
            if self.resolve(name, &tag)?.as_ref() == Some(digest) {
                leading.push(tag);
            }
        }
        Ok(leading)
    }

    /// The subjects of a manifest; `None` if it cannot be read.
    fn subjects_of(&self, name: &RepositoryName, digest: &Digest) -> Result<Option<Vec<Digest>>> {
        let manifest = match self.manifest_by_digest(name, digest) {
            Ok(Some(manifest)) => manifest,
            Ok(None) | Err(Error::Damaged { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let view = manifest.view().ok();
        Ok(view.map(|view| view.subjects().iter().map(|subject| subject.digest).collect()))
    }
}

/// What takes a manifest away that no tag leads to.
pub(super) fn removal(name: &RepositoryName, digest: &Digest, subjects: &[Digest]) -> Vec<Change> {
    let manifest = Change::Remove(Key::Manifest(name.clone(), *digest));
    let referrers = subjects
        .iter()
        .map(|subject| Change::Remove(Key::Referrer(name.clone(), *subject, *digest)));
    [manifest].into_iter().chain(referrers).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{cache::Cache, weights::is_as_measured};

    /// What whoever answers requests keeps of a manifest: three headers, each a text and a mark.
    type Headers = [(Bytes, bool); 3];

    #[test]
    #[ignore = "a measurement, see `weights`"]
    fn manifests_weigh_what_is_measured() {
        for (count, size) in [(100_000, 400), (100_000, 1_200), (5_000, 40_000)] {
            is_as_measured(&format!("manifests of {size} bytes"), || {
                let cache: Cache<(RepositoryName, Digest), Arc<Manifest>> = Cache::new(usize::MAX);
                let mut weight = 0;
                for n in 0..count {
                    let name = RepositoryName::parse("group/application").expect("a name");
                    let media_type = Bytes::copy_from_slice(oci::media_type::OCI_MANIFEST.as_bytes());
                    let digest = Digest::sha256(&usize::to_le_bytes(n));
                    let manifest = Manifest::new(digest, media_type, Bytes::from(vec![1; size]));
                    manifest.kept.get_or::<Headers>(|| {
                        [
                            (manifest.digest_text.clone(), false),
                            (format!("\"{digest}\"").into(), false),
                            (manifest.media_type.clone(), false),
                        ]
                    });
                    drop(manifest.body.clone());
                    let bytes = manifest.weight();
                    weight += bytes + cache.entry_bytes();
                    cache.insert((name, digest), Arc::new(manifest), bytes);
                }
                (cache, weight)
            });
        }
    }
}
