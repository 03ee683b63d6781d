//! `POST /containers/{id}/update`: the resource settings that may change while a container lives.

use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Serialize};

use super::HostConfig;

/// A zero, empty or absent field leaves the setting as it is.
///
/// Its fields are `HostConfig`'s own: Docker's `Resources`, which are part of both, and the restart policy. What else a
/// `HostConfig` has is not looked at.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContainerUpdateRequest(pub HostConfig);

impl Deref for ContainerUpdateRequest {
    type Target = HostConfig;

    fn deref(&self) -> &HostConfig {
        &self.0
    }
}

impl DerefMut for ContainerUpdateRequest {
    fn deref_mut(&mut self) -> &mut HostConfig {
        &mut self.0
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerUpdateResponse {
    pub warnings: Option<Vec<String>>,
}
