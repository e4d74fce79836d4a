//! The command line of `lab`.

use clap::{Parser, Subcommand, ValueEnum};
use client::Tls;
use generations::RegistryGeneration;
use std::ffi::OsString;
use std::path::PathBuf;

/// Shows, and proves on the wire, what happens when producers, registries and consumers of different generations of OCI
/// reference types meet. Without a command it plays all 18 scenarios.
#[derive(Debug, Parser)]
#[command(name = "lab", version, args_conflicts_with_subcommands = true, after_help = AFTER_HELP)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Without a command: the same as `lab run`
    #[command(flatten)]
    pub run: RunCommand,
}

/// Examples and exit codes.
const AFTER_HELP: &str = "Examples:
  lab                       play all 18 scenarios
  lab run 8 11 -v           play two, and show each exchange
  lab run --report html     and write a page about it
  lab show 8                tell what scenario 8 is about

Exit codes: 0 all is as expected, 1 it is not or something is missing, 2 an argument or a scenario file is wrong,
130 interrupted";

/// What `lab` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start both registries, play the scenarios, print the matrix
    Run(Box<RunCommand>),
    /// Judge what a producer and a consumer have played
    Judge(JudgeCommand),
    /// List the scenarios
    Scenarios(ListCommand),
    /// Tell what happens in one scenario, and what must be seen
    Show(ShowCommand),
    /// Write the image that the scenarios copy, as an OCI image layout
    Fixture {
        /// The folder to make
        folder: PathBuf,
    },
    /// Make the programs' names of the working group's document: current-registry, intermediate-producer, …
    Links {
        /// The folder to make them in
        folder: PathBuf,
    },
    /// The front desk: tell where the registries listen and which generation each shows, and stay
    Registries(DeskCommand),
    /// Tell by the exit code whether the front desk answers
    Healthcheck {
        /// Where it listens
        #[arg(long, value_name = "HOST:PORT", default_value = DESK)]
        address: String,
    },
    /// Run the registry (the same as the program `registry`)
    #[command(disable_help_flag = true)]
    Registry(PassedOn),
    /// Run the producer tool (the same as the program `producer`)
    #[command(disable_help_flag = true)]
    Producer(PassedOn),
    /// Run the consumer tool (the same as the program `consumer`)
    #[command(disable_help_flag = true)]
    Consumer(PassedOn),
}

/// Where the front desk listens: 5000 is taken on many desktops.
pub const DESK: &str = "127.0.0.1:5003";

/// Arguments for another program.
#[derive(Debug, clap::Args)]
pub struct PassedOn {
    /// Passed on as they are
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<OsString>,
}

/// `lab run`.
#[derive(Debug, clap::Args)]
pub struct RunCommand {
    /// The scenarios to play, by number; all 18 if none is named
    #[arg(value_name = "N", value_parser = clap::value_parser!(u8).range(1..=18))]
    pub numbers: Vec<u8>,
    /// The folder of the scenario files; ./scenarios if it is there, else those that are built in
    #[arg(long, value_name = "DIR")]
    pub scenarios: Option<PathBuf>,
    /// The image to copy instead of the lab's own: a reference, or oci:FOLDER:TAG
    #[arg(long, value_name = "IMAGE", env = "SOURCE_IMAGE")]
    pub source: Option<String>,
    /// The ports of the current and the complete registry; 0 means a free one
    #[arg(long, value_name = "PORT,PORT", default_value = "0,0", value_parser = parse_ports)]
    pub ports: Ports,
    /// Play against registries that already run, and start none: current=HOST:PORT,complete=HOST:PORT
    #[arg(long, value_name = "LIST", value_delimiter = ',', env = "REFERRERS_LAB_REGISTRIES", value_parser = parse_running)]
    pub registries: Vec<Running>,
    /// How many scenarios are played at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=18))]
    pub jobs: Option<u16>,
    /// Write a report; may be given several times
    #[arg(long, value_name = "SHAPE", value_enum)]
    pub report: Vec<ReportShape>,
    /// Where each report goes, in the order of --report; referrers-lab.json, .xml or .html if not said
    #[arg(long, value_name = "FILE", requires = "report")]
    pub report_file: Vec<PathBuf>,
    /// Keep outcomes and recordings in this folder
    #[arg(long, value_name = "DIR")]
    pub results: Option<PathBuf>,
    /// Keep the registries up afterwards, until Ctrl-C
    #[arg(long)]
    pub keep: bool,
    /// Show each exchange
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// The shape of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportShape {
    /// Everything, for programs
    Json,
    /// For CI systems
    Junit,
    /// One page, for people
    Html,
}

/// A registry that already runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// What it stands for.
    pub generation: RegistryGeneration,
    /// HOST or HOST:PORT.
    pub host: String,
    /// As its `http://` or `https://` says; nothing where neither stands there.
    pub tls: Option<Tls>,
}

/// The ports of a native run's registries; 0 means a free one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports([u16; RegistryGeneration::ALL.len()]);

