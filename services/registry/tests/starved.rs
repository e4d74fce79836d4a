//! A registry process whose machine runs out of something: room on the disk, or file descriptors. It says so, keeps what it
//! has, and goes on when there is enough again.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use oci::Digest;
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};
use testkit::http::{Connection, Request, request};

/// How long a registry may take to find that there is enough again.
const PATIENCE: Duration = Duration::from_secs(30);

const MIB: usize = 1 << 20;

/// Bytes that no two numbers share.
fn content(number: u32, len: usize) -> Vec<u8> {
    let mut state = number.wrapping_mul(2_654_435_761) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_le_bytes()[0]
        })
        .collect()
}

fn blob_path(bytes: &[u8]) -> String {
    format!("/v2/a/blobs/{}", Digest::sha256(bytes))
}

/// A registry of its own, started by a shell that may set limits first.
struct Served {
    child: Child,
    address: SocketAddr,
    storage: PathBuf,
}

fn variables(storage: &Path) -> [(&'static str, String); 5] {
    [
        ("REGISTRY_HTTP_ADDR", "127.0.0.1:0".to_owned()),
        (
            "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY",
            storage.display().to_string(),
        ),
        ("REGISTRY_STORAGE_MAINTENANCE_GC_GRACE", "0s".to_owned()),
        ("REGISTRY_HTTP_LIMITS_WORKERS", "2".to_owned()),
        ("REGISTRY_STORAGE_DELETE_ENABLED", "true".to_owned()),
    ]
}

impl Served {
    fn start(storage: &Path, limit: &str) -> Served {
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(format!("{limit} exec \"$0\" serve"))
            .arg(env!("CARGO_BIN_EXE_registry"))
            .envs(variables(storage))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line.split("://").nth(1).and_then(|rest| rest.split(';').next());
        Served {
            child,
            address: address
                .and_then(|text| text.parse().ok())
                .expect("it says where it listens"),
            storage: storage.to_owned(),
        }
    }

    fn push(&self, bytes: &[u8]) -> testkit::http::Response {
        let path = format!("/v2/a/blobs/uploads/?digest={}", Digest::sha256(bytes));
        request(self.address, "POST", &path, &[], bytes)
    }

    fn get(&self, path: &str) -> testkit::http::Response {
        Request::new("GET", path).send(self.address)
    }

    /// Ends it as an operator does.
    fn stop(mut self) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }

    /// Ends it at once, whatever it is doing.
    fn kill(mut self) {
        self.child.kill().unwrap();
        assert!(!self.child.wait().unwrap().success());
    }

    /// Ends it, and has its own command look at the storage.
    fn stop_and_verify(self) {
        let storage = self.storage.clone();
        self.stop();
        let verified = command("verify", &storage);
        let said = String::from_utf8_lossy(&verified.stdout);
        assert!(verified.status.success(), "{said}");
    }
}

