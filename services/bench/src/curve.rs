//! How cost grows with what is stored: the same few operations at 10, 1,000 and 100,000 tags, repositories, referrers of one
//! subject, and subjects.

use crate::clients::{Exchange, Fixed, Making, PushManifests};
use crate::connection::Expect;
use crate::content::{self, Blob};
use crate::fixtures::{
    Fixtures, REFERRER_TYPES, Trouble, referrers_path, require_referrers_api, subject, subject_of,
};
use crate::load::{self, Plan};
use crate::protocol::Registry;
use crate::report::number;
use crate::sample::{LONE_OPERATIONS, measure};
use crate::settings::{Settings, Target};
use crate::wire::Method;
use crate::workload::Unit;

/// What is stored more and more of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Growing {
    Tags,
    Repositories,
    Referrers,
    Subjects,
}

impl Growing {
    const ALL: [Growing; 4] = [
        Growing::Tags,
        Growing::Repositories,
        Growing::Referrers,
        Growing::Subjects,
    ];

    const fn name(self) -> &'static str {
        match self {
            Growing::Tags => "tags",
            Growing::Repositories => "repositories",
            Growing::Referrers => "referrers of one subject",
            Growing::Subjects => "subjects with a list of referrers each",
        }
    }
}

impl Growing {
    /// The end of a repository's name.
    const fn repository(self) -> &'static str {
        match self {
            Growing::Tags => "tags",
            Growing::Repositories => "repositories",
            Growing::Referrers => "referrers",
            Growing::Subjects => "subjects",
        }
    }
}

/// What is measured at each size: GET a second, then milliseconds of one more and of one page of the list.
struct Point {
    size: u64,
    pulls: f64,
    one_more: f64,
    page: f64,
}

/// Measures one target at growing sizes and prints a line for each.
///
/// # Errors
/// `Trouble::Failed`, `SetUpTooLong`. Where there is no referrers API, that part is left out.
pub fn run(settings: &Settings, target: &Target, sizes: &[u64]) -> Result<(), Trouble> {
    for growing in Growing::ALL {
        match points(settings, target, growing, sizes) {
            Err(Trouble::Unsupported(why)) => println!("{}: {}: {why}", target.name, growing.name()),
            Err(trouble) => return Err(trouble),
            Ok(()) => {}
        }
    }
    Ok(())
}

fn points(settings: &Settings, target: &Target, growing: Growing, sizes: &[u64]) -> Result<(), Trouble> {
    let fixtures = Fixtures::new(settings);
    let repository = settings.repository(target, &format!("curve-{}", growing.repository()));
    if matches!(growing, Growing::Referrers | Growing::Subjects) {
        require_referrers_api(target, &repository, &subject().digest)?;
    }
    fixtures.push_blobs(target, &repository, vec![content::config(), Blob::small()])?;
    fixtures.put_first(target, &repository)?;
    let making = match growing {
        Growing::Tags => Making::Tagged,
        Growing::Repositories => Making::Repositories(repository.clone()),
        Growing::Referrers => Making::Referrers(Box::new(subject()), REFERRER_TYPES),
        Growing::Subjects => Making::Subjects,
    };
    println!("{}: {}", target.name, growing.name());
    let mut stored = 0;
    for size in sizes {
        fixtures.push_manifests(target, &repository, &making, stored..*size)?;
        stored = (*size).max(stored);
        let point = measure_at(settings, target, growing, &repository, &making, stored)?;
        println!(
            "  {:>9} stored: GET {:>8}/s   one more {:>7} ms   a page {:>7} ms",
            point.size,
            number(point.pulls),
            number(point.one_more),
            number(point.page),
        );
    }
    Ok(())
}

fn measure_at(
    settings: &Settings,
    target: &Target,
    growing: Growing,
    repository: &str,
    making: &Making,
    size: u64,
) -> Result<Point, Trouble> {
    let mut registry = Registry::new(target.address);
    let manifest = match growing {
        Growing::Tags => registry.manifest_request(Method::Get, repository, &content::tag(size / 2)),
        Growing::Repositories => {
            let middle = format!("{repository}-{:07}", size / 2);
            registry.manifest_request(Method::Get, &middle, content::TAG)
        }
        Growing::Referrers | Growing::Subjects => {
            registry.manifest_request(Method::Get, repository, content::TAG)
        }
    };
    let bytes = content::manifest(0).len() as u64;
    let pull: Vec<Exchange> = vec![vec![(manifest, Expect::content(bytes))]];
    let pullers = Fixed::clients(target.address, settings.connections, pull);
    let pulls = measure(target, Unit::PerSecond, pullers, settings.plan())?.value;

    let path = match growing {
        Growing::Tags => format!("/v2/{repository}/tags/list?n=100&last={}", content::tag(size / 2)),
        Growing::Repositories => format!("/v2/_catalog?n=100&last={repository}-{:07}", size / 2),
        Growing::Referrers => referrers_path(repository, &subject().digest),
        Growing::Subjects => referrers_path(repository, &subject_of(size / 2).digest),
    };
    let lone = Plan {
        threads: 1,
        budget: Some(LONE_OPERATIONS),
        ..settings.plan()
    };
    let length = load::runtime()?.block_on(registry.get(&path))?.body.len() as u64;
    let list: Vec<Exchange> = vec![vec![(registry.get_request(&path), Expect::content(length))]];
    let page = measure(
        target,
        Unit::Milliseconds,
        Fixed::clients(target.address, 1, list),
        lone,
    )?
    .value;

    // Numbers far behind those that later sizes will push, so that each of them is one more.
    let pusher = PushManifests {
        registry: Registry::new(target.address),
        repository: repository.to_owned(),
        making: making.clone(),
        first: 8_000_000 + size,
    };
    let one_more = measure(target, Unit::Milliseconds, vec![pusher], lone)?.value;
    Ok(Point {
        size,
        pulls,
        one_more,
        page,
    })
}
