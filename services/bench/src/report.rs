//! Results as data, and their forms: text for a terminal, Markdown for the README, JSON for everything else.

use crate::sample::Sample;
use crate::settings::Target;
use crate::stats::Spread;
use crate::workload::{self, Act, Unit, Workload};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// What a whole run found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The target that ratios are taken against.
    pub baseline: String,
    /// Rounds taken.
    pub rounds: u32,
    /// Workloads, in the order of their table.
    pub workloads: Vec<Row>,
}

/// One workload on all targets that can take part.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Stable name.
    pub name: &'static str,
    /// What a reader sees.
    pub title: &'static str,
    /// Unit of values.
    pub unit: &'static str,
    /// Cells, in the order of the targets.
    pub cells: Vec<Cell>,
}

/// One workload on one target.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// The target's name.
    pub target: String,
    /// What came of it.
    #[serde(flatten)]
    pub result: CellResult,
}

/// What came of a workload on a target.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "result", rename_all = "lowercase")]
pub enum CellResult {
    /// It was measured.
    Measured(Box<Measured>),
    /// The target does not offer it.
    Unsupported {
        /// What is missing.
        why: String,
    },
    /// It went wrong: there is no time.
    Failed {
        /// What went wrong.
        why: String,
    },
}

/// The samples of all rounds, and what follows from them.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// Values of the rounds.
    pub value: Spread,
    /// Value by the baseline's value of the same round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<Spread>,
    /// As [`Sample::p99_ms`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<Spread>,
    /// As [`Sample::cpu_cost`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_cost: Option<Spread>,
    /// As [`Sample::peak_mib`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_mib: Option<Spread>,
    /// As [`Sample::generator_share`].
    pub generator_share: f64,
    /// As [`Sample::extra`].
    pub extra: BTreeMap<&'static str, Spread>,
    /// One a round.
    pub samples: Vec<Sample>,
}

impl CellResult {
    /// Sums up the samples of the rounds; `baseline` are the values of the baseline's rounds.
    pub fn measured(samples: Vec<Sample>, baseline: Option<&[f64]>) -> CellResult {
        let over = |get: &dyn Fn(&Sample) -> Option<f64>| {
            Spread::of(&samples.iter().filter_map(get).collect::<Vec<f64>>())
        };
        let values: Vec<f64> = samples.iter().map(|sample| sample.value).collect();
        let Some(value) = Spread::of(&values) else {
            return CellResult::Unsupported {
                why: "no rounds".to_owned(),
            };
        };
        let names: BTreeSet<&'static str> = samples.iter().flat_map(|s| s.extra.keys().copied()).collect();
        let extra = names
            .into_iter()
            .filter_map(|name| Some((name, over(&|sample| sample.extra.get(name).copied())?)));
        let measured = Measured {
            value,
            ratio: baseline.and_then(|baseline| Spread::of_ratios(&values, baseline)),
            p99_ms: over(&|sample| sample.p99_ms),
            cpu_cost: over(&|sample| sample.cpu_cost),
            peak_mib: over(&|sample| sample.peak_mib),
            generator_share: over(&|sample| Some(sample.generator_share)).map_or(0.0, |s| s.median),
            extra: extra.collect(),
            samples: Vec::new(),
        };
        CellResult::Measured(Box::new(Measured { samples, ..measured }))
    }
}

impl Report {
    /// Whether any workload failed.
    pub fn has_failures(&self) -> bool {
        let mut cells = self.workloads.iter().flat_map(|row| &row.cells);
        cells.any(|cell| matches!(cell.result, CellResult::Failed { .. }))
    }

    /// The table of the README: a row a workload, a column a target, medians; below a row what else belongs to it.
    pub fn markdown(&self, targets: &[Target]) -> String {
        let mut text = String::from("| workload |");
        for target in targets {
            let _ = write!(text, " {} |", target.name);
        }
        text.push_str("\n| --- |");
        text.push_str(&" ---: |".repeat(targets.len()));
        text.push('\n');
        for row in &self.workloads {
            row.write_markdown(&mut text, targets);
        }
        text
    }
}

