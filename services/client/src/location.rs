//! SRC and DST as people type them.
//!
//! | text | means |
//! | --- | --- |
//! | `HOST/REPO:TAG`, `alpine`, `docker://…` | an image in a registry |
//! | `oci:PATH[:TAG]`, `oci:PATH@DIGEST` | an OCI layout, as skopeo writes it |
//! | `ocidir://PATH[:TAG]`, `ocidir://PATH@DIGEST` | the same, as regclient writes it |
//! | `./DIR`, `../DIR`, `/DIR` | a folder that is a layout, its only or `latest` image |
//! | `oci-archive:FILE[:TAG]`, `./FILE.tar`, `/FILE.tar.gz` | a layout in a tar archive, for reading |

use crate::{Error, Result, error::clean};
use oci::{Digest, ImageReference, ManifestRef, Tag};
use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

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
        for (prefix, make) in SCHEMES {
            if let Some(rest) = text.strip_prefix(prefix) {
                return make(text, rest);
            }
        }
        let is_path =
            [".", ".."].contains(&text) || ["./", "../", "/"].iter().any(|start| text.starts_with(start));
        if !is_path {
            return registry(text, text);
        }
        let reference = path(text, text)?;
        Ok(match is_archive(&reference.path) {
            true => Location::Archive(reference),
            false => Location::Layout(reference),
        })
    }

    /// Reads a location that must be in a registry.
    ///
    /// # Errors
    /// `Usage` as [`Location::parse`], and for a layout.
    pub fn parse_reference(text: &str) -> Result<ImageReference> {
        match Location::parse(text)? {
            Location::Registry(reference) => Ok(reference),
            Location::Layout(_) | Location::Archive(_) => Err(Error::Usage(format!(
                "{text:?} is an OCI layout, and this is done in registries alone: copy it to one (`producer copy`), do it there, \
                 and copy it back",
                text = clean(text)
            ))),
        }
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

/// How to read what follows a prefix, given the whole text for errors.
type Read = fn(&str, &str) -> Result<Location>;

/// The prefixes, longer ones first.
const SCHEMES: &[(&str, Read)] = &[
    ("ocidir://", |text, rest| path(text, rest).map(Location::Layout)),
    ("docker://", registry),
    ("oci-archive:", |text, rest| {
        path(text, rest).map(Location::Archive)
    }),
    ("oci:", |text, rest| path(text, rest).map(Location::Layout)),
];

/// What the names of archives end with.
const ARCHIVE_SUFFIXES: &[&str] = &[".tar", ".tar.gz", ".tgz"];

fn is_archive(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    ARCHIVE_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

fn registry(_text: &str, rest: &str) -> Result<Location> {
    Ok(Location::Registry(ImageReference::parse(rest)?))
}

/// `PATH`, `PATH:TAG` or `PATH@DIGEST`.
fn path(text: &str, rest: &str) -> Result<LayoutReference> {
    let usage = |why: String| Error::Usage(format!("in location {text:?}: {why}", text = clean(text)));
    let (path, target) = match rest.rsplit_once('@') {
        Some((path, digest)) if !digest.contains('/') => {
            let digest = Digest::parse(digest).map_err(|e| usage(e.to_string()))?;
            (path, Some(ManifestRef::Digest(digest)))
        }
        _ => match rest.rsplit_once(':') {
            // A colon before a slash belongs to the path.
            Some((path, tag)) if !tag.contains('/') => {
                let tag = Tag::parse(tag).map_err(|e| usage(e.to_string()))?;
                (path, Some(ManifestRef::Tag(tag)))
            }
            _ => (rest, None),
        },
    };
    if path.is_empty() {
        return Err(usage("expected a path, such as oci:images/app:latest".to_owned()));
    }
    Ok(LayoutReference {
        path: path.into(),
        target,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_written_back() {
        let digest = Digest::sha256(b"x");
        for (text, shown) in [
            ("alpine", "docker.io/library/alpine".to_owned()),
            ("docker://ghcr.io/a/b:1", "ghcr.io/a/b:1".to_owned()),
            ("oci:dir/app:1", "oci:dir/app:1".to_owned()),
            ("oci:/a:b/app", "oci:/a:b/app".to_owned()),
            ("ocidir:///tmp/x:latest", "oci:/tmp/x:latest".to_owned()),
            ("./dir", "oci:./dir".to_owned()),
            (".", "oci:.".to_owned()),
            ("/tmp/x.tar:1", "oci-archive:/tmp/x.tar:1".to_owned()),
            ("oci-archive:x", "oci-archive:x".to_owned()),
        ] {
            assert_eq!(Location::parse(text).expect(text).to_string(), shown, "{text}");
        }
        let by_digest = Location::parse(&format!("oci:dir@{digest}")).expect("a location");
        assert_eq!(by_digest.to_string(), format!("oci:dir@{digest}"));
    }

    #[test]
    fn what_is_wrong_is_named_with_the_text() {
        for text in [
            "",
            "oci:",
            "oci::tag",
            "oci:dir:",
            "oci:dir@sha256:ab",
            "docker://",
            "UPPER",
            "./a:b c",
        ] {
            let error = Location::parse(text).expect_err(text);
            assert_eq!(error.exit_code(), crate::ExitCode::Usage, "{text}: {error}");
        }
    }
}
