//! The clients that the workloads are made of: one type for each thing that a client repeats.

use crate::connection::{Body, Expect, Failure};
use crate::content::{self, Blob, LargeBlobs};
use crate::fixtures;
use crate::load::Client;
use crate::protocol::Registry;
use crate::wire::Request;
use oci::Descriptor;
use oci::media_type::OCI_LAYER_GZIP;
use std::net::SocketAddr;
use std::sync::Arc;

/// Requests that make one operation, each with what its answer must be.
pub type Exchange = Vec<(Request, Expect)>;

/// Sends prepared requests: operation `index` is exchange `index` of the list, round and round.
#[derive(Debug)]
pub struct Fixed {
    registry: Registry,
    exchanges: Arc<[Exchange]>,
}

impl Fixed {
    /// Clients that share one list, which must not be empty.
    pub fn clients(address: SocketAddr, count: usize, exchanges: Vec<Exchange>) -> Vec<Fixed> {
        let exchanges: Arc<[Exchange]> = exchanges.into();
        (0..count)
            .map(|_| Fixed {
                registry: Registry::new(address),
                exchanges: Arc::clone(&exchanges),
            })
            .collect()
    }
}

impl Client for Fixed {
    async fn prepare(&mut self) -> Result<(), Failure> {
        self.registry.connection.open().await
    }

    async fn operation(&mut self, index: u64) -> Result<u64, Failure> {
        let exchange = &self.exchanges[(index % self.exchanges.len() as u64) as usize];
        let mut bytes = 0;
        for (request, expect) in exchange {
            bytes += self.registry.connection.expect(request, *expect).await?;
        }
        Ok(bytes)
    }
}

/// Pushes large blobs, each different.
#[derive(Debug)]
pub struct PushLarge {
    /// The connection.
    pub registry: Registry,
    /// What is pushed.
    pub blobs: Arc<LargeBlobs>,
    /// Into where.
    pub repository: String,
    /// Number of the first blob.
    pub first: u64,
    /// Bytes of a chunk; `None`: one PUT.
    pub chunk_bytes: Option<u64>,
}

impl Client for PushLarge {
    async fn prepare(&mut self) -> Result<(), Failure> {
        self.registry.connection.open().await
    }

    async fn operation(&mut self, index: u64) -> Result<u64, Failure> {
        let blob = self.blobs.blob(self.first + index);
        let body = self.blobs.body(&blob);
        match self.chunk_bytes {
            None => {
                self.registry
                    .push_blob(&self.repository, &blob.digest, &body)
                    .await
            }
            Some(bytes) => {
                let chunks = in_chunks(&body, bytes);
                self.registry
                    .push_blob_in_chunks(&self.repository, &blob.digest, &chunks)
                    .await
            }
        }
    }
}

/// Cuts a body into chunks of at least `bytes` bytes (whole blocks) and a last one with the rest.
pub fn in_chunks<'a>(body: &Body<'a>, bytes: u64) -> Vec<Body<'a>> {
    let blocks = usize::try_from(bytes).unwrap_or(usize::MAX) / body.block.len().max(1);
    let blocks = blocks.max(1);
    let mut chunks = Vec::new();
    let mut left = body.repeats;
    while left >= blocks {
        chunks.push(Body {
            repeats: blocks,
            tail: &[],
            ..*body
        });
        left -= blocks;
    }
    chunks.push(Body {
        repeats: left,
        ..*body
    });
    chunks
}

/// Pushes images of one small layer, its configuration and its manifest, each different.
#[derive(Debug)]
pub struct PushSmall {
    /// The connection.
    pub registry: Registry,
    /// Into where.
    pub repository: String,
    /// Number of the first image.
    pub first: u64,
}

impl Client for PushSmall {
    async fn prepare(&mut self) -> Result<(), Failure> {
        self.registry.connection.open().await
    }

