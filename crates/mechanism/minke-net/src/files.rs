//! The contents of a container's `/etc/hosts` and `/etc/hostname` as pure functions from what the user asked for, and the host's own
//! resolver configuration. What containers read in `/etc/resolv.conf` is planned beside the resolver.
//!
//! Only [`read_host_resolv_conf`] looks at the host. Writing the results to the container's directory is the engine's work; a
//! container of the host's network gets the host's files themselves, by the engine's choice of mounts.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};

/// The resolver configuration of the host that containers start from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostResolvConf {
    pub path: PathBuf,
    pub text: String,
}

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Where systemd-resolved lists the servers behind its stub.
const RESOLVED_UPSTREAM: &str = "/run/systemd/resolve/resolv.conf";
const RESOLVED_STUB: [u8; 4] = [127, 0, 0, 53];

/// A container name for an address: one `--add-host`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraHost {
    pub name: String,
    pub address: IpAddr,
}

/// An `--add-host` that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExtraHostError {
    #[error("bad format for add-host: {text:?}")]
    Format { text: String },
    #[error("invalid IP address in add-host: {address:?}")]
    Address { address: String },
    #[error("unable to derive the IP value for host-gateway")]
    NoGateway,
}

/// Reads the host's resolver configuration, by way of systemd-resolved's list of servers when `/etc/resolv.conf` names only its stub.
///
/// A missing file is an empty configuration.
///
/// # Errors
/// When a file is there but cannot be read.
pub fn read_host_resolv_conf() -> io::Result<HostResolvConf> {
    let own = read_or_empty(Path::new(RESOLV_CONF))?;
    if names_only_the_stub(&own.text) {
        let upstream = read_or_empty(Path::new(RESOLVED_UPSTREAM))?;
        if !upstream.text.is_empty() {
            return Ok(upstream);
        }
    }
    Ok(own)
}

fn read_or_empty(path: &Path) -> io::Result<HostResolvConf> {
    let text = match fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    Ok(HostResolvConf { path: path.to_owned(), text })
}

fn names_only_the_stub(text: &str) -> bool {
    nameservers(text)[..] == [IpAddr::from(RESOLVED_STUB)]
}

/// The nameservers that the host's own configuration lists: a bridge's subnet must not cover them.
#[must_use]
pub fn nameservers(text: &str) -> Vec<IpAddr> {
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        words.next().filter(|word| *word == "nameserver")?;
        words.next()?.split('%').next()?.parse().ok()
    });
    servers.collect()
}

/// Plans a container's `/etc/hosts`: the fixed names, then `extra` (`--add-host`, links) in the order given, then the container
/// itself on each of its addresses.
///
/// `domain` is empty without `--domainname`. Without IPv6 in the container its fixed names stay all the same, as Docker's do.
#[must_use]
pub fn plan_hosts(hostname: &str, domain: &str, addresses: &[IpAddr], extra: &[ExtraHost]) -> String {
    let mut text = String::from("127.0.0.1\tlocalhost\n");
    for (address, names) in [
        (Ipv6Addr::LOCALHOST.to_string(), "localhost ip6-localhost ip6-loopback"),
        ("fe00::".to_owned(), "ip6-localnet"),
        ("ff00::".to_owned(), "ip6-mcastprefix"),
        ("ff02::1".to_owned(), "ip6-allnodes"),
        ("ff02::2".to_owned(), "ip6-allrouters"),
    ] {
        text.push_str(&format!("{address}\t{names}\n"));
    }
    for host in extra {
        text.push_str(&format!("{}\t{}\n", host.address, host.name));
    }
    for address in addresses {
        text.push_str(&own_line(hostname, domain, *address));
    }
    text
}

