//! Which bytes that come on a connection belong to the request that is under way.
//!
//! The HTTP library reads whatever is there. Of requests that a client sends without waiting for answers (RFC 9112, "Pipelining")
//! it then knows too much: it forgets of a `GET` that its answer has a body once it has read a `HEAD` behind it, and takes the
//! body of a later request for an unread one of the first. So it is handed one request at a time, and what comes behind that is
//! held until the answer is handed over. That also tells when it holds nothing that came, and can part from a connection.
//!
//! Here it is only found where a head ends, and the body that its request is said to have. What either means is the library's to
//! say, and what is no head or no body its to refuse.

mod chunks;

use bytes::Bytes;
use chunks::Place;
use memchr::memchr;
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Waker},
};
use tokio::time::Instant;

/// Where a connection is, and what it and the requests on it tell each other.
#[derive(Debug, Default)]
pub struct Turns {
    stage: Cell<Stage>,
    under_way: Cell<u32>,
    /// Whether the body of the last request was read to what the library takes for its end.
    body_is_read: Cell<bool>,
    /// When the last answer was handed over; `None` before the first.
    rests_since: Cell<Option<Instant>>,
    /// What came and is not to be handed over yet.
    held: RefCell<Bytes>,
    /// Who is to read it when it may be.
    reader: RefCell<Option<Waker>>,
}

/// What is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// A head.
    Head(Line),
    /// No more: it has a whole head, whose request has not begun.
    Given,
    /// So many bytes of a body, and then no more before the answer.
    Body(u64),
    /// A chunked body from this place on, and then no more before the answer.
    Chunks(Place),
    /// Everything.
    All,
}

/// The last line of a part of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// Empty, as all before it, which count for nothing.
    First,
    /// Empty: the head ends with it.
    Empty,
    /// Not empty.
    Text,
}

impl Default for Stage {
    fn default() -> Stage {
        Stage::Head(Line::First)
    }
}

/// The body that a request's head announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// Of so many bytes; none is 0.
    Bytes(u64),
    /// A chunked one.
    Chunks,
    /// One that ends with the connection, if it does.
    Unknown,
}

/// How a connection without a request under way rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// All that ever came was handed over, and was a request that is answered.
    Whole(Instant),
    /// With the request that was answered more may have been handed over, or nobody has read its body to the end: the library
    /// may be about to close the connection.
    Unsure(Instant),
    /// Something came since the answer that is no request yet, or none for the library.
    Heard(Instant),
}

/// A request that is under way; dropping it tells that its answer is handed over.
#[derive(Debug)]
pub struct Turn(Rc<Turns>);

impl Turns {
    /// A request has begun.
    pub fn begin(self: &Rc<Turns>, body: Announced) -> Turn {
        self.under_way.set(self.under_way.get() + 1);
        self.body_is_read.set(body == Announced::Bytes(0));
        self.stage.set(match (self.stage.get(), body) {
            (Stage::Given, Announced::Bytes(count)) => Stage::Body(count),
            (Stage::Given, Announced::Chunks) => Stage::Chunks(Place::BEGIN),
            // Of a head that ended unseen nobody knows what came behind it.
            _ => Stage::All,
        });
        self.wake();
        Turn(Rc::clone(self))
    }

    /// The body of the request that is under way was read to its end.
    pub fn body_is_read(&self) {
        self.body_is_read.set(true);
    }

    /// How many of these bytes, which come next, may be handed over now. They count as handed over.
    pub fn admit(&self, bytes: &[u8]) -> usize {
        if self.stage.get() == Stage::Body(0) && self.under_way.get() == 0 {
            self.stage.set(Stage::default());
        }
        match self.stage.get() {
            Stage::Head(line) => match empty_line(line, bytes) {
                Ok(count) => {
                    self.stage.set(Stage::Given);
                    count
                }
                Err(line) => {
                    self.stage.set(Stage::Head(line));
                    bytes.len()
                }
            },
            Stage::Given => 0,
            Stage::Body(left) => {
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                self.stage.set(Stage::Body(left - count as u64));
                count
            }
            Stage::Chunks(place) => match place.go_on(bytes) {
                Ok(count) => {
                    self.stage.set(Stage::Body(0));
                    count
                }
                Err(place) => {
                    self.stage.set(Stage::Chunks(place));
                    bytes.len()
                }
            },
            Stage::All => bytes.len(),
        }
    }

    /// Keeps bytes that may not be handed over yet, in front of which nothing is kept.
    pub fn hold(&self, bytes: &[u8]) {
        *self.held.borrow_mut() = Bytes::copy_from_slice(bytes);
    }

    /// Of what is kept, as many bytes as may be handed over now; at most so many.
    pub fn take_held(&self, most: usize) -> Bytes {
        let mut held = self.held.borrow_mut();
        if held.is_empty() {
            return Bytes::new();
        }
        let count = self.admit(&held[..most.min(held.len())]);
        match count == held.len() {
            true => std::mem::take(&mut *held),
            false => held.split_to(count),
        }
    }

    /// Whether anything is kept.
    pub fn holds(&self) -> bool {
        !self.held.borrow().is_empty()
    }

    /// Has this reader told when more of what is kept may be handed over.
    pub fn tell(&self, reader: &Context<'_>) {
        *self.reader.borrow_mut() = Some(reader.waker().clone());
    }

