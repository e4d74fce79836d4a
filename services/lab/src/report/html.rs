//! The run as one page that a person can read: no other file, no script, light and dark.

use super::{PlayedStep, RunReport, ScenarioReport, State, Who};
use crate::evidence::{Body, Exchange};
use crate::verdict::Finding;
use scenario::command_line;
use std::fmt::Write;

/// The page's style, shared with the front desk.
pub const STYLE: &str = include_str!("page.css");

/// Writes the page.
pub fn render(report: &RunReport) -> String {
    let mut page = String::new();
    _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Referrers Lab: {held} of {all} hold</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n",
        held = report.held(),
        all = report.scenarios.len(),
    );
    header(&mut page, report);
    matrix(&mut page, report);
    legend(&mut page, report);
    page.push_str("<h2>The scenarios</h2>\n");
    for scenario in &report.scenarios {
        section(&mut page, scenario);
    }
    page.push_str("</body>\n</html>\n");
    page
}

fn header(page: &mut String, report: &RunReport) {
    let class = if report.holds() { "good" } else { "bad" };
    _ = write!(
        page,
        "<header>\n<h1>Referrers Lab</h1>\n<p>What happens when producers, registries and consumers of different generations \
         of OCI reference types meet, each verdict read from what went over the wire.</p>\n\
         <p><strong class=\"{class}\">{} of {} scenarios hold</strong>, in {}.</p>\n",
        report.held(),
        report.scenarios.len(),
        seconds(report.duration_ms),
    );
    _ = write!(
        page,
        "<p class=\"soft\">Image copied: <code>{}</code>.",
        escape(&report.source)
    );
    for registry in &report.registries {
        _ = write!(
            page,
            " <code>{}</code> is the {} registry at <code>{}</code>.",
            escape(&registry.name),
            escape(&registry.generation),
            escape(&registry.address)
        );
    }
    page.push_str("</p>\n</header>\n");
}

fn matrix(page: &mut String, report: &RunReport) {
    page.push_str(
        "<h2>The matrix</h2>\n<div class=\"wide\">\n<table>\n<thead><tr><th class=\"number\" scope=\"col\">#</th>\
         <th scope=\"col\">who meets</th><th scope=\"col\">what happens</th><th scope=\"col\">supported</th>\
         <th scope=\"col\">verdict</th><th class=\"number\" scope=\"col\">time</th></tr></thead>\n<tbody>\n",
    );
    for scenario in &report.scenarios {
        _ = writeln!(
            page,
            "<tr><td class=\"number\"><a href=\"#scenario-{n}\">{n}</a></td><td class=\"who\">{}</td><td>{}</td><td class=\"tight\">{}</td>\
             <td class=\"verdict\">{}</td><td class=\"number\">{}</td></tr>",
            who(&scenario.who),
            escape(&scenario.title),
            if scenario.supported {
                "yes"
            } else {
                "no, by design"
            },
            verdict(&scenario.state),
            seconds(scenario.duration_ms),
            n = scenario.number,
        );
    }
    page.push_str("</tbody>\n</table>\n</div>\n");
}

fn legend(page: &mut String, report: &RunReport) {
    let mut seen: Vec<&Who> = Vec::new();
    for role in 0..3 {
        for scenario in &report.scenarios {
            if let Some(who) = scenario.who.get(role).filter(|who| !seen.contains(who)) {
                seen.push(who);
            }
        }
    }
    page.push_str("<dl class=\"legend\">\n");
    for who in seen {
        _ = writeln!(
            page,
            "<div><dt>{}</dt><dd>{} {}</dd></div>",
            who.icon, who.generation, who.role
        );
    }
    page.push_str("</dl>\n");
}

fn section(page: &mut String, scenario: &ScenarioReport) {
    let open = if scenario.state == State::Holds {
        ""
    } else {
        " open"
    };
    _ = write!(
        page,
        "<section class=\"scenario\">\n<details{open}>\n<summary><h3>{n}: {} {}</h3> {}</summary>\n<div id=\"scenario-{n}\">\n",
        who(&scenario.who),
        escape(&scenario.title),
        verdict(&scenario.state),
        n = scenario.number,
    );
    _ = writeln!(page, "<p class=\"story\">{}</p>", escape(&scenario.story));
    if let State::Error(problem) = &scenario.state {
        _ = writeln!(page, "<p class=\"bad\">{}</p>", escape(problem));
    }
    page.push_str("<h4>Expectations</h4>\n");
    expectations(page, scenario.number, &scenario.findings);
    page.push_str("<h4>Steps</h4>\n<ol class=\"plain\">\n");
    for step in &scenario.steps {
        played(page, step);
    }
    page.push_str("</ol>\n");
    exchanges(page, scenario.number, "Exchanges", &scenario.exchanges);
    exchanges(page, scenario.number, "What the judge read", &scenario.reads);
    page.push_str("</div>\n</details>\n</section>\n");
}

