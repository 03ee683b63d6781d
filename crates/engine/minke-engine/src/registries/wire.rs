//! Answers about registries, as the API has them.

use minke_base::Digest;
use minke_store::Platform;
use serde::Serialize;

/// What a name stands for at its registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Distribution {
    pub descriptor: DistributionDescriptor,
    pub platforms: Vec<Platform>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DistributionDescriptor {
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
}

/// A repository that a search found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SearchHit {
    pub star_count: i64,
    pub is_official: bool,
    pub name: String,
    pub is_automated: bool,
    pub description: String,
}
