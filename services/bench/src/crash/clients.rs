//! Clients that do random things, and write into their models what may have come of it, before and after each answer.

use super::model::{Fact, Left, Model, Stored};
use super::{Broken, Garbage};
use crate::clients::in_chunks;
use crate::connection::{Body, Failure};
use crate::content::{self, Blob};
use crate::load;
use crate::protocol::Registry;
use crate::wire::Method;
use oci::media_type::{OCI_LAYER_GZIP, OCI_MANIFEST};
use oci::{Descriptor, Digest};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Chance that can be repeated (xorshift64*).
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Any number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number less than `limit`, which is not zero.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit.max(1)
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        of.get(self.below(of.len() as u64) as usize).copied()
    }
}

/// Tags that each client moves about.
const TAGS: u64 = 6;

/// Contents that all clients push, over and over, each in a file of its own: one's push finds there what another's has put
/// there, or what the collector is just about to remove.
const COMMON: u64 = 4;

/// Smallest of the large blobs: it comes in several pieces, which are hashed beside.
const LARGE_BYTES: u64 = 2 << 20;

/// What the clients share.
pub(crate) struct Clients {
    pub(crate) address: SocketAddr,
    pub(crate) garbage: Garbage,
    /// Set before the registry is killed: from then on broken connections are no surprise.
    pub(crate) killed: Arc<AtomicBool>,
}

/// What the clients leave behind.
pub(crate) struct Worked {
    pub(crate) models: Vec<Model>,
    pub(crate) acknowledged: u64,
}

impl Clients {
    /// Lets every client work on its model until the server is gone.
    pub(crate) fn work(&self, models: Vec<Model>, seed: u64) -> Result<Worked, Broken> {
        let mut dice = Dice::new(seed);
        let clients = models.into_iter().map(|model| Client {
            registry: Registry::new(self.address),
            model,
            dice: Dice::new(dice.next()),
            garbage: self.garbage,
            acknowledged: 0,
        });
        let clients: Vec<Client> = clients.collect();
        load::runtime()?.block_on(async {
            let tasks: Vec<_> = clients
                .into_iter()
                .map(|client| tokio::spawn(client.until_cut_off(Arc::clone(&self.killed))))
                .collect();
            let mut worked = Worked {
                models: Vec::new(),
                acknowledged: 0,
            };
            for task in tasks {
                let client = task.await??;
                worked.acknowledged += client.acknowledged;
                worked.models.push(client.model);
            }
            Ok(worked)
        })
    }
}

/// What a client may do next.
#[derive(Clone, Copy, Debug)]
enum Deed {
    PushImage,
    PushBlob,
    Mount,
    Attach,
    DeleteTag,
    DeleteImage,
    DeleteReferrer,
    DeleteBlob,
    LeaveUpload,
    ReadTag,
}

/// Deeds by how often they are done.
const DEEDS: &[Deed] = &[
    Deed::PushImage,
    Deed::PushImage,
    Deed::PushImage,
    Deed::PushImage,
    Deed::PushBlob,
    Deed::Mount,
    Deed::Attach,
    Deed::Attach,
    Deed::DeleteTag,
    Deed::DeleteImage,
    Deed::DeleteReferrer,
    Deed::DeleteBlob,
    Deed::LeaveUpload,
    Deed::ReadTag,
];

struct Client {
    registry: Registry,
    model: Model,
    dice: Dice,
    garbage: Garbage,
    acknowledged: u64,
}

impl Client {
    async fn until_cut_off(mut self, killed: Arc<AtomicBool>) -> Result<Client, Broken> {
        loop {
            let Some(deed) = self.dice.pick(DEEDS) else {
                return Ok(self);
            };
            let done = match deed {
                Deed::PushImage => self.push_image(None).await,
                Deed::PushBlob => self.push_lone_blob().await,
                Deed::Mount => self.mount().await,
                Deed::Attach => self.attach().await,
                Deed::DeleteTag => self.delete_tag().await,
                Deed::DeleteImage => self.delete_manifest(self.model.images()).await,
                Deed::DeleteReferrer => self.delete_manifest(self.model.referrers()).await,
                Deed::DeleteBlob => self.delete_blob().await,
                Deed::LeaveUpload => self.leave_upload().await,
                Deed::ReadTag => self.read_tag().await,
            };
            match done {
                Ok(()) => self.acknowledged += 1,
                Err(Failure::Connect { .. } | Failure::Io { .. } | Failure::Closed { .. })
                    if killed.load(Ordering::SeqCst) =>
                {
                    return Ok(self);
                }
                Err(failure) => return Err(Broken(format!("while the load was on: {deed:?}: {failure}"))),
            }
        }
    }

