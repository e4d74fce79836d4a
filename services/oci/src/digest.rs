//! Digests: `<algorithm>:<hex>`, parsed once, and the hasher that computes them.
//!
//! Only the algorithms registered by the OCI image specification are known: sha256 and sha512.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256, Sha512};
use std::{fmt, hash, str::FromStr};

/// A digest algorithm registered by the OCI image specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256: 64 hexadecimal digits.
    Sha256,
    /// SHA-512: 128 hexadecimal digits.
    Sha512,
}

impl Algorithm {
    /// Every known algorithm, in the order of their names.
    pub const ALL: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Sha512];

    /// The name as it stands before the colon.
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        }
    }

    /// The length of the hash in bytes; the text has twice as many digits.
    pub const fn byte_len(self) -> usize {
        match self {
            Algorithm::Sha256 => 32,
            Algorithm::Sha512 => 64,
        }
    }

    /// Finds an algorithm by its name.
    pub fn from_name(name: &str) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|a| a.name() == name)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is wrong with a text that should be a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Not `<algorithm>:<encoded>` at all.
    #[error("{text:?} is not a digest: expected <algorithm>:<hex>, such as sha256: and 64 digits 0-9a-f")]
    Malformed {
        /// The text, cut to a printable length.
        text: String,
    },
    /// Well formed, but of an algorithm that is not registered.
    #[error("digest algorithm {algorithm:?} is not supported: expected sha256 or sha512")]
    UnsupportedAlgorithm {
        /// The name before the colon.
        algorithm: String,
    },
    /// A known algorithm with the wrong digits.
    #[error("{text:?} is not a {algorithm} digest: expected {expected} digits 0-9a-f after the colon")]
    WrongDigits {
        /// The text, cut to a printable length.
        text: String,
        /// The algorithm named before the colon.
        algorithm: Algorithm,
        /// How many digits the algorithm has.
        expected: usize,
    },
}

/// The digest of some bytes. Copying it is cheap and it needs no allocation.
#[derive(Clone, Copy)]
pub struct Digest {
    algorithm: Algorithm,
    /// The hash; bytes past the algorithm's length are zero.
    bytes: [u8; 64],
}

impl Digest {
    /// Parses `<algorithm>:<hex>` with lower-case digits, as the specification demands.
    ///
    /// # Errors
    /// [`DigestError`], which quotes at most 160 characters of the text.
    pub fn parse(text: &str) -> Result<Digest, DigestError> {
        if let Some(digest) = text
            .strip_prefix("sha256:")
            .and_then(|hex| Digest::from_hex(Algorithm::Sha256, hex))
        {
            return Ok(digest);
        }
        let malformed = || DigestError::Malformed { text: cut(text) };
        let (name, encoded) = text.split_once(':').ok_or_else(malformed)?;
        if !is_algorithm_grammar(name) || !is_encoded_grammar(encoded) {
            return Err(malformed());
        }
        let algorithm = Algorithm::from_name(name)
            .ok_or_else(|| DigestError::UnsupportedAlgorithm { algorithm: cut(name) })?;
        Digest::from_hex(algorithm, encoded).ok_or_else(|| DigestError::WrongDigits {
            text: cut(text),
            algorithm,
            expected: algorithm.byte_len() * 2,
        })
    }

    /// Builds a digest from exactly the algorithm's number of lower-case hexadecimal digits.
    pub fn from_hex(algorithm: Algorithm, hex: &str) -> Option<Digest> {
        let hex = hex.as_bytes();
        if hex.len() != algorithm.byte_len() * 2 {
            return None;
        }
        let mut bytes = [0; 64];
        for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
            *byte = (nibble(pair[0])? << 4) | nibble(pair[1])?;
        }
        Some(Digest { algorithm, bytes })
    }

    /// Builds a digest from the raw hash; `None` if the length is not the algorithm's.
    pub fn from_bytes(algorithm: Algorithm, hash: &[u8]) -> Option<Digest> {
        if hash.len() != algorithm.byte_len() {
            return None;
        }
        let mut bytes = [0; 64];
        bytes[..hash.len()].copy_from_slice(hash);
        Some(Digest { algorithm, bytes })
    }

    /// Hashes bytes that are in memory.
    pub fn of(algorithm: Algorithm, content: &[u8]) -> Digest {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(content);
        hasher.finish()
    }

    /// The SHA-256 digest of bytes that are in memory.
    pub fn sha256(content: &[u8]) -> Digest {
        Digest::of(Algorithm::Sha256, content)
    }

    /// The algorithm before the colon.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The raw hash, 32 or 64 bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.algorithm.byte_len()]
    }

    /// The digits after the colon.
    pub fn hex(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = Vec::with_capacity(self.algorithm.byte_len() * 2);
        for byte in self.bytes() {
            hex.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
        // Digits are ASCII.
        String::from_utf8(hex).unwrap_or_default()
    }

    /// Whether these bytes hash to this digest.
    pub fn matches(&self, content: &[u8]) -> bool {
        Digest::of(self.algorithm, content) == *self
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Digest) -> bool {
        self.algorithm == other.algorithm && self.bytes == other.bytes
    }
}

impl Eq for Digest {}

