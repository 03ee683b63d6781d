//! List and inspect of the three networks, as clients expect them.

use std::collections::BTreeMap;

use minke_api::StringMap;
use minke_api::network::{EndpointResource, Ipam, IpamConfig, NetworkResource};

use super::Networks;
use crate::error::{Error, Result};
use crate::filters::{Filters, pattern_matches};

impl Networks {
    /// The networks that pass.
    pub fn list(&self, filters: &Filters) -> Result<Vec<NetworkResource>> {
        filters.allow_only(&["dangling", "driver", "id", "label", "name", "scope", "type"])?;
        for value in filters.values("type") {
            if !matches!(value.as_str(), "builtin" | "custom") {
                return Err(Error::invalid(format!("invalid filter: 'type'='{value}'")));
            }
        }
        let dangling = filters.boolean("dangling")?;
        let mut list = vec![self.bridge_resource(false), self.plain("host"), self.plain("none")];
        list.retain(|network| {
            filters.exact("driver", &network.driver)
                && filters.any("id", |id| network.id.contains(id))
                && filters.any("name", |name| pattern_matches(name, &network.name))
                && filters.exact("scope", "local")
                && filters.any("type", |kind| kind == "builtin")
                && filters.labels("label", |_| None)
                // The three are never counted as unused.
                && dangling != Some(true)
        });
        Ok(list)
    }

    /// One network, by name, id or a prefix of it.
    pub fn inspect(&self, name: &str) -> Result<NetworkResource> {
        let all = [("bridge", &self.ids.bridge), ("host", &self.ids.host), ("none", &self.ids.none)];
        let found = all
            .iter()
            .find(|(own, id)| *own == name || *id == name)
            .or_else(|| all.iter().find(|(_, id)| name.len() >= 2 && id.starts_with(name)));
        match found {
            Some(("bridge", _)) => Ok(self.bridge_resource(true)),
            Some((own, _)) => Ok(self.plain(own)),
            None => Err(Error::not_found(minke_api::texts::network_not_found(name))),
        }
    }

    fn resource(&self, name: &str, id: &str, driver: &str) -> NetworkResource {
        NetworkResource {
            name: name.to_owned(),
            id: id.to_owned(),
            created: self.created.rfc3339(),
            scope: "local".to_owned(),
            driver: driver.to_owned(),
            enable_ipv4: true,
            ipam: Ipam { driver: "default".to_owned(), options: None, config: None },
            ..NetworkResource::default()
        }
    }

    fn plain(&self, name: &str) -> NetworkResource {
        let (id, driver) = if name == "host" { (&self.ids.host, "host") } else { (&self.ids.none, "null") };
        let mut network = self.resource(name, id, driver);
        network.containers = self.members(name);
        network
    }

    fn bridge_resource(&self, members: bool) -> NetworkResource {
        let mut network = self.resource("bridge", &self.ids.bridge, "bridge");
        if let Ok(bridge) = &self.bridge {
            let facts = bridge.facts();
            network.ipam.config = Some(vec![IpamConfig {
                subnet: facts.subnet.network().to_string(),
                gateway: facts.gateway.to_string(),
                ..IpamConfig::default()
            }]);
            let option = |key: &str, value: String| (format!("com.docker.network.{key}"), value);
            network.options = StringMap::from([
                option("bridge.default_bridge", "true".to_owned()),
                option("bridge.enable_icc", facts.icc.to_string()),
                option("bridge.enable_ip_masquerade", facts.masquerade.to_string()),
                option("bridge.host_binding_ipv4", "0.0.0.0".to_owned()),
                option("bridge.name", facts.name.clone()),
                option("driver.mtu", facts.mtu.to_string()),
            ]);
        }
        if members {
            network.containers = self.members("bridge");
        }
        network
    }

    fn members(&self, mode: &str) -> BTreeMap<String, EndpointResource> {
        self.registry
            .all()
            .into_iter()
            .filter_map(|container| {
                let (record, life) = (container.record(), container.life());
                if record.host.network_mode != mode || !life.phase.is_live() {
                    return None;
                }
                let mut member = EndpointResource {
                    name: record.name.clone(),
                    endpoint_id: life.endpoint_id.clone(),
                    ..EndpointResource::default()
                };
                if let Some(endpoint) = &life.endpoint {
                    member.mac_address = endpoint.mac.to_string();
                    member.ipv4_address = endpoint.address.map(|net| net.to_string()).unwrap_or_default();
                }
                Some((container.id.as_str().to_owned(), member))
            })
            .collect()
    }
}
