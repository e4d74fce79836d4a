//! When to try again, and how long to wait before.

use super::{Response, header};
use crate::{Error, error::Phase};
use std::time::{Duration, SystemTime};

/// How often a refused connection is tried: a registry that is down should be told soon.
pub(super) const MAX_CONNECTS: u32 = 3;
/// The longest pause between two tries.
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// The longest pause that a `Retry-After` may demand; a longer one ends the tries.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Whether a failure without an answer is worth another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// It would fail again.
    Never,
    /// Nothing was sent, so anything may be sent again.
    Refused,
    /// Something may have arrived, so only what does no harm twice.
    Broken,
}

/// A failure and whether to try again.
pub(super) struct Failure {
    pub error: Error,
    pub again: Again,
}

impl Failure {
    pub(super) fn of(error: Error, again: Again) -> Failure {
        Failure { error, again }
    }

    pub(super) fn timed_out(at: crate::Asked, phase: Phase, after: Duration) -> Failure {
        let again = match phase {
            Phase::Connect => Again::Refused,
            // Whoever waited this long should not have to wait it several times over.
            Phase::FirstByte | Phase::Idle | Phase::Whole => Again::Never,
        };
        let at = Box::new(at);
        Failure::of(Error::TimedOut { at, phase, after }, again)
    }
}

/// Half to one and a half times `base · 2^(attempt-1)`, at most ten seconds.
pub(super) fn backoff(base: Duration, attempt: u32) -> Duration {
    let doubled = base.saturating_mul(1 << attempt.saturating_sub(1).min(10));
    doubled.min(MAX_PAUSE).mul_f64(rand::random_range(0.5..1.5))
}

/// How long to wait before asking again after this answer; `None` if it is final.
pub(super) fn pause(response: &Response, base: Duration, attempt: u32) -> Option<Duration> {
    if !matches!(response.status(), 429 | 502..=504) {
        return None;
    }
    pause_of(demanded(response), base, attempt)
}

/// What the answer's `Retry-After` demands.
pub(super) fn demanded(response: &Response) -> Option<Duration> {
    let text = response.header(&header::RETRY_AFTER)?;
    retry_after(text, SystemTime::now())
}

/// The pause that was demanded, else one of our own; `None` if the demand is longer than anybody waits.
pub(super) fn pause_of(demanded: Option<Duration>, base: Duration, attempt: u32) -> Option<Duration> {
    match demanded {
        Some(wanted) if wanted > MAX_RETRY_AFTER => None,
        Some(wanted) => Some(wanted.max(backoff(base, 1))),
        None => Some(backoff(base, attempt)),
    }
}

/// Reads `Retry-After`: seconds or a date.
///
/// Source: RFC 9110, section 10.2.3.
fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_770);
        assert_eq!(retry_after("7", now), Some(Duration::from_secs(7)));
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(retry_after(date, now), Some(Duration::from_secs(7)));
        assert_eq!(
            retry_after(date, now + Duration::from_secs(100)),
            Some(Duration::ZERO)
        );
        assert_eq!(retry_after("soon", now), None);
        assert_eq!(retry_after("-1", now), None);
    }

    #[test]
    fn pauses_are_no_two_alike() {
        // Clients that were refused together must not come back together.
        let pauses: std::collections::HashSet<Duration> =
            (0..20).map(|_| backoff(Duration::from_millis(200), 3)).collect();
        assert!(pauses.len() > 10, "{pauses:?}");
        let (least, most) = (pauses.iter().min(), pauses.iter().max());
        assert!(
            least < most && least >= Some(&Duration::from_millis(400)),
            "{pauses:?}"
        );
    }

    #[test]
    fn a_demanded_pause_is_kept_and_one_that_is_too_long_is_none() {
        let (base, second) = (Duration::from_millis(1), Duration::from_secs(1));
        assert_eq!(pause_of(Some(7 * second), base, 1), Some(7 * second));
        assert_eq!(pause_of(Some(61 * second), base, 1), None);
        assert!(pause_of(Some(Duration::ZERO), base, 1) > Some(Duration::ZERO));
        assert!(pause_of(None, base, 1) < Some(second));
    }

    #[test]
    fn pauses_grow_but_stay_bounded() {
        let base = Duration::from_millis(200);
        for attempt in 0..100 {
            let pause = backoff(base, attempt);
            assert!(
                pause >= base / 2 && pause <= MAX_PAUSE * 3 / 2,
                "{attempt}: {pause:?}"
            );
        }
    }
}