/// The line of a container's hosts file that says its own name on one of its addresses.
#[must_use]
pub fn own_line(hostname: &str, domain: &str, address: IpAddr) -> String {
    let full = if domain.is_empty() { hostname.to_owned() } else { format!("{hostname}.{domain}") };
    match full.split_once('.') {
        Some((short, _)) => format!("{address}\t{full} {short}\n"),
        None => format!("{address}\t{full}\n"),
    }
}

/// Plans a container's `/etc/hostname`.
#[must_use]
pub fn plan_hostname(hostname: &str) -> String {
    format!("{hostname}\n")
}

/// Reads one `--add-host` as the API carries it, `name:address`, the address perhaps in brackets or the word `host-gateway`.
///
/// # Errors
/// When it has no name, no address, or asks for a gateway where there is none.
pub fn parse_extra_host(text: &str, host_gateway: Option<IpAddr>) -> Result<ExtraHost, ExtraHostError> {
    let wrong = || ExtraHostError::Format { text: text.to_owned() };
    let (name, address) = text.split_once(':').ok_or_else(wrong)?;
    if name.is_empty() || address.is_empty() {
        return Err(wrong());
    }
    if address == "host-gateway" {
        let address = host_gateway.ok_or(ExtraHostError::NoGateway)?;
        return Ok(ExtraHost { name: name.to_owned(), address });
    }
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    let parsed = bare.parse().ok().ok_or_else(|| ExtraHostError::Address { address: address.to_owned() })?;
    Ok(ExtraHost { name: name.to_owned(), address: parsed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_that_names_nothing_but_the_stub_is_replaced() {
        assert!(names_only_the_stub("nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n"));
        assert!(!names_only_the_stub("nameserver 127.0.0.53\nnameserver 10.0.0.1\n"));
        assert!(!names_only_the_stub("nameserver 127.0.0.1\n"));
    }

    #[test]
    fn hosts_lists_the_fixed_names_the_added_ones_and_the_container_last() {
        let extra = [
            ExtraHost { name: "a".into(), address: "1.2.3.4".parse().unwrap() },
            ExtraHost { name: "v6".into(), address: "::1".parse().unwrap() },
        ];
        let addresses = ["172.17.0.2".parse().unwrap(), "fd00::2".parse().unwrap()];
        insta::assert_snapshot!(plan_hosts("web", "example.org", &addresses, &extra));
    }

    #[test]
    fn a_host_name_with_dots_is_listed_with_its_short_form() {
        let text = plan_hosts("foo.bar.com", "", &["172.17.0.2".parse().unwrap()], &[]);
        assert!(text.ends_with("172.17.0.2\tfoo.bar.com foo\n"), "{text}");
        let text = plan_hosts("f00ba4", "", &["172.17.0.2".parse().unwrap()], &[]);
        assert!(text.ends_with("172.17.0.2\tf00ba4\n"), "{text}");
    }

    #[test]
    fn without_a_network_the_container_itself_is_not_listed() {
        assert!(plan_hosts("c", "", &[], &[]).ends_with("ff02::2\tip6-allrouters\n"));
    }

    #[test]
    fn added_hosts_take_brackets_and_the_gateway_word() {
        let gateway = Some("172.17.0.1".parse().unwrap());
        let read =
            |text| parse_extra_host(text, gateway).map(|host| format!("{}={}", host.name, host.address));
        assert_eq!(read("db:10.0.0.1"), Ok("db=10.0.0.1".into()));
        assert_eq!(read("six:[fd00::1]"), Ok("six=fd00::1".into()));
        assert_eq!(read("six:fd00::1"), Ok("six=fd00::1".into()));
        assert_eq!(read("up:host-gateway"), Ok("up=172.17.0.1".into()));
        assert_eq!(read("a").unwrap_err().to_string(), "bad format for add-host: \"a\"");
        assert_eq!(read("a:x").unwrap_err().to_string(), "invalid IP address in add-host: \"x\"");
        assert_eq!(parse_extra_host("a:host-gateway", None), Err(ExtraHostError::NoGateway));
    }
}
