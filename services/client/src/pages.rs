//! Lists that come in pages: tags and repositories. `Link` is followed to the end, within limits.

use crate::{
    Error, Registry, Repository, Result,
    auth::Scopes,
    error::clean,
    session::{Ask, Session},
    transport::{Method, Response, header},
};
use oci::{Route, headers};
use serde::Deserialize;
use std::collections::HashSet;
use url::Url;

/// The largest page that is read, in bytes: a registry may answer all of its tags at once.
const MAX_PAGE_BYTES: usize = 16 * 1024 * 1024;
/// How many pages are read.
pub(crate) const MAX_PAGES: u32 = 5_000;
/// How many entries all pages may have together.
pub(crate) const MAX_ENTRIES: usize = 1_000_000;

/// How many bytes all pages may have together: they are kept in memory, and an entry may be as large as its page.
pub(crate) const MAX_LIST_BYTES: usize = 32 * 1024 * 1024;

/// Guards against pages without an end.
pub(crate) struct Pages {
    what: &'static str,
    seen: HashSet<String>,
    bytes: usize,
}

impl Pages {
    /// Begins with the first page.
    pub(crate) fn begin(what: &'static str, first: &Url) -> Pages {
        Pages {
            what,
            seen: HashSet::from([first.to_string()]),
            bytes: 0,
        }
    }

    /// Counts the bytes of a page that is kept.
    pub(crate) fn keep(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// How many pages there were so far.
    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.seen.len()).unwrap_or(u32::MAX)
    }

    /// The next page's URL, if the answer names one. `entries` counts those of all pages so far.
    ///
    /// # Errors
    /// `EndlessPages` for a loop or too many; `Protocol` if the link is no URL of this registry.
    pub(crate) fn next(&mut self, response: &Response, entries: usize) -> Result<Option<Url>> {
        let at = || Box::new(response.at());
        let links = response.headers(&header::LINK);
        let Some(link) = links.iter().find_map(|value| headers::next_link(value)) else {
            return Ok(None);
        };
        let endless = |why: String| Error::EndlessPages {
            at: at(),
            what: self.what,
            why,
        };
        let shown = clean(&crate::redact::url(link));
        let url = response.url().join(link).map_err(|e| Error::Protocol {
            at: at(),
            what: format!("the Link {shown:?} is no URL: {e}"),
        })?;
        if self.count() >= MAX_PAGES {
            return Err(endless(format!("more than {MAX_PAGES} pages")));
        }
        if self.bytes > MAX_LIST_BYTES {
            return Err(endless(format!("more than {MAX_LIST_BYTES} bytes")));
        }
        if entries > MAX_ENTRIES {
            return Err(endless(format!("more than {MAX_ENTRIES} entries")));
        }
        if !self.seen.insert(url.to_string()) {
            return Err(endless(format!("its Link leads back to {shown}")));
        }
        Ok(Some(url))
    }
}

#[derive(Deserialize)]
struct Page {
    // A registry without tags may answer null.
    #[serde(alias = "repositories")]
    tags: Option<Vec<String>>,
}

async fn collect(session: &Session, ask: Ask, what: &'static str, missing: &str) -> Result<Vec<String>> {
    let mut pages = Pages::begin(what, &ask.url);
    let scopes = ask.scopes.clone();
    let mut next = Some(ask);
    let mut all: Vec<String> = Vec::new();
    while let Some(ask) = next.take() {
        let response = session.send(ask).await?;
        match response.status() {
            200 => {}
            400.. => return Err(response.into_error(missing).await),
            _ => return Err(response.unexpected("200").await),
        }
        let at = Box::new(response.at());
        let url = pages.next(&response, all.len())?;
        let stated = response
            .header(&header::CONTENT_TYPE)
            .unwrap_or_default()
            .to_owned();
        let html = response.media_type() == "text/html";
        let body = response.document(MAX_PAGE_BYTES, what).await?;
        pages.keep(body.len());
        if html {
            return Err(Error::WrongContentType {
                at,
                got: clean(&stated),
                expected: "application/json",
            });
        }
        let page: Page = serde_json::from_slice(&body).map_err(|e| Error::Unreadable {
            at,
            why: clean(&e.to_string()),
        })?;
        all.extend(page.tags.unwrap_or_default());
        next = url.map(|url| Ask::new(Method::GET, url, scopes.clone()));
    }
    Ok(all)
}

impl Registry {
    /// Every repository, all pages.
    ///
    /// # Errors
    /// Every failure; many registries refuse this.
    pub async fn catalog(&self) -> Result<Vec<String>> {
        let url = self.session().url(&Route::Catalog.to_string());
        let scopes = Scopes::from(["registry:catalog:*".to_owned()]);
        let ask = Ask::new(Method::GET, url, scopes);
        collect(self.session(), ask, "repositories", "the catalog").await
    }
}

impl Repository {
    /// Every tag, all pages, in the registry's order.
    ///
    /// # Errors
    /// `NotFound` if the repository is unknown; `EndlessPages`.
    pub async fn tags(&self) -> Result<Vec<String>> {
        let ask = self.reading(Method::GET, &Route::Tags(self.name().clone()));
        collect(self.session(), ask, "tags", &format!("repository {self}")).await
    }
}
