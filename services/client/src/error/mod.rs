//! Everything that can go wrong, as facts with their context, and the exit code of each.
//!
//! A message says what was tried, what came back and, where there is something to do, what. Texts from a registry are
//! cut to a printable length and cleaned of control characters before they get here.

mod answer;
mod meaning;

pub(crate) use answer::clean;
pub use answer::{Answer, Asked, Phase};

use answer::when;
use oci::{Digest, ManifestError};
use std::{path::PathBuf, time::Duration};

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    // --- before any request ---
    /// A reference, location or platform that cannot be read.
    #[error("{0}")]
    Usage(String),
    /// The configuration file is wrong.
    #[error("configuration file {}: {problem}", path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// The offending text and what was expected.
        problem: String,
    },
    /// A certificate given with `--ca-cert` is unusable.
    #[error("certificate file {}: {problem}", path.display())]
    CaCertificate {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },

    // --- no answer ---
    /// No connection, or it broke, as often as it was tried.
    #[error("{at}: {why}{}; is the registry up, and is HOST:PORT right?", tried(*attempts))]
    Unreachable {
        /// What was asked.
        at: Box<Asked>,
        /// What the network said.
        why: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// The proxy could not be reached, or led nowhere.
    #[error("{at}: the proxy {proxy}: {why}; if the registry is reached without one, name it in NO_PROXY")]
    Proxy {
        /// What was asked.
        at: Box<Asked>,
        /// HOST:PORT, and the variable that names it.
        proxy: String,
        /// What the network or the proxy said.
        why: String,
    },
    /// Nothing came in time.
    #[error("{at}: timed out {phase}, after {after:?}")]
    TimedOut {
        /// What was asked.
        at: Box<Asked>,
        /// When.
        phase: Phase,
        /// The limit.
        after: Duration,
    },
    /// The other side's certificate is not trusted, or it does not speak TLS.
    #[error(
        "{at}: TLS failed: {why}; use --ca-cert for a private authority, or `registry set --tls disabled {host}` for a plain http registry"
    )]
    Tls {
        /// What was asked.
        at: Box<Asked>,
        /// HOST:PORT.
        host: String,
        /// Such as an expired certificate, or one for another name.
        why: String,
    },

    // --- authorisation ---
    /// 401 after all that could be tried, or 403.
    #[error("{at}: {answer}; not authorised{hint}")]
    NotAuthorised {
        /// What was asked.
        at: Box<Asked>,
        /// What came back.
        answer: Box<Answer>,
        /// What to do, beginning with `: `, or empty.
        hint: String,
    },
    /// Credentials exist, but sending them would show them to others.
    #[error("{at}: credentials for {host} are not sent: {why}")]
    UnsafeCredentials {
        /// What was asked.
        at: Box<Asked>,
        /// The registry as written.
        host: String,
        /// Why, and what to do.
        why: String,
    },
    /// Docker's configuration or a credential helper is broken.
    #[error("credentials for {host}: {problem}")]
    Credentials {
        /// The registry as written.
        host: String,
        /// Which file or program, and what it said.
        problem: String,
    },
    /// The token server's answer is unusable.
    #[error("{at}: no usable token: {problem}")]
    Token {
        /// What was asked.
        at: Box<Asked>,
        /// Why.
        problem: String,
    },

    // --- an answer that says no ---
    /// 404.
    #[error("{at}: {answer}; {what} not found")]
    NotFound {
        /// What was asked.
        at: Box<Asked>,
        /// What came back.
        answer: Box<Answer>,
        /// What is missing.
        what: String,
    },
    /// 405, 501 or the code UNSUPPORTED.
    #[error("{at}: {answer}; the registry does not support this")]
    Unsupported {
        /// What was asked.
        at: Box<Asked>,
        /// What came back.
        answer: Box<Answer>,
    },
    /// Another 4xx.
    #[error("{at}: refused by the registry: {answer}")]
    Refused {
        /// What was asked.
        at: Box<Asked>,
        /// What came back.
        answer: Box<Answer>,
    },
    /// 412: the condition of a conditional request did not hold.
    #[error("{at}: {answer}; it has changed since it was read")]
    PreconditionFailed {
        /// What was asked.
        at: Box<Asked>,
        /// What came back.
        answer: Box<Answer>,
    },
    /// 429, as often as it was tried.
    #[error("{at}: too many requests: {answer}; try again {}", when(answer))]
    TooManyRequests {
        /// What was asked.
        at: Box<Asked>,
        /// What came back.
        answer: Box<Answer>,
    },
    /// 5xx, as often as it may be tried.
    #[error("{at}: the registry failed: {answer}")]
    ServerFailed {
        /// What was asked.
        at: Box<Asked>,
        /// What came back.
        answer: Box<Answer>,
    },

    // --- an answer that lies ---
    /// A status that the protocol has no place for here.
    #[error("{at}: unexpected answer {answer}, expected {expected}")]
    UnexpectedStatus {
        /// What was asked.
        at: Box<Asked>,
        /// What came back.
        answer: Box<Answer>,
        /// The statuses that would have been right.
        expected: &'static str,
    },
    /// A success with a body of another kind, such as an HTML page.
    #[error("{at}: answered 200 with Content-Type {got:?}, expected {expected}; is this a registry?")]
    WrongContentType {
        /// What was asked.
        at: Box<Asked>,
        /// What came.
        got: String,
        /// What should have come.
        expected: &'static str,
    },
    /// A document that cannot be read.
    #[error("{at}: the answer cannot be read: {why}")]
    Unreadable {
        /// What was asked.
        at: Box<Asked>,
        /// Line, column and reason.
        why: String,
    },
    /// A manifest that is none.
    #[error("{at}: {source}")]
    BadManifest {
        /// What was asked.
        at: Box<Asked>,
        /// What is wrong with it.
        source: Box<ManifestError>,
    },
    /// The bytes are not those that were asked for.
    #[error("{at}: wrong content: expected {expected}, received bytes with digest {computed}")]
    DigestMismatch {
        /// What was asked.
        at: Box<Asked>,
        /// The digest that was asked for, or that a header claims.
        expected: Box<Digest>,
        /// The digest of the bytes that came.
        computed: Box<Digest>,
    },
    /// The body ended too early, or its length is not the descriptor's.
    #[error("{at}: wrong length: expected {expected} bytes, received {received}")]
    WrongLength {
        /// What was asked.
        at: Box<Asked>,
        /// What the header or descriptor says.
        expected: u64,
        /// What came.
        received: u64,
    },
    /// A body without an end that is in reach.
    #[error("{at}: the answer is larger than {limit} bytes, which is the limit for {what}")]
    TooLarge {
        /// What was asked.
        at: Box<Asked>,
        /// The limit in bytes.
        limit: u64,
        /// What it should have been.
        what: &'static str,
    },
    /// A list whose pages lead back to themselves, or do not end.
    #[error("{at}: the list of {what} does not end: {why}")]
    EndlessPages {
        /// What was asked, the page at fault.
        at: Box<Asked>,
        /// Tags, repositories or referrers.
        what: &'static str,
        /// A loop, or too many pages or entries.
        why: String,
    },
    /// A redirect that leads nowhere, back to itself, or on and on.
    #[error("{at}: redirected {why}")]
    BadRedirect {
        /// What was asked, at its last stop.
        at: Box<Asked>,
        /// Which of these.
        why: String,
    },
    /// A header or body breaks the protocol in another way.
    #[error("{at}: {what}")]
    Protocol {
        /// What was asked.
        at: Box<Asked>,
        /// What is wrong.
        what: String,
    },
    /// An index that contains itself, or references too deep to follow.
    #[error("{digest}: {why}")]
    Endless {
        /// The manifest where it showed.
        digest: Box<Digest>,
        /// Which.
        why: String,
    },

    // --- digest tags ---
    /// The tag of the referrers holds something else; it is not overwritten.
    #[error("{repository}:{tag} is not an index of references but {found}; move or delete that tag first")]
    NotADigestTag {
        /// Registry and repository.
        repository: String,
        /// The digest tag.
        tag: String,
        /// The media type, or what is wrong.
        found: String,
    },
    /// Other writers kept changing the digest tag, as often as it was tried.
    #[error(
        "{repository}:{tag}: other writers kept changing the list of references ({attempts} attempts); {left}; try again"
    )]
    Conflict {
        /// Registry and repository.
        repository: String,
        /// The digest tag.
        tag: String,
        /// How often it was written or refused.
        attempts: u32,
        /// What was and was not written.
        left: String,
    },

    // --- selection, layouts and files ---
    /// An index without the wanted platform.
    #[error("no image for platform {wanted} in {digest}; there is: {available}")]
    NoPlatform {
        /// `os/arch[/variant]`.
        wanted: String,
        /// The index.
        digest: Box<Digest>,
        /// The platforms that it has.
        available: String,
    },
    /// A path where nothing is.
    #[error("{}: there is no such OCI layout", path.display())]
    NoLayout {
        /// Folder or archive.
        path: PathBuf,
    },
    /// A path that is no OCI layout, or a broken one.
    #[error("{}: not a usable OCI layout: {problem}", path.display())]
    Layout {
        /// Folder or archive.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A layout of a version that is not known here.
    #[error("{}: imageLayoutVersion is {version:?}, expected \"1.0.0\"", path.display())]
    LayoutVersion {
        /// Folder or archive.
        path: PathBuf,
        /// What stands in `oci-layout`.
        version: String,
    },
    /// A layout without what was asked for.
    #[error("{}: {what} is not in this layout{hint}", path.display())]
    NotInLayout {
        /// Folder or archive.
        path: PathBuf,
        /// A tag or digest.
        what: String,
        /// What there is, beginning with `; `, or empty.
        hint: String,
    },
    /// A blob in a layout does not hash to its name.
    #[error("{}: the file's digest is {computed}, expected {expected}", path.display())]
    LayoutDigest {
        /// The blob's file.
        path: PathBuf,
        /// Its name.
        expected: Box<Digest>,
        /// What its bytes hash to.
        computed: Box<Digest>,
    },
    /// A file could not be read or written.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// `read`, `write`, …
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl From<oci::ReferenceError> for Error {
    fn from(error: oci::ReferenceError) -> Error {
        Error::Usage(error.to_string())
    }
}

/// How often something was tried, if it was tried again.
fn tried(attempts: u32) -> String {
    match attempts {
        0 | 1 => String::new(),
        more => format!(" (tried {more} times)"),
    }
}
