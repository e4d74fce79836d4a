//! Data on standard output, everything else on standard error.

use crate::{Failure, ReportFormat};
use client::ExitCode;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// Where a command prints.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    quiet: bool,
    colours: bool,
}

impl Output {
    /// Colours only on a terminal, and never where `NO_COLOR` is set (<https://no-color.org>).
    pub fn new(quiet: bool) -> Output {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Output {
            quiet,
            colours: !refused && io::stderr().is_terminal(),
        }
    }

    /// Whether notes and progress are suppressed.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Prints data, as it is. Where the reader has gone (`| head`), there is nobody left to tell: that is no failure.
    ///
    /// # Errors
    /// If standard output cannot be written, such as on a full disk.
    pub fn data(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(
                ExitCode::Failed,
                format!("cannot write to standard output: {error}"),
            )),
            _ => Ok(()),
        }
    }

    /// Prints a text, with a line's end if it has none.
    ///
    /// # Errors
    /// As [`Output::data`].
    pub fn text(&self, text: &str) -> Result<(), Failure> {
        match text.ends_with('\n') || text.is_empty() {
            true => self.data(text.as_bytes()),
            false => self.data(format!("{text}\n").as_bytes()),
        }
    }

    /// Prints one JSON document, indented.
    ///
    /// # Errors
    /// As [`Output::data`].
    pub fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Failure::new(ExitCode::Failed, format!("cannot write JSON: {error}")))?;
        self.text(&text)
    }

    /// Tells a person something on standard error, unless `--quiet`.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            to_stderr(text);
        }
    }

    /// Tells a person on standard error what may be wrong, even with `--quiet`.
    pub fn warn(&self, text: &str) {
        to_stderr(&format!("{} {text}", self.label("warning:", "33")));
    }

    /// Tells on standard error why the command failed: a line for a person, or one JSON document on a line of its own.
    pub fn failure(&self, failure: &Failure, format: ReportFormat) {
        match format {
            ReportFormat::Text => {
                to_stderr(&format!("{} {}", self.label("error:", "31"), failure.message));
            }
            ReportFormat::Json => to_stderr(&failure.to_json().to_string()),
        }
    }

    fn label(&self, text: &str, colour: &str) -> String {
        match self.colours {
            true => format!("\u{1b}[1;{colour}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }
}

/// A closed standard error leaves nobody to tell.
fn to_stderr(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
