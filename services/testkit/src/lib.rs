//! For tests only: registries on free ports, scripted servers that lie, raw HTTP over real sockets, certificates.
//!
//! Everything here panics with a sentence where a test cannot go on, and leaves nothing behind when it is dropped.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on ends"
)]

pub mod content;
pub mod fault;
pub mod http;
pub mod image;
mod registry;
pub mod relay;
pub mod terminal;
pub mod tls;
pub mod tool;

/// The registry's command line, for a test that runs a registry as a process of its own.
pub use ::registry::main_from as registry_main;
pub use fault::{FaultServer, Reply};
pub use image::Image;
pub use registry::Registry;
pub use relay::Relay;
pub use tls::Certificate;
pub use tool::{Ran, Tool};
