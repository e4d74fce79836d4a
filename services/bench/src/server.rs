//! Servers that the benchmark starts for itself, and folders for them.

use crate::settings::StartCommand;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a server may take to answer for the first time, and to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Pause between two attempts to reach a server that starts.
const RETRY: Duration = Duration::from_micros(200);

/// A folder that is removed when dropped.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// A new folder for temporary files, whose name starts with `prefix`.
    ///
    /// # Errors
    /// Of the file system.
    pub fn new(prefix: &str) -> io::Result<Folder> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{prefix}-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path)?;
        Ok(Folder(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where it is; from now on it stays.
    pub fn into_path(self) -> PathBuf {
        let path = self.0.clone();
        std::mem::forget(self);
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server process that is ended when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
    first_answer: Duration,
}

impl Server {
    /// Starts the command, with a free port and this folder filled in, and waits for its first answer.
    ///
    /// # Errors
    /// If it does not start, ends, or does not answer in time.
    pub fn start(command: &StartCommand, folder: &Path) -> io::Result<Server> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let port = address.port().to_string();
        let fill = |text: &String| {
            text.replace("{port}", &port)
                .replace("{dir}", &folder.to_string_lossy())
        };
        let words: Vec<String> = command.words.iter().map(fill).collect();
        let variables = command.variables.iter().map(|(name, value)| (name, fill(value)));
        let mut process = Command::new(words.first().map_or("", String::as_str));
        process
            .args(words.iter().skip(1))
            .envs(variables)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let begun = Instant::now();
        let mut server = Server {
            child: process.spawn()?,
            address,
            first_answer: Duration::ZERO,
        };
        while begun.elapsed() < PATIENCE {
            if let Ok(mut connection) = TcpStream::connect(address)
                && ask(&mut connection).is_ok()
            {
                server.first_answer = begun.elapsed();
                return Ok(server);
            }
            if let Some(status) = server.child.try_wait()? {
                let what = format!("{} ended with {status}", words.join(" "));
                return Err(io::Error::other(what));
            }
            std::thread::sleep(RETRY);
        }
        Err(io::Error::other(format!("{} does not answer", words.join(" "))))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// From the start of the process to its first answer.
    pub fn first_answer(&self) -> Duration {
        self.first_answer
    }

    /// Ends it at once, with no chance to tidy up: `kill -9`.
    ///
    /// # Errors
    /// If the system does not let us.
    pub fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for Server {
    /// Asks the process to end, so that it ends its own children; insists after a while.
    fn drop(&mut self) {
        // A process that has ended must not be named: its number may be another's by now.
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let asked = Instant::now();
        while asked.elapsed() < PATIENCE {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One request over a connection that stays open; any answer will do.
///
/// # Errors
/// If there is no answer.
pub fn ask(connection: &mut TcpStream) -> io::Result<()> {
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.write_all(b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut answer = [0; 1024];
    let mut filled = 0;
    while crate::wire::parse_head(&answer[..filled])
        .ok()
        .flatten()
        .is_none()
    {
        let room = answer.get_mut(filled..).unwrap_or_default();
        match connection.read(room)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            bytes => filled += bytes,
        }
    }
    Ok(())
}

/// The command that runs a registry: the one that was given, or else the program `registry` beside this one.
pub fn registry_command(given: Vec<String>) -> Vec<String> {
    if !given.is_empty() {
        return given;
    }
    let beside = std::env::current_exe()
        .ok()
        .map(|path| path.with_file_name("registry"));
    beside
        .into_iter()
        .map(|path| path.to_string_lossy().into_owned())
        .collect()
}
