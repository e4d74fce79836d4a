//! `attach` and `artifact put`: push a reference, in the order that leaves the least behind when something fails.
//!
//! 1. The subject is resolved, and the referrers API asked, once, where the generation acts on the answer; where it is
//!    missing, the digest tag is looked at. A failure here leaves nothing in the registry.
//! 2. Blobs: a failure leaves blobs that nothing refers to.
//! 3. The manifest: a refusal leaves those blobs.
//! 4. The digest tag, where the API is missing: a failure leaves a manifest that is not listed; the same command again lists it.

use crate::arguments::{AttachArgs, PutArgs, ReferenceArgs};
use crate::content::{self, Content};
use crate::manifest::{self, Built, Parts};
use cli::{Context, Failure};
use client::digest_tag::{self, Change, Written};
use client::progress::BlobOutcome;
use client::referrers::Support;
use client::{Condition, ExitCode, Manifest, Repository};
use generations::{ProducerPolicy, WhenApiIsMissing};
use oci::manifest::{ANNOTATION_ARTIFACT_TYPE, ANNOTATION_TITLE};
use oci::{Annotations, Descriptor, Digest, ImageReference, ManifestKind};
use serde_json::json;
use std::path::Path;

/// A reference to push.
struct Reference<'a> {
    image: ImageReference,
    content: Content,
    kind: ManifestKind,
    artifact_type: Option<String>,
    annotations: Annotations,
    arguments: &'a ReferenceArgs,
}

/// `attach FILE MEDIA_TYPE ARTIFACT_TYPE IMAGE`
///
/// # Errors
/// As [`push`]; unsupported for a generation that pushes no references.
pub async fn attach(attach: AttachArgs, policy: &ProducerPolicy, context: &Context) -> Result<(), Failure> {
    let kind = form(&attach.reference, policy)?;
    let mut content = content::of_file(&attach.file, &attach.media_type).await?;
    title(&mut content, Some(&attach.file), &attach.reference)?;
    let mut annotations =
        Annotations::from([(ANNOTATION_ARTIFACT_TYPE.to_owned(), attach.artifact_type.clone())]);
    annotations.extend(attach.reference.annotation.iter().cloned());
    let artifact_type = Some(attach.artifact_type).filter(|text| oci::media_type::is_valid(text));
    let reference = Reference {
        image: attach.image,
        content,
        kind,
        artifact_type,
        annotations,
        arguments: &attach.reference,
    };
    push(reference, policy, context).await
}

/// `artifact put --refers IMAGE`
///
/// # Errors
/// As [`attach`].
pub async fn put(put: PutArgs, policy: &ProducerPolicy, context: &Context) -> Result<(), Failure> {
    let kind = form(&put.reference, policy)?;
    let mut content = match &put.file {
        Some(file) => content::of_file(file, &put.file_media_type).await?,
        None => content::of_standard_input(&put.file_media_type).await?,
    };
    title(&mut content, put.file.as_deref(), &put.reference)?;
    let reference = Reference {
        image: put.refers,
        content,
        kind,
        artifact_type: put.artifact_type,
        annotations: put.reference.annotation.iter().cloned().collect(),
        arguments: &put.reference,
    };
    push(reference, policy, context).await
}

/// What a generation says that never pushes references.
pub fn never_pushes_references(policy: &ProducerPolicy) -> Failure {
    let (name, icon) = (policy.name, policy.icon);
    Failure::unsupported(format!(
        "a {name} producer {icon} never pushes references; it copies images. Nothing was sent"
    ))
}

/// The manifest to push: what was asked for, else what the generation pushes.
fn form(arguments: &ReferenceArgs, policy: &ProducerPolicy) -> Result<ManifestKind, Failure> {
    let of_generation = policy
        .reference_manifest
        .ok_or_else(|| never_pushes_references(policy))?;
    Ok(arguments.manifest_media_type.unwrap_or(of_generation))
}

