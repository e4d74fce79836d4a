//! A connection whose client must keep up its pace.
//!
//! The HTTP library has a clock for the first head of a connection and for its rest between two requests. The system ends a
//! connection whose client takes nothing at all (`TCP_USER_TIMEOUT`), and the edge has a clock on bodies that come in. What is
//! left is here: a later head that comes a byte at a time, and a reader that takes a little now and then.

use crate::{edge::Pace, wire::Outlet};
use std::{
    cell::Cell,
    future::Future,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// Bytes that a connection may hold in the system's buffers, 4 MiB: the most that Linux gives a sender by itself
/// (`net.ipv4.tcp_wmem`). A reader that empties them is not slow, although nothing more is written meanwhile.
const BUFFERED_BYTES: u64 = 4 << 20;

/// What a connection and the requests on it tell each other: since when no request is under way.
#[derive(Debug, Default)]
pub struct Turns {
    under_way: Cell<u32>,
    /// When the last answer was handed over; `None` before the first.
    rests_since: Cell<Option<Instant>>,
}

/// A request that is under way; dropping it tells that its answer is handed over.
#[derive(Debug)]
pub struct Turn(Rc<Turns>);

impl Turns {
    /// A request's head has come.
    pub fn begin(self: &Rc<Turns>) -> Turn {
        self.under_way.set(self.under_way.get() + 1);
        Turn(Rc::clone(self))
    }

    fn rests_since(&self) -> Option<Instant> {
        self.rests_since.get().filter(|_| self.under_way.get() == 0)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.under_way.set(self.0.under_way.get() - 1);
        self.0.rests_since.set(Some(Instant::now()));
    }
}

/// A connection that ends when its client is too slow.
#[derive(Debug)]
pub struct Paced<S> {
    io: S,
    turns: Rc<Turns>,
    /// How long after an answer the next head must have come.
    head_patience: Duration,
    head_alarm: Alarm,
    reader: Reader,
}

impl<S> Paced<S> {
    /// A connection whose client must read so fast, and must have sent its next head so long after an answer. `outlet` tells of
    /// the bytes that the kernel sends beside.
    pub fn new(io: S, pace: Pace, head_patience: Duration, outlet: Option<Rc<Outlet>>) -> Paced<S> {
        Paced {
            io,
            turns: Rc::default(),
            head_patience,
            head_alarm: Alarm::default(),
            reader: Reader {
                pace,
                outlet,
                sent_beside: 0,
                left: pace.patience,
                most: pace.patience + pace.earned(BUFFERED_BYTES),
                waiting: None,
                alarm: Alarm::default(),
            },
        }
    }

    /// The connection itself.
    pub fn get_ref(&self) -> &S {
        &self.io
    }

    /// What the requests on it are to tell.
    pub fn turns(&self) -> Rc<Turns> {
        Rc::clone(&self.turns)
    }
}

/// How much longer a reader may be waited for.
#[derive(Debug)]
struct Reader {
    pace: Pace,
    outlet: Option<Rc<Outlet>>,
    /// What the outlet had sent when it was asked last.
    sent_beside: u64,
    left: Duration,
    /// What it can have left at most.
    most: Duration,
    /// Since when nothing more could be written.
    waiting: Option<Instant>,
    alarm: Alarm,
}

impl Reader {
    /// It took so many bytes more. They make up for as much waiting as they would have taken at the slowest pace that is allowed,
    /// up to what empties the system's buffers.
    fn took(&mut self, count: u64) {
        if let Some(since) = self.waiting.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
        self.left = self.left.saturating_add(self.pace.earned(count)).min(self.most);
    }

    /// Nothing more can be written for now. Ready when it was waited for too long.
    fn poll_wait(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let sent = self.outlet.as_ref().map_or(0, |outlet| outlet.sent_in_all());
        if sent > self.sent_beside {
            self.took(sent - self.sent_beside);
            self.sent_beside = sent;
        }
        let since = *self.waiting.get_or_insert_with(Instant::now);
        ready!(self.alarm.poll(since + self.left, context));
        Poll::Ready(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("the answer was read too slowly: {:?}", self.pace),
        ))
    }
}

