//! Requests against the registry's routes, on the memory store: whatever comes, every answer is one that the specification
//! knows, and afterwards every promise of the registry holds.

use crate::{
    server::{self, Answer, Application, Asked, Server},
    story::{self, Memory},
};
use actix_web::http::{
    Method, Uri,
    header::{CONTENT_LENGTH, HeaderName, HeaderValue},
};
use oci::{Digest, ErrorCode, ErrorEnvelope, RawRoute};
use registry::{
    domain::{Capabilities, Damage, Limits, Registry, Verify},
    http::path_of,
};
use serde_json::Value;

/// Small, so that inputs reach it.
const MAX_MANIFEST_BYTES: usize = 3000;
/// Small, so that inputs reach it.
const MAX_UPLOADS: usize = 4;
/// No error is longer, whatever a request was like.
const MAX_ERROR_BYTES: usize = 32 * 1024;

thread_local! {
    static SYSTEM: actix_rt::SystemRunner = actix_rt::System::new();
}

/// A story: what the registry can do, and what is asked of it.
pub fn check(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        SYSTEM.with(|system| system.block_on(play(text)));
    }
}

async fn play(text: &str) {
    let (words, requests) = story::read(text);
    let can = capabilities(&words);
    let limits = Limits {
        max_manifest_bytes: MAX_MANIFEST_BYTES,
        max_uploads: MAX_UPLOADS,
        ..Limits::default()
    };
    let server = server::open(can, limits).await;
    let mut memory = Memory::default();
    for request in requests {
        tell(&server, &request, &mut memory).await;
    }
    let deleted = text.contains("DELETE ");
    promises_hold(&server.registry, deleted);
    everything_is_served(&server).await;
}

fn capabilities(words: &[&str]) -> Capabilities {
    let complete = words.contains(&"complete");
    Capabilities {
        referrers: complete,
        artifact_manifest: complete,
        extension_discovery: complete,
        read_only: words.contains(&"readonly"),
        delete: !words.contains(&"nodelete"),
        ..Capabilities::default()
    }
}

/// Sends a request of the story, unless no HTTP server would hand it on, and looks at the answer.
async fn tell(server: &Server<impl Application>, request: &story::Request<'_>, memory: &mut Memory) {
    let body = memory.fill(request.body, None);
    let own = memory.sent(&body);
    let target = memory.fill(request.target, Some(&own));
    let (Ok(method), Ok(uri)) = (
        Method::from_bytes(request.method.as_bytes()),
        target.parse::<Uri>(),
    ) else {
        return;
    };
    let mut headers = Vec::new();
    for (name, value) in &request.headers {
        let value = memory.fill(value, Some(&own));
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(*name), HeaderValue::try_from(value)) {
            headers.push((name, value));
        }
    }
    if !headers.iter().any(|(name, _)| name == CONTENT_LENGTH) {
        headers.push((CONTENT_LENGTH, body.len().into()));
    }
    let asked = Asked {
        method,
        uri,
        headers,
        body: body.into(),
    };
    let answer = server.ask(&asked).await;
    let (method, path) = (&asked.method, asked.uri.path());
    well_formed(method, path, &answer);
    if let Some(location) = answer.header("location") {
        memory.location = location.to_owned();
    }
    if let Some(entity_tag) = answer.header("etag") {
        memory.entity_tag = entity_tag.to_owned();
    }
    if answer.status == 201 {
        created(server, method, path, &answer, &asked.body).await;
    }
}

