//! Receiving an upload: what is gathered is written by one blocking job and hashed by another, while more is gathered.
//!
//! The job ends when it has nothing to write, so no thread waits for a sender: however many are slow, others find a thread.

use super::{
    ApiError, Request,
    gather::{Gatherer, Piece, Stop},
};
use crate::domain::{self, Error, Receiving, UploadStatus};
use actix_web::web;
use oci::{Digest, Hasher};
use std::{
    collections::VecDeque,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};
use tokio::{runtime::Handle, sync::Notify, task::spawn_blocking};

/// Pieces that wait while another one is written: they bridge what writing and receiving take turns to wait for.
const MAX_WAITING: usize = 2;

/// What happens to an upload once its request's body is there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Then {
    /// It waits for more. The body must have this many bytes, if it was told.
    Pause(Option<u64>),
    /// It becomes a blob of this digest. The body must have this many bytes, if it was told.
    Finish(Digest, Option<u64>),
}

impl Then {
    fn stated(self) -> Option<u64> {
        match self {
            Then::Pause(stated) | Then::Finish(_, stated) => stated,
        }
    }
}

/// Writes a body to an upload session. `open` opens the session and may refuse; it blocks. One that `is_new` has received nothing.
///
/// A body that comes at once, and is not large, is one job. Else the session is opened with the first piece, so that it can
/// refuse before more is received. If the body breaks off, what came of it is kept: the session's status tells how much.
pub(super) async fn receive(
    request: &Request<'_>,
    payload: web::Payload,
    open: impl FnOnce(&domain::Registry) -> domain::Result<Receiving> + Send + 'static,
    is_new: bool,
    then: Then,
) -> Result<UploadStatus, ApiError> {
    let mut body = Gatherer::new(payload);
    let (first, stop) = body.piece().await;
    let len = first.len();
    let is_silent = match stop {
        Stop::End => {
            let all = move |r: &domain::Registry| end(open(r)?, &first, then);
            return match is_new {
                true => super::small_change(request.registry, len, all).await,
                false => super::blocking(request.registry, all).await,
            };
        }
        Stop::Broken(error) => {
            super::blocking(request.registry, move |r| {
                end(open(r)?, &first, Then::Pause(None))
            })
            .await?;
            return Err(error);
        }
        Stop::Silent => true,
        Stop::Full | Stop::Crowded => false,
    };
    let opened = move |r: &domain::Registry| write(open(r)?, first, is_silent);
    let flow = Flow::new(super::blocking(request.registry, opened).await?);
    loop {
        let (piece, stop) = body.piece().await;
        match stop {
            Stop::Full => {
                flow.until(|state| state.waiting.len() < MAX_WAITING).await?;
                flow.push(piece, false);
            }
            Stop::Crowded => {
                flow.push(piece, false);
                flow.until(|state| state.receiving.is_some()).await?;
            }
            // Its sender is not kept waiting: that would be held against it.
            Stop::Silent => flow.push(piece, true),
            Stop::End => {
                let receiving = flow.end().await?;
                return super::blocking(request.registry, move |_| end(receiving, &piece, then)).await;
            }
            Stop::Broken(error) => {
                let receiving = flow.end().await?;
                super::blocking(request.registry, move |_| {
                    end(receiving, &piece, Then::Pause(None))
                })
                .await?;
                return Err(error);
            }
        }
    }
}

/// Writes a piece. Of a sender that is silent, nothing is held open.
fn write(mut receiving: Receiving, piece: Piece, is_silent: bool) -> domain::Result<Receiving> {
    let is_worth_it = piece.len() >= BESIDE_BYTES;
    match is_worth_it.then(Beside::take).flatten() {
        Some(beside) => {
            let piece = Arc::new(piece);
            receiving.write_beside(&piece, |hasher| beside.begin(hasher, Arc::clone(&piece)))?;
        }
        None => receiving.write(&piece)?,
    }
    if is_silent {
        receiving.rest();
    }
    Ok(receiving)
}

/// From this size on, a piece is worth another thread that hashes it.
const BESIDE_BYTES: usize = 128 * 1024;

/// After so many bytes a thread that hashes lets others go first: who reads meanwhile has waited for a processor long enough.
const YIELD_BYTES: usize = 128 * 1024;

/// How many pieces are hashed beside at once at the most. With more uploads than processors, another thread gains nothing.
static BESIDE_AT_MOST: LazyLock<usize> =
    LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from).min(8));

/// How many are.
static BESIDE: AtomicUsize = AtomicUsize::new(0);

/// The right to hash one piece on another thread of the pool.
struct Beside;

impl Beside {
    fn take() -> Option<Beside> {
        let more = |count: usize| (count < *BESIDE_AT_MOST).then_some(count + 1);
        BESIDE.fetch_update(Relaxed, Relaxed, more).ok().map(|_| Beside)
    }

