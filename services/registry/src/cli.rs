//! The command line.

use std::{ffi::OsString, process::ExitCode};

/// Runs the command that the arguments name; the first one is the program's name.
pub fn main_from(_args: Vec<OsString>) -> ExitCode {
    ExitCode::FAILURE
}
