//! Options that every command of every tool takes, before or after the command.

use clap::{Args, ValueEnum};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// clap's name for `--output` before the command.
pub(crate) const REPORT_BEFORE_COMMAND: &str = "report_before_command";
/// clap's name for `--output` of a command whose output is a report.
pub(crate) const REPORT: &str = "report";

/// Options of every command.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Globals {
    /// Log to standard error; alone it means debug, which shows each HTTP exchange
    ///
    /// The level follows as `-v debug` before the command, as `-v=debug` anywhere.
    #[arg(
        short,
        long,
        global = true,
        value_name = "LEVEL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "debug"
    )]
    pub verbose: Option<Level>,
    /// Print neither progress nor notes; errors and warnings stay
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Record the HTTP exchanges to FILE as HAR 1.2, credentials taken out (or REFERRERS_LAB_HAR)
    #[arg(long, global = true, value_name = "FILE")]
    pub har: Option<PathBuf>,
    /// Talk http, without TLS, to every registry
    #[arg(long, global = true)]
    pub plain_http: bool,
    /// Do not check certificates
    #[arg(long, global = true)]
    pub insecure: bool,
    /// Trust the certificates in this PEM file beside the usual ones
    #[arg(long, global = true, value_name = "FILE")]
    pub ca_cert: Option<PathBuf>,
    /// How to print the command's report on standard output, and a failure on standard error; after the command too, where --output names no folder
    #[arg(id = REPORT_BEFORE_COMMAND, long = "output", value_name = "FORMAT")]
    pub output: Option<ReportFormat>,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// What went wrong.
    Error,
    /// What may be wrong.
    Warn,
    /// What is being done.
    Info,
    /// Each HTTP exchange.
    Debug,
    /// What the libraries log, too.
    Trace,
}

/// How a command's report is printed on standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For a person.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

/// `--output text|json`, of a command whose output is a report.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct ReportArgs {
    /// How to print the report on standard output, and a failure on standard error
    #[arg(id = REPORT, long = "output", short = 'o', value_name = "FORMAT")]
    pub output: Option<ReportFormat>,
}

/// Joins `-v LEVEL` before the subcommand to `-v=LEVEL`, so that `-v` alone never swallows the subcommand.
///
/// `subcommands` are the words at which a command begins; what follows the first of them is left alone.
pub fn join_verbose_level(arguments: Vec<OsString>, subcommands: &[&str]) -> Vec<OsString> {
    let mut joined: Vec<OsString> = Vec::with_capacity(arguments.len());
    let mut arguments = arguments.into_iter();
    joined.extend(arguments.next());
    let mut arguments = arguments.peekable();
    while let Some(argument) = arguments.next() {
        if subcommands.iter().any(|name| argument == *name) {
            joined.push(argument);
            break;
        }
        let is_verbose = argument == "-v" || argument == "--verbose";
        match arguments.next_if(|next| is_verbose && is_level(next)) {
            Some(level) => {
                let mut both = argument;
                both.push("=");
                both.push(level);
                joined.push(both);
            }
            None => joined.push(argument),
        }
    }
    joined.extend(arguments);
    joined
}

fn is_level(word: &OsStr) -> bool {
    word.to_str()
        .is_some_and(|word| Level::from_str(word, false).is_ok())
}

/// The name by which a program was called, without folders and without `.exe`.
pub fn program_name(arguments: &[OsString], otherwise: &str) -> String {
    let name = arguments
        .first()
        .and_then(|program| std::path::Path::new(program).file_name())
        .map(|name| name.to_string_lossy().into_owned());
    match name {
        Some(name) => name.strip_suffix(".exe").unwrap_or(&name).to_owned(),
        None => otherwise.to_owned(),
    }
}

/// Chooses a tool's generation: the option, else `GENERATION`, else the beginning of the program's name
/// (`complete-producer`), else `default`.
///
/// # Errors
/// A usage failure if `GENERATION`, or the program's name, names no generation of this tool.
pub fn generation<G>(option: Option<G>, program: &str, tool: &str, default: G) -> Result<G, crate::Failure>
where
    G: std::str::FromStr,
    G::Err: std::fmt::Display,
{
    if let Some(generation) = option {
        return Ok(generation);
    }
    let from_environment = std::env::var("GENERATION").ok().filter(|text| !text.is_empty());
    if let Some(text) = from_environment {
        return text
            .parse()
            .map_err(|error: G::Err| crate::Failure::usage(format!("GENERATION: {error}")));
    }
    match program
        .strip_suffix(tool)
        .and_then(|prefix| prefix.strip_suffix('-'))
    {
        Some(prefix) => prefix.parse().map_err(|error: G::Err| {
            crate::Failure::usage(format!("called as {program:?}: {error}; use --generation"))
        }),
        None => Ok(default),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(line: &str) -> String {
        let arguments = line.split(' ').map(OsString::from).collect();
        let joined = join_verbose_level(arguments, &["copy", "image"]);
        let texts: Vec<String> = joined
            .into_iter()
            .map(|a| a.to_string_lossy().into_owned())
            .collect();
        texts.join(" ")
    }

    #[test]
    fn a_level_is_joined_to_its_option_and_a_subcommand_never_is() {
        for (line, expected) in [
            ("p -v copy a b", "p -v copy a b"),
            ("p -v debug image copy", "p -v=debug image copy"),
            ("p --verbose trace copy", "p --verbose=trace copy"),
            ("p copy -v debug b", "p copy -v debug b"),
            ("p -v", "p -v"),
            ("p -q -v warn --har f copy", "p -q -v=warn --har f copy"),
            ("-v debug copy", "-v debug copy"),
        ] {
            assert_eq!(join(line), expected);
        }
    }

    #[test]
    fn a_program_is_known_by_its_file_name() {
        for (path, name) in [
            ("/a/b/complete-producer", "complete-producer"),
            ("producer.exe", "producer"),
            ("consumer", "consumer"),
        ] {
            assert_eq!(program_name(&[OsString::from(path)], "tool"), name);
        }
        assert_eq!(program_name(&[], "tool"), "tool");
    }
}
