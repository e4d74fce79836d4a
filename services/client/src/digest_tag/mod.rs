//! The digest tag: the index of references on a registry without the referrers API, changed without losing entries.
//!
//! Where the registry honours conditional requests, the tag moves only if it is still what was read. Elsewhere a written
//! entry can be lost to a writer that had read before: the tag is read back until it stayed unchanged, with the entry in it,
//! for longer than any writer may take between its read and its write; a lost entry is merged and written again.
//! Both are bounded and end in `Conflict`.

mod document;

pub use document::{Change, TagIndex, preview};

use crate::{Condition, Error, Manifest, Repository, Result};
use oci::{Digest, ManifestRef, Tag, media_type};
use serde_json::Value;
use std::{
    cell::RefCell,
    collections::HashMap,
    time::{Duration, Instant},
};

/// How a change of a digest tag ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// The tag.
    pub tag: Tag,
    /// Whether anything had to be written.
    pub changed: bool,
    /// Whether the tag was deleted because nothing was left in it.
    pub pruned: bool,
    /// How many PUTs it took, the refused ones included; 0 if nothing had to be written.
    pub attempts: u32,
    /// Whether the registry honours conditional requests (else the tag was read back until it held).
    pub conditional: bool,
}

/// What a client learnt: which registries honour conditional requests.
#[derive(Default)]
pub(crate) struct Memory {
    honours: RefCell<HashMap<String, bool>>,
}

/// How often a change is written or refused before it is given up: enough for some tens of writers at once.
const MAX_ATTEMPTS: u32 = 64;
/// How often in a row a tag is read again that another writer seems to be replacing.
const MAX_TORN_READS: u32 = 20;
/// The pause before a refused change is tried again, at most; grows with the attempts.
const MAX_RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Reads the index under the digest tag of a subject; `None` if there is no such tag.
///
/// # Errors
/// `NotADigestTag` if the tag holds something else than an image index.
pub async fn read(repository: &Repository, subject: &Digest) -> Result<Option<TagIndex>> {
    Ok(Read::now(repository, &oci::digest_tag::of(subject)).await?.index)
}

/// Applies changes to the digest tag of a subject; all of them or none. Entries and fields that are not named stay as they are.
///
/// With `prune`, a tag whose index has become empty is deleted (or left empty where the registry cannot delete).
///
/// # Errors
/// `NotADigestTag`; `Conflict` if other writers won too often, telling what was and was not written; every failure of a request.
pub async fn change(
    repository: &Repository,
    subject: &Digest,
    changes: &[Change],
    prune: bool,
) -> Result<Written> {
    let update = Update {
        repository,
        tag: oci::digest_tag::of(subject),
        changes,
    };
    let mut written = update.run().await?;
    if prune && let Some(index) = update.read().await?.index {
        written.pruned = index.entries.is_empty()
            && index.unreadable.is_empty()
            && delete_empty(repository, &index.digest).await?;
    }
    Ok(written)
}

