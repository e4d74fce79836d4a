//! A run as data, and the shapes in which it is told: terminal, JSON, JUnit, HTML. None of them judges anything.

pub mod html;
pub mod json;
pub mod junit;
pub mod terminal;

use crate::evidence::Exchange;
use crate::verdict::Finding;
use scenario::{Actor, StepOutcome};
use serde::Serialize;

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunReport {
    /// When it began, in milliseconds since 1970.
    pub started_ms: u64,
    /// How long it took, in milliseconds, starting the registries included.
    pub duration_ms: u64,
    /// The image that was copied.
    pub source: String,
    /// The registries that it was played against.
    pub registries: Vec<RegistryReport>,
    /// In the order of their numbers.
    pub scenarios: Vec<ScenarioReport>,
}

/// A registry of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RegistryReport {
    /// Its name in references.
    pub name: String,
    /// Where it listens.
    pub address: String,
    /// What it was to be.
    pub generation: String,
}

/// One scenario of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScenarioReport {
    /// 1 to 18.
    pub number: u8,
    /// The working group's description.
    pub title: String,
    /// Whether the working group supports it.
    pub supported: bool,
    /// Producer, registry and consumer, in that order.
    pub who: [Who; 3],
    /// What happens and why.
    pub story: String,
    /// What came of it.
    pub state: State,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// What was run.
    pub steps: Vec<PlayedStep>,
    /// What went over the wire.
    pub exchanges: Vec<Exchange>,
    /// What was compared.
    pub findings: Vec<Finding>,
    /// What the judge asked.
    pub reads: Vec<Exchange>,
}

/// Who takes part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Who {
    /// `producer`, `registry` or `consumer`.
    pub role: &'static str,
    /// `current`, `intermediate` or `complete`.
    pub generation: &'static str,
    /// The working group's icon.
    pub icon: &'static str,
}

/// A step that was run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlayedStep {
    /// Who ran it.
    pub actor: Actor,
    /// What it did.
    #[serde(flatten)]
    pub outcome: StepOutcome,
}

/// What came of a scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict", content = "problem")]
pub enum State {
    /// Everything that is expected was seen.
    Holds,
    /// Something else was seen.
    Fails,
    /// It could not be played or judged to the end.
    Error(String),
}

impl State {
    /// `holds`, `fails` or `error`.
    pub fn name(&self) -> &'static str {
        match self {
            State::Holds => "holds",
            State::Fails => "fails",
            State::Error(_) => "error",
        }
    }
}

impl RunReport {
    /// Whether every scenario holds; a run of none does not.
    pub fn holds(&self) -> bool {
        !self.scenarios.is_empty() && self.held() == self.scenarios.len()
    }

    /// How many hold.
    pub fn held(&self) -> usize {
        self.scenarios
            .iter()
            .filter(|scenario| scenario.state == State::Holds)
            .count()
    }
}

impl ScenarioReport {
    /// Producer, registry and consumer: `🌿 → 🚲 → 🐿`.
    pub fn icons(&self) -> String {
        self.who.each_ref().map(|who| who.icon).join(" → ")
    }
}
