//! Networks: the default bridge, the host's own, and none.
//!
//! These three are there from the start and cannot be changed; networks of one's own come later. How a namespace is
//! plugged is `minke-net`'s business.

mod wire;

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use minke_net::{Bridge, BridgeClaimRequest, BridgeConfig, Endpoint, IsolatedNamespaces};

use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::ledger::Ledger;

/// Where a container's network comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The default bridge.
    Bridge,
    /// The host's own.
    Host,
    /// A namespace with nothing but `lo`.
    None,
    /// Another container's.
    Container,
}

impl Mode {
    /// Reads a network mode.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        match text {
            "" | "default" | "bridge" => Ok(Self::Bridge),
            "host" => Ok(Self::Host),
            "none" => Ok(Self::None),
            _ if text.starts_with("container:") => Ok(Self::Container),
            _ => Err(Error::not_found(minke_api::texts::network_not_found(text))),
        }
    }
}

/// What a container got.
#[derive(Debug, Default)]
pub(crate) struct Claimed {
    /// A namespace to join.
    pub(crate) netns: Option<OwnedFd>,
    /// Its settings are made already.
    pub(crate) ready: bool,
    /// The place on the bridge.
    pub(crate) endpoint: Option<Endpoint>,
}

/// The ids under which the three networks show, the same for ever.
#[derive(Debug)]
struct Ids {
    bridge: String,
    host: String,
    none: String,
}

/// The service.
#[derive(Debug)]
pub struct Networks {
    /// The bridge, or why there is none: containers without it still work.
    bridge: std::result::Result<Bridge, String>,
    isolated: std::result::Result<IsolatedNamespaces, String>,
    ids: Ids,
    created: Moment,
    warnings: Vec<String>,
    registry: Arc<crate::containers::Registry>,
}

impl Networks {
    /// Makes or repairs the bridge. `live` are the endpoints of containers that run already.
    pub(crate) fn open(
        config: BridgeConfig,
        isolated_ready: usize,
        live: &[Endpoint],
        ledger: &Ledger,
        registry: Arc<crate::containers::Registry>,
    ) -> Result<Self> {
        let id = |name: &str| ledger.setting(&format!("network.{name}"), crate::networks::new_id);
        let ids = Ids { bridge: id("bridge")?, host: id("host")?, none: id("none")? };
        let created = ledger.setting("network.created", || Moment::now().0.to_string())?;
        let mut warnings = Vec::new();
        let bridge = match Bridge::open(config, live) {
            Ok((bridge, more)) => {
                warnings.extend(more);
                Ok(bridge)
            }
            Err(error) => {
                let text = crate::error::chain(&error);
                warnings.push(format!("the default bridge cannot be used: {text}"));
                Err(text)
            }
        };
        let isolated = IsolatedNamespaces::open(isolated_ready).map_err(|error| crate::error::chain(&error));
        let created = Moment(created.parse().unwrap_or_default());
        Ok(Self { bridge, isolated, ids, created, warnings, registry })
    }

    /// What did not go as it should when the engine opened.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Containers that were connected and had no interface when the engine opened.
    pub(crate) fn lost(&self) -> &[Endpoint] {
        self.bridge.as_ref().map_or(&[], Bridge::lost)
    }

    /// The bridge's own address: what `host-gateway` means.
    pub(crate) fn gateway(&self) -> Option<Ipv4Addr> {
        self.bridge.as_ref().ok().map(|bridge| bridge.facts().address)
    }

    /// The bridge's id.
    pub(crate) fn bridge_id(&self) -> &str {
        &self.ids.bridge
    }

    /// The id of the network that a mode stands for.
    pub(crate) fn id_of(&self, mode: &str) -> String {
        match Mode::parse(mode) {
            Ok(Mode::Bridge) => self.ids.bridge.clone(),
            Ok(Mode::Host) => self.ids.host.clone(),
            Ok(Mode::None) => self.ids.none.clone(),
            Ok(Mode::Container) | Err(_) => String::new(),
        }
    }

    /// Gives a container its network.
    pub(crate) fn claim(&self, mode: &Mode, container: &str, address: &str, mac: &str) -> Result<Claimed> {
        match mode {
            Mode::Host | Mode::Container => Ok(Claimed::default()),
            Mode::None => {
                let failed =
                    |text: &str| Error::system(format!("failed to set up container networking: {text}"));
                let isolated = self.isolated.as_ref().map_err(|text| failed(text))?;
                let netns =
                    isolated.claim().map_err(|source| failed(&source.to_string()).caused_by(source))?;
                Ok(Claimed { netns: Some(netns), ready: true, endpoint: None })
            }
            Mode::Bridge => self.claim_bridge(container, address, mac),
        }
    }

    fn claim_bridge(&self, container: &str, address: &str, mac: &str) -> Result<Claimed> {
        let failed = |text: &str| Error::system(format!("failed to set up container networking: {text}"));
        let bridge = self.bridge.as_ref().map_err(|text| failed(text))?;
        let address = match address {
            "" => None,
            text => Some(text.parse().map_err(|source: std::net::AddrParseError| {
                Error::invalid(format!("invalid IPv4 address: {text}")).caused_by(source)
            })?),
        };
        let request = BridgeClaimRequest { container, address, mac: mac.parse().ok() };
        let claim = bridge
            .claim(&request)
            .map_err(|source| failed(&crate::error::chain(&source)).caused_by(source))?;
        Ok(Claimed { netns: Some(claim.netns), ready: true, endpoint: Some(claim.endpoint) })
    }

    /// Takes a container's place back.
    pub(crate) fn release(&self, endpoint: &Endpoint) {
        if let Ok(bridge) = &self.bridge {
            bridge.release(endpoint);
        }
    }
}

fn new_id() -> String {
    minke_base::ContainerId::random().as_str().to_owned()
}
