//! Options of networks: what `-o key=value` means to each driver.
//!
//! A key of Docker's that would change something and is not there yet is refused by name; keys of others are kept and mean
//! nothing, as with Docker.

use std::net::IpAddr;

use minke_api::StringMap;
use minke_net::{BridgeSpec, GatewayMode, MacvlanMode, MacvlanSpec};

use crate::error::{Error, Result};

/// A network's smallest and largest packet, as the kernel allows for a bridge.
const MTUS: std::ops::RangeInclusive<u32> = 68..=65535;

/// What the options of one network say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) bridge: BridgeSpec,
    pub(super) macvlan: MacvlanSpec,
    pub(super) mtu: Option<u32>,
    /// `com.docker.network.enable_ipv4` and `…6`: what an older client says by way of options.
    pub(super) enable_ipv4: Option<bool>,
    pub(super) enable_ipv6: Option<bool>,
}

/// Reads the options of a network of driver `driver`.
pub(super) fn read_options(driver: &str, options: &StringMap) -> Result<Options> {
    let mut read = Options {
        bridge: BridgeSpec::default(),
        macvlan: MacvlanSpec { parent: String::new(), mode: MacvlanMode::default() },
        mtu: None,
        enable_ipv4: None,
        enable_ipv6: None,
    };
    for (key, value) in options {
        match (driver, key.strip_prefix("com.docker.network.").unwrap_or(key)) {
            (_, "driver.mtu" | "mtu") => read.mtu = Some(mtu(key, value)?),
            (_, "enable_ipv4") => read.enable_ipv4 = Some(boolean(key, value)?),
            (_, "enable_ipv6") => read.enable_ipv6 = Some(boolean(key, value)?),
            ("bridge", _) => read_bridge(&mut read.bridge, key, value)?,
            ("macvlan", "parent") => value.clone_into(&mut read.macvlan.parent),
            ("macvlan", "macvlan_mode") => read.macvlan.mode = mode(value)?,
            ("macvlan", _) if !key.starts_with("com.docker.network.") => {
                return Err(Error::invalid(format!(
                    "invalid option: {key}: macvlan knows parent and macvlan_mode"
                )));
            }
            _ => {}
        }
    }
    Ok(read)
}

fn read_bridge(bridge: &mut BridgeSpec, key: &str, value: &str) -> Result<()> {
    match key.strip_prefix("com.docker.network.").unwrap_or_default() {
        "bridge.name" => {
            if value.is_empty() || value.len() > 15 || value.contains(['/', ' ', '%', ':', '"']) {
                return Err(Error::invalid(format!(
                    "invalid {key} value: {value} (a link's name has 1 to 15 characters, none of them blank, '/', ':' or '\"')"
                )));
            }
            value.clone_into(&mut bridge.link);
        }
        "bridge.enable_icc" => bridge.icc = boolean(key, value)?,
        "bridge.enable_ip_masquerade" => bridge.masquerade = boolean(key, value)?,
        "bridge.host_binding_ipv4" => {
            let address: IpAddr = value.parse().map_err(|_source: std::net::AddrParseError| {
                Error::invalid(format!("failed to parse {key} value: {value} (nil ip)"))
            })?;
            bridge.host_binding = Some(address).filter(|address| !address.is_unspecified());
        }
        "bridge.default_bridge" if !boolean(key, value)? => {}
        "bridge.inhibit_ipv4" => bridge.inhibit_ipv4 = boolean(key, value)?,
        "bridge.gateway_mode_ipv4" => bridge.mode4 = gateway_mode(key, value)?,
        "bridge.gateway_mode_ipv6" => bridge.mode6 = gateway_mode(key, value)?,
        rest if rest.starts_with("bridge.")
            || rest == "container_iface_prefix"
            || rest == "host_ipv4"
            || rest == "host_ipv6" =>
        {
            return Err(Error::invalid(format!("{key}={value} is not built yet: leave the option out")));
        }
        _ => {}
    }
    Ok(())
}

fn boolean(key: &str, value: &str) -> Result<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Error::invalid(format!(
            "failed to parse {key} value: {value} (strconv.ParseBool: parsing {value:?}: invalid syntax)"
        ))),
    }
}

