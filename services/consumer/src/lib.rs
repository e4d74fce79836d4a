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
    let Arguments {
        globals,
        generation,
        command,
    } = arguments;
    match command {
        Command::Scenario(command) => {
            cli::logging::start(globals.verbose);
            let program = cli::this_program(NAME).map(|(path, prefix)| Program { path, prefix });
            cli::block_on(command.run(Actor::Consumer, program))
        }
        command => cli::run(globals, report, async move |context| {
            let generation = cli::generation(generation, &program, NAME, ConsumerGeneration::DEFAULT)?;
            run(command, generation.policy(), context).await
        }),
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
        // It has exit codes and signals of its own, and was run before.
        Command::Scenario(_) => Ok(()),
    }
}
