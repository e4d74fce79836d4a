//! References to images as people type them, in Docker's way: `alpine` means `docker.io/library/alpine:latest`.

use crate::digest::{DigestError, cut};
use crate::{Digest, ManifestRef, NameError, RepositoryName, Tag};
use std::{fmt, str::FromStr};

/// The registry that a reference without one means.
pub const DEFAULT_REGISTRY: &str = "docker.io";

/// A registry's host, a repository, and a tag, a digest, or both.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageReference {
    /// Host and optional port, such as `localhost:5001`, `[::1]:5001` or `docker.io`.
    pub registry: String,
    /// The repository.
    pub repository: RepositoryName,
    /// The tag, if one was written.
    pub tag: Option<Tag>,
    /// The digest, if one was written.
    pub digest: Option<Digest>,
}

/// What is wrong with a reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Nothing was written, or no repository.
    #[error(
        "{text:?} is not an image reference: expected [HOST[:PORT]/]REPOSITORY[:TAG][@DIGEST], such as localhost:5001/app:latest"
    )]
    Malformed {
        /// The text, cut to a printable length.
        text: String,
    },
    /// The host or its port cannot be one.
    #[error("in reference {text:?}: {host:?} is not a registry: expected HOST or HOST:PORT")]
    Registry {
        /// The whole reference, cut.
        text: String,
        /// The part before the first slash.
        host: String,
    },
    /// Repository or tag break the grammar.
    #[error("in reference {text:?}: {source}")]
    Name {
        /// The whole reference, cut.
        text: String,
        /// Which part, and what was expected.
        source: NameError,
    },
    /// The digest breaks the grammar.
    #[error("in reference {text:?}: {source}")]
    Digest {
        /// The whole reference, cut.
        text: String,
        /// What was expected.
        source: DigestError,
    },
}

impl ImageReference {
    /// Parses a reference.
    ///
    /// # Errors
    /// [`ReferenceError`], which quotes the text and says what was expected.
    pub fn parse(text: &str) -> Result<ImageReference, ReferenceError> {
        let quoted = || cut(text);
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = Digest::parse(digest).map_err(|source| ReferenceError::Digest {
                    text: quoted(),
                    source,
                })?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        let (host, path) = split_host(rest);
        let (path, tag) = match path.rsplit_once(':') {
            Some((path, tag)) => {
                let tag = Tag::parse(tag).map_err(|source| ReferenceError::Name {
                    text: quoted(),
                    source,
                })?;
                (path, Some(tag))
            }
            None => (path, None),
        };
        if path.is_empty() {
            return Err(ReferenceError::Malformed { text: quoted() });
        }
        if let Some(host) = host.filter(|host| !is_host(host)) {
            return Err(ReferenceError::Registry {
                text: quoted(),
                host: cut(host),
            });
        }
        let registry = match host {
            None | Some("index.docker.io") => DEFAULT_REGISTRY,
            Some(host) => host,
        };
        let library = registry == DEFAULT_REGISTRY && !path.contains('/');
        let path = if library {
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        let repository = RepositoryName::parse(&path).map_err(|source| ReferenceError::Name {
            text: quoted(),
            source,
        })?;
        Ok(ImageReference {
            registry: registry.to_owned(),
            repository,
            tag,
            digest,
        })
    }

    /// What to ask a registry for: the digest if there is one, else the tag, else `latest`.
    pub fn target(&self) -> ManifestRef {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => ManifestRef::Digest(*digest),
            (None, Some(tag)) => ManifestRef::Tag(tag.clone()),
            (None, None) => ManifestRef::Tag(Tag::latest()),
        }
    }

    /// The same repository, another manifest.
    pub fn with_target(&self, target: ManifestRef) -> ImageReference {
        let (tag, digest) = match target {
            ManifestRef::Tag(tag) => (Some(tag), None),
            ManifestRef::Digest(digest) => (None, Some(digest)),
        };
        ImageReference {
            registry: self.registry.clone(),
            repository: self.repository.clone(),
            tag,
            digest,
        }
    }
}

/// Takes the part before the first slash as a host if it has a dot, a colon, or is `localhost`.
fn split_host(text: &str) -> (Option<&str>, &str) {
    match text.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" || host.starts_with('[') => {
            (Some(host), path)
        }
        _ => (None, text),
    }
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if address.parse::<std::net::Ipv6Addr>().is_ok() => (
                "v6",
                port.strip_prefix(':')
                    .or(if port.is_empty() { None } else { Some("") }),
            ),
            _ => return false,
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    host.split('.').all(label)
        && port.is_none_or(|p| p.parse::<u16>().is_ok_and(|p| p > 0) && !p.starts_with('+'))
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for ImageReference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<ImageReference, ReferenceError> {
        ImageReference::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_read_as_docker_reads_them() {
        for (text, whole, target) in [
            ("alpine", "docker.io/library/alpine", "latest"),
            ("index.docker.io/alpine:3", "docker.io/library/alpine:3", "3"),
            ("user/app:1", "docker.io/user/app:1", "1"),
            ("localhost/app", "localhost/app", "latest"),
            (
                "localhost:5001/scenario-8/alpine-base:latest",
                "localhost:5001/scenario-8/alpine-base:latest",
                "latest",
            ),
            ("[::1]:5001/app", "[::1]:5001/app", "latest"),
            (
                "ghcr.io/distroless/alpine-base:latest",
                "ghcr.io/distroless/alpine-base:latest",
                "latest",
            ),
        ] {
            let reference = ImageReference::parse(text).expect(text);
            assert_eq!(
                (
                    reference.to_string().as_str(),
                    reference.target().to_string().as_str()
                ),
                (whole, target),
                "{text}"
            );
        }
    }

    #[test]
    fn a_digest_wins_over_a_tag() {
        let digest = Digest::sha256(b"x");
        let reference = ImageReference::parse(&format!("localhost:5001/a:t@{digest}")).expect("a reference");
        assert_eq!(reference.target(), ManifestRef::Digest(digest));
        assert_eq!(reference.tag.as_ref().map(Tag::as_str), Some("t"));
    }

    #[test]
    fn what_is_wrong_is_named_with_the_text() {
        for text in [
            "",
            ":tag",
            "localhost:5001/",
            "localhost:x/app",
            "localhost:99999/app",
            "host:0/app",
            "a..b/c.d/e",
            "UPPER",
            "localhost:5001/App",
            "localhost:5001/app:",
            "localhost:5001/app:a b",
            "localhost:5001/app@sha256:abc",
            "localhost:5001/app@",
            "http://localhost/app",
            "[::x]:5/app",
            "[::1]x/app",
            "-a.b/app",
        ] {
            let error = ImageReference::parse(text).expect_err(text).to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }
}
