//! The words of a `run:` line, split as a shell would split them, without a shell's other powers.
//!
//! Blanks separate words; 'single' and "double" quotes keep them together; a backslash, outside single quotes, takes the next
//! character as it is. There are no pipes, globs or substitutions: a scenario needs none, and no shell is there in an image.

/// A quote that is never closed, or a backslash at the end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line:?} ends within {within}")]
pub struct Unfinished {
    /// The whole line.
    pub line: String,
    /// What it ends within.
    pub within: &'static str,
}

/// Splits a line into words. Variables are filled afterwards, so that a value is never split.
///
/// # Errors
/// [`Unfinished`] if a quote stays open.
pub fn split(line: &str) -> Result<Vec<String>, Unfinished> {
    let unfinished = |within| Unfinished {
        line: line.to_owned(),
        within,
    };
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            blank if blank.is_whitespace() => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next() {
                        Some('\'') => break,
                        Some(inside) => word.push(inside),
                        None => return Err(unfinished("single quotes")),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next() {
                        Some('"') => break,
                        Some('\\') => word.push(characters.next().ok_or(unfinished("double quotes"))?),
                        Some(inside) => word.push(inside),
                        None => return Err(unfinished("double quotes")),
                    }
                }
            }
            '\\' => {
                let next = characters.next().ok_or(unfinished("a backslash"))?;
                word.get_or_insert_default().push(next);
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Writes words so that a person can read them, and a shell would split them again in the same way.
pub fn join<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = words.into_iter().map(quote).collect();
    quoted.join(" ")
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=@+,%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_a_shell_splits_them() {
        for (line, words) in [
            ("", vec![]),
            (
                "complete-consumer  artifact list\n x",
                vec!["complete-consumer", "artifact", "list", "x"],
            ),
            (
                "--format '{{ jsonPretty .Manifest}}'",
                vec!["--format", "{{ jsonPretty .Manifest}}"],
            ),
            (r#"a"b c"d'e f'"#, vec!["ab cde f"]),
            (r#"'' "\"" \ x"#, vec!["", "\"", " x"]),
        ] {
            assert_eq!(split(line).as_deref(), Ok(words.owned().as_slice()), "{line}");
        }
    }

    trait Strings {
        fn owned(&self) -> Vec<String>;
    }

    impl Strings for Vec<&str> {
        fn owned(&self) -> Vec<String> {
            self.iter().map(|word| (*word).to_owned()).collect()
        }
    }

    #[test]
    fn an_open_quote_is_told() {
        for (line, within) in [
            ("a 'b", "single quotes"),
            ("a \"b", "double quotes"),
            ("a \\", "a backslash"),
        ] {
            assert_eq!(split(line).map_err(|error| error.within), Err(within));
        }
    }

    #[test]
    fn what_is_joined_splits_back() {
        let words = ["", "a b", "it's", "plain", "{{x}}", "k=v"];
        let line = join(words);
        assert_eq!(split(&line).as_deref(), Ok(words.to_vec().owned().as_slice()));
        assert_eq!(join(["a", "k=v"]), "a k=v");
    }
}
