//! Keys of the ledger: what the order of their bytes is good for.
//!
//! A letter for the kind, then the parts. All keys of one kind in one repository follow each other, because a name is ended by a
//! byte that no name has.

use crate::storage::Key;
use oci::{Algorithm, Digest, RepositoryName, Tag};

const BLOB: u8 = b'b';
const MANIFEST: u8 = b'm';
const TAG: u8 = b't';
const REFERRER: u8 = b'r';
const NOTE: u8 = b'n';
/// Bytes of a small content.
const CONTENT: u8 = b'c';
/// Something was stored in this repository once.
const REPOSITORY: u8 = b'p';
/// The same as a blob's record, but by digest: which repositories have it.
const OWNER: u8 = b'o';

/// Ends a name.
const END: u8 = 0;

/// The key of a record.
pub(super) fn record(key: &Key) -> Vec<u8> {
    match key {
        Key::Blob(name, digest) => with_digest(blobs(name), digest),
        Key::Manifest(name, digest) => with_digest(manifests(name), digest),
        Key::Tag(name, tag) => [tags(name).as_slice(), tag.as_str().as_bytes()].concat(),
        Key::Referrer(name, subject, digest) => with_digest(referrers(name, subject), digest),
        Key::Note(note) => self::note(note),
    }
}

pub(super) fn note(note: &str) -> Vec<u8> {
    [&[NOTE], note.as_bytes()].concat()
}

pub(super) fn blobs(name: &RepositoryName) -> Vec<u8> {
    of(BLOB, name)
}

pub(super) fn manifests(name: &RepositoryName) -> Vec<u8> {
    of(MANIFEST, name)
}

pub(super) fn tags(name: &RepositoryName) -> Vec<u8> {
    of(TAG, name)
}

pub(super) fn subjects(name: &RepositoryName) -> Vec<u8> {
    of(REFERRER, name)
}

pub(super) fn referrers(name: &RepositoryName, subject: &Digest) -> Vec<u8> {
    with_digest(subjects(name), subject)
}

pub(super) fn repository(name: &RepositoryName) -> Vec<u8> {
    [&[REPOSITORY], name.as_str().as_bytes()].concat()
}

pub(super) const fn repositories() -> [u8; 1] {
    [REPOSITORY]
}

pub(super) fn content(digest: &Digest) -> Vec<u8> {
    with_digest(vec![CONTENT], digest)
}

pub(super) const fn contents() -> [u8; 1] {
    [CONTENT]
}

/// Who has a blob.
pub(super) fn owners(digest: &Digest) -> Vec<u8> {
    with_digest(vec![OWNER], digest)
}

pub(super) fn owner(digest: &Digest, name: &RepositoryName) -> Vec<u8> {
    [owners(digest).as_slice(), name.as_str().as_bytes()].concat()
}

fn of(kind: u8, name: &RepositoryName) -> Vec<u8> {
    [&[kind], name.as_str().as_bytes(), &[END]].concat()
}

fn with_digest(mut key: Vec<u8>, digest: &Digest) -> Vec<u8> {
    key.push(match digest.algorithm() {
        Algorithm::Sha256 => 1,
        Algorithm::Sha512 => 2,
    });
    key.extend_from_slice(digest.bytes());
    key
}

/// Reads a digest at the beginning of what is left of a key.
pub(super) fn read_digest(bytes: &[u8]) -> Option<Digest> {
    let (number, rest) = bytes.split_first()?;
    let algorithm = match number {
        1 => Algorithm::Sha256,
        2 => Algorithm::Sha512,
        _ => return None,
    };
    Digest::from_bytes(algorithm, rest.get(..algorithm.byte_len())?)
}

/// Reads a tag that is all that is left of a key.
pub(super) fn read_tag(bytes: &[u8]) -> Option<Tag> {
    Tag::parse(std::str::from_utf8(bytes).ok()?).ok()
}

/// Reads a name that is all that is left of a key.
pub(super) fn read_name(bytes: &[u8]) -> Option<RepositoryName> {
    RepositoryName::parse(std::str::from_utf8(bytes).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_key_is_read_back_and_no_repository_is_within_another() {
        let name = |text| RepositoryName::parse(text).expect("a name");
        let tag = Tag::parse("v1").expect("a tag");
        for digest in [
            Digest::of(Algorithm::Sha256, b"x"),
            Digest::of(Algorithm::Sha512, b"x"),
        ] {
            let (a, ab) = (name("a"), name("a/b"));
            let blob = record(&Key::Blob(a.clone(), digest));
            assert_eq!(read_digest(&blob[blobs(&a).len()..]), Some(digest));
            assert!(!record(&Key::Blob(ab.clone(), digest)).starts_with(&blobs(&a)));
            let referrer = record(&Key::Referrer(a.clone(), digest, digest));
            assert_eq!(read_digest(&referrer[subjects(&a).len()..]), Some(digest));
            assert_eq!(
                read_digest(&referrer[referrers(&a, &digest).len()..]),
                Some(digest)
            );
            assert_eq!(read_digest(&content(&digest)[contents().len()..]), Some(digest));
            assert_eq!(read_name(&owner(&digest, &ab)[owners(&digest).len()..]), Some(ab));
        }
        let a = name("a");
        assert_eq!(
            read_tag(&record(&Key::Tag(a.clone(), tag.clone()))[tags(&a).len()..]),
            Some(tag)
        );
        assert_eq!(read_name(&repository(&a)[repositories().len()..]), Some(a));
        assert_eq!(
            (read_digest(&[]), read_digest(&[1, 2]), read_digest(&[9; 33])),
            (None, None, None)
        );
    }
}
