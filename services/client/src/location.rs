//! SRC and DST as people type them.
//!
//! | text | means |
//! | --- | --- |
//! | `HOST/REPO:TAG`, `alpine`, `docker://…` | an image in a registry |
//! | `oci:PATH[:TAG]`, `oci:PATH@DIGEST` | an OCI layout, as skopeo writes it |
//! | `ocidir://PATH[:TAG]`, `ocidir://PATH@DIGEST` | the same, as regclient writes it |
//! | `./DIR`, `../DIR`, `/DIR` | a folder that is a layout, its only or `latest` image |
//! | `oci-archive:FILE[:TAG]`, `./FILE.tar`, `/FILE.tar.gz` | a layout in a tar archive, for reading |

use crate::Result;
use oci::{ImageReference, ManifestRef};
use std::{fmt, path::PathBuf, str::FromStr};

/// Where an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// In a registry.
    Registry(ImageReference),
    /// In an OCI layout: a folder.
    Layout(LayoutReference),
    /// In an OCI layout inside a tar archive; only for reading.
    Archive(LayoutReference),
}

/// A path and what is meant in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutReference {
    /// Folder or archive.
    pub path: PathBuf,
    /// Tag or digest; `None`: the only image there is, else `latest`.
    pub target: Option<ManifestRef>,
}

impl Location {
    /// Reads a location. Files are not looked at.
    ///
    /// # Errors
    /// `Usage` with the text and what was expected.
    pub fn parse(text: &str) -> Result<Location> {
        let _ = text;
        todo!()
    }

    /// The registry reference, if it is one.
    pub fn as_reference(&self) -> Option<&ImageReference> {
        match self {
            Location::Registry(reference) => Some(reference),
            Location::Layout(_) | Location::Archive(_) => None,
        }
    }
}

impl FromStr for Location {
    type Err = crate::Error;

    fn from_str(text: &str) -> Result<Location> {
        Location::parse(text)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, reference) = match self {
            Location::Registry(reference) => return fmt::Display::fmt(reference, f),
            Location::Layout(reference) => ("oci", reference),
            Location::Archive(reference) => ("oci-archive", reference),
        };
        write!(f, "{scheme}:{}", reference.path.display())?;
        match &reference.target {
            None => Ok(()),
            Some(ManifestRef::Tag(tag)) => write!(f, ":{tag}"),
            Some(ManifestRef::Digest(digest)) => write!(f, "@{digest}"),
        }
    }
}
