//! A token server as distribution's documentation describes it: it signs a JWT for what was asked for, if the password is
//! right.

use crate::{
    debian_registry::{Door, ISSUER, SERVICE},
    places::{PASSWORD, USER},
};
use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use percent_encoding::percent_decode_str;
use rcgen::{KeyPair, SigningKey};
use serde_json::{Value, json};
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};
use testkit::{FaultServer, Reply, fault::Seen};

/// How long a token is good for, in seconds. Longer than any test.
const LIFETIME: u64 = 300;

/// How far the clocks may differ, in seconds.
const LEEWAY: u64 = 30;

/// A running token server.
pub struct TokenServer {
    server: FaultServer,
    certificate: String,
}

impl TokenServer {
    /// Starts it with a key of its own.
    pub fn start() -> TokenServer {
        TokenServer::stale_at_first(0)
    }

    /// Starts one whose first tokens are expired, though it says that they are good.
    pub fn stale_at_first(stale: usize) -> TokenServer {
        let issued = AtomicUsize::new(0);
        let made = rcgen::generate_simple_self_signed(["the.test".to_owned()]).expect("a certificate");
        let der = BASE64_STANDARD.encode(made.cert.der());
        let key = made.signing_key;
        TokenServer {
            server: FaultServer::start(move |request| {
                let is_stale = issued.fetch_add(1, Ordering::SeqCst) < stale;
                let expires = if is_stale { 0 } else { now() + LIFETIME };
                answer(request, expires, &key, &der)
            }),
            certificate: made.cert.pem(),
        }
    }

    /// How a registry sends its clients here.
    pub fn door(&self) -> Door {
        Door::Token {
            realm: format!("{}/token", self.server.url()),
            certificate: self.certificate.clone(),
        }
    }

    /// The scopes that were asked for, one request after the other.
    pub fn scopes(&self) -> Vec<Vec<String>> {
        self.server
            .requests()
            .iter()
            .map(|request| values(&request.path, "scope"))
            .collect()
    }
}

fn answer(request: &Seen, expires: u64, key: &KeyPair, certificate: &str) -> Reply {
    let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}")));
    let is_known = match request.header("authorization") {
        None => false,
        Some(header) if header == basic => true,
        Some(_) => return Reply::new(401, &[], "wrong password"),
    };
    if request.method != "GET" || values(&request.path, "service") != [SERVICE] {
        return Reply::new(404, &[], "");
    }
    // Nobody else is granted anything, which is told by a token without rights.
    let scopes = if is_known {
        values(&request.path, "scope")
    } else {
        Vec::new()
    };
    let token = sign(&claims(&scopes, expires), key, certificate);
    let body = json!({"token": token, "access_token": token, "expires_in": LIFETIME});
    Reply::new(200, &[("Content-Type", "application/json")], body.to_string())
}

/// The values of a parameter in a query.
fn values(path: &str, name: &str) -> Vec<String> {
    let query = path.split_once('?').map_or("", |(_, query)| query);
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| {
            percent_decode_str(&value.replace('+', " "))
                .decode_utf8_lossy()
                .into_owned()
        })
        .collect()
}

/// Rights to what the scopes name, each `TYPE:NAME:ACTION,ACTION`.
fn claims(scopes: &[String], expires: u64) -> Value {
    let access: Vec<_> = scopes
        .iter()
        .flat_map(|scope| scope.split(' '))
        .filter_map(|scope| {
            let (rest, actions) = scope.rsplit_once(':')?;
            let (kind, name) = rest.split_once(':')?;
            Some(json!({"type": kind, "name": name, "actions": actions.split(',').collect::<Vec<_>>()}))
        })
        .collect();
    json!({
        "iss": ISSUER,
        "sub": USER,
        "aud": SERVICE,
        "iat": now() - LEEWAY,
        "nbf": now() - LEEWAY,
        "exp": expires,
        "jti": expires.to_string(),
        "access": access,
    })
}

/// The time, in seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

/// A JWT, signed by ES256, with the certificate that shows the key to be trusted.
fn sign(claims: &Value, key: &KeyPair, certificate: &str) -> String {
    let header = json!({"typ": "JWT", "alg": "ES256", "x5c": [certificate]});
    let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(&header), encode(claims));
    let signature = key.sign(signed.as_bytes()).expect("a signature");
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(fixed(&signature)))
}

/// The two numbers of an ECDSA signature in 32 bytes each, as JWT has them, from ASN.1: a sequence of two integers.
fn fixed(asn1: &[u8]) -> Vec<u8> {
    let mut fixed = Vec::new();
    let mut rest = &asn1[2..];
    for _ in 0..2 {
        let (number, behind) = rest[2..].split_at(usize::from(rest[1]));
        let digits: Vec<u8> = number.iter().copied().skip_while(|byte| *byte == 0).collect();
        fixed.resize(fixed.len() + 32 - digits.len(), 0);
        fixed.extend(digits);
        rest = behind;
    }
    fixed
}
