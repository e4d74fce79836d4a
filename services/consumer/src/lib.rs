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
use clap::CommandFactory;
use cli::{Context, Failure};
use generations::{ConsumerGeneration, ConsumerPolicy};
use scenario::{Actor, Program};
use std::ffi::OsString;
use std::process::ExitCode;

/// The tool's name: its executable, the first word of its multi-call form, and the end of `complete-consumer`.
pub const NAME: &str = "consumer";

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
                cli::block_on(play.run(Actor::Consumer, Program { path, prefix }))
            }
            Err(error) => {
                eprintln!("error: cannot tell which program is running: {error}");
                client::ExitCode::Failed.into()
            }
        },
        Command::Healthcheck(check) => check.run(Actor::Consumer),
        command => {
            let generation = arguments.generation;
            cli::run(arguments.globals, report, async move |context| {
                let default = ConsumerGeneration::DEFAULT;
                let generation = cli::generation(generation, &program, NAME, default)?;
                run(command, generation.policy(), context).await
            })
        }
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
        Command::Registry(registry) => registry.run(context),
        Command::Completions(completions) => completions.run(context, Arguments::command(), NAME),
        Command::Man(man) => man.run(context, Arguments::command(), NAME),
        // They have exit codes and signals of their own, and were run before.
        Command::Play(_) | Command::Healthcheck(_) => Ok(()),
    }
}
