//! Bodies: small ones collected, large ones received and sent in pieces, so that memory does not grow with their size.

use super::{ApiError, Request};
use crate::domain::{self, Error, Receiving, Registry, UploadStatus};
use crate::storage::Content;
use actix_web::{
    body::{BodySize, MessageBody},
    error::PayloadError,
    web,
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use oci::{Digest, Hasher};
use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::task::{JoinHandle, spawn_blocking};

/// Bytes that are handed on at once. Smaller pieces cost more in hand-overs than in copying; larger ones leave the
/// processor's cache.
const PIECE_BYTES: usize = 256 * 1024;

/// The next bytes of a body; `None` at its end. How slow a sender may be is watched in front of this service.
async fn next(payload: &mut web::Payload) -> Result<Option<Bytes>, ApiError> {
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

/// Collects about a piece's worth of a body; the flag tells whether the body has ended.
async fn next_piece(payload: &mut web::Payload) -> Result<(Bytes, bool), (Bytes, ApiError)> {
    let mut piece = BytesMut::new();
    while piece.len() < PIECE_BYTES {
        match next(payload).await {
            Ok(Some(bytes)) if piece.is_empty() && bytes.len() >= PIECE_BYTES / 2 => {
                return Ok((bytes, false));
            }
            Ok(Some(bytes)) => {
                if piece.is_empty() && piece.capacity() == 0 {
                    piece.reserve(bytes.len());
                }
                piece.extend_from_slice(&bytes);
            }
            Ok(None) => return Ok((piece.freeze(), true)),
            Err(error) => return Err((piece.freeze(), error)),
        }
    }
    Ok((piece.freeze(), false))
}

/// What happens to an upload once its request's body is there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Then {
    /// It waits for more. The body must have this many bytes, if it was told.
    Pause(Option<u64>),
    /// It becomes a blob of this digest. The body must have this many bytes, if it was told.
    Finish(Digest, Option<u64>),
}

impl Then {
    fn stated(self) -> Option<u64> {
        match self {
            Then::Pause(stated) | Then::Finish(_, stated) => stated,
        }
    }
}

/// Writes a body to an upload session. `open` opens the session and may refuse; it blocks.
///
/// A piece is written and hashed while the next one is received, and no thread waits for the sender: however many are slow,
/// others find a thread. Two pieces are in memory at most. If the body breaks off, what came of it is kept: the session's
/// status tells how much.
pub(super) async fn receive(
    request: &Request<'_>,
    mut payload: web::Payload,
    open: impl FnOnce(&domain::Registry) -> domain::Result<Receiving> + Send + 'static,
    then: Then,
) -> Result<UploadStatus, ApiError> {
    let first = match next_piece(&mut payload).await {
        Ok((piece, true)) => {
            return super::blocking(request.registry, move |r| end(open(r)?, &piece, then)).await;
        }
        Ok((piece, false)) => piece,
        Err((piece, error)) => {
            super::blocking(request.registry, move |r| {
                end(open(r)?, &piece, Then::Pause(None))
            })
            .await?;
            return Err(error);
        }
    };
    // The session is opened before more is received, so that it can refuse at once.
    let mut receiving = super::blocking(request.registry, move |r| write(open(r)?, &first)).await?;
    let mut next = next_piece(&mut payload).await;
    loop {
        match next {
            Ok((piece, false)) => {
                let writing = Writing::start(move || write(receiving, &piece));
                next = next_piece(&mut payload).await;
                receiving = writing.done().await?;
            }
            Ok((last, true)) => {
                return super::blocking(request.registry, move |_| end(receiving, &last, then)).await;
            }
            Err((last, error)) => {
                super::blocking(request.registry, move |_| {
                    end(receiving, &last, Then::Pause(None))
                })
                .await?;
                return Err(error);
            }
        }
    }
}

/// A piece on its way to storage, and with it the session that it belongs to.
struct Writing(Option<JoinHandle<domain::Result<Receiving>>>);

impl Writing {
    fn start(work: impl FnOnce() -> domain::Result<Receiving> + Send + 'static) -> Writing {
        Writing(Some(spawn_blocking(work)))
    }

    /// The session again, once the piece is written.
    async fn done(mut self) -> Result<Receiving, ApiError> {
        let Some(handle) = &mut self.0 else {
            return Err(ApiError::Stopping);
        };
        let written = handle.await;
        self.0 = None;
        match written {
            Ok(result) => Ok(result?),
            Err(_) => Err(ApiError::Stopping),
        }
    }
}

impl Drop for Writing {
    /// The request was given up. Closing its session may remove a file, which a worker must not wait for.
    fn drop(&mut self) {
        if let Some(handle) = self.0.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn_blocking(move || drop(handle));
        }
    }
}