    fn wake(&self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// How the connection rests. `None` if a request is under way, or if none has ever been.
    pub fn rest(&self) -> Option<Rest> {
        let since = self.rests_since.get().filter(|_| self.under_way.get() == 0)?;
        if self.holds() {
            return Some(Rest::Heard(since));
        }
        Some(match self.stage.get() {
            Stage::Head(Line::First) | Stage::Body(0) if self.body_is_read.get() => Rest::Whole(since),
            Stage::Head(Line::Empty | Line::Text) | Stage::Given => Rest::Heard(since),
            Stage::Head(Line::First) | Stage::Body(_) | Stage::Chunks(_) | Stage::All => Rest::Unsure(since),
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let turns = &self.0;
        turns.under_way.set(turns.under_way.get() - 1);
        turns.rests_since.set(Some(Instant::now()));
        turns.wake();
    }
}

/// The bytes up to the end of a head, whose last line so far was this; or the last line if it does not end here.
///
/// A line ends with LF, as the library has it; a CR before that is none of the line's.
fn empty_line(mut line: Line, bytes: &[u8]) -> Result<usize, Line> {
    let mut start = 0;
    while let Some(length) = memchr(b'\n', &bytes[start..]) {
        let end = start + length;
        let is_empty = bytes[start..end].iter().all(|byte| *byte == b'\r');
        start = end + 1;
        line = match (line, is_empty) {
            (Line::Empty, true) => return Ok(start),
            (Line::First, true) => Line::First,
            _ => Line::Empty,
        };
    }
    let has_text = bytes[start..].iter().any(|byte| *byte != b'\r');
    Err(if has_text { Line::Text } else { line })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

    #[test]
    fn a_head_ends_with_its_first_empty_line_however_it_is_cut() {
        let heads: [&[u8]; 4] = [
            GET,
            b"GET / HTTP/1.1\n\n",
            b"\r\n\r\n\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\n\r\n",
        ];
        for head in heads {
            let with_more = [head, b"\r\n\r\nmore\r\n\r\n"].concat();
            for cut in 0..head.len() {
                let line = empty_line(Line::First, &with_more[..cut]).expect_err("no end yet");
                assert_eq!(
                    empty_line(line, &with_more[cut..]),
                    Ok(head.len() - cut),
                    "{head:?} cut at {cut}"
                );
            }
        }
    }

    #[test]
    fn requests_are_handed_over_one_at_a_time() {
        let turns = Rc::new(Turns::default());
        let both = [GET, GET].concat();
        assert_eq!(turns.admit(&both), GET.len());
        turns.hold(&both[GET.len()..]);
        assert!(turns.take_held(100).is_empty());
        let turn = turns.begin(Announced::Bytes(0));
        assert!(turns.take_held(100).is_empty());
        assert_eq!(turns.rest(), None);
        drop(turn);
        assert!(matches!(turns.rest(), Some(Rest::Heard(_))));
        assert_eq!(turns.take_held(10), GET[..10]);
        assert!(matches!(turns.rest(), Some(Rest::Heard(_))));
        assert_eq!(turns.take_held(100), GET[10..]);
        drop(turns.begin(Announced::Bytes(0)));
        assert!(matches!(turns.rest(), Some(Rest::Whole(_))));
    }

    #[test]
    fn a_body_of_a_known_length_is_handed_over_and_nothing_behind_it() {
        let turns = Rc::new(Turns::default());
        assert_eq!(turns.admit(GET), GET.len());
        let turn = turns.begin(Announced::Bytes(5));
        assert_eq!((turns.admit(b"abc"), turns.admit(b"deGET /")), (3, 2));
        assert_eq!(turns.admit(b"GET /"), 0);
        turns.body_is_read();
        drop(turn);
        assert!(matches!(turns.rest(), Some(Rest::Whole(_))));
        assert_eq!(turns.admit(b"GET /"), 5);
        assert!(matches!(turns.rest(), Some(Rest::Heard(_))));
    }

    #[test]
    fn behind_a_body_that_comes_after_its_answer_a_head_begins() {
        let turns = Rc::new(Turns::default());
        assert_eq!(turns.admit(GET), GET.len());
        drop(turns.begin(Announced::Bytes(GET.len() as u64)));
        assert!(matches!(turns.rest(), Some(Rest::Unsure(_))));
        assert_eq!(turns.admit(GET), GET.len());
        assert!(matches!(turns.rest(), Some(Rest::Unsure(_))));
        assert_eq!(turns.admit(&[GET, GET].concat()), GET.len());
    }

    #[test]
    fn a_chunked_body_is_handed_over_and_nothing_behind_it() {
        let turns = Rc::new(Turns::default());
        assert_eq!(turns.admit(GET), GET.len());
        let turn = turns.begin(Announced::Chunks);
        assert_eq!(turns.admit(b"3\r\nab"), 5);
        assert_eq!(turns.admit(&[b"c\r\n0\r\n\r\n", GET].concat()), 8);
        turns.body_is_read();
        drop(turn);
        assert!(matches!(turns.rest(), Some(Rest::Whole(_))));
        assert_eq!(turns.admit(GET), GET.len());
    }

    #[test]
    fn behind_a_body_of_unknown_length_everything_is_handed_over() {
        let turns = Rc::new(Turns::default());
        assert_eq!(turns.admit(GET), GET.len());
        let turn = turns.begin(Announced::Unknown);
        assert_eq!(turns.admit(&[GET, GET].concat()), 2 * GET.len());
        drop(turn);
        assert!(matches!(turns.rest(), Some(Rest::Unsure(_))));
    }
}
