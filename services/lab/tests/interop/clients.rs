//! Running the real clients: where each is found, in surroundings of its own, bounded in time.

use crate::places::{PASSWORD, Place, USER};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// The image that `.ci/trixie-image` makes.
const TRIXIE_IMAGE: &str = "referrers-lab-clients:trixie";

/// How long one command may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long the Docker daemon may take to answer at all.
const DAEMON_PATIENCE: Duration = Duration::from_secs(20);

/// A program that somebody else wrote, and how it is run.
#[derive(Clone, Copy, Debug)]
pub enum Client {
    /// Installed on this machine.
    Host(&'static str),
    /// In the container with Debian trixie, on this machine's network.
    Trixie(&'static str),
    /// One of our own tools, of a generation.
    Ours(&'static str, &'static str),
}

pub const ORAS: Client = Client::Host("oras");
pub const COSIGN: Client = Client::Host("cosign");
pub const DOCKER: Client = Client::Host("docker");
pub const SKOPEOS: [Client; 2] = [Client::Host("skopeo"), Client::Trixie("skopeo")];
pub const PODMANS: [Client; 2] = [Client::Host("podman"), Client::Trixie("podman")];

/// Our producer of a generation.
pub const fn producer(generation: &'static str) -> Client {
    Client::Ours("producer", generation)
}

/// Our consumer of a generation.
pub const fn consumer(generation: &'static str) -> Client {
    Client::Ours("consumer", generation)
}

/// Ends the test, passed and said to be skipped, unless the client is there.
macro_rules! needs {
    ($client:expr) => {
        if !$client.is_there() {
            return;
        }
    };
}

impl Client {
    /// Whether it can be run here. Says so if not.
    ///
    /// # Panics
    /// If it cannot and this is the CI machine, where every client must be.
    pub fn is_there(self) -> bool {
        let missing = match self {
            Client::Host("docker") => (!docker_answers()).then(|| "no Docker daemon answers".to_owned()),
            Client::Host(program) => find(program)
                .is_none()
                .then(|| format!("{program} is not installed")),
            Client::Trixie(program) => (!trixie_image_is_there())
                .then(|| format!("there is no image {TRIXIE_IMAGE} to run {program} in (.ci/trixie-image)")),
            Client::Ours(..) => None,
        };
        if let Some(reason) = &missing {
            skip(reason);
        }
        missing.is_none()
    }
}

/// Says that something is not tested.
///
/// # Panics
/// On the CI machine, where everything must be tested.
pub fn skip(reason: &str) {
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "must be there on the CI machine: {reason}"
    );
    println!("skipped: {reason}");
}

/// Where a program is, by `PATH`.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

fn docker_answers() -> bool {
    find("docker").is_some() && docker_does(&["version"])
}

fn trixie_image_is_there() -> bool {
    docker_answers() && docker_does(&["image", "inspect", TRIXIE_IMAGE])
}

fn docker_does(words: &[&str]) -> bool {
    let output = bounded(Command::new("docker").args(words), DAEMON_PATIENCE);
    output.is_ok_and(|output| output.status.success())
}

/// Runs a command to its end, with nothing on its standard input. It is killed when it takes too long.
fn bounded(command: &mut Command, patience: Duration) -> io::Result<Output> {
    let command = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let stdout = read_aside(child.stdout.take());
    let stderr = read_aside(child.stderr.take());
    let deadline = Instant::now() + patience;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > deadline {
            child.kill()?;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    Ok(Output {
        status,
        stdout: stdout.join().expect("no panic"),
        stderr: stderr.join().expect("no panic"),
    })
}

/// Reads a pipe to its end, so that the other side never waits for it.
fn read_aside(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

/// A working folder, a home and an empty login file, for the commands of one test.
pub struct Sandbox {
    folder: TempDir,
    trusts: Option<PathBuf>,
    images: Vec<String>,
}

impl Sandbox {
    /// Nobody is logged in, and no certificate is trusted but the system's.
    pub fn new() -> Sandbox {
        let folder = TempDir::with_prefix("interop-").expect("a temporary folder");
        for name in ["home", "login", "work", "run"] {
            fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        fs::write(folder.path().join("login/config.json"), "{}").expect("an empty login file");
        let sandbox = Sandbox {
            folder,
            trusts: None,
            images: Vec::new(),
        };
        sandbox.file("hello.txt", "hello world\n");
        sandbox
    }

    /// Trusts the place's certificate and is logged in there, if it wants that.
    pub fn at(place: &Place) -> Sandbox {
        let mut sandbox = Sandbox::new();
        if let Some(certificate) = place.certificate() {
            sandbox.trust(certificate);
            sandbox.log_in(&place.host());
        }
        sandbox
    }

    /// Trusts this certificate, and no other.
    pub fn trust(&mut self, certificate: PathBuf) {
        // A copy, as a container sees no folder but this.
        let copy = self.folder.path().join("trusted.pem");
        fs::copy(certificate, &copy).expect("a copy");
        self.trusts = Some(copy);
    }

    /// Writes a login file, as if somebody had logged in to this host alone.
    pub fn log_in(&self, host: &str) {
        let auth = BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"));
        let text = serde_json::json!({ "auths": { host: { "auth": auth } } }).to_string();
        fs::write(self.login_file(), text).expect("a login file");
    }

    /// The folder in which commands run.
    pub fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// Writes a file into the working folder.
    pub fn file(&self, name: &str, content: &str) {
        fs::write(self.work().join(name), content).expect("a file");
    }

    /// Reads a file of the working folder.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.work().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Runs a command, its words separated by white space, and gives what it printed.
    ///
    /// # Panics
    /// With everything it said, if it fails.
    #[track_caller]
    pub fn run(&self, client: Client, words: impl AsRef<str>) -> String {
        self.try_run(client, words).succeeded()
    }

    /// Runs a command and gives what it said on standard error.
    ///
    /// # Panics
    /// If it does not fail.
    #[track_caller]
    pub fn fails(&self, client: Client, words: impl AsRef<str>) -> String {
        self.try_run(client, words).failed()
    }

    /// Runs a command that prints JSON.
    #[track_caller]
    pub fn json(&self, client: Client, words: impl AsRef<str>) -> serde_json::Value {
        self.try_run(client, words).json()
    }

    /// Runs a command, whatever becomes of it.
    pub fn try_run(&self, client: Client, words: impl AsRef<str>) -> Ended {
        self.try_run_with(client, words, &[])
    }

    /// Runs a command with more in its environment.
    pub fn try_run_with(&self, client: Client, words: impl AsRef<str>, more: &[(&str, &str)]) -> Ended {
        let words = words.as_ref();
        let mut environment = self.environment();
        if matches!(client, Client::Host("skopeo" | "podman")) {
            // Else they keep what root knows of blobs in /var/lib.
            environment.push(("_CONTAINERS_ROOTLESS_UID".to_owned(), "1".to_owned()));
        }
        environment.extend(
            more.iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let mut command = match client {
            Client::Host(program) => Command::new(program),
            Client::Ours(tool, generation) => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
                command.args([tool, "--generation", generation]);
                command
            }
            Client::Trixie(program) => self.in_container(program, &environment),
        };
        if !matches!(client, Client::Trixie(_)) {
            command.env_clear().envs(environment);
            for name in ["PATH", "DOCKER_HOST"] {
                command.envs(std::env::var_os(name).map(|value| (name, value)));
            }
        }
        command.args(words.split_whitespace()).current_dir(self.work());
        let output = bounded(&mut command, PATIENCE);
        Ended {
            output: output.unwrap_or_else(|error| panic!("{client:?} {words}: {error}")),
            command: format!("{client:?} {words}"),
        }
    }

    /// podman wants to mount, which a container may not do by default.
    fn in_container(&self, program: &str, environment: &[(String, String)]) -> Command {
        let folder = self.folder.path().display();
        let mut command = Command::new("docker");
        command.args(["run", "--rm", "--network", "host", "--cap-add", "SYS_ADMIN"]);
        command.args(["--security-opt", "seccomp=unconfined"]);
        command.arg("--volume").arg(format!("{folder}:{folder}"));
        command.arg("--workdir").arg(self.work());
        for (name, value) in environment {
            command.arg("--env").arg(format!("{name}={value}"));
        }
        // The container would outlive a killed `docker run`.
        let patience = PATIENCE.as_secs().to_string();
        command.args([TRIXIE_IMAGE, "timeout", &patience, program]);
        command
    }

    fn environment(&self) -> Vec<(String, String)> {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let mut environment = vec![
            ("HOME".to_owned(), path("home")),
            ("XDG_RUNTIME_DIR".to_owned(), path("run")),
            ("DOCKER_CONFIG".to_owned(), path("login")),
            (
                "REGISTRY_AUTH_FILE".to_owned(),
                self.login_file().display().to_string(),
            ),
            ("COSIGN_PASSWORD".to_owned(), "of the key".to_owned()),
            ("PODMAN_IGNORE_CGROUPSV1_WARNING".to_owned(), "1".to_owned()),
            ("RUST_BACKTRACE".to_owned(), "0".to_owned()),
            ("NO_COLOR".to_owned(), "1".to_owned()),
        ];
        if let Some(certificate) = &self.trusts {
            environment.push(("SSL_CERT_FILE".to_owned(), certificate.display().to_string()));
        }
        environment
    }

    fn login_file(&self) -> PathBuf {
        self.folder.path().join("login/config.json")
    }

    /// Where clients with an option for it keep their images.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Has the Docker daemon forget this image in the end.
    pub fn will_leave_in_docker(&mut self, image: &str) {
        self.images.push(image.to_owned());
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        for image in &self.images {
            let _ = self.try_run(DOCKER, format!("rmi {image}"));
        }
    }
}

/// A command that has ended.
pub struct Ended {
    command: String,
    output: Output,
}

impl Ended {
    /// What it printed.
    ///
    /// # Panics
    /// If it failed.
    #[track_caller]
    pub fn succeeded(self) -> String {
        assert!(self.output.status.success(), "{self}");
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    /// The JSON that it printed.
    ///
    /// # Panics
    /// If it failed, or printed something else.
    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        let command = self.command.clone();
        let text = self.succeeded();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{command}: not JSON ({error}): {text}"))
    }

    /// Its exit code.
    ///
    /// # Panics
    /// If it was killed.
    pub fn code(&self) -> i32 {
        self.output.status.code().unwrap_or_else(|| panic!("{self}"))
    }

    /// What it said on standard error.
    ///
    /// # Panics
    /// If it did not fail by itself.
    #[track_caller]
    pub fn failed(self) -> String {
        // 124 is what `timeout` in the container ends with.
        let code = self.output.status.code();
        assert!(!matches!(code, None | Some(0 | 124)), "{self}");
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}: {}\n{}\n{}",
            self.command,
            self.output.status,
            String::from_utf8_lossy(&self.output.stdout),
            String::from_utf8_lossy(&self.output.stderr)
        )
    }
}