fn title(content: &mut Content, file: Option<&Path>, arguments: &ReferenceArgs) -> Result<(), Failure> {
    if !arguments.file_title {
        return Ok(());
    }
    let name = file
        .and_then(Path::file_name)
        .and_then(|name| name.to_str())
        .ok_or_else(|| Failure::usage("--file-title needs a file with a name in UTF-8"))?;
    content.descriptor.annotations = Some(Annotations::from([(
        ANNOTATION_TITLE.to_owned(),
        name.to_owned(),
    )]));
    Ok(())
}

/// Pushes a reference.
///
/// # Errors
/// Every failure of the registry, with what was left in it.
async fn push(reference: Reference<'_>, policy: &ProducerPolicy, context: &Context) -> Result<(), Failure> {
    let repository = context.client()?.repository(&reference.image)?;
    let subject = resolve(&repository, &reference.image).await?;
    let listing = Listing::of(&repository, &subject, policy, context).await?;
    let built = manifest::build(
        reference.kind,
        &Parts {
            content: reference.content.descriptor.clone(),
            artifact_type: reference.artifact_type.clone(),
            annotations: reference.annotations.clone(),
            refers: subject.clone(),
            with_subject: reference.arguments.subject,
        },
    )
    .map_err(|kind| Failure::usage(format!("{} cannot hold a reference", kind.0.media_type())))?;

    let blobs = push_blobs(&repository, &reference.content, &built).await?;
    let indexed = push_manifest(&repository, &built, &blobs).await?;
    let written = match listing {
        Listing::DigestTag => Some(list(&repository, &subject, &built).await?),
        Listing::Registry | Listing::Unknown => None,
    };
    let confirmed = indexed == Some(subject.digest);
    if listing != Listing::DigestTag && !confirmed {
        tell_unconfirmed(context, listing);
    }
    let listing = match (listing, confirmed) {
        (Listing::Unknown, true) => Listing::Registry,
        (listing, _) => listing,
    };
    let pushed = Pushed {
        reference: &reference,
        repository: &repository,
        subject,
        manifest: built.manifest,
        listing,
        written,
    };
    pushed.report(context)
}

async fn resolve(repository: &Repository, image: &ImageReference) -> Result<Descriptor, Failure> {
    let found = repository.head_manifest(&image.target()).await?;
    found.ok_or_else(|| {
        let message =
            format!("{image} is not in the registry: there is nothing to refer to; nothing was written");
        Failure::new(ExitCode::NotFound, message)
    })
}

/// Who lists the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listing {
    /// The registry, by its referrers API.
    Registry,
    /// The digest tag, because the API is missing.
    DigestTag,
    /// Nobody was asked: this generation does nothing about it.
    Unknown,
}

impl Listing {
    /// Asks the referrers API, once, if the generation acts on its absence.
    async fn of(
        repository: &Repository,
        subject: &Descriptor,
        policy: &ProducerPolicy,
        context: &Context,
    ) -> Result<Listing, Failure> {
        match policy.when_api_is_missing {
            WhenApiIsMissing::Nothing => return Ok(Listing::Unknown),
            WhenApiIsMissing::PushDigestTag => {}
        }
        let unwritten = |error: client::Error| Failure::from(error).and("nothing was written");
        match repository
            .referrers_support(&subject.digest)
            .await
            .map_err(unwritten)?
        {
            Support::Api(_) => return Ok(Listing::Registry),
            Support::Missing => {}
            Support::NotAnIndex(answer) => context.warn_once(&answer.to_string()),
        }
        // A tag that holds something else is found out now rather than when the manifest is there.
        digest_tag::read(repository, &subject.digest)
            .await
            .map_err(unwritten)?;
        Ok(Listing::DigestTag)
    }

    const fn name(self) -> &'static str {
        match self {
            Listing::Registry => "referrers API",
            Listing::DigestTag => "digest tag",
            Listing::Unknown => "unknown",
        }
    }
}

/// Sends the config, if there is one, and the content. Returns the blobs that were not there before.
async fn push_blobs(
    repository: &Repository,
    content: &Content,
    built: &Built,
) -> Result<Vec<Digest>, Failure> {
    let mut sent = Vec::new();
    if let Some((descriptor, bytes)) = &built.config {
        let bytes = bytes::Bytes::from(bytes.clone());
        let outcome = repository.put_blob(descriptor, &bytes).await;
        note_sent(&mut sent, descriptor, outcome)?;
    }
    let outcome = repository.put_blob(&content.descriptor, &content.source).await;
    note_sent(&mut sent, &content.descriptor, outcome)?;
    Ok(sent)
}

