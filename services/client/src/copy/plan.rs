//! What a copy has to do: every manifest is read and verified before anything is written.

use super::{CopyOptions, Remark};
use crate::{Asked, Error, Manifest, Repository, Result, Store};
use futures_util::future::LocalBoxFuture;
use oci::{Descriptor, Digest, ManifestError, ManifestKind, ManifestRef, ManifestView, Tag, media_type};
use std::collections::HashSet;

/// How deep indexes and references may lie in each other.
pub(super) const MAX_DEPTH: u32 = 16;
/// How many manifests one copy may touch.
const MAX_MANIFESTS: usize = 20_000;
/// How many bytes all of them may have together: they are kept until everything was read and verified.
const MAX_MANIFEST_BYTES: usize = 64 * 1024 * 1024;

/// A manifest to write, and what for.
pub(super) struct Step {
    pub manifest: Manifest,
    /// Written under this tag too: a tag of the old form.
    pub tag: Option<Tag>,
}

/// References to list at the destination.
pub(super) struct Listed {
    pub subject: Digest,
    pub entries: Vec<Descriptor>,
    /// By digest tag whatever the API says, as the source has them.
    pub by_tag: bool,
}

/// What to do, in the order of its lists.
pub(super) struct Plan {
    pub root: Manifest,
    /// Every blob once.
    pub blobs: Vec<Descriptor>,
    /// Children before parents; without the root.
    pub steps: Vec<Step>,
    pub listed: Vec<Listed>,
    pub referrers: Vec<Descriptor>,
    pub remarks: Vec<Remark>,
}

/// A manifest that cannot be read, as a fact.
pub(super) fn bad(manifest: &Manifest, error: ManifestError) -> Error {
    Error::BadManifest {
        at: Box::new(Asked {
            method: "GET".to_owned(),
            url: manifest.digest.to_string(),
        }),
        source: Box::new(error),
    }
}

struct Planner<'a> {
    from: &'a Store,
    /// Where what is there already is skipped.
    to: Option<&'a Repository>,
    options: &'a CopyOptions,
    plan: Plan,
    seen_blobs: HashSet<Digest>,
    seen_manifests: HashSet<Digest>,
    /// Of the manifests so far.
    bytes: usize,
    /// Subjects whose references are still to be looked for, with their depth.
    subjects: Vec<(Digest, u32)>,
}

impl Plan {
    /// Reads everything that is to be copied.
    pub(super) async fn make(
        from: &Store,
        to: Option<&Repository>,
        root: Manifest,
        options: &CopyOptions,
    ) -> Result<Plan> {
        let mut planner = Planner {
            from,
            to,
            options,
            seen_blobs: HashSet::new(),
            seen_manifests: HashSet::from([root.digest]),
            bytes: 0,
            subjects: Vec::new(),
            plan: Plan {
                root: root.clone(),
                blobs: Vec::new(),
                steps: Vec::new(),
                listed: Vec::new(),
                referrers: Vec::new(),
                remarks: Vec::new(),
            },
        };
        planner.contents(&root, 0).await?;
        if options.referrers {
            planner.references().await?;
        }
        if options.digest_tags {
            planner.old_tags().await?;
        }
        Ok(planner.plan)
    }
}

