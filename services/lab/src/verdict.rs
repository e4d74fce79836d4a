//! What the judge found, as data: the terminal, JSON, JUnit and HTML only read it.

use crate::evidence::Exchange;
use serde::Serialize;

/// One comparison of what the scenario file expects with what was seen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The sentence of the file that it belongs to.
    pub that: String,
    /// What was compared.
    pub what: String,
    /// What the file expects, variables filled.
    pub expected: String,
    /// What was seen.
    pub seen: String,
    /// Whether the two agree.
    pub holds: bool,
    /// The exchange that `seen` was read from; absent for what a step printed, and where none is there.
    pub exchange: Option<Exchange>,
}

/// What came of judging one scenario.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// Every comparison, in the order of the file.
    pub findings: Vec<Finding>,
    /// What the judge itself asked.
    pub reads: Vec<Exchange>,
}

impl Verdict {
    /// Whether all agree; a verdict without findings holds nothing.
    pub fn holds(&self) -> bool {
        !self.findings.is_empty() && self.findings.iter().all(|finding| finding.holds)
    }

    /// What does not agree.
    pub fn failures(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| !finding.holds)
    }
}
