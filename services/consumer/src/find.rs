//! Looks for the references to a subject where the generation looks, in its order, and remembers where each was found.

use crate::arguments::FilterArgs;
use crate::place::Place;
use cli::{Context, Failure};
use client::digest_tag::{self, TagIndex};
use client::referrers::{ApiAnswer, ApiPath};
use client::{ExitCode, Repository, Store};
use generations::{ConsumerPolicy, LookUp};
use oci::{Descriptor, Digest, ManifestRef, Platform, Tag, media_type};
use serde_json::{Value, json};

/// Where an entry was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The referrers API, on this path.
    Api(ApiPath),
    /// The index under the digest tag.
    DigestTag(Tag),
    /// A tag of the older form, one for each reference.
    TagPrefix(Tag),
    /// An OCI layout: the index under its digest tag, and manifests that it has.
    Layout,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::Api(path) => write!(f, "referrers API ({})", path.name()),
            Source::DigestTag(tag) => write!(f, "digest tag {tag}"),
            Source::TagPrefix(tag) => write!(f, "tag prefix {tag}"),
            Source::Layout => f.write_str("layout"),
        }
    }
}

/// A reference and where it was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What the list says of it.
    pub descriptor: Descriptor,
    /// Where the list is.
    pub source: Source,
}

/// The references to a subject.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The subject.
    pub subject: Digest,
    /// The index that lists them, as it came; made here if there was none.
    pub index: Value,
    /// Where the list is, if there is one list.
    pub list: Option<Source>,
    /// The references, in the order of the list.
    pub entries: Vec<Entry>,
}

impl Found {
    fn nothing(subject: Digest) -> Found {
        Found {
            subject,
            index: json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": []}),
            list: None,
            entries: Vec::new(),
        }
    }

    fn listed(subject: Digest, index: Value, descriptors: Vec<Descriptor>, source: &Source) -> Found {
        let entry = |descriptor| Entry {
            descriptor,
            source: source.clone(),
        };
        Found {
            subject,
            index,
            list: Some(source.clone()),
            entries: descriptors.into_iter().map(entry).collect(),
        }
    }

    /// The index with exactly the entries that are left: an empty list is `[]`, and no other field changes.
    pub fn to_index(&self) -> Value {
        let mut index = self.index.clone();
        let entries: Vec<Value> = self.entries.iter().map(|entry| json!(entry.descriptor)).collect();
        if let Some(fields) = index.as_object_mut() {
            fields.insert("manifests".to_owned(), Value::Array(entries));
        }
        index
    }

    /// What a person should know of the entries: those that this generation cannot parse, and a preference not met.
    pub fn tell(&self, policy: &ConsumerPolicy, context: &Context) {
        for note in notes(&self.entries, policy) {
            context.output.note(&note);
        }
    }
}

/// Refuses for a generation that does not know of references.
///
/// # Errors
/// Unsupported, with the reason.
pub fn must_know_references(policy: &ConsumerPolicy) -> Result<LookUp, Failure> {
    policy.look_up.ok_or_else(|| {
        Failure::unsupported(format!(
            "a {} consumer {} does not know of references: {}; use --generation intermediate or complete",
            policy.name, policy.icon, policy.description
        ))
    })
}

/// The digest that references to an image name; of one platform's image, if one is asked for.
///
/// # Errors
/// Not found, for an image or a platform that is not there.
pub async fn subject(image: &Place, platform: Option<&Platform>) -> Result<Digest, Failure> {
    if let Some(platform) = platform {
        let manifest = image.manifest().await?;
        let view = manifest
            .view()
            .map_err(|error| Failure::new(ExitCode::Failed, format!("{image}: {error}")))?;
        return match view.kind.is_list() {
            true => Ok(client::copy::select_platform(&view, &manifest.digest, platform)?.digest),
            false => Ok(manifest.digest),
        };
    }
    match &image.target {
        // References may be there before their subject is.
        ManifestRef::Digest(digest) => Ok(*digest),
        ManifestRef::Tag(_) => Ok(image.descriptor().await?.digest),
    }
}

