//! Mixed load for as many operations as a day has, in minutes: memory and descriptors must not grow.
//!
//! Clients push by all four ways, move and delete tags, attach, mount, list, read, leave uploads behind and break off in the
//! middle of requests, in a few repositories whose content is replaced over and over. Garbage and abandoned uploads are collected
//! every second instead of every day. Every answer must be one of those that may come. After each part of the load, when all its
//! connections are closed, memory and descriptors of the process are read.
//!
//! What a registry keeps in memory grows until it has reached its bound, and with the bound that it has by default, a day's load does
//! not get there: such growth hides any other. So it is given a small bound, which is reached during the first quarter, and from then on
//! nothing may grow. With its own bound only descriptors are judged.
//!
//! For the same reason it is given two heaps. Left alone, glibc has eight of them for each processor, and what is kept moves from one to
//! the other as threads come by: each grows to the most that was ever in it, for hours, and gives nothing back.

use crate::connection::{Answer, Body, Expect, Failure, line};
use crate::content::{self, Blob};
use crate::fixtures::referrers_path;
use crate::load::{self, Client, LoadError, Plan};
use crate::process;
use crate::protocol::Registry;
use crate::server::{Folder, Server};
use crate::settings::StartCommand;
use crate::wire::{Method, Request};
use oci::media_type::{OCI_LAYER_GZIP, OCI_MANIFEST};
use oci::{Descriptor, Digest};
use serde_json::{Value, json};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Parts that the load is put on in; each is followed by a look at the process.
const PARTS: u64 = 16;

/// Memory that may come between the second and the last quarter. What was in use did not grow where that was looked at, but heaps grow to
/// the most that was ever in them, and the faster a machine happens to be, the more garbage waits for its ten seconds to pass, and is
/// listed by the collector. Half of this was seen at a day's length, and most of it at three times that.
const SLACK_KIB: u64 = 6 * 1024;

/// What the registry may keep in memory, unless somebody says otherwise.
pub const CACHE: &str = "8MiB";

/// Descriptors that may come: a log's end may be an open file more.
const SLACK_DESCRIPTORS: usize = 8;

/// How long a part of the load may take.
const PART: Duration = Duration::from_secs(1800);

/// How long the process is given to close what its clients have closed.
pub(crate) const SETTLE: Duration = Duration::from_millis(1500);

/// What to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// The registry's command, without `serve`.
    pub registry: Vec<String>,
    /// Operations in all.
    pub operations: u64,
    /// Clients that work at once.
    pub clients: usize,
    /// What the registry may keep in memory, as its configuration has it, such as [`CACHE`]; `None` for its own bound.
    pub cache: Option<String>,
}

/// The process after a part of the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Resident memory.
    pub resident_kib: u64,
    /// Open descriptors.
    pub descriptors: usize,
}

