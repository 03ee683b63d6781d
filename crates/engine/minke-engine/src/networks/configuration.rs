//! Networks that are only a configuration: made with `--config-only`, nothing stands behind them, and others are made `--config-from`
//! them.

use minke_api::network::NetworkCreateRequest;
use minke_base::Kind;

use super::record::{Driver, NetworkRecord};
use super::request::plan_ipam;
use super::subnets::plan_subnets;
use crate::clock::Moment;
use crate::error::{Error, Result};

fn forbidden(text: impl Into<String>) -> Error {
    Error::new(Kind::Forbidden, text)
}

fn source_of(request: &NetworkCreateRequest) -> &str {
    request.config_from.as_ref().map_or("", |from| from.network.as_str())
}

/// Plans a network that is only a configuration. Its options are not looked at before somebody uses them.
pub(super) fn plan_configuration(request: NetworkCreateRequest, id: String) -> Result<NetworkRecord> {
    if request.ingress || request.internal || request.attachable || !request.scope.is_empty() {
        return Err(forbidden(
            "configuration network can only contain network specific fields. Network operator fields like [ ingress | internal | \
             attachable | scope ] are not supported.",
        ));
    }
    if !source_of(&request).is_empty() {
        return Err(forbidden("a configuration network cannot depend on another configuration network"));
    }
    let (enable_ipv4, enable_ipv6) =
        (request.enable_ipv4.unwrap_or(true), request.enable_ipv6.unwrap_or(false));
    let ipam = plan_ipam(request.ipam)?;
    plan_subnets(&ipam, enable_ipv4, enable_ipv6)?;
    Ok(NetworkRecord {
        id,
        name: request.name.trim().to_owned(),
        created: Moment::now(),
        driver: Driver::Null,
        scope: "local".to_owned(),
        enable_ipv4,
        enable_ipv6,
        ipam,
        internal: false,
        attachable: false,
        options: request.options.unwrap_or_default(),
        labels: request.labels.unwrap_or_default(),
        config_only: true,
        config_from: String::new(),
        spec: None,
    })
}

/// Fills a request in from the configuration that it names, which `find` knows by name; answers that name.
pub(super) fn apply_configuration(
    request: &mut NetworkCreateRequest,
    find: impl FnOnce(&str) -> Option<NetworkRecord>,
) -> Result<String> {
    let name = source_of(request).to_owned();
    if name.is_empty() || request.config_only {
        return Ok(String::new());
    }
    let ipam = request.ipam.as_ref();
    let specific = ipam.is_some_and(|ipam| {
        !matches!(ipam.driver.as_str(), "" | "default")
            || ipam.config.as_ref().is_some_and(|list| !list.is_empty())
            || ipam.options.as_ref().is_some_and(|map| !map.is_empty())
    });
    if specific
        || request.enable_ipv6 == Some(true)
        || request.labels.as_ref().is_some_and(|labels| !labels.is_empty())
    {
        return Err(forbidden(
            "user specified configurations are not supported if the network depends on a configuration network",
        ));
    }
    if request.options.as_ref().is_some_and(|options| !options.is_empty()) {
        return Err(forbidden(
            "network driver options are not supported if the network depends on a configuration network",
        ));
    }
    let Some(record) = find(&name).filter(|record| record.config_only) else {
        return Err(Error::not_found(format!("configuration network {name:?} does not exist")));
    };
    request.enable_ipv4 = Some(record.enable_ipv4);
    request.enable_ipv6 = Some(record.enable_ipv6);
    request.ipam = Some(record.ipam);
    request.options = Some(record.options);
    request.labels = Some(record.labels);
    Ok(name)
}

#[cfg(test)]
mod tests {
    use minke_api::network::{ConfigReference, Ipam, IpamConfig};

    use super::*;

    fn request(name: &str) -> NetworkCreateRequest {
        NetworkCreateRequest { name: name.to_owned(), ..NetworkCreateRequest::default() }
    }

    fn configuration() -> NetworkRecord {
        let config = IpamConfig { subnet: "10.7.0.0/24".to_owned(), ..IpamConfig::default() };
        let request = NetworkCreateRequest {
            config_only: true,
            ipam: Some(Ipam { config: Some(vec![config]), ..Ipam::default() }),
            options: Some([("com.docker.network.driver.mtu".to_owned(), "1400".to_owned())].into()),
            labels: Some([("a".to_owned(), "b".to_owned())].into()),
            ..request("base")
        };
        plan_configuration(request, "1".repeat(64)).expect("a configuration")
    }

    fn from(name: &str) -> NetworkCreateRequest {
        let network = name.to_owned();
        NetworkCreateRequest { config_from: Some(ConfigReference { network }), ..request("user") }
    }

    fn refused(mut request: NetworkCreateRequest) -> String {
        let error =
            apply_configuration(&mut request, |name| Some(configuration()).filter(|base| base.name == name));
        error.expect_err("refused").message().to_owned()
    }

    #[test]
    fn a_network_has_everything_of_its_configuration() {
        let mut made = from("base");
        let name = apply_configuration(&mut made, |_| Some(configuration())).expect("applied");
        assert_eq!(name, "base");
        assert_eq!(made.ipam.and_then(|ipam| ipam.config).expect("subnets")[0].subnet, "10.7.0.0/24");
        assert_eq!(made.options.expect("options")["com.docker.network.driver.mtu"], "1400");
        assert_eq!(made.labels.expect("labels")["a"], "b");
    }

    #[test]
    fn what_cannot_be_is_told_in_docker_s_words() {
        let six = NetworkCreateRequest { enable_ipv6: Some(true), ..from("base") };
        assert!(refused(six).starts_with("user specified configurations are not supported"));
        let option = Some([("a".to_owned(), "b".to_owned())].into());
        assert!(
            refused(NetworkCreateRequest { labels: option.clone(), ..from("base") })
                .starts_with("user specified configurations are not supported")
        );
        assert!(
            refused(NetworkCreateRequest { options: option, ..from("base") })
                .starts_with("network driver options are not supported")
        );
        assert_eq!(refused(from("nosuch")), "configuration network \"nosuch\" does not exist");
        let plan =
            |request| plan_configuration(request, "1".repeat(64)).expect_err("refused").message().to_owned();
        let internal = NetworkCreateRequest { internal: true, ..request("a") };
        assert!(
            plan(internal).starts_with("configuration network can only contain network specific fields.")
        );
        assert_eq!(
            plan(from("base")),
            "a configuration network cannot depend on another configuration network"
        );
    }
}
