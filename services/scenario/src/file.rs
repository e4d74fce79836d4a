//! The scenario file: reading it, and refusing what cannot be meant.
//!
//! Unknown keys, wrong types and doubled keys are refused by the parser with line and column. What only the whole file can
//! tell (a step that is named but not there, a variable that stands for nothing) is checked here, before anything is played.

use crate::expect::{Content, Expectation};
use crate::variables::{BEFORE_PLAY, DIGEST_TAG, SUBJECT};
use crate::{Actor, Remembered, Variables, command_line};
use generations::{ConsumerGeneration, ProducerGeneration, RegistryGeneration, combination};
use oci::{Digest, ImageReference};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The word for either actor in `by:`.
pub const ANYBODY: &str = "anybody";

const fn default_timeout_seconds() -> u64 {
    30
}

/// A scenario: who meets, what they do, what must be seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scenario {
    /// The working group's number, 1 to 18.
    pub scenario: u8,
    /// The working group's description.
    pub title: String,
    /// Whether the working group supports this combination; the others fail by design.
    pub supported: bool,
    /// Who pushes.
    pub producer: ProducerGeneration,
    /// Who stores.
    pub registry: RegistryGeneration,
    /// Who pulls.
    pub consumer: ConsumerGeneration,
    /// What happens and why, for a reader.
    pub story: String,
    /// The image that it is all about; its registry and repository are the scenario's. `${image}` in the file.
    pub image: String,
    /// The commands, first the producer's, then the consumer's.
    pub steps: Vec<Step>,
    /// What must be seen.
    pub expect: Vec<Expectation>,
}

/// One command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Step {
    /// A short name of lower-case letters, digits and dashes; unique in the file.
    pub step: String,
    /// The command line. Its first word is the tool by its generation, such as `intermediate-producer`.
    pub run: String,
    /// Files that stand in the step's working folder, by name, with their content.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// What it reads on standard input; nothing if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// The exit code that it must end with.
    pub exits: u8,
    /// Seconds after which it is ended, and the scenario fails by its name.
    #[serde(default = "default_timeout_seconds")]
    pub timeout_seconds: u64,
    /// Names for what the last answer to such a request of this step tells: a digest, or a text of its JSON.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub remember: BTreeMap<String, Remembered>,
}

/// Why a scenario file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is not there, or cannot be read.
    #[error("cannot read the scenario {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not YAML, has an unknown key, or a value of the wrong type.
    #[error("the scenario {} is malformed: {source}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where, and what was expected.
        source: Box<serde_saphyr::Error>,
    },
    /// It can be read, but not be meant.
    #[error("the scenario {} cannot be played: {problem}", path.display())]
    Meaning {
        /// The file.
        path: PathBuf,
        /// What is wrong where.
        problem: String,
    },
    /// No file of the folder begins with the number.
    #[error("no scenario {number} in {}: expected a file {number:02}-….yaml", folder.display())]
    Missing {
        /// The number asked for.
        number: u8,
        /// Where it was looked for.
        folder: PathBuf,
    },
}

impl Scenario {
    /// Reads a file and checks all that can be checked before playing.
    ///
    /// # Errors
    /// [`FileError`] with the file, and where in it.
    pub fn load(path: &Path) -> Result<Scenario, FileError> {
        Scenario::load_with_digest(path).map(|(scenario, _)| scenario)
    }

    /// As [`Scenario::load`], with the digest of the file's bytes.
    ///
    /// # Errors
    /// [`FileError`] with the file, and where in it.
    pub fn load_with_digest(path: &Path) -> Result<(Scenario, Digest), FileError> {
        let text = std::fs::read_to_string(path).map_err(|source| FileError::Read {
            path: path.to_owned(),
            source,
        })?;
        Ok((Scenario::parse(path, &text)?, Digest::sha256(text.as_bytes())))
    }

