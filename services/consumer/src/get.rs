//! `artifact get`: the content of one reference, verified before any of it is shown.

use crate::arguments::{FilterArgs, GetArgs};
use crate::choose::shown_type;
use crate::fetch::fetch;
use crate::find::{self, Entry};
use crate::list::printable;
use crate::place::Place;
use cli::{Context, Failure, files};
use client::{ExitCode, Manifest, Store};
use generations::ConsumerPolicy;
use oci::manifest::ANNOTATION_TITLE;
use oci::{Descriptor, ManifestRef, ManifestView};
use std::collections::HashSet;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

/// How much is read at once from content that was kept aside, in bytes.
const PIECE_BYTES: usize = 256 * 1024;

/// Gets.
///
/// # Errors
/// Unsupported if this generation cannot parse the reference's manifest; not found; a usage failure if several references
/// or pieces of content are left to choose from; a failure of verification.
pub async fn run(get: GetArgs, policy: &ConsumerPolicy, context: &Context) -> Result<(), Failure> {
    find::must_know_references(policy)?;
    let place = Place::open(&get.image, context).await?;
    let manifest = reference(&place, &get, policy, context).await?;
    let view = parse(&manifest, policy)?;
    let pieces = choose_pieces(&view, &get)?;
    match &get.output {
        Some(folder) => to_folder(&place.store, &pieces, folder, context).await,
        None => to_standard_output(&place.store, &pieces, context).await,
    }
}

/// The manifest of the reference that is meant: the named one, if it is a reference, else the one to the named image.
async fn reference(
    place: &Place,
    get: &GetArgs,
    policy: &ConsumerPolicy,
    context: &Context,
) -> Result<Manifest, Failure> {
    let filter = &get.filter;
    let subject = match get.subject || filter.platform.is_some() {
        true => find::subject(place, filter.platform.as_ref()).await?,
        false => {
            let named = place.manifest().await?;
            if is_reference(&named) {
                refuse_filters(filter)?;
                return Ok(named);
            }
            named.digest
        }
    };
    let found = find::matching(&place.store, &subject, filter, policy, context).await?;
    let chosen = choose(&found.entries, place, policy)?;
    Ok(place
        .store
        .get_manifest(&ManifestRef::Digest(chosen.descriptor.digest))
        .await?)
}

/// A manifest that names a subject, or that has a form of its own for references.
fn is_reference(manifest: &Manifest) -> bool {
    match manifest.view() {
        Ok(view) => view.kind == oci::ManifestKind::Artifact || !view.subjects().is_empty(),
        // It is something that was put there; whether it can be parsed is told next.
        Err(_) => true,
    }
}

fn refuse_filters(filter: &FilterArgs) -> Result<(), Failure> {
    match filter.filter_artifact_type.is_some() || !filter.filter_annotation.is_empty() {
        true => Err(Failure::usage(
            "this is itself a reference to another manifest, so filters choose nothing; for the references to it, add --subject",
        )),
        false => Ok(()),
    }
}

/// The one reference that this generation can parse.
fn choose<'e>(entries: &'e [Entry], image: &Place, policy: &ConsumerPolicy) -> Result<&'e Entry, Failure> {
    let parsed = |entry: &&Entry| policy.parses_media_type(&entry.descriptor.media_type);
    let candidates: Vec<&Entry> = entries.iter().filter(parsed).collect();
    match (candidates.as_slice(), entries) {
        ([one], _) => Ok(one),
        ([], []) => Err(Failure::new(
            ExitCode::NotFound,
            format!("no reference to {image} was found"),
        )),
        ([], [first, ..]) => Err(cannot_parse(
            &first.descriptor.media_type,
            &first.descriptor,
            policy,
        )),
        (several, _) => {
            let mut message = format!(
                "{} references to {image} match: choose one with --filter-artifact-type or --filter-annotation, or by its \
                 digest:",
                several.len()
            );
            for entry in several {
                let descriptor = &entry.descriptor;
                message.push_str(&format!(
                    "\n  {}  {}",
                    descriptor.digest,
                    printable(shown_type(descriptor))
                ));
            }
            Err(Failure::usage(message))
        }
    }
}

