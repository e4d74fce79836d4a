//! The command line.

use crate::settings::{Kind, Scale, Settings, StartCommand, Target};
use crate::workload::{self, WORKLOADS, Workload};
use clap::{Args, Parser, Subcommand};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// Times OCI registries side by side on the same workloads.
#[derive(Debug, Parser)]
#[command(name = "bench", version, args_conflicts_with_subcommands = true)]
pub struct Options {
    /// Another job than the workloads
    #[command(subcommand)]
    pub job: Option<Job>,
    /// The workloads' own options
    #[command(flatten)]
    pub run: RunOptions,
}

/// Other jobs.
#[derive(Debug, Subcommand)]
pub enum Job {
    /// Show that the load generator is not the bottleneck: against a bare answer, with one thread and with two
    Calibrate(CalibrateOptions),
    /// Show how cost grows with what is stored: tags, repositories, referrers
    Curve(CurveOptions),
    /// Write the content that read workloads ask for, to be served as static files
    Files {
        /// Folder to write to
        folder: PathBuf,
        /// Small sizes, as with --smoke
        #[arg(long)]
        smoke: bool,
    },
    /// List the workloads
    List,
    /// Succeed if something listens there: for scripts that wait for a server
    Reach {
        /// Where
        #[arg(value_name = "HOST:PORT", value_parser = address)]
        address: SocketAddr,
    },
}

/// Options of the workloads.
#[derive(Debug, Args)]
pub struct RunOptions {
    /// Registries to measure
    #[arg(value_name = "NAME=HOST:PORT", value_parser = named_address)]
    pub registries: Vec<(String, SocketAddr)>,
    /// A server of what `bench files` wrote: takes part in reads
    #[arg(long, value_name = "NAME=HOST:PORT", value_parser = named_address)]
    pub files: Vec<(String, SocketAddr)>,
    /// A server that takes pushes and keeps no index: takes part in pushes
    #[arg(long, value_name = "NAME=HOST:PORT", value_parser = named_address)]
    pub sink: Vec<(String, SocketAddr)>,
    /// Process of a target, for CPU time and memory
    #[arg(long, value_name = "NAME=PID", value_parser = named::<u32>)]
    pub pid: Vec<(String, u32)>,
    /// How to start another server of a target's kind; {port} and {dir} are filled in
    #[arg(long, value_name = "NAME=COMMAND", value_parser = named_command)]
    pub start: Vec<(String, StartCommand)>,
    /// Rounds in which the targets take turns
    #[arg(long, default_value_t = 5)]
    pub rounds: u32,
    /// Seconds of a sample
    #[arg(long, default_value_t = 3.0, value_parser = seconds)]
    pub seconds: f64,
    /// Only these workloads (see `bench list`); may be given several times
    #[arg(long, value_name = "NAME", value_parser = known_workload, value_delimiter = ',')]
    pub workload: Vec<&'static Workload>,
    /// Keep-alive connections, unless the workload says another number
    #[arg(long, default_value_t = 32)]
    pub connections: usize,
    /// Threads of the load generator
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// Seconds that the set-up of a workload may take on one target
    #[arg(long, default_value_t = 300.0, value_parser = seconds)]
    pub set_up_seconds: f64,
    /// Target that ratios are taken against (default: the first registry)
    #[arg(long, value_name = "NAME")]
    pub baseline: Option<String>,
    /// Write all results to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write a table of medians to this file as Markdown
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
    /// One round of at most one second with small sizes: finds errors, tells no times
    #[arg(long)]
    pub smoke: bool,
}

/// Options of `calibrate`.
#[derive(Debug, Args)]
pub struct CalibrateOptions {
    /// A server of what `bench files` wrote, as cheap as can be; without one, a bare answer is started in this process
    #[arg(value_name = "HOST:PORT", value_parser = address)]
    pub server: Option<SocketAddr>,
    /// Seconds of a sample
    #[arg(long, default_value_t = 3.0, value_parser = seconds)]
    pub seconds: f64,
    /// Rounds
    #[arg(long, default_value_t = 3)]
    pub rounds: u32,
}

/// Options of `curve`.
#[derive(Debug, Args)]
pub struct CurveOptions {
    /// Registries to measure
    #[arg(value_name = "NAME=HOST:PORT", value_parser = named_address, required = true)]
    pub registries: Vec<(String, SocketAddr)>,
    /// Numbers of tags, repositories and referrers
    #[arg(long, value_delimiter = ',', default_values_t = [10, 1_000, 100_000])]
    pub sizes: Vec<u64>,
    /// Seconds of a sample
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    pub seconds: f64,
    /// Seconds that a set-up may take
    #[arg(long, default_value_t = 600.0, value_parser = seconds)]
    pub set_up_seconds: f64,
}

impl RunOptions {
    /// The settings, named after the present time.
    pub fn settings(&self) -> Settings {
        let smoke = self.smoke;
        Settings {
            rounds: if smoke { 1 } else { self.rounds.max(1) },
            duration: Duration::from_secs_f64(if smoke {
                self.seconds.min(1.0)
            } else {
                self.seconds
            }),
            connections: self.connections.max(1),
            threads: self.threads.max(1),
            scale: if smoke { Scale::SMOKE } else { Scale::FULL },
            prefix: fresh_prefix(),
            set_up: Duration::from_secs_f64(self.set_up_seconds),
            patience: Duration::from_secs(60),
        }
    }

