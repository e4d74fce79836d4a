//! The steps of the OCI protocol that set-up and pushes are made of. No policy: what the specification says, once.

use crate::connection::{Answer, Body, Connection, Expect, Failure, line};
use crate::content::Blob;
use crate::wire::{Method, Request};
use oci::Digest;
use oci::headers::next_link;
use oci::media_type::OCI_MANIFEST;
use serde_json::Value;
use std::net::SocketAddr;

/// What a client accepts as a manifest: the types that the fixtures have.
const ACCEPT: (&str, &str) = (
    "Accept",
    "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json",
);

/// What a blob is sent as.
const OCTETS: (&str, &str) = ("Content-Type", "application/octet-stream");

/// Bytes of a chunk of a body of unknown length.
const STREAM_CHUNK_BYTES: usize = 8 * 1024;

/// A connection that speaks the protocol.
#[derive(Debug)]
pub struct Registry {
    /// The value of `Host`.
    pub host: String,
    /// The connection under it.
    pub connection: Connection,
}

impl Registry {
    /// Opens with the first request.
    pub fn new(address: SocketAddr) -> Registry {
        Registry {
            host: address.to_string(),
            connection: Connection::new(address),
        }
    }

    /// GET or HEAD of a manifest.
    pub fn manifest_request(&self, method: Method, repository: &str, reference: &str) -> Request {
        let path = format!("/v2/{repository}/manifests/{reference}");
        Request::new(method, &self.host, &path, &[ACCEPT], None)
    }

    /// GET or HEAD of a blob.
    pub fn blob_request(&self, method: Method, repository: &str, digest: &Digest) -> Request {
        let path = format!("/v2/{repository}/blobs/{digest}");
        Request::new(method, &self.host, &path, &[], None)
    }

    /// GET of any path.
    pub fn get_request(&self, path: &str) -> Request {
        Request::new(Method::Get, &self.host, path, &[], None)
    }

    /// GET of a path that must answer 200.
    ///
    /// # Errors
    /// Any `Failure`.
    pub async fn get(&mut self, path: &str) -> Result<Answer, Failure> {
        let request = self.get_request(path);
        self.connection.fetch_status(&request, &Body::EMPTY, 200).await
    }

    /// Pushes a blob in one PUT. Returns its size in bytes.
    ///
    /// # Errors
    /// Any `Failure`.
    pub async fn push_blob(
        &mut self,
        repository: &str,
        digest: &Digest,
        body: &Body<'_>,
    ) -> Result<u64, Failure> {
        let location = self.start_upload(repository).await?;
        self.finish_upload(&location, digest, body).await?;
        Ok(body.len())
    }

