//! `pull`: index, platform, manifest, config and layers, every digest verified. No list of references is asked for.

use crate::arguments::PullArgs;
use crate::fetch::fetch;
use crate::place::Place;
use cli::{Context, Failure, ReportArgs};
use client::location::LayoutReference;
use client::{CopyOptions, ExitCode, Location, Manifest};
use oci::{Descriptor, ManifestRef, ManifestView, Platform, Tag, media_type};
use serde_json::json;
use std::fmt::Display;

/// An index may name an index, but not for ever.
const MAX_NESTED_INDEXES: usize = 8;

/// Pulls.
///
/// # Errors
/// Not found; a failure of verification; every failure of a request or a file.
pub async fn run(pull: PullArgs, context: &Context) -> Result<(), Failure> {
    let platform = pull.platform.unwrap_or_else(this_platform);
    let place = Place::open(&pull.image, context).await?;
    let top = place.store.get_manifest(&place.target).await?;
    match &pull.output {
        Some(output) => to_layout(&pull.image, &top, &platform, output, context).await,
        None => verify(&place, top, &platform, context).await,
    }
}

/// What a container runtime here would run: linux, also on other systems, which run containers in a virtual machine.
fn this_platform() -> Platform {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    };
    Platform {
        architecture: architecture.to_owned(),
        os: "linux".to_owned(),
        variant: None,
        os_version: None,
        other: Default::default(),
    }
}

async fn to_layout(
    image: &Location,
    top: &Manifest,
    platform: &Platform,
    output: &str,
    context: &Context,
) -> Result<(), Failure> {
    let destination = layout(output, image)?;
    let is_list = view(image, top)?.kind.is_list();
    let options = CopyOptions {
        platform: is_list.then(|| platform.clone()),
        ..CopyOptions::default()
    };
    let copied = client::copy(context.client()?, image, &destination, &options).await?;
    let value = json!({
        "image": image.to_string(),
        "output": destination.to_string(),
        "manifest": copied.root,
    });
    context.report(&ReportArgs::default(), &copied.root.digest.to_string(), &value)
}

/// A layout as copies name it, or a plain folder, in which the image keeps its tag.
fn layout(output: &str, image: &Location) -> Result<Location, Failure> {
    if output.starts_with("oci:") || output.starts_with("ocidir:") {
        return Ok(Location::parse(output)?);
    }
    let tag = match image {
        Location::Registry(reference) => reference.tag.clone(),
        Location::Layout(reference) | Location::Archive(reference) => match &reference.target {
            Some(ManifestRef::Tag(tag)) => Some(tag.clone()),
            Some(ManifestRef::Digest(_)) | None => None,
        },
    };
    Ok(Location::Layout(LayoutReference {
        path: output.into(),
        target: Some(ManifestRef::Tag(tag.unwrap_or_else(Tag::latest))),
    }))
}

fn view(image: &impl Display, manifest: &Manifest) -> Result<ManifestView, Failure> {
    manifest
        .view()
        .map_err(|error| Failure::new(ExitCode::Failed, format!("{image}: {}: {error}", manifest.digest)))
}

/// Reads everything that a runtime would read, and keeps nothing.
async fn verify(image: &Place, top: Manifest, platform: &Platform, context: &Context) -> Result<(), Failure> {
    let root = top.descriptor();
    let (manifest, view) = select(image, top, platform).await?;
    if !view.kind.is_image() {
        let message = format!(
            "{image} is no image but {}: there is nothing to run",
            manifest.media_type
        );
        return Err(Failure::unsupported(message));
    }
    let is_here = |layer: &&Descriptor| !media_type::is_non_distributable(&layer.media_type);
    let blobs: Vec<&Descriptor> = view
        .config
        .iter()
        .chain(view.blobs.iter().filter(is_here))
        .collect();
    let mut bytes = 0;
    for blob in &blobs {
        fetch(&image.store, blob, context, |_| Ok(())).await?;
        bytes += blob.size;
    }
    context.output.note(&format!(
        "{image}: manifest {} and {} verified, {}",
        manifest.digest,
        cli::progress::count(blobs.len(), "blob"),
        cli::progress::size(bytes)
    ));
    let value = json!({
        "image": image.to_string(),
        "root": root,
        "manifest": manifest.descriptor(),
        "config": view.config,
        "layers": view.blobs,
        "bytes": bytes,
    });
    context.report(&ReportArgs::default(), &manifest.digest.to_string(), &value)
}

/// Goes down from an index to the platform's image.
async fn select(
    image: &Place,
    top: Manifest,
    platform: &Platform,
) -> Result<(Manifest, ManifestView), Failure> {
    let mut manifest = top;
    for _ in 0..MAX_NESTED_INDEXES {
        let view = view(image, &manifest)?;
        if !view.kind.is_list() {
            return Ok((manifest, view));
        }
        let chosen = client::copy::select_platform(&view, &manifest.digest, platform)?;
        manifest = image
            .store
            .get_manifest(&ManifestRef::Digest(chosen.digest))
            .await?;
    }
    let message = format!("{image}: indexes lie more than {MAX_NESTED_INDEXES} deep in each other");
    Err(Failure::new(ExitCode::Failed, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_is_a_folder_or_a_layout() {
        let image = Location::parse("localhost:5001/app:v1").expect("a reference");
        let Ok(Location::Layout(plain)) = layout("folder", &image) else {
            panic!("a folder is a layout");
        };
        assert_eq!(plain.path, std::path::Path::new("folder"));
        assert_eq!(plain.target.map(|t| t.to_string()).as_deref(), Some("v1"));
    }

    #[test]
    fn this_machine_has_a_platform_with_a_name_of_gos() {
        let platform = this_platform();
        assert_eq!(platform.os, "linux");
        assert!(!["x86_64", "aarch64", ""].contains(&platform.architecture.as_str()));
    }
}
