//! Choosing an image from an index by its platform.

use crate::{Error, Result, error::clean};
use oci::{Descriptor, Digest, ManifestView, Platform};
use serde_json::Map;

/// Reads `os/arch[/variant]`.
///
/// # Errors
/// `Usage` with the text.
pub fn parse_platform(text: &str) -> Result<Platform> {
    let parts: Vec<&str> = text.split('/').collect();
    let word = |part: &&str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
    };
    let (os, architecture, variant) = match parts.as_slice() {
        [os, architecture] if parts.iter().all(word) => (os, architecture, None),
        [os, architecture, variant] if parts.iter().all(word) => (os, architecture, Some(variant)),
        _ => {
            return Err(Error::Usage(format!(
                "{:?} is not a platform: expected os/arch or os/arch/variant, such as linux/arm64",
                clean(text)
            )));
        }
    };
    Ok(Platform {
        architecture: (*architecture).to_owned(),
        os: (*os).to_owned(),
        variant: variant.map(|variant| (*variant).to_owned()),
        os_version: None,
        other: Map::new(),
    })
}

/// Finds the entry of an index for a platform; without a variant any variant will do, the first one wins.
///
/// # Errors
/// `NoPlatform`, naming the platforms that there are.
pub fn select_platform<'a>(
    index: &'a ManifestView,
    digest: &Digest,
    wanted: &Platform,
) -> Result<&'a Descriptor> {
    let fits = |platform: &Platform| {
        platform.os == wanted.os
            && platform.architecture == wanted.architecture
            && (wanted.variant.is_none() || platform.variant == wanted.variant)
    };
    let mut entries = index.manifests.iter();
    let found = entries.find(|entry| entry.platform.as_ref().is_some_and(fits));
    found.ok_or_else(|| {
        let platforms = index.manifests.iter().filter_map(|entry| entry.platform.as_ref());
        let available: Vec<String> = platforms.take(32).map(Platform::to_string).collect();
        Error::NoPlatform {
            wanted: wanted.to_string(),
            digest: Box::new(*digest),
            available: match available.is_empty() {
                true => "none".to_owned(),
                false => clean(&available.join(", ")),
            },
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_read_and_refused_with_their_text() {
        assert_eq!(
            parse_platform("linux/arm/v7").expect("a platform").to_string(),
            "linux/arm/v7"
        );
        for text in ["", "linux", "linux/", "a/b/c/d", "linux/am d64", "/"] {
            let error = parse_platform(text).expect_err(text);
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn a_platform_is_found_or_the_others_are_named() {
        let entry = |platform: &str| {
            let mut entry = Descriptor::of(oci::media_type::OCI_MANIFEST, platform.as_bytes());
            entry.platform = Some(parse_platform(platform).expect("a platform"));
            entry
        };
        let document = serde_json::json!({
            "schemaVersion": 2, "manifests": [entry("linux/arm/v6"), entry("linux/arm/v7"), entry("linux/amd64")]
        });
        let index = ManifestView::parse(None, document.to_string().as_bytes()).expect("an index");
        let select = |text: &str| {
            select_platform(
                &index,
                &Digest::sha256(b""),
                &parse_platform(text).expect("a platform"),
            )
            .map(|entry| entry.digest)
        };
        assert_eq!(select("linux/arm").expect("found"), entry("linux/arm/v6").digest);
        assert_eq!(
            select("linux/arm/v7").expect("found"),
            entry("linux/arm/v7").digest
        );
        let error = select("linux/s390x").expect_err("none");
        assert!(
            error
                .to_string()
                .contains("linux/arm/v6, linux/arm/v7, linux/amd64"),
            "{error}"
        );
        assert_eq!(error.exit_code(), crate::ExitCode::NotFound);
    }
}
