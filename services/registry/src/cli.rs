//! The command line: what each command does, in words for a person and exit codes for a script.

use crate::{
    app::{self, Running, StartError},
    auth,
    config::{Base, Config, ConfigError},
    domain::{self, Collect, Damage, Verify},
    healthcheck, log, maintenance,
};
use clap::{Args, Parser, Subcommand};
use generations::{REGISTRIES, RegistryGeneration, RegistryTraits};
use std::{
    ffi::OsString,
    fmt::Display,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::SystemTime,
};

/// Exit code of a wrong command line or configuration.
const USAGE: u8 = 2;

/// An OCI registry whose generation is its configuration.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  registry serve                                     a complete registry on 127.0.0.1:5000
  registry serve config/registry/current.yaml
  REGISTRY_HTTP_ADDR=:5001 registry serve config/registry/current.yaml
  registry check config/registry/complete.yaml
  registry gc --dry-run config/registry/complete.yaml
  registry verify --repair config/registry/complete.yaml

Every key of the configuration can be set by a variable: http.addr is REGISTRY_HTTP_ADDR.
Exit codes: 0 done, 1 failed, 2 wrong command line or configuration.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or Ctrl-C; requests under way may end first
    Serve(FileArg),
    /// Check a configuration, and the files that it names, without serving
    Check {
        /// The configuration, in YAML
        file: PathBuf,
    },
    /// Ask the registry that runs with this configuration whether it is ready
    Healthcheck(FileArg),
    /// Remove what nothing reaches; the registry must not run (it collects by itself, see storage.maintenance.gc)
    Gc {
        /// Only say what would be removed
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        file: FileArg,
    },
    /// Read the whole storage and report what is damaged; exit code 1 if anything is
    Verify {
        /// Rebuild what can be rebuilt, and set aside what is corrupt
        #[arg(long)]
        repair: bool,
        #[command(flatten)]
        file: FileArg,
    },
    /// Make a line for the file of auth.htpasswd; the password is read from standard input
    Htpasswd {
        /// The user's name
        name: String,
    },
}

/// The configuration to work with.
#[derive(Debug, Args)]
struct FileArg {
    /// The configuration, in YAML; without one, the defaults of the generation that the program's name begins with, else of a complete registry
    #[arg(env = "REGISTRY_CONFIGURATION_PATH")]
    file: Option<PathBuf>,
}

impl FileArg {
    fn load(&self, without_a_file: &'static RegistryTraits) -> Result<Config, ConfigError> {
        let base = match &self.file {
            Some(file) => Base::File(file),
            None => Base::Defaults(without_a_file),
        };
        Config::load_over(base, std::env::vars_os())
    }
}

/// The generation that a program's name begins with, as in `current-registry`; else the complete one.
fn generation_of(program: Option<&OsString>) -> &'static RegistryTraits {
    let name = program
        .map(Path::new)
        .and_then(Path::file_name)
        .map(|name| name.to_string_lossy());
    let called = REGISTRIES
        .iter()
        .find(|traits| name.as_ref().is_some_and(|name| name.starts_with(traits.name)));
    called.unwrap_or_else(|| RegistryGeneration::from_answer(true).policy())
}

/// Why a command ends without success.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Unhealthy(#[from] healthcheck::Unhealthy),
    #[error("the password cannot be read: {0}")]
    Password(#[source] io::Error),
    #[error("{0}")]
    Htpasswd(&'static str),
    #[error("the server failed: {0}")]
    Server(#[source] io::Error),
    #[error("it could not be completed: {0}")]
    Domain(#[from] domain::Error),
    #[error("{damages} damages were found, {repaired} of them repaired")]
    Damaged { damages: usize, repaired: usize },
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Config(_) | Failure::Htpasswd(_) => ExitCode::from(USAGE),
            Failure::Start(_)
            | Failure::Unhealthy(_)
            | Failure::Password(_)
            | Failure::Server(_)
            | Failure::Domain(_)
            | Failure::Damaged { .. } => ExitCode::FAILURE,
        }
    }
}

/// Runs the command that the arguments name; the first one is the program's name.
pub fn main_from(args: Vec<OsString>) -> ExitCode {
    let traits = generation_of(args.first());
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
        }
    };
    let outcome = run(cli.command, traits);
    log::flush();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(io::stderr(), "registry: {failure}");
            failure.exit_code()
        }
    }
}

fn run(command: Command, traits: &'static RegistryTraits) -> Result<(), Failure> {
    match command {
        Command::Serve(file) => serve(file.load(traits)?),
        Command::Check { file } => check(&file),
        Command::Healthcheck(file) => Ok(healthcheck::ask(&file.load(traits)?)?),
        Command::Gc { dry_run, file } => collect(&file.load(traits)?, dry_run),
        Command::Verify { repair, file } => verify(&file.load(traits)?, repair),
        Command::Htpasswd { name } => htpasswd(&name),
    }
}

/// Data, to standard output. A reader that has gone is no failure.
fn say(line: impl Display) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn serve(config: Config) -> Result<(), Failure> {
    log::start(&config.log);
    raise_descriptor_limit();
    actix_rt::System::new().block_on(async move {
        let signals = Signals::listen().map_err(Failure::Server)?;
        let introduction = Introduction::of(&config);
        let running = app::start(config)?;
        say(introduction.of_running(&running));
        serve_until_signal(running, signals).await
    })
}

