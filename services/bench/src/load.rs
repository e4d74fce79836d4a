//! The load generator: clients in a closed loop on few threads, and what they saw.
//!
//! Each thread drives its clients on one single-threaded runtime, so that no task moves between cores and no lock is
//! taken between requests. Opening connections and the first request of each client lie before the measured time.

use crate::connection::Failure;
use crate::process::thread_cpu_seconds;
use crate::stats::Histogram;
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One client of a workload.
pub trait Client: Send + 'static {
    /// Opens connections and does what must not be measured.
    fn prepare(&mut self) -> impl Future<Output = Result<(), Failure>> + Send;

    /// One measured operation; `index` counts those of all clients. Returns how many bytes of content were moved.
    fn operation(&mut self, index: u64) -> impl Future<Output = Result<u64, Failure>> + Send;
}

/// How long and how much.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Threads of the generator.
    pub threads: usize,
    /// No operation is started later than this.
    pub duration: Duration,
    /// No more operations than this, all clients together.
    pub budget: Option<u64>,
    /// The longest that one operation may take; a longer one is a failure.
    pub patience: Duration,
}

/// What the clients of one sample did.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Operations that ended as expected.
    pub operations: u64,
    /// Bytes of content moved.
    pub bytes: u64,
    /// From the first start to the last end.
    pub elapsed: Duration,
    /// How long the operations took.
    pub latencies: Histogram,
    /// CPU time of the generator's threads, in seconds.
    pub generator_cpu_seconds: f64,
}

