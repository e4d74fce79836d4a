//! Memory that stays where it is: large blobs in and out, and manifests that are made to cost much.
#![cfg(target_os = "linux")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on ends"
)]

use oci::{Algorithm, Hasher, media_type};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};
use testkit::http::{Connection, request, socket};

const MIB: usize = 1 << 20;

/// The most that the registry may ever have had in memory, in MiB: what all bodies may hold, its caches, and itself.
const MOST_MIB: usize = 200;

/// The same, while many manifests are pushed at once whose JSON takes many times its own room.
const MOST_MIB_READ: usize = 700;

/// The executable on a folder of its own; it is killed when the test ends.
struct Served {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Served {
    fn start() -> Served {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_registry"))
            .arg("serve")
            .env("REGISTRY_HTTP_ADDR", "127.0.0.1:0")
            .env("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", folder.path())
            .env("REGISTRY_STORAGE_FILESYSTEM_DURABILITY", "none")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line.split("://").nth(1).and_then(|rest| rest.split(';').next());
        Served {
            address: address.expect(&line).parse().unwrap(),
            child,
            _folder: folder,
        }
    }

    /// The most that it has had in memory, in MiB.
    fn peak(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let kib: usize = line.unwrap().split_whitespace().nth(1).unwrap().parse().unwrap();
        kib / 1024
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_blob_of_any_size_goes_in_and_out_through_the_same_little_memory() {
    let served = Served::start();
    let piece: Vec<u8> = (0..MIB as u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let pieces = MOST_MIB + 100;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    (0..pieces).for_each(|_| hasher.update(&piece));
    let digest = hasher.finish();
    let mut upload = Connection::open(served.address);
    let head = format!(
        "POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        pieces * MIB
    );
    upload.write(head.as_bytes());
    (0..pieces).for_each(|_| upload.write(&piece));
    upload.read(false).expect("an answer").expect(201);
    let mut download = socket(served.address);
    let head = format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    download.write_all(head.as_bytes()).unwrap();
    let (mut came, mut buffer) = (0, vec![0; MIB]);
    loop {
        match download.read(&mut buffer).unwrap() {
            0 => break,
            count => came += count,
        }
    }
    assert!(came > pieces * MIB, "{came}");
    assert!(served.peak() < MOST_MIB, "{} MiB", served.peak());
}

#[test]
fn manifests_that_are_made_to_cost_much_memory_do_so_a_few_at_a_time() {
    let served = Served::start();
    let index = |field: &str, entry: &dyn Fn(usize) -> String| {
        let (begin, end) = field.split_once("()").unwrap();
        let mut body = format!("{{\"schemaVersion\":2,{begin}");
        let mut n = 0;
        while body.len() < oci::MAX_MANIFEST_BYTES - 200 {
            body.push_str(if n == 0 { "" } else { "," });
            body.push_str(&entry(n));
            n += 1;
        }
        body + end + "}"
    };
    let missing = index("\"manifests\":[()]", &|n| {
        format!("{{\"mediaType\":\"\",\"size\":1,\"digest\":\"sha256:{n:064x}\"}}")
    });
    let annotations = index("\"manifests\":[],\"annotations\":{()}", &|n| {
        format!("\"{n:x}\":\"\"")
    });
    let fields = index("\"manifests\":[],\"x\":{()}", &|n| format!("\"{n:x}\":[[]]"));
    let kind = [("Content-Type", media_type::OCI_INDEX)];
    std::thread::scope(|scope| {
        for n in 0..24 {
            let (body, status) = [(&missing, 404), (&annotations, 201), (&fields, 201)][n % 3];
            let address = served.address;
            scope.spawn(move || {
                let path = format!("/v2/a/manifests/t{n}");
                for _ in 0..2 {
                    let answer = request(address, "PUT", &path, &kind, body.as_bytes());
                    assert!([status, 429].contains(&answer.status), "{}", answer.status);
                }
            });
        }
    });
    assert!(served.peak() < MOST_MIB_READ, "{} MiB", served.peak());
    request(served.address, "GET", "/v2/", &[], b"").expect(200);
}