/// Why a soak failed.
#[derive(Debug, thiserror::Error)]
pub enum SoakError {
    /// An answer was wrong.
    #[error("{0}")]
    Load(#[from] LoadError),
    /// Something grew.
    #[error("{0}")]
    Grew(String),
    /// The machine did not do as it was told.
    #[error("the soak itself: {0}")]
    Io(#[from] io::Error),
}

/// Puts the load on a registry of its own; `tell` gets a line a part.
///
/// # Errors
/// At the first wrong answer, or if memory or descriptors grew.
pub fn run(options: &Options, mut tell: impl FnMut(&str)) -> Result<Vec<Look>, SoakError> {
    let folder = Folder::new("soak")?;
    let mut command = command(&options.registry);
    let heaps = ("MALLOC_ARENA_MAX".to_owned(), "2".to_owned());
    command.variables.push(heaps);
    if let Some(cache) = &options.cache {
        let variable = "REGISTRY_STORAGE_CACHE_MEMORY".to_owned();
        command.variables.push((variable, cache.clone()));
    }
    let server = Server::start(&command, folder.path())?;
    let mut looks = Vec::new();
    for part in 0..PARTS {
        let clients = (0..options.clients).map(|number| Soaker::new(server.address(), part, number));
        let plan = Plan {
            threads: 1,
            duration: PART,
            budget: Some(options.operations / PARTS),
            patience: Duration::from_secs(60),
        };
        let outcome = load::run(clients.collect(), plan)?;
        std::thread::sleep(SETTLE);
        let look = look_at(server.pid())?;
        tell(&format!(
            "part {part}: {} operations in {:.1} s, {} KiB resident, {} descriptors",
            outcome.operations,
            outcome.elapsed.as_secs_f64(),
            look.resident_kib,
            look.descriptors
        ));
        looks.push(look);
    }
    is_flat(&looks, options.cache.is_some())?;
    Ok(looks)
}

/// Compares the second quarter with the last: descriptors, and memory if what is kept there had reached its bound.
fn is_flat(looks: &[Look], is_full: bool) -> Result<(), SoakError> {
    let quarter = looks.len() / 4;
    let (second, last) = (&looks[quarter..2 * quarter], &looks[3 * quarter..]);
    let most = |of: &[Look]| of.iter().map(|look| look.resident_kib).max().unwrap_or(0);
    if is_full && most(last) > most(second) + SLACK_KIB {
        let what = format!("memory grew from {} to {} KiB", most(second), most(last));
        return Err(SoakError::Grew(what));
    }
    let open = |of: &[Look]| of.iter().map(|look| look.descriptors).max().unwrap_or(0);
    if open(last) > open(second) + SLACK_DESCRIPTORS {
        let what = format!("descriptors grew from {} to {}", open(second), open(last));
        return Err(SoakError::Grew(what));
    }
    Ok(())
}

pub(crate) fn look_at(pid: u32) -> io::Result<Look> {
    let usage =
        process::usage(pid).ok_or_else(|| io::Error::other("memory of a process is not known here"))?;
    Ok(Look {
        resident_kib: usage.resident_kib,
        descriptors: fs::read_dir(format!("/proc/{pid}/fd"))?.count(),
    })
}

pub(crate) fn command(registry: &[String]) -> StartCommand {
    let pairs = [
        ("REGISTRY_HTTP_ADDR", "127.0.0.1:{port}"),
        ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "{dir}"),
        ("REGISTRY_LOG_ACCESSLOG_DISABLED", "true"),
        ("REGISTRY_STORAGE_MAINTENANCE_GC_ENABLED", "true"),
        ("REGISTRY_STORAGE_MAINTENANCE_GC_INTERVAL", "1s"),
        ("REGISTRY_STORAGE_MAINTENANCE_GC_GRACE", "10s"),
        ("REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_AGE", "10s"),
        ("REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_INTERVAL", "1s"),
        // The uploads that a day's clients leave come within minutes, and from one address.
        ("REGISTRY_HTTP_LIMITS_CLIENTUPLOADS", "0"),
    ];
    StartCommand {
        variables: pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        words: [registry, &["serve".to_owned()]].concat(),
    }
}

/// A client of the mixed load.
struct Soaker {
    registry: Registry,
    address: SocketAddr,
    repository: String,
    part: u64,
    /// The image that it has pushed last.
    image: Option<Digest>,
}

impl Soaker {
    fn new(address: SocketAddr, part: u64, number: usize) -> Soaker {
        Soaker {
            registry: Registry::new(address),
            address,
            repository: format!("soak/{number}"),
            part,
            image: None,
        }
    }

    async fn push_image(&mut self, index: u64) -> Result<u64, Failure> {
        let bytes = match index % 97 {
            0 => 1 << 20,
            n => 100 + 400 * n as usize,
        };
        let layer = Blob::new(content::bytes(self.part << 32 | index, bytes));
        let config = content::config();
        let name = self.repository.clone();
        self.registry.push(&name, &config).await?;
        let body = Body::of(&layer.content);
        let registry = &mut self.registry;
        match index / 8 % 4 {
            0 => registry.push_blob(&name, &layer.digest, &body).await?,
            1 => {
                let halves = layer.content.split_at(bytes / 2);
                let chunks = [Body::of(halves.0), Body::of(halves.1)];
                registry
                    .push_blob_in_chunks(&name, &layer.digest, &chunks)
                    .await?
            }
            2 => {
                registry
                    .push_blob_in_one_post(&name, &layer.digest, &body)
                    .await?
            }
            _ => {
                registry
                    .push_blob_as_stream(&name, &layer.digest, &layer.content)
                    .await?
            }
        };
        let descriptor = Descriptor::new(OCI_LAYER_GZIP, layer.digest, bytes as u64);
        let manifest = content::image(&config, descriptor, index, None);
        let tag = format!("tag-{}", index % 50);
        self.registry.put_manifest(&name, &tag, &manifest).await?;
        self.image = Some(Digest::sha256(&manifest));
        Ok(bytes as u64)
    }

