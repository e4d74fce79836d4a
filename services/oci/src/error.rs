//! Error codes of the distribution specification, and the envelope that carries them. One table holds them all.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An error code, as it stands in the envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the table `ALL` describes each of them")]
pub enum ErrorCode {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    SizeInvalid,
    TagInvalid,
    Unauthorized,
    Denied,
    Unsupported,
    TooManyRequests,
    RangeInvalid,
    PaginationNumberInvalid,
    PreconditionFailed,
    Unavailable,
    Unknown,
}

/// What the table says of a code.
#[derive(Clone, Copy, Debug)]
pub struct ErrorSpec {
    /// The code.
    pub code: ErrorCode,
    /// Its text in the envelope.
    pub name: &'static str,
    /// The status that it usually comes with; a responder may have a better one (413 for a large manifest).
    pub status: u16,
    /// What it means.
    pub message: &'static str,
}

/// Every code, with its usual status and message.
///
/// Source: OCI distribution-spec 1.1, "Error Codes"; RANGE_INVALID, PAGINATION_NUMBER_INVALID, TAG_INVALID, UNAVAILABLE
/// and UNKNOWN are distribution's; PRECONDITION_FAILED is this project's, for conditional requests.
pub const ALL: &[ErrorSpec] = &[
    spec(
        ErrorCode::BlobUnknown,
        "BLOB_UNKNOWN",
        404,
        "blob unknown to registry",
    ),
    spec(
        ErrorCode::BlobUploadInvalid,
        "BLOB_UPLOAD_INVALID",
        400,
        "blob upload invalid",
    ),
    spec(
        ErrorCode::BlobUploadUnknown,
        "BLOB_UPLOAD_UNKNOWN",
        404,
        "blob upload unknown to registry",
    ),
    spec(
        ErrorCode::DigestInvalid,
        "DIGEST_INVALID",
        400,
        "provided digest did not match uploaded content",
    ),
    spec(
        ErrorCode::ManifestBlobUnknown,
        "MANIFEST_BLOB_UNKNOWN",
        404,
        "manifest references a manifest or blob unknown to registry",
    ),
    spec(
        ErrorCode::ManifestInvalid,
        "MANIFEST_INVALID",
        400,
        "manifest invalid",
    ),
    spec(
        ErrorCode::ManifestUnknown,
        "MANIFEST_UNKNOWN",
        404,
        "manifest unknown to registry",
    ),
    spec(
        ErrorCode::NameInvalid,
        "NAME_INVALID",
        400,
        "invalid repository name",
    ),
    spec(
        ErrorCode::NameUnknown,
        "NAME_UNKNOWN",
        404,
        "repository name not known to registry",
    ),
    spec(
        ErrorCode::SizeInvalid,
        "SIZE_INVALID",
        400,
        "provided length did not match content length",
    ),
    spec(ErrorCode::TagInvalid, "TAG_INVALID", 400, "invalid tag"),
    spec(
        ErrorCode::Unauthorized,
        "UNAUTHORIZED",
        401,
        "authentication required",
    ),
    spec(
        ErrorCode::Denied,
        "DENIED",
        403,
        "requested access to the resource is denied",
    ),
    spec(
        ErrorCode::Unsupported,
        "UNSUPPORTED",
        405,
        "the operation is unsupported",
    ),
    spec(
        ErrorCode::TooManyRequests,
        "TOOMANYREQUESTS",
        429,
        "too many requests",
    ),
    spec(
        ErrorCode::RangeInvalid,
        "RANGE_INVALID",
        416,
        "invalid content range",
    ),
    spec(
        ErrorCode::PaginationNumberInvalid,
        "PAGINATION_NUMBER_INVALID",
        400,
        "invalid number of results requested",
    ),
    spec(
        ErrorCode::PreconditionFailed,
        "PRECONDITION_FAILED",
        412,
        "the tag is not what the condition expects",
    ),
    spec(ErrorCode::Unavailable, "UNAVAILABLE", 503, "service unavailable"),
    spec(ErrorCode::Unknown, "UNKNOWN", 500, "unknown error"),
];

const fn spec(code: ErrorCode, name: &'static str, status: u16, message: &'static str) -> ErrorSpec {
    ErrorSpec {
        code,
        name,
        status,
        message,
    }
}

impl ErrorCode {
    /// The row of the table.
    pub fn spec(self) -> &'static ErrorSpec {
        match ALL.iter().find(|row| row.code == self) {
            Some(row) => row,
            // A test walks the enum and the table side by side.
            None => unreachable!("{self:?} has no row"),
        }
    }

    /// The text in the envelope.
    pub fn name(self) -> &'static str {
        self.spec().name
    }

    /// Finds a code by its text.
    pub fn from_name(name: &str) -> Option<ErrorCode> {
        ALL.iter().find(|row| row.name == name).map(|row| row.code)
    }
}

/// The body of an error answer: `{"errors":[…]}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ErrorEnvelope {
    /// What went wrong; at least one entry when a registry of ours made it.
    pub errors: Vec<ErrorEntry>,
}

/// One error in the envelope. The code is a text because other registries have codes of their own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorEntry {
    /// Such as `MANIFEST_UNKNOWN`.
    #[serde(default)]
    pub code: String,
    /// For a person.
    #[serde(default)]
    pub message: String,
    /// What it is about; unstructured.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub detail: Value,
}

impl ErrorEnvelope {
    /// An envelope of one error.
    pub fn of(code: ErrorCode, message: impl Into<String>, detail: Value) -> ErrorEnvelope {
        ErrorEnvelope {
            errors: vec![ErrorEntry {
                code: code.name().to_owned(),
                message: message.into(),
                detail,
            }],
        }
    }

    /// Reads an error body; `None` if it is not an envelope with at least one error.
    pub fn parse(body: &[u8]) -> Option<ErrorEnvelope> {
        serde_json::from_slice(body)
            .ok()
            .filter(|envelope: &ErrorEnvelope| !envelope.errors.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_one_row_a_code() {
        for row in ALL {
            assert_eq!(ErrorCode::from_name(row.name), Some(row.code), "{}", row.name);
            assert_eq!(row.code.spec().name, row.name);
            assert!(
                (400..600).contains(&row.status) && !row.message.is_empty(),
                "{}",
                row.name
            );
        }
        // The last variant's number tells how many there are.
        assert_eq!(ALL.len(), ErrorCode::Unknown as usize + 1);
    }

    #[test]
    fn an_envelope_reads_back() {
        let envelope = ErrorEnvelope::of(
            ErrorCode::ManifestUnknown,
            "no such manifest",
            serde_json::json!({"tag": "x"}),
        );
        let body = serde_json::to_vec(&envelope).expect("JSON");
        assert_eq!(ErrorEnvelope::parse(&body), Some(envelope));
        assert_eq!(ErrorEnvelope::parse(b"<html>"), None);
        assert_eq!(ErrorEnvelope::parse(b"{\"errors\":[]}"), None);
    }
}
