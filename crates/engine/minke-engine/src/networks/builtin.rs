//! The three networks that are always there: bridge, host, none.
//!
//! Their ids are made once and kept. The default bridge is planned from the daemon's options at every start; where those
//! leave something open, the kernel's side keeps what the link has.

use std::net::IpAddr;

use minke_api::StringMap;
use minke_api::network::{Ipam, IpamConfig};
use minke_net::{BridgeSpec, Fabric, IpNet, Ipv4Net, Ipv6Net, NetworkSpec, SubnetSpec};

use super::record::{Driver, NetworkRecord, Place};
use super::service::with_gateways;
use crate::clock::Moment;
use crate::config::NetworkDefaults;
use crate::containers::Registry;
use crate::error::Result;
use crate::ledger::Ledger;

/// The records of the three, and what is to be said about them.
pub(super) fn plan(defaults: &NetworkDefaults, ledger: &Ledger) -> Result<(Vec<NetworkRecord>, Vec<String>)> {
    let created = ledger.setting("network.created", || Moment::now().0.to_string())?;
    let created = Moment(created.parse().unwrap_or_default());
    let record = |name: &str, driver: Driver| -> Result<NetworkRecord> {
        Ok(NetworkRecord {
            id: ledger.setting(&format!("network.{name}"), super::new_id)?,
            name: name.to_owned(),
            created,
            driver,
            scope: "local".to_owned(),
            enable_ipv4: true,
            enable_ipv6: false,
            ipam: Ipam { driver: "default".to_owned(), options: None, config: None },
            internal: false,
            attachable: false,
            options: StringMap::new(),
            labels: StringMap::new(),
            config_only: false,
            config_from: String::new(),
            spec: None,
        })
    };
    let mut records = vec![record("host", Driver::Host)?, record("none", Driver::Null)?];
    if let Some(link) = &defaults.bridge {
        let mut bridge = record("bridge", Driver::Bridge)?;
        let admins = defaults.bridge_named && !is_own(link, ledger)?;
        bridge.enable_ipv6 = defaults.ipv6;
        bridge.options = options(link, defaults);
        bridge.spec = Some(spec(&bridge.id, link, admins, defaults));
        records.push(bridge);
    }
    Ok((records, Vec::new()))
}

/// Whether the engine made this link, or is about to.
fn is_own(link: &str, ledger: &Ledger) -> Result<bool> {
    let there = std::path::Path::new("/sys/class/net").join(link).exists();
    let made = ledger.setting(&format!("network.made.{link}"), || (!there).to_string())?;
    Ok(made == "true")
}

fn spec(id: &str, link: &str, admins: bool, defaults: &NetworkDefaults) -> NetworkSpec {
    let v4 = family(
        defaults.bip.map(IpNet::V4),
        defaults.fixed_cidr.map(IpNet::V4),
        defaults.default_gateway.map(IpAddr::V4),
        admins,
    );
    let v6 = family(
        defaults.bip6.map(IpNet::V6),
        defaults.fixed_cidr_v6.map(IpNet::V6),
        defaults.default_gateway_v6.map(IpAddr::V6),
        admins,
    );
    let bridge = BridgeSpec {
        link: link.to_owned(),
        admins,
        icc: defaults.icc,
        masquerade: defaults.masquerade,
        host_binding: defaults.host_ip,
        ..BridgeSpec::default()
    };
    NetworkSpec {
        id: id.to_owned(),
        name: "bridge".to_owned(),
        driver: minke_net::Driver::Bridge(bridge),
        ipv4: Some(v4),
        ipv6: defaults.ipv6.then_some(v6),
        internal: false,
        mtu: defaults.mtu,
    }
}

/// One family of the default bridge. A `--fixed-cidr` without a `--bip` is the whole subnet, unless an administrator's bridge
/// has one already.
fn family(own: Option<IpNet>, fixed: Option<IpNet>, gateway: Option<IpAddr>, admins: bool) -> SubnetSpec {
    let subnet = own.map(IpNet::network).or_else(|| fixed.filter(|_| !admins).map(IpNet::network));
    let link_address = own.map(IpNet::address);
    SubnetSpec {
        subnet,
        gateway: gateway.or(link_address),
        link_address: link_address.filter(|_| gateway.is_some()),
        range: fixed.map(IpNet::network),
        reserved: Vec::new(),
    }
}

