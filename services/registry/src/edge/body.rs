//! The clock on request bodies, their counting, and what happens to those that nobody reads.

use crate::framing::Turns;
use actix_http::{BoxedPayloadStream, HttpMessage, Payload, Request, error::PayloadError, header};
use bytes::Bytes;
use futures_util::Stream;
use std::{
    cell::RefCell,
    future::Future,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep};

/// How fast a client must send a body, or read an answer. Only the time counts in which the server waits for it.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long it may be waited for before it is behind: for its first byte, and once it has made up for all waiting.
    pub patience: Duration,
    /// Bytes that make up for a second of waiting; with 0, any byte makes up for all of it.
    pub bytes_per_second: u64,
}

impl Pace {
    /// The waiting that so many bytes make up for.
    pub fn earned(self, count: u64) -> Duration {
        count
            .saturating_mul(1_000_000_000)
            .checked_div(self.bytes_per_second)
            .map_or(self.patience, Duration::from_nanos)
    }

    /// The patience that is left after `count` bytes came.
    fn after(self, left: Duration, count: usize) -> Duration {
        left.saturating_add(self.earned(count as u64)).min(self.patience)
    }
}

/// A request's body, shared with the one who answers.
///
/// Whoever sends the answer keeps it until the answer's end. The server then knows of a body that nobody read to its end, tells
/// the client that the connection closes, and takes in and discards for a while what still comes, so that a client that reads
/// late finds its answer and not a reset. (Of a chunked body that was dropped it would wait for the end without any limit.)
#[derive(Clone)]
pub(super) struct Intake(Rc<RefCell<WatchedBody>>);

impl Intake {
    /// Puts the clock on a request's body. `None` if there is no body.
    pub(super) fn watch(request: &mut Request, pace: Pace, turns: Option<Rc<Turns>>) -> Option<Intake> {
        let headers = request.headers();
        let no_length = headers
            .get(header::CONTENT_LENGTH)
            .is_none_or(|length| length.as_bytes() == b"0");
        if no_length && !headers.contains_key(header::TRANSFER_ENCODING) {
            return None;
        }
        let intake = Intake(Rc::new(RefCell::new(WatchedBody {
            body: request.take_payload(),
            turns,
            received: 0,
            pace,
            left: pace.patience,
            waiting: None,
        })));
        let payload: BoxedPayloadStream = Box::pin(intake.clone());
        *request.payload() = Payload::Stream { payload };
        Some(intake)
    }

    /// Bytes that were read of it.
    pub(super) fn received(&self) -> u64 {
        self.0.borrow().received
    }
}

impl Stream for Intake {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.borrow_mut().poll(context)
    }
}

/// A request's body whose sender must keep up its pace.
struct WatchedBody {
    body: Payload,
    /// Who is told of its end.
    turns: Option<Rc<Turns>>,
    /// Bytes that were read.
    received: u64,
    pace: Pace,
    /// How much longer the sender may be waited for.
    left: Duration,
    /// Runs while nothing comes.
    waiting: Option<Waiting>,
}

/// Since when nothing came, and what ends it.
struct Waiting {
    since: Instant,
    end: Pin<Box<Sleep>>,
}

impl WatchedBody {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, PayloadError>>> {
        if let Poll::Ready(piece) = Pin::new(&mut self.body).poll_next(context) {
            if let Some(waiting) = self.waiting.take() {
                self.left = self.left.saturating_sub(waiting.since.elapsed());
            }
            match (&piece, &self.turns) {
                (Some(Ok(bytes)), _) => {
                    self.received += bytes.len() as u64;
                    self.left = self.pace.after(self.left, bytes.len());
                }
                (None, Some(turns)) => turns.body_is_read(),
                (Some(Err(_)), _) | (None, None) => {}
            }
            return Poll::Ready(piece);
        }
        let left = self.left;
        let waiting = self.waiting.get_or_insert_with(|| {
            let since = Instant::now();
            Waiting {
                since,
                end: Box::pin(tokio::time::sleep_until(since + left)),
            }
        });
        match waiting.end.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => Poll::Ready(Some(Err(PayloadError::Io(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("the body came too slowly: {:?}", self.pace),
            ))))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_make_up_for_waiting_but_never_for_more_than_all_of_it() {
        let seconds = Duration::from_secs;
        let pace = |bytes_per_second| Pace {
            patience: seconds(60),
            bytes_per_second,
        };
        for (rate, left, count, expected) in [
            (512, seconds(10), 512, seconds(11)),
            (512, seconds(10), 0, seconds(10)),
            (512, seconds(59), 5120, seconds(60)),
            (512, seconds(0), usize::MAX, seconds(60)),
            (0, seconds(1), 1, seconds(60)),
        ] {
            assert_eq!(pace(rate).after(left, count), expected, "{rate} {left:?} {count}");
        }
    }
}
