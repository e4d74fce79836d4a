//! The server: from listeners, over TLS or a [`Wire`], to a connection that is [`Paced`] and [`Resting`], to HTTP and the service
//! that answers.
//!
//! It is put together from the parts that actix-web's own server is made of, because that one can neither stand a service in
//! front of the application nor be given a connection of another kind.

use crate::{
    config,
    edge::Pace,
    paced::Paced,
    rest::{Lent, Resting, Rests},
    wire::{Outlet, Wire},
};
use actix_http::{HttpService, HttpServiceBuilder, KeepAlive, Request, Response, h1};
use actix_server::{GracefulShutdownSignal, Server, ServerBuilder};
use actix_service::{ServiceFactory, ServiceFactoryExt, fn_service};
use actix_tls::accept::{
    TlsError,
    rustls_0_23::{Acceptor, TlsStream},
};
use actix_web::{Error, body::MessageBody};
use std::{
    fmt::Debug,
    future::ready,
    io,
    net::{SocketAddr, TcpListener},
    rc::Rc,
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
                let http = bounds
                    .apply(HttpService::build(), address)
                    .on_connect_ext(|lent: &Lent<TlsStream<TcpStream>>, data| {
                        data.insert(lent.turns());
                    })
                    .finish(service());
                let http = bounds.rest(http);
                let mut tls = tls.clone();
                tls.alpn_protocols = vec![b"http/1.1".to_vec()];
                let bounds = bounds.clone();
                Acceptor::new(tls)
                    .map_init_err(|_| ())
                    .map_err(TlsError::into_service_error)
                    .and_then(move |tls: TlsStream<TcpStream>| {
                        let peer = peer_of(tls.get_ref().0);
                        ready(Ok((bounds.pace(tls, None), peer)))
                    })
                    .and_then(http.map_err(TlsError::Service))
            }),
            None => builder.listen(name, listener, move || {
                let http = bounds
                    .apply(HttpService::build(), address)
                    .on_connect_ext(|lent: &Lent<Wire>, data| {
                        if Wire::SENDS_FILES {
                            data.insert(lent.with_io(Wire::outlet));
                        }
                        data.insert(lent.turns());
                    })
                    .finish(service());
                let http = bounds.rest(http);
                let bounds = bounds.clone();
                fn_service(move |tcp: TcpStream| {
                    let peer = peer_of(&tcp);
                    let wire = Wire::new(tcp);
                    let outlet = wire.outlet();
                    ready(Ok((bounds.pace(wire, Some(outlet)), peer)))
                })
                .and_then(http)
            }),
        }?;
    }
    Ok(builder.run())
}

/// The address of a connection's other end. The connection is made ready by the way.
fn peer_of(tcp: &TcpStream) -> Option<SocketAddr> {
    // Without it, answers would only come later.
    let _ = tcp.set_nodelay(true);
    tcp.peer_addr().ok()
}

impl Bounds {
    /// A connection that ends when its client reads too slowly.
    fn pace<S>(&self, io: S, outlet: Option<Rc<Outlet>>) -> Paced<S> {
        let pace = Pace {
            patience: self.limits.bodytimeout.get(),
            bytes_per_second: self.limits.bodyrate.0,
        };
        Paced::new(io, pace, outlet)
    }

    /// Gives connections to this service while they do not rest.
    fn rest<F>(&self, http: F) -> Resting<F> {
        let rests = Rests {
            head: self.limits.headtimeout.get(),
            next: self.limits.keepalive.get(),
            closing: DISCONNECT_TIMEOUT,
            stopping: self.stopping.clone(),
        };
        Resting::new(http, rests)
    }

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
            .keep_alive(match self.limits.keepalive.get() {
                Duration::ZERO => KeepAlive::Disabled,
                // `Resting` has the clock.
                _ => KeepAlive::Os,
            })
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
