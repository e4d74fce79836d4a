//! The matrix in the terminal, and what does not hold, expected and seen side by side.

use super::{RunReport, ScenarioReport, State};
use crate::evidence::Exchange;
use crate::verdict::Finding;
use std::fmt::Write;

/// How to write: in colours or not, and how wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Escape codes are understood and wanted; without them the text holds none.
    pub colours: bool,
    /// Columns of the terminal; `None` where the text goes to a file or a pipe, and lines may be as long as they are.
    pub width: Option<usize>,
}

/// Columns on a terminal, counted from 1: where who meets ends and the rest begins.
const AFTER_ICONS: usize = 19;
/// Columns before the description.
const BEFORE_TITLE: usize = 48;

impl Style {
    /// For standard output as it is now: colours only on a terminal, and not where `NO_COLOR` is set or `TERM` is `dumb`.
    pub fn of_stdout() -> Style {
        use std::io::IsTerminal;
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let terminal = std::io::stdout().is_terminal();
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let width = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
        Style {
            colours: terminal && !dumb && !set("NO_COLOR"),
            width: width.filter(|_| terminal),
        }
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self.colours {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

/// The line above the matrix.
pub fn heading(style: Style) -> String {
    let text = " #  who meets     supported  verdict      time  what happens";
    format!("{}\n", style.paint("1", text))
}

/// One line of the matrix.
///
/// Terminals disagree on how wide 🏍 and 🐿 are. So where escape codes are understood the line goes on at a column, whatever
/// the icons took; elsewhere they are padded as Unicode says.
pub fn row(scenario: &ScenarioReport, style: Style) -> String {
    let icons = scenario.icons();
    let gap = match style.colours {
        true => format!("\x1b[{AFTER_ICONS}G"),
        false => " ".repeat(AFTER_ICONS.saturating_sub(5 + width_of(&icons))),
    };
    let supported = if scenario.supported { "yes" } else { "no" };
    let (colour, verdict) = match scenario.state {
        State::Holds => ("32", "✓ holds"),
        State::Fails => ("31", "✗ fails"),
        State::Error(_) => ("31", "✗ error"),
    };
    let verdict = style.paint(colour, &format!("{verdict:<9}"));
    let time = format!("{:.2} s", scenario.duration_ms as f64 / 1000.0);
    let title = match style.width {
        Some(width) => cut(&scenario.title, width.saturating_sub(BEFORE_TITLE)),
        None => scenario.title.clone(),
    };
    format!(
        "{:>2}  {icons}{gap}{supported:<11}{verdict}{time:>8}  {title}\n",
        scenario.number
    )
}

/// What does not hold in one scenario; nothing for one that holds.
pub fn failures(scenario: &ScenarioReport, style: Style) -> String {
    let mut text = String::new();
    let head = format!(
        "Scenario {}, {}: {}",
        scenario.number,
        scenario.icons(),
        scenario.title
    );
    match &scenario.state {
        State::Holds => return text,
        State::Error(problem) => {
            _ = writeln!(text, "\n{}\n  {problem}", style.paint("1;31", &head));
        }
        State::Fails => {
            _ = writeln!(text, "\n{}", style.paint("1;31", &head));
        }
    }
    let mut last = "";
    for finding in scenario.findings.iter().filter(|finding| !finding.holds) {
        if finding.that != last {
            _ = writeln!(
                text,
                "  {} {}",
                style.paint("31", "✗"),
                style.paint("1", &finding.that)
            );
            last = &finding.that;
        }
        text.push_str(&failure(finding, style));
    }
    text
}

fn failure(finding: &Finding, style: Style) -> String {
    let mut text = format!("    {}\n", finding.what);
    _ = writeln!(text, "      expected  {}", style.paint("32", &finding.expected));
    _ = writeln!(text, "      seen      {}", style.paint("31", &finding.seen));
    if let Some(exchange) = &finding.exchange {
        _ = writeln!(
            text,
            "      read from {}, exchange {}: {}",
            exchange.step,
            exchange.place,
            exchange.summary()
        );
    }
    text
}

/// The last lines: how many hold, and how long it took.
pub fn summary(report: &RunReport, style: Style) -> String {
    let (held, all) = (report.held(), report.scenarios.len());
    let colour = if report.holds() { "1;32" } else { "1;31" };
    let text = match all {
        1 => format!("{held} of 1 scenario holds"),
        _ => format!("{held} of {all} scenarios hold"),
    };
    format!(
        "\n{} in {:.1} s\n",
        style.paint(colour, &text),
        report.duration_ms as f64 / 1000.0
    )
}

/// Every sentence of a scenario's expectations, and whether it holds.
pub fn sentences(scenario: &ScenarioReport, style: Style) -> String {
    let mut text = String::new();
    for group in scenario.findings.chunk_by(|one, next| one.that == next.that) {
        let mark = match group.iter().all(|finding| finding.holds) {
            true => style.paint("32", "✓"),
            false => style.paint("31", "✗"),
        };
        _ = writeln!(
            text,
            "    {mark} {}",
            group.first().map_or("", |finding| finding.that.as_str())
        );
    }
    text
}

/// Every exchange of a scenario, a line each.
pub fn exchanges(scenario: &ScenarioReport, style: Style) -> String {
    let mut text = String::new();
    let mut step = "";
    for exchange in scenario.exchanges.iter().chain(&scenario.reads) {
        if exchange.step != step {
            step = &exchange.step;
            let actor = exchange.actor.map_or("", |actor| actor.name());
            let line = format!("      {actor} {step}");
            _ = writeln!(text, "{}", style.paint("2", line.trim_end()));
        }
        _ = writeln!(text, "        {}", told(exchange, style));
    }
    text
}

fn told(exchange: &Exchange, style: Style) -> String {
    let colour = match exchange.status {
        200..=399 => "32",
        404 => "33",
        _ => "31",
    };
    let status = match exchange.status {
        0 => "no answer".to_owned(),
        status => status.to_string(),
    };
    format!(
        "{:<6} {} {}",
        exchange.method,
        exchange.url,
        style.paint(colour, &status)
    )
}

/// The columns that a text takes by Unicode's tables: icons that are pictures by default take two, 🏍 and 🐿 take one.
fn width_of(text: &str) -> usize {
    text.chars()
        .map(|character| match character {
            '🏍' | '🐿' => 1,
            '\u{1f300}'..='\u{1faff}' => 2,
            _ => 1,
        })
        .sum()
}

/// Cuts a text to so many columns, and shows that it was cut.
fn cut(text: &str, columns: usize) -> String {
    const TOO_NARROW: usize = 12;
    if columns < TOO_NARROW || text.chars().count() <= columns {
        return text.to_owned();
    }
    let kept: String = text.chars().take(columns - 1).collect();
    format!("{}…", kept.trim_end())
}
