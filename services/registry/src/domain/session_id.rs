//! Ids of upload sessions: unguessable, bound to their repository, and known again after a restart.
//!
//! An id is a UUID of version 4 whose 122 free bits hold a ticket that is never given twice, the algorithm, and a keyed hash
//! of both and of the repository's name. So a session that has received nothing needs no file: its id alone proves that
//! this store gave it. Ids that this process gave are looked up in its memory instead, where those that ended are gone.

use oci::{Algorithm, Hasher, RepositoryName};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

/// Bytes of the secret that a store keeps for its ids.
pub(super) const KEY_BYTES: usize = 32;

/// Tickets of one millisecond: what its number is shifted by.
const COUNTER_BITS: u32 = 13;
/// Bits of a ticket: 44 for milliseconds (until the year 2527), and those of the counter.
const TICKET_BITS: u32 = 44 + COUNTER_BITS;

/// Gives ids and recognises them.
pub(super) struct Ids {
    key: [u8; KEY_BYTES],
    /// Every ticket of this process is above this one.
    first: u64,
    last: AtomicU64,
}

/// What an id that was given by an earlier process says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Given {
    /// The algorithm that was told when it was given.
    pub(super) algorithm: Algorithm,
    /// When it was given.
    pub(super) at: SystemTime,
}

impl Ids {
    pub(super) fn new(key: [u8; KEY_BYTES], now: SystemTime) -> Ids {
        // The process before this one may have given ids in this very millisecond.
        let first = (milliseconds(now) + 1) << COUNTER_BITS;
        Ids {
            key,
            first,
            last: AtomicU64::new(first),
        }
    }

    /// A new id.
    pub(super) fn give(&self, name: &RepositoryName, algorithm: Algorithm) -> String {
        let now = milliseconds(SystemTime::now()) << COUNTER_BITS;
        let next = |last: u64| now.max(last + 1);
        let before = self
            .last
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
        let ticket = match before {
            Ok(last) | Err(last) => next(last),
        };
        let told = u128::from(ticket) << 1 | u128::from(algorithm == Algorithm::Sha512);
        format_uuid(told << 64 | u128::from(self.mac(name, told)))
    }

    /// What an id says that an earlier process on this store gave for this repository; `None` for every other text.
    pub(super) fn given_before(&self, name: &RepositoryName, id: &str) -> Option<Given> {
        let bits = parse_uuid(id)?;
        let told = bits >> 64;
        let ticket = u64::try_from(told >> 1).ok()?;
        if ticket >= self.first || u128::from(self.mac(name, told)) != bits & u128::from(u64::MAX) {
            return None;
        }
        Some(Given {
            algorithm: if told & 1 == 1 {
                Algorithm::Sha512
            } else {
                Algorithm::Sha256
            },
            at: UNIX_EPOCH + std::time::Duration::from_millis(ticket >> COUNTER_BITS),
        })
    }

    /// The key stands on both sides, so that no hash can be made from another one.
    fn mac(&self, name: &RepositoryName, told: u128) -> u64 {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        for part in [
            &self.key[..],
            &told.to_be_bytes(),
            name.as_str().as_bytes(),
            &self.key,
        ] {
            hasher.update(part);
        }
        let hash = hasher.finish();
        hash.bytes()
            .iter()
            .take(8)
            .fold(0, |mac, byte| mac << 8 | u64::from(*byte))
    }
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(0) & ((1 << (TICKET_BITS - COUNTER_BITS)) - 1)
}

/// Writes 122 bits as a UUID of version 4.
fn format_uuid(bits: u128) -> String {
    let (high, middle, low) = (bits >> 74, bits >> 62 & 0xfff, bits & ((1 << 62) - 1));
    let uuid = high << 80 | 0x4 << 76 | middle << 64 | 0x2 << 62 | low;
    let hex = format!("{uuid:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// Reads them back; `None` if the text is not such a UUID, written as above.
fn parse_uuid(text: &str) -> Option<u128> {
    let digits: String = text.split('-').collect();
    let uuid = u128::from_str_radix(&digits, 16).ok()?;
    let bits = (uuid >> 80) << 74 | (uuid >> 64 & 0xfff) << 62 | uuid & ((1 << 62) - 1);
    (format_uuid(bits) == text).then_some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::HashSet, time::Duration};

    fn name(text: &str) -> RepositoryName {
        RepositoryName::parse(text).expect("a name")
    }

    #[test]
    fn no_id_is_given_twice_and_all_are_uuids() {
        let ids = Ids::new([7; KEY_BYTES], SystemTime::now());
        let given: HashSet<String> = (0..20_000)
            .map(|_| ids.give(&name("a"), Algorithm::Sha256))
            .collect();
        assert_eq!(given.len(), 20_000);
        for id in given {
            assert!(
                id.len() == 36 && id.as_bytes()[14] == b'4' && b"89ab".contains(&id.as_bytes()[19]),
                "{id}"
            );
        }
    }

    #[test]
    fn an_id_is_known_to_the_next_process_in_its_own_repository_alone() {
        let now = SystemTime::now();
        let before = Ids::new([7; KEY_BYTES], now - Duration::from_secs(60));
        let after = Ids::new([7; KEY_BYTES], now + Duration::from_secs(60));
        for algorithm in Algorithm::ALL {
            let id = before.give(&name("a"), algorithm);
            assert_eq!(
                after.given_before(&name("a"), &id).map(|given| given.algorithm),
                Some(algorithm)
            );
            assert_eq!(after.given_before(&name("b"), &id), None);
            assert_eq!(
                before.given_before(&name("a"), &id),
                None,
                "it looks into its memory"
            );
            let other = Ids::new([8; KEY_BYTES], now + Duration::from_secs(60));
            assert_eq!(other.given_before(&name("a"), &id), None);
            let last = id.as_bytes()[35];
            let forged = format!("{}{}", &id[..35], if last == b'0' { '1' } else { '0' });
            assert_eq!(after.given_before(&name("a"), &forged), None);
        }
        for text in ["", "x", "-", "0", "00000000-0000-4000-8000-000000000000", "é"] {
            assert_eq!(after.given_before(&name("a"), text), None, "{text}");
        }
    }
}
