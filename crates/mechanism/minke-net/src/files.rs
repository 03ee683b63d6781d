//! The contents of a container's `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`, as pure functions from what the host has and
//! what the user asked for.
//!
//! Only [`read_host_resolv_conf`] looks at the host. Writing the results to the container's directory is the engine's work; a
//! container of the host's network gets the host's files themselves, by the engine's choice of mounts.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
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

/// Where a container's lookups start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResolvScope {
    /// A namespace of its own: the host's loopback is out of reach, and so is IPv6.
    Own,
    /// The host's network: every server of the host serves here too.
    Host,
}

/// What the user, or the daemon's configuration, asked about names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsRequest {
    /// `--dns`.
    pub servers: Vec<IpAddr>,
    /// `--dns-search`; a single `.` means none.
    pub search: Vec<String>,
    /// `--dns-option`.
    pub options: Vec<String>,
}

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
    let parsed = Parsed::of(text);
    parsed.servers.len() == 1 && parsed.servers[0].address == IpAddr::from(RESOLVED_STUB)
}

/// A `nameserver` line: the address and, for IPv6, an interface zone kept as text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Server {
    address: IpAddr,
    text: String,
}

#[derive(Debug, Default)]
struct Parsed {
    servers: Vec<Server>,
    search: Vec<String>,
    options: Vec<String>,
    /// Lines of other keywords, kept as they are.
    other: Vec<String>,
}

impl Parsed {
    fn of(text: &str) -> Self {
        let mut parsed = Self::default();
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            let mut words = line.split_whitespace();
            let keyword = words.next().unwrap_or_default();
            match keyword {
                "nameserver" => {
                    let Some(word) = words.next() else { continue };
                    let bare = word.split('%').next().unwrap_or_default();
                    if let Ok(address) = bare.parse() {
                        parsed.servers.push(Server { address, text: word.to_owned() });
                    }
                }
                // The last of these lines wins, as in the C library.
                "search" | "domain" => parsed.search = words.map(str::to_owned).collect(),
                "options" => parsed.options.extend(words.map(str::to_owned)),
                _ => parsed.other.push(line.to_owned()),
            }
        }
        parsed
    }
}

/// The nameservers that the host's own configuration lists: a bridge's subnet must not cover them.
#[must_use]
pub fn nameservers(text: &str) -> Vec<IpAddr> {
    Parsed::of(text).servers.into_iter().map(|server| server.address).collect()
}

