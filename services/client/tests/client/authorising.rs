//! Credentials and tokens: who gets them, and who never does.

use crate::{assert_error, options, repository_of, run, tag};
use base64::Engine;
use client::{Client, ExitCode, Options, Settings, Tls};
use oci::media_type;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};
use testkit::{FaultServer, Reply, fault::Seen};

const INDEX: (&str, &str) = ("Content-Type", media_type::OCI_INDEX);
const EMPTY_INDEX: &str = r#"{"schemaVersion":2,"manifests":[]}"#;

fn found() -> Reply {
    Reply::new(200, &[INDEX], EMPTY_INDEX)
}

/// A client that knows a user's password for a registry, as `docker login` leaves it.
fn logged_in(folder: &Path, host: &str) -> Options {
    let auth = base64::engine::general_purpose::STANDARD.encode("user:hunter2");
    let config = serde_json::json!({"auths": {host: {"auth": auth}}});
    std::fs::write(folder.join("config.json"), config.to_string()).expect("written");
    Options {
        docker_config: Some(folder.to_owned()),
        ..options()
    }
}

fn asks_for_token(seen: &Seen, realm: &str, scope: &str) -> Reply {
    let challenge = format!("Bearer realm=\"{realm}\",service=\"reg\",scope=\"{scope}\"");
    assert!(!seen.path.contains("token"), "a token is not a request");
    Reply::new(
        401,
        &[("WWW-Authenticate", &challenge)],
        r#"{"errors":[{"code":"UNAUTHORIZED","message":"who?"}]}"#,
    )
}

#[test]
fn basic_credentials_are_sent_once_they_are_asked_for() {
    let server = FaultServer::start(|seen| match seen.header("Authorization") {
        Some("Basic dXNlcjpodW50ZXIy") => found(),
        Some(_) => Reply::new(403, &[], ""),
        None => Reply::new(401, &[("WWW-Authenticate", "Basic realm=\"r\"")], ""),
    });
    let folder = tempfile::tempdir().expect("a folder");
    run(async {
        let client = Client::new(logged_in(folder.path(), &server.host())).expect("a client");
        let repository = repository_of(&client, &server.host(), "a/b");
        for _ in 0..2 {
            repository.get_manifest(&tag("latest")).await.expect("let in");
        }
    });
    assert_eq!(server.requests().len(), 3, "the challenge is remembered");
}

