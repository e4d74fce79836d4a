//! Connections that rest between requests: nothing of what a client sends is lost or taken for something else, however it is cut
//! and whenever it comes, and each rest has an end. Over real sockets.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on ends"
)]

use oci::{Descriptor, Digest, media_type};
use registry::{
    Config,
    config::{Anonymous, Auth, Duration, Htpasswd},
};
use std::{io::Write, net::Shutdown, thread::sleep};
use testkit::{
    Certificate, Registry,
    http::{Connection, Request, socket},
};

/// Long enough for a connection to rest.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(60);

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// A request, and what is known of its answer.
struct Asked {
    bytes: Vec<u8>,
    status: u16,
    is_head: bool,
}

/// A request of some kind, numbered.
fn some_request(numbers: &mut Numbers, number: usize, layer: &str, host: &str) -> Asked {
    let kind = numbers.below(9);
    let pushed = |body: &[u8]| format!("/v2/app/blobs/uploads/?digest={}", Digest::sha256(body));
    // Bodies that end as heads do, or with the beginning of one.
    let (whole, part) = (
        b"GET /v2/evil/tags/list HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\r\n\r\nGET /v2/evil",
    );
    let (request, status) = match kind {
        0 => (Request::new("GET", "/v2/"), 200),
        1 => (Request::new("GET", "/v2/app/manifests/v1"), 200),
        2 => (Request::new("HEAD", "/v2/app/manifests/v1"), 200),
        3 => (Request::new("GET", "/v2/app/manifests/missing"), 404),
        4 => (Request::new("GET", &format!("/v2/app/blobs/{layer}")), 200),
        5 => (
            Request::new("POST", "/v2/app/blobs/uploads/").header("Content-Length", "0"),
            202,
        ),
        6 => (Request::new("POST", &pushed(whole)).body(whole), 201),
        7 => (Request::new("POST", &pushed(part)).body(part), 201),
        _ => (Request::new("POST", &pushed(part)).body(part).chunked(7), 201),
    };
    Asked {
        bytes: request
            .header("X-Request-Id", &format!("n{number}"))
            .to_bytes(host),
        status,
        is_head: kind == 2,
    }
}

/// The same registry in plain and over TLS.
struct Both {
    plain: Registry,
    encrypted: Registry,
    certificate: Certificate,
    _folder: tempfile::TempDir,
}

impl Both {
    fn start() -> Both {
        let folder = tempfile::tempdir().unwrap();
        let certificate = Certificate::in_folder(folder.path());
        let mut config = Config::complete();
        let plain = Registry::start(config.clone());
        config.http.tls = Some(certificate.settings());
        Both {
            plain,
            encrypted: Registry::start(config),
            certificate,
            _folder: folder,
        }
    }

    /// A connection to each.
    fn connections(&self) -> [Connection; 2] {
        let over_tls = self.certificate.connect(self.encrypted.address());
        [
            Connection::open(self.plain.address()),
            over_tls.expect("a connection"),
        ]
    }
}

fn push(connection: &mut Connection, blob: &[u8]) {
    let target = format!("/v2/app/blobs/uploads/?digest={}", Digest::sha256(blob));
    connection
        .exchange(&Request::new("POST", &target).body(blob))
        .expect(201);
}

/// Sends requests without waiting for their answers, in pieces and with pauses, and reads the answers. They are few and small enough for
/// the system to keep them meanwhile.
fn ask(connection: &mut Connection, layer: &str, seed: u64) {
    const REQUESTS: usize = 16;
    let mut numbers = Numbers(seed * 0x9e37_79b9_7f4a_7c15);
    let asked: Vec<_> = (0..REQUESTS)
        .map(|number| some_request(&mut numbers, number, layer, "x"))
        .collect();
    let mut answered = asked.iter().enumerate();
    let mut read = |connection: &mut Connection, count: usize| {
        for (number, request) in answered.by_ref().take(count) {
            let answer = connection.read(request.is_head);
            let answer = answer.unwrap_or_else(|error| panic!("seed {seed}, request {number}: {error}"));
            assert_eq!(answer.status, request.status, "seed {seed}, request {number}");
            let id = answer.header("x-request-id").expect("an id");
            assert_eq!(id, format!("n{number}"), "seed {seed}");
        }
    };
    let (mut waiting, mut unread) = (Vec::new(), 0);
    for request in &asked {
        waiting.extend_from_slice(&request.bytes);
        unread += 1;
        if numbers.below(3) > 0 {
            continue;
        }
        let mut rest = &waiting[..];
        while !rest.is_empty() {
            let most = [4, 60, 2000][numbers.below(3)];
            let (piece, after) = rest.split_at((1 + numbers.below(most)).min(rest.len()));
            connection.try_write(piece).unwrap();
            rest = after;
            if numbers.below(8) == 0 {
                sleep(PAUSE);
            }
        }
        waiting.clear();
        if numbers.below(2) == 0 {
            read(connection, std::mem::take(&mut unread));
        }
    }
    connection.try_write(&waiting).unwrap();
    read(connection, unread);
    sleep(PAUSE);
    connection.exchange(&Request::new("GET", "/v2/")).expect(200);
}

