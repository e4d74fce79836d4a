//! Ctrl-C while standard input is read, which may never end.

#![cfg(unix)]
#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

use std::io::Write;
use std::process::{Command, Stdio};
use testkit::Tool;

#[test]
fn an_interrupted_put_ends_while_standard_input_is_still_open() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("UTF-8");
    let tool = Tool::new(env!("CARGO_BIN_EXE_producer")).env("TMPDIR", path);
    let mut child = tool
        .command(&["artifact", "put", "--refers", "localhost:1/app"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("the tool runs");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(b"half of").expect("written");
    let files = || std::fs::read_dir(path).expect("the folder").count();
    while files() == 0 {
        std::thread::yield_now();
    }
    let sent = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(sent.expect("kill runs").success());
    let ended = child.wait().expect("it ends");
    assert_eq!(ended.code(), Some(130));
    assert_eq!(files(), 0, "the temporary file went, too");
    drop(input);
}
