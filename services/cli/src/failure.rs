//! How a command fails: a message for a person and an exit code for a script.

use client::{Answer, Error, ExitCode};
use serde_json::{Value, json};

/// A command's failure. Printed once, by [`crate::run()`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the process returns.
    pub code: ExitCode,
    /// What happened, what was expected, and what to do.
    pub message: String,
    /// What the registry answered, where that is the reason.
    pub answer: Option<Answer>,
}

impl Failure {
    /// A failure of this code.
    pub fn new(code: ExitCode, message: impl Into<String>) -> Failure {
        Failure {
            code,
            message: message.into(),
            answer: None,
        }
    }

    /// A wrong command line or argument; nothing was sent.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure::new(ExitCode::Usage, message)
    }

    /// A generation that does not do this, or cannot parse that.
    pub fn unsupported(message: impl Into<String>) -> Failure {
        Failure::new(ExitCode::Unsupported, message)
    }

    /// Adds what a person needs to know beside it, such as what was left in the registry.
    pub fn and(mut self, more: impl AsRef<str>) -> Failure {
        if !more.as_ref().is_empty() {
            self.message.push_str("; ");
            self.message.push_str(more.as_ref());
        }
        self
    }

    /// The failure as one JSON document: exit code with its name, message, and the registry's answer or null.
    pub fn to_json(&self) -> Value {
        let spec = self.code.spec();
        let answer = self.answer.as_ref();
        json!({"error": {
            "code": spec.number,
            "name": spec.name,
            "message": self.message,
            "registry": answer.map(|answer| json!({
                "status": answer.status,
                "code": answer.code,
                "message": answer.message,
            })),
        }})
    }

    /// A failed operation on a file of the caller's.
    pub fn io(doing: &str, path: &std::path::Path, error: &std::io::Error) -> Failure {
        Failure::new(
            ExitCode::Failed,
            format!("cannot {doing} {}: {error}", path.display()),
        )
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure {
            answer: error.answer().cloned(),
            ..Failure::new(error.exit_code(), error.to_string())
        }
    }
}

impl From<crate::TemplateError> for Failure {
    fn from(error: crate::TemplateError) -> Failure {
        Failure::usage(error.to_string())
    }
}
