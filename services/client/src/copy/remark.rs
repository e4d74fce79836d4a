//! What a copy could not do as it was asked, without failing: whoever asked is told.

use crate::referrers::NotAnIndex;
use oci::{Digest, Tag};
use std::fmt;

/// Something that was left out, or done in another way. It does not end the copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remark {
    /// A reference that is listed, but not there: it cannot be copied.
    Gone {
        /// What it is listed for.
        subject: Digest,
        /// The reference.
        digest: Digest,
    },
    /// A reference of a type that is not known here: nobody knows what else it needs, so it is not copied.
    UnknownType {
        /// The reference.
        digest: Digest,
        /// Its type.
        media_type: String,
    },
    /// An entry of a digest tag that is no descriptor: what it should lead to is not copied.
    UnreadableEntry {
        /// The digest tag.
        tag: Tag,
        /// Which entry, counted from 0.
        position: usize,
        /// What is wrong with it.
        why: String,
    },
    /// An answer of 200 that is no image index: the referrers API counts as missing there.
    NotAnIndex(NotAnIndex),
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remark::Gone { subject, digest } => {
                write!(
                    f,
                    "{digest} is listed as a reference to {subject}, but it is gone: not copied"
                )
            }
            Remark::UnknownType { digest, media_type } => write!(
                f,
                "reference {digest} is of the unknown type {:?}: not copied, as nobody knows what else it needs",
                crate::error::clean(media_type)
            ),
            Remark::UnreadableEntry { tag, position, why } => {
                write!(
                    f,
                    "{tag}: entry {position} cannot be read, so it is not copied: {why}"
                )
            }
            Remark::NotAnIndex(answer) => answer.fmt(f),
        }
    }
}
