//! `lab scenarios` and `lab show`: the scenario files in words.

use crate::scenarios::Loaded;
use crate::stage::blank;
use scenario::Step;
use scenario::expect::{
    Content, ExchangeExpectation, Expectation, PrintedExpectation, ReadExpectation, Times,
};
use std::fmt::Write;

/// One line a scenario.
pub fn list(scenarios: &[Loaded]) -> String {
    let mut text = String::new();
    for loaded in scenarios {
        let scenario = &loaded.scenario;
        let supported = if scenario.supported {
            ""
        } else {
            " (unsupported, by design)"
        };
        _ = writeln!(
            text,
            "{:>2}  {}  {}{supported}",
            scenario.scenario,
            blank(loaded).icons(),
            scenario.title
        );
    }
    text
}

/// All that a file says.
pub fn tell(loaded: &Loaded) -> String {
    let scenario = &loaded.scenario;
    let mut text = format!(
        "Scenario {}: {}\n{}\n\n",
        scenario.scenario,
        blank(loaded).icons(),
        scenario.title
    );
    _ = writeln!(
        text,
        "Producer: {}. Registry: {}. Consumer: {}. {}\n",
        scenario.producer,
        scenario.registry,
        scenario.consumer,
        match scenario.supported {
            true => "The working group supports this.",
            false =>
                "The working group does not support this: it passes when it fails in just the way described here.",
        }
    );
    _ = writeln!(
        text,
        "{}\n\nSteps, with ${{image}} = {}",
        scenario.story.trim(),
        scenario.image
    );
    scenario.steps.iter().for_each(|step| tell_step(&mut text, step));
    text.push_str("\nWhat must be seen\n");
    scenario
        .expect
        .iter()
        .for_each(|expectation| tell_expectation(&mut text, expectation));
    _ = writeln!(text, "\nThis is {}.", loaded.path.display());
    text
}

fn tell_step(text: &mut String, step: &Step) {
    _ = writeln!(text, "  {}: {}", step.step, step.run.trim());
    for (name, content) in &step.files {
        _ = writeln!(text, "      with a file {name} that holds {content:?}");
    }
    if let Some(stdin) = &step.stdin {
        _ = writeln!(text, "      reads {stdin:?} from standard input");
    }
    _ = writeln!(text, "      ends with exit code {}", step.exits);
}

fn tell_expectation(text: &mut String, expectation: &Expectation) {
    _ = writeln!(text, "  - {}", expectation.that);
    for PrintedExpectation { by, stdout, stderr } in &expectation.printed {
        for (name, content) in [("standard output", stdout), ("standard error", stderr)] {
            if let Some(content) = content {
                _ = writeln!(text, "      {name} of {by}: {}", tell_content(content));
            }
        }
    }
    for ExchangeExpectation {
        by,
        request,
        times,
        answered,
        sent,
        received,
    } in &expectation.exchanges
    {
        let times = match times {
            Times::Some => "once or more".to_owned(),
            exactly @ Times::Exactly(_) => exactly.to_string(),
        };
        let mut line = format!("{request}, by {by}: {times}");
        if let Some(status) = answered {
            _ = write!(line, ", answered {status}");
        }
        for (name, content) in [("sent", sent), ("received", received)] {
            if let Some(content) = content {
                _ = write!(line, "; {name}: {}", tell_content(content));
            }
        }
        _ = writeln!(text, "      {line}");
    }
    for ReadExpectation {
        read,
        answered,
        digest,
        received,
    } in &expectation.registry
    {
        let mut line = format!("the judge reads {read}: {answered}");
        if let Some(digest) = digest {
            _ = write!(line, ", digest {digest}");
        }
        if let Some(content) = received {
            _ = write!(line, "; {}", tell_content(content));
        }
        _ = writeln!(text, "      {line}");
    }
}

fn tell_content(content: &Content) -> String {
    let Content {
        media_type,
        digest,
        is,
        contains,
        lacks,
        json,
        counts,
    } = content;
    let mut told = Vec::new();
    told.extend(
        media_type
            .iter()
            .map(|media_type| format!("media type {media_type}")),
    );
    told.extend(digest.iter().map(|digest| format!("hashes to {digest}")));
    told.extend(is.iter().map(|is| format!("is {is:?}")));
    told.extend(contains.iter().map(|part| format!("contains {part:?}")));
    told.extend(lacks.iter().map(|part| format!("lacks {part:?}")));
    told.extend(
        counts
            .iter()
            .map(|(pointer, count)| format!("{pointer} has {count} item(s)")),
    );
    told.extend(json.iter().map(|(pointer, value)| format!("{pointer} = {value}")));
    told.join(", ")
}
