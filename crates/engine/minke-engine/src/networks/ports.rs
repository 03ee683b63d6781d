//! Ports of a container: what it exposes, what it wants published, what came of it, as values.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use minke_api::Set;
use minke_api::container::{ContainerConfig, HostConfig, PortBinding, PortMap, PortSummary};
use minke_net::{Binding, PortWish, Protocol};

use crate::error::{Error, Result};

/// A container's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Port {
    pub(crate) number: u16,
    pub(crate) protocol: Protocol,
}

impl Port {
    /// Tcp first, then by number: the order in which Docker counts them.
    fn rank(self) -> (u8, u16) {
        (self.protocol.number(), self.number)
    }
}

impl PartialOrd for Port {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Port {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.number, self.protocol.number()).cmp(&(other.number, other.protocol.number()))
    }
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.number, self.protocol)
    }
}

fn invalid(text: &str) -> Error {
    Error::invalid(format!("invalid port specification: {text:?}"))
}

/// First and last of `80`, `80-90`.
fn read_range(text: &str) -> Result<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse::<u16>(), last.parse::<u16>()) {
        (Ok(first), Ok(last)) if first <= last => Ok((first, last)),
        _ => Err(invalid(text)),
    }
}

/// `80`, `80/tcp`, `80-90/udp`.
fn read_ports(text: &str) -> Result<impl Iterator<Item = Port> + use<>> {
    let (numbers, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol: Protocol = if protocol.is_empty() { "tcp" } else { protocol }
        .parse()
        .map_err(|source: minke_net::ports::ProtocolParseError| Error::invalid(source.to_string()))?;
    let (first, last) = read_range(numbers)?;
    Ok((first..=last).map(move |number| Port { number, protocol }))
}

/// What a container exposes, in order. What cannot be read was refused when the container was made, or comes from an image.
pub(crate) fn exposed(config: &ContainerConfig) -> BTreeSet<Port> {
    config.exposed_ports.iter().flatten().filter_map(|(text, _)| read_ports(text).ok()).flatten().collect()
}

/// The same, tcp before the rest: how links count them.
pub(crate) fn exposed_by_protocol(config: &ContainerConfig) -> Vec<Port> {
    let mut ports: Vec<Port> = exposed(config).into_iter().collect();
    ports.sort_by_key(|port| port.rank());
    ports
}

/// Refuses ports that cannot be.
pub(crate) fn check_ports(exposed: Option<&Set>, host: &HostConfig) -> Result<()> {
    for text in exposed.iter().flat_map(|set| set.keys()) {
        drop(read_ports(text)?);
    }
    read_bindings(host).map(drop)
}

/// What a container wants published, in the order of its ports.
pub(crate) fn plan_wishes(config: &ContainerConfig, host: &HostConfig) -> Result<Vec<PortWish>> {
    let mut wanted = read_bindings(host)?;
    if host.publish_all_ports {
        for port in exposed(config) {
            let list = wanted.entry(port).or_default();
            if list.is_empty() {
                list.push((None, (0, 0)));
            }
        }
    }
    let wish = |port: Port, (host_ip, host_ports)| PortWish {
        protocol: port.protocol,
        container_port: port.number,
        host_ip,
        host_ports,
    };
    Ok(wanted.into_iter().flat_map(|(port, list)| list.into_iter().map(move |one| wish(port, one))).collect())
}

/// Where on the host: an address, and first and last port.
type Wanted = (Option<IpAddr>, (u16, u16));

fn read_bindings(host: &HostConfig) -> Result<BTreeMap<Port, Vec<Wanted>>> {
    let mut wanted: BTreeMap<Port, Vec<Wanted>> = BTreeMap::new();
    for (text, bindings) in host.port_bindings.iter().flatten() {
        let mut ports = read_ports(text)?;
        let (Some(port), None) = (ports.next(), ports.next()) else {
            // The client resolves ranges; one that comes through is nobody's.
            return Err(invalid(text.split('/').next().unwrap_or_default()));
        };
        if port.number == 0 {
            return Err(invalid(text.split('/').next().unwrap_or_default()));
        }
        let list = wanted.entry(port).or_default();
        for binding in bindings.iter().flatten() {
            list.push((read_host_ip(&binding.host_ip)?, read_host_ports(&binding.host_port)?));
        }
    }
    Ok(wanted)
}

fn read_host_ip(text: &str) -> Result<Option<IpAddr>> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    match bare {
        "" => Ok(None),
        address => address.parse().map(Some).map_err(|_source: std::net::AddrParseError| {
            Error::invalid(format!("invalid IP address: {text}"))
        }),
    }
}

fn read_host_ports(text: &str) -> Result<(u16, u16)> {
    if text.is_empty() { Ok((0, 0)) } else { read_range(text) }
}

/// `NetworkSettings.Ports`: published ports with their places, exposed ones with `null`.
pub(crate) fn to_map(config: &ContainerConfig, bindings: &[Binding]) -> PortMap {
    let mut map: PortMap = exposed(config).into_iter().map(|port| (port.to_string(), None)).collect();
    for binding in bindings {
        let port = Port { number: binding.container_port, protocol: binding.protocol };
        map.entry(port.to_string()).or_default().get_or_insert_default().push(PortBinding {
            host_ip: binding.host_ip.to_string(),
            host_port: match binding.routed {
                Some(_) => String::new(),
                None => binding.host_port.to_string(),
            },
        });
    }
    map
}

