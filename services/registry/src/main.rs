//! The registry's own executable; all of it is in the library.

fn main() -> std::process::ExitCode {
    registry::main_from(std::env::args_os().collect())
}
