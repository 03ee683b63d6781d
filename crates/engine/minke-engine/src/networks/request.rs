//! From a request to a record: what a network may not be is refused here, before anything is made.

use minke_api::network::{Ipam, NetworkCreateRequest};
use minke_base::Kind;
use minke_net::{GatewayMode, NetworkSpec};

use super::configuration::plan_configuration;
use super::options::read_options;
use super::record::{Driver, NetworkRecord, is_builtin};
use super::subnets::plan_subnets;
use crate::clock::Moment;
use crate::config::NetworkDefaults;
use crate::error::{Error, Result};

/// Checks a request and plans the network. Names and addresses of others are not looked at.
pub(super) fn plan_network(
    request: NetworkCreateRequest,
    id: String,
    defaults: &NetworkDefaults,
) -> Result<NetworkRecord> {
    let name = request.name.trim();
    if name.is_empty() {
        return Err(Error::invalid("invalid name: name is empty"));
    }
    if is_builtin(name) {
        return Err(Error::new(
            Kind::Forbidden,
            format!("operation is not permitted on predefined {name} network "),
        ));
    }
    refuse_later_things(&request)?;
    if request.config_only {
        return plan_configuration(request, id);
    }
    let driver = read_driver(&request.driver)?;
    let mut options = request.options.unwrap_or_default();
    for (key, value) in defaults.network_options.get(driver.word()).into_iter().flatten() {
        options.entry(key.clone()).or_insert_with(|| value.clone());
    }
    let read = read_options(driver.word(), &options)?;
    let isolated = [read.bridge.mode4, read.bridge.mode6].contains(&GatewayMode::Isolated);
    if isolated && !request.internal {
        return Err(Error::invalid("gateway mode 'isolated' can only be used for an internal network"));
    }
    let enable_ipv4 = request.enable_ipv4.or(read.enable_ipv4).unwrap_or(true);
    let enable_ipv6 = request.enable_ipv6.or(read.enable_ipv6).unwrap_or(false);
    if !enable_ipv4 && !enable_ipv6 {
        return Err(Error::invalid("IPv4 or IPv6 must be enabled"));
    }
    let ipam = plan_ipam(request.ipam)?;
    let subnets = plan_subnets(&ipam, enable_ipv4, enable_ipv6)?;
    let spec = NetworkSpec {
        id: id.clone(),
        name: name.to_owned(),
        driver: match driver {
            Driver::Macvlan => minke_net::Driver::Macvlan(read.macvlan),
            _ => minke_net::Driver::Bridge(read.bridge),
        },
        ipv4: enable_ipv4.then_some(subnets.ipv4),
        ipv6: enable_ipv6.then_some(subnets.ipv6),
        internal: request.internal,
        mtu: read.mtu.filter(|mtu| *mtu != 0).unwrap_or(1500),
    };
    Ok(NetworkRecord {
        id,
        name: name.to_owned(),
        created: Moment::now(),
        driver,
        scope: if request.scope.is_empty() { "local".to_owned() } else { request.scope },
        enable_ipv4,
        enable_ipv6,
        ipam,
        internal: request.internal,
        attachable: request.attachable,
        options,
        labels: request.labels.unwrap_or_default(),
        config_only: false,
        config_from: String::new(),
        spec: Some(spec),
    })
}

pub(super) fn plan_ipam(ipam: Option<Ipam>) -> Result<Ipam> {
    let ipam = ipam.unwrap_or_default();
    if !matches!(ipam.driver.as_str(), "" | "default") {
        return Err(Error::not_found(format!("plugin {:?} not found", ipam.driver)));
    }
    let config = ipam.config.filter(|list| !list.is_empty());
    Ok(Ipam { driver: "default".to_owned(), config, ..ipam })
}

fn refuse_later_things(request: &NetworkCreateRequest) -> Result<()> {
    let sentence = if request.ingress {
        "ingress networks belong to swarm mode, which is not built yet"
    } else if request.scope == "swarm" {
        "networks of scope swarm belong to swarm mode, which is not built yet"
    } else {
        return Ok(());
    };
    Err(Error::new(Kind::NotImplemented, sentence))
}

