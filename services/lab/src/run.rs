//! `lab run`: starts both registries, plays the scenarios, prints the matrix.

use crate::ask::ClientAsk;
use crate::cli::{ReportShape, RunCommand};
use crate::fixture;
use crate::report::{self, RegistryReport, RunReport, ScenarioReport, terminal};
use crate::scenarios::{self, Loaded};
use crate::servers::{Server, ServerError, Starting};
use crate::stage::Stage;
use client::{Settings, Tls};
use futures_util::StreamExt;
use generations::RegistryGeneration;
use scenario::FileError;
use scenario::command::{Signals, absolute_source};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Everything holds.
const HOLDS: u8 = 0;
/// Something does not hold, or could not be played.
const FAILS: u8 = 1;
/// A scenario file or an argument is wrong.
const USAGE: u8 = 2;
/// Ctrl-C or SIGTERM.
const INTERRUPTED: u8 = 130;

/// Why nothing was played.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A scenario file cannot be used.
    #[error(transparent)]
    Scenario(#[from] FileError),
    /// A registry does not run.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The fixture image cannot be made.
    #[error(transparent)]
    Fixture(#[from] fixture::FixtureError),
    /// The client configuration cannot be read or written.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// A file or folder cannot be made.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was tried.
        doing: String,
        /// Why.
        source: io::Error,
    },
}

/// Runs the command; ends at once on Ctrl-C and SIGTERM, with every child process.
pub async fn run(command: &RunCommand) -> ExitCode {
    let ended = match Signals::listen() {
        Err(source) => Err(RunError::Io {
            doing: "listen to signals".to_owned(),
            source,
        }),
        Ok(mut signals) => tokio::select! {
            ended = run_to_the_end(command) => {
                if let Ok(played) = &ended && command.keep {
                    played.tell_what_is_kept();
                    signals.next().await;
                }
                ended
            }
            () = signals.next() => {
                eprintln!("lab: interrupted");
                return ExitCode::from(INTERRUPTED);
            }
        },
    };
    match ended {
        Ok(played) => ExitCode::from(if played.report.holds() { HOLDS } else { FAILS }),
        Err(error) => {
            eprintln!("lab: {error}");
            ExitCode::from(match error {
                RunError::Scenario(_) => USAGE,
                RunError::Server(_) | RunError::Fixture(_) | RunError::Client(_) | RunError::Io { .. } => {
                    FAILS
                }
            })
        }
    }
}

/// A run that is over; its registries and files are there until this is dropped.
struct Played {
    report: RunReport,
    grounds: Grounds,
    folder: tempfile::TempDir,
}

async fn run_to_the_end(command: &RunCommand) -> Result<Played, RunError> {
    let begun = Instant::now();
    let started_ms = now_ms();
    let loaded = scenarios::load(command.scenarios.as_deref(), &command.numbers)?;
    let folder = tempfile::Builder::new()
        .prefix("referrers-lab-")
        .tempdir()
        .map_err(io_error("make a folder"))?;
    let source = source(command, folder.path())?;
    let grounds = Grounds::prepare(command, &loaded, folder.path()).await?;
    let scenarios = play_all(command, &loaded, folder.path(), &source, &grounds).await?;
    let report = RunReport {
        started_ms,
        duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        source,
        registries: grounds.registries.clone(),
        scenarios,
    };
    let style = terminal::Style::of_stdout();
    for scenario in &report.scenarios {
        print(&terminal::failures(scenario, style))?;
    }
    print(&terminal::summary(&report, style))?;
    write_reports(command, &report)?;
    Ok(Played {
        report,
        grounds,
        folder,
    })
}

/// Where the scenarios are played: the registries, and how the tools find them.
struct Grounds {
    /// Kept so that they run; empty where registries that already run are used.
    _servers: Vec<Server>,
    registries: Vec<RegistryReport>,
    config: PathBuf,
    settings: Settings,
}

