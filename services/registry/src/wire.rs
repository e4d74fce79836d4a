//! A connection that can send a part of a file without bringing it into this process.
//!
//! The HTTP library copies what it sends into a buffer of its own: of a large blob that is a copy from the file and one more
//! into the buffer before the kernel makes its own. Here an answer's body stands for the whole part of a file with one byte, and
//! leaves the part at the connection's [`Outlet`]; when the library writes that byte, [`Wire`] has the kernel send the part in
//! its place. The byte is always the last of what the library has to write, because the body gives nothing more before the part
//! is sent ([`FilePart`]).
//!
//! Not for TLS, where the bytes must be encrypted here, and only on Linux. Who sends a part must know that its bytes are good:
//! nobody looks at them on their way.

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    fs::File,
    io,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};

/// What stands for a part of a file in the library's buffer.
const STAND_IN: Bytes = Bytes::from_static(&[0]);

/// Bytes that the kernel is asked to send at once.
const PIECE_BYTES: u64 = 4 << 20;

/// Pieces after which other connections of the worker have their turn.
const PIECES_A_TURN: u32 = 2;

/// Where the answers of one connection leave parts of files.
#[derive(Debug, Default)]
pub struct Outlet {
    part: RefCell<Option<Part>>,
    /// Bytes that were sent beside the library, less those that stood for them.
    sent: Cell<u64>,
    /// Bytes that were sent beside the library on this connection.
    sent_in_all: Cell<u64>,
}

/// A part of a file on its way.
#[derive(Debug)]
struct Part {
    file: Arc<File>,
    at: u64,
    end: u64,
    has_begun: bool,
    /// Who waits for it to be sent.
    waker: Waker,
}

impl Outlet {
    /// Bytes that were sent since this was asked last, less those that stood for them.
    pub fn take_sent(&self) -> u64 {
        self.sent.take()
    }

    /// Bytes that were ever sent.
    pub fn sent_in_all(&self) -> u64 {
        self.sent_in_all.get()
    }
}

/// A TCP connection whose answers may send parts of files.
#[derive(Debug)]
pub struct Wire {
    tcp: TcpStream,
    outlet: Rc<Outlet>,
}

impl Wire {
    /// Whether the kernel can be asked to send files. Where it cannot, no answer may be given an outlet.
    pub const SENDS_FILES: bool = cfg!(target_os = "linux");

    /// Takes a connection.
    pub fn new(tcp: TcpStream) -> Wire {
        Wire {
            tcp,
            outlet: Rc::default(),
        }
    }

    /// Where answers on this connection leave parts of files.
    pub fn outlet(&self) -> Rc<Outlet> {
        Rc::clone(&self.outlet)
    }