/// Deletes an empty index by its digest, which takes the tag along, unless the tag leads elsewhere by now.
async fn delete_empty(repository: &Repository, digest: &Digest) -> Result<bool> {
    match repository.delete_manifest(&ManifestRef::Digest(*digest)).await {
        Ok(()) => Ok(true),
        Err(error) if error.is_not_found() => Ok(true),
        Err(Error::Unsupported { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The tag's content at one moment.
struct Read {
    index: Option<TagIndex>,
    etag: Option<String>,
    began: Instant,
}

impl Read {
    async fn now(repository: &Repository, tag: &Tag) -> Result<Read> {
        let began = Instant::now();
        let manifest = repository
            .try_get_manifest(&ManifestRef::Tag(tag.clone()))
            .await?;
        let (index, etag) = match manifest {
            Some(manifest) => (Some(TagIndex::parse(repository, tag, &manifest)?), manifest.etag),
            None => (None, None),
        };
        Ok(Read { index, etag, began })
    }

    fn document(&self) -> Option<&Value> {
        self.index.as_ref().map(|index| &index.document)
    }
}

/// A change under way.
struct Update<'a> {
    repository: &'a Repository,
    tag: Tag,
    changes: &'a [Change],
}

/// How one try ended.
enum Try {
    /// It is written, and stays.
    Done { conditional: bool },
    /// Somebody else was faster.
    Lost,
}

impl Update<'_> {
    /// Reads the tag. A registry that replaces a tag in place may answer 500 to whoever reads it in that moment, as
    /// distribution 2.8 does: a few more reads tell that from a registry that has failed.
    async fn read(&self) -> Result<Read> {
        let mut failures = 0;
        loop {
            match Read::now(self.repository, &self.tag).await {
                Err(Error::ServerFailed { answer, .. })
                    if answer.status == 500 && failures < MAX_TORN_READS =>
                {
                    failures += 1;
                    self.step_aside(failures).await;
                }
                read => return read,
            }
        }
    }

    async fn run(&self) -> Result<Written> {
        let mut attempts = 0;
        loop {
            let read = self.read().await?;
            let tried = match self.pending(&read) {
                None if attempts == 0 || self.honours() == Some(true) => {
                    return Ok(self.written(attempts, self.honours() == Some(true)));
                }
                // Another writer, who had read the change before it was lost, brought it back: it can be lost again.
                None => self.settle(read.began.elapsed(), attempts).await?,
                Some(_) if attempts >= MAX_ATTEMPTS => {
                    let left = "it does not hold this change; what others wrote is untouched";
                    return Err(self.conflict(attempts, left));
                }
                Some(next) => {
                    attempts += 1;
                    self.attempt(&read, next, attempts).await?
                }
            };
            match tried {
                Try::Done { conditional } => return Ok(self.written(attempts, conditional)),
                Try::Lost => self.step_aside(attempts).await,
            }
        }
    }

    /// The document to write; `None` if the tag is as it should be.
    fn pending(&self, read: &Read) -> Option<Value> {
        let next = preview(read.document(), self.changes);
        let is_empty = next
            .get("manifests")
            .and_then(Value::as_array)
            .is_none_or(Vec::is_empty);
        match read.document() {
            Some(document) => (*document != next).then_some(next),
            // An absent tag lists nothing; there is no need to say so.
            None => (!is_empty).then_some(next),
        }
    }

    async fn attempt(&self, read: &Read, next: Value, attempts: u32) -> Result<Try> {
        let manifest = Manifest::new(media_type::OCI_INDEX, next.to_string());
        let condition = match (&read.index, &read.etag) {
            (None, _) => Condition::IfAbsent,
            (Some(_), Some(etag)) => Condition::IfMatch(etag.clone()),
            (Some(_), None) => Condition::Always,
        };
        let target = ManifestRef::Tag(self.tag.clone());
        let put = match self.repository.put_manifest(&target, &manifest, &condition).await {
            Ok(put) => put,
            Err(Error::PreconditionFailed { .. }) => {
                self.learn(true);
                return Ok(Try::Lost);
            }
            Err(error) => return Err(error),
        };
        let took = read.began.elapsed();
        if condition != Condition::Always && self.is_guarded(&target, &manifest, put.etag.is_some()).await? {
            return Ok(Try::Done { conditional: true });
        }
        self.settle(took, attempts).await
    }

    /// Whether the registry honours conditions. One that tells an entity tag on PUT is tried with a condition that cannot
    /// hold, once a process: the tag exists by now, so `If-None-Match: *` must be refused.
    async fn is_guarded(&self, target: &ManifestRef, manifest: &Manifest, tells_etag: bool) -> Result<bool> {
        if let Some(known) = self.honours() {
            return Ok(known);
        }
        let honours = tells_etag
            && match self
                .repository
                .put_manifest(target, manifest, &Condition::IfAbsent)
                .await
            {
                Err(Error::PreconditionFailed { .. }) => true,
                Ok(_) => false,
                Err(error) => return Err(error),
            };
        self.learn(honours);
        Ok(honours)
    }

    /// Reads the tag back until it stayed unchanged, with the change in it, longer than any writer may take between its
    /// read and its write. Whoever writes after that has read the change.
    async fn settle(&self, took: Duration, attempts: u32) -> Result<Try> {
        let mut slowest = took;
        let deadline = Instant::now() + MAX_SETTLING;
        let mut unchanged: Option<(Option<Digest>, Instant)> = None;
        while Instant::now() < deadline {
            let quiet = (slowest * QUIET_FACTOR).clamp(MIN_QUIET, MAX_QUIET);
            actix_rt::time::sleep(quiet.mul_f64(rand::random_range(0.1..0.3))).await;
            let read = self.read().await?;
            // A read is half of what a writer does: what slows this one down slows the others down.
            slowest = slowest.max(read.began.elapsed() * 2);
            if self.pending(&read).is_some() {
                log::debug!(
                    "{}:{}: another writer was faster, attempt {attempts}",
                    self.repository,
                    self.tag
                );
                return Ok(Try::Lost);
            }
            let digest = read.index.map(|index| index.digest);
            match &unchanged {
                Some((last, since)) if *last == digest => {
                    if since.elapsed() >= quiet {
                        return Ok(Try::Done { conditional: false });
                    }
                }
                _ => unchanged = Some((digest, Instant::now())),
            }
        }
        Err(self.conflict(
            attempts,
            "it held this change when it was last read, but may lose it",
        ))
    }

    async fn step_aside(&self, attempts: u32) {
        let pause = self.repository.client().inner().options.backoff / 8;
        let longest = (pause * attempts).min(MAX_RETRY_PAUSE);
        actix_rt::time::sleep(longest.mul_f64(rand::random_range(0.0..1.0))).await;
    }

    fn honours(&self) -> Option<bool> {
        let registry = self.repository.registry().name();
        self.memory().honours.borrow().get(registry).copied()
    }

    fn learn(&self, honours: bool) {
        let registry = self.repository.registry().name().to_owned();
        self.memory().honours.borrow_mut().insert(registry, honours);
    }

    fn memory(&self) -> &Memory {
        &self.repository.client().inner().tags
    }

    fn written(&self, attempts: u32, conditional: bool) -> Written {
        Written {
            tag: self.tag.clone(),
            changed: attempts > 0,
            pruned: false,
            attempts,
            conditional,
        }
    }

    fn conflict(&self, attempts: u32, left: &str) -> Error {
        Error::Conflict {
            repository: self.repository.to_string(),
            tag: self.tag.to_string(),
            attempts,
            left: left.to_owned(),
        }
    }
}

/// How much longer than its own read and write a writer waits for those of others.
const QUIET_FACTOR: u32 = 8;
/// The shortest and longest such wait. A writer that takes longer than this between its read and its write, such as one
/// that was suspended, can still drop what others wrote: without conditional requests nobody can prevent that.
const MIN_QUIET: Duration = Duration::from_millis(1_500);
const MAX_QUIET: Duration = Duration::from_secs(10);
/// How long a writer waits for quiet, all in all.
const MAX_SETTLING: Duration = Duration::from_secs(60);

/// The tags of the older form, `sha256-<hex>.<suffix>`, found by listing all tags of the repository.
///
/// # Errors
/// As [`Repository::tags`]; a repository without tags has none.
pub async fn prefixed(repository: &Repository, subject: &Digest) -> Result<Vec<Tag>> {
    let prefix = oci::digest_tag::prefix(subject);
    let tags = match repository.tags().await {
        Ok(tags) => tags,
        Err(error) if error.is_not_found() => Vec::new(),
        Err(error) => return Err(error),
    };
    // What is no tag cannot be asked for, whatever the registry lists.
    let tags = tags.iter().filter(|tag| tag.starts_with(&prefix));
    Ok(tags.filter_map(|tag| Tag::parse(tag).ok()).collect())
}
