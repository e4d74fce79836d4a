//! Uploads: what is there is skipped, what another repository has is mounted, what broke goes on where it stopped.
//!
//! Small blobs go in one PUT; larger ones in one streamed PATCH and an empty PUT, so that the registry can say how far it
//! got. The registry verifies the digest; a source whose bytes are wrong ends the upload before its last piece.

use super::download::MAX_RESUMES;
use super::verify::{Wrong, verified, watch};
use crate::{
    Asked, Error, Repository, Result,
    auth::{self, Scopes},
    progress::BlobOutcome,
    repository::{BlobSource, ByteStream},
    session::Ask,
    transport::{Body, Method, Response, header},
};
use oci::{Descriptor, RepositoryName, Route, headers, media_type, routes::query_value};
use url::Url;

/// The largest blob that is sent in one PUT, in bytes: sending 1 MiB again costs little.
const MAX_SINGLE_PUT_BYTES: u64 = 1024 * 1024;

/// How a POST to begin an upload ended.
enum Begun {
    Mounted,
    Session(Url),
}

impl Repository {
    /// Brings a blob to the repository: skips it if it is there, else uploads it; an upload that breaks is resumed.
    ///
    /// # Errors
    /// Every failure; `DigestMismatch` if the source's bytes are not the descriptor's.
    pub async fn put_blob(&self, blob: &Descriptor, source: &dyn BlobSource) -> Result<BlobOutcome> {
        self.bring(blob, None, source).await
    }

    /// As [`Repository::put_blob`] for a blob of another repository of the same registry: mounts it if the registry can.
    ///
    /// # Errors
    /// As there.
    pub async fn mount_blob(
        &self,
        blob: &Descriptor,
        from: &RepositoryName,
        source: &dyn BlobSource,
    ) -> Result<BlobOutcome> {
        self.bring(blob, Some(from), source).await
    }

    async fn bring(
        &self,
        blob: &Descriptor,
        from: Option<&RepositoryName>,
        source: &dyn BlobSource,
    ) -> Result<BlobOutcome> {
        let outcome = match self.head_blob(&blob.digest).await? {
            Some(_) => BlobOutcome::Present,
            None => match self.begin(blob, from).await? {
                Begun::Mounted => BlobOutcome::Mounted,
                Begun::Session(url) => {
                    self.client().progress().blob_started(blob);
                    let upload = Upload {
                        repository: self,
                        blob,
                        source,
                    };
                    upload.run(url).await?;
                    BlobOutcome::Copied
                }
            },
        };
        self.client().progress().blob_done(blob, outcome);
        Ok(outcome)
    }

    async fn begin(&self, blob: &Descriptor, from: Option<&RepositoryName>) -> Result<Begun> {
        let mut ask = self.writing(Method::POST, &Route::Uploads(self.name().clone()));
        if let Some(from) = from {
            let query = format!(
                "mount={}&from={}",
                query_value(&blob.digest.to_string()),
                query_value(from.as_str())
            );
            ask.url.set_query(Some(&query));
            ask.scopes = auth::mount(self.name(), from);
        }
        let response = match self.session().send(ask).await {
            // Who may read there and write here may still not mount: token servers refuse a token for both at once.
            Err(Error::NotAuthorised { .. }) if from.is_some() => {
                return Box::pin(self.begin(blob, None)).await;
            }
            response => response?,
        };
        match response.status() {
            201 => {
                response.discard().await;
                Ok(Begun::Mounted)
            }
            202 => {
                let url = next_location(self, &response)?;
                response.discard().await;
                Ok(Begun::Session(url))
            }
            // Some registries refuse what they cannot mount, instead of beginning an upload.
            400 | 403..=405 if from.is_some() => {
                response.discard().await;
                Box::pin(self.begin(blob, None)).await
            }
            400.. => Err(response.into_error(&format!("repository {self}")).await),
            _ => Err(response.unexpected("202").await),
        }
    }
}

/// An upload under way.
struct Upload<'a> {
    repository: &'a Repository,
    blob: &'a Descriptor,
    source: &'a dyn BlobSource,
}

/// What is left to do.
enum Step {
    /// Send the bytes from here on, then finish.
    Send(Url, u64),
    /// All is there but the last PUT.
    Finish(Url),
    Done,
}

