//! Registries that lie: each lie is a clear error of its own, in bounded time and memory.

use crate::{assert_error, client, location, repository, run, tag};
use client::{CopyOptions, Error, ExitCode, copy, referrers::ApiAnswer, referrers::Support};
use oci::{Descriptor, Digest, ManifestRef, media_type};
use serde_json::json;
use testkit::{FaultServer, Image, Registry, Reply, fault::Seen};

const EMPTY_INDEX: &str =
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
const INDEX: (&str, &str) = ("Content-Type", media_type::OCI_INDEX);
const HTML: (&str, &str) = ("Content-Type", "text/html; charset=utf-8");

fn serving(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> FaultServer {
    FaultServer::start(script)
}

fn get(server: &FaultServer, target: &ManifestRef) -> Error {
    run(async {
        repository(&server.host(), "a/b")
            .get_manifest(target)
            .await
            .expect_err("a lie")
    })
}

fn endless() -> Reply {
    Reply::endless(200, &[INDEX])
}

#[test]
fn lies_about_a_manifest_are_told_apart() {
    let other = Digest::sha256(b"something else");
    let other_text = other.to_string();
    let claims_other = other_text.clone();
    let by_digest = ManifestRef::Digest(other);
    type Case<'a> = (FaultServer, &'a ManifestRef, ExitCode, Vec<&'a str>);
    let latest = tag("latest");
    let cases: Vec<Case<'_>> = vec![
        (
            serving(|_| Reply::new(200, &[INDEX], EMPTY_INDEX)),
            &by_digest,
            ExitCode::Failed,
            vec!["wrong content", &other_text],
        ),
        (
            serving(move |_| {
                Reply::new(
                    200,
                    &[INDEX, ("Docker-Content-Digest", &claims_other)],
                    EMPTY_INDEX,
                )
            }),
            &latest,
            ExitCode::Failed,
            vec!["wrong content", &other_text],
        ),
        (
            serving(|_| Reply::new(200, &[HTML], "<html>")),
            &latest,
            ExitCode::Failed,
            vec!["text/html", "is this a registry"],
        ),
        (
            serving(|_| endless()),
            &latest,
            ExitCode::Failed,
            vec!["larger than 4194304 bytes"],
        ),
        (
            serving(|_| {
                Reply::BytesThenClose(
                    format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nContent-Length: 104857600\r\n\r\n",
                        media_type::OCI_INDEX
                    )
                    .into_bytes(),
                )
            }),
            &latest,
            ExitCode::Failed,
            vec!["larger than 4194304 bytes"],
        ),
        (
            serving(|_| {
                Reply::BytesThenClose(
                    format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nContent-Length: 99\r\n\r\n{{",
                        media_type::OCI_INDEX
                    )
                    .into_bytes(),
                )
            }),
            &latest,
            ExitCode::Failed,
            vec!["expected 99 bytes, received 1"],
        ),
        (
            serving(|_| Reply::Bytes(b"\xff\xfe not http\r\n\r\n".to_vec())),
            &latest,
            ExitCode::Failed,
            vec!["not HTTP"],
        ),
        (
            serving(|_| {
                Reply::new(
                    200,
                    &[INDEX, ("Docker-Content-Digest", "sha256:xyz")],
                    EMPTY_INDEX,
                )
            }),
            &latest,
            ExitCode::Failed,
            vec!["Docker-Content-Digest", "sha256:xyz"],
        ),
        (
            serving(|_| Reply::new(302, &[("Location", "/v2/a/b/manifests/latest")], "")),
            &latest,
            ExitCode::Failed,
            vec!["in a loop"],
        ),
        (
            serving(|seen| Reply::new(307, &[("Location", &format!("{}x", seen.path))], "")),
            &latest,
            ExitCode::Failed,
            vec!["more than 8 times"],
        ),
        (
            serving(|_| Reply::new(302, &[], "")),
            &latest,
            ExitCode::Failed,
            vec!["no Location"],
        ),
        (
            serving(|_| Reply::new(302, &[("Location", "file:///etc/passwd")], "")),
            &latest,
            ExitCode::Failed,
            vec!["no http URL"],
        ),
        (
            serving(|_| Reply::new(403, &[], r#"{"errors":[{"code":"DENIED","message":"no"}]}"#)),
            &latest,
            ExitCode::NotAuthorised,
            vec!["403 DENIED: no"],
        ),
        (
            serving(|_| Reply::new(404, &[], "\x1b[31mnot here")),
            &latest,
            ExitCode::NotFound,
            vec!["404", "latest", "not found"],
        ),
        (
            serving(|_| Reply::new(400, &[], vec![0xff; 100])),
            &latest,
            ExitCode::Refused,
            vec!["400"],
        ),
        (
            serving(|_| Reply::endless(404, &[])),
            &latest,
            ExitCode::NotFound,
            vec!["404"],
        ),
    ];
    for (server, target, code, texts) in cases {
        let error = get(&server, target);
        assert_error(&error, code, &texts);
        assert_error(&error, code, &["GET", "/v2/a/b/manifests/"]);
        assert!(!error.to_string().contains('\x1b'), "{error}");
    }
}

#[test]
fn lies_about_a_blob_end_the_download() {
    let blob = Descriptor::of("x/y", b"hello world\n");
    let cases = [
        (
            serving(|_| Reply::new(200, &[], "Hello world\n")),
            "wrong content",
        ),
        (
            serving(|_| Reply::new(200, &[], "hello")),
            "expected 12 bytes, received 5",
        ),
        (serving(|_| Reply::endless(200, &[])), "expected 12 bytes"),
        (
            serving(|_| Reply::BytesThenClose(b"HTTP/1.0 200 OK\r\n\r\nhello".to_vec())),
            "expected 12 bytes, received 5",
        ),
        (
            serving(|seen| match seen.header("Range") {
                None => Reply::BytesThenClose(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nhello".to_vec()),
                Some(_) => Reply::new(206, &[("Content-Range", "bytes 0-11/12")], "hello world\n"),
            }),
            "asked for bytes from 5",
        ),
    ];
    for (server, text) in cases {
        let error = run(async {
            let repository = repository(&server.host(), "a/b");
            repository
                .get_blob_bytes(&blob, u64::MAX)
                .await
                .expect_err("a lie")
        });
        assert_error(&error, ExitCode::Failed, &[text, "GET", &blob.digest.to_string()]);
    }
}

#[test]
fn lists_without_an_end_are_ended() {
    let looping = serving(|seen| {
        let link = format!("<{}>; rel=\"next\"", seen.path);
        let index = seen.path.contains("referrers");
        match index {
            true => Reply::new(200, &[INDEX, ("Link", &link)], EMPTY_INDEX),
            false => Reply::new(
                200,
                &[("Content-Type", "application/json"), ("Link", &link)],
                r#"{"tags":["a"]}"#,
            ),
        }
    });
    run(async {
        let repository = repository(&looping.host(), "a/b");
        let error = repository.tags().await.expect_err("a loop");
        assert_error(&error, ExitCode::Failed, &["does not end", "back to"]);
        let error = repository
            .referrers(&Digest::sha256(b"x"), None)
            .await
            .expect_err("a loop");
        assert_error(&error, ExitCode::Failed, &["does not end", "back to"]);
    });
    assert_eq!(looping.requests().len(), 2);

    let growing = serving(|seen| {
        let n: u32 = seen
            .path
            .rsplit('=')
            .next()
            .and_then(|n| n.parse().ok())
            .unwrap_or(0);
        let link = format!("</v2/a/b/tags/list?n={}>; rel=\"next\"", n + 1);
        Reply::new(200, &[("Link", &link)], r#"{"tags":["a"]}"#)
    });
    let error = run(async {
        repository(&growing.host(), "a/b")
            .tags()
            .await
            .expect_err("no end")
    });
    assert_error(&error, ExitCode::Failed, &["more than 5000 pages"]);
}

#[test]
fn a_list_that_is_none_is_told() {
    for (reply, text) in [
        (Reply::new(200, &[HTML], "<html></html>"), "text/html"),
        (Reply::new(200, &[], r#"{"tags":"#), "cannot be read"),
        (Reply::new(200, &[], [b'"', 0xff, b'"']), "cannot be read"),
        (Reply::new(200, &[], "[1]"), "cannot be read"),
    ] {
        let server = serving(move |_| reply.clone());
        let error = run(async {
            repository(&server.host(), "a/b")
                .tags()
                .await
                .expect_err("no list")
        });
        assert_error(&error, ExitCode::Failed, &[text, "tags/list"]);
    }
}

#[test]
fn a_200_that_is_no_index_is_told_and_taken_as_missing() {
    for (headers, body, found) in [
        (vec![HTML], "<!DOCTYPE html>", "an HTML page"),
        (vec![], "", "an empty body"),
        (
            vec![("Content-Type", "application/json")],
            "{}",
            "application/json",
        ),
        (vec![INDEX], "{}", "JSON without a list"),
    ] {
        let server = serving(move |_| Reply::new(200, &headers, body));
        run(async {
            let repository = repository(&server.host(), "a/b");
            match repository
                .referrers(&Digest::sha256(b"x"), None)
                .await
                .expect("no failure")
            {
                ApiAnswer::NotAnIndex(why) => assert!(why.found.contains(found), "{why:?}"),
                other => panic!("{other:?}"),
            }
            let support = repository
                .referrers_support(&Digest::sha256(b"x"))
                .await
                .expect("no failure");
            assert!(matches!(support, Support::NotAnIndex(_)), "{support:?}");
        });
        assert_eq!(server.requests().len(), 2, "asked once, on both paths");
    }
}

#[test]
fn only_a_404_on_both_paths_means_that_the_api_is_missing() {
    for (status, code) in [
        (400, ExitCode::Refused),
        (401, ExitCode::NotAuthorised),
        (403, ExitCode::NotAuthorised),
        (405, ExitCode::Unsupported),
        (429, ExitCode::Refused),
        (500, ExitCode::Failed),
        (503, ExitCode::Unreachable),
    ] {
        let server = serving(move |seen| match seen.path.contains("_oci") {
            true => Reply::new(404, &[], ""),
            false => Reply::new(status, &[], ""),
        });
        let error = run(async {
            let repository = repository(&server.host(), "a/b");
            repository
                .referrers(&Digest::sha256(b"x"), None)
                .await
                .expect_err("a failure")
        });
        assert_error(&error, code, &[&status.to_string(), "/referrers/sha256:"]);
    }
    let second = serving(|seen| match seen.path.contains("_oci") {
        true => Reply::new(404, &[], ""),
        false => Reply::new(200, &[INDEX], EMPTY_INDEX),
    });
    let answer = run(async {
        let repository = repository(&second.host(), "a/b");
        repository
            .referrers(&Digest::sha256(b"x"), None)
            .await
            .expect("an answer")
    });
    assert!(answer.is_supported());
}

#[test]
fn a_list_is_filtered_here_if_the_registry_did_not() {
    let entry = |kind: &str| {
        let mut entry = Descriptor::of(media_type::OCI_MANIFEST, kind.as_bytes());
        entry.artifact_type = Some(kind.to_owned());
        entry
    };
    let body =
        json!({"schemaVersion": 2, "manifests": [entry("t/a"), entry("t/b"), entry("t/a")]}).to_string();
    let server = serving(move |_| Reply::new(200, &[INDEX], &body));
    run(async {
        let repository = repository(&server.host(), "a/b");
        let Ok(ApiAnswer::Listed(listing)) = repository.referrers(&Digest::sha256(b"x"), Some("t/a")).await
        else {
            panic!("a list")
        };
        assert_eq!(listing.entries, [entry("t/a")]);
        assert_eq!(listing.index["manifests"], json!([entry("t/a")]));
        assert!(!listing.filter_applied);
    });
    assert!(
        server.lines()[0].ends_with("&artifactType=t%2Fa"),
        "{:?}",
        server.lines()
    );
}

#[test]
fn an_index_that_claims_to_list_itself_ends_the_copy_before_anything_is_written() {
    // It is served under whatever digest it is asked by, so it seems to contain itself.
    let inner = Digest::sha256(b"itself");
    let body = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX,
        "manifests": [{"mediaType": media_type::OCI_INDEX, "size": 1, "digest": inner}]})
    .to_string();
    let server = serving(move |_| Reply::new(200, &[INDEX], &body));
    let to = Registry::current();
    run(async {
        let source = location(&format!("{}/a/b", server.host()));
        let target = location(&format!("{}/copied/app", to.host()));
        let error = copy(&client(), &source, &target, &CopyOptions::default())
            .await
            .expect_err("a lie");
        assert_error(&error, ExitCode::Failed, &[&inner.to_string()]);
        let tags = repository(&to.host(), "copied/app").tags().await;
        assert!(tags.is_err() || tags.is_ok_and(|tags| tags.is_empty()));
    });
}

#[test]
fn references_that_list_each_other_are_copied_once() {
    let from = Registry::current();
    let image = Image::push(&from, "a/b");
    // By hand: the list of the image's references holds the image itself.
    let entry = image.descriptor();
    image.put_digest_tag(&from, &[entry]);
    let to = Registry::current();
    run(async {
        let source = location(&format!("{}/a/b", from.host()));
        let target = location(&format!("{}/copied/app", to.host()));
        let options = CopyOptions {
            referrers: true,
            ..CopyOptions::default()
        };
        let copied = copy(&client(), &source, &target, &options).await.expect("copied");
        assert_eq!(copied.root.digest, image.index);
    });
}

#[test]
fn an_upload_that_answers_nonsense_is_told() {
    let blob = Descriptor::of("x/y", b"hello");
    for (reply, text) in [
        (Reply::new(202, &[], ""), "no Location"),
        (Reply::new(200, &[], "fine"), "expected 202"),
        (
            Reply::new(202, &[("Location", "http://[::bad/")], ""),
            "is no URL",
        ),
    ] {
        let server = serving(move |seen| match seen.method.as_str() {
            "HEAD" => Reply::head(404, &[], 0),
            _ => reply.clone(),
        });
        let error = run(async {
            let repository = repository(&server.host(), "a/b");
            let source = bytes::Bytes::from_static(b"hello");
            repository.put_blob(&blob, &source).await.expect_err("nonsense")
        });
        assert_error(&error, ExitCode::Failed, &[text, "POST"]);
    }
}

#[test]
fn a_refusal_tells_code_and_message() {
    let server = serving(|_| {
        Reply::new(
            400,
            &[],
            r#"{"errors":[{"code":"MANIFEST_INVALID","message":"manifest invalid","detail":{}}]}"#,
        )
    });
    let error = run(async {
        let repository = repository(&server.host(), "a/b");
        let manifest = client::Manifest::new(media_type::OCI_ARTIFACT, "{}");
        let target = ManifestRef::Digest(manifest.digest);
        repository
            .put_manifest(&target, &manifest, &client::Condition::Always)
            .await
            .expect_err("refused")
    });
    assert_error(
        &error,
        ExitCode::Refused,
        &["PUT", "400 MANIFEST_INVALID: manifest invalid"],
    );
    assert_eq!(
        error.answer().and_then(|a| a.code.as_deref()),
        Some("MANIFEST_INVALID")
    );
}

#[test]
fn an_answer_without_a_length_is_an_error_and_no_empty_body() {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nConnection: close\r\n\r\n",
        media_type::OCI_INDEX
    );
    let answer = format!("{head}{EMPTY_INDEX}");
    let server = serving(move |_| Reply::BytesThenClose(answer.clone().into_bytes()));
    assert_error(
        &get(&server, &tag("latest")),
        ExitCode::Failed,
        &["has no length"],
    );
    run(async {
        let repository = repository(&server.host(), "a/b");
        let subject = Digest::sha256(b"subject");
        let error = repository.referrers(&subject, None).await.expect_err("no list");
        assert_error(&error, ExitCode::Failed, &["has no length", "referrers"]);
        let blob = Descriptor::of("a/b", EMPTY_INDEX.as_bytes());
        let error = repository.get_blob_bytes(&blob, 1000).await.expect_err("no blob");
        assert_error(&error, ExitCode::Failed, &["has no length"]);
    });
}
