//! Certificates for tests, made anew each time, and a client that trusts just them.

use crate::http::{self, Connection};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ClientConfig, ClientConnection, DEFAULT_VERSIONS, RootCertStore, StreamOwned, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, ServerName},
};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A self-signed certificate for `localhost` and 127.0.0.1, with its key, in files.
pub struct Certificate {
    /// PEM file of the certificate; also what a client is to trust.
    pub certificate: PathBuf,
    /// PEM file of the key.
    pub key: PathBuf,
    der: CertificateDer<'static>,
}

impl Certificate {
    /// Makes a certificate in a folder, in place of one that is there already.
    pub fn in_folder(folder: &Path) -> Certificate {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).expect("a certificate");
        let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
        std::fs::write(&certificate, cert.pem()).expect("a file");
        std::fs::write(&key, signing_key.serialize_pem()).expect("a file");
        Certificate {
            certificate,
            key,
            der: cert.der().clone(),
        }
    }

    /// The settings of a registry that shows it.
    pub fn settings(&self) -> registry::config::Tls {
        registry::config::Tls {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
        }
    }

    /// Connects with TLS, trusting this certificate alone.
    ///
    /// # Errors
    /// What is wrong with the handshake.
    pub fn connect(&self, address: SocketAddr) -> Result<Connection, String> {
        self.connect_by(address, DEFAULT_VERSIONS)
    }

    /// As [`Certificate::connect`], with these versions of TLS alone.
    ///
    /// # Errors
    /// What is wrong with the handshake.
    pub fn connect_by(
        &self,
        address: SocketAddr,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<Connection, String> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).expect("a certificate");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        let mut connection = ClientConnection::new(Arc::new(config), name).expect("a client");
        let mut socket = http::socket(address);
        while connection.is_handshaking() {
            connection
                .complete_io(&mut socket)
                .map_err(|error| error.to_string())?;
        }
        Ok(Connection::over(
            StreamOwned::new(connection, socket),
            &address.to_string(),
        ))
    }
}
