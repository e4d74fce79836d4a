//! The manifests of references, byte for byte as the original tools wrote them. Pure: nothing is sent from here.

use client::Manifest;
use oci::{Annotations, Descriptor, ManifestKind, media_type};
use serde::Serialize;

/// What a reference is made of.
pub struct Parts {
    /// Its content, one blob.
    pub content: Descriptor,
    /// What kind of thing it is, where that is a media type.
    pub artifact_type: Option<String>,
    /// The manifest's annotations.
    pub annotations: Annotations,
    /// The manifest that it is about.
    pub refers: Descriptor,
    /// Whether to name it in `subject` too.
    pub with_subject: bool,
}

/// A manifest and the small blob that it needs beside its content.
pub struct Built {
    /// The manifest.
    pub manifest: Manifest,
    /// The config of an image manifest: its descriptor and bytes.
    pub config: Option<(Descriptor, Vec<u8>)>,
}

/// Why no manifest was made: its kind is not one that holds a reference. Only [`parse_form`] and the policies choose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAForm(pub ManifestKind);

/// Reads the media type of a manifest that can hold a reference.
///
/// # Errors
/// What was expected.
pub fn parse_form(text: &str) -> Result<ManifestKind, String> {
    match ManifestKind::from_media_type(text) {
        Some(kind @ (ManifestKind::Image | ManifestKind::Artifact)) => Ok(kind),
        _ => Err(format!(
            "expected {} or {}",
            media_type::OCI_ARTIFACT,
            media_type::OCI_MANIFEST
        )),
    }
}

/// Makes the manifest of a reference.
///
/// # Errors
/// [`NotAForm`] for a kind that holds no reference with one blob.
pub fn build(kind: ManifestKind, parts: &Parts) -> Result<Built, NotAForm> {
    match kind {
        ManifestKind::Image => Ok(image(parts)),
        ManifestKind::Artifact => Ok(artifact(parts)),
        ManifestKind::Index | ManifestKind::DockerImage | ManifestKind::DockerList => Err(NotAForm(kind)),
    }
}

/// The image manifest, its fields in the order of the original intermediate tool.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ImageForm<'a> {
    schema_version: u8,
    media_type: &'static str,
    config: &'a Descriptor,
    layers: [&'a Descriptor; 1],
    #[serde(skip_serializing_if = "Annotations::is_empty")]
    annotations: &'a Annotations,
    refers: &'a Descriptor,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a Descriptor>,
}

/// The artifact manifest, its fields in the order of the original complete tool, which wrote an empty `artifactType`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactForm<'a> {
    schema_version: u8,
    media_type: &'static str,
    artifact_type: &'a str,
    blobs: [&'a Descriptor; 1],
    refers: &'a Descriptor,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a Descriptor>,
    #[serde(skip_serializing_if = "Annotations::is_empty")]
    annotations: &'a Annotations,
}

fn image(parts: &Parts) -> Built {
    let (config_type, config) = config(parts);
    let descriptor = Descriptor::of(config_type, &config);
    let form = ImageForm {
        schema_version: 2,
        media_type: media_type::OCI_MANIFEST,
        config: &descriptor,
        layers: [&parts.content],
        annotations: &parts.annotations,
        refers: &parts.refers,
        subject: parts.with_subject.then_some(&parts.refers),
    };
    Built {
        manifest: Manifest::new(media_type::OCI_MANIFEST, json(&form)),
        config: Some((descriptor, config)),
    }
}

fn artifact(parts: &Parts) -> Built {
    let form = ArtifactForm {
        schema_version: 2,
        media_type: media_type::OCI_ARTIFACT,
        artifact_type: parts.artifact_type.as_deref().unwrap_or_default(),
        blobs: [&parts.content],
        refers: &parts.refers,
        subject: parts.with_subject.then_some(&parts.refers),
        annotations: &parts.annotations,
    };
    Built {
        manifest: Manifest::new(media_type::OCI_ARTIFACT, json(&form)),
        config: None,
    }
}

