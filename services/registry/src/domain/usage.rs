//! How much is stored.

use super::{Registry, Result};

/// What the store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Manifests and blobs, each once however many repositories have it.
    pub contents: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Registry {
    /// Adds up everything that is stored. It visits every content, so it is not for each request.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn usage(&self) -> Result<Usage> {
        let mut usage = Usage::default();
        self.storage().each_content(&mut |_, size| {
            usage.contents += 1;
            usage.bytes += size;
        })?;
        Ok(usage)
    }
}
