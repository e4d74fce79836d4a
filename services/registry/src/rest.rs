//! A connection that rests costs little: the HTTP library has it only while there is something to do.
//!
//! The library keeps buffers of 16 KiB for every connection it serves, whether or not anything comes. Most connections of a
//! registry wait: for a first request, or for one more. Here a connection is given to the library when bytes have come, and taken
//! back when it has been quiet for a moment after an answer.
//!
//! To take it back is to let the library read an end that the client did not send; what the library does then to the connection
//! does not come through ([`Lent`]). That is done only where the library holds nothing that came ([`Rest::Whole`]).
//!
//! Here are also the clocks on a connection between two requests: the library's own is for the first head after it was given the
//! connection.

use crate::{
    framing::{Rest, Turns},
    paced::{Alarm, Paced},
};
use actix_http::{Protocol, error::DispatchError};
use actix_server::GracefulShutdownSignal;
use actix_service::{Service, ServiceFactory};
use futures_util::future::LocalBoxFuture;
use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    ops::RangeInclusive,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::{Instant, timeout},
};

/// How long after an answer a connection is taken back: as long as it was served, within these bounds. To give it to the library once
/// more costs about a microsecond, which is nothing to a client that asks now and then, and does not come to one that goes on asking.
const QUIET: RangeInclusive<Duration> = Duration::from_millis(20)..=Duration::from_secs(1);

/// Bytes that are read before the library is given the connection. Most heads are smaller; of a larger one it reads the rest.
const FIRST_BYTES: usize = 4096;

/// How long connections may rest.
#[derive(Clone)]
pub struct Rests {
    /// Before their first bytes; and for the head of a later request, after `next`.
    pub head: Duration,
    /// Between an answer and the next bytes.
    pub next: Duration,
    /// How long closing one may take.
    pub closing: Duration,
    /// Tells that the server stops: what rests is closed then.
    pub stopping: GracefulShutdownSignal,
}

/// The HTTP library's service, to which connections are given while they do not rest.
pub struct Resting<F> {
    http: F,
    rests: Rests,
}

impl<F> Resting<F> {
    /// Connections to this service rest so long at most.
    pub fn new(http: F, rests: Rests) -> Resting<F> {
        Resting { http, rests }
    }
}

/// What the library's service is given.
type Given<S> = (Lent<S>, Protocol, Option<SocketAddr>);

impl<F, S> ServiceFactory<(Paced<S>, Option<SocketAddr>)> for Resting<F>
where
    F: ServiceFactory<Given<S>, Config = (), Response = (), Error = DispatchError>,
    F::Service: 'static,
    F::Future: 'static,
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    type Response = ();
    type Error = DispatchError;
    type Config = ();
    type Service = RestingService<F::Service>;
    type InitError = F::InitError;
    type Future = LocalBoxFuture<'static, Result<Self::Service, Self::InitError>>;

    fn new_service(&self, (): ()) -> Self::Future {
        let (http, rests) = (self.http.new_service(()), self.rests.clone());
        Box::pin(async move {
            Ok(RestingService {
                http: Rc::new(http.await?),
                rests: Rc::new(rests),
            })
        })
    }
}

/// [`Resting`] on one worker.
pub struct RestingService<H> {
    http: Rc<H>,
    rests: Rc<Rests>,
}

impl<H, S> Service<(Paced<S>, Option<SocketAddr>)> for RestingService<H>
where
    H: Service<Given<S>, Response = (), Error = DispatchError> + 'static,
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    type Response = ();
    type Error = DispatchError;
    type Future = LocalBoxFuture<'static, Result<(), DispatchError>>;

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<(), DispatchError>> {
        self.http.poll_ready(context)
    }

    fn call(&self, (paced, peer): (Paced<S>, Option<SocketAddr>)) -> Self::Future {
        let (http, rests) = (Rc::clone(&self.http), Rc::clone(&self.rests));
        Box::pin(async move {
            let lent = Lent::new(paced);
            let mut until = Instant::now() + rests.head;
            while lent.0.rest(until, &rests.stopping).await? {
                let served = Box::pin(http.call((lent.clone(), Protocol::Http1, peer)));
                if let Some(end) = lent.0.serve(served, &rests).await {
                    if end.is_ok() && lent.0.turns.holds() {
                        let _ = timeout(rests.closing, lent.0.discard()).await;
                    }
                    return end;
                }
                until = Instant::now() + rests.next;
            }
            // A client that is gone is no error.
            let _ = timeout(rests.closing, lent.clone().shutdown()).await;
            Ok(())
        })
    }
}

/// A connection, as the library has it.
#[derive(Debug)]
pub struct Lent<S>(Rc<Connection<S>>);

