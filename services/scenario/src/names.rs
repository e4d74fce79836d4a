//! Who plays.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Who runs a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Actor {
    /// Pushes images and references.
    Producer,
    /// Pulls images and finds references.
    Consumer,
}

impl Actor {
    /// Both, in the order in which they play.
    pub const ALL: [Actor; 2] = [Actor::Producer, Actor::Consumer];

    /// `producer` or `consumer`: the tool's name, and the name of its folder among the results.
    pub const fn name(self) -> &'static str {
        match self {
            Actor::Producer => "producer",
            Actor::Consumer => "consumer",
        }
    }

    /// The actor of that name.
    pub fn from_name(name: &str) -> Option<Actor> {
        Actor::ALL.into_iter().find(|actor| actor.name() == name)
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