    /// Begins to hash; what is returned waits for the end of it. A job that no thread has begun by then is not waited for: the
    /// pool's threads might all wait for jobs that wait for a thread.
    fn begin(self, hasher: Hasher, piece: Arc<Piece>) -> impl FnOnce() -> Hasher {
        let is_begun = Arc::new(AtomicBool::new(false));
        let (before, bytes, begun) = (hasher.clone(), Arc::clone(&piece), Arc::clone(&is_begun));
        let job = spawn_blocking(move || {
            let is_mine = !begun.swap(true, Relaxed);
            let hashed = is_mine.then(|| {
                let mut hasher = hasher;
                for part in bytes.chunks(YIELD_BYTES) {
                    hasher.update(part);
                    std::thread::yield_now();
                }
                hasher
            });
            drop(bytes);
            drop(self);
            hashed
        });
        move || {
            let hashed = match is_begun.swap(true, Relaxed) {
                true => Handle::current().block_on(job).ok().flatten(),
                false => None,
            };
            hashed.unwrap_or_else(|| {
                let mut hasher = before;
                hasher.update(&piece);
                hasher
            })
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        BESIDE.fetch_sub(1, Relaxed);
    }
}

/// Takes in the last bytes of a body, and does what is to be done at its end.
fn end(mut receiving: Receiving, last: &[u8], then: Then) -> domain::Result<UploadStatus> {
    let got = receiving.brought() + last.len() as u64;
    if let Some(stated) = then.stated()
        && stated != got
    {
        receiving.undo()?;
        return Err(Error::LengthMismatch { stated, got });
    }
    match then {
        Then::Pause(_) => {
            receiving.write(last)?;
            Ok(receiving.pause())
        }
        Then::Finish(digest, _) => Ok(UploadStatus {
            id: String::new(),
            received: receiving.finish(last, &digest)?,
        }),
    }
}

/// Pieces on their way to storage, and the session that they belong to.
///
/// If it is dropped before its end, what was pushed is still written, and then the session rests.
struct Flow(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Told when a piece was taken from those that wait, and when a job ends.
    moved: Notify,
}

struct State {
    /// Pieces, and whether their sender is silent.
    waiting: VecDeque<(Piece, bool)>,
    /// `None` while a job has it, and after a failure.
    receiving: Option<Receiving>,
    failed: Option<ApiError>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flow {
    fn new(receiving: Receiving) -> Flow {
        Flow(Arc::new(Shared {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                receiving: Some(receiving),
                failed: None,
            }),
            moved: Notify::new(),
        }))
    }

    /// Hands a piece on. After a failure it is dropped.
    fn push(&self, piece: Piece, is_silent: bool) {
        let mut state = self.0.lock();
        if state.failed.is_some() {
            return;
        }
        state.waiting.push_back((piece, is_silent));
        if let Some(receiving) = state.receiving.take() {
            drop(state);
            let job = Job {
                shared: Arc::clone(&self.0),
                is_told: false,
            };
            // Detached: it tells by itself when it ends.
            drop(spawn_blocking(move || job.run(receiving)));
        }
    }

    /// Waits until something is so.
    async fn until(&self, is_so: impl Fn(&State) -> bool) -> Result<(), ApiError> {
        loop {
            let moved = self.0.moved.notified();
            {
                let mut state = self.0.lock();
                if let Some(error) = state.failed.take() {
                    return Err(error);
                }
                if is_so(&state) {
                    return Ok(());
                }
            }
            moved.await;
        }
    }

    /// The session, when all that was pushed is written.
    async fn end(self) -> Result<Receiving, ApiError> {
        self.until(|state| state.receiving.is_some()).await?;
        let receiving = self.0.lock().receiving.take();
        receiving.ok_or(ApiError::Stopping)
    }
}

impl Drop for Flow {
    /// The request was given up. Closing its session may remove a file, which a worker must not wait for.
    fn drop(&mut self) {
        let receiving = self.0.lock().receiving.take();
        if let Some(receiving) = receiving
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn_blocking(move || drop(receiving));
        }
    }
}

/// Writes what waits, and ends when nothing does.
struct Job {
    shared: Arc<Shared>,
    /// Whether it has told how it ended.
    is_told: bool,
}

impl Job {
    fn run(mut self, mut receiving: Receiving) {
        loop {
            let next = {
                let mut state = self.shared.lock();
                let Some(next) = state.waiting.pop_front() else {
                    state.receiving = Some(receiving);
                    self.is_told = true;
                    return;
                };
                next
            };
            self.shared.moved.notify_one();
            receiving = match write(receiving, next.0, next.1) {
                Ok(receiving) => receiving,
                Err(error) => return self.fail(error.into()),
            };
        }
    }

    fn fail(&mut self, error: ApiError) {
        let mut state = self.shared.lock();
        state.waiting.clear();
        state.failed = Some(error);
        self.is_told = true;
    }
}

impl Drop for Job {
    /// Also where the job panicked or was never run: nobody may wait for it for ever.
    fn drop(&mut self) {
        if !self.is_told {
            self.fail(ApiError::Stopping);
        }
        self.shared.moved.notify_one();
    }
}
