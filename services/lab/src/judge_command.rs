//! `lab judge`: the verdict on one scenario that others have played.

use crate::ask::ClientAsk;
use crate::cli::JudgeCommand;
use crate::judge::{Case, judge};
use crate::report::{ScenarioReport, State, terminal};
use crate::scenarios::Loaded;
use crate::stage::{blank, played_steps};
use client::Settings;
use scenario::command::{Signals, wait_for_outcome};
use scenario::{Actor, Scenario};
use std::process::ExitCode;
use std::time::Instant;

const HOLDS: u8 = 0;
const FAILS: u8 = 1;
const USAGE: u8 = 2;
const INTERRUPTED: u8 = 130;

/// Judges and prints. Exit codes: 0 it holds, 1 it does not or cannot be judged, 2 the scenario file is malformed.
pub async fn run(command: &JudgeCommand) -> ExitCode {
    let (scenario, digest) = match Scenario::load_with_digest(&command.file) {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("lab: {error}");
            return ExitCode::from(USAGE);
        }
    };
    let loaded = Loaded {
        scenario,
        digest,
        path: command.file.clone(),
    };
    if command.wait && !wait(command).await {
        eprintln!("lab: interrupted before both outcomes were there");
        return ExitCode::from(INTERRUPTED);
    }
    let report = report(command, &loaded).await;
    match command.json {
        true => match serde_json::to_string_pretty(&report) {
            Ok(json) => println!("{json}"),
            Err(error) => eprintln!("lab: {error}"),
        },
        false => print_verdict(command, &report),
    }
    ExitCode::from(if report.state == State::Holds {
        HOLDS
    } else {
        FAILS
    })
}

/// Whether both outcomes came before a signal did.
async fn wait(command: &JudgeCommand) -> bool {
    let outcomes = async {
        for actor in Actor::ALL {
            wait_for_outcome(&command.results, actor).await;
        }
    };
    match Signals::listen() {
        Ok(mut signals) => tokio::select! {
            () = outcomes => true,
            () = signals.next() => false,
        },
        Err(_) => {
            outcomes.await;
            true
        }
    }
}

async fn report(command: &JudgeCommand, loaded: &Loaded) -> ScenarioReport {
    let begun = Instant::now();
    let mut report = blank(loaded);
    let ask = match Settings::load().and_then(ClientAsk::new) {
        Ok(ask) => ask,
        Err(error) => {
            report.state = State::Error(error.to_string());
            return report;
        }
    };
    let case = Case {
        scenario: &loaded.scenario,
        file: loaded.digest,
        results: &command.results,
        registry: &ask,
    };
    match judge(&case).await {
        Err(error) => report.state = State::Error(error.to_string()),
        Ok((verdict, evidence)) => {
            report.state = if verdict.holds() {
                State::Holds
            } else {
                State::Fails
            };
            report.findings = verdict.findings;
            report.reads = verdict.reads;
            report.exchanges = evidence.exchanges;
            let spent: u64 = evidence
                .outcomes
                .iter()
                .map(|one| one.finished_ms.saturating_sub(one.started_ms))
                .sum();
            report.duration_ms = spent;
            report.steps = evidence.outcomes.into_iter().flat_map(played_steps).collect();
        }
    }
    report.duration_ms += u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    report
}

fn print_verdict(command: &JudgeCommand, report: &ScenarioReport) {
    let style = terminal::Style::of_stdout();
    let mut text = terminal::heading(style) + &terminal::row(report, style);
    if command.verbose > 0 {
        text += &terminal::exchanges(report, style);
    }
    text += &terminal::sentences(report, style);
    text += &terminal::failures(report, style);
    print!("{text}");
}
