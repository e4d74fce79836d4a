//! Debian's docker-registry: distribution 2.8, a registry without referrers and conditional requests that nobody here wrote.

use crate::clients::{find, skip};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};
use tempfile::TempDir;
use testkit::http;

const PROGRAM: &str = "docker-registry";

/// How long it may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running registry. Dropping it stops it and removes its storage.
pub struct DebianRegistry {
    process: Child,
    host: String,
    secrets: TempDir,
    _storage: TempDir,
}

/// How a registry is asked who comes.
pub enum Door {
    /// Everybody may do everything, over plain http.
    Open,
    /// TLS and a password.
    Htpasswd,
    /// Tokens, over plain http, from the server at this URL, whose certificate is this PEM text.
    Token { realm: String, certificate: String },
}

/// What its tokens are for and whom they are from.
pub const SERVICE: &str = "debian's registry";
pub const ISSUER: &str = "the test";

/// Whether it is installed. Says so if not.
///
/// # Panics
/// If it is not, and this is the CI machine.
pub fn is_there() -> bool {
    let found = find(PROGRAM).is_some();
    if !found {
        skip("docker-registry is not installed");
    }
    found
}

impl DebianRegistry {
    /// Starts it on a free port of 127.0.0.1.
    pub fn start(door: &Door) -> DebianRegistry {
        let storage = TempDir::with_prefix("debian-registry-").expect("a temporary folder");
        let (secrets, _) = crate::places::secrets();
        let file = storage.path().join("config.json");
        // YAML contains JSON.
        fs::write(&file, config(door, &storage, &secrets).to_string()).expect("a file");
        let mut process = Command::new(PROGRAM)
            .arg("serve")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect(PROGRAM);
        let log = BufReader::new(process.stderr.take().expect("a pipe"));
        let (tell, told) = mpsc::channel();
        // Reads on until the process ends, which must never wait for a full pipe.
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                if let Some(address) = listening_on(&line) {
                    let _ = tell.send(address);
                }
            }
        });
        let host = told.recv_timeout(PATIENCE);
        DebianRegistry {
            process,
            host: host.expect("docker-registry listens"),
            secrets,
            _storage: storage,
        }
    }

    /// `127.0.0.1:PORT`
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The file with its certificate, of one that wants TLS and a password.
    pub fn certificate(&self) -> PathBuf {
        self.secrets.path().join("certificate.pem")
    }

    /// Sends a GET to one with an open door.
    pub fn get(&self, path: &str) -> http::Response {
        let index = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json";
        http::request(
            self.host.parse().expect("an address"),
            "GET",
            path,
            &[("Accept", index)],
            b"",
        )
    }
}

impl Drop for DebianRegistry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn config(door: &Door, storage: &TempDir, secrets: &TempDir) -> Value {
    let secret = |name: &str| secrets.path().join(name);
    let mut config = json!({
        "version": "0.1",
        "log": {"level": "info", "accesslog": {"disabled": true}},
        "storage": {"filesystem": {"rootdirectory": storage.path().join("data")}, "delete": {"enabled": true}},
        "http": {"addr": "127.0.0.1:0"},
    });
    match door {
        Door::Open => {}
        Door::Htpasswd => {
            config["http"]["tls"] =
                json!({"certificate": secret("certificate.pem"), "key": secret("key.pem")});
            config["auth"] = json!({"htpasswd": {"realm": "debian", "path": secret("htpasswd")}});
        }
        Door::Token { realm, certificate } => {
            fs::write(secret("tokens.pem"), certificate).expect("a file");
            config["auth"] = json!({"token": {
                "realm": realm,
                "service": SERVICE,
                "issuer": ISSUER,
                "rootcertbundle": secret("tokens.pem"),
            }});
        }
    }
    config
}

/// The address in the line `… msg="listening on 127.0.0.1:40123" …`, or with `, tls` behind it.
fn listening_on(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("listening on ")?;
    let address = rest.split(['"', ',', ' ']).next()?;
    Some(address.to_owned())
}
