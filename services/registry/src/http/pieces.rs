//! Large bodies of answers, handed on in pieces as the connection takes them, so that memory does not grow with their size.
//!
//! The server copies each piece into the connection's buffer, so what a piece should be follows from that buffer.

use crate::domain::Registry;
use crate::storage::Content;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;
use oci::{Digest, Hasher};
use std::{
    cell::RefCell,
    convert::Infallible,
    io,
    pin::Pin,
    task::{Context, Poll},
};

/// Bytes that are handed on at once. Smaller pieces cost more in hand-overs than in copying; larger ones leave the processor's
/// cache, and the connection's buffer would be made anew for each of them, see [`BUFFER_BYTES`].
const PIECE_BYTES: usize = 120 * 1024;

/// The server keeps a connection's buffer up to this size, and gives it back once it has grown beyond.
const BUFFER_BYTES: usize = 128 * 1024;

/// Length of the next piece of so many bytes. The last one is larger than the buffer that is kept: a connection that rests
/// after a large body then holds no memory for the next.
fn next_len(left: u64) -> usize {
    if left > (PIECE_BYTES + BUFFER_BYTES) as u64 {
        PIECE_BYTES
    } else {
        // It is small, as just seen.
        left as usize
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
    /// The bytes from `start` to before `end`. A content is hashed when it is sent whole and is not known to be what it should.
    pub(super) fn new(registry: &Registry, digest: Digest, content: Content, start: u64, end: u64) -> Pieces {
        let is_whole = start == 0 && end == content.len();
        let check = (is_whole && !registry.is_known_whole(&digest, &content)).then(|| Check {
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
        let len = next_len(self.end - self.at);
        let mut buffer = Buffer::take(len);
        self.content.read_exact_at(&mut buffer.0, self.at)?;
        self.at += len as u64;
        if let Some(check) = &mut self.check {
            check.hasher.update(&buffer.0);
            if self.at == self.end {
                check.finish(&self.content)?;
            }
        }
        Ok(Bytes::from_owner(buffer))
    }
}

impl Check {
    fn finish(&self, content: &Content) -> io::Result<()> {
        if self.hasher.clone().finish() == self.digest {
            self.registry.remember_whole(&self.digest, content);
            Ok(())
        } else {
            self.registry.remember_damaged_content(&self.digest, content);
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

/// A body of bytes that are in memory.
pub(super) fn body(bytes: Bytes) -> BoxBody {
    if bytes.len() <= BUFFER_BYTES {
        BoxBody::new(bytes)
    } else {
        joined([Bytes::new(), bytes, Bytes::new()])
    }
}

/// A body of three parts that are in memory: what stands before a list, the list, and what stands after it.
pub(super) fn joined(parts: [Bytes; 3]) -> BoxBody {
    BoxBody::new(Joined(parts))
}

/// Parts that follow each other.
struct Joined([Bytes; 3]);

impl MessageBody for Joined {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.0.iter().map(|part| part.len() as u64).sum())
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let next = self.0.iter_mut().find(|part| !part.is_empty());
        Poll::Ready(next.map(|part| Ok(part.split_to(next_len(part.len() as u64)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_piece_of_a_large_body_outgrows_the_buffer_that_is_kept() {
        for size in [
            BUFFER_BYTES + 1,
            PIECE_BYTES + BUFFER_BYTES + 1,
            1 << 20,
            268_435_456,
        ] {
            let (mut left, mut last) = (size as u64, 0);
            while left > 0 {
                last = next_len(left);
                left -= last as u64;
            }
            assert!(
                (BUFFER_BYTES + 1..=PIECE_BYTES + BUFFER_BYTES).contains(&last),
                "{last} of {size}"
            );
        }
    }
}
