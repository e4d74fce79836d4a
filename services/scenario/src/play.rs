//! Playing: an actor's steps, one after the other, each a child process.
//!
//! Every step runs, whatever came of the one before it; only a step that hangs or cannot be started ends the play. Whether
//! an exit code was right is not asked here. Dropping the future ends the child that is running, so an interrupted play
//! leaves no stray process.

use crate::file::Scenario;
use crate::{Actor, Exit, Outcome, OutcomeError, Step, StepOutcome, Variables, command_line};
use oci::Digest;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// Tells a tool its generation.
pub const GENERATION: &str = "GENERATION";
/// Tells a tool where its client configuration is.
pub const CLIENT_CONFIG: &str = "REFERRERS_LAB_CONFIG";
/// Tells a tool where to record its exchanges.
pub const HAR: &str = "REFERRERS_LAB_HAR";

/// How long clearing the stage may take.
const CLEAR_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a step that hangs may take to end once it was asked to.
const GRACE: Duration = Duration::from_secs(1);
/// The producer's exit code: it was there, and was deleted.
const DELETED: i32 = 0;
/// The producer's exit code: not found, so there was nothing to delete.
const NOTHING_THERE: i32 = 3;

/// How to start the tool of an actor.
#[derive(Clone, Debug)]
pub struct Program {
    /// The executable.
    pub path: PathBuf,
    /// What comes before a step's own arguments: `producer`, where the executable is the multi-call `lab`.
    pub prefix: Vec<OsString>,
}

impl Program {
    /// The executable that is running now, without a prefix.
    ///
    /// # Errors
    /// Where the system cannot tell which it is.
    pub fn this() -> io::Result<Program> {
        Ok(Program {
            path: std::env::current_exe()?,
            prefix: Vec::new(),
        })
    }
}

/// All that playing needs to know.
#[derive(Clone, Debug)]
pub struct Cast<'a> {
    /// The scenario.
    pub scenario: &'a Scenario,
    /// The digest of its file.
    pub file: Digest,
    /// Whose steps to play.
    pub actor: Actor,
    /// How to start its tool.
    pub program: Program,
    /// Where the actor's folder is made.
    pub results: &'a Path,
    /// `${source}`: the image that the producer copies.
    pub source: &'a str,
    /// The client configuration that the steps get a copy of: they may change it, and the original stays.
    pub client_config: Option<&'a Path>,
}

/// Why an actor's part could not be played to its end. What a step did is never an error of the play.
#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    /// A folder or file of the results could not be made.
    #[error("{}: {source}", path.display())]
    Results {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A command line makes no sense.
    #[error("step {step:?}: {problem}")]
    Step {
        /// Which step.
        step: String,
        /// What is wrong.
        problem: String,
    },
    /// What an earlier run left in the repository cannot be removed.
    #[error("cannot clear the stage, with {command:?}: {exit}: {stderr}")]
    Clear {
        /// The command line.
        command: String,
        /// How it ended.
        exit: Exit,
        /// What it said.
        stderr: String,
    },
    /// The outcome could not be written.
    #[error(transparent)]
    Outcome(#[from] OutcomeError),
}

/// Plays one actor's steps, and writes its outcome as the last thing.
///
/// What an earlier play left in the actor's folder is gone before the first step; and what it left in the scenario's
/// repository, before the producer's first step: else a digest tag that is there already would not be pushed again, and the
/// scenario would not show what it is about.
///
/// # Errors
/// [`PlayError`] if the results folder cannot be written to, or the repository not be cleared.
pub async fn play(cast: &Cast<'_>) -> Result<Outcome, PlayError> {
    let stage = Stage::set(cast)?;
    if cast.actor == Actor::Producer {
        stage.clear(cast).await?;
    }
    let mut outcome = Outcome {
        actor: cast.actor,
        generation: cast.scenario.generation_of(cast.actor).to_owned(),
        scenario: cast.scenario.scenario,
        file: cast.file,
        source: cast.source.to_owned(),
        started_ms: now_ms(),
        finished_ms: 0,
        steps: Vec::new(),
    };
    for (index, step) in cast.scenario.steps_of(cast.actor).enumerate() {
        let played = stage.play(cast, index, step).await?;
        let goes_on = matches!(played.exit, Exit::Code(_) | Exit::Signal);
        outcome.steps.push(played);
        if !goes_on {
            break;
        }
    }
    outcome.finished_ms = now_ms();
    outcome.write(cast.results)?;
    Ok(outcome)
}

/// The folders of one play, and what its steps have in common.
struct Stage {
    folder: PathBuf,
    work: PathBuf,
    client_config: Option<PathBuf>,
    variables: Variables,
}

impl Stage {
    fn set(cast: &Cast<'_>) -> Result<Stage, PlayError> {
        let folder = Outcome::folder(cast.results, cast.actor);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| PlayError::Results { path, source }
        };
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&folder)(error)),
            _ => {}
        }
        std::fs::create_dir_all(&folder).map_err(failed(&folder))?;
        let folder = folder.canonicalize().map_err(failed(&folder))?;
        let work = folder.join("work");
        std::fs::create_dir(&work).map_err(failed(&work))?;
        let client_config = match cast.client_config {
            Some(original) => {
                let copy = folder.join("client.json");
                let content = std::fs::read(original).map_err(failed(original))?;
                std::fs::write(&copy, content).map_err(failed(&copy))?;
                Some(copy)
            }
            None => None,
        };
        let variables = cast
            .scenario
            .variables(cast.source)
            .map_err(|error| PlayError::Step {
                step: "image".to_owned(),
                problem: error.to_string(),
            })?;
        Ok(Stage {
            folder,
            work,
            client_config,
            variables,
        })
    }

    /// Deletes the scenario's image with its references, as the producer tool does it.
    async fn clear(&self, cast: &Cast<'_>) -> Result<(), PlayError> {
        let words = ["producer", "delete", "--referrers", &cast.scenario.image].map(str::to_owned);
        let mut command = self.command(cast, &words, &self.folder.join("00-clear.har"));
        let ended = run(&mut command, "clear", CLEAR_TIMEOUT, &[]).await;
        match ended.exit {
            Exit::Code(DELETED | NOTHING_THERE) => Ok(()),
            exit => Err(PlayError::Clear {
                command: command_line::join(words.iter().map(String::as_str)),
                exit,
                stderr: text(ended.stderr).trim().to_owned(),
            }),
        }
    }

    async fn play(&self, cast: &Cast<'_>, index: usize, step: &Step) -> Result<StepOutcome, PlayError> {
        let problem = |problem: String| PlayError::Step {
            step: step.step.clone(),
            problem,
        };
        let words = command_line::split(&step.run).map_err(|error| problem(error.to_string()))?;
        let words: Vec<String> = words
            .iter()
            .map(|word| self.variables.fill(word))
            .collect::<Result<_, _>>()
            .map_err(|error| problem(error.to_string()))?;
        for (name, content) in &step.files {
            let path = self.work.join(name);
            std::fs::write(&path, content).map_err(|source| PlayError::Results { path, source })?;
        }
        let har = format!("{:02}-{}.har", index + 1, step.step);
        let mut command = self.command(cast, &words, &self.folder.join(&har));
        let begun = Instant::now();
        let input = step.stdin.as_deref().unwrap_or_default().as_bytes();
        let ended = run(&mut command, &step.step, step.timeout(), input).await;
        log::info!("{}: {}: {}", cast.actor, step.step, ended.exit);
        Ok(StepOutcome {
            step: step.step.clone(),
            command: words,
            exit: ended.exit,
            stdout: text(ended.stdout),
            stderr: text(ended.stderr),
            duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            har,
        })
    }

    fn command(&self, cast: &Cast<'_>, words: &[String], har: &Path) -> Command {
        let mut command = Command::new(&cast.program.path);
        command
            .args(&cast.program.prefix)
            .args(words.iter().skip(1))
            .current_dir(&self.work)
            .env(GENERATION, cast.scenario.generation_of(cast.actor))
            .env(HAR, har)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(config) = &self.client_config {
            command.env(CLIENT_CONFIG, config);
        }
        command
    }
}

