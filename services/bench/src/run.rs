//! The order of a run: workload by workload, round by round, the targets taking turns within each round.

use crate::fixtures::Trouble;
use crate::report::{Cell, CellResult, Report, Row};
use crate::sample::{Bench, Sample};
use crate::settings::{Settings, Target};
use crate::workload::Workload;

/// What became of one target in one workload so far.
struct Turn<'a> {
    target: &'a Target,
    samples: Vec<Sample>,
    trouble: Option<Trouble>,
}

/// Runs the workloads on the targets. `tell` gets the report so far whenever one more row of it is done, so that a run that is
/// ended early has not been in vain.
///
/// # Errors
/// What `tell` says; the run then ends.
pub fn run<E>(
    settings: &Settings,
    targets: &[Target],
    workloads: &[&Workload],
    baseline: &str,
    mut tell: impl FnMut(&Report) -> Result<(), E>,
) -> Result<Report, E> {
    let mut bench = Bench::new(settings);
    let mut report = Report {
        baseline: baseline.to_owned(),
        rounds: settings.rounds,
        workloads: Vec::with_capacity(workloads.len()),
    };
    for workload in workloads {
        report
            .workloads
            .push(row(&mut bench, targets, workload, baseline));
        tell(&report)?;
    }
    Ok(report)
}

fn row(bench: &mut Bench<'_>, targets: &[Target], workload: &Workload, baseline: &str) -> Row {
    let can = |target: &&Target| workload.kinds.contains(&target.kind);
    let mut turns: Vec<Turn<'_>> = targets
        .iter()
        .filter(can)
        .map(|target| Turn {
            target,
            samples: Vec::new(),
            trouble: None,
        })
        .collect();
    for round in 0..bench.settings.rounds {
        let count = turns.len().max(1);
        for place in 0..turns.len() {
            // Who goes first changes from round to round, so that nobody always follows the same neighbour's start.
            let Some(turn) = turns.get_mut((place + round as usize) % count) else {
                continue;
            };
            if turn.trouble.is_some() {
                continue;
            }
            match bench.sample(workload, turn.target) {
                Ok(sample) => turn.samples.push(sample),
                Err(trouble) => turn.trouble = Some(trouble),
            }
        }
    }
    let base: Option<Vec<f64>> = turns
        .iter()
        .find(|turn| turn.target.name == baseline && turn.trouble.is_none())
        .map(|turn| turn.samples.iter().map(|sample| sample.value).collect());
    let cells = turns.into_iter().map(|turn| Cell {
        target: turn.target.name.clone(),
        result: match turn.trouble {
            Some(Trouble::Unsupported(why)) => CellResult::Unsupported { why },
            Some(trouble @ (Trouble::Failed(_) | Trouble::SetUpTooLong { .. })) => CellResult::Failed {
                why: trouble.to_string(),
            },
            None => {
                let others = base.as_deref().filter(|_| turn.target.name != baseline);
                CellResult::measured(turn.samples, others)
            }
        },
    });
    Row::new(workload, cells.collect())
}