    async fn attach(&mut self, index: u64) -> Result<u64, Failure> {
        let Some(subject) = self.image else { return Ok(0) };
        let config = content::config();
        let name = self.repository.clone();
        self.registry.push(&name, &config).await?;
        let descriptor = Descriptor::new(OCI_LAYER_GZIP, config.digest, config.content.len() as u64);
        let extra = json!({
            "artifactType": content::artifact_type(index % 3),
            "subject": Descriptor::new(OCI_MANIFEST, subject, 2),
        });
        let manifest = content::image(&config, descriptor, index, Some(extra));
        let digest = Digest::sha256(&manifest).to_string();
        self.registry.put_manifest(&name, &digest, &manifest).await?;
        self.registry.get(&referrers_path(&name, &subject)).await?;
        Ok(0)
    }

    async fn read(&mut self, index: u64) -> Result<u64, Failure> {
        let tag = format!("tag-{}", index % 50);
        let request = self
            .registry
            .manifest_request(Method::Get, &self.repository, &tag);
        let Some(answer) = self.fetch_if_there(&request).await? else {
            return Ok(0);
        };
        let told = answer.header("docker-content-digest").map(Digest::parse);
        let Some(Ok(told)) = told else {
            return Err(wrong(&request, "the answer does not tell the manifest's digest"));
        };
        has_digest(&request, &answer, &told)?;
        let manifest = crate::protocol::json(&tag, &answer)?;
        let layer = manifest["layers"][0]["digest"].as_str().unwrap_or_default();
        let layer = Digest::parse(layer).map_err(|error| wrong(&request, &error.to_string()))?;
        // The tag may have moved, and the collector have come, since the manifest was read.
        let blob = self.registry.blob_request(Method::Get, &self.repository, &layer);
        let Some(answer) = self.fetch_if_there(&blob).await? else {
            return Ok(0);
        };
        has_digest(&blob, &answer, &layer)?;
        Ok(answer.body.len() as u64)
    }

    /// What is to be read, or `None` if it is not there (any more).
    async fn fetch_if_there(&mut self, request: &Request) -> Result<Option<Answer>, Failure> {
        let fetched = self
            .registry
            .connection
            .fetch_one_of(request, &Body::EMPTY, [200, 404]);
        Ok(Some(fetched.await?).filter(|answer| answer.status == 200))
    }

