//! Digests as the OCI image specification writes them: `algorithm:encoded`. minke stores sha256 and reads nothing else; sha512
//! is recognised so that its refusal can say so.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A sha256 digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDigest {
    #[error("invalid digest {0:?}: expected sha256: and 64 lower-case hexadecimal digits")]
    Form(String),
    #[error("digest {0:?} uses an algorithm other than sha256")]
    Algorithm(String),
}

impl Digest {
    #[must_use]
    pub const fn from_sha256(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 digits without the algorithm.
    #[must_use]
    pub fn hex(&self) -> String {
        crate::id::hex(&self.0)
    }

    /// The first 12 digits, as listings show an image.
    #[must_use]
    pub fn short(&self) -> String {
        crate::id::hex(&self.0[..6])
    }

    /// Parses the 64 digits alone.
    pub fn from_hex(text: &str) -> Result<Self, InvalidDigest> {
        let form = || InvalidDigest::Form(text.to_owned());
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(form());
        }
        let mut bytes = [0_u8; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let (Some(high), Some(low)) = (nibble(pair[0]), nibble(pair[1])) else { return Err(form()) };
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;
    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        match text.split_once(':') {
            Some(("sha256", hex)) => Self::from_hex(hex).map_err(|_e| InvalidDigest::Form(text.to_owned())),
            Some((algorithm, _)) if !algorithm.is_empty() => Err(InvalidDigest::Algorithm(text.to_owned())),
            _ => Err(InvalidDigest::Form(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;
    fn try_from(text: String) -> Result<Self, InvalidDigest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_prints_as_it_was_read() {
        let text = format!("sha256:{}", "0123456789abcdef".repeat(4));
        assert_eq!(text.parse::<Digest>().unwrap().to_string(), text);
        assert_eq!(text.parse::<Digest>().unwrap().short(), "0123456789ab");
    }

    #[test]
    fn other_forms_and_algorithms_are_refused_by_name() {
        assert_eq!("sha512:ab".parse::<Digest>(), Err(InvalidDigest::Algorithm("sha512:ab".into())));
        for bad in ["", "sha256:", "sha256:AB", "abc", &format!("sha256:{}", "A".repeat(64))] {
            assert!(matches!(bad.parse::<Digest>(), Err(InvalidDigest::Form(_))), "{bad}");
        }
    }
}
