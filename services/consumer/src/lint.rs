//! `lint`: holds every list of references of an image against the manifests that it lists.

use crate::arguments::LintArgs;
use crate::find;
use crate::place::Place;
use cli::inspect::{self, Problem};
use cli::{Context, Failure};
use client::digest_tag;
use client::referrers::ApiAnswer;
use client::{ExitCode, Location, Repository};
use generations::ConsumerPolicy;
use oci::Digest;
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
    let repository = context.client()?.repository(&lint.image)?;
    let place = Place::open(&Location::Registry(lint.image), context).await?;
    let subject = find::subject(&place, None).await?;
    let checked = check(&repository, &subject, context).await?;
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
    context.output.note(&format!(
        "{} entries checked in {}",
        checked.entries,
        match checked.lists.as_slice() {
            [] => "no list: the registry has neither the referrers API nor a digest tag of this image"
                .to_owned(),
            lists => lists.join(" and "),
        }
    ));
    match checked.findings.len() {
        0 => Ok(()),
        count => Err(Failure::new(ExitCode::Failed, format!("{count} problems found"))),
    }
}

async fn check(repository: &Repository, subject: &Digest, context: &Context) -> Result<Checked, Failure> {
    let mut checked = Checked::default();
    let mut indexed = None;
    match repository.referrers(subject, None).await? {
        ApiAnswer::Listed(listing) => {
            const LIST: &str = "referrers API";
            checked.add(
                LIST,
                inspect::inspect(repository, subject, &listing.entries).await?,
            );
            indexed = Some(listing.entries);
        }
        ApiAnswer::Missing => {}
        ApiAnswer::NotAnIndex(answer) => {
            let found = &answer.found;
            context
                .output
                .warn(&format!("{} answered 200, but with {found}", answer.url));
        }
    }
    if let Some(index) = digest_tag::read(repository, subject).await? {
        let list = format!("digest tag {}", index.tag);
        let inspected = inspect::inspect(repository, subject, &index.entries).await?;
        for found in &inspected {
            let digest = found.entry.digest;
            let is_indexed = indexed
                .as_ref()
                .is_none_or(|known| known.iter().any(|entry| entry.digest == digest));
            if !is_indexed && !found.problems.contains(&Problem::Unreachable) {
                checked
                    .findings
                    .push(Finding::new(&list, Some(digest), Problem::NotIndexed));
            }
        }
        checked.add(&list, inspected);
        for (position, why) in index.unreadable {
            let why = format!("position {position}: {why}");
            checked
                .findings
                .push(Finding::new(&list, None, Problem::UnreadableEntry { why }));
        }
    }
    Ok(checked)
}

impl Checked {
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