    /// Sends the part that waits. `Ready(Ok(1))`, for the byte that stood for it, when all of it is sent.
    fn poll_send(&self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut waiting = self.outlet.part.borrow_mut();
        let Some(part) = waiting.as_mut() else {
            return Poll::Ready(Ok(0));
        };
        for _ in 0..PIECES_A_TURN {
            if part.at == part.end {
                part.waker.wake_by_ref();
                *waiting = None;
                return Poll::Ready(Ok(1));
            }
            ready!(self.tcp.poll_write_ready(context))?;
            match self.tcp.try_io(Interest::WRITABLE, || part.send_to(&self.tcp)) {
                Ok(sent) => {
                    let stood_in = u64::from(!std::mem::replace(&mut part.has_begun, true));
                    self.outlet.sent.set(self.outlet.sent.get() + sent - stood_in);
                    self.outlet.sent_in_all.set(self.outlet.sent_in_all.get() + sent);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Part {
    /// Sends the next bytes; how many.
    #[cfg(target_os = "linux")]
    fn send_to(&mut self, tcp: &TcpStream) -> io::Result<u64> {
        let count = (self.end - self.at).min(PIECE_BYTES);
        let sent = rustix::fs::sendfile(tcp, &self.file, Some(&mut self.at), count as usize)?;
        if sent == 0 {
            log::error!(
                "a blob's file ends at byte {}, before its end at {}",
                self.at,
                self.end
            );
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(sent as u64)
    }

    #[cfg(not(target_os = "linux"))]
    fn send_to(&mut self, _: &TcpStream) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let has_part = self.outlet.part.borrow().is_some();
        match bytes {
            [_] if has_part => self.poll_send(context),
            [before @ .., _] if has_part => Pin::new(&mut self.tcp).poll_write(context, before),
            all => Pin::new(&mut self.tcp).poll_write(context, all),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}

/// A part of a file as an answer's body. The answer must tell its length itself: for the library it is a stream.
pub struct FilePart {
    outlet: Rc<Outlet>,
    state: State,
}

enum State {
    /// Not begun; the part is from the one to before the other.
    New(Arc<File>, u64, u64),
    Sending,
}

impl FilePart {
    /// The bytes of a file from `start` to before `end`, which are some.
    pub fn new(outlet: Rc<Outlet>, file: Arc<File>, start: u64, end: u64) -> FilePart {
        FilePart {
            outlet,
            state: State::New(file, start, end),
        }
    }
}

impl MessageBody for FilePart {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        match std::mem::replace(&mut self.state, State::Sending) {
            State::New(file, at, end) => {
                *self.outlet.part.borrow_mut() = Some(Part {
                    file,
                    at,
                    end,
                    has_begun: false,
                    waker: context.waker().clone(),
                });
                Poll::Ready(Some(Ok(STAND_IN)))
            }
            State::Sending => match &mut *self.outlet.part.borrow_mut() {
                Some(part) => {
                    part.waker.clone_from(context.waker());
                    Poll::Pending
                }
                None => Poll::Ready(None),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{future::poll_fn, io::Write};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    /// Two ends of a connection.
    async fn pair() -> (Wire, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let (ours, theirs) = tokio::join!(listener.accept(), TcpStream::connect(address));
        (Wire::new(ours.expect("ours").0), theirs.expect("theirs"))
    }

    fn file(content: &[u8]) -> Arc<File> {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(content).expect("a file");
        Arc::new(file)
    }

    #[test]
    fn the_part_of_a_file_takes_the_place_of_its_stand_in() {
        actix_rt::System::new().block_on(async {
            let content: Vec<u8> = (0..9 << 20).map(|n: u32| (n / 7) as u8).collect();
            let (mut wire, mut reader) = pair().await;
            let reading = actix_rt::spawn(async move {
                let mut all = Vec::new();
                reader.read_to_end(&mut all).await.map(|_| all)
            });
            for (start, end) in [(0, content.len()), (5, 6), (1_000_000, 8_000_000)] {
                let mut body = FilePart::new(wire.outlet(), file(&content), start as u64, end as u64);
                let stand_in = poll_fn(|context| Pin::new(&mut body).poll_next(context)).await;
                let stand_in = stand_in.expect("a stand-in").expect("no failure");
                wire.write_all(&[b"head ", &stand_in[..]].concat())
                    .await
                    .expect("sent");
                let end_of_body = poll_fn(|context| Pin::new(&mut body).poll_next(context)).await;
                assert!(end_of_body.is_none());
                assert_eq!(wire.outlet.take_sent(), (end - start) as u64 - 1);
            }
            wire.write_all(b"tail").await.expect("sent");
            wire.shutdown().await.expect("an end");
            let expected = [
                b"head ",
                &content[..],
                b"head ",
                &content[5..6],
                b"head ",
                &content[1_000_000..8_000_000],
                b"tail",
            ]
            .concat();
            assert!(reading.await.expect("a reader").expect("all") == expected);
        });
    }

    #[test]
    fn a_file_that_is_too_short_is_an_error_and_nothing_stands_in_for_the_rest() {
        actix_rt::System::new().block_on(async {
            let (mut wire, mut reader) = pair().await;
            let mut body = FilePart::new(wire.outlet(), file(b"short"), 0, 9);
            let stand_in = poll_fn(|context| Pin::new(&mut body).poll_next(context)).await;
            let stand_in = stand_in.expect("a stand-in").expect("no failure");
            let error = wire.write_all(&stand_in).await.expect_err("too short");
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
            drop(wire);
            let mut all = Vec::new();
            reader.read_to_end(&mut all).await.expect("what was sent");
            assert_eq!(all, b"short");
        });
    }
}
