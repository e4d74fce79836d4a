//! What must be seen, as a scenario file says it. Comparing is the judge's.

use crate::RequestPattern;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// One sentence about what must be seen, and where to look for it. All of it must hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Expectation {
    /// The sentence.
    pub that: String,
    /// What steps printed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub printed: Vec<PrintedExpectation>,
    /// What went over the wire between the actors and the scenario's registry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exchanges: Vec<ExchangeExpectation>,
    /// What the judge itself reads from the registry once both actors have played.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub registry: Vec<ReadExpectation>,
}

/// What a step printed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PrintedExpectation {
    /// The step's name.
    pub by: String,
    /// Its standard output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout: Option<Content>,
    /// Its standard error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr: Option<Content>,
}

/// Requests to the scenario's registry, how often they were sent, and what every one of them must be like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ExchangeExpectation {
    /// `producer`, `consumer`, `anybody`, or the name of a step.
    pub by: String,
    /// Which requests.
    pub request: RequestPattern,
    /// How many of them there are.
    #[serde(default)]
    pub times: Times,
    /// The status that each was answered with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered: Option<u16>,
    /// What each sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<Content>,
    /// What came back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<Content>,
}

/// A request that the judge sends, and what must come back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ReadExpectation {
    /// `GET` or `HEAD` with a path; `GET referrers-api` asks about `${subject}` on both paths of the API.
    pub read: RequestPattern,
    /// The status of the answer.
    pub answered: u16,
    /// The digest that the answer names, and that its body, if it has one, hashes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The answer's body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<Content>,
}

/// What a text or a body must be like. Everything that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Content {
    /// The media type in `Content-Type`, without parameters. For exchanges only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The digest that the recorded bytes hash to; `from path`: the one that the request's path names. For exchanges only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The whole text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is: Option<String>,
    /// Texts that stand somewhere in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contains: Vec<String>,
    /// Texts that do not stand in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
    /// It is JSON, and has these values at these JSON pointers (RFC 6901).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub json: BTreeMap<String, Value>,
    /// It is JSON, and has arrays of these lengths at these JSON pointers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, usize>,
}

/// The word for the digest that a request's path names.
pub const FROM_PATH: &str = "from path";

impl Content {
    /// Whether nothing is asked of the content, so that anything would do.
    pub fn is_empty(&self) -> bool {
        *self == Content::default()
    }
}

/// How often something must be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Times {
    /// Once or more.
    #[default]
    Some,
    /// So often; 0 is `never`, 1 is `once`.
    Exactly(usize),
}

impl Times {
    /// Whether so many are right.
    pub fn holds(self, count: usize) -> bool {
        match self {
            Times::Some => count > 0,
            Times::Exactly(times) => count == times,
        }
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Times::Some => f.write_str("some"),
            Times::Exactly(0) => f.write_str("never"),
            Times::Exactly(1) => f.write_str("once"),
            Times::Exactly(times) => write!(f, "{times} times"),
        }
    }
}

impl Serialize for Times {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Times {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Times, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "some" => Ok(Times::Some),
            "never" => Ok(Times::Exactly(0)),
            "once" => Ok(Times::Exactly(1)),
            "twice" => Ok(Times::Exactly(2)),
            number => number
                .strip_suffix(" times")
                .and_then(|number| number.parse().ok())
                .map(Times::Exactly)
                .ok_or_else(|| {
                    serde::de::Error::custom(format!(
                        "{number:?} is no count: expected never, once, twice, \"3 times\" or some"
                    ))
                }),
        }
    }
}
