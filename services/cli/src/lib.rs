//! What the command-line tools share: global options, output, logging, progress, files, and the templates of `--format`.
//!
//! A tool is a grammar (clap) with [`Globals`] in it, and a function that runs one command in a [`Context`]; [`run()`] makes
//! the exit code of it. Data goes to standard output, everything else to standard error. What the tools do stands in
//! `producer` and `consumer`.

pub mod failure;
pub mod files;
pub mod globals;
pub mod inspect;
pub mod logging;
pub mod output;
pub mod progress;
pub mod registry;
pub mod run;
pub mod shell;
pub mod template;
pub mod tool;

pub use failure::Failure;
pub use globals::{Globals, ReportArgs, ReportFormat};
pub use output::Output;
pub use run::{Context, block_on, exit_codes_help, parse, run, this_program};
pub use template::{Template, TemplateError};
pub use tool::{CommonCommand, Tool, grammar, main_from};
