//! Several requests in one text, which libFuzzer can change and a person can read.
//!
//! The first line names what the registry can do: `complete`, else as in 2022; `readonly`; `nodelete`. Requests follow, divided
//! by lines `%%`, each a method and a target, header lines, an empty line, and the body. What no mutation could guess is
//! written short: `$d` is the digest of the request's own body, `$0` to `$9` that of the nth body, `$s0` to `$s9` its size,
//! `$l` the `Location` of the last answer that had one, and `$e` its entity tag.

use oci::Digest;

/// Between requests.
const DIVIDER: &str = "\n%%\n";

/// The most requests of a story.
const MAX_REQUESTS: usize = 24;

/// What is asked for, with its short words.
#[derive(Clone, Debug, Default)]
pub struct Request<'a> {
    /// `GET`, or anything.
    pub method: &'a str,
    /// Path and query, or anything.
    pub target: &'a str,
    /// Names and values, in their order.
    pub headers: Vec<(&'a str, &'a str)>,
    /// The body.
    pub body: &'a str,
}

/// The words of the first line, and the requests.
pub fn read(text: &str) -> (Vec<&str>, Vec<Request<'_>>) {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let requests = rest.split(DIVIDER).take(MAX_REQUESTS).filter_map(request);
    (first.split(' ').collect(), requests.collect())
}

fn request(text: &str) -> Option<Request<'_>> {
    let (head, body) = match text.split_once("\n\n") {
        Some(parts) => parts,
        None => (text.trim_end_matches('\n'), ""),
    };
    let mut lines = head.split('\n');
    let (method, target) = lines.next()?.split_once(' ')?;
    let headers = lines.filter_map(|line| line.split_once(": ")).collect();
    Some(Request {
        method,
        target,
        headers,
        body,
    })
}

/// What the short words stand for.
#[derive(Debug, Default)]
pub struct Memory {
    /// Digest and size of every body so far.
    bodies: Vec<(Digest, usize)>,
    /// Of the last answer that had one.
    pub location: String,
    /// Of the last answer that had one.
    pub entity_tag: String,
}

impl Memory {
    /// Writes the short words out; `own` is what `$d` stands for.
    pub fn fill(&self, text: &str, own: Option<&Digest>) -> String {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            filled.push_str(&rest[..at]);
            let word = &rest[at + 1..];
            let (value, used) = self.word(word, own).unwrap_or(("$".to_owned(), 0));
            filled.push_str(&value);
            rest = &word[used..];
        }
        filled + rest
    }

    /// A word's value and its length.
    fn word(&self, text: &str, own: Option<&Digest>) -> Option<(String, usize)> {
        let nth = |digit: u8| self.bodies.get(usize::from(digit.wrapping_sub(b'0')));
        match text.as_bytes() {
            [b'd', ..] => Some((own?.to_string(), 1)),
            [b'l', ..] => Some((self.location.clone(), 1)),
            [b'e', ..] => Some((self.entity_tag.clone(), 1)),
            [b's', digit @ b'0'..=b'9', ..] => Some((nth(*digit)?.1.to_string(), 2)),
            [digit @ b'0'..=b'9', ..] => Some((nth(*digit)?.0.to_string(), 1)),
            _ => None,
        }
    }

    /// Remembers a body.
    pub fn sent(&mut self, body: &str) -> Digest {
        let digest = Digest::sha256(body.as_bytes());
        self.bodies.push((digest, body.len()));
        digest
    }
}
