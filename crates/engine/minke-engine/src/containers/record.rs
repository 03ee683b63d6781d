//! What is remembered of a container: what was asked for, and how it is.

use minke_api::StringMap;
use minke_api::container::{ContainerConfig, ContainerState, HostConfig};
use minke_net::Endpoint;
use serde::{Deserialize, Serialize};

use crate::clock::Moment;

/// What was asked for. Changes only by rename and update.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Its name, without slash.
    pub name: String,
    /// When it was created.
    pub created: Moment,
    /// The image's id, `sha256:…`.
    pub image: String,
    /// The image's layers at the time, top first as overlayfs stacks them: the image may lose its name, the layers stay.
    pub layers: Vec<String>,
    /// The portable half, the image's defaults filled in.
    pub config: ContainerConfig,
    /// This host's half, the engine's defaults filled in.
    pub host: HostConfig,
    /// Which operating system, `linux`.
    pub platform: String,
    /// Hardware address asked for, if any.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mac_address: String,
    /// Address asked for on the bridge, if any.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ipv4_address: String,
    /// Paths that the image declares as volumes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub private_paths: Vec<String>,
}

impl Record {
    /// The program's path and arguments, as `inspect` shows them.
    pub fn program(&self) -> (String, Vec<String>) {
        let mut words = crate::spec::environment::program(&self.config).into_iter();
        (words.next().unwrap_or_default(), words.collect())
    }

    /// The labels, empty when none were given.
    pub fn labels(&self) -> StringMap {
        self.config.labels.clone().unwrap_or_default()
    }
}

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Never ran.
    #[default]
    Created,
    /// Runs.
    Running,
    /// Frozen.
    Paused,
    /// Ended, and will be started again in a moment.
    Restarting,
    /// Being removed.
    Removing,
    /// Ended.
    Exited,
    /// Could not be removed whole.
    Dead,
}

impl Phase {
    /// Docker's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }

    /// Whether its program is there, running or frozen.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

/// How a container is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Life {
    /// Where in its life.
    pub phase: Phase,
    /// Its first process in the host's numbering, zero when there is none.
    pub pid: i32,
    /// The last exit code.
    pub exit_code: i64,
    /// Whether the kernel killed it for memory.
    pub oom_killed: bool,
    /// Why the last start failed.
    pub error: String,
    /// When it last started.
    pub started_at: Moment,
    /// When it last ended.
    pub finished_at: Moment,
    /// How often its policy restarted it.
    pub restarts: u32,
    /// A person stopped it.
    pub by_hand: bool,
    /// Its place on the bridge while it runs.
    pub endpoint: Option<Endpoint>,
    /// The id of that place, for `inspect`.
    pub endpoint_id: String,
    /// The id of its network namespace, for `inspect`.
    pub sandbox_id: String,
}

impl Life {
    /// As `inspect` shows it.
    pub fn to_wire(&self) -> ContainerState {
        ContainerState {
            status: self.phase.word().to_owned(),
            running: self.phase.is_live() || self.phase == Phase::Restarting,
            paused: self.phase == Phase::Paused,
            restarting: self.phase == Phase::Restarting,
            oom_killed: self.oom_killed,
            dead: self.phase == Phase::Dead,
            pid: i64::from(self.pid),
            exit_code: self.exit_code,
            error: self.error.clone(),
            started_at: self.started_at.rfc3339(),
            finished_at: self.finished_at.rfc3339(),
            health: None,
        }
    }
}
