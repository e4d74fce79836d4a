//! A view of a manifest's bytes: what it is, what it needs, and what it refers to. The bytes themselves are never rewritten.

use crate::{Annotations, Descriptor, media_type};
use serde::Deserialize;

/// The annotation that Proposal E's original tools wrote an artifact's type to.
pub const ANNOTATION_ARTIFACT_TYPE: &str = "org.opencontainers.artifact.type";
/// The annotation of an index that tells which filters were applied (Proposal E).
pub const ANNOTATION_FILTERS_APPLIED: &str = "org.opencontainers.references.filtersApplied";
/// The annotation that names a layer's file.
pub const ANNOTATION_TITLE: &str = "org.opencontainers.image.title";
/// The annotation that names a manifest in an OCI layout's `index.json`.
pub const ANNOTATION_REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The manifests that this project understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ManifestKind {
    /// OCI image manifest.
    Image,
    /// OCI image index.
    Index,
    /// Proposal E's artifact manifest.
    Artifact,
    /// Docker image manifest, schema 2.
    DockerImage,
    /// Docker manifest list.
    DockerList,
}

impl ManifestKind {
    /// Every kind.
    pub const ALL: [ManifestKind; 5] = [
        ManifestKind::Image,
        ManifestKind::Index,
        ManifestKind::Artifact,
        ManifestKind::DockerImage,
        ManifestKind::DockerList,
    ];

    /// The media type of the kind.
    pub const fn media_type(self) -> &'static str {
        match self {
            ManifestKind::Image => media_type::OCI_MANIFEST,
            ManifestKind::Index => media_type::OCI_INDEX,
            ManifestKind::Artifact => media_type::OCI_ARTIFACT,
            ManifestKind::DockerImage => media_type::DOCKER_MANIFEST,
            ManifestKind::DockerList => media_type::DOCKER_LIST,
        }
    }

    /// The kind of a media type, without parameters.
    pub fn from_media_type(essence: &str) -> Option<ManifestKind> {
        ManifestKind::ALL
            .into_iter()
            .find(|kind| kind.media_type() == essence)
    }

    /// Whether it lists manifests rather than blobs.
    pub const fn is_list(self) -> bool {
        matches!(self, ManifestKind::Index | ManifestKind::DockerList)
    }

    /// Whether it lists an image's layers.
    pub const fn is_image(self) -> bool {
        matches!(self, ManifestKind::Image | ManifestKind::DockerImage)
    }
}

/// Why bytes are not the manifest that they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or JSON of another shape; the message tells line and column.
    #[error("the manifest is not valid JSON of its kind: {0}")]
    Json(String),
    /// A `schemaVersion` other than 2.
    #[error("schemaVersion is {0}, expected 2")]
    SchemaVersion(u64),
    /// A media type that is not a manifest's.
    #[error("{0:?} is not the media type of a manifest that is known here")]
    UnknownMediaType(String),
    /// `mediaType` in the body and `Content-Type` differ.
    #[error("the body says mediaType {body:?} and the Content-Type says {header:?}: they must agree")]
    MediaTypeMismatch {
        /// What stands in the body.
        body: String,
        /// What stands in the header.
        header: String,
    },
    /// A field that this kind must have is absent.
    #[error("field {0:?} is missing")]
    MissingField(&'static str),
    /// A field that only the other kind has: a manifest that reads as two things at once.
    #[error("field {0:?} has no place in this kind of manifest")]
    UnexpectedField(&'static str),
}

/// What a manifest says, as far as registries and clients act on it.
#[derive(Clone, Debug, PartialEq)]
pub struct ManifestView {
    /// What it is.
    pub kind: ManifestKind,
    /// `config`, of an image manifest.
    pub config: Option<Descriptor>,
    /// `layers` of an image manifest, `blobs` of an artifact manifest; empty for a list.
    pub blobs: Vec<Descriptor>,
    /// `manifests` of a list; empty otherwise.
    pub manifests: Vec<Descriptor>,
    /// `refers`, the descriptor of the subject in Proposal E.
    pub refers: Option<Descriptor>,
    /// `subject`, the descriptor of the subject in OCI 1.1.
    pub subject: Option<Descriptor>,
    /// `artifactType`, if it is there and not empty.
    pub artifact_type: Option<String>,
    /// `annotations`; empty if absent.
    pub annotations: Annotations,
}

/// The fields of every kind together; which of them must be there depends on the kind.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: Option<u64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    blobs: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    refers: Option<Descriptor>,
    subject: Option<Descriptor>,
    annotations: Option<Annotations>,
}