fn write(mut receiving: Receiving, piece: &[u8]) -> domain::Result<Receiving> {
    receiving.write(piece)?;
    Ok(receiving)
}

/// Takes in the last bytes of a body, and does what is to be done at its end.
fn end(mut receiving: Receiving, last: &[u8], then: Then) -> domain::Result<UploadStatus> {
    let got = receiving.brought() + last.len() as u64;
    if let Some(stated) = then.stated()
        && stated != got
    {
        receiving.undo()?;
        return Err(Error::LengthMismatch { stated, got });
    }
    match then {
        Then::Pause(_) => {
            receiving.write(last)?;
            Ok(receiving.pause())
        }
        Then::Finish(digest, _) => Ok(UploadStatus {
            id: String::new(),
            received: receiving.finish(last, &digest)?,
        }),
    }
}

/// A part of a content as a body, read in pieces as the connection takes them.
pub(super) struct Pieces {
    content: Content,
    at: u64,
    end: u64,
    check: Option<Check>,
}

/// Hashes what is sent. The last piece is held back unless the digest is right, so that no client takes damaged bytes for
/// the whole content.
struct Check {
    registry: Registry,
    digest: Digest,
    hasher: Hasher,
}

impl Pieces {
    /// The bytes from `start` to before `end`. A content is hashed when it is sent whole for the first time.
    pub(super) fn new(registry: &Registry, digest: Digest, content: Content, start: u64, end: u64) -> Pieces {
        let is_whole = start == 0 && end == content.len();
        let check = (is_whole && !registry.is_known_whole(&digest)).then(|| Check {
            registry: registry.clone(),
            hasher: Hasher::new(digest.algorithm()),
            digest,
        });
        Pieces {
            content,
            at: start,
            end,
            check,
        }
    }

    fn read(&mut self) -> io::Result<Bytes> {
        let len = usize::try_from(self.end - self.at).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
        let mut buffer = Buffer::take(len);
        self.content.read_exact_at(&mut buffer.0, self.at)?;
        self.at += len as u64;
        if let Some(check) = &mut self.check {
            check.hasher.update(&buffer.0);
            if self.at == self.end {
                check.finish()?;
            }
        }
        Ok(Bytes::from_owner(buffer))
    }
}

impl Check {
    fn finish(&self) -> io::Result<()> {
        if self.hasher.clone().finish() == self.digest {
            self.registry.remember_whole(&self.digest);
            Ok(())
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the stored content of {} is damaged", self.digest),
            ))
        }
    }
}

impl MessageBody for Pieces {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.end - self.at)
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.at >= self.end {
            return Poll::Ready(None);
        }
        let read = self.read();
        if let Err(error) = &read {
            log::error!("a blob cannot be sent on from byte {}: {error}", self.at);
            self.at = self.end;
        }
        Poll::Ready(Some(read))
    }
}

thread_local! {
    /// Buffers that were sent and can be filled again: fresh memory of this size costs the kernel as much as the reading.
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// The most spare buffers that a worker keeps.
const MAX_SPARE: usize = 8;

/// A buffer that goes back to its worker's spares when the last of its bytes is sent.
struct Buffer(Vec<u8>);

impl Buffer {
    fn take(len: usize) -> Buffer {
        let mut spare = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
        spare.resize(len, 0);
        Buffer(spare)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < MAX_SPARE {
                spare.push(std::mem::take(&mut self.0));
            }
        });
    }
}