#[test]
fn without_or_with_wrong_credentials_the_answer_is_told() {
    let server = FaultServer::start(|_| Reply::new(401, &[("WWW-Authenticate", "Basic realm=\"r\"")], ""));
    let folder = tempfile::tempdir().expect("a folder");
    for options in [options(), logged_in(folder.path(), &server.host())] {
        let error = run(async {
            let client = Client::new(options).expect("a client");
            let repository = repository_of(&client, &server.host(), "a/b");
            repository
                .get_manifest(&tag("latest"))
                .await
                .expect_err("not let in")
        });
        assert_error(&error, ExitCode::NotAuthorised, &["401", "docker login"]);
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    assert_eq!(server.requests().len(), 3);
}

/// A registry with its own token server; tokens end after `expires_in` uses of the registry.
fn token_registry(password: Option<&'static str>) -> FaultServer {
    let valid = Arc::new(AtomicU32::new(0));
    FaultServer::start(move |seen| {
        if let Some(query) = seen.path.strip_prefix("/token?") {
            let refused = password.is_some_and(|p| seen.header("Authorization") != Some(p));
            if refused {
                return Reply::new(
                    401,
                    &[],
                    r#"{"errors":[{"code":"UNAUTHORIZED","message":"wrong password"}]}"#,
                );
            }
            let number = valid.fetch_add(1, Ordering::SeqCst) + 1;
            let body = serde_json::json!({"token": format!("t{number}-{}", query.contains("push")), "expires_in": 300});
            return Reply::new(200, &[], body.to_string());
        }
        let host = seen.header("Host").expect("a host");
        let newest = valid.load(Ordering::SeqCst);
        let push = seen.method == "PUT";
        let expected = format!("Bearer t{newest}-");
        match seen.header("Authorization") {
            Some(token) if token.starts_with(&expected) && (!push || token.ends_with("true")) => match push {
                true => Reply::new(201, &[], ""),
                false => found(),
            },
            _ => {
                let action = if push { "pull,push" } else { "pull" };
                asks_for_token(
                    seen,
                    &format!("http://{host}/token"),
                    &format!("repository:a/b:{action}"),
                )
            }
        }
    })
}

#[test]
fn tokens_are_kept_for_each_scope_and_refreshed_when_they_are_refused() {
    let server = token_registry(None);
    run(async {
        let client = Client::new(options()).expect("a client");
        let repository = repository_of(&client, &server.host(), "a/b");
        let manifest = client::Manifest::new(media_type::OCI_INDEX, EMPTY_INDEX);
        for _ in 0..2 {
            repository.get_manifest(&tag("latest")).await.expect("let in");
        }
        // A new scope makes a new token, which makes the old one stale here: it is fetched again.
        repository
            .put_manifest(&tag("x"), &manifest, &client::Condition::Always)
            .await
            .expect("let in");
        repository.get_manifest(&tag("latest")).await.expect("let in");
    });
    let tokens: Vec<String> = server
        .lines()
        .into_iter()
        .filter(|l| l.contains("/token?"))
        .collect();
    assert_eq!(tokens.len(), 3, "{tokens:?}");
    assert_eq!(
        tokens[0],
        "GET /token?service=reg&scope=repository%3Aa%2Fb%3Apull"
    );
    assert_eq!(
        tokens[1],
        "GET /token?service=reg&scope=repository%3Aa%2Fb%3Apull%2Cpush"
    );
}

#[test]
fn the_password_goes_to_the_token_server_alone_and_into_no_recording() {
    let server = token_registry(Some("Basic dXNlcjpodW50ZXIy"));
    let folder = tempfile::tempdir().expect("a folder");
    let har = folder.path().join("x.har");
    run(async {
        let options = Options {
            har: Some(har.clone()),
            ..logged_in(folder.path(), &server.host())
        };
        let client = Client::new(options).expect("a client");
        let repository = repository_of(&client, &server.host(), "a/b");
        repository.get_manifest(&tag("latest")).await.expect("let in");
    });
    for seen in server.requests() {
        let basic = seen
            .header("Authorization")
            .is_some_and(|a| a.starts_with("Basic"));
        assert_eq!(basic, seen.path.starts_with("/token"), "{seen:?}");
    }
    let recorded = std::fs::read_to_string(&har).expect("written when the client is dropped");
    for secret in ["dXNlcjpodW50ZXIy", "hunter2", "t1-"] {
        assert!(!recorded.contains(secret), "{secret} in {recorded}");
    }
    assert!(recorded.contains("[removed]"));
}

/// The error of a pull from a registry whose token server answers so.
fn error_after(token: Reply) -> client::Error {
    let server = FaultServer::start(move |seen| match seen.path.starts_with("/token") {
        true => token.clone(),
        false => {
            let host = seen.header("Host").expect("a host");
            asks_for_token(seen, &format!("http://{host}/token"), "repository:a/b:pull")
        }
    });
    run(async {
        let client = Client::new(options()).expect("a client");
        let repository = repository_of(&client, &server.host(), "a/b");
        repository
            .get_manifest(&tag("latest"))
            .await
            .expect_err("no token")
    })
}

#[test]
fn a_token_server_that_refuses_or_talks_nonsense_is_told() {
    for (reply, text) in [
        (
            Reply::new(
                401,
                &[],
                r#"{"errors":[{"code":"X","message":"wrong password"}]}"#,
            ),
            "wrong password",
        ),
        (Reply::new(200, &[], "{}"), "neither token nor access_token"),
        (Reply::new(200, &[], "<html>"), "no JSON"),
        (
            Reply::new(200, &[], "{\"token\":\"a\\r\\nX: y\"}"),
            "no header can carry",
        ),
        (
            Reply::new(302, &[("Location", "http://127.0.0.1:1/")], ""),
            "credentials do not follow",
        ),
    ] {
        let error = error_after(reply);
        assert_error(&error, ExitCode::NotAuthorised, &[text, "/token"]);
    }
}

#[test]
fn a_token_without_an_end_is_ended() {
    let error = error_after(Reply::endless(200, &[]));
    let limit = "larger than 1048576 bytes, which is the limit for a token";
    assert_error(&error, ExitCode::Failed, &["/token", limit]);
}

#[test]
fn credentials_do_not_follow_a_redirect_to_another_host() {
    let storage = FaultServer::start(|seen| {
        assert_eq!(seen.header("Authorization"), None);
        found()
    });
    let target = format!("{}/content?X-Amz-Signature=s3cr3t", storage.url());
    let server = FaultServer::start(move |seen| match seen.header("Authorization") {
        Some(_) => Reply::new(307, &[("Location", &target)], ""),
        None => Reply::new(401, &[("WWW-Authenticate", "Basic realm=\"r\"")], ""),
    });
    let folder = tempfile::tempdir().expect("a folder");
    let har = folder.path().join("x.har");
    run(async {
        let options = Options {
            har: Some(har.clone()),
            ..logged_in(folder.path(), &server.host())
        };
        let client = Client::new(options).expect("a client");
        repository_of(&client, &server.host(), "a/b")
            .get_manifest(&tag("latest"))
            .await
            .expect("found");
    });
    let seen = storage.requests();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].header("Authorization"), None);
    let recorded = std::fs::read_to_string(&har).expect("a file");
    assert!(!recorded.contains("s3cr3t"), "{recorded}");
}

