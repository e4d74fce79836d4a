//! `crash`: kills a registry under load, or cuts the power of its disk, again and again, and reads back what it had acknowledged.

use bench::crash::{End, FileSystem, Options, run};
use clap::Parser;
use std::process::ExitCode;

/// Kills a registry under load, or cuts the power of its disk, and reads back what it had acknowledged.
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
    /// Loses what had not come to the disk, too (takes root, loop devices and xfsprogs)
    #[arg(long)]
    power_loss: bool,
    /// The file system that loses power: ext4 or xfs
    #[arg(long, default_value = "ext4", value_parser = file_system)]
    file_system: FileSystem,
}

fn file_system(name: &str) -> Result<FileSystem, String> {
    FileSystem::from_name(name).ok_or_else(|| "expected ext4 or xfs".to_owned())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let registry = bench::server::registry_command(arguments.registry);
    let options = Options {
        registry,
        rounds: arguments.rounds,
        clients: arguments.clients,
        seed: arguments.seed,
        durability: arguments.durability,
        end: match arguments.power_loss {
            true => End::PowerLoss(arguments.file_system),
            false => End::Kill,
        },
    };
    match run(&options, |line| println!("{line}")) {
        Ok(summary) => {
            println!(
                "{} rounds: {} operations acknowledged, {} things read back, nothing lost",
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
