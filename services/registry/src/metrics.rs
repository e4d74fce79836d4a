//! What is counted, and its text form for Prometheus.
//!
//! Each worker thread counts in a [`Shard`] of its own, so counting is an addition to memory that no other thread writes;
//! the shards are added up when somebody asks. Nothing here knows where the numbers come from or who serves them.

use oci::RawRoute;
use std::{
    fmt::Write,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// The routes that requests are counted by; a label never holds a name or a digest.
const ROUTES: [&str; 12] = [
    "other",
    "base",
    "catalog",
    "discover",
    "tags",
    "manifest",
    "blob",
    "uploads",
    "upload",
    "referrers",
    "livez",
    "readyz",
];

/// The methods that requests are counted by.
const METHODS: [&str; 7] = ["other", "GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"];

/// The statuses that requests are counted by; 0 stands for every other one.
const STATUSES: [u16; 26] = [
    0, 200, 201, 202, 204, 206, 304, 307, 400, 401, 403, 404, 405, 406, 408, 409, 412, 413, 414, 416, 429,
    431, 499, 500, 503, 507,
];

/// Upper bounds of the latency histogram in seconds: a cached HEAD takes fractions of a millisecond, a large blob minutes.
const BUCKETS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5, 10.0, 60.0,
];

/// The route of a path, as an index into [`ROUTES`].
pub fn route_index(path: &str) -> usize {
    match RawRoute::parse(path) {
        Some(RawRoute::Base) => 1,
        Some(RawRoute::Catalog) => 2,
        Some(RawRoute::Discover | RawRoute::DiscoverIn(_)) => 3,
        Some(RawRoute::Tags(_)) => 4,
        Some(RawRoute::Manifest(..)) => 5,
        Some(RawRoute::Blob(..)) => 6,
        Some(RawRoute::Uploads(_)) => 7,
        Some(RawRoute::Upload(..)) => 8,
        Some(RawRoute::Referrers(..) | RawRoute::ArtifactReferrers(_)) => 9,
        None => match path {
            "/livez" => 10,
            "/readyz" => 11,
            _ => 0,
        },
    }
}

/// One request that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// Index into [`ROUTES`], by [`route_index`].
    pub route: usize,
    /// The method as it came.
    pub method: &'a str,
    /// The status of the answer.
    pub status: u16,
    /// From the request's head to the end of the answer.
    pub duration: Duration,
    /// Bytes of the request's body.
    pub received: u64,
    /// Bytes of the answer's body.
    pub sent: u64,
    /// Whether a referrer was indexed.
    pub indexed: bool,
}

/// One thread's counters.
pub struct Shard {
    requests: Box<[AtomicU64]>,
    buckets: [[AtomicU64; BUCKETS.len() + 1]; ROUTES.len()],
    /// Nanoseconds, by route.
    time: [AtomicU64; ROUTES.len()],
    received: AtomicU64,
    sent: AtomicU64,
    indexed: AtomicU64,
    started: AtomicU64,
    ended: AtomicU64,
}

impl Shard {
    fn new() -> Shard {
        let count = ROUTES.len() * METHODS.len() * STATUSES.len();
        Shard {
            requests: (0..count).map(|_| AtomicU64::new(0)).collect(),
            buckets: Default::default(),
            time: Default::default(),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            indexed: AtomicU64::new(0),
            started: AtomicU64::new(0),
            ended: AtomicU64::new(0),
        }
    }

    /// Counts a request that begins.
    pub fn begin(&self) {
        self.started.fetch_add(1, Relaxed);
    }

    /// Counts a request that has ended.
    pub fn end(&self, sample: Sample<'_>) {
        let route = sample.route.min(ROUTES.len() - 1);
        let method = METHODS.iter().position(|m| *m == sample.method).unwrap_or(0);
        let status = STATUSES.iter().position(|s| *s == sample.status).unwrap_or(0);
        self.requests[cell(route, method, status)].fetch_add(1, Relaxed);
        let seconds = sample.duration.as_secs_f64();
        let bucket = BUCKETS
            .iter()
            .position(|bound| seconds <= *bound)
            .unwrap_or(BUCKETS.len());
        self.buckets[route][bucket].fetch_add(1, Relaxed);
        let nanoseconds = u64::try_from(sample.duration.as_nanos()).unwrap_or(u64::MAX);
        self.time[route].fetch_add(nanoseconds, Relaxed);
        self.received.fetch_add(sample.received, Relaxed);
        self.sent.fetch_add(sample.sent, Relaxed);
        self.indexed.fetch_add(u64::from(sample.indexed), Relaxed);
        self.ended.fetch_add(1, Relaxed);
    }
}

