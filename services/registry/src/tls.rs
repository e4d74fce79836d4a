//! TLS: the certificate and key of `http.tls`, read again when they change, and a client that trusts just them.

use crate::config::Tls;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
    },
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

/// How often at most it is looked whether the files have changed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Why a certificate cannot be used. Never quotes the key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not PEM of the right kind.
    #[error("{}: cannot read the {what}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What should be in it.
        what: &'static str,
        /// What the parser or the system says.
        reason: String,
    },
    /// Certificate and key do not belong together, or are of an unknown kind.
    #[error("{} and {}: {source}", certificate.display(), key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls says.
        source: rustls::Error,
    },
    /// The protocol versions do not fit the cryptography.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[source] rustls::Error),
}

/// Makes the configuration of a server that shows this certificate, for as long as it does not change, and the changed one
/// then.
///
/// # Errors
/// [`TlsError`], naming the file.
pub fn server_config(settings: &Tls) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let certificate = read(settings, &provider)?;
    let resolver = Reloading {
        settings: settings.clone(),
        provider: Arc::clone(&provider),
        state: Mutex::new(State {
            certificate: Arc::new(certificate),
            stamps: stamps(settings),
            looked: Instant::now(),
        }),
    };
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?;
    Ok(builder
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver)))
}

fn read(settings: &Tls, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let fail = |path: &Path, what, reason: String| TlsError::File {
        path: path.to_owned(),
        what,
        reason,
    };
    let wrong_certificate = |reason: String| fail(&settings.certificate, "certificate", reason);
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&settings.certificate)
        .and_then(Iterator::collect)
        .map_err(|error| wrong_certificate(error.to_string()))?;
    if chain.is_empty() {
        return Err(wrong_certificate("there is none in it".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(&settings.key)
        .map_err(|error| fail(&settings.key, "private key", error.to_string()))?;
    CertifiedKey::from_der(chain, key, provider).map_err(|source| TlsError::Pair {
        certificate: settings.certificate.clone(),
        key: settings.key.clone(),
        source,
    })
}

/// Shows the certificate of the files as they are now.
struct Reloading {
    settings: Tls,
    provider: Arc<CryptoProvider>,
    state: Mutex<State>,
}

struct State {
    certificate: Arc<CertifiedKey>,
    stamps: [Option<SystemTime>; 2],
    looked: Instant,
}

impl ResolvesServerCert for Reloading {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() >= LOOK_AGAIN {
            state.looked = Instant::now();
            let stamps = stamps(&self.settings);
            if stamps != state.stamps {
                match read(&self.settings, &self.provider) {
                    Ok(certificate) => {
                        log::info!("{}: certificate read again", self.settings.certificate.display());
                        state.certificate = Arc::new(certificate);
                        state.stamps = stamps;
                    }
                    // The files are changed one after the other: half-way they do not fit. Tried again with the next look.
                    Err(error) => log::error!("{error}; the certificate read before still counts"),
                }
            }
        }
        Some(Arc::clone(&state.certificate))
    }
}

impl fmt::Debug for Reloading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloading")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

fn stamps(settings: &Tls) -> [Option<SystemTime>; 2] {
    [&settings.certificate, &settings.key]
        .map(|path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok())
}

/// The client's side, for a registry that asks itself: trusts nothing but the certificate of these settings.
///
/// # Errors
/// [`TlsError`], naming the file.
pub fn own_client(settings: &Tls) -> Result<ClientConnection, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let certificate = read(settings, &provider)?;
    let own = OwnCertificate {
        certificate: certificate
            .cert
            .into_iter()
            .next()
            .unwrap_or_else(|| CertificateDer::from(Vec::new())),
        algorithms: provider.signature_verification_algorithms,
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(own))
        .with_no_client_auth();
    let name = ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
    ClientConnection::new(Arc::new(config), name).map_err(TlsError::Setup)
}

/// Accepts one certificate, byte for byte, whatever names stand in it.
#[derive(Debug)]
struct OwnCertificate {
    certificate: CertificateDer<'static>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for OwnCertificate {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *shown == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
