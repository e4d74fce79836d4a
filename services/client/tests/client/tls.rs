//! Certificates: trusted, private, expired, for another name.

use crate::{assert_error, options, repository_of, run};
use client::{Client, Error, ExitCode, Options, Settings, Tls};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use std::path::Path;
use testkit::{Certificate, Registry, Relay};

fn start(folder: &Path) -> (Registry, Certificate) {
    let certificate = Certificate::in_folder(folder);
    let mut config = Registry::current().config().clone();
    config.http.tls = Some(certificate.settings());
    (Registry::start(config), certificate)
}

fn ping(host: &str, tls: Tls, options: Options) -> Result<(), Error> {
    let mut settings = Settings::default();
    settings.set(host, Some(tls), None).expect("set");
    run(async {
        let client = Client::new(Options { settings, ..options }).expect("a client");
        repository_of(&client, host, "a/b").registry().ping().await
    })
}

#[test]
fn a_private_certificate_needs_its_authority_or_no_check() {
    let folder = tempfile::tempdir().expect("a folder");
    let (registry, certificate) = start(folder.path());
    let host = registry.host();
    let trusting = || Options {
        ca_certs: vec![certificate.certificate.clone()],
        ..options()
    };
    let error = ping(&host, Tls::Enabled, options()).expect_err("unknown");
    assert_error(&error, ExitCode::Unreachable, &["TLS failed", "--ca-cert"]);
    ping(&host, Tls::Enabled, trusting()).expect("trusted");
    ping(&host, Tls::Insecure, options()).expect("not checked");
    ping(
        &host,
        Tls::Enabled,
        Options {
            insecure: true,
            ..options()
        },
    )
    .expect("not checked");

    let error = ping(&host, Tls::Disabled, options()).expect_err("plain http to a TLS port");
    assert!(
        matches!(
            error.exit_code(),
            ExitCode::Refused | ExitCode::Failed | ExitCode::Unreachable
        ),
        "{error}"
    );
}

#[test]
fn tls_to_a_plain_port_says_so() {
    let registry = Registry::current();
    let error = ping(&registry.host(), Tls::Enabled, options()).expect_err("no TLS there");
    assert_error(&error, ExitCode::Unreachable, &["registry set --tls disabled"]);
}

#[test]
fn a_certificate_file_that_is_none_is_refused_before_any_request() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ca.pem");
    for content in [
        "",
        "nonsense",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        std::fs::write(&path, content).expect("written");
        let options = Options {
            ca_certs: vec![path.clone()],
            ..options()
        };
        let error = Client::new(options).err().expect("no certificate");
        assert_error(&error, ExitCode::Usage, &["ca.pem"]);
    }
}

/// A registry with a certificate of these parameters, and the file of the certificate.
fn start_with(folder: &Path, params: &CertificateParams) -> (Registry, std::path::PathBuf) {
    let pair = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&pair).expect("a certificate");
    let (path, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    std::fs::write(&path, certificate.pem()).expect("written");
    std::fs::write(&key, pair.serialize_pem()).expect("written");
    let mut config = Registry::current().config().clone();
    let mut settings = Certificate::in_folder(&folder.join("unused")).settings();
    (settings.certificate, settings.key) = (path.clone(), key);
    config.http.tls = Some(settings);
    (Registry::start(config), path)
}

#[test]
fn a_certificate_that_expired_or_is_for_another_name_is_refused_with_the_reason() {
    let params = |name: &str| CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    let mut expired = params("127.0.0.1");
    expired.not_before = date_time_ymd(2020, 1, 1);
    expired.not_after = date_time_ymd(2021, 1, 1);
    for (params, reason) in [(expired, "expired"), (params("other.example"), "other.example")] {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("unused")).expect("a folder");
        let (registry, certificate) = start_with(folder.path(), &params);
        let host = registry.host();
        let trusting = || Options {
            ca_certs: vec![certificate.clone()],
            ..options()
        };
        let error = ping(&host, Tls::Enabled, trusting()).expect_err(reason);
        assert_error(
            &error,
            ExitCode::Unreachable,
            &["TLS failed", reason, "GET https://"],
        );
        ping(&host, Tls::Insecure, options()).expect("not checked");
    }
}

#[test]
fn a_certificate_for_an_ipv6_address_is_checked_against_that_address() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("unused")).expect("a folder");
    let params = CertificateParams::new(vec!["::1".to_owned()]).expect("parameters");
    let (registry, certificate) = start_with(folder.path(), &params);
    let Some(relay) = Relay::on_ipv6(registry.address()) else {
        println!("skipped: no IPv6 here");
        return;
    };
    let trusting = || Options {
        ca_certs: vec![certificate.clone()],
        ..options()
    };
    assert!(relay.host().starts_with("[::1]:"), "{}", relay.host());
    ping(&relay.host(), Tls::Enabled, trusting()).expect("trusted");
    ping(&relay.host(), Tls::Insecure, options()).expect("not checked");
    // The same certificate is not one for the registry's other address.
    let error = ping(&registry.host(), Tls::Enabled, trusting()).expect_err("for ::1 alone");
    assert_error(&error, ExitCode::Unreachable, &["TLS failed", "127.0.0.1"]);
}
