//! The referrers API: asked on both of its paths, read to its last page.
//!
//! The working group's path comes first, as the original tools ask it, then the standard one. Only a 404 on both means that
//! the API is missing; any other failure is an error. What a repository answered once is remembered by the client.

use oci::{Descriptor, Digest};

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

impl crate::Repository {
    /// The referrers of a subject, all pages, by the API.
    ///
    /// `artifact_type` is sent as a filter and applied here again.
    ///
    /// # Errors
    /// Every failure but a 404 on both paths; `EndlessPages` if the pages do not end.
    ///
    /// Source: OCI distribution-spec 1.1, "Listing Referrers"; Proposal E, "Referrers API".
    pub async fn referrers(&self, subject: &Digest, artifact_type: Option<&str>) -> crate::Result<ApiAnswer> {
        let _ = (subject, artifact_type);
        todo!()
    }

    /// Whether the repository's registry has the API: one query (of the two paths), its first page only. What was
    /// learnt before by this client is answered without a request.
    ///
    /// # Errors
    /// Every failure but a 404 on both paths.
    pub async fn referrers_support(&self, subject: &Digest) -> crate::Result<Support> {
        let _ = subject;
        todo!()
    }
}
