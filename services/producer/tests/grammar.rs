//! The command lines of the scenarios that this project began with, exactly as written there, and the grammar's edges.

use clap::Parser;
use cli::globals::{Level, join_verbose_level};
use producer::arguments::{Arguments, ArtifactCommand, Command, ImageCommand};
use std::ffi::OsString;

const SUBCOMMANDS: &[&str] = &["copy", "attach", "image", "artifact", "registry"];

fn parse(line: &str) -> Arguments {
    let words = line.replace("\\\n", " ");
    let words: Vec<OsString> = words.split_whitespace().map(OsString::from).collect();
    Arguments::try_parse_from(join_verbose_level(words, SUBCOMMANDS))
        .unwrap_or_else(|e| panic!("{line}: {e}"))
}

#[test]
fn the_intermediate_producers_lines_of_the_seed_parse() {
    let copy = parse(
        "bin/intermediate-producer -v copy \\
  ghcr.io/distroless/alpine-base:latest \\
  localhost:5001/scenario-8/alpine-base:latest",
    );
    assert_eq!(copy.globals.verbose, Some(Level::Debug));
    assert!(matches!(copy.command, Command::Copy(_)));
    let attach = parse(
        "bin/intermediate-producer -v attach \\
  hello.txt \\
  text/plain \\
  misc \\
  localhost:5001/scenario-8/alpine-base:latest",
    );
    let Command::Attach(attach) = attach.command else {
        panic!("{attach:?}");
    };
    assert_eq!(
        (&*attach.media_type, &*attach.artifact_type),
        ("text/plain", "misc")
    );
    assert_eq!(
        attach.image.to_string(),
        "localhost:5001/scenario-8/alpine-base:latest"
    );
}

#[test]
fn the_complete_producers_lines_of_the_seed_parse() {
    for port in [5001, 5002] {
        let set = parse(&format!(
            "bin/complete-producer -v debug registry set --tls disabled localhost:{port}"
        ));
        assert!(matches!(
            set.command,
            Command::Common(cli::CommonCommand::Registry(_))
        ));
        let copy = parse(&format!(
            "bin/complete-producer -v debug image copy \\
  ghcr.io/distroless/alpine-base:latest \\
  localhost:{port}/scenario-13/alpine-base:latest"
        ));
        assert!(matches!(copy.command, Command::Image(ImageCommand::Copy(_))));
        let put = parse(&format!(
            "bin/complete-producer -v debug artifact put --refers \\
  localhost:{port}/scenario-13/alpine-base:latest \\
  --annotation org.opencontainers.artifact.type=misc \\
  --manifest-media-type application/vnd.oci.artifact.manifest.v1+json"
        ));
        assert_eq!(put.globals.verbose, Some(Level::Debug));
        let Command::Artifact(ArtifactCommand::Put(put)) = put.command else {
            panic!("{put:?}");
        };
        assert_eq!(
            put.reference.manifest_media_type,
            Some(oci::ManifestKind::Artifact)
        );
    }
}

#[test]
fn verbose_takes_a_level_and_never_the_command() {
    for (line, level) in [
        ("p copy a b", None),
        ("p -v copy a b", Some(Level::Debug)),
        ("p -v info copy a b", Some(Level::Info)),
        ("p -v=trace copy a b", Some(Level::Trace)),
        ("p copy -v a b", Some(Level::Debug)),
        ("p copy a b --verbose=warn", Some(Level::Warn)),
        ("p --verbose error image copy a b", Some(Level::Error)),
    ] {
        assert_eq!(parse(line).globals.verbose, level, "{line}");
    }
}

#[test]
fn every_command_shows_an_example_in_its_help() {
    let lacking = cli::tool::without_example(&cli::grammar::<Arguments>());
    assert_eq!(lacking, Vec::<String>::new());
}
