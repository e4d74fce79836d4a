//! The recorder: every exchange as an entry of a HAR 1.2 file, credentials taken out.
//!
//! Text bodies are kept up to [`MAX_RECORDED_BODY_BYTES`]; of blobs the size alone. Each entry's `comment` names the
//! registry as it was written.

/// How much of a text body an entry keeps, in bytes: 64 KiB.
pub const MAX_RECORDED_BODY_BYTES: usize = 64 * 1024;
