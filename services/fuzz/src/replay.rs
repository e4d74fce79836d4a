//! Calls a target with the content of files, so that what libFuzzer found is seen again with nothing but stable Rust.

use std::{env, fs, path::Path, process::ExitCode};

/// Calls `check` with each file that the command line names. A property that does not hold panics with the file named last.
pub fn main(check: fn(&[u8])) -> ExitCode {
    let files: Vec<_> = env::args_os().skip(1).collect();
    if files.is_empty() {
        eprintln!("expected files to replay: what libFuzzer wrote, or some of services/fuzz/corpus/");
        return ExitCode::from(2);
    }
    for file in files {
        let file = Path::new(&file);
        eprintln!("{}", file.display());
        match fs::read(file) {
            Ok(input) => check(&input),
            Err(error) => {
                eprintln!("cannot read {}: {error}", file.display());
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
