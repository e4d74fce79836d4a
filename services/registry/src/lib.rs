//! An OCI registry whose generation is its configuration.
//!
//! `config` → `app` → `http` → `domain` → `storage`: each knows only those to its right. [`start`] makes a server of a
//! [`Config`]; [`main_from`] is the command line.

pub mod app;
pub mod cli;
pub mod config;

pub use app::{Running, StartError, start};
pub use cli::main_from;
pub use config::{Config, ConfigError};
