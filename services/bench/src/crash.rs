//! Kills a registry, or cuts the power of its disk, at random moments under mixed load; starts it again and reads everything
//! that it had acknowledged.
//!
//! Each client works in repositories of its own and keeps a model of what may be read there: an operation that
//! was acknowledged has one outcome, one that was cut off has two. After each kill a fresh process on the same storage must
//! agree with all models, and `registry verify` must find nothing. With power loss, that process finds what had come to the
//! disk at one moment under load; what was acknowledged before that moment counts as acknowledged, the rest as cut off.

mod check;
mod clients;
mod disk;
mod model;
mod store;

pub use disk::FileSystem;

use crate::load;
use crate::server::Server;
use crate::settings::StartCommand;
use clients::{Clients, Dice};
use model::Model;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use store::Store;

/// Rounds after which the storage and the models start empty again: reading everything back must not take for ever.
const ROUNDS_OF_A_STORE: u32 = 20;

/// What makes everything old that nothing reaches, for commands that work on a storage at rest.
const NO_GRACE: [(&str, &str); 2] = [
    ("REGISTRY_STORAGE_MAINTENANCE_GC_GRACE", "0s"),
    ("REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_AGE", "0s"),
];

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
    /// What happens to it at the end of a round.
    pub end: End,
}

/// How a round ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// The process is killed; what it had written is there.
    #[default]
    Kill,
    /// The disk keeps what had come to it at one moment; its file system is of this kind.
    PowerLoss(FileSystem),
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
    /// No disk whose power could be cut.
    #[error("no disk whose power could be cut; that takes root, loop devices and mkfs.xfs: {0}")]
    NoDisk(io::Error),
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
    let mut store: Option<Store> = None;
    for round in 0..options.rounds {
        if round % ROUNDS_OF_A_STORE == 0 {
            drop(store.take());
        }
        let store = match &mut store {
            Some(store) => store,
            none => none.insert(Store::new(options)?),
        };
        let is_last = (round + 1) % ROUNDS_OF_A_STORE == 0 || round + 1 == options.rounds;
        let done = one_round(options, store, garbage_in(round), &mut dice).and_then(|done| {
            if is_last {
                no_leftovers(options, store)?;
            }
            Ok(done)
        });
        let done = done.map_err(|Broken(what)| CrashError::Broken {
            round,
            seed: options.seed,
            storage: store.keep(),
            what,
        })?;
        summary.rounds += 1;
        summary.acknowledged += done.acknowledged;
        summary.compared += done.compared;
        tell(&format!(
            "round {round}: {} operations acknowledged, {} things read back",
            done.acknowledged, done.compared
        ));
    }
    Ok(summary)
}

/// Every other round collects garbage.
fn garbage_in(round: u32) -> Garbage {
    match round % 2 {
        1 => Garbage::Collected,
        _ => Garbage::Kept,
    }
}

/// A promise that was broken, in words.
#[derive(Debug)]
pub(crate) struct Broken(pub(crate) String);

impl<E: std::error::Error> From<E> for Broken {
    fn from(error: E) -> Broken {
        Broken(error.to_string())
    }
}

/// Load, kill or power loss, start again, compare, stop, verify.
fn one_round(
    options: &Options,
    store: &mut Store,
    garbage: Garbage,
    dice: &mut Dice,
) -> Result<Summary, Broken> {
    let acknowledged = load_until_the_end(options, store, garbage, dice)?;
    store.power_on()?;
    let server = Server::start(&command(options, Garbage::Kept), &store.storage())?;
    let compared = load::runtime()?.block_on(check::all(
        server.address(),
        &mut store.models,
        garbage,
        options.end,
    ))?;
    drop(server);
    command_of(options, &store.storage(), "verify")?;
    Ok(Summary {
        rounds: 1,
        acknowledged,
        compared,
    })
}

/// Lets the clients work on a registry, and ends it at a random moment. Returns how many operations were acknowledged.
fn load_until_the_end(
    options: &Options,
    store: &mut Store,
    garbage: Garbage,
    dice: &mut Dice,
) -> Result<u64, Broken> {
    let server = Server::start(&command(options, garbage), &store.storage())?;
    let killed = Arc::new(AtomicBool::new(false));
    let clients = Clients {
        address: server.address(),
        garbage,
        killed: Arc::clone(&killed),
    };
    let working = std::mem::take(&mut store.models);
    let seed = dice.next();
    let (tell, told) = mpsc::channel();
    let work = std::thread::spawn(move || {
        let _ = tell.send(clients.work(working, seed));
    });
    std::thread::sleep(Duration::from_millis(100 + dice.below(900)));
    let cut = store.cut_power();
    killed.store(true, Ordering::SeqCst);
    server.kill()?;
    let worked = told.recv()?;
    work.join()
        .map_err(|_| Broken("a client of the crash suite panicked".to_owned()))?;
    let worked = worked?;
    cut?;
    store.models = worked.models;
    Ok(worked.acknowledged)
}

/// Nothing half written, no upload and no content that nothing needs stays for ever: a collection without any grace leaves none,
/// and all that tags reach.
fn no_leftovers(options: &Options, store: &Store) -> Result<(), Broken> {
    let storage = store.storage();
    command_of(options, &storage, "gc")?;
    let kept = store.models.iter().flat_map(Model::kept).collect();
    if let Some(path) = store::needless(&storage, &kept)? {
        return Err(Broken(format!("{} is left after a collection", path.display())));
    }
    command_of(options, &storage, "verify")
}

/// The registry's settings, as variables.
fn settings(options: &Options, garbage: Garbage) -> Vec<(String, String)> {
    let pairs = [
        ("REGISTRY_HTTP_ADDR", "127.0.0.1:{port}"),
        ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "{dir}"),
        ("REGISTRY_STORAGE_FILESYSTEM_DURABILITY", &options.durability),
        ("REGISTRY_STORAGE_DELETE_ENABLED", "true"),
        ("REGISTRY_LOG_ACCESSLOG_DISABLED", "true"),
        // A machine that stands still for a while is not the clients' fault.
        ("REGISTRY_HTTP_LIMITS_HEADTIMEOUT", "1h"),
        ("REGISTRY_HTTP_LIMITS_BODYTIMEOUT", "1h"),
        ("REGISTRY_HTTP_LIMITS_KEEPALIVE", "1h"),
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

/// Has one of the registry's own commands work on the whole storage.
fn command_of(options: &Options, storage: &Path, subcommand: &str) -> Result<(), Broken> {
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
        .arg(subcommand)
        .envs(variables)
        .envs(NO_GRACE)
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    Err(Broken(format!(
        "{subcommand} ended with {}: {}",
        output.status,
        said.trim()
    )))
}