/// Where a combination stands in [`Shard::requests`].
const fn cell(route: usize, method: usize, status: usize) -> usize {
    (route * METHODS.len() + method) * STATUSES.len() + status
}

/// Numbers that are not counted by request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Upload sessions under way.
    pub uploads: u64,
    /// Bytes of content in the storage.
    pub storage_bytes: u64,
    /// Contents in the storage.
    pub storage_contents: u64,
    /// Bytes that garbage collection has removed since the start.
    pub collected_bytes: u64,
    /// Manifests and blobs that garbage collection has removed since the start.
    pub collected: u64,
    /// Referrers that were indexed when the storage was opened.
    pub referrers_indexed: u64,
}

/// Every counter of the process. Cloning shares them.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Mutex<Vec<Arc<Shard>>>>);

impl Metrics {
    /// Counters for one more thread.
    pub fn shard(&self) -> Arc<Shard> {
        let shard = Arc::new(Shard::new());
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::clone(&shard));
        shard
    }

    /// All numbers in Prometheus' text format, version 0.0.4.
    pub fn render(&self, gauges: &Gauges) -> String {
        let shards = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let sum = |pick: &dyn Fn(&Shard) -> &AtomicU64| {
            shards.iter().map(|shard| pick(shard).load(Relaxed)).sum::<u64>()
        };
        let mut page = Page::default();
        page.family("registry_http_requests_total", "counter", "Requests answered.");
        for (r, route) in ROUTES.iter().enumerate() {
            for (m, method) in METHODS.iter().enumerate() {
                for (s, status) in STATUSES.iter().enumerate() {
                    let count = sum(&|shard| &shard.requests[cell(r, m, s)]);
                    if count > 0 {
                        let labels = format!(
                            "route=\"{route}\",method=\"{method}\",status=\"{}\"",
                            status_label(*status)
                        );
                        page.sample("registry_http_requests_total", &labels, count);
                    }
                }
            }
        }
        page.family(
            "registry_http_request_duration_seconds",
            "histogram",
            "From a request's head to its answer's end.",
        );
        for (r, route) in ROUTES.iter().enumerate() {
            let time = Duration::from_nanos(sum(&|shard| &shard.time[r])).as_secs_f64();
            page.histogram(route, &|bucket| sum(&|shard| &shard.buckets[r][bucket]), time);
        }
        // Ended first: what begins in between must not make the difference negative.
        let ended = sum(&|shard| &shard.ended);
        let under_way = sum(&|shard| &shard.started).saturating_sub(ended);
        page.single(
            "registry_http_requests_under_way",
            "gauge",
            "Requests under way.",
            under_way,
        );
        page.single(
            "registry_http_received_bytes_total",
            "counter",
            "Bytes of bodies received.",
            sum(&|s| &s.received),
        );
        page.single(
            "registry_http_sent_bytes_total",
            "counter",
            "Bytes of bodies sent.",
            sum(&|s| &s.sent),
        );
        page.gauges(&Gauges {
            referrers_indexed: gauges.referrers_indexed + sum(&|s| &s.indexed),
            ..*gauges
        });
        page.0
    }
}

/// The label of an entry of [`STATUSES`].
fn status_label(status: u16) -> String {
    if status == 0 {
        "other".to_owned()
    } else {
        status.to_string()
    }
}

