//! `/etc/resolv.conf`: reading the host's, planning a container's, in Docker's form.

use std::net::IpAddr;

/// The address of the embedded resolver inside every container that has it.
pub const EMBEDDED: &str = "127.0.0.11";

/// A resolv.conf, as far as it means something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// `nameserver` lines.
    pub servers: Vec<IpAddr>,
    /// `search` (or `domain`): the last line counts.
    pub search: Vec<String>,
    /// `options`, of all lines.
    pub options: Vec<String>,
    /// Lines of other kinds, as they are (`sortlist`).
    pub other: Vec<String>,
    /// What stands in `nameserver` lines and is no address.
    pub invalid: Vec<String>,
}

/// What the person chose for a container (or for all, by the daemon's options): each replaces the host's when not empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--dns`.
    pub servers: Vec<IpAddr>,
    /// `--dns-search`; a single `.` means none.
    pub search: Vec<String>,
    /// `--dns-option`.
    pub options: Vec<String>,
}

/// A container's file and, with the embedded resolver, what its view needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Planned {
    /// The file.
    pub text: String,
    /// Where the embedded resolver passes questions on to.
    pub upstreams: Vec<IpAddr>,
    /// [`crate::View::ndots_set`].
    pub ndots_set: bool,
}

/// Reads a file. What cannot be read is passed over.
#[must_use]
pub fn read(_text: &str) -> ResolvConf {
    ResolvConf::default()
}

/// The file of a container that has the embedded resolver. `path` is where `host` was read.
#[must_use]
pub fn plan_embedded(_host: &ResolvConf, _path: &str, _overrides: &Overrides) -> Planned {
    Planned::default()
}

/// The file of a container on the default bridge (or the host's network, with `keep_loopback`): the servers themselves,
/// without those it cannot reach.
#[must_use]
pub fn plan_plain(
    _host: &ResolvConf,
    _path: &str,
    _overrides: &Overrides,
    _ipv6: bool,
    _keep_loopback: bool,
) -> Planned {
    Planned::default()
}
