//! A registry service on a free port, and a client of a few lines: for the tests of the service alone, without its
//! configuration, its access control and its logs.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, missing_docs)]

pub mod faulty;

use actix_web::{App, HttpServer, web};
use oci::Digest;
use registry::{
    domain::{Capabilities, Limits, Registry},
    http,
    storage::{Durability, Storage, filesystem::Filesystem, memory::Memory},
};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

/// A complete registry of Proposal E.
pub fn complete() -> Capabilities {
    Capabilities {
        referrers: true,
        artifact_manifest: true,
        extension_discovery: true,
        ..Capabilities::default()
    }
}

/// A registry of 2022.
pub fn current() -> Capabilities {
    Capabilities::default()
}

/// A running service.
pub struct Server {
    pub address: SocketAddr,
    pub registry: Registry,
    stop: Option<Box<dyn FnOnce() + Send + Sync>>,
    /// Dropped behind the registry.
    released: Released,
    /// Keeps the folder while the server runs.
    pub folder: Option<tempfile::TempDir>,
}

impl Server {
    /// On a new folder.
    pub fn start(capabilities: Capabilities) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Server::on_folder(folder.path(), capabilities);
        server.folder = Some(folder);
        server
    }

    pub fn on_folder(folder: &Path, capabilities: Capabilities) -> Server {
        let storage: Arc<dyn Storage> = Arc::new(Filesystem::open(folder, Durability::None).unwrap());
        let mut server = Server::on(storage.clone(), capabilities, Limits::default());
        server.released.0 = Some(storage);
        server
    }

    pub fn in_memory(capabilities: Capabilities) -> Server {
        Server::on(Arc::new(Memory::new()), capabilities, Limits::default())
    }

    pub fn on(storage: Arc<dyn Storage>, capabilities: Capabilities, limits: Limits) -> Server {
        Server::with_file_threads(storage, capabilities, limits, 64)
    }

    /// A service that has this many threads for what blocks.
    pub fn with_file_threads(
        storage: Arc<dyn Storage>,
        capabilities: Capabilities,
        limits: Limits,
        threads: usize,
    ) -> Server {
        Server::of(Registry::open(storage, capabilities, limits).unwrap(), threads)
    }

    /// A service of this registry.
    pub fn of(registry: Registry, threads: usize) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let data = web::Data::new(registry.clone());
        let (sender, handle) = mpsc::channel();
        let thread = thread::spawn(move || {
            actix_rt::System::new().block_on(async move {
                let server =
                    HttpServer::new(move || App::new().app_data(data.clone()).configure(http::configure))
                        .workers(1)
                        .worker_max_blocking_threads(threads)
                        .disable_signals()
                        .listen(listener)
                        .unwrap()
                        .run();
                sender.send((server.handle(), tokio_handle())).unwrap();
                server.await.unwrap();
            });
        });
        let (handle, runtime) = handle.recv().unwrap();
        let stop = move || {
            runtime.spawn(handle.stop(false));
            thread.join().unwrap();
        };
        Server {
            address,
            registry,
            stop: Some(Box::new(stop)),
            released: Released(None),
            folder: None,
        }
    }

    pub fn send(&self, request: Request) -> Response {
        request.send(self.address)
    }

    pub fn get(&self, path: &str) -> Response {
        self.send(Request::new("GET", path))
    }

    pub fn push_blob(&self, name: &str, content: &[u8]) -> Digest {
        let digest = Digest::sha256(content);
        let path = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        let response = self.send(Request::new("POST", &path).body(content));
        assert_eq!(response.status, 201, "{}", response.text());
        digest
    }

    pub fn push_manifest(&self, name: &str, reference: &str, media_type: &str, body: &str) -> Response {
        let path = format!("/v2/{name}/manifests/{reference}");
        self.send(
            Request::new("PUT", &path)
                .header("Content-Type", media_type)
                .body(body.as_bytes()),
        )
    }

    /// Pushes an image of one layer; its digest and its manifest.
    pub fn push_image(&self, name: &str, tag: &str, layer: &[u8]) -> (Digest, String) {
        let config = self.push_blob(name, b"{}");
        let layer_digest = self.push_blob(name, layer);
        let body = image(&config, &layer_digest, layer.len(), "");
        let response = self.push_manifest(name, tag, oci::media_type::OCI_MANIFEST, &body);
        assert_eq!(response.status, 201, "{}", response.text());
        (Digest::sha256(body.as_bytes()), body)
    }

    /// Pushes an image manifest that refers to `subject` by the given field.
    pub fn attach(
        &self,
        name: &str,
        field: &str,
        subject: &Digest,
        content: &[u8],
        annotation: &str,
    ) -> Digest {
        let config = self.push_blob(name, b"{}");
        let layer = self.push_blob(name, content);
        let more = format!(
            ",\"{field}\":{{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"size\":2,\"digest\":\"{subject}\"}},\"annotations\":{{\"note\":\"{annotation}\"}}"
        );
        let body = image(&config, &layer, content.len(), &more);
        let digest = Digest::sha256(body.as_bytes());
        let response = self.push_manifest(name, &digest.to_string(), oci::media_type::OCI_MANIFEST, &body);
        assert_eq!(response.status, 201, "{}", response.text());
        digest
    }
}