/// Something that is told of a workload beside its value: its name, and how a cell has it.
type Aside<'a> = (&'a str, Box<dyn Fn(&Measured) -> Option<&Spread> + 'a>);

impl Row {
    /// Heads a row.
    pub fn new(workload: &Workload, cells: Vec<Cell>) -> Row {
        Row {
            name: workload.name,
            title: workload.title,
            unit: workload.unit.symbol(),
            cells,
        }
    }

    fn write_markdown(&self, text: &mut String, targets: &[Target]) {
        let cell_of = |target: &Target| self.cells.iter().find(|cell| cell.target == target.name);
        let _ = write!(text, "| {} ({}) |", self.title, self.unit);
        for target in targets {
            let _ = write!(
                text,
                " {} |",
                cell_of(target).map_or("–".to_owned(), markdown_cell)
            );
        }
        text.push('\n');
        for (name, get) in self.asides() {
            let _ = write!(text, "| … {name} |");
            for target in targets {
                let spread = cell_of(target).and_then(Cell::measured).and_then(&get);
                let _ = write!(text, " {} |", spread.map_or("–".to_owned(), |s| number(s.median)));
            }
            text.push('\n');
        }
    }

    /// What belongs to the value in a table: what the workload says about itself, the time of the server where bytes are sent, and
    /// the slowest answers where something else is going on.
    fn asides(&self) -> Vec<Aside<'_>> {
        let measured = || self.cells.iter().filter_map(Cell::measured);
        let names: BTreeSet<&'static str> = measured().flat_map(|m| m.extra.keys().copied()).collect();
        let mut asides: Vec<Aside<'_>> = Vec::new();
        for name in names {
            asides.push((name, Box::new(move |m| m.extra.get(name))));
        }
        if self.unit == Unit::MegabytesPerSecond.symbol() && measured().any(|m| m.cpu_cost.is_some()) {
            asides.push(("CPU s/GiB", Box::new(|m| m.cpu_cost.as_ref())));
        }
        if workload::find(self.name).is_some_and(|workload| workload.act == Act::Mixed) {
            asides.push(("p99 ms", Box::new(|m| m.p99_ms.as_ref())));
        }
        asides
    }

    /// The row as lines for a terminal.
    pub fn text(&self) -> String {
        let mut text = format!("\n{} – {} ({})\n", self.name, self.title, self.unit);
        for cell in &self.cells {
            let _ = match &cell.result {
                CellResult::Unsupported { why } => writeln!(text, "  {:<22} – {why}", cell.target),
                CellResult::Failed { why } => writeln!(text, "  {:<22} FAILED: {why}", cell.target),
                CellResult::Measured(measured) => {
                    writeln!(
                        text,
                        "  {:<22} {}",
                        cell.target,
                        measured_line(self.unit, measured)
                    )
                }
            };
        }
        text
    }
}

fn measured_line(unit: &str, measured: &Measured) -> String {
    let mut line = format!("{:>10}", number(measured.value.median));
    let _ = write!(line, " {:<21}", range(&measured.value));
    if let Some(ratio) = &measured.ratio {
        let _ = write!(line, " × {:.2} {}", ratio.median, range(ratio));
    }
    if let Some(p99) = &measured.p99_ms {
        let _ = write!(line, "  p99 {} ms", number(p99.median));
    }
    if let Some(cost) = &measured.cpu_cost {
        let symbol = if unit == Unit::MegabytesPerSecond.symbol() {
            "s/GiB"
        } else {
            "µs/op"
        };
        let _ = write!(line, "  cpu {} {symbol}", number(cost.median));
    }
    if let Some(peak) = &measured.peak_mib {
        let _ = write!(line, "  peak {} MiB", number(peak.median));
    }
    for (name, value) in &measured.extra {
        let _ = write!(line, "  {name} {}", number(value.median));
    }
    let _ = write!(line, "  (generator {:.0} %)", measured.generator_share * 100.0);
    line
}

impl Cell {
    fn measured(&self) -> Option<&Measured> {
        match &self.result {
            CellResult::Measured(measured) => Some(measured),
            CellResult::Unsupported { .. } | CellResult::Failed { .. } => None,
        }
    }
}

