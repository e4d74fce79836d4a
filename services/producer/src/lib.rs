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
use clap::CommandFactory;
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
    match arguments.command {
        Command::Play(play) => match cli::this_program(NAME) {
            Ok((path, prefix)) => {
                cli::logging::start(arguments.globals.verbose);
                cli::block_on(play.run(Actor::Producer, Program { path, prefix }))
            }
            Err(error) => {
                eprintln!("error: cannot tell which program is running: {error}");
                client::ExitCode::Failed.into()
            }
        },
        Command::Healthcheck(check) => check.run(Actor::Producer),
        command => {
            let generation = arguments.generation;
            cli::run(arguments.globals, report, async move |context| {
                let default = ProducerGeneration::DEFAULT;
                let generation = cli::generation(generation, &program, NAME, default)?;
                run(command, generation.policy(), context).await
            })
        }
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
        Command::Registry(registry) => registry.run(context),
        Command::Completions(completions) => completions.run(context, Arguments::command(), NAME),
        Command::Man(man) => man.run(context, Arguments::command(), NAME),
        // They have exit codes and signals of their own, and were run before.
        Command::Play(_) | Command::Healthcheck(_) => Ok(()),
    }
}
