//! The clock on request bodies, and their counting.

use actix_web::{
    HttpMessage,
    dev::{Payload, ServiceRequest},
    error::PayloadError,
    http::header,
};
use bytes::Bytes;
use futures_util::Stream;
use std::{
    cell::Cell,
    future::Future,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep};

/// How fast a client must send a body. Only the time counts in which the server waits for it.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long it may be waited for before it is behind: for its first byte, and once it has made up for all waiting.
    pub patience: Duration,
    /// Bytes that make up for a second of waiting; with 0, any byte makes up for all of it.
    pub bytes_per_second: u64,
}

impl Pace {
    /// The patience that is left after `count` bytes came.
    fn after(self, left: Duration, count: usize) -> Duration {
        let earned = (count as u64)
            .saturating_mul(1_000_000_000)
            .checked_div(self.bytes_per_second)
            .map_or(self.patience, Duration::from_nanos);
        left.saturating_add(earned).min(self.patience)
    }
}

/// Puts the clock on a request's body, and counts it. `None` if there is no body.
pub(super) fn watch(request: &mut ServiceRequest, pace: Pace) -> Option<Rc<Cell<u64>>> {
    let headers = request.headers();
    let no_length = headers
        .get(header::CONTENT_LENGTH)
        .is_none_or(|length| length.as_bytes() == b"0");
    if no_length && !headers.contains_key(header::TRANSFER_ENCODING) {
        return None;
    }
    let received = Rc::new(Cell::new(0));
    let body = WatchedBody {
        body: request.take_payload(),
        received: Rc::clone(&received),
        pace,
        left: pace.patience,
        waiting: None,
    };
    request.set_payload(Payload::Stream {
        payload: Box::pin(body),
    });
    Some(received)
}

/// A request's body whose sender must keep up its pace.
struct WatchedBody {
    body: Payload,
    received: Rc<Cell<u64>>,
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

impl Stream for WatchedBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Poll::Ready(piece) = Pin::new(&mut this.body).poll_next(context) {
            if let Some(waiting) = this.waiting.take() {
                this.left = this.left.saturating_sub(waiting.since.elapsed());
            }
            if let Some(Ok(bytes)) = &piece {
                this.received.set(this.received.get() + bytes.len() as u64);
                this.left = this.pace.after(this.left, bytes.len());
            }
            return Poll::Ready(piece);
        }
        let left = this.left;
        let waiting = this.waiting.get_or_insert_with(|| {
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
                format!("the body came too slowly: {:?}", this.pace),
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
