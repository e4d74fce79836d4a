//! The command lines of the scenarios that this project began with, exactly as written there, and the grammar's edges.

use clap::Parser;
use cli::globals::{Level, join_verbose_level};
use consumer::arguments::{Arguments, ArtifactCommand, Command};
use std::ffi::OsString;

const SUBCOMMANDS: &[&str] = &["refs", "pull", "artifact", "registry"];

fn parse(words: &[&str]) -> Arguments {
    let words: Vec<OsString> = words.iter().map(OsString::from).collect();
    Arguments::try_parse_from(join_verbose_level(words, SUBCOMMANDS)).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn the_intermediate_consumers_lines_of_the_seed_parse() {
    let refs = parse(&[
        "bin/intermediate-consumer",
        "refs",
        "localhost:5001/scenario-8/alpine-base:latest",
    ]);
    assert!(matches!(refs.command, Command::Refs(_)));
    let refs = parse(&[
        "bin/intermediate-consumer",
        "-v",
        "refs",
        "localhost:5002/scenario-11/alpine-base:latest",
    ]);
    assert_eq!(refs.globals.verbose, Some(Level::Debug));
    assert!(matches!(refs.command, Command::Refs(_)));
}

#[test]
fn the_complete_consumers_line_of_the_seed_parses() {
    let list = parse(&[
        "bin/complete-consumer",
        "-v",
        "debug",
        "artifact",
        "list",
        "localhost:5002/scenario-18/alpine-base:latest",
        "--format",
        "{{ jsonPretty .Manifest}}",
    ]);
    assert_eq!(list.globals.verbose, Some(Level::Debug));
    let Command::Artifact(ArtifactCommand::List(list)) = list.command else {
        panic!("{list:?}");
    };
    assert_eq!(list.format.as_deref(), Some("{{ jsonPretty .Manifest}}"));
}

#[test]
fn every_command_shows_an_example_in_its_help() {
    let lacking = cli::tool::without_example(&cli::grammar::<Arguments>());
    assert_eq!(lacking, Vec::<String>::new());
}
