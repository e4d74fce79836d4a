//! Authorisation: which header a request to a registry carries.
//!
//! A registry says by its challenge what it wants: Basic, or Bearer with a token from its token server. Tokens are kept for
//! each registry and set of scopes until shortly before they expire.

mod credentials;
mod token;

use crate::{
    Asked, Error, Result,
    settings::{Endpoint, is_loopback},
    transport::Transport,
};
use base64::Engine;
use credentials::Credential;
use oci::{RepositoryName, headers::Challenge};
use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
    path::PathBuf,
    rc::Rc,
    time::Instant,
};
use url::Url;

/// What a request may do, as a token's scope says it: `repository:<name>:pull`.
pub(crate) type Scopes = BTreeSet<String>;

/// The scope to read a repository.
pub(crate) fn pull(name: &RepositoryName) -> Scopes {
    Scopes::from([format!("repository:{name}:pull")])
}

/// The scope to write to a repository.
pub(crate) fn push(name: &RepositoryName) -> Scopes {
    Scopes::from([format!("repository:{name}:pull,push")])
}

/// The scope to delete in a repository.
pub(crate) fn delete(name: &RepositoryName) -> Scopes {
    Scopes::from([format!("repository:{name}:delete,pull,push")])
}

/// The scopes to mount a blob of another repository.
pub(crate) fn mount(name: &RepositoryName, from: &RepositoryName) -> Scopes {
    let mut scopes = push(name);
    scopes.extend(pull(from));
    scopes
}

/// What a registry's challenge told.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Scheme {
    Basic,
    Bearer { realm: Url, service: Option<String> },
}

struct Token {
    header: String,
    until: Instant,
}

/// The credentials and tokens of a process.
pub(crate) struct Auth {
    docker_config: Option<PathBuf>,
    schemes: RefCell<HashMap<String, Scheme>>,
    tokens: RefCell<HashMap<(String, Scopes), Token>>,
    credentials: RefCell<HashMap<String, Option<Credential>>>,
    /// One at a time asks for a token, so that the others find it.
    asking: tokio::sync::Mutex<()>,
}

/// The registry that a header is for.
pub(crate) struct For<'a> {
    pub transport: &'a Transport,
    pub registry: &'a Rc<str>,
    pub endpoint: &'a Endpoint,
}

impl Auth {
    pub(crate) fn new(docker_config: Option<PathBuf>) -> Auth {
        Auth {
            docker_config,
            schemes: RefCell::default(),
            tokens: RefCell::default(),
            credentials: RefCell::default(),
            asking: tokio::sync::Mutex::new(()),
        }
    }

    /// The `Authorization` header for a request, as far as it is known what the registry wants.
    ///
    /// # Errors
    /// `Credentials`, `Token`, `UnsafeCredentials`, and every failure of the token server.
    pub(crate) async fn header(&self, whom: &For<'_>, scopes: &Scopes, at: &Asked) -> Result<Option<String>> {
        let scheme = self.schemes.borrow().get(&**whom.registry).cloned();
        match scheme {
            None => Ok(None),
            Some(Scheme::Basic) => self.basic(whom, at).await,
            Some(Scheme::Bearer { realm, service }) => self
                .bearer(whom, &realm, service.as_deref(), scopes, at)
                .await
                .map(Some),
        }
    }

    /// Takes in the challenges of a 401. `false`: there is nothing that could be tried anew.
    ///
    /// `sent` is the header that was refused; a token is forgotten, so that the next one is fresh.
    pub(crate) fn challenged(
        &self,
        whom: &For<'_>,
        scopes: &mut Scopes,
        challenges: &[Challenge],
        sent: Option<&str>,
    ) -> bool {
        let Some((scheme, wanted)) = choose(challenges, whom.endpoint) else {
            return false;
        };
        let registry = whom.registry.to_string();
        self.tokens
            .borrow_mut()
            .remove(&(registry.clone(), scopes.clone()));
        scopes.extend(wanted);
        self.tokens
            .borrow_mut()
            .remove(&(registry.clone(), scopes.clone()));
        let again = match (&scheme, sent) {
            // The same password would be refused again.
            (Scheme::Basic, Some(sent)) => !sent.starts_with("Basic "),
            (Scheme::Basic, None) | (Scheme::Bearer { .. }, _) => true,
        };
        self.schemes.borrow_mut().insert(registry, scheme);
        again
    }

    async fn basic(&self, whom: &For<'_>, at: &Asked) -> Result<Option<String>> {
        match self.credential(whom).await? {
            Some(Credential::Password(user, password)) => {
                check_safe(whom, &whom.endpoint.base, at)?;
                Ok(Some(basic_header(&user, &password)))
            }
            // A token of identity is for token servers alone.
            Some(Credential::IdentityToken(_)) | None => Ok(None),
        }
    }

