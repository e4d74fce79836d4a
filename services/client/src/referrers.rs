//! The referrers API: asked on both of its paths, read to its last page.
//!
//! The working group's path comes first, as the original tools ask it, then the standard one. Only a 404 on both means that
//! the API is missing; any other failure is an error. What a repository answered once is remembered by the client.

use crate::{
    Asked, Error, Repository, Result,
    error::clean,
    pages::Pages,
    redact,
    session::Ask,
    transport::{Method, Response, header},
};
use oci::{Descriptor, Digest, Route, headers, manifest::ANNOTATION_FILTERS_APPLIED, media_type};
use serde::Deserialize;
use serde_json::Value;
use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
};
use url::Url;

/// The largest page that is read, in bytes: that of a manifest, which it is.
const MAX_PAGE_BYTES: usize = oci::MAX_MANIFEST_BYTES;

/// One of the API's paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApiPath {
    /// `_oci/artifacts/referrers?digest=…`, the working group's.
    Artifacts,
    /// `referrers/<digest>`, the standard's.
    Referrers,
}

impl ApiPath {
    /// Both, in the order in which they are asked.
    pub const ALL: [ApiPath; 2] = [ApiPath::Artifacts, ApiPath::Referrers];

    /// How the path is named in long listings.
    pub const fn name(self) -> &'static str {
        match self {
            ApiPath::Artifacts => "_oci/artifacts/referrers",
            ApiPath::Referrers => "referrers",
        }
    }
}

/// What the API says about a subject.
#[derive(Clone, Debug, PartialEq)]
pub enum ApiAnswer {
    /// The list, of all pages.
    Listed(Listing),
    /// 404 on both paths: the registry has no such API.
    Missing,
    /// A 200 that is not an image index; to be told to the user and treated as missing.
    NotAnIndex(NotAnIndex),
}

impl ApiAnswer {
    /// Whether the registry has the API.
    pub fn is_supported(&self) -> bool {
        matches!(self, ApiAnswer::Listed(_))
    }
}

/// A list of referrers.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing {
    /// The path that answered.
    pub path: ApiPath,
    /// The referrers in the registry's order, the filter applied here again, without duplicates.
    pub entries: Vec<Descriptor>,
    /// Entries that were listed before, on this page or another one.
    pub repeated: Vec<Descriptor>,
    /// The first page's index with the entries of all pages and nothing else changed, for output as JSON.
    pub index: serde_json::Value,
    /// Whether the registry says that it applied the filter (either way of saying so).
    pub filter_applied: bool,
    /// How many pages were read.
    pub pages: u32,
}

/// Why a 200 was not an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAnIndex {
    /// The URL that answered.
    pub url: String,
    /// What came, for a person: an HTML page, an empty body, another media type.
    pub found: String,
}

impl std::fmt::Display for NotAnIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let NotAnIndex { url, found } = self;
        write!(
            f,
            "{url} answered 200, but with {found}; the referrers API counts as missing"
        )
    }
}

/// Whether a repository has the API, without the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Support {
    /// It has, on this path.
    Api(ApiPath),
    /// 404 on both paths.
    Missing,
    /// A 200 that is not an image index; to be told to the user and treated as missing.
    NotAnIndex(NotAnIndex),
}

/// Keeps the entries of one artifact type, as a registry's filter does.
pub fn filter(entries: Vec<Descriptor>, artifact_type: Option<&str>) -> Vec<Descriptor> {
    entries
        .into_iter()
        .filter(|entry| artifact_type.is_none_or(|wanted| entry.artifact_type.as_deref() == Some(wanted)))
        .collect()
}

/// What a client learnt: which path a registry has, and which repositories have none.
#[derive(Default)]
pub(crate) struct Memory {
    paths: RefCell<HashMap<String, ApiPath>>,
    lacking: RefCell<HashMap<String, Support>>,
}

/// The answer to the first page's request, on one path.
enum First {
    Page(Page),
    NotFound,
    NotAnIndex(NotAnIndex),
}

/// A page that is an image index.
struct Page {
    index: Value,
    filter_applied: bool,
    next: Option<Url>,
    pages: Pages,
}

impl Repository {
    /// The referrers of a subject, all pages, by the API.
    ///
    /// `artifact_type` is sent as a filter and applied here again.
    ///
    /// # Errors
    /// Every failure but a 404 on both paths; `EndlessPages` if the pages do not end.
    ///
    /// Source: OCI distribution-spec 1.1, "Listing Referrers"; Proposal E, "Referrers API".
    pub async fn referrers(&self, subject: &Digest, artifact_type: Option<&str>) -> Result<ApiAnswer> {
        if let Some(known) = self.memory().lacking.borrow().get(&self.to_string()).cloned() {
            return Ok(lacking(known));
        }
        match self.first_page(subject, artifact_type).await? {
            Ok((path, page)) => self
                .listing(path, page, artifact_type)
                .await
                .map(ApiAnswer::Listed),
            Err(support) => Ok(lacking(support)),
        }
    }

