//! Playing one scenario natively, from its first step to its verdict.

use crate::ask::Ask;
use crate::judge::{Case, judge};
use crate::report::{PlayedStep, ScenarioReport, State, Who};
use crate::scenarios::Loaded;
use scenario::{Actor, Cast, Outcome, Program, play};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What all scenarios of a run have in common.
pub struct Stage<'a> {
    /// The multi-call executable.
    pub executable: PathBuf,
    /// Below it, each scenario's results get a folder.
    pub results: &'a Path,
    /// The image to copy.
    pub source: &'a str,
    /// Tells the tools where the registries are.
    pub client_config: Option<&'a Path>,
    /// Asks the registries for the judge.
    pub registry: &'a dyn Ask,
}

impl Stage<'_> {
    /// Plays and judges a scenario. Whatever goes wrong is in the report: it never holds by mistake.
    pub async fn play(&self, loaded: &Loaded) -> ScenarioReport {
        let begun = Instant::now();
        let results = self.results.join(format!("{:02}", loaded.scenario.scenario));
        let mut report = blank(loaded);
        report.state = match self.play_both(loaded, &results).await {
            Err(problem) => State::Error(problem),
            Ok(outcomes) => {
                report.steps = outcomes.into_iter().flat_map(played_steps).collect();
                self.judge(loaded, &results, &mut report).await
            }
        };
        report.duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        report
    }

    async fn play_both(&self, loaded: &Loaded, results: &Path) -> Result<Vec<Outcome>, String> {
        let mut outcomes = Vec::new();
        for actor in Actor::ALL {
            let cast = Cast {
                scenario: &loaded.scenario,
                file: loaded.digest,
                actor,
                program: Program {
                    path: self.executable.clone(),
                    prefix: vec![OsString::from(actor.name())],
                },
                results,
                source: self.source,
                client_config: self.client_config,
            };
            outcomes.push(
                play(&cast)
                    .await
                    .map_err(|error| format!("the {actor}: {error}"))?,
            );
        }
        Ok(outcomes)
    }

    async fn judge(&self, loaded: &Loaded, results: &Path, report: &mut ScenarioReport) -> State {
        let case = Case {
            scenario: &loaded.scenario,
            file: loaded.digest,
            results,
            registry: self.registry,
        };
        match judge(&case).await {
            Err(error) => State::Error(error.to_string()),
            Ok((verdict, evidence)) => {
                let holds = verdict.holds();
                report.exchanges = evidence.exchanges;
                report.findings = verdict.findings;
                report.reads = verdict.reads;
                if holds { State::Holds } else { State::Fails }
            }
        }
    }
}

/// A report with nothing played yet.
pub fn blank(loaded: &Loaded) -> ScenarioReport {
    let scenario = &loaded.scenario;
    let who = |role, generation, icon| Who {
        role,
        generation,
        icon,
    };
    ScenarioReport {
        number: scenario.scenario,
        title: scenario.title.clone(),
        supported: scenario.supported,
        who: [
            who("producer", scenario.producer.name(), scenario.producer.icon()),
            who("registry", scenario.registry.name(), scenario.registry.icon()),
            who("consumer", scenario.consumer.name(), scenario.consumer.icon()),
        ],
        story: scenario.story.trim().to_owned(),
        state: State::Error("it was not played".to_owned()),
        duration_ms: 0,
        steps: Vec::new(),
        exchanges: Vec::new(),
        findings: Vec::new(),
        reads: Vec::new(),
    }
}

/// An outcome's steps, each with who ran it.
pub fn played_steps(outcome: Outcome) -> impl Iterator<Item = PlayedStep> {
    let actor = outcome.actor;
    outcome
        .steps
        .into_iter()
        .map(move |outcome| PlayedStep { actor, outcome })
}
