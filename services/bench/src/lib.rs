//! Times OCI registries side by side on the same workloads, and says what their processes cost.
//!
//! The workloads stand in a table ([`workload::WORKLOADS`]); [`run::run`] takes the targets through them in turns;
//! [`report`] writes what came of it. The load generator ([`load`], [`connection`], [`wire`]) is our own, lean enough
//! not to be what is measured, and strict: an answer of an unexpected status or length fails the workload.
//! [`crash`] kills a registry under load
//! and reads back what it had acknowledged; [`soak`] looks that it stays as large as it is, and [`hold`] that many connections take
//! little. Left out: TLS, tokens, other machines than this one.

pub mod bare;
pub mod calibrate;
pub mod clients;
pub mod connection;
pub mod content;
pub mod crash;
pub mod curve;
pub mod fixtures;
pub mod hold;
mod lists;
pub mod load;
mod lone;
pub mod options;
pub mod process;
pub mod protocol;
pub mod report;
pub mod run;
pub mod sample;
pub mod server;
pub mod settings;
pub mod soak;
pub mod stats;
pub mod wire;
pub mod workload;
