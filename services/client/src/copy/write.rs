//! Carries a plan out: blobs, then manifests, then lists of references, then the tag.

use super::{
    Copied, CopyOptions, Remark,
    plan::{Listed, Plan},
};
use crate::{
    Client, Condition, Manifest, Repository, Result, Store,
    blobs::watch,
    digest_tag::{self, Change},
    progress::BlobOutcome,
    referrers::ApiAnswer,
    repository::{BlobSource, ByteStream},
};
use futures_util::{StreamExt, TryStreamExt, future::LocalBoxFuture};
use oci::{Descriptor, Digest, ManifestRef, Tag};
use std::collections::HashSet;

/// How many blobs move at once if nothing else is said.
const DEFAULT_JOBS: usize = 4;
/// How many may at most: each takes two connections.
const MAX_JOBS: usize = 32;

pub(super) async fn write(
    client: &Client,
    from: &Store,
    to: &Store,
    plan: Plan,
    tag: Option<&Tag>,
    options: &CopyOptions,
) -> Result<Copied> {
    let mut copied = Copied {
        root: plan.root.descriptor(),
        manifests: 0,
        blobs_copied: 0,
        blobs_mounted: 0,
        blobs_present: 0,
        bytes: 0,
        referrers: plan.referrers,
        unlisted: Vec::new(),
        remarks: plan.remarks,
        digest_tags: Vec::new(),
    };
    blobs(client, (from, to), &plan.blobs, options.jobs, &mut copied).await?;
    let mut indexed = HashSet::new();
    for step in &plan.steps {
        let digest = ManifestRef::Digest(step.manifest.digest);
        let target = step.tag.clone().map_or(digest, ManifestRef::Tag);
        let subject = put(to, &step.manifest, Some(&target)).await?;
        indexed.extend(subject.map(|_| step.manifest.digest));
        copied.manifests += 1;
        copied.digest_tags.extend(step.tag.clone());
    }
    // A list may name the image itself; registries want what is listed to be there.
    let names_root = |listed: &Listed| {
        listed
            .entries
            .iter()
            .any(|entry| entry.digest == plan.root.digest)
    };
    if plan.listed.iter().any(names_root) {
        put(to, &plan.root, Some(&ManifestRef::Digest(plan.root.digest))).await?;
    }
    for listed in &plan.listed {
        list(to, listed, &indexed, &mut copied).await?;
    }
    let target = tag.cloned().map(ManifestRef::Tag);
    put(to, &plan.root, target.as_ref()).await?;
    copied.manifests += 1;
    Ok(copied)
}

async fn blobs(
    client: &Client,
    (from, to): (&Store, &Store),
    blobs: &[Descriptor],
    jobs: usize,
    copied: &mut Copied,
) -> Result<()> {
    let jobs = if jobs == 0 {
        DEFAULT_JOBS
    } else {
        jobs.min(MAX_JOBS)
    };
    let mut moving = futures_util::stream::iter(blobs)
        .map(|blob| async move {
            bring(client, from, to, blob)
                .await
                .map(|outcome| (outcome, blob.size))
        })
        .buffer_unordered(jobs);
    while let Some((outcome, size)) = moving.try_next().await? {
        match outcome {
            BlobOutcome::Copied => {
                copied.blobs_copied += 1;
                copied.bytes += size;
            }
            BlobOutcome::Mounted => copied.blobs_mounted += 1,
            BlobOutcome::Present => copied.blobs_present += 1,
        }
    }
    Ok(())
}

async fn bring(client: &Client, from: &Store, to: &Store, blob: &Descriptor) -> Result<BlobOutcome> {
    let source = from.blob_source(blob);
    match (from, to) {
        (Store::Repository(from), Store::Repository(to))
            if from.registry().name() == to.registry().name() && from.name() != to.name() =>
        {
            to.mount_blob(blob, from.name(), &*source).await
        }
        (_, Store::Repository(to)) => to.put_blob(blob, &*source).await,
        (_, Store::Layout(to)) => {
            let watched = Watched {
                client,
                blob,
                source: &*source,
            };
            let outcome = to.put_blob(blob, &watched).await?;
            client.progress().blob_done(blob, outcome);
            Ok(outcome)
        }
    }
}

