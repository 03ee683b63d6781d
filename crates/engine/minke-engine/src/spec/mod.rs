//! From Docker's words to the OCI runtime configuration.
//!
//! [`plan_spec`] is pure: everything it needs of the host, the image and other containers is in its argument, so a plan
//! can be compared with a golden file. What has to be read first (account files, device nodes, the host's facts) is
//! read by the `read_*` functions beside it.

pub mod capabilities;
pub mod devices;
pub mod environment;
pub mod facts;
pub mod identity;
pub mod mounts;
mod plan;
pub mod resources;
pub mod security;

pub use facts::HostFacts;
pub use plan::{
    ExecInput, MASKED_PATHS, NamespacePlan, Namespaces, PlanInput, READONLY_PATHS, SystemFiles, plan_exec,
    plan_spec,
};
