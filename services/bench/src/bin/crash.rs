//! `crash`: kills a registry under load, again and again, and reads back what it had acknowledged.

use bench::crash::{Options, run};
use clap::Parser;
use std::process::ExitCode;

/// Kills a registry under load and reads back what it had acknowledged.
#[derive(Debug, Parser)]
struct Arguments {
    /// The registry's program, and arguments before `serve`; by default, `registry` beside this program
    registry: Vec<String>,
    /// How often it is killed
    #[arg(long, default_value_t = 500)]
    rounds: u32,
    /// Clients that work at once
    #[arg(long, default_value_t = 6)]
    clients: usize,
    /// Where chance starts from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Durability of the storage: full or none
    #[arg(long, default_value = "full")]
    durability: String,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut registry = arguments.registry;
    if registry.is_empty() {
        let beside = std::env::current_exe()
            .ok()
            .map(|path| path.with_file_name("registry"));
        registry.extend(beside.map(|path| path.to_string_lossy().into_owned()));
    }
    let options = Options {
        registry,
        rounds: arguments.rounds,
        clients: arguments.clients,
        seed: arguments.seed,
        durability: arguments.durability,
    };
    match run(&options, |line| println!("{line}")) {
        Ok(summary) => {
            println!(
                "{} kills: {} operations acknowledged, {} things read back, nothing lost",
                summary.rounds, summary.acknowledged, summary.compared
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("crash: {error}");
            ExitCode::FAILURE
        }
    }
}
