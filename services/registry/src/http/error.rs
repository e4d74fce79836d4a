//! Every way to refuse a request, and the one place that answers it: status, code, message and detail.

use super::request::RequestId;
use crate::domain::Error;
use actix_web::{
    HttpMessage, HttpRequest, HttpResponse,
    http::{StatusCode, header},
};
use oci::{Digest, DigestError, ErrorCode, ErrorEntry, ErrorEnvelope, NameError, name::ManifestRefError};
use serde_json::{Value, json};

/// When a client that was told to come back later should: an upload takes seconds, and a registry that stops is soon back.
///
/// Source: OCI distribution-spec main, "Error Codes": a 429 should say.
const RETRY_AFTER_SECONDS: u64 = 10;

/// How many missing contents have an entry of their own in a refusal.
const MAX_MISSING_ENTRIES: usize = 100;

/// How many characters of a path a refusal repeats.
const MAX_TOLD_PATH: usize = 300;

/// Why a request is not answered as its sender hoped.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The registry refused or failed.
    #[error(transparent)]
    Domain(#[from] Error),
    /// A repository name or tag that is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A digest that is none.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// No route has this path, or not in this configuration.
    #[error("there is nothing at this path")]
    NoRoute,
    /// The referrers API is not part of this registry.
    #[error("this registry does not have the referrers API: read the subject's digest tag")]
    NoReferrers,
    /// The path has another method.
    #[error("this path takes {allowed}")]
    MethodNotAllowed {
        /// As an `Allow` header lists them.
        allowed: &'static str,
    },
    /// The path is not UTF-8 or hides something.
    #[error("the path is not valid: slashes, backslashes and NUL must not be escaped in it")]
    BadPath,
    /// The query is not UTF-8.
    #[error("the query is not valid UTF-8 once decoded")]
    BadQuery,
    /// `n` is no number.
    #[error("n={text:?} is not a number of entries: expected digits")]
    BadCount {
        /// What stood there, cut to a printable length.
        text: String,
    },
    /// A manifest was asked for by what is no tag; as such there cannot be one.
    #[error("{0}")]
    NoSuchTag(NameError),
    /// A query parameter is missing.
    #[error("the query parameter digest is missing: expected the digest of the whole content")]
    DigestMissing,
    /// A `Content-Range` that cannot be read.
    #[error("Content-Range {text:?} is not <first>-<last>, both included")]
    BadContentRange {
        /// What stood there, cut to a printable length.
        text: String,
    },
    /// More tags in one request than are taken.
    #[error("{count} tags in one request are more than the {limit} that are taken")]
    TooManyTags {
        /// How many there were.
        count: usize,
        /// How many are taken.
        limit: usize,
    },
    /// A range that lies outside of a blob.
    #[error("the range lies outside of the blob's {size} bytes")]
    RangeOutside {
        /// Size of the blob.
        size: u64,
    },
    /// The body broke off or was malformed.
    #[error("the body ended before it was complete: {reason}")]
    BodyBroken {
        /// What the transport says.
        reason: String,
    },
    /// So many large manifests are under way that there is no memory for another.
    #[error("too many large manifests are being pushed at once: try again")]
    Crowded,
    /// The body came too slowly, or not on.
    #[error("the rest of the body did not come in time: upload it again, or go on with the session")]
    BodyTimeout,
    /// The server is going down.
    #[error("the registry is stopping: try again")]
    Stopping,
}

impl From<ManifestRefError> for ApiError {
    fn from(error: ManifestRefError) -> ApiError {
        match error {
            ManifestRefError::Digest(error) => ApiError::Digest(error),
            ManifestRefError::Tag(error) => ApiError::Name(error),
        }
    }
}

/// What a refusal says: a code, a status that may differ from the code's usual one, and details.
struct Refusal {
    code: ErrorCode,
    status: u16,
    detail: Value,
}

impl Refusal {
    fn of(code: ErrorCode, detail: Value) -> Refusal {
        Refusal {
            code,
            status: code.spec().status,
            detail,
        }
    }

    fn with_status(code: ErrorCode, status: u16, detail: Value) -> Refusal {
        Refusal { code, status, detail }
    }
}

