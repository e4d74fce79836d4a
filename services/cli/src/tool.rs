//! What every tool has beside its own commands: the way from a process's arguments to its exit code, the commands that all
//! tools share, and the examples that its help must have.

use crate::registry::RegistryCommand;
use crate::shell::{CompletionsArgs, ManArgs};
use crate::{Context, Failure, Globals, globals, logging, run};
use clap::{Command, CommandFactory, Subcommand};
use std::{ffi::OsString, fmt::Display, io, path::PathBuf, pin::Pin, process::ExitCode, str::FromStr};

/// How a tool starts itself again: an executable, and what stands before the arguments. See [`crate::this_program`].
pub type Program = io::Result<(PathBuf, Vec<OsString>)>;

/// A tool of several generations. The type is its grammar.
pub trait Tool: clap::Parser {
    /// Its executable, the first word of its multi-call form, and the end of `complete-producer`.
    const NAME: &'static str;
    /// The generations that it can be of.
    type Generation: FromStr<Err: Display>;
    /// The one that it is of if nothing says another.
    const DEFAULT: Self::Generation;

    /// The options of every command.
    fn globals(&self) -> &Globals;

    /// The generation that the command line names. Asked once.
    fn named_generation(&mut self) -> Option<Self::Generation>;

    /// The run of a command that has exit codes and signals of its own, and no generation; `None` for all others.
    fn alone(&self, program: Program) -> Option<Pin<Box<dyn Future<Output = ExitCode> + '_>>>;

    /// Runs any other command.
    fn run(
        self,
        generation: Self::Generation,
        context: &Context,
    ) -> impl Future<Output = Result<(), Failure>>;
}

/// Runs a tool; `arguments[0]` is the name by which it was called, which may tell the generation.
pub fn main_from<T: Tool>(arguments: Vec<OsString>) -> ExitCode {
    let program = globals::program_name(&arguments, T::NAME);
    let (mut tool, report): (T, _) = match run::parse(arguments) {
        Ok(parsed) => parsed,
        Err(code) => return code,
    };
    let globals = tool.globals().clone();
    logging::start(globals.verbose);
    if let Some(alone) = tool.alone(run::this_program(T::NAME)) {
        return run::block_on(alone);
    }
    run::run(globals, report, async move |context| {
        let named = tool.named_generation();
        let generation = globals::generation(named, &program, T::NAME, T::DEFAULT)?;
        tool.run(generation, context).await
    })
}

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
