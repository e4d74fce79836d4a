//! Where the clients go: our two registries, plain and with TLS and a password.

use registry::config::{Anonymous, Auth, Config, Durability, Filesystem, Htpasswd};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;
use testkit::{
    Certificate, Registry,
    http::{Request, Response},
};

/// Who may use the secured registries.
pub const USER: &str = "somebody";
/// With this password.
pub const PASSWORD: &str = "secret";
/// [`USER`] and the hash of [`PASSWORD`], cheap to check.
const HTPASSWD: &str = "somebody:$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n";

/// A registry, and how to get in.
pub struct Place {
    pub registry: Registry,
    /// The certificate, and the folder with it, of a registry that wants TLS and a password.
    secured: Option<(TempDir, Certificate)>,
}

impl Place {
    /// The current registry, plain.
    pub fn current() -> Place {
        Place::plain(Config::current())
    }

    /// The complete registry, plain.
    pub fn complete() -> Place {
        Place::plain(Config::complete())
    }

    /// Both registries, plain.
    pub fn both() -> [Place; 2] {
        [Place::current(), Place::complete()]
    }

    /// Both registries, plain, and with TLS and a password.
    pub fn all() -> [Place; 4] {
        [
            Place::current(),
            Place::complete(),
            Place::secured(Config::current()),
            Place::secured(Config::complete()),
        ]
    }

    /// A registry of this configuration, plain, on storage that another one may have written before.
    pub fn on_storage(mut config: Config, folder: &Path) -> Place {
        config.storage.filesystem = Some(Filesystem {
            rootdirectory: folder.to_owned(),
            durability: Durability::None,
        });
        Place::plain(config)
    }

    fn plain(config: Config) -> Place {
        Place {
            registry: Registry::start(config),
            secured: None,
        }
    }

    /// A registry of this configuration, with TLS and a password.
    pub fn secured(config: Config) -> Place {
        Place::with_password(config, Anonymous::None)
    }

    /// A registry of this configuration, with TLS and a password for what not everybody may do.
    pub fn with_password(mut config: Config, anonymous: Anonymous) -> Place {
        let (folder, certificate) = secrets();
        config.http.tls = Some(certificate.settings());
        config.auth = Some(Auth {
            htpasswd: Htpasswd {
                realm: "the lab".to_owned(),
                path: folder.path().join("htpasswd"),
                anonymous,
            },
        });
        Place {
            registry: Registry::start(config),
            secured: Some((folder, certificate)),
        }
    }

    /// `127.0.0.1:PORT`
    pub fn host(&self) -> String {
        self.registry.host()
    }

    /// Whether it wants TLS and a password.
    pub fn is_secured(&self) -> bool {
        self.secured.is_some()
    }

    /// Whether it has the referrers API.
    pub fn serves_referrers(&self) -> bool {
        self.registry.config().serves_referrers()
    }

    /// The file with its certificate.
    pub fn certificate(&self) -> Option<PathBuf> {
        self.secured
            .as_ref()
            .map(|(_, certificate)| certificate.certificate.clone())
    }

    /// `insecure` for a registry without TLS, else nothing: for the options of a client.
    pub fn if_plain<'a>(&self, insecure: &'a str) -> &'a str {
        if self.is_secured() { "" } else { insecure }
    }

    /// What the registry answers to a GET, whatever it takes to get in.
    pub fn get(&self, path: &str) -> Response {
        let request = Request::new("GET", path).header("Accept", "application/vnd.oci.image.index.v1+json");
        match &self.secured {
            None => request.send(self.registry.address()),
            Some((_, certificate)) => certificate
                .connect(self.registry.address())
                .expect("a connection")
                .exchange(&request.basic_auth(USER, PASSWORD)),
        }
    }

    /// The tags of a repository, asked over the wire, in the registry's order; none for a repository that is not there.
    pub fn tags(&self, name: &str) -> Vec<String> {
        let response = self.get(&format!("/v2/{name}/tags/list"));
        if response.status == 404 {
            return Vec::new();
        }
        strings(&response.expect(200).json()["tags"])
    }

    /// The digests that the referrers API lists, asked over the wire and sorted; `None` if there is no such API.
    pub fn referrers(&self, name: &str, subject: &str) -> Option<Vec<String>> {
        let response = self.get(&format!("/v2/{name}/referrers/{subject}"));
        if response.status == 404 {
            return None;
        }
        Some(digests(&response.expect(200).json()))
    }

    /// The digests in the index under the subject's digest tag, sorted; `None` if there is no such tag.
    pub fn digest_tag(&self, name: &str, subject: &str) -> Option<Vec<String>> {
        let path = format!("/v2/{name}/manifests/{}", digest_tag(subject));
        let response = self.get(&path);
        if response.status == 404 {
            return None;
        }
        Some(digests(&response.expect(200).json()))
    }
}

/// The digest tag of a subject.
pub fn digest_tag(subject: &str) -> String {
    subject.replace(':', "-")
}

/// The digests of the entries of an index, sorted.
pub fn digests(index: &serde_json::Value) -> Vec<String> {
    let entries = index["manifests"]
        .as_array()
        .unwrap_or_else(|| panic!("no list: {index}"));
    let mut digests: Vec<_> = entries.iter().map(|entry| text(&entry["digest"])).collect();
    digests.sort();
    digests
}

/// The string that a JSON value is.
#[track_caller]
pub fn text(value: &serde_json::Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("not a string: {value}"))
        .to_owned()
}

fn strings(values: &serde_json::Value) -> Vec<String> {
    values.as_array().into_iter().flatten().map(text).collect()
}

/// A folder with a self-signed certificate for 127.0.0.1, its key, and the file of names and passwords.
pub fn secrets() -> (TempDir, Certificate) {
    let folder = TempDir::with_prefix("secrets-").expect("a temporary folder");
    fs::write(folder.path().join("htpasswd"), HTPASSWD).expect("a file");
    let certificate = Certificate::in_folder(folder.path());
    (folder, certificate)
}
