//! Kills a registry at random moments under mixed load, starts it again and reads everything that it had acknowledged.
//!
//! Each client works in repositories of its own and keeps a model of what may be read there: an operation that
//! was acknowledged has one outcome, one that was cut off has two. After each kill a fresh process on the same storage must
//! agree with all models, and `registry verify` must find nothing. Left out: power loss, which this cannot show.

mod check;
mod clients;
mod model;

use crate::load;
use crate::server::{Folder, Server};
use crate::settings::StartCommand;
use clients::{Clients, Dice};
use model::Model;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// Rounds after which the storage and the models start empty again: reading everything back must not take for ever.
const ROUNDS_OF_A_STORE: u32 = 20;

/// What to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// The registry's command, without `serve`: program and first arguments.
    pub registry: Vec<String>,
    /// How often it is killed.
    pub rounds: u32,
    /// Clients that work at once.
    pub clients: usize,
    /// Where chance starts from: the same seed makes the same clients (the moment of the kill still differs in effect).
    pub seed: u64,
    /// `full` or `none`: the value of `storage.filesystem.durability`.
    pub durability: String,
}

/// What came of all rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Kills survived.
    pub rounds: u32,
    /// Operations acknowledged before a kill.
    pub acknowledged: u64,
    /// Things read back and compared with a model.
    pub compared: u64,
}

/// Why the suite stopped.
#[derive(Debug, thiserror::Error)]
pub enum CrashError {
    /// The registry broke a promise. The storage is left where it is.
    #[error("round {round} (seed {seed}, storage left in {}): {what}", storage.display())]
    Broken {
        /// In which round.
        round: u32,
        /// The seed of the run.
        seed: u64,
        /// The storage as it was found.
        storage: PathBuf,
        /// Which promise.
        what: String,
    },
    /// The machine did not do as it was told.
    #[error("the crash suite itself: {0}")]
    Io(#[from] io::Error),
}

/// Whether garbage is collected while the load is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Garbage {
    /// What no tag reaches may be gone.
    Collected,
    /// Everything acknowledged must be there.
    Kept,
}

/// Runs all rounds; `tell` gets a line a round.
///
/// # Errors
/// At the first broken promise.
pub fn run(options: &Options, mut tell: impl FnMut(&str)) -> Result<Summary, CrashError> {
    let mut dice = Dice::new(options.seed);
    let mut summary = Summary::default();
    let mut store: Option<(Folder, Vec<Model>)> = None;
    for round in 0..options.rounds {
        if round % ROUNDS_OF_A_STORE == 0 {
            let models = (0..options.clients).map(Model::new).collect();
            store = Some((Folder::new("crash")?, models));
        }
        let Some((folder, models)) = store.as_mut() else {
            continue;
        };
        let garbage = if round % 2 == 1 {
            Garbage::Collected
        } else {
            Garbage::Kept
        };
        match one_round(options, folder.path(), models, garbage, &mut dice) {
            Ok(done) => {
                summary.rounds += 1;
                summary.acknowledged += done.acknowledged;
                summary.compared += done.compared;
                tell(&format!(
                    "round {round}: {} operations acknowledged before the kill, {} things read back",
                    done.acknowledged, done.compared
                ));
            }
            Err(Broken(what)) => {
                let storage = folder.path().to_owned();
                if let Some((folder, _)) = store {
                    std::mem::forget(folder);
                }
                return Err(CrashError::Broken {
                    round,
                    seed: options.seed,
                    storage,
                    what,
                });
            }
        }
    }
    Ok(summary)
}

/// A promise that was broken, in words.
#[derive(Debug)]
pub(crate) struct Broken(pub(crate) String);

impl<E: std::error::Error> From<E> for Broken {
    fn from(error: E) -> Broken {
        Broken(error.to_string())
    }
}

/// Load, kill, start again, compare, stop, verify.
fn one_round(
    options: &Options,
    storage: &Path,
    models: &mut Vec<Model>,
    garbage: Garbage,
    dice: &mut Dice,
) -> Result<Summary, Broken> {
    let server = Server::start(&command(options, garbage), storage)?;
    let killed = Arc::new(AtomicBool::new(false));
    let clients = Clients {
        address: server.address(),
        garbage,
        killed: Arc::clone(&killed),
    };
    let working = std::mem::take(models);
    let seed = dice.next();
    let (tell, told) = mpsc::channel();
    let work = std::thread::spawn(move || {
        let _ = tell.send(clients.work(working, seed));
    });
    std::thread::sleep(Duration::from_millis(100 + dice.below(900)));
    killed.store(true, Ordering::SeqCst);
    server.kill()?;
    let worked = told.recv()?;
    work.join()
        .map_err(|_| Broken("a client of the crash suite panicked".to_owned()))?;
    let worked = worked?;
    *models = worked.models;

    let server = Server::start(&command(options, Garbage::Kept), storage)?;
    let leftovers = count_files(&storage.join("tmp"));
    if leftovers > 0 {
        return Err(Broken(format!(
            "{leftovers} temporary files are left after the start"
        )));
    }
    let compared = load::runtime()?.block_on(check::all(server.address(), models, garbage))?;
    drop(server);
    verify(options, storage)?;
    Ok(Summary {
        rounds: 1,
        acknowledged: worked.acknowledged,
        compared,
    })
}

/// The registry's settings, as variables.
fn settings(options: &Options, garbage: Garbage) -> Vec<(String, String)> {
    let pairs = [
        ("REGISTRY_HTTP_ADDR", "127.0.0.1:{port}"),
        ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "{dir}"),
        ("REGISTRY_STORAGE_FILESYSTEM_DURABILITY", &options.durability),
        ("REGISTRY_STORAGE_DELETE_ENABLED", "true"),
        ("REGISTRY_LOG_ACCESSLOG_DISABLED", "true"),
        ("REGISTRY_STORAGE_MAINTENANCE_GC_INTERVAL", "50ms"),
        ("REGISTRY_STORAGE_MAINTENANCE_GC_GRACE", "250ms"),
        (
            "REGISTRY_STORAGE_MAINTENANCE_GC_ENABLED",
            match garbage {
                Garbage::Collected => "true",
                Garbage::Kept => "false",
            },
        ),
    ];
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

fn command(options: &Options, garbage: Garbage) -> StartCommand {
    let mut words = options.registry.clone();
    words.push("serve".to_owned());
    StartCommand {
        variables: settings(options, garbage),
        words,
    }
}

/// Has the registry's own command read the whole storage.
fn verify(options: &Options, storage: &Path) -> Result<(), Broken> {
    let (program, arguments) = options
        .registry
        .split_first()
        .ok_or_else(|| Broken("no registry".to_owned()))?;
    let variables = settings(options, Garbage::Kept).into_iter().map(|(name, value)| {
        (
            name,
            value
                .replace("{dir}", &storage.to_string_lossy())
                .replace("{port}", "0"),
        )
    });
    let output = Command::new(program)
        .args(arguments)
        .arg("verify")
        .envs(variables)
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    Err(Broken(format!(
        "verify ended with {}: {}",
        output.status,
        said.trim()
    )))
}

fn count_files(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}
