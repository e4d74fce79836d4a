//! Reads the file, lays the environment over it, and checks what no single field can check.
//!
//! A variable is a key's path in capitals, joined by `_`: `REGISTRY_HTTP_ADDR` is `http.addr`. No key holds an underscore,
//! so a name means one path. Lists and maps are given in YAML's short form, `[referrers]` or `{X-Name: [value]}`.

use super::Config;
use crate::domain;
use ::config::{File, FileFormat, Map, Source, Value, ValueKind};
use actix_web::http::header::{HeaderName, HeaderValue};
use generations::RegistryTraits;
use serde::{Deserialize, Deserializer};
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

/// What the variables are laid over.
#[derive(Clone, Copy, Debug)]
pub enum Base<'a> {
    /// A file. What is not written there is off: a registry's generation is its configuration.
    File(&'a Path),
    /// No file: the defaults of this generation.
    Defaults(&'static RegistryTraits),
}

impl Base<'_> {
    /// The text of the layer below the variables.
    fn text(self) -> Result<String, ConfigError> {
        match self {
            Base::File(path) => fs::read_to_string(path).map_err(|source| ConfigError::Read {
                path: path.to_owned(),
                source,
            }),
            Base::Defaults(traits) if traits.serves_referrers => {
                Ok("extensions: {oci: {artifacts: [referrers], ext: [discover]}}".to_owned())
            }
            Base::Defaults(_) => Ok(String::new()),
        }
    }

    /// What an error calls it.
    fn name(self) -> String {
        match self {
            Base::File(path) => path.display().to_string(),
            Base::Defaults(_) => "defaults".to_owned(),
        }
    }
}

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
        Config::load_over(Base::File(path), std::env::vars_os())
    }

    /// Lays the given variables over a file or defaults.
    ///
    /// # Errors
    /// [`ConfigError`], the first thing found wrong.
    pub fn load_over(
        base: Base<'_>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Config, ConfigError> {
        let overrides = Overrides::collect(variables)?;
        let file = base.name();
        let below = ::config::Config::builder().add_source(File::from_str(&base.text()?, FileFormat::Yaml));
        let layers = overrides
            .entries
            .iter()
            .fold(below, |layers, entry| layers.add_source(entry.clone()))
            .build()
            .map_err(|error| ConfigError::Syntax {
                path: PathBuf::from(&file),
                message: error.to_string(),
            })?;
        let refused = |at: String, message: String| ConfigError::Value {
            origin: overrides.variable_of(&at).unwrap_or_else(|| file.clone()),
            at: printable(&at),
            message: printable(&message),
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
        if self.storage.cache.memory.0 < domain::Limits::MIN_CACHE_BYTES as u64 {
            return fail(
                "storage.cache.memory",
                &format!(
                    "{} bytes are not possible here: expected at least {}MiB",
                    self.storage.cache.memory.0,
                    domain::Limits::MIN_CACHE_BYTES >> 20
                ),
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

/// Escapes control characters: a key may hold any.
fn printable(text: &str) -> String {
    let escape = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(escape).collect()
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

/// The variables that are ours, sorted by key: each is a layer over those before it, so that one variable can say more
/// about what another has set.
#[derive(Clone, Debug)]
struct Overrides {
    entries: Vec<Override>,
}

/// One variable, as a layer of the configuration.
#[derive(Clone, Debug)]
struct Override {
    /// Path of the key.
    key: String,
    /// Name of the variable.
    name: String,
    value: Value,
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
                name: printable(name),
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
            entries.push(Override {
                key,
                name: name.to_owned(),
                value,
            });
        }
        entries.sort_by(|a, b| (&a.key, &a.name).cmp(&(&b.key, &b.name)));
        Overrides::refuse_hidden(&entries)?;
        Ok(Overrides { entries })
    }

    /// Refuses a text where another variable sets a key of the map that should be there: the text would be of no effect.
    fn refuse_hidden(entries: &[Override]) -> Result<(), ConfigError> {
        for entry in entries
            .iter()
            .filter(|entry| !matches!(entry.value.kind, ValueKind::Table(_)))
        {
            let below = |other: &&Override| other.key != entry.key && is_within(&other.key, &entry.key);
            if let Some(other) = entries.iter().find(below) {
                return Err(ConfigError::Variable {
                    name: printable(&entry.name),
                    message: format!(
                        "expected a map, because {} sets a key in it",
                        printable(&other.name)
                    ),
                });
            }
        }
        Ok(())
    }

    /// The variable that sets this key, or one above it; the one that had the last word.
    fn variable_of(&self, at: &str) -> Option<String> {
        self.entries
            .iter()
            .rev()
            .find(|entry| is_within(at, &entry.key))
            .map(|entry| format!("environment variable {}", printable(&entry.name)))
    }
}

/// Whether a path is that of a key, or of something in it.
fn is_within(path: &str, key: &str) -> bool {
    path.strip_prefix(key)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
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

impl Source for Override {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ::config::ConfigError> {
        Ok(Map::from([(self.key.clone(), self.value.clone())]))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Anonymous, Auth, Durability, Duration, Empty, LogLevel, Required};

    /// Reads a file of this text with these variables.
    fn load(yaml: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.yaml");
        std::fs::write(&path, yaml).expect("a file");
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
        Config::load_over(Base::File(&path), variables)
            .map_err(|error| error.to_string().replace(&path.display().to_string(), "FILE"))
    }

    fn shipped(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../config/registry")
            .join(name)
    }

    #[test]
    fn the_shipped_files_make_the_two_generations() {
        for (name, port, complete) in [("current.yaml", 5001, false), ("complete.yaml", 5002, true)] {
            let config = Config::load_over(Base::File(&shipped(name)), []).expect(name);
            assert_eq!(config.http.addr.port(), port);
            assert_eq!(
                (config.serves_referrers(), config.serves_discovery()),
                (complete, complete)
            );
            let root = config.storage.filesystem.expect("a folder").rootdirectory;
            assert_eq!(
                root,
                PathBuf::from(format!(
                    "/tmp/registry-{}-root-dir",
                    name.trim_end_matches(".yaml")
                ))
            );
        }
    }

    #[test]
    fn without_a_file_the_registry_is_of_the_generation_it_is_called_by() {
        for traits in &generations::REGISTRIES {
            let config = Config::load_over(Base::Defaults(traits), []).expect("the defaults");
            assert_eq!(config.serves_referrers(), traits.serves_referrers);
            let none = [("REGISTRY_EXTENSIONS_OCI_ARTIFACTS".into(), "[]".into())];
            let told = Config::load_over(Base::Defaults(traits), none).expect("a configuration");
            assert!(!told.serves_referrers());
        }
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        assert_eq!(load("", &[]), Ok(Config::default()));
        assert_eq!(load("version: 0.1\n", &[]), Ok(Config::default()));
        assert_eq!(Config::default().http.addr.to_string(), "127.0.0.1:5000");
    }

    #[test]
    fn every_key_is_read() {
        let config = load(
            "version: 0.1
log: {level: debug, formatter: json, accesslog: {disabled: true}, fields: {a: b}}
storage:
  filesystem: {rootdirectory: /x, durability: none}
  cache: {blobdescriptor: inmemory, memory: 32MiB}
  delete: {enabled: false}
  maintenance:
    uploadpurging: {enabled: true, age: 1h, interval: 10m, dryrun: true}
    readonly: {enabled: true}
    gc: {enabled: true, interval: 1h, grace: 5m, dryrun: true}
http:
  addr: :5001
  headers: {X-A: [b, c]}
  draintimeout: 5s
  tls: {certificate: /c, key: /k}
  debug: {addr: 'localhost:5005', prometheus: {enabled: true, path: /m}}
  limits: {manifest: 8MiB, connections: 7, workers: 3, headtimeout: 1s, bodytimeout: 2s, bodyrate: 2KiB, keepalive: 3s}
health: {storagedriver: {enabled: false, interval: 1s, threshold: 1}}
auth: {htpasswd: {realm: r, path: /p, anonymous: pull}}
validation: {disabled: false, manifests: {images: {blobs: none}, indexes: {platforms: none}}}
extensions: {oci: {artifacts: [referrers], ext: [discover]}}
",
            &[],
        )
        .expect("a configuration");
        assert_eq!(config.log.level, LogLevel::Debug);
        assert_eq!(
            config.storage.filesystem.expect("a folder").durability,
            Durability::None
        );
        assert_eq!(config.storage.cache.memory.0, 32 << 20);
        assert_eq!(config.storage.maintenance.gc.grace, Duration::seconds(300));
        assert_eq!(config.http.addr.to_string(), ":5001");
        assert_eq!(config.http.headers["X-A"], ["b", "c"]);
        assert_eq!(config.http.limits.manifest.0, 8 << 20);
        assert_eq!(config.http.limits.bodyrate.0, 2 << 10);
        assert_eq!(
            config.auth.map(|Auth { htpasswd }| htpasswd.anonymous),
            Some(Anonymous::Pull)
        );
        assert_eq!(config.validation.manifests.images.blobs, Required::None);
        assert!(config.extensions.oci.artifacts.len() == 1 && config.extensions.oci.ext.len() == 1);
    }

    #[test]
    fn what_is_not_known_is_refused_with_its_path() {
        for (yaml, expected) in [
            ("htp: {}", "FILE: htp: unknown field `htp`"),
            ("http: {adr: x}", "FILE: http.adr: unknown field `adr`"),
            (
                "storage: {maintenance: {gc: {every: 1h}}}",
                "FILE: storage.maintenance.gc.every: unknown field",
            ),
            (
                "storage: {s3: {bucket: x}}",
                "FILE: storage.s3: unknown field `s3`",
            ),
            (
                "extensions: {oci: {artifacts: [refs]}}",
                "FILE: extensions.oci.artifacts[0]: ",
            ),
            (
                "storage: {inmemory: {size: 3}}",
                "FILE: storage.inmemory.size: unknown field `size`",
            ),
        ] {
            let error = load(yaml, &[]).expect_err(yaml);
            assert!(error.starts_with(expected), "{yaml}: {error}");
        }
    }

    #[test]
    fn a_bad_value_is_named_with_its_path_and_what_was_expected() {
        for (yaml, expected) in [
            ("version: 0.2", r#"FILE: version: "0.2" is not a version"#),
            (
                "http: {headers: {\"X\\r\\nY\\e[2J\": [a]}}",
                r"FILE: http.headers.X\r\nY\u{1b}[2J: not the name of a header",
            ),
            (
                "http: {addr: here}",
                r#"FILE: http.addr: "here" is not an address to listen on: expected host:port"#,
            ),
            (
                "http: {draintimeout: 30}",
                r#"FILE: http.draintimeout: "30" is not a duration: expected"#,
            ),
            (
                "http: {limits: {manifest: 4MB}}",
                r#"FILE: http.limits.manifest: "4MB" is not a number of bytes"#,
            ),
            (
                "http: {limits: {connections: -1}}",
                "FILE: http.limits.connections: ",
            ),
            (
                "http: {limits: {connections: 0}}",
                "FILE: http.limits.connections: 0 is not possible",
            ),
            (
                "http: {headers: {'a b': [x]}}",
                "FILE: http.headers.a b: not the name of a header",
            ),
            (
                "http: {headers: {a: [\"x\\ny\"]}}",
                "FILE: http.headers.a: \"x\\ny\" is not the value of a header",
            ),
            ("http: {headers: {a: x}}", "FILE: http.headers.a: "),
            (
                "storage: {delete: {enabled: maybe}}",
                "FILE: storage.delete.enabled: ",
            ),
            (
                "storage: {filesystem: {}}",
                "FILE: storage.filesystem: missing configuration field",
            ),
            (
                "storage: {filesystem: {rootdirectory: /x}, inmemory: {}}",
                "FILE: storage: both filesystem and inmemory",
            ),
            (
                "storage: {maintenance: {gc: {interval: 0s}}}",
                "FILE: storage.maintenance.gc.interval: 0 is not possible",
            ),
            (
                "storage: {cache: {memory: much}}",
                r#"FILE: storage.cache.memory: "much" is not a number of bytes"#,
            ),
            (
                "storage: {cache: {memory: 1023KiB}}",
                "FILE: storage.cache.memory: 1047552 bytes are not possible here: expected at least 1MiB",
            ),
            ("log: {level: loud}", "FILE: log.level: "),
            (
                "http: {addr: ':1', debug: {addr: ':1'}}",
                "FILE: http.debug.addr: the same as http.addr",
            ),
            (
                "auth: {htpasswd: {realm: x}}",
                "FILE: auth.htpasswd: missing configuration field",
            ),
        ] {
            let error = load(yaml, &[]).expect_err(yaml);
            assert!(error.starts_with(expected), "{yaml}: {error}");
        }
        let error = load("log: {level: loud}", &[]).expect_err("no level");
        assert!(error.contains("loud") && error.contains("debug"), "{error}");
    }

    #[test]
    fn a_section_that_is_written_but_empty_is_not_taken_for_absent() {
        for yaml in [
            "auth:",
            "auth: {htpasswd: }",
            "http: {tls: }",
            "http: {debug: }",
            "storage: {filesystem: }",
        ] {
            let error = load(yaml, &[]).expect_err(yaml);
            assert!(error.starts_with("FILE: "), "{yaml}: {error}");
        }
        for yaml in ["storage: {inmemory: }", "storage: {inmemory: {}}"] {
            assert_eq!(
                load(yaml, &[]).expect(yaml).storage.inmemory,
                Some(Empty {}),
                "{yaml}"
            );
        }
    }

    #[test]
    fn what_is_not_yaml_is_refused() {
        for yaml in [
            "a: [",
            "- a\n- b",
            "text",
            "http: {}\nhttp: {}",
            "---\na: b\n---\nc: d",
            "? [a]\n: b",
        ] {
            let error = load(yaml, &[]).expect_err(yaml);
            assert!(
                error.starts_with("FILE: not a configuration in YAML: "),
                "{yaml}: {error}"
            );
        }
        let missing =
            Config::load_over(Base::File(Path::new("/no/such/file.yaml")), []).expect_err("no file");
        assert!(
            missing.to_string().starts_with("/no/such/file.yaml: cannot read"),
            "{missing}"
        );
    }

    #[test]
    fn every_key_can_be_overridden_by_the_environment() {
        let config = load(
            "http: {addr: ':1', headers: {X-A: [b]}}\nstorage: {filesystem: {rootdirectory: /x}}",
            &[
                ("REGISTRY_HTTP_ADDR", "0.0.0.0:5001"),
                ("REGISTRY_HTTP_LIMITS_CONNECTIONS", "12"),
                ("REGISTRY_HTTP_HEADERS", "{X-C: [d]}"),
                ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "/var/lib/registry"),
                ("REGISTRY_STORAGE_CACHE_MEMORY", "1MiB"),
                ("REGISTRY_STORAGE_DELETE_ENABLED", "false"),
                ("REGISTRY_STORAGE_MAINTENANCE_GC_GRACE", "2h"),
                ("REGISTRY_EXTENSIONS_OCI_ARTIFACTS", "[referrers]"),
                ("REGISTRY_LOG_FIELDS_SERVICE", "5"),
                ("REGISTRY_AUTH", "htpasswd"),
                ("REGISTRY_AUTH_HTPASSWD_PATH", "/p"),
                ("HTTP_ADDR", "of no interest"),
            ],
        )
        .expect("a configuration");
        assert_eq!(config.http.addr.to_string(), "0.0.0.0:5001");
        assert_eq!(config.http.limits.connections, 12);
        assert_eq!(config.http.headers["X-C"], ["d"]);
        assert_eq!(
            config.storage.filesystem.expect("a folder").rootdirectory,
            PathBuf::from("/var/lib/registry")
        );
        assert!(!config.storage.delete.enabled);
        assert_eq!(config.storage.cache.memory.0, 1 << 20);
        assert_eq!(config.storage.maintenance.gc.grace, Duration::hours(2));
        assert!(config.extensions.oci.artifacts.len() == 1);
        assert_eq!(config.log.fields["service"], "5");
        assert_eq!(
            config.auth.expect("authentication").htpasswd.path,
            PathBuf::from("/p")
        );
    }

    #[test]
    fn a_bad_variable_is_named() {
        for (name, value, expected) in [
            (
                "REGISTRY_HTTP_ADR",
                "x",
                "environment variable REGISTRY_HTTP_ADR: http.adr: unknown field",
            ),
            (
                "REGISTRY_HTTP_\u{13}",
                "x",
                "environment variable REGISTRY_HTTP_\\u{13}: http.\\u{13}: unknown field",
            ),
            (
                "REGISTRY_HTTP_ADDR",
                "x",
                "environment variable REGISTRY_HTTP_ADDR: http.addr: \"x\" is not",
            ),
            (
                "REGISTRY_EXTENSIONS_OCI_ARTIFACTS",
                "[x]",
                "environment variable REGISTRY_EXTENSIONS_OCI_ARTIFACTS: ",
            ),
            (
                "REGISTRY_HTTP_HEADERS",
                "{x",
                "environment variable REGISTRY_HTTP_HEADERS: \"{x\" is not a list or map",
            ),
            (
                "REGISTRY_STORAGE",
                "s3",
                "environment variable REGISTRY_STORAGE: storage: ",
            ),
        ] {
            let error = load("", &[(name, value)]).expect_err(name);
            assert!(error.starts_with(expected), "{name}: {error}");
        }
    }

    #[test]
    fn a_variable_says_more_about_a_map_that_another_has_set() {
        // Often: it must not depend on the order that a hash map happens to have.
        for _ in 0..50 {
            let config = load(
                "",
                &[
                    ("REGISTRY_HTTP_LIMITS_WORKERS", "3"),
                    (
                        "REGISTRY_HTTP",
                        "{addr: ':7', limits: {workers: 2, connections: 9}}",
                    ),
                    ("REGISTRY_HTTP_ADDR", ":8"),
                ],
            )
            .expect("a configuration");
            assert_eq!(config.http.addr.to_string(), ":8");
            assert_eq!(
                (config.http.limits.workers, config.http.limits.connections),
                (3, 9)
            );
            for variables in [
                [("REGISTRY_HTTP", "junk"), ("REGISTRY_HTTP_ADDR", ":8")],
                [("REGISTRY_HTTP_ADDR", ":8"), ("REGISTRY_HTTP", "[junk]")],
            ] {
                assert_eq!(
                    load("", &variables).expect_err("hidden").to_string(),
                    "environment variable REGISTRY_HTTP: expected a map, because REGISTRY_HTTP_ADDR sets a key in it"
                );
            }
        }
    }

    #[test]
    fn variables_that_kubernetes_sets_are_not_ours() {
        let variables = [
            ("REGISTRY_PORT", "tcp://10.0.0.1:5000"),
            ("REGISTRY_SERVICE_HOST", "10.0.0.1"),
        ];
        assert_eq!(load("", &variables), Ok(Config::default()));
    }
}
