//! The content of a reference: a file, or standard input kept in a temporary file, hashed piece by piece.

use cli::Failure;
use client::repository::FileSource;
use oci::{Algorithm, Descriptor, Hasher};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

/// How much is read at once, in bytes.
const PIECE_BYTES: usize = 256 * 1024;

/// Content that was hashed and can be sent.
pub struct Content {
    /// Media type, digest and size.
    pub descriptor: Descriptor,
    /// Where its bytes are.
    pub source: FileSource,
    /// Goes, and the file with it, when the content was sent.
    _spooled: Option<tempfile::NamedTempFile>,
}

/// Takes in a file.
///
/// # Errors
/// A usage failure if it cannot be read: nothing was sent.
pub async fn of_file(path: &Path, media_type: &str) -> Result<Content, Failure> {
    let unreadable =
        |error: std::io::Error| Failure::usage(format!("cannot read {}: {error}", path.display()));
    let mut file = File::open(path).map_err(unreadable)?;
    let media_type = media_type.to_owned();
    let descriptor = on_a_thread(move || take_in(&mut file, &media_type, |_| Ok(())))
        .await
        .map_err(unreadable)?;
    Ok(Content {
        descriptor,
        source: FileSource(path.to_owned()),
        _spooled: None,
    })
}

/// Takes in standard input to its end.
///
/// # Errors
/// If it cannot be read, or there is no room for it.
pub async fn of_standard_input(media_type: &str) -> Result<Content, Failure> {
    let failed = |error: std::io::Error| {
        let message = format!("cannot keep standard input in a temporary file: {error}");
        Failure::new(client::ExitCode::Failed, message)
    };
    let spooled = tempfile::NamedTempFile::new().map_err(failed)?;
    let mut writer = spooled.as_file().try_clone().map_err(failed)?;
    let media_type = media_type.to_owned();
    let descriptor = on_a_thread(move || {
        let keep = |piece: &[u8]| writer.write_all(piece);
        take_in(&mut std::io::stdin().lock(), &media_type, keep)
    })
    .await
    .map_err(failed)?;
    Ok(Content {
        descriptor,
        source: FileSource(spooled.path().to_owned()),
        _spooled: Some(spooled),
    })
}

/// Reads beside the process's own work, so that Ctrl-C is heard while a person types or a large file is hashed. The thread
/// is of our own: one of the runtime's would be waited for at the end, and standard input may never end.
async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    let (done, result) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("read".to_owned())
        .spawn(move || {
            // Nobody listens any more once the command was interrupted.
            let _ = done.send(work());
        })?;
    match result.await {
        Ok(result) => result,
        Err(_) => Err(std::io::Error::other("the reading thread ended early")),
    }
}

fn take_in(
    from: &mut impl Read,
    media_type: &str,
    mut keep: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> std::io::Result<Descriptor> {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut piece = vec![0; PIECE_BYTES];
    let mut size = 0;
    loop {
        let count = match from.read(&mut piece) {
            Ok(0) => return Ok(Descriptor::new(media_type, hasher.finish(), size)),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&piece[..count]);
        keep(&piece[..count])?;
        size += count as u64;
    }
}
