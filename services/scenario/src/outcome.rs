//! What an actor leaves for the judge: `<results>/<actor>/outcome.json`, and beside it one HAR file a step.

use crate::Actor;
use oci::Digest;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The file that tells that an actor has played.
pub const FILE_NAME: &str = "outcome.json";

/// What one actor did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Outcome {
    /// Who.
    pub actor: Actor,
    /// The name of its generation.
    pub generation: String,
    /// The scenario's number.
    pub scenario: u8,
    /// The digest of the scenario file that was played, so that no other is judged by it.
    pub file: Digest,
    /// The image that was copied: `${source}`.
    pub source: String,
    /// When it began, in milliseconds since 1970.
    pub started_ms: u64,
    /// When it was through, in milliseconds since 1970.
    pub finished_ms: u64,
    /// Its steps, in order.
    pub steps: Vec<StepOutcome>,
}

/// What one command did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StepOutcome {
    /// The step's name.
    pub step: String,
    /// The words of the command, variables filled.
    pub command: Vec<String>,
    /// How it ended.
    pub exit: Exit,
    /// What it printed on standard output; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// What it printed on standard error; bytes that are not UTF-8 are replaced.
    pub stderr: String,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// The name of the HAR file with its exchanges, in the outcome's folder.
    pub har: String,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By a signal, without a code.
    Signal,
    /// It was ended after so many seconds.
    TimedOut(u64),
    /// It could not be started, and why.
    NotStarted(String),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Signal => f.write_str("ended by a signal"),
            Exit::TimedOut(seconds) => write!(f, "hung, and was ended after {seconds} s"),
            Exit::NotStarted(why) => write!(f, "not started: {why}"),
        }
    }
}

/// Why an outcome cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum OutcomeError {
    /// It is not there, or cannot be read or written.
    #[error("the outcome {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what an actor writes.
    #[error("the outcome {} is malformed: {source}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where.
        source: serde_json::Error,
    },
}

impl Outcome {
    /// The folder of an actor among the results.
    pub fn folder(results: &Path, actor: Actor) -> PathBuf {
        results.join(actor.name())
    }

    /// The file of an actor's outcome among the results.
    pub fn path(results: &Path, actor: Actor) -> PathBuf {
        Outcome::folder(results, actor).join(FILE_NAME)
    }

    /// Reads an actor's outcome.
    ///
    /// # Errors
    /// [`OutcomeError`] if it is missing or malformed.
    pub fn read(results: &Path, actor: Actor) -> Result<Outcome, OutcomeError> {
        let path = Outcome::path(results, actor);
        let text = std::fs::read(&path).map_err(|source| OutcomeError::Io {
            path: path.clone(),
            source,
        })?;
        serde_json::from_slice(&text).map_err(|source| OutcomeError::Malformed { path, source })
    }

    /// Writes it whole: a reader sees nothing, or all of it.
    ///
    /// # Errors
    /// [`OutcomeError::Io`] if the folder cannot be written to.
    pub fn write(&self, results: &Path) -> Result<(), OutcomeError> {
        let path = Outcome::path(results, self.actor);
        let partial = path.with_extension("json.part");
        let text = serde_json::to_vec_pretty(self).map_err(|source| OutcomeError::Malformed {
            path: path.clone(),
            source,
        })?;
        std::fs::write(&partial, text)
            .and_then(|()| std::fs::rename(&partial, &path))
            .map_err(|source| OutcomeError::Io { path, source })
    }
}