/// Looks for the references to a subject: in a registry where the generation looks; a layout has one way of listing them.
///
/// `artifact_type` is a media type that the registry may filter by.
///
/// # Errors
/// Unsupported for a generation that does not know of references; every failure of a request but a 404 where there is
/// another place to look.
pub async fn find(
    store: &Store,
    subject: &Digest,
    artifact_type: Option<&str>,
    policy: &ConsumerPolicy,
    context: &Context,
) -> Result<Found, Failure> {
    let first = must_know_references(policy)?;
    let repository = match store {
        Store::Repository(repository) => repository,
        Store::Layout(layout) => {
            if let Some(index) = layout.digest_tag(subject).await? {
                warn_of_unreadable(&index, context);
            }
            let entries = client::referrers::filter(layout.referrers(subject).await?, artifact_type);
            let index = Found::nothing(*subject).index;
            return Ok(Found::listed(*subject, index, entries, &Source::Layout));
        }
    };
    let mut last = Found::nothing(*subject);
    match look(repository, subject, artifact_type, first, context).await? {
        Looked::Found(found) => return Ok(found),
        Looked::Nothing => {}
    }
    for place in policy.when_api_is_missing {
        if let Looked::Found(found) = look(repository, subject, artifact_type, *place, context).await? {
            let is_empty = found.entries.is_empty();
            // A list without what is wanted is still the list; places further on may have nothing of the kind.
            if !is_empty || last.list.is_none() {
                last = found;
            }
            if !is_empty {
                break;
            }
        }
    }
    Ok(last)
}

/// As [`find`], only those that the filters let through; what a person should know of them is told.
///
/// # Errors
/// As [`find`].
pub async fn matching(
    store: &Store,
    subject: &Digest,
    filter: &FilterArgs,
    policy: &ConsumerPolicy,
    context: &Context,
) -> Result<Found, Failure> {
    let mut found = find(store, subject, filter.sent_artifact_type(), policy, context).await?;
    filter.keep(&mut found);
    found.tell(policy, context);
    Ok(found)
}

/// What one place had.
enum Looked {
    /// A list, which may be empty.
    Found(Found),
    /// No list at all.
    Nothing,
}

async fn look(
    repository: &Repository,
    subject: &Digest,
    artifact_type: Option<&str>,
    place: LookUp,
    context: &Context,
) -> Result<Looked, Failure> {
    match place {
        LookUp::Api => match repository.referrers(subject, artifact_type).await? {
            ApiAnswer::Listed(listing) => {
                let source = Source::Api(listing.path);
                Ok(Looked::Found(Found::listed(
                    *subject,
                    listing.index,
                    listing.entries,
                    &source,
                )))
            }
            ApiAnswer::Missing => Ok(Looked::Nothing),
            ApiAnswer::NotAnIndex(answer) => {
                context.warn_once(&answer.to_string());
                Ok(Looked::Nothing)
            }
        },
        LookUp::DigestTag => match digest_tag::read(repository, subject).await? {
            Some(index) => {
                warn_of_unreadable(&index, context);
                let entries = client::referrers::filter(index.entries, artifact_type);
                let source = Source::DigestTag(index.tag);
                Ok(Looked::Found(Found::listed(
                    *subject,
                    index.document,
                    entries,
                    &source,
                )))
            }
            None => Ok(Looked::Nothing),
        },
        LookUp::TagPrefix => by_prefix(repository, subject, artifact_type).await,
    }
}

/// What cannot be read is not shown, but never kept quiet.
fn warn_of_unreadable(index: &TagIndex, context: &Context) {
    for (position, why) in &index.unreadable {
        let tag = &index.tag;
        context
            .output
            .warn(&format!("{tag}: entry {position} cannot be read: {why}"));
    }
}

