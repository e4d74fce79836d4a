//! Every input of `corpus/`, and the files that the project itself ships, through the targets: what fuzzing once found stays
//! found, with nothing but stable Rust.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use fuzz::TARGETS;
use std::{
    collections::BTreeSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

/// The most that is checked in of all corpora together.
const MAX_FILES: usize = 200;
/// The same, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

fn here(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The files that fail, each by its path; the reason of each stands above in the test's output.
fn failing(check: fn(&[u8]), files: Vec<PathBuf>) -> Vec<PathBuf> {
    assert!(!files.is_empty(), "nothing to replay");
    let fails = |path: &PathBuf| {
        let input = fs::read(path).unwrap();
        catch_unwind(AssertUnwindSafe(|| check(&input))).is_err()
    };
    files.into_iter().filter(fails).collect()
}

#[test]
fn every_input_of_every_corpus_keeps_the_properties() {
    for target in TARGETS {
        let found = failing(target.check, files(&here("corpus").join(target.name)));
        assert_eq!(found, Vec::<PathBuf>::new(), "target {}", target.name);
    }
}

#[test]
fn the_scenarios_and_configurations_that_we_ship_keep_the_properties() {
    for (check, folder, extension) in [
        (fuzz::scenario::check as fn(&[u8]), "../../scenarios", "yaml"),
        (fuzz::configuration::check, "../../config/registry", "yaml"),
    ] {
        let mut shipped = files(&here(folder));
        shipped.retain(|path| path.extension().is_some_and(|e| e == extension));
        assert_eq!(failing(check, shipped), Vec::<PathBuf>::new());
    }
}

#[test]
fn every_target_has_an_executable_and_a_corpus_and_no_other_has() {
    let expected: BTreeSet<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(expected.len(), TARGETS.len());
    for folder in ["corpus", "fuzz_targets"] {
        let paths = files(&here(folder));
        let names: BTreeSet<&str> = paths
            .iter()
            .map(|path| path.file_stem().unwrap().to_str().unwrap())
            .collect();
        assert_eq!(names, expected, "{folder}");
    }
}

#[test]
fn the_corpora_are_small_enough_to_be_checked_in() {
    let all: Vec<PathBuf> = files(&here("corpus"))
        .iter()
        .flat_map(|folder| files(folder))
        .collect();
    let bytes: u64 = all.iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(all.len() <= MAX_FILES, "{} files", all.len());
    assert!(bytes <= MAX_BYTES, "{bytes} bytes");
}
