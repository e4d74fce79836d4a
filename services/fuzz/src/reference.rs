//! Repository names, tags, references and locations: the parsers agree with the specification's expressions, and what they
//! read is written and read back the same.

use crate::grammar::{NAME, REFERENCE, TAG, check_error};
use client::Location;
use oci::{Digest, ImageReference, ManifestRef, RepositoryName, Tag};

/// Any text as each of them.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    names(text);
    manifest_ref(text);
    image_reference(text);
    location(text);
}

fn names(text: &str) {
    let expected = text.len() <= 255 && NAME.is_match(text);
    match RepositoryName::parse(text) {
        Ok(name) => assert!(expected && name.as_str() == text, "{text:?} was read as a name"),
        Err(error) => {
            assert!(!expected, "{error}");
            check_error(&error);
        }
    }
    match Tag::parse(text) {
        Ok(tag) => assert!(
            TAG.is_match(text) && tag.as_str() == text,
            "{text:?} was read as a tag"
        ),
        Err(error) => {
            assert!(!TAG.is_match(text), "{error}");
            check_error(&error);
        }
    }
}

fn manifest_ref(text: &str) {
    match ManifestRef::parse(text) {
        Ok(read) => {
            assert_eq!(read.to_string(), text);
            assert_ne!(read.tag().is_some(), read.digest().is_some());
        }
        Err(error) => {
            assert!(
                Tag::parse(text).is_err() && Digest::parse(text).is_err(),
                "{error}"
            );
            check_error(&error);
        }
    }
}

fn image_reference(text: &str) {
    match ImageReference::parse(text) {
        Ok(reference) => {
            let written = reference.to_string();
            assert_eq!(
                ImageReference::parse(&written).as_ref(),
                Ok(&reference),
                "{text:?} is written {written:?}"
            );
            let target = reference.target();
            assert_eq!(reference.with_target(target.clone()).target(), target);
            assert_eq!(
                target.digest(),
                reference.digest.as_ref(),
                "a digest wins over a tag"
            );
        }
        Err(error) => {
            assert!(!must_be_read(text), "{error}");
            check_error(&error);
        }
    }
}

/// Whether Docker's grammar reads this text, and the limits that we add hold: ports, lengths of labels and names.
fn must_be_read(text: &str) -> bool {
    let Some(parts) = REFERENCE.captures(text) else {
        return false;
    };
    let path = &parts["path"];
    let Some(host) = parts.name("host").map(|host| host.as_str()) else {
        // A path whose first part looks like a host is one.
        let first = path.split_once('/').map_or("", |(first, _)| first);
        return !first.contains('.') && first != "localhost" && path.len() < 200;
    };
    let names_a_host = host.contains(['.', ':']) || host == "localhost";
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (host, "80"),
    };
    let sound_port = port.parse::<u16>().is_ok_and(|port| port > 0);
    let sound_name = match name.strip_prefix('[') {
        Some(address) => address
            .trim_end_matches(']')
            .parse::<std::net::Ipv6Addr>()
            .is_ok(),
        None => name.split('.').all(|label| label.len() <= 63),
    };
    names_a_host && sound_port && sound_name && path.len() < 200
}

fn location(text: &str) {
    match Location::parse(text) {
        Ok(location) => {
            let written = location.to_string();
            let again = Location::parse(&written).expect("a location that was written is one");
            assert_eq!(again, location, "{text:?} is written {written:?}");
        }
        Err(error) => check_error(&error),
    }
}
