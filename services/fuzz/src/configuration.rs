//! The registry's configuration: a file and variables over it. What is taken is sound, what is refused is named.

use crate::grammar::check_message;
use registry::{
    Config, ConfigError,
    config::{Base, Listen},
};
use std::{cell::RefCell, ffi::OsString, io::Write};
use tempfile::NamedTempFile;

thread_local! {
    /// The file that each input is written to: the loader reads files and nothing else.
    static FILE: RefCell<NamedTempFile> = RefCell::new(NamedTempFile::new().expect("a temporary file"));
}

/// Lines `REGISTRY_…=value` first, as environment variables; the rest is the file.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let (variables, yaml) = split(text);
    FILE.with_borrow_mut(|file| {
        file.as_file().set_len(0).expect("an empty file");
        std::io::Seek::rewind(file).expect("the beginning");
        file.write_all(yaml.as_bytes()).expect("a written file");
        let load = || Config::load_over(Base::File(file.path()), variables.clone());
        match load() {
            Ok(config) => {
                sound(&config);
                assert_eq!(load().ok(), Some(config), "two loads of one text differ");
            }
            Err(error) => named(&error, &file.path().display().to_string(), &variables),
        }
    });
}

type Variables = Vec<(OsString, OsString)>;

fn split(text: &str) -> (Variables, &str) {
    let mut variables = Vec::new();
    let mut rest = text;
    while rest.starts_with("REGISTRY_") {
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        variables.push((name.into(), value.into()));
        rest = after;
    }
    (variables, rest)
}

/// What the registry takes for granted of a configuration.
fn sound(config: &Config) {
    let storage = &config.storage;
    assert!(
        storage.filesystem.is_none() || storage.inmemory.is_none(),
        "two storages"
    );
    assert!(config.http.limits.connections > 0);
    for interval in [
        storage.maintenance.gc.interval,
        storage.maintenance.uploadpurging.interval,
        config.http.limits.headtimeout,
        config.http.limits.bodytimeout,
        config.health.storagedriver.interval,
    ] {
        assert!(!interval.get().is_zero(), "a clock that never rests");
    }
    for (name, values) in &config.http.headers {
        assert!(
            name.bytes().all(|b| b.is_ascii_graphic() && b != b':'),
            "{name:?}"
        );
        let forges = |value: &String| value.contains(['\r', '\n', '\0']);
        assert!(!values.iter().any(forges), "{values:?}");
    }
    let _: &Listen = &config.http.addr;
}

/// An error names the file or the variable that it is about.
fn named(error: &ConfigError, file: &str, variables: &Variables) {
    check_message(error);
    let text = error.to_string();
    // As an error writes a name: whoever sets variables may name them as strangely as they like.
    let written = |name: &OsString| {
        let escape = |c: char| match c.is_control() {
            true => c.escape_default().to_string(),
            false => c.to_string(),
        };
        name.to_string_lossy().chars().map(escape).collect::<String>()
    };
    let names_a_variable = variables.iter().any(|(name, _)| text.contains(&written(name)));
    assert!(text.contains(file) || names_a_variable, "{text:?} says not where");
}
