//! Where a command reads images and references: a registry, or an OCI layout.

use cli::{Context, Failure};
use client::{ExitCode, Location, Manifest, Store};
use oci::{Descriptor, ManifestRef};
use std::fmt;

/// An image's place, opened.
pub struct Place {
    /// The repository or the layout.
    pub store: Store,
    /// What is meant there; in a layout always by digest.
    pub target: ManifestRef,
    location: Location,
}

impl Place {
    /// Opens a place; of a registry nothing is asked yet.
    ///
    /// # Errors
    /// Not found, for a layout without the image; a failure of reading it.
    pub async fn open(location: &Location, context: &Context) -> Result<Place, Failure> {
        let store = context.client()?.open(location).await?;
        let target = match (location, &store) {
            (Location::Registry(reference), _) => reference.target(),
            (Location::Layout(reference) | Location::Archive(reference), Store::Layout(layout)) => {
                ManifestRef::Digest(layout.resolve(reference)?.digest)
            }
            (Location::Layout(_) | Location::Archive(_), Store::Repository(_)) => {
                unreachable!("a path is opened as a layout")
            }
        };
        Ok(Place {
            store,
            target,
            location: location.clone(),
        })
    }

    /// Media type, digest and size of what is meant.
    ///
    /// # Errors
    /// Not found, and every failure of reading.
    pub async fn descriptor(&self) -> Result<Descriptor, Failure> {
        let found = match &self.store {
            Store::Repository(repository) => repository.head_manifest(&self.target).await?,
            Store::Layout(_) => self
                .store
                .try_get_manifest(&self.target)
                .await?
                .map(|m| m.descriptor()),
        };
        found.ok_or_else(|| self.missing())
    }

    /// The manifest that is meant.
    ///
    /// # Errors
    /// As [`Place::descriptor`].
    pub async fn manifest(&self) -> Result<Manifest, Failure> {
        let found = self.store.try_get_manifest(&self.target).await?;
        found.ok_or_else(|| self.missing())
    }

    /// The place with another target, as it is written.
    pub fn named(&self, target: ManifestRef) -> String {
        match self.location.clone() {
            Location::Registry(reference) => reference.with_target(target).to_string(),
            Location::Layout(mut reference) => {
                reference.target = Some(target);
                Location::Layout(reference).to_string()
            }
            Location::Archive(mut reference) => {
                reference.target = Some(target);
                Location::Archive(reference).to_string()
            }
        }
    }

    fn missing(&self) -> Failure {
        let place = match &self.store {
            Store::Repository(_) => "registry",
            Store::Layout(_) => "layout",
        };
        Failure::new(ExitCode::NotFound, format!("{self} is not in the {place}"))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.location, f)
    }
}
