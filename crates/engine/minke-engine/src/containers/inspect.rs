//! Inspect: everything that is known of one container.

use std::collections::BTreeMap;
use std::sync::Arc;

use minke_api::container::{ContainerInspect, DriverData, FilesystemChange};
use minke_api::network::{EndpointSettings, NetworkSettings};

use super::container::Container;
use super::record::{Life, Phase, Record};
use super::{Containers, logs};
use crate::error::{Error, Result};
use crate::spec::mounts::{self, MountWish};

impl Containers {
    /// What is known of a container; `size` measures its layer.
    pub async fn inspect(self: &Arc<Self>, reference: &str, size: bool) -> Result<ContainerInspect> {
        let container = self.find(reference)?;
        let record = container.record();
        let life = container.life();
        let id = container.id.as_str();
        let directory = self.data_dir(id);
        let path = |name: &str| directory.join(name).to_string_lossy().into_owned();
        let (program, args) = record.program();
        let started = life.started_at.0 != 0 || life.phase.is_live();
        let file = |name: &str| if started { path(name) } else { String::new() };
        let (size_rw, size_root_fs) = if size {
            let (own, root) = self.measure(&container).await?;
            (Some(own), Some(root))
        } else {
            (None, None)
        };
        Ok(ContainerInspect {
            id: id.to_owned(),
            created: record.created.rfc3339(),
            path: program,
            args,
            state: life.to_wire(),
            image: record.image.clone(),
            resolv_conf_path: file("resolv.conf"),
            hostname_path: file("hostname"),
            hosts_path: file("hosts"),
            log_path: if started {
                logs::log_path(&record, &container.id, &directory)
            } else {
                String::new()
            },
            name: format!("/{}", record.name),
            restart_count: i64::from(life.restarts),
            driver: self.parts.store.driver().name().to_owned(),
            platform: record.platform.clone(),
            exec_ids: Self::running_execs(&container),
            host_config: record.host.clone(),
            graph_driver: Some(self.graph_driver(&container)),
            size_rw,
            size_root_fs,
            mounts: mount_points(&record),
            config: record.config.clone(),
            network_settings: self.network_settings(&record, &life),
            ..ContainerInspect::default()
        })
    }

    fn graph_driver(&self, container: &Container) -> DriverData {
        let directory = self.data_dir(container.id.as_str());
        let path = |name: &str| directory.join(name).to_string_lossy().into_owned();
        let lower = container.image.stack(&self.parts.store).map(|stack| {
            stack.iter().map(|layer| layer.to_string_lossy().into_owned()).collect::<Vec<_>>().join(":")
        });
        let data = BTreeMap::from([
            ("ID".to_owned(), container.id.as_str().to_owned()),
            ("LowerDir".to_owned(), lower.unwrap_or_default()),
            ("MergedDir".to_owned(), path("merged")),
            ("UpperDir".to_owned(), path("upper")),
            ("WorkDir".to_owned(), path("work")),
        ]);
        DriverData { data: Some(data), name: self.parts.store.driver().name().to_owned() }
    }

    /// Bytes of the container's own layer, and of the whole root.
    pub(super) async fn measure(self: &Arc<Self>, container: &Arc<Container>) -> Result<(i64, i64)> {
        let containers = Arc::clone(self);
        let container = Arc::clone(container);
        tokio::task::spawn_blocking(move || {
            let directory = containers.data_dir(container.id.as_str());
            let stack = container.image.stack(&containers.parts.store)?;
            let own = match directory.exists() {
                true => {
                    containers
                        .parts
                        .store
                        .driver()
                        .usage(&stack, &directory)
                        .map_err(|source| Error::failed("measure the container's layer", source))?
                        .bytes
                }
                false => 0,
            };
            let own = i64::try_from(own).unwrap_or(i64::MAX);
            Ok((own, own.saturating_add(container.image.size)))
        })
        .await
        .map_err(|source| Error::failed("measure the container's layer", source))?
    }

    /// What the container changed below its root.
    pub async fn changes(self: &Arc<Self>, reference: &str) -> Result<Vec<FilesystemChange>> {
        let container = self.find(reference)?;
        let containers = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let directory = containers.data_dir(container.id.as_str());
            if !directory.join("upper").exists() {
                return Ok(Vec::new());
            }
            let stack = container.image.stack(&containers.parts.store)?;
            let changes = containers
                .parts
                .store
                .driver()
                .changes(&stack, &directory)
                .map_err(|source| Error::failed("compare the container's layer", source))?;
            Ok(changes.into_iter().map(crate::images::to_wire_change).collect())
        })
        .await
        .map_err(|source| Error::failed("compare the container's layer", source))?
    }

    pub(super) fn network_settings(&self, record: &Record, life: &Life) -> NetworkSettings {
        let short = life.sandbox_id.get(..12).unwrap_or_default();
        let key = if life.phase.is_live() { format!("/proc/{}/ns/net", life.pid) } else { String::new() };
        NetworkSettings {
            sandbox_id: if short.is_empty() || !life.phase.is_live() {
                String::new()
            } else {
                life.sandbox_id.clone()
            },
            sandbox_key: key,
            ports: exposed(record, life),
            networks: self.endpoints(record, life),
        }
    }

    /// The container's place in its network; a container of another's network has none of its own.
    pub(super) fn endpoints(&self, record: &Record, life: &Life) -> BTreeMap<String, EndpointSettings> {
        let mode = record.host.network_mode.as_str();
        if mode.starts_with("container:") {
            return BTreeMap::new();
        }
        let mut settings = EndpointSettings::default();
        let live = life.phase.is_live();
        if live {
            settings.network_id = self.parts.networks.id_of(mode);
            settings.endpoint_id.clone_from(&life.endpoint_id);
        }
        if let Some(endpoint) = life.endpoint.as_ref().filter(|_| live) {
            settings.gateway = endpoint.gateway.map(|gateway| gateway.to_string()).unwrap_or_default();
            settings.ip_address = endpoint.address.map(|net| net.address().to_string()).unwrap_or_default();
            settings.ip_prefix_len = endpoint.address.map_or(0, |net| i64::from(net.prefix()));
            settings.mac_address = endpoint.mac.to_string();
        }
        BTreeMap::from([(mode.to_owned(), settings)])
    }
}

/// Exposed ports show without a binding while the container runs.
fn exposed(record: &Record, life: &Life) -> minke_api::container::PortMap {
    if life.phase != Phase::Running || record.host.network_mode != "bridge" {
        return BTreeMap::new();
    }
    record.config.exposed_ports.iter().flatten().map(|(port, _)| (port.clone(), None)).collect()
}

/// The mounts that inspect and list show.
pub(super) fn mount_points(record: &Record) -> Vec<minke_api::mount::MountPoint> {
    // They were checked when the container was created.
    let wishes = mounts::parse_mounts(&record.host).unwrap_or_default();
    wishes.iter().filter_map(MountWish::to_mount_point).collect()
}
