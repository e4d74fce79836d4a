//! Connections: resolved, opened directly or through a proxy, and wrapped in TLS for https.
//!
//! `awc` gets every connection from here and takes each for plain TCP. So a certificate can be for an IPv6 address (`awc`
//! would hand it to rustls in brackets, which is no name), and https can go through a proxy (`awc` knows none).

use super::proxy::{Proxies, Proxy, authority, host_and_port};
use actix_rt::net::{ActixStream, Ready};
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use awc::http::Uri;
use futures_util::{StreamExt, future::LocalBoxFuture, stream::FuturesUnordered};
use rustls::{ClientConfig, pki_types::ServerName};
use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::client::TlsStream;
use url::Url;

/// How long one address may take before the next one is tried beside it.
///
/// Source: RFC 8305, section 5, "Connection Attempt Delay".
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);
/// How many steps a connection has at most: the name, the connection, the proxy's answer, the handshake.
pub(super) const STEPS: u32 = 4;
/// The longest answer to CONNECT that is read, in bytes.
const MAX_PROXY_HEAD_BYTES: usize = 16 * 1024;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("the host name cannot be resolved: {0}")]
    Unresolved(io::Error),
    #[error("{0}")]
    Unconnected(io::Error),
    /// The name, the connection, the proxy or the handshake took too long.
    #[error("timed out")]
    TimedOut,
    #[error("{0}")]
    Tls(String),
    #[error("the proxy {proxy}: {why}")]
    Proxy { proxy: String, why: String },
    #[error("the proxy {0} wants a user and a password: name it as http://USER:PASSWORD@HOST:PORT")]
    ProxyWantsPassword(String),
    #[error("{0}")]
    Setup(crate::Error),
}

/// Opens connections of one kind: plain ones, or with TLS of one configuration.
#[derive(Clone)]
pub(super) struct Dialer {
    /// `None` for plain http.
    pub tls: Option<Arc<ClientConfig>>,
    pub proxies: Rc<Proxies>,
    /// How long each of the [`STEPS`] may take.
    pub step: Duration,
}

impl actix_service::Service<ConnectInfo<Uri>> for Dialer {
    type Response = Connection<Uri, Stream>;
    type Error = ConnectError;
    type Future = LocalBoxFuture<'static, Result<Self::Response, ConnectError>>;

    actix_service::always_ready!();

    fn call(&self, wanted: ConnectInfo<Uri>) -> Self::Future {
        let dialer = self.clone();
        Box::pin(async move {
            let uri = wanted.request().clone();
            match dialer.dial(&uri).await {
                Ok(stream) => Ok(Connection::new(uri, stream)),
                Err(error) => Err(ConnectError::Io(io::Error::other(error))),
            }
        })
    }
}

impl Dialer {
    async fn dial(&self, uri: &Uri) -> Result<Stream, DialError> {
        let scheme = match self.tls {
            Some(_) => "https",
            None => "http",
        };
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let url = Url::parse(&format!("{scheme}://{authority}/"))
            .map_err(|e| DialError::Setup(crate::Error::Usage(format!("{authority}: {e}"))))?;
        let (host, port) = host_and_port(&url);
        let proxy = self.proxies.for_url(&url).map_err(DialError::Setup)?;
        let stream = match (proxy, &self.tls) {
            (None, _) => self.connect(&host, port).await?,
            (Some(proxy), None) => self.connect_to_proxy(proxy).await?,
            (Some(proxy), Some(_)) => {
                let stream = self.connect_to_proxy(proxy).await?;
                self.within(tunnel(stream, proxy, &host, port)).await?
            }
        };
        let Some(config) = &self.tls else {
            return Ok(Stream::Plain(stream));
        };
        self.within(handshake(config, &host, stream))
            .await
            .map(|stream| Stream::Tls(Box::new(stream)))
    }

    async fn within<T>(&self, step: impl Future<Output = Result<T, DialError>>) -> Result<T, DialError> {
        timeout(self.step, step).await.unwrap_or(Err(DialError::TimedOut))
    }

    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, DialError> {
        let addresses = self
            .within(async {
                let found = tokio::net::lookup_host((host, port)).await;
                found.map(Vec::from_iter).map_err(DialError::Unresolved)
            })
            .await?;
        let stream = self
            .within(async { first_of(addresses).await.map_err(DialError::Unconnected) })
            .await?;
        // Requests are written whole, so nothing is gained by holding back their ends.
        stream.set_nodelay(true).map_err(DialError::Unconnected)?;
        Ok(stream)
    }

