//! Addresses of a network that is to be made, checked in Docker's words.

use std::net::IpAddr;

use minke_api::network::{Ipam, IpamConfig};
use minke_net::{IpNet, SubnetSpec};

use crate::error::{Error, Result};

/// The subnets of one network, by family. Nothing is chosen yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Subnets {
    pub(super) ipv4: SubnetSpec,
    pub(super) ipv6: SubnetSpec,
}

/// Reads `IPAM.Config`. Subnets of a family that is switched off are passed over, as Docker does.
pub(super) fn plan_subnets(ipam: &Ipam, ipv4: bool, ipv6: bool) -> Result<Subnets> {
    let mut subnets = Subnets::default();
    let mut wrong = Vec::new();
    let mut seen = [0_usize; 2];
    for config in ipam.config.iter().flatten() {
        let Ok(subnet) = config.subnet.parse::<IpNet>() else {
            wrong.push(format!("invalid subnet {}: invalid CIDR block notation", config.subnet));
            continue;
        };
        if (subnet.is_v6() && !ipv6) || (!subnet.is_v6() && !ipv4) {
            continue;
        }
        seen[usize::from(subnet.is_v6())] += 1;
        if subnet.network() != subnet {
            wrong.push(format!("invalid subnet {subnet}: it should be {}", subnet.network()));
            continue;
        }
        let spec = read_config(config, subnet, &mut wrong);
        if subnet.is_v6() {
            subnets.ipv6 = spec;
        } else {
            subnets.ipv4 = spec;
        }
    }
    if !wrong.is_empty() {
        return Err(Error::invalid(joined("invalid network config:", &wrong)));
    }
    if seen.iter().any(|count| *count > 1) {
        return Err(Error::new(
            minke_base::Kind::Forbidden,
            "bridge driver doesn't support multiple subnets of one address family",
        ));
    }
    Ok(subnets)
}

fn read_config(config: &IpamConfig, subnet: IpNet, wrong: &mut Vec<String>) -> SubnetSpec {
    let mut spec = SubnetSpec { subnet: Some(subnet), ..SubnetSpec::default() };
    let mut complain =
        |what: &str, text: &str, why: String| wrong.push(format!("invalid {what} {text}: {why}"));
    if !config.ip_range.is_empty() {
        match read_range(&config.ip_range, subnet) {
            Ok(range) => spec.range = Some(range),
            Err(why) => complain("ip-range", &config.ip_range, why),
        }
    }
    if !config.gateway.is_empty() {
        match read_address(&config.gateway, subnet) {
            Ok(address) => spec.gateway = Some(address),
            Err(why) => complain("gateway", &config.gateway, why),
        }
    }
    for (name, text) in &config.auxiliary_addresses {
        match read_address(text, subnet) {
            Ok(address) => spec.reserved.push(address),
            Err(why) => complain("auxiliary address", name, why),
        }
    }
    spec
}

fn read_range(text: &str, subnet: IpNet) -> Result<IpNet, String> {
    let range: IpNet = text.parse().map_err(|_source| "invalid CIDR block notation".to_owned())?;
    if range.is_v6() != subnet.is_v6() {
        return Err(other_family(subnet));
    }
    if range.prefix() < subnet.prefix() {
        return Err(format!("CIDR block is bigger than its parent subnet {subnet}"));
    }
    if range.network() != range {
        return Err(format!("it should be {}", range.network()));
    }
    if !subnet.contains(range.address()) {
        return Err(format!("parent subnet {subnet} doesn't contain ip-range"));
    }
    Ok(range)
}

fn read_address(text: &str, subnet: IpNet) -> Result<IpAddr, String> {
    let address: IpAddr = text.parse().map_err(|_source| "invalid address".to_owned())?;
    if address.is_ipv6() != subnet.is_v6() {
        return Err(other_family(subnet));
    }
    if !subnet.contains(address) {
        return Err(format!("parent subnet {subnet} doesn't contain this address"));
    }
    Ok(address)
}

fn other_family(subnet: IpNet) -> String {
    format!("parent subnet is an IPv{} block", if subnet.is_v6() { 6 } else { 4 })
}

