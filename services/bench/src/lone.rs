//! Samples that need a server of their own, started for them: time to the first answer, memory of idle connections.

use crate::clients::Making;
use crate::content::{self, Blob};
use crate::fixtures::{Fixtures, Trouble};
use crate::process;
use crate::sample::{Sample, mebibytes};
use crate::settings::{Kind, Settings, StartCommand, Target};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a server may take to answer for the first time, and to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Pause between two attempts to reach a server that starts.
const RETRY: Duration = Duration::from_micros(200);

/// Time to the first answer of a fresh server, and of one that holds many manifests.
pub(crate) fn start(settings: &Settings, target: &Target) -> Result<Sample, Trouble> {
    let command = command(target)?;
    let folder = Folder::new(settings)?;
    let first = Server::start(command, folder.path())?;
    let usage = process::usage(first.child.id());
    let mut sample = Sample {
        value: first.first_answer.as_secs_f64() * 1e3,
        operations: 1,
        peak_mib: usage.map(|usage| mebibytes(usage.peak_kib)),
        ..Sample::default()
    };
    if target.kind != Kind::Registry {
        return Ok(sample);
    }
    let running = Target {
        address: first.address,
        pid: None,
        start: None,
        ..target.clone()
    };
    let repository = settings.repository(&running, "stored");
    let fixtures = Fixtures::new(settings);
    fixtures.push_blobs(&running, &repository, vec![content::config(), Blob::small()])?;
    fixtures.push_manifests(&running, &repository, &Making::Tagged, 0..settings.scale.stored)?;
    drop(first);
    let second = Server::start(command, folder.path())?;
    let milliseconds = second.first_answer.as_secs_f64() * 1e3;
    sample.extra.insert("with manifests stored ms", milliseconds);
    Ok(sample)
}

/// Memory that idle connections add to a fresh server.
pub(crate) fn idle(settings: &Settings, target: &Target) -> Result<Sample, Trouble> {
    let command = command(target)?;
    let folder = Folder::new(settings)?;
    let server = Server::start(command, folder.path())?;
    let pid = server.child.id();
    let before = process::usage(pid).ok_or_else(no_memory)?;
    let mut connections = Vec::with_capacity(settings.scale.idle);
    for _ in 0..settings.scale.idle {
        let mut connection = TcpStream::connect(server.address)?;
        ask(&mut connection)?;
        connections.push(connection);
    }
    let after = process::usage(pid).ok_or_else(no_memory)?;
    for connection in &mut connections {
        ask(connection)?;
    }
    Ok(Sample {
        value: mebibytes(after.resident_kib) - mebibytes(before.resident_kib),
        operations: connections.len() as u64,
        peak_mib: Some(mebibytes(after.peak_kib)),
        ..Sample::default()
    })
}

fn command(target: &Target) -> Result<&StartCommand, Trouble> {
    let missing = || Trouble::Unsupported("no --start command".to_owned());
    target.start.as_ref().ok_or_else(missing)
}

fn no_memory() -> Trouble {
    Trouble::Unsupported("memory of a process is not known here".to_owned())
}

/// A folder that is removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(settings: &Settings) -> std::io::Result<Folder> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{}-{number}", settings.prefix, std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path)?;
        Ok(Folder(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server process that is ended when dropped.
struct Server {
    child: Child,
    address: SocketAddr,
    first_answer: Duration,
}

impl Server {
    /// Starts the command and waits for its first answer.
    fn start(command: &StartCommand, folder: &Path) -> Result<Server, Trouble> {
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
        let start = Instant::now();
        let mut server = Server {
            child: process.spawn()?,
            address,
            first_answer: Duration::ZERO,
        };
        while start.elapsed() < PATIENCE {
            if let Ok(mut connection) = TcpStream::connect(address)
                && ask(&mut connection).is_ok()
            {
                server.first_answer = start.elapsed();
                return Ok(server);
            }
            if let Some(status) = server.child.try_wait()? {
                let what = format!("{} ended with {status}", words.join(" "));
                return Err(std::io::Error::other(what).into());
            }
            std::thread::sleep(RETRY);
        }
        Err(std::io::Error::other(format!("{} does not answer", words.join(" "))).into())
    }
}

impl Drop for Server {
    /// Asks the process to end, so that it ends its own children; insists after a while.
    fn drop(&mut self) {
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
fn ask(connection: &mut TcpStream) -> std::io::Result<()> {
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
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            bytes => filled += bytes,
        }
    }
    Ok(())
}
