//! The three consumers.

use oci::ManifestKind;

/// A consumer's generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConsumerGeneration {
    /// 🐀 an existing runtime, unaware of references.
    Current,
    /// 🐿 understands references in image manifests.
    Intermediate,
    /// 🦫 understands the artifact manifest too, and prefers it.
    Complete,
}

/// A place where a consumer looks for references.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookUp {
    /// The referrers API.
    Api,
    /// The digest tag, an index of the references.
    DigestTag,
    /// Tags that begin with the digest tag and a dot, one reference each: the form of May 2022, and cosign's.
    TagPrefix,
}

/// One consumer's behaviour.
#[derive(Clone, Copy, Debug)]
pub struct ConsumerPolicy {
    /// Whose row it is.
    pub generation: ConsumerGeneration,
    /// Its name on command lines and in files.
    pub name: &'static str,
    /// The working group's icon.
    pub icon: &'static str,
    /// The working group's description, shortened.
    pub description: &'static str,
    /// Where it looks first; `None`: it does not know of references.
    pub look_up: Option<LookUp>,
    /// Where it looks, in this order, until something is found, when the referrers API is missing.
    pub when_api_is_missing: &'static [LookUp],
    /// The manifests of references that it can parse.
    pub parses: &'static [ManifestKind],
    /// The manifest that it would rather meet; `None`: no preference.
    pub prefers: Option<ManifestKind>,
}

impl ConsumerPolicy {
    /// Whether it can parse a reference of this media type.
    pub fn parses_media_type(&self, media_type: &str) -> bool {
        self.parses.iter().any(|kind| kind.media_type() == media_type)
    }
}

/// Every consumer, in the order of [`ConsumerGeneration`].
pub const CONSUMERS: [ConsumerPolicy; 3] = [
    ConsumerPolicy {
        generation: ConsumerGeneration::Current,
        name: "current",
        icon: "🐀",
        description: "an existing runtime: pulls images, unaware of references",
        look_up: None,
        when_api_is_missing: &[],
        parses: &[],
        prefers: None,
    },
    ConsumerPolicy {
        generation: ConsumerGeneration::Intermediate,
        name: "intermediate",
        icon: "🐿",
        description: "finds image-manifest references by the API, by digest tag when the API is missing",
        look_up: Some(LookUp::Api),
        when_api_is_missing: &[LookUp::DigestTag, LookUp::TagPrefix],
        parses: &[
            ManifestKind::Image,
            ManifestKind::Index,
            ManifestKind::DockerImage,
        ],
        prefers: None,
    },
    ConsumerPolicy {
        generation: ConsumerGeneration::Complete,
        name: "complete",
        icon: "🦫",
        description: "finds references as the intermediate one, understands the artifact manifest, and prefers it",
        look_up: Some(LookUp::Api),
        when_api_is_missing: &[LookUp::DigestTag, LookUp::TagPrefix],
        parses: &[
            ManifestKind::Artifact,
            ManifestKind::Image,
            ManifestKind::Index,
            ManifestKind::DockerImage,
        ],
        prefers: Some(ManifestKind::Artifact),
    },
];

impl ConsumerGeneration {
    /// The one that a tool is when nothing says otherwise: it finds references on every registry, as most tools of its time do.
    pub const DEFAULT: ConsumerGeneration = ConsumerGeneration::Intermediate;
}

crate::generation!(ConsumerGeneration, ConsumerPolicy, CONSUMERS, "consumer");
