//! What is remembered of a container: what was asked for, and how it is.

use std::borrow::Cow;
use std::collections::BTreeMap;

use minke_api::StringMap;
use minke_api::container::{ContainerConfig, ContainerState, HostConfig};
use minke_api::network::{EndpointIpamConfig, EndpointSettings};
use minke_net::Endpoint;
use serde::{Deserialize, Serialize};

use super::health::{Health, Verdict};
use crate::clock::Moment;
use crate::networks::links::{Link, parse_link};
use crate::networks::{Mode, Place};
use crate::spec::mounts::{ImageWish, MountWish, What, parse_mounts};

/// What the engine's options said about names when a container was made; its own options count more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NameDefaults {
    /// `--dns`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<String>,
    /// `--dns-search`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// `--dns-opt`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

/// What was asked for. Changes only by rename, update, and by networks joined and left.
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
    /// What it asks of each network, by the network's name. `None` in records of the time when there was one network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<BTreeMap<String, EndpointSettings>>,
    /// Hardware address asked for, in such a record.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mac_address: String,
    /// Address asked for, in such a record.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ipv4_address: String,
    /// What the engine's options said about names at its making; `None` where they are asked at every start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<NameDefaults>,
    /// What is mounted, every choice made, by target. `None` in records of the time before volumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mounts: Option<Vec<MountWish>>,
    /// Paths that the image declares as volumes, in such a record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub private_paths: Vec<String>,
}

impl Record {
    /// The program's path and arguments, as `inspect` shows them.
    pub fn program(&self) -> (String, Vec<String>) {
        let mut words = crate::spec::environment::program(&self.config).into_iter();
        (words.next().unwrap_or_default(), words.collect())
    }

    /// What it asks of each network, by name; nothing when it has another container's.
    pub fn endpoints(&self) -> BTreeMap<String, EndpointSettings> {
        if let Some(endpoints) = &self.endpoints {
            return endpoints.clone();
        }
        if let Mode::Container(_) = Mode::parse(&self.host.network_mode) {
            return BTreeMap::new();
        }
        let ipam =
            EndpointIpamConfig { ipv4_address: self.ipv4_address.clone(), ..EndpointIpamConfig::default() };
        let settings = EndpointSettings {
            ipam_config: Some(ipam).filter(|ipam| !ipam.ipv4_address.is_empty()),
            mac_address: self.mac_address.clone(),
            ..EndpointSettings::default()
        };
        BTreeMap::from([(self.host.network_mode.clone(), settings)])
    }

    /// The networks it asks for in the order of its interfaces: the one it was made in first, the others by name.
    pub fn ordered_endpoints(&self) -> Vec<(String, EndpointSettings)> {
        let mut list: Vec<_> = self.endpoints().into_iter().collect();
        list.sort_by_key(|(name, _)| *name != self.host.network_mode);
        list
    }

    /// Its links on the default bridge, the first of each alias. On networks of the user's, links are names only.
    pub fn links(&self) -> Vec<Link> {
        let mut links: Vec<Link> = Vec::new();
        if Mode::parse(&self.host.network_mode).is_of_the_users() {
            return links;
        }
        for link in self.host.links.iter().flatten().filter_map(|text| parse_link(text).ok()) {
            if !links.iter().any(|known| known.alias == link.alias) {
                links.push(link);
            }
        }
        links
    }

    /// What is mounted.
    pub(crate) fn mounts(&self) -> Cow<'_, [MountWish]> {
        match &self.mounts {
            Some(mounts) => Cow::Borrowed(mounts),
            // They were checked when the container was created.
            None => Cow::Owned(parse_mounts(&self.host).unwrap_or_default()),
        }
    }

    /// Whether it has volumes.
    pub(crate) fn has_volumes(&self) -> bool {
        self.mounts.iter().flatten().any(|wish| wish.volume().is_some())
    }

    /// The images that are mounted, by id.
    pub(crate) fn mounted_images(&self) -> impl Iterator<Item = &ImageWish> {
        self.mounts.iter().flatten().filter_map(|wish| match &wish.what {
            What::Image(image) => Some(image),
            _ => None,
        })
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
    /// Its places in networks while it runs, in the order of its interfaces.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<Place>,
    /// How well it is, when it has a health check and has run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Box<Health>>,
    /// Its place on the bridge, in a record of the time when there was one network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// The id of that place.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub endpoint_id: String,
    /// The id of its network namespace, for `inspect`.
    pub sandbox_id: String,
}

