//! `lint`: holds every list of references of an image against the manifests that it lists.

use crate::arguments::LintArgs;
use crate::find;
use crate::place::Place;
use cli::inspect::{self, Problem};
use cli::{Context, Failure, progress::count};
use client::digest_tag::TagIndex;
use client::referrers::ApiAnswer;
use client::{ExitCode, Store};
use generations::ConsumerPolicy;
use oci::{Descriptor, Digest};
use serde::Serialize;
use serde_json::json;

/// Something that is wrong in a list.
#[derive(Serialize)]
struct Finding {
    /// `referrers API` or the digest tag.
    list: String,
    /// The entry; none if it is no descriptor.
    digest: Option<Digest>,
    #[serde(flatten)]
    problem: Problem,
    /// The problem for a person.
    message: String,
}

impl Finding {
    fn new(list: &str, digest: Option<Digest>, problem: Problem) -> Finding {
        Finding {
            list: list.to_owned(),
            digest,
            message: problem.to_string(),
            problem,
        }
    }
}

/// What was checked.
#[derive(Default)]
struct Checked {
    lists: Vec<String>,
    entries: usize,
    findings: Vec<Finding>,
}

/// Checks; anything found makes the command fail.
///
/// # Errors
/// Failed, with the number of findings; as [`find::find`].
pub async fn run(lint: LintArgs, policy: &ConsumerPolicy, context: &Context) -> Result<(), Failure> {
    find::must_know_references(policy)?;
    let place = Place::open(&lint.image, context).await?;
    let subject = find::subject(&place, None).await?;
    let checked = check(&place.store, &subject, context).await?;
    let mut text = String::new();
    for finding in &checked.findings {
        let what = finding
            .digest
            .map_or_else(|| "-".to_owned(), |digest| digest.to_string());
        text.push_str(&format!("{}: {what}: {}\n", finding.list, finding.message));
    }
    let value = json!({
        "subject": subject,
        "lists": checked.lists,
        "entries": checked.entries,
        "findings": checked.findings,
    });
    context.report(&lint.report, &text, &value)?;
    context
        .output
        .note(&match (checked.lists.as_slice(), &place.store) {
            ([], Store::Repository(_)) => {
                "nothing to check: the registry has neither the referrers API nor a digest tag of this image"
                    .to_owned()
            }
            ([], Store::Layout(_)) => {
                "nothing to check: the layout has no digest tag of this image".to_owned()
            }
            (lists, _) => format!(
                "{} checked in {}",
                count(checked.entries, "entry"),
                lists.join(" and ")
            ),
        });
    match checked.findings.len() {
        0 => Ok(()),
        found => {
            let message = format!("{} found", count(found, "problem"));
            Err(Failure::new(ExitCode::Failed, message))
        }
    }
}

async fn check(store: &Store, subject: &Digest, context: &Context) -> Result<Checked, Failure> {
    let mut checked = Checked::default();
    let indexed = match store {
        Store::Repository(_) => check_api(store, subject, context, &mut checked).await?,
        Store::Layout(_) => None,
    };
    if let Some(index) = store.digest_tag(subject).await? {
        let list = format!("digest tag {}", index.tag);
        if let Store::Layout(layout) = store {
            let known = layout.referrers(subject).await?;
            checked.add_missing(&list, &known, &index.entries, Problem::NotTagged);
        }
        check_tag(store, subject, &list, index, indexed.as_deref(), &mut checked).await?;
    }
    Ok(checked)
}

/// Checks what the API lists, and gives it.
async fn check_api(
    store: &Store,
    subject: &Digest,
    context: &Context,
    checked: &mut Checked,
) -> Result<Option<Vec<Descriptor>>, Failure> {
    let Store::Repository(repository) = store else {
        return Ok(None);
    };
    match repository.referrers(subject, None).await? {
        ApiAnswer::Listed(listing) => {
            const LIST: &str = "referrers API";
            let all: Vec<Descriptor> = listing.entries.iter().chain(&listing.repeated).cloned().collect();
            checked.add(LIST, inspect::inspect(store, subject, &all).await?);
            Ok(Some(listing.entries))
        }
        ApiAnswer::Missing => Ok(None),
        ApiAnswer::NotAnIndex(answer) => {
            context.warn_once(&answer.to_string());
            Ok(None)
        }
    }
}

/// Checks the index under the digest tag; `indexed` is what the API lists, where there is one.
async fn check_tag(
    store: &Store,
    subject: &Digest,
    list: &str,
    index: TagIndex,
    indexed: Option<&[Descriptor]>,
    checked: &mut Checked,
) -> Result<(), Failure> {
    let inspected = inspect::inspect(store, subject, &index.entries).await?;
    if let Some(indexed) = indexed {
        let there: Vec<Descriptor> = inspected
            .iter()
            .filter(|found| !found.problems.contains(&Problem::Unreachable))
            .map(|found| found.entry.clone())
            .collect();
        checked.add_missing(list, &there, indexed, Problem::NotIndexed);
    }
    checked.add(list, inspected);
    for (position, why) in index.unreadable {
        let why = format!("position {position}: {why}");
        checked
            .findings
            .push(Finding::new(list, None, Problem::UnreadableEntry { why }));
    }
    Ok(())
}

impl Checked {
    /// Each of `known` that is not among `listed` has this problem.
    fn add_missing(&mut self, list: &str, known: &[Descriptor], listed: &[Descriptor], problem: Problem) {
        for entry in known {
            if !listed.iter().any(|other| other.digest == entry.digest) {
                self.findings
                    .push(Finding::new(list, Some(entry.digest), problem.clone()));
            }
        }
    }

    fn add(&mut self, list: &str, inspected: Vec<inspect::Inspected>) {
        self.lists.push(list.to_owned());
        self.entries += inspected.len();
        for found in inspected {
            let digest = found.entry.digest;
            let findings = found
                .problems
                .into_iter()
                .map(|problem| Finding::new(list, Some(digest), problem));
            self.findings.extend(findings);
        }
    }
}
