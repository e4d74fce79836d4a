//! `delete`: a tag; or a manifest, its entry in the digest tag of its subject, and on demand every reference to it.
//!
//! An entry is taken out of the digest tag before its manifest goes, so that no list ever names what is not there.

use crate::arguments::DeleteArgs;
use cli::{Context, Failure};
use client::digest_tag::{self, Change};
use client::referrers::ApiAnswer;
use client::{ExitCode, Repository};
use oci::{Digest, ManifestRef, Tag};
use serde_json::json;
use std::collections::HashSet;

/// References of references are followed so far and no further.
const MAX_DEPTH: usize = 32;
/// How many references are deleted at once: a registry's lists may not end.
const MAX_REFERENCES: usize = 20_000;

/// What was deleted.
#[derive(Default)]
struct Deleted {
    manifests: Vec<Digest>,
    tags: Vec<Tag>,
    /// The digest tags that an entry was taken out of.
    changed: Vec<Tag>,
}

/// Deletes.
///
/// # Errors
/// Every failure of the registry, with what had been deleted before.
pub async fn run(delete: DeleteArgs, context: &Context) -> Result<(), Failure> {
    let repository = context.client()?.repository(&delete.image)?;
    let mut deleted = Deleted::default();
    let outcome = match delete.image.target() {
        ManifestRef::Tag(tag) if !delete.referrers => delete_tag(&repository, &tag, &mut deleted).await,
        target => delete_whole(&repository, &target, delete.referrers, context, &mut deleted).await,
    };
    outcome.map_err(|failure| failure.and(deleted.told()))?;
    let lines: Vec<String> = deleted
        .tags
        .iter()
        .map(|tag| format!("{repository}:{tag}"))
        .chain(
            deleted
                .manifests
                .iter()
                .map(|digest| format!("{repository}@{digest}")),
        )
        .collect();
    for tag in &deleted.changed {
        context.output.note(&format!("taken out of digest tag {tag}"));
    }
    let value = json!({
        "repository": repository.to_string(),
        "manifests": deleted.manifests,
        "tags": deleted.tags,
        "digestTags": deleted.changed,
    });
    context.report(&delete.report, &lines.join("\n"), &value)
}

impl Deleted {
    fn told(&self) -> String {
        let manifests = self.manifests.iter().map(|digest| format!("manifest {digest}"));
        let changed = self
            .changed
            .iter()
            .map(|tag| format!("an entry of digest tag {tag}"));
        let all: Vec<String> = manifests.chain(changed).collect();
        match all.as_slice() {
            [] => "nothing was deleted".to_owned(),
            all => format!("deleted before that: {}", all.join(", ")),
        }
    }
}

async fn delete_tag(repository: &Repository, tag: &Tag, deleted: &mut Deleted) -> Result<(), Failure> {
    repository.delete_manifest(&ManifestRef::Tag(tag.clone())).await?;
    deleted.tags.push(tag.clone());
    Ok(())
}

async fn delete_whole(
    repository: &Repository,
    target: &ManifestRef,
    referrers: bool,
    context: &Context,
    deleted: &mut Deleted,
) -> Result<(), Failure> {
    let found = repository.head_manifest(target).await?;
    let root = found
        .ok_or_else(|| {
            Failure::new(
                ExitCode::NotFound,
                format!("{repository}: {target} is not in the registry"),
            )
        })?
        .digest;
    let mut order = vec![root];
    if referrers {
        order = with_references(repository, root, context).await?;
    }
    for digest in order {
        delete_manifest(repository, &digest, deleted).await?;
    }
    Ok(())
}

/// A manifest, the references to it and theirs, those furthest from it first.
async fn with_references(
    repository: &Repository,
    root: Digest,
    context: &Context,
) -> Result<Vec<Digest>, Failure> {
    let mut known = HashSet::from([root]);
    let mut order = vec![root];
    let mut level = vec![root];
    for depth in 0.. {
        let mut next = Vec::new();
        for subject in level {
            for digest in references_to(repository, &subject, context).await? {
                if known.insert(digest) {
                    next.push(digest);
                }
            }
        }
        if next.is_empty() {
            break;
        }
        if depth == MAX_DEPTH || known.len() > MAX_REFERENCES {
            let message = format!(
                "references of references are more than {MAX_DEPTH} deep, or more than {MAX_REFERENCES} in all"
            );
            return Err(Failure::new(ExitCode::Failed, message));
        }
        order.extend(&next);
        level = next;
    }
    order.reverse();
    Ok(order)
}

/// Those that the API lists, else those under the digest tag.
async fn references_to(
    repository: &Repository,
    subject: &Digest,
    context: &Context,
) -> Result<Vec<Digest>, Failure> {
    let listed = match repository.referrers(subject, None).await? {
        ApiAnswer::Listed(listing) => Some(listing.entries),
        ApiAnswer::Missing => None,
        ApiAnswer::NotAnIndex(answer) => {
            context.warn_once(&answer.to_string());
            None
        }
    };
    let entries = match listed {
        Some(entries) => entries,
        None => digest_tag::read(repository, subject)
            .await?
            .map(|index| index.entries)
            .unwrap_or_default(),
    };
    Ok(entries.iter().map(|entry| entry.digest).collect())
}

async fn delete_manifest(
    repository: &Repository,
    digest: &Digest,
    deleted: &mut Deleted,
) -> Result<(), Failure> {
    let target = ManifestRef::Digest(*digest);
    let Some(manifest) = repository.try_get_manifest(&target).await? else {
        // A list named it, but it is gone already.
        return Ok(());
    };
    // A manifest that cannot be read names no subject, and can be deleted all the same.
    let subjects: Vec<Digest> = match manifest.view() {
        Ok(view) => view.subjects().iter().map(|subject| subject.digest).collect(),
        Err(_) => Vec::new(),
    };
    for subject in subjects {
        if digest_tag::read(repository, &subject).await?.is_some() {
            let written = digest_tag::change(repository, &subject, &[Change::Remove(*digest)], true).await?;
            if written.changed {
                deleted.changed.push(written.tag);
            }
        }
    }
    repository.delete_manifest(&target).await?;
    deleted.manifests.push(*digest);
    Ok(())
}
