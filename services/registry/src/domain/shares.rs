//! How the memory for what is kept is shared out.

/// Bytes for each kind of thing that is kept in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shares {
    /// Manifests.
    pub(super) manifests: usize,
    /// Small blobs, and what is known about large ones.
    pub(super) blobs: usize,
    /// Whether large contents are whole.
    pub(super) whole: usize,
    /// Where tags lead.
    pub(super) tags: usize,
    /// Lists of tags.
    pub(super) tag_lists: usize,
    /// Lists of referrers.
    pub(super) referrer_lists: usize,
}

impl Shares {
    /// Shares out so many bytes. Lists get most: to read one again costs as much as it is long, and everything else costs one look into
    /// the storage.
    pub(super) fn of(bytes: usize) -> Shares {
        let thirty_seconds = |n| bytes / 32 * n;
        Shares {
            manifests: thirty_seconds(3),
            blobs: thirty_seconds(3),
            whole: thirty_seconds(1),
            tags: thirty_seconds(1),
            tag_lists: thirty_seconds(12),
            referrer_lists: thirty_seconds(12),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Limits;

    #[test]
    fn the_shares_are_all_that_there_is_and_no_more() {
        for bytes in [
            0,
            Limits::MIN_CACHE_BYTES,
            Limits::DEFAULT_CACHE_BYTES,
            1 << 40,
            usize::MAX,
        ] {
            let Shares {
                manifests,
                blobs,
                whole,
                tags,
                tag_lists,
                referrer_lists,
            } = Shares::of(bytes);
            let sum = manifests + blobs + whole + tags + tag_lists + referrer_lists;
            assert!(sum <= bytes && bytes - sum < 32, "{sum} of {bytes}");
        }
    }
}
