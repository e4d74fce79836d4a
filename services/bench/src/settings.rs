//! What a run is about: targets, sizes, times. Values only; the command line makes them.

use crate::load::Plan;
use std::net::SocketAddr;
use std::time::Duration;

/// What a target can be asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An OCI registry: every workload.
    Registry,
    /// Answers reads with the fixed content that `bench files` writes, in the repository `static`.
    Files,
    /// Takes pushes as a registry does and forgets how to read them: the limit for pushes.
    Sink,
}

/// A server to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What reports call it.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it can do.
    pub kind: Kind,
    /// Its process, where known: gives CPU time and memory.
    pub pid: Option<u32>,
    /// How to start another one of its kind, where known: for `start` and `idle-1000`.
    pub start: Option<StartCommand>,
}

/// A command line that starts a server. `{port}` and `{dir}` in it are replaced by a free port and an empty folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartCommand {
    /// Variables to set, written as `NAME=VALUE` before the program.
    pub variables: Vec<(String, String)>,
    /// Program and arguments.
    pub words: Vec<String>,
}

impl StartCommand {
    /// Splits a command line at its white space; there is no quoting. `None` without a program.
    pub fn parse(text: &str) -> Option<StartCommand> {
        let mut variables = Vec::new();
        let mut words = Vec::new();
        for word in text.split_whitespace() {
            match word.split_once('=') {
                Some((name, value)) if words.is_empty() => {
                    variables.push((name.to_owned(), value.to_owned()))
                }
                _ => words.push(word.to_owned()),
            }
        }
        (!words.is_empty()).then_some(StartCommand { variables, words })
    }
}

/// How much content the workloads move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Tags of the repository of `manifest-by-tag-1000`.
    pub some_tags: u64,
    /// Tags of the repository of the list workloads and `push-tag-at-10000`.
    pub many_tags: u64,
    /// Referrers of one subject.
    pub referrers: u64,
    /// Tags in a page.
    pub page: u64,
    /// Bytes of a large blob.
    pub large_bytes: u64,
    /// Bytes of a chunk when a large blob is pushed in chunks.
    pub chunk_bytes: u64,
    /// Large blobs pushed in one sample, at most.
    pub large_pushes: u64,
    /// Idle connections.
    pub idle: usize,
    /// Manifests stored before the second start of `start`.
    pub stored: u64,
}

impl Scale {
    /// The sizes of the published table.
    pub const FULL: Scale = Scale {
        some_tags: 1000,
        many_tags: 10_000,
        referrers: 7_500,
        page: 100,
        large_bytes: 256 * 1024 * 1024,
        chunk_bytes: 8 * 1024 * 1024,
        large_pushes: 4,
        idle: 1000,
        stored: 10_000,
    };

    /// Small sizes: every step is taken, no time means anything.
    pub const SMOKE: Scale = Scale {
        some_tags: 20,
        many_tags: 60,
        referrers: 40,
        page: 25,
        large_bytes: 3 * 1024 * 1024,
        chunk_bytes: 1024 * 1024,
        large_pushes: 4,
        idle: 50,
        stored: 20,
    };
}

/// Everything but the targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Rounds in which the targets take turns.
    pub rounds: u32,
    /// Length of a sample.
    pub duration: Duration,
    /// Keep-alive connections, unless the workload says another number.
    pub connections: usize,
    /// Threads of the load generator.
    pub threads: usize,
    /// How much content is moved.
    pub scale: Scale,
    /// First part of the names of all repositories of this run.
    pub prefix: String,
    /// The longest that the set-up of one workload may take on one target.
    pub set_up: Duration,
    /// The longest that an operation may take.
    pub patience: Duration,
}

impl Settings {
    /// The plan of a sample.
    pub fn plan(&self) -> Plan {
        Plan {
            threads: self.threads,
            duration: self.duration,
            budget: None,
            patience: self.patience,
        }
    }

    /// The plan of `operations` operations of a set-up.
    pub fn set_up_plan(&self, operations: u64) -> Plan {
        Plan {
            threads: self.threads,
            duration: self.set_up,
            budget: Some(operations),
            patience: self.patience,
        }
    }

    /// The name of a repository of this run on a target.
    pub fn repository(&self, target: &Target, name: &str) -> String {
        match target.kind {
            Kind::Files => STATIC_REPOSITORY.to_owned(),
            Kind::Registry | Kind::Sink => format!("{}/{name}", self.prefix),
        }
    }
}

/// The only repository of a target of kind `Files`.
pub const STATIC_REPOSITORY: &str = "static";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_command_has_variables_before_its_program() {
        let command = StartCommand::parse("A=1 B={dir} registry --port={port} serve").expect("a program");
        assert_eq!(
            command.variables,
            [("A".into(), "1".into()), ("B".into(), "{dir}".into())]
        );
        assert_eq!(command.words, ["registry", "--port={port}", "serve"]);
        assert_eq!(StartCommand::parse(" A=1 "), None);
    }
}