#[test]
fn requests_that_come_in_any_pieces_with_any_pauses_are_each_answered_once_and_in_order() {
    let both = Both::start();
    let config = Descriptor::of(media_type::OCI_CONFIG, b"{}");
    let layer = Descriptor::of(media_type::OCI_LAYER, b"layer");
    let manifest = testkit::content::image_manifest(&config, &[layer], serde_json::json!({}));
    for mut connection in both.connections() {
        push(&mut connection, b"{}");
        push(&mut connection, b"layer");
        let put = Request::new("PUT", "/v2/app/manifests/v1")
            .header("Content-Type", media_type::OCI_MANIFEST)
            .body(manifest.to_string());
        connection.exchange(&put).expect(201);
    }
    let layer = Digest::sha256(b"layer").to_string();
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let (both, layer) = (&both, &layer);
            scope.spawn(move || {
                for n in 0..8 {
                    let seed = 1 + thread * 8 + n;
                    both.connections()
                        .iter_mut()
                        .for_each(|connection| ask(connection, layer, seed));
                }
            });
        }
    });
}

#[test]
fn a_body_that_nobody_waited_for_is_never_taken_for_a_request() {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users");
    // Nobody's: all are refused.
    std::fs::write(&users, "").unwrap();
    let mut config = Config::complete();
    config.auth = Some(Auth {
        htpasswd: Htpasswd {
            path: users,
            realm: "test".to_owned(),
            anonymous: Anonymous::None,
        },
    });
    let registry = Registry::start(config);
    let hidden = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
    for length in [hidden.len(), 10 * hidden.len()] {
        let mut sender = socket(registry.address());
        let head =
            format!("PUT /v2/app/manifests/v1 HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
        sender.write_all(head.as_bytes()).unwrap();
        let mut connection = Connection::over(sender.try_clone().unwrap(), "x");
        connection.read(false).expect("an answer").expect(401);
        sleep(PAUSE);
        // It may have closed the connection by now.
        let _ = sender.write_all(hidden);
        let _ = sender.shutdown(Shutdown::Write);
        let rest = connection.read_to_end().unwrap_or_default();
        assert_eq!(String::from_utf8_lossy(&rest), "", "with a length of {length}");
    }
}

#[test]
fn a_connection_is_closed_as_its_answer_says() {
    let registry = Registry::complete();
    // All of these have come when they are answered, and nobody has read them.
    let (short, long) = ([b'x'; 10].as_slice(), [b'x'; 50_000].as_slice());
    let unread = |target: &str| Request::new("POST", target);
    let requests = [
        unread("/v2/").body(short).to_bytes("x"),
        unread("/v2/").body(long).to_bytes("x"),
        unread("/v2/app/nothing").body(short).chunked(7).to_bytes("x"),
        // For the library none of these ends here.
        with_chunks(b"+5\r\n\r\n"),
        with_chunks(b"0x5\r\n\r\n"),
        with_chunks(b"5\nhello\n0\n\n"),
        with_chunks(b"0\r\n\n"),
        with_chunks(b"0\r\nTrailer: 1\n\n"),
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\nhello".to_vec(),
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".to_vec(),
    ];
    for request in requests {
        let mut sender = socket(registry.address());
        sender.write_all(&request).unwrap();
        let mut connection = Connection::over(sender.try_clone().unwrap(), "x");
        let answer = connection.read(false).expect("an answer");
        let sent = String::from_utf8_lossy(&request[..request.len().min(200)]);
        assert_eq!(answer.header("connection"), Some("close"), "{sent}");
        sleep(PAUSE);
        // It may have closed the connection by now.
        let _ = sender.write_all(b"GET /v2/evil/tags/list HTTP/1.1\r\nHost: x\r\n\r\n");
        let _ = sender.shutdown(Shutdown::Write);
        let rest = connection.read_to_end().unwrap_or_default();
        assert_eq!(String::from_utf8_lossy(&rest), "", "{sent}");
    }
}

/// A request with such a body that nobody reads.
fn with_chunks(body: &[u8]) -> Vec<u8> {
    let head = "POST /v2/app/nothing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    [head.as_bytes(), body].concat()
}

/// Has a connection on which a blob was pushed do this, in plain and over TLS.
fn with_pushed(blob: &[u8], test: impl Fn(&mut Connection, &str)) {
    let both = Both::start();
    for mut connection in both.connections() {
        push(&mut connection, blob);
        test(
            &mut connection,
            &format!("/v2/app/blobs/{}", Digest::sha256(blob)),
        );
    }
}

#[test]
fn a_connection_that_rests_serves_again_whatever_the_answer() {
    // Large enough to be sent past the HTTP library.
    let blob: Vec<u8> = (0..3 << 20).map(|n: u32| (n / 5) as u8).collect();
    with_pushed(&blob, |connection, path| {
        for _ in 0..3 {
            sleep(PAUSE);
            let got = connection.exchange(&Request::new("GET", path));
            assert!(got.expect(200).body == blob);
            sleep(PAUSE);
            let missing = connection.exchange(&Request::new("GET", "/v2/app/manifests/missing"));
            missing.expect(404);
        }
        sleep(PAUSE);
        let last = connection.exchange(&Request::new("GET", "/v2/").header("Connection", "close"));
        last.expect(200);
        assert_eq!(connection.read_to_end().expect("the end"), b"");
    });
}

#[test]
fn what_is_sent_behind_a_last_request_takes_no_answer_away() {
    let registry = Registry::complete();
    let blob = vec![7; 1 << 20];
    let path = format!("/v2/app/blobs/{}", registry.push_blob("app", &blob));
    let get = |target: &str| Request::new("GET", target);
    let mut pipeline = [get("/v2/"), get(&path), get("/v2/").header("Connection", "close")]
        .map(|request| request.to_bytes("x"))
        .concat();
    // So many that they do not all fit what is read at once.
    pipeline.extend(get("/v2/evil/tags/list").to_bytes("x").repeat(5_000));
    let mut sender = socket(registry.address());
    let mut connection = Connection::over(sender.try_clone().unwrap(), "x");
    // They may find the connection closed.
    let sends = std::thread::spawn(move || sender.write_all(&pipeline));
    sleep(PAUSE);
    connection.read(false).expect("the first answer").expect(200);
    sleep(PAUSE);
    assert!(connection.read(false).expect("the blob").expect(200).body == blob);
    let last = connection.read(false).expect("the last answer").expect(200);
    assert_eq!(last.header("connection"), Some("close"));
    let _ = sends.join().expect("a sender");
    assert_eq!(connection.read_to_end().unwrap_or_default(), b"");
}

#[test]
fn an_answer_that_is_read_slowly_is_whole_and_the_connection_closes_as_it_was_asked_to() {
    let blob: Vec<u8> = (0..20 << 20).map(|n: u32| (n / 7) as u8).collect();
    with_pushed(&blob, |connection, path| {
        let get = Request::new("GET", path);
        for closes in [false, true] {
            let get = match closes {
                true => get.clone().header("Connection", "close"),
                false => get.clone(),
            };
            connection.write(&get.to_bytes("x"));
            // What the system takes is soon full, and the rest waits.
            sleep(PAUSE * 3);
            let answer = connection.read(false).expect("an answer").expect(200);
            assert!(answer.body == blob);
        }
        assert_eq!(connection.read_to_end().expect("the end"), b"");
    });
}

#[test]
fn every_rest_has_an_end() {
    let mut config = Config::complete();
    config.http.limits.headtimeout = Duration::seconds(1);
    config.http.limits.keepalive = Duration::seconds(1);
    let registry = Registry::start(config);
    let after = |sent: &[Request], then: &[u8]| {
        let mut connection = Connection::open(registry.address());
        for request in sent {
            assert!(connection.exchange(request).status < 300);
        }
        connection.write(then);
        String::from_utf8(connection.read_to_end().expect("an end")).expect("text")
    };
    let get = Request::new("GET", "/v2/");
    let body = b"a body";
    let target = format!("/v2/app/blobs/uploads/?digest={}", Digest::sha256(body));
    let push = Request::new("POST", &target).body(body);
    assert_eq!(after(&[], b""), "");
    assert_eq!(after(std::slice::from_ref(&get), b""), "");
    assert_eq!(after(std::slice::from_ref(&push), b""), "");
    assert_eq!(after(&[push, get.clone()], b""), "");
    // Half a head right behind an answer.
    assert_eq!(after(std::slice::from_ref(&get), b"GET /v2/ HTTP"), "");
    // Half a head after a rest is told.
    let mut connection = Connection::open(registry.address());
    connection.exchange(&get).expect(200);
    sleep(PAUSE);
    connection.write(b"GET /v2/ HTTP");
    connection.read(false).expect("an answer").expect(408);
    assert_eq!(connection.read_to_end().expect("an end"), b"");
}

#[test]
fn a_stop_ends_every_rest_at_once() {
    let mut config = Config::complete();
    config.http.draintimeout = Duration::seconds(600);
    let mut registry = Registry::start(config);
    let mut silent = Connection::open(registry.address());
    let mut resting = Connection::open(registry.address());
    resting.exchange(&Request::new("GET", "/v2/")).expect(200);
    sleep(PAUSE);
    let mut just_answered = Connection::open(registry.address());
    just_answered.exchange(&Request::new("GET", "/v2/")).expect(200);
    registry.stop();
    for connection in [&mut silent, &mut resting, &mut just_answered] {
        assert_eq!(connection.read_to_end().expect("the end"), b"");
    }
}
