//! What an operator sets around the service: passwords, certificates, limits, headers, metrics. Over real sockets.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on ends"
)]

use oci::Digest;
use registry::{
    Config,
    config::{Anonymous, Auth, ByteCount, Debug, Duration, Htpasswd, Listen, Prometheus},
};
use testkit::{
    Certificate, Registry,
    http::{Connection, Request, Response},
};

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// "right", hashed with the least cost.
const ALICE: &str = "alice:$2b$04$abcdefghijklmnopqrstuuFmEfrkTQnczNzw475xE2VhDrK1uwJiC\n";

/// A configuration with a file of users, and the folder that it is in.
fn with_users(anonymous: Anonymous) -> (tempfile::TempDir, Config) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("htpasswd");
    std::fs::write(&path, ALICE).unwrap();
    let mut config = Config::complete();
    config.auth = Some(Auth {
        htpasswd: Htpasswd {
            realm: "lab".to_owned(),
            path,
            anonymous,
        },
    });
    (folder, config)
}

fn as_alice(registry: &Registry, method: &str, path: &str, body: &[u8]) -> Response {
    Request::new(method, path)
        .basic_auth("alice", "right")
        .body(body)
        .send(registry.address())
}

#[test]
fn without_the_right_password_nothing_is_read_or_written_in_any_order() {
    let (_folder, config) = with_users(Anonymous::None);
    let registry = Registry::start(config);
    let digest = Digest::sha256(b"secret");
    let session = as_alice(&registry, "POST", "/v2/a/blobs/uploads/", b"")
        .expect(202)
        .location();
    as_alice(
        &registry,
        "POST",
        &format!("/v2/a/blobs/uploads/?digest={digest}"),
        b"secret",
    )
    .expect(201);
    for (method, path) in [
        ("GET", "/v2/".to_owned()),
        ("GET", "/v2/_catalog".to_owned()),
        ("GET", "/v2/a/tags/list".to_owned()),
        ("GET", format!("/v2/a/blobs/{digest}")),
        ("HEAD", format!("/v2/a/blobs/{digest}")),
        ("GET", format!("/v2/a/referrers/{digest}")),
        ("GET", "/v2/_oci/ext/discover".to_owned()),
        ("GET", session.clone()),
        ("PATCH", session.clone()),
        ("PUT", format!("{session}?digest={digest}")),
        ("DELETE", session.clone()),
        ("POST", "/v2/a/blobs/uploads/".to_owned()),
        ("POST", format!("/v2/b/blobs/uploads/?mount={digest}")),
        ("PUT", "/v2/a/manifests/v1".to_owned()),
        ("DELETE", format!("/v2/a/blobs/{digest}")),
        ("GET", "/livez/../v2/_catalog".to_owned()),
        ("GET", "//livez".to_owned()),
        ("OPTIONS", "/v2/".to_owned()),
    ] {
        let request = Request::new(method, &path);
        for attempt in [
            request.clone(),
            request.clone().basic_auth("alice", "wrong"),
            request.clone().basic_auth("bob", "right"),
            request.clone().header("Authorization", "Basic"),
        ] {
            let refused = attempt.send(registry.address()).expect(401);
            assert_eq!(
                refused.header("www-authenticate"),
                Some("Basic realm=\"lab\""),
                "{method} {path}"
            );
            assert!(
                method == "HEAD" || refused.error_code() == "UNAUTHORIZED",
                "{method} {path}"
            );
        }
    }
    // The session of alice is as she left it.
    let status = as_alice(&registry, "GET", &session, b"").expect(204);
    assert_eq!(status.header("range"), Some("0-0"));
    assert_eq!(
        as_alice(&registry, "GET", &format!("/v2/a/blobs/{digest}"), b"")
            .expect(200)
            .text(),
        "secret"
    );
}

#[test]
fn a_refusal_does_not_open_the_connection_it_came_on() {
    let (_folder, config) = with_users(Anonymous::None);
    let registry = Registry::start(config);
    let mut connection = Connection::open(registry.address());
    connection
        .exchange(&Request::new("GET", "/v2/").basic_auth("alice", "right"))
        .expect(200);
    connection.exchange(&Request::new("GET", "/v2/")).expect(401);
    connection
        .exchange(&Request::new("GET", "/v2/").basic_auth("alice", "right"))
        .expect(200);
}

