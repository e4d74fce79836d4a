//! A filter that tells of most keys that are not in a table that they are not, without a look at the disk.

/// Bits for each key: one in a hundred that are not there passes.
const BITS: usize = 10;
const PROBES: u32 = 6;

/// Which keys may be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bloom {
    bits: Vec<u8>,
}

impl Bloom {
    /// A filter for at most so many keys.
    pub(super) fn for_keys(count: usize) -> Bloom {
        Bloom {
            bits: vec![0; (count * BITS).div_ceil(8).max(8)],
        }
    }

    pub(super) fn from_bytes(bits: Vec<u8>) -> Option<Bloom> {
        (!bits.is_empty()).then_some(Bloom { bits })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bits
    }

    pub(super) fn add(&mut self, key: &[u8]) {
        for bit in probes(key, self.bits.len() as u64 * 8) {
            self.bits[bit / 8] |= 1 << (bit % 8);
        }
    }

    pub(super) fn may_have(&self, key: &[u8]) -> bool {
        probes(key, self.bits.len() as u64 * 8).all(|bit| self.bits[bit / 8] & 1 << (bit % 8) != 0)
    }
}

/// The bits of a key, by double hashing (Kirsch and Mitzenmacher, "Less Hashing, Same Performance").
fn probes(key: &[u8], bits: u64) -> impl Iterator<Item = usize> {
    let hash = hash(key);
    let step = hash.rotate_left(32) | 1;
    (0..PROBES).map(move |n| {
        let probe = hash.wrapping_add(step.wrapping_mul(u64::from(n)));
        // The upper half of the product is spread evenly below `bits`.
        ((u128::from(probe) * u128::from(bits)) >> 64) as usize
    })
}

/// Eight bytes at a time, mixed by the finaliser of SplitMix64. It is written to files, so it must stay as it is.
fn hash(key: &[u8]) -> u64 {
    let mix = |mut word: u64| {
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    };
    key.chunks(8).fold(key.len() as u64, |hash, piece| {
        let mut word = [0; 8];
        word[..piece.len()].copy_from_slice(piece);
        mix(hash.wrapping_add(0x9e37_79b9_7f4a_7c15) ^ u64::from_le_bytes(word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_were_added_pass_and_few_others() {
        let key = |kind: &str, n: u32| format!("{kind} {n}").into_bytes();
        let mut bloom = Bloom::for_keys(10_000);
        (0..10_000).for_each(|n| bloom.add(&key("there", n)));
        assert!((0..10_000).all(|n| bloom.may_have(&key("there", n))));
        let passed = (0..10_000).filter(|n| bloom.may_have(&key("absent", *n))).count();
        assert!(passed < 300, "{passed} of 10,000 passed");
    }
}
