//! The token server: a bearer token for scopes, by GET with Basic or nothing, or by POST with an identity token.
//!
//! Source: distribution's "Token Authentication Specification" and "Token Authentication Using OAuth2".

use super::{Credential, For, Scopes, basic_header};
use crate::{
    Error, Result,
    error::clean,
    transport::{Body, Method, Request, Response, header},
};
use oci::routes::query_value;
use serde::Deserialize;
use std::time::Duration;
use url::Url;

/// The largest token answer that is read, in bytes; tokens of some clouds are long.
const MAX_TOKEN_BODY_BYTES: usize = 1024 * 1024;
/// How long a token lives if the server does not say.
///
/// Source: distribution's specification, "expires_in".
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);
/// The name by which the OAuth2 flow knows this client.
const CLIENT_ID: &str = "referrers-lab";

/// A token and how long it is used.
pub(super) struct Grant {
    pub token: String,
    pub lifetime: Duration,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
}

/// Asks for a token.
///
/// # Errors
/// `NotAuthorised` if the server refuses the credentials, `Token` if its answer has none, every failure of the request.
pub(super) async fn ask(
    whom: &For<'_>,
    realm: &Url,
    service: Option<&str>,
    scopes: &Scopes,
    credential: Option<&Credential>,
) -> Result<Grant> {
    let request = match credential {
        Some(Credential::IdentityToken(token)) => post(whom, realm, service, scopes, token),
        Some(Credential::Password(user, password)) => {
            let mut request = get(whom, realm, service, scopes, Some(user));
            request
                .headers
                .push((header::AUTHORIZATION, basic_header(user, password)));
            request
        }
        None => get(whom, realm, service, scopes, None),
    };
    let response = whom.transport.send(request).await?;
    match response.status() {
        200 => read(response).await,
        300..=399 => Err(Error::Token {
            at: Box::new(response.at()),
            problem: "the token server redirects, and credentials do not follow".to_owned(),
        }),
        _ => Err(response.into_error("the token server").await),
    }
}

fn get(
    whom: &For<'_>,
    realm: &Url,
    service: Option<&str>,
    scopes: &Scopes,
    account: Option<&str>,
) -> Request {
    let mut url = realm.clone();
    {
        let mut query = url.query_pairs_mut();
        query.extend_pairs(service.map(|service| ("service", service)));
        query.extend_pairs(scopes.iter().map(|scope| ("scope", scope)));
        query.extend_pairs(account.map(|account| ("account", account)));
    }
    request(whom, Method::GET, url, Body::Empty)
}

fn post(whom: &For<'_>, realm: &Url, service: Option<&str>, scopes: &Scopes, token: &str) -> Request {
    let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
    let scopes = scopes.join(" ");
    let pairs = [
        ("grant_type", "refresh_token"),
        ("client_id", CLIENT_ID),
        ("service", service.unwrap_or_default()),
        ("scope", &scopes),
        ("refresh_token", token),
    ];
    let form: Vec<String> = pairs
        .iter()
        .map(|(k, v)| format!("{k}={}", query_value(v)))
        .collect();
    let mut request = request(
        whom,
        Method::POST,
        realm.clone(),
        Body::Bytes(form.join("&").into()),
    );
    let form_type = "application/x-www-form-urlencoded".to_owned();
    request.headers.push((header::CONTENT_TYPE, form_type));
    request
}

fn request(whom: &For<'_>, method: Method, url: Url, body: Body) -> Request {
    // The certificate of a token server elsewhere is not excused by a setting for the registry.
    let same = url.host_str() == whom.endpoint.base.host_str();
    Request {
        method,
        url,
        headers: Vec::new(),
        body,
        repeatable: true,
        registry: whom.registry.clone(),
        insecure: whom.endpoint.insecure && same,
        secret: true,
    }
}

async fn read(response: Response) -> Result<Grant> {
    let at = Box::new(response.at());
    let body = response.document(MAX_TOKEN_BODY_BYTES, "a token").await?;
    let problem = |at, problem| Error::Token { at, problem };
    let answer: Answer = match serde_json::from_slice(&body) {
        Ok(answer) => answer,
        // The message of serde names a place, not the content.
        Err(e) => {
            return Err(problem(
                at,
                format!("the answer is no JSON object: {}", clean(&e.to_string())),
            ));
        }
    };
    let token = [answer.token, answer.access_token]
        .into_iter()
        .flatten()
        .find(|t| !t.is_empty());
    let Some(token) = token else {
        return Err(problem(
            at,
            "the answer has neither token nor access_token".to_owned(),
        ));
    };
    if !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(problem(
            at,
            "the token has characters that no header can carry".to_owned(),
        ));
    }
    let lifetime = answer.expires_in.map_or(DEFAULT_LIFETIME, Duration::from_secs);
    Ok(Grant {
        token,
        // A tenth is kept back for the way.
        lifetime: lifetime.min(Duration::from_secs(86_400)).mul_f64(0.9),
    })
}
