//! Reading the whole store and comparing it with its promises: bytes with digests, records with bytes, tags with manifests,
//! referrers with what manifests say.
//!
//! With repair, what follows from contents is rebuilt (links to blobs, places among referrers), what leads nowhere is taken
//! away, and contents that do not match their digest are set aside. Bytes that are lost stay lost; they are reported.

use super::{Error, Manifest, Registry, Result, graph::Edges, whole::hash};
use crate::storage::{Change, Key};
use bytes::Bytes;
use oci::{Digest, RepositoryName, Tag};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt,
};

/// How to verify.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verify {
    /// Rebuild what can be rebuilt, and set aside what is corrupt.
    pub repair: bool,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// A place where records are kept is damaged, as the store tells. Repair gives up what cannot be read, after it set the
    /// place aside.
    Records(String),
    /// The bytes of a content that a repository has do not have its digest. Repair sets it aside.
    Corrupt(Digest),
    /// A repository has a manifest whose bytes are not there. Repair takes the manifest away.
    ManifestLost(RepositoryName, Digest),
    /// A manifest's bytes are no manifest.
    ManifestUnreadable(RepositoryName, Digest),
    /// A repository has a blob whose bytes are not there. Repair takes the blob away.
    BlobLost(RepositoryName, Digest),
    /// A manifest names a blob or manifest that is not there. Nothing can repair that.
    Incomplete {
        /// The repository.
        name: RepositoryName,
        /// The manifest.
        manifest: Digest,
        /// What it misses.
        missing: Digest,
    },
    /// A manifest names a blob whose bytes are there, but its repository does not know of it. Repair links it.
    Unlinked {
        /// The repository.
        name: RepositoryName,
        /// The manifest.
        manifest: Digest,
        /// The blob.
        blob: Digest,
    },
    /// A tag leads to a manifest that is not there, or nowhere at all. Repair takes the tag away.
    TagDangling(RepositoryName, Tag),
    /// A manifest refers to a subject and is not listed. Repair lists it.
    ReferrerUnlisted {
        /// The repository.
        name: RepositoryName,
        /// What is referred to.
        subject: Digest,
        /// What refers to it.
        referrer: Digest,
    },
    /// A list names a manifest that does not refer to its subject or says something else of itself. Repair corrects the list.
    ReferrerWrong {
        /// The repository.
        name: RepositoryName,
        /// What is referred to.
        subject: Digest,
        /// What is listed.
        referrer: Digest,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Records(what) => write!(f, "records: {what}"),
            Damage::Corrupt(digest) => write!(f, "content {digest} does not have its digest"),
            Damage::ManifestLost(name, digest) => write!(f, "manifest {name}@{digest} has no content"),
            Damage::ManifestUnreadable(name, digest) => {
                write!(f, "manifest {name}@{digest} is not a manifest")
            }
            Damage::BlobLost(name, digest) => write!(f, "blob {digest} of {name} has no content"),
            Damage::Incomplete {
                name,
                manifest,
                missing,
            } => write!(
                f,
                "manifest {name}@{manifest} names {missing}, which is not there"
            ),
            Damage::Unlinked { name, manifest, blob } => {
                write!(
                    f,
                    "manifest {name}@{manifest} names blob {blob}, which is not linked into its repository"
                )
            }
            Damage::TagDangling(name, tag) => write!(f, "tag {name}:{tag} leads nowhere"),
            Damage::ReferrerUnlisted {
                name,
                subject,
                referrer,
            } => write!(f, "{referrer} refers to {name}@{subject} and is not listed"),
            Damage::ReferrerWrong {
                name,
                subject,
                referrer,
            } => write!(f, "the referrers of {name}@{subject} list {referrer} wrongly"),
        }
    }
}

/// What verifying came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Contents that were read.
    pub contents: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Repositories that were read.
    pub repositories: usize,
    /// Manifests that were read.
    pub manifests: usize,
    /// Tags that were followed.
    pub tags: usize,
    /// Places among referrers that were compared.
    pub referrers: usize,
    /// What was found damaged.
    pub damages: usize,
    /// How much of that was repaired.
    pub repaired: usize,
    /// Contents that do not have their digest and that no repository has. They are no damage: power loss in the middle of a
    /// push leaves them, garbage collection removes them, and the next push of the content puts it right. Repair sets them
    /// aside.
    pub unfinished: usize,
}

/// What a manifest says: what it leads to, and its places among referrers, each a subject and the descriptor to list.
type Says = (Edges, Vec<(Digest, Bytes)>);

