//! Gathers what comes of a body into pieces that are worth handing on, in memory that all bodies share.
//!
//! What is gathered, waits to be written or is being written counts against one budget of [`BUDGET_BYTES`] for the process.
//! Who finds it spent hands on what has just come, and reads on only when that is written. Who hears nothing for
//! [`SILENCE`] hands on what there is. So senders that pause hold nothing here, however many they are.
//!
//! What the HTTP library keeps to read into, some 190 KiB of a connection whose sender was fast, is not counted.

use super::{ApiError, body::next};
use actix_web::web;
use bytes::Bytes;
use std::{
    ops::Deref,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::timeout;

/// Bytes that are handed on at once. Smaller pieces cost more in hand-overs than in copying; larger ones leave the
/// processor's cache.
pub(super) const PIECE_BYTES: usize = 512 * 1024;

/// What all bodies of the process together may hold: 128 pieces.
const BUDGET_BYTES: usize = 128 * PIECE_BYTES;

/// How long a sender may be silent before what came of it is written.
const SILENCE: Duration = Duration::from_secs(1);

/// A sender that has sent this much of a piece will fill it.
const FAST_BYTES: usize = 64 * 1024;

/// The most buffers that are kept to be filled again: fresh memory costs the kernel as much as the copying.
const MAX_SPARE: usize = 8;

static BUDGET: Budget = Budget::new(BUDGET_BYTES);

/// Memory that bodies share.
struct Budget {
    limit: usize,
    taken: AtomicUsize,
    spare: Mutex<Vec<Vec<u8>>>,
}

impl Budget {
    const fn new(limit: usize) -> Budget {
        Budget {
            limit,
            taken: AtomicUsize::new(0),
            spare: Mutex::new(Vec::new()),
        }
    }

    /// Whether so many bytes could be had.
    fn take(&self, bytes: usize) -> bool {
        let more = |taken: usize| taken.checked_add(bytes).filter(|taken| *taken <= self.limit);
        self.taken.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    fn buffer(&self, capacity: usize) -> Vec<u8> {
        let spare = match capacity {
            PIECE_BYTES => self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop(),
            _ => None,
        };
        spare.unwrap_or_else(|| Vec::with_capacity(capacity))
    }

    fn put_back(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() == PIECE_BYTES {
            let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
            if spare.len() < MAX_SPARE {
                buffer.clear();
                spare.push(buffer);
            }
        }
    }
}

/// Bytes of a body on their way to storage. Dropping it gives its share of the budget back.
pub(super) struct Piece {
    bytes: Held,
    taken: usize,
    budget: &'static Budget,
}

enum Held {
    /// As they came: most bodies are one such piece.
    One(Bytes),
    /// Copied together, so that the connection can use its own buffer again.
    Many(Vec<u8>),
}

impl Piece {
    fn empty(budget: &'static Budget) -> Piece {
        Piece {
            bytes: Held::One(Bytes::new()),
            taken: 0,
            budget,
        }
    }

    /// Bytes that the budget has no room for: they are in memory already.
    fn crowded(bytes: Bytes, budget: &'static Budget) -> Piece {
        Piece {
            bytes: Held::One(bytes),
            taken: 0,
            budget,
        }
    }

    /// Adds bytes, or gives them back if the piece or the budget has no room for them.
    fn add(&mut self, more: Bytes, is_fast: bool) -> Result<(), Bytes> {
        let len = self.len() + more.len();
        if self.is_empty() && !(is_fast && len <= PIECE_BYTES) {
            if !self.reserve(more.len()) {
                return Err(more);
            }
            self.bytes = Held::One(more);
            return Ok(());
        }
        if len > PIECE_BYTES {
            return Err(more);
        }
        let capacity = match len {
            _ if is_fast || len >= FAST_BYTES => PIECE_BYTES,
            _ => len.next_power_of_two(),
        };
        if !self.reserve(capacity) {
            return Err(more);
        }
        match &mut self.bytes {
            Held::Many(buffer) if buffer.capacity() >= len => buffer.extend_from_slice(&more),
            _ => {
                let mut buffer = self.budget.buffer(capacity);
                buffer.extend_from_slice(self);
                buffer.extend_from_slice(&more);
                self.bytes = Held::Many(buffer);
            }
        }
        Ok(())
    }

    fn reserve(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.taken);
        let is_there = more == 0 || self.budget.take(more);
        if is_there {
            self.taken += more;
        }
        is_there
    }
}

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Held::One(bytes) => bytes,
            Held::Many(buffer) => buffer,
        }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.taken, Relaxed);
        if let Held::Many(buffer) = &mut self.bytes {
            self.budget.put_back(std::mem::take(buffer));
        }
    }
}

/// Why a piece is handed on.
pub(super) enum Stop {
    /// It is full.
    Full,
    /// The budget is spent: write this before more is read.
    Crowded,
    /// Nothing came for a while.
    Silent,
    /// It is the last one.
    End,
    /// Nothing more comes.
    Broken(ApiError),
}

/// A body, gathered piece by piece.
pub(super) struct Gatherer {
    payload: web::Payload,
    /// What did not fit into the last piece.
    ahead: Option<Bytes>,
    /// Whether the last piece was filled without a pause.
    is_fast: bool,
    /// Whether whoever writes holds something open for the next piece.
    is_open: bool,
    /// Bytes of all pieces until now.
    handed: usize,
}

impl Gatherer {
    pub(super) fn new(payload: web::Payload) -> Gatherer {
        Gatherer {
            payload,
            ahead: None,
            is_fast: false,
            is_open: false,
            handed: 0,
        }
    }

