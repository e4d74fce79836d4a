//! The exit codes of the tools: one table, used by the programs and printed by their help.

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExitCode {
    /// All that was asked for is done.
    Done,
    /// Something failed that has no code of its own.
    Failed,
    /// The command line, a reference or the configuration is wrong; nothing was sent.
    Usage,
    /// The image, manifest, blob or layout is not there.
    NotFound,
    /// The registry cannot do it, or the generation cannot parse it.
    Unsupported,
    /// The registry refused the request.
    Refused,
    /// Credentials are missing, wrong, or do not allow it.
    NotAuthorised,
    /// No connection, no answer in time, or no trust in the certificate.
    Unreachable,
    /// Another writer kept changing the digest tag.
    Conflict,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct ExitSpec {
    /// The code.
    pub code: ExitCode,
    /// A short name, for JSON output and tests.
    pub name: &'static str,
    /// What the process returns.
    pub number: u8,
    /// What it means, for `--help` and the manual.
    pub meaning: &'static str,
}

/// Every exit code.
pub const ALL: &[ExitSpec] = &[
    spec(ExitCode::Done, "done", 0, "done"),
    spec(ExitCode::Failed, "failed", 1, "failed"),
    spec(
        ExitCode::Usage,
        "usage",
        2,
        "wrong command line, reference or configuration",
    ),
    spec(ExitCode::NotFound, "not-found", 3, "not found"),
    spec(
        ExitCode::Unsupported,
        "unsupported",
        4,
        "unsupported by the registry, or a manifest type that this generation cannot parse",
    ),
    spec(ExitCode::Refused, "refused", 5, "refused by the registry"),
    spec(ExitCode::NotAuthorised, "not-authorised", 6, "not authorised"),
    spec(
        ExitCode::Unreachable,
        "unreachable",
        7,
        "unreachable or timed out",
    ),
    spec(ExitCode::Conflict, "conflict", 8, "conflict not resolved"),
];

const fn spec(code: ExitCode, name: &'static str, number: u8, meaning: &'static str) -> ExitSpec {
    ExitSpec {
        code,
        name,
        number,
        meaning,
    }
}

impl ExitCode {
    /// The row of the table.
    pub fn spec(self) -> &'static ExitSpec {
        match ALL.iter().find(|row| row.code == self) {
            Some(row) => row,
            // A test walks the enum and the table side by side.
            None => unreachable!("{self:?} has no row"),
        }
    }

    /// What the process returns.
    pub fn number(self) -> u8 {
        self.spec().number
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> std::process::ExitCode {
        std::process::ExitCode::from(code.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_one_row_a_code_and_counts_from_zero() {
        for (number, row) in ALL.iter().enumerate() {
            assert_eq!(usize::from(row.number), number, "{}", row.name);
            assert_eq!(row.code as usize, number, "{}", row.name);
            assert_eq!(row.code.spec().name, row.name);
        }
        assert_eq!(ALL.len(), ExitCode::Conflict as usize + 1);
    }
}
