//! Lays an image where the scenarios have theirs, so that a newcomer can attach something to it at once.
//!
//! Only where nothing is yet: what somebody pushed stays. A scenario does not rely on it; it pushes its own image first.

use crate::desk::Status;
use client::{Client, CopyOptions, Location, Options, Settings};
use generations::MATRIX;
use oci::ImageReference;

/// Copies `image` to `scenario-N/alpine-base:latest` of every registry that shows the generation of scenario N; how many
/// copies were made.
///
/// # Errors
/// The image cannot be read, or a registry refuses it.
pub async fn lay(settings: &Settings, image: &str, statuses: &[Status]) -> client::Result<usize> {
    let source = Location::parse(image)?;
    let client = Client::new(Options {
        settings: settings.clone(),
        ..Options::default()
    })?;
    let mut laid = 0;
    for status in statuses {
        for row in MATRIX
            .iter()
            .filter(|row| status.generation == Some(row.registry))
        {
            let written = format!("{}/scenario-{}/alpine-base:latest", status.registry, row.number);
            let reference = ImageReference::parse(&written)?;
            let there = client
                .repository(&reference)?
                .head_manifest(&reference.target())
                .await?;
            if there.is_none() {
                client::copy(
                    &client,
                    &source,
                    &Location::parse(&written)?,
                    &CopyOptions::default(),
                )
                .await?;
                laid += 1;
            }
        }
    }
    Ok(laid)
}
