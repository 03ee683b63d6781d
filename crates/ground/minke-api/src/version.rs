//! API versions: `1.24` and its successors.

use std::fmt;
use std::str::FromStr;

/// A version of the Engine API, ordered by number (`1.9` before `1.10`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion {
    pub major: u16,
    pub minor: u16,
}

impl ApiVersion {
    /// The oldest that is spoken.
    pub const MIN: Self = Self::v1(24);
    /// The newest, and what a request without a version gets.
    pub const MAX: Self = Self::v1(56);

    pub const fn v1(minor: u16) -> Self {
        Self { major: 1, minor }
    }

    /// Whether this version came before `1.minor`.
    pub fn before(self, minor: u16) -> bool {
        self < Self::v1(minor)
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid API version {0:?}: want a number like 1.44")]
pub struct BadVersion(String);

impl FromStr for ApiVersion {
    type Err = BadVersion;

    fn from_str(text: &str) -> Result<Self, BadVersion> {
        let bad = || BadVersion(text.to_owned());
        let (major, minor) = text.split_once('.').ok_or_else(bad)?;
        let number = |digits: &str| -> Option<u16> {
            (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
                .then(|| digits.parse().unwrap_or(u16::MAX))
        };
        Ok(Self { major: number(major).ok_or_else(bad)?, minor: number(minor).ok_or_else(bad)? })
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!("1.9".parse::<ApiVersion>().unwrap() < ApiVersion::v1(10));
        assert!(ApiVersion::v1(51).before(52));
        assert!(!ApiVersion::v1(52).before(52));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "1", "v1.24", "1.", ".24", "1.x", "1.2.3", "1.-2", "+1.2"] {
            assert!(text.parse::<ApiVersion>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_version_reads_back_what_it_writes() {
        assert_eq!(ApiVersion::MAX.to_string().parse(), Ok(ApiVersion::MAX));
    }
}
