//! A container's end of a network as it is asked for: checked in Docker's words, and turned into a wish.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use minke_api::network::EndpointSettings;
use minke_net::{EndpointWish, Mac};

use super::record::{NetworkRecord, is_builtin};
use super::subnets::joined;
use crate::error::{Error, Result};

const SYSCTLS: &str = "com.docker.network.endpoint.sysctls";
const IFNAME: &str = "com.docker.network.endpoint.ifname";

/// Refuses what the network called `name` cannot give; `network` is what is known of it. The text lacks Docker's prefix for
/// create requests.
pub(crate) fn check_settings(
    name: &str,
    network: Option<&NetworkRecord>,
    settings: &EndpointSettings,
) -> Result<()> {
    if !settings.mac_address.is_empty() && settings.mac_address.parse::<Mac>().is_err() {
        return Err(Error::invalid(format!("invalid MAC address {}", settings.mac_address)));
    }
    let mut wrong = Vec::new();
    let ipam = settings.ipam_config.clone().unwrap_or_default();
    let of_the_users = !is_builtin(name);
    let asks_for_address = !ipam.ipv4_address.is_empty() || !ipam.ipv6_address.is_empty();
    if !of_the_users && asks_for_address {
        wrong.push("user specified IP address is supported on user defined networks only".to_owned());
    }
    if !of_the_users && settings.aliases.as_ref().is_some_and(|list| !list.is_empty()) {
        wrong.push(
            "network-scoped alias is supported only for containers in user defined networks".to_owned(),
        );
    }
    if !ipam.ipv4_address.is_empty() && ipam.ipv4_address.parse::<Ipv4Addr>().is_err() {
        wrong.push(format!("invalid IPv4 address: {}", ipam.ipv4_address));
    }
    if !ipam.ipv6_address.is_empty() && ipam.ipv6_address.parse::<Ipv6Addr>().is_err() {
        wrong.push(format!("invalid IPv6 address: {}", ipam.ipv6_address));
    }
    for text in ipam.link_local_ips.iter().flatten().filter(|text| text.parse::<IpAddr>().is_err()) {
        wrong.push(format!("invalid link-local IP address: {text}"));
    }
    if let Some(network) = network {
        for (text, v6) in [(&ipam.ipv4_address, false), (&ipam.ipv6_address, true)] {
            wrong.extend(outside(network, text, v6));
        }
    }
    if let Err(why) = read_driver_options(settings) {
        wrong.push(why);
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Error::invalid(joined("invalid endpoint settings:", &wrong)))
}

/// Why an address cannot be had of a network, if so.
fn outside(network: &NetworkRecord, text: &str, v6: bool) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    let address: Option<IpAddr> = text.parse().ok();
    let mut subnets = network.static_subnets().filter(|subnet| subnet.is_v6() == v6).peekable();
    if subnets.peek().is_none() {
        return Some(
            "user specified IP address is supported only when connecting to networks with user configured subnets"
                .to_owned(),
        );
    }
    if address.is_some_and(|address| subnets.any(|subnet| subnet.contains(address))) {
        return None;
    }
    Some(format!("no configured subnet or ip-range contain the IP address {text}"))
}

/// What the endpoint's driver options mean.
#[derive(Debug, Default)]
struct DriverOptions {
    sysctls: Vec<(String, String)>,
    interface: Option<String>,
}

fn read_driver_options(settings: &EndpointSettings) -> std::result::Result<DriverOptions, String> {
    let mut read = DriverOptions::default();
    let options = settings.driver_opts.iter().flatten();
    for (key, value) in options {
        match key.as_str() {
            SYSCTLS => {
                for pair in value.split(',').filter(|pair| !pair.is_empty()) {
                    let (name, value) = pair
                        .split_once('=')
                        .ok_or_else(|| format!("unable to parse sysctl: {pair:?}: want name=value"))?;
                    // docker's CLI writes it in small letters.
                    let ["net", family @ ("ipv4" | "ipv6" | "mpls"), group, interface, key] =
                        name.split('.').collect::<Vec<_>>()[..]
                    else {
                        return Err(unrecognised(pair));
                    };
                    if !interface.eq_ignore_ascii_case("IFNAME") {
                        return Err(unrecognised(pair));
                    }
                    let name = format!("net.{family}.{group}.IFNAME.{key}");
                    read.sysctls.push((name, value.to_owned()));
                }
            }
            IFNAME => {
                let fits = (1..=15).contains(&value.len()) && !value.contains(['/', ' ', '%', ':']);
                if !fits || matches!(value.as_str(), "lo" | "all" | "default" | "." | "..") {
                    return Err(format!("invalid interface name {value}"));
                }
                read.interface = Some(value.clone());
            }
            _ => {}
        }
    }
    Ok(read)
}

fn unrecognised(pair: &str) -> String {
    format!(
        "unrecognised network interface sysctl '{pair}'; represent 'net.X.Y.ethN.Z=V' as 'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', 'ipv6' or 'mpls'"
    )
}

