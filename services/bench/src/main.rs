//! `bench`: reads the command line, runs the job, prints.

use bench::options::{CurveOptions, Job, Options, RunOptions, fresh_prefix};
use bench::report::{Report, Row};
use bench::settings::{Kind, Scale, Settings, Target};
use bench::workload::WORKLOADS;
use bench::{calibrate, content, curve, run};
use clap::Parser;
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;
use std::{fs, io};

/// A job went wrong, or a workload failed.
const FAILED: u8 = 1;
/// The command line makes no sense.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match options.job {
        None => workloads(&options.run),
        Some(Job::Calibrate(options)) => {
            let duration = Duration::from_secs_f64(options.seconds);
            calibrate::run(options.server, duration, options.rounds).map_err(failed)
        }
        Some(Job::Curve(options)) => curves(&options),
        Some(Job::Files { folder, smoke }) => {
            let scale = if smoke { Scale::SMOKE } else { Scale::FULL };
            content::write_files(&folder, &scale).map_err(failed)
        }
        Some(Job::Reach { address }) => TcpStream::connect(address).map(drop).map_err(failed),
        Some(Job::List) => {
            for workload in WORKLOADS {
                println!(
                    "{:<26} {} ({})",
                    workload.name,
                    workload.title,
                    workload.unit.symbol()
                );
            }
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, message)) => {
            eprintln!("bench: {message}");
            ExitCode::from(code)
        }
    }
}

fn failed(error: impl std::fmt::Display) -> (u8, String) {
    (FAILED, error.to_string())
}

/// Writes the report in the forms that were asked for.
fn write(report: &Report, targets: &[Target], options: &RunOptions) -> io::Result<()> {
    if let Some(path) = &options.json {
        fs::write(path, serde_json::to_vec_pretty(report)?)?;
    }
    if let Some(path) = &options.markdown {
        fs::write(path, report.markdown(targets))?;
    }
    Ok(())
}

/// Runs the workloads and writes the reports. Fails if any workload did.
fn workloads(options: &RunOptions) -> Result<(), (u8, String)> {
    let targets = options.targets().map_err(|message| (USAGE, message))?;
    let settings = options.settings();
    let baseline = options
        .baseline
        .clone()
        .unwrap_or_else(|| targets[0].name.clone());
    let tell = |report: &Report| {
        print!("{}", report.workloads.last().map(Row::text).unwrap_or_default());
        write(report, &targets, options)
    };
    let report = run::run(&settings, &targets, &options.workloads(), &baseline, tell).map_err(failed)?;
    if report.has_failures() {
        return Err((FAILED, "a workload failed".to_owned()));
    }
    Ok(())
}

fn curves(options: &CurveOptions) -> Result<(), (u8, String)> {
    let settings = Settings {
        rounds: 1,
        duration: Duration::from_secs_f64(options.seconds),
        connections: 32,
        threads: 1,
        scale: Scale::FULL,
        prefix: fresh_prefix(),
        set_up: Duration::from_secs_f64(options.set_up_seconds),
        patience: Duration::from_secs(60),
    };
    for (name, address) in &options.registries {
        let target = Target {
            name: name.clone(),
            address: *address,
            kind: Kind::Registry,
            pid: None,
            start: None,
        };
        curve::run(&settings, &target, &options.sizes).map_err(failed)?;
    }
    Ok(())
}
