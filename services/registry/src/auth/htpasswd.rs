//! The file of users: `name:bcrypt-hash` a line, as `htpasswd -B` writes it.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

/// The cost of the hash that a password is checked against when there is no such user, so that both take equally long. It
/// is what `htpasswd -B` uses by default, unless the file's hashes say otherwise.
const USUAL_COST: u32 = 5;

/// Why a file of users is refused. Never quotes a hash.
#[derive(Debug, thiserror::Error)]
pub enum HtpasswdError {
    /// The file cannot be read.
    #[error("{}: cannot read the users: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A line is not a user with a bcrypt hash.
    #[error("{}: line {line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Names and their hashes.
#[derive(Debug)]
pub struct Users {
    hashes: HashMap<String, String>,
    /// A hash of no password that anybody knows.
    nobody: String,
}

impl Users {
    /// Reads a file. Empty lines and lines that begin with `#` are passed over.
    ///
    /// # Errors
    /// [`HtpasswdError`], the first bad line.
    pub fn read(path: &Path) -> Result<Users, HtpasswdError> {
        let text = fs::read_to_string(path).map_err(|source| HtpasswdError::Read {
            path: path.to_owned(),
            source,
        })?;
        Users::parse(&text).map_err(|(line, reason)| HtpasswdError::Line {
            path: path.to_owned(),
            line,
            reason,
        })
    }

    fn parse(text: &str) -> Result<Users, (usize, &'static str)> {
        let mut hashes = HashMap::new();
        let mut cost = USUAL_COST;
        for (n, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let refused = |reason| (n + 1, reason);
            let (name, hash) = line
                .split_once(':')
                .ok_or_else(|| refused("expected name:hash"))?;
            if name.is_empty() {
                return Err(refused("the name is empty"));
            }
            let parts: bcrypt::HashParts = hash.parse().map_err(|_| {
                refused("the hash is not one of bcrypt: make it with `registry htpasswd` or `htpasswd -B`")
            })?;
            cost = cost.max(parts.get_cost());
            if hashes.insert(name.to_owned(), hash.to_owned()).is_some() {
                return Err(refused("the name is there twice"));
            }
        }
        let nobody =
            bcrypt::hash(rand::random::<[u8; 16]>(), cost).map_err(|_| (0, "no hash can be computed"))?;
        Ok(Users { hashes, nobody })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.hashes.len()
    }

    /// Whether this is the user's password. It takes as long for a name that is not there.
    pub fn verify(&self, name: &str, password: &[u8]) -> bool {
        let known = self.hashes.get(name);
        let right = bcrypt::verify(password, known.unwrap_or(&self.nobody)).unwrap_or(false);
        right && known.is_some()
    }
}

/// A line for the file.
///
/// # Errors
/// A password that bcrypt cannot take, such as an empty one or one of more than 72 bytes, of which it would read a part only.
pub fn line(name: &str, password: &str) -> Result<String, &'static str> {
    if name.is_empty() || name.contains([':', '\n', '\r']) {
        return Err("a name has at least one character, and neither a colon nor a line break");
    }
    if password.is_empty() || password.len() > 72 || password.contains('\0') {
        return Err("a password has 1 to 72 bytes, none of them NUL");
    }
    let hash = bcrypt::hash(password, bcrypt::DEFAULT_COST).map_err(|_| "no hash can be computed")?;
    Ok(format!("{name}:{hash}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_lines_are_named_by_number_and_their_hashes_not_shown() {
        let good = "alice:$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
        for (text, line) in [
            ("alice", 1),
            (":x", 1),
            ("# note\n\nbob:$apr1$abc$def", 3),
            ("bob:{SHA}abc", 1),
            ("bob:plain", 1),
            (&format!("{good}\n{good}"), 2),
        ] {
            assert_eq!(Users::parse(text).expect_err(text).0, line, "{text}");
        }
        assert_eq!(Users::parse(good).map(|users| users.count()), Ok(1));
    }

    #[test]
    fn what_is_said_of_a_bad_line_holds_no_part_of_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("users");
        for line in [
            "xyzzy",
            ":xyzzy",
            "xyzzy:xyzzy",
            "xyzzy:$2y$05$xyzzy",
            "xyzzy:$apr1$xyzzy$xyzzy",
        ] {
            fs::write(&path, format!("# a note\n{line}\n")).expect("a file");
            let error = Users::read(&path).expect_err(line);
            let (said, shown) = (error.to_string(), format!("{error:?}"));
            assert!(said.contains("line 2: "), "{said}");
            assert!(
                !said.contains("xyzzy") && !shown.contains("xyzzy"),
                "{said} {shown}"
            );
        }
    }

    #[test]
    fn hashes_of_other_tools_are_understood() {
        // A published test vector of crypt_blowfish.
        let hash = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
        for prefix in ["$2a$", "$2b$", "$2y$"] {
            let users = Users::parse(&format!("u:{}", hash.replace("$2a$", prefix))).expect("users");
            assert!(users.verify("u", b"U*U"), "{prefix}");
            assert!(
                !users.verify("u", b"U*V") && !users.verify("v", b"U*U"),
                "{prefix}"
            );
        }
    }

    #[test]
    fn a_name_that_is_not_there_costs_as_much_as_the_dearest_that_is() {
        let salt = "CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
        for (costs, expected) in [(&[4_u32][..], USUAL_COST), (&[4, 7, 6], 7)] {
            let lines: Vec<String> = costs
                .iter()
                .map(|cost| format!("u{cost}:$2y$0{cost}${salt}"))
                .collect();
            let users = Users::parse(&lines.join("\n")).expect("users");
            let nobody: bcrypt::HashParts = users.nobody.parse().expect("a hash");
            assert_eq!(nobody.get_cost(), expected, "{costs:?}");
        }
    }

    #[test]
    fn a_line_that_was_made_here_is_read_here() {
        let line = line("alice", "right").expect("a line");
        let users = Users::parse(&line).expect("users");
        assert!(users.verify("alice", b"right") && !users.verify("alice", b"wrong"));
        assert!(super::line("a:b", "x").is_err() && super::line("a", &"x".repeat(73)).is_err());
    }
}