impl ManifestView {
    /// Reads a manifest.
    ///
    /// `content_type` is the header that came with it; without one, or with `application/json`, the body's `mediaType` or,
    /// at last, its shape decides.
    ///
    /// # Errors
    /// [`ManifestError`], the first thing found wrong.
    pub fn parse(content_type: Option<&str>, body: &[u8]) -> Result<ManifestView, ManifestError> {
        // JSON is UTF-8 (RFC 8259, section 8.1), and in fields that it passes over, serde_json does not look.
        let text = std::str::from_utf8(body).map_err(|e| ManifestError::Json(e.to_string()))?;
        let raw: Raw = serde_json::from_str(text).map_err(|e| ManifestError::Json(e.to_string()))?;
        let kind = raw.kind(content_type)?;
        raw.check(kind)?;
        Ok(ManifestView {
            kind,
            // In any other kind it is one of the fields that are kept unread.
            config: raw.config.filter(|_| kind.is_image()),
            blobs: if kind == ManifestKind::Artifact {
                raw.blobs
            } else {
                raw.layers
            }
            .unwrap_or_default(),
            manifests: raw.manifests.unwrap_or_default(),
            refers: raw.refers,
            subject: raw.subject,
            artifact_type: raw.artifact_type.filter(|t| !t.is_empty()),
            annotations: raw.annotations.unwrap_or_default(),
        })
    }

    /// The descriptors of the manifests that this one is about: `refers` and `subject`, once if they are the same.
    pub fn subjects(&self) -> Vec<&Descriptor> {
        let mut subjects: Vec<&Descriptor> = Vec::with_capacity(2);
        for descriptor in [&self.refers, &self.subject].into_iter().flatten() {
            if subjects.iter().all(|known| known.digest != descriptor.digest) {
                subjects.push(descriptor);
            }
        }
        subjects
    }

    /// The type to list a referrer under: the manifest's `artifactType`, else its `config.mediaType`.
    ///
    /// Source: OCI distribution-spec 1.1, "Listing Referrers".
    pub fn listed_artifact_type(&self) -> Option<&str> {
        self.artifact_type
            .as_deref()
            .or_else(|| self.config.as_ref().map(|config| config.media_type.as_str()))
            .filter(|t| !t.is_empty())
    }

    /// The descriptor to list this manifest under among the referrers of its subject.
    ///
    /// `media_type` is the one that the manifest is served with, `digest` and `size` are those of its bytes.
    pub fn referrer_descriptor(&self, media_type: &str, digest: crate::Digest, size: u64) -> Descriptor {
        let mut descriptor = Descriptor::new(media_type, digest, size);
        descriptor.artifact_type = self.listed_artifact_type().map(str::to_owned);
        descriptor.annotations = (!self.annotations.is_empty()).then(|| self.annotations.clone());
        descriptor
    }
}

impl Raw {
    fn kind(&self, content_type: Option<&str>) -> Result<ManifestKind, ManifestError> {
        let header = content_type
            .map(media_type::essence)
            .filter(|t| !t.is_empty() && t != media_type::JSON);
        let body = self.media_type.clone().filter(|t| !t.is_empty());
        let stated = match (&header, &body) {
            (Some(header), Some(body)) if header != body => {
                return Err(ManifestError::MediaTypeMismatch {
                    body: body.clone(),
                    header: header.clone(),
                });
            }
            (Some(stated), _) | (None, Some(stated)) => stated,
            (None, None) if self.manifests.is_some() => return Ok(ManifestKind::Index),
            (None, None) if self.blobs.is_some() => return Ok(ManifestKind::Artifact),
            (None, None) => return Ok(ManifestKind::Image),
        };
        ManifestKind::from_media_type(stated)
            .ok_or_else(|| ManifestError::UnknownMediaType(crate::digest::cut(stated)))
    }

