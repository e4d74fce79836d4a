//! Digests: the parser agrees with the specification's expression, and hashing does not depend on how bytes are cut.

use crate::grammar::{DIGEST, REGISTERED_DIGEST, check_error};
use oci::{Algorithm, Digest, DigestError, Hasher};

/// Any text as a digest, any bytes as content.
pub fn check(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        parsing(text);
    }
    hashing(input);
}

fn parsing(text: &str) {
    let (well_formed, registered) = (DIGEST.is_match(text), REGISTERED_DIGEST.is_match(text));
    match Digest::parse(text) {
        Ok(digest) => {
            assert!(registered, "{text:?} was read, and is none by the specification");
            reads_back(text, &digest);
        }
        Err(error) => {
            assert!(!registered, "{text:?} was refused: {error}");
            let malformed = matches!(error, DigestError::Malformed { .. });
            assert_eq!(malformed, !well_formed, "{text:?}: {error}");
            check_error(&error);
        }
    }
}

fn reads_back(text: &str, digest: &Digest) {
    assert_eq!(digest.to_string(), text);
    let (algorithm, hex) = text.split_once(':').expect("a colon");
    assert_eq!(
        (digest.algorithm().name(), digest.hex().as_str()),
        (algorithm, hex)
    );
    assert_eq!(Digest::from_hex(digest.algorithm(), hex).as_ref(), Some(digest));
    assert_eq!(
        Digest::from_bytes(digest.algorithm(), digest.bytes()).as_ref(),
        Some(digest)
    );
    let json = serde_json::to_string(digest).expect("JSON");
    assert_eq!(json, format!("\"{text}\""));
    assert_eq!(&serde_json::from_str::<Digest>(&json).expect("a digest"), digest);
}

fn hashing(content: &[u8]) {
    let cut = content
        .first()
        .map_or(0, |first| usize::from(*first) % content.len());
    for algorithm in Algorithm::ALL {
        let whole = Digest::of(algorithm, content);
        let mut hasher = Hasher::new(algorithm);
        hasher.update(&content[..cut]);
        let mut resumed = hasher.clone();
        resumed.update(&content[cut..]);
        assert_eq!(resumed.finish(), whole, "a hash depends on how the bytes are cut");
        assert!(whole.matches(content));
        assert!(content.is_empty() || !whole.matches(&content[1..]));
    }
}
