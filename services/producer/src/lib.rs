//! The producer: pushes images, and references to them in the way of its generation.
//!
//! [`arguments`] is the grammar, one module for each command does the work, and `generations::ProducerPolicy` says what this
//! generation pushes: no code here knows a generation by its name.

pub mod arguments;
mod content;
mod copy;
mod delete;
mod manifest;
mod push;
mod repair;

use arguments::{Arguments, ArtifactCommand, Command, ImageCommand};
use cli::{Context, Failure, Globals, tool::Program};
use generations::{ProducerGeneration, ProducerPolicy};
use scenario::Actor;
use std::{ffi::OsString, pin::Pin, process::ExitCode};

/// The tool's name: its executable, the first word of its multi-call form, and the end of `complete-producer`.
pub const NAME: &str = "producer";

/// Runs the tool; `arguments[0]` is the name by which it was called, which may tell the generation.
pub fn main_from(arguments: Vec<OsString>) -> ExitCode {
    cli::main_from::<Arguments>(arguments)
}

impl cli::Tool for Arguments {
    const NAME: &'static str = NAME;
    type Generation = ProducerGeneration;
    const DEFAULT: ProducerGeneration = ProducerGeneration::DEFAULT;

    fn globals(&self) -> &Globals {
        &self.globals
    }

    fn named_generation(&mut self) -> Option<ProducerGeneration> {
        self.generation.take()
    }

    fn alone(&self, program: Program) -> Option<Pin<Box<dyn Future<Output = ExitCode> + '_>>> {
        let Command::Scenario(command) = &self.command else {
            return None;
        };
        let program = program.map(|(path, prefix)| scenario::Program { path, prefix });
        Some(Box::pin(command.run(Actor::Producer, program)))
    }

    async fn run(self, generation: ProducerGeneration, context: &Context) -> Result<(), Failure> {
        run(self.command, generation.policy(), context).await
    }
}

async fn run(command: Command, policy: &ProducerPolicy, context: &Context) -> Result<(), Failure> {
    match command {
        Command::Copy(copy) | Command::Image(ImageCommand::Copy(copy)) => {
            copy::run(copy, policy, context).await
        }
        Command::Attach(attach) => push::attach(attach, policy, context).await,
        Command::Artifact(ArtifactCommand::Put(put)) => push::put(put, policy, context).await,
        Command::Delete(delete) => delete::run(delete, context).await,
        Command::Repair(repair) => repair::run(repair, context).await,
        Command::Common(common) => common.run::<Arguments>(context, NAME),
        // It was run alone, before.
        Command::Scenario(_) => Ok(()),
    }
}
