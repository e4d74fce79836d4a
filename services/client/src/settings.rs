//! The configuration file: where each registry is reached and whether it speaks TLS. `registry set` writes it.
//!
//! ```json
//! {"registries": {"localhost:5001": {"hostname": "127.0.0.1:40123", "tls": "disabled"}}}
//! ```

use crate::{Error, Result, error::clean};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::ErrorKind,
    path::{Path, PathBuf},
};
use url::Url;

/// The environment variable that names the configuration file.
pub const CONFIG_VARIABLE: &str = "REFERRERS_LAB_CONFIG";

/// Whether a registry speaks TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// https, the certificate checked.
    Enabled,
    /// https, the certificate not checked.
    Insecure,
    /// Plain http.
    Disabled,
}

impl std::str::FromStr for Tls {
    type Err = Error;

    fn from_str(text: &str) -> Result<Tls> {
        match text {
            "enabled" => Ok(Tls::Enabled),
            "insecure" => Ok(Tls::Insecure),
            "disabled" => Ok(Tls::Disabled),
            _ => Err(Error::Usage(format!(
                "{text:?} is not a TLS mode: expected enabled, insecure or disabled"
            ))),
        }
    }
}

/// What is set for one registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistrySettings {
    /// HOST or HOST:PORT to connect to; the name as written if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Absent: https, but http for localhost and loopback addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// The content of the configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// By the registry's name as references write it.
    #[serde(default)]
    pub registries: BTreeMap<String, RegistrySettings>,
}

impl Settings {
    /// Where the file is: `$REFERRERS_LAB_CONFIG`, else the platform's place for configuration
    /// (`$XDG_CONFIG_HOME` or `~/.config`; `~/Library/Application Support`; `%APPDATA%`), then `referrers-lab/config.json`.
    pub fn path() -> Option<PathBuf> {
        path_from(|name| std::env::var_os(name).filter(|value| !value.is_empty()))
    }

    /// Reads the file at [`Settings::path`]; empty settings if there is none.
    ///
    /// # Errors
    /// `Settings` naming the file, the place and the unknown key or bad value.
    pub fn load() -> Result<Settings> {
        match Settings::path() {
            Some(path) => Settings::load_from(&path),
            None => Ok(Settings::default()),
        }
    }

    /// Reads a file; empty settings if it is absent.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn load_from(path: &Path) -> Result<Settings> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Settings::default()),
            Err(e) => return Err(Error::io("read", path)(e)),
        };
        let problem = |problem: String| Error::Settings {
            path: path.to_owned(),
            problem,
        };
        let settings: Settings = serde_json::from_slice(&text).map_err(|e| problem(clean(&e.to_string())))?;
        for (name, registry) in &settings.registries {
            let hostname = registry.hostname.as_deref();
            for host in [Some(name.as_str()), hostname].into_iter().flatten() {
                check_host(host).map_err(|e| problem(e.to_string()))?;
            }
        }
        Ok(settings)
    }

    /// Sets what is given for a registry, and leaves what is `None` as it was. An empty `hostname` removes it.
    ///
    /// # Errors
    /// `Usage` if `registry` or `hostname` is not HOST or HOST:PORT.
    pub fn set(&mut self, registry: &str, tls: Option<Tls>, hostname: Option<&str>) -> Result<()> {
        check_host(registry)?;
        let hostname = match hostname {
            Some("") => Some(None),
            Some(hostname) => {
                check_host(hostname)?;
                Some(Some(hostname.to_owned()))
            }
            None => None,
        };
        let entry = self.registries.entry(registry.to_owned()).or_default();
        if let Some(hostname) = hostname {
            entry.hostname = hostname;
        }
        if tls.is_some() {
            entry.tls = tls;
        }
        Ok(())
    }

    /// Writes the file whole: a reader sees the old or the new content, never a part. Folders are made.
    ///
    /// # Errors
    /// `Io`.
    pub fn save_to(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(self).map_err(|e| Error::Io {
            doing: "write",
            path: path.to_owned(),
            source: e.into(),
        })?;
        text.push(b'\n');
        crate::files::write_atomically(path, &text)
    }

    /// Where requests to a registry go.
    pub(crate) fn endpoint(&self, registry: &str, plain_http: bool, insecure: bool) -> Result<Endpoint> {
        let set = self.registries.get(registry).cloned().unwrap_or_default();
        let host = match set.hostname {
            Some(hostname) => hostname,
            None if registry == oci::reference::DEFAULT_REGISTRY => DOCKER_HUB_HOST.to_owned(),
            None => registry.to_owned(),
        };
        let loopback = is_loopback(&host);
        let (scheme, insecure) = match set.tls {
            Some(Tls::Enabled) => ("https", insecure),
            Some(Tls::Insecure) => ("https", true),
            Some(Tls::Disabled) => ("http", insecure),
            None if plain_http || loopback => ("http", insecure),
            None => ("https", insecure),
        };
        let base = Url::parse(&format!("{scheme}://{host}/"))
            .map_err(|e| Error::Usage(format!("{host:?} is not a registry: {e}")))?;
        Ok(Endpoint {
            base,
            insecure,
            plain_is_set: set.tls == Some(Tls::Disabled),
        })
    }
}

/// Where Docker Hub's registry is reached.
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";

/// Where requests to a registry go, and how far it is trusted.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// Scheme, host and port.
    pub base: Url,
    /// Its certificate is not checked.
    pub insecure: bool,
    /// The user set it to plain http, so credentials may go there without TLS.
    pub plain_is_set: bool,
}

