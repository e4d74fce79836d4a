//! Proxies: https through a tunnel, http by its whole URL, and whoever is near without one.

use crate::{assert_error, options, repository_of, run, tag};
use client::{Client, Error, ExitCode, Options, Proxies, Settings, Tls};
use oci::media_type;
use rcgen::{CertificateParams, KeyPair};
use testkit::{Certificate, FaultServer, Image, Registry, Relay, Reply};

const EMPTY_INDEX: &str =
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;

/// A host that no resolver knows: only a proxy can lead there.
const ELSEWHERE: &str = "registry.invalid:5000";

fn through(proxy: &str, no_proxy: &str) -> Proxies {
    Proxies::read(|name| match name {
        "HTTP_PROXY" | "HTTPS_PROXY" => Some(proxy.to_owned()),
        "NO_PROXY" => Some(no_proxy.to_owned()),
        _ => None,
    })
}

fn pull(host: &str, options: Options) -> Result<(), Error> {
    run(async {
        let client = Client::new(options).expect("a client");
        let repository = repository_of(&client, host, "app");
        repository.get_manifest(&tag("latest")).await.map(|_| ())
    })
}

/// A registry with an image and with TLS, for the name that no resolver knows, and options that trust it.
fn encrypted(folder: &std::path::Path) -> (Registry, Options) {
    let mut registry = Registry::current();
    Image::push(&registry, "app");
    let params = CertificateParams::new(vec!["registry.invalid".to_owned()]).expect("parameters");
    let pair = KeyPair::generate().expect("a key");
    let files = Certificate::in_folder(folder);
    let certificate = params.self_signed(&pair).expect("a certificate");
    std::fs::write(&files.certificate, certificate.pem()).expect("a file");
    std::fs::write(&files.key, pair.serialize_pem()).expect("a file");
    let mut config = registry.config().clone();
    config.http.tls = Some(files.settings());
    registry.restart_as(config);
    let trusting = Options {
        ca_certs: vec![files.certificate],
        ..options()
    };
    (registry, trusting)
}

#[test]
fn https_goes_through_a_tunnel_of_the_proxy() {
    let folder = tempfile::tempdir().expect("a folder");
    let (registry, trusting) = encrypted(folder.path());
    let proxy = Relay::proxy(registry.address(), None);
    let options = Options {
        proxies: through(&proxy.host(), ""),
        ..trusting
    };
    pull(ELSEWHERE, options).expect("pulled");
    let heads = proxy.heads();
    assert!(
        heads[0].starts_with("CONNECT registry.invalid:5000 HTTP/1.1\r\nHost: registry.invalid:5000\r\n"),
        "{heads:?}"
    );
    assert!(!heads[0].contains("uthorization"), "{heads:?}");
}

#[test]
fn a_proxy_gets_its_password_in_the_tunnels_request_and_says_when_it_wants_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let (registry, trusting) = encrypted(folder.path());
    // "user:hunter2"
    let proxy = Relay::proxy(registry.address(), Some("Basic dXNlcjpodW50ZXIy"));
    let with = |proxy: String| Options {
        proxies: through(&proxy, ""),
        ..trusting.clone()
    };
    pull(ELSEWHERE, with(format!("http://user:hunter2@{}", proxy.host()))).expect("pulled");
    let error = pull(ELSEWHERE, with(format!("http://user:wrong@{}", proxy.host()))).expect_err("refused");
    assert_error(
        &error,
        ExitCode::NotAuthorised,
        &[
            "GET https://registry.invalid:5000/",
            "407",
            &proxy.host(),
            "HTTPS_PROXY",
            "USER:PASSWORD",
        ],
    );
    assert!(!error.to_string().contains("wrong"), "{error}");
}

#[test]
fn http_is_asked_of_the_proxy_by_its_whole_url() {
    let proxy =
        FaultServer::start(|_| Reply::new(200, &[("Content-Type", media_type::OCI_INDEX)], EMPTY_INDEX));
    let mut settings = Settings::default();
    settings.set(ELSEWHERE, Some(Tls::Disabled), None).expect("set");
    let folder = tempfile::tempdir().expect("a folder");
    let har = folder.path().join("out.har");
    let options = Options {
        settings,
        har: Some(har.clone()),
        proxies: through(&format!("http://user:hunter2@{}", proxy.host()), ""),
        ..options()
    };
    pull(ELSEWHERE, options).expect("pulled");
    let request = &proxy.requests()[0];
    assert_eq!(
        request.path,
        "http://registry.invalid:5000/v2/app/manifests/latest"
    );
    assert_eq!(request.header("host"), Some("registry.invalid:5000"));
    assert_eq!(
        request.header("proxy-authorization"),
        Some("Basic dXNlcjpodW50ZXIy")
    );
    let recorded = std::fs::read_to_string(har).expect("a recording");
    assert!(recorded.contains("registry.invalid") && !recorded.contains("dXNlcjpodW50ZXIy"));
}

#[test]
fn loopback_and_whoever_no_proxy_names_are_reached_without_the_proxy() {
    let registry = Registry::current();
    Image::push(&registry, "app");
    let proxy = FaultServer::start(|_| Reply::new(502, &[], "not this way"));
    let options = Options {
        proxies: through(&proxy.url(), "registry.invalid"),
        attempts: 1,
        ..options()
    };
    pull(&registry.host(), options.clone()).expect("pulled");
    let error = pull(ELSEWHERE, options).expect_err("nobody resolves it");
    assert_error(&error, ExitCode::Unreachable, &["cannot be resolved"]);
    assert_eq!(proxy.requests().len(), 0);
}

#[test]
fn a_proxy_that_refuses_lies_or_is_down_is_named() {
    let gone = FaultServer::start(|_| Reply::Close).host();
    let refusing = FaultServer::start(|_| Reply::new(403, &[], "no tunnels to strangers"));
    let talking = FaultServer::start(|_| Reply::Bytes(b"220 mail.example ESMTP\r\n\r\n".to_vec()));
    let endless = FaultServer::start(|_| Reply::Endless {
        head: b"HTTP/1.1 200 OK\r\n".to_vec(),
        piece: b"X-More: and more\r\n".to_vec(),
    });
    for (proxy, told) in [
        (gone, "refused"),
        (refusing.host(), "403"),
        (talking.host(), "does not speak HTTP"),
        (endless.host(), "larger than"),
    ] {
        let options = Options {
            proxies: through(&proxy, ""),
            ..options()
        };
        let error = pull(ELSEWHERE, options).expect_err(told);
        assert_error(
            &error,
            ExitCode::Unreachable,
            &[told, &proxy, "HTTPS_PROXY", "GET https://"],
        );
    }
}
