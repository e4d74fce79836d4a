//! An answer as it is, for who wants to see it rather than have it dealt with: a judge, a front desk.

use crate::{
    Error, Registry, Result,
    auth::Scopes,
    session::Ask,
    transport::{Method, header},
};
use bytes::Bytes;

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
    /// Every header in the answer's order; a value that is no text has its bytes replaced.
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
        let ask = Ask::new(method.clone(), url, Scopes::new()).header(header::ACCEPT, "*/*");
        let response = self.session().send(ask).await?;
        let mut answer = RawAnswer {
            url: crate::redact::url(response.url().as_str()),
            status: response.status(),
            media_type: Some(response.media_type()).filter(|media_type| !media_type.is_empty()),
            digest: response.header_named("docker-content-digest").map(str::to_owned),
            size: response.content_length(),
            headers: response.header_pairs(),
            body: Bytes::new(),
        };
        if method == Method::HEAD {
            response.discard().await;
        } else {
            answer.body = response
                .document(oci::MAX_MANIFEST_BYTES, "an answer that is looked at")
                .await?;
        }
        Ok(answer)
    }
}
