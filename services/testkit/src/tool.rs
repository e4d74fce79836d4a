//! Runs a built executable as a person would: arguments, environment, standard input; exit code and what it printed.

use std::{
    ffi::OsStr,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};
use tempfile::TempDir;

/// An executable with surroundings of its own: a working folder, and none of the caller's configuration or credentials.
pub struct Tool {
    executable: PathBuf,
    folder: TempDir,
    environment: Vec<(String, String)>,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The exit code; -1 if a signal ended it.
    pub code: i32,
    /// Standard output, as bytes.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: String,
}

impl Tool {
    /// The executable at this path: `env!("CARGO_BIN_EXE_…")`.
    pub fn new(executable: impl Into<PathBuf>) -> Tool {
        Tool {
            executable: executable.into(),
            folder: TempDir::with_prefix("tool-").expect("a temporary folder"),
            environment: Vec::new(),
        }
    }

    /// The same executable as a generation of it.
    pub fn generation(self, generation: &str) -> Tool {
        self.env("GENERATION", generation)
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Tool {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The folder that it runs in; it goes with the tool.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file into the folder that it runs in.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.folder().join(name), content).expect("a file");
    }

    /// Its client configuration, which is empty at first.
    pub fn config_path(&self) -> PathBuf {
        self.folder().join("client.json")
    }

    /// The executable.
    pub fn executable(&self) -> &Path {
        &self.executable
    }

    /// A command that is ready to be run, or to be changed before.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(&self.executable);
        command.args(arguments);
        self.surround(&mut command);
        command
    }

    /// Gives any command the folder and the environment of the tool.
    pub(crate) fn surround(&self, command: &mut Command) {
        command
            .current_dir(self.folder())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder())
            .env("REFERRERS_LAB_CONFIG", self.config_path())
            .env("DOCKER_CONFIG", self.folder().join("docker"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for (name, value) in &self.environment {
            command.env(name, value);
        }
    }

    /// Runs a command line without standard input.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Ran {
        let output = self.command(arguments).output().expect("the executable runs");
        Ran::from(output)
    }

    /// Runs a command line, split at its spaces.
    pub fn line(&self, line: &str) -> Ran {
        self.run(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs a command line, split at its spaces, with so much memory of its own (in MiB) and so many seconds: a tool that
    /// wants more ends with another code than a failure of its own has.
    pub fn line_within(&self, line: &str, mebibytes: u64, seconds: u64) -> Ran {
        let inner = format!(
            "ulimit -d {}; exec timeout {seconds} {} {line}",
            mebibytes * 1024,
            self.executable.display()
        );
        let mut command = Command::new("sh");
        command.args(["-c", &inner]);
        self.surround(&mut command);
        Ran::from(command.output().expect("sh runs"))
    }

    /// Runs a command line without standard input, and tells the most memory that it had, in KiB. What it prints on standard
    /// output is dropped, as it may be large.
    ///
    /// The figure is read while it runs, every few milliseconds: what it takes after the last of these is not in it.
    #[cfg(target_os = "linux")]
    pub fn line_measured(&self, line: &str) -> (Ran, u64) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut child = self
            .command(&words)
            .stdout(Stdio::null())
            .spawn()
            .expect("the executable runs");
        let mut peak = 0;
        while child.try_wait().expect("a child").is_none() {
            peak = peak_resident_kib(child.id()).unwrap_or(peak);
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let output = child.wait_with_output().expect("the executable ends");
        (Ran::from(output), peak)
    }

    /// Runs a command line with standard input.
    pub fn run_with_input<S: AsRef<OsStr>>(&self, arguments: &[S], input: &[u8]) -> Ran {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .spawn()
            .expect("the executable runs");
        let mut stdin = child.stdin.take().expect("a pipe");
        // A tool that ends before it has read everything closes the pipe: that is its right.
        let _ = stdin.write_all(input);
        drop(stdin);
        Ran::from(child.wait_with_output().expect("the executable ends"))
    }
}

/// The most memory that a running process had so far, in KiB; `None` if it has ended.
#[cfg(target_os = "linux")]
pub fn peak_resident_kib(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    /// Itself, if it ended with this code.
    ///
    /// # Panics
    /// With all that it printed, if it ended with another.
    #[track_caller]
    pub fn expect(self, code: i32) -> Ran {
        assert_eq!(
            self.code,
            code,
            "stdout: {}\nstderr: {}",
            self.text(),
            self.stderr
        );
        self
    }

    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// If it is not JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|e| panic!("not JSON ({e}): {}", self.text()))
    }
}