fn markdown_cell(cell: &Cell) -> String {
    match &cell.result {
        CellResult::Unsupported { why } => format!("– ({why})"),
        CellResult::Failed { .. } => "failed".to_owned(),
        CellResult::Measured(measured) => match &measured.ratio {
            Some(ratio) => format!("{} (×{:.2})", number(measured.value.median), ratio.median),
            None => number(measured.value.median),
        },
    }
}

fn range(spread: &Spread) -> String {
    format!("({}–{})", number(spread.min), number(spread.max))
}

/// Three significant figures where the number is small, thousands set apart where it is large.
pub fn number(value: f64) -> String {
    let size = value.abs();
    if size >= 1000.0 {
        let whole = format!("{value:.0}");
        let (sign, digits) = whole.split_at(usize::from(whole.starts_with('-')));
        let mut text = String::new();
        for (position, digit) in digits.chars().enumerate() {
            if position > 0 && (digits.len() - position) % 3 == 0 {
                text.push(',');
            }
            text.push(digit);
        }
        format!("{sign}{text}")
    } else if size >= 100.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(value: f64) -> Sample {
        Sample {
            value,
            ..Sample::default()
        }
    }

    #[test]
    fn numbers_keep_the_figures_that_matter() {
        for (value, text) in [
            (0.123, "0.12"),
            (12.345, "12.3"),
            (-345.6, "-346"),
            (1234.5, "1,234"),
            (-1_234_567.0, "-1,234,567"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn the_table_has_what_belongs_to_a_value_below_it() {
        let mixed = workload::find("mixed").expect("a workload");
        let sample = Sample {
            value: 100.0,
            p99_ms: Some(4.0),
            extra: BTreeMap::from([("push MB/s", 300.0)]),
            ..Sample::default()
        };
        let cell = |target: &str, result| Cell {
            target: target.to_owned(),
            result,
        };
        let unsupported = CellResult::Unsupported { why: "no".to_owned() };
        let row = Row::new(
            mixed,
            vec![
                cell("a", CellResult::measured(vec![sample], None)),
                cell("b", unsupported),
            ],
        );
        let report = Report {
            baseline: "a".to_owned(),
            rounds: 1,
            workloads: vec![row],
        };
        let target = |name: &str| Target {
            name: name.to_owned(),
            address: ([127, 0, 0, 1], 1).into(),
            kind: crate::settings::Kind::Registry,
            pid: None,
            start: None,
        };
        let table = report.markdown(&[target("a"), target("b"), target("c")]);
        let lines: Vec<&str> = table.lines().skip(3).collect();
        assert_eq!(
            lines,
            ["| … push MB/s | 300 | – | – |", "| … p99 ms | 4.00 | – | – |"]
        );
    }

    #[test]
    fn a_failed_workload_has_no_number_in_any_form() {
        let failed = CellResult::Failed {
            why: "status 500".to_owned(),
        };
        let cells = vec![
            Cell {
                target: "a".to_owned(),
                result: CellResult::measured(vec![sample(2.0), sample(4.0)], Some(&[1.0, 4.0])),
            },
            Cell {
                target: "b".to_owned(),
                result: failed,
            },
        ];
        let row = Row::new(&crate::workload::WORKLOADS[0], cells);
        let text = row.text();
        assert!(text.contains("FAILED: status 500"), "{text}");
        assert!(text.contains("3.00 (2.00–4.00)"), "{text}");
        assert!(text.contains("× 1.50 (1.00–2.00)"), "{text}");
        let report = Report {
            baseline: "a".to_owned(),
            rounds: 2,
            workloads: vec![row],
        };
        assert!(report.has_failures());
        let json = serde_json::to_value(&report).expect("JSON");
        assert_eq!(
            json["workloads"][0]["cells"][1],
            serde_json::json!({"target": "b", "result": "failed", "why": "status 500"})
        );
        assert_eq!(json["workloads"][0]["cells"][0]["ratio"]["median"], 1.5);
    }
}
