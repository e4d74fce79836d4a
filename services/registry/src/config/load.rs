//! Reads the file, lays the environment over it, and checks what no single field can check.
//!
//! A variable is a key's path in capitals, joined by `_`: `REGISTRY_HTTP_ADDR` is `http.addr`. No key holds an underscore,
//! so a name means one path. Lists and maps are given in YAML's short form, `[referrers]` or `{X-Name: [value]}`.

use super::{Config, Listen};
use ::config::{File, FileFormat, Map, Source, Value, ValueKind};
use actix_web::http::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Deserializer};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// What every variable begins with.
const PREFIX: &str = "REGISTRY_";

/// The sections of the file. Variables of other names are not ours: Kubernetes sets `REGISTRY_PORT` and
/// `REGISTRY_SERVICE_HOST` for a service that is called registry.
const SECTIONS: &[&str] = &[
    "version",
    "log",
    "storage",
    "http",
    "health",
    "auth",
    "validation",
    "extensions",
];

/// Variables of distribution that name a section's only child rather than a value.
const SELECTORS: &[(&str, &[&str])] = &[("auth", &["htpasswd"]), ("storage", &["filesystem", "inmemory"])];

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot read the configuration: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is not YAML, or not a map of sections.
    #[error("{}: not a configuration in YAML: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the parser says, with line and column.
        message: String,
    },
    /// A variable's list or map is not YAML, or its name is not Unicode.
    #[error("environment variable {name}: {message}")]
    Variable {
        /// The variable.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// A key that is not known, or a value that does not fit.
    #[error("{origin}: {at}: {message}")]
    Value {
        /// The file or the variable that it stands in.
        origin: String,
        /// Path of the key, such as `http.addr`.
        at: String,
        /// What was found and what was expected.
        message: String,
    },
}

impl Config {
    /// Reads a file, with the process's environment over it.
    ///
    /// # Errors
    /// [`ConfigError`], the first thing found wrong.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        Config::load_with(Some(path), std::env::vars_os())
    }

    /// The defaults, with the process's environment over them.
    ///
    /// # Errors
    /// [`ConfigError`], the first thing found wrong.
    pub fn from_environment() -> Result<Config, ConfigError> {
        Config::load_with(None, std::env::vars_os())
    }

    /// Reads a file, if any, with the given variables over it.
    ///
    /// # Errors
    /// [`ConfigError`], the first thing found wrong.
    pub fn load_with(
        path: Option<&Path>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Config, ConfigError> {
        let overrides = Overrides::collect(variables)?;
        let mut builder = ::config::Config::builder();
        if let Some(path) = path {
            let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
                path: path.to_owned(),
                source,
            })?;
            builder = builder.add_source(File::from_str(&text, FileFormat::Yaml));
        }
        let file = path.map_or_else(|| "defaults".to_owned(), |path| path.display().to_string());
        let layers = builder
            .add_source(overrides.clone())
            .build()
            .map_err(|error| ConfigError::Syntax {
                path: PathBuf::from(&file),
                message: error.to_string(),
            })?;
        let refused = |at: String, message: String| ConfigError::Value {
            origin: overrides.variable_of(&at).unwrap_or_else(|| file.clone()),
            at,
            message,
        };
        let config: Config = serde_path_to_error::deserialize(layers)
            .map_err(|error| refused(error.path().to_string(), reason(error.inner())))?;
        config.check().map_err(|(at, message)| refused(at, message))?;
        Ok(config)
    }

    /// What no single field can check: the path of the key, and the reason.
    fn check(&self) -> Result<(), (String, String)> {
        let fail = |at: &str, message: &str| Err((at.to_owned(), message.to_owned()));
        if self.storage.filesystem.is_some() && self.storage.inmemory.is_some() {
            return fail(
                "storage",
                "both filesystem and inmemory are given: expected one of them",
            );
        }
        let maintenance = &self.storage.maintenance;
        for (at, interval) in [
            (
                "storage.maintenance.uploadpurging.interval",
                maintenance.uploadpurging.interval,
            ),
            ("storage.maintenance.gc.interval", maintenance.gc.interval),
            (
                "health.storagedriver.interval",
                self.health.storagedriver.interval,
            ),
            ("http.limits.headtimeout", self.http.limits.headtimeout),
            ("http.limits.bodytimeout", self.http.limits.bodytimeout),
        ] {
            if interval.get().is_zero() {
                return fail(
                    at,
                    "0 is not possible here: expected a longer duration, such as 30s",
                );
            }
        }
        if self.http.limits.connections == 0 {
            return fail(
                "http.limits.connections",
                "0 is not possible here: expected at least 1",
            );
        }
        for (name, values) in &self.http.headers {
            let at = format!("http.headers.{name}");
            if HeaderName::try_from(name.as_str()).is_err() {
                return fail(&at, "not the name of a header");
            }
            if let Some(value) = values
                .iter()
                .find(|value| HeaderValue::try_from(value.as_str()).is_err())
            {
                return fail(
                    &at,
                    &format!("{value:?} is not the value of a header: expected printable characters"),
                );
            }
        }
        match &self.http.debug {
            Some(debug) if debug.addr == self.http.addr && debug.addr.port() != 0 => {
                fail("http.debug.addr", "the same as http.addr: expected another port")
            }
            Some(debug) if !debug.prometheus.path.starts_with('/') => {
                fail("http.debug.prometheus.path", "expected a path that begins with /")
            }
            _ => Ok(()),
        }
    }
}

