//! Containers on the wire.

mod config;
mod create;
mod exec;
mod host;
mod inspect;
mod resources;
pub mod stats;
mod strslice;
mod summary;
mod update;
mod verbs;

pub use config::{ContainerConfig, HealthConfig};
pub use create::{ContainerCreateRequest, ContainerCreateResponse};
pub use exec::{ExecConfig, ExecCreateResponse, ExecInspect, ExecProcessConfig, ExecStartRequest};
pub use host::{HostConfig, LogConfig, PortBinding, PortMap, RestartPolicy};
pub use inspect::{ContainerInspect, ContainerState, DriverData, Health, HealthResult, Storage};
pub use resources::{DeviceMapping, DeviceRequest, ThrottleDevice, Ulimit, WeightDevice};
pub use strslice::StrSlice;
pub use summary::{ContainerSummary, HealthSummary, PortSummary, SummaryHostConfig, SummaryNetworkSettings};
pub use update::{ContainerUpdateRequest, ContainerUpdateResponse};
pub use verbs::{ChangeKind, ContainersPruneReport, FilesystemChange, TopResponse, WaitError, WaitResponse};