#[test]
fn anonymous_pull_opens_reading_alone() {
    let (_folder, config) = with_users(Anonymous::Pull);
    let registry = Registry::start(config);
    let digest = Digest::sha256(b"public");
    as_alice(
        &registry,
        "POST",
        &format!("/v2/a/blobs/uploads/?digest={digest}"),
        b"public",
    )
    .expect(201);
    registry.get(&format!("/v2/a/blobs/{digest}")).expect(200);
    registry
        .request("POST", "/v2/a/blobs/uploads/", &[], b"")
        .expect(401);
    registry
        .request("DELETE", &format!("/v2/a/blobs/{digest}"), &[], b"")
        .expect(401);
    Request::new("GET", "/v2/")
        .basic_auth("alice", "wrong")
        .send(registry.address())
        .expect(401);
}

#[test]
fn health_needs_no_password() {
    let (_folder, config) = with_users(Anonymous::None);
    let registry = Registry::start(config);
    assert_eq!(registry.get("/livez").expect(200).text(), "alive\n");
    assert_eq!(registry.get("/readyz").expect(200).text(), "ready\n");
    registry.request("HEAD", "/readyz", &[], b"").expect(200);
}

#[test]
fn a_registry_with_a_certificate_serves_https_and_shows_a_changed_one() {
    let folder = tempfile::tempdir().unwrap();
    let first = Certificate::in_folder(folder.path());
    let mut config = Config::current();
    config.http.tls = Some(first.settings());
    let registry = Registry::start(config);
    let get = Request::new("GET", "/v2/");
    first
        .connect(registry.address())
        .expect("a connection")
        .exchange(&get)
        .expect(200);
    let second = Certificate::in_folder(folder.path());
    second
        .connect(registry.address())
        .map(|_| ())
        .expect_err("not yet read");
    // The files are looked at once a second.
    let started = std::time::Instant::now();
    while let Err(error) = second.connect(registry.address()) {
        assert!(started.elapsed().as_secs() < 20, "{error}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert!(first.connect(registry.address()).is_err());
}

#[test]
fn a_certificate_or_key_that_cannot_be_used_keeps_the_registry_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let good = Certificate::in_folder(folder.path());
    let other = tempfile::tempdir().unwrap();
    let other = Certificate::in_folder(other.path()).settings();
    let nothing = folder.path().join("nothing.pem");
    std::fs::write(&nothing, "nothing").unwrap();
    let mut missing = good.settings();
    missing.certificate = folder.path().join("missing.pem");
    let mut no_key = good.settings();
    no_key.key = nothing.clone();
    let mut no_certificate = good.settings();
    no_certificate.certificate = nothing;
    let mut of_another = good.settings();
    std::fs::create_dir_all(other.key.parent().unwrap()).unwrap();
    let another = Certificate::in_folder(other.key.parent().unwrap());
    of_another.key = another.key;
    for (settings, named) in [
        (missing, "missing.pem"),
        (no_key, "nothing.pem"),
        (no_certificate, "nothing.pem"),
        (of_another, "key.pem"),
    ] {
        let mut config = Config::current();
        config.http.tls = Some(settings);
        let error = Registry::try_start(config).err().expect("no start");
        assert!(error.contains(named), "{error}");
    }
}

#[test]
fn a_tls_hello_on_a_plain_port_is_refused_with_http_and_harms_nobody() {
    let registry = Registry::current();
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let certificate = Certificate::in_folder(folder.path());
        certificate
            .connect(registry.address())
            .map(|_| ())
            .expect_err("not TLS");
    }
    // What a client looks at to find out that it should try http.
    let mut connection = Connection::open(registry.address());
    connection.write(&[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 3]);
    let answer = connection.read_to_end().unwrap();
    assert!(
        answer.starts_with(b"HTTP/1.1 400 "),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    registry.get("/v2/").expect(200);
}

#[test]
fn plain_http_on_a_tls_port_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::current();
    let certificate = Certificate::in_folder(folder.path());
    config.http.tls = Some(certificate.settings());
    let registry = Registry::start(config);
    let mut connection = Connection::open(registry.address());
    connection.write(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(connection.read(false).is_err());
    certificate
        .connect(registry.address())
        .expect("a connection")
        .exchange(&Request::new("GET", "/v2/"))
        .expect(200);
}

/// A registry that has little patience.
fn impatient() -> Registry {
    let mut config = Config::current();
    config.http.limits.headtimeout = Duration::seconds(1);
    config.http.limits.bodytimeout = Duration::seconds(1);
    Registry::start(config)
}

#[test]
fn a_sender_that_stalls_in_the_head_is_ended() {
    let registry = impatient();
    let mut connection = Connection::open(registry.address());
    connection.write(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n");
    let answer = connection.read(false).expect("an answer");
    assert_eq!(answer.status, 408);
    assert_eq!(connection.read_to_end().expect("the end"), b"");
}

/// Sends the beginning of a head one byte at a time until the connection ends; what came back.
fn trickle(mut sender: std::net::TcpStream) -> Vec<u8> {
    let ended = Arc::new(AtomicBool::new(false));
    let has_ended = Arc::clone(&ended);
    let mut reader = sender.try_clone().unwrap();
    let trickles = std::thread::spawn(move || {
        let mut written = sender.write_all(b"GET /v2/ HTTP/1.1\r\nX: ");
        while written.is_ok() && !has_ended.load(Ordering::Relaxed) {
            std::thread::sleep(std::time::Duration::from_millis(50));
            written = sender.write_all(b"x");
        }
    });
    let mut came = Vec::new();
    // The connection may end with a reset: bytes were on their way.
    let end = std::io::Read::read_to_end(&mut reader, &mut came);
    let is_over = end.map_or_else(|error| error.kind() != std::io::ErrorKind::WouldBlock, |_| true);
    ended.store(true, Ordering::Relaxed);
    trickles.join().unwrap();
    assert!(is_over, "the connection is open still");
    came
}

#[test]
fn a_head_that_trickles_ends_its_connection_whether_it_is_the_first_on_it_or_not() {
    let mut config = Config::current();
    config.http.limits.headtimeout = Duration::seconds(1);
    config.http.limits.keepalive = Duration::seconds(1);
    let registry = Registry::start(config);
    let answer = trickle(testkit::http::socket(registry.address()));
    assert!(
        answer.starts_with(b"HTTP/1.1 408 "),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    let mut socket = testkit::http::socket(registry.address());
    socket
        .write_all(&Request::new("GET", "/v2/").to_bytes(&registry.host()))
        .unwrap();
    let mut first = Connection::over(socket.try_clone().unwrap(), &registry.host());
    first.read(false).expect("an answer").expect(200);
    trickle(socket);
}

#[test]
fn a_head_that_trickles_over_tls_ends_its_connection_too_and_so_does_a_handshake_that_stalls() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = Certificate::in_folder(folder.path());
    let mut config = Config::current();
    config.http.limits.headtimeout = Duration::seconds(1);
    config.http.limits.keepalive = Duration::seconds(1);
    config.http.tls = Some(certificate.settings());
    let registry = Registry::start(config);
    let mut connection = certificate.connect(registry.address()).expect("a connection");
    connection.exchange(&Request::new("GET", "/v2/")).expect(200);
    let started = std::time::Instant::now();
    connection.write(b"GET /v2/ HTTP/1.1\r\nX: ");
    // TLS cannot be read and written by two threads at once: it ends some writes after it was ended over there.
    while connection.try_write(b"x").is_ok() {
        assert!(started.elapsed().as_secs() < 60, "the connection is open still");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    for beginning in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let mut stalled = testkit::http::socket(registry.address());
        stalled.write_all(beginning).unwrap();
        let mut came = Vec::new();
        let end = std::io::Read::read_to_end(&mut stalled, &mut came);
        assert!(end.is_ok(), "the handshake is waited for still: {end:?}");
    }
}

#[test]
fn a_sender_that_stalls_in_a_body_gets_408_and_can_go_on_later() {
    let registry = impatient();
    let location = registry
        .request("POST", "/v2/a/blobs/uploads/", &[], b"")
        .expect(202)
        .location();
    let mut connection = Connection::open(registry.address());
    connection
        .write(format!("PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123").as_bytes());
    let answer = connection.read(false).expect("an answer").expect(408);
    assert_eq!(answer.error_code(), "BLOB_UPLOAD_INVALID");
    assert_eq!(registry.get(&location).expect(204).header("range"), Some("0-3"));
    let rest = registry
        .request("PATCH", &location, &[("Content-Range", "4-9")], b"456789")
        .expect(202);
    assert_eq!(rest.header("range"), Some("0-9"));
    let mut connection = Connection::open(registry.address());
    connection.write(b"PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{");
    connection.read(false).expect("an answer").expect(408);
}

#[test]
fn a_sender_that_trickles_gets_408_and_what_came_is_kept() {
    let mut config = Config::current();
    config.http.limits.bodytimeout = Duration::seconds(1);
    config.http.limits.bodyrate = "1KiB".parse().unwrap();
    let registry = Registry::start(config);
    let location = registry
        .request("POST", "/v2/a/blobs/uploads/", &[], b"")
        .expect(202)
        .location();
    let socket = testkit::http::socket(registry.address());
    let mut sender = socket.try_clone().unwrap();
    // Never silent for long, and far from its end when it is told to stop: 100,000 bytes would take hours.
    let told = Arc::new(AtomicBool::new(false));
    let is_told = Arc::clone(&told);
    let trickle = std::thread::spawn(move || {
        let head = format!("PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n");
        let mut written = sender.write_all(head.as_bytes());
        while written.is_ok() && !is_told.load(Ordering::Relaxed) {
            std::thread::sleep(std::time::Duration::from_millis(100));
            written = sender.write_all(b"x");
        }
        location
    });
    let answer = Connection::over(socket, "x").read(false).expect("an answer");
    assert_eq!(answer.expect(408).error_code(), "BLOB_UPLOAD_INVALID");
    told.store(true, Ordering::Relaxed);
    let location = trickle.join().unwrap();
    let range = registry
        .get(&location)
        .expect(204)
        .header("range")
        .map(str::to_owned);
    assert_ne!(range.as_deref(), Some("0-0"));
}

#[test]
fn a_sender_may_pause_as_long_as_its_bytes_make_up_for_it() {
    let mut config = Config::current();
    config.http.limits.bodytimeout = Duration::seconds(2);
    config.http.limits.bodyrate = ByteCount(1000);
    let registry = Registry::start(config);
    let content = vec![7; 4 * 5000];
    let digest = Digest::sha256(&content);
    let mut connection = Connection::open(registry.address());
    connection.write(
        format!(
            "POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
            content.len()
        )
        .as_bytes(),
    );
    // More than two seconds of waiting in all, and never two at once.
    for piece in content.chunks(5000) {
        std::thread::sleep(std::time::Duration::from_millis(700));
        connection.write(piece);
    }
    connection.read(false).expect("an answer").expect(201);
}

#[test]
fn a_connection_above_the_limit_waits_until_another_ends() {
    let mut config = Config::current();
    // Two for each of the test's two workers.
    config.http.limits.connections = 4;
    let registry = Registry::start(config);
    let get = Request::new("GET", "/v2/");
    let mut held: Vec<Connection> = (0..4).map(|_| Connection::open(registry.address())).collect();
    for connection in &mut held {
        connection.exchange(&get).expect(200);
    }
    let mut waiting = testkit::http::socket(registry.address());
    waiting.write_all(&get.to_bytes(&registry.host())).unwrap();
    for _ in 0..50 {
        for connection in &mut held {
            connection.exchange(&get).expect(200);
        }
    }
    waiting.set_nonblocking(true).unwrap();
    let early = waiting.peek(&mut [0]).map_err(|error| error.kind());
    assert_eq!(
        early,
        Err(std::io::ErrorKind::WouldBlock),
        "it is served beside the others"
    );
    waiting.set_nonblocking(false).unwrap();
    held.pop();
    Connection::over(waiting, &registry.host())
        .read(false)
        .expect("its turn has come")
        .expect(200);
}

#[test]
fn each_answer_has_an_id_of_its_own_or_the_one_that_was_given() {
    let registry = Registry::current();
    let id = |answer: Response| answer.header("x-request-id").expect("an id").to_owned();
    let (first, second) = (id(registry.get("/v2/")), id(registry.get("/nothing")));
    assert_ne!(first, second);
    let given = |text: &str| id(registry.request("GET", "/v2/", &[("X-Request-Id", text)], b""));
    assert_eq!(given("trace-1.2_3"), "trace-1.2_3");
    for bad in ["a b", "x=\"y\"", &"x".repeat(65), ""] {
        assert_ne!(given(bad), bad);
    }
}

#[test]
fn configured_headers_stand_on_every_answer() {
    let (_folder, mut config) = with_users(Anonymous::None);
    config
        .http
        .headers
        .insert("X-Content-Type-Options".to_owned(), vec!["nosniff".to_owned()]);
    config
        .http
        .headers
        .insert("X-Two".to_owned(), vec!["a".to_owned(), "b".to_owned()]);
    let registry = Registry::start(config);
    for answer in [
        registry.get("/v2/"),
        registry.get("/livez"),
        as_alice(&registry, "GET", "/v2/x/tags/list", b""),
    ] {
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header_all("x-two"), ["a", "b"]);
    }
}

/// A registry with a debug server.
fn with_debug(mut config: Config) -> Registry {
    config.http.debug = Some(Debug {
        addr: Listen::loopback(0),
        prometheus: Prometheus::default(),
    });
    Registry::start(config)
}

/// The value of a line of metrics; 0 if it is not there.
fn metric(registry: &Registry, line: &str) -> f64 {
    let page =
        testkit::http::request(registry.debug_address().unwrap(), "GET", "/metrics", &[], b"").expect(200);
    assert!(page.header("content-type").unwrap().starts_with("text/plain"));
    let text = page.text();
    let value = text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().expect("a number"))
}

