//! What errors mean: the exit code of each, and the error that each status of an answer is.

use super::{Answer, Asked, Error};
use crate::exit::ExitCode;
use std::path::PathBuf;

impl Error {
    /// The exit code of a command that ends with this error.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Error::Usage(_) | Error::Settings { .. } | Error::CaCertificate { .. } => ExitCode::Usage,
            Error::Unreachable { .. } | Error::Proxy { .. } | Error::TimedOut { .. } | Error::Tls { .. } => {
                ExitCode::Unreachable
            }
            Error::NotAuthorised { .. }
            | Error::UnsafeCredentials { .. }
            | Error::Credentials { .. }
            | Error::Token { .. } => ExitCode::NotAuthorised,
            Error::NotFound { .. }
            | Error::NoLayout { .. }
            | Error::NotInLayout { .. }
            | Error::NoPlatform { .. } => ExitCode::NotFound,
            Error::Unsupported { .. } | Error::LayoutVersion { .. } => ExitCode::Unsupported,
            Error::Refused { .. } | Error::TooManyRequests { .. } => ExitCode::Refused,
            Error::PreconditionFailed { .. } | Error::Conflict { .. } => ExitCode::Conflict,
            Error::ServerFailed { answer, .. } => match answer.status {
                502..=504 => ExitCode::Unreachable,
                _ => ExitCode::Failed,
            },
            Error::UnexpectedStatus { .. }
            | Error::WrongContentType { .. }
            | Error::Unreadable { .. }
            | Error::BadManifest { .. }
            | Error::DigestMismatch { .. }
            | Error::WrongLength { .. }
            | Error::TooLarge { .. }
            | Error::EndlessPages { .. }
            | Error::BadRedirect { .. }
            | Error::Protocol { .. }
            | Error::Endless { .. }
            | Error::NotADigestTag { .. }
            | Error::Layout { .. }
            | Error::LayoutDigest { .. }
            | Error::Io { .. } => ExitCode::Failed,
        }
    }

    /// What the registry answered, where it answered with an error.
    pub fn answer(&self) -> Option<&Answer> {
        match self {
            Error::NotAuthorised { answer, .. }
            | Error::NotFound { answer, .. }
            | Error::Unsupported { answer, .. }
            | Error::Refused { answer, .. }
            | Error::PreconditionFailed { answer, .. }
            | Error::TooManyRequests { answer, .. }
            | Error::ServerFailed { answer, .. }
            | Error::UnexpectedStatus { answer, .. } => Some(answer),
            _ => None,
        }
    }

    /// Whether it is a plain 404, so that the caller may try elsewhere.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::NotFound { .. } | Error::NotInLayout { .. })
    }

    /// The fact that fits a status which is not a success.
    pub(crate) fn of_answer(at: Asked, answer: Answer, what: &str) -> Error {
        let (at, status, answer) = (Box::new(at), answer.status, Box::new(answer));
        let unsupported = answer.code.as_deref() == Some("UNSUPPORTED");
        match status {
            401 | 403 | 407 => Error::NotAuthorised {
                at,
                hint: match status {
                    401 => ": check the credentials (`docker login` writes them)".to_owned(),
                    407 => ": name the proxy with a user and a password, as HTTP_PROXY=http://USER:PASSWORD@HOST:PORT"
                        .to_owned(),
                    _ => String::new(),
                },
                answer,
            },
            404 => Error::NotFound {
                at,
                answer,
                what: what.to_owned(),
            },
            405 | 501 => Error::Unsupported { at, answer },
            412 => Error::PreconditionFailed { at, answer },
            429 => Error::TooManyRequests { at, answer },
            400..=499 if unsupported => Error::Unsupported { at, answer },
            400..=499 => Error::Refused { at, answer },
            500..=599 => Error::ServerFailed { at, answer },
            _ => Error::UnexpectedStatus {
                at,
                answer,
                expected: "a success or an error",
            },
        }
    }

    /// Wraps a failed file operation.
    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { doing, path, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_meaning() {
        for (status, body, code) in [
            (400, "", ExitCode::Refused),
            (
                400,
                r#"{"errors":[{"code":"UNSUPPORTED"}]}"#,
                ExitCode::Unsupported,
            ),
            (401, "", ExitCode::NotAuthorised),
            (403, "", ExitCode::NotAuthorised),
            (404, "", ExitCode::NotFound),
            (405, "", ExitCode::Unsupported),
            (412, "", ExitCode::Conflict),
            (413, "", ExitCode::Refused),
            (429, "", ExitCode::Refused),
            (500, "", ExitCode::Failed),
            (501, "", ExitCode::Unsupported),
            (502, "", ExitCode::Unreachable),
            (503, "", ExitCode::Unreachable),
            (504, "", ExitCode::Unreachable),
            (302, "", ExitCode::Failed),
        ] {
            let at = Asked {
                method: "GET".to_owned(),
                url: "http://localhost/v2/".to_owned(),
            };
            let error = Error::of_answer(at, Answer::read(status, body.as_bytes()), "it");
            assert_eq!(error.exit_code(), code, "{status}");
            let message = error.to_string();
            let said = message.contains("GET http://localhost/v2/") && message.contains(&status.to_string());
            assert!(said, "{message}");
        }
    }
}
