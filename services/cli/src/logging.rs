//! Logging to standard error, as `-v` asks for it.

use crate::globals::Level;
use log::LevelFilter;

/// Our own crates, which `-v debug` is about; libraries are heard from `warn` on, or at `trace`.
const OWN_CRATES: &[&str] = &["cli", "client", "producer", "consumer", "scenario", "lab"];

/// Starts logging. Without `-v` the variable `RUST_LOG` decides, and without that only errors are logged.
pub fn start(verbose: Option<Level>) {
    let mut builder = env_logger::Builder::new();
    match verbose {
        None => {
            builder.filter_level(LevelFilter::Error);
            builder.parse_default_env();
        }
        Some(Level::Trace) => {
            builder.filter_level(LevelFilter::Trace);
        }
        Some(level) => {
            let filter = filter(level);
            builder.filter_level(filter.min(LevelFilter::Warn));
            for name in OWN_CRATES {
                builder.filter_module(name, filter);
            }
        }
    }
    // A second start in one process (a test, or one tool within another) keeps the first.
    let _ = builder.format_target(false).try_init();
}

fn filter(level: Level) -> LevelFilter {
    match level {
        Level::Error => LevelFilter::Error,
        Level::Warn => LevelFilter::Warn,
        Level::Info => LevelFilter::Info,
        Level::Debug => LevelFilter::Debug,
        Level::Trace => LevelFilter::Trace,
    }
}
