//! The configuration file: where each registry is reached and whether it speaks TLS. `registry set` writes it.
//!
//! ```json
//! {"registries": {"localhost:5001": {"hostname": "127.0.0.1:40123", "tls": "disabled"}}}
//! ```

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

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
        todo!()
    }

    /// Reads the file at [`Settings::path`]; empty settings if there is none.
    ///
    /// # Errors
    /// `Settings` naming the file, the place and the unknown key or bad value.
    pub fn load() -> Result<Settings> {
        todo!()
    }

    /// Reads a file; empty settings if it is absent.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn load_from(path: &Path) -> Result<Settings> {
        let _ = path;
        todo!()
    }

    /// Sets what is given for a registry, and leaves what is `None` as it was. An empty `hostname` removes it.
    ///
    /// # Errors
    /// `Usage` if `registry` or `hostname` is not HOST or HOST:PORT.
    pub fn set(&mut self, registry: &str, tls: Option<Tls>, hostname: Option<&str>) -> Result<()> {
        let _ = (registry, tls, hostname);
        todo!()
    }

    /// Writes the file whole: a reader sees the old or the new content, never a part. Folders are made.
    ///
    /// # Errors
    /// `Io`.
    pub fn save_to(&self, path: &Path) -> Result<()> {
        let _ = path;
        todo!()
    }
}
