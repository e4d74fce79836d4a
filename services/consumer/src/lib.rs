//! The consumer: pulls images, and finds references to them in the way of its generation.
//!
//! [`arguments`] is the grammar, `find` looks for references where `generations::ConsumerPolicy` says, and one module for
//! each command does the rest: no code here knows a generation by its name.

pub mod arguments;
mod choose;
mod fetch;
mod find;
mod get;
mod lint;
mod list;
mod place;
mod pull;
mod tree;

use arguments::{Arguments, ArtifactCommand, Command, ImageCommand};
use cli::{Context, Failure, Globals, tool::Program};
use generations::{ConsumerGeneration, ConsumerPolicy};
use scenario::Actor;
use std::{ffi::OsString, pin::Pin, process::ExitCode};

/// The tool's name: its executable, the first word of its multi-call form, and the end of `complete-consumer`.
pub const NAME: &str = "consumer";

/// Runs the tool; `arguments[0]` is the name by which it was called, which may tell the generation.
pub fn main_from(arguments: Vec<OsString>) -> ExitCode {
    cli::main_from::<Arguments>(arguments)
}

impl cli::Tool for Arguments {
    const NAME: &'static str = NAME;
    type Generation = ConsumerGeneration;
    const DEFAULT: ConsumerGeneration = ConsumerGeneration::DEFAULT;

    fn globals(&self) -> &Globals {
        &self.globals
    }

    fn named_generation(&mut self) -> Option<ConsumerGeneration> {
        self.generation.take()
    }

    fn alone(&self, program: Program) -> Option<Pin<Box<dyn Future<Output = ExitCode> + '_>>> {
        let Command::Scenario(command) = &self.command else {
            return None;
        };
        let program = program.map(|(path, prefix)| scenario::Program { path, prefix });
        Some(Box::pin(command.run(Actor::Consumer, program)))
    }

    async fn run(self, generation: ConsumerGeneration, context: &Context) -> Result<(), Failure> {
        run(self.command, generation.policy(), context).await
    }
}

async fn run(command: Command, policy: &ConsumerPolicy, context: &Context) -> Result<(), Failure> {
    match command {
        Command::Pull(pull) | Command::Image(ImageCommand::Pull(pull)) => pull::run(pull, context).await,
        Command::Refs(refs) => list::refs(refs, policy, context).await,
        Command::Artifact(ArtifactCommand::List(list)) => list::list(list, policy, context).await,
        Command::Artifact(ArtifactCommand::Get(get)) => get::run(get, policy, context).await,
        Command::Tree(tree) => tree::run(tree, policy, context).await,
        Command::Lint(lint) => lint::run(lint, policy, context).await,
        Command::Common(common) => common.run::<Arguments>(context, NAME),
        // It was run alone, before.
        Command::Scenario(_) => Ok(()),
    }
}
