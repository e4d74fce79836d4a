//! What must hold for any input.
//!
//! Each module has one function `check`, which takes any bytes and panics if a property does not hold. libFuzzer calls it
//! millions of times with inputs that it changes until they reach new code (`fuzz_targets/`); `tests/corpora.rs` calls it once
//! with each input of `corpus/`, so that what was ever found stays found without libFuzzer.
//!
//! A property is more than "no panic": what is written is read back, and a parser agrees with a second one that is simple
//! enough to be believed, mostly a regular expression of the specification.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a property that does not hold panics: that is how libFuzzer and tests learn of it"
)]

pub mod challenges;
pub mod configuration;
pub mod digest;
pub mod links;
pub mod manifest;
pub mod paths;
pub mod ranges;
pub mod reference;
pub mod replay;
pub mod requests;
pub mod scenario;
pub mod template;

mod grammar;
mod server;
mod story;

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: that of its module, its executable and its corpus.
    pub name: &'static str,
    /// Panics if a property does not hold for this input.
    pub check: fn(&[u8]),
}

/// Every target.
pub const TARGETS: &[Target] = &[
    target("challenges", challenges::check),
    target("configuration", configuration::check),
    target("digest", digest::check),
    target("links", links::check),
    target("manifest", manifest::check),
    target("paths", paths::check),
    target("ranges", ranges::check),
    target("reference", reference::check),
    target("requests", requests::check),
    target("scenario", scenario::check),
    target("template", template::check),
];

const fn target(name: &'static str, check: fn(&[u8])) -> Target {
    Target { name, check }
}

/// The executable of a target: libFuzzer's loop where it is compiled with `--cfg fuzzing`, else [`replay::main`].
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        #[cfg(fuzzing)]
        libfuzzer_sys::fuzz_target!(|input: &[u8]| $crate::$name::check(input));

        #[cfg(not(fuzzing))]
        fn main() -> std::process::ExitCode {
            $crate::replay::main($crate::$name::check)
        }
    };
}
