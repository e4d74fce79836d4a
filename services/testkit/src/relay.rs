//! Servers that pass bytes on: from another address, as behind IPv6, as an HTTP proxy that opens tunnels, or over a network
//! that breaks.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

/// How much is passed on at once, in bytes.
const PIECE_BYTES: usize = 16 * 1024;

/// Passes every connection on to one address. Dropping it ends nothing that is under way; it goes with the test.
pub struct Relay {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    manner: Manner,
}

/// What a relay says before it passes bytes on.
#[derive(Clone)]
enum Manner {
    Silent,
    /// Takes CONNECT, for any target, and only with this `Proxy-Authorization` if there is one.
    Tunnel(Option<String>),
    /// Breaks so many connections more, each once so many bytes have passed, both ways together.
    Breaking(Arc<AtomicU32>, u64),
}

impl Relay {
    /// Listens on `[::1]`; `None` where there is no IPv6.
    pub fn on_ipv6(target: SocketAddr) -> Option<Relay> {
        let listener = TcpListener::bind("[::1]:0").ok()?;
        Some(Relay::start(listener, target, Manner::Silent))
    }

    /// An HTTP proxy that leads every tunnel to one address, whatever host was asked for.
    pub fn proxy(target: SocketAddr, authorization: Option<&str>) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        Relay::start(listener, target, Manner::Tunnel(authorization.map(str::to_owned)))
    }

    /// A network that breaks: its first `times` connections to carry more than `bytes`, both ways together, end right there.
    pub fn breaking(target: SocketAddr, times: u32, bytes: u64) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let left = Arc::new(AtomicU32::new(times));
        Relay::start(listener, target, Manner::Breaking(left, bytes))
    }

    /// `HOST:PORT`, as it stands in a reference.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// The heads of the requests for a tunnel so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no panic").clone()
    }

    /// How many connections of a breaking network are still to break.
    pub fn left(&self) -> u32 {
        match &self.manner {
            Manner::Breaking(left, _) => left.load(Ordering::SeqCst),
            Manner::Silent | Manner::Tunnel(_) => 0,
        }
    }

    fn start(listener: TcpListener, target: SocketAddr, manner: Manner) -> Relay {
        let relay = Relay {
            address: listener.local_addr().expect("an address"),
            heads: Arc::default(),
            manner: manner.clone(),
        };
        let heads = Arc::clone(&relay.heads);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (heads, manner) = (Arc::clone(&heads), manner.clone());
                // A side that goes away ends its own connection alone.
                std::thread::spawn(move || converse(stream, target, &manner, &heads).ok());
            }
        });
        relay
    }
}

fn converse(
    mut near: TcpStream,
    target: SocketAddr,
    manner: &Manner,
    heads: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut from_near = BufReader::new(near.try_clone()?);
    if let Manner::Tunnel(wanted) = manner {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") && from_near.read_line(&mut head)? > 0 {}
        heads.lock().expect("no panic").push(head.clone());
        let refusal = match wanted {
            _ if !head.starts_with("CONNECT ") => Some("405 Only Tunnels"),
            Some(wanted) if !head.contains(&format!("Proxy-Authorization: {wanted}\r\n")) => {
                Some("407 Who Are You")
            }
            _ => None,
        };
        if let Some(refusal) = refusal {
            return near.write_all(format!("HTTP/1.1 {refusal}\r\nContent-Length: 0\r\n\r\n").as_bytes());
        }
    }
    let far = TcpStream::connect(target)?;
    if matches!(manner, Manner::Tunnel(_)) {
        near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    }
    let way = Arc::new(Way {
        manner: manner.clone(),
        passed: AtomicU64::new(0),
        breaks: OnceLock::new(),
        ends: [near.try_clone()?, far.try_clone()?],
    });
    let (mut to_far, mut from_far) = (far.try_clone()?, far);
    let forth = {
        let way = Arc::clone(&way);
        std::thread::spawn(move || way.pass_on(&mut from_near, &mut to_far))
    };
    way.pass_on(&mut from_far, &mut near);
    let _ = forth.join();
    Ok(())
}

/// What both directions of a connection share.
struct Way {
    manner: Manner,
    passed: AtomicU64,
    /// Whether it breaks, once it has carried enough.
    breaks: OnceLock<bool>,
    ends: [TcpStream; 2],
}

impl Way {
    /// Passes on until the end, and ends the other side's reading there.
    fn pass_on(&self, from: &mut impl Read, to: &mut TcpStream) {
        let mut piece = [0; PIECE_BYTES];
        while let Ok(count @ 1..) = from.read(&mut piece) {
            if self.breaks_at(count) || to.write_all(&piece[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    }

    /// Whether the connection breaks before these bytes; if so, it is broken now.
    fn breaks_at(&self, count: usize) -> bool {
        let Manner::Breaking(left, bytes) = &self.manner else {
            return false;
        };
        let passed = self.passed.fetch_add(count as u64, Ordering::SeqCst) + count as u64;
        if passed <= *bytes {
            return false;
        }
        // Both directions come here, and go on to: whether it breaks is settled once.
        *self.breaks.get_or_init(|| {
            let is_one_of_them = left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                .is_ok();
            if is_one_of_them {
                for end in &self.ends {
                    let _ = end.shutdown(Shutdown::Both);
                }
            }
            is_one_of_them
        })
    }
}