impl Upload<'_> {
    async fn run(&self, session: Url) -> Result<()> {
        let transport = &self.repository.client().inner().transport;
        let (mut step, mut furthest, mut fruitless, mut resumed) = (Step::Send(session, 0), 0, 1, 0);
        loop {
            let url = match &step {
                Step::Send(url, _) | Step::Finish(url) => url.clone(),
                Step::Done => return Ok(()),
            };
            let error = match self.take(step).await {
                Ok(next) => {
                    step = next;
                    continue;
                }
                Err(error) => error,
            };
            if !is_transient(&error) || fruitless >= transport.attempts() || resumed >= MAX_RESUMES {
                return Err(error);
            }
            resumed += 1;
            if !transport.back_off(fruitless, &error).await {
                return Err(error);
            }
            step = self.where_it_stopped(url).await?;
            let reached = match &step {
                Step::Send(_, offset) => *offset,
                Step::Finish(_) | Step::Done => self.blob.size,
            };
            log::info!("going on at byte {reached} of {}", self.blob.size);
            fruitless = if reached > furthest { 1 } else { fruitless + 1 };
            furthest = furthest.max(reached);
        }
    }

    async fn take(&self, step: Step) -> Result<Step> {
        match step {
            Step::Send(url, 0) if self.blob.size <= MAX_SINGLE_PUT_BYTES => {
                let stream = self.stream(0, &url).await?;
                let body = crate::blobs::collect(stream, self.blob.size).await?;
                self.finish(url, Body::Bytes(body)).await
            }
            Step::Send(url, offset) => self.patch(url, offset).await,
            Step::Finish(url) => self.finish(url, Body::Empty).await,
            Step::Done => Ok(Step::Done),
        }
    }

    async fn patch(&self, url: Url, offset: u64) -> Result<Step> {
        let stream = self.stream(offset, &url).await?;
        let body = Body::Stream(self.blob.size - offset, stream);
        let mut ask = self.ask(Method::PATCH, url).body(body).once();
        ask = ask.header(header::CONTENT_TYPE, media_type::OCTET_STREAM);
        if offset > 0 {
            let range = format!("{offset}-{}", self.blob.size - 1);
            ask = ask.header(header::CONTENT_RANGE, range);
        }
        let response = self.repository.session().send(ask).await?;
        match response.status() {
            202 | 204 => {
                let url = next_location(self.repository, &response)?;
                response.discard().await;
                Ok(Step::Finish(url))
            }
            400.. => Err(response.into_error("the upload session").await),
            _ => Err(response.unexpected("202").await),
        }
    }

    async fn finish(&self, mut url: Url, body: Body) -> Result<Step> {
        url.query_pairs_mut()
            .append_pair("digest", &self.blob.digest.to_string());
        let ask = self
            .ask(Method::PUT, url)
            .header(header::CONTENT_TYPE, media_type::OCTET_STREAM)
            .body(body)
            .once();
        let response = self.repository.session().send(ask).await?;
        match response.status() {
            201 | 204 => {
                let at = response.at();
                let claimed = crate::manifests::digest_header(&response)?;
                response.discard().await;
                match claimed {
                    Some(claimed)
                        if claimed.algorithm() == self.blob.digest.algorithm()
                            && claimed != self.blob.digest =>
                    {
                        let (expected, computed) = (Box::new(self.blob.digest), Box::new(claimed));
                        Err(Wrong::Digest { expected, computed }.at(&at))
                    }
                    _ => Ok(Step::Done),
                }
            }
            400.. => Err(response.into_error("the upload session").await),
            _ => Err(response.unexpected("201").await),
        }
    }

    /// Asks how far a broken upload got; begins anew if the session is gone.
    async fn where_it_stopped(&self, url: Url) -> Result<Step> {
        // The last PUT may have arrived although its answer did not.
        if self.repository.head_blob(&self.blob.digest).await?.is_some() {
            return Ok(Step::Done);
        }
        let response = self
            .repository
            .session()
            .send(self.ask(Method::GET, url.clone()))
            .await?;
        let reached = match response.status() {
            200..=204 => {
                let range = response.header(&header::RANGE).unwrap_or_default();
                // `0-0` is what registries answer both for nothing and for one byte.
                let reached = headers::parse_chunk_range(range).map_or(0, |(_, end)| end.saturating_add(1));
                let location = response.location().unwrap_or(url);
                Some((location, if reached == 1 { 0 } else { reached }))
            }
            _ => None,
        };
        response.discard().await;
        match reached {
            Some((url, offset)) if offset == self.blob.size => Ok(Step::Finish(url)),
            Some((url, offset)) if offset > 0 && offset < self.blob.size => Ok(Step::Send(url, offset)),
            _ => match self.repository.begin(self.blob, None).await? {
                Begun::Session(url) => Ok(Step::Send(url, 0)),
                Begun::Mounted => Ok(Step::Done),
            },
        }
    }

    fn ask(&self, method: Method, url: Url) -> Ask {
        Ask::new(method, url, push_scopes(self.repository))
    }

    /// The source's bytes from an offset, verified, and their progress told.
    async fn stream(&self, offset: u64, url: &Url) -> Result<ByteStream> {
        let at = Asked {
            method: "PATCH".to_owned(),
            url: crate::redact::url(url.as_str()),
        };
        let stream = self.source.open(offset).await?;
        let stream = verified(stream, self.blob, offset, move |wrong| wrong.at(&at));
        Ok(watch(stream, self.repository.client(), self.blob, offset))
    }
}

fn push_scopes(repository: &Repository) -> Scopes {
    auth::push(repository.name())
}

/// Whether an upload may go on after this.
fn is_transient(error: &Error) -> bool {
    match error {
        Error::Unreachable { .. } | Error::TimedOut { .. } | Error::TooManyRequests { .. } => true,
        // A session that was lost or is out of step can be begun anew.
        Error::NotFound { .. } => true,
        Error::Refused { answer, .. } => answer.status == 416,
        Error::ServerFailed { answer, .. } => matches!(answer.status, 500 | 502..=504),
        // A token that ran out while a stream was sent: the next request gets a fresh one.
        Error::NotAuthorised { answer, .. } => answer.status == 401,
        _ => false,
    }
}

/// Where the upload goes on. A registry behind a TLS proxy may think that it speaks http.
fn next_location(repository: &Repository, response: &Response) -> Result<Url> {
    let mut url = response.location()?;
    let base = &repository.session().endpoint.base;
    let same_host = url.host_str() == base.host_str() && url.port() == base.port();
    if base.scheme() == "https" && url.scheme() == "http" && same_host {
        // Cannot fail: both are schemes with a host.
        let _ = url.set_scheme("https");
    }
    if base.scheme() == "https" && url.scheme() != "https" {
        return Err(Error::BadRedirect {
            at: Box::new(response.at()),
            why: format!(
                "the upload from https to plain http: {}",
                crate::redact::url(url.as_str())
            ),
        });
    }
    Ok(url)
}