impl ApiError {
    /// The table: every error, its code, its status, and the thing that it is about.
    fn refusal(&self) -> Refusal {
        use ErrorCode as C;
        let none = Value::Null;
        match self {
            ApiError::Domain(error) => domain_refusal(error),
            ApiError::Name(error) => match error {
                NameError::Repository { text } => Refusal::of(C::NameInvalid, json!({"name": text})),
                NameError::Tag { text } => Refusal::of(C::TagInvalid, json!({"tag": text})),
            },
            ApiError::Digest(error) => Refusal::of(
                C::DigestInvalid,
                match error {
                    DigestError::Malformed { text } | DigestError::WrongDigits { text, .. } => {
                        json!({"digest": text})
                    }
                    DigestError::UnsupportedAlgorithm { algorithm } => json!({"algorithm": algorithm}),
                },
            ),
            ApiError::DigestMissing => Refusal::of(C::DigestInvalid, json!({"parameter": "digest"})),
            ApiError::NoRoute | ApiError::NoReferrers => Refusal::with_status(C::Unsupported, 404, none),
            ApiError::MethodNotAllowed { allowed } => {
                Refusal::of(C::Unsupported, json!({"allowed": allowed}))
            }
            ApiError::BadPath => Refusal::of(C::NameInvalid, none),
            ApiError::BadQuery => Refusal::with_status(C::Unsupported, 400, none),
            ApiError::BadCount { text } => Refusal::of(C::PaginationNumberInvalid, json!({"n": text})),
            ApiError::NoSuchTag(error) => {
                Refusal::of(C::ManifestUnknown, json!({"reason": error.to_string()}))
            }
            ApiError::BadContentRange { text } => {
                Refusal::with_status(C::BlobUploadInvalid, 400, json!({"Content-Range": text}))
            }
            ApiError::TooManyTags { count, limit } => {
                Refusal::with_status(C::TagInvalid, 414, json!({"tags": count, "limit": limit}))
            }
            ApiError::RangeOutside { size } => Refusal::of(C::RangeInvalid, json!({"size": size})),
            ApiError::BodyBroken { .. } => Refusal::of(C::BlobUploadInvalid, none),
            ApiError::Crowded => Refusal::of(C::TooManyRequests, none),
            ApiError::BodyTimeout => Refusal::with_status(C::BlobUploadInvalid, 408, none),
            ApiError::Stopping => Refusal::of(C::Unavailable, none),
        }
    }

    /// The answer, and a line in the log if it is our fault.
    pub(super) fn respond(&self, request: &HttpRequest) -> HttpResponse {
        let mut refusal = self.refusal();
        let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let ours = status.is_server_error();
        // Damage is told where it is found, once for a content and with what helps.
        let is_told = matches!(self, ApiError::Domain(Error::Damaged { .. }));
        if ours && !is_told {
            log::error!(
                "{} {} [{}]: {}",
                request.method(),
                request.path(),
                request
                    .extensions()
                    .get::<RequestId>()
                    .map_or_else(|| "-".to_owned(), |id| id.0.to_str().unwrap_or("-").to_owned()),
                chain(self)
            );
        }
        if refusal.detail.is_null() {
            // What is about no other thing is about what was asked for.
            let path: String = request.path().chars().take(MAX_TOLD_PATH).collect();
            refusal.detail = json!({"path": path});
        }
        let mut response = HttpResponse::build(status);
        if matches!(refusal.code, ErrorCode::TooManyRequests | ErrorCode::Unavailable) {
            response.insert_header((header::RETRY_AFTER, RETRY_AFTER_SECONDS));
        }
        match self {
            ApiError::MethodNotAllowed { allowed } => {
                response.insert_header((header::ALLOW, *allowed));
            }
            ApiError::RangeOutside { size } => {
                response.insert_header((header::CONTENT_RANGE, format!("bytes */{size}")));
            }
            ApiError::Domain(Error::OutOfOrder { id, expected, .. }) => {
                super::uploads::session_headers(&mut response, request.path(), id, *expected);
            }
            _ => {}
        }
        response.json(self.envelope(refusal, ours))
    }

