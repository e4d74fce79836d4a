//! `bare`: actix-web answering fixed bytes, the limit for reads. Runs until it is ended.

use bench::settings::Scale;
use clap::Parser;
use std::net::SocketAddr;
use std::process::ExitCode;

/// Answers what `bench files` writes, from memory.
#[derive(Debug, Parser)]
struct Options {
    /// Where to listen
    #[arg(default_value = "127.0.0.1:0")]
    address: SocketAddr,
    /// Threads that answer
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Small sizes, as with `bench --smoke`
    #[arg(long)]
    smoke: bool,
    /// No content but the answer to /v2/: for what costs before the first request
    #[arg(long)]
    empty: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let scale = if options.smoke { Scale::SMOKE } else { Scale::FULL };
    let served = actix_rt::System::new().block_on(async {
        let scale = (!options.empty).then_some(&scale);
        let (server, address) = bench::bare::server(options.address, options.workers, scale)?;
        println!("{address}");
        server.await
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bare: {}: {error}", options.address);
            ExitCode::FAILURE
        }
    }
}