impl Life {
    /// Its published ports.
    pub fn bindings(&self) -> Vec<minke_net::Binding> {
        self.places.iter().flat_map(|place| place.bindings.iter().copied()).collect()
    }

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
            health: self.health.as_deref().map(Health::to_wire),
        }
    }

    /// Nobody asks any more how well it is. Docker calls that unhealthy.
    pub(super) fn end_health(&mut self) {
        if let Some(health) = &mut self.health {
            health.status = Verdict::Unhealthy;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(mode: &str, more: serde_json::Value) -> Record {
        let mut json = serde_json::json!({
            "name": "web", "created": Moment(0), "image": "sha256:1", "layers": [], "platform": "linux",
            "config": {}, "host": {"NetworkMode": mode}
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            json[key] = value.clone();
        }
        serde_json::from_value(json).expect("a record")
    }

    #[test]
    fn a_record_of_the_time_of_one_network_keeps_what_it_asked_for() {
        let old = record(
            "bridge",
            serde_json::json!({"mac_address": "02:42:00:00:00:01", "ipv4_address": "172.17.0.9"}),
        );
        let endpoints = old.endpoints();
        let bridge = &endpoints["bridge"];
        assert_eq!(bridge.mac_address, "02:42:00:00:00:01");
        assert_eq!(bridge.ipam_config.as_ref().map(|ipam| ipam.ipv4_address.as_str()), Some("172.17.0.9"));
        assert!(record("container:1", serde_json::json!({})).endpoints().is_empty());
    }

    #[test]
    fn a_container_that_left_every_network_has_none() {
        assert!(record("bridge", serde_json::json!({"endpoints": {}})).endpoints().is_empty());
    }

    #[test]
    fn the_network_it_was_made_in_has_the_first_interface() {
        let made = record("na", serde_json::json!({"endpoints": {"aa": {}, "na": {}, "zz": {}}}));
        let order: Vec<String> = made.ordered_endpoints().into_iter().map(|(name, _)| name).collect();
        assert_eq!(order, ["na", "aa", "zz"]);
    }

    #[test]
    fn the_first_link_of_an_alias_counts_and_links_on_the_user_s_networks_are_names_only() {
        let links = serde_json::json!({"NetworkMode": "bridge", "Links": ["a:x", "b:x", "c"]});
        let with = record("bridge", serde_json::json!({"host": links}));
        let seen: Vec<(String, String)> =
            with.links().into_iter().map(|link| (link.target, link.alias)).collect();
        assert_eq!(seen, [("a".to_owned(), "x".to_owned()), ("c".to_owned(), "c".to_owned())]);
        let links = serde_json::json!({"NetworkMode": "na", "Links": ["a:x"]});
        assert!(record("na", serde_json::json!({"host": links})).links().is_empty());
    }

    #[test]
    fn a_life_of_the_time_of_one_network_is_read() {
        let life: Life = serde_json::from_value(serde_json::json!({
            "phase": "running", "pid": 7, "endpoint_id": "e1",
            "endpoint": {
                "container": "c", "host_link": "veth1", "host_index": 9, "address": "172.17.0.2/16",
                "gateway": "172.17.0.1", "mac": "02:42:ac:11:00:02"
            }
        }))
        .expect("an old life");
        let endpoint = life.endpoint.expect("kept until it is placed");
        assert_eq!(endpoint.address, Some("172.17.0.2/16".parse().expect("a network")));
        assert!(life.places.is_empty());
    }
}
