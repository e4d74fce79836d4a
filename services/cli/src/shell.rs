//! Completions for shells and pages for `man`, both made from the grammar.

use crate::{Context, Failure};
use clap::{Args, Command};
use clap_complete::Shell;
use std::path::PathBuf;

/// `completions SHELL`
#[derive(Clone, Debug, Args)]
pub struct CompletionsArgs {
    /// The shell to complete for
    shell: Shell,
}

/// `man`
#[derive(Clone, Debug, Args)]
pub struct ManArgs {
    /// Write the pages of all commands to this folder, instead of the tool's own page to standard output
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
}

impl CompletionsArgs {
    /// Prints the script.
    ///
    /// # Errors
    /// If standard output cannot be written.
    pub fn run(&self, context: &Context, mut command: Command, name: &str) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, name, &mut script);
        context.output.data(&script)
    }
}

impl ManArgs {
    /// Prints the page, or writes all of them.
    ///
    /// # Errors
    /// If standard output or the folder cannot be written.
    pub fn run(&self, context: &Context, command: Command, name: &'static str) -> Result<(), Failure> {
        let command = command.name(name).disable_help_subcommand(true);
        match &self.output {
            None => context.output.data(&page(command)?),
            Some(folder) => {
                let mut command = command;
                command.build();
                write_pages(folder, &command)
            }
        }
    }
}

fn write_pages(folder: &std::path::Path, command: &Command) -> Result<(), Failure> {
    let name = command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
        .to_owned();
    let path = folder.join(format!("{name}.1"));
    crate::files::write(&path, &page(command.clone())?)?;
    command
        .get_subcommands()
        .try_for_each(|sub| write_pages(folder, sub))
}

fn page(command: Command) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut page)
        .map_err(|error| {
            Failure::new(
                client::ExitCode::Failed,
                format!("cannot make the manual page: {error}"),
            )
        })?;
    Ok(page)
}
