//! Bodies of requests, as they come; small ones collected whole. Large ones are gathered in `gather` and written in `receive`,
//! so that memory does not grow with their size. Bodies of answers are in `pieces`.

use super::{ApiError, Request};
use actix_web::{error::PayloadError, web};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use std::{io, time::Duration};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

/// Bodies up to this size are collected whoever else is sending. Nearly every manifest is smaller.
const SMALL_BYTES: usize = 64 * 1024;

/// What all larger bodies together may hold, in KiB: 16 manifests of 4 MiB at a time, from their first byte until they are stored.
const SHARED_KIB: u32 = 64 * 1024;

/// How long a large body waits for others to end. Nothing more of it is read meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);

static SHARED: Semaphore = Semaphore::const_new(SHARED_KIB as usize);

/// What all larger bodies that are being read as manifests may be together, in KiB. JSON that is made for it takes 15 times its
/// own room in memory.
const READ_KIB: u32 = 16 * 1024;

static READ: Semaphore = Semaphore::const_new(READ_KIB as usize);

/// The next bytes of a body; `None` at its end. How slow a sender may be is watched in front of this service.
pub(super) async fn next(payload: &mut web::Payload) -> Result<Option<Bytes>, ApiError> {
    match payload.next().await {
        None => Ok(None),
        Some(Ok(bytes)) => Ok(Some(bytes)),
        Some(Err(PayloadError::Io(error))) if error.kind() == io::ErrorKind::TimedOut => {
            Err(ApiError::BodyTimeout)
        }
        Some(Err(error)) => Err(ApiError::BodyBroken {
            reason: error.to_string(),
        }),
    }
}

/// A body in memory.
pub(super) struct Collected {
    pub(super) bytes: Bytes,
    /// Its share of what large bodies may hold, given back when this is dropped.
    pub(super) share: Option<SemaphorePermit<'static>>,
}

impl Collected {
    /// The turn of a large body to be read as a manifest, to be kept until it is stored or refused.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'static>> {
        self.share.as_ref()?;
        READ.acquire_many(kib(self.bytes.len() as u64).min(READ_KIB))
            .await
            .ok()
    }
}

/// The whole body, or `None` if it is larger than `limit`.
///
/// # Errors
/// `Crowded` if it is large and so many other large ones are under way that it cannot have a share in time.
pub(super) async fn collect(
    request: &Request<'_>,
    mut payload: web::Payload,
    limit: usize,
) -> Result<Option<Collected>, ApiError> {
    let announced = request.content_length();
    if announced.is_some_and(|bytes| bytes > limit as u64) {
        return Ok(None);
    }
    let mut body = BytesMut::new();
    let mut share = None;
    while let Some(bytes) = next(&mut payload).await? {
        let len = body.len() + bytes.len();
        if len > limit {
            return Ok(None);
        }
        if len > SMALL_BYTES && share.is_none() {
            share = Some(share_of(announced.unwrap_or(limit as u64)).await?);
        }
        if body.is_empty() && Some(bytes.len() as u64) == announced {
            return Ok(Some(Collected { bytes, share }));
        }
        body.extend_from_slice(&bytes);
    }
    let bytes = body.freeze();
    Ok(Some(Collected { bytes, share }))
}

/// A share for a whole body: had they parts of one, bodies would wait for each other.
async fn share_of(bytes: u64) -> Result<SemaphorePermit<'static>, ApiError> {
    match timeout(PATIENCE, SHARED.acquire_many(kib(bytes).min(SHARED_KIB))).await {
        Ok(Ok(share)) => Ok(share),
        Ok(Err(_)) | Err(_) => Err(ApiError::Crowded),
    }
}

fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}
