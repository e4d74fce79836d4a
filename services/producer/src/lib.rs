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
use cli::{Context, Failure};
use generations::{ProducerGeneration, ProducerPolicy};
use scenario::{Actor, Program};
use std::ffi::OsString;
use std::process::ExitCode;

/// The tool's name: its executable, the first word of its multi-call form, and the end of `complete-producer`.
pub const NAME: &str = "producer";

/// Runs the tool; `arguments[0]` is the name by which it was called, which may tell the generation.
pub fn main_from(arguments: Vec<OsString>) -> ExitCode {
    let program = cli::program_name(&arguments, NAME);
    let (arguments, report): (Arguments, _) = match cli::parse(arguments) {
        Ok(parsed) => parsed,
        Err(code) => return code,
    };
    let Arguments {
        globals,
        generation,
        command,
    } = arguments;
    match command {
        Command::Scenario(command) => {
            cli::logging::start(globals.verbose);
            let program = cli::this_program(NAME).map(|(path, prefix)| Program { path, prefix });
            cli::block_on(command.run(Actor::Producer, program))
        }
        command => cli::run(globals, report, async move |context| {
            let generation = cli::generation(generation, &program, NAME, ProducerGeneration::DEFAULT)?;
            run(command, generation.policy(), context).await
        }),
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
        // It has exit codes and signals of its own, and was run before.
        Command::Scenario(_) => Ok(()),
    }
}