    async fn list_tags(&mut self) -> Result<u64, Failure> {
        let path = format!("/v2/{}/tags/list?n=10", self.repository);
        let request = self.registry.get_request(&path);
        let Some(answer) = self.fetch_if_there(&request).await? else {
            return Ok(0);
        };
        let list = crate::protocol::json(&path, &answer)?;
        let tags = list["tags"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_ours = |tag: &Value| tag.as_str().is_some_and(|tag| tag.starts_with("tag-"));
        match tags.len() <= 10 && tags.iter().all(is_ours) {
            true => Ok(answer.body.len() as u64),
            false => Err(wrong(&request, &format!("{list} is no page of its tags"))),
        }
    }

    /// An upload that nobody goes on with.
    async fn leave_an_upload(&mut self) -> Result<u64, Failure> {
        let path = format!("/v2/{}/blobs/uploads/", self.repository);
        let begin = Request::new(Method::Post, &self.registry.host, &path, &[], Some(0));
        let begun = self
            .registry
            .connection
            .fetch_status(&begin, &Body::EMPTY, 202)
            .await?;
        let session = begun.header("location").unwrap_or_default();
        let session = crate::protocol::path_of(session).to_owned();
        let patch = Request::new(Method::Patch, &self.registry.host, &session, &[], Some(5));
        self.registry
            .connection
            .fetch_status(&patch, &Body::of(b"hello"), 202)
            .await?;
        Ok(5)
    }

    /// A client that goes away in the middle of a request.
    async fn break_off(&mut self) -> Result<u64, Failure> {
        use tokio::io::AsyncWriteExt;
        let address = self.address;
        let mut stream = tokio::net::TcpStream::connect(address)
            .await
            .map_err(|source| Failure::Connect { address, source })?;
        let path = format!(
            "/v2/{}/blobs/uploads/?digest={}",
            self.repository,
            Digest::sha256(b"x")
        );
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nonly this");
        stream
            .write_all(head.as_bytes())
            .await
            .map_err(|source| Failure::Io { address, source })?;
        Ok(9)
    }

    async fn delete(&mut self, reference: &str) -> Result<u64, Failure> {
        let request = self
            .registry
            .manifest_request(Method::Delete, &self.repository, reference);
        // The collector may have been there first.
        let deleted = self
            .registry
            .connection
            .fetch_one_of(&request, &Body::EMPTY, [202, 404]);
        deleted.await.map(|_| 0)
    }

    async fn mount(&mut self) -> Result<u64, Failure> {
        let (config, name) = (content::config(), self.repository.clone());
        self.registry.push(&name, &config).await?;
        let path = format!(
            "/v2/soak/mounts/blobs/uploads/?mount={}&from={name}",
            config.digest
        );
        let request = Request::new(Method::Post, &self.registry.host, &path, &[], Some(0));
        self.registry
            .connection
            .expect(&request, Expect::status(201))
            .await?;
        Ok(0)
    }
}

impl Client for Soaker {
    async fn prepare(&mut self) -> Result<(), Failure> {
        self.registry.get("/v2/").await.map(drop)
    }

    async fn operation(&mut self, index: u64) -> Result<u64, Failure> {
        match index % 16 {
            0..5 => self.push_image(index).await,
            5 | 6 => self.attach(index).await,
            7 => self.list_tags().await,
            8 => self.mount().await,
            9 => self.leave_an_upload().await,
            10 => self.break_off().await,
            11 => self.delete(&format!("tag-{}", index / 16 % 50)).await,
            12 => match self.image.take() {
                Some(digest) => self.delete(&digest.to_string()).await,
                None => Ok(0),
            },
            _ => self.read(index).await,
        }
    }
}

fn wrong(request: &Request, what: &str) -> Failure {
    Failure::Content {
        request: line(request),
        what: what.to_owned(),
    }
}

/// Insists on the bytes of a digest.
fn has_digest(request: &Request, answer: &Answer, digest: &Digest) -> Result<(), Failure> {
    match digest.matches(&answer.body) {
        true => Ok(()),
        false => Err(wrong(
            request,
            &format!("{} bytes came that do not hash to {digest}", answer.body.len()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(kib: impl Fn(u64) -> u64, descriptors: impl Fn(u64) -> u64) -> Vec<Look> {
        (0..PARTS)
            .map(|part| Look {
                resident_kib: kib(part),
                descriptors: descriptors(part) as usize,
            })
            .collect()
    }

    #[test]
    fn what_fills_and_then_stays_is_flat_and_what_goes_on_growing_is_told() {
        assert!(is_flat(&looks(|part| 20_000 + 10_000 * part.min(4), |_| 40), true).is_ok());
        let leaks = looks(|part| 20_000 + 1_000 * part, |_| 40);
        let found = is_flat(&leaks, true);
        assert!(matches!(found, Err(SoakError::Grew(what)) if what.contains("memory")));
        assert!(
            is_flat(&leaks, false).is_ok(),
            "it may still be filling what it keeps"
        );
        let leaks = is_flat(&looks(|_| 20_000, |part| 40 + 5 * part), false);
        assert!(matches!(leaks, Err(SoakError::Grew(what)) if what.contains("descriptors")));
    }
}
