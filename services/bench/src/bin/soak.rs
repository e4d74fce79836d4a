//! `soak`: mixed load of a day in minutes, after which memory and descriptors must be flat; or many connections at once.

use bench::soak::{Options, hold, run};
use clap::Parser;
use std::process::ExitCode;

/// KiB that a connection may take, whatever its client does with it.
const MOST_KIB_EACH: f64 = 96.0;

/// Puts a day's mixed load on a registry, and fails if its memory or its descriptors grow.
#[derive(Debug, Parser)]
struct Arguments {
    /// The registry's program, and arguments before `serve`; by default, `registry` beside this program
    registry: Vec<String>,
    /// Operations in all; by default those of 24 hours at five a second
    #[arg(long, default_value_t = 432_000)]
    operations: u64,
    /// Clients that work at once
    #[arg(long, default_value_t = 8)]
    clients: usize,
    /// Instead, opens this many connections at once and fails if they take more than 96 KiB each
    #[arg(long)]
    connections: Option<usize>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let registry = bench::server::registry_command(arguments.registry);
    let done = match arguments.connections {
        Some(connections) => hold(&registry, connections).map(|held| {
            println!(
                "{} connections: {:.1} KiB each, {} descriptors left when they were closed",
                held.connections, held.kib_each, held.descriptors_left
            );
            held.kib_each <= MOST_KIB_EACH && held.descriptors_left <= 8
        }),
        None => {
            let options = Options {
                registry,
                operations: arguments.operations,
                clients: arguments.clients,
            };
            run(&options, |line| println!("{line}")).map(|_| true)
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("soak: connections take too much");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}