/// What the kernel's side is asked for. The settings were checked when they came in.
pub(crate) fn to_wish(network: &NetworkRecord, settings: &EndpointSettings) -> EndpointWish {
    let ipam = settings.ipam_config.clone().unwrap_or_default();
    let options = read_driver_options(settings).unwrap_or_default();
    EndpointWish {
        network: network.id.clone(),
        address: ipam.ipv4_address.parse().ok(),
        address6: ipam.ipv6_address.parse().ok(),
        link_local: ipam.link_local_ips.iter().flatten().filter_map(|text| text.parse().ok()).collect(),
        mac: settings.mac_address.parse().ok(),
        interface: options.interface,
        sysctls: options.sysctls,
        gateway_priority: i32::try_from(settings.gw_priority).unwrap_or_default(),
    }
}

/// What of an endpoint's settings is configuration, without what a client copied from an answer.
pub(crate) fn configured(settings: EndpointSettings) -> EndpointSettings {
    EndpointSettings {
        ipam_config: settings.ipam_config,
        links: settings.links,
        aliases: settings.aliases,
        mac_address: settings.mac_address,
        driver_opts: settings.driver_opts,
        gw_priority: settings.gw_priority,
        ..EndpointSettings::default()
    }
}

#[cfg(test)]
mod tests {
    use minke_api::network::{EndpointIpamConfig, Ipam, IpamConfig};

    use super::super::record::Driver;
    use super::*;
    use crate::clock::Moment;

    fn network(name: &str, subnet: &str) -> NetworkRecord {
        let config = IpamConfig { subnet: subnet.to_owned(), ..IpamConfig::default() };
        NetworkRecord {
            id: "1".repeat(64),
            name: name.to_owned(),
            created: Moment(0),
            driver: Driver::Bridge,
            scope: "local".to_owned(),
            enable_ipv4: true,
            enable_ipv6: false,
            ipam: Ipam { config: Some(vec![config]).filter(|_| !subnet.is_empty()), ..Ipam::default() },
            internal: false,
            attachable: false,
            options: Default::default(),
            labels: Default::default(),
            config_only: false,
            config_from: String::new(),
            spec: None,
        }
    }

    fn refused(name: &str, subnet: &str, settings: EndpointSettings) -> String {
        check_settings(name, Some(&network(name, subnet)), &settings).unwrap_err().message().to_owned()
    }

    fn with(ipv4: &str, ipv6: &str) -> EndpointSettings {
        let ipam = EndpointIpamConfig {
            ipv4_address: ipv4.to_owned(),
            ipv6_address: ipv6.to_owned(),
            link_local_ips: None,
        };
        EndpointSettings { ipam_config: Some(ipam), ..EndpointSettings::default() }
    }

    #[test]
    fn what_a_network_cannot_give_is_told_in_docker_s_words() {
        assert_eq!(
            refused("na", "10.231.1.0/24", with("10.9.9.9", "")),
            "invalid endpoint settings:\nno configured subnet or ip-range contain the IP address 10.9.9.9"
        );
        assert_eq!(
            refused("bridge", "172.17.0.0/16", with("172.18.0.99", "")),
            "invalid endpoint settings:\n* user specified IP address is supported on user defined networks only\n\
             * no configured subnet or ip-range contain the IP address 172.18.0.99"
        );
        assert_eq!(
            refused("bridge", "172.17.0.0/16", with("x", "")),
            "invalid endpoint settings:\n* user specified IP address is supported on user defined networks only\n\
             * invalid IPv4 address: x\n* no configured subnet or ip-range contain the IP address x"
        );
        assert_eq!(
            refused("na", "", with("", "fd00::2")),
            "invalid endpoint settings:\nuser specified IP address is supported only when connecting to networks with user configured subnets"
        );
        let aliases = EndpointSettings { aliases: Some(vec!["x".to_owned()]), ..EndpointSettings::default() };
        assert_eq!(
            refused("bridge", "", aliases.clone()),
            "invalid endpoint settings:\nnetwork-scoped alias is supported only for containers in user defined networks"
        );
        assert!(check_settings("na", None, &aliases).is_ok());
        let mac = EndpointSettings { mac_address: "x".to_owned(), ..EndpointSettings::default() };
        assert_eq!(refused("na", "", mac), "invalid MAC address x");
    }

    #[test]
    fn a_wish_carries_everything_that_was_asked_for() {
        let mut settings = with("10.231.1.9", "");
        settings.mac_address = "02:42:ac:11:00:99".to_owned();
        settings.gw_priority = 5;
        settings.driver_opts = Some(
            [
                (SYSCTLS.to_owned(), "net.ipv4.conf.ifname.log_martians=1".to_owned()),
                (IFNAME.to_owned(), "lan0".to_owned()),
            ]
            .into(),
        );
        let wish = to_wish(&network("na", "10.231.1.0/24"), &settings);
        assert_eq!(wish.address, Some("10.231.1.9".parse().unwrap()));
        assert_eq!(wish.sysctls, [("net.ipv4.conf.IFNAME.log_martians".to_owned(), "1".to_owned())]);
        assert_eq!((wish.interface.as_deref(), wish.gateway_priority), (Some("lan0"), 5));
        assert!(wish.mac.is_some());
    }
}
