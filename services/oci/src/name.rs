//! Repository names, tags, and what stands last in a manifest's path: the specification's grammar, exactly.

use crate::digest::{Digest, DigestError, cut};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, str::FromStr, sync::Arc};

/// The longest repository name that this project accepts, in bytes.
///
/// Source: OCI distribution-spec 1.1, "Pulling manifests": many clients limit host, port and name together to 255.
pub const MAX_NAME_BYTES: usize = 255;

/// The longest tag, in bytes: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
pub const MAX_TAG_BYTES: usize = 128;

/// What is wrong with a repository name or a tag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a repository name.
    #[error(
        "{text:?} is not a repository name: expected lower-case parts of a-z0-9 joined by '.', '_', '__' or '-', separated by '/', at most {MAX_NAME_BYTES} characters"
    )]
    Repository {
        /// The text, cut to a printable length.
        text: String,
    },
    /// Not a tag.
    #[error(
        "{text:?} is not a tag: expected a letter, digit or '_', then at most {} of letters, digits, '_', '.' and '-'",
        MAX_TAG_BYTES - 1
    )]
    Tag {
        /// The text, cut to a printable length.
        text: String,
    },
}

/// A repository name, such as `scenario-8/alpine-base`. Cloning shares the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepositoryName(Arc<str>);

impl RepositoryName {
    /// Parses a name.
    ///
    /// # Errors
    /// [`NameError::Repository`] if the grammar of the specification does not hold.
    ///
    /// Source: OCI distribution-spec 1.1, "Pulling manifests".
    pub fn parse(text: &str) -> Result<RepositoryName, NameError> {
        if RepositoryName::is_valid(text) {
            Ok(RepositoryName(text.into()))
        } else {
            Err(NameError::Repository { text: cut(text) })
        }
    }

    /// Whether the text is a name, without keeping it.
    pub fn is_valid(text: &str) -> bool {
        text.len() <= MAX_NAME_BYTES && text.split('/').all(is_path_component)
    }

    /// The name as it stands in a path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(part: &str) -> bool {
    let bytes = part.as_bytes();
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    if !alphanumeric(*first) || !alphanumeric(*last) {
        return false;
    }
    // Runs of separators between letters and digits: one '.', one or two '_', or any number of '-'.
    bytes
        .split(|b| alphanumeric(*b))
        .all(|run| matches!(run, [] | [b'.'] | [b'_'] | [b'_', b'_']) || run.iter().all(|b| *b == b'-'))
}

/// A tag. Cloning shares the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(Arc<str>);

impl Tag {
    /// Parses a tag.
    ///
    /// # Errors
    /// [`NameError::Tag`] if it is not `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
    pub fn parse(text: &str) -> Result<Tag, NameError> {
        if Tag::is_valid(text) {
            Ok(Tag(text.into()))
        } else {
            Err(NameError::Tag { text: cut(text) })
        }
    }

    /// Whether the text is a tag, without keeping it.
    pub fn is_valid(text: &str) -> bool {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        match text.as_bytes() {
            [first, rest @ ..] => {
                word(*first)
                    && rest.len() < MAX_TAG_BYTES
                    && rest.iter().all(|b| word(*b) || matches!(b, b'.' | b'-'))
            }
            [] => false,
        }
    }

    /// The tag `latest`, which a reference without tag and digest means.
    pub fn latest() -> Tag {
        Tag("latest".into())
    }

    /// The tag as it stands in a path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! text_type {
    ($type:ident, $error:ty) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = $error;

            fn from_str(text: &str) -> Result<$type, $error> {
                $type::parse(text)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                $type::parse(&text).map_err(de::Error::custom)
            }
        }
    };
}

text_type!(RepositoryName, NameError);
text_type!(Tag, NameError);

/// The last part of a manifest's path: a tag or a digest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ManifestRef {
    /// Whatever the tag leads to now.
    Tag(Tag),
    /// Exactly these bytes.
    Digest(Digest),
}

/// Why a text is neither a tag nor a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestRefError {
    /// It has a colon, so it was meant as a digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// It has no colon, so it was meant as a tag.
    #[error(transparent)]
    Tag(#[from] NameError),
}

impl ManifestRef {
    /// Parses a tag or, where there is a colon, a digest.
    ///
    /// # Errors
    /// [`ManifestRefError`], which tells which of the two was meant.
    pub fn parse(text: &str) -> Result<ManifestRef, ManifestRefError> {
        if text.contains(':') {
            Ok(ManifestRef::Digest(Digest::parse(text)?))
        } else {
            Ok(ManifestRef::Tag(Tag::parse(text)?))
        }
    }

    /// The digest, if it is one.
    pub fn digest(&self) -> Option<&Digest> {
        match self {
            ManifestRef::Digest(digest) => Some(digest),
            ManifestRef::Tag(_) => None,
        }
    }

    /// The tag, if it is one.
    pub fn tag(&self) -> Option<&Tag> {
        match self {
            ManifestRef::Tag(tag) => Some(tag),
            ManifestRef::Digest(_) => None,
        }
    }
}

impl fmt::Display for ManifestRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ManifestRef::Tag(tag) => tag.fmt(f),
            ManifestRef::Digest(digest) => fmt::Display::fmt(digest, f),
        }
    }
}

impl From<Tag> for ManifestRef {
    fn from(tag: Tag) -> ManifestRef {
        ManifestRef::Tag(tag)
    }
}

impl From<Digest> for ManifestRef {
    fn from(digest: Digest) -> ManifestRef {
        ManifestRef::Digest(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_grammar() {
        for good in [
            "a",
            "0",
            "a/b",
            "scenario-8/alpine-base",
            "a.b/c_d/e__f",
            "a--b",
            "a---b/c",
            "library/alpine",
        ] {
            assert!(RepositoryName::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "", "/", "a/", "/a", "a//b", "A", "a/B", "a..b", "a___b", "-a", "a-", "a._b", "a.-b", "_", ".",
            "..", "a/../b", "ä", "a b", "a\0b", "a%2fb",
        ] {
            assert!(RepositoryName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_name_has_at_most_255_bytes() {
        assert!(RepositoryName::parse(&"a".repeat(255)).is_ok());
        assert!(RepositoryName::parse(&"a".repeat(256)).is_err());
    }

    #[test]
    fn tags_follow_the_grammar() {
        for good in ["latest", "_", "A.b-c_d", "1", "sha256-abc.sig", &"t".repeat(128)] {
            assert!(Tag::parse(good).is_ok(), "{good}");
        }
        for bad in ["", ".a", "-a", "a/b", "a:b", "ä", "a b", &"t".repeat(129)] {
            assert!(Tag::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_colon_means_a_digest() {
        assert!(matches!(ManifestRef::parse("latest"), Ok(ManifestRef::Tag(_))));
        assert!(matches!(
            ManifestRef::parse("sha256:x"),
            Err(ManifestRefError::Digest(_))
        ));
        assert!(matches!(ManifestRef::parse("x/y"), Err(ManifestRefError::Tag(_))));
    }
}
