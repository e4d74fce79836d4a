//! Samples of lists: tags and referrers. Each page's path and length are learnt, and its content checked, before the
//! measured time; within it every page must come back with the same length.

use crate::clients::{Exchange, Fixed};
use crate::connection::{Expect, Failure};
use crate::content;
use crate::fixtures::{Fixture, REFERRER_TYPES, Trouble, referrers_path, subject};
use crate::load::{self, Plan};
use crate::protocol::{Registry, json, next_page};
use crate::sample::{Bench, Sample, measure};
use crate::settings::Target;
use crate::workload::Unit;
use oci::routes::query_value;
use serde_json::Value;
use std::collections::HashSet;

/// Lists all tags, in one operation or a page an operation.
pub(crate) fn tags(bench: &mut Bench<'_>, target: &Target, in_pages: bool) -> Result<Sample, Trouble> {
    let scale = bench.settings.scale;
    let repository = bench
        .fixtures
        .repository(target, Fixture::Tags(scale.many_tags))?;
    let first = match in_pages {
        true => format!("/v2/{repository}/tags/list?n={}", scale.page),
        false => format!("/v2/{repository}/tags/list"),
    };
    let mut registry = Registry::new(target.address);
    let pages = load::runtime()?.block_on(walk(&mut registry, &first, "tags"))?;
    if in_pages
        && pages
            .first()
            .is_some_and(|page| page.entries.len() as u64 > scale.page)
    {
        return Err(Trouble::Unsupported("ignores n".to_owned()));
    }
    let listed: HashSet<&str> = pages
        .iter()
        .flat_map(|p| &p.entries)
        .filter_map(Value::as_str)
        .collect();
    let expected = (0..scale.many_tags).map(content::tag);
    let missing = expected.filter(|tag| !listed.contains(tag.as_str())).count();
    complete(&first, missing)?;
    take(bench, target, &registry, &pages, !in_pages)
}

/// Lists all referrers of the subject, or those of one type.
pub(crate) fn referrers(bench: &mut Bench<'_>, target: &Target, by_type: bool) -> Result<Sample, Trouble> {
    let count = bench.settings.scale.referrers;
    let repository = bench.fixtures.repository(target, Fixture::Referrers(count))?;
    let subject = subject();
    let wanted = content::artifact_type(3);
    let mut first = referrers_path(&repository, &subject.digest);
    if by_type {
        first = format!("{first}?artifactType={}", query_value(&wanted));
    }
    let mut registry = Registry::new(target.address);
    let pages = load::runtime()?.block_on(walk(&mut registry, &first, "manifests"))?;
    let entries = || pages.iter().flat_map(|page| &page.entries);
    if by_type && entries().any(|entry| entry["artifactType"] != wanted.as_str()) {
        return Err(Trouble::Unsupported("ignores artifactType".to_owned()));
    }
    let listed: HashSet<&str> = entries().filter_map(|entry| entry["digest"].as_str()).collect();
    let expected = (0..count).filter(|number| !by_type || number % REFERRER_TYPES == 3);
    let missing = expected
        .map(|number| oci::Digest::sha256(&content::referrer(&subject, number, REFERRER_TYPES)).to_string())
        .filter(|digest| !listed.contains(digest.as_str()))
        .count();
    complete(&first, missing)?;
    let mut sample = take(bench, target, &registry, &pages, true)?;
    sample.extra.insert("pages", pages.len() as f64);
    sample.extra.insert("entries", listed.len() as f64);
    Ok(sample)
}

/// One page of a list.
struct Page {
    path: String,
    bytes: u64,
    entries: Vec<Value>,
}

/// Reads a list to its end, following `Link`.
async fn walk(registry: &mut Registry, first: &str, field: &str) -> Result<Vec<Page>, Failure> {
    let mut pages = Vec::new();
    let mut next = Some(first.to_owned());
    while let Some(path) = next {
        let answer = registry.get(&path).await?;
        let mut body = json(&path, &answer)?;
        let Some(Value::Array(entries)) = body.get_mut(field).map(Value::take) else {
            let what = format!("the answer has no list of {field}");
            return Err(Failure::Content { request: path, what });
        };
        next = next_page(&answer);
        pages.push(Page {
            path,
            bytes: answer.body.len() as u64,
            entries,
        });
    }
    Ok(pages)
}

fn complete(path: &str, missing: usize) -> Result<(), Trouble> {
    if missing == 0 {
        return Ok(());
    }
    Err(Trouble::from(Failure::Content {
        request: format!("GET {path}"),
        what: format!("{missing} of the entries that were pushed are not listed"),
    }))
}

/// Reads the pages again and again, one client; all pages are one operation if `whole`.
fn take(
    bench: &Bench<'_>,
    target: &Target,
    registry: &Registry,
    pages: &[Page],
    whole: bool,
) -> Result<Sample, Trouble> {
    let requests = pages
        .iter()
        .map(|page| (registry.get_request(&page.path), Expect::content(page.bytes)));
    let exchanges: Vec<Exchange> = match whole {
        true => vec![requests.collect()],
        false => requests.map(|request| vec![request]).collect(),
    };
    let plan = Plan {
        threads: 1,
        ..bench.settings.plan()
    };
    measure(
        target,
        Unit::Milliseconds,
        Fixed::clients(target.address, 1, exchanges),
        plan,
    )
}
