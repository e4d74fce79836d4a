//! The run as JSON: [`RunReport`] as it is.

use super::RunReport;

/// Writes the run, indented.
///
/// # Errors
/// Never for data that was made here; serde's signature allows for it.
pub fn render(report: &RunReport) -> serde_json::Result<String> {
    serde_json::to_string_pretty(report).map(|text| text + "\n")
}
