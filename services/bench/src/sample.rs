//! One sample: one workload, one target, one round. Each act of the workload table is one function here.

use crate::clients::{Exchange, Fixed, Making, Mount, PushLarge, PushManifests, PushSmall};
use crate::connection::Expect;
use crate::content::{self, Blob};
use crate::fixtures::{Fixture, Fixtures, Trouble, mountable};
use crate::load::{self, Client, Outcome, Plan};
use crate::protocol::Registry;
use crate::settings::{Settings, Target};
use crate::wire::Method;
use crate::workload::{Act, Connections, Content, Unit, Workload};
use crate::{lists, lone, process};
use oci::Digest;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

/// What one sample found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sample {
    /// In the workload's unit.
    pub value: f64,
    /// Operations that the value is made of.
    pub operations: u64,
    /// Latency that half of the operations do not exceed, in milliseconds.
    pub p50_ms: Option<f64>,
    /// Latency that 99 in 100 operations do not exceed, in milliseconds.
    pub p99_ms: Option<f64>,
    /// Server CPU: seconds per GiB for workloads in MB/s, else microseconds per operation.
    pub cpu_cost: Option<f64>,
    /// The server's peak memory during the sample, in MiB.
    pub peak_mib: Option<f64>,
    /// How much of one core each thread of the load generator used.
    pub generator_share: f64,
    /// More that the workload says about itself.
    pub extra: BTreeMap<&'static str, f64>,
}

/// Clients of the small-image pushes.
const PUSHERS: usize = 8;

/// Operations of a sample that takes single latencies where the target is otherwise left alone.
pub const LONE_OPERATIONS: u64 = 200;

/// Takes samples; keeps what is between them.
#[derive(Debug)]
pub struct Bench<'a> {
    /// Sizes and times.
    pub settings: &'a Settings,
    /// What is stored already.
    pub fixtures: Fixtures<'a>,
    stores: lone::Stores,
    next: u64,
}

