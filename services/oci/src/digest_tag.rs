//! The digest tag: where references to a subject are listed on a registry without the referrers API.
//!
//! Source: OCI distribution-spec 1.1, "Referrers Tag Schema"; Proposal E, "Digest Tags".

use crate::{Algorithm, Digest, Tag};

/// Digits of the hash that a digest tag keeps at most, so that it stays a valid tag.
const MAX_HEX_CHARS: usize = 64;

/// The digest tag of a subject: `<alg>-<hex>`, the hex cut to 64 digits.
///
/// ```
/// let subject = oci::Digest::sha256(b"");
/// assert_eq!(
///     oci::digest_tag::of(&subject).as_str(),
///     "sha256-e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
/// );
/// ```
pub fn of(subject: &Digest) -> Tag {
    let mut text = format!("{}-{}", subject.algorithm(), subject.hex());
    text.truncate(subject.algorithm().name().len() + 1 + MAX_HEX_CHARS);
    match Tag::parse(&text) {
        Ok(tag) => tag,
        // An algorithm's name, a dash and hexadecimal digits are within the grammar.
        Err(error) => unreachable!("{error}"),
    }
}

/// What a tag tells about the subject whose references it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed<'a> {
    /// The algorithm of the subject's digest.
    pub algorithm: Algorithm,
    /// The first 64 digits of the subject's hash: all of it for sha256, half of it for sha512.
    pub hex: &'a str,
    /// What follows the dot in the older form, `sha256-<hex>.<suffix>`, which cosign's `.sig` has too.
    pub suffix: Option<&'a str>,
}

impl Parsed<'_> {
    /// Whether the tag was made for this subject.
    pub fn is_for(&self, subject: &Digest) -> bool {
        subject.algorithm() == self.algorithm && subject.hex().starts_with(self.hex)
    }

    /// The subject's digest, where the tag holds all of it.
    pub fn subject(&self) -> Option<Digest> {
        Digest::from_hex(self.algorithm, self.hex)
    }
}

/// Reads a tag as a digest tag of either form; `None` for every other tag.
pub fn parse(tag: &str) -> Option<Parsed<'_>> {
    let (name, rest) = tag.split_once('-')?;
    let algorithm = Algorithm::from_name(name)?;
    let (hex, suffix) = match rest.split_once('.') {
        Some((hex, suffix)) => (hex, Some(suffix)),
        None => (rest, None),
    };
    let digits = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    (hex.len() == MAX_HEX_CHARS && hex.bytes().all(digits)).then_some(Parsed {
        algorithm,
        hex,
        suffix,
    })
}

/// What the tags of the older form begin with: the digest tag and a dot.
pub fn prefix(subject: &Digest) -> String {
    format!("{}.", of(subject))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sha512_digest_is_cut_to_64_digits() {
        let subject = Digest::of(Algorithm::Sha512, b"x");
        let tag = of(&subject);
        assert_eq!(tag.as_str().len(), "sha512-".len() + 64);
        let parsed = parse(tag.as_str()).expect("a digest tag");
        assert!(parsed.is_for(&subject));
        assert_eq!(parsed.subject(), None);
    }

    #[test]
    fn both_forms_are_told_apart_from_other_tags() {
        let subject = Digest::sha256(b"x");
        let plain = of(&subject);
        assert_eq!(parse(plain.as_str()).and_then(|p| p.subject()), Some(subject));
        let signature = format!("{}sig", prefix(&subject));
        assert_eq!(
            parse(&signature).and_then(|p| p.suffix.map(str::to_owned)),
            Some("sig".to_owned())
        );
        for other in [
            "latest",
            "sha256-abc",
            "sha256-",
            "md5-d41d8cd98f00b204e9800998ecf8427e",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
