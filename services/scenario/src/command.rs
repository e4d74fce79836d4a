//! `play` and `healthcheck`, as the producer and the consumer both offer them.
//!
//! A tool flattens the two into its own clap subcommands and calls `run`:
//!
//! ```no_run
//! # use scenario::{Actor, Program, ScenarioCommand};
//! # async fn example(command: ScenarioCommand) -> std::process::ExitCode {
//! let path = std::env::current_exe();
//! let program = path.map(|path| Program { path, prefix: vec!["producer".into()] });
//! command.run(Actor::Producer, program).await
//! # }
//! ```
//!
//! In the examples of their help, `TOOL` stands for the tool's name, which the tool puts there.

use crate::file::{FileError, Scenario};
use crate::play::CLIENT_CONFIG;
use crate::{Actor, Cast, Outcome, PlayError, Program, play};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Where the images of the lab keep the fixture.
const FIXTURE_IN_IMAGES: &str = "/fixture";

/// Exit code: the actor has played.
const DONE: u8 = 0;
/// Exit code: the outcome could not be written, or is not there.
const FAILED: u8 = 1;
/// Exit code: the scenario file is malformed.
const USAGE: u8 = 2;
/// Exit code: ended by Ctrl-C or SIGTERM, as shells tell it.
const INTERRUPTED: u8 = 130;

/// The commands by which a tool takes part in a scenario.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum ScenarioCommand {
    /// Play this tool's steps of a scenario
    #[command(after_help = "Example:\n  TOOL play scenarios/08-digest-tag.yaml --results results")]
    Play(PlayCommand),
    /// Tell whether a scenario was played
    #[command(after_help = "Example:\n  TOOL healthcheck --results results")]
    Healthcheck(HealthcheckCommand),
}

impl ScenarioCommand {
    /// Runs the command; `program` is how the tool starts itself for each step.
    pub async fn run(&self, actor: Actor, program: io::Result<Program>) -> ExitCode {
        match (self, program) {
            (ScenarioCommand::Play(play), Ok(program)) => play.run(actor, program).await,
            (ScenarioCommand::Play(_), Err(error)) => {
                eprintln!("error: cannot tell which program is running: {error}");
                ExitCode::from(FAILED)
            }
            (ScenarioCommand::Healthcheck(check), _) => check.run(actor),
        }
    }
}

/// Plays this actor's steps of a scenario, and leaves the outcome in a folder.
#[derive(Clone, Debug, clap::Args)]
pub struct PlayCommand {
    /// The scenario, such as scenarios/08-tags.yaml
    file: PathBuf,
    /// Where the outcome and the recorded exchanges go; an earlier outcome of this actor there is removed
    #[arg(long, value_name = "DIR", default_value = "results")]
    results: PathBuf,
    /// The image to copy: a reference, or oci:FOLDER:TAG (make one with `lab fixture FOLDER`)
    #[arg(long, value_name = "IMAGE", env = "SOURCE_IMAGE")]
    source: Option<String>,
    /// Begin when this actor's outcome is there
    #[arg(long, value_name = "ACTOR", value_parser = parse_actor)]
    wait_for: Option<Actor>,
    /// Stay until ended once the outcome is written
    #[arg(long)]
    stay: bool,
}

/// Tells by the exit code whether this actor's outcome is there.
#[derive(Clone, Debug, clap::Args)]
pub struct HealthcheckCommand {
    /// Where the outcome is expected
    #[arg(long, value_name = "DIR", default_value = "results")]
    results: PathBuf,
}

fn parse_actor(text: &str) -> Result<Actor, String> {
    Actor::from_name(text).ok_or_else(|| format!("expected {} or {}", Actor::Producer, Actor::Consumer))
}

/// Why `play` ends without an outcome.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Play(#[from] PlayError),
    #[error(
        "which image to copy? Set SOURCE_IMAGE, or make one: lab fixture FOLDER, SOURCE_IMAGE=oci:FOLDER:latest"
    )]
    NoSource,
    #[error("cannot listen to signals: {0}")]
    Signals(io::Error),
}