    async fn connect_to_proxy(&self, proxy: &Proxy) -> Result<TcpStream, DialError> {
        self.connect(&proxy.host, proxy.port)
            .await
            .map_err(|error| DialError::Proxy {
                proxy: proxy.to_string(),
                why: error.to_string(),
            })
    }
}

/// Connects to the address that answers first. Each is given a head start before the next, so that one which is silent costs
/// little, and one that refuses nothing.
async fn first_of(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
    let mut waiting = addresses.into_iter();
    let mut trying = FuturesUnordered::new();
    loop {
        match waiting.next() {
            Some(address) => trying.push(TcpStream::connect(address)),
            None if trying.is_empty() => return Err(last),
            None => {}
        }
        match timeout(NEXT_ADDRESS_AFTER, trying.next()).await {
            Ok(Some(Ok(stream))) => return Ok(stream),
            Ok(Some(Err(error))) => last = error,
            Ok(None) | Err(_) => {}
        }
    }
}

/// Asks a proxy for a tunnel.
///
/// Source: RFC 9110, section 9.3.6.
async fn tunnel(mut stream: TcpStream, proxy: &Proxy, host: &str, port: u16) -> Result<TcpStream, DialError> {
    let failed = |why: String| DialError::Proxy {
        proxy: proxy.to_string(),
        why,
    };
    let target = authority(host, port);
    let mut ask = format!(
        "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: {}\r\n",
        super::USER_AGENT
    );
    if let Some(authorization) = &proxy.authorization {
        ask.push_str(&format!("Proxy-Authorization: {authorization}\r\n"));
    }
    ask.push_str("\r\n");
    stream
        .write_all(ask.as_bytes())
        .await
        .map_err(|e| failed(e.to_string()))?;
    let head = read_head(&mut stream).await.map_err(|e| failed(e.to_string()))?;
    let first = crate::error::clean(head.lines().next().unwrap_or_default());
    match first.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok()) {
        Some(200..=299) => Ok(stream),
        Some(407) => Err(DialError::ProxyWantsPassword(proxy.to_string())),
        Some(_) => Err(failed(format!("it answered {first:?} to CONNECT {target}"))),
        None => Err(failed(format!("it does not speak HTTP: it answered {first:?}"))),
    }
}

/// Reads up to the empty line, and nothing that comes after it: that is for TLS.
async fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= MAX_PROXY_HEAD_BYTES {
            return Err(io::Error::other(format!(
                "its answer is larger than {MAX_PROXY_HEAD_BYTES} bytes"
            )));
        }
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

async fn handshake(
    config: &Arc<ClientConfig>,
    host: &str,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, DialError> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| DialError::Tls("the host is no name that a certificate could have".to_owned()))?;
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
    connector.connect(name, stream).await.map_err(|error| {
        match error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidMessage(_)) => DialError::Tls(
                "the other side does not speak TLS, it may be a plain http registry".to_owned(),
            ),
            Some(inner) => DialError::Tls(inner.to_string()),
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                DialError::Tls("the other side closed the handshake".to_owned())
            }
            None => DialError::Unconnected(error),
        }
    })
}

/// A connection, with TLS or without.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    fn socket(&self) -> &TcpStream {
        match self {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl ActixStream for Stream {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_read_ready(self.socket(), cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_write_ready(self.socket(), cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_refuses_or_is_silent_does_not_keep_from_one_that_answers() {
        actix_rt::System::new().block_on(async {
            let answering = tokio::net::TcpListener::bind("127.0.0.1:0")
                .await
                .expect("a port");
            let good = answering.local_addr().expect("an address");
            let refusing = {
                let gone = tokio::net::TcpListener::bind("127.0.0.1:0")
                    .await
                    .expect("a port");
                gone.local_addr().expect("an address")
            };
            // Nobody accepts here, so once its queue is full a connection to it stays without an answer.
            let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
            socket
                .bind("127.0.0.1:0".parse().expect("an address"))
                .expect("bound");
            let full = socket.listen(0).expect("a listener");
            let silent = full.local_addr().expect("an address");
            let mut queue = Vec::new();
            while let Ok(Ok(queued)) = timeout(NEXT_ADDRESS_AFTER, TcpStream::connect(silent)).await {
                queue.push(queued);
                assert!(queue.len() < 100, "the queue does not fill");
            }
            let stream = first_of(vec![refusing, silent, good]).await.expect("one answers");
            assert_eq!(stream.peer_addr().expect("an address"), good);
            let error = first_of(vec![refusing]).await.expect_err("nobody answers");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
            first_of(Vec::new()).await.expect_err("there is nobody");
        });
    }
}
