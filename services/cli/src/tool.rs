//! What every tool has beside its own commands, and the examples that its help must have.

use crate::registry::RegistryCommand;
use crate::shell::{CompletionsArgs, ManArgs};
use crate::{Context, Failure};
use clap::{Command, CommandFactory, Subcommand};

/// Stands for the tool's name in the examples of commands that all tools have; [`grammar`] puts the name there.
const TOOL: &str = "TOOL";

/// Commands that every tool has.
#[derive(Clone, Debug, Subcommand)]
pub enum CommonCommand {
    /// Set how registries are reached
    #[command(subcommand)]
    Registry(RegistryCommand),
    /// Print the completions for a shell
    #[command(after_help = "Example:\n  TOOL completions bash > /etc/bash_completion.d/TOOL")]
    Completions(CompletionsArgs),
    /// Print the manual
    #[command(after_help = "Example:\n  TOOL man | man -l -")]
    Man(ManArgs),
}

impl CommonCommand {
    /// Runs the command for the tool whose grammar `A` is.
    ///
    /// # Errors
    /// Those of each command.
    pub fn run<A: CommandFactory>(self, context: &Context, name: &'static str) -> Result<(), Failure> {
        match self {
            CommonCommand::Registry(registry) => registry.run(context),
            CommonCommand::Completions(completions) => completions.run(context, grammar::<A>(), name),
            CommonCommand::Man(man) => man.run(context, grammar::<A>(), name),
        }
    }
}

/// A tool's grammar, its name in every example.
pub fn grammar<A: CommandFactory>() -> Command {
    let command = A::command();
    let name = command.get_name().to_owned();
    with_name(command, &name)
}

fn with_name(command: Command, name: &str) -> Command {
    let example = command.get_after_help().map(ToString::to_string);
    let command = match example.filter(|example| example.contains(TOOL)) {
        Some(example) => command.after_help(example.replace(TOOL, name)),
        None => command,
    };
    command.mut_subcommands(|sub| with_name(sub, name))
}

/// The commands of a grammar whose help has no example that begins with the tool's name, for the tools' tests.
pub fn without_example(command: &Command) -> Vec<String> {
    let name = command.get_name().to_owned();
    let mut lacking = Vec::new();
    let mut left = vec![(name.clone(), command)];
    while let Some((path, command)) = left.pop() {
        let help = command
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        let shows_one = help.contains("Example") && help.contains(&format!("{name} "));
        if !command.has_subcommands() && !shows_one {
            lacking.push(path.clone());
        }
        left.extend(
            command
                .get_subcommands()
                .map(|sub| (format!("{path} {}", sub.get_name()), sub)),
        );
    }
    lacking
}
