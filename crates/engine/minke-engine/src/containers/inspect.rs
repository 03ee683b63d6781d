//! Inspect: everything that is known of one container.

use std::collections::BTreeMap;
use std::sync::Arc;

use minke_api::container::{ContainerInspect, DriverData, FilesystemChange, HostConfig};
use minke_api::network::{EndpointSettings, NetworkSettings};

use super::container::Container;
use super::record::{Life, Record};
use super::{Containers, logs};
use crate::error::{Error, Result};
use crate::networks::{Mode, Place, dns_names, ports};

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
            host_config: HostConfig { links: self.shown_links(&record), ..record.host.clone() },
            graph_driver: Some(self.graph_driver(&container)),
            size_rw,
            size_root_fs,
            mounts: self.mount_points(&record),
            config: record.config.clone(),
            network_settings: self.network_settings(id, &record, &life),
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

    pub(super) fn network_settings(&self, id: &str, record: &Record, life: &Life) -> NetworkSettings {
        let live = life.phase.is_live();
        let of_another = matches!(Mode::parse(&record.host.network_mode), Mode::Container(_));
        let shown = live && !of_another;
        NetworkSettings {
            sandbox_id: if shown { life.sandbox_id.clone() } else { String::new() },
            sandbox_key: if shown { format!("/proc/{}/ns/net", life.pid) } else { String::new() },
            ports: published(record, life),
            networks: self.endpoints(id, record, life),
        }
    }

    /// The container's places in networks; a container of another's network has none of its own.
    pub(super) fn endpoints(
        &self,
        id: &str,
        record: &Record,
        life: &Life,
    ) -> BTreeMap<String, EndpointSettings> {
        let has_run = !life.started_at.is_never();
        let show = |(name, mut settings): (String, EndpointSettings)| {
            if Mode::parse(&name).is_of_the_users() {
                let aliases = settings.aliases.as_deref().unwrap_or_default();
                settings.dns_names = Some(dns_names(&record.name, id, &record.config.hostname, aliases));
            }
            let place = life.places.iter().find(|place| place.name == name).filter(|_| life.phase.is_live());
            if let Some(place) = place {
                show_place(&mut settings, place, self.parts.networks.is_internal(&place.network));
            } else if has_run && let Ok(network) = self.parts.networks.find(&name) {
                settings.network_id.clone_from(&network.record.id);
            }
            (name, settings)
        };
        record.endpoints().into_iter().map(show).collect()
    }
}

fn show_place(settings: &mut EndpointSettings, place: &Place, internal: bool) {
    settings.network_id.clone_from(&place.network);
    settings.endpoint_id.clone_from(&place.endpoint_id);
    let Some(endpoint) = &place.endpoint else { return };
    settings.mac_address = endpoint.mac.to_string();
    if let Some(net) = endpoint.address {
        settings.ip_address = net.address().to_string();
        settings.ip_prefix_len = i64::from(net.prefix());
    }
    if let Some(net) = endpoint.address6 {
        settings.global_ipv6_address = net.address().to_string();
        settings.global_ipv6_prefix_len = i64::from(net.prefix());
    }
    if !internal {
        settings.gateway = endpoint.gateway.map(|gateway| gateway.to_string()).unwrap_or_default();
        settings.ipv6_gateway = endpoint.gateway6.map(|gateway| gateway.to_string()).unwrap_or_default();
    }
}

/// Ports show while the container runs in a network of its own.
fn published(record: &Record, life: &Life) -> minke_api::container::PortMap {
    if !life.phase.is_live() || life.places.iter().all(|place| place.endpoint.is_none()) {
        return BTreeMap::new();
    }
    ports::to_map(&record.config, &life.bindings())
}