/// Plans a container's `/etc/resolv.conf`.
///
/// In a namespace of its own, servers on the host's loopback cannot be reached and are left out, and so are IPv6 servers, as the
/// default bridge has no IPv6; when nothing is left the public servers of Google stand in, as with Docker. Servers the user names
/// are kept whatever they are.
#[must_use]
pub fn plan_resolv_conf(host: &HostResolvConf, scope: ResolvScope, request: &DnsRequest) -> String {
    let parsed = Parsed::of(&host.text);
    let mut overrides = Vec::new();
    let mut fallback = false;
    let mut servers: Vec<String> = if request.servers.is_empty() {
        parsed
            .servers
            .iter()
            .filter(|s| scope == ResolvScope::Host || reachable(s.address))
            .map(|s| s.text.clone())
            .collect()
    } else {
        overrides.push("nameservers");
        request.servers.iter().map(ToString::to_string).collect()
    };
    if servers.is_empty() && scope == ResolvScope::Own {
        fallback = true;
        servers = vec![Ipv4Addr::new(8, 8, 8, 8).to_string(), Ipv4Addr::new(8, 8, 4, 4).to_string()];
    }
    let search = if request.search.is_empty() {
        parsed.search
    } else {
        overrides.push("search");
        request.search.iter().filter(|domain| *domain != ".").cloned().collect()
    };
    let options = if request.options.is_empty() {
        parsed.options
    } else {
        overrides.push("options");
        request.options.clone()
    };

    let mut text = String::from(
        "# Made by minke for this container. It may be edited: minke does not write it\n\
         # again before the container's next start.\n\n",
    );
    for server in &servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !search.is_empty() {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    if !options.is_empty() {
        text.push_str(&format!("options {}\n", options.join(" ")));
    }
    for line in &parsed.other {
        text.push_str(&format!("{line}\n"));
    }
    text.push_str(&format!("\n# Based on host file: '{}'\n", host.path.display()));
    if fallback {
        text.push_str("# Used default nameservers.\n");
    }
    text.push_str(&format!("# Overrides: [{}]\n", overrides.join(" ")));
    text
}

fn reachable(server: IpAddr) -> bool {
    server.is_ipv4() && !server.is_loopback()
}

/// Plans a container's `/etc/hosts`: the fixed names, then `--add-host` in the order given, then the container itself.
///
/// `address` is `None` without a network, `domain` empty without `--domainname`.
#[must_use]
pub fn plan_hosts(hostname: &str, domain: &str, address: Option<IpAddr>, extra: &[ExtraHost]) -> String {
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
    if let Some(address) = address {
        let full = if domain.is_empty() { hostname.to_owned() } else { format!("{hostname}.{domain}") };
        let names = match full.split_once('.') {
            Some((short, _)) => format!("{full} {short}"),
            None => full,
        };
        text.push_str(&format!("{address}\t{names}\n"));
    }
    text
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

    fn host(text: &str) -> HostResolvConf {
        HostResolvConf { path: "/etc/resolv.conf".into(), text: text.to_owned() }
    }

    fn servers_of(text: &str) -> Vec<IpAddr> {
        nameservers(text)
    }

    #[test]
    fn the_hosts_servers_search_list_and_options_are_inherited() {
        let host = host(
            "# comment\nnameserver 10.0.0.53\ndomain old\nsearch a.example b.example\noptions ndots:2\noptions rotate\nsortlist x\n",
        );
        insta::assert_snapshot!(plan_resolv_conf(&host, ResolvScope::Own, &DnsRequest::default()));
    }

    #[test]
    fn each_list_of_the_user_replaces_the_hosts() {
        let request = DnsRequest {
            servers: vec!["9.9.9.9".parse().unwrap(), "127.0.0.1".parse().unwrap()],
            search: vec!["x.example".into(), ".".into()],
            options: vec!["ndots:5".into()],
        };
        let host = host("nameserver 10.0.0.53\nsearch a.example\noptions rotate\n");
        insta::assert_snapshot!(plan_resolv_conf(&host, ResolvScope::Own, &request));
    }

    #[test]
    fn a_single_dot_clears_the_search_list() {
        let request = DnsRequest { search: vec![".".into()], ..DnsRequest::default() };
        let text =
            plan_resolv_conf(&host("nameserver 10.0.0.53\nsearch a.example\n"), ResolvScope::Own, &request);
        assert!(!text.contains("\nsearch"), "{text}");
    }

    #[test]
    fn loopback_and_ipv6_servers_stay_on_the_host() {
        let host = host("nameserver 127.0.0.1\nnameserver 10.0.0.53\nnameserver fe80::1%eth0\n");
        let own = plan_resolv_conf(&host, ResolvScope::Own, &DnsRequest::default());
        assert_eq!(servers_of(&own), ["10.0.0.53".parse::<IpAddr>().unwrap()]);
        let same = plan_resolv_conf(&host, ResolvScope::Host, &DnsRequest::default());
        assert_eq!(servers_of(&same).len(), 3);
        assert!(same.contains("nameserver fe80::1%eth0\n"));
    }

    #[test]
    fn a_host_with_loopback_servers_only_gives_the_public_ones() {
        let own =
            plan_resolv_conf(&host("nameserver 127.0.0.53\n"), ResolvScope::Own, &DnsRequest::default());
        assert!(
            own.contains("nameserver 8.8.8.8\nnameserver 8.8.4.4\n")
                && own.contains("# Used default nameservers.")
        );
        let same = plan_resolv_conf(&host(""), ResolvScope::Host, &DnsRequest::default());
        assert!(!same.contains("8.8.8.8"));
    }

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
        let address = Some("172.17.0.2".parse().unwrap());
        insta::assert_snapshot!(plan_hosts("web", "example.org", address, &extra));
    }

    #[test]
    fn a_host_name_with_dots_is_listed_with_its_short_form() {
        let text = plan_hosts("foo.bar.com", "", Some("172.17.0.2".parse().unwrap()), &[]);
        assert!(text.ends_with("172.17.0.2\tfoo.bar.com foo\n"), "{text}");
        let text = plan_hosts("f00ba4", "", Some("172.17.0.2".parse().unwrap()), &[]);
        assert!(text.ends_with("172.17.0.2\tf00ba4\n"), "{text}");
    }

    #[test]
    fn without_a_network_the_container_itself_is_not_listed() {
        assert!(plan_hosts("c", "", None, &[]).ends_with("ff02::2\tip6-allrouters\n"));
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