/// Rings at a time that may be another whenever it is asked for. Setting a timer anew costs more than all else here, so one that was
/// set for an earlier time is left to run out first.
#[derive(Debug, Default)]
struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    fn poll(&mut self, at: Instant, context: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if sleep.deadline() > at {
            sleep.as_mut().reset(at);
        }
        loop {
            ready!(sleep.as_mut().poll(context));
            if sleep.deadline() >= at {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(at);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(read) = Pin::new(&mut self.io).poll_read(context, buffer) {
            return Poll::Ready(read);
        }
        let Some(since) = self.turns.rests_since() else {
            return Poll::Pending;
        };
        let at = since + self.head_patience;
        ready!(self.head_alarm.poll(at, context));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the head of a request came too slowly",
        )))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.io).poll_write(context, bytes) {
            Poll::Ready(written) => {
                self.reader
                    .took(written.as_ref().map_or(0, |count| *count as u64));
                Poll::Ready(written)
            }
            Poll::Pending => self.reader.poll_wait(context).map(Err),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.io).poll_flush(context) {
            Poll::Ready(flushed) => Poll::Ready(flushed),
            Poll::Pending => self.reader.poll_wait(context).map(Err),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    fn pace(milliseconds: u64, bytes_per_second: u64) -> Pace {
        Pace {
            patience: Duration::from_millis(milliseconds),
            bytes_per_second,
        }
    }

    fn run(test: impl Future<Output = ()>) {
        actix_rt::System::new().block_on(test);
    }

    #[test]
    fn a_reader_that_takes_a_little_now_and_then_is_ended() {
        run(async {
            let (near, mut far) = duplex(1000);
            let mut near = Paced::new(near, pace(100, 10_000_000), Duration::MAX, None);
            let drips = actix_rt::spawn(async move {
                let mut count = 0;
                while far.read(&mut [0; 10]).await.is_ok_and(|some| some > 0) {
                    count += 10;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                count
            });
            let error = near.write_all(&[7; 1_000_000]).await.expect_err("an end");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            drop(near);
            assert!(drips.await.expect("a reader") > 0);
        });
    }

    #[test]
    fn what_empties_the_buffers_of_the_system_makes_up_for_as_long_as_that_takes() {
        let mut reader = Paced::new((), pace(60_000, 512), Duration::MAX, None).reader;
        assert_eq!(reader.left, Duration::from_secs(60));
        reader.took(512 * 30);
        assert_eq!(reader.left, Duration::from_secs(90));
        reader.took(u64::MAX);
        assert_eq!(reader.left, Duration::from_secs(60 + BUFFERED_BYTES / 512));
    }

    #[test]
    fn a_head_that_does_not_come_after_an_answer_ends_the_connection_and_a_request_under_way_does_not() {
        run(async {
            let (near, mut far) = duplex(1000);
            let mut near = Paced::new(near, pace(60_000, 512), Duration::from_millis(50), None);
            let turn = near.turns().begin();
            let early = tokio::time::timeout(Duration::from_millis(200), near.read_u8()).await;
            assert!(early.is_err(), "a request is under way");
            drop(turn);
            far.write_all(b"G").await.expect("a beginning");
            assert_eq!(near.read_u8().await.expect("a byte"), b'G');
            let error = near.read_u8().await.expect_err("an end");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        });
    }

    #[test]
    fn an_alarm_rings_at_the_time_that_was_asked_for_last() {
        run(async {
            let mut alarm = Alarm::default();
            let begun = Instant::now();
            let at = |milliseconds| begun + Duration::from_millis(milliseconds);
            for milliseconds in [60_000, 10, 100] {
                let once = poll_fn(|context| Poll::Ready(alarm.poll(at(milliseconds), context))).await;
                assert!(once.is_pending() || Instant::now() >= at(milliseconds));
            }
            poll_fn(|context| alarm.poll(at(100), context)).await;
            assert!(Instant::now() >= at(100));
        });
    }
}
