//! Servers that pass bytes on: from another address, as behind IPv6, or as an HTTP proxy that opens tunnels.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

/// Passes every connection on to one address. Dropping it ends nothing that is under way; it goes with the test.
pub struct Relay {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

/// What a relay says before it passes bytes on.
#[derive(Clone)]
enum Manner {
    Silent,
    /// Takes CONNECT, for any target, and only with this `Proxy-Authorization` if there is one.
    Tunnel(Option<String>),
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

    /// `HOST:PORT`, as it stands in a reference.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// The heads of the requests for a tunnel so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no panic").clone()
    }

    fn start(listener: TcpListener, target: SocketAddr, manner: Manner) -> Relay {
        let relay = Relay {
            address: listener.local_addr().expect("an address"),
            heads: Arc::default(),
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
    let (mut to_far, mut from_far) = (far.try_clone()?, far);
    let forth = std::thread::spawn(move || pass_on(&mut from_near, &mut to_far));
    pass_on(&mut from_far, &mut near);
    let _ = forth.join();
    Ok(())
}

/// Ends the other side's reading when this side has no more.
fn pass_on(from: &mut impl Read, to: &mut TcpStream) {
    let _ = std::io::copy(from, to);
    let _ = to.shutdown(Shutdown::Write);
}
