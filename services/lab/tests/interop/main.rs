//! Interoperation with clients and a registry that nobody here wrote, live and over loopback only.
//!
//! Each module is about one client and reads as its commands are typed. A client that is not installed is said to be
//! skipped and its tests pass; with `CI=true` a missing client is a failure. Everything that the clients keep (logins,
//! caches, images) stays in temporary folders, but for images of the Docker daemon, which are removed after each test.

#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

#[macro_use]
mod clients;
mod cosign;
mod debian_registry;
mod docker;
mod fixtures;
mod oras;
mod ours_and_theirs;
mod ours_at_debian;
mod places;
mod podman;
mod skopeo;
mod token_server;
