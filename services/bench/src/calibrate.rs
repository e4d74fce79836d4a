//! Is the load generator the bottleneck? Measured against the cheapest answer there is: if one thread is not busy all
//! the time, or a second one does not get more answers, it is the server that limits.

use crate::bare;
use crate::fixtures::Trouble;
use crate::report::number;
use crate::sample::{Bench, Sample};
use crate::settings::{Kind, Scale, Settings, Target};
use crate::stats::Spread;
use crate::workload;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

/// Workloads that the generator is judged by.
const JUDGED: &[&str] = &[
    "manifest-by-tag",
    "head-by-tag",
    "blob-4k",
    "blob-256m-1c",
    "blob-256m-4c",
];

/// Runs the judged workloads with one thread and with two, and prints values and the generator's share of a core.
///
/// # Errors
/// `Trouble` of the first workload that fails.
pub fn run(server: Option<SocketAddr>, duration: Duration, rounds: u32) -> Result<(), Trouble> {
    let address = match server {
        Some(address) => address,
        None => start_bare()?,
    };
    let target = Target {
        name: "bare".to_owned(),
        address,
        kind: Kind::Files,
        pid: None,
        start: None,
    };
    println!(
        "{:<18} {:>12} {:>12} {:>10} {:>16}",
        "workload", "1 thread", "2 threads", "busy, of 1", "generator µs/op"
    );
    for name in JUDGED {
        let Some(workload) = workload::find(name) else {
            continue;
        };
        let mut by_threads = Vec::new();
        for threads in [1, 2] {
            let settings = settings(duration, threads);
            let mut bench = Bench::new(&settings);
            let samples: Result<Vec<Sample>, Trouble> = (0..rounds.max(1))
                .map(|_| bench.sample(workload, &target))
                .collect();
            by_threads.push(samples?);
        }
        let median = |threads: usize, get: &dyn Fn(&Sample) -> f64| {
            let values: Vec<f64> = by_threads[threads].iter().map(get).collect();
            Spread::of(&values).map_or(0.0, |spread| spread.median)
        };
        let cost = |sample: &Sample| {
            sample.generator_share * duration.as_secs_f64() * 1e6 / sample.operations.max(1) as f64
        };
        println!(
            "{name:<18} {:>12} {:>12} {:>8.0} % {:>16}",
            number(median(0, &|sample| sample.value)),
            number(median(1, &|sample| sample.value)),
            median(0, &|sample| sample.generator_share) * 100.0,
            number(median(0, &cost)),
        );
    }
    Ok(())
}

fn settings(duration: Duration, threads: usize) -> Settings {
    Settings {
        rounds: 1,
        duration,
        connections: 32,
        threads,
        scale: Scale::FULL,
        prefix: String::new(),
        set_up: Duration::from_secs(60),
        patience: Duration::from_secs(60),
    }
}

/// Starts the bare answer on a thread of this process. It ends with the process.
fn start_bare() -> std::io::Result<SocketAddr> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        actix_rt::System::new().block_on(async move {
            match bare::server(SocketAddr::from(([127, 0, 0, 1], 0)), 2, Some(&Scale::FULL)) {
                Ok((server, address)) => {
                    let _ = tell.send(Ok(address));
                    let _ = server.await;
                }
                Err(error) => {
                    let _ = tell.send(Err(error));
                }
            }
        });
    });
    told.recv()
        .unwrap_or_else(|_| Err(std::io::Error::other("the bare answer did not start")))
}
