//! Bodies of requests, as they come; small ones collected whole. Large ones are gathered in `gather` and written in `receive`,
//! so that memory does not grow with their size. Bodies of answers are in `pieces`.

use super::{ApiError, Request};
use actix_web::{error::PayloadError, web};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use std::io;

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

/// The whole body, or `None` if it is larger than `limit`.
pub(super) async fn collect(
    request: &Request<'_>,
    mut payload: web::Payload,
    limit: usize,
) -> Result<Option<Bytes>, ApiError> {
    let announced = request.content_length().unwrap_or(0);
    if announced > limit as u64 {
        return Ok(None);
    }
    let mut body = BytesMut::new();
    while let Some(bytes) = next(&mut payload).await? {
        if body.len() + bytes.len() > limit {
            return Ok(None);
        }
        if body.is_empty() && bytes.len() as u64 == announced {
            return Ok(Some(bytes));
        }
        body.extend_from_slice(&bytes);
    }
    Ok(Some(body.freeze()))
}
