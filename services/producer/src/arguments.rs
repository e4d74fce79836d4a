//! The grammar of the producer: that of the intermediate tool of 2022 (`copy`, `attach`) and that of the complete one
//! (`image copy`, `artifact put`), for every generation.

use clap::{Args, Parser, Subcommand};
use cli::{CommonCommand, Globals, ReportArgs};
use generations::ProducerGeneration;
use oci::{Digest, ImageReference};
use scenario::ScenarioCommand;
use std::path::PathBuf;

/// Pushes images to OCI registries, and references to them in the way of a generation.
///
/// The generation is --generation, else GENERATION, else the beginning of the name that the tool is called by
/// (complete-producer), else intermediate.
#[derive(Debug, Parser)]
#[command(name = "producer", version, propagate_version = true, after_long_help = cli::exit_codes_help())]
pub struct Arguments {
    /// Options of every command.
    #[command(flatten)]
    pub globals: Globals,
    /// current, intermediate or complete
    #[arg(long, global = true, value_name = "NAME")]
    pub generation: Option<ProducerGeneration>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Copy an image between registries and OCI layouts, every digest kept
    #[command(after_help = COPY_EXAMPLE)]
    Copy(CopyArgs),
    /// Push a file as a reference to an image
    #[command(after_help = "Example:\n  producer attach hello.txt text/plain misc localhost:5001/app:latest")]
    Attach(AttachArgs),
    /// Commands about images
    #[command(subcommand)]
    Image(ImageCommand),
    /// Commands about references
    #[command(subcommand)]
    Artifact(ArtifactCommand),
    /// Delete a tag, or a manifest and its entry in a digest tag
    #[command(
        after_help = "Examples:\n  producer delete localhost:5001/app:old\n  producer delete \
        localhost:5001/app@sha256:DIGITS --referrers"
    )]
    Delete(DeleteArgs),
    /// Mend the digest tag of an image, showing the change first
    #[command(after_help = "Example:\n  producer repair --dry-run localhost:5001/app:latest")]
    Repair(RepairArgs),
    /// Those that every tool has.
    #[command(flatten)]
    Common(CommonCommand),
    /// Those of an actor in a scenario.
    #[command(flatten)]
    Scenario(ScenarioCommand),
}

const COPY_EXAMPLE: &str = "Examples:\n  producer copy ghcr.io/distroless/alpine-base:latest localhost:5001/app:latest\n  \
    producer copy --referrers localhost:5001/app:latest oci:folder:latest";

/// `image …`
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Copy an image between registries and OCI layouts, every digest kept
    #[command(after_help = COPY_EXAMPLE)]
    Copy(CopyArgs),
}

/// `artifact …`
#[derive(Debug, Subcommand)]
pub enum ArtifactCommand {
    /// Push content as a reference to an image
    #[command(
        after_help = "Example:\n  echo hello | producer artifact put --refers localhost:5002/app:latest \
        --annotation org.opencontainers.artifact.type=misc"
    )]
    Put(PutArgs),
}

/// `copy` and `image copy`
#[derive(Debug, Args)]
pub struct CopyArgs {
    /// Where to copy from.
    #[arg(
        value_name = "SRC",
        help = "A reference, oci:FOLDER[:TAG], ocidir://FOLDER[:TAG], a folder, or a tar archive of a layout"
    )]
    pub source: client::Location,
    /// Where to copy to.
    #[arg(
        value_name = "DST",
        help = "A reference, oci:FOLDER[:TAG], ocidir://FOLDER[:TAG], or a folder"
    )]
    pub destination: client::Location,
    /// Copy this platform's image only; without it, all of them
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_parser = client::copy::parse_platform)]
    pub platform: Option<oci::Platform>,
    /// Copy the references too, and theirs
    #[arg(long)]
    pub referrers: bool,
    /// Copy tags of the form sha256-DIGITS.SUFFIX that belong to the image
    #[arg(long)]
    pub digest_tags: bool,
    /// How many blobs move at once
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub jobs: u8,
    /// How the report is printed.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// `attach`