    async fn operation(&mut self, index: u64) -> Result<u64, Failure> {
        let number = self.first + index;
        let layer = Blob::new(content::bytes(number, content::SMALL_BLOB_BYTES));
        let config = Blob::new(format!(r#"{{"os":"linux","created_by":"{number}"}}"#).into_bytes());
        let descriptor = Descriptor::new(OCI_LAYER_GZIP, layer.digest, layer.content.len() as u64);
        let manifest = content::image(&config, descriptor, number, None);
        let mut bytes = self.registry.push(&self.repository, &layer).await?;
        bytes += self.registry.push(&self.repository, &config).await?;
        let tag = format!("image-{number}");
        bytes += self
            .registry
            .put_manifest(&self.repository, &tag, &manifest)
            .await?;
        Ok(bytes)
    }
}

/// Mounts one blob after the other of a source repository; after the last, into the next new repository.
#[derive(Debug)]
pub struct Mount {
    /// The connection.
    pub registry: Registry,
    /// Where the blobs are.
    pub source: String,
    /// First part of the names of the new repositories.
    pub into: String,
    /// The blobs.
    pub blobs: Arc<[Blob]>,
}

impl Client for Mount {
    async fn prepare(&mut self) -> Result<(), Failure> {
        self.registry.connection.open().await
    }

    async fn operation(&mut self, index: u64) -> Result<u64, Failure> {
        let count = self.blobs.len() as u64;
        let blob = &self.blobs[(index % count) as usize];
        let into = format!("{}-{}", self.into, index / count);
        self.registry.mount(&into, &blob.digest, &self.source).await?;
        Ok(0)
    }
}

/// Pushes blobs of a list, each once: set-up.
#[derive(Debug)]
pub struct PushBlobs {
    /// The connection.
    pub registry: Registry,
    /// Into where.
    pub repository: String,
    /// The blobs.
    pub blobs: Arc<[Blob]>,
}

impl Client for PushBlobs {
    async fn prepare(&mut self) -> Result<(), Failure> {
        self.registry.connection.open().await
    }

    async fn operation(&mut self, index: u64) -> Result<u64, Failure> {
        let blob = &self.blobs[(index % self.blobs.len() as u64) as usize];
        self.registry.push(&self.repository, blob).await
    }
}

/// What manifests a [`PushManifests`] client makes.
#[derive(Clone, Debug)]
pub enum Making {
    /// An image under a tag.
    Tagged,
    /// A referrer of this subject, of one of this many types, under its digest.
    Referrers(Box<Descriptor>, u64),
    /// A referrer of a subject of its own, whose list is then asked for.
    Subjects,
    /// An image under the tag `latest` of the repository with the number behind its name; blobs are mounted from here.
    Repositories(String),
}

/// Pushes manifests whose blobs are there, numbered from `first`.
#[derive(Debug)]
pub struct PushManifests {
    /// The connection.
    pub registry: Registry,
    /// Into where.
    pub repository: String,
    /// Which manifests.
    pub making: Making,
    /// Number of the first.
    pub first: u64,
}

impl Client for PushManifests {
    async fn prepare(&mut self) -> Result<(), Failure> {
        self.registry.connection.open().await
    }

    async fn operation(&mut self, index: u64) -> Result<u64, Failure> {
        let number = self.first + index;
        let registry = &mut self.registry;
        match &self.making {
            Making::Tagged => {
                let tag = content::tag(number);
                let manifest = content::manifest(number);
                registry.put_manifest(&self.repository, &tag, &manifest).await
            }
            Making::Referrers(subject, types) => {
                let manifest = content::referrer(subject, number, *types);
                let digest = oci::Digest::sha256(&manifest).to_string();
                registry.put_manifest(&self.repository, &digest, &manifest).await
            }
            Making::Subjects => {
                let subject = fixtures::subject_of(number);
                let manifest = content::referrer(&subject, number, 1);
                let digest = oci::Digest::sha256(&manifest).to_string();
                let pushed = registry
                    .put_manifest(&self.repository, &digest, &manifest)
                    .await?;
                let list = fixtures::referrers_path(&self.repository, &subject.digest);
                registry.get(&list).await?;
                Ok(pushed)
            }
            Making::Repositories(source) => {
                let repository = format!("{}-{number:07}", self.repository);
                for blob in [content::config(), Blob::small()] {
                    registry.mount(&repository, &blob.digest, source).await?;
                }
                let manifest = content::manifest(number);
                registry.put_manifest(&repository, content::TAG, &manifest).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_add_up_to_the_body() {
        let block = [7; 10];
        let body = Body {
            block: &block,
            repeats: 7,
            tail: &[1, 2, 3],
        };
        let lengths: Vec<u64> = in_chunks(&body, 30).iter().map(Body::len).collect();
        assert_eq!(lengths, [30, 30, 13]);
        let lengths: Vec<u64> = in_chunks(&body, 1).iter().map(Body::len).collect();
        assert_eq!(lengths, [10, 10, 10, 10, 10, 10, 10, 3]);
    }
}
