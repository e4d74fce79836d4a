//! The client: what all requests of a process share.

use crate::{
    Layout, Location, Proxies, Registry, Repository, Result, Settings, Store,
    auth::Auth,
    digest_tag,
    har::Recorder,
    progress::Progress,
    referrers,
    session::Session,
    transport::{Setup, Transport},
};
use oci::ImageReference;
use std::{path::PathBuf, rc::Rc, time::Duration};

/// How long to wait for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For resolving the name, connecting and the TLS handshake, each.
    pub connect: Duration,
    /// For the first byte of the answer after the request was sent.
    pub first_byte: Duration,
    /// Between two pieces of a body, in either direction.
    pub idle: Duration,
    /// For a whole document (a manifest, a list, an error): a body that trickles without an end.
    pub document: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            connect: Duration::from_secs(10),
            // A registry may hash a large blob again before it answers the last PUT.
            first_byte: Duration::from_secs(120),
            idle: Duration::from_secs(30),
            document: Duration::from_secs(120),
        }
    }
}

/// How to make a [`Client`].
#[derive(Clone)]
pub struct Options {
    /// The configuration file's content; `Settings::load()` reads it.
    pub settings: Settings,
    /// `--plain-http`: http for every registry that the settings do not name.
    pub plain_http: bool,
    /// `--insecure`: certificates are not checked (a warning is logged).
    pub insecure: bool,
    /// `--ca-cert`: PEM files with authorities to trust beside the platform's.
    pub ca_certs: Vec<PathBuf>,
    /// Which proxies requests go through; `Proxies::from_environment()` reads the usual variables.
    pub proxies: Proxies,
    /// `--har`: where to write the recording when the client is finished or dropped.
    pub har: Option<PathBuf>,
    /// Docker's configuration folder; `None`: `$DOCKER_CONFIG`, else `~/.docker`.
    pub docker_config: Option<PathBuf>,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// How often a request that may be repeated is tried, the first time included.
    pub attempts: u32,
    /// The pause before the second try; each next one is twice as long, with jitter.
    pub backoff: Duration,
    /// Watches the transfers.
    pub progress: Rc<dyn Progress>,
}

impl Default for Options {
    /// Empty settings, the platform's trust, no proxies, no recording, five attempts, nobody watching.
    fn default() -> Options {
        Options {
            settings: Settings::default(),
            plain_http: false,
            insecure: false,
            ca_certs: Vec::new(),
            proxies: Proxies::default(),
            har: None,
            docker_config: None,
            timeouts: Timeouts::default(),
            attempts: 5,
            backoff: Duration::from_millis(200),
            progress: Rc::new(crate::progress::Quiet),
        }
    }
}

/// What all requests of a process share: connections, tokens, settings, the recording. Cloning shares it.
#[derive(Clone)]
pub struct Client {
    inner: Rc<Inner>,
}

/// What the clones of a client share.
pub(crate) struct Inner {
    pub options: Options,
    pub transport: Transport,
    pub auth: Auth,
    pub memory: referrers::Memory,
    pub tags: digest_tag::Memory,
    recorder: Option<Recorder>,
}

impl Client {
    /// Makes a client. No request is sent.
    ///
    /// # Errors
    /// `CaCertificate` if a file of `ca_certs` cannot be used.
    pub fn new(options: Options) -> Result<Client> {
        let recorder = options.har.clone().map(Recorder::new);
        let transport = Transport::new(Setup {
            insecure: options.insecure,
            ca_certs: options.ca_certs.clone(),
            timeouts: options.timeouts,
            attempts: options.attempts,
            backoff: options.backoff,
            recorder: recorder.clone(),
            proxies: Rc::new(options.proxies.clone()),
            progress: Rc::clone(&options.progress),
        })?;
        Ok(Client {
            inner: Rc::new(Inner {
                auth: Auth::new(options.docker_config.clone()),
                options,
                transport,
                memory: referrers::Memory::default(),
                tags: digest_tag::Memory::default(),
                recorder,
            }),
        })
    }

    /// A registry by its name as written, such as `localhost:5001` or `docker.io`.
    ///
    /// # Errors
    /// `Usage` if it cannot be one.
    pub fn registry(&self, name: &str) -> Result<Registry> {
        let options = &self.inner.options;
        let endpoint = options
            .settings
            .endpoint(name, options.plain_http, options.insecure)?;
        let session = Session {
            inner: Rc::clone(&self.inner),
            name: name.into(),
            endpoint,
        };
        Ok(Registry::new(self.clone(), session))
    }

    /// The repository of a reference; its tag and digest are not looked at.
    ///
    /// # Errors
    /// As [`Client::registry`].
    pub fn repository(&self, reference: &ImageReference) -> Result<Repository> {
        Ok(self
            .registry(&reference.registry)?
            .repository(&reference.repository))
    }

    /// What a location names, for reading. An archive is opened here.
    ///
    /// # Errors
    /// As [`Client::registry`] and [`crate::Layout::open`].
    pub async fn open(&self, location: &Location) -> Result<Store> {
        Ok(match location {
            Location::Registry(reference) => Store::Repository(self.repository(reference)?),
            Location::Layout(reference) => Store::Layout(Layout::open(&reference.path)?),
            Location::Archive(reference) => Store::Layout(Layout::open_archive(&reference.path).await?),
        })
    }

    /// Writes the recording, if one was asked for. Dropping the last clone does so too, but can only log a failure.
    ///
    /// # Errors
    /// `Io` if the file cannot be written.
    pub fn finish(&self) -> Result<()> {
        self.inner.write_recording()
    }

    /// Watches the transfers.
    pub(crate) fn progress(&self) -> &dyn Progress {
        &*self.inner.options.progress
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }
}

impl Inner {
    fn write_recording(&self) -> Result<()> {
        if let Some(recorder) = &self.recorder {
            recorder.write()?;
        }
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Written again after `finish`: there may have been exchanges since.
        if self.recorder.is_some()
            && let Err(error) = self.write_recording()
        {
            log::error!("{error}");
        }
    }
}
