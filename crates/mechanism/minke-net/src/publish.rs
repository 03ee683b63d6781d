//! Publishing: host ports are chosen and bound, then opened in one transaction.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use crate::endpoint::Endpoint;
use crate::fabric::{FabricConfig, FabricError, bracketed};
use crate::network::{BridgeSpec, GatewayMode};
use crate::nft::plan::port_element;
use crate::ports::{Binding, PortWish, Proxy};
use crate::reserve::{Book, reserve};

/// Where a binding leads: the container's address of the same version of IP, else of the other.
pub(crate) fn target_of(endpoint: &Endpoint, binding: &Binding) -> Option<SocketAddr> {
    let addresses: Vec<IpAddr> = endpoint.addresses().collect();
    let same = addresses.iter().find(|address| address.is_ipv4() == binding.host_ip.is_ipv4());
    same.or(addresses.first()).map(|address| SocketAddr::new(*address, binding.container_port))
}

/// The proxy that a binding needs, if it needs one: where the kernel cannot do the work, and for ::1.
pub(crate) fn proxy_of(config: &FabricConfig, endpoint: &Endpoint, binding: &Binding) -> Option<Proxy> {
    if binding.routed.is_some() {
        return None;
    }
    let target = target_of(endpoint, binding)?;
    let every6 = binding.host_ip == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let needed = !config.firewall || every6 || port_element(binding, target).is_none();
    (needed && config.userland_proxy).then(|| Proxy {
        label: binding.label(),
        protocol: binding.protocol,
        target,
    })
}

/// Ports that have been bound; those that are not kept are given back.
#[derive(Debug, Default)]
pub(crate) struct Bound {
    pub(crate) bindings: Vec<Binding>,
    pub(crate) held: Vec<(String, OwnedFd)>,
}

impl Bound {
    pub(crate) fn give_back(&self, book: &mut Book) {
        for binding in self.bindings.iter().filter(|binding| binding.routed.is_none()) {
            book.remove(binding.protocol, binding.host_ip, binding.host_port);
        }
    }
}

/// Binds the ports of all wishes or of none.
pub(crate) fn bind_all(
    config: &FabricConfig,
    book: &mut Book,
    endpoint: &Endpoint,
    bridge: &BridgeSpec,
    wishes: &[PortWish],
) -> Result<Bound, FabricError> {
    let mut bound = Bound::default();
    for wish in wishes {
        if let Err(error) = bind_one(config, book, endpoint, bridge, wish, &mut bound) {
            bound.give_back(book);
            return Err(error);
        }
    }
    Ok(bound)
}

fn bind_one(
    config: &FabricConfig,
    book: &mut Book,
    endpoint: &Endpoint,
    bridge: &BridgeSpec,
    wish: &PortWish,
    bound: &mut Bound,
) -> Result<(), FabricError> {
    let mut addresses = addresses_of(config, endpoint, bridge.host_binding, wish);
    let is_routed = |address: &IpAddr| routed(endpoint, bridge, *address).is_some();
    let open = addresses.iter().filter_map(|address| {
        let routed = routed(endpoint, bridge, *address)?;
        let (protocol, container_port) = (wish.protocol, wish.container_port);
        Some(Binding { protocol, container_port, host_ip: *address, host_port: 0, routed: Some(routed) })
    });
    let (v6, v4): (Vec<Binding>, Vec<Binding>) = open.partition(|binding| binding.host_ip.is_ipv6());
    addresses.retain(|address| !is_routed(address));
    bound.bindings.extend(v4);
    if !addresses.is_empty() {
        bind_ports(config, book, endpoint, wish, &addresses, bound)?;
    }
    bound.bindings.extend(v6);
    Ok(())
}

/// The container's own address, if that is where its ports are open.
fn routed(endpoint: &Endpoint, bridge: &BridgeSpec, host: IpAddr) -> Option<IpAddr> {
    let same = endpoint.addresses().find(|address| address.is_ipv4() == host.is_ipv4());
    same.filter(|address| bridge.mode(address.is_ipv6()) == GatewayMode::Routed)
}

