//! What each generation of producer 🌱🌿🌲, registry 🚲🏍 and consumer 🐀🐿🦫 does, as tables of data.
//!
//! This is the one place to read a generation's behaviour, and no other code matches on a generation's name: it asks a policy
//! for the capability (`policy.when_api_is_missing`). There is no mechanism here: how a digest tag is pushed, or how the
//! referrers API is asked, stands in the `client` crate.
//!
//! Source: the OCI working group on reference types, UPGRADING.md; Proposal E.

mod consumer;
mod matrix;
mod producer;
mod registry;

pub use consumer::{CONSUMERS, ConsumerGeneration, ConsumerPolicy, LookUp};
pub use matrix::{Combination, MATRIX, combination};
pub use producer::{PRODUCERS, ProducerGeneration, ProducerPolicy, WhenApiIsMissing};
pub use registry::{REGISTRIES, RegistryGeneration, RegistryTraits};

/// A name that is no generation's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownGeneration {
    /// What was written.
    pub text: String,
    /// Which kind of actor it was meant for: `producer`, `registry` or `consumer`.
    pub actor: &'static str,
    /// The names that there are.
    pub expected: Vec<&'static str>,
}

impl std::fmt::Display for UnknownGeneration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:?} is not a generation of a {}: expected {}",
            self.text,
            self.actor,
            self.expected.join(", ")
        )
    }
}

impl std::error::Error for UnknownGeneration {}

/// Gives a generation's enum what all three share: its row, its name, its icon, and reading it from its name.
macro_rules! generation {
    ($type:ident, $policy:ident, $table:ident, $actor:literal) => {
        impl $type {
            /// Every generation, oldest first.
            pub const ALL: &'static [$type] = &{
                let mut all = [$table[0].generation; $table.len()];
                let mut n = 0;
                while n < $table.len() {
                    all[n] = $table[n].generation;
                    n += 1;
                }
                all
            };

            /// What it does: its row of the table, which stands in the order of the enum.
            pub const fn policy(self) -> &'static $policy {
                &$table[self as usize]
            }

            /// `current`, `intermediate` or `complete`.
            pub const fn name(self) -> &'static str {
                self.policy().name
            }

            /// The working group's icon.
            pub const fn icon(self) -> &'static str {
                self.policy().icon
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }

        impl std::str::FromStr for $type {
            type Err = crate::UnknownGeneration;

            fn from_str(text: &str) -> Result<$type, crate::UnknownGeneration> {
                $table
                    .iter()
                    .find(|row| row.name == text)
                    .map(|row| row.generation)
                    .ok_or_else(|| crate::UnknownGeneration {
                        text: text.chars().take(40).collect(),
                        actor: $actor,
                        expected: $table.iter().map(|row| row.name).collect(),
                    })
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
use generation;
