//! The client: what all requests of a process share.

use crate::{Location, Registry, Repository, Result, Settings, Store, progress::Progress};
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
            first_byte: Duration::from_secs(60),
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
    /// `--har`: where to write the recording when the client is finished or dropped.
    pub har: Option<PathBuf>,
    /// Docker's configuration folder; `None`: `$DOCKER_CONFIG`, else `~/.docker`.
    pub docker_config: Option<PathBuf>,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// How often a request that may be repeated is tried, the first time included.
    pub attempts: u32,
    /// Watches the transfers.
    pub progress: Rc<dyn Progress>,
}

impl Default for Options {
    /// Empty settings, the platform's trust, no recording, five attempts, nobody watching.
    fn default() -> Options {
        Options {
            settings: Settings::default(),
            plain_http: false,
            insecure: false,
            ca_certs: Vec::new(),
            har: None,
            docker_config: None,
            timeouts: Timeouts::default(),
            attempts: 5,
            progress: Rc::new(crate::progress::Quiet),
        }
    }
}

/// What all requests of a process share: connections, tokens, settings, the recording. Cloning shares it.
#[derive(Clone)]
pub struct Client {
    inner: Rc<Inner>,
}

struct Inner {
    options: Options,
}

impl Client {
    /// Makes a client. No request is sent.
    ///
    /// # Errors
    /// `CaCertificate` if a file of `ca_certs` cannot be used.
    pub fn new(options: Options) -> Result<Client> {
        Ok(Client {
            inner: Rc::new(Inner { options }),
        })
    }

    /// A registry by its name as written, such as `localhost:5001` or `docker.io`.
    ///
    /// # Errors
    /// `Settings` if its `hostname` cannot be one.
    pub fn registry(&self, name: &str) -> Result<Registry> {
        let _ = (&self.inner.options, name);
        todo!()
    }

    /// The repository of a reference; its tag and digest are not looked at.
    ///
    /// # Errors
    /// As [`Client::registry`].
    pub fn repository(&self, reference: &ImageReference) -> Result<Repository> {
        let _ = reference;
        todo!()
    }

    /// What a location names, for reading. An archive is opened here.
    ///
    /// # Errors
    /// As [`Client::registry`] and [`crate::Layout::open`].
    pub async fn open(&self, location: &Location) -> Result<Store> {
        let _ = location;
        todo!()
    }

    /// Writes the recording, if one was asked for. Dropping the last clone does so too, but can only log a failure.
    ///
    /// # Errors
    /// `Io` if the file cannot be written.
    pub fn finish(&self) -> Result<()> {
        Ok(())
    }
}