fn parse_ports(text: &str) -> Result<Ports, String> {
    let ports: Result<Vec<u16>, _> = text.split(',').map(|port| port.trim().parse()).collect();
    let wrong = || format!("{text:?}: expected two ports, such as 5001,5002");
    let ports = ports.map_err(|_| wrong())?;
    ports.try_into().map(Ports).map_err(|_| wrong())
}

fn parse_running(text: &str) -> Result<Running, String> {
    let (generation, address) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?}: expected current=HOST:PORT or complete=HOST:PORT"))?;
    let generation = generation
        .parse()
        .map_err(|error: generations::UnknownGeneration| error.to_string())?;
    let (tls, host) = match (address.strip_prefix("http://"), address.strip_prefix("https://")) {
        (Some(host), _) => (Some(Tls::Disabled), host),
        (None, Some(host)) => (Some(Tls::Enabled), host),
        (None, None) => (None, address),
    };
    let host = host.trim_end_matches('/');
    if host.is_empty() || host.contains('/') {
        return Err(format!("{text:?}: {address:?} is not HOST:PORT"));
    }
    Ok(Running {
        generation,
        host: host.to_owned(),
        tls,
    })
}

impl RunCommand {
    /// The registry of a generation that already runs, if one was named.
    pub fn running(&self, generation: RegistryGeneration) -> Option<&Running> {
        self.registries
            .iter()
            .find(|running| running.generation == generation)
    }

    /// The port to listen on, 0 for a free one.
    pub fn port(&self, generation: RegistryGeneration) -> u16 {
        let place = RegistryGeneration::ALL.iter().position(|one| *one == generation);
        place
            .and_then(|place| self.ports.0.get(place))
            .copied()
            .unwrap_or(0)
    }

    /// How many scenarios are played at once.
    pub fn jobs(&self) -> usize {
        const AT_LEAST: usize = 2;
        let cores = std::thread::available_parallelism().map_or(AT_LEAST, usize::from);
        self.jobs.map_or(cores.max(AT_LEAST), usize::from)
    }

    /// Where the report at a place of `--report` goes.
    pub fn report_path(&self, place: usize, shape: ReportShape) -> PathBuf {
        self.report_file.get(place).cloned().unwrap_or_else(|| {
            PathBuf::from(match shape {
                ReportShape::Json => "referrers-lab.json",
                ReportShape::Junit => "referrers-lab.xml",
                ReportShape::Html => "referrers-lab.html",
            })
        })
    }
}

/// `lab judge`.
#[derive(Debug, clap::Args)]
pub struct JudgeCommand {
    /// The scenario that was played
    pub file: PathBuf,
    /// Where the outcomes are
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
    /// Wait until both outcomes are there
    #[arg(long)]
    pub wait: bool,
    /// Print the verdict as JSON
    #[arg(long)]
    pub json: bool,
    /// Show each exchange
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// `lab scenarios`.
#[derive(Debug, clap::Args)]
pub struct ListCommand {
    /// The folder of the scenario files; ./scenarios if it is there, else those that are built in
    #[arg(long, value_name = "DIR")]
    pub scenarios: Option<PathBuf>,
}

/// `lab show`.
#[derive(Debug, clap::Args)]
pub struct ShowCommand {
    /// The scenario's number
    #[arg(value_name = "N", value_parser = clap::value_parser!(u8).range(1..=18))]
    pub number: u8,
    /// The folder of the scenario files; ./scenarios if it is there, else those that are built in
    #[arg(long, value_name = "DIR")]
    pub scenarios: Option<PathBuf>,
}

/// `lab registries`.
#[derive(Debug, clap::Args)]
pub struct DeskCommand {
    /// Where to listen
    #[arg(long, value_name = "HOST:PORT", env = "REFERRERS_LAB_DESK", default_value = DESK)]
    pub address: String,
    /// The registries to tell about, as references write them
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', default_values_t = ["localhost:5001".to_owned(), "localhost:5002".to_owned()])]
    pub registry: Vec<String>,
    /// Put this image at scenario-N/alpine-base:latest of each scenario's registry where nothing is yet: a reference, or
    /// oci:FOLDER:TAG
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn ports_are_two() {
        assert_eq!(parse_ports("5001,0"), Ok(Ports([5001, 0])));
        for text in ["", "1", "1,2,3", "1;2", "1,65536"] {
            assert!(
                parse_ports(text).is_err_and(|error| error.contains("two ports")),
                "{text}"
            );
        }
    }

    #[test]
    fn running_registries_are_named_by_generation_and_address() {
        let (host, tls) = ("example.org:5002", Some(Tls::Enabled));
        let parsed = parse_running("complete=https://example.org:5002/").expect("a registry");
        assert_eq!(
            (parsed.generation.name(), parsed.host.as_str(), parsed.tls),
            ("complete", host, tls)
        );
        let parsed = parse_running("current=http://registry-current:5001").expect("a registry");
        assert_eq!(parsed.tls, Some(Tls::Disabled));
        assert_eq!(parse_running("current=a:1").expect("a registry").tls, None);
        for text in ["", "a:1", "modern=a:1", "current=", "current=a:1/b"] {
            assert!(parse_running(text).is_err(), "{text}");
        }
    }
}