    fn tag(&mut self) -> String {
        format!("tag-{}", self.dice.below(TAGS))
    }

    /// Mostly one that nobody has, and few of them large.
    fn blob(&mut self) -> Blob {
        let (seed, bytes) = match self.dice.below(32) {
            0 => (self.dice.next(), LARGE_BYTES + self.dice.below(500_000)),
            1..8 => {
                let number = self.dice.below(COMMON);
                (number, 20_000 + 10_000 * number)
            }
            _ => (self.dice.next(), 100 + self.dice.below(100_000)),
        };
        Blob::new(content::bytes(seed, bytes as usize))
    }

    /// Pushes a blob by one of the four ways.
    async fn push(&mut self, repository: &str, blob: &Blob) -> Result<(), Failure> {
        let (digest, bytes) = (&blob.digest, blob.content.as_slice());
        match self.dice.below(4) {
            0 => {
                self.registry
                    .push_blob(repository, digest, &Body::of(bytes))
                    .await?
            }
            1 => {
                let block = &bytes[..bytes.len().min(10_000)];
                let body = Body::of(bytes);
                let halves = bytes.split_at(bytes.len() / 2);
                let chunks = match block.len() < bytes.len() {
                    true => vec![Body::of(halves.0), Body::of(halves.1)],
                    false => in_chunks(&body, 1),
                };
                self.registry
                    .push_blob_in_chunks(repository, digest, &chunks)
                    .await?
            }
            2 => {
                self.registry
                    .push_blob_in_one_post(repository, digest, &Body::of(bytes))
                    .await?
            }
            _ => {
                self.registry
                    .push_blob_as_stream(repository, digest, bytes)
                    .await?
            }
        };
        Ok(())
    }

    /// Pushes an image under a tag, which so moves; or a referrer of a subject under its digest.
    async fn push_image(&mut self, subject: Option<Digest>) -> Result<(), Failure> {
        let repository = self.model.repository.clone();
        // The configuration is the same for all clients, so that one's push races another's and the collector.
        let (config, layer) = (content::config(), self.blob());
        self.push(&repository, &config).await?;
        self.push_into(&repository, &layer).await?;
        let descriptor = Descriptor::new(OCI_LAYER_GZIP, layer.digest, layer.content.len() as u64);
        let extra = subject.map(|subject| {
            let bytes = self
                .model
                .manifests
                .get(&subject)
                .map_or(0, |stored| stored.body.len());
            let subject = Descriptor::new(OCI_MANIFEST, subject, bytes as u64);
            json!({ "artifactType": content::artifact_type(1), "subject": subject })
        });
        let body = content::image(&config, descriptor, self.dice.next(), extra);
        let digest = Digest::sha256(&body);
        let stored = Stored {
            body: body.clone(),
            blobs: vec![config.digest, layer.digest],
            subject,
            fact: Fact::Unknown,
        };
        self.model.manifests.insert(digest, stored);
        let tag = subject.is_none().then(|| self.tag());
        if let Some(tag) = &tag {
            self.model.move_begins(tag, Some(digest));
        }
        let reference = tag.clone().unwrap_or_else(|| digest.to_string());
        let before = tag.as_ref().and_then(|tag| self.model.tags.get(tag).cloned());
        match self.registry.put_manifest(&repository, &reference, &body).await {
            Ok(_) => {
                self.model.settle_manifest(&digest, Fact::Present);
                self.model.blob_is_taken(&layer.digest);
                if let Some(tag) = &tag {
                    self.model.settle_tag(tag, Some(digest));
                }
                Ok(())
            }
            // The collector may take the blobs away before the manifest is there: then nothing was stored.
            Err(Failure::Status { got: 400 | 404, .. }) if self.garbage == Garbage::Collected => {
                self.model.settle_manifest(&digest, Fact::Absent);
                if let (Some(tag), Some(mut possible)) = (tag, before) {
                    possible.remove(&Some(digest));
                    self.model.tags.insert(tag, possible);
                }
                Ok(())
            }
            Err(failure) => Err(failure),
        }
    }

    /// Pushes a blob, and writes into the model that it is there.
    async fn push_into(&mut self, repository: &str, blob: &Blob) -> Result<(), Failure> {
        self.model.unsettle_blob(repository, &blob.digest);
        self.push(repository, blob).await?;
        self.model.settle_blob(repository, &blob.digest, Fact::Present);
        Ok(())
    }

