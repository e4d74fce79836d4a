//! Many connections at once, of clients that do as little as they can: what each of them makes the server need, and what is left
//! when they are closed. What an allocator keeps of their memory is there for the next: they are all opened again, and must not
//! take more.

use crate::server::{Folder, Server, ask};
use crate::soak::{Look, SETTLE, SoakError, command, look_at};
use oci::Digest;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// What a client does with its connection before it pauses.
#[derive(Debug)]
pub struct Kind {
    /// In a few words.
    pub name: &'static str,
    /// Memory that such a connection may take, in KiB.
    pub most_kib: f64,
    begin: fn(&mut TcpStream) -> io::Result<()>,
}

/// The kinds. A sender that was fast makes the HTTP library's buffer grow, which it keeps as long as the connection.
pub const KINDS: [Kind; 4] = [
    Kind {
        name: "idle after an answer",
        most_kib: 24.0,
        begin: ask,
    },
    Kind {
        name: "in the middle of a head",
        most_kib: 32.0,
        begin: |stream| stream.write_all(b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nX-Half: "),
    },
    Kind {
        name: "after 4 KiB of a body",
        most_kib: 96.0,
        begin: |stream| begin_body(stream, 4 << 10),
    },
    Kind {
        name: "after 200 KB of a body, sent at once",
        most_kib: 384.0,
        begin: |stream| begin_body(stream, 200_000),
    },
];

/// Descriptors that may come or go beside those of connections: a log's end may be an open file more.
const SLACK_DESCRIPTORS: usize = 8;

/// Descriptors that a process needs beside those of connections.
const OTHER_DESCRIPTORS: u64 = 64;

/// What so many connections made the process need.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// Connections that were open at once.
    pub connections: usize,
    /// Memory that each connection took, in KiB, for each of [`KINDS`].
    pub kib_each: [f64; KINDS.len()],
    /// Resident memory while all were open, in KiB; before, the first time, when they were closed, and when they were open again.
    pub kib: [u64; 4],
    /// Descriptors when all were closed, more than before.
    pub descriptors_left: usize,
}

impl Held {
    /// What is more than it may be, in words.
    pub fn too_much(&self) -> Option<String> {
        let grown = KINDS.iter().zip(self.kib_each).find_map(|(kind, kib)| {
            (kib > kind.most_kib).then(|| {
                format!(
                    "a connection {} takes {kib:.1} KiB, more than {}",
                    kind.name, kind.most_kib
                )
            })
        });
        let [_, first, _, again] = self.kib;
        grown
            .or_else(|| {
                // An allocator's free room is in pieces, which fit the next connections for the most part. What is never freed would
                // come twice.
                (again > first + first / 2).then(|| {
                    format!("memory grew from {first} to {again} KiB when all connections were opened again")
                })
            })
            .or_else(|| {
                let left = self.descriptors_left;
                (left > SLACK_DESCRIPTORS).then(|| format!("{left} descriptors are left"))
            })
    }
}

