//! A registry in this process: its own thread and actix System, a free port of 127.0.0.1, a folder of its own.

use crate::http::{Request, Response};
use registry::config::{Config, Durability, Filesystem, Listen};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::mpsc,
    thread::JoinHandle,
};
use tempfile::TempDir;
use tokio::sync::oneshot;

/// A running registry. Dropping it stops it and removes its folder.
pub struct Registry {
    config: Config,
    address: SocketAddr,
    debug_address: Option<SocketAddr>,
    server: Option<Server>,
    /// Removed after the server has stopped: fields are dropped in their order.
    folder: TempDir,
}

/// The thread that a registry lives in.
struct Server {
    stop: oneshot::Sender<bool>,
    thread: JoinHandle<()>,
}

/// Where a registry has started to listen, or why it has not.
type Started = Result<Vec<SocketAddr>, String>;

impl Registry {
    /// A registry of the current generation: no referrers.
    pub fn current() -> Registry {
        Registry::start(Config::current())
    }

    /// A registry of the complete generation: the referrers API and the artifact manifest.
    pub fn complete() -> Registry {
        Registry::start(Config::complete())
    }

    /// Runs a test against both configurations, one after the other, and says which one it failed on.
    pub fn each(test: impl Fn(&Registry)) {
        for (name, config) in [("current", Config::current()), ("complete", Config::complete())] {
            let registry = Registry::start(config);
            let _says = SaysOnPanic(name);
            test(&registry);
        }
    }

    /// A registry of this configuration, on a free port whatever `http.addr` says. Without a storage of its own, it gets a
    /// temporary folder, with `durability: none`, as tests cut no power.
    pub fn start(config: Config) -> Registry {
        Registry::try_start(config).unwrap_or_else(|reason| panic!("the registry does not start: {reason}"))
    }

    /// As [`Registry::start`], for tests of what keeps a registry from starting.
    ///
    /// # Errors
    /// What the registry says.
    pub fn try_start(mut config: Config) -> Result<Registry, String> {
        let folder = TempDir::with_prefix("registry-").expect("a temporary folder");
        if config.storage.filesystem.is_none() && config.storage.inmemory.is_none() {
            config.storage.filesystem = Some(Filesystem {
                rootdirectory: folder.path().join("storage"),
                durability: Durability::None,
            });
        }
        config.http.addr = Listen::loopback(0);
        config.http.limits.workers = 2;
        if let Some(debug) = &mut config.http.debug {
            debug.addr = Listen::loopback(0);
        }
        let (server, addresses) = Server::start(config.clone())?;
        Ok(Registry {
            address: addresses[0],
            debug_address: config.http.debug.as_ref().and_then(|_| addresses.last().copied()),
            config,
            server: Some(server),
            folder,
        })
    }

    /// `127.0.0.1:PORT`, as it stands in a reference.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// `http://127.0.0.1:PORT`, or `https://…` with TLS.
    pub fn url(&self) -> String {
        let scheme = if self.config.http.tls.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its debug server listens, if the configuration has one.
    pub fn debug_address(&self) -> Option<SocketAddr> {
        self.debug_address
    }

    /// The configuration that it runs with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Its storage folder.
    ///
    /// # Panics
    /// For a registry that keeps everything in memory.
    pub fn storage_dir(&self) -> PathBuf {
        let filesystem = self.config.storage.filesystem.as_ref();
        filesystem
            .expect("a registry with storage on disk")
            .rootdirectory
            .clone()
    }

    /// A folder beside the storage, for files of the test; it goes with the registry.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Stops it as SIGTERM does. Nothing happens if it is stopped already.
    pub fn stop(&mut self) {
        self.end(true);
    }

    /// Starts it again on the same storage and port.
    pub fn restart(&mut self) {
        let config = self.config.clone();
        self.restart_as(config);
    }

    /// Starts it again on the same storage with another configuration: an upgrade in place, or a way back.
    ///
    /// It takes its old port, or a free one if another process got that meanwhile: ask for the address again.
    pub fn restart_as(&mut self, mut config: Config) {
        self.stop();
        config.storage.filesystem = self.config.storage.filesystem.clone();
        config.http.addr = self.address.into();
        let (server, addresses) = Server::start(config.clone()).unwrap_or_else(|_| {
            config.http.addr = SocketAddr::from(([127, 0, 0, 1], 0)).into();
            Server::start(config.clone())
                .unwrap_or_else(|reason| panic!("the registry does not start again: {reason}"))
        });
        self.address = addresses[0];
        self.debug_address = config.http.debug.as_ref().and_then(|_| addresses.last().copied());
        self.config = config;
        self.server = Some(server);
    }

    /// Sends a request without headers and body.
    pub fn get(&self, path: &str) -> Response {
        Request::new("GET", path).send(self.address)
    }

    /// Sends a request.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        crate::http::request(self.address, method, path, headers, body)
    }

    fn end(&mut self, graceful: bool) {
        if let Some(server) = self.server.take() {
            let _ = server.stop.send(graceful);
            let ended = server.thread.join();
            if !std::thread::panicking() {
                ended.expect("the registry's thread must not panic");
            }
        }
    }
}

/// Names the configuration that a test failed on.
struct SaysOnPanic(&'static str);

impl Drop for SaysOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("… with the {} configuration", self.0);
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.end(false);
    }
}

impl Server {
    fn start(config: Config) -> Result<(Server, Vec<SocketAddr>), String> {
        let (stop, stopped) = oneshot::channel();
        let (tell, started) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("registry".into())
            .spawn(move || actix_rt::System::new().block_on(serve(config, &tell, stopped)))
            .expect("a thread");
        match started.recv() {
            Ok(Ok(addresses)) => Ok((Server { stop, thread }, addresses)),
            Ok(Err(reason)) => {
                let _ = thread.join();
                Err(reason)
            }
            Err(mpsc::RecvError) => Err("its thread ended before it listened".to_owned()),
        }
    }
}

/// Serves until told to stop, with or without grace.
async fn serve(config: Config, tell: &mpsc::Sender<Started>, stopped: oneshot::Receiver<bool>) {
    let running = match registry::start(config) {
        Ok(running) => running,
        Err(error) => {
            let _ = tell.send(Err(error.to_string()));
            return;
        }
    };
    let mut addresses = running.addresses().to_vec();
    addresses.extend(running.debug_addresses());
    let _ = tell.send(Ok(addresses));
    let graceful = stopped.await.unwrap_or(false);
    running.stop(graceful).await;
}
