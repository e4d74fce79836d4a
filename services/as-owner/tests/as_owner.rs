//! What `as-owner` does, seen from outside.

use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::process::{Command, Output};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// A user and a group that no account needs to have.
const SOMEBODY: u32 = 1234;
const SOME_GROUP: u32 = 1235;

fn as_owner(folder: &Path, arguments: &[&str]) -> std::io::Result<Output> {
    Command::new(env!("CARGO_BIN_EXE_as-owner"))
        .args(arguments)
        .current_dir(folder)
        .output()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

fn this_user() -> std::io::Result<u32> {
    Ok(std::fs::metadata("/proc/self")?.uid())
}

#[test]
fn as_root_the_program_runs_as_the_owner_of_the_folder_with_no_other_groups() -> Outcome {
    if this_user()? != 0 {
        println!("skipped: only root can become somebody else");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    chown(folder.path(), Some(SOMEBODY), Some(SOME_GROUP))?;

    let output = as_owner(
        folder.path(),
        &["sh", "-c", "id -u; id -g; id -G; echo hello > written"],
    )?;

    assert_eq!(
        text(&output.stdout),
        format!("{SOMEBODY}\n{SOME_GROUP}\n{SOME_GROUP}")
    );
    let written = std::fs::metadata(folder.path().join("written"))?;
    assert_eq!((written.uid(), written.gid()), (SOMEBODY, SOME_GROUP));
    Ok(())
}

#[test]
fn in_a_folder_of_the_own_user_the_user_stays() -> Outcome {
    let folder = tempfile::tempdir()?;

    let output = as_owner(folder.path(), &["id", "-u"])?;

    assert_eq!(text(&output.stdout), this_user()?.to_string());
    Ok(())
}

#[test]
fn an_ordinary_user_stays_that_user_in_a_folder_of_somebody_else() -> Outcome {
    if this_user()? == 0 {
        println!("skipped: this is about ordinary users");
        return Ok(());
    }

    let output = as_owner(Path::new("/"), &["id", "-u"])?;

    assert_eq!(text(&output.stdout), this_user()?.to_string());
    Ok(())
}

#[test]
fn the_exit_code_and_the_arguments_are_the_programs() -> Outcome {
    let folder = tempfile::tempdir()?;

    let output = as_owner(
        folder.path(),
        &["sh", "-c", "echo \"$1\"; exit 5", "sh", "two words"],
    )?;

    assert_eq!(text(&output.stdout), "two words");
    assert_eq!(output.status.code(), Some(5));
    Ok(())
}

#[test]
fn a_program_that_is_not_there_is_named() -> Outcome {
    let folder = tempfile::tempdir()?;

    let output = as_owner(folder.path(), &["/no/such/program"])?;

    assert_eq!(output.status.code(), Some(126));
    assert!(
        text(&output.stderr).contains("/no/such/program"),
        "{}",
        text(&output.stderr)
    );
    Ok(())
}

#[test]
fn without_a_program_the_usage_is_told() -> Outcome {
    let folder = tempfile::tempdir()?;

    let output = as_owner(folder.path(), &[])?;

    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stderr), "usage: as-owner PROGRAM [ARGUMENT]…");
    Ok(())
}