/// Whether a HOST or HOST:PORT is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let address = name.parse::<std::net::IpAddr>();
    name == "localhost" || name.ends_with(".localhost") || address.is_ok_and(|a| a.is_loopback())
}

/// Checks HOST or HOST:PORT with the grammar that references have.
fn check_host(host: &str) -> Result<()> {
    let reference = oci::ImageReference::parse(&format!("{host}/x"));
    let same = reference.is_ok_and(|r| r.registry == host);
    // A name without dot, colon or port is a repository's first part to a reference, but a fine host name here.
    let single = !host.is_empty()
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if same || single {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "{:?} is not a registry: expected HOST or HOST:PORT",
        clean(host)
    )))
}

fn path_from(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    if let Some(path) = variable(CONFIG_VARIABLE) {
        return Some(path.into());
    }
    let home = || variable("HOME").map(PathBuf::from);
    let base = if cfg!(windows) {
        variable("APPDATA").map(PathBuf::from)
    } else if cfg!(target_os = "macos") {
        home().map(|home| home.join("Library/Application Support"))
    } else {
        // The XDG specification tells to ignore relative paths.
        let xdg = variable("XDG_CONFIG_HOME").map(PathBuf::from);
        xdg.filter(|path| path.is_absolute())
            .or_else(|| home().map(|home| home.join(".config")))
    };
    base.map(|base| base.join("referrers-lab").join("config.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(settings: &Settings, registry: &str) -> String {
        settings
            .endpoint(registry, false, false)
            .expect("an endpoint")
            .base
            .to_string()
    }

    #[test]
    fn https_is_the_default_but_for_this_machine() {
        let none = Settings::default();
        for (registry, base) in [
            ("ghcr.io", "https://ghcr.io/"),
            ("docker.io", "https://registry-1.docker.io/"),
            ("localhost:5001", "http://localhost:5001/"),
            ("127.0.0.1:5001", "http://127.0.0.1:5001/"),
            ("[::1]:5001", "http://[::1]:5001/"),
            ("registry.example:5001", "https://registry.example:5001/"),
        ] {
            assert_eq!(endpoint(&none, registry), base, "{registry}");
        }
    }

    #[test]
    fn what_is_set_wins_and_what_is_not_given_stays() {
        let mut settings = Settings::default();
        settings
            .set("localhost:5001", Some(Tls::Disabled), None)
            .expect("set");
        settings
            .set("localhost:5001", None, Some("registry-current:5001"))
            .expect("set");
        assert_eq!(
            endpoint(&settings, "localhost:5001"),
            "http://registry-current:5001/"
        );
        settings
            .set("localhost:5001", Some(Tls::Insecure), Some(""))
            .expect("set");
        assert_eq!(endpoint(&settings, "localhost:5001"), "https://localhost:5001/");
        assert!(
            settings
                .endpoint("localhost:5001", false, false)
                .expect("an endpoint")
                .insecure
        );
    }

    #[test]
    fn a_name_that_is_no_host_is_refused_with_its_text() {
        for host in ["", "http://a", "a/b", "a:b", "a b", "host:0", "-a.b", "a@b.c"] {
            let error = Settings::default().set(host, None, None).expect_err(host);
            assert!(error.to_string().contains(&format!("{host:?}")), "{error}");
            assert_eq!(error.exit_code(), crate::ExitCode::Usage);
        }
    }

    #[test]
    fn unknown_keys_and_bad_values_are_refused_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.json");
        for (text, named) in [
            (r#"{"registry":{}}"#, "registry"),
            (r#"{"registries":{"a.b":{"tsl":"disabled"}}}"#, "tsl"),
            (r#"{"registries":{"a.b":{"tls":"maybe"}}}"#, "maybe"),
            (r#"{"registries":{"a.b":{"hostname":"http://x"}}}"#, "http://x"),
            ("{", "line 1"),
        ] {
            std::fs::write(&path, text).expect("written");
            let error = Settings::load_from(&path).expect_err(text).to_string();
            assert!(error.contains(named) && error.contains("config.json"), "{error}");
        }
    }

    #[test]
    fn what_was_saved_is_loaded_and_an_absent_file_is_empty() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep").join("config.json");
        let mut settings = Settings::load_from(&path).expect("empty");
        settings
            .set("localhost:5002", Some(Tls::Disabled), None)
            .expect("set");
        settings.save_to(&path).expect("saved");
        assert_eq!(Settings::load_from(&path).expect("loaded"), settings);
        assert_eq!(
            path.parent()
                .expect("a folder")
                .read_dir()
                .expect("listed")
                .count(),
            1
        );
    }

    #[test]
    #[cfg(all(unix, not(target_os = "macos")))]
    fn the_place_follows_the_platform() {
        let path = |pairs: &[(&str, &str)]| {
            let pairs: Vec<_> = pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), OsString::from(v)))
                .collect();
            path_from(|name| pairs.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone()))
        };
        let home = ("HOME", "/home/u");
        assert_eq!(
            path(&[home]),
            Some("/home/u/.config/referrers-lab/config.json".into())
        );
        assert_eq!(
            path(&[home, ("XDG_CONFIG_HOME", "/x")]),
            Some("/x/referrers-lab/config.json".into())
        );
        assert_eq!(
            path(&[home, (CONFIG_VARIABLE, "/c.json")]),
            Some("/c.json".into())
        );
        assert_eq!(path(&[]), None);
    }
}
