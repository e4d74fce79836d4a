//! Downloads that go on by `Range` where they broke.

use super::verify::{Verifier, collect};
use crate::{
    Asked, Error, Repository, Result,
    repository::ByteStream,
    transport::{Method, Response, header},
};
use bytes::Bytes;
use futures_util::StreamExt;
use oci::{Descriptor, Route, headers};

/// How often one transfer goes on after it broke, even if it gets further each time.
pub(super) const MAX_RESUMES: u32 = 100;

impl Repository {
    /// A blob as a stream of pieces; a broken transfer is resumed, and the last piece comes only if all bytes hash to the
    /// descriptor's digest and have its size. Memory does not grow with the blob.
    ///
    /// # Errors
    /// At once if it cannot be had; in the stream `DigestMismatch`, `WrongLength` and broken connections.
    pub async fn get_blob(&self, blob: &Descriptor) -> Result<ByteStream> {
        self.get_blob_from(blob, 0).await
    }

    /// A blob in memory, verified.
    ///
    /// # Errors
    /// As [`Repository::get_blob`]; `TooLarge` if it is larger than `limit` bytes.
    pub async fn get_blob_bytes(&self, blob: &Descriptor, limit: u64) -> Result<Bytes> {
        if blob.size > limit {
            let ask = self.reading(Method::GET, &Route::Blob(self.name().clone(), blob.digest));
            return Err(Error::TooLarge {
                at: Box::new(Asked {
                    method: ask.method.to_string(),
                    url: ask.url.to_string(),
                }),
                limit,
                what: "this blob",
            });
        }
        collect(self.get_blob(blob).await?, blob.size).await
    }

    /// The bytes of a blob from `offset` on; the digest is verified if that is 0, the length always.
    pub(crate) async fn get_blob_from(&self, blob: &Descriptor, offset: u64) -> Result<ByteStream> {
        let (at, stream) = self.open_blob(blob, offset).await?;
        let download = Download {
            repository: self.clone(),
            verifier: Verifier::new(blob, offset),
            blob: blob.clone(),
            at,
            stream,
            fruitless: 1,
            resumed: 0,
        };
        Ok(Box::pin(futures_util::stream::unfold(
            Some(download),
            |download| async move {
                let mut download = download?;
                match download.next().await {
                    Ok(Next::Piece(piece)) => Some((Ok(piece), Some(download))),
                    Ok(Next::Last(Some(piece))) => Some((Ok(piece), None)),
                    Ok(Next::Last(None)) => None,
                    Err(error) => Some((Err(error), None)),
                }
            },
        )))
    }

    async fn open_blob(&self, blob: &Descriptor, offset: u64) -> Result<(Asked, ByteStream)> {
        let mut ask = self.reading(Method::GET, &Route::Blob(self.name().clone(), blob.digest));
        if offset > 0 {
            ask = ask.header(header::RANGE, format!("bytes={offset}-"));
        }
        let response = self.session().send(ask).await?;
        let at = response.at();
        match response.status() {
            200 => {
                check_length(&response, blob.size)?;
                Ok((at, skip(response.into_stream(), offset)))
            }
            206 => {
                check_range(&response, offset)?;
                Ok((at, response.into_stream()))
            }
            400.. => Err(response
                .into_error(&format!("blob {} in {self}", blob.digest))
                .await),
            _ => Err(response.unexpected("200").await),
        }
    }
}

/// A download under way.
struct Download {
    repository: Repository,
    blob: Descriptor,
    verifier: Verifier,
    at: Asked,
    stream: ByteStream,
    /// Tries since bytes last came.
    fruitless: u32,
    /// Tries all in all.
    resumed: u32,
}

enum Next {
    Piece(Bytes),
    Last(Option<Bytes>),
}

impl Download {
    async fn next(&mut self) -> Result<Next> {
        loop {
            match self.stream.next().await {
                // A server without ranges may send again what is skipped, and nothing more.
                Some(Ok(piece)) if piece.is_empty() => {}
                Some(Ok(piece)) => {
                    self.fruitless = 1;
                    if let Some(piece) = self.verifier.take(piece).map_err(|wrong| wrong.at(&self.at))? {
                        return Ok(Next::Piece(piece));
                    }
                }
                // A body that ends early and says nothing is a broken connection too.
                None if self.verifier.position() < self.blob.size => self.resume(None).await?,
                None => {
                    let last = self.verifier.finish().map_err(|wrong| wrong.at(&self.at))?;
                    return Ok(Next::Last(last));
                }
                Some(Err(error)) => self.resume(Some(error)).await?,
            }
        }
    }

    async fn resume(&mut self, error: Option<Error>) -> Result<()> {
        let received = self.verifier.position();
        let error = error.unwrap_or_else(|| Error::WrongLength {
            at: Box::new(self.at.clone()),
            expected: self.blob.size,
            received,
        });
        let transport = &self.repository.client().inner().transport;
        let worth_it = matches!(
            error,
            Error::WrongLength { .. } | Error::Unreachable { .. } | Error::TimedOut { .. }
        );
        if !worth_it || self.fruitless >= transport.attempts() || self.resumed >= MAX_RESUMES {
            return Err(error);
        }
        self.resumed += 1;
        log::info!("going on at byte {received} of {}", self.blob.size);
        transport.back_off(self.fruitless, &error).await;
        self.fruitless += 1;
        (self.at, self.stream) = self.repository.open_blob(&self.blob, received).await?;
        Ok(())
    }
}

/// A `Content-Length` that is not the descriptor's ends the download before it begins.
fn check_length(response: &Response, size: u64) -> Result<()> {
    match response.content_length() {
        Some(length) if length != size => Err(Error::WrongLength {
            at: Box::new(response.at()),
            expected: size,
            received: length,
        }),
        _ => Ok(()),
    }
}

fn check_range(response: &Response, offset: u64) -> Result<()> {
    let text = response.header(&header::CONTENT_RANGE).unwrap_or_default();
    match headers::parse_chunk_range(text) {
        Some((start, _)) if start == offset => Ok(()),
        _ => Err(Error::Protocol {
            at: Box::new(response.at()),
            what: format!(
                "asked for bytes from {offset}, answered Content-Range {:?}",
                crate::error::clean(text)
            ),
        }),
    }
}

/// Leaves out the first bytes, for servers that answer the whole to a range.
fn skip(stream: ByteStream, offset: u64) -> ByteStream {
    if offset == 0 {
        return stream;
    }
    Box::pin(stream.scan(offset, |left, piece| {
        let piece = piece.map(|mut piece| {
            let cut = usize::try_from(*left).unwrap_or(usize::MAX).min(piece.len());
            *left -= cut as u64;
            piece.split_off(cut)
        });
        futures_util::future::ready(Some(piece))
    }))
}
