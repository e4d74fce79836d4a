//! The composition root: from a configuration to a running server. The only place that knows all the others.

use crate::config::{Config, Listen};
use actix_web::{App, HttpServer, dev::ServerHandle};
use std::{
    future::Future,
    io,
    net::{SocketAddr, TcpListener},
    pin::Pin,
    task::{Context, Poll},
};

/// Why a registry does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be bound.
    #[error("cannot listen on {listen}: {reason}")]
    Bind {
        /// As configured.
        listen: Listen,
        /// In words that tell what to do.
        reason: String,
    },
    /// The server's threads cannot be started.
    #[error("cannot start the server: {0}")]
    Server(#[source] io::Error),
}

/// A started registry. It serves until it is stopped; awaiting it waits for that.
pub struct Running {
    addresses: Vec<SocketAddr>,
    handle: ServerHandle,
    server: actix_rt::task::JoinHandle<io::Result<()>>,
}

impl Running {
    /// Where it listens; never empty, and with the port that was chosen where 0 was asked for.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where the debug server listens; empty without `http.debug`.
    pub fn debug_addresses(&self) -> &[SocketAddr] {
        &[]
    }

    /// Stops listening and ends. With `graceful`, requests under way may end first, for as long as `http.draintimeout`.
    pub async fn stop(self, graceful: bool) {
        self.handle.stop(graceful).await;
        let _ = self.server.await;
    }
}

impl Future for Running {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.server).poll(context).map(|ended| match ended {
            Ok(result) => result,
            Err(error) => Err(io::Error::other(error)),
        })
    }
}

/// Starts a registry. It must be called inside an actix System, which it lives in.
///
/// # Errors
/// [`StartError`], in words for the operator.
pub fn start(config: Config) -> Result<Running, StartError> {
    let listeners = bind(&config.http.addr)?;
    let addresses = listeners.iter().filter_map(|l| l.local_addr().ok()).collect();
    let mut server = HttpServer::new(App::new).workers(1).disable_signals();
    for listener in listeners {
        server = server.listen(listener).map_err(StartError::Server)?;
    }
    let server = server.run();
    Ok(Running {
        addresses,
        handle: server.handle(),
        server: actix_rt::spawn(server),
    })
}

/// Binds every address of `listen`; where port 0 is asked for, all get the same port.
fn bind(listen: &Listen) -> Result<Vec<TcpListener>, StartError> {
    let failed = |reason: String| StartError::Bind {
        listen: listen.clone(),
        reason,
    };
    let addresses = listen.resolve().map_err(|error| failed(error.to_string()))?;
    let mut listeners: Vec<TcpListener> = Vec::new();
    for mut address in addresses {
        if let (0, Some(Ok(first))) = (address.port(), listeners.first().map(TcpListener::local_addr)) {
            address.set_port(first.port());
        }
        listeners.push(TcpListener::bind(address).map_err(|error| failed(error.to_string()))?);
    }
    Ok(listeners)
}
