//! Credentials as `docker login` left them: `auths`, `credsStore` and `credHelpers`, read by `docker_credential`.

use crate::{Error, Result, error::clean};
use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};
use std::{fmt, fs::File, io::BufReader, path::PathBuf};

/// The key of Docker Hub in Docker's configuration.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
/// What helpers say when they have nothing; it is not an error.
const HELPER_HAS_NONE: &str = "credentials not found";

/// What a user is known by. Its debug form shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credential {
    /// User and password.
    Password(String, String),
    /// A refresh token, for token servers.
    IdentityToken(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Credential::Password(..) => "Password(…)",
            Credential::IdentityToken(_) => "IdentityToken(…)",
        })
    }
}

/// Finds the credentials for a registry; `None` if there are none.
///
/// # Errors
/// `Credentials` if the file cannot be read or a helper fails.
pub(super) async fn find(docker_config: Option<PathBuf>, registry: String) -> Result<Option<Credential>> {
    let host = registry.clone();
    // A helper is a program that may ask the user; the requests under way must not wait for it.
    let found = actix_rt::task::spawn_blocking(move || find_blocking(docker_config, &registry)).await;
    found.unwrap_or_else(|e| {
        Err(Error::Credentials {
            host,
            problem: e.to_string(),
        })
    })
}

fn find_blocking(docker_config: Option<PathBuf>, registry: &str) -> Result<Option<Credential>> {
    let Some(path) = docker_config
        .or_else(default_folder)
        .map(|folder| folder.join("config.json"))
    else {
        return Ok(None);
    };
    let problem = |problem: String| Error::Credentials {
        host: registry.to_owned(),
        problem,
    };
    let keys: &[&str] = match registry == oci::reference::DEFAULT_REGISTRY {
        true => &[DOCKER_HUB_KEY, "index.docker.io", registry],
        false => &[registry],
    };
    for key in keys {
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(problem(format!("cannot read {}: {e}", path.display()))),
        };
        match get_credential_from_reader(BufReader::new(file), key) {
            Ok(DockerCredential::UsernamePassword(user, password)) if !user.is_empty() => {
                return Ok(Some(Credential::Password(user, password)));
            }
            Ok(DockerCredential::IdentityToken(token)) => return Ok(Some(Credential::IdentityToken(token))),
            Ok(DockerCredential::UsernamePassword(..))
            | Err(
                CredentialRetrievalError::NoCredentialConfigured | CredentialRetrievalError::ConfigNotFound,
            ) => {}
            Err(CredentialRetrievalError::HelperFailure { stdout, stderr, .. })
                if stdout.contains(HELPER_HAS_NONE) || stderr.contains(HELPER_HAS_NONE) => {}
            Err(CredentialRetrievalError::HelperFailure { helper, stderr, .. }) => {
                // Standard output may hold a secret.
                return Err(problem(format!("{helper} failed: {}", clean(&stderr))));
            }
            Err(e) => return Err(problem(format!("{}: {e}", path.display()))),
        }
    }
    Ok(None)
}

fn default_folder() -> Option<PathBuf> {
    let variable = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    variable("DOCKER_CONFIG").or_else(|| variable("HOME").map(|home| home.join(".docker")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find_in(config: &str, registry: &str) -> Result<Option<Credential>> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("config.json"), config).expect("written");
        find_blocking(Some(folder.path().to_owned()), registry)
    }

    #[test]
    fn auths_are_read_as_docker_writes_them() {
        // "user:pass:word"
        let config = r#"{"auths":{"r.example:5000":{"auth":"dXNlcjpwYXNzOndvcmQ="},"https://index.docker.io/v1/":{"auth":"aHViOnB3"},"t.example":{"identitytoken":"it"}}}"#;
        let found = |registry| find_in(config, registry).expect("read");
        let password = |user: &str, password: &str| Some(Credential::Password(user.into(), password.into()));
        assert_eq!(found("r.example:5000"), password("user", "pass:word"));
        assert_eq!(found("docker.io"), password("hub", "pw"));
        assert_eq!(found("t.example"), Some(Credential::IdentityToken("it".into())));
        assert_eq!(found("r.example"), None);
    }

    #[test]
    fn no_configuration_means_nobody_and_a_broken_one_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(
            find_blocking(Some(folder.path().to_owned()), "r.example").expect("none"),
            None
        );
        for config in [
            "{",
            r#"{"auths":{"r.example":{"auth":"%%%"}}}"#,
            r#"{"credHelpers":{"r.example":"does-not-exist-here"}}"#,
        ] {
            let error = find_in(config, "r.example").expect_err(config);
            assert_eq!(error.exit_code(), crate::ExitCode::NotAuthorised, "{error}");
        }
    }

    #[test]
    fn secrets_are_not_in_the_debug_form() {
        let shown = format!("{:?}", Credential::Password("user".into(), "hunter2".into()));
        assert!(!shown.contains("hunter2") && !shown.contains("user"), "{shown}");
    }
}