impl<'a> Bench<'a> {
    /// Numbers content from the present time, so that no earlier run pushed the same.
    pub fn new(settings: &'a Settings) -> Bench<'a> {
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Bench {
            settings,
            fixtures: Fixtures::new(settings),
            stores: lone::Stores::new(),
            next: since.as_secs() << 24,
        }
    }

    /// Numbers for content that nobody has pushed: this one and a million behind it.
    pub fn fresh_numbers(&mut self) -> u64 {
        self.next += 1 << 20;
        self.next
    }

    /// Takes one sample.
    ///
    /// # Errors
    /// `Trouble`: the workload then has no value on this target.
    pub fn sample(&mut self, workload: &Workload, target: &Target) -> Result<Sample, Trouble> {
        let mut sample = match workload.act {
            Act::Read(method, what, connections) => {
                self.read(target, workload.unit, method, what, connections)
            }
            Act::PushLarge { in_chunks } => self.push_large(target, in_chunks),
            Act::PushSmall { one_repository } => self.push_small(target, one_repository),
            Act::Mount => self.mount(target),
            Act::ListTags { in_pages } => lists::tags(self, target, in_pages),
            Act::PushTag => self.push_tag(target),
            Act::Attach => self.attach(target),
            Act::ListReferrers { by_type } => lists::referrers(self, target, by_type),
            Act::Mixed => self.mixed(target),
            Act::Idle => lone::idle(self.settings, target),
            Act::Start => lone::start(self.settings, target, &mut self.stores),
        }?;
        sample.extra.retain(|_, value| value.is_finite());
        Ok(sample)
    }

    fn read(
        &mut self,
        target: &Target,
        unit: Unit,
        method: Method,
        what: Content,
        connections: Connections,
    ) -> Result<Sample, Trouble> {
        let exchanges = self.reads(target, method, what)?;
        let count = match connections {
            Connections::Given => self.settings.connections,
            Connections::Exactly(count) => count,
        };
        let clients = Fixed::clients(target.address, count, exchanges);
        measure(target, unit, clients, self.settings.plan())
    }

    /// The requests of a read workload, with the fixture behind them.
    fn reads(&mut self, target: &Target, method: Method, what: Content) -> Result<Vec<Exchange>, Trouble> {
        let registry = Registry::new(target.address);
        let first = content::manifest(0);
        let tags = self.settings.scale.some_tags;
        let fixture = match what {
            Content::OneTag | Content::Digest | Content::SmallBlob => Fixture::OneTag,
            Content::SomeTags => Fixture::Tags(tags),
            Content::LargeBlob => Fixture::Large,
        };
        let repository = self.fixtures.repository(target, fixture)?;
        let manifest = |reference: &str| {
            let request = registry.manifest_request(method, &repository, reference);
            vec![(request, Expect::content(first.len() as u64))]
        };
        let blob = |digest: &Digest, bytes: u64| {
            let request = registry.blob_request(method, &repository, digest);
            vec![vec![(request, Expect::content(bytes))]]
        };
        Ok(match what {
            Content::OneTag => vec![manifest(content::TAG)],
            Content::SomeTags => (0..tags).map(|n| manifest(&content::tag(n))).collect(),
            Content::Digest => vec![manifest(&Digest::sha256(&first).to_string())],
            Content::SmallBlob => {
                let small = Blob::small();
                blob(&small.digest, small.content.len() as u64)
            }
            Content::LargeBlob => {
                let large = self.fixtures.large();
                blob(&large.blob(0).digest, large.len())
            }
        })
    }

    fn pusher(&mut self, target: &Target, in_chunks: bool) -> (PushLarge, u64) {
        let first = self.fresh_numbers();
        let pusher = PushLarge {
            registry: Registry::new(target.address),
            blobs: self.fixtures.large(),
            repository: self.settings.repository(target, "pushed"),
            first,
            chunk_bytes: in_chunks.then_some(self.settings.scale.chunk_bytes),
        };
        (pusher, first)
    }

    fn push_large(&mut self, target: &Target, in_chunks: bool) -> Result<Sample, Trouble> {
        let (pusher, first) = self.pusher(target, in_chunks);
        settle();
        let plan = Plan {
            budget: Some(self.settings.scale.large_pushes),
            ..self.settings.plan()
        };
        let before = target.pid.and_then(process::usage);
        let mut sample = measure(target, Unit::MegabytesPerSecond, vec![pusher], plan)?;
        if let (Some(before), Some(peak)) = (before, sample.peak_mib) {
            sample
                .extra
                .insert("more memory MiB", peak - mebibytes(before.resident_kib));
        }
        self.remove_pushed(target, first, sample.operations)?;
        Ok(sample)
    }

    /// Gives the disk back, where the registry deletes blobs.
    fn remove_pushed(&self, target: &Target, first: u64, count: u64) -> Result<(), Trouble> {
        let repository = self.settings.repository(target, "pushed");
        let large = self.fixtures.large();
        let mut registry = Registry::new(target.address);
        let runtime = load::runtime()?;
        for number in first..first + count {
            runtime.block_on(registry.delete_blob(&repository, &large.blob(number).digest))?;
        }
        Ok(())
    }

    fn push_small(&mut self, target: &Target, one_repository: bool) -> Result<Sample, Trouble> {
        let first = self.fresh_numbers();
        let clients = (0..PUSHERS).map(|number| {
            let name = if one_repository {
                "shared".to_owned()
            } else {
                format!("own-{number}")
            };
            PushSmall {
                registry: Registry::new(target.address),
                repository: self.settings.repository(target, &name),
                first,
            }
        });
        let clients: Vec<PushSmall> = clients.collect();
        settle();
        measure(target, Unit::PerSecond, clients, self.settings.plan())
    }

    fn mount(&mut self, target: &Target) -> Result<Sample, Trouble> {
        let source = self.fixtures.repository(target, Fixture::MountSource)?;
        let number = self.fresh_numbers();
        let into = self.settings.repository(target, &format!("mounted-{number}"));
        let blobs = mountable();
        let clients = (0..self.settings.connections).map(|_| Mount {
            registry: Registry::new(target.address),
            source: source.clone(),
            into: into.clone(),
            blobs: blobs.clone(),
        });
        let clients: Vec<Mount> = clients.collect();
        settle();
        let mut sample = measure(target, Unit::PerSecond, clients, self.settings.plan())?;
        let start = Instant::now();
        let large = self.fixtures.large().blob(0).digest;
        let mut registry = Registry::new(target.address);
        load::runtime()?.block_on(registry.mount(&format!("{into}-large"), &large, &source))?;
        sample
            .extra
            .insert("large blob ms", start.elapsed().as_secs_f64() * 1e3);
        Ok(sample)
    }

    fn push_tag(&mut self, target: &Target) -> Result<Sample, Trouble> {
        let full = self
            .fixtures
            .repository(target, Fixture::Tags(self.settings.scale.many_tags))?;
        let number = self.fresh_numbers();
        let empty = self.settings.repository(target, &format!("empty-{number}"));
        let shared = vec![content::config(), Blob::small()];
        self.fixtures.push_blobs(target, &empty, shared)?;
        self.one_more(target, [full, empty], &Making::Tagged)
    }

    fn attach(&mut self, target: &Target) -> Result<Sample, Trouble> {
        let fixture = Fixture::Referrers(self.settings.scale.referrers);
        let full = self.fixtures.repository(target, fixture)?;
        let number = self.fresh_numbers();
        let empty = self.settings.repository(target, &format!("empty-{number}"));
        let shared = vec![content::config(), Blob::small()];
        self.fixtures.push_blobs(target, &empty, shared)?;
        let making = Making::Referrers(
            Box::new(crate::fixtures::subject()),
            crate::fixtures::REFERRER_TYPES,
        );
        self.one_more(target, [full, empty], &making)
    }

    /// Pushes manifests into a full and an empty repository, one client at a time; the value is the full one's.
    fn one_more(
        &mut self,
        target: &Target,
        [full, empty]: [String; 2],
        making: &Making,
    ) -> Result<Sample, Trouble> {
        let first = self.fresh_numbers();
        let pusher = |repository: String| PushManifests {
            registry: Registry::new(target.address),
            repository,
            making: making.clone(),
            first,
        };
        let plan = Plan {
            budget: Some(LONE_OPERATIONS),
            ..self.settings.plan()
        };
        settle();
        let when_empty = measure(target, Unit::Milliseconds, vec![pusher(empty)], plan)?;
        let mut sample = measure(target, Unit::Milliseconds, vec![pusher(full)], plan)?;
        sample.extra.insert("when empty ms", when_empty.value);
        Ok(sample)
    }

    fn mixed(&mut self, target: &Target) -> Result<Sample, Trouble> {
        let exchanges = self.reads(target, Method::Get, Content::OneTag)?;
        let readers = Fixed::clients(target.address, self.settings.connections, exchanges);
        let (pusher, first) = self.pusher(target, false);
        let plan = self.settings.plan();
        settle();
        let pushing = std::thread::spawn(move || load::run(vec![pusher], Plan { threads: 1, ..plan }));
        let sample = measure(target, Unit::PerSecond, readers, plan);
        let pushed = pushing
            .join()
            .map_err(|_| std::io::Error::other("the pushing thread panicked"))??;
        self.remove_pushed(target, first, pushed.operations)?;
        let mut sample = sample?;
        let megabytes = pushed.bytes as f64 / 1e6;
        sample
            .extra
            .insert("push MB/s", megabytes / pushed.elapsed.as_secs_f64());
        Ok(sample)
    }
}

/// Puts the load on and reads what the server used meanwhile.
///
/// # Errors
/// `Trouble::Failed`.
pub fn measure<C: Client>(
    target: &Target,
    unit: Unit,
    clients: Vec<C>,
    plan: Plan,
) -> Result<Sample, Trouble> {
    if let Some(pid) = target.pid {
        process::reset_peak(pid);
    }
    let before = target.pid.and_then(process::usage);
    let threads = plan.threads.clamp(1, clients.len().max(1));
    let outcome = load::run(clients, plan)?;
    let after = target.pid.and_then(process::usage);
    let cpu_seconds = before.zip(after).map(|(b, a)| a.cpu_seconds - b.cpu_seconds);
    Ok(Sample {
        value: value(unit, &outcome),
        operations: outcome.operations,
        p50_ms: milliseconds(&outcome, 0.5),
        p99_ms: milliseconds(&outcome, 0.99),
        cpu_cost: cpu_seconds.and_then(|seconds| cost(unit, &outcome, seconds)),
        peak_mib: after.map(|usage| mebibytes(usage.peak_kib)),
        generator_share: outcome.generator_cpu_seconds
            / outcome.elapsed.as_secs_f64().max(1e-9)
            / threads as f64,
        extra: BTreeMap::new(),
    })
}

/// KiB as MiB.
pub fn mebibytes(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

fn value(unit: Unit, outcome: &Outcome) -> f64 {
    match unit {
        Unit::PerSecond => outcome.rate(),
        Unit::MegabytesPerSecond => outcome.bytes as f64 / 1e6 / outcome.elapsed.as_secs_f64().max(1e-9),
        Unit::Milliseconds => milliseconds(outcome, 0.5).unwrap_or(f64::NAN),
        Unit::Mebibytes => f64::NAN,
    }
}

fn cost(unit: Unit, outcome: &Outcome, seconds: f64) -> Option<f64> {
    let gib = outcome.bytes as f64 / f64::from(1 << 30);
    match unit {
        Unit::MegabytesPerSecond if gib > 0.0 => Some(seconds / gib),
        Unit::PerSecond | Unit::Milliseconds if outcome.operations > 0 => {
            Some(seconds * 1e6 / outcome.operations as f64)
        }
        Unit::PerSecond | Unit::MegabytesPerSecond | Unit::Milliseconds | Unit::Mebibytes => None,
    }
}

fn milliseconds(outcome: &Outcome, share: f64) -> Option<f64> {
    outcome
        .latencies
        .percentile(share)
        .map(|latency| latency.as_secs_f64() * 1e3)
}

/// Has the system write out what earlier samples left in memory, so that this one does not pay for it.
fn settle() {
    let _ = std::process::Command::new("sync").status();
}
