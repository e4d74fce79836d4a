//! TLS: rustls with ring, the platform's authorities and those of `--ca-cert`, HTTP/1.1 alone.
//!
//! HTTP/2 is not offered: a registry client gains little from it, and one protocol has one set of failures.

use crate::{Error, Result};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use std::{path::PathBuf, sync::Arc};

const ALPN_HTTP_1_1: &[u8] = b"http/1.1";

/// Reads the certificates of PEM files.
///
/// # Errors
/// `CaCertificate` for a file that is unreadable, has none, or has one that is malformed.
pub(super) fn read_certificates(paths: &[PathBuf]) -> Result<Vec<CertificateDer<'static>>> {
    let mut all = Vec::new();
    for path in paths {
        let problem = |problem: String| Error::CaCertificate {
            path: path.clone(),
            problem,
        };
        let found = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|e| problem(e.to_string()))?;
        if found.is_empty() {
            return Err(problem("there is no certificate in it, expected PEM".to_owned()));
        }
        let mut store = RootCertStore::empty();
        for certificate in &found {
            store
                .add(certificate.clone())
                .map_err(|e| problem(e.to_string()))?;
        }
        all.extend(found);
    }
    Ok(all)
}

/// Trusts the platform's authorities and these.
pub(super) fn checked(extra: &[CertificateDer<'static>]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let platform = rustls_native_certs::load_native_certs();
    for error in &platform.errors {
        log::debug!("the platform's certificates: {error}");
    }
    roots.add_parsable_certificates(platform.certs);
    roots.add_parsable_certificates(extra.iter().cloned());
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = match builder.with_safe_default_protocol_versions() {
        Ok(builder) => builder.with_root_certificates(roots).with_no_client_auth(),
        // ring has the suites of both versions.
        Err(error) => unreachable!("{error}"),
    };
    http_1_1(config)
}

/// Trusts everyone.
pub(super) fn unchecked() -> ClientConfig {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(TrustEveryone(Arc::clone(&provider)));
    let config = match ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions() {
        Ok(builder) => builder
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth(),
        Err(error) => unreachable!("{error}"),
    };
    http_1_1(config)
}

fn http_1_1(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![ALPN_HTTP_1_1.to_vec()];
    config
}

/// For `--insecure`: takes any certificate, but still wants its owner to hold the key.
#[derive(Debug)]
struct TrustEveryone(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustEveryone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
