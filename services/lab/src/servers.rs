//! The two registries of a native run, as child processes of this same executable, with fresh storage.

use generations::RegistryGeneration;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// How long a registry may take until it answers.
const MAX_START: Duration = Duration::from_secs(30);
/// How long between two looks whether it does.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// The configuration files, as they are in `config/registry/`, so that the executable needs nothing beside it.
const CONFIGURATIONS: [(&str, &str); 2] = [
    ("current", include_str!("../../../config/registry/current.yaml")),
    ("complete", include_str!("../../../config/registry/complete.yaml")),
];

/// What the registry says before the address that it listens on. It chooses a free port itself: a port that was found free
/// here could be somebody else's by the time it listens.
const ANNOUNCEMENT: &str = "listens on http://";

/// A registry that was started, and may not answer yet; it ends when this is dropped.
#[derive(Debug)]
pub struct Starting {
    generation: RegistryGeneration,
    port: u16,
    child: Child,
    log: PathBuf,
}

/// A registry that runs; it ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    /// Which generation its configuration makes it.
    pub generation: RegistryGeneration,
    /// Where it listens.
    pub address: SocketAddr,
    _child: Child,
}

/// Why a registry does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A file, a port or the process could not be had.
    #[error("cannot start the {generation} registry: {doing}: {source}")]
    Start {
        /// Which.
        generation: RegistryGeneration,
        /// What was tried.
        doing: String,
        /// Why.
        source: io::Error,
    },
    /// It ended before it answered.
    #[error("the {generation} registry on port {port} ended by itself ({status}): {log}")]
    Ended {
        /// Which.
        generation: RegistryGeneration,
        /// Where it should have listened; 0: wherever it is free.
        port: u16,
        /// How.
        status: String,
        /// The last that it said.
        log: String,
    },
    /// It runs but does not answer.
    #[error("the {generation} registry on port {port} did not answer within {} s: {log}", MAX_START.as_secs())]
    Silent {
        /// Which.
        generation: RegistryGeneration,
        /// Where it should listen; 0: wherever it is free.
        port: u16,
        /// The last that it said.
        log: String,
    },
}

impl Starting {
    /// Starts a registry with its configuration of `config/registry/`, storage below `folder`, on `port` (0: a free one).
    ///
    /// # Errors
    /// [`ServerError::Start`]. Whether it answers is for [`Starting::healthy`] to say.
    pub fn start(generation: RegistryGeneration, port: u16, folder: &Path) -> Result<Starting, ServerError> {
        let failed = |doing: &str| {
            let doing = doing.to_owned();
            move |source| ServerError::Start {
                generation,
                doing,
                source,
            }
        };
        let home = folder.join(generation.name());
        std::fs::create_dir_all(&home).map_err(failed("make a folder"))?;
        let (_, text) = CONFIGURATIONS
            .into_iter()
            .find(|(name, _)| *name == generation.name())
            .ok_or_else(|| failed("find its configuration")(io::ErrorKind::NotFound.into()))?;
        let config = home.join("config.yaml");
        std::fs::write(&config, text).map_err(failed("write its configuration"))?;
        let log = home.join("log");
        let log_file = std::fs::File::create(&log).map_err(failed("write its log"))?;
        let log_too = log_file.try_clone().map_err(failed("write its log"))?;
        let executable = std::env::current_exe().map_err(failed("find this executable"))?;
        let child = Command::new(executable)
            .args(["registry", "serve"])
            .arg(&config)
            .env("REGISTRY_HTTP_ADDR", format!("127.0.0.1:{port}"))
            .env("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", home.join("storage"))
            // Nothing here is to outlive the run, so nothing waits for the disk.
            .env("REGISTRY_STORAGE_FILESYSTEM_DURABILITY", "none")
            .stdin(Stdio::null())
            .stdout(log_file)
            .stderr(log_too)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed("start the process"))?;
        Ok(Starting {
            generation,
            port,
            child,
            log,
        })
    }

    /// The running registry, once it answers `GET /v2/` with 200.
    ///
    /// # Errors
    /// [`ServerError::Ended`] or [`ServerError::Silent`], with the last lines of its log.
    pub async fn healthy(mut self) -> Result<Server, ServerError> {
        let begun = Instant::now();
        loop {
            if let Some(address) = self.announced()
                && is_healthy(address).await
            {
                return Ok(Server {
                    generation: self.generation,
                    address,
                    _child: self.child,
                });
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(ServerError::Ended {
                    generation: self.generation,
                    port: self.port,
                    status: status.to_string(),
                    log: self.last_words(),
                });
            }
            if begun.elapsed() > MAX_START {
                return Err(ServerError::Silent {
                    generation: self.generation,
                    port: self.port,
                    log: self.last_words(),
                });
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }

    /// The address that its log says it listens on.
    fn announced(&self) -> Option<SocketAddr> {
        let log = std::fs::read_to_string(&self.log).ok()?;
        let (_, rest) = log.split_once(ANNOUNCEMENT)?;
        // A line that is still being written tells nothing.
        let (line, _) = rest.split_once('\n')?;
        line.split(|end: char| end == ';' || end.is_whitespace())
            .next()?
            .parse()
            .ok()
    }

    fn last_words(&self) -> String {
        const LINES: usize = 5;
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(LINES).collect();
        match lines.is_empty() {
            true => "it said nothing".to_owned(),
            false => lines.into_iter().rev().collect::<Vec<_>>().join(" | "),
        }
    }
}

/// Whether a 200 comes; anything else, or nothing within a second, is a no.
async fn is_healthy(address: SocketAddr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET /v2/ HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut start = [0; 12];
        stream.read_exact(&mut start).await?;
        io::Result::Ok(start.ends_with(b" 200"))
    };
    let limit = Duration::from_secs(1);
    matches!(tokio::time::timeout(limit, ask).await, Ok(Ok(true)))
}
