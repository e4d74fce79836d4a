//! `repair`: makes a digest tag say what the manifests say. The change is shown before it is written.

use crate::arguments::RepairArgs;
use cli::inspect::{self, Inspected, Problem};
use cli::{Context, Failure, progress::count};
use client::digest_tag::{self, Change, TagIndex};
use client::{ExitCode, Repository, Store};
use oci::{Descriptor, Digest, ManifestRef};
use serde_json::{Value, json};

/// Repairs, or with `--dry-run` shows what would be done.
///
/// # Errors
/// Not found if the image, or a digest to add, is not in the registry; every failure of a request; a conflict if other
/// writers won too often.
pub async fn run(repair: RepairArgs, context: &Context) -> Result<(), Failure> {
    let repository = context.client()?.repository(&repair.image)?;
    let subject = resolve(&repository, &repair.image.target()).await?;
    let index = digest_tag::read(&repository, &subject).await?;
    let inspected = match &index {
        Some(index) => {
            let store = Store::Repository(repository.clone());
            inspect::inspect(&store, &subject, &index.entries).await?
        }
        None => Vec::new(),
    };
    let mut changes = mend(&inspected);
    changes.extend(lost(&repository, &subject, index.as_ref(), &repair.add).await?);
    let document = index.as_ref().map(|index| &index.document);
    let after = digest_tag::preview(document, &changes);
    for (position, why) in index.iter().flat_map(|index| &index.unreadable) {
        context.output.warn(&format!(
            "entry {position} cannot be read and stays as it is: {why}"
        ));
    }
    show(context, &inspected, &changes);
    let changed = document != Some(&after) && !changes.is_empty();
    let written = match changed && !repair.dry_run {
        true => Some(digest_tag::change(&repository, &subject, &changes, true).await?),
        false => None,
    };
    let text = match (changed, &written) {
        (false, _) => "nothing to repair".to_owned(),
        (true, None) => format!(
            "{}; nothing was written (--dry-run)",
            count(changes.len(), "change")
        ),
        (true, Some(written)) if written.pruned => format!("{} was empty and is deleted", written.tag),
        (true, Some(written)) => format!("{} is repaired, {}", written.tag, count(changes.len(), "change")),
    };
    let value = json!({
        "subject": subject,
        "tag": oci::digest_tag::of(&subject),
        "changed": changed,
        "written": written.is_some(),
        "before": document,
        "after": if changed { &after } else { document.unwrap_or(&Value::Null) },
    });
    context.report(&repair.report, &text, &value)
}

async fn resolve(repository: &Repository, target: &ManifestRef) -> Result<Digest, Failure> {
    match repository.head_manifest(target).await? {
        Some(found) => Ok(found.digest),
        None => {
            let message = format!("{repository}: {target} is not in the registry");
            Err(Failure::new(ExitCode::NotFound, message))
        }
    }
}

/// The changes that make the entries right. An entry whose manifest cannot be read, or names no subject, stays: only
/// this list knows of it.
fn mend(inspected: &[Inspected]) -> Vec<Change> {
    let duplicated = |digest: &Digest| {
        let of_it = |other: &&Inspected| other.entry.digest == *digest;
        inspected.iter().filter(of_it).count() > 1
    };
    let mut changes = Vec::new();
    for found in inspected {
        let has = |wanted: fn(&Problem) -> bool| found.problems.iter().any(wanted);
        let digest = found.entry.digest;
        if has(|p| matches!(p, Problem::Unreachable | Problem::Foreign { .. })) {
            changes.push(Change::Remove(digest));
        } else if has(|p| matches!(p, Problem::Duplicate)) {
            // The first entry of this digest is the one that is replaced.
        } else if has(|p| matches!(p, Problem::Wrong { .. })) || duplicated(&digest) {
            let whole = found.corrected.clone().unwrap_or_else(|| found.entry.clone());
            changes.push(Change::Replace(whole));
        }
    }
    changes
}

/// Entries for references that the list lacks: those that were named, and those under tags of the older form.
async fn lost(
    repository: &Repository,
    subject: &Digest,
    index: Option<&TagIndex>,
    named: &[Digest],
) -> Result<Vec<Change>, Failure> {
    let listed =
        |digest: &Digest| index.is_some_and(|index| index.entries.iter().any(|e| e.digest == *digest));
    let mut changes = Vec::new();
    for digest in named {
        let entry = entry_for(repository, subject, &ManifestRef::Digest(*digest)).await?;
        let entry = entry.ok_or_else(|| {
            let message =
                format!("{repository}@{digest} does not refer to {subject}, or is not in the registry");
            Failure::new(ExitCode::NotFound, message)
        })?;
        if !listed(digest) {
            changes.push(Change::Append(entry));
        }
    }
    if index.is_some() {
        for tag in digest_tag::prefixed(repository, subject).await? {
            let entry = entry_for(repository, subject, &ManifestRef::Tag(tag)).await?;
            changes.extend(entry.filter(|entry| !listed(&entry.digest)).map(Change::Append));
        }
    }
    Ok(changes)
}

/// The entry of a manifest; `None` if it is not there, cannot be read, or is about something else.
async fn entry_for(
    repository: &Repository,
    subject: &Digest,
    target: &ManifestRef,
) -> Result<Option<Descriptor>, Failure> {
    let Some(manifest) = repository.try_get_manifest(target).await? else {
        return Ok(None);
    };
    let Ok(view) = manifest.view() else {
        return Ok(None);
    };
    let refers = view.subjects().iter().any(|named| named.digest == *subject);
    let size = manifest.bytes.len() as u64;
    Ok(refers.then(|| view.referrer_descriptor(&manifest.media_type, manifest.digest, size)))
}

/// Tells on standard error what is wrong and what will be done about it.
fn show(context: &Context, inspected: &[Inspected], changes: &[Change]) {
    for found in inspected {
        for problem in &found.problems {
            context.output.note(&format!("{}: {problem}", found.entry.digest));
        }
    }
    for change in changes {
        let line = match change {
            Change::Append(entry) => format!("+ {}", compact(entry)),
            Change::Remove(digest) => format!("- {digest}"),
            Change::Replace(entry) => format!("~ {}", compact(entry)),
        };
        context.output.note(&line);
    }
}

fn compact(entry: &Descriptor) -> String {
    serde_json::to_string(entry).unwrap_or_else(|_| entry.digest.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(content: &[u8], problems: Vec<Problem>) -> Inspected {
        let entry = Descriptor::of("a/b", content);
        Inspected {
            corrected: Some(entry.clone()),
            entry,
            problems,
        }
    }

    #[test]
    fn stale_and_foreign_entries_go_and_unreadable_ones_stay() {
        let refers_to = Digest::sha256(b"other");
        let changes = mend(&[
            found(b"1", vec![Problem::Unreachable]),
            found(b"2", vec![Problem::Foreign { refers_to }]),
            found(b"3", vec![Problem::NoSubject]),
            found(b"4", vec![Problem::UnreadableManifest { why: "x".into() }]),
            found(b"5", vec![]),
        ]);
        let gone = [b"1", b"2"].map(|content| Change::Remove(Digest::sha256(content)));
        assert_eq!(changes, gone);
    }

    #[test]
    fn entries_listed_twice_become_one() {
        let changes = mend(&[found(b"1", vec![]), found(b"1", vec![Problem::Duplicate])]);
        assert_eq!(changes, [Change::Replace(Descriptor::of("a/b", b"1"))]);
    }
}
