//! Compares a registry with the models, and writes into them what turned out of the operations that were cut off.

use super::model::{Fact, Left, Model};
use super::{Broken, End, Garbage};
use crate::connection::{Answer, Body, Failure, line};
use crate::fixtures::referrers_path;
use crate::protocol::{Registry, json};
use crate::wire::Method;
use oci::Digest;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// Compares everything. Returns how many things were.
pub(crate) async fn all(
    address: SocketAddr,
    models: &mut [Model],
    garbage: Garbage,
    end: End,
) -> Result<u64, Broken> {
    let mut compared = 0;
    for model in models {
        let mut registry = Registry::new(address);
        // What must be kept is decided by what was known before anything is read.
        let reached: BTreeSet<Digest> = match garbage {
            Garbage::Collected => model
                .manifests
                .keys()
                .filter(|d| model.is_reached(d))
                .copied()
                .collect(),
            Garbage::Kept => model.manifests.keys().copied().collect(),
        };
        let names: Vec<String> = model.tags.keys().cloned().collect();
        for name in &names {
            tag(&mut registry, model, name).await?;
        }
        tag_list(&mut registry, model).await?;
        let digests: Vec<Digest> = model.manifests.keys().copied().collect();
        for digest in &digests {
            manifest(&mut registry, model, digest, reached.contains(digest)).await?;
        }
        for subject in model.images() {
            referrers(&mut registry, model, &subject).await?;
        }
        compared += (names.len() + digests.len() + model.blobs.len() + model.left.len()) as u64;
        lone_blobs(&mut registry, model, garbage).await?;
        for (number, left) in std::mem::take(&mut model.left).into_iter().enumerate() {
            upload(&mut registry, model, &left, end, number % 2 == 0).await?;
        }
    }
    Ok(compared)
}

/// A tag must lead to where it may, and there to the whole manifest.
pub(crate) async fn tag(registry: &mut Registry, model: &mut Model, name: &str) -> Result<(), Failure> {
    let request = registry.manifest_request(Method::Get, &model.repository, name);
    let answer = registry.connection.fetch(&request, &Body::EMPTY).await?;
    let found = match answer.status {
        200 => Some(Digest::sha256(&answer.body)),
        404 => None,
        _ => return Err(crate::connection::unexpected(&request, 200, &answer)),
    };
    let none = BTreeSet::from([None]);
    let possible = model.tags.get(name).unwrap_or(&none);
    if !possible.contains(&found) {
        return Err(Failure::Content {
            request: line(&request),
            what: format!("leads to {found:?}, and may lead to {possible:?}"),
        });
    }
    if let Some(digest) = found {
        model.settle_manifest(&digest, Fact::Present);
    }
    model.settle_tag(name, found);
    Ok(())
}

/// The list of tags must be the tags that were found.
async fn tag_list(registry: &mut Registry, model: &Model) -> Result<(), Failure> {
    let there = model
        .tags
        .iter()
        .filter(|(_, possible)| !possible.contains(&None))
        .map(|(name, _)| name.clone());
    let expected: BTreeSet<String> = there.collect();
    let path = format!("/v2/{}/tags/list", model.repository);
    let request = registry.get_request(&path);
    let answer = registry.connection.fetch(&request, &Body::EMPTY).await?;
    let listed: BTreeSet<String> = match answer.status {
        200 => strings(&json(&path, &answer)?["tags"]),
        404 => BTreeSet::new(),
        _ => return Err(crate::connection::unexpected(&request, 200, &answer)),
    };
    same(&path, &listed, &expected)
}

/// A manifest must be there or not as is known, and if it is, byte by byte and with all its blobs.
async fn manifest(
    registry: &mut Registry,
    model: &mut Model,
    digest: &Digest,
    is_reached: bool,
) -> Result<(), Failure> {
    let Some(stored) = model.manifests.get(digest) else {
        return Ok(());
    };
    let request = registry.manifest_request(Method::Get, &model.repository, &digest.to_string());
    let answer = registry.connection.fetch(&request, &Body::EMPTY).await?;
    let wrong = |what: &str| Failure::Content {
        request: line(&request),
        what: what.to_owned(),
    };
    let fact = match (answer.status, stored.fact) {
        (200, Fact::Absent) => return Err(wrong("its removal was acknowledged, and it is there")),
        (404, Fact::Present) if is_reached => return Err(wrong("it was acknowledged, and it is missing")),
        (200, Fact::Present | Fact::Unknown) if answer.body != stored.body => {
            return Err(wrong("it is not the bytes that were pushed"));
        }
        (200, Fact::Present | Fact::Unknown) => Fact::Present,
        (404, Fact::Present | Fact::Absent | Fact::Unknown) => Fact::Absent,
        (_, Fact::Present | Fact::Absent | Fact::Unknown) => {
            return Err(crate::connection::unexpected(&request, 200, &answer));
        }
    };
    if fact == Fact::Present {
        for blob in stored.blobs.clone() {
            if !is_whole(registry, &model.repository, &blob).await? {
                return Err(wrong(&format!("its blob {blob} is missing")));
            }
        }
    }
    model.settle_manifest(digest, fact);
    Ok(())
}

