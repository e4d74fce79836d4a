//! The scenario file, the playing of an actor's steps, and the outcome that a judge reads.
//!
//! A scenario file (`scenarios/08-….yaml`) says who meets, which commands they run, and what must be seen. The producer and
//! the consumer each play their own steps of it and leave an [`Outcome`] in a results folder, with one HAR file a step. This
//! crate holds the words of those files and the playing; it compares nothing (that is the judge's, in the `lab` crate), talks
//! to no registry, and derives no expectation: every one is written by hand in the file.
//!
//! A tool offers `play` and `healthcheck` by [`ScenarioCommand`], in a few lines.

pub mod command;
pub mod command_line;
pub mod expect;
pub mod file;
mod names;
pub mod outcome;
pub mod pattern;
pub mod play;
pub mod variables;

pub use command::{HealthcheckCommand, PlayCommand, ScenarioCommand};
pub use expect::{Content, ExchangeExpectation, Expectation, PrintedExpectation, ReadExpectation, Times};
pub use file::{FileError, Scenario, Step};
pub use names::Actor;
pub use outcome::{Exit, Outcome, OutcomeError, StepOutcome};
pub use pattern::{Remembered, RequestPattern};
pub use play::{Cast, PlayError, Program, play};
pub use variables::{Unknown, Variables};