/// How a child ended, and all that it printed until then.
struct Ended {
    exit: Exit,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

async fn run(command: &mut Command, name: &str, limit: Duration, input: &[u8]) -> Ended {
    let mut ended = Ended {
        exit: Exit::Signal,
        stdout: Vec::new(),
        stderr: Vec::new(),
    };
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let program = command.as_std().get_program().display().to_string();
            ended.exit = Exit::NotStarted(format!("{program}: {error}"));
            return ended;
        }
    };
    let waited = tokio::time::timeout(
        limit,
        attend(&mut child, input, &mut ended.stdout, &mut ended.stderr),
    )
    .await;
    ended.exit = match waited {
        Ok(Ok(status)) => status.code().map_or(Exit::Signal, Exit::Code),
        Ok(Err(error)) => Exit::NotStarted(error.to_string()),
        Err(_) => {
            if let Err(error) = end(&mut child).await {
                log::warn!("{name}: cannot be ended: {error}");
            }
            Exit::TimedOut(limit.as_secs())
        }
    };
    ended
}

/// Ends a child: asks it to, so that it can still write its recording, and then no longer asks.
async fn end(child: &mut Child) -> io::Result<()> {
    #[cfg(unix)]
    if let Some(id) = child
        .id()
        .and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()))
    {
        // It may have ended just now; then there is nobody to ask.
        _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        if let Ok(ended) = tokio::time::timeout(GRACE, child.wait()).await {
            return ended.map(|_| ());
        }
    }
    child.kill().await
}

/// Feeds a child and reads it until it has ended; what was read stays in the buffers if this is dropped half-way.
async fn attend(
    child: &mut Child,
    input: &[u8],
    stdout: &mut Vec<u8>,
    stderr: &mut Vec<u8>,
) -> io::Result<std::process::ExitStatus> {
    let (stdin, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A child that does not read its input closes the pipe: that is its right.
            _ = stdin.write_all(input).await;
        }
    };
    let read_out = read_all(out, stdout);
    let read_err = read_all(err, stderr);
    let ((), read_out, read_err) = tokio::join!(feed, read_out, read_err);
    read_out.and(read_err)?;
    child.wait().await
}

async fn read_all(pipe: Option<impl tokio::io::AsyncRead + Unpin>, into: &mut Vec<u8>) -> io::Result<()> {
    match pipe {
        Some(mut pipe) => pipe.read_to_end(into).await.map(|_| ()),
        None => Ok(()),
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