    /// Pushes a blob in PATCH requests of `chunk` bytes each and an empty PUT. Returns its size in bytes.
    ///
    /// # Errors
    /// Any `Failure`.
    pub async fn push_blob_in_chunks(
        &mut self,
        repository: &str,
        digest: &Digest,
        chunks: &[Body<'_>],
    ) -> Result<u64, Failure> {
        let mut location = self.start_upload(repository).await?;
        let mut sent = 0;
        for chunk in chunks {
            location = self.push_chunk(&location, sent, chunk).await?;
            sent += chunk.len();
        }
        self.finish_upload(&location, digest, &Body::EMPTY).await?;
        Ok(sent)
    }

    /// Pushes a blob in the POST that would start an upload.
    ///
    /// # Errors
    /// Any `Failure`; an answer of 202 (the registry does not know this way) is one.
    pub async fn push_blob_in_one_post(
        &mut self,
        repository: &str,
        digest: &Digest,
        body: &Body<'_>,
    ) -> Result<u64, Failure> {
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let request = Request::new(Method::Post, &self.host, &path, &[OCTETS], Some(body.len()));
        self.connection.fetch_status(&request, body, 201).await?;
        Ok(body.len())
    }

    /// Pushes a blob in one PATCH of unknown length (`Transfer-Encoding: chunked`) and an empty PUT, as Docker does.
    ///
    /// # Errors
    /// Any `Failure`.
    pub async fn push_blob_as_stream(
        &mut self,
        repository: &str,
        digest: &Digest,
        content: &[u8],
    ) -> Result<u64, Failure> {
        let location = self.start_upload(repository).await?;
        let headers = [OCTETS, ("Transfer-Encoding", "chunked")];
        let request = Request::new(Method::Patch, &self.host, &location, &headers, None);
        let encoded = chunked(content);
        let answer = self
            .connection
            .fetch_status(&request, &Body::of(&encoded), 202)
            .await?;
        let location = next_location(&request, &answer)?;
        self.finish_upload(&location, digest, &Body::EMPTY).await?;
        Ok(content.len() as u64)
    }

    /// Pushes a blob that is in memory.
    ///
    /// # Errors
    /// Any `Failure`.
    pub async fn push(&mut self, repository: &str, blob: &Blob) -> Result<u64, Failure> {
        let body = Body::of(&blob.content);
        self.push_blob(repository, &blob.digest, &body).await
    }

    /// Pushes an OCI image manifest under a tag or a digest. Returns its size in bytes.
    ///
    /// # Errors
    /// Any `Failure`.
    pub async fn put_manifest(
        &mut self,
        repository: &str,
        reference: &str,
        manifest: &[u8],
    ) -> Result<u64, Failure> {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let bytes = manifest.len() as u64;
        let headers = [("Content-Type", OCI_MANIFEST)];
        let request = Request::new(Method::Put, &self.host, &path, &headers, Some(bytes));
        let body = Body::of(manifest);
        self.connection.fetch_status(&request, &body, 201).await?;
        Ok(bytes)
    }

    /// Mounts a blob of another repository.
    ///
    /// # Errors
    /// Any `Failure`; an answer of 202 (an upload instead of a mount) is one.
    pub async fn mount(&mut self, repository: &str, digest: &Digest, from: &str) -> Result<(), Failure> {
        let path = format!("/v2/{repository}/blobs/uploads/?mount={digest}&from={from}");
        let request = Request::new(Method::Post, &self.host, &path, &[], Some(0));
        self.connection.expect(&request, Expect::status(201)).await?;
        Ok(())
    }

    /// Removes a blob, where the registry allows it: an answer of any status is taken.
    ///
    /// # Errors
    /// `Failure` of the connection.
    pub async fn delete_blob(&mut self, repository: &str, digest: &Digest) -> Result<u16, Failure> {
        let request = self.blob_request(Method::Delete, repository, digest);
        Ok(self.connection.fetch(&request, &Body::EMPTY).await?.status)
    }

    /// Begins an upload. Returns the path of its session.
    ///
    /// # Errors
    /// Any `Failure`.
    pub async fn start_upload(&mut self, repository: &str) -> Result<String, Failure> {
        let path = format!("/v2/{repository}/blobs/uploads/");
        let request = Request::new(Method::Post, &self.host, &path, &[], Some(0));
        let answer = self.connection.fetch_status(&request, &Body::EMPTY, 202).await?;
        next_location(&request, &answer)
    }

    /// Sends the chunk of an upload that begins at this byte. Returns the path to go on at.
    ///
    /// # Errors
    /// Any `Failure`.
    pub async fn push_chunk(
        &mut self,
        location: &str,
        from: u64,
        chunk: &Body<'_>,
    ) -> Result<String, Failure> {
        let range = format!("{from}-{}", from + chunk.len() - 1);
        let headers = [OCTETS, ("Content-Range", range.as_str())];
        let request = Request::new(Method::Patch, &self.host, location, &headers, Some(chunk.len()));
        let answer = self.connection.fetch_status(&request, chunk, 202).await?;
        next_location(&request, &answer)
    }

    /// Ends an upload with these bytes as its last: all of them become a blob.
    ///
    /// # Errors
    /// Any `Failure`.
    pub async fn finish_upload(
        &mut self,
        location: &str,
        digest: &Digest,
        body: &Body<'_>,
    ) -> Result<(), Failure> {
        let separator = if location.contains('?') { '&' } else { '?' };
        let path = format!("{location}{separator}digest={digest}");
        let request = Request::new(Method::Put, &self.host, &path, &[OCTETS], Some(body.len()));
        self.connection.fetch_status(&request, body, 201).await?;
        Ok(())
    }
}

/// The body of an answer as JSON.
///
/// # Errors
/// `Content` if it is not.
pub fn json(request: &str, answer: &Answer) -> Result<Value, Failure> {
    serde_json::from_slice(&answer.body).map_err(|error| Failure::Content {
        request: request.to_owned(),
        what: format!("the answer is no JSON: {error}"),
    })
}

/// A body as `Transfer-Encoding: chunked` has it.
fn chunked(content: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(content.len() + 64);
    for chunk in content.chunks(STREAM_CHUNK_BYTES) {
        encoded.extend(format!("{:x}\r\n", chunk.len()).bytes());
        encoded.extend(chunk);
        encoded.extend(b"\r\n");
    }
    encoded.extend(b"0\r\n\r\n");
    encoded
}

/// The path of an answer's `Location`, which may be a whole URL.
fn next_location(request: &Request, answer: &Answer) -> Result<String, Failure> {
    let location = answer.header("location").ok_or_else(|| Failure::Content {
        request: line(request),
        what: "the answer has no Location".to_owned(),
    })?;
    Ok(path_of(location).to_owned())
}

/// The path of the next page of a list.
pub fn next_page(answer: &Answer) -> Option<String> {
    let target = answer.header("link").and_then(next_link)?;
    Some(path_of(target).to_owned())
}

/// The path and query of a URL, which may be a path already.
pub fn path_of(url: &str) -> &str {
    match url.split_once("://") {
        _ if url.starts_with('/') => url,
        Some((_, rest)) => &rest[rest.find('/').unwrap_or(rest.len())..],
        None => url,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_a_path_or_a_whole_url() {
        assert_eq!(path_of("/v2/a?b=http://c"), "/v2/a?b=http://c");
        assert_eq!(path_of("http://127.0.0.1:5000/v2/a?b"), "/v2/a?b");
        assert_eq!(path_of("http://h"), "");
    }
}
