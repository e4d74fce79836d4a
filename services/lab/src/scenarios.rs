//! Which scenarios there are to play: the files of a folder, or those that this executable was built with.

use oci::Digest;
use scenario::{FileError, Scenario};
use std::path::{Path, PathBuf};

/// Where the files are looked for when no folder is named.
pub const FOLDER: &str = "scenarios";

/// How many there are.
const COUNT: u8 = 18;

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../../scenarios/", $name)))),*]
    };
}

/// The files as they were at build time, so that the executable needs nothing beside it.
const BUILT_IN: [(&str, &str); COUNT as usize] = files![
    "01-present-state.yaml",
    "02-nothing-to-find.yaml",
    "03-nothing-to-find.yaml",
    "04-present-state.yaml",
    "05-nothing-to-find.yaml",
    "06-nothing-to-find.yaml",
    "07-not-impacted.yaml",
    "08-digest-tag.yaml",
    "09-digest-tag-not-preferred.yaml",
    "10-not-impacted.yaml",
    "11-referrers-api.yaml",
    "12-referrers-api-not-preferred.yaml",
    "13-manifest-rejected.yaml",
    "14-manifest-rejected.yaml",
    "15-manifest-rejected.yaml",
    "16-not-impacted.yaml",
    "17-cannot-parse.yaml",
    "18-artifact-manifest.yaml",
];

/// A scenario that was read and checked.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The scenario.
    pub scenario: Scenario,
    /// The digest of its file.
    pub digest: Digest,
    /// Its file; only a name for one that is built in.
    pub path: PathBuf,
}

/// Reads the scenarios with these numbers, all 18 for none: from `folder`, else from `./scenarios` if that is there, else
/// those that are built in. In the order of their numbers, each once.
///
/// # Errors
/// [`FileError`] of the first file that cannot be used. None is played then.
pub fn load(folder: Option<&Path>, numbers: &[u8]) -> Result<Vec<Loaded>, FileError> {
    let mut numbers = match numbers {
        [] => (1..=COUNT).collect(),
        some => some.to_vec(),
    };
    numbers.sort_unstable();
    numbers.dedup();
    let here = Path::new(FOLDER);
    let folder = folder.or_else(|| here.is_dir().then_some(here));
    numbers.into_iter().map(|number| one(folder, number)).collect()
}

fn one(folder: Option<&Path>, number: u8) -> Result<Loaded, FileError> {
    if let Some(folder) = folder {
        let path = Scenario::find(folder, number)?;
        let (scenario, digest) = Scenario::load_with_digest(&path)?;
        return Ok(Loaded {
            scenario,
            digest,
            path,
        });
    }
    let start = format!("{number:02}-");
    let (name, text) = BUILT_IN
        .into_iter()
        .find(|(name, _)| name.starts_with(&start))
        .ok_or_else(|| FileError::Missing {
            number,
            folder: PathBuf::from(FOLDER),
        })?;
    let path = Path::new(FOLDER).join(name);
    Ok(Loaded {
        scenario: Scenario::parse(&path, text)?,
        digest: Digest::sha256(text.as_bytes()),
        path,
    })
}
