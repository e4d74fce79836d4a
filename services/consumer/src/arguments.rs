//! The grammar of the consumer: that of the intermediate tool of 2022 (`pull`, `refs`) and that of the complete one
//! (`artifact list`, `artifact get`), for every generation.

use clap::{Args, Parser, Subcommand};
use cli::{CommonCommand, Globals, ReportArgs};
use generations::ConsumerGeneration;
use oci::Platform;
use scenario::ScenarioCommand;
use std::path::PathBuf;

/// Pulls images from OCI registries, and finds references to them in the way of a generation.
///
/// The generation is --generation, else GENERATION, else the beginning of the name that the tool is called by
/// (complete-consumer), else intermediate.
#[derive(Debug, Parser)]
#[command(name = "consumer", version, propagate_version = true, after_long_help = cli::exit_codes_help())]
pub struct Arguments {
    /// Options of every command.
    #[command(flatten)]
    pub globals: Globals,
    /// current, intermediate or complete
    #[arg(long, global = true, value_name = "NAME")]
    pub generation: Option<ConsumerGeneration>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Pull an image, every digest verified; references are not looked for
    #[command(after_help = PULL_EXAMPLE)]
    Pull(PullArgs),
    /// Print the references to an image, as the JSON of an image index
    #[command(
        after_help = "Examples:\n  consumer refs localhost:5001/app:latest | jq\n  consumer refs --long \
        localhost:5001/app:latest\n  consumer refs oci:kept:latest"
    )]
    Refs(RefsArgs),
    /// Commands about images
    #[command(subcommand)]
    Image(ImageCommand),
    /// Commands about references
    #[command(subcommand)]
    Artifact(ArtifactCommand),
    /// Show the references to an image, and the references to those
    #[command(after_help = "Example:\n  consumer tree localhost:5001/app:latest")]
    Tree(TreeArgs),
    /// Check the list of references of an image, wherever it is
    #[command(
        after_help = "Examples:\n  consumer lint localhost:5001/app:latest\n  consumer lint oci:kept:latest"
    )]
    Lint(LintArgs),
    /// Those that every tool has.
    #[command(flatten)]
    Common(CommonCommand),
    /// Those of an actor in a scenario.
    #[command(flatten)]
    Scenario(ScenarioCommand),
}

const PULL_EXAMPLE: &str = "Examples:\n  consumer pull localhost:5001/app:latest\n  consumer pull --platform linux/arm64 \
    --output folder localhost:5001/app:latest\n  consumer pull oci:kept:latest";

/// Where an image may be, for the commands that read registries and layouts alike.
const IMAGE_HELP: &str =
    "A reference, oci:FOLDER[:TAG], ocidir://FOLDER[:TAG], a folder, or a tar archive of a layout";

/// `image …`
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Pull an image, every digest verified; references are not looked for
    #[command(after_help = PULL_EXAMPLE)]
    Pull(PullArgs),
}

/// `artifact …`
#[derive(Debug, Subcommand)]
pub enum ArtifactCommand {
    /// List the references to an image
    #[command(
        after_help = "Examples:\n  consumer artifact list localhost:5002/app:latest\n  consumer artifact list \
        localhost:5002/app:latest --format '{{ jsonPretty .Manifest}}'"
    )]
    List(ListArgs),
    /// Get the content of a reference
    #[command(
        after_help = "Examples:\n  consumer artifact get localhost:5002/app:latest --filter-artifact-type misc\n  \
        consumer artifact get --output folder localhost:5002/app@sha256:DIGITS"
    )]
    Get(GetArgs),
}

/// `pull`
#[derive(Debug, Args)]
pub struct PullArgs {
    /// The image
    #[arg(help = IMAGE_HELP)]
    pub image: client::Location,
    /// The platform to pull; without it, linux on this machine's kind of processor
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_parser = client::copy::parse_platform)]
    pub platform: Option<Platform>,
    /// Write the image to an OCI layout: a folder, or oci:FOLDER:TAG; without it the content is verified and dropped
    #[arg(long, short, value_name = "FOLDER")]
    pub output: Option<String>,
}

/// Which references are meant.
#[derive(Clone, Debug, Default, Args)]
pub struct FilterArgs {
    /// Only references of this type; a type that is no media type is looked for in the annotation
    /// org.opencontainers.artifact.type
    #[arg(long, value_name = "TYPE", alias = "artifact-type")]
    pub filter_artifact_type: Option<String>,
    /// Only references with this annotation; may be repeated
    #[arg(long, value_name = "KEY[=VALUE]", value_parser = parse_annotation_filter)]
    pub filter_annotation: Vec<(String, Option<String>)>,
    /// Look for references to this platform's image, in place of the whole index
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_parser = client::copy::parse_platform)]
    pub platform: Option<Platform>,
}

/// `refs`
#[derive(Debug, Args)]
pub struct RefsArgs {
    /// The image
    #[arg(help = IMAGE_HELP)]
    pub image: client::Location,
    /// Print a table in place of JSON, with where each entry was found
    #[arg(long, short)]
    pub long: bool,
    /// Which references.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// How the report is printed.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// `artifact list`
#[derive(Debug, Args)]
pub struct ListArgs {
    /// The image
    #[arg(help = IMAGE_HELP)]
    pub image: client::Location,
    /// A Go template over .Subject, .Descriptors, .Manifest, .Annotations, .Tags and .Sources; or raw, body, headers
    ///
    /// raw, body and headers show the registry's answer that has the list, asked for once more and before the filters of this
    /// tool; of a list in pages each answer, one after the other.
    #[arg(long, value_name = "TEMPLATE")]
    pub format: Option<String>,
    /// Which references.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// How the report is printed.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// `artifact get`
#[derive(Debug, Args)]
pub struct GetArgs {
    /// A reference itself, or an image that has one reference (or one that the filters leave); in a registry or a layout
    #[arg(value_name = "IMAGE-or-ARTIFACT")]
    pub image: client::Location,
    /// Write each piece of content to this folder, under its own name; without it, one piece to standard output
    #[arg(long, short, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Only the content with this name (org.opencontainers.image.title)
    #[arg(long, value_name = "NAME")]
    pub file: Option<String>,
    /// Only the content of this media type
    #[arg(long, value_name = "TYPE")]
    pub file_media_type: Option<String>,
    /// Take the image for a subject, even if it is itself a reference to another one
    #[arg(long)]
    pub subject: bool,
    /// Which reference.
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// `tree`
#[derive(Debug, Args)]
pub struct TreeArgs {
    /// The image
    #[arg(help = IMAGE_HELP)]
    pub image: client::Location,
    /// How the report is printed.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// `lint`
#[derive(Debug, Args)]
pub struct LintArgs {
    /// The image
    #[arg(help = IMAGE_HELP)]
    pub image: client::Location,
    /// How the report is printed.
    #[command(flatten)]
    pub report: ReportArgs,
}

fn parse_annotation_filter(text: &str) -> Result<(String, Option<String>), String> {
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (text, None),
    };
    match key.is_empty() {
        true => Err("expected KEY or KEY=VALUE".to_owned()),
        false => Ok((key.to_owned(), value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_holds_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn an_annotation_filter_has_a_key_and_may_have_a_value() {
        assert_eq!(parse_annotation_filter("a"), Ok(("a".into(), None)));
        assert_eq!(
            parse_annotation_filter("a=b=c"),
            Ok(("a".into(), Some("b=c".into())))
        );
        assert!(parse_annotation_filter("=b").is_err());
    }
}