    fn envelope(&self, refusal: Refusal, ours: bool) -> ErrorEnvelope {
        let code = refusal.code;
        if ours {
            return ErrorEnvelope::of(code, code.spec().message, Value::Null);
        }
        match self {
            ApiError::Domain(Error::MissingContent { blobs, manifests }) => {
                let all: Vec<_> = (blobs.iter().map(|digest| ("blob", digest)))
                    .chain(manifests.iter().map(|digest| ("manifest", digest)))
                    .collect();
                ErrorEnvelope {
                    errors: missing(&all),
                }
            }
            _ => ErrorEnvelope::of(code, self.to_string(), refusal.detail),
        }
    }
}

/// One entry a missing content, each naming its digest. Of thousands, most stand in one entry together: else the answer would be
/// several times as large as the manifest.
fn missing(all: &[(&str, &Digest)]) -> Vec<ErrorEntry> {
    let (each, rest) = all.split_at(all.len().min(MAX_MISSING_ENTRIES));
    let entry = |message, detail| ErrorEntry {
        code: ErrorCode::ManifestBlobUnknown.name().to_owned(),
        message,
        detail,
    };
    let mut errors: Vec<ErrorEntry> = each
        .iter()
        .map(|(what, digest)| {
            let message = format!(
                "the manifest names {what} {digest}, which the repository does not have: push it first"
            );
            entry(message, json!({"digest": digest}))
        })
        .collect();
    if !rest.is_empty() {
        let message = format!(
            "the manifest names {} more that the repository does not have",
            rest.len()
        );
        let digests: Vec<&Digest> = rest.iter().map(|(_, digest)| *digest).collect();
        errors.push(entry(message, json!({"digests": digests})));
    }
    errors
}

fn domain_refusal(error: &Error) -> Refusal {
    use ErrorCode as C;
    let none = Value::Null;
    match error {
        Error::NameUnknown(name) => Refusal::of(C::NameUnknown, json!({"name": name})),
        Error::ManifestUnknown { name, reference } => Refusal::of(
            C::ManifestUnknown,
            json!({"name": name, "reference": reference.to_string()}),
        ),
        Error::BlobUnknown { name, digest } => {
            Refusal::of(C::BlobUnknown, json!({"name": name, "digest": digest}))
        }
        Error::UploadUnknown { name, id } => {
            Refusal::of(C::BlobUploadUnknown, json!({"name": name, "id": id}))
        }
        Error::UploadBusy { id } => Refusal::with_status(C::BlobUploadInvalid, 409, json!({"id": id})),
        Error::OutOfOrder { expected, got, .. } => Refusal::with_status(
            C::BlobUploadInvalid,
            416,
            json!({"expected": expected, "got": got}),
        ),
        Error::LengthMismatch { stated, got } => {
            Refusal::of(C::SizeInvalid, json!({"stated": stated, "got": got}))
        }
        Error::TooManyUploads { limit } => Refusal::of(C::TooManyRequests, json!({"limit": limit})),
        Error::TooManyUploadsOfClient { client, limit } => Refusal::of(
            C::TooManyRequests,
            json!({"client": client.to_string(), "limit": limit}),
        ),
        Error::DigestMismatch { expected, computed } => Refusal::of(
            C::DigestInvalid,
            json!({"expected": expected, "computed": computed}),
        ),
        Error::MissingContent { blobs, manifests } => Refusal::of(
            C::ManifestBlobUnknown,
            json!({"blobs": blobs, "manifests": manifests}),
        ),
        Error::ManifestInvalid(error) => {
            Refusal::of(C::ManifestInvalid, json!({"reason": error.to_string()}))
        }
        Error::ManifestKindRefused { media_type } => {
            Refusal::of(C::ManifestInvalid, json!({"mediaType": media_type}))
        }
        Error::ManifestTooLarge { limit } => {
            Refusal::with_status(C::SizeInvalid, 413, json!({"limitBytes": limit}))
        }
        Error::TagChanged { tag, actual } => {
            Refusal::of(C::PreconditionFailed, json!({"tag": tag, "actual": actual}))
        }
        Error::DeleteDisabled | Error::ReadOnly => Refusal::of(C::Unsupported, none),
        Error::Damaged { .. } => Refusal::of(C::Unknown, none),
        Error::Storage(error) if error.is_full() => Refusal::with_status(C::Unknown, 507, none),
        Error::Storage(_) => Refusal::of(C::Unknown, none),
    }
}

/// The error and its sources in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = error.source();
    }
    text
}
