//! `${name}` in a scenario file, and what it stands for.

use serde_json::Value;
use std::collections::BTreeMap;

/// Names that can be used in `run:`, before anything was sent.
pub const BEFORE_PLAY: [&str; 4] = ["source", "image", "registry", "repository"];

/// The digest tag of `${subject}`; there once `${subject}` is remembered.
pub const DIGEST_TAG: &str = "digest-tag";

/// The remembered digest that [`DIGEST_TAG`] is made from.
pub const SUBJECT: &str = "subject";

/// What each name stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables {
    values: BTreeMap<String, String>,
}

/// A name that stands for nothing (yet), or a `${` that is never closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("${{{name}}} stands for nothing here; there is {}", known.iter().map(|k| format!("${{{k}}}")).collect::<Vec<_>>().join(", "))]
pub struct Unknown {
    /// What stands between the braces.
    pub name: String,
    /// The names that would be understood.
    pub known: Vec<String>,
}

impl Variables {
    /// Lets a name stand for a value, in place of what it stood for before.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.values.insert(name.to_owned(), value.into());
    }

    /// What a name stands for.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Every name with its value, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Replaces every `${name}`; a `$` without a brace stays.
    ///
    /// # Errors
    /// [`Unknown`] names the first that stands for nothing.
    pub fn fill(&self, text: &str) -> Result<String, Unknown> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            filled.push_str(before);
            let (name, after) = after.split_once('}').ok_or_else(|| self.unknown(after))?;
            filled.push_str(self.get(name).ok_or_else(|| self.unknown(name))?);
            rest = after;
        }
        filled.push_str(rest);
        Ok(filled)
    }

    /// Replaces every `${name}` in the texts of a JSON value; keys stay as they are.
    ///
    /// # Errors
    /// [`Unknown`] names the first that stands for nothing.
    pub fn fill_json(&self, value: &Value) -> Result<Value, Unknown> {
        Ok(match value {
            Value::String(text) => Value::String(self.fill(text)?),
            Value::Array(items) => Value::Array(
                items
                    .iter()
                    .map(|item| self.fill_json(item))
                    .collect::<Result<_, _>>()?,
            ),
            Value::Object(members) => Value::Object(
                members
                    .iter()
                    .map(|(key, item)| Ok((key.clone(), self.fill_json(item)?)))
                    .collect::<Result<_, Unknown>>()?,
            ),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        })
    }

    fn unknown(&self, name: &str) -> Unknown {
        Unknown {
            name: name.chars().take(40).collect(),
            known: self.values.keys().cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn variables() -> Variables {
        let mut variables = Variables::default();
        variables.set("image", "localhost:5001/a:latest");
        variables.set("subject", "sha256:00");
        variables
    }

    #[test]
    fn names_are_replaced_wherever_they_stand() {
        let filled = variables().fill("copy ${image} $HOME $ ${subject}${subject}");
        assert_eq!(
            filled.as_deref(),
            Ok("copy localhost:5001/a:latest $HOME $ sha256:00sha256:00")
        );
    }

    #[test]
    fn a_value_is_not_filled_again() {
        let mut variables = variables();
        variables.set("image", "${subject}");
        assert_eq!(variables.fill("${image}").as_deref(), Ok("${subject}"));
    }

    #[test]
    fn an_unknown_name_is_told_with_those_there_are() {
        for text in ["a ${picture} b", "a ${picture"] {
            let error = variables().fill(text).expect_err(text).to_string();
            assert_eq!(
                error,
                "${picture} stands for nothing here; there is ${image}, ${subject}"
            );
        }
    }

    #[test]
    fn json_is_filled_in_its_texts_alone() {
        let filled = variables().fill_json(&json!({"${image}": ["${subject}", 1, null]}));
        assert_eq!(filled, Ok(json!({"${image}": ["sha256:00", 1, null]})));
    }
}
