//! A connection whose client must read at a pace.
//!
//! The system ends a connection whose client takes nothing at all (`TCP_USER_TIMEOUT`). Here is what ends a reader that takes a little
//! now and then. Heads that come slowly are [`rest`](crate::rest)'s to end, and bodies the edge's.

use crate::{edge::Pace, wire::Outlet};
use std::{
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

/// A connection that ends when its client reads too slowly.
#[derive(Debug)]
pub struct Paced<S> {
    io: S,
    reader: Reader,
}

impl<S> Paced<S> {
    /// A connection whose client must read so fast. `outlet` tells of the bytes that the kernel sends beside.
    pub fn new(io: S, pace: Pace, outlet: Option<Rc<Outlet>>) -> Paced<S> {
        Paced {
            io,
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
pub struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready when it is so late.
    pub fn poll(&mut self, at: Instant, context: &mut Context<'_>) -> Poll<()> {
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
        Pin::new(&mut self.io).poll_read(context, buffer)
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
            let mut near = Paced::new(near, pace(100, 10_000_000), None);
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
        let mut reader = Paced::new((), pace(60_000, 512), None).reader;
        assert_eq!(reader.left, Duration::from_secs(60));
        reader.took(512 * 30);
        assert_eq!(reader.left, Duration::from_secs(90));
        reader.took(u64::MAX);
        assert_eq!(reader.left, Duration::from_secs(60 + BUFFERED_BYTES / 512));
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
