//! Sockets to listen on, bound before anything is served, with errors that say what to do.

use crate::config::Listen;
use std::{
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

/// Connections that wait to be accepted: many clients begin at once when a cluster pulls an image.
const BACKLOG: i32 = 1024;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {listen}: {reason}")]
pub struct BindError {
    /// As configured.
    pub listen: Listen,
    /// What is wrong, and what may help.
    pub reason: String,
}

/// Binds every address of `listen`; where port 0 is asked for, all get the same port.
///
/// `patience` is how long sent bytes may stay unacknowledged: a client that reads nothing is dropped then.
///
/// # Errors
/// [`BindError`] if not one address can be bound, or one of them is taken.
pub fn bind(listen: &Listen, patience: Duration) -> Result<Vec<TcpListener>, BindError> {
    let failed = |reason: String| BindError {
        listen: listen.clone(),
        reason,
    };
    let addresses = listen
        .resolve()
        .map_err(|error| failed(format!("the name cannot be resolved: {error}")))?;
    let mut listeners: Vec<TcpListener> = Vec::new();
    let mut refused: Option<(SocketAddr, io::Error)> = None;
    for mut address in addresses {
        if let (0, Some(Ok(first))) = (address.port(), listeners.first().map(TcpListener::local_addr)) {
            address.set_port(first.port());
        }
        match TcpListener::bind(address) {
            Ok(listener) => {
                prepare(&listener, patience);
                listeners.push(listener);
            }
            // "::" may have taken the port of "0.0.0.0" along, and a machine may not have every address of a name.
            Err(error) if !listeners.is_empty() && may_be_absent(&address, &error) => {}
            Err(error) => refused = Some((address, error)),
        }
    }
    match refused {
        Some((address, error)) if listeners.is_empty() || !may_be_absent(&address, &error) => {
            Err(failed(explain(address, &error)))
        }
        _ if listeners.is_empty() => Err(failed("the name has no address".to_owned())),
        _ => Ok(listeners),
    }
}

/// Whether this failure does not matter when another address of the same `listen` was bound.
fn may_be_absent(address: &SocketAddr, error: &io::Error) -> bool {
    match error.kind() {
        io::ErrorKind::AddrInUse => address.ip().is_unspecified(),
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported => true,
        // EAFNOSUPPORT, where IPv6 is switched off, has no kind of its own.
        _ => error.raw_os_error() == Some(97),
    }
}

fn explain(address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "port {} of {} is taken by another program: stop it, or choose another port by http.addr or REGISTRY_HTTP_ADDR",
            address.port(),
            address.ip()
        ),
        io::ErrorKind::AddrNotAvailable => format!("this machine does not have the address {}", address.ip()),
        io::ErrorKind::PermissionDenied => {
            format!("port {} needs more rights: choose one above 1023", address.port())
        }
        _ => error.to_string(),
    }
}

/// Sets what connections inherit. Failing costs comfort only.
fn prepare(listener: &TcpListener, patience: Duration) {
    #[cfg(target_os = "linux")]
    {
        let milliseconds = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX);
        let _ = rustix::net::sockopt::set_tcp_user_timeout(listener, milliseconds);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = patience;
    #[cfg(unix)]
    let _ = rustix::net::listen(listener, BACKLOG);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(text: &str) -> Result<Vec<TcpListener>, BindError> {
        bind(&text.parse().expect("an address"), Duration::from_secs(60))
    }

    #[test]
    fn a_free_port_is_chosen_once_for_all_addresses() {
        for text in ["127.0.0.1:0", "localhost:0", ":0"] {
            let listeners = bound(text).expect(text);
            let ports: Vec<u16> = listeners
                .iter()
                .map(|l| l.local_addr().expect("an address").port())
                .collect();
            assert!(
                ports[0] != 0 && ports.iter().all(|port| *port == ports[0]),
                "{text}: {ports:?}"
            );
        }
    }

    #[test]
    fn a_taken_port_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = taken.local_addr().expect("an address").port();
        let error = bound(&format!("127.0.0.1:{port}"))
            .expect_err("a taken port")
            .to_string();
        let expected = format!(
            "cannot listen on 127.0.0.1:{port}: port {port} of 127.0.0.1 is taken by another program"
        );
        assert!(error.starts_with(&expected), "{error}");
    }

    #[test]
    fn an_address_of_another_machine_is_refused() {
        let error = bound("192.0.2.1:0")
            .expect_err("an address of documentation")
            .to_string();
        assert!(error.contains("does not have the address 192.0.2.1"), "{error}");
        let error = bound("no-such-host.invalid:0").expect_err("no name").to_string();
        assert!(error.contains("cannot be resolved"), "{error}");
    }
}
