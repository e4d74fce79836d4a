//! `copy`: an image from one place to another, every digest kept.

use crate::arguments::CopyArgs;
use cli::{Context, Failure, progress};
use client::CopyOptions;
use generations::ProducerPolicy;
use serde_json::json;

/// Copies.
///
/// # Errors
/// Every failure of either side; unsupported if references are to be copied by a generation that pushes none.
pub async fn run(copy: CopyArgs, policy: &ProducerPolicy, context: &Context) -> Result<(), Failure> {
    if copy.referrers && policy.reference_manifest.is_none() {
        return Err(crate::push::never_pushes_references(policy));
    }
    let options = CopyOptions {
        platform: copy.platform,
        jobs: usize::from(copy.jobs),
        referrers: copy.referrers,
        digest_tags: copy.digest_tags,
    };
    let copied = client::copy(context.client()?, &copy.source, &copy.destination, &options).await?;
    context.output.note(&format!(
        "{} and {} copied ({}); {} mounted, {} already there; {}",
        progress::count(copied.manifests, "manifest"),
        progress::count(copied.blobs_copied, "blob"),
        progress::size(copied.bytes),
        progress::count(copied.blobs_mounted, "blob"),
        copied.blobs_present,
        progress::count(copied.referrers.len(), "reference"),
    ));
    for remark in &copied.remarks {
        context.output.warn(&remark.to_string());
    }
    if !copied.unlisted.is_empty() {
        context.output.warn(&format!(
            "the destination has the referrers API, but it does not list {} of the references: they are listed under the \
             digest tag, where consumers of the API do not look ({})",
            copied.unlisted.len(),
            copied.unlisted.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        ));
    }
    let report = json!({
        "source": copy.source.to_string(),
        "destination": copy.destination.to_string(),
        "root": copied.root,
        "manifests": copied.manifests,
        "blobs": {
            "copied": copied.blobs_copied,
            "mounted": copied.blobs_mounted,
            "present": copied.blobs_present,
            "bytes": copied.bytes,
        },
        "referrers": copied.referrers,
        "unlisted": copied.unlisted,
        "warnings": copied.remarks.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "digestTags": copied.digest_tags,
    });
    let text = copied.root.digest.to_string();
    context.report(&copy.report, &text, &report)
}