/// A source that tells how far it was read. Uploads tell so themselves.
struct Watched<'a> {
    client: &'a Client,
    blob: &'a Descriptor,
    source: &'a dyn BlobSource,
}

impl BlobSource for Watched<'_> {
    fn open(&self, offset: u64) -> LocalBoxFuture<'_, Result<ByteStream>> {
        Box::pin(async move {
            self.client.progress().blob_started(self.blob);
            let stream = self.source.open(offset).await?;
            Ok(watch(stream, self.client, self.blob, offset))
        })
    }
}

/// Writes a manifest; `None` as target means the root, known by its digest alone. Tells the subject it was indexed for.
async fn put(to: &Store, manifest: &Manifest, target: Option<&ManifestRef>) -> Result<Option<Digest>> {
    let subject = match to {
        Store::Repository(repository) => {
            let target = target.cloned().unwrap_or(ManifestRef::Digest(manifest.digest));
            let put = repository
                .put_manifest(&target, manifest, &Condition::Always)
                .await?;
            repository
                .client()
                .progress()
                .manifest_done(&manifest.descriptor());
            put.subject
        }
        Store::Layout(layout) => {
            let tag = match target {
                Some(ManifestRef::Tag(tag)) => Some(tag),
                Some(ManifestRef::Digest(_)) | None => None,
            };
            layout.put_manifest(manifest, tag).await?;
            if target.is_none() {
                layout.name(&manifest.descriptor(), None)?;
            }
            None
        }
    };
    Ok(subject)
}

/// Makes references findable at the destination.
async fn list(to: &Store, listed: &Listed, indexed: &HashSet<Digest>, copied: &mut Copied) -> Result<()> {
    let entries = match to {
        Store::Layout(layout) => {
            let tag = layout.add_referrers(&listed.subject, &listed.entries).await?;
            copied.digest_tags.push(tag);
            return Ok(());
        }
        Store::Repository(_) if listed.by_tag => listed.entries.clone(),
        Store::Repository(repository) => {
            let lacking = not_listed(repository, listed, indexed, copied).await?;
            if lacking.is_empty() {
                return Ok(());
            }
            lacking
        }
    };
    if let Store::Repository(repository) = to {
        let changes: Vec<Change> = entries.into_iter().map(Change::Append).collect();
        let written = digest_tag::change(repository, &listed.subject, &changes, false).await?;
        copied.digest_tags.push(written.tag);
    }
    Ok(())
}

/// The entries that the destination's API does not list. All of them, where there is no API; else they are `unlisted` too: not
/// every API knows every form of reference.
async fn not_listed(
    repository: &Repository,
    listed: &Listed,
    indexed: &HashSet<Digest>,
    copied: &mut Copied,
) -> Result<Vec<Descriptor>> {
    // The registry said of each that it indexed it, so it has the API.
    if listed.entries.iter().all(|entry| indexed.contains(&entry.digest)) {
        return Ok(Vec::new());
    }
    let known = match repository.referrers(&listed.subject, None).await? {
        ApiAnswer::Listed(listing) => listing.entries,
        ApiAnswer::Missing => return Ok(listed.entries.clone()),
        ApiAnswer::NotAnIndex(answer) => {
            let remark = Remark::NotAnIndex(answer);
            if !copied.remarks.contains(&remark) {
                copied.remarks.push(remark);
            }
            return Ok(listed.entries.clone());
        }
    };
    let known: HashSet<Digest> = known.iter().map(|entry| entry.digest).collect();
    let mut lacking = listed.entries.clone();
    lacking.retain(|entry| !known.contains(&entry.digest));
    copied.unlisted.extend(lacking.iter().map(|entry| entry.digest));
    Ok(lacking)
}