/// The first port of the wish that is free on all of the addresses.
fn bind_ports(
    config: &FabricConfig,
    book: &mut Book,
    endpoint: &Endpoint,
    wish: &PortWish,
    addresses: &[IpAddr],
    bound: &mut Bound,
) -> Result<(), FabricError> {
    let (first, last) = wish.host_ports;
    let any = (first, last) == (0, 0);
    if first == 0 && !any || first > last {
        return Err(FabricError::Invalid(format!("invalid port range: {first}-{last}")));
    }
    let candidates: Vec<u16> = if any { book.any().collect() } else { (first..=last).collect() };
    let mut refusal = FabricError::Invalid(format!("invalid port range: {first}-{last}"));
    for port in candidates {
        match bind_port(config, book, endpoint, wish, addresses, port) {
            Ok(got) => {
                for binding in &got.bindings {
                    book.add(binding.protocol, binding.host_ip, binding.host_port);
                }
                if any {
                    book.gave(port);
                }
                bound.bindings.extend(got.bindings);
                bound.held.extend(got.held);
                return Ok(());
            }
            Err(error) => {
                let taken = is_taken(&error);
                refusal = error;
                if !taken {
                    break;
                }
            }
        }
    }
    Err(refusal)
}

/// Whether another port may do.
fn is_taken(error: &FabricError) -> bool {
    match error {
        FabricError::Allocated { .. } => true,
        FabricError::Bind { source, .. } => source.kind() == std::io::ErrorKind::AddrInUse,
        _ => false,
    }
}

/// On which addresses of the host. Those of IPv6 that nobody asked for need either an IPv6 address behind them or a proxy.
fn addresses_of(
    config: &FabricConfig,
    endpoint: &Endpoint,
    host_binding: Option<IpAddr>,
    wish: &PortWish,
) -> Vec<IpAddr> {
    if let Some(address) = wish.host_ip.or(host_binding.filter(|address| !address.is_unspecified())) {
        return vec![address];
    }
    let (v4, v6) = (endpoint.address.is_some(), endpoint.address6.is_some());
    let mut addresses = Vec::new();
    if v4 || config.userland_proxy {
        addresses.push(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    }
    if v6 || config.userland_proxy {
        addresses.push(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    }
    addresses
}

/// One host port on all of the addresses.
fn bind_port(
    config: &FabricConfig,
    book: &Book,
    endpoint: &Endpoint,
    wish: &PortWish,
    addresses: &[IpAddr],
    port: u16,
) -> Result<Bound, FabricError> {
    let mut bound = Bound::default();
    for address in addresses {
        if book.has(wish.protocol, *address, port) {
            return Err(FabricError::Allocated { host_ip: *address, port });
        }
        let binding = Binding {
            protocol: wish.protocol,
            container_port: wish.container_port,
            host_ip: *address,
            host_port: port,
            routed: None,
        };
        let proxied = proxy_of(config, endpoint, &binding).is_some();
        match reserve(wish.protocol, SocketAddr::new(*address, port), proxied) {
            Ok(socket) => bound.held.extend(socket.map(|socket| (binding.label(), socket))),
            // A host without IPv6 is left with IPv4, unless it was asked for.
            Err(error)
                if error.raw_os_error() == Some(libc::EAFNOSUPPORT)
                    && wish.host_ip.is_none()
                    && addresses.len() > 1 =>
            {
                continue;
            }
            Err(source) => {
                let wish = describe(endpoint, wish, &binding);
                return Err(FabricError::Bind { wish, protocol: binding.protocol, source });
            }
        }
        bound.bindings.push(binding);
    }
    Ok(bound)
}

/// `for 0.0.0.0:8080:172.17.0.2:80/tcp`, and for one of a range `8001 for 0.0.0.0:8000-8010:172.17.0.2:80/tcp`.
fn describe(endpoint: &Endpoint, wish: &PortWish, binding: &Binding) -> String {
    let (first, last) = wish.host_ports;
    let target = target_of(endpoint, binding).map(|target| target.to_string()).unwrap_or_default();
    let host = bracketed(binding.host_ip);
    if first == last {
        let port = binding.host_port;
        format!("for {host}:{port}:{target}/{}", wish.protocol)
    } else {
        format!("{} for {host}:{first}-{last}:{target}/{}", binding.host_port, wish.protocol)
    }
}

/// Where each binding leads.
pub(crate) fn targets(endpoint: &Endpoint, bindings: &[Binding]) -> Vec<(Binding, SocketAddr)> {
    bindings.iter().filter_map(|binding| Some((*binding, target_of(endpoint, binding)?))).collect()
}
