//! Which addresses a registry is tried at, in which order.

use std::net::IpAddr;

use reqwest::Url;

use crate::settings::Settings;

pub(crate) const HUB: &str = "docker.io";
const HUB_HOST: &str = "registry-1.docker.io";

/// One way to a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Ends with a slash; `v2/…` is joined to it.
    pub(crate) base: Url,
    pub(crate) mirror: bool,
    /// Whatever certificate it shows is fine.
    pub(crate) unverified: bool,
}

impl Endpoint {
    pub(crate) fn url(&self, path: &str) -> Option<Url> {
        self.base.join(&format!("v2/{path}")).ok()
    }
}

/// The host of `host:port`, `[v6]:port`.
pub(crate) fn host_of(domain: &str) -> &str {
    match domain.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, _)) => v6,
        None => domain.split(':').next().unwrap_or(domain),
    }
}

/// Whether a registry whose host has these addresses is spoken to without proof of who it is. This machine always is.
pub(crate) fn is_insecure(domain: &str, addresses: &[IpAddr], settings: &Settings) -> bool {
    host_of(domain).eq_ignore_ascii_case("localhost")
        || addresses.iter().any(|address| address.to_canonical().is_loopback())
        || settings.insecure.iter().any(|insecure| insecure.covers(domain, addresses))
}

/// Plans the way to a registry. Mirrors are for reading, and Docker Hub's only.
pub(crate) fn plan_endpoints(
    domain: &str,
    addresses: &[IpAddr],
    mirrors: bool,
    settings: &Settings,
) -> Vec<Endpoint> {
    let mut plan = Vec::new();
    if domain == HUB && mirrors {
        for mirror in &settings.mirrors {
            let host = mirror.0.host_str().unwrap_or_default();
            let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
            let named = mirror.0.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
            let unverified = is_insecure(&named, address.as_slice(), settings);
            plan.push(Endpoint { base: mirror.0.clone(), mirror: true, unverified });
        }
    }
    let host = if domain == HUB { HUB_HOST } else { domain };
    let unverified = is_insecure(domain, addresses, settings);
    let schemes: &[&str] = if unverified { &["https", "http"] } else { &["https"] };
    for scheme in schemes {
        if let Ok(base) = format!("{scheme}://{host}/").parse() {
            plan.push(Endpoint { base, mirror: false, unverified });
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Insecure, Mirror};

    fn bases(domain: &str, addresses: &[&str], mirrors: bool, settings: &Settings) -> Vec<String> {
        let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        plan_endpoints(domain, &addresses, mirrors, settings)
            .iter()
            .map(|endpoint| {
                format!("{}{}", endpoint.base, if endpoint.unverified { " unverified" } else { "" })
            })
            .collect()
    }

    #[test]
    fn tls_is_demanded_except_where_it_was_waived() {
        let settings =
            Settings { insecure: vec![Insecure::parse("10.0.0.0/8").unwrap()], ..Settings::default() };
        assert_eq!(bases("r.example:5000", &["192.0.2.1"], true, &settings), ["https://r.example:5000/"]);
        assert_eq!(
            bases("r.example", &["10.1.1.1"], true, &settings),
            ["https://r.example/ unverified", "http://r.example/ unverified"]
        );
        assert_eq!(bases("localhost:5000", &["127.0.0.1"], true, &settings).len(), 2);
        assert_eq!(bases("[::1]:5000", &["::1"], true, &settings)[1], "http://[::1]:5000/ unverified");
    }

    #[test]
    fn mirrors_come_first_for_reading_from_docker_hub() {
        let settings = Settings {
            mirrors: vec![Mirror::parse("https://m.example/hub").unwrap()],
            ..Settings::default()
        };
        assert_eq!(
            bases("docker.io", &[], true, &settings),
            ["https://m.example/hub/", "https://registry-1.docker.io/"]
        );
        assert_eq!(bases("docker.io", &[], false, &settings), ["https://registry-1.docker.io/"]);
        assert_eq!(bases("quay.io", &[], true, &settings), ["https://quay.io/"]);
    }
}
