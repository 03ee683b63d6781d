//! `POST /containers/create`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ContainerConfig, HostConfig};
use crate::lenient::{self, DecodeError};
use crate::network::NetworkingConfig;

/// A container's configuration with its host and network halves beside it, all in one object.
///
/// Clients build one and serialise it; the server reads it with [`Self::from_json`], which decodes as Go does.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ContainerCreateRequest {
    #[serde(flatten)]
    pub config: ContainerConfig,
    #[serde(rename = "HostConfig")]
    pub host_config: HostConfig,
    #[serde(rename = "NetworkingConfig")]
    pub networking_config: NetworkingConfig,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Halves {
    host_config: HostConfig,
    networking_config: NetworkingConfig,
}

impl ContainerCreateRequest {
    pub fn from_json(body: &[u8]) -> Result<Self, DecodeError> {
        Self::from_value(&lenient::parse(body)?)
    }

    pub fn from_value(body: &Value) -> Result<Self, DecodeError> {
        let halves: Halves = lenient::from_value(body)?;
        Ok(Self {
            config: lenient::from_value(body)?,
            host_config: halves.host_config,
            networking_config: halves.networking_config,
        })
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerCreateResponse {
    pub id: String,
    /// Always a list, `[]` when there is nothing to warn of.
    #[serde(deserialize_with = "crate::lenient::null_is_default")]
    pub warnings: Vec<String>,
}