    /// Reads a text; `path` is named in errors.
    ///
    /// # Errors
    /// [`FileError`] with the file, and where in it.
    pub fn parse(path: &Path, text: &str) -> Result<Scenario, FileError> {
        let scenario: Scenario = serde_saphyr::from_str(text).map_err(|source| FileError::Malformed {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        scenario.check().map_err(|problem| FileError::Meaning {
            path: path.to_owned(),
            problem,
        })?;
        Ok(scenario)
    }

    /// The file of a number in a folder.
    ///
    /// # Errors
    /// [`FileError::Missing`] if there is none, [`FileError::Read`] if the folder cannot be read.
    pub fn find(folder: &Path, number: u8) -> Result<PathBuf, FileError> {
        let read = |source| FileError::Read {
            path: folder.to_owned(),
            source,
        };
        let start = format!("{number:02}-");
        for entry in std::fs::read_dir(folder).map_err(read)? {
            let name = entry.map_err(read)?.file_name();
            if let Some(name) = name
                .to_str()
                .filter(|name| name.starts_with(&start) && name.ends_with(".yaml"))
            {
                return Ok(folder.join(name));
            }
        }
        Err(FileError::Missing {
            number,
            folder: folder.to_owned(),
        })
    }

    /// The image, parsed.
    ///
    /// # Errors
    /// Never for a scenario that was loaded.
    pub fn reference(&self) -> Result<ImageReference, oci::ReferenceError> {
        ImageReference::parse(&self.image)
    }

    /// The steps of one actor, in order.
    pub fn steps_of(&self, actor: Actor) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(move |step| step.actor() == Some(actor))
    }

    /// The name of an actor's generation.
    pub fn generation_of(&self, actor: Actor) -> &'static str {
        match actor {
            Actor::Producer => self.producer.name(),
            Actor::Consumer => self.consumer.name(),
        }
    }

    /// The variables that stand before anything was played; `source` is the image to copy.
    ///
    /// # Errors
    /// Never for a scenario that was loaded.
    pub fn variables(&self, source: &str) -> Result<Variables, oci::ReferenceError> {
        let image = self.reference()?;
        let mut variables = Variables::default();
        let values = [source, &self.image, &image.registry, image.repository.as_str()];
        for (name, value) in BEFORE_PLAY.into_iter().zip(values) {
            variables.set(name, value);
        }
        Ok(variables)
    }

    fn check(&self) -> Result<(), String> {
        self.check_who_meets()?;
        self.reference().map_err(|error| format!("image: {error}"))?;
        self.check_steps()?;
        let known = self.names_in_expectations();
        if self.expect.is_empty() {
            return Err("expect: nothing is expected, so nothing could fail".to_owned());
        }
        for expectation in &self.expect {
            self.check_expectation(expectation, &known)
                .map_err(|problem| format!("expect, {:?}: {problem}", expectation.that))?;
        }
        Ok(())
    }

    fn check_who_meets(&self) -> Result<(), String> {
        let number = self.scenario;
        let expected =
            combination(number).ok_or_else(|| format!("scenario: {number} is none of the 18, 1 to 18"))?;
        if (expected.producer, expected.registry, expected.consumer)
            == (self.producer, self.registry, self.consumer)
        {
            return Ok(());
        }
        Err(format!(
            "scenario {number} is {expected}: expected producer {}, registry {}, consumer {}, but the file says {}, {}, {}",
            expected.producer,
            expected.registry,
            expected.consumer,
            self.producer,
            self.registry,
            self.consumer
        ))
    }

    fn check_steps(&self) -> Result<(), String> {
        let mut names = BTreeSet::new();
        let mut latest = Actor::Producer;
        for step in &self.steps {
            let name = &step.step;
            if !is_step_name(name) {
                return Err(format!(
                    "step {name:?}: expected a name of lower-case letters, digits and dashes that is no actor's"
                ));
            }
            if !names.insert(name) {
                return Err(format!("step {name:?} is there twice"));
            }
            let actor = self
                .check_step(step)
                .map_err(|problem| format!("step {name:?}: {problem}"))?;
            if actor < latest {
                return Err(format!(
                    "step {name:?}: the producer's steps come before the consumer's"
                ));
            }
            latest = actor;
        }
        match Actor::ALL
            .into_iter()
            .find(|actor| self.steps_of(*actor).next().is_none())
        {
            Some(idle) => Err(format!("steps: the {idle} does nothing")),
            None => Ok(()),
        }
    }

    fn check_step(&self, step: &Step) -> Result<Actor, String> {
        let words = command_line::split(&step.run).map_err(|error| error.to_string())?;
        let programs = Actor::ALL.map(|actor| (format!("{}-{actor}", self.generation_of(actor)), actor));
        let program = words.first().map_or("", String::as_str);
        let actor = programs
            .iter()
            .find(|(name, _)| name == program)
            .map(|(_, actor)| *actor)
            .ok_or_else(|| {
                format!(
                    "runs {program:?}: expected {} or {}",
                    programs[0].0, programs[1].0
                )
            })?;
        check_names(&BEFORE_PLAY.map(str::to_owned), words.iter().map(String::as_str))?;
        let escapes =
            |name: &&String| Path::new(name.as_str()).components().count() != 1 || name.starts_with('.');
        if let Some(name) = step.files.keys().find(escapes) {
            return Err(format!(
                "files: {name:?} is not the name of a file in the working folder"
            ));
        }
        if step.timeout_seconds == 0 {
            return Err("timeout-seconds: expected 1 or more".to_owned());
        }
        Ok(actor)
    }

