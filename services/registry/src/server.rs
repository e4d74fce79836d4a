//! The server: from listeners, over TLS or a [`Wire`], to HTTP and the service that answers.
//!
//! It is put together from the parts that actix-web's own server is made of, because that one can neither stand a service in
//! front of the application nor be given a connection of another kind.

use crate::{config, wire::Wire};
use actix_http::{HttpService, HttpServiceBuilder, Protocol, Request, Response, h1};
use actix_server::{GracefulShutdownSignal, Server, ServerBuilder};
use actix_service::{ServiceFactory, ServiceFactoryExt, fn_service};
use actix_web::{Error, body::MessageBody};
use std::{
    fmt::Debug,
    future::ready,
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};
use tokio::net::TcpStream;

/// More threads than this share locks rather than work.
const MAX_DEFAULT_WORKERS: usize = 8;

/// How long a client may take for the last part of a closing handshake, and how long what a refused sender still sends is
/// taken in and thrown away, so that a client that reads late finds its answer.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What bounds connections.
#[derive(Clone)]
struct Bounds {
    limits: config::Limits,
    stopping: GracefulShutdownSignal,
}

/// Starts a server. `service` is called for each worker and listener.
///
/// # Errors
/// The system's.
pub fn start<F, S, B>(
    http: &config::Http,
    listeners: Vec<TcpListener>,
    tls: Option<rustls::ServerConfig>,
    service: F,
) -> io::Result<Server>
where
    F: Fn() -> S + Clone + Send + 'static,
    S: ServiceFactory<Request, Config = (), Response = Response<B>, Error = Error, InitError: Debug>
        + 'static,
    S::Future: 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    let workers = workers(http.limits.workers);
    let mut builder = ServerBuilder::new()
        .workers(workers)
        .max_concurrent_connections(http.limits.connections.div_ceil(workers))
        .shutdown_timeout(http.draintimeout.get().as_secs_f64().ceil() as u64)
        .disable_signals();
    let bounds = Bounds {
        limits: http.limits.clone(),
        stopping: builder.graceful_shutdown_signal(),
    };
    for listener in listeners {
        let address = listener.local_addr()?;
        let (service, bounds) = (service.clone(), bounds.clone());
        let name = format!("registry {address}");
        builder = match tls.clone() {
            Some(tls) => builder.listen(name, listener, move || {
                bounds
                    .apply(HttpService::build(), address)
                    .finish(service())
                    .rustls_0_23(tls.clone())
            }),
            None => builder.listen(name, listener, move || {
                let http = bounds
                    .apply(HttpService::build(), address)
                    .on_connect_ext(|wire: &Wire, data| {
                        if Wire::SENDS_FILES {
                            data.insert(wire.outlet());
                        }
                    })
                    .finish(service());
                fn_service(|tcp: TcpStream| {
                    // Without it, answers would only come later.
                    let _ = tcp.set_nodelay(true);
                    let peer = tcp.peer_addr().ok();
                    ready(Ok((Wire::new(tcp), Protocol::Http1, peer)))
                })
                .and_then(http)
            }),
        }?;
    }
    Ok(builder.run())
}

impl Bounds {
    fn apply<T, S>(
        &self,
        builder: HttpServiceBuilder<T, S, h1::ExpectHandler>,
        address: SocketAddr,
    ) -> HttpServiceBuilder<T, S, h1::ExpectHandler>
    where
        S: ServiceFactory<Request, Config = ()>,
        S::Error: Into<Response<actix_web::body::BoxBody>> + 'static,
        S::InitError: Debug,
        <S::Service as actix_service::Service<Request>>::Future: 'static,
    {
        let stopping = self.stopping.clone();
        builder
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .keep_alive(self.limits.keepalive.get())
            .client_request_timeout(self.limits.headtimeout.get())
            .client_disconnect_timeout(DISCONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .local_addr(address)
    }
}

/// How many threads serve, if `configured` leaves it open.
fn workers(configured: usize) -> usize {
    match configured {
        0 => std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(MAX_DEFAULT_WORKERS),
        count => count,
    }
}