#[test]
fn credentials_are_not_sent_over_plain_http_unless_that_was_set() {
    // The name is led to the server; by itself it would be another machine.
    let name = "registry.example:5000";
    let server = FaultServer::start(|seen| match seen.header("Authorization") {
        Some(_) => found(),
        None => Reply::new(
            401,
            &[("WWW-Authenticate", "Bearer realm=\"http://tokens.example/token\"")],
            "",
        ),
    });
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = Settings::default();
    settings
        .set(name, Some(Tls::Disabled), Some(&server.host()))
        .expect("set");
    let error = run(async {
        let options = Options {
            settings,
            ..logged_in(folder.path(), name)
        };
        let client = Client::new(options).expect("a client");
        repository_of(&client, name, "a/b")
            .get_manifest(&tag("latest"))
            .await
            .expect_err("not safe")
    });
    assert_error(
        &error,
        ExitCode::NotAuthorised,
        &["tokens.example", "plain http", "not sent"],
    );
}

/// A registry that gives tokens to everybody, each good for so many seconds, and wants one for everything.
fn anonymous(expires_in: u64) -> FaultServer {
    FaultServer::start(move |seen| {
        if seen.path.starts_with("/token?") {
            let body = serde_json::json!({"token": "anybody", "expires_in": expires_in});
            return Reply::new(200, &[], body.to_string());
        }
        match seen.header("Authorization") {
            Some("Bearer anybody") => found(),
            _ => {
                let host = seen.header("Host").expect("a host");
                asks_for_token(seen, &format!("http://{host}/token"), "repository:a/b:pull")
            }
        }
    })
}

#[test]
fn nobody_gets_a_token_without_a_password_and_asks_for_it_once() {
    let server = anonymous(300);
    run(async {
        let client = Client::new(options()).expect("a client");
        let repository = repository_of(&client, &server.host(), "a/b");
        // Several at once, as a copy asks.
        let latest = tag("latest");
        let asking = (0..4).map(|_| repository.get_manifest(&latest));
        for answer in futures_util::future::join_all(asking).await {
            answer.expect("let in");
        }
        repository.get_manifest(&tag("latest")).await.expect("let in");
    });
    let tokens: Vec<Seen> = server
        .requests()
        .into_iter()
        .filter(|seen| seen.path.starts_with("/token"))
        .collect();
    assert_eq!(tokens.len(), 1, "{tokens:?}");
    assert_eq!(tokens[0].header("Authorization"), None);
    assert!(!tokens[0].path.contains("account="), "{}", tokens[0].path);
}