/// Takes as many descriptors as the operator allows: each connection and each upload needs one, and the usual soft limit of
/// 1,024 is meant for programs that cannot count further.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: maximum,
        maximum,
    };
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, most)
    {
        ::log::debug!("the limit of open files stays at {current:?}: {error}");
    }
}

async fn serve_until_signal(mut running: Running, mut signals: Signals) -> Result<(), Failure> {
    tokio::select! {
        ended = &mut running => return ended.map_err(Failure::Server),
        name = signals.next() => ::log::info!("{name}: requests under way may end, then the registry stops"),
    }
    tokio::select! {
        () = running.stop(true) => ::log::info!("stopped"),
        name = signals.next() => ::log::warn!("{name} again: stopped at once"),
    }
    Ok(())
}

/// The signals that end a registry.
///
/// Both are caught from the beginning: one that comes right after the registry has said that it listens must not kill it.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> io::Result<Signals> {
        Ok(Signals {
            #[cfg(unix)]
            terminate: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?,
            #[cfg(unix)]
            interrupt: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?,
        })
    }

    /// The name of the next one.
    async fn next(&mut self) -> &'static str {
        #[cfg(unix)]
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "interrupted",
        }
        #[cfg(not(unix))]
        {
            let _ = tokio::signal::ctrl_c().await;
            "interrupted"
        }
    }
}

/// What a registry says of itself in one line.
struct Introduction {
    generation: RegistryGeneration,
    scheme: &'static str,
}

impl Introduction {
    fn of(config: &Config) -> Introduction {
        Introduction {
            generation: RegistryGeneration::from_answer(config.serves_referrers()),
            scheme: if config.http.tls.is_some() {
                "https"
            } else {
                "http"
            },
        }
    }

    fn of_running(&self, running: &Running) -> String {
        let urls: Vec<String> = running
            .addresses()
            .iter()
            .map(|address| format!("{}://{address}", self.scheme))
            .collect();
        let storage = match running.folder() {
            Some(folder) => format!("content is in {}", folder.display()),
            None => "content is in memory".to_owned(),
        };
        format!("{self} listens on {}; {storage}", urls.join(" and "))
    }
}

impl Display for Introduction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} {} registry",
            self.generation.icon(),
            self.generation.name()
        )
    }
}

fn check(file: &std::path::Path) -> Result<(), Failure> {
    let config = Config::load(file)?;
    app::check(&config)?;
    say(format_args!(
        "{}: {}, to listen on {}",
        file.display(),
        Introduction::of(&config),
        config.http.addr
    ));
    Ok(())
}

fn collect(config: &Config, dry_run: bool) -> Result<(), Failure> {
    log::start(&config.log);
    let opened = app::open(config)?;
    let how = Collect {
        dry_run,
        uploads: config.storage.maintenance.uploadpurging.enabled,
        now: SystemTime::now(),
    };
    let collected = opened
        .registry
        .collect_garbage(how, &mut |garbage| say(maintenance::line(garbage, how)))?;
    say(maintenance::summary(&collected, dry_run));
    Ok(())
}

fn verify(config: &Config, repair: bool) -> Result<(), Failure> {
    log::start(&config.log);
    let taken = app::take_to_verify(config)?;
    let records = taken.store.check_records(repair).map_err(domain::Error::from)?;
    for what in &records {
        say(Damage::Records(what.clone()));
    }
    if !records.is_empty() && !repair {
        say("the rest cannot be verified before the records are repaired");
        return Err(Failure::Damaged {
            damages: records.len(),
            repaired: 0,
        });
    }
    let found = taken
        .open(config)?
        .registry
        .verify(Verify { repair }, &mut |damage| say(damage))?;
    say(format_args!(
        "verified {} contents with {} bytes; {} repositories, {} manifests, {} tags, {} referrers",
        found.contents, found.bytes, found.repositories, found.manifests, found.tags, found.referrers
    ));
    if found.unfinished > 0 {
        say(format_args!(
            "{} contents are of pushes that were cut off; garbage collection removes them",
            found.unfinished
        ));
    }
    match found.damages + records.len() {
        0 => Ok(()),
        damages => Err(Failure::Damaged {
            damages,
            repaired: found.repaired + records.len(),
        }),
    }
}

fn htpasswd(name: &str) -> Result<(), Failure> {
    let mut password = String::new();
    io::stdin().read_line(&mut password).map_err(Failure::Password)?;
    let password = password.trim_end_matches(['\n', '\r']);
    say(auth::htpasswd_line(name, password).map_err(Failure::Htpasswd)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_program_s_name_tells_the_generation_where_no_file_does() {
        for (program, expected) in [
            ("bin/current-registry", "current"),
            ("/x/complete-registry", "complete"),
            ("registry", "complete"),
            ("current/registry", "complete"),
        ] {
            assert_eq!(generation_of(Some(&program.into())).name, expected, "{program}");
        }
        Cli::command().debug_assert();
    }
}
