//! What a build is asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use minke_api::build::PruneLimits;
use minke_api::container::Ulimit;
use minke_base::Reference;

use super::{CacheSource, Context};
use crate::error::Result;
use crate::filters::Filters;

/// A Dockerfile as it was found.
#[derive(Debug, Clone, Default)]
pub struct DockerfileText {
    /// What errors call it.
    pub name: String,
    /// Its bytes; a byte order mark is fine.
    pub text: Vec<u8>,
}

/// What `--build-context NAME=…` stands for.
#[derive(Debug)]
pub enum NamedContext {
    /// Files.
    Files(Context),
    /// An image, by its name.
    Image(String),
}

/// What becomes of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputKind {
    /// An image in the store, under the names that were asked for.
    Image,
    /// The root file system as a tar; `local` unpacks it at the client.
    Tar,
    /// An image as an OCI layout in a tar.
    Oci,
    /// An image as an archive that `docker load` takes.
    Docker,
    /// Nothing: only the cache is filled.
    None,
}

/// What steps that run programs may take. Zero and empty mean the engine's defaults.
#[derive(Debug, Clone, Default)]
pub struct BuildLimits {
    /// `--memory`, bytes.
    pub memory: i64,
    /// `--memory-swap`, bytes.
    pub memory_swap: i64,
    /// `--shm-size`, bytes.
    pub shm_size: i64,
    /// `--cpu-shares`.
    pub cpu_shares: i64,
    /// `--cpu-period`, microseconds.
    pub cpu_period: i64,
    /// `--cpu-quota`, microseconds.
    pub cpu_quota: i64,
    /// `--cpuset-cpus`.
    pub cpuset_cpus: String,
    /// `--cpuset-mems`.
    pub cpuset_mems: String,
    /// `--cgroup-parent`.
    pub cgroup_parent: String,
    /// `--ulimit`.
    pub ulimits: Vec<Ulimit>,
    /// `--security-opt`.
    pub security: Vec<String>,
}

/// Who gets images that are not here, with the client's credentials.
pub trait Pull: Send + Sync + std::fmt::Debug {
    /// Gets an image by its name, for a platform (the host's when empty).
    fn pull(&self, name: &str, platform: &str) -> BoxFuture<'static, Result<()>>;
}

/// A build.
#[derive(Debug, Default)]
pub struct BuildRequest {
    /// The client's name for it, for [`super::Builds::cancel`]; empty for none.
    pub id: String,
    /// The Dockerfile.
    pub dockerfile: DockerfileText,
    /// The files that `COPY` and `ADD` take; `None` when there are none.
    pub context: Option<Context>,
    /// More of them, by name.
    pub contexts: BTreeMap<String, NamedContext>,
    /// What the image is called in the end.
    pub names: Vec<Reference>,
    /// `--build-arg`; without a value it is as if it had not been given.
    pub args: BTreeMap<String, Option<String>>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--target`, a stage's name or number; the last stage when empty.
    pub target: String,
    /// `--platform`; the host's when empty.
    pub platform: String,
    /// Ask for base images even when they are here.
    pub pull: bool,
    /// Who gets images that are not here; nobody without.
    pub pull_by: Option<Arc<dyn Pull>>,
    /// Use nothing of the cache.
    pub no_cache: bool,
    /// Stages whose steps use nothing of the cache (`--no-cache-filter`).
    pub no_cache_stages: Vec<String>,
    /// Images whose steps are taken over.
    pub cache_from: Vec<CacheSource>,
    /// One layer on top of the base image.
    pub squash: bool,
    /// `--network`; the engine's default when empty.
    pub network: String,
    /// `--add-host`.
    pub extra_hosts: Vec<String>,
    /// What `RUN` may take.
    pub limits: BuildLimits,
    /// `--secret`: by id.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// What becomes of the result; an image of the store when nothing is said.
    pub outputs: Vec<OutputKind>,
}

/// Which of the cache goes.
#[derive(Debug, Default)]
pub struct PruneRequest {
    /// What images use as well.
    pub all: bool,
    /// How much may stay.
    pub limits: PruneLimits,
    /// Only what these match: `until`, `unused-for`, `id`, `parent`, `type`, `description`, `inuse`, `shared`, `private`.
    pub filters: Filters,
}

/// What a prune took away.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Pruned {
    /// Records, by id.
    pub ids: Vec<String>,
    /// Bytes that are free now.
    pub bytes: u64,
}
