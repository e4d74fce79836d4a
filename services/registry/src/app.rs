//! The composition root: from a configuration to a running server. The only place that knows all the others.

use crate::{
    auth::{Auth, HtpasswdError},
    config::{Config, Durability, default_root_directory},
    debug,
    domain::{self, Capabilities, Limits},
    edge::{Edge, Ids, Pace},
    health::{self, Health},
    http,
    listen::{self, BindError},
    maintenance::{self, Totals},
    metrics::Metrics,
    server,
    storage::{self, Storage, StorageError, filesystem, memory::Memory},
    tls::{self, TlsError},
};
use actix_service::{IntoServiceFactory, map_config};
use actix_web::{
    App,
    dev::{AppConfig, Server, ServerHandle},
    http::header::{HeaderName, HeaderValue},
    web,
};
use std::{
    future::Future,
    io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

/// Why a registry does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The storage folder cannot be taken.
    #[error(transparent)]
    Lock(#[from] filesystem::LockError),
    /// The storage cannot be opened.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What the storage holds cannot be read.
    #[error("cannot open the registry: {0}")]
    Domain(#[from] domain::Error),
    /// Neither a storage folder nor a home to put one in.
    #[error("no storage folder: set storage.filesystem.rootdirectory, or the environment variable HOME")]
    NoFolder,
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The users cannot be read.
    #[error(transparent)]
    Users(#[from] HtpasswdError),
    /// The server's threads cannot be started.
    #[error("cannot start the server: {0}")]
    Server(#[source] io::Error),
}

/// A registry on its storage, without a server: what `gc` and `verify` work on.
pub struct Opened {
    /// What the registry does.
    pub registry: domain::Registry,
    /// The storage folder; none in memory.
    pub folder: Option<PathBuf>,
    /// Held as long as the storage is used.
    lock: Option<Arc<filesystem::Lock>>,
}

/// A store that this process has taken, and nothing on it.
pub struct Taken {
    /// The store.
    pub store: Arc<dyn Storage>,
    folder: Option<PathBuf>,
    lock: Option<filesystem::Lock>,
}

impl Taken {
    /// Opens the registry on it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn open(self, config: &Config) -> Result<Opened, StartError> {
        Ok(Opened {
            registry: domain::Registry::open(self.store, capabilities(config), limits(config))?,
            folder: self.folder,
            lock: self.lock.map(Arc::new),
        })
    }
}

/// Takes the storage that the configuration names and opens the registry on it.
///
/// # Errors
/// [`StartError`], such as for a folder that another registry has taken.
pub fn open(config: &Config) -> Result<Opened, StartError> {
    take(config, filesystem::Filesystem::open)?.open(config)
}

/// Takes the storage that the configuration names, even if its records are damaged: nothing may be served from it.
///
/// # Errors
/// As [`open`].
pub fn take_to_verify(config: &Config) -> Result<Taken, StartError> {
    take(config, filesystem::Filesystem::open_to_verify)
}

type OpenFolder = fn(&std::path::Path, storage::Durability) -> storage::Result<filesystem::Filesystem>;

fn take(config: &Config, open_folder: OpenFolder) -> Result<Taken, StartError> {
    let (store, folder, lock): (Arc<dyn Storage>, _, _) = match &config.storage.inmemory {
        Some(_) => (Arc::new(Memory::new()), None, None),
        None => {
            let (folder, durability) = match &config.storage.filesystem {
                Some(settings) => (settings.rootdirectory.clone(), settings.durability),
                None => (
                    default_root_directory().ok_or(StartError::NoFolder)?,
                    Durability::Full,
                ),
            };
            let lock = filesystem::lock(&folder)?;
            let store = open_folder(&folder, durable(durability))?;
            (Arc::new(store), Some(folder), Some(lock))
        }
    };
    Ok(Taken { store, folder, lock })
}

fn durable(durability: Durability) -> storage::Durability {
    match durability {
        Durability::Full => storage::Durability::Full,
        Durability::None => storage::Durability::None,
    }
}

/// What the configuration makes the registry able to do.
fn capabilities(config: &Config) -> Capabilities {
    Capabilities {
        referrers: config.serves_referrers(),
        artifact_manifest: config.serves_referrers(),
        extension_discovery: config.serves_discovery(),
        delete: config.storage.delete.enabled,
        read_only: config.storage.maintenance.readonly.enabled,
        complete_images: !config.validation.allows_sparse_images(),
        complete_indexes: !config.validation.allows_sparse_indexes(),
    }
}

fn limits(config: &Config) -> Limits {
    Limits {
        max_manifest_bytes: usize::try_from(config.http.limits.manifest.0).unwrap_or(usize::MAX),
        max_uploads: config.http.limits.uploads,
        max_client_uploads: config.http.limits.clientuploads,
        upload_age: config.storage.maintenance.uploadpurging.age.get(),
        garbage_age: config.storage.maintenance.gc.grace.get(),
        cache_bytes: usize::try_from(config.storage.cache.memory.0).unwrap_or(usize::MAX),
        ..Limits::default()
    }
}

/// A started registry. It serves until it is stopped; awaiting it waits for that.
pub struct Running {
    addresses: Vec<SocketAddr>,
    debug_addresses: Vec<SocketAddr>,
    handle: ServerHandle,
    server: actix_rt::task::JoinHandle<io::Result<()>>,
    debug: Option<ServerHandle>,
    health: Health,
    background: Background,
    folder: Option<PathBuf>,
    /// Given up last.
    _opened: Opened,
}

/// Tasks that end with the registry.
struct Background(Vec<actix_rt::task::JoinHandle<()>>);

impl Drop for Background {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

impl Running {
    /// Where it listens; never empty, and with the port that was chosen where 0 was asked for.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where the debug server listens; empty without `http.debug`.
    pub fn debug_addresses(&self) -> &[SocketAddr] {
        &self.debug_addresses
    }

    /// The storage folder; none for a registry in memory.
    pub fn folder(&self) -> Option<&std::path::Path> {
        self.folder.as_deref()
    }

    /// Stops listening and ends. With `graceful`, requests under way may end first, for as long as `http.draintimeout`.
    pub async fn stop(self, graceful: bool) {
        self.health.drain();
        self.handle.stop(graceful).await;
        let _ = self.server.await;
        if let Some(debug) = self.debug {
            debug.stop(false).await;
        }
        drop(self.background);
    }
}

impl Future for Running {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.server).poll(context).map(|ended| match ended {
            Ok(result) => result,
            Err(error) => Err(io::Error::other(error)),
        })
    }
}

/// Starts a registry. It must be called inside an actix System, which it lives in.
///
/// # Errors
/// [`StartError`], in words for the operator.
pub fn start(config: Config) -> Result<Running, StartError> {
    let listeners = listen::bind(&config.http.addr, config.http.limits.bodytimeout.get())?;
    let debug_listeners = match &config.http.debug {
        Some(debug) => listen::bind(&debug.addr, config.http.limits.bodytimeout.get())?,
        None => Vec::new(),
    };
    let auth = config
        .auth
        .as_ref()
        .map(|auth| Auth::open(&auth.htpasswd))
        .transpose()?
        .map(Arc::new);
    let tls = config.http.tls.as_ref().map(tls::server_config).transpose()?;
    let opened = open(&config)?;

    let health = Health::new(&config, opened.folder.as_deref());
    let totals = Totals::default();
    maintenance::tell_upgrade(opened.registry.indexed(), &totals);
    let metrics = config.http.debug.is_some().then(Metrics::default);
    let addresses = self::addresses(&listeners);
    let debug_addresses = self::addresses(&debug_listeners);
    let server = serve(
        &config,
        listeners,
        tls,
        &opened.registry,
        auth,
        metrics.clone(),
        &health,
    )?;
    let debug = match (&config.http.debug, metrics) {
        (Some(settings), Some(metrics)) => {
            let page = debug::Page::new(metrics, opened.registry.clone(), totals.clone());
            Some(debug::serve(settings, debug_listeners, page, health.clone()).map_err(StartError::Server)?)
        }
        _ => None,
    };
    let mut tasks = maintenance::spawn(&config, &opened.registry, &totals);
    if !opened.registry.capabilities().read_only {
        // Files of another process that took the folder meanwhile must not be taken for left behind.
        tasks.push(maintenance::tidy(&opened.registry, opened.lock.clone()));
    }
    tasks.push(actix_rt::spawn(health.clone().watch()));
    Ok(Running {
        addresses,
        debug_addresses,
        handle: server.handle(),
        server: actix_rt::spawn(server),
        debug,
        health,
        background: Background(tasks),
        folder: opened.folder.clone(),
        _opened: opened,
    })
}

/// Looks at what the configuration names without taking it: the certificate and the users.
///
/// # Errors
/// [`StartError`], what would keep the registry from starting.
pub fn check(config: &Config) -> Result<(), StartError> {
    if let Some(auth) = &config.auth {
        Auth::open(&auth.htpasswd)?;
    }
    if let Some(settings) = &config.http.tls {
        tls::server_config(settings)?;
    }
    Ok(())
}

fn addresses(listeners: &[TcpListener]) -> Vec<SocketAddr> {
    listeners
        .iter()
        .filter_map(|listener| listener.local_addr().ok())
        .collect()
}

/// Makes the server of one application a worker.
fn serve(
    config: &Config,
    listeners: Vec<TcpListener>,
    tls: Option<rustls::ServerConfig>,
    registry: &domain::Registry,
    auth: Option<Arc<Auth>>,
    metrics: Option<Metrics>,
    health: &Health,
) -> Result<Server, StartError> {
    let (registry, health) = (web::Data::new(registry.clone()), web::Data::new(health.clone()));
    let headers = extra_headers(config);
    let limits = config.http.limits.clone();
    let access_log = !config.log.accesslog.disabled;
    let service = move || {
        let known = registry.clone();
        let edge = Edge {
            at_once: Rc::new(move |head| http::at_once(head, &known)),
            auth: auth.clone(),
            headers: Rc::new(headers.clone()),
            pace: Pace {
                patience: limits.bodytimeout.get(),
                bytes_per_second: limits.bodyrate.0,
            },
            proxies: limits.proxies.clone().into(),
            access_log: access_log && log::log_enabled!(target: crate::log::ACCESS, log::Level::Info),
            counters: metrics.as_ref().map(Metrics::shard),
            ids: Rc::new(Ids::new()),
        };
        let application = App::new()
            .app_data(registry.clone())
            .app_data(health.clone())
            .configure(health::configure)
            .configure(http::configure)
            .into_factory();
        edge.around(map_config(application, |()| AppConfig::default()))
    };
    server::start(&config.http, listeners, tls, service).map_err(StartError::Server)
}

/// The headers of `http.headers`, which the configuration has checked.
fn extra_headers(config: &Config) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    for (name, values) in &config.http.headers {
        for value in values {
            if let (Ok(name), Ok(value)) = (
                HeaderName::try_from(name.as_str()),
                HeaderValue::try_from(value.as_str()),
            ) {
                headers.push((name, value));
            }
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ByteCount;

    #[test]
    fn a_registry_without_settings_has_the_bounds_of_the_domain_and_others_what_they_say() {
        let mut config = Config::default();
        assert_eq!(limits(&config), Limits::default());
        config.storage.cache.memory = ByteCount(3 << 20);
        assert_eq!(limits(&config).cache_bytes, 3 << 20);
    }
}