#[test]
fn metrics_count_what_happens() {
    let registry = with_debug(Config::complete());
    let content = vec![1; 100_000];
    let digest = registry.push_blob("a", &content);
    registry.get(&format!("/v2/a/blobs/{digest}")).expect(200);
    registry
        .request("HEAD", &format!("/v2/a/blobs/{digest}"), &[], b"")
        .expect(200);
    registry.get("/v2/a/manifests/nothing").expect(404);
    let image = registry.push_image("a", "v1", b"layer");
    registry.push_image_with(
        "a",
        "",
        b"signature",
        serde_json::json!({"subject": image.descriptor()}),
    );
    registry
        .request("POST", "/v2/a/blobs/uploads/", &[], b"")
        .expect(202);
    for (line, value) in [
        (
            "registry_http_requests_total{route=\"blob\",method=\"GET\",status=\"200\"}",
            1.0,
        ),
        (
            "registry_http_requests_total{route=\"blob\",method=\"HEAD\",status=\"200\"}",
            1.0,
        ),
        (
            "registry_http_requests_total{route=\"manifest\",method=\"GET\",status=\"404\"}",
            1.0,
        ),
        (
            "registry_http_requests_total{route=\"manifest\",method=\"PUT\",status=\"201\"}",
            2.0,
        ),
        (
            "registry_http_request_duration_seconds_count{route=\"blob\"}",
            2.0,
        ),
        ("registry_http_requests_under_way", 0.0),
        ("registry_uploads_under_way", 1.0),
        ("registry_referrers_indexed_total", 1.0),
        // A blob, a config, two layers, two manifests.
        ("registry_storage_contents", 6.0),
    ] {
        assert_eq!(metric(&registry, line), value, "{line}");
    }
    let (received, sent) = (
        metric(&registry, "registry_http_received_bytes_total"),
        metric(&registry, "registry_http_sent_bytes_total"),
    );
    assert!((100_000.0..110_000.0).contains(&received), "{received}");
    assert!((100_000.0..110_000.0).contains(&sent), "{sent}");
    assert!(metric(&registry, "registry_storage_bytes") > 100_000.0);
    registry.get("/metrics").expect(404);
}

