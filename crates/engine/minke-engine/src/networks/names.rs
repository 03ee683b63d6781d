//! What the resolver is told: who is called what on which network, and what one container may see.

use std::net::{IpAddr, SocketAddr};

use minke_api::network::EndpointSettings;
use minke_dns::resolv_conf::Planned;
use minke_dns::{Link, Member, NetworkNames, NetworkView, Resolver, View};
use minke_net::Endpoint;

use super::{Claimant, Network, Networks, Place, is_builtin};

/// The names by which a container is found on a network: its own, its aliases, its short id, its host name.
pub(crate) fn dns_names(name: &str, id: &str, hostname: &str, aliases: &[String]) -> Vec<String> {
    let short = id.get(..12).unwrap_or(id);
    let mut names: Vec<String> = Vec::with_capacity(3 + aliases.len());
    for candidate in std::iter::once(name).chain(aliases.iter().map(String::as_str)).chain([short, hostname])
    {
        if !candidate.is_empty() && !names.iter().any(|known| known == candidate) {
            names.push(candidate.to_owned());
        }
    }
    names
}

/// A network and who is in it, as the resolver takes it. Networks without names of their own are not announced.
pub(super) fn announce(resolver: &Resolver, network: &Network) {
    if is_builtin(&network.record.name) {
        return;
    }
    let spec = network.record.spec.as_ref();
    let families = spec.into_iter().flat_map(|spec| [&spec.ipv4, &spec.ipv6]).flatten();
    resolver.update(NetworkNames {
        id: network.record.id.clone(),
        name: network.record.name.clone(),
        members: Vec::new(),
        subnets: families
            .filter_map(|family| family.subnet)
            .map(|subnet| (subnet.address(), subnet.prefix()))
            .collect(),
    });
}

/// What the resolver has to know of a container's resolv.conf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResolverNames {
    pub(crate) upstreams: Vec<IpAddr>,
    /// Those on a loopback address are the container's own.
    pub(crate) own_loopback: bool,
    pub(crate) ndots_set: bool,
}

impl From<Planned> for ResolverNames {
    fn from(planned: Planned) -> Self {
        let Planned { text: _, upstreams, own_loopback, ndots_set } = planned;
        Self { upstreams, own_loopback, ndots_set }
    }
}

/// What a container sees: its networks in order, with its own names for others.
pub(crate) fn plan_view<'a>(
    places: impl Iterator<Item = (&'a Place, &'a EndpointSettings, bool)>,
    names: &ResolverNames,
) -> View {
    let mut forward = false;
    let mut networks = Vec::new();
    for (place, settings, internal) in places {
        if place.endpoint.is_some() && !internal {
            forward = true;
        }
        if is_builtin(&place.name) {
            continue;
        }
        let links = settings
            .links
            .iter()
            .flatten()
            .filter_map(|text| super::links::parse_link(text).ok())
            .map(|link| Link { alias: link.alias, target: link.target })
            .collect();
        networks.push(NetworkView { id: place.network.clone(), links });
    }
    View {
        networks,
        upstreams: names.upstreams.iter().map(|address| SocketAddr::new(*address, 53)).collect(),
        own_loopback: names.own_loopback,
        forward,
        ndots_set: names.ndots_set,
    }
}

impl Networks {
    /// Whether a network is cut off from everything else.
    pub(crate) fn is_internal(&self, id: &str) -> bool {
        self.find(id).is_ok_and(|network| network.record.internal)
    }

    /// A container can be found from now on, under its names on each network.
    pub(crate) fn join_names(&self, who: &Claimant<'_>, settings: &EndpointSettings, place: &Place) {
        if is_builtin(&place.name) {
            return;
        }
        let (Some(endpoint), Some(resolver)) = (&place.endpoint, self.resolver()) else { return };
        let aliases = settings.aliases.as_deref().unwrap_or_default();
        resolver.join(
            &place.network,
            Member {
                container: who.id.to_owned(),
                names: dns_names(who.name, who.id, who.hostname, aliases),
                addresses: addresses(endpoint),
            },
        );
    }

    /// A container cannot be found any more.
    pub(crate) fn leave_names(&self, container: &str, place: &Place) {
        if let Some(Some(resolver)) = self.resolver.get()
            && !is_builtin(&place.name)
        {
            resolver.leave(&place.network, container);
        }
    }

    /// Nothing of a container's is served any more.
    pub(crate) fn stop_serving(&self, container: &str) {
        if let Some(Some(resolver)) = self.resolver.get() {
            resolver.stop(container);
        }
    }
}

fn addresses(endpoint: &Endpoint) -> Vec<IpAddr> {
    endpoint.addresses().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_found_by_name_aliases_short_id_and_host_name_once_each() {
        let id = "0123456789abcdef".repeat(4);
        assert_eq!(dns_names("web", &id, "0123456789ab", &["www".into()]), ["web", "www", "0123456789ab"]);
        assert_eq!(dns_names("web", &id, "box", &["web".into()]), ["web", "0123456789ab", "box"]);
    }

    #[test]
    fn a_view_lists_the_user_s_networks_and_passes_on_unless_all_are_internal() {
        let place = |name: &str| Place {
            network: format!("id-of-{name}"),
            name: name.to_owned(),
            endpoint: serde_json::from_value(serde_json::json!({
                "container": "c", "host_link": "v", "host_index": 1, "address": "10.0.0.2/24",
                "gateway": null, "mac": "02:42:0a:00:00:02"
            }))
            .expect("an endpoint"),
            ..Place::default()
        };
        let linked =
            EndpointSettings { links: Some(vec!["db:database".into()]), ..EndpointSettings::default() };
        let plain = EndpointSettings::default();
        let (inner, outer, bridge) = (place("inner"), place("outer"), place("bridge"));
        let names =
            ResolverNames { upstreams: vec!["10.0.0.53".parse().unwrap()], ..ResolverNames::default() };
        let view = plan_view([(&inner, &linked, true)].into_iter(), &names);
        assert!(!view.forward);
        assert_eq!(view.networks[0].links, [Link { alias: "database".into(), target: "db".into() }]);
        let view = plan_view(
            [(&inner, &linked, true), (&outer, &plain, false), (&bridge, &plain, false)].into_iter(),
            &ResolverNames { ndots_set: true, ..names },
        );
        assert!(view.forward && view.ndots_set);
        assert_eq!(
            view.networks.iter().map(|seen| seen.id.as_str()).collect::<Vec<_>>(),
            ["id-of-inner", "id-of-outer"]
        );
        assert_eq!(view.upstreams, ["10.0.0.53:53".parse().unwrap()]);
    }
}