    fn check(&self, kind: ManifestKind) -> Result<(), ManifestError> {
        match self.schema_version {
            Some(2) => {}
            // Proposal E's artifact manifest of its last draft has no schemaVersion.
            None if kind == ManifestKind::Artifact => {}
            None => return Err(ManifestError::MissingField("schemaVersion")),
            Some(other) => return Err(ManifestError::SchemaVersion(other)),
        }
        let fields = [
            ("config", self.config.is_some(), kind.is_image(), false),
            ("layers", self.layers.is_some(), kind.is_image(), kind.is_list()),
            (
                "manifests",
                self.manifests.is_some(),
                kind.is_list(),
                !kind.is_list(),
            ),
        ];
        for (name, present, required, forbidden) in fields {
            if required && !present {
                return Err(ManifestError::MissingField(name));
            }
            if forbidden && present {
                return Err(ManifestError::UnexpectedField(name));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;

    const INTERMEDIATE: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},"layers":[{"mediaType":"text/plain","size":12,"digest":"sha256:a948904f2f0f479b8f8197694b30184b0d2ed1c1cd2a1ec0fb85d299a192a447"}],"annotations":{"org.opencontainers.artifact.type":"misc"},"refers":{"mediaType":"application/vnd.oci.image.index.v1+json","size":491,"digest":"sha256:7daa25b1b1e74eae9ae4ab37553afc802200b9bf6154ba5fe7d8ee3a110c4664"}}"#;

    #[test]
    fn an_image_manifest_with_refers_is_read() {
        let view =
            ManifestView::parse(Some(media_type::OCI_MANIFEST), INTERMEDIATE.as_bytes()).expect("a manifest");
        assert_eq!(view.kind, ManifestKind::Image);
        assert_eq!(view.subjects().len(), 1);
        assert_eq!(view.listed_artifact_type(), Some(media_type::OCI_CONFIG));
        assert_eq!(view.blobs[0].digest, Digest::sha256(b"hello world\n"));
    }

    #[test]
    fn an_artifact_manifest_is_read_and_its_empty_type_is_none() {
        let body = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.artifact.manifest.v1+json","artifactType":"","blobs":[]}"#;
        let view = ManifestView::parse(Some(media_type::OCI_ARTIFACT), body.as_bytes()).expect("a manifest");
        assert_eq!(
            (view.kind, view.listed_artifact_type()),
            (ManifestKind::Artifact, None)
        );
    }

    #[test]
    fn header_and_body_must_agree() {
        let error = ManifestView::parse(Some(media_type::OCI_INDEX), INTERMEDIATE.as_bytes());
        assert!(
            matches!(error, Err(ManifestError::MediaTypeMismatch { .. })),
            "{error:?}"
        );
    }

    #[test]
    fn a_manifest_cannot_be_two_things_at_once() {
        let body = r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#;
        let error = ManifestView::parse(Some(media_type::OCI_INDEX), body.as_bytes());
        assert_eq!(error, Err(ManifestError::UnexpectedField("layers")));
        let error = ManifestView::parse(Some(media_type::OCI_MANIFEST), br#"{"schemaVersion":2}"#);
        assert_eq!(error, Err(ManifestError::MissingField("config")));
        let error = ManifestView::parse(Some(media_type::OCI_MANIFEST), br#"{"schemaVersion":1}"#);
        assert_eq!(error, Err(ManifestError::SchemaVersion(1)));
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_no_json_wherever_they_stand() {
        let body = b"{\"schemaVersion\":2,\"manifests\":[],\"note\":\"\xe9\"}";
        let error = ManifestView::parse(Some(media_type::OCI_INDEX), body);
        assert!(matches!(error, Err(ManifestError::Json(_))), "{error:?}");
    }

    #[test]
    fn the_same_subject_in_both_fields_is_one_subject() {
        let with_both = INTERMEDIATE.replace("\"refers\":", "\"subject\":{\"mediaType\":\"x/y\",\"size\":491,\"digest\":\"sha256:7daa25b1b1e74eae9ae4ab37553afc802200b9bf6154ba5fe7d8ee3a110c4664\"},\"refers\":");
        let view = ManifestView::parse(None, with_both.as_bytes()).expect("a manifest");
        assert_eq!(view.subjects().len(), 1);
    }

    #[test]
    fn deep_nesting_and_malformed_digests_are_refused_without_a_panic() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(matches!(
            ManifestView::parse(None, deep.as_bytes()),
            Err(ManifestError::Json(_))
        ));
        let foo = INTERMEDIATE.replace(
            "sha256:7daa25b1b1e74eae9ae4ab37553afc802200b9bf6154ba5fe7d8ee3a110c4664",
            "foo",
        );
        let message = ManifestView::parse(None, foo.as_bytes())
            .expect_err("no digest")
            .to_string();
        assert!(message.contains("\"foo\" is not a digest"), "{message}");
    }
}