fn expectations(page: &mut String, number: u8, findings: &[Finding]) {
    page.push_str("<ul class=\"plain\">\n");
    for group in findings.chunk_by(|one, next| one.that == next.that) {
        let holds = group.iter().all(|finding| finding.holds);
        let (open, that) = (if holds { "" } else { " open" }, &group[0].that);
        _ = write!(
            page,
            "<li><details{open}><summary>{} {}</summary>\n<div class=\"wide\"><table>\n<thead><tr><th scope=\"col\"></th>\
             <th scope=\"col\">what</th><th scope=\"col\">expected</th><th scope=\"col\">seen</th><th scope=\"col\">read from</th></tr></thead>\n<tbody>\n",
            mark(holds),
            escape(that),
        );
        for finding in group {
            let from = finding.exchange.as_ref().map_or(String::new(), |exchange| {
                let told = format!("{} {}", exchange.step, exchange.place);
                format!("<a href=\"#{}\">{}</a>", anchor(number, exchange), escape(&told))
            });
            _ = writeln!(
                page,
                "<tr><td>{}</td><td class=\"url\">{}</td><td class=\"mono url\">{}</td><td class=\"mono url\">{}</td><td class=\"tight\">{from}</td></tr>",
                mark(finding.holds),
                escape(&finding.what),
                escape(&finding.expected),
                escape(&finding.seen),
            );
        }
        page.push_str("</tbody>\n</table></div>\n</details></li>\n");
    }
    page.push_str("</ul>\n");
}

fn played(page: &mut String, step: &PlayedStep) {
    let outcome = &step.outcome;
    _ = write!(
        page,
        "<li><strong>{}</strong> <span class=\"soft\">{}, {}, {}</span>\n<pre>{}</pre>\n",
        escape(&outcome.step),
        step.actor,
        escape(&outcome.exit.to_string()),
        seconds(outcome.duration_ms),
        escape(&command_line::join(outcome.command.iter().map(String::as_str))),
    );
    for (name, text) in [
        ("standard output", &outcome.stdout),
        ("standard error", &outcome.stderr),
    ] {
        if !text.is_empty() {
            _ = writeln!(
                page,
                "<details><summary class=\"soft\">{name}</summary><pre>{}</pre></details>",
                escape(text)
            );
        }
    }
    page.push_str("</li>\n");
}

fn exchanges(page: &mut String, number: u8, title: &str, exchanges: &[Exchange]) {
    if exchanges.is_empty() {
        return;
    }
    _ = write!(
        page,
        "<details><summary><strong>{title}</strong> <span class=\"soft\">({})</span></summary>\n<div class=\"wide\"><table>\n\
         <thead><tr><th scope=\"col\">step</th><th class=\"number\" scope=\"col\">#</th><th scope=\"col\">request</th>\
         <th scope=\"col\">status</th><th class=\"number\" scope=\"col\">time</th></tr></thead>\n<tbody>\n",
        exchanges.len(),
    );
    for exchange in exchanges {
        let (class, status) = match exchange.status {
            0 => ("bad", "no answer".to_owned()),
            status @ 200..=399 => ("good", status.to_string()),
            404 => ("hint", "404".to_owned()),
            status => ("bad", status.to_string()),
        };
        _ = write!(
            page,
            "<tr id=\"{}\"><td>{}</td><td class=\"number\">{}</td><td><code class=\"url\">{} {}</code>",
            anchor(number, exchange),
            escape(&exchange.step),
            exchange.place,
            escape(&exchange.method),
            escape(&exchange.url),
        );
        body(page, "sent", &exchange.sent);
        body(page, "received", &exchange.received);
        _ = writeln!(
            page,
            "</td><td class=\"{class}\">{status}</td><td class=\"number\">{:.1} ms</td></tr>",
            exchange.time_ms
        );
    }
    page.push_str("</tbody>\n</table></div>\n</details>\n");
}

/// Where an exchange stands on the page; step names hold nothing that needs escaping.
fn anchor(number: u8, exchange: &Exchange) -> String {
    format!("exchange-{number}-{}-{}", exchange.step, exchange.place)
}

fn body(page: &mut String, name: &str, body: &Body) {
    let Some(text) = body.text.as_deref().filter(|text| !text.trim().is_empty()) else {
        return;
    };
    let pretty = serde_json::from_str::<serde_json::Value>(text)
        .ok()
        .and_then(|value| serde_json::to_string_pretty(&value).ok());
    let media_type = body.media_type.as_deref().unwrap_or("no media type");
    _ = write!(
        page,
        "<details><summary class=\"soft\">{name} {}, {} bytes</summary><pre>{}</pre></details>",
        escape(media_type),
        text.len(),
        escape(pretty.as_deref().unwrap_or(text)),
    );
}

/// The icons, each told to those who do not see it.
fn who(who: &[Who; 3]) -> String {
    let icons: Vec<String> = who
        .iter()
        .map(|who| {
            let told = format!("{} {}", who.generation, who.role);
            format!(
                "<span role=\"img\" aria-label=\"{told}\" title=\"{told}\">{}</span>",
                who.icon
            )
        })
        .collect();
    icons.join(" <span aria-hidden=\"true\">→</span> ")
}

fn verdict(state: &State) -> String {
    let class = if *state == State::Holds { "good" } else { "bad" };
    format!(
        "<span class=\"{class}\">{} {}</span>",
        mark(*state == State::Holds),
        state.name()
    )
}

fn mark(holds: bool) -> &'static str {
    match holds {
        true => "<span class=\"good\" aria-label=\"holds\">✓</span>",
        false => "<span class=\"bad\" aria-label=\"does not hold\">✗</span>",
    }
}

fn seconds(milliseconds: u64) -> String {
    format!("{:.2} s", milliseconds as f64 / 1000.0)
}

/// Escapes text for content and quoted attributes.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}
