//! `refs` and `artifact list`: the references to an image, as JSON, as a table, or through a template.

use crate::arguments::{FilterArgs, ListArgs, RefsArgs};
use crate::choose::shown_type;
use crate::find::{self, Found};
use crate::place::Place;
use cli::{Context, Failure, Template, progress};
use client::referrers::ApiPath;
use client::{ExitCode, RawAnswer, RawPages, Store};
use generations::ConsumerPolicy;
use oci::{ManifestRef, Route};
use serde_json::{Value, json};

/// `refs`: the index on standard output, to be piped; the table with `--long`.
///
/// # Errors
/// As [`find::find`].
pub async fn refs(refs: RefsArgs, policy: &ConsumerPolicy, context: &Context) -> Result<(), Failure> {
    let image = Place::open(&refs.image, context).await?;
    let found = look(&image, &refs.filter, policy, context).await?;
    match refs.long {
        false => context.output.json(&found.to_index()),
        true => context.report(&refs.report, &table(&found), &data(&image, &found)),
    }
}

/// `artifact list`: the table, or what `--format` asks for.
///
/// # Errors
/// A usage failure, before anything is sent, for a template that cannot be read; as [`find::find`].
pub async fn list(list: ListArgs, policy: &ConsumerPolicy, context: &Context) -> Result<(), Failure> {
    let format = list.format.as_deref().map(Format::parse).transpose()?;
    let image = Place::open(&list.image, context).await?;
    let found = look(&image, &list.filter, policy, context).await?;
    let data = data(&image, &found);
    match format {
        None => context.report(&list.report, &table(&found), &data),
        Some(Format::Template(template)) => context.output.text(&template.render(&data)?),
        Some(Format::Answer(part)) => {
            let pages = pages(&image, &list.filter, &found)?;
            show(pages, part, context).await
        }
    }
}

async fn look(
    image: &Place,
    filter: &FilterArgs,
    policy: &ConsumerPolicy,
    context: &Context,
) -> Result<Found, Failure> {
    find::must_know_references(policy)?;
    let subject = find::subject(image, filter.platform.as_ref()).await?;
    find::matching(&image.store, &subject, filter, policy, context).await
}

/// What `--format` says: one of regctl's shortcuts, or a template.
enum Format {
    Answer(Part),
    Template(Template),
}

/// What to show of an HTTP answer.
#[derive(Clone, Copy)]
enum Part {
    /// Status line, headers and body.
    All,
    Body,
    Headers,
}

impl Format {
    fn parse(text: &str) -> Result<Format, Failure> {
        match text {
            "raw" => Ok(Format::Answer(Part::All)),
            "body" | "rawBody" | "raw-body" => Ok(Format::Answer(Part::Body)),
            "headers" | "rawHeaders" | "raw-headers" => Ok(Format::Answer(Part::Headers)),
            template => Ok(Format::Template(Template::parse(template)?)),
        }
    }
}

impl Part {
    fn of(self, answer: &RawAnswer) -> Vec<u8> {
        let status = match self {
            Part::All => format!("HTTP {}\n", answer.status),
            Part::Body | Part::Headers => String::new(),
        };
        let headers: String = match self {
            Part::All | Part::Headers => {
                let line = |(name, value): &(String, String)| printable(&format!("{name}: {value}")) + "\n";
                answer.headers.iter().map(line).collect()
            }
            Part::Body => String::new(),
        };
        let mut shown = (status + &headers).into_bytes();
        match self {
            Part::All => shown.push(b'\n'),
            Part::Body => {}
            Part::Headers => return shown,
        }
        shown.extend_from_slice(&answer.body);
        shown
    }
}

/// Prints each page's answer as it comes. A further page begins on a line of its own; with headers, after an empty one.
async fn show(mut pages: RawPages, part: Part, context: &Context) -> Result<(), Failure> {
    let mut end: Option<u8> = None;
    while let Some(answer) = pages.next().await? {
        let shown = part.of(&answer);
        let gap: &[u8] = match (end, part) {
            (None, _) | (Some(b'\n'), Part::Body) => b"",
            (Some(b'\n'), Part::All | Part::Headers) | (Some(_), Part::Body) => b"\n",
            (Some(_), Part::All | Part::Headers) => b"\n\n",
        };
        context.output.data(gap)?;
        context.output.data(&shown)?;
        end = shown.last().copied().or(end);
    }
    Ok(())
}