    /// Whether the repository's registry has the API: one query (of the two paths), its first page only. What was
    /// learnt before by this client is answered without a request.
    ///
    /// # Errors
    /// Every failure but a 404 on both paths.
    pub async fn referrers_support(&self, subject: &Digest) -> Result<Support> {
        if let Some(path) = self.memory().paths.borrow().get(self.registry().name()) {
            return Ok(Support::Api(*path));
        }
        if let Some(known) = self.memory().lacking.borrow().get(&self.to_string()) {
            return Ok(known.clone());
        }
        Ok(match self.first_page(subject, None).await? {
            Ok((path, _)) => Support::Api(path),
            Err(support) => support,
        })
    }

    fn memory(&self) -> &Memory {
        &self.client().inner().memory
    }

    /// Asks the paths in their order and remembers the outcome.
    async fn first_page(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Result<(ApiPath, Page), Support>> {
        let known = self.memory().paths.borrow().get(self.registry().name()).copied();
        let mut paths = ApiPath::ALL;
        // The path that answered before comes first; the other one still has to say 404 before the API is missing.
        paths.sort_by_key(|path| Some(*path) != known);
        let mut strange = None;
        for path in paths {
            match self.ask_first(path, subject, artifact_type).await? {
                First::Page(page) => {
                    let registry = self.registry().name().to_owned();
                    self.memory().paths.borrow_mut().insert(registry, path);
                    return Ok(Ok((path, page)));
                }
                First::NotFound => {}
                First::NotAnIndex(why) => {
                    strange.get_or_insert(why);
                }
            }
        }
        let support = strange.map_or(Support::Missing, Support::NotAnIndex);
        self.memory()
            .lacking
            .borrow_mut()
            .insert(self.to_string(), support.clone());
        Ok(Err(support))
    }

    async fn ask_first(&self, path: ApiPath, subject: &Digest, artifact_type: Option<&str>) -> Result<First> {
        let route = match path {
            ApiPath::Artifacts => Route::ArtifactReferrers(self.name().clone(), *subject),
            ApiPath::Referrers => Route::Referrers(self.name().clone(), *subject),
        };
        let mut ask = self.reading(Method::GET, &route);
        if let Some(wanted) = artifact_type {
            ask.url.query_pairs_mut().append_pair("artifactType", wanted);
        }
        let ask = ask.header(header::ACCEPT, media_type::OCI_INDEX);
        let pages = Pages::begin("referrers", &ask.url);
        let response = self.session().send(ask).await?;
        match response.status() {
            404 => {
                response.discard().await;
                Ok(First::NotFound)
            }
            200 => self.read_page(response, pages, 0).await,
            400.. => Err(response.into_error("the list of referrers").await),
            _ => Err(response.unexpected("200 or 404").await),
        }
    }

    async fn read_page(&self, response: Response, mut pages: Pages, entries: usize) -> Result<First> {
        let url = redact::url(response.url().as_str());
        let stated = response
            .header(&header::CONTENT_TYPE)
            .unwrap_or_default()
            .to_owned();
        let is_index = response.media_type() == media_type::OCI_INDEX;
        let next = pages.next(&response, entries)?;
        let applied = response
            .header_named(headers::OCI_FILTERS_APPLIED)
            .is_some_and(names_the_filter);
        let body = response.document(MAX_PAGE_BYTES, "a list of referrers").await?;
        pages.keep(body.len());
        let index = match (is_index, serde_json::from_slice::<Value>(&body)) {
            (true, Ok(index))
                if index
                    .get("manifests")
                    .is_some_and(|m| m.is_array() || m.is_null()) =>
            {
                index
            }
            (is_index, parsed) => {
                let found = describe(is_index, &stated, &body, parsed.is_ok());
                return Ok(First::NotAnIndex(NotAnIndex { url, found }));
            }
        };
        let annotation = index
            .get("annotations")
            .and_then(|a| a.get(ANNOTATION_FILTERS_APPLIED)?.as_str());
        let filter_applied = applied || annotation.is_some_and(names_the_filter);
        Ok(First::Page(Page {
            index,
            filter_applied,
            next,
            pages,
        }))
    }

    async fn listing(&self, path: ApiPath, first: Page, artifact_type: Option<&str>) -> Result<Listing> {
        let mut all = Entries::default();
        let Page {
            mut index,
            filter_applied,
            mut next,
            mut pages,
        } = first;
        all.take(&mut index, &self.at(path))?;
        while let Some(url) = next.take() {
            let ask = Ask::new(Method::GET, url, crate::auth::pull(self.name()))
                .header(header::ACCEPT, media_type::OCI_INDEX);
            let response = self.session().send(ask).await?;
            let at = response.at();
            if response.status() != 200 {
                return Err(response.unexpected("200").await);
            }
            match self.read_page(response, pages, all.descriptors.len()).await? {
                First::Page(mut page) => {
                    all.take(&mut page.index, &at)?;
                    (next, pages) = (page.next, page.pages);
                }
                // The first page was an index, so this is no missing API but a broken list.
                First::NotAnIndex(NotAnIndex { found, .. }) => {
                    return Err(Error::Unreadable {
                        at: Box::new(at),
                        why: format!("a further page of the list is not an image index but {found}"),
                    });
                }
                First::NotFound => unreachable!("a page is read from a 200 alone"),
            }
        }
        let count = pages.count();
        let entries = filter(all.descriptors, artifact_type);
        let repeated = filter(all.repeated, artifact_type);
        let kept: HashSet<String> = entries.iter().map(|e| e.digest.to_string()).collect();
        let mut values = all.values;
        values.retain(|v| {
            v.get("digest")
                .and_then(Value::as_str)
                .is_some_and(|d| kept.contains(d))
        });
        if let Some(manifests) = index.get_mut("manifests") {
            *manifests = Value::Array(values);
        }
        Ok(Listing {
            path,
            entries,
            repeated,
            index,
            filter_applied,
            pages: count,
        })
    }

    fn at(&self, path: ApiPath) -> Asked {
        Asked {
            method: "GET".to_owned(),
            url: format!("{self}/{}", path.name()),
        }
    }
}

/// The entries of all pages, once each.
#[derive(Default)]
struct Entries {
    descriptors: Vec<Descriptor>,
    values: Vec<Value>,
    repeated: Vec<Descriptor>,
    seen: HashSet<Digest>,
}

impl Entries {
    /// Moves the entries of a page here.
    fn take(&mut self, index: &mut Value, at: &Asked) -> Result<()> {
        let Some(Value::Array(manifests)) = index.get_mut("manifests").map(Value::take) else {
            return Ok(());
        };
        for value in manifests {
            let descriptor = Descriptor::deserialize(&value).map_err(|e| Error::Unreadable {
                at: Box::new(at.clone()),
                why: format!("an entry of the list: {}", clean(&e.to_string())),
            })?;
            if self.seen.insert(descriptor.digest) {
                self.descriptors.push(descriptor);
                self.values.push(value);
            } else {
                self.repeated.push(descriptor);
            }
        }
        Ok(())
    }
}

fn lacking(support: Support) -> ApiAnswer {
    match support {
        Support::NotAnIndex(why) => ApiAnswer::NotAnIndex(why),
        Support::Missing | Support::Api(_) => ApiAnswer::Missing,
    }
}

/// Whether a list of filters has the one that this client uses.
fn names_the_filter(list: &str) -> bool {
    list.split(',').any(|name| name.trim() == "artifactType")
}

/// What a 200 was, for a person.
fn describe(is_index: bool, stated: &str, body: &[u8], is_json: bool) -> String {
    let start = String::from_utf8_lossy(&body[..body.len().min(64)])
        .trim_start()
        .to_ascii_lowercase();
    if body.is_empty() {
        "an empty body".to_owned()
    } else if start.starts_with("<!doctype") || start.starts_with("<html") {
        "an HTML page".to_owned()
    } else if !is_index {
        format!("a body of Content-Type {:?}", clean(stated))
    } else if is_json {
        "JSON without a list of manifests".to_owned()
    } else {
        "a body that is no JSON".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_200_was_is_told_apart() {
        assert_eq!(
            describe(false, "text/html", b" <!DOCTYPE html>", false),
            "an HTML page"
        );
        assert_eq!(describe(true, media_type::OCI_INDEX, b"", false), "an empty body");
        assert_eq!(
            describe(true, media_type::OCI_INDEX, b"{}", true),
            "JSON without a list of manifests"
        );
        assert_eq!(
            describe(true, media_type::OCI_INDEX, b"\xff{", false),
            "a body that is no JSON"
        );
        assert!(describe(false, "application/json", b"{}", true).contains("application/json"));
    }
}