impl Grounds {
    async fn prepare(command: &RunCommand, loaded: &[Loaded], folder: &Path) -> Result<Grounds, RunError> {
        let mut settings = Settings::load()?;
        // All are started before any is waited for.
        let mut starting = Vec::new();
        for (name, generation) in names(loaded) {
            let own = match command.running(generation) {
                Some(_) => None,
                None => Some(Starting::start(generation, command.port(generation), folder)?),
            };
            starting.push((name, generation, own));
        }
        let mut servers = Vec::new();
        let mut registries = Vec::new();
        for (name, generation, own) in starting {
            let mut entry = settings.registries.get(&name).cloned().unwrap_or_default();
            if let Some(own) = own {
                let server = own.healthy().await?;
                entry.hostname = Some(server.address.to_string());
                entry.tls = Some(Tls::Disabled);
                servers.push(server);
            } else if let Some(running) = command.running(generation) {
                let other = running.host != name;
                // What is set for the name itself stays, unless it is led elsewhere.
                entry.tls = running.tls.or(entry.tls.filter(|_| !other));
                if other {
                    entry.hostname = Some(running.host.clone());
                }
            }
            registries.push(RegistryReport {
                address: entry.hostname.clone().unwrap_or_else(|| name.clone()),
                name: name.clone(),
                generation: generation.name().to_owned(),
            });
            settings.registries.insert(name, entry);
        }
        let config = folder.join("client.json");
        settings.save_to(&config)?;
        Ok(Grounds {
            _servers: servers,
            registries,
            config,
            settings,
        })
    }
}

/// The registries' names in the scenarios' references, each with the generation that it stands for.
fn names(loaded: &[Loaded]) -> BTreeMap<String, RegistryGeneration> {
    loaded
        .iter()
        .filter_map(|one| Some((one.scenario.reference().ok()?.registry, one.scenario.registry)))
        .collect()
}

/// The image to copy: what was asked for, else the fixture.
fn source(command: &RunCommand, folder: &Path) -> Result<String, RunError> {
    if let Some(source) = command.source.as_deref().filter(|source| !source.is_empty()) {
        return Ok(absolute_source(source));
    }
    let layout = folder.join("fixture");
    fixture::write(&layout)?;
    Ok(format!("oci:{}:{}", layout.display(), fixture::TAG))
}

async fn play_all(
    command: &RunCommand,
    loaded: &[Loaded],
    folder: &Path,
    source: &str,
    grounds: &Grounds,
) -> Result<Vec<ScenarioReport>, RunError> {
    let ask = ClientAsk::new(grounds.settings.clone())?;
    let results = command.results.clone().unwrap_or_else(|| folder.join("results"));
    let stage = Stage {
        executable: std::env::current_exe().map_err(io_error("find this executable"))?,
        results: &results,
        source,
        client_config: Some(&grounds.config),
        registry: &ask,
    };
    let style = terminal::Style::of_stdout();
    print(&terminal::heading(style))?;
    let mut playing =
        futures_util::stream::iter(loaded.iter().map(|one| stage.play(one))).buffered(command.jobs());
    let mut reports = Vec::new();
    while let Some(report) = playing.next().await {
        print(&terminal::row(&report, style))?;
        if command.verbose > 0 {
            print(&terminal::exchanges(&report, style))?;
        }
        reports.push(report);
    }
    Ok(reports)
}

fn write_reports(command: &RunCommand, report: &RunReport) -> Result<(), RunError> {
    for (index, shape) in command.report.iter().enumerate() {
        let text = match shape {
            ReportShape::Json => report::json::render(report).map_err(|error| RunError::Io {
                doing: "write the report".to_owned(),
                source: error.into(),
            })?,
            ReportShape::Junit => report::junit::render(report),
            ReportShape::Html => report::html::render(report),
        };
        let path = command.report_path(index, *shape);
        std::fs::write(&path, text).map_err(io_error(&format!("write {}", path.display())))?;
        print(&format!("report: {}\n", path.display()))?;
    }
    Ok(())
}

impl Played {
    /// Tells how to look around.
    fn tell_what_is_kept(&self) {
        let mut text = String::from("\nThe registries stay up until Ctrl-C:\n");
        for registry in &self.report.registries {
            text += &format!(
                "  {:<9} http://{}  ({} in references)\n",
                registry.generation, registry.address, registry.name
            );
        }
        text += &format!(
            "The tools find them with REFERRERS_LAB_CONFIG={}\n",
            self.grounds.config.display()
        );
        text += &format!(
            "Storage, results and recordings are in {}\n",
            self.folder.path().display()
        );
        // Who does not read this any more can end the registries all the same.
        _ = print(&text);
    }
}

/// Prints; a reader that has gone away (`lab run | head`) is an error like any other.
fn print(text: &str) -> Result<(), RunError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(io_error("print"))
}

fn io_error(doing: &str) -> impl FnOnce(io::Error) -> RunError {
    let doing = doing.to_owned();
    move |source| RunError::Io { doing, source }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
