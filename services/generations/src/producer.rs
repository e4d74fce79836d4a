//! The three producers.

use oci::ManifestKind;

/// A producer's generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProducerGeneration {
    /// 🌱 pushes images, never references.
    Current,
    /// 🌿 pushes references as image manifests.
    Intermediate,
    /// 🌲 pushes references as artifact manifests.
    Complete,
}

/// What a producer does after a reference was pushed to a registry that answered 404 on the referrers API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenApiIsMissing {
    /// Lists the reference under the subject's digest tag.
    PushDigestTag,
    /// Nothing, and does not ask: a registry that accepts its manifests has the API.
    Nothing,
}

/// One producer's behaviour.
#[derive(Clone, Copy, Debug)]
pub struct ProducerPolicy {
    /// Whose row it is.
    pub generation: ProducerGeneration,
    /// Its name on command lines and in files.
    pub name: &'static str,
    /// The working group's icon.
    pub icon: &'static str,
    /// The working group's description, shortened.
    pub description: &'static str,
    /// The manifest that it pushes a reference as; `None`: it never pushes references.
    pub reference_manifest: Option<ManifestKind>,
    /// What it does where the referrers API is missing.
    pub when_api_is_missing: WhenApiIsMissing,
}

/// Every producer, in the order of [`ProducerGeneration`].
pub const PRODUCERS: [ProducerPolicy; 3] = [
    ProducerPolicy {
        generation: ProducerGeneration::Current,
        name: "current",
        icon: "🌱",
        description: "pushes images; never pushes references",
        reference_manifest: None,
        when_api_is_missing: WhenApiIsMissing::Nothing,
    },
    ProducerPolicy {
        generation: ProducerGeneration::Intermediate,
        name: "intermediate",
        icon: "🌿",
        description: "pushes image manifests with `refers`; pushes a digest tag when the referrers API is missing",
        reference_manifest: Some(ManifestKind::Image),
        when_api_is_missing: WhenApiIsMissing::PushDigestTag,
    },
    ProducerPolicy {
        generation: ProducerGeneration::Complete,
        name: "complete",
        icon: "🌲",
        description: "pushes references as artifact manifests",
        reference_manifest: Some(ManifestKind::Artifact),
        when_api_is_missing: WhenApiIsMissing::Nothing,
    },
];

impl ProducerGeneration {
    /// The one that a tool is when nothing says otherwise: it knows references, and pushes none that today's registries refuse.
    pub const DEFAULT: ProducerGeneration = ProducerGeneration::Intermediate;
}

crate::generation!(ProducerGeneration, ProducerPolicy, PRODUCERS, "producer");