impl PartialOrd for Digest {
    fn partial_cmp(&self, other: &Digest) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Digest {
    /// The order of the texts, which for equal lengths is the order of the bytes.
    fn cmp(&self, other: &Digest) -> std::cmp::Ordering {
        (self.algorithm, self.bytes()).cmp(&(other.algorithm, other.bytes()))
    }
}

impl hash::Hash for Digest {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        // All of it: a subject need not exist, so a client may choose digests that begin alike.
        state.write(self.bytes());
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Digest, DigestError> {
        Digest::parse(text)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Digest::parse(&text).map_err(de::Error::custom)
    }
}

/// Computes a digest over bytes that come in pieces. Its state can be cloned, to resume an upload.
#[derive(Clone, Debug)]
pub enum Hasher {
    /// Computes SHA-256.
    Sha256(Sha256),
    /// Computes SHA-512.
    Sha512(Sha512),
}

impl Hasher {
    /// Starts over no bytes.
    pub fn new(algorithm: Algorithm) -> Hasher {
        match algorithm {
            Algorithm::Sha256 => Hasher::Sha256(Sha256::new()),
            Algorithm::Sha512 => Hasher::Sha512(Sha512::new()),
        }
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, content: &[u8]) {
        match self {
            Hasher::Sha256(h) => h.update(content),
            Hasher::Sha512(h) => h.update(content),
        }
    }

    /// The algorithm it computes.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Hasher::Sha256(_) => Algorithm::Sha256,
            Hasher::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// The digest of all that was taken in.
    pub fn finish(self) -> Digest {
        let mut bytes = [0; 64];
        let algorithm = self.algorithm();
        match self {
            Hasher::Sha256(h) => bytes[..32].copy_from_slice(&h.finalize()),
            Hasher::Sha512(h) => bytes.copy_from_slice(&h.finalize()),
        }
        Digest { algorithm, bytes }
    }
}

/// `algorithm-component [algorithm-separator algorithm-component]*` of the image specification's descriptor.md.
fn is_algorithm_grammar(name: &str) -> bool {
    name.split(['+', '.', '_', '-'])
        .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()))
}

/// `[a-zA-Z0-9=_-]+` of the image specification's descriptor.md.
fn is_encoded_grammar(encoded: &str) -> bool {
    !encoded.is_empty()
        && encoded
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'=' | b'_' | b'-'))
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// Cuts hostile text to what an error message may quote.
pub(crate) fn cut(text: &str) -> String {
    const MAX_QUOTED_CHARS: usize = 160;
    let mut short: String = text.chars().take(MAX_QUOTED_CHARS).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &str = "sha256:a948904f2f0f479b8f8197694b30184b0d2ed1c1cd2a1ec0fb85d299a192a447";

    #[test]
    fn hello_world_has_the_digest_that_the_recordings_show() {
        assert_eq!(Digest::sha256(b"hello world\n").to_string(), HELLO);
        assert_eq!(Digest::parse(HELLO), Ok(Digest::sha256(b"hello world\n")));
    }

    #[test]
    fn sha512_is_read_and_computed() {
        let digest = Digest::of(Algorithm::Sha512, b"");
        assert!(digest.to_string().starts_with("sha512:cf83e1357eefb8bd"));
        assert_eq!(Digest::parse(&digest.to_string()), Ok(digest));
        assert!(digest.matches(b""));
    }

    #[test]
    fn what_is_not_a_digest_is_told_apart() {
        let upper = HELLO.to_uppercase().replace("SHA256", "sha256");
        assert!(matches!(
            Digest::parse(&upper),
            Err(DigestError::WrongDigits { .. })
        ));
        assert!(matches!(
            Digest::parse("sha256:abc"),
            Err(DigestError::WrongDigits { expected: 64, .. })
        ));
        assert!(matches!(
            Digest::parse("md5:abc"),
            Err(DigestError::UnsupportedAlgorithm { .. })
        ));
        for text in [
            "",
            "foo",
            ":",
            "sha256:",
            "sha256:../../etc",
            "SHA256:ab",
            "sha256:ab/cd",
            "a..b:c",
        ] {
            assert!(
                matches!(Digest::parse(text), Err(DigestError::Malformed { .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn an_error_quotes_a_bounded_part_of_hostile_text() {
        let text = format!("sha256:{}", "a".repeat(100_000));
        let message = Digest::parse(&text).expect_err("far too long").to_string();
        assert!(message.len() < 400, "{}", message.len());
    }

    #[test]
    fn digests_are_ordered_as_their_texts() {
        let mut digests: Vec<Digest> = (0..50u8)
            .map(|n| Digest::of(Algorithm::ALL[usize::from(n % 2)], &[n]))
            .collect();
        let mut texts: Vec<String> = digests.iter().map(Digest::to_string).collect();
        digests.sort();
        texts.sort();
        assert_eq!(digests.iter().map(Digest::to_string).collect::<Vec<_>>(), texts);
    }

    #[test]
    fn pieces_hash_as_the_whole() {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(b"hello ");
        let resumed = hasher.clone();
        let mut hasher = resumed;
        hasher.update(b"world\n");
        assert_eq!(hasher.finish().to_string(), HELLO);
    }
}