/// One tag for each reference: there is no list, so what it would say is read from each manifest.
async fn by_prefix(
    repository: &Repository,
    subject: &Digest,
    artifact_type: Option<&str>,
) -> Result<Looked, Failure> {
    let mut found = Found::nothing(*subject);
    for tag in digest_tag::prefixed(repository, subject).await? {
        let Some(manifest) = repository
            .try_get_manifest(&ManifestRef::Tag(tag.clone()))
            .await?
        else {
            // Deleted since the tags were listed.
            continue;
        };
        let size = manifest.bytes.len() as u64;
        let descriptor = match manifest.view() {
            Ok(view) => view.referrer_descriptor(&manifest.media_type, manifest.digest, size),
            Err(_) => manifest.descriptor(),
        };
        found.entries.extend(
            client::referrers::filter(vec![descriptor], artifact_type)
                .into_iter()
                .map(|descriptor| Entry {
                    descriptor,
                    source: Source::TagPrefix(tag.clone()),
                }),
        );
    }
    Ok(Looked::Found(found))
}

fn notes(entries: &[Entry], policy: &ConsumerPolicy) -> Vec<String> {
    let mut notes = Vec::new();
    for entry in entries {
        let Descriptor {
            media_type, digest, ..
        } = &entry.descriptor;
        if !policy.parses_media_type(media_type) {
            notes.push(format!(
                "note: {digest} is of a manifest type that this generation ({}) cannot parse: {media_type}",
                policy.name
            ));
        }
    }
    if let Some(preferred) = policy.prefers {
        let others = |entry: &&Entry| {
            let media_type = &entry.descriptor.media_type;
            policy.parses_media_type(media_type) && media_type != preferred.media_type()
        };
        let count = entries.iter().filter(others).count();
        if count > 0 {
            notes.push(format!(
                "note: {count} of {} references would have been preferred as {} by this generation ({})",
                entries.len(),
                preferred.media_type(),
                policy.name
            ));
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use generations::ConsumerGeneration;

    fn entries(media_types: &[&str]) -> Vec<Entry> {
        let entry = |media_type: &&str| Entry {
            descriptor: Descriptor::of(*media_type, media_type.as_bytes()),
            source: Source::Api(ApiPath::Artifacts),
        };
        media_types.iter().map(entry).collect()
    }

    #[test]
    fn the_complete_consumer_tells_its_preference_for_artifact_manifests() {
        let policy = ConsumerGeneration::Complete.policy();
        assert_eq!(
            notes(&entries(&[media_type::OCI_ARTIFACT]), policy),
            Vec::<String>::new()
        );
        let told = notes(
            &entries(&[media_type::OCI_MANIFEST, media_type::OCI_ARTIFACT]),
            policy,
        );
        assert_eq!(told.len(), 1);
        assert!(
            told[0].contains("1 of 2 references would have been preferred as application/vnd.oci.artifact")
        );
    }

    #[test]
    fn the_intermediate_consumer_names_what_it_cannot_parse() {
        let policy = ConsumerGeneration::Intermediate.policy();
        let told = notes(
            &entries(&[media_type::OCI_MANIFEST, media_type::OCI_ARTIFACT]),
            policy,
        );
        assert_eq!(told.len(), 1);
        assert!(
            told[0].contains("cannot parse: application/vnd.oci.artifact.manifest.v1+json"),
            "{told:?}"
        );
    }

    #[test]
    fn the_current_consumer_refuses_with_the_reason() {
        let refused = must_know_references(ConsumerGeneration::Current.policy()).expect_err("unsupported");
        assert_eq!(refused.code, ExitCode::Unsupported);
        assert!(
            refused.message.contains("does not know of references"),
            "{refused:?}"
        );
    }

    #[test]
    fn the_printed_index_has_the_entries_that_are_left_and_every_other_field() {
        let mut found = Found::nothing(Digest::sha256(b"subject"));
        assert_eq!(found.to_index()["manifests"], json!([]));
        found.index = json!({"schemaVersion": 2, "manifests": [1, 2, 3], "x-note": true});
        found.entries = entries(&[media_type::OCI_MANIFEST]);
        let index = found.to_index();
        assert_eq!(index["manifests"].as_array().map(Vec::len), Some(1));
        assert_eq!(index["x-note"], json!(true));
    }
}
