//! The bench around the lab's parts: plays the 18 scenarios, judges them, and tells what came of it.
//!
//! A result is data ([`report::RunReport`], [`verdict::Verdict`]); what is printed or written only reads it. One executable
//! is all the programs: which one it is, its name or its first argument says ([`multicall`]).

pub mod ask;
pub mod cli;
pub mod compare;
pub mod describe;
pub mod desk;
pub mod evidence;
pub mod fixture;
pub mod har;
pub mod judge;
mod judge_command;
pub mod links;
pub mod multicall;
pub mod report;
pub mod run;
pub mod scenarios;
pub mod servers;
pub mod stage;
pub mod verdict;
mod welcome;

pub use multicall::main_from;
