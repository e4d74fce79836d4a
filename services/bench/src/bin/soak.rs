//! `soak`: mixed load of a day in minutes, after which memory and descriptors must be flat; or many connections at once.

use bench::hold::{KINDS, hold};
use bench::soak::{CACHE, Options, run};
use clap::Parser;
use std::process::ExitCode;

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
    /// What the registry may keep in memory, as its key `storage.cache.memory` has it; `default` for what it keeps by itself, which a
    /// day's load does not fill: then growth of memory is no failure
    #[arg(long, value_name = "SIZE", default_value = CACHE)]
    cache: String,
    /// Instead, opens this many connections at once, and fails if they take more than they may or leave anything
    #[arg(long)]
    connections: Option<usize>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let registry = bench::server::registry_command(arguments.registry);
    let done = match arguments.connections {
        Some(connections) => hold(&registry, connections).map(|held| {
            for (kind, kib) in KINDS.iter().zip(held.kib_each) {
                println!(
                    "{kib:6.1} KiB of {} for a connection {}",
                    kind.most_kib, kind.name
                );
            }
            let [before, open, closed, again] = held.kib;
            println!(
                "{} connections: {before} KiB resident before, {open} with them, {closed} when they were closed, {again} with them again; {} descriptors left",
                held.connections, held.descriptors_left
            );
            held.too_much()
        }),
        None => {
            let options = Options {
                registry,
                operations: arguments.operations,
                clients: arguments.clients,
                cache: Some(arguments.cache).filter(|cache| cache != "default"),
            };
            run(&options, |line| println!("{line}")).map(|_| None)
        }
    };
    let what = match done {
        Ok(None) => return ExitCode::SUCCESS,
        Ok(Some(what)) => what,
        Err(error) => error.to_string(),
    };
    eprintln!("soak: {what}");
    ExitCode::FAILURE
}
