//! An answer as it is, for who wants to see it rather than have it dealt with: a judge, a front desk.

use crate::{
    Error, Registry, Result,
    auth::Scopes,
    pages::Pages,
    session::{Ask, Session},
    transport::{Method, Response, header},
};
use bytes::Bytes;
use url::Url;

/// An answer of any status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawAnswer {
    /// The URL that answered.
    pub url: String,
    /// The HTTP status.
    pub status: u16,
    /// `Content-Type` without parameters, in lower case; `None` if there is none.
    pub media_type: Option<String>,
    /// `Docker-Content-Digest`, unread.
    pub digest: Option<String>,
    /// `Content-Length`.
    pub size: Option<u64>,
    /// Every header, by name; a value that is no text has its bytes replaced.
    pub headers: Vec<(String, String)>,
    /// The body; empty for HEAD.
    pub body: Bytes,
}

impl Registry {
    /// Asks for a path, such as `/v2/app/tags/list?n=5`, and gives the answer as it is. Nothing in it is verified.
    ///
    /// # Errors
    /// `Usage` for a method other than GET and HEAD; `TooLarge` for a body above 4 MiB; every failure without an answer, a 401
    /// that no credentials help, and redirects that lead nowhere.
    pub async fn look(&self, method: &str, path: &str) -> Result<RawAnswer> {
        let method = match method {
            "GET" => Method::GET,
            "HEAD" => Method::HEAD,
            other => {
                return Err(Error::Usage(format!(
                    "{other:?} does not just look: expected GET or HEAD"
                )));
            }
        };
        let url = self.session().url(path);
        let response = self.session().send(asking(method, url)).await?;
        read(response).await
    }

    /// Asks for a list, such as `/v2/app/referrers/sha256:…`, to look at its pages one by one.
    pub fn pages(&self, path: &str) -> RawPages {
        let first = self.session().url(path);
        RawPages {
            session: self.session().clone(),
            seen: Pages::begin("pages", &first),
            next: Some(first),
        }
    }
}

/// A list whose pages are asked for one by one, each as it comes.
pub struct RawPages {
    session: Session,
    seen: Pages,
    next: Option<Url>,
}

impl RawPages {
    /// The next page: where the `Link` of the one before leads. `None` after the last.
    ///
    /// # Errors
    /// As [`Registry::look`]; `EndlessPages` for pages that lead back to themselves or do not end.
    pub async fn next(&mut self) -> Result<Option<RawAnswer>> {
        let Some(url) = self.next.take() else {
            return Ok(None);
        };
        let response = self.session.send(asking(Method::GET, url)).await?;
        self.next = self.seen.next(&response, 0)?;
        read(response).await.map(Some)
    }
}

fn asking(method: Method, url: Url) -> Ask {
    Ask::new(method, url, Scopes::new()).header(header::ACCEPT, "*/*")
}

/// The answer as it is. Of HEAD there is no body, whatever its length says.
async fn read(response: Response) -> Result<RawAnswer> {
    let mut headers = response.header_pairs();
    headers.sort();
    Ok(RawAnswer {
        url: crate::redact::url(response.url().as_str()),
        status: response.status(),
        media_type: Some(response.media_type()).filter(|media_type| !media_type.is_empty()),
        digest: response.header_named("docker-content-digest").map(str::to_owned),
        size: response.content_length(),
        headers,
        body: response
            .document(oci::MAX_MANIFEST_BYTES, "an answer that is looked at")
            .await?,
    })
}
