//! `as-owner PROGRAM [ARGUMENT]…` becomes PROGRAM, as the user who owns the working folder.
//!
//! The entry point of the tools' images. Compose mounts the caller's folder into their containers, and what a tool
//! writes there should belong to the caller; but Compose cannot tell who that is (bash does not export `UID`). The
//! folder can. So the tools' containers start as root with no capability but the two for changing the user, and this
//! gives those up too before the tool starts. Where it is not root, or the folder is root's, it changes nothing.
//!
//! The tools themselves know nothing of containers, and this knows nothing of the tools: the standard library is all
//! that it needs.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

const USAGE: u8 = 2;
/// What shells answer for a program that is there but cannot be run.
const CANNOT_RUN: u8 = 126;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        eprintln!("usage: as-owner PROGRAM [ARGUMENT]…");
        return ExitCode::from(USAGE);
    };
    let error = become_program(&program, arguments);
    eprintln!(
        "as-owner: cannot run {} as the owner of the working folder: {error}",
        program.display()
    );
    ExitCode::from(CANNOT_RUN)
}

/// Replaces this process by `program`; comes back only with the reason why it could not.
fn become_program(program: &OsString, arguments: impl Iterator<Item = OsString>) -> io::Error {
    let mut command = Command::new(program);
    command.args(arguments);
    match new_user() {
        Err(error) => return error,
        // Setting a user as root clears the supplementary groups, and with the user go the capabilities.
        Ok(Some(owner)) => _ = command.uid(owner.user).gid(owner.group),
        Ok(None) => {}
    }
    command.exec()
}

struct Owner {
    user: u32,
    group: u32,
}

/// The owner of the working folder, if this process is root and the owner is not.
fn new_user() -> io::Result<Option<Owner>> {
    const ROOT: u32 = 0;
    // A process owns its own folder in /proc.
    if fs::metadata("/proc/self")?.uid() != ROOT {
        return Ok(None);
    }
    let folder = fs::metadata(".")?;
    Ok((folder.uid() != ROOT).then(|| Owner {
        user: folder.uid(),
        group: folder.gid(),
    }))
}