fn cannot_parse(media_type: &str, descriptor: &Descriptor, policy: &ConsumerPolicy) -> Failure {
    let parses: Vec<&str> = policy.parses.iter().map(|kind| kind.media_type()).collect();
    Failure::unsupported(format!(
        "{} is of manifest type {}, which this generation ({} {}) cannot parse: it knows {}",
        descriptor.digest,
        printable(media_type),
        policy.name,
        policy.icon,
        parses.join(", ")
    ))
}

fn parse(manifest: &Manifest, policy: &ConsumerPolicy) -> Result<ManifestView, Failure> {
    if !policy.parses_media_type(&manifest.media_type) {
        return Err(cannot_parse(&manifest.media_type, &manifest.descriptor(), policy));
    }
    let view = manifest
        .view()
        .map_err(|error| Failure::new(ExitCode::Failed, format!("{}: {error}", manifest.digest)))?;
    match view.kind.is_list() {
        true => Err(Failure::unsupported(format!(
            "{} is an index: it has no content of its own; get one of its {} manifests by digest",
            manifest.digest,
            view.manifests.len()
        ))),
        false => Ok(view),
    }
}

fn choose_pieces(view: &ManifestView, get: &GetArgs) -> Result<Vec<Descriptor>, Failure> {
    let wanted = |piece: &&Descriptor| {
        get.file
            .as_deref()
            .is_none_or(|name| piece.annotation(ANNOTATION_TITLE) == Some(name))
            && get
                .file_media_type
                .as_deref()
                .is_none_or(|wanted| piece.media_type == wanted)
    };
    let pieces: Vec<Descriptor> = view.blobs.iter().filter(wanted).cloned().collect();
    if pieces.is_empty() {
        let message = format!("of its {} pieces of content, none is wanted", view.blobs.len());
        return Err(Failure::new(ExitCode::NotFound, message));
    }
    if pieces.len() > 1 && get.output.is_none() {
        let mut message = format!(
            "it has {} pieces of content: choose one with --file or --file-media-type, or write all with --output DIR:",
            pieces.len()
        );
        for piece in &pieces {
            let title = piece.annotation(ANNOTATION_TITLE).unwrap_or("-");
            message.push_str(&format!(
                "\n  {}  {}  {}",
                piece.digest,
                printable(&piece.media_type),
                printable(title)
            ));
        }
        return Err(Failure::usage(message));
    }
    Ok(pieces)
}

/// Every name is checked before anything is written.
async fn to_folder(
    store: &Store,
    pieces: &[Descriptor],
    folder: &Path,
    context: &Context,
) -> Result<(), Failure> {
    let places: Vec<PathBuf> = pieces
        .iter()
        .map(|piece| files::place_in(folder, &file_name(piece)))
        .collect::<Result<_, _>>()?;
    let mut taken = HashSet::new();
    if let Some(twice) = places.iter().find(|place| !taken.insert(place.as_path())) {
        let message = format!(
            "two pieces of content are named {}; nothing was written",
            twice.display()
        );
        return Err(Failure::new(ExitCode::Failed, message));
    }
    // All of it is verified before any of it is put in place.
    let mut ready = Vec::with_capacity(pieces.len());
    for (piece, place) in pieces.iter().zip(&places) {
        let mut file = files::WholeFile::create(place)?;
        fetch(store, piece, context, |bytes| file.write(bytes)).await?;
        ready.push(file.close());
    }
    for file in ready {
        let written = file.finish()?;
        context.output.text(&written.display().to_string())?;
    }
    Ok(())
}

/// Its title, else its digest.
fn file_name(piece: &Descriptor) -> String {
    match piece.annotation(ANNOTATION_TITLE) {
        Some(title) => title.to_owned(),
        None => format!("{}-{}", piece.digest.algorithm(), piece.digest.hex()),
    }
}

/// A reader of a pipe takes what it gets for the content, so all of it is verified, in a temporary file, before any is shown.
async fn to_standard_output(store: &Store, pieces: &[Descriptor], context: &Context) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(
            ExitCode::Failed,
            format!("cannot keep the content in a temporary file: {error}"),
        )
    };
    for piece in pieces {
        let mut kept = tempfile::tempfile().map_err(failed)?;
        fetch(store, piece, context, |bytes| {
            std::io::Write::write_all(&mut kept, bytes).map_err(failed)
        })
        .await?;
        kept.rewind().map_err(failed)?;
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            let count = kept.read(&mut buffer).map_err(failed)?;
            if count == 0 {
                break;
            }
            context.output.data(&buffer[..count])?;
        }
    }
    Ok(())
}