    /// Names that expectations may use: those before play, those that steps remember, and the digest tag.
    fn names_in_expectations(&self) -> Vec<String> {
        let remembered = self.steps.iter().flat_map(|step| step.remember.keys().cloned());
        let mut names: Vec<String> = BEFORE_PLAY
            .map(str::to_owned)
            .into_iter()
            .chain(remembered)
            .collect();
        if names.iter().any(|name| name == SUBJECT) {
            names.push(DIGEST_TAG.to_owned());
        }
        names
    }

    fn check_expectation(&self, expectation: &Expectation, known: &[String]) -> Result<(), String> {
        let Expectation {
            that: _,
            printed,
            exchanges,
            registry,
        } = expectation;
        if printed.is_empty() && exchanges.is_empty() && registry.is_empty() {
            return Err("it says not where to look: expected printed, exchanges or registry".to_owned());
        }
        let is_step = |name: &str| self.steps.iter().any(|step| step.step == name);
        for print in printed {
            if !is_step(&print.by) {
                return Err(format!("printed: there is no step {:?}", print.by));
            }
            let contents: Vec<&Content> = [&print.stdout, &print.stderr].into_iter().flatten().collect();
            if contents.is_empty() {
                return Err(format!("printed by {:?}: expected stdout or stderr", print.by));
            }
            for content in contents {
                check_content(content, known, false)?;
            }
        }
        for exchange in exchanges {
            let by = exchange.by.as_str();
            if by != ANYBODY && Actor::from_name(by).is_none() && !is_step(by) {
                return Err(format!(
                    "exchanges by {by:?}: expected producer, consumer, {ANYBODY} or the name of a step"
                ));
            }
            check_names(known, [exchange.request.path.as_str()])?;
            for content in [&exchange.sent, &exchange.received].into_iter().flatten() {
                check_content(content, known, true)?;
            }
        }
        for read in registry {
            if !matches!(read.read.method.as_str(), "GET" | "HEAD") {
                return Err(format!(
                    "registry: {} is no reading: expected GET or HEAD",
                    read.read
                ));
            }
            check_names(
                known,
                [read.read.path.as_str()]
                    .into_iter()
                    .chain(read.digest.as_deref()),
            )?;
            if let Some(content) = &read.received {
                check_content(content, known, true)?;
            }
        }
        Ok(())
    }
}

impl Step {
    /// Who runs it, by the command's first word.
    pub fn actor(&self) -> Option<Actor> {
        let program = self.run.split_whitespace().next()?;
        Actor::from_name(program.rsplit_once('-').map_or(program, |(_, actor)| actor))
    }

    /// How long it may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds)
    }
}

fn is_step_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty() && name.bytes().all(plain) && Actor::from_name(name).is_none() && name != ANYBODY
}

fn check_content(content: &Content, known: &[String], on_the_wire: bool) -> Result<(), String> {
    if content.is_empty() {
        return Err("a content is named but nothing is expected of it".to_owned());
    }
    if (content.media_type.is_some() || content.digest.is_some()) && !on_the_wire {
        return Err("media-type and digest: what a step prints has none".to_owned());
    }
    let pointers = content.json.keys().chain(content.counts.keys());
    if let Some(pointer) = pointers
        .into_iter()
        .find(|pointer| !pointer.is_empty() && !pointer.starts_with('/'))
    {
        return Err(format!("{pointer:?} is no JSON pointer: expected /key/0/key"));
    }
    let texts = content
        .is
        .iter()
        .chain(&content.contains)
        .chain(&content.lacks)
        .chain(&content.media_type)
        .chain(&content.digest);
    check_names(known, texts.map(String::as_str))?;
    let mut all = Variables::default();
    for name in known {
        all.set(name, "");
    }
    for value in content.json.values() {
        all.fill_json(value).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn check_names<'a>(known: &[String], texts: impl IntoIterator<Item = &'a str>) -> Result<(), String> {
    let mut variables = Variables::default();
    for name in known {
        variables.set(name, "");
    }
    for text in texts {
        variables.fill(text).map_err(|error| error.to_string())?;
    }
    Ok(())
}