#[test]
fn garbage_is_collected_at_intervals_beside_traffic_and_counted() {
    let mut config = Config::complete();
    config.storage.maintenance.gc.enabled = true;
    config.storage.maintenance.gc.interval = "20ms".parse().unwrap();
    // Long enough for the pushes of this test, which put their blobs first.
    config.storage.maintenance.gc.grace = "1s".parse().unwrap();
    let registry = with_debug(config);
    let kept = registry.push_image("a", "v1", b"kept");
    let signature = registry.push_image_with(
        "a",
        "",
        b"signature",
        serde_json::json!({"subject": kept.descriptor()}),
    );
    let orphan = format!("/v2/a/blobs/{}", registry.push_blob("a", &[7; 5000]));
    let started = std::time::Instant::now();
    while registry.get(&orphan).status != 404 {
        assert!(started.elapsed().as_secs() < 30, "nothing is collected");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    while metric(&registry, "registry_gc_removed_bytes_total") < 5000.0 {
        assert!(started.elapsed().as_secs() < 30, "nothing is counted");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(metric(&registry, "registry_gc_removed_total") >= 1.0);
    // A tag keeps its manifest, and a manifest that stays keeps what refers to it.
    for reference in [
        "v1".to_owned(),
        kept.digest.to_string(),
        signature.digest.to_string(),
    ] {
        registry.get(&format!("/v2/a/manifests/{reference}")).expect(200);
    }
    assert_eq!(
        registry.referrers("a", &kept.digest),
        [signature.digest.to_string()]
    );
}

#[test]
fn metrics_are_where_the_configuration_says_and_nowhere_where_it_says_no() {
    for (prometheus, found) in [
        (
            Prometheus {
                enabled: true,
                path: "/numbers".to_owned(),
            },
            Some("/numbers"),
        ),
        (
            Prometheus {
                enabled: false,
                path: "/metrics".to_owned(),
            },
            None,
        ),
    ] {
        let mut config = Config::current();
        config.http.debug = Some(Debug {
            addr: Listen::loopback(0),
            prometheus,
        });
        let registry = Registry::start(config);
        for path in ["/metrics", "/numbers"] {
            let page = testkit::http::request(registry.debug_address().unwrap(), "GET", path, &[], b"");
            let status = if found == Some(path) { 200 } else { 404 };
            page.expect(status);
        }
    }
}

#[test]
fn a_reader_that_reads_nothing_is_ended() {
    let mut config = Config::current();
    config.http.limits.bodytimeout = Duration::seconds(1);
    let registry = with_debug(config);
    // More than the buffers of both ends hold.
    let digest = registry.push_blob("a", &vec![1; 64 << 20]);
    let mut connection = Connection::open(registry.address());
    connection.write(format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
    let under_way = || metric(&registry, "registry_http_requests_under_way");
    let started = std::time::Instant::now();
    while metric(
        &registry,
        "registry_http_requests_total{route=\"blob\",method=\"GET\",status=\"200\"}",
    ) == 0.0
    {
        assert!(
            started.elapsed().as_secs() < 20,
            "{} requests are under way",
            under_way()
        );
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(under_way(), 0.0);
    drop(connection);
}

#[test]
fn a_reader_that_takes_a_little_now_and_then_is_ended_and_one_that_pauses_is_not() {
    let mut config = Config::current();
    // Far above what the slow one reads, so that the system's buffers are no excuse.
    config.http.limits.bodytimeout = Duration::seconds(3);
    config.http.limits.bodyrate = ByteCount(50 << 20);
    let registry = Registry::start(config);
    let content = vec![1; 64 << 20];
    let path = format!("/v2/a/blobs/{}", registry.push_blob("a", &content));
    // The first goes through the process, the second is sent by the kernel.
    for pause in [20, 20, 0] {
        let mut reader = testkit::http::socket(registry.address());
        reader
            .write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
            .unwrap();
        let (mut came, mut piece) = (0, vec![0; 64 << 10]);
        while let Ok(count @ 1..) = std::io::Read::read(&mut reader, &mut piece) {
            came += count;
            std::thread::sleep(std::time::Duration::from_millis(pause));
        }
        match pause {
            0 => assert!(came > content.len(), "{came}"),
            _ => assert!(came < content.len(), "{came}"),
        }
        if pause > 0 {
            // Read once without haste, so that it is known to be whole.
            assert!(registry.get(&path).expect(200).body == content);
        }
    }
}

#[test]
fn readiness_shows_a_storage_that_cannot_be_written() {
    let mut config = Config::current();
    config.health.storagedriver.interval = "20ms".parse().unwrap();
    config.health.storagedriver.threshold = 2;
    let registry = Registry::start(config);
    let wait_for = |status: u16| {
        let started = std::time::Instant::now();
        while registry.get("/readyz").status != status {
            assert!(started.elapsed().as_secs() < 20, "no {status}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    };
    let (folder, away) = (registry.storage_dir(), registry.folder().join("away"));
    wait_for(200);
    std::fs::rename(&folder, &away).unwrap();
    wait_for(503);
    registry.get("/livez").expect(200);
    std::fs::rename(&away, &folder).unwrap();
    wait_for(200);
}

#[test]
fn a_second_registry_on_the_same_folder_is_refused_until_the_first_has_stopped() {
    let mut registry = Registry::current();
    let config = registry.config().clone();
    let error = Registry::try_start(config.clone()).err().expect("a lock");
    assert!(
        error.contains("another registry is using the storage folder"),
        "{error}"
    );
    registry.stop();
    drop(Registry::start(config));
    registry.restart();
}

/// What a client gets that sends its whole body before it reads anything.
fn answer_after_the_whole_body(
    registry: &Registry,
    head: &str,
    body: &[u8],
    chunked: bool,
) -> Result<Response, String> {
    let mut socket = testkit::http::socket(registry.address());
    let framing = match chunked {
        true => "Transfer-Encoding: chunked".to_owned(),
        false => format!("Content-Length: {}", body.len()),
    };
    let mut send = |bytes: &[u8]| {
        socket
            .write_all(bytes)
            .map_err(|e| format!("cannot send on: {e}"))
    };
    send(format!("{head} HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n").as_bytes())?;
    match chunked {
        true => {
            for piece in body.chunks(50_000) {
                send(format!("{:x}\r\n", piece.len()).as_bytes())?;
                send(piece)?;
                send(b"\r\n")?;
            }
            send(b"0\r\n\r\n")?;
        }
        false => send(body)?,
    }
    Connection::over(socket, "x").read(false)
}

#[test]
fn a_client_that_reads_only_after_its_whole_body_still_gets_the_refusal() {
    let open = Registry::current();
    let (_folder, config) = with_users(Anonymous::None);
    let closed = Registry::start(config);
    // More than the buffers of both ends hold.
    let body = vec![0; 32 << 20];
    let unknown = "PATCH /v2/a/blobs/uploads/00000000-0000-0000-0000-000000000000";
    for (registry, head, status) in [
        (&closed, "POST /v2/a/blobs/uploads/?digest=x", 401),
        (&closed, "PUT /v2/a/manifests/v1", 401),
        (&open, unknown, 404),
        (&open, "PUT /v2/a/manifests/v1", 413),
        (&open, "PUT /nothing", 404),
        (&open, "PUT /livez", 405),
    ] {
        for chunked in [false, true] {
            let answer = answer_after_the_whole_body(registry, head, &body, chunked);
            let status_of = answer.as_ref().map(|answer| answer.status);
            assert_eq!(status_of, Ok(status), "{head}, chunked: {chunked}");
        }
    }
}

#[test]
fn a_refused_sender_that_goes_silent_is_ended() {
    let (_folder, mut config) = with_users(Anonymous::None);
    config.http.limits.bodytimeout = Duration::seconds(1);
    config.http.limits.keepalive = Duration::seconds(1);
    let registry = Registry::start(config);
    for framing in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let mut connection = Connection::open(registry.address());
        connection.write(
            format!("PATCH /v2/a/blobs/uploads/x HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n").as_bytes(),
        );
        connection.read(false).expect("an answer").expect(401);
        assert_eq!(connection.read_to_end().expect(framing), b"");
    }
}
