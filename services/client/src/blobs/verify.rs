//! Streams whose last piece is held back until all bytes were verified.

use crate::{Asked, Client, Error, Result, repository::ByteStream};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use oci::{Descriptor, Digest, Hasher};

/// Why a stream is not the blob that it should be.
pub(crate) enum Wrong {
    /// More or fewer bytes than the descriptor says.
    Length { expected: u64, received: u64 },
    /// Other bytes.
    Digest {
        expected: Box<Digest>,
        computed: Box<Digest>,
    },
}

impl Wrong {
    /// The fact for an answer of a registry.
    pub(crate) fn at(self, at: &Asked) -> Error {
        let at = Box::new(at.clone());
        match self {
            Wrong::Length { expected, received } => Error::WrongLength {
                at,
                expected,
                received,
            },
            Wrong::Digest { expected, computed } => Error::DigestMismatch {
                at,
                expected,
                computed,
            },
        }
    }
}

/// Passes pieces on one behind, so that whoever reads never has all bytes of a blob that is wrong.
pub(crate) struct Verifier {
    blob: Descriptor,
    /// `None` for a stream that began within the blob: its length alone can be checked here.
    hasher: Option<Hasher>,
    position: u64,
    held: Option<Bytes>,
}

impl Verifier {
    /// For the bytes of a blob from `offset` on.
    pub(crate) fn new(blob: &Descriptor, offset: u64) -> Verifier {
        Verifier {
            hasher: (offset == 0).then(|| Hasher::new(blob.digest.algorithm())),
            blob: blob.clone(),
            position: offset,
            held: None,
        }
    }

    /// How many bytes of the blob came so far, the part before the offset included.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Takes a piece and gives the one before it.
    pub(crate) fn take(&mut self, piece: Bytes) -> Result<Option<Bytes>, Wrong> {
        self.position += piece.len() as u64;
        if self.position > self.blob.size {
            return Err(self.wrong_length());
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&piece);
        }
        Ok(self.held.replace(piece))
    }

    /// Verifies the whole and gives the last piece.
    pub(crate) fn finish(&mut self) -> Result<Option<Bytes>, Wrong> {
        if self.position != self.blob.size {
            return Err(self.wrong_length());
        }
        if let Some(hasher) = self.hasher.take() {
            let computed = hasher.finish();
            let expected = self.blob.digest;
            if computed != expected {
                let (expected, computed) = (Box::new(expected), Box::new(computed));
                return Err(Wrong::Digest { expected, computed });
            }
        }
        Ok(self.held.take())
    }

    fn wrong_length(&self) -> Wrong {
        Wrong::Length {
            expected: self.blob.size,
            received: self.position,
        }
    }
}

/// Verifies a stream of the bytes of a blob from `offset` on; `error` makes the fact of what is wrong.
pub(crate) fn verified(
    stream: ByteStream,
    blob: &Descriptor,
    offset: u64,
    error: impl Fn(Wrong) -> Error + 'static,
) -> ByteStream {
    let state = (stream, Verifier::new(blob, offset), error);
    Box::pin(futures_util::stream::unfold(Some(state), |state| async move {
        let (mut stream, mut verifier, error) = state?;
        loop {
            let (piece, end) = match stream.next().await {
                Some(Ok(piece)) => (verifier.take(piece), false),
                Some(Err(failed)) => return Some((Err(failed), None)),
                None => (verifier.finish(), true),
            };
            match piece {
                Ok(Some(piece)) => {
                    let next = (!end).then_some((stream, verifier, error));
                    return Some((Ok(piece), next));
                }
                Ok(None) if end => return None,
                Ok(None) => {}
                Err(wrong) => return Some((Err(error(wrong)), None)),
            }
        }
    }))
}

/// Tells the observer how far a stream of a blob from `offset` on has come.
pub(crate) fn watch(stream: ByteStream, client: &Client, blob: &Descriptor, offset: u64) -> ByteStream {
    let (client, digest, mut position) = (client.clone(), blob.digest, offset);
    Box::pin(stream.inspect(move |piece| {
        if let Ok(piece) = piece {
            position += piece.len() as u64;
            client.progress().blob_moved(&digest, position);
        }
    }))
}

/// Reads a verified stream into memory.
pub(crate) async fn collect(mut stream: ByteStream, size: u64) -> Result<Bytes> {
    let mut all = BytesMut::with_capacity(usize::try_from(size).unwrap_or_default().min(1 << 20));
    while let Some(piece) = stream.next().await {
        all.extend_from_slice(&piece?);
    }
    Ok(all.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(pieces: &[&'static [u8]], blob: &Descriptor) -> (Vec<u8>, Option<&'static str>) {
        let (mut verifier, mut passed) = (Verifier::new(blob, 0), Vec::new());
        let mut push = |got: Option<Bytes>| passed.extend_from_slice(&got.unwrap_or_default());
        for piece in pieces {
            match verifier.take(Bytes::from_static(piece)) {
                Ok(got) => push(got),
                Err(_) => return (passed, Some("length")),
            }
        }
        match verifier.finish() {
            Ok(got) => push(got),
            Err(Wrong::Length { .. }) => return (passed, Some("length")),
            Err(Wrong::Digest { .. }) => return (passed, Some("digest")),
        }
        (passed, None)
    }

    #[test]
    fn the_last_piece_waits_for_the_digest() {
        let blob = Descriptor::of("text/plain", b"hello world\n");
        assert_eq!(
            run(&[b"hello ", b"world\n"], &blob),
            (b"hello world\n".to_vec(), None)
        );
        assert_eq!(
            run(&[b"hello ", b"World\n"], &blob),
            (b"hello ".to_vec(), Some("digest"))
        );
        assert_eq!(run(&[b"hello "], &blob), (Vec::new(), Some("length")));
        assert_eq!(
            run(&[b"hello ", b"world\n", b"!"], &blob),
            (b"hello ".to_vec(), Some("length"))
        );
        assert_eq!(run(&[], &Descriptor::of("x/y", b"")), (Vec::new(), None));
    }
}
