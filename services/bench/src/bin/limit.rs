//! `limit`: receives, hashes, writes and, with `--sync`, syncs file and folder: the limit for pushes. It speaks as much
//! of the push protocol as that needs, one thread a connection, and has no index, no checks and no reads.

use clap::Parser;
use oci::{Algorithm, Digest, Hasher};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Receives, hashes and writes what is pushed.
#[derive(Debug, Parser)]
struct Options {
    /// Where to listen
    #[arg(default_value = "127.0.0.1:0")]
    address: SocketAddr,
    /// Folder to write into
    #[arg(long)]
    folder: PathBuf,
    /// Sync file and folder before each answer
    #[arg(long)]
    sync: bool,
}

/// Bytes that are received, hashed and written at once.
const PIECE_BYTES: usize = 256 * 1024;

/// An upload under way.
struct Upload {
    file: File,
    hasher: Hasher,
}

/// What the connections share.
struct Limit {
    folder: PathBuf,
    sync: bool,
    next: AtomicU64,
    uploads: Mutex<HashMap<u64, Upload>>,
    stored: Mutex<HashMap<String, PathBuf>>,
}

/// A request's head, as far as it matters here.
struct Head {
    method: String,
    target: String,
    length: u64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match serve(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("limit: {}: {error}", options.address);
            ExitCode::FAILURE
        }
    }
}

fn serve(options: &Options) -> io::Result<()> {
    std::fs::create_dir_all(&options.folder)?;
    let listener = TcpListener::bind(options.address)?;
    println!("{}", listener.local_addr()?);
    let limit = Arc::new(Limit {
        folder: options.folder.clone(),
        sync: options.sync,
        next: AtomicU64::new(1),
        uploads: Mutex::default(),
        stored: Mutex::default(),
    });
    for stream in listener.incoming() {
        let stream = stream?;
        let limit = Arc::clone(&limit);
        std::thread::spawn(move || {
            if let Err(error) = connection(stream, &limit)
                && error.kind() != io::ErrorKind::ConnectionReset
            {
                eprintln!("limit: a connection ended: {error}");
            }
        });
    }
    Ok(())
}

/// Answers the requests of one connection until it ends.
fn connection(mut stream: TcpStream, limit: &Limit) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; PIECE_BYTES];
    let mut filled = 0;
    loop {
        let end = loop {
            if let Some(at) = buffer[..filled].windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            match stream.read(&mut buffer[filled..])? {
                0 => return Ok(()),
                bytes => filled += bytes,
            }
        };
        let head = read_head(&buffer[..end])?;
        let start = buffer[end..filled].to_vec();
        filled = 0;
        let mut body = Body {
            start,
            left: head.length,
            stream: &mut stream,
        };
        let answer = answer(limit, &head, &mut body, &mut buffer)?;
        stream.write_all(answer.as_bytes())?;
    }
}

fn read_head(head: &[u8]) -> io::Result<Head> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "malformed request");
    let text = std::str::from_utf8(head).map_err(|_| malformed())?;
    let mut words = text.split(' ');
    let (method, target) = words.next().zip(words.next()).ok_or_else(malformed)?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    Ok(Head {
        method: method.to_owned(),
        target: target.to_owned(),
        length: length.unwrap_or(0),
    })
}

/// A request's body: what came with the head, then what the stream still gives.
struct Body<'a> {
    start: Vec<u8>,
    left: u64,
    stream: &'a mut TcpStream,
}

impl Body<'_> {
    /// Hashes and writes the body piece by piece.
    fn store(&mut self, upload: &mut Upload, buffer: &mut [u8]) -> io::Result<()> {
        let start = std::mem::take(&mut self.start);
        upload.hasher.update(&start);
        upload.file.write_all(&start)?;
        self.left = self.left.saturating_sub(start.len() as u64);
        while self.left > 0 {
            let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
            let came = match self.stream.read(&mut buffer[..want])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                came => came,
            };
            upload.hasher.update(&buffer[..came]);
            upload.file.write_all(&buffer[..came])?;
            self.left -= came as u64;
        }
        Ok(())
    }
}

fn answer(limit: &Limit, head: &Head, body: &mut Body<'_>, buffer: &mut [u8]) -> io::Result<String> {
    let (path, query) = head.target.split_once('?').unwrap_or((&head.target, ""));
    let upload = path.rsplit('/').next().and_then(|last| last.parse::<u64>().ok());
    match (head.method.as_str(), upload) {
        ("GET", _) if path == "/v2/" => Ok(response("200 OK", "")),
        ("POST", _) if query.starts_with("mount=") => {
            limit.store_whole(body, buffer)?;
            Ok(response("201 Created", ""))
        }
        ("POST", _) => {
            let number = limit.next.fetch_add(1, Ordering::Relaxed);
            Ok(response("202 Accepted", &format!("Location: {path}{number}\r\n")))
        }
        ("PATCH", Some(number)) => {
            let mut upload = limit.take(number)?;
            body.store(&mut upload, buffer)?;
            limit.lock_uploads().insert(number, upload);
            Ok(response("202 Accepted", &format!("Location: {path}\r\n")))
        }
        ("PUT", Some(number)) if path.contains("/uploads/") => {
            let mut upload = limit.take(number)?;
            body.store(&mut upload, buffer)?;
            let digest = limit.finish(upload)?;
            let mut stored = limit.stored.lock().unwrap_or_else(PoisonError::into_inner);
            stored.insert(digest.to_string(), limit.path(number));
            match query.ends_with(&digest.to_string()) {
                true => Ok(response("201 Created", "")),
                false => Ok(response("400 Bad Request", "")),
            }
        }
        ("PUT", _) => {
            limit.store_whole(body, buffer)?;
            Ok(response("201 Created", ""))
        }
        ("DELETE", _) => {
            let digest = path.rsplit('/').next().unwrap_or_default();
            let mut stored = limit.stored.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(path) = stored.remove(digest) {
                std::fs::remove_file(path)?;
            }
            Ok(response("202 Accepted", ""))
        }
        _ => Ok(response("404 Not Found", "")),
    }
}

impl Limit {
    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(number.to_string())
    }

    fn lock_uploads(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Upload>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The upload of this number, with its file made if this is its first piece.
    fn take(&self, number: u64) -> io::Result<Upload> {
        let known = self.lock_uploads().remove(&number);
        match known {
            Some(upload) => Ok(upload),
            None => Ok(Upload {
                file: File::create(self.path(number))?,
                hasher: Hasher::new(Algorithm::Sha256),
            }),
        }
    }

    fn store_whole(&self, body: &mut Body<'_>, buffer: &mut [u8]) -> io::Result<()> {
        let mut upload = self.take(self.next.fetch_add(1, Ordering::Relaxed))?;
        body.store(&mut upload, buffer)?;
        self.finish(upload)?;
        Ok(())
    }

    fn finish(&self, upload: Upload) -> io::Result<Digest> {
        if self.sync {
            upload.file.sync_all()?;
            File::open(&self.folder)?.sync_all()?;
        }
        Ok(upload.hasher.finish())
    }
}

fn response(status: &str, headers: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: 0\r\n\r\n")
}
