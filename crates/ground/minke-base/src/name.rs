//! Names of containers: what Docker calls valid, with and without the leading slash that its API shows.

use std::fmt;

/// A valid name, without the slash.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerName(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Invalid container name ({0}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")]
pub struct InvalidName(pub String);

impl ContainerName {
    /// Takes `web` and `/web`. A name has at least two characters, starts with a letter or digit, and goes on with letters,
    /// digits, `_`, `.` and `-`.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let bare = text.strip_prefix('/').unwrap_or(text);
        let mut bytes = bare.bytes();
        let valid = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
            && bare.len() > 1
            && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
        if valid { Ok(Self(bare.to_owned())) } else { Err(InvalidName(text.to_owned())) }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form that the API shows: `/web`.
    #[must_use]
    pub fn with_slash(&self) -> String {
        format!("/{}", self.0)
    }
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_digits_and_three_marks_make_a_name() {
        for good in ["web", "/web", "a1", "9_.-", "Web.Server-1"] {
            assert!(ContainerName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "/", "a", "-web", "_web", "we b", "web/x", "//web", "wéb"] {
            assert!(ContainerName::parse(bad).is_err(), "{bad}");
        }
    }
}
