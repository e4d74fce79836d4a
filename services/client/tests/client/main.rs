//! The client against real sockets: the lab's registries, and scripted servers that lie.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod authorising;
mod copying;
mod lies;
mod proxies;
mod recording;
mod references;
mod tls;
mod transfers;

use client::{Client, Error, ExitCode, Location, Options, Repository, Timeouts};
use oci::{ImageReference, ManifestRef, Tag};
use std::{future::Future, time::Duration};

/// Runs a future as the tools do, on an actix System.
fn run<T>(future: impl Future<Output = T>) -> T {
    actix_rt::System::new().block_on(future)
}

/// Options that touch nothing of this machine's user, and do not wait long.
fn options() -> Options {
    Options {
        docker_config: Some("/nonexistent".into()),
        backoff: Duration::from_millis(1),
        timeouts: Timeouts {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(20),
            idle: Duration::from_secs(20),
            document: Duration::from_secs(20),
        },
        ..Options::default()
    }
}

fn client() -> Client {
    Client::new(options()).expect("a client")
}

fn repository_of(client: &Client, host: &str, name: &str) -> Repository {
    let reference = ImageReference::parse(&format!("{host}/{name}")).expect("a reference");
    client.repository(&reference).expect("a repository")
}

fn repository(host: &str, name: &str) -> Repository {
    repository_of(&client(), host, name)
}

fn tag(text: &str) -> ManifestRef {
    ManifestRef::Tag(Tag::parse(text).expect("a tag"))
}

fn location(text: &str) -> Location {
    Location::parse(text).expect("a location")
}

/// The error has this exit code, and its message has each of these texts.
#[track_caller]
fn assert_error(error: &Error, code: ExitCode, texts: &[&str]) {
    let message = error.to_string();
    assert_eq!(error.exit_code(), code, "{message}");
    for text in texts {
        assert!(message.contains(text), "{text:?} is not in: {message}");
    }
    assert!(message.len() < 2_000, "a message of {} bytes", message.len());
}
