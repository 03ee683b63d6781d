//! For tests of what holds for one bridge: a [`Fabric`] with the default bridge alone, without the words that several networks need.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;

use crate::address::{AddressPool, IpNet, Ipv4Net, Mac, default_pools};
use crate::endpoint::{ClaimRequest, Endpoint, EndpointWish, LiveEndpoint};
use crate::fabric::{Fabric, FabricConfig, FabricError};
use crate::network::{BridgeSpec, Driver, NetworkFacts, NetworkSpec, SubnetSpec};

/// The default network's id here.
const DEFAULT: &str = "";

/// How the bridge shall be; each field has the daemon flag or daemon.json key of the same meaning.
#[derive(Clone, Debug)]
pub(crate) struct BridgeConfig {
    /// `--bridge`: the link's name.
    pub(crate) name: String,
    /// `--bip`: the bridge's own address and subnet; chosen from `pools` otherwise.
    pub(crate) bip: Option<Ipv4Net>,
    /// `--fixed-cidr`: containers' addresses come from this part of the subnet.
    pub(crate) fixed_cidr: Option<Ipv4Net>,
    /// `--default-gateway`: what containers route through instead of the bridge's address.
    pub(crate) default_gateway: Option<Ipv4Addr>,
    /// `default-address-pools`.
    pub(crate) pools: Vec<AddressPool>,
    /// `--mtu`.
    pub(crate) mtu: u32,
    /// `--icc`: containers of the bridge may talk to each other.
    pub(crate) icc: bool,
    /// `--ip-masq`: traffic that leaves the host carries the host's address.
    pub(crate) masquerade: bool,
    /// `--ip-forward`: switch routing on when it is off.
    pub(crate) ip_forward: bool,
    /// The opposite of `--ip-forward-no-drop`: a host whose routing the engine switched on routes for the engine's bridges only.
    pub(crate) forward_guard: bool,
    /// `--iptables`: whether any rule is written at all.
    pub(crate) firewall: bool,
    /// How many plugged namespaces wait for a container.
    pub(crate) ready: usize,
}

impl Default for BridgeConfig {
    fn default() -> Self {
        Self {
            name: "minke0".to_owned(),
            bip: None,
            fixed_cidr: None,
            default_gateway: None,
            pools: default_pools(),
            mtu: 1500,
            icc: true,
            masquerade: true,
            ip_forward: true,
            forward_guard: true,
            firewall: true,
            ready: 8,
        }
    }
}

impl BridgeConfig {
    fn fabric(&self) -> FabricConfig {
        FabricConfig {
            mark: self.name.clone(),
            default_network: Some(DEFAULT.to_owned()),
            pools: self.pools.clone(),
            ip_forward: self.ip_forward,
            forward_guard: self.forward_guard,
            firewall: self.firewall,
            userland_proxy: true,
            ready: self.ready,
            bare_ready: 0,
            shelved: 0,
            ..FabricConfig::default()
        }
    }

    fn network(&self) -> NetworkSpec {
        NetworkSpec {
            id: DEFAULT.to_owned(),
            name: "bridge".to_owned(),
            driver: Driver::Bridge(BridgeSpec {
                link: self.name.clone(),
                icc: self.icc,
                masquerade: self.masquerade,
                ..BridgeSpec::default()
            }),
            ipv4: Some(SubnetSpec {
                subnet: self.bip.map(|bip| IpNet::V4(bip.network())),
                gateway: self.default_gateway.map(IpAddr::V4),
                link_address: self.bip.map(|bip| IpAddr::V4(bip.address())),
                range: self.fixed_cidr.map(IpNet::V4),
                reserved: Vec::new(),
            }),
            ipv6: None,
            internal: false,
            mtu: self.mtu,
        }
    }
}

/// What `network inspect bridge` tells.
#[derive(Clone, Debug)]
pub(crate) struct BridgeFacts {
    pub(crate) subnet: Ipv4Net,
    /// The bridge's own address.
    pub(crate) address: Ipv4Addr,
}

/// What a container asks of the bridge.
#[derive(Clone, Debug, Default)]
pub(crate) struct BridgeClaimRequest<'a> {
    pub(crate) container: &'a str,
    pub(crate) address: Option<Ipv4Addr>,
    pub(crate) mac: Option<Mac>,
}

/// A namespace with `lo` and `eth0` up and addressed.
#[derive(Debug)]
pub(crate) struct BridgeClaim {
    pub(crate) netns: OwnedFd,
    pub(crate) endpoint: Endpoint,
}

/// See the page above.
#[derive(Debug)]
pub(crate) struct Bridge {
    fabric: Fabric,
    facts: BridgeFacts,
}

impl Bridge {
    /// As [`Fabric::open`].
    pub(crate) fn open(config: BridgeConfig, live: &[Endpoint]) -> Result<(Self, Vec<String>), FabricError> {
        let live: Vec<LiveEndpoint> = live
            .iter()
            .map(|endpoint| LiveEndpoint {
                endpoint: endpoint.clone(),
                bindings: Vec::new(),
                holes: Vec::new(),
            })
            .collect();
        let (fabric, mut warnings) = Fabric::open(config.fabric(), &[config.network()], &live)?;
        let Some(facts) = fabric.facts(DEFAULT) else {
            return Err(FabricError::Unusable { name: config.name, reason: warnings.remove(0) });
        };
        Ok((Self { fabric, facts: facts_of(&facts) }, warnings))
    }

    /// As [`Fabric::lost`].
    pub(crate) fn lost(&self) -> &[Endpoint] {
        self.fabric.lost()
    }

    pub(crate) fn facts(&self) -> &BridgeFacts {
        &self.facts
    }

    /// The fabric it is made of.
    pub(crate) fn fabric(&self) -> &Fabric {
        &self.fabric
    }

    /// How many namespaces are ready.
    pub(crate) fn ready(&self) -> usize {
        self.fabric.ready().0
    }

    /// As [`Fabric::claim`].
    pub(crate) fn claim(&self, request: &BridgeClaimRequest<'_>) -> Result<BridgeClaim, FabricError> {
        let wish = EndpointWish { address: request.address, mac: request.mac, ..EndpointWish::default() };
        let claim = self.fabric.claim(&ClaimRequest {
            container: request.container,
            wishes: std::slice::from_ref(&wish),
            dns: false,
        })?;
        let endpoint = claim.endpoints.into_iter().next().expect("one wish is one endpoint");
        Ok(BridgeClaim { netns: claim.netns, endpoint })
    }

    /// As [`Fabric::release`].
    pub(crate) fn release(&self, endpoint: &Endpoint) {
        self.fabric.release(endpoint);
    }

    /// As [`Fabric::remove`].
    pub(crate) fn remove(self) -> Result<(), FabricError> {
        self.fabric.remove()
    }
}

fn facts_of(facts: &NetworkFacts) -> BridgeFacts {
    let v4 = |address: IpAddr| match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    };
    let family = facts.ipv4.expect("the bridge has IPv4");
    let gateway = v4(family.gateway);
    BridgeFacts { subnet: family.subnet, address: family.link_address.map_or(gateway, v4) }
}