impl Planner<'_> {
    /// Plans what a manifest needs, but not the manifest itself.
    fn contents<'s>(&'s mut self, manifest: &'s Manifest, depth: u32) -> LocalBoxFuture<'s, Result<()>> {
        Box::pin(async move {
            self.bytes += manifest.bytes.len();
            self.check_limits(manifest, depth)?;
            self.subjects.push((manifest.digest, depth));
            let present = self.is_present(&manifest.digest).await?;
            let needs_all = self.options.referrers || self.options.digest_tags;
            if present && !needs_all {
                return Ok(());
            }
            let view = manifest.view().map_err(|e| bad(manifest, e))?;
            if !present {
                self.blobs(&view);
            }
            for child in &view.manifests {
                self.child(child, depth + 1).await?;
            }
            Ok(())
        })
    }

    fn check_limits(&self, manifest: &Manifest, depth: u32) -> Result<()> {
        let why = if depth > MAX_DEPTH {
            format!("it lies more than {MAX_DEPTH} levels deep in others")
        } else if self.seen_manifests.len() > MAX_MANIFESTS {
            format!("there are more than {MAX_MANIFESTS} manifests to copy with it")
        } else if self.bytes > MAX_MANIFEST_BYTES {
            format!("the manifests to copy with it have more than {MAX_MANIFEST_BYTES} bytes")
        } else {
            return Ok(());
        };
        let digest = Box::new(manifest.digest);
        Err(Error::Endless { digest, why })
    }

    fn blobs(&mut self, view: &ManifestView) {
        for blob in view.config.iter().chain(&view.blobs) {
            // A foreign layer is fetched from its own place, and registries need not have it.
            let foreign = media_type::is_non_distributable(&blob.media_type)
                && blob.urls.as_ref().is_some_and(|urls| !urls.is_empty());
            if !foreign && self.seen_blobs.insert(blob.digest) {
                self.plan.blobs.push(blob.clone());
            }
        }
    }

    /// Plans an entry of an index: a manifest, or of an unknown kind a blob.
    async fn child(&mut self, child: &Descriptor, depth: u32) -> Result<()> {
        let known = ManifestKind::from_media_type(&child.media_type).is_some();
        if !known && !child.media_type.is_empty() {
            if self.seen_blobs.insert(child.digest) {
                self.plan.blobs.push(child.clone());
            }
            return Ok(());
        }
        if !self.seen_manifests.insert(child.digest) {
            return Ok(());
        }
        let needs_all = self.options.referrers || self.options.digest_tags;
        if !needs_all && self.is_present(&child.digest).await? {
            return Ok(());
        }
        let manifest = self.from.get_manifest(&ManifestRef::Digest(child.digest)).await?;
        self.contents(&manifest, depth).await?;
        self.plan.steps.push(Step { manifest, tag: None });
        Ok(())
    }

    /// Whether the destination has a manifest with all that it needs. A layout's file says nothing about its children.
    async fn is_present(&self, digest: &Digest) -> Result<bool> {
        let Some(repository) = self.to else {
            return Ok(false);
        };
        let target = ManifestRef::Digest(*digest);
        Ok(repository.head_manifest(&target).await?.is_some())
    }

    /// Plans the references of all planned manifests, and theirs.
    async fn references(&mut self) -> Result<()> {
        let mut next = 0;
        while let Some((subject, depth)) = self.subjects.get(next).copied() {
            next += 1;
            let mut entries = Vec::new();
            let (listed, remarks) = self.from.look_up(&subject).await?;
            // A registry without the API says so for every subject.
            let plan = &mut self.plan;
            let new: Vec<Remark> = remarks
                .into_iter()
                .filter(|r| !plan.remarks.contains(r))
                .collect();
            plan.remarks.extend(new);
            for entry in listed {
                if self.seen_manifests.contains(&entry.digest) {
                    entries.push(entry);
                    continue;
                }
                let target = ManifestRef::Digest(entry.digest);
                let Some(manifest) = self.from.try_get_manifest(&target).await? else {
                    let digest = entry.digest;
                    self.plan.remarks.push(Remark::Gone { subject, digest });
                    continue;
                };
                if manifest.kind().is_none() {
                    // A copy of it could be incomplete.
                    let (digest, media_type) = (entry.digest, manifest.media_type);
                    self.plan.remarks.push(Remark::UnknownType { digest, media_type });
                    continue;
                }
                self.seen_manifests.insert(entry.digest);
                self.contents(&manifest, depth + 1).await?;
                self.plan.steps.push(Step { manifest, tag: None });
                self.plan.referrers.push(entry.clone());
                entries.push(entry);
            }
            if !entries.is_empty() {
                self.plan.listed.push(Listed {
                    subject,
                    entries,
                    by_tag: false,
                });
            }
        }
        Ok(())
    }

    /// Plans the tags that name a planned manifest: those of the old form as they are, digest tags by their entries.
    async fn old_tags(&mut self) -> Result<()> {
        let subjects: Vec<Digest> = self.subjects.iter().map(|(subject, _)| *subject).collect();
        for text in self.from.tags().await? {
            let Some(parsed) = oci::digest_tag::parse(&text) else {
                continue;
            };
            let subject = subjects.iter().find(|subject| parsed.is_for(subject));
            let (Some(subject), Ok(tag)) = (subject, Tag::parse(&text)) else {
                continue;
            };
            let is_list = parsed.suffix.is_none();
            // What a digest tag lists was found as references, and is listed as the destination can.
            if is_list && self.options.referrers {
                continue;
            }
            let Some(manifest) = self.from.try_get_manifest(&ManifestRef::Tag(tag.clone())).await? else {
                continue;
            };
            self.contents(&manifest, 1).await?;
            if is_list && manifest.kind() == Some(ManifestKind::Index) {
                let entries = manifest.view().map_err(|e| bad(&manifest, e))?.manifests;
                self.plan.listed.push(Listed {
                    subject: *subject,
                    entries,
                    by_tag: true,
                });
            } else {
                self.plan.steps.push(Step {
                    manifest,
                    tag: Some(tag),
                });
            }
        }
        Ok(())
    }
}