    async fn push_lone_blob(&mut self) -> Result<(), Failure> {
        let blob = self.blob();
        let repository = self.model.repository.clone();
        self.push_into(&repository, &blob).await
    }

    async fn mount(&mut self) -> Result<(), Failure> {
        let blob = self.blob();
        let (repository, source) = (self.model.repository.clone(), self.model.source.clone());
        self.push_into(&source, &blob).await?;
        self.model.unsettle_blob(&repository, &blob.digest);
        match self.registry.mount(&repository, &blob.digest, &source).await {
            Ok(()) => {
                self.model.settle_blob(&repository, &blob.digest, Fact::Present);
                Ok(())
            }
            // An upload instead of a mount: the collector was there first.
            Err(Failure::Status { got: 202, .. }) if self.garbage == Garbage::Collected => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    async fn attach(&mut self) -> Result<(), Failure> {
        let images = self.model.images();
        match self.dice.pick(&images) {
            Some(subject) => self.push_image(Some(subject)).await,
            None => Ok(()),
        }
    }

    async fn delete_tag(&mut self) -> Result<(), Failure> {
        let tag = self.tag();
        let is_there = |possible: &std::collections::BTreeSet<_>| !possible.contains(&None);
        if !self.model.tags.get(&tag).is_some_and(is_there) {
            return Ok(());
        }
        self.model.move_begins(&tag, None);
        self.delete(&tag).await?;
        self.model.settle_tag(&tag, None);
        Ok(())
    }

    /// Deletes one of these manifests, and so every tag that leads to it.
    async fn delete_manifest(&mut self, candidates: Vec<Digest>) -> Result<(), Failure> {
        let kept = |digest: &Digest| self.garbage == Garbage::Kept || self.model.is_reached(digest);
        let candidates: Vec<Digest> = candidates.into_iter().filter(kept).collect();
        let Some(digest) = self.dice.pick(&candidates) else {
            return Ok(());
        };
        let tags = self.model.tags_to(&digest);
        self.model.unsettle_manifest(&digest);
        for tag in &tags {
            self.model.move_begins(tag, None);
        }
        self.delete(&digest.to_string()).await?;
        self.model.settle_manifest(&digest, Fact::Absent);
        for tag in &tags {
            self.model.settle_tag(tag, None);
        }
        Ok(())
    }

    async fn delete(&mut self, reference: &str) -> Result<(), Failure> {
        let request = self
            .registry
            .manifest_request(Method::Delete, &self.model.repository, reference);
        self.registry
            .connection
            .fetch_status(&request, &Body::EMPTY, 202)
            .await?;
        Ok(())
    }

    /// Deletes a blob that no manifest needs.
    async fn delete_blob(&mut self) -> Result<(), Failure> {
        let lone = self.model.lone_blobs();
        let Some((repository, digest)) = lone.get(self.dice.below(lone.len() as u64) as usize) else {
            return Ok(());
        };
        self.model.unsettle_blob(repository, digest);
        let request = self.registry.blob_request(Method::Delete, repository, digest);
        let answer = self.registry.connection.fetch(&request, &Body::EMPTY).await?;
        match (answer.status, self.garbage) {
            // The collector may have been there first.
            (202, _) | (404, Garbage::Collected) => {
                self.model.settle_blob(repository, digest, Fact::Absent);
                Ok(())
            }
            _ => Err(crate::connection::unexpected(&request, 202, &answer)),
        }
    }

    /// Sends some chunks of a blob, and leaves it at that.
    async fn leave_upload(&mut self) -> Result<(), Failure> {
        let repository = self.model.repository.clone();
        let location = self.registry.start_upload(&repository).await?;
        let content = self.blob().content;
        let chunk_bytes = content.len() / 4;
        self.model.left.push(Left {
            location: location.clone(),
            content: content.clone(),
            acknowledged: 0,
            sent: 0,
        });
        let mut next = location;
        let chunks = 1 + self.dice.below(3) as usize;
        for (number, chunk) in content.chunks(chunk_bytes).take(chunks).enumerate() {
            let from = (number * chunk_bytes) as u64;
            self.model.chunk_begins(from + chunk.len() as u64);
            next = self.registry.push_chunk(&next, from, &Body::of(chunk)).await?;
            self.model.chunk_is_taken();
        }
        Ok(())
    }

    /// Nobody else moves this client's tags: it must read what it wrote last.
    async fn read_tag(&mut self) -> Result<(), Failure> {
        let tag = self.tag();
        super::check::tag(&mut self.registry, &mut self.model, &tag).await
    }
}
