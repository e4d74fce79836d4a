//! Keys of records, and changes to them.

use bytes::Bytes;
use oci::{Digest, RepositoryName, Tag};
use std::fmt;

/// What a record is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The repository has this blob. The value is empty.
    Blob(RepositoryName, Digest),
    /// The repository has this manifest. The value is its media type, as it is served.
    Manifest(RepositoryName, Digest),
    /// Where the tag leads. The value is the digest's text.
    Tag(RepositoryName, Tag),
    /// The second digest is of a manifest that refers to the first. The value is the descriptor to list.
    Referrer(RepositoryName, Digest, Digest),
    /// A note of the store as a whole, such as the version of its referrer index.
    Note(&'static str),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Blob(name, digest) => write!(f, "blob {name}@{digest}"),
            Key::Manifest(name, digest) => write!(f, "manifest {name}@{digest}"),
            Key::Tag(name, tag) => write!(f, "tag {name}:{tag}"),
            Key::Referrer(name, subject, digest) => write!(f, "referrer {digest} of {name}@{subject}"),
            Key::Note(note) => write!(f, "note {note}"),
        }
    }
}

/// A change to one record, or a content that is given with the records that need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Makes bytes in memory a content under their digest, which the caller computed. One that is there stays as it is.
    Content(Digest, Bytes),
    /// Sets the value, new or in place of the one there.
    Put(Key, Bytes),
    /// Removes the record. None there is no error.
    Remove(Key),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Content(digest, _) => digest.fmt(f),
            Change::Put(key, _) | Change::Remove(key) => key.fmt(f),
        }
    }
}