/// Exactly those referrers must be listed that are there.
async fn referrers(registry: &mut Registry, model: &Model, subject: &Digest) -> Result<(), Failure> {
    let path = referrers_path(&model.repository, subject);
    let answer = registry.get(&path).await?;
    let index = json(&path, &answer)?;
    let listed: BTreeSet<String> = match index["manifests"].as_array() {
        Some(entries) => entries
            .iter()
            .filter_map(|entry| entry["digest"].as_str().map(str::to_owned))
            .collect(),
        None => BTreeSet::new(),
    };
    let there = model
        .manifests
        .iter()
        .filter(|(_, stored)| stored.subject == Some(*subject) && stored.fact == Fact::Present)
        .map(|(digest, _)| digest.to_string());
    same(&path, &listed, &there.collect())
}

/// A blob must be there or not as is known, also if no manifest needs it; unless the collector was there.
async fn lone_blobs(registry: &mut Registry, model: &mut Model, garbage: Garbage) -> Result<(), Failure> {
    for ((repository, digest), fact) in &mut model.blobs {
        let is_there = is_whole(registry, repository, digest).await?;
        let what = match (is_there, *fact, garbage) {
            (false, Fact::Present, Garbage::Kept) => "it was acknowledged, and it is missing",
            (true, Fact::Absent, _) => "its removal was acknowledged, and it is there",
            _ => {
                *fact = if is_there { Fact::Present } else { Fact::Absent };
                continue;
            }
        };
        return Err(Failure::Content {
            request: format!("GET blob {digest} of {repository}"),
            what: what.to_owned(),
        });
    }
    Ok(())
}

/// An upload that was left must have what was acknowledged of it, and can be finished, if it is to be; else the collector finds it.
///
/// Chunks are not brought to the disk before the end of their upload: after power loss, what is there of it may be less, or
/// other bytes, and it only matters that no blob is made of those.
async fn upload(
    registry: &mut Registry,
    model: &mut Model,
    left: &Left,
    end: End,
    finish: bool,
) -> Result<(), Failure> {
    let request = registry.get_request(&left.location);
    let answer = registry.connection.fetch(&request, &Body::EMPTY).await?;
    let acknowledged = match end {
        End::Kill => left.acknowledged,
        End::PowerLoss(_) => 0,
    };
    let received = match answer.status {
        204 => received(&answer),
        404 if acknowledged == 0 => return Ok(()),
        404 => None,
        _ => return Err(crate::connection::unexpected(&request, 204, &answer)),
    };
    let Some(received) = received.filter(|bytes| (acknowledged..=left.sent.max(1)).contains(bytes)) else {
        return Err(Failure::Content {
            request: line(&request),
            what: format!(
                "{acknowledged} bytes were acknowledged and {} sent; some are missing, or too many are there: status {}, Range {:?}",
                left.sent,
                answer.status,
                answer.header("range")
            ),
        });
    };
    // A range of one byte is also what is said of none.
    if !finish || received <= 1 {
        return Ok(());
    }
    let digest = Digest::sha256(&left.content);
    let rest = left.content.get(received as usize..).unwrap_or_default();
    match registry
        .finish_upload(&left.location, &digest, &Body::of(rest))
        .await
    {
        Ok(()) => {
            let repository = model.repository.clone();
            model.settle_blob(&repository, &digest, Fact::Present);
            match is_whole(registry, &repository, &digest).await? {
                true => Ok(()),
                false => Err(Failure::Content {
                    request: format!("GET blob {digest} of {repository}"),
                    what: "its upload was finished, and it is missing".to_owned(),
                }),
            }
        }
        Err(Failure::Status { got: 400, .. }) if matches!(end, End::PowerLoss(_)) => Ok(()),
        Err(failure) => Err(failure),
    }
}

/// How many bytes an upload has, by its `Range`, whose ends are both included.
fn received(answer: &Answer) -> Option<u64> {
    let (_, last) = answer.header("range")?.split_once('-')?;
    last.parse::<u64>().ok().map(|last| last + 1)
}

/// Whether a blob is there; if it is, it must hash to its digest.
async fn is_whole(registry: &mut Registry, repository: &str, digest: &Digest) -> Result<bool, Failure> {
    let request = registry.blob_request(Method::Get, repository, digest);
    let answer = registry.connection.fetch(&request, &Body::EMPTY).await?;
    match answer.status {
        200 if digest.matches(&answer.body) => Ok(true),
        200 => Err(Failure::Content {
            request: line(&request),
            what: "the bytes do not hash to it".to_owned(),
        }),
        404 => Ok(false),
        _ => Err(crate::connection::unexpected(&request, 200, &answer)),
    }
}

fn strings(list: &Value) -> BTreeSet<String> {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter()
        .filter_map(|text| text.as_str().map(str::to_owned))
        .collect()
}

fn same(path: &str, listed: &BTreeSet<String>, expected: &BTreeSet<String>) -> Result<(), Failure> {
    if listed == expected {
        return Ok(());
    }
    let missing: Vec<&String> = expected.difference(listed).collect();
    let surplus: Vec<&String> = listed.difference(expected).collect();
    Err(Failure::Content {
        request: format!("GET {path}"),
        what: format!("missing {missing:?}, too much {surplus:?}"),
    })
}
