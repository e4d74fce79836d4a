//! The 18 combinations, with the working group's descriptions.

use crate::{ConsumerGeneration, ProducerGeneration, RegistryGeneration};
use std::fmt;

/// One combination of generations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Combination {
    /// 1 to 18.
    pub number: u8,
    /// Who pushes.
    pub producer: ProducerGeneration,
    /// Who stores.
    pub registry: RegistryGeneration,
    /// Who pulls.
    pub consumer: ConsumerGeneration,
    /// What the working group wrote of it.
    pub description: &'static str,
    /// Whether the working group supports it; the others fail by design.
    pub supported: bool,
}

const PRESENT: &str = "Present state, no refers";
const NOTHING_THERE: &str = "Consumer looking for refers that don't exist";
const NOT_IMPACTED: &str = "Producer creating refers, consumer isn't using refers and is not impacted";
const REJECTED: &str = "Producer attempts to push new manifest, registry rejects as new manifest is unknown";

/// Descriptions and supported flags, in the order of the numbers.
///
/// Source: wg-reference-types, docs/UPGRADING.md.
const ROWS: [(&str, bool); 18] = [
    (PRESENT, true),
    (NOTHING_THERE, true),
    (NOTHING_THERE, true),
    (PRESENT, true),
    (NOTHING_THERE, true),
    (NOTHING_THERE, true),
    (NOT_IMPACTED, true),
    (
        "Producer / consumer working in compatibility mode with tags",
        true,
    ),
    (
        "Consumer wants artifact-spec, but can fall back to image-spec refers using tags",
        true,
    ),
    (NOT_IMPACTED, true),
    (
        "Producer / consumer using image-spec manifests and referrers API",
        true,
    ),
    (
        "Producer pushes image-spec manifest, consumer discovers refers via new API and would prefer new manifest",
        true,
    ),
    (REJECTED, false),
    (REJECTED, false),
    (REJECTED, false),
    (
        "Producer creates new manifest, consumer isn't using refers and is not impacted",
        true,
    ),
    (
        "Producer pushes new manifest, consumer finds refers via new API but cannot parse new manifest",
        false,
    ),
    ("Producer and consumer both use new manifest and API", true),
];

/// The matrix: number = 6·producer + 3·registry + consumer + 1, each counted from 0.
pub const MATRIX: [Combination; 18] = {
    let mut matrix = [at(0); 18];
    let mut index = 1;
    while index < 18 {
        matrix[index] = at(index);
        index += 1;
    }
    matrix
};

const fn at(index: usize) -> Combination {
    Combination {
        number: index as u8 + 1,
        producer: ProducerGeneration::ALL[index / 6],
        registry: RegistryGeneration::ALL[index / 3 % 2],
        consumer: ConsumerGeneration::ALL[index % 3],
        description: ROWS[index].0,
        supported: ROWS[index].1,
    }
}

/// The combination of a number from 1 to 18.
pub fn combination(number: u8) -> Option<&'static Combination> {
    MATRIX.get(usize::from(number).checked_sub(1)?)
}

impl fmt::Display for Combination {
    /// The icons in the order of the way that content takes: `🌿 → 🚲 → 🐿`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} → {} → {}",
            self.producer.icon(),
            self.registry.icon(),
            self.consumer.icon()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CONSUMERS, PRODUCERS, REGISTRIES};

    #[test]
    fn numbers_and_icons_are_those_of_the_working_group() {
        let icons: Vec<String> = MATRIX.iter().map(|c| c.to_string().replace(" → ", "")).collect();
        let expected = [
            "🌱🚲🐀",
            "🌱🚲🐿",
            "🌱🚲🦫",
            "🌱🏍🐀",
            "🌱🏍🐿",
            "🌱🏍🦫",
            "🌿🚲🐀",
            "🌿🚲🐿",
            "🌿🚲🦫",
            "🌿🏍🐀",
            "🌿🏍🐿",
            "🌿🏍🦫",
            "🌲🚲🐀",
            "🌲🚲🐿",
            "🌲🚲🦫",
            "🌲🏍🐀",
            "🌲🏍🐿",
            "🌲🏍🦫",
        ];
        assert_eq!(icons, expected);
        assert_eq!(MATRIX.map(|c| c.number).to_vec(), (1..=18).collect::<Vec<u8>>());
    }

    #[test]
    fn four_combinations_are_unsupported_by_design() {
        let unsupported: Vec<u8> = MATRIX.iter().filter(|c| !c.supported).map(|c| c.number).collect();
        assert_eq!(unsupported, [13, 14, 15, 17]);
    }

    #[test]
    fn every_row_stands_where_its_generation_points() {
        for row in &PRODUCERS {
            assert_eq!(row.generation.policy().name, row.name);
            assert_eq!(row.name.parse(), Ok(row.generation));
        }
        for row in &REGISTRIES {
            assert_eq!(row.generation.policy().name, row.name);
            assert_eq!(
                RegistryGeneration::from_answer(row.serves_referrers),
                row.generation
            );
        }
        for row in &CONSUMERS {
            assert_eq!(row.generation.policy().name, row.name);
            assert_eq!(row.name.parse(), Ok(row.generation));
        }
    }

    #[test]
    fn a_number_outside_the_matrix_has_no_combination() {
        assert_eq!(combination(0), None);
        assert_eq!(combination(19), None);
        assert_eq!(combination(18).map(|c| c.number), Some(18));
    }

    #[test]
    fn an_unknown_generation_is_told_with_the_names_there_are() {
        let error = "modern"
            .parse::<RegistryGeneration>()
            .expect_err("no such generation")
            .to_string();
        assert_eq!(
            error,
            "\"modern\" is not a generation of a registry: expected current, complete"
        );
    }
}