impl Outcome {
    /// Operations a second.
    pub fn rate(&self) -> f64 {
        self.operations as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// Why a load could not be put on.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// An operation failed.
    #[error("{0}")]
    Failed(#[from] Failure),
    /// The machine did not give a thread or a runtime.
    #[error("starting the load generator: {0}")]
    Start(#[from] io::Error),
}

/// What the threads share.
struct Shared {
    plan: Plan,
    next: AtomicU64,
    stop: AtomicBool,
    start: Barrier,
    failure: Mutex<Option<Failure>>,
}

impl Shared {
    fn fail(&self, failure: Failure) {
        self.stop.store(true, Ordering::Relaxed);
        let mut first = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(failure);
    }
}

/// Runs the clients until the plan's time or budget is used up, or one fails.
///
/// # Errors
/// The first failure of any client: a load with a failure has no result.
pub fn run<C: Client>(clients: Vec<C>, plan: Plan) -> Result<Outcome, LoadError> {
    let threads = plan.threads.clamp(1, clients.len().max(1));
    let shared = Arc::new(Shared {
        plan,
        next: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        start: Barrier::new(threads),
        failure: Mutex::new(None),
    });
    let mut shares: Vec<Vec<C>> = (0..threads).map(|_| Vec::new()).collect();
    for (number, client) in clients.into_iter().enumerate() {
        shares[number % threads].push(client);
    }
    let runtimes: io::Result<Vec<_>> = (0..threads).map(|_| runtime()).collect();
    let handles: Vec<_> = shares
        .into_iter()
        .zip(runtimes?)
        .map(|(share, runtime)| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || drive(&runtime, share, &shared))
        })
        .collect();
    let mut outcome = Outcome::default();
    for handle in handles {
        let part = handle
            .join()
            .map_err(|_| io::Error::other("a thread of the load generator panicked"))?;
        outcome.operations += part.operations;
        outcome.bytes += part.bytes;
        outcome.elapsed = outcome.elapsed.max(part.elapsed);
        outcome.latencies.add(&part.latencies);
        outcome.generator_cpu_seconds += part.generator_cpu_seconds;
    }
    let failure = shared
        .failure
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    match failure {
        Some(failure) => Err(failure.into()),
        None => Ok(outcome),
    }
}

/// The single-threaded runtime that set-up and each of the generator's threads use.
///
/// # Errors
/// Where the system gives no more descriptors.
pub fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// One thread: prepares its clients, waits for the other threads, drives its clients.
fn drive<C: Client>(runtime: &tokio::runtime::Runtime, clients: Vec<C>, shared: &Arc<Shared>) -> Outcome {
    let prepared = runtime.block_on(prepare_all(clients, shared));
    shared.start.wait();
    let cpu = thread_cpu_seconds();
    let start = Instant::now();
    let mut outcome = runtime.block_on(async {
        let tasks: Vec<_> = prepared
            .into_iter()
            .map(|client| tokio::spawn(repeat(client, Arc::clone(shared), start)))
            .collect();
        let mut all = Outcome::default();
        for task in tasks {
            match task.await {
                Ok(part) => {
                    all.operations += part.operations;
                    all.bytes += part.bytes;
                    all.elapsed = all.elapsed.max(part.elapsed);
                    all.latencies.add(&part.latencies);
                }
                Err(error) => shared.fail(Failure::Content {
                    request: "load generator".to_owned(),
                    what: error.to_string(),
                }),
            }
        }
        all
    });
    outcome.generator_cpu_seconds = thread_cpu_seconds() - cpu;
    outcome
}

async fn prepare_all<C: Client>(clients: Vec<C>, shared: &Shared) -> Vec<C> {
    let mut prepared = Vec::with_capacity(clients.len());
    for mut client in clients {
        let patience = shared.plan.patience;
        match tokio::time::timeout(patience, client.prepare()).await {
            Ok(Ok(())) => prepared.push(client),
            Ok(Err(failure)) => shared.fail(failure),
            Err(_) => shared.fail(Failure::TimedOut(patience)),
        }
    }
    prepared
}

/// One client's closed loop.
async fn repeat<C: Client>(mut client: C, shared: Arc<Shared>, start: Instant) -> Outcome {
    let plan = shared.plan;
    let mut outcome = Outcome::default();
    let mut now = start;
    while now.duration_since(start) < plan.duration && !shared.stop.load(Ordering::Relaxed) {
        let index = shared.next.fetch_add(1, Ordering::Relaxed);
        if plan.budget.is_some_and(|budget| index >= budget) {
            break;
        }
        let until = start + plan.duration + plan.patience;
        match tokio::time::timeout_at(until.into(), client.operation(index)).await {
            Ok(Ok(bytes)) => {
                let end = Instant::now();
                outcome.latencies.record(end.duration_since(now));
                outcome.operations += 1;
                outcome.bytes += bytes;
                outcome.elapsed = end.duration_since(start);
                now = end;
            }
            Ok(Err(failure)) => shared.fail(failure),
            Err(_) => shared.fail(Failure::TimedOut(plan.patience)),
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counter {
        fails_at: Option<u64>,
    }

    impl Client for Counter {
        async fn prepare(&mut self) -> Result<(), Failure> {
            Ok(())
        }

        async fn operation(&mut self, index: u64) -> Result<u64, Failure> {
            tokio::task::yield_now().await;
            match self.fails_at {
                Some(at) if at <= index => Err(Failure::TimedOut(Duration::ZERO)),
                _ => Ok(3),
            }
        }
    }

    fn plan(threads: usize) -> Plan {
        Plan {
            threads,
            duration: Duration::from_secs(60),
            budget: Some(1000),
            patience: Duration::from_secs(60),
        }
    }

    #[test]
    fn a_budget_is_spent_exactly_by_any_number_of_threads() {
        for threads in [1, 3] {
            let clients = (0..7).map(|_| Counter { fails_at: None }).collect();
            let outcome = run(clients, plan(threads)).expect("no failure");
            assert_eq!((outcome.operations, outcome.bytes), (1000, 3000));
        }
    }

    #[test]
    fn one_failed_operation_fails_the_load() {
        let clients = (0..2).map(|_| Counter { fails_at: Some(500) }).collect();
        let error = run(clients, plan(2)).expect_err("the failure");
        assert!(
            matches!(error, LoadError::Failed(Failure::TimedOut(_))),
            "{error}"
        );
    }
}