/// Has one of the registry's own commands, with its flags, work on a storage.
fn command(line: &str, storage: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_registry"))
        .args(line.split(' '))
        .envs(variables(storage))
        .output()
        .unwrap()
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file system of so many bytes in memory.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where this machine does not let us; that is a failure in CI.
    fn mount(bytes: usize) -> Option<SmallDisk> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(folder.path())
            .output();
        let reason = match mounted {
            Ok(output) if output.status.success() => return Some(SmallDisk(folder)),
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "a small disk must be there in CI: {reason}"
        );
        println!("skipped: no small disk can be mounted: {reason}");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_is_answered_with_507_and_what_is_there_is_served_until_there_is_room_again() {
    let Some(disk) = SmallDisk::mount(16 * MIB) else {
        return;
    };
    let filler = disk.0.path().join("filler");
    fs::write(&filler, content(0, 4 * MIB)).unwrap();
    let served = Served::start(&disk.0.path().join("storage"), "");
    let mut there = Vec::new();
    let refused = (1..100).find_map(|number| {
        // Of both kinds: those that are written at once, and those that come in pieces.
        let bytes = content(
            number,
            if number % 3 == 0 {
                2 * MIB
            } else {
                100_000 + number as usize
            },
        );
        let answer = served.push(&bytes);
        if answer.status == 201 {
            there.push(bytes);
            return None;
        }
        assert_eq!(
            (answer.status, answer.error_code().as_str()),
            (507, "UNKNOWN"),
            "{}",
            answer.text()
        );
        Some(bytes)
    });
    let refused = refused.expect("the disk fills up");
    assert!(there.len() > 2);
    assert_eq!(served.get(&blob_path(&refused)).status, 404);
    for bytes in &there {
        assert_eq!(&served.get(&blob_path(bytes)).expect(200).body, bytes);
    }
    fs::remove_file(filler).unwrap();
    served.push(&refused).expect(201);
    assert_eq!(served.get(&blob_path(&refused)).expect(200).body, refused);
    served.stop_and_verify();
}

/// Writes into a new file until no byte more goes in.
fn fill(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    for piece in [MIB, 4096, 1] {
        while file.write_all(&vec![1; piece]).is_ok() {}
    }
}

/// What the registry keeps back on a disk at least, twice, so that what takes something away can be written down, in bytes.
const RESERVE_BYTES: u64 = 2 << 20;

/// For collections, and for deletes.
const RESERVES: [&str; 2] = ["reserve", "reserve-for-deletes"];

fn is_kept(storage: &Path, reserve: &str) -> bool {
    fs::metadata(storage.join(reserve)).is_ok_and(|file| file.blocks() * 512 >= RESERVE_BYTES)
}

fn has_reserves(storage: &Path) -> bool {
    RESERVES.iter().all(|reserve| is_kept(storage, reserve))
}

/// A disk with four blobs that nothing reaches, and without room for a single byte.
struct FullDisk {
    disk: SmallDisk,
    blobs: Vec<Vec<u8>>,
    /// What was too much.
    refused: Vec<u8>,
}

impl FullDisk {
    /// As for [`SmallDisk::mount`]; and the registry that has filled the disk.
    fn new() -> Option<(FullDisk, Served)> {
        let full = FullDisk {
            disk: SmallDisk::mount(20 * MIB)?,
            blobs: (1..5).map(|number| content(number, 2 * MIB)).collect(),
            refused: content(9, 2 * MIB),
        };
        let served = Served::start(&full.storage(), "");
        until(|| has_reserves(&full.storage()), "keep room back");
        for bytes in &full.blobs {
            served.push(bytes).expect(201);
        }
        fill(&full.disk.0.path().join("filler"));
        assert_eq!(served.push(&full.refused).status, 507);
        Some((full, served))
    }

    fn storage(&self) -> PathBuf {
        self.disk.0.path().join("storage")
    }

    /// Nothing of the garbage is there, what was too much can be pushed, and everything fits together.
    fn has_room_again(&self, served: Served) {
        for bytes in &self.blobs {
            assert_eq!(served.get(&blob_path(bytes)).status, 404);
        }
        served.push(&self.refused).expect(201);
        assert_eq!(
            served.get(&blob_path(&self.refused)).expect(200).body,
            self.refused
        );
        until(|| has_reserves(&self.storage()), "keep room back again");
        served.stop_and_verify();
    }
}

#[test]
fn a_full_disk_has_room_again_after_collecting_garbage_however_the_registry_ended() {
    for end in [Served::stop, Served::kill] {
        let Some((full, served)) = FullDisk::new() else {
            return;
        };
        for bytes in &full.blobs {
            assert_eq!(&served.get(&blob_path(bytes)).expect(200).body, bytes);
        }
        end(served);
        let told = command("gc --dry-run", &full.storage());
        assert!(told.status.success() && has_reserves(&full.storage()), "{told:?}");
        let collected = command("gc", &full.storage());
        assert!(collected.status.success(), "{collected:?}");
        assert!(has_reserves(&full.storage()));
        full.has_room_again(Served::start(&full.storage(), ""));
    }
}

#[test]
fn on_a_full_disk_everything_can_be_deleted_and_then_collected_however_the_registry_ended() {
    for end in [Served::stop, Served::kill] {
        let Some((full, served)) = FullDisk::new() else {
            return;
        };
        // The next process has no log yet, and after a kill it has a table to write before its first record.
        end(served);
        fill(&full.disk.0.path().join("more"));
        let served = Served::start(&full.storage(), "");
        for bytes in &full.blobs {
            let deleted = Request::new("DELETE", &blob_path(bytes)).send(served.address);
            deleted.expect(202);
            assert_eq!(served.get(&blob_path(bytes)).status, 404);
            assert!(!is_kept(&full.storage(), RESERVES[1]), "there was other room");
        }
        // Others may take what the deletes have left, but not what is the collection's.
        served.push(&content(10, MIB)).expect(201);
        fill(&full.disk.0.path().join("yet more"));
        served.stop();
        assert!(is_kept(&full.storage(), RESERVES[0]));
        let collected = command("gc", &full.storage());
        assert!(collected.status.success(), "{collected:?}");
        full.has_room_again(Served::start(&full.storage(), ""));
    }
}

#[test]
fn room_is_kept_back_again_when_uploads_are_purged_next() {
    let Some((full, served)) = FullDisk::new() else {
        return;
    };
    served.stop();
    for reserve in RESERVES {
        fs::remove_file(full.storage().join(reserve)).unwrap();
    }
    let filler = full.disk.0.path().join("more");
    fill(&filler);
    let settings = "export REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_INTERVAL=1s;";
    let served = Served::start(&full.storage(), settings);
    assert!(!has_reserves(&full.storage()));
    fs::remove_file(filler).unwrap();
    until(|| has_reserves(&full.storage()), "keep room back again");
    served.stop_and_verify();
}

#[test]
fn a_full_disk_has_room_again_after_the_registry_itself_has_collected_garbage() {
    let Some((full, served)) = FullDisk::new() else {
        return;
    };
    served.stop();
    let settings =
        "export REGISTRY_STORAGE_MAINTENANCE_GC_ENABLED=true REGISTRY_STORAGE_MAINTENANCE_GC_INTERVAL=1s;";
    let collecting = Served::start(&full.storage(), settings);
    until(
        || {
            full.blobs
                .iter()
                .all(|bytes| collecting.get(&blob_path(bytes)).status == 404)
        },
        "collect garbage",
    );
    collecting.stop();
    full.has_room_again(Served::start(&full.storage(), ""));
}

#[test]
fn a_registry_starts_and_serves_on_a_disk_that_has_no_room_to_keep_back() {
    let Some((full, served)) = FullDisk::new() else {
        return;
    };
    served.stop();
    for reserve in RESERVES {
        fs::remove_file(full.storage().join(reserve)).unwrap();
    }
    fill(&full.disk.0.path().join("more"));
    let served = Served::start(&full.storage(), "");
    for bytes in &full.blobs {
        assert_eq!(&served.get(&blob_path(bytes)).expect(200).body, bytes);
    }
    served.stop();
    for reserve in RESERVES {
        assert!(!full.storage().join(reserve).exists());
    }
    fs::remove_file(full.disk.0.path().join("more")).unwrap();
    let served = Served::start(&full.storage(), "");
    until(|| has_reserves(&full.storage()), "keep room back");
    served.stop_and_verify();
}

fn until(mut is_so: impl FnMut() -> bool, what: &str) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "it does not {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn without_file_descriptors_nothing_wrong_is_said_and_service_goes_on_when_there_are_some_again() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(&folder.path().join("storage"), "ulimit -n 64;");
    let bytes = content(1, MIB);
    served.push(&bytes).expect(201);
    // Accepted while there are descriptors; a push that is refused ends its connection.
    let mut early: Vec<Connection> = (0..8).map(|_| Connection::open(served.address)).collect();
    for connection in &mut early {
        connection.exchange(&Request::new("GET", "/v2/")).expect(200);
    }
    let mut reader = early.pop().unwrap();

    // More than there are descriptors for; the kernel keeps those that are not accepted.
    let idle: Vec<TcpStream> = (0..100)
        .map(|_| TcpStream::connect(served.address).unwrap())
        .collect();
    until(
        || reader.exchange(&Request::new("GET", &blob_path(&bytes))).status == 500,
        "run out of descriptors",
    );
    let mut refused = 0;
    for (number, mut writer) in (2..).zip(early) {
        let content = content(number, 300_000);
        let path = format!("/v2/a/blobs/uploads/?digest={}", Digest::sha256(&content));
        let pushed = writer.exchange(&Request::new("POST", &path).body(content));
        let read = reader.exchange(&Request::new("GET", &blob_path(&bytes)));
        assert!(
            [201, 500].contains(&pushed.status),
            "{}: {}",
            pushed.status,
            pushed.text()
        );
        assert!(
            [200, 500].contains(&read.status),
            "a file that cannot be opened is there"
        );
        for answer in [&pushed, &read].into_iter().filter(|answer| answer.status == 500) {
            assert_eq!(answer.error_code(), "UNKNOWN");
            refused += 1;
        }
    }
    println!("{refused} requests were refused");
    drop(idle);
    until(
        || reader.exchange(&Request::new("GET", &blob_path(&bytes))).status == 200,
        "recover",
    );
    assert_eq!(served.get(&blob_path(&bytes)).expect(200).body, bytes);
    served.push(&content(99, MIB)).expect(201);
    drop(reader);
    served.stop_and_verify();
}

#[test]
fn a_soft_limit_of_descriptors_is_raised_to_the_hard_one() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(&folder.path().join("storage"), "ulimit -S -n 64;");
    let mut connections: Vec<Connection> = (0..100).map(|_| Connection::open(served.address)).collect();
    for connection in &mut connections {
        connection.exchange(&Request::new("GET", "/v2/")).expect(200);
    }
}
