//! A tool on a terminal, as a person would sit at it: standard output and error are one pseudo-terminal.

use crate::Tool;
use std::{
    io::Read,
    process::{Child, ChildStdout, Command, Stdio},
};

/// A tool that runs on a terminal of 100 columns, made by util-linux's `script`.
pub struct Terminal {
    child: Child,
    output: ChildStdout,
    shown: String,
}

impl Terminal {
    /// Whether `script` of util-linux is there to make terminals.
    ///
    /// # Panics
    /// If it is not, where `CI=true`: a test must not be left out there.
    pub fn can_be_made() -> bool {
        let version = Command::new("script").arg("--version").output();
        let there =
            version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("util-linux"));
        assert!(
            there || std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "util-linux's script is not there"
        );
        if !there {
            println!("skipped: util-linux's script is not there");
        }
        there
    }

    /// Starts a tool; the command line is split at its spaces, and none of its words may mean anything to a shell.
    pub fn start(tool: &Tool, line: &str) -> Terminal {
        let inner = format!(
            "stty cols 100 rows 30; exec {} {line}",
            tool.executable().display()
        );
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--command", &inner, "/dev/null"]);
        tool.surround(&mut command);
        let mut child = command
            .env("TERM", "xterm")
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::null())
            .spawn()
            .expect("script runs");
        Terminal {
            output: child.stdout.take().expect("a pipe"),
            child,
            shown: String::new(),
        }
    }

    /// Reads until this text has been shown.
    ///
    /// # Panics
    /// With all that was shown, if the tool ends before.
    pub fn wait_for(&mut self, text: &str) {
        while !self.shown.contains(text) {
            assert!(self.read(), "{text:?} was never shown: {:?}", self.shown);
        }
    }

    /// Reads to the end: the exit code, and all that was shown, with its escape sequences.
    pub fn end(mut self) -> (i32, String) {
        while self.read() {}
        let status = self.child.wait().expect("script ends");
        (status.code().unwrap_or(-1), self.shown)
    }

    fn read(&mut self) -> bool {
        let mut piece = [0; 4096];
        let count = self.output.read(&mut piece).unwrap_or(0);
        self.shown.push_str(&String::from_utf8_lossy(&piece[..count]));
        count > 0
    }
}
