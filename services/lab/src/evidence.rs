//! What the actors left: their outcomes, and every exchange that they recorded.

use crate::har::{self, Entry, HarError, header};
use oci::{Digest, ImageReference};
use scenario::{Actor, Exit, Outcome, OutcomeError, Scenario, StepOutcome};
use serde::Serialize;
use std::path::Path;

/// One request and its answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Exchange {
    /// Whose; nobody's where the judge itself asked.
    pub actor: Option<Actor>,
    /// The step during which it happened; `judge` for the judge's own.
    pub step: String,
    /// Its place in the step's recording, counted from 1.
    pub place: usize,
    /// The registry, as references write it.
    pub registry: String,
    /// `GET`, …
    pub method: String,
    /// The whole URL.
    pub url: String,
    /// The path below `/v2/<repository>/` of the scenario's repository, without the query; absent for every other path.
    pub path: Option<String>,
    /// What was sent.
    pub sent: Body,
    /// The status; 0 where no answer came.
    pub status: u16,
    /// `Docker-Content-Digest` of the answer.
    pub digest: Option<String>,
    /// What came back.
    pub received: Body,
    /// Milliseconds from the first byte sent to the last received.
    pub time_ms: f64,
}

/// A body as far as it was kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Body {
    /// `Content-Type` without parameters.
    pub media_type: Option<String>,
    /// The text; absent for none and for what is no text.
    pub text: Option<String>,
    /// In bytes, where it is known.
    pub size: Option<u64>,
}

/// All that one scenario's actors left.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// In the order of [`Actor::ALL`].
    pub outcomes: Vec<Outcome>,
    /// Oldest first.
    pub exchanges: Vec<Exchange>,
}

/// Why there is nothing to judge.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// An actor's outcome is missing or malformed.
    #[error(transparent)]
    Outcome(#[from] OutcomeError),
    /// A recording is missing or malformed.
    #[error("step {step:?} ({ended}): {source}")]
    Har {
        /// The step.
        step: String,
        /// How it ended, with its last words: a tool that breaks leaves no recording.
        ended: String,
        /// What is wrong.
        source: HarError,
    },
    /// The outcome is of another scenario, another file, or another run.
    #[error("the outcome of the {actor} does not belong here: {problem}")]
    Foreign {
        /// Whose.
        actor: Actor,
        /// What tells.
        problem: String,
    },
}

impl Evidence {
    /// Reads both outcomes of a results folder and the recordings beside them.
    ///
    /// # Errors
    /// [`EvidenceError`]: something is missing, malformed, or of another scenario, file or run.
    pub fn read(
        scenario: &Scenario,
        file: Digest,
        image: &ImageReference,
        results: &Path,
    ) -> Result<Evidence, EvidenceError> {
        let mut outcomes = Vec::new();
        let mut exchanges = Vec::new();
        for actor in Actor::ALL {
            let outcome = Outcome::read(results, actor)?;
            check_belongs(scenario, file, &outcome, outcomes.last())?;
            for step in &outcome.steps {
                exchanges.extend(recorded(results, image, actor, step)?);
            }
            outcomes.push(outcome);
        }
        Ok(Evidence { outcomes, exchanges })
    }

    /// A step's outcome; `None` if it was never played.
    pub fn step(&self, name: &str) -> Option<&StepOutcome> {
        self.outcomes
            .iter()
            .flat_map(|outcome| &outcome.steps)
            .find(|step| step.step == name)
    }
}

fn check_belongs(
    scenario: &Scenario,
    file: Digest,
    outcome: &Outcome,
    before: Option<&Outcome>,
) -> Result<(), EvidenceError> {
    let problem = if outcome.scenario != scenario.scenario {
        Some(format!(
            "it is of scenario {}, not {}",
            outcome.scenario, scenario.scenario
        ))
    } else if outcome.file != file {
        Some(format!(
            "the scenario file that was played has digest {}, this one {file}",
            outcome.file
        ))
    } else {
        before
            .filter(|before| outcome.finished_ms < before.started_ms)
            .map(|before| {
                format!(
                    "it is older than that of the {}, so it is of an earlier run",
                    before.actor
                )
            })
    };
    match problem {
        None => Ok(()),
        Some(problem) => Err(EvidenceError::Foreign {
            actor: outcome.actor,
            problem,
        }),
    }
}

fn recorded(
    results: &Path,
    image: &ImageReference,
    actor: Actor,
    step: &StepOutcome,
) -> Result<Vec<Exchange>, EvidenceError> {
    let path = Outcome::folder(results, actor).join(&step.har);
    let entries = match har::read(&path) {
        Ok(entries) => entries,
        // A tool that was ended may have left none. That step fails the scenario by its exit, whatever else is seen.
        Err(HarError::Io { .. }) if !matches!(step.exit, Exit::Code(_)) => Vec::new(),
        Err(source) => {
            return Err(EvidenceError::Har {
                step: step.step.clone(),
                ended: format!("{}{}", step.exit, last_words(&step.stderr)),
                source,
            });
        }
    };
    let exchange = |(index, entry)| Exchange::of_entry(entry, image, actor, &step.step, index + 1);
    Ok(entries.into_iter().enumerate().map(exchange).collect())
}

impl Exchange {
    fn of_entry(entry: Entry, image: &ImageReference, actor: Actor, step: &str, place: usize) -> Exchange {
        let Entry {
            started_date_time: _,
            time,
            request,
            response,
            comment,
        } = entry;
        let path = (comment == image.registry)
            .then(|| path_below(&request.url, image))
            .flatten();
        Exchange {
            actor: Some(actor),
            step: step.to_owned(),
            place,
            registry: comment,
            path,
            sent: Body {
                media_type: essence(header(&request.headers, "content-type")),
                size: header(&request.headers, "content-length").and_then(|length| length.parse().ok()),
                text: request.post_data.and_then(|data| data.text),
            },
            method: request.method,
            url: request.url,
            status: response.status,
            digest: header(&response.headers, "docker-content-digest").map(str::to_owned),
            received: Body {
                media_type: essence(header(&response.headers, "content-type")),
                size: u64::try_from(response.content.size).ok(),
                text: response
                    .content
                    .text
                    .filter(|_| response.content.encoding.is_none()),
            },
            time_ms: time,
        }
    }

    /// `PUT http://localhost:5001/v2/… → 201`
    pub fn summary(&self) -> String {
        match self.status {
            0 => format!("{} {} → no answer", self.method, self.url),
            status => format!("{} {} → {status}", self.method, self.url),
        }
    }
}

/// The last line of what a step said on standard error, after a colon; nothing for silence.
pub fn last_words(stderr: &str) -> String {
    match stderr.lines().rev().find(|line| !line.trim().is_empty()) {
        Some(line) => format!(": {}", line.trim()),
        None => String::new(),
    }
}

/// The part of a URL's path below `/v2/<repository>/`, without query and fragment.
pub fn path_below(url: &str, image: &ImageReference) -> Option<String> {
    let path = url
        .split_once("://")
        .map_or(url, |(_, rest)| rest.split_once('/').map_or("", |(_, path)| path));
    let path = path.split(['?', '#']).next()?.trim_start_matches('/');
    let below = path
        .strip_prefix("v2/")?
        .strip_prefix(image.repository.as_str())?
        .strip_prefix('/')?;
    Some(below.to_owned())
}

/// A media type without its parameters; `None` for none.
pub fn essence(content_type: Option<&str>) -> Option<String> {
    content_type
        .map(oci::media_type::essence)
        .filter(|essence| !essence.is_empty())
}