impl PlayCommand {
    /// Plays; ends at once, with its child, on Ctrl-C and SIGTERM. Must run inside a tokio (or actix) runtime.
    ///
    /// Exit codes: 0 played (whatever the steps' own exit codes were: judging is the judge's), 1 the outcome could not be
    /// written, 2 the scenario file is malformed, 130 interrupted.
    pub async fn run(&self, actor: Actor, program: Program) -> ExitCode {
        let ended = match Signals::listen().map_err(CommandError::Signals) {
            Ok(mut signals) => tokio::select! {
                played = self.play_and_stay(actor, program) => played,
                () = signals.next() => return self.interrupted(actor),
            },
            Err(error) => Err(error),
        };
        match ended {
            Ok(()) => ExitCode::from(DONE),
            Err(error) => {
                eprintln!("{actor}: {error}");
                ExitCode::from(match error {
                    CommandError::File(_) | CommandError::NoSource => USAGE,
                    CommandError::Play(_) | CommandError::Signals(_) => FAILED,
                })
            }
        }
    }

    async fn play_and_stay(&self, actor: Actor, program: Program) -> Result<(), CommandError> {
        let (scenario, file) = Scenario::load_with_digest(&self.file)?;
        let source = self.source()?;
        // Before any waiting, so that nobody takes an earlier outcome for this play's.
        forget_outcome(&self.results, actor)?;
        if let Some(other) = self.wait_for {
            wait_for_outcome(&self.results, other).await;
        }
        let config = std::env::var_os(CLIENT_CONFIG)
            .map(PathBuf::from)
            .filter(|path| path.exists());
        let outcome = play(&Cast {
            scenario: &scenario,
            file,
            actor,
            program,
            results: &self.results,
            source: &source,
            client_config: config.as_deref(),
        })
        .await?;
        for step in &outcome.steps {
            println!(
                "{}: {}: {} in {} ms",
                actor, step.step, step.exit, step.duration_ms
            );
        }
        if self.stay {
            println!(
                "{actor}: the outcome is in {}; staying until ended",
                self.results.display()
            );
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    fn interrupted(&self, actor: Actor) -> ExitCode {
        let through = Outcome::path(&self.results, actor).exists();
        if self.stay && through {
            return ExitCode::from(DONE);
        }
        eprintln!("{actor}: interrupted");
        ExitCode::from(INTERRUPTED)
    }

    /// The image to copy: what was asked for, else the fixture of the lab's images.
    fn source(&self) -> Result<String, CommandError> {
        match self.source.as_deref().filter(|source| !source.is_empty()) {
            Some(source) => Ok(absolute_source(source)),
            None if Path::new(FIXTURE_IN_IMAGES).is_dir() => Ok(format!("oci:{FIXTURE_IN_IMAGES}:latest")),
            None => Err(CommandError::NoSource),
        }
    }
}

/// Makes the folder of an `oci:` source absolute, because steps run in a folder of their own.
pub fn absolute_source(source: &str) -> String {
    match source.strip_prefix("oci:").map(std::path::absolute) {
        Some(Ok(path)) => format!("oci:{}", path.display()),
        Some(Err(_)) | None => source.to_owned(),
    }
}

impl HealthcheckCommand {
    /// 0 if this actor's outcome is there and whole, else 1.
    pub fn run(&self, actor: Actor) -> ExitCode {
        match Outcome::read(&self.results, actor) {
            Ok(_) => ExitCode::from(DONE),
            Err(error) => {
                eprintln!("{actor}: {error}");
                ExitCode::from(FAILED)
            }
        }
    }
}

fn forget_outcome(results: &Path, actor: Actor) -> Result<(), PlayError> {
    let path = Outcome::path(results, actor);
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(PlayError::Results { path, source }),
        _ => Ok(()),
    }
}

/// Returns once an actor's outcome is there and whole.
pub async fn wait_for_outcome(results: &Path, actor: Actor) {
    const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
    while Outcome::read(results, actor).is_err() {
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

/// Ctrl-C, and where there is such a thing SIGTERM.
pub struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    /// Begins to listen; from now on the signals no longer end the process by themselves.
    ///
    /// # Errors
    /// Where the system does not let us.
    #[cfg(unix)]
    pub fn listen() -> io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Begins to listen.
    ///
    /// # Errors
    /// Never here.
    #[cfg(not(unix))]
    pub fn listen() -> io::Result<Signals> {
        Ok(Signals {})
    }

    /// Returns at the next signal.
    #[cfg(unix)]
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Returns at the next signal.
    #[cfg(not(unix))]
    pub async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
