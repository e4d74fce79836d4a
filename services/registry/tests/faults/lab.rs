//! A registry on a store that fails as it is told, asked over HTTP; and what can be read from it.

use crate::sequence::{first, images, paths, referrers, second, tags};
use crate::support::{
    Request, Response, Server, current,
    faulty::{Faults, Faulty},
};
use oci::Digest;
use registry::{
    domain::{Capabilities, Collect, Error, Limits, Registry},
    storage::{Durability, Storage, filesystem::Filesystem, memory::Memory},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// How a step ended, if not well: the status of the failure.
pub type Step = Result<(), u16>;

/// Stands for the status of an answer that was well begun and then broken off.
pub const BROKEN_OFF: u16 = 599;

/// Every thing that can be read, by its path: its status, and the digest of what came.
pub type State = BTreeMap<String, (u16, String)>;

/// A registry on a store that fails as it is told.
pub struct Lab {
    pub storage: Arc<Faulty>,
    pub faults: Faults,
    pub server: Option<Server>,
    pub capabilities: Capabilities,
    /// Whether the step is taken for the second time: what a delete or a condition is about may have changed the first time.
    pub again: bool,
    folder: Option<tempfile::TempDir>,
}

#[derive(Clone, Copy, Debug)]
pub enum Store {
    Memory,
    Disk,
}

impl Lab {
    pub fn new(store: Store) -> Lab {
        let folder = matches!(store, Store::Disk).then(|| tempfile::tempdir().unwrap());
        let inner: Arc<dyn Storage> = match &folder {
            Some(folder) => Arc::new(Filesystem::open(folder.path(), Durability::None).unwrap()),
            None => Arc::new(Memory::new()),
        };
        let (storage, faults) = Faulty::new(inner);
        Lab {
            storage,
            faults,
            server: None,
            capabilities: current(),
            again: false,
            folder,
        }
    }

    pub fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// Starts the registry anew on the same storage.
    pub fn open(&mut self, capabilities: Capabilities) -> Step {
        self.server = None;
        self.capabilities = capabilities.clone();
        match Registry::open(self.storage.clone(), capabilities, Limits::default()) {
            Ok(registry) => {
                self.server = Some(Server::of(registry, 4));
                Ok(())
            }
            Err(error) => Err(status_of(&error)),
        }
    }

    /// Sends a request that is answered with one of these statuses, or fails cleanly.
    pub fn send(&self, expected: &[u16], request: Request) -> Result<Response, u16> {
        let response = self.server().send(request);
        if response.status < 500 {
            assert!(
                expected.contains(&response.status),
                "{}: {}",
                response.status,
                response.text()
            );
            return Ok(response);
        }
        assert!([500, 507].contains(&response.status), "{response:?}");
        if !response.body.is_empty() {
            assert_eq!(response.code(), "UNKNOWN");
            let told = response.text();
            assert!(
                !told.contains("the test has chosen"),
                "details stay inside: {told}"
            );
        }
        Err(response.status)
    }

    pub fn get(&self, path: &str) -> Step {
        self.send(&[200], Request::new("GET", path)).map(|_| ())
    }

    pub fn post_blob(&self, content: &[u8]) -> Step {
        let path = format!("/v2/a/blobs/uploads/?digest={}", Digest::sha256(content));
        self.send(&[201], Request::new("POST", &path).body(content))
            .map(|_| ())
    }

    pub fn begin(&self) -> Result<String, u16> {
        let begun = self.send(&[202], Request::new("POST", "/v2/a/blobs/uploads/"))?;
        Ok(begun.header("location").unwrap().to_owned())
    }

    pub fn finish(&self, session: &str, content: &[u8], last: &[u8]) -> Step {
        let path = format!("{session}?digest={}", Digest::sha256(content));
        self.send(&[201], Request::new("PUT", &path).body(last))
            .map(|_| ())
    }

    pub fn put_blob(&self, content: &[u8]) -> Step {
        let session = self.begin()?;
        self.finish(&session, content, content)
    }

    pub fn chunk_blob(&self, content: &[u8]) -> Step {
        let session = self.begin()?;
        let half = content.len() / 2;
        for (from, part) in [(0, &content[..half]), (half, &content[half..])] {
            let range = format!("{from}-{}", from + part.len() - 1);
            let chunk = Request::new("PATCH", &session)
                .header("Content-Range", range)
                .body(part);
            self.send(&[202], chunk)?;
        }
        self.finish(&session, content, b"")
    }

    pub fn stream_blob(&self, content: &[u8]) -> Step {
        let session = self.begin()?;
        let chunk = Request::new("PATCH", &session).body(content).chunked();
        self.send(&[202], chunk)?;
        self.finish(&session, content, b"")
    }

    pub fn mount(&self, content: &[u8], from: &str) -> Step {
        let path = format!("/v2/b/blobs/uploads/?mount={}{from}", Digest::sha256(content));
        self.send(&[201], Request::new("POST", &path)).map(|_| ())
    }

    pub fn put_manifest(&self, reference: &str, body: &str, kind: &str, condition: Option<&Digest>) -> Step {
        let path = format!("/v2/a/manifests/{reference}");
        let mut request = Request::new("PUT", &path)
            .header("Content-Type", kind)
            .body(body.as_bytes());
        if let Some(digest) = condition {
            request = request.header("If-Match", format!("\"{digest}\""));
        }
        // The tag may have moved although the first answer was an error.
        let expected: &[u16] = match condition.is_some() && self.again {
            true => &[201, 412],
            false => &[201],
        };
        self.send(expected, request).map(|_| ())
    }

    pub fn delete(&self, path: &str) -> Step {
        let expected: &[u16] = if self.again { &[202, 404] } else { &[202] };
        self.send(expected, Request::new("DELETE", path)).map(|_| ())
    }

    pub fn collect(&self) -> Step {
        let how = Collect {
            dry_run: false,
            uploads: true,
            now: SystemTime::now() + Limits::default().upload_age + Duration::from_secs(60),
        };
        match self.server().registry.collect_garbage(how, &mut |_| {}) {
            Ok(_) => Ok(()),
            Err(error) => Err(status_of(&error)),
        }
    }

    /// Files of the storage that no collection should leave: half written, or of an upload.
    pub fn half_written(&self) -> Vec<PathBuf> {
        let (mut found, mut waiting) = (Vec::new(), Vec::new());
        waiting.extend(self.folder.iter().map(|folder| folder.path().to_owned()));
        while let Some(folder) = waiting.pop() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy();
                let is_dir = path.is_dir();
                if !is_dir && (name.starts_with('.') || folder.ends_with("_uploads")) {
                    found.push(path);
                } else if is_dir {
                    waiting.push(path);
                }
            }
        }
        found
    }

    pub fn state(&self) -> State {
        if self.server.is_none() {
            return State::new();
        }
        paths().into_iter().map(|path| self.read(path)).collect()
    }

    pub fn read(&self, path: String) -> (String, (u16, String)) {
        let mut stream = TcpStream::connect(self.server().address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(&Request::new("GET", &path).to_bytes()).unwrap();
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let status = head[9..12].parse().unwrap();
        let length = head.split("content-length: ").nth(1).unwrap();
        let is_whole = length.split('\r').next().unwrap() == (bytes.len() - end).to_string();
        let found = match status {
            200 if is_whole => (200, Digest::sha256(&bytes[end..]).to_string()),
            200 => (BROKEN_OFF, String::new()),
            _ => (status, String::new()),
        };
        (path, found)
    }

    pub fn tag_list(&self) -> BTreeSet<String> {
        let response = self.server().get("/v2/a/tags/list");
        if response.status == 404 {
            return BTreeSet::new();
        }
        let names = response.json()["tags"].as_array().unwrap().clone();
        names
            .iter()
            .map(|name| name.as_str().unwrap().to_owned())
            .collect()
    }

    pub fn listed(&self, subject: &Digest) -> BTreeSet<String> {
        let response = self.server().get(&format!("/v2/a/referrers/{subject}"));
        assert_eq!(response.status, 200);
        let entries = response.json()["manifests"].as_array().unwrap().clone();
        entries
            .iter()
            .map(|entry| entry["digest"].as_str().unwrap().to_owned())
            .collect()
    }

    /// What must hold at any time: a tag leads to a manifest, a manifest has its blobs, and exactly the referrers that are
    /// there are listed.
    pub fn is_consistent(&self, state: &State) {
        if state.is_empty() {
            return;
        }
        let is_there = |path: String| state[&path].0 == 200;
        for (digest, blobs) in images() {
            if is_there(format!("/v2/a/manifests/{digest}")) {
                for blob in blobs {
                    assert!(is_there(format!("/v2/a/blobs/{blob}")), "{digest} without {blob}");
                }
            }
        }
        let mut leading = BTreeSet::new();
        for tag in tags() {
            if let (200, what) = &state[&format!("/v2/a/manifests/{tag}")] {
                assert!(is_there(format!("/v2/a/manifests/{what}")), "{tag} leads nowhere");
                leading.insert(tag);
            }
        }
        assert_eq!(
            self.tag_list(),
            leading,
            "exactly the tags that are there are listed"
        );
        if self.capabilities.referrers {
            for subject in [first().0, second().0] {
                let there = referrers()
                    .into_iter()
                    .filter(|(of, digest)| *of == subject && is_there(format!("/v2/a/manifests/{digest}")))
                    .map(|(_, digest)| digest.to_string());
                assert_eq!(self.listed(&subject), there.collect());
            }
        }
    }
}

/// The status that HTTP would give.
pub fn status_of(error: &Error) -> u16 {
    match error {
        Error::Storage(error) if error.is_full() => 507,
        Error::Storage(_) => 500,
        other => panic!("{other}"),
    }
}
