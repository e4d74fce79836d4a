//! From the arguments of a process to its exit code.

use crate::globals::{self, join_verbose_level};
use crate::{Failure, Globals, Output, ReportArgs, ReportFormat, logging, progress};
use client::progress::Progress;
use client::{Client, Options, Proxies, Settings};
use serde::Serialize;
use std::cell::{OnceCell, RefCell};
use std::collections::HashSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;

/// Names a file for the recording where `--har` does not.
pub const HAR_VARIABLE: &str = "REFERRERS_LAB_HAR";

/// What a shell expects of a process that Ctrl-C or SIGTERM ended.
const INTERRUPTED: u8 = 130;

/// What a command works with.
pub struct Context {
    /// Where it prints.
    pub output: Output,
    globals: Globals,
    client: OnceCell<Client>,
    progress: Rc<dyn Progress>,
    told: RefCell<HashSet<String>>,
}

impl Context {
    fn new(globals: Globals) -> Context {
        Context {
            output: Output::new(globals.quiet),
            progress: progress::observer(globals.quiet, globals.verbose.is_some()),
            globals,
            client: OnceCell::new(),
            told: RefCell::default(),
        }
    }

    /// The client, made when it is first asked for.
    ///
    /// # Errors
    /// A configuration file or certificate that is wrong.
    pub fn client(&self) -> Result<&Client, Failure> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let globals = &self.globals;
        let client = Client::new(Options {
            settings: Settings::load()?,
            plain_http: globals.plain_http,
            insecure: globals.insecure,
            ca_certs: globals.ca_cert.iter().cloned().collect(),
            proxies: Proxies::from_environment(),
            har: self.har(),
            progress: Rc::clone(&self.progress),
            ..Options::default()
        })?;
        if globals.insecure {
            self.output.warn("--insecure: certificates are not checked");
        }
        Ok(self.client.get_or_init(|| client))
    }

    /// Tells on standard error what may be wrong, as [`Output::warn`], and each thing once: commands that ask for several
    /// lists hear the same of each.
    pub fn warn_once(&self, text: &str) {
        if self.told.borrow_mut().insert(text.to_owned()) {
            self.output.warn(text);
        }
    }

    /// Who watches transfers: the client tells it of uploads, and a command of what it reads itself.
    pub fn progress(&self) -> &dyn Progress {
        &*self.progress
    }

    /// Prints a command's report: the text for a person, the value for a program.
    ///
    /// # Errors
    /// As [`Output::data`].
    pub fn report(&self, asked: &ReportArgs, text: &str, value: &impl Serialize) -> Result<(), Failure> {
        match asked.output.or(self.globals.output).unwrap_or_default() {
            ReportFormat::Text => self.output.text(text),
            ReportFormat::Json => self.output.json(value),
        }
    }

    /// Writes the recording that was asked for; one without entries if the command sent nothing.
    fn finish(&self) -> Result<(), Failure> {
        if self.client.get().is_none() && self.har().is_none() {
            return Ok(());
        }
        Ok(self.client()?.finish()?)
    }

    fn har(&self) -> Option<PathBuf> {
        self.globals.har.clone().or_else(har_from_environment)
    }
}

fn har_from_environment() -> Option<PathBuf> {
    let value = std::env::var_os(HAR_VARIABLE)?;
    (!value.is_empty()).then(|| PathBuf::from(value))
}

/// Reads a command line, and how its report is to be printed, before the command or after it. Help, versions and mistakes
/// are printed here, as text.
///
/// # Errors
/// The exit code, where there is nothing to run.
pub fn parse<A: clap::Parser>(arguments: Vec<OsString>) -> Result<(A, ReportFormat), ExitCode> {
    let command = crate::grammar::<A>();
    let subcommands: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    let arguments = join_verbose_level(arguments, &subcommands);
    let parsed = command.try_get_matches_from(arguments).and_then(|matches| {
        let format = report_format(&matches);
        Ok((A::from_arg_matches(&matches)?, format))
    });
    parsed.map_err(|error| {
        let error = error.format(&mut crate::grammar::<A>());
        // A closed terminal leaves nobody to tell.
        let _ = error.print();
        ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1))
    })
}

/// The last `--output text|json` of a command line. Some commands have another `--output`, or none.
fn report_format(matches: &clap::ArgMatches) -> ReportFormat {
    let asked =
        |matches: &clap::ArgMatches, id| matches.try_get_one::<ReportFormat>(id).ok().flatten().copied();
    let mut format = asked(matches, globals::REPORT_BEFORE_COMMAND);
    let mut level = matches;
    while let Some((_, below)) = level.subcommand() {
        format = asked(below, globals::REPORT).or(format);
        level = below;
    }
    format.unwrap_or_default()
}

/// Runs a command to its end, or to Ctrl-C or SIGTERM, and prints its failure. Nothing half-written stays in either case.
/// A failure is printed in the format of the report.
pub fn run(
    globals: Globals,
    report: ReportFormat,
    command: impl AsyncFnOnce(&Context) -> Result<(), Failure>,
) -> ExitCode {
    logging::start(globals.verbose);
    let context = Context::new(globals);
    let ended = block_on(async {
        tokio::select! {
            // Listening comes first: from then on a signal never finds the command without cleaning up.
            biased;
            () = interrupted() => None,
            ended = command(&context) => Some(ended),
        }
    });
    let finished = context.finish();
    match ended {
        Some(ended) => match ended.and(finished) {
            Ok(()) => client::ExitCode::Done.into(),
            Err(failure) => {
                context.output.failure(&failure, report);
                failure.code.into()
            }
        },
        None => {
            context
                .output
                .failure(&Failure::new(client::ExitCode::Failed, "interrupted"), report);
            ExitCode::from(INTERRUPTED)
        }
    }
}

/// Runs a future on an actix system of its own.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(future)
}

/// Returns when the process is asked to end; never where the system does not tell.
async fn interrupted() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => return,
                Ok(()) = tokio::signal::ctrl_c() => return,
            }
        }
    }
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// How to start this tool again as a child process: the executable, and the tool's name before its arguments where the
/// executable is a multi-call one.
///
/// # Errors
/// Where the system cannot tell which executable is running.
pub fn this_program(tool: &str) -> std::io::Result<(PathBuf, Vec<OsString>)> {
    let path = std::env::current_exe()?;
    let stem = path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let is_tool = stem == tool || stem.ends_with(&format!("-{tool}"));
    let prefix = if is_tool {
        Vec::new()
    } else {
        vec![OsString::from(tool)]
    };
    Ok((path, prefix))
}

/// The exit codes, for the end of a tool's `--help`.
pub fn exit_codes_help() -> String {
    let mut help = String::from("Exit codes:");
    for row in client::exit::ALL {
        help.push_str(&format!("\n  {:>3}  {}", row.number, row.meaning));
    }
    help.push_str(&format!("\n  {INTERRUPTED}  interrupted"));
    help.push_str(
        "\n\nWith --output json a failure is one line of JSON on standard error: {\"error\": {\"code\", \"name\", \"message\", \
         \"registry\": {\"status\", \"code\", \"message\"} or null}}; a wrong command line is told as text.",
    );
    help
}