/// What holds for the answer to any request.
fn well_formed(method: &Method, path: &str, answer: &Answer) {
    let said = || format!("{method} {path}: {} {:?}", answer.status, answer.body);
    assert!((200..500).contains(&answer.status), "{}", said());
    assert_eq!(
        answer.header("docker-distribution-api-version"),
        Some("registry/2.0")
    );
    if answer.status >= 400 {
        assert!(
            answer.body.len() <= MAX_ERROR_BYTES,
            "{} bytes",
            answer.body.len()
        );
        let envelope =
            ErrorEnvelope::parse(&answer.body).unwrap_or_else(|| panic!("no envelope: {}", said()));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        for error in &envelope.errors {
            assert!(ErrorCode::from_name(&error.code).is_some(), "{}", said());
            assert!(!error.message.chars().any(char::is_control), "{}", said());
        }
    }
    if answer.status == 200
        && *method == Method::GET
        && let Some(digest) = answer.header("docker-content-digest")
    {
        let digest = Digest::parse(digest).expect("a digest");
        assert!(digest.matches(&answer.body), "{}", said());
    }
    if answer.status == 405 && answer.header("allow").is_none() {
        // Switched off rather than unknown.
        assert!(
            [Method::PUT, Method::POST, Method::PATCH, Method::DELETE].contains(method),
            "{}",
            said()
        );
    }
}

/// What was answered 201 is there, under the digest that it hashes to.
async fn created(
    server: &Server<impl Application>,
    method: &Method,
    path: &str,
    answer: &Answer,
    body: &[u8],
) {
    let location = answer.header("location").expect("where it is");
    let there = server.get(location).await;
    assert_eq!(there.status, 200, "{method} {path} told of {location}");
    let digest =
        Digest::parse(answer.header("docker-content-digest").expect("its digest")).expect("a digest");
    assert!(
        location.ends_with(&digest.to_string()),
        "{location} is of {digest}"
    );
    assert!(digest.matches(&there.body), "{location}");
    // A repository may have any of the routes' words in its name.
    let decoded = path_of(path).expect("a path");
    if let Some(RawRoute::Manifest(..)) = RawRoute::parse(&decoded) {
        assert_eq!(there.body, body, "{location}");
    }
}

/// What `registry verify` finds. A client may delete what a manifest still needs, and nothing else may come to harm.
fn promises_hold(registry: &Registry, deleted: bool) {
    let mut found = Vec::new();
    let by_deletion =
        |damage: &Damage| deleted && matches!(damage, Damage::Incomplete { .. } | Damage::Unlinked { .. });
    registry
        .verify(Verify::default(), &mut |damage| {
            if !by_deletion(damage) {
                found.push(damage.to_string());
            }
        })
        .expect("a registry that can be read");
    assert!(found.is_empty(), "{found:?}");
}

/// Every repository of the catalogue has its tags, whole and in pages, and every tag has its manifest.
async fn everything_is_served(server: &Server<impl Application>) {
    let catalogue = server.get("/v2/_catalog").await.json();
    for name in catalogue["repositories"].as_array().expect("repositories") {
        let can = server.registry.capabilities();
        assert!(!can.read_only, "a registry that is read-only took something");
        let name = name.as_str().expect("a name");
        let listed = server.get(&format!("/v2/{name}/tags/list")).await;
        well_formed(&Method::GET, name, &listed);
        if listed.status != 200 {
            continue;
        }
        let tags = listed.json()["tags"].as_array().expect("tags").clone();
        assert_eq!(in_pages(server, name).await, tags);
        for tag in tags {
            let tag = tag.as_str().expect("a tag");
            let manifest = server.get(&format!("/v2/{name}/manifests/{tag}")).await;
            assert_eq!(manifest.status, 200, "{name}:{tag} leads nowhere");
            well_formed(&Method::GET, tag, &manifest);
        }
    }
}

/// The tags, one a page.
async fn in_pages(server: &Server<impl Application>, name: &str) -> Vec<Value> {
    let mut target = format!("/v2/{name}/tags/list?n=1");
    let mut tags = Vec::new();
    loop {
        let page = server.get(&target).await;
        let listed = page.json()["tags"].as_array().expect("tags").clone();
        assert!(listed.len() <= 1, "{target}");
        tags.extend(listed);
        match page.header("link").and_then(oci::headers::next_link) {
            Some(next) => next.clone_into(&mut target),
            None => return tags,
        }
    }
}