/// The answers that have the list, asked for once more and as they come, filtered by the registry alone.
///
/// # Errors
/// Not found, where references are under a tag each, or nowhere: then no answer has a list.
fn pages(image: &Place, filter: &FilterArgs, found: &Found) -> Result<RawPages, Failure> {
    let repository = match &image.store {
        Store::Repository(repository) => repository,
        Store::Layout(_) => {
            return Err(Failure::usage(
                "raw, body and headers show the answer of a registry, and a layout gives none",
            ));
        }
    };
    let name = repository.name().clone();
    let route = match &found.list {
        Some(find::Source::Api(ApiPath::Artifacts)) => Route::ArtifactReferrers(name, found.subject),
        Some(find::Source::Api(ApiPath::Referrers)) => Route::Referrers(name, found.subject),
        Some(find::Source::DigestTag(tag) | find::Source::TagPrefix(tag)) => {
            Route::Manifest(name, ManifestRef::Tag(tag.clone()))
        }
        Some(find::Source::Layout) | None => {
            let message = format!(
                "no answer of the registry lists the references to {image}, so there is none to show; without --format, or \
                 with '{{{{jsonPretty .Manifest}}}}', they are shown as one index"
            );
            return Err(Failure::new(ExitCode::NotFound, message));
        }
    };
    let mut path = route.to_string();
    if let (Some(find::Source::Api(_)), Some(wanted)) = (&found.list, filter.sent_artifact_type()) {
        path.push(if path.contains('?') { '&' } else { '?' });
        path.push_str("artifactType=");
        path.extend(wanted.bytes().map(|byte| format!("%{byte:02X}")));
    }
    Ok(repository.registry().pages(&path))
}

/// What templates and `--output json` see; the names are those of regctl, and `sources` is ours.
fn data(image: &Place, found: &Found) -> Value {
    let index = found.to_index();
    let sources: Vec<Value> = found
        .entries
        .iter()
        .map(|entry| json!({"digest": entry.descriptor.digest, "from": entry.source.to_string()}))
        .collect();
    let mut tags: Vec<String> = found
        .entries
        .iter()
        .filter_map(|entry| entry.source.tag())
        .collect();
    tags.dedup();
    json!({
        "subject": image.named(found.subject.into()),
        "descriptors": index["manifests"],
        "annotations": index.get("annotations").cloned().unwrap_or_else(|| json!({})),
        "tags": tags,
        "manifest": index,
        "sources": sources,
    })
}

impl find::Source {
    fn tag(&self) -> Option<String> {
        match self {
            find::Source::Api(_) | find::Source::Layout => None,
            find::Source::DigestTag(tag) | find::Source::TagPrefix(tag) => Some(tag.to_string()),
        }
    }
}

/// One line for each reference: digest, type, manifest's media type, size, and where it was found.
fn table(found: &Found) -> String {
    let mut rows = vec![["DIGEST", "TYPE", "MANIFEST", "SIZE", "FROM"].map(str::to_owned)];
    for entry in &found.entries {
        let descriptor = &entry.descriptor;
        let shown = shown_type(descriptor);
        rows.push([
            descriptor.digest.to_string(),
            printable(if shown.is_empty() { "-" } else { shown }),
            printable(&descriptor.media_type),
            progress::size(descriptor.size),
            entry.source.to_string(),
        ]);
    }
    columns(&rows)
}

/// Texts from a registry must not steer a terminal.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            line.push_str(&format!("{cell:width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_have_no_trailing_spaces() {
        let rows = [["A", "B"], ["long", "x"]].map(|row| row.map(str::to_owned));
        assert_eq!(columns(&rows), "A     B\nlong  x\n");
    }

    #[test]
    fn control_characters_never_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\nc"), "a\u{fffd}[31mb\u{fffd}c");
    }
}
