//! The two registries. There is no intermediate one: the working group found no valid such state.

/// A registry's generation, as its answers show it. What a registry of ours does is its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RegistryGeneration {
    /// 🚲 knows no referrers.
    Current,
    /// 🏍 serves the referrers API.
    Complete,
}

/// What tells one generation of registry from another.
#[derive(Clone, Copy, Debug)]
pub struct RegistryTraits {
    /// Whose row it is.
    pub generation: RegistryGeneration,
    /// Its name in files and output.
    pub name: &'static str,
    /// The working group's icon.
    pub icon: &'static str,
    /// The working group's description, shortened.
    pub description: &'static str,
    /// Whether it answers the referrers API.
    pub serves_referrers: bool,
    /// Whether it accepts Proposal E's artifact manifest.
    pub accepts_artifact_manifest: bool,
}

/// Every registry, in the order of [`RegistryGeneration`].
pub const REGISTRIES: [RegistryTraits; 2] = [
    RegistryTraits {
        generation: RegistryGeneration::Current,
        name: "current",
        icon: "🚲",
        description: "knows no referrers: stores `refers` unread, has no referrers API, rejects the artifact manifest",
        serves_referrers: false,
        accepts_artifact_manifest: false,
    },
    RegistryTraits {
        generation: RegistryGeneration::Complete,
        name: "complete",
        icon: "🏍",
        description: "serves the referrers API and accepts the artifact manifest",
        serves_referrers: true,
        accepts_artifact_manifest: true,
    },
];

crate::generation!(RegistryGeneration, RegistryTraits, REGISTRIES, "registry");

impl RegistryGeneration {
    /// The generation of a registry that does, or does not, answer the referrers API.
    pub fn from_answer(serves_referrers: bool) -> RegistryGeneration {
        match serves_referrers {
            false => RegistryGeneration::Current,
            true => RegistryGeneration::Complete,
        }
    }
}
