//! What the engine tells the resolver: who is on a network, and what one container may see.

use std::{
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
};

/// One network's names: the whole table, as [`crate::Resolver::update`] takes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkNames {
    /// The network's id, by which views name it.
    pub id: String,
    /// Its name: containers are found as `NAME` and as `NAME.NETWORK`.
    pub name: String,
    /// Who is on it.
    pub members: Vec<Member>,
    /// Its subnets, as first address and prefix length: reverse questions about them are never passed on.
    pub subnets: Vec<(IpAddr, u8)>,
}

/// One container on one network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    /// The container's id: its key in the table.
    pub container: String,
    /// What it is found by: its name first (reverse answers give that one), then aliases and short id. Letter case does
    /// not count. A name that several members have gives the addresses of all.
    pub names: Vec<String>,
    /// Its addresses on this network.
    pub addresses: Vec<IpAddr>,
}

/// What one container may ask for, and where the rest of its questions goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// The networks it is on, the first preferred.
    pub networks: Vec<NetworkView>,
    /// Where everything else is asked, in this order; at most three are tried. They are reached from the daemon's network
    /// namespace, the host's loopback included, unless `own_loopback`.
    pub upstreams: Vec<SocketAddr>,
    /// Upstreams on a loopback address are the container's own: a person chose them for it.
    pub own_loopback: bool,
    /// Whether anything is passed on at all: not when every network it is on is internal.
    pub forward: bool,
    /// The person set `ndots` above zero: names of one label are then not passed on, so that the asker goes on to its
    /// search domains.
    pub ndots_set: bool,
}

/// One of the networks a container is on, from its point of view.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkView {
    /// [`NetworkNames::id`].
    pub id: String,
    /// `--link NAME:ALIAS` on this network: names that only this container sees.
    pub links: Vec<Link>,
}

/// A name of a container's own for another container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// What it asks for.
    pub alias: String,
    /// Whom it means: a name in the network's table.
    pub target: String,
}

/// The sockets that wait inside a container's namespace.
#[derive(Debug)]
pub struct Sockets {
    /// Bound datagram socket.
    pub udp: OwnedFd,
    /// Listening stream socket.
    pub tcp: OwnedFd,
}