fn note_sent(
    sent: &mut Vec<Digest>,
    blob: &Descriptor,
    outcome: client::Result<BlobOutcome>,
) -> Result<(), Failure> {
    match outcome {
        Ok(BlobOutcome::Present) => Ok(()),
        Ok(BlobOutcome::Copied | BlobOutcome::Mounted) => {
            sent.push(blob.digest);
            Ok(())
        }
        Err(error) => Err(Failure::from(error).and(left_blobs(sent))),
    }
}

/// Puts the manifest; returns the subject that the registry says it indexed it for.
async fn push_manifest(
    repository: &Repository,
    built: &Built,
    blobs: &[Digest],
) -> Result<Option<Digest>, Failure> {
    let put = repository
        .put_manifest(&built.manifest.digest.into(), &built.manifest, &Condition::Always)
        .await
        .map_err(|error| Failure::from(error).and(left_blobs(blobs)))?;
    Ok(put.subject)
}

/// What a failure before the manifest leaves behind.
fn left_blobs(blobs: &[Digest]) -> String {
    let names: Vec<String> = blobs.iter().map(Digest::to_string).collect();
    match names.as_slice() {
        [] => "nothing new was left in the registry".to_owned(),
        names => format!(
            "left in the registry, until it collects its garbage: blob {}, which nothing refers to",
            names.join(" and blob ")
        ),
    }
}

/// Lists the manifest under the subject's digest tag.
async fn list(repository: &Repository, subject: &Descriptor, built: &Built) -> Result<Written, Failure> {
    let manifest = &built.manifest;
    let view = manifest.view().map_err(|error| {
        Failure::new(
            ExitCode::Failed,
            format!("the manifest made here is wrong: {error}"),
        )
    })?;
    let size = manifest.bytes.len() as u64;
    let entry = view.referrer_descriptor(&manifest.media_type, manifest.digest, size);
    digest_tag::change(repository, &subject.digest, &[Change::Append(entry)], false)
        .await
        .map_err(|error| {
            Failure::from(error).and(format!(
                "left in the registry: manifest {}, which may not be listed; the same command again lists it",
                manifest.digest
            ))
        })
}

/// A person should know when nothing shows that the reference can be found.
fn tell_unconfirmed(context: &Context, listing: Listing) {
    let why = match listing {
        Listing::Registry => {
            "the registry has the referrers API but does not say that it indexed this reference by `refers`; if it is not \
             listed, push it with --subject"
        }
        Listing::DigestTag | Listing::Unknown => {
            "the registry does not say that it indexed this reference, and this generation pushes no digest tag"
        }
    };
    context.output.note(&format!("note: {why}"));
}

/// A reference that is in the registry.
struct Pushed<'a> {
    reference: &'a Reference<'a>,
    repository: &'a Repository,
    subject: Descriptor,
    manifest: Manifest,
    listing: Listing,
    written: Option<Written>,
}

impl Pushed<'_> {
    fn report(&self, context: &Context) -> Result<(), Failure> {
        let (repository, manifest) = (self.repository, &self.manifest);
        let how = match &self.written {
            Some(written) => format!("listed under digest tag {}", written.tag),
            None => match self.listing {
                Listing::Unknown => "who lists it is not known".to_owned(),
                listing => format!("listed by the {}", listing.name()),
            },
        };
        context.output.note(&format!(
            "{repository}@{} refers to {} as {}; {how}",
            manifest.digest, self.subject.digest, manifest.media_type
        ));
        let value = json!({
            "reference": format!("{repository}@{}", manifest.digest),
            "manifest": manifest.descriptor(),
            "subject": self.subject,
            "content": self.reference.content.descriptor,
            "listedBy": self.listing.name(),
            "digestTag": self.written.as_ref().map(|written| json!({
                "tag": written.tag,
                "attempts": written.attempts,
                "conditional": written.conditional,
            })),
        });
        let arguments = &self.reference.arguments.report;
        context.report(arguments, &manifest.digest.to_string(), &value)
    }
}