impl<S> Clone for Lent<S> {
    fn clone(&self) -> Lent<S> {
        Lent(Rc::clone(&self.0))
    }
}

impl<S> Lent<S> {
    fn new(paced: Paced<S>) -> Lent<S> {
        Lent(Rc::new(Connection {
            paced: RefCell::new(paced),
            turns: Rc::default(),
            parting: Cell::new(Parting::No),
            is_writing: Cell::new(false),
        }))
    }

    /// What the requests on it are to tell.
    pub fn turns(&self) -> Rc<Turns> {
        Rc::clone(&self.0.turns)
    }

    /// Looks at the connection itself.
    pub fn with_io<T>(&self, look: impl FnOnce(&S) -> T) -> T {
        look(self.0.paced.borrow().get_ref())
    }
}

#[derive(Debug)]
struct Connection<S> {
    paced: RefCell<Paced<S>>,
    turns: Rc<Turns>,
    parting: Cell<Parting>,
    /// Whether the library has something to write for which there is no room yet.
    is_writing: Cell<bool>,
}

/// How far the library is with parting from a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parting {
    /// It serves.
    No,
    /// It is to read an end as soon as there is nothing else to read, and to leave the connection open.
    Asked,
    /// It has read that end.
    Told,
    /// It is to read an end as soon as there is nothing else to read, and to close the connection.
    Closing,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Reads what may be handed over to the library now.
    fn poll_read(&self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let turns = &self.turns;
        let held = turns.take_held(buffer.remaining());
        if !held.is_empty() {
            buffer.put_slice(&held);
            return Poll::Ready(Ok(()));
        }
        if turns.holds() {
            turns.tell(context);
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut *self.paced.borrow_mut()).poll_read(context, buffer))?;
        let came = &buffer.filled()[before..];
        let count = turns.admit(came);
        if count < came.len() {
            turns.hold(&came[count..]);
            buffer.set_filled(before + count);
            if count == 0 {
                // To hand over nothing would be the end.
                turns.tell(context);
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Waits for the next bytes. Whether there are any: not if the client has closed, the time is over, or the server stops.
    async fn rest(&self, until: Instant, stopping: &GracefulShutdownSignal) -> io::Result<bool> {
        let mut stopped = pin!(stopping.notified());
        let mut over = Alarm::default();
        poll_fn(|context| {
            let mut space = [0; FIRST_BYTES];
            let mut buffer = ReadBuf::new(&mut space);
            let read = Pin::new(&mut *self.paced.borrow_mut()).poll_read(context, &mut buffer);
            if let Poll::Ready(read) = read {
                self.turns.hold(buffer.filled());
                return Poll::Ready(read.map(|()| !buffer.filled().is_empty()));
            }
            if stopped.as_mut().poll(context).is_pending() {
                ready!(over.poll(until, context));
            }
            Poll::Ready(Ok(false))
        })
        .await
    }

    /// Takes in what the client sends behind its last request, to its end: else the system would tell it of a reset, and its own
    /// would throw answers away that it has not read yet.
    async fn discard(&self) {
        poll_fn(|context| {
            let mut space = [0; FIRST_BYTES];
            loop {
                let mut buffer = ReadBuf::new(&mut space);
                let read = ready!(Pin::new(&mut *self.paced.borrow_mut()).poll_read(context, &mut buffer));
                if read.is_err() || buffer.filled().is_empty() {
                    return Poll::Ready(());
                }
            }
        })
        .await;
    }

    /// Has the library serve until the connection rests. How it ended, if it did.
    async fn serve<E>(
        &self,
        mut served: Pin<Box<impl Future<Output = Result<(), E>>>>,
        rests: &Rests,
    ) -> Option<Result<(), E>> {
        let begun = Instant::now();
        let mut alarm = Alarm::default();
        let end = poll_fn(|context| {
            loop {
                if let Poll::Ready(end) = served.as_mut().poll(context) {
                    return Poll::Ready(end);
                }
                let Some(rest) = self.turns.rest() else {
                    return Poll::Pending;
                };
                let (at, parting) = match rest {
                    Rest::Whole(since) => {
                        let quiet = since.duration_since(begun).clamp(*QUIET.start(), *QUIET.end());
                        (since + quiet, Parting::Asked)
                    }
                    Rest::Unsure(since) => (since + rests.next, Parting::Closing),
                    Rest::Heard(since) => (since + rests.next + rests.head, Parting::Closing),
                };
                match self.parting.get() {
                    // The client has its pace, and the library may have to close the connection then.
                    Parting::No if self.is_writing.get() => return Poll::Pending,
                    Parting::No => ready!(alarm.poll(at, context)),
                    Parting::Asked | Parting::Told => return Poll::Pending,
                    Parting::Closing => {
                        ready!(alarm.poll(at + rests.closing, context));
                        return Poll::Ready(Ok(()));
                    }
                }
                self.parting.set(parting);
            }
        })
        .await;
        match (self.parting.replace(Parting::No), end) {
            (Parting::Told, Ok(())) => None,
            (_, end) => Some(end),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Lent<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let connection = &self.0;
        if let Poll::Ready(read) = connection.poll_read(context, buffer) {
            // The next request came first.
            connection.parting.set(Parting::No);
            return Poll::Ready(read);
        }
        match connection.parting.get() {
            Parting::Asked => connection.parting.set(Parting::Told),
            Parting::Closing => {}
            Parting::No | Parting::Told => return Poll::Pending,
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lent<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.0.paced.borrow_mut()).poll_write(context, bytes);
        self.0.is_writing.set(written.is_pending());
        written
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut *self.0.paced.borrow_mut()).poll_flush(context);
        self.0.is_writing.set(flushed.is_pending());
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0.parting.get() {
            Parting::Told => Poll::Ready(Ok(())),
            Parting::No | Parting::Asked | Parting::Closing => {
                Pin::new(&mut *self.0.paced.borrow_mut()).poll_shutdown(context)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{edge::Pace, framing::Announced};
    use actix_server::ServerBuilder;
    use tokio::{
        io::{AsyncReadExt, duplex},
        time::sleep,
    };

    const GET: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

    fn rests() -> Rests {
        Rests {
            head: Duration::from_secs(60),
            next: Duration::from_secs(60),
            closing: Duration::from_secs(60),
            stopping: ServerBuilder::new().graceful_shutdown_signal(),
        }
    }

    /// A connection on which a request was answered, and its other end, which takes ten bytes before they are read.
    fn answered() -> (Lent<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (near, far) = duplex(10);
        let pace = Pace {
            patience: Duration::from_secs(60),
            bytes_per_second: 0,
        };
        let lent = Lent::new(Paced::new(near, pace, None));
        assert_eq!(lent.turns().admit(GET), GET.len());
        drop(lent.turns().begin(Announced::Bytes(0)));
        (lent, far)
    }

    /// As the library does it: reads whenever it may, and writes what it has left, before it ends where it has read an end.
    fn library(
        mut lent: Lent<tokio::io::DuplexStream>,
        mut left: usize,
    ) -> Pin<Box<impl Future<Output = Result<(), ()>>>> {
        Box::pin(poll_fn(move |context| {
            let mut space = [0; 16];
            let mut buffer = ReadBuf::new(&mut space);
            let read = Pin::new(&mut lent).poll_read(context, &mut buffer);
            let has_ended = read.is_ready() && buffer.filled().is_empty();
            while left > 0 {
                let written = Pin::new(&mut lent).poll_write(context, &[7; 100][..left]);
                let Poll::Ready(written) = written else {
                    assert!(!has_ended, "it has read an end and still writes");
                    return Poll::Pending;
                };
                left -= written.expect("it is open");
            }
            match has_ended {
                true => Poll::Ready(Ok(())),
                false => Poll::Pending,
            }
        }))
    }

    #[test]
    fn a_connection_is_taken_back_when_it_is_quiet_and_not_while_the_library_writes() {
        actix_rt::System::new().block_on(async {
            let (lent, mut far) = answered();
            let reader = actix_rt::spawn(async move {
                // Long enough for a rest, had all been written.
                sleep(2 * *QUIET.start()).await;
                let mut came = [0; 100];
                far.read_exact(&mut came).await.expect("all of it");
                far
            });
            let end = lent.0.serve(library(lent.clone(), 100), &rests()).await;
            assert_eq!(end, None, "it is open, and rests");
            let mut far = reader.await.expect("a reader");
            // And is served again.
            far.write_all(b"G").await.expect("it is open");
            let until = Instant::now() + Duration::from_secs(60);
            let stopping = rests().stopping;
            assert!(lent.0.rest(until, &stopping).await.expect("it is open"));
        });
    }

    #[test]
    fn a_connection_is_not_taken_back_from_a_library_that_has_failed() {
        actix_rt::System::new().block_on(async {
            let (lent, _far) = answered();
            let mut lent_again = lent.clone();
            let fails = Box::pin(async move {
                let mut space = [0; 16];
                assert_eq!(lent_again.read(&mut space).await.expect("an end"), 0);
                Err::<(), _>("failed")
            });
            let end = lent.0.serve(fails, &rests()).await;
            assert_eq!(end, Some(Err("failed")));
        });
    }
}
