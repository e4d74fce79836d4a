//! The front desk: waits for both registries, tells what they show, and stops when it is told to.

#![cfg(unix)]
#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, ChildStdout, Command, Stdio};
use testkit::Registry;
use testkit::http::{Request, Response};

/// A desk that runs; it ends when this is dropped.
struct Desk {
    child: Child,
    address: SocketAddr,
    said: BufReader<ChildStdout>,
    _folder: tempfile::TempDir,
}

impl Desk {
    /// Opens a desk where these two registries are called localhost:5001 and localhost:5002.
    fn open(first: &Registry, second: &Registry) -> Desk {
        Desk::open_with(first, second, &[])
    }

    /// As [`Desk::open`], with more arguments.
    fn open_with(first: &Registry, second: &Registry, more: &[&str]) -> Desk {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("client.json");
        let settings = serde_json::json!({"registries": {
            "localhost:5001": {"hostname": first.host(), "tls": "disabled"},
            "localhost:5002": {"hostname": second.host(), "tls": "disabled"},
        }});
        std::fs::write(&config, settings.to_string()).expect("a file");
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .expect("a free port");
        let mut child = Command::new(env!("CARGO_BIN_EXE_lab"))
            .args(["registries", "--address", &address.to_string()])
            .args(more)
            .env("REFERRERS_LAB_CONFIG", &config)
            .stdout(Stdio::piped())
            .spawn()
            .expect("lab runs");
        let said = BufReader::new(child.stdout.take().expect("a pipe"));
        Desk {
            child,
            address,
            said,
            _folder: folder,
        }
    }

    fn next_line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("a line");
        line
    }

    fn get(&self, path: &str) -> Response {
        Request::new("GET", path).send(self.address)
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

#[test]
fn it_lays_an_image_for_newcomers_where_nothing_is_and_leaves_what_is_there() {
    let (current, complete) = (Registry::current(), Registry::complete());
    let index = [("Content-Type", "application/vnd.oci.image.index.v1+json")];
    let own =
        b"{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":[]}";
    current
        .request("PUT", "/v2/scenario-8/alpine-base/manifests/latest", &index, own)
        .expect(201);
    let folder = tempfile::tempdir().expect("a folder");
    let layout = folder.path().join("fixture");
    lab::fixture::write(&layout).expect("the lab's image");

    let image = format!("oci:{}:latest", layout.display());
    let mut desk = Desk::open_with(&current, &complete, &["--image", &image]);
    assert!(desk.next_line().starts_with(&image));
    assert_eq!(desk.next_line(), "localhost:5001 is a current registry 🚲\n");

    assert_eq!(
        current.get("/v2/scenario-8/alpine-base/manifests/latest").body,
        own
    );
    assert_eq!(
        current.get("/v2/scenario-7/alpine-base/manifests/latest").status,
        200
    );
    assert_eq!(
        current.get("/v2/scenario-18/alpine-base/manifests/latest").status,
        404
    );
    assert_eq!(
        complete
            .get("/v2/scenario-18/alpine-base/manifests/latest")
            .status,
        200
    );
}

#[test]
fn it_tells_what_each_registry_shows_and_not_what_it_is_called() {
    let (complete, current) = (Registry::complete(), Registry::current());
    let mut desk = Desk::open(&complete, &current);
    assert_eq!(desk.next_line(), "localhost:5001 is a complete registry 🏍\n");
    assert_eq!(desk.next_line(), "localhost:5002 is a current registry 🚲\n");
    assert!(desk.next_line().contains(&desk.address.to_string()));

    let pushed =
        b"{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":[]}";
    let index = [("Content-Type", "application/vnd.oci.image.index.v1+json")];
    complete
        .request("PUT", "/v2/an/app/manifests/latest", &index, pushed)
        .expect(201);
    let status: Value = desk.get("/status.json").expect(200).json();
    assert_eq!(status["healthy"], true);
    let registries = &status["registries"];
    assert_eq!(registries[0]["generation"], "complete");
    assert_eq!(registries[0]["repositories"], serde_json::json!(["an/app"]));
    assert_eq!(registries[1]["generation"], "current");
    assert_eq!(registries[1]["address"], current.host());

    let page = desk.get("/").expect(200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let page = page.text();
    assert!(
        page.contains("localhost:5001/an/app") && page.contains("<html lang=\"en\">"),
        "{page}"
    );
    assert!(
        !page.contains("src=") && !page.contains("<script") && !page.contains("<link"),
        "the page stands alone"
    );
}

#[test]
fn it_waits_until_both_are_healthy_and_tells_which_is_not() {
    let current = Registry::current();
    let mut complete = Registry::complete();
    complete.stop();
    let mut desk = Desk::open(&current, &complete);
    assert_eq!(desk.next_line(), "waiting for localhost:5002\n");
    let status: Value = desk.get("/status.json").expect(200).json();
    assert_eq!(status["healthy"], false);
    assert_eq!(status["registries"][0]["healthy"], true);
    assert_eq!(status["registries"][1]["generation"], Value::Null);
    assert!(status["registries"][1]["problem"].is_string(), "{status}");
    assert!(desk.get("/").expect(200).text().contains("not healthy"));
    complete.restart();
    assert_eq!(desk.next_line(), "localhost:5001 is a current registry 🚲\n");
}

#[test]
fn sigterm_ends_it_with_success() {
    let (current, complete) = (Registry::current(), Registry::complete());
    let mut desk = Desk::open(&current, &complete);
    desk.next_line();
    let sent = Command::new("kill")
        .args(["-TERM", &desk.child.id().to_string()])
        .status()
        .expect("kill runs");
    assert!(sent.success());
    assert_eq!(desk.child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn its_health_is_told_by_the_exit_code() {
    let (current, complete) = (Registry::current(), Registry::complete());
    let mut desk = Desk::open(&current, &complete);
    desk.next_line();
    let healthcheck = |address: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
        command
            .args(["healthcheck", "--address", address])
            .stderr(Stdio::null())
            .status()
            .expect("lab runs")
            .code()
    };
    assert_eq!(desk.get("/livez").status, 200);
    assert_eq!(healthcheck(&desk.address.to_string()), Some(0));
    assert_eq!(healthcheck("127.0.0.1:1"), Some(1));
}

#[test]
fn a_port_that_is_taken_is_told() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_lab"))
        .args(["registries", "--address", &address])
        .output()
        .expect("lab runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains(&address));
}
