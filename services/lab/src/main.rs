//! The executable that is all of the lab's programs.

use std::process::ExitCode;

fn main() -> ExitCode {
    lab::main_from(std::env::args_os().collect())
}