    async fn bearer(
        &self,
        whom: &For<'_>,
        realm: &Url,
        service: Option<&str>,
        scopes: &Scopes,
        at: &Asked,
    ) -> Result<String> {
        let key = (whom.registry.to_string(), scopes.clone());
        if let Some(header) = self.cached(&key) {
            return Ok(header);
        }
        let _asking = self.asking.lock().await;
        if let Some(header) = self.cached(&key) {
            return Ok(header);
        }
        let credential = self.credential(whom).await?;
        if credential.is_some() {
            check_safe(whom, realm, at)?;
            check_safe(whom, &whom.endpoint.base, at)?;
        }
        let grant = token::ask(whom, realm, service, scopes, credential.as_ref()).await?;
        let header = format!("Bearer {}", grant.token);
        self.tokens.borrow_mut().insert(
            key,
            Token {
                header: header.clone(),
                until: Instant::now() + grant.lifetime,
            },
        );
        Ok(header)
    }

    fn cached(&self, key: &(String, Scopes)) -> Option<String> {
        let tokens = self.tokens.borrow();
        let token = tokens.get(key).filter(|token| token.until > Instant::now())?;
        Some(token.header.clone())
    }

    async fn credential(&self, whom: &For<'_>) -> Result<Option<Credential>> {
        let known = self.credentials.borrow().get(&**whom.registry).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let found = credentials::find(self.docker_config.clone(), whom.registry.to_string()).await?;
        self.credentials
            .borrow_mut()
            .insert(whom.registry.to_string(), found.clone());
        Ok(found)
    }
}

/// Picks the challenge to answer, Bearer before Basic, and the scopes that it asks for.
fn choose(challenges: &[Challenge], endpoint: &Endpoint) -> Option<(Scheme, Scopes)> {
    let bearer = challenges
        .iter()
        .filter(|c| c.scheme == "bearer")
        .find_map(|challenge| {
            // A relative realm is not in the specification, but harmless.
            let realm = endpoint.base.join(challenge.get("realm")?).ok()?;
            let service = challenge.get("service").map(str::to_owned);
            let scopes = challenge.get("scope").unwrap_or_default();
            let scopes = scopes.split_ascii_whitespace().map(str::to_owned).collect();
            matches!(realm.scheme(), "http" | "https").then_some((Scheme::Bearer { realm, service }, scopes))
        });
    let basic = || {
        let found = challenges.iter().any(|c| c.scheme == "basic");
        found.then(|| (Scheme::Basic, Scopes::new()))
    };
    bearer.or_else(basic)
}

pub(crate) fn basic_header(user: &str, password: &str) -> String {
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {encoded}")
}

/// Whether credentials of a registry may be sent to this URL.
fn check_safe(whom: &For<'_>, url: &Url, at: &Asked) -> Result<()> {
    let host = url.host_str().unwrap_or_default();
    let same = url.host_str() == whom.endpoint.base.host_str();
    if url.scheme() == "https" || is_loopback(host) || (same && whom.endpoint.plain_is_set) {
        return Ok(());
    }
    Err(Error::UnsafeCredentials {
        at: Box::new(at.clone()),
        host: whom.registry.to_string(),
        why: format!(
            "{} would carry them over plain http; if that is meant, `registry set --tls disabled {}`",
            crate::redact::url(url.as_str()),
            whom.registry
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;

    fn endpoint() -> Endpoint {
        Settings::default()
            .endpoint("r.example", false, false)
            .expect("an endpoint")
    }

    #[test]
    fn bearer_is_chosen_before_basic_and_brings_its_scopes() {
        let challenges = Challenge::parse_all(
            r#"Basic realm="x", Bearer realm="https://t.example/token",service="s",scope="repository:a:pull repository:b:pull,push""#,
        );
        let (scheme, scopes) = choose(&challenges, &endpoint()).expect("a scheme");
        assert!(matches!(scheme, Scheme::Bearer { ref service, .. } if service.as_deref() == Some("s")));
        assert_eq!(scopes.len(), 2);
        let basic = Challenge::parse_all("Basic realm=\"x\"");
        assert_eq!(choose(&basic, &endpoint()), Some((Scheme::Basic, Scopes::new())));
        let strange = Challenge::parse_all("Negotiate, Bearer realm=\"file:///etc/passwd\"");
        assert_eq!(choose(&strange, &endpoint()), None);
    }

    #[test]
    fn the_header_of_basic_is_that_of_the_rfc() {
        assert_eq!(
            basic_header("Aladdin", "open sesame"),
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
        );
    }
}