fn options(link: &str, defaults: &NetworkDefaults) -> StringMap {
    let binding = defaults.host_ip.map_or_else(|| "0.0.0.0".to_owned(), |address| address.to_string());
    [
        ("bridge.default_bridge", "true".to_owned()),
        ("bridge.enable_icc", defaults.icc.to_string()),
        ("bridge.enable_ip_masquerade", defaults.masquerade.to_string()),
        ("bridge.host_binding_ipv4", binding),
        ("bridge.name", link.to_owned()),
        ("driver.mtu", defaults.mtu.to_string()),
    ]
    .map(|(key, value)| (format!("com.docker.network.{key}"), value))
    .into()
}

/// What the kernel's side chose for each network; for the default bridge that is what inspect shows.
pub(super) fn fill_from_kernel(records: &mut [NetworkRecord], fabric: &Fabric, defaults: &NetworkDefaults) {
    for record in records {
        let Some(facts) = fabric.facts(&record.id) else { continue };
        if record.name == "bridge" {
            let entry = |subnet: String, gateway: IpAddr, range: Option<String>| IpamConfig {
                subnet,
                ip_range: range.unwrap_or_default(),
                gateway: gateway.to_string(),
                ..IpamConfig::default()
            };
            let v4 = facts.ipv4.as_ref().map(|family| {
                let range = defaults.fixed_cidr.map(Ipv4Net::network).map(|net| net.to_string());
                entry(family.subnet.network().to_string(), family.gateway, range)
            });
            let v6 = facts.ipv6.as_ref().map(|family| {
                let range = defaults.fixed_cidr_v6.map(Ipv6Net::network).map(|net| net.to_string());
                entry(family.subnet.network().to_string(), family.gateway, range)
            });
            record.ipam.config = Some(v4.into_iter().chain(v6).collect());
        }
        record.spec = Some(with_gateways(facts));
    }
}

/// Containers that were started by an engine that knew the default bridge only have their endpoint outside of any place.
pub(super) fn place_old_endpoints(registry: &Registry, records: &[NetworkRecord]) {
    let Some(bridge) = records.iter().find(|record| record.name == "bridge") else { return };
    for container in registry.all() {
        container.change_life(|life| {
            if let Some(mut endpoint) = life.endpoint.take().filter(|_| life.places.is_empty()) {
                endpoint.network.clone_from(&bridge.id);
                life.places.push(Place {
                    network: bridge.id.clone(),
                    name: bridge.name.clone(),
                    endpoint_id: std::mem::take(&mut life.endpoint_id),
                    endpoint: Some(endpoint),
                    ..Place::default()
                });
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Option<IpNet> {
        Some(text.parse().expect("a network"))
    }

    #[test]
    fn bip_is_subnet_and_gateway_unless_another_gateway_is_named() {
        let plain = family(net("192.168.0.129/25"), net("192.168.0.192/26"), None, false);
        assert_eq!(plain.subnet, net("192.168.0.128/25"));
        assert_eq!(plain.gateway, Some("192.168.0.129".parse().unwrap()));
        assert_eq!((plain.link_address, plain.range), (None, net("192.168.0.192/26")));
        let other = family(net("192.168.0.129/25"), None, Some("192.168.0.254".parse().unwrap()), false);
        assert_eq!(other.gateway, Some("192.168.0.254".parse().unwrap()));
        assert_eq!(other.link_address, Some("192.168.0.129".parse().unwrap()));
    }

    #[test]
    fn a_fixed_range_alone_is_the_subnet_of_a_bridge_that_is_made() {
        assert_eq!(family(None, net("10.9.0.0/24"), None, false).subnet, net("10.9.0.0/24"));
        assert_eq!(family(None, net("10.9.0.0/24"), None, true).subnet, None);
    }
}