#[derive(Debug, Args)]
pub struct AttachArgs {
    /// The content
    pub file: PathBuf,
    /// The content's media type, such as text/plain
    #[arg(value_parser = parse_media_type)]
    pub media_type: String,
    /// What kind of thing it is: a word, or a media type of its own
    #[arg(value_parser = parse_artifact_type)]
    pub artifact_type: String,
    /// The image that it is about
    #[arg(value_parser = client::Location::parse_reference)]
    pub image: ImageReference,
    /// What else to say of the reference.
    #[command(flatten)]
    pub reference: ReferenceArgs,
}

/// `artifact put`
#[derive(Debug, Args)]
pub struct PutArgs {
    /// The image that it is about
    #[arg(long, value_name = "IMAGE", value_parser = client::Location::parse_reference)]
    pub refers: ImageReference,
    /// The content; without it, standard input
    #[arg(long, short, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The content's media type
    #[arg(long, value_name = "TYPE", default_value = oci::media_type::OCTET_STREAM, value_parser = parse_media_type)]
    pub file_media_type: String,
    /// What kind of thing it is: a media type
    #[arg(long, value_name = "TYPE", value_parser = parse_media_type)]
    pub artifact_type: Option<String>,
    /// What else to say of the reference.
    #[command(flatten)]
    pub reference: ReferenceArgs,
}

/// What `attach` and `artifact put` have in common.
#[derive(Debug, Args)]
pub struct ReferenceArgs {
    /// An annotation of the manifest; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_annotation)]
    pub annotation: Vec<(String, String)>,
    /// The manifest to push, in place of the generation's: application/vnd.oci.artifact.manifest.v1+json or
    /// application/vnd.oci.image.manifest.v1+json
    #[arg(long, value_name = "TYPE", value_parser = crate::manifest::parse_form)]
    pub manifest_media_type: Option<oci::ManifestKind>,
    /// Keep the file's name, as annotation org.opencontainers.image.title of the content
    #[arg(long)]
    pub file_title: bool,
    /// Name the image in `subject` too, which registries of OCI 1.1 read in place of `refers`
    #[arg(long)]
    pub subject: bool,
    /// How the report is printed.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// `delete`
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// A tag, which alone is deleted; or a manifest by its digest, with every tag of it
    #[arg(value_parser = client::Location::parse_reference)]
    pub image: ImageReference,
    /// Delete the manifest, the references to it, and theirs
    #[arg(long)]
    pub referrers: bool,
    /// How the report is printed.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// `repair`
#[derive(Debug, Args)]
pub struct RepairArgs {
    /// The image whose digest tag is mended
    #[arg(value_parser = client::Location::parse_reference)]
    pub image: ImageReference,
    /// Show the change and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// List this reference again, which another writer dropped; may be repeated
    #[arg(long, value_name = "DIGEST")]
    pub add: Vec<Digest>,
    /// How the report is printed.
    #[command(flatten)]
    pub report: ReportArgs,
}

fn parse_media_type(text: &str) -> Result<String, String> {
    match oci::media_type::is_valid(text) {
        true => Ok(text.to_owned()),
        false => Err("expected a media type, such as text/plain".to_owned()),
    }
}

fn parse_artifact_type(text: &str) -> Result<String, String> {
    match text.is_empty() || text.chars().any(char::is_control) {
        true => Err("expected a word or a media type, such as application/vnd.example.sbom.v1".to_owned()),
        false => Ok(text.to_owned()),
    }
}

fn parse_annotation(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
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
    fn annotations_need_a_key() {
        assert_eq!(parse_annotation("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(parse_annotation("a="), Ok(("a".into(), String::new())));
        assert!(parse_annotation("=b").is_err());
        assert!(parse_annotation("a").is_err());
    }
}