/// `Ports` of a listing.
pub(crate) fn to_summary(config: &ContainerConfig, bindings: &[Binding]) -> Vec<PortSummary> {
    let published = |port: Port| {
        bindings
            .iter()
            .filter(move |binding| binding.container_port == port.number && binding.protocol == port.protocol)
    };
    let mut ports = exposed(config);
    ports.extend(
        bindings.iter().map(|binding| Port { number: binding.container_port, protocol: binding.protocol }),
    );
    let mut list = Vec::new();
    for port in ports {
        let before = list.len();
        list.extend(published(port).map(|binding| PortSummary {
            ip: binding.host_ip.to_string(),
            private_port: port.number,
            public_port: binding.host_port,
            kind: port.protocol.to_string(),
        }));
        if list.len() == before {
            list.push(PortSummary {
                private_port: port.number,
                kind: port.protocol.to_string(),
                ..PortSummary::default()
            });
        }
    }
    list
}

/// The ports that a filter `expose` or `publish` means.
pub(crate) fn read_filter(name: &str, text: &str) -> Result<BTreeSet<Port>> {
    let wrong = |part: &str| {
        Error::invalid(format!(
            "error while looking up for {name} {text}: strconv.ParseUint: parsing {part:?}: invalid syntax"
        ))
    };
    let numbers = text.split('/').next().unwrap_or_default();
    if let Some(part) = numbers.split('-').find(|part| part.parse::<u64>().is_err()) {
        return Err(wrong(part));
    }
    Ok(read_ports(text)?.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(pairs: &[(&str, &[(&str, &str)])]) -> HostConfig {
        let map = pairs
            .iter()
            .map(|(port, list)| {
                let list = list
                    .iter()
                    .map(|(ip, port)| PortBinding { host_ip: (*ip).into(), host_port: (*port).into() })
                    .collect();
                ((*port).to_owned(), Some(list))
            })
            .collect();
        HostConfig { port_bindings: Some(map), ..HostConfig::default() }
    }

    fn config(exposed: &[&str]) -> ContainerConfig {
        let set = exposed.iter().map(|port| ((*port).to_owned(), minke_api::Empty {})).collect();
        ContainerConfig { exposed_ports: Some(set), ..ContainerConfig::default() }
    }

    fn error(pairs: &[(&str, &[(&str, &str)])]) -> String {
        check_ports(None, &host(pairs)).unwrap_err().message().to_owned()
    }

    #[test]
    fn what_is_no_port_is_refused_in_docker_s_words() {
        assert_eq!(error(&[("80", &[("", "x")])]), "invalid port specification: \"x\"");
        assert_eq!(error(&[("80", &[("", "99999")])]), "invalid port specification: \"99999\"");
        assert_eq!(error(&[("x/tcp", &[("", "80")])]), "invalid port specification: \"x\"");
        assert_eq!(error(&[("80-82/tcp", &[("", "80")])]), "invalid port specification: \"80-82\"");
        assert_eq!(error(&[("80/tcp", &[("", "8010-8000")])]), "invalid port specification: \"8010-8000\"");
        assert_eq!(error(&[("80/foo", &[("", "80")])]), "invalid proto: foo");
        assert_eq!(error(&[("80/tcp", &[("x", "80")])]), "invalid IP address: x");
    }

    #[test]
    fn a_wish_comes_of_every_binding_in_the_order_of_ports() {
        let host =
            host(&[("9000/udp", &[("127.0.0.1", "18081")]), ("80", &[("", ""), ("[::1]", "8000-8010")])]);
        let wishes = plan_wishes(&config(&[]), &host).expect("fine");
        let text: Vec<String> = wishes
            .iter()
            .map(|wish| {
                format!("{}/{} {:?} {:?}", wish.container_port, wish.protocol, wish.host_ip, wish.host_ports)
            })
            .collect();
        assert_eq!(
            text,
            [
                "80/tcp None (0, 0)",
                "80/tcp Some(::1) (8000, 8010)",
                "9000/udp Some(127.0.0.1) (18081, 18081)"
            ]
        );
    }

    #[test]
    fn publish_all_takes_what_is_exposed_and_not_yet_published() {
        let mut host = host(&[("80/tcp", &[("", "8080")])]);
        host.publish_all_ports = true;
        let wishes = plan_wishes(&config(&["80/tcp", "90-91/udp"]), &host).expect("fine");
        let text: Vec<String> =
            wishes.iter().map(|wish| format!("{}:{}", wish.container_port, wish.host_ports.0)).collect();
        assert_eq!(text, ["80:8080", "90:0", "91:0"]);
    }

    #[test]
    fn inspect_shows_exposed_ports_as_null_and_published_ones_with_their_place() {
        let binding = |ip: &str| Binding {
            protocol: Protocol::Tcp,
            container_port: 80,
            host_ip: ip.parse().unwrap(),
            host_port: 8080,
            routed: None,
        };
        let bindings = [binding("0.0.0.0"), binding("::")];
        let map = serde_json::to_value(to_map(&config(&["80/tcp", "90/udp"]), &bindings)).unwrap();
        assert_eq!(
            map,
            serde_json::json!({
                "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}],
                "90/udp": null
            })
        );
        let list = to_summary(&config(&["80/tcp", "90/udp"]), &bindings);
        let text: Vec<String> = list
            .iter()
            .map(|port| format!("{}:{}->{}/{}", port.ip, port.public_port, port.private_port, port.kind))
            .collect();
        assert_eq!(text, ["0.0.0.0:8080->80/tcp", ":::8080->80/tcp", ":0->90/udp"]);
    }

    #[test]
    fn a_filter_s_port_is_told_apart_from_a_word() {
        assert_eq!(
            read_filter("publish", "x").unwrap_err().message(),
            "error while looking up for publish x: strconv.ParseUint: parsing \"x\": invalid syntax"
        );
        assert_eq!(read_filter("expose", "80-82/udp").expect("a range").len(), 3);
    }
}
