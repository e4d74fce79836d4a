//! What reports show, from data made here: alignment, escaping, expected beside seen.

#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

use lab::evidence::{Body, Exchange};
use lab::report::terminal::{self, Style};
use lab::report::{RunReport, ScenarioReport, State, Who, html, json, junit};
use lab::verdict::Finding;

const PIPE: Style = Style {
    colours: false,
    width: None,
};
const TERMINAL: Style = Style {
    colours: true,
    width: Some(80),
};

fn scenario(number: u8, icons: [&'static str; 3], state: State) -> ScenarioReport {
    let who = |role, icon| Who {
        role,
        generation: "current",
        icon,
    };
    let exchange = Exchange {
        actor: Some(scenario::Actor::Producer),
        step: "attach".to_owned(),
        place: 4,
        registry: "localhost:5001".to_owned(),
        method: "PUT".to_owned(),
        url: "http://127.0.0.1/v2/app/manifests/latest?a=1&b=<2>".to_owned(),
        path: None,
        sent: Body::default(),
        status: 201,
        digest: None,
        received: Body {
            media_type: Some("text/html".to_owned()),
            text: Some("<script>alert(\"&\")</script>".to_owned()),
            size: None,
        },
        time_ms: 1.0,
    };
    let finding = |that: &str, holds| Finding {
        that: that.to_owned(),
        what: "PUT manifests/latest: \"status\" < 300 & more".to_owned(),
        expected: "<expected>".to_owned(),
        seen: if holds { "<expected>" } else { "<seen>\u{1}" }.to_owned(),
        holds,
        exchange: Some(exchange.clone()),
    };
    let holds = state != State::Fails;
    ScenarioReport {
        number,
        title: "Producer pushes image-spec manifest, consumer discovers refers via new API".to_owned(),
        supported: number != 13,
        who: [
            who("producer", icons[0]),
            who("registry", icons[1]),
            who("consumer", icons[2]),
        ],
        story: "A <story>.".to_owned(),
        state,
        duration_ms: 123,
        steps: Vec::new(),
        exchanges: vec![exchange.clone()],
        findings: vec![
            finding("First", true),
            finding("First", holds),
            finding("Second", true),
        ],
        reads: Vec::new(),
    }
}

fn run() -> RunReport {
    RunReport {
        started_ms: 0,
        duration_ms: 1234,
        source: "oci:<source>".to_owned(),
        registries: Vec::new(),
        scenarios: vec![
            scenario(1, ["🌱", "🚲", "🐀"], State::Holds),
            scenario(11, ["🌿", "🏍", "🐿"], State::Fails),
            scenario(13, ["🌲", "🚲", "🐀"], State::Error("no <outcome>".to_owned())),
        ],
    }
}

/// Columns of a text as a terminal that follows Unicode counts them; an emoji presentation of 🏍 and 🐿 is not asked for.
fn columns(text: &str) -> usize {
    text.chars()
        .map(|c| {
            if "🏍🐿".contains(c) || (c as u32) < 0x1f300 {
                1
            } else {
                2
            }
        })
        .sum()
}

#[test]
fn rows_are_aligned_whatever_their_icons() {
    let heading = terminal::heading(PIPE);
    let column = columns(heading.split("supported").next().expect("a heading"));
    for scenario in &run().scenarios {
        let row = terminal::row(scenario, PIPE);
        let word = if scenario.supported { "yes" } else { "no " };
        let before = row.split(word).next().expect("a row");
        assert_eq!(columns(before), column, "{row}");
    }
}

#[test]
fn a_terminal_is_told_the_column_and_gets_lines_that_fit() {
    let row = terminal::row(&run().scenarios[1], TERMINAL);
    assert!(row.contains("\x1b[19G"), "{row:?}");
    assert!(row.contains('…') && !row.contains("new API"), "{row:?}");
}

#[test]
fn a_pipe_gets_no_escape_codes_and_whole_lines() {
    for scenario in &run().scenarios {
        let text = terminal::row(scenario, PIPE)
            + &terminal::failures(scenario, PIPE)
            + &terminal::exchanges(scenario, PIPE);
        assert!(!text.contains('\x1b'), "{text:?}");
        assert!(text.contains("discovers refers via new API"), "{text}");
    }
}

#[test]
fn a_failure_shows_expected_and_seen_with_the_exchange() {
    let text = terminal::failures(&run().scenarios[1], PIPE);
    let expected = "  ✗ First\n    PUT manifests/latest: \"status\" < 300 & more\n      expected  <expected>\n      seen      <seen>\u{1}\n      read from attach, exchange 4: PUT http://127.0.0.1/v2/app/manifests/latest?a=1&b=<2> → 201\n";
    assert!(text.ends_with(expected), "{text}");
    assert_eq!(
        terminal::failures(&run().scenarios[0], PIPE),
        "",
        "what holds is not told"
    );
}

#[test]
fn the_last_line_counts() {
    assert_eq!(
        terminal::summary(&run(), PIPE),
        "\n1 of 3 scenarios hold in 1.2 s\n"
    );
    assert!(!run().holds());
    let empty = RunReport {
        scenarios: Vec::new(),
        ..run()
    };
    assert!(!empty.holds(), "a run of nothing proves nothing");
}

#[test]
fn junit_has_a_case_a_sentence_and_no_character_that_xml_forbids() {
    let xml = junit::render(&run());
    assert!(
        xml.contains("tests=\"7\" failures=\"1\" errors=\"1\" time=\"1.234\""),
        "{xml}"
    );
    assert_eq!(
        (
            xml.matches("<testcase ").count(),
            xml.matches("<failure ").count()
        ),
        (7, 1)
    );
    assert!(
        xml.contains("&lt;seen&gt;\u{fffd}") && xml.contains("no &lt;outcome&gt;"),
        "{xml}"
    );
    assert!(!xml.contains('\u{1}') && !xml.contains("<seen>"));
}

#[test]
fn html_escapes_whatever_it_is_given() {
    let page = html::render(&run());
    assert!(!page.contains("<script>") && page.contains("&lt;script&gt;"));
    assert!(
        !page.contains("<seen>")
            && !page.contains("<story>")
            && !page.contains("<source>")
            && !page.contains("<outcome>")
    );
    assert!(page.contains("aria-label=\"current producer\""));
}

#[test]
fn json_reads_back() {
    let text = json::render(&run()).expect("JSON");
    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(value["scenarios"][2]["state"]["verdict"], "error");
    assert_eq!(value["scenarios"][2]["state"]["problem"], "no <outcome>");
    assert_eq!(value["scenarios"][1]["state"]["verdict"], "fails");
}