/// The config of the image form.
///
/// Without a type it is the one that the original intermediate tool made: an image's config without a platform, at the
/// beginning of time, that names the content as its only layer. With a type it is an empty object of that type, which is
/// where readers of image manifests look for it.
fn config(parts: &Parts) -> (&str, Vec<u8>) {
    match &parts.artifact_type {
        Some(artifact_type) => (artifact_type, b"{}".to_vec()),
        None => {
            let layer = parts.content.digest;
            let config = format!(
                "{{\"architecture\":\"\",\"created\":\"0001-01-01T00:00:00Z\",\
                 \"history\":[{{\"created\":\"0001-01-01T00:00:00Z\"}}],\"os\":\"\",\
                 \"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[\"{layer}\"]}},\"config\":{{}}}}"
            );
            (media_type::OCI_CONFIG, config.into_bytes())
        }
    }
}

fn json(form: &impl Serialize) -> Vec<u8> {
    match serde_json::to_vec(form) {
        Ok(bytes) => bytes,
        // Descriptors and texts have no keys but texts, and writing to memory does not fail.
        Err(error) => unreachable!("{error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci::Digest;
    use oci::manifest::ANNOTATION_ARTIFACT_TYPE;

    fn parts(content_type: &str) -> Parts {
        let subject = "sha256:7daa25b1b1e74eae9ae4ab37553afc802200b9bf6154ba5fe7d8ee3a110c4664";
        Parts {
            content: Descriptor::of(content_type, b"hello world\n"),
            artifact_type: None,
            annotations: [(ANNOTATION_ARTIFACT_TYPE.to_owned(), "misc".to_owned())].into(),
            refers: Descriptor::new(
                media_type::OCI_INDEX,
                Digest::parse(subject).expect("a digest"),
                491,
            ),
            with_subject: false,
        }
    }

    #[test]
    fn the_image_form_has_the_digests_of_the_recordings() {
        let built = build(ManifestKind::Image, &parts("text/plain")).expect("a form");
        let (config, bytes) = built.config.expect("a config");
        assert_eq!(
            config.digest.to_string(),
            "sha256:f857206b9e34016379382a315f2e79ef98f159d2d1fad0af40e2b6fdef4bd167"
        );
        assert_eq!(bytes.len(), 233);
        assert_eq!(
            built.manifest.digest.to_string(),
            "sha256:e09d5216ba4481cfe6cb2c4a39350115003903fe993750fdb7f021838812ae87"
        );
    }

    #[test]
    fn the_artifact_form_has_the_digest_of_the_recordings() {
        let built = build(ManifestKind::Artifact, &parts(media_type::OCTET_STREAM)).expect("a form");
        assert!(built.config.is_none());
        assert_eq!(
            built.manifest.digest.to_string(),
            "sha256:075956837d9f68aea9cde7bc9d94c6b48f6eb04f1f66f4ae96d8cf0246eda810"
        );
    }

    #[test]
    fn a_type_is_listed_as_the_artifact_type_by_either_form() {
        for kind in [ManifestKind::Image, ManifestKind::Artifact] {
            let mut parts = parts("text/plain");
            parts.artifact_type = Some("application/vnd.example.misc.v1".to_owned());
            parts.with_subject = true;
            let view = build(kind, &parts)
                .expect("a form")
                .manifest
                .view()
                .expect("a manifest");
            assert_eq!(
                view.listed_artifact_type(),
                Some("application/vnd.example.misc.v1")
            );
            assert_eq!(view.refers.as_ref(), Some(&parts.refers));
            assert_eq!(view.subject.as_ref(), Some(&parts.refers));
        }
    }

    #[test]
    fn a_list_is_no_form_of_a_reference() {
        assert!(build(ManifestKind::Index, &parts("text/plain")).is_err());
        assert!(parse_form(media_type::OCI_INDEX).is_err());
        assert_eq!(parse_form(media_type::OCI_ARTIFACT), Ok(ManifestKind::Artifact));
    }
}