/// Several complaints in one text, as Docker joins them: one as it is, more as a list.
pub(super) fn joined(head: &str, wrong: &[String]) -> String {
    match wrong {
        [one] => format!("{head}\n{one}"),
        more => std::iter::once(head.to_owned())
            .chain(more.iter().map(|text| format!("* {text}")))
            .collect::<Vec<_>>()
            .join("\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(config: &[IpamConfig]) -> Result<Subnets, String> {
        let ipam = Ipam { config: Some(config.to_vec()), ..Ipam::default() };
        plan_subnets(&ipam, true, true).map_err(|error| error.message().to_owned())
    }

    fn entry(subnet: &str, range: &str, gateway: &str, aux: &str) -> IpamConfig {
        let aux = [("a".to_owned(), aux.to_owned())];
        IpamConfig {
            subnet: subnet.to_owned(),
            ip_range: range.to_owned(),
            gateway: gateway.to_owned(),
            auxiliary_addresses: aux.into_iter().filter(|(_, address)| !address.is_empty()).collect(),
        }
    }

    #[test]
    fn what_is_wrong_is_told_in_docker_s_words() {
        for (config, expected) in [
            (entry("x", "", "", ""), "invalid subnet x: invalid CIDR block notation"),
            (entry("", "", "10.231.0.1", ""), "invalid subnet : invalid CIDR block notation"),
            (entry("10.0.0.1/24", "", "", ""), "invalid subnet 10.0.0.1/24: it should be 10.0.0.0/24"),
            (
                entry("10.231.0.0/24", "", "10.9.9.9", ""),
                "invalid gateway 10.9.9.9: parent subnet 10.231.0.0/24 doesn't contain this address",
            ),
            (entry("10.231.0.0/24", "", "x", ""), "invalid gateway x: invalid address"),
            (
                entry("10.231.0.0/24", "", "fd00::1", ""),
                "invalid gateway fd00::1: parent subnet is an IPv4 block",
            ),
            (
                entry("10.231.0.0/24", "10.9.9.0/25", "", ""),
                "invalid ip-range 10.9.9.0/25: parent subnet 10.231.0.0/24 doesn't contain ip-range",
            ),
            (
                entry("10.231.0.0/24", "10.231.0.0/16", "", ""),
                "invalid ip-range 10.231.0.0/16: CIDR block is bigger than its parent subnet 10.231.0.0/24",
            ),
            (
                entry("10.231.0.0/24", "10.231.0.1/25", "", ""),
                "invalid ip-range 10.231.0.1/25: it should be 10.231.0.0/25",
            ),
            (
                entry("10.231.0.0/24", "", "", "10.9.9.9"),
                "invalid auxiliary address a: parent subnet 10.231.0.0/24 doesn't contain this address",
            ),
            (entry("10.231.0.0/24", "", "", "x"), "invalid auxiliary address a: invalid address"),
        ] {
            assert_eq!(planned(&[config]).unwrap_err(), format!("invalid network config:\n{expected}"));
        }
    }

    #[test]
    fn several_complaints_become_a_list() {
        let error = planned(&[entry("10.231.0.0/24", "", "x", "y")]).unwrap_err();
        assert_eq!(
            error,
            "invalid network config:\n* invalid gateway x: invalid address\n* invalid auxiliary address a: invalid address"
        );
    }

    #[test]
    fn each_family_has_one_subnet() {
        let both = [
            entry("10.231.0.0/24", "10.231.0.128/25", "10.231.0.1", "10.231.0.7"),
            entry("fd00::/64", "", "", ""),
        ];
        let subnets = planned(&both).expect("fine");
        assert_eq!(subnets.ipv4.gateway, Some("10.231.0.1".parse().unwrap()));
        assert_eq!(subnets.ipv4.reserved, ["10.231.0.7".parse::<IpAddr>().unwrap()]);
        assert_eq!(subnets.ipv6.subnet, Some("fd00::/64".parse().unwrap()));
        let twice = [entry("10.231.0.0/24", "", "", ""), entry("10.232.0.0/24", "", "", "")];
        assert!(planned(&twice).unwrap_err().starts_with("bridge driver doesn't support multiple subnets"));
    }

    #[test]
    fn a_family_that_is_off_is_passed_over() {
        let ipam = Ipam { config: Some(vec![entry("fd00::/64", "", "", "")]), ..Ipam::default() };
        assert_eq!(plan_subnets(&ipam, true, false).expect("fine"), Subnets::default());
    }
}
