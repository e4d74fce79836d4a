//! An OCI registry whose generation is its configuration.
//!
//! `config` → `app` → `http` → `domain` → `storage`: each knows only those to its right. [`start`] makes a server of a
//! [`Config`]; [`main_from`] is the command line.

mod app;
mod auth;
mod cli;
pub mod config;
mod debug;
pub mod domain;
mod edge;
mod framing;
mod health;
mod healthcheck;
pub mod http;
mod listen;
mod log;
mod maintenance;
mod metrics;
mod paced;
mod rest;
mod server;
pub mod storage;
mod tls;
mod wire;

pub use app::{Running, StartError, start};
pub use cli::main_from;
pub use config::{Config, ConfigError};
