//! Ids of containers, execs and networks: 256 random bits as 64 lower-case hexadecimal digits, the first 12 of which are the
//! short form that listings show.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How many digits the short form has.
pub const SHORT_LEN: usize = 12;

/// A full id. Named after its commonest owner; execs and networks have the same form.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid id {0:?}: an id is 64 lower-case hexadecimal digits")]
pub struct InvalidId(String);

impl ContainerId {
    /// A new id from the kernel's random source. The short form is never all digits, so that it cannot be taken for a number
    /// (a container's default host name is its short id).
    #[must_use]
    pub fn random() -> Self {
        loop {
            let mut bytes = [0_u8; 32];
            rand::fill(&mut bytes);
            let text = hex(&bytes);
            if text.as_bytes()[..SHORT_LEN].iter().any(u8::is_ascii_alphabetic) {
                return Self(text);
            }
        }
    }

    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..SHORT_LEN]
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Lower-case hexadecimal digits of `bytes`.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]])
        .map(char::from)
        .collect()
}

/// Whether `text` could be the start of an id.
#[must_use]
pub fn is_id_prefix(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

impl FromStr for ContainerId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for ContainerId {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        if text.len() == 64 && is_id_prefix(&text) { Ok(Self(text)) } else { Err(InvalidId(text)) }
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for ContainerId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for ContainerId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_id_parses_back_and_its_short_form_is_no_number() {
        for _ in 0..200 {
            let id = ContainerId::random();
            assert_eq!(id.as_str().parse::<ContainerId>().as_ref(), Ok(&id));
            assert!(id.short().parse::<u64>().is_err());
        }
    }

    #[test]
    fn what_is_not_64_hex_digits_is_refused() {
        for bad in ["", "abc", &"A".repeat(64), &"g".repeat(64), &"a".repeat(65)] {
            assert!(bad.parse::<ContainerId>().is_err(), "{bad}");
        }
    }
}