fn gateway_mode(key: &str, value: &str) -> Result<GatewayMode> {
    match value {
        "" | "nat" => Ok(GatewayMode::Nat),
        "nat-unprotected" => Ok(GatewayMode::NatUnprotected),
        "routed" => Ok(GatewayMode::Routed),
        "isolated" => Ok(GatewayMode::Isolated),
        _ => Err(Error::invalid(format!(
            "failed to parse {key} value: {value} (unknown gateway mode {value})"
        ))),
    }
}

fn mtu(key: &str, value: &str) -> Result<u32> {
    let number: i64 = value.parse().map_err(|_source: std::num::ParseIntError| {
        Error::invalid(format!(
            "failed to parse {key} value: {value} (strconv.Atoi: parsing {value:?}: invalid syntax)"
        ))
    })?;
    u32::try_from(number)
        .ok()
        .filter(|mtu| *mtu == 0 || MTUS.contains(mtu))
        .ok_or_else(|| Error::invalid(format!("invalid {key} value: {value} (want 68 to 65535)")))
}

fn mode(value: &str) -> Result<MacvlanMode> {
    Ok(match value {
        "" | "bridge" => MacvlanMode::Bridge,
        "private" => MacvlanMode::Private,
        "vepa" => MacvlanMode::Vepa,
        "passthru" => MacvlanMode::Passthru,
        other => {
            return Err(Error::invalid(format!(
                "requested macvlan mode '{other}' is not valid, 'bridge' mode is the macvlan driver default"
            )));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Options, String> {
        let map = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        read_options("bridge", &map).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn docker_s_options_of_bridges_are_understood() {
        let options = read(&[
            ("com.docker.network.bridge.name", "br7"),
            ("com.docker.network.bridge.enable_icc", "false"),
            ("com.docker.network.bridge.enable_ip_masquerade", "0"),
            ("com.docker.network.bridge.host_binding_ipv4", "127.0.0.1"),
            ("com.docker.network.driver.mtu", "1400"),
            ("foo", "bar"),
        ])
        .expect("all known");
        let bridge = options.bridge;
        assert_eq!((bridge.link.as_str(), bridge.icc, bridge.masquerade), ("br7", false, false));
        assert_eq!(bridge.host_binding, Some("127.0.0.1".parse().unwrap()));
        assert_eq!(options.mtu, Some(1400));
    }

    #[test]
    fn wrong_values_are_told_in_docker_s_words() {
        for (key, value, expected) in [
            (
                "com.docker.network.driver.mtu",
                "x",
                "failed to parse com.docker.network.driver.mtu value: x (strconv.Atoi: parsing \"x\": invalid syntax)",
            ),
            (
                "com.docker.network.bridge.enable_icc",
                "x",
                "failed to parse com.docker.network.bridge.enable_icc value: x (strconv.ParseBool: parsing \"x\": invalid syntax)",
            ),
            (
                "com.docker.network.bridge.host_binding_ipv4",
                "x",
                "failed to parse com.docker.network.bridge.host_binding_ipv4 value: x (nil ip)",
            ),
        ] {
            assert_eq!(read(&[(key, value)]).unwrap_err(), expected);
        }
    }

    #[test]
    fn gateway_modes_are_of_one_family_each() {
        let options = read(&[
            ("com.docker.network.bridge.gateway_mode_ipv4", "routed"),
            ("com.docker.network.bridge.gateway_mode_ipv6", "nat-unprotected"),
            ("com.docker.network.bridge.inhibit_ipv4", "true"),
        ])
        .expect("all known");
        let bridge = options.bridge;
        assert_eq!((bridge.mode4, bridge.mode6), (GatewayMode::Routed, GatewayMode::NatUnprotected));
        assert!(bridge.inhibit_ipv4);
        assert_eq!(
            read(&[("com.docker.network.bridge.gateway_mode_ipv4", "bogus")]).unwrap_err(),
            "failed to parse com.docker.network.bridge.gateway_mode_ipv4 value: bogus (unknown gateway mode bogus)"
        );
    }

    #[test]
    fn what_would_change_something_and_is_not_there_is_refused() {
        assert!(read(&[("com.docker.network.bridge.trusted_host_interfaces", "eth0")]).is_err());
        assert!(read(&[("com.docker.network.bridge.name", "a-name-that-is-too-long")]).is_err());
    }
}