/// An image manifest of one layer with more fields at its end.
pub fn image(config: &Digest, layer: &Digest, layer_size: usize, more: &str) -> String {
    format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"config\":{{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"size\":2,\"digest\":\"{config}\"}},\"layers\":[{{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"size\":{layer_size},\"digest\":\"{layer}\"}}]{more}}}"
    )
}

/// An image index of these manifests.
pub fn index(manifests: &[Digest]) -> String {
    let entries: Vec<String> = manifests
        .iter()
        .map(|d| format!("{{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"size\":2,\"digest\":\"{d}\"}}"))
        .collect();
    format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":[{}]}}",
        entries.join(",")
    )
}

fn tokio_handle() -> tokio::runtime::Handle {
    tokio::runtime::Handle::current()
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop();
        }
    }
}

/// When it is dropped, it waits until nobody else has the store any more, and closes it: a request whose client has its answer
/// may still hold it for a moment, and the folder is to be opened again. Whoever is last closes it, so this must be last.
struct Released(Option<Arc<dyn Storage>>);

impl Drop for Released {
    fn drop(&mut self) {
        let Some(store) = &self.0 else { return };
        let began = Instant::now();
        while Arc::strong_count(store) > 1 && began.elapsed() < Duration::from_secs(20) {
            thread::sleep(Duration::from_millis(1));
        }
        assert!(
            Arc::strong_count(store) == 1 || thread::panicking(),
            "somebody keeps the store"
        );
    }
}

/// A request to be written as it is.
pub struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    chunked: bool,
}

impl Request {
    pub fn new(method: &str, path: &str) -> Request {
        Request {
            method: method.into(),
            path: path.into(),
            headers: Vec::new(),
            body: Vec::new(),
            chunked: false,
        }
    }

    pub fn header(mut self, name: &str, value: impl ToString) -> Request {
        self.headers.push((name.into(), value.to_string()));
        self
    }

    pub fn body(mut self, body: &[u8]) -> Request {
        self.body = body.to_vec();
        self
    }

    /// Sends the body in chunks without a length.
    pub fn chunked(mut self) -> Request {
        self.chunked = true;
        self
    }

    pub fn send(&self, address: SocketAddr) -> Response {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        // A server may refuse before it has read everything.
        let _ = stream.write_all(&self.to_bytes());
        Response::read(&mut stream, self.method == "HEAD")
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = format!(
            "{} {} HTTP/1.1\r\nHost: registry\r\nConnection: close\r\n",
            self.method, self.path
        )
        .into_bytes();
        for (name, value) in &self.headers {
            bytes.extend(format!("{name}: {value}\r\n").into_bytes());
        }
        if self.chunked {
            bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
            for piece in self.body.chunks(1000) {
                bytes.extend(format!("{:x}\r\n", piece.len()).into_bytes());
                bytes.extend(piece);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\n\r\n");
        } else {
            let told = self
                .headers
                .iter()
                .any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
            if !told && (!self.body.is_empty() || ["PUT", "POST", "PATCH"].contains(&&*self.method)) {
                bytes.extend(format!("Content-Length: {}\r\n", self.body.len()).into_bytes());
            }
            bytes.extend(b"\r\n");
            bytes.extend(&self.body);
        }
        bytes
    }
}

/// A response as it came.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn read(stream: &mut TcpStream, head: bool) -> Response {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let end = bytes
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .expect("a whole head")
            + 4;
        let text = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = text.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let response = Response {
            status,
            headers,
            body: bytes[end..].to_vec(),
        };
        if !head && let Some(length) = response.header("content-length") {
            assert_eq!(
                length.parse::<usize>().unwrap(),
                response.body.len(),
                "the announced length is sent"
            );
        }
        response
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// The code of the first error in the envelope.
    pub fn code(&self) -> String {
        self.json()["errors"][0]["code"]
            .as_str()
            .expect("an error envelope")
            .to_owned()
    }
}
