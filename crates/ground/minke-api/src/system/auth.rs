//! Registry credentials, in a body or in the `X-Registry-Auth` header.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE};
use serde::{Deserialize, Serialize};

/// Whatever comes behind the last whole byte is nothing.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
);

#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthConfig {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub password: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub auth: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub serveraddress: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub identitytoken: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub registrytoken: String,
}

/// Secrets stay out of logs.
impl std::fmt::Debug for AuthConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthConfig")
            .field("username", &self.username)
            .field("serveraddress", &self.serveraddress)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AuthResponse {
    pub status: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub identity_token: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAuth {
    #[error("invalid X-Registry-Auth header: it is not base64")]
    Encoding,
    #[error("invalid X-Registry-Auth header: {0}")]
    Document(String),
}

/// Longer headers are not read.
const MAX_HEADER: usize = 64 << 10;

impl AuthConfig {
    /// Reads the header `X-Registry-Auth`: JSON in base64, with either alphabet, padded or not. No header is nobody.
    pub fn from_header(header: &str) -> Result<Self, InvalidAuth> {
        document(header)
    }

    /// As the header has it.
    #[must_use]
    pub fn to_header(&self) -> String {
        // Strings in a flat structure always become JSON.
        URL_SAFE.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// User name and password, which old clients give as one field.
    #[must_use]
    pub fn normalised(mut self) -> Self {
        if self.username.is_empty()
            && let Ok(bytes) = LENIENT.decode(self.auth.trim_end_matches('='))
            && let Ok(text) = String::from_utf8(bytes)
            && let Some((username, password)) = text.split_once(':')
        {
            (self.username, self.password) =
                (username.to_owned(), password.trim_end_matches('\0').to_owned());
        }
        self.auth.clear();
        self
    }
}

/// Reads the header `X-Registry-Config`: credentials by registry, in the same form.
pub fn auth_configs_from_header(header: &str) -> Result<BTreeMap<String, AuthConfig>, InvalidAuth> {
    document(header)
}

fn document<T: serde::de::DeserializeOwned + Default>(header: &str) -> Result<T, InvalidAuth> {
    if header.is_empty() {
        return Ok(T::default());
    }
    if header.len() > MAX_HEADER {
        return Err(InvalidAuth::Encoding);
    }
    let text: String = header
        .trim()
        .trim_end_matches('=')
        .chars()
        .map(|character| match character {
            '-' => '+',
            '_' => '/',
            other => other,
        })
        .collect();
    let bytes = LENIENT.decode(text).map_err(|_source| InvalidAuth::Encoding)?;
    // docker's CLI sends "null" or nothing within for nobody.
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(T::default());
    }
    let given: Option<T> =
        serde_json::from_slice(&bytes).map_err(|error| InvalidAuth::Document(error.to_string()))?;
    Ok(given.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_read_in_every_spelling() {
        let auth = AuthConfig { username: "a".into(), password: "p>?~~".into(), ..AuthConfig::default() };
        let header = auth.to_header();
        assert_eq!(AuthConfig::from_header(&header).unwrap(), auth);
        assert_eq!(AuthConfig::from_header(header.trim_end_matches('=')).unwrap(), auth);
        let standard = header.replace('-', "+").replace('_', "/");
        assert_eq!(AuthConfig::from_header(&standard).unwrap(), auth);
        assert_eq!(AuthConfig::from_header("").unwrap(), AuthConfig::default());
        assert_eq!(AuthConfig::from_header("bnVsbA==").unwrap(), AuthConfig::default());
        assert!(AuthConfig::from_header("%").is_err());
        assert!(AuthConfig::from_header("InRleHQi").is_err());
    }

    #[test]
    fn the_old_field_holds_name_and_password() {
        let auth = AuthConfig { auth: "YTpiOmM=".into(), ..AuthConfig::default() }.normalised();
        assert_eq!((auth.username.as_str(), auth.password.as_str()), ("a", "b:c"));
    }
}