fn read_driver(name: &str) -> Result<Driver> {
    let once = |name: &str| {
        Error::new(Kind::Forbidden, format!("only one instance of \"{name}\" network is allowed"))
    };
    let later = |name: &str, instead: &str| {
        Error::new(Kind::NotImplemented, format!("{name} networks are not built yet: {instead}"))
    };
    match name {
        "" | "default" | "bridge" => Ok(Driver::Bridge),
        "macvlan" => Ok(Driver::Macvlan),
        "host" => Err(once("host")),
        "null" | "none" => Err(once("null")),
        "overlay" => Err(later("overlay", "they need swarm mode; make a bridge or macvlan network")),
        "ipvlan" => Err(later("ipvlan", "make a macvlan network instead")),
        other => Err(Error::not_found(format!("plugin {other:?} not found"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(request: NetworkCreateRequest) -> Result<NetworkRecord, (Kind, String)> {
        plan_network(request, "1".repeat(64), &NetworkDefaults::default())
            .map_err(|error| (error.kind(), error.message().to_owned()))
    }

    fn named(name: &str) -> NetworkCreateRequest {
        NetworkCreateRequest { name: name.to_owned(), ..NetworkCreateRequest::default() }
    }

    #[test]
    fn names_are_checked_as_docker_checks_them() {
        for name in ["", " "] {
            assert_eq!(
                planned(named(name)).unwrap_err(),
                (Kind::InvalidParameter, "invalid name: name is empty".to_owned())
            );
        }
        assert_eq!(
            planned(named("bridge")).unwrap_err(),
            (Kind::Forbidden, "operation is not permitted on predefined bridge network ".to_owned())
        );
        assert_eq!(planned(named("bad/name")).expect("Docker takes it").name, "bad/name");
    }

    #[test]
    fn drivers_that_are_not_there_are_told_apart() {
        let with = |driver: &str| {
            planned(NetworkCreateRequest { driver: driver.to_owned(), ..named("a") }).unwrap_err()
        };
        assert_eq!(with("nosuch"), (Kind::NotFound, "plugin \"nosuch\" not found".to_owned()));
        assert_eq!(
            with("host"),
            (Kind::Forbidden, "only one instance of \"host\" network is allowed".to_owned())
        );
        assert_eq!(with("overlay").0, Kind::NotImplemented);
        assert_eq!(with("ipvlan").0, Kind::NotImplemented);
    }

    #[test]
    fn a_network_needs_a_family() {
        let off = NetworkCreateRequest { enable_ipv4: Some(false), ..named("a") };
        assert_eq!(planned(off).unwrap_err().1, "IPv4 or IPv6 must be enabled");
        let six = NetworkCreateRequest { enable_ipv4: Some(false), enable_ipv6: Some(true), ..named("a") };
        let spec = planned(six).expect("fine").spec.expect("a bridge has one");
        assert!(spec.ipv4.is_none() && spec.ipv6.is_some());
    }

    #[test]
    fn default_options_of_the_daemon_fill_in_what_is_left_open() {
        let mut defaults = NetworkDefaults::default();
        let option = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        defaults.network_options.insert(
            "bridge".to_owned(),
            [
                option("com.docker.network.driver.mtu", "1300"),
                option("com.docker.network.bridge.enable_icc", "false"),
            ]
            .into(),
        );
        let own = [option("com.docker.network.driver.mtu", "1400")].into();
        let request = NetworkCreateRequest { options: Some(own), ..named("a") };
        let record = plan_network(request, "1".repeat(64), &defaults).expect("fine");
        let spec = record.spec.expect("a bridge has one");
        assert_eq!(spec.mtu, 1400);
        assert!(matches!(spec.driver, minke_net::Driver::Bridge(bridge) if !bridge.icc));
    }
}