/// A walk through the store.
struct Walk<'a> {
    registry: &'a Registry,
    how: Verify,
    verified: Verified,
    each: &'a mut dyn FnMut(&Damage),
    corrupt: HashSet<Digest>,
}

impl Registry {
    /// Reads the whole store; `each` is told of every damage. Nothing may be pushed or deleted meanwhile.
    ///
    /// # Errors
    /// The store cannot be read, or written to repair it.
    pub fn verify(&self, how: Verify, each: &mut dyn FnMut(&Damage)) -> Result<Verified> {
        if how.repair {
            self.require_writable()?;
        }
        let mut walk = Walk {
            registry: self,
            how,
            verified: Verified::default(),
            each,
            corrupt: HashSet::new(),
        };
        let are_records_readable = walk.records()?;
        match walk.all() {
            // Told already, and without repair there is no way around it.
            Err(Error::Storage(error)) if error.is_damaged() && !are_records_readable => {}
            walked => walked?,
        }
        Ok(walk.verified)
    }
}

impl Walk<'_> {
    /// Reports a damage, and with repair does what helps.
    fn damaged(&mut self, damage: &Damage, changes: &[Change]) -> Result<()> {
        self.verified.damages += 1;
        (self.each)(damage);
        if self.how.repair && !changes.is_empty() {
            self.registry.storage().commit(changes)?;
            self.verified.repaired += 1;
        }
        Ok(())
    }

    /// Looks at what records are kept in; whether all of them can be read now.
    fn records(&mut self) -> Result<bool> {
        let found = self.registry.storage().check_records(self.how.repair)?;
        for what in &found {
            self.damaged(&Damage::Records(what.clone()), &[])?;
        }
        if self.how.repair {
            self.verified.repaired += found.len();
        }
        Ok(self.how.repair || found.is_empty())
    }

    fn all(&mut self) -> Result<()> {
        self.contents()?;
        let names = self.registry.storage().repositories()?;
        names.iter().try_for_each(|name| self.repository(name))
    }

    fn contents(&mut self) -> Result<()> {
        let storage = self.registry.storage();
        let mut found = Vec::new();
        storage.each_content(&mut |digest, size| found.push((digest, size)))?;
        for (digest, size) in found {
            self.verified.contents += 1;
            self.verified.bytes += size;
            let matches = match storage.content(&digest)? {
                // One that cannot be read to its end is as good as lost.
                Some(content) => hash(&content, &digest).is_ok_and(|computed| computed == digest),
                None => continue,
            };
            if matches {
                continue;
            }
            let is_needed = self.is_linked(&digest)?;
            if is_needed {
                self.corrupt.insert(digest);
                self.damaged(&Damage::Corrupt(digest), &[])?;
            } else {
                self.verified.unfinished += 1;
            }
            if self.how.repair {
                storage.set_aside_content(&digest)?;
                self.verified.repaired += usize::from(is_needed);
            }
        }
        Ok(())
    }

    /// Whether any repository has a content, as a blob or a manifest. Asked for damaged contents alone.
    fn is_linked(&self, digest: &Digest) -> Result<bool> {
        let storage = self.registry.storage();
        for name in storage.repositories()? {
            let blob = Key::Blob(name.clone(), *digest);
            if storage.record(&blob)?.is_some() || storage.record(&Key::Manifest(name, *digest))?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a content is there and whole.
    fn is_there(&self, digest: &Digest) -> Result<bool> {
        Ok(!self.corrupt.contains(digest) && self.registry.storage().content_size(digest)?.is_some())
    }

    fn repository(&mut self, name: &RepositoryName) -> Result<()> {
        self.verified.repositories += 1;
        let storage = self.registry.storage();
        for digest in storage.blobs(name)? {
            if !self.is_there(&digest)? {
                let removal = Change::Remove(Key::Blob(name.clone(), digest));
                self.damaged(&Damage::BlobLost(name.clone(), digest), &[removal])?;
            }
        }
        let mut manifests = BTreeMap::new();
        for digest in storage.manifests(name)? {
            self.verified.manifests += 1;
            if let Some(manifest) = self.manifest(name, digest)? {
                manifests.insert(digest, manifest);
            }
        }
        self.tags(name, &manifests.keys().copied().collect())?;
        self.completeness(name, &manifests)?;
        if self.registry.capabilities().referrers {
            self.referrers(name, manifests)?;
        }
        Ok(())
    }

    /// A manifest's edges and places among referrers, if its bytes are there.
    fn manifest(&mut self, name: &RepositoryName, digest: Digest) -> Result<Option<Says>> {
        let registry = self.registry;
        let lost = Damage::ManifestLost(name.clone(), digest);
        let removal = [Change::Remove(Key::Manifest(name.clone(), digest))];
        let manifest: Manifest = match registry.read_manifest(name, &digest) {
            Ok(Some(manifest)) => manifest,
            Ok(None) | Err(Error::Damaged { .. }) => {
                self.damaged(&lost, &removal)?;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let Ok(view) = manifest.view() else {
            self.damaged(&Damage::ManifestUnreadable(name.clone(), digest), &[])?;
            return Ok(Some(Default::default()));
        };
        let places = registry.referrer_entries(&manifest, &view);
        let places = places
            .into_iter()
            .map(|place| (place.subject, place.json))
            .collect();
        Ok(Some((Edges::of(&view), places)))
    }

    fn tags(&mut self, name: &RepositoryName, manifests: &BTreeSet<Digest>) -> Result<()> {
        let storage = self.registry.storage();
        for tag in storage.tags(name)? {
            self.verified.tags += 1;
            let key = Key::Tag(name.clone(), tag.clone());
            let value = storage.record(&key)?.unwrap_or_default();
            let digest = std::str::from_utf8(&value)
                .ok()
                .and_then(|text| Digest::parse(text).ok());
            if !digest.is_some_and(|digest| manifests.contains(&digest)) {
                self.damaged(&Damage::TagDangling(name.clone(), tag), &[Change::Remove(key)])?;
            }
        }
        Ok(())
    }

    fn completeness(&mut self, name: &RepositoryName, manifests: &BTreeMap<Digest, Says>) -> Result<()> {
        let storage = self.registry.storage();
        let capabilities = self.registry.capabilities();
        for (digest, (edges, _)) in manifests {
            for blob in edges.blobs.iter().filter(|_| capabilities.complete_images) {
                let key = Key::Blob(name.clone(), *blob);
                if storage.record(&key)?.is_some() && self.is_there(blob)? {
                    continue;
                }
                if self.is_there(blob)? {
                    let damage = Damage::Unlinked {
                        name: name.clone(),
                        manifest: *digest,
                        blob: *blob,
                    };
                    self.damaged(&damage, &[Change::Put(key, Bytes::new())])?;
                } else {
                    self.incomplete(name, *digest, *blob)?;
                }
            }
            for child in edges.children.iter().filter(|_| capabilities.complete_indexes) {
                let is_blob = storage.record(&Key::Blob(name.clone(), *child))?.is_some();
                if !manifests.contains_key(child) && !is_blob {
                    self.incomplete(name, *digest, *child)?;
                }
            }
        }
        Ok(())
    }

    fn incomplete(&mut self, name: &RepositoryName, manifest: Digest, missing: Digest) -> Result<()> {
        let damage = Damage::Incomplete {
            name: name.clone(),
            manifest,
            missing,
        };
        self.damaged(&damage, &[])
    }

    /// A push makes its manifest's places before the manifest, and a deletion removes them after it: one that was cut off
    /// leaves places that no list shows. That is no damage; repair tidies up, as garbage collection does.
    fn unfinished(&self, removal: Change) -> Result<()> {
        if self.how.repair {
            self.registry.storage().commit(&[removal])?;
        }
        Ok(())
    }

    fn referrers(&mut self, name: &RepositoryName, manifests: BTreeMap<Digest, Says>) -> Result<()> {
        let storage = self.registry.storage();
        let mut expected: BTreeMap<(Digest, Digest), Bytes> = BTreeMap::new();
        for (referrer, (_, places)) in manifests {
            expected.extend(
                places
                    .into_iter()
                    .map(|(subject, json)| ((subject, referrer), json)),
            );
        }
        for (subject, referrer) in self.registry.stored_referrers(name)? {
            self.verified.referrers += 1;
            let key = Key::Referrer(name.clone(), subject, referrer);
            let correction = match expected.remove(&(subject, referrer)) {
                Some(json) if storage.record(&key)?.as_ref() == Some(&json) => continue,
                Some(json) => Change::Put(key, json),
                None if storage.record(&Key::Manifest(name.clone(), referrer))?.is_none() => {
                    self.unfinished(Change::Remove(key))?;
                    continue;
                }
                None => Change::Remove(key),
            };
            let damage = Damage::ReferrerWrong {
                name: name.clone(),
                subject,
                referrer,
            };
            self.damaged(&damage, &[correction])?;
        }
        for ((subject, referrer), json) in expected {
            let damage = Damage::ReferrerUnlisted {
                name: name.clone(),
                subject,
                referrer,
            };
            self.damaged(
                &damage,
                &[Change::Put(Key::Referrer(name.clone(), subject, referrer), json)],
            )?;
        }
        Ok(())
    }
}