/// Opens so many connections at once, a quarter of each kind, looks at the server when all of a kind are open, and when all are
/// closed; and opens them again. Another client is answered meanwhile.
///
/// # Errors
/// A connection could not be opened or was not accepted, or nobody was answered. This process may not have so many descriptors.
pub fn hold(registry: &[String], connections: usize) -> Result<Held, SoakError> {
    allow_descriptors(connections as u64 + OTHER_DESCRIPTORS)?;
    let folder = Folder::new("hold")?;
    let mut command = command(registry);
    // One client: the limit is for many. And none of its connections ends before all are there, however slow this machine is.
    let limits = [
        ("REGISTRY_HTTP_LIMITS_CLIENTUPLOADS", "0"),
        ("REGISTRY_HTTP_LIMITS_UPLOADS", "100000"),
        ("REGISTRY_HTTP_LIMITS_CONNECTIONS", "100000"),
        ("REGISTRY_HTTP_LIMITS_HEADTIMEOUT", "1h"),
        ("REGISTRY_HTTP_LIMITS_BODYTIMEOUT", "1h"),
        ("REGISTRY_HTTP_LIMITS_BODYRATE", "0"),
        ("REGISTRY_HTTP_LIMITS_KEEPALIVE", "1h"),
    ];
    command
        .variables
        .extend(limits.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let server = Server::start(&command, folder.path())?;
    std::thread::sleep(SETTLE);
    let before = look_at(server.pid())?;
    let looks = open_all(&server, connections)?;
    let closed = look_at(server.pid())?;
    let again = open_all(&server, connections)?;
    let after = look_at(server.pid())?;
    let mut kib_each = [0.0; KINDS.len()];
    let mut last = before.resident_kib;
    for (number, kib) in kib_each.iter_mut().enumerate() {
        let now = looks[number].resident_kib;
        *kib = now.saturating_sub(last) as f64 / share(connections, number).max(1) as f64;
        last = now;
    }
    Ok(Held {
        connections,
        kib_each,
        kib: [
            before.resident_kib,
            last,
            closed.resident_kib,
            again[KINDS.len() - 1].resident_kib,
        ],
        descriptors_left: after.descriptors.saturating_sub(before.descriptors),
    })
}

/// How many connections are of the kind of this number.
fn share(connections: usize, kind: usize) -> usize {
    connections * (kind + 1) / KINDS.len() - connections * kind / KINDS.len()
}

/// Opens all connections, kind after kind, and closes them. What the server needed after each kind.
fn open_all(server: &Server, connections: usize) -> Result<[Look; KINDS.len()], SoakError> {
    let before = look_at(server.pid())?;
    let mut looks = [before; KINDS.len()];
    let mut held = Vec::new();
    for (number, kind) in KINDS.iter().enumerate() {
        for _ in 0..share(connections, number) {
            held.push(open(server.address(), kind)?);
        }
        std::thread::sleep(SETTLE);
        looks[number] = look_at(server.pid())?;
    }
    let accepted = looks[KINDS.len() - 1]
        .descriptors
        .saturating_sub(before.descriptors);
    if accepted + SLACK_DESCRIPTORS < connections {
        let what = format!("of {connections} connections only {accepted} were accepted");
        return Err(io::Error::other(what).into());
    }
    ask(&mut TcpStream::connect(server.address())?)?;
    for stream in &mut held {
        // Whoever reads sees what was answered, or nothing; and the other side sees the end.
        stream.set_nonblocking(true)?;
        let _ = stream.read(&mut [0; 1024]);
    }
    drop(held);
    std::thread::sleep(2 * SETTLE);
    Ok(looks)
}

fn open(address: SocketAddr, kind: &Kind) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    (kind.begin)(&mut stream)?;
    Ok(stream)
}

/// Sends so many bytes of a large blob.
fn begin_body(stream: &mut TcpStream, bytes: usize) -> io::Result<()> {
    let path = format!("/v2/held/blobs/uploads/?digest={}", Digest::sha256(b"x"));
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(&vec![0; bytes])
}

/// Lets this process, and those that it starts, have so many descriptors.
fn allow_descriptors(needed: u64) -> io::Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if let Some(maximum) = maximum
        && maximum < needed
    {
        let what = format!(
            "this takes {needed} descriptors, and a process may have {maximum} here: `ulimit -n {needed}` as root allows more"
        );
        return Err(io::Error::other(what));
    }
    let raised = Rlimit {
        current: Some(needed),
        maximum,
    };
    Ok(setrlimit(Resource::Nofile, raised)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_too_much_or_grows_or_stays_open_is_told() {
        let good = Held {
            connections: 4,
            kib_each: [1.0; KINDS.len()],
            kib: [1, 100_000, 100_000, 110_000],
            descriptors_left: 0,
        };
        assert_eq!(good.too_much(), None);
        for (number, kind) in KINDS.iter().enumerate() {
            let mut held = good.clone();
            held.kib_each[number] = kind.most_kib + 1.0;
            assert!(held.too_much().is_some_and(|what| what.contains(kind.name)));
        }
        let grown = Held {
            kib: [1, 100_000, 100_000, 200_000],
            ..good.clone()
        };
        assert!(grown.too_much().is_some_and(|what| what.contains("grew")));
        let left = Held {
            descriptors_left: SLACK_DESCRIPTORS + 1,
            ..good
        };
        assert!(left.too_much().is_some_and(|what| what.contains("descriptors")));
    }

    #[test]
    fn more_descriptors_than_a_process_may_have_are_refused_with_what_to_do() {
        let Some(maximum) = getrlimit(Resource::Nofile).maximum else {
            return;
        };
        let refused = allow_descriptors(maximum + 1).expect_err("more than there may be");
        assert!(refused.to_string().contains("ulimit -n"), "{refused}");
    }
}
