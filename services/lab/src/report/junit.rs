//! The run as JUnit XML: one test suite a scenario, one test case a sentence of its expectations.
//!
//! Source: the JUnit schema that Jenkins, GitLab and GitHub's actions read (testsuites, testsuite, testcase, failure, error).

use super::{RunReport, ScenarioReport, State};
use crate::verdict::Finding;
use std::fmt::Write;

/// Writes the run.
pub fn render(report: &RunReport) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let suites: Vec<Suite> = report.scenarios.iter().map(Suite::of).collect();
    let total = |count: fn(&Suite) -> usize| suites.iter().map(count).sum::<usize>();
    _ = writeln!(
        xml,
        "<testsuites name=\"Referrers Lab\" tests=\"{}\" failures=\"{}\" errors=\"{}\" time=\"{}\">",
        total(|suite| suite.cases.len()),
        total(|suite| suite.failures()),
        total(|suite| suite.errors()),
        seconds(report.duration_ms),
    );
    for suite in &suites {
        suite.write(&mut xml);
    }
    xml.push_str("</testsuites>\n");
    xml
}

struct Suite<'a> {
    scenario: &'a ScenarioReport,
    cases: Vec<Case<'a>>,
}

struct Case<'a> {
    name: &'a str,
    problem: Problem<'a>,
}

enum Problem<'a> {
    None,
    Failures(Vec<&'a Finding>),
    Error(&'a str),
}

impl<'a> Suite<'a> {
    fn of(scenario: &'a ScenarioReport) -> Suite<'a> {
        let mut cases: Vec<Case<'a>> = Vec::new();
        for finding in &scenario.findings {
            if cases.last().is_none_or(|case| case.name != finding.that) {
                cases.push(Case {
                    name: &finding.that,
                    problem: Problem::None,
                });
            }
            if let Some(case) = cases.last_mut().filter(|_| !finding.holds) {
                match &mut case.problem {
                    Problem::Failures(findings) => findings.push(finding),
                    other => *other = Problem::Failures(vec![finding]),
                }
            }
        }
        if let State::Error(problem) = &scenario.state {
            cases.push(Case {
                name: "It can be played and judged",
                problem: Problem::Error(problem),
            });
        }
        Suite { scenario, cases }
    }

    fn failures(&self) -> usize {
        self.cases
            .iter()
            .filter(|case| matches!(case.problem, Problem::Failures(_)))
            .count()
    }

    fn errors(&self) -> usize {
        self.cases
            .iter()
            .filter(|case| matches!(case.problem, Problem::Error(_)))
            .count()
    }

    fn write(&self, xml: &mut String) {
        let ScenarioReport { number, title, .. } = self.scenario;
        let suite = escape(&format!("{number}: {} {title}", self.scenario.icons()));
        _ = writeln!(
            xml,
            "  <testsuite name=\"{suite}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"0\" time=\"{}\">",
            self.cases.len(),
            self.failures(),
            self.errors(),
            seconds(self.scenario.duration_ms),
        );
        for case in &self.cases {
            let name = escape(case.name);
            _ = write!(
                xml,
                "    <testcase classname=\"scenario-{number}\" name=\"{name}\""
            );
            match &case.problem {
                Problem::None => xml.push_str("/>\n"),
                Problem::Failures(findings) => {
                    let told: Vec<String> = findings.iter().map(|finding| tell(finding)).collect();
                    let first = escape(
                        &findings
                            .first()
                            .map_or(String::new(), |finding| finding.what.clone()),
                    );
                    _ = writeln!(
                        xml,
                        ">\n      <failure message=\"{first}\" type=\"expectation\">{}</failure>\n    </testcase>",
                        escape(&told.join("\n")),
                    );
                }
                Problem::Error(problem) => {
                    let problem = escape(problem);
                    _ = writeln!(
                        xml,
                        ">\n      <error message=\"{problem}\" type=\"error\"/>\n    </testcase>"
                    );
                }
            }
        }
        xml.push_str("  </testsuite>\n");
    }
}

fn tell(finding: &Finding) -> String {
    let exchange = finding.exchange.as_ref().map_or(String::new(), |exchange| {
        format!("\nread from: {}", exchange.summary())
    });
    format!(
        "{}\nexpected: {}\nseen: {}{exchange}",
        finding.what, finding.expected, finding.seen
    )
}

fn seconds(milliseconds: u64) -> String {
    format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000)
}

/// Escapes text for content and attributes, and replaces what XML 1.0 cannot hold.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\t' => escaped.push_str("&#9;"),
            control if control.is_control() || matches!(control, '\u{fffe}' | '\u{ffff}') => {
                escaped.push('\u{fffd}')
            }
            other => escaped.push(other),
        }
    }
    escaped
}