/// A page of metrics on its way.
#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = if labels.is_empty() {
            writeln!(self.0, "{name} {value}")
        } else {
            writeln!(self.0, "{name}{{{labels}}} {value}")
        };
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.family(name, kind, help);
        self.sample(name, "", value);
    }

    /// One route's latencies; left out while there are none.
    fn histogram(&mut self, route: &str, bucket: &dyn Fn(usize) -> u64, seconds: f64) {
        const NAME: &str = "registry_http_request_duration_seconds";
        let mut total = 0;
        let mut lines: Vec<(String, u64)> = Vec::with_capacity(BUCKETS.len() + 1);
        for (n, bound) in BUCKETS
            .iter()
            .map(f64::to_string)
            .chain(["+Inf".to_owned()])
            .enumerate()
        {
            total += bucket(n);
            lines.push((format!("route=\"{route}\",le=\"{bound}\""), total));
        }
        if total == 0 {
            return;
        }
        for (labels, count) in lines {
            self.sample(&format!("{NAME}_bucket"), &labels, count);
        }
        self.sample(&format!("{NAME}_sum"), &format!("route=\"{route}\""), seconds);
        self.sample(&format!("{NAME}_count"), &format!("route=\"{route}\""), total);
    }

    fn gauges(&mut self, gauges: &Gauges) {
        let rows = [
            (
                "registry_uploads_under_way",
                "gauge",
                "Upload sessions that have begun and not ended.",
                gauges.uploads,
            ),
            (
                "registry_storage_bytes",
                "gauge",
                "Bytes of content stored.",
                gauges.storage_bytes,
            ),
            (
                "registry_storage_contents",
                "gauge",
                "Manifests and blobs stored, each once.",
                gauges.storage_contents,
            ),
            (
                "registry_gc_removed_bytes_total",
                "counter",
                "Bytes removed as garbage.",
                gauges.collected_bytes,
            ),
            (
                "registry_gc_removed_total",
                "counter",
                "Manifests and blobs removed as garbage.",
                gauges.collected,
            ),
            (
                "registry_referrers_indexed_total",
                "counter",
                "Referrers indexed.",
                gauges.referrers_indexed,
            ),
        ];
        for (name, kind, help, value) in rows {
            self.single(name, kind, help, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(path: &str, method: &'static str, status: u16, milliseconds: u64) -> Sample<'static> {
        Sample {
            route: route_index(path),
            method,
            status,
            duration: Duration::from_millis(milliseconds),
            received: 3,
            sent: 5,
            indexed: true,
        }
    }

    #[test]
    fn shards_are_added_up() {
        let metrics = Metrics::default();
        for _ in 0..2 {
            let shard = metrics.shard();
            shard.begin();
            shard.end(sample("/v2/a/b/manifests/latest", "GET", 200, 2));
        }
        metrics.shard().begin();
        let page = metrics.render(&Gauges {
            uploads: 7,
            ..Gauges::default()
        });
        for line in [
            "registry_http_requests_total{route=\"manifest\",method=\"GET\",status=\"200\"} 2",
            "registry_http_request_duration_seconds_bucket{route=\"manifest\",le=\"0.001\"} 0",
            "registry_http_request_duration_seconds_bucket{route=\"manifest\",le=\"0.0025\"} 2",
            "registry_http_request_duration_seconds_bucket{route=\"manifest\",le=\"+Inf\"} 2",
            "registry_http_request_duration_seconds_count{route=\"manifest\"} 2",
            "registry_http_requests_under_way 1",
            "registry_http_received_bytes_total 6",
            "registry_http_sent_bytes_total 10",
            "registry_uploads_under_way 7",
            "registry_referrers_indexed_total 2",
        ] {
            assert!(page.lines().any(|l| l == line), "{line} in\n{page}");
        }
    }

    #[test]
    fn unforeseen_paths_methods_and_statuses_are_counted_as_other() {
        let metrics = Metrics::default();
        metrics.shard().end(sample("/favicon.ico", "BREW", 418, 90_000));
        let page = metrics.render(&Gauges::default());
        assert!(
            page.contains("{route=\"other\",method=\"other\",status=\"other\"} 1"),
            "{page}"
        );
        assert!(page.contains("{route=\"other\",le=\"60\"} 0"), "{page}");
    }

    #[test]
    fn every_status_that_is_answered_has_a_label() {
        let usual = oci::error::ALL.iter().map(|row| row.status);
        for status in usual.chain([200, 201, 202, 204, 206, 304, 408, 409, 413, 414, 507]) {
            assert!(STATUSES.contains(&status), "{status}");
        }
    }

    #[test]
    fn every_route_has_a_label() {
        for (path, route) in [
            ("/v2/", "base"),
            ("/v2/_catalog", "catalog"),
            ("/v2/a/_oci/ext/discover", "discover"),
            ("/v2/a/tags/list", "tags"),
            ("/v2/a/blobs/sha256:x", "blob"),
            ("/v2/a/blobs/uploads/", "uploads"),
            ("/v2/a/blobs/uploads/x", "upload"),
            ("/v2/a/referrers/x", "referrers"),
            ("/v2/a/_oci/artifacts/referrers", "referrers"),
            ("/livez", "livez"),
            ("/readyz", "readyz"),
        ] {
            assert_eq!(ROUTES[route_index(path)], route, "{path}");
        }
    }
}