    /// The next piece. It ends where the body reaches a multiple of [`PIECE_BYTES`], if not before: so the system keeps the file
    /// in few large parts of its memory, which it then sends faster.
    ///
    /// It is empty at the end of a body, and where a sender falls silent right after a piece.
    pub(super) async fn piece(&mut self) -> (Piece, Stop) {
        let (piece, stop) = self.gather(&BUDGET).await;
        self.is_fast = matches!(stop, Stop::Full);
        self.is_open = matches!(stop, Stop::Full | Stop::Crowded);
        self.handed += piece.len();
        (piece, stop)
    }

    async fn gather(&mut self, budget: &'static Budget) -> (Piece, Stop) {
        let mut piece = Piece::empty(budget);
        let full = PIECE_BYTES - self.handed % PIECE_BYTES;
        loop {
            let came = match self.ahead.take() {
                Some(bytes) => Ok(Some(bytes)),
                None if piece.is_empty() && !self.is_open => next(&mut self.payload).await,
                None => match timeout(SILENCE, next(&mut self.payload)).await {
                    Ok(came) => came,
                    Err(_) => return (piece, Stop::Silent),
                },
            };
            match came {
                Ok(Some(bytes)) => {
                    let fitting = bytes.slice(..bytes.len().min(full - piece.len()));
                    let count = fitting.len();
                    if let Err(fitting) = piece.add(fitting, self.is_fast) {
                        if piece.is_empty() {
                            self.ahead = Some(bytes.slice(count..)).filter(|rest| !rest.is_empty());
                            return (Piece::crowded(fitting, budget), Stop::Crowded);
                        }
                        self.ahead = Some(bytes);
                        return (piece, Stop::Crowded);
                    }
                    self.ahead = Some(bytes.slice(count..)).filter(|rest| !rest.is_empty());
                    if piece.len() == full {
                        return (piece, Stop::Full);
                    }
                }
                Ok(None) => return (piece, Stop::End),
                Err(error) => return (piece, Stop::Broken(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::{FromRequest as _, error::PayloadError};
    use futures_util::Stream;
    use std::pin::Pin;

    fn bytes(count: usize) -> Bytes {
        vec![7; count].into()
    }

    /// A body that comes in these chunks.
    async fn payload(chunks: Vec<Bytes>) -> web::Payload {
        let chunks = futures_util::stream::iter(chunks.into_iter().map(Ok));
        let boxed: Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>> = Box::pin(chunks);
        let mut payload = actix_web::dev::Payload::Stream { payload: boxed };
        let request = actix_web::test::TestRequest::default().to_http_request();
        web::Payload::from_request(&request, &mut payload)
            .await
            .expect("a payload")
    }

    /// How long the pieces of a body are that comes in chunks of this size.
    async fn pieces(content: &[u8], size: usize) -> Vec<usize> {
        let chunks = content.chunks(size).map(Bytes::copy_from_slice).collect();
        let mut body = Gatherer::new(payload(chunks).await);
        let (mut gathered, mut pieces) = (Vec::new(), Vec::new());
        loop {
            let (piece, stop) = body.piece().await;
            gathered.extend_from_slice(&piece);
            pieces.push(piece.len());
            match stop {
                Stop::Full => {}
                Stop::End => break,
                _ => panic!("neither full nor the end after {pieces:?}"),
            }
        }
        assert!(gathered == content, "chunks of {size}");
        pieces
    }

    #[test]
    fn pieces_end_at_multiples_of_their_size_however_the_body_comes() {
        let content: Vec<u8> = (0..3 * PIECE_BYTES + 77).map(|n| (n / 3) as u8).collect();
        actix_rt::System::new().block_on(async {
            for size in [
                1_000,
                65_536,
                100_000,
                PIECE_BYTES,
                PIECE_BYTES + 1,
                content.len(),
            ] {
                let expected = [PIECE_BYTES, PIECE_BYTES, PIECE_BYTES, 77];
                assert_eq!(pieces(&content, size).await, expected, "chunks of {size}");
            }
        });
    }

    #[test]
    fn what_all_pieces_hold_never_exceeds_the_budget() {
        static SMALL: Budget = Budget::new(2 * PIECE_BYTES);
        let mut pieces = Vec::new();
        let mut refused = 0;
        for _ in 0..200 {
            let mut piece = Piece::empty(&SMALL);
            for count in [20_000, 40_000, 100_000] {
                refused += usize::from(piece.add(bytes(count), false).is_err());
            }
            pieces.push(piece);
            let held: usize = pieces
                .iter()
                .map(|piece| match &piece.bytes {
                    Held::One(bytes) => bytes.len(),
                    Held::Many(buffer) => buffer.capacity(),
                })
                .sum();
            assert!(held <= SMALL.taken.load(Relaxed) && held <= SMALL.limit, "{held}");
        }
        assert!(refused > 500 && pieces[0].len() == 160_000, "{refused}");
        drop(pieces);
        assert_eq!(SMALL.taken.load(Relaxed), 0);
        let mut again = Piece::empty(&SMALL);
        assert!(again.add(bytes(100), true).is_ok() && again.add(bytes(PIECE_BYTES), true).is_err());
        assert_eq!(again.len(), 100);
    }

    #[test]
    fn a_piece_is_what_was_added_in_its_order() {
        static ANY: Budget = Budget::new(8 * PIECE_BYTES);
        for is_fast in [false, true] {
            let (mut piece, mut expected) = (Piece::empty(&ANY), Vec::new());
            for (n, count) in [1, 5000, 70_000, 131_072, 3].into_iter().enumerate() {
                let more = vec![u8::try_from(n).expect("small"); count];
                expected.extend_from_slice(&more);
                assert!(piece.add(more.into(), is_fast).is_ok());
            }
            assert!(*piece == *expected);
        }
    }
}
