//! Scenario files: what is read is written and read back the same, and the small languages in it keep their rules.

use crate::grammar::check_message;
use ::scenario::{Actor, Remembered, RequestPattern, Scenario, Variables, command_line};
use std::path::Path;

/// Any text as a file, and as each of the small languages: command lines, request patterns, `${variables}`.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    match Scenario::parse(Path::new("fuzz.yaml"), text) {
        Ok(scenario) => sound(&scenario),
        Err(error) => check_message(&error),
    }
    if text.len() < 1000 {
        command_lines(text);
        patterns(text);
        variables(text);
    }
}

fn sound(scenario: &Scenario) {
    // JSON is YAML, and needs no second writer.
    let json = serde_json::to_string(scenario).expect("JSON");
    let again = Scenario::parse(Path::new("fuzz.json"), &json).expect("a scenario that was written is one");
    assert_eq!(&again, scenario);
    assert!((1..=18).contains(&scenario.scenario));
    assert!(scenario.reference().is_ok() && scenario.variables("source").is_ok());
    for step in &scenario.steps {
        assert!(step.actor().is_some(), "nobody does {:?}", step.step);
        for file in step.files.keys() {
            let plain = !file.contains('/') && !file.starts_with('.') && !file.is_empty();
            assert!(plain, "{file:?} leaves the working folder");
        }
    }
    let by_actors: usize = Actor::ALL
        .iter()
        .map(|actor| scenario.steps_of(*actor).count())
        .sum();
    assert_eq!(by_actors, scenario.steps.len());
}

fn command_lines(text: &str) {
    match command_line::split(text) {
        Ok(words) => {
            let line = command_line::join(words.iter().map(String::as_str));
            assert_eq!(command_line::split(&line).as_ref(), Ok(&words), "{line:?}");
        }
        Err(error) => assert_eq!(error.line, text),
    }
    let word = command_line::join([text]);
    assert_eq!(command_line::split(&word), Ok(vec![text.to_owned()]), "{word:?}");
}

fn patterns(text: &str) {
    let (first, path) = text.split_once('\n').unwrap_or((text, "manifests/x"));
    if let Ok(remembered) = Remembered::parse(first) {
        let written = remembered.to_string();
        assert_eq!(Remembered::parse(&written), Ok(remembered), "{written:?}");
    }
    if let Ok(pattern) = RequestPattern::parse(first) {
        let expected = pattern.paths().iter().any(|glob| matches(glob, path));
        assert_eq!(
            pattern.matches("GET", path),
            expected && ["any", "GET"].contains(&pattern.method.as_str())
        );
        assert!(
            pattern.path.contains('*') || pattern.paths().len() > 1 || expected == (pattern.path == path)
        );
    }
}

/// A glob by a table: `reached[n]` tells whether the pattern so far takes the first `n` bytes.
fn matches(glob: &str, text: &str) -> bool {
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for token in glob.bytes() {
        if token == b'*' {
            let from = reached.iter().position(|r| *r).unwrap_or(reached.len());
            reached[from..].fill(true);
        } else {
            for n in (1..reached.len()).rev() {
                reached[n] = reached[n - 1] && text.as_bytes()[n - 1] == token;
            }
            reached[0] = false;
        }
    }
    reached[text.len()]
}

fn variables(text: &str) {
    let mut variables = Variables::default();
    variables.set("image", "localhost:5001/${registry}");
    match variables.fill(text) {
        Ok(filled) if !text.contains("${") => assert_eq!(filled, text),
        Ok(filled) => assert!(filled.len() <= text.len() * 4, "a value is filled again"),
        Err(error) => assert!(text.contains("${"), "{error}"),
    }
}
