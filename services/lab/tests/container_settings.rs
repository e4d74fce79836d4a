//! Rules of ARCHITECTURE.md, "What is trusted, and what is not", for containers: whatever docker-compose.yml starts has nothing
//! to write to but what is named, no way to more rights, and no port that another machine reaches.

#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

use serde_json::{Map, Value};
use std::path::Path;

fn file(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::read_to_string(root.join(name)).expect(name)
}

/// The services by name, with what `<<` brings written out.
fn services() -> Map<String, Value> {
    // The parser's limits are for files of strangers; 54 services of the scenarios are a few anchors over and over.
    let options = serde_saphyr::options! { budget: None };
    let compose: Value =
        serde_saphyr::from_str_with_options(&file("docker-compose.yml"), options).expect("YAML");
    let services = compose["services"].as_object().expect("services");
    services
        .iter()
        .map(|(name, service)| (name.clone(), merged(service)))
        .collect()
}

fn merged(value: &Value) -> Value {
    let Some(map) = value.as_object() else {
        return value.clone();
    };
    let mut all = match map.get("<<") {
        Some(base) => merged(base).as_object().cloned().unwrap_or_default(),
        None => Map::new(),
    };
    all.extend(
        map.iter()
            .filter(|(key, _)| *key != "<<")
            .map(|(k, v)| (k.clone(), v.clone())),
    );
    Value::Object(all)
}

fn texts(value: &Value) -> Vec<&str> {
    let list = value.as_array().map_or(&[][..], Vec::as_slice);
    list.iter().filter_map(Value::as_str).collect()
}

#[test]
fn every_container_is_read_only_and_can_gain_no_rights() {
    let services = services();
    assert!(services.len() > 50, "only {} services found", services.len());
    for (name, service) in &services {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(texts(&service["cap_drop"]), ["ALL"], "{name}");
        assert_eq!(texts(&service["security_opt"]), ["no-new-privileges"], "{name}");
        for shared in [
            "privileged",
            "network_mode",
            "pid",
            "ipc",
            "userns_mode",
            "devices",
        ] {
            assert!(service[shared].is_null(), "{name} has {shared}");
        }
        // `as-owner` gives up both before the tool begins.
        let as_owner = service["user"] == "0:0";
        let capabilities: &[&str] = if as_owner { &["SETUID", "SETGID"] } else { &[] };
        assert_eq!(texts(&service["cap_add"]), capabilities, "{name}");
        assert!(
            !as_owner || ["producer", "consumer", "lab"].contains(&name.as_str()),
            "{name} is root"
        );
        let image = service["image"].as_str().expect("an image");
        assert!(image.starts_with("referrers-lab/"), "{name} runs {image}");
    }
}

#[test]
fn no_port_is_open_to_other_machines_and_no_socket_of_the_engine_to_a_container() {
    let mut ports = 0;
    for (name, service) in services() {
        for port in texts(&service["ports"]) {
            assert!(port.starts_with("127.0.0.1:"), "{name} opens {port}");
            ports += 1;
        }
        let volumes = service["volumes"].as_array().cloned().unwrap_or_default();
        for volume in &volumes {
            let volume = volume.as_str().expect("a volume in its short form");
            assert!(
                !volume.contains(".sock") && !volume.starts_with('/'),
                "{name} sees {volume}"
            );
            let is_tool = service["user"] == "0:0";
            let writes_outside = volume.starts_with('.') && !volume.ends_with(":ro");
            assert!(!writes_outside || is_tool, "{name} writes to {volume}");
        }
    }
    assert_eq!(ports, 3, "two registries and the front desk");
}

#[test]
fn every_image_is_made_from_nothing_and_runs_as_nobody() {
    let dockerfile = file("Dockerfile");
    let stages: Vec<&str> = dockerfile.split("\nFROM ").skip(1).collect();
    for name in ["registry", "tool"] {
        let stage = stages
            .iter()
            .find(|stage| stage.lines().next() == Some(&format!("scratch AS {name}")))
            .expect("a stage from scratch");
        assert!(
            stage.contains("\nUSER 65532:65532"),
            "{name} has a user of its own"
        );
    }
    for name in ["producer", "consumer", "lab"] {
        let from = format!("tool AS {name}");
        let stage = stages
            .iter()
            .find(|stage| stage.lines().next() == Some(&from))
            .expect(name);
        assert!(!stage.contains("USER "), "{name} changes its user");
    }
}