    /// The targets, in the order of the command line, registries first.
    ///
    /// # Errors
    /// A sentence, if a name is given twice, or an option names no target.
    pub fn targets(&self) -> Result<Vec<Target>, String> {
        let of = |kind: Kind, list: &[(String, SocketAddr)]| -> Vec<Target> {
            let make = |(name, address): &(String, SocketAddr)| Target {
                name: name.clone(),
                address: *address,
                kind,
                pid: None,
                start: None,
            };
            list.iter().map(make).collect()
        };
        let mut targets = of(Kind::Registry, &self.registries);
        targets.extend(of(Kind::Files, &self.files));
        targets.extend(of(Kind::Sink, &self.sink));
        if targets.is_empty() {
            return Err("no target: give at least one NAME=HOST:PORT".to_owned());
        }
        for (position, target) in targets.iter().enumerate() {
            if targets[..position].iter().any(|other| other.name == target.name) {
                return Err(format!("two targets are named {}", target.name));
            }
        }
        for (name, pid) in &self.pid {
            find(&mut targets, name)?.pid = Some(*pid);
        }
        for (name, command) in &self.start {
            find(&mut targets, name)?.start = Some(command.clone());
        }
        if let Some(name) = &self.baseline {
            find(&mut targets, name)?;
        }
        Ok(targets)
    }

    /// The workloads asked for, else all.
    pub fn workloads(&self) -> Vec<&'static Workload> {
        if self.workload.is_empty() {
            return WORKLOADS.iter().collect();
        }
        self.workload.clone()
    }
}

/// Repository names that no earlier run used.
pub fn fresh_prefix() -> String {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    format!("bench-{:x}", since.as_millis())
}

fn find<'a>(targets: &'a mut [Target], name: &str) -> Result<&'a mut Target, String> {
    let found = targets.iter_mut().find(|target| target.name == name);
    found.ok_or_else(|| format!("no target is named {name}"))
}

fn split(text: &str) -> Result<(&str, &str), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok((name, value)),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let mut found = text.to_socket_addrs().map_err(|error| error.to_string())?;
    found.next().ok_or_else(|| "the host has no address".to_owned())
}

fn named_address(text: &str) -> Result<(String, SocketAddr), String> {
    let (name, value) = split(text)?;
    Ok((name.to_owned(), address(value)?))
}

fn named<T: std::str::FromStr>(text: &str) -> Result<(String, T), String> {
    let (name, value) = split(text)?;
    let value = value.parse().map_err(|_| format!("{value} is no number"))?;
    Ok((name.to_owned(), value))
}

fn named_command(text: &str) -> Result<(String, StartCommand), String> {
    let (name, value) = split(text)?;
    let command = StartCommand::parse(value).ok_or("the command has no program")?;
    Ok((name.to_owned(), command))
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 86_400.0 => Ok(seconds),
        _ => Err("expected seconds, more than 0 and at most a day".to_owned()),
    }
}

fn known_workload(text: &str) -> Result<&'static Workload, String> {
    workload::find(text).ok_or_else(|| "no such workload; `bench list` lists them".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, clap::Error> {
        Options::try_parse_from(line.split(' '))
    }

    #[test]
    fn targets_get_their_kind_process_and_command() {
        let line = "bench a=127.0.0.1:1 --files b=127.0.0.1:2 --sink c=127.0.0.1:3 --pid b=42 --start a=prog";
        let targets = parse(line).expect("parses").run.targets().expect("targets");
        let kinds: Vec<Kind> = targets.iter().map(|target| target.kind).collect();
        assert_eq!(kinds, [Kind::Registry, Kind::Files, Kind::Sink]);
        assert_eq!(targets[1].pid, Some(42));
        assert!(targets[0].start.is_some() && targets[1].start.is_none());
    }

    #[test]
    fn what_names_no_target_or_workload_is_refused() {
        for line in [
            "bench a=127.0.0.1:1 --pid b=1",
            "bench a=127.0.0.1:1 --baseline b",
            "bench a=127.0.0.1:1 a=127.0.0.1:2",
            "bench",
        ] {
            assert!(parse(line).expect("parses").run.targets().is_err(), "{line}");
        }
        for line in [
            "bench a",
            "bench a=127.0.0.1:1 --workload nothing",
            "bench a=127.0.0.1:1 --seconds 0",
            "bench a=127.0.0.1:1 --pid a=x",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn smoke_is_one_short_round_of_small_sizes() {
        let options = parse("bench a=127.0.0.1:1 --smoke --rounds 9 --seconds 9").expect("parses");
        let settings = options.run.settings();
        assert_eq!((settings.rounds, settings.duration), (1, Duration::from_secs(1)));
        assert_eq!(settings.scale, Scale::SMOKE);
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Options::command().debug_assert();
    }
}
