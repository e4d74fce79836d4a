//! What a transfer tells an observer: bytes and blobs, never how to draw them.

use oci::{Descriptor, Digest};
use std::time::Duration;

/// How a blob came to the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobOutcome {
    /// Its bytes were sent.
    Copied,
    /// The registry took it from another of its repositories.
    Mounted,
    /// It was there already.
    Present,
}

/// Watches transfers. Calls come on the thread of the transfer and must return at once.
pub trait Progress {
    /// A blob's bytes begin to move; `descriptor.size` is what will come.
    fn blob_started(&self, descriptor: &Descriptor) {
        let _ = descriptor;
    }
    /// `position` bytes of the blob have moved so far; it falls when a transfer begins again.
    fn blob_moved(&self, digest: &Digest, position: u64) {
        let _ = (digest, position);
    }
    /// The blob is complete at its destination, verified.
    fn blob_done(&self, descriptor: &Descriptor, outcome: BlobOutcome) {
        let _ = (descriptor, outcome);
    }
    /// Something is tried again after a pause that a person would notice.
    fn pausing(&self, why: &str, pause: Duration) {
        let _ = (why, pause);
    }
    /// The manifest is at its destination.
    fn manifest_done(&self, descriptor: &Descriptor) {
        let _ = descriptor;
    }
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl Progress for Quiet {}
