//! Holds the shape that ARCHITECTURE.md draws: which crate may use which, where awc may be named, and that no code but
//! `generations` acts on a generation's name.

#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The arrows, one way only: a crate and the crates of the workspace that it may use. Tests may use `testkit` too.
const ARROWS: &[(&str, &[&str])] = &[
    ("as-owner", &[]),
    ("bench", &["oci"]),
    ("cli", &["oci", "client"]),
    ("client", &["oci"]),
    ("consumer", &["oci", "generations", "scenario", "client", "cli"]),
    ("fuzz", &["oci", "client", "cli", "registry", "scenario"]),
    ("generations", &["oci"]),
    (
        "lab",
        &[
            "oci",
            "generations",
            "scenario",
            "client",
            "cli",
            "registry",
            "producer",
            "consumer",
        ],
    ),
    ("oci", &[]),
    ("producer", &["oci", "generations", "scenario", "client", "cli"]),
    ("registry", &["oci", "generations"]),
    ("scenario", &["oci", "generations"]),
    ("testkit", &["oci", "registry"]),
];

/// Where one generation's variant may be written out: the tables themselves, and tests.
const MAY_NAME_GENERATIONS: &[&str] = &["services/generations/"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the workspace")
        .to_owned()
}

/// The crates of the workspace that a section of a manifest names.
fn workspace_dependencies(manifest: &str, wanted: &str) -> Vec<String> {
    let crates: Vec<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    let mut section = String::new();
    let mut found = Vec::new();
    for line in manifest.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
        } else if section == wanted {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if crates.contains(&name) {
                found.push(name.to_owned());
            }
        }
    }
    found
}

fn manifests() -> BTreeMap<String, String> {
    fs::read_dir(root().join("services"))
        .expect("services/")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.join("Cargo.toml").exists())
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (
                name,
                fs::read_to_string(path.join("Cargo.toml")).expect("a manifest"),
            )
        })
        .collect()
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Every source file of the services, by its path from the root, without what stands under `#[cfg(test)]`.
fn sources() -> BTreeMap<String, String> {
    let mut files = Vec::new();
    rust_files(&root().join("services"), &mut files);
    files
        .into_iter()
        .map(|path| {
            let name = path
                .strip_prefix(root())
                .expect("inside")
                .to_string_lossy()
                .into_owned();
            let text = fs::read_to_string(&path).expect("a source file");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
            (name, code)
        })
        .filter(|(name, _)| !name.contains("/tests/"))
        .collect()
}

#[test]
fn crates_use_each_other_in_one_direction_only() {
    let manifests = manifests();
    let known: Vec<String> = ARROWS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(
        manifests.keys().cloned().collect::<Vec<_>>(),
        known,
        "every crate stands in ARROWS, and no other"
    );
    for (name, allowed) in ARROWS {
        for used in workspace_dependencies(&manifests[*name], "dependencies") {
            assert!(allowed.contains(&used.as_str()), "{name} must not use {used}");
        }
        for used in workspace_dependencies(&manifests[*name], "dev-dependencies") {
            assert!(
                allowed.contains(&used.as_str()) || used == "testkit",
                "tests of {name} must not use {used}"
            );
        }
    }
}

#[test]
fn awc_is_named_in_the_clients_transport_alone() {
    let sources = sources();
    let users: Vec<&String> = sources
        .iter()
        .filter(|(_, code)| code.contains("awc::") || code.contains("use awc"))
        .map(|(name, _)| name)
        .collect();
    assert!(
        !users.is_empty(),
        "the transport uses awc, so this test looks in the wrong place"
    );
    for user in users {
        assert!(
            user.starts_with("services/client/src/transport"),
            "{user} uses awc"
        );
    }
}

#[test]
fn only_the_tables_name_a_generation() {
    for (name, code) in sources() {
        if MAY_NAME_GENERATIONS
            .iter()
            .any(|allowed| name.starts_with(allowed))
        {
            continue;
        }
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for variant in [
                "Generation::Current",
                "Generation::Intermediate",
                "Generation::Complete",
            ] {
                assert!(
                    !line.contains(variant),
                    "{name} acts on a generation's name: {}",
                    line.trim()
                );
            }
        }
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    let mut files = Vec::new();
    rust_files(&root().join("services"), &mut files);
    assert!(files.len() > 30, "only {} files found", files.len());
    for path in files {
        let text = fs::read_to_string(&path).expect("a source file");
        assert!(
            text.starts_with("//!"),
            "{} does not begin with //!",
            path.display()
        );
    }
}

/// The rows of a section's table in ARCHITECTURE.md, as cells.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let section = text.split(heading).nth(1).expect("the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let cells = |line: &str| {
        let line = line.trim().trim_matches('|');
        line.split(" | ").map(|cell| cell.trim().to_owned()).collect()
    };
    section
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(2)
        .map(cells)
        .collect()
}

#[test]
fn every_rule_of_trust_names_tests_that_exist() {
    let rows = rows("## What is trusted, and what is not");
    let mut tests = 0;
    for row in &rows {
        let mut file: Option<(String, String)> = None;
        let named = row.last().expect("a cell").clone();
        // Every second part stands between backticks: a file, then the tests in it.
        for word in named.split('`').skip(1).step_by(2) {
            if word.ends_with(".rs") || word.ends_with("/run") {
                let path = root().join("services").join(word);
                let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{word}: {error}"));
                file = Some((word.to_owned(), text));
            } else {
                let (path, text) = file.as_ref().expect("a file before its tests");
                assert!(
                    text.contains(&format!("fn {word}()")),
                    "{path} has no test {word}, which ARCHITECTURE.md names"
                );
                tests += 1;
            }
        }
        assert!(file.is_some(), "no test holds {row:?}");
    }
    assert!(
        rows.len() >= 30 && tests >= 60,
        "{} rules, {tests} tests",
        rows.len()
    );
}
