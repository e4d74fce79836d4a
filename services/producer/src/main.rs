//! The producer executable; everything is in the library, so that the multi-call `lab` has it too.

fn main() -> std::process::ExitCode {
    producer::main_from(std::env::args_os().collect())
}