/// The error's own words; where it stands is told beside it.
fn reason(error: &::config::ConfigError) -> String {
    match error {
        ::config::ConfigError::At { error, .. } => reason(error),
        ::config::ConfigError::Type {
            unexpected, expected, ..
        } => {
            format!("found {unexpected}, expected {expected}")
        }
        other => other.to_string(),
    }
}

/// Reads a section that must have keys if it is written at all: `auth:` alone would else mean no authentication.
pub(super) fn written<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Reads a section that has no keys: `inmemory:` and `inmemory: {}` mean the same.
pub(super) fn present<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Ok(Some(Option::<T>::deserialize(deserializer)?.unwrap_or_default()))
}

/// The variables that are ours, as a layer of the configuration.
#[derive(Clone, Debug)]
struct Overrides {
    /// Path of the key, name of the variable, value.
    entries: Vec<(String, String, Value)>,
}

impl Overrides {
    fn collect(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Overrides, ConfigError> {
        let mut entries = Vec::new();
        for (name, value) in variables {
            let Some(name) = name.to_str() else { continue };
            let Some(rest) = name.strip_prefix(PREFIX) else {
                continue;
            };
            let key = rest.to_ascii_lowercase().replace('_', ".");
            let section = key.split('.').next().unwrap_or_default();
            if !SECTIONS.contains(&section) {
                continue;
            }
            let refused = |message: &str| ConfigError::Variable {
                name: name.to_owned(),
                message: message.to_owned(),
            };
            let value = value
                .to_str()
                .ok_or_else(|| refused("the value is not Unicode"))?;
            let (key, value) = match selected(&key, value) {
                Some(child) => (
                    format!("{key}.{child}"),
                    Value::new(None, ValueKind::Table(Map::new())),
                ),
                None => (key, parse(value).map_err(|message| refused(&message))?),
            };
            entries.push((key, name.to_owned(), value));
        }
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(Overrides { entries })
    }

    /// The variable that sets this key, or one above it.
    fn variable_of(&self, at: &str) -> Option<String> {
        let sets = |key: &str| {
            at == key
                || at
                    .strip_prefix(key)
                    .is_some_and(|rest| rest.starts_with(['.', '[']))
        };
        self.entries
            .iter()
            .find(|(key, ..)| sets(key))
            .map(|(_, name, _)| format!("environment variable {name}"))
    }
}

/// The child that a variable of [`SELECTORS`] names.
fn selected<'a>(key: &str, value: &'a str) -> Option<&'a str> {
    let (_, children) = SELECTORS.iter().find(|(section, _)| *section == key)?;
    children.contains(&value).then_some(value)
}

/// A text as it is, or a list or map in YAML's short form.
fn parse(text: &str) -> Result<Value, String> {
    if !text.starts_with(['[', '{']) {
        return Ok(Value::new(None, ValueKind::String(text.to_owned())));
    }
    let mut map = File::from_str(&format!("value: {text}"), FileFormat::Yaml)
        .collect()
        .map_err(|error| format!("{text:?} is not a list or map in YAML: {error}"))?;
    map.remove("value")
        .ok_or_else(|| format!("{text:?} is not a list or map in YAML"))
}

impl Source for Overrides {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ::config::ConfigError> {
        // Sorted by key, and a map keeps them apart; a key and one above it are both kept, by their different names.
        Ok(self
            .entries
            .iter()
            .map(|(key, _, value)| (key.clone(), value.clone()))
            .collect())
    }
}

/// Where `registry serve` without a file keeps content: `registry` in the platform's data directory.
///
/// `None` if the environment tells no home.
pub fn default_root_directory() -> Option<PathBuf> {
    let variable = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let data = if cfg!(windows) {
        variable("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        variable("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        // The XDG specification: a relative path is to be ignored.
        variable("XDG_DATA_HOME")
            .filter(|path| path.is_absolute())
            .or_else(|| variable("HOME").map(|home| home.join(".local/share")))
    };
    data.map(|data| data.join("referrers-lab").join("registry"))
}

/// The address that clients on this machine reach the registry at, for `registry healthcheck`.
pub fn health_url(config: &Config) -> String {
    let scheme = if config.http.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let listen: &Listen = &config.http.addr;
    format!("{scheme}://{}/livez", listen.reachable())
}
