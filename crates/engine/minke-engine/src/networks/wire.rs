//! List and inspect, as clients expect them.

use std::collections::BTreeMap;

use minke_api::network::{
    ConfigReference, EndpointResource, Ipam, IpamConfig, IpamStatus, NetworkResource, NetworkStatus,
    SubnetStatus,
};
use minke_net::IpNet;

use super::{Network, Networks, Place};
use crate::error::{Error, Result};
use crate::filters::{Filters, pattern_matches};

impl Networks {
    /// The networks that pass, with who is in them.
    pub fn list(&self, filters: &Filters) -> Result<Vec<NetworkResource>> {
        filters.allow_only(&["dangling", "driver", "id", "label", "name", "scope", "type"])?;
        let dangling = read_dangling(filters)?;
        for value in filters.values("type") {
            if !matches!(value.as_str(), "builtin" | "custom") {
                return Err(Error::system(format!("invalid filter: 'type'='{value}'")));
            }
        }
        let passes = |network: &Network| {
            let record = &network.record;
            let kind = if record.is_builtin() { "builtin" } else { "custom" };
            let unused = !record.is_builtin() && network.is_empty();
            filters.exact("driver", record.driver.word())
                && filters.any("id", |id| record.id.contains(id))
                && filters.any("name", |name| pattern_matches(name, &record.name))
                && filters.exact("scope", &record.scope)
                && filters.exact("type", kind)
                && filters.labels("label", |key| record.labels.get(key).map(String::as_str))
                && dangling.is_none_or(|wanted| wanted == unused)
        };
        Ok(self
            .index
            .all()
            .iter()
            .filter(|network| passes(network))
            .map(|network| self.resource(network))
            .collect())
    }

    /// One network, by name, id or a prefix of it. `scope` narrows the search, as clients of swarms do.
    pub fn inspect(&self, reference: &str, scope: Option<&str>) -> Result<NetworkResource> {
        let network = self.find(reference)?;
        if scope.is_some_and(|scope| scope != network.record.scope) {
            return Err(Error::not_found(minke_api::texts::network_not_found(reference)));
        }
        let mut resource = self.resource(&network);
        resource.status = Some(NetworkStatus { ipam: IpamStatus { subnets: subnets(&network) } });
        Ok(resource)
    }

    fn resource(&self, network: &Network) -> NetworkResource {
        let record = &network.record;
        NetworkResource {
            name: record.name.clone(),
            id: record.id.clone(),
            created: record.created.rfc3339(),
            scope: record.scope.clone(),
            driver: record.driver.word().to_owned(),
            enable_ipv4: record.enable_ipv4,
            enable_ipv6: record.enable_ipv6,
            ipam: ipam(network),
            internal: record.internal,
            attachable: record.attachable,
            containers: self.members(network),
            options: record.options.clone(),
            labels: record.labels.clone(),
            config_only: record.config_only,
            config_from: ConfigReference { network: record.config_from.clone() },
            ..NetworkResource::default()
        }
    }

    fn members(&self, network: &Network) -> BTreeMap<String, EndpointResource> {
        let member = |(container, place): (String, Place)| {
            let endpoint = place.endpoint.as_ref();
            let resource = EndpointResource {
                name: self.container_name(&container),
                endpoint_id: place.endpoint_id.clone(),
                mac_address: endpoint.map(|endpoint| endpoint.mac.to_string()).unwrap_or_default(),
                ipv4_address: endpoint
                    .and_then(|endpoint| endpoint.address)
                    .map(|net| net.to_string())
                    .unwrap_or_default(),
                ipv6_address: endpoint
                    .and_then(|endpoint| endpoint.address6)
                    .map(|net| net.to_string())
                    .unwrap_or_default(),
            };
            (container, resource)
        };
        network.members().into_iter().map(member).collect()
    }
}

fn read_dangling(filters: &Filters) -> Result<Option<bool>> {
    match filters.values("dangling") {
        [] => Ok(None),
        [one] => match one.as_str() {
            "true" | "1" => Ok(Some(true)),
            "false" | "0" => Ok(Some(false)),
            _ => Err(Error::invalid(
                "invalid value for filter 'dangling', must be \"true\" (or \"1\"), or \"false\" (or \"0\")",
            )),
        },
        _ => Err(Error::invalid("got more than one value for filter key \"dangling\"")),
    }
}

/// As asked for; where nothing was, what was chosen.
fn ipam(network: &Network) -> Ipam {
    let record = &network.record;
    let mut ipam = record.ipam.clone();
    let Some(spec) = &record.spec else { return ipam };
    let list = ipam.config.get_or_insert_default();
    for (family, v6) in [(&spec.ipv4, false), (&spec.ipv6, true)] {
        let Some(family) = family else { continue };
        let given =
            list.iter().any(|config| config.subnet.parse::<IpNet>().is_ok_and(|subnet| subnet.is_v6() == v6));
        if let (false, Some(subnet)) = (given, family.subnet) {
            list.push(IpamConfig {
                subnet: subnet.to_string(),
                gateway: family.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
                ..IpamConfig::default()
            });
        }
    }
    ipam.config = ipam.config.filter(|list| !list.is_empty());
    ipam
}

/// How full each subnet is: members, the gateway, what is reserved, and the addresses that mean the network itself.
fn subnets(network: &Network) -> BTreeMap<String, SubnetStatus> {
    let Some(spec) = &network.record.spec else { return BTreeMap::new() };
    let places = network.members();
    let endpoints = || places.values().filter_map(|place| place.endpoint.as_ref());
    let mut subnets = BTreeMap::new();
    for family in [&spec.ipv4, &spec.ipv6].into_iter().flatten() {
        let Some(subnet) = family.subnet else { continue };
        let members = match subnet.is_v6() {
            true => endpoints().filter(|endpoint| endpoint.address6.is_some()).count(),
            false => endpoints().filter(|endpoint| endpoint.address.is_some()).count(),
        };
        let own = usize::from(family.gateway.is_some()) + family.reserved.len();
        let edges = if subnet.is_v6() { 1 } else { 2 };
        let size = |net: IpNet| {
            let bits = if net.is_v6() { 128 } else { 32 } - u32::from(net.prefix());
            1_u128.checked_shl(bits).unwrap_or(u128::MAX)
        };
        let in_use = u64::try_from(members + own + edges).unwrap_or(u64::MAX);
        let room = size(family.range.unwrap_or(subnet)).saturating_sub(u128::from(in_use));
        let status = SubnetStatus { in_use, available: u64::try_from(room).unwrap_or(u64::MAX) };
        subnets.insert(subnet.to_string(), status);
    }
    subnets
}