#[test]
fn a_token_that_has_run_out_is_not_sent_again() {
    let server = anonymous(0);
    run(async {
        let client = Client::new(options()).expect("a client");
        let repository = repository_of(&client, &server.host(), "a/b");
        for _ in 0..3 {
            repository.get_manifest(&tag("latest")).await.expect("let in");
        }
    });
    let lines = server.lines();
    let tokens = lines.iter().filter(|line| line.contains("/token?")).count();
    let pulls = lines.len() - tokens;
    assert_eq!(
        (tokens, pulls),
        (3, 4),
        "one challenge, and no request with an old token: {lines:?}"
    );
}

#[test]
fn a_mount_that_nobody_may_make_becomes_an_upload() {
    // The token server grants no token for two repositories at once, or the registry does not take it.
    for at_the_registry in [true, false] {
        let server = FaultServer::start(move |seen| {
            let host = seen.header("Host").expect("a host");
            let challenge = |scope: &str| asks_for_token(seen, &format!("http://{host}/token"), scope);
            let for_two = |path: &str| path.contains("other%2Fapp");
            match (seen.method.as_str(), seen.header("Authorization")) {
                ("GET", _) if seen.path.starts_with("/token") && for_two(&seen.path) && !at_the_registry => {
                    Reply::new(403, &[], "not both")
                }
                ("GET", _) if seen.path.starts_with("/token") => Reply::new(200, &[], r#"{"token":"t"}"#),
                (_, None) => challenge("repository:a/b:pull,push"),
                ("POST", Some(_)) if seen.path.contains("mount=") && at_the_registry => {
                    challenge("repository:a/b:pull,push repository:other/app:pull")
                }
                ("HEAD", _) => Reply::head(404, &[], 0),
                ("POST", _) => Reply::new(202, &[("Location", "/v2/a/b/blobs/uploads/1")], ""),
                _ => Reply::new(201, &[], ""),
            }
        });
        let outcome = run(async {
            let client = Client::new(options()).expect("a client");
            let repository = repository_of(&client, &server.host(), "a/b");
            let content = bytes::Bytes::from_static(b"hello");
            let blob = oci::Descriptor::of("x/y", &content);
            let from = oci::RepositoryName::parse("other/app").expect("a name");
            repository
                .mount_blob(&blob, &from, &content)
                .await
                .expect("uploaded")
        });
        assert_eq!(outcome, client::progress::BlobOutcome::Copied);
        let lines = server.lines();
        assert!(
            lines
                .iter()
                .any(|line| line.contains("&scope=repository%3Aother%2Fapp%3Apull")),
            "{lines:?}"
        );
    }
}

#[test]
fn an_identity_token_is_exchanged_by_post() {
    let server = FaultServer::start(|seen| {
        if seen.path == "/token" {
            let body = String::from_utf8(seen.body.clone()).expect("a form");
            assert!(
                body.contains("grant_type=refresh_token") && body.contains("refresh_token=it"),
                "{body}"
            );
            return Reply::new(200, &[], r#"{"access_token":"fresh"}"#);
        }
        match seen.header("Authorization") {
            Some("Bearer fresh") => found(),
            _ => {
                let host = seen.header("Host").expect("a host");
                asks_for_token(seen, &format!("http://{host}/token"), "repository:a/b:pull")
            }
        }
    });
    let folder = tempfile::tempdir().expect("a folder");
    let config = serde_json::json!({"auths": {server.host(): {"identitytoken": "it"}}});
    std::fs::write(folder.path().join("config.json"), config.to_string()).expect("written");
    run(async {
        let options = Options {
            docker_config: Some(folder.path().to_owned()),
            ..options()
        };
        let client = Client::new(options).expect("a client");
        repository_of(&client, &server.host(), "a/b")
            .get_manifest(&tag("latest"))
            .await
            .expect("let in");
    });
}
