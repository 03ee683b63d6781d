//! `/etc/resolv.conf`: reading the host's, planning a container's, in Docker's form.
//!
//! Three forms, as Docker 28 writes them: with the embedded resolver, for the default bridge without it, and on the host's
//! own network. Where the host's servers cannot be reached from a container (loopback) the embedded resolver can, because it
//! asks from the host's side.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The address of the embedded resolver inside every container that has it.
pub const EMBEDDED: &str = "127.0.0.11";

/// Servers for hosts that name none a container could reach: Docker's choice.
const DEFAULT_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(8, 8, 8, 8), Ipv4Addr::new(8, 8, 4, 4)];
const DEFAULT_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888),
    Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8844),
];

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
    /// `--dns-search`; `.` means none.
    pub search: Vec<String>,
    /// `--dns-option`.
    pub options: Vec<String>,
}

/// Where a container without the embedded resolver is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On the default bridge, or without a network: loopback servers of the host's are of no use to it.
    Bridge {
        /// It has IPv6.
        ipv6: bool,
    },
    /// On the host's own network.
    Host,
}

/// A container's file and, with the embedded resolver, what its view needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Planned {
    /// The file.
    pub text: String,
    /// Where the embedded resolver passes questions on to.
    pub upstreams: Vec<IpAddr>,
    /// [`crate::View::own_loopback`].
    pub own_loopback: bool,
    /// [`crate::View::ndots_set`].
    pub ndots_set: bool,
}

/// Reads a file. What cannot be read is passed over.
#[must_use]
pub fn read(text: &str) -> ResolvConf {
    let mut conf = ResolvConf::default();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(word) = words.next().filter(|word| !word.starts_with(['#', ';'])) else { continue };
        match word {
            "nameserver" => match words.next().map(|server| server.parse().map_err(|_no| server)) {
                Some(Ok(address)) => conf.servers.push(address),
                Some(Err(server)) => conf.invalid.push(server.to_owned()),
                None => {}
            },
            "search" | "domain" => {
                let domains: Vec<String> = words.map(str::to_owned).collect();
                if !domains.is_empty() {
                    conf.search = domains;
                }
            }
            "options" => conf.options.extend(words.map(str::to_owned)),
            _ => conf.other.push(line.to_owned()),
        }
    }
    conf
}

/// The file of a container that has the embedded resolver. `path` is where `host` was read.
#[must_use]
pub fn plan_embedded(host: &ResolvConf, path: &str, overrides: &Overrides) -> Planned {
    let mut draft = Draft::new(host, overrides);
    let ndots_set = draft.ndots().is_some();
    draft.conf.options.retain(|option| {
        let value = option.strip_prefix("ndots:");
        option != "ndots" && value.is_none_or(|value| value.parse::<u32>().is_ok())
    });
    if draft.ndots().is_none() {
        draft.conf.options.push("ndots:0".into());
        draft.ndots_from = Some("internal");
    }
    let upstreams = std::mem::take(&mut draft.conf.servers);
    let ours = !overrides.servers.is_empty();
    let servers = upstreams
        .iter()
        .map(|server| if ours { server.to_string() } else { format!("host({server})") })
        .collect::<Vec<_>>();
    let text = draft.write(path, " (internal resolver)", &[EMBEDDED.to_owned()], &servers);
    Planned { text, upstreams, own_loopback: ours, ndots_set }
}

/// The file of a container without it. `path` is where `host` was read.
#[must_use]
pub fn plan_plain(host: &ResolvConf, path: &str, overrides: &Overrides, place: Place) -> Planned {
    let mut draft = Draft::new(host, overrides);
    let mut transform = "";
    if let Place::Bridge { ipv6 } = place {
        transform = " (legacy)";
        if overrides.servers.is_empty() {
            draft.conf.servers.retain(|server| !server.is_loopback() && (ipv6 || server.is_ipv4()));
            if draft.conf.servers.is_empty() {
                draft.default_servers = true;
                draft.conf.servers.extend(DEFAULT_V4.map(IpAddr::from));
                draft.conf.servers.extend(DEFAULT_V6.map(IpAddr::from).into_iter().filter(|_| ipv6));
            }
        }
    }
    let servers: Vec<String> = draft.conf.servers.iter().map(IpAddr::to_string).collect();
    let ndots_set = draft.ndots().is_some();
    let text = draft.write(path, transform, &servers, &[]);
    Planned { text, ndots_set, ..Planned::default() }
}

/// A file on its way.
#[derive(Debug)]
struct Draft {
    conf: ResolvConf,
    overridden: Vec<&'static str>,
    ndots_from: Option<&'static str>,
    default_servers: bool,
}

impl Draft {
    fn new(host: &ResolvConf, overrides: &Overrides) -> Self {
        let mut draft =
            Self { conf: host.clone(), overridden: Vec::new(), ndots_from: None, default_servers: false };
        draft.ndots_from = draft.ndots().map(|_| "host");
        if !overrides.servers.is_empty() {
            draft.conf.servers.clone_from(&overrides.servers);
            draft.overridden.push("nameservers");
        }
        if !overrides.search.is_empty() {
            draft.conf.search = overrides.search.iter().filter(|domain| *domain != ".").cloned().collect();
            draft.overridden.push("search");
        }
        if !overrides.options.is_empty() {
            draft.conf.options.clone_from(&overrides.options);
            draft.overridden.push("options");
            draft.ndots_from = draft.ndots().map(|_| "override");
        }
        draft
    }

    /// The `ndots` option as it stands.
    fn ndots(&self) -> Option<&String> {
        self.conf.options.iter().find(|option| *option == "ndots" || option.starts_with("ndots:"))
    }

    fn write(&self, path: &str, transform: &str, servers: &[String], passed_on: &[String]) -> String {
        let mut text = String::from(
            "# Generated by Docker Engine.\n\
             # This file can be edited; Docker Engine will not make further changes once it\n\
             # has been modified.\n\n",
        );
        // Writing into a string cannot fail.
        let mut line = |words: std::fmt::Arguments<'_>| crate::best_effort(writeln!(text, "{words}"));
        for server in servers {
            line(format_args!("nameserver {server}"));
        }
        if !self.conf.search.is_empty() {
            line(format_args!("search {}", self.conf.search.join(" ")));
        }
        if !self.conf.options.is_empty() {
            line(format_args!("options {}", self.conf.options.join(" ")));
        }
        for other in &self.conf.other {
            line(format_args!("{other}"));
        }
        line(format_args!("\n# Based on host file: '{path}'{transform}"));
        if self.default_servers {
            line(format_args!("# Used default nameservers."));
        }
        if !passed_on.is_empty() {
            line(format_args!("# ExtServers: [{}]", passed_on.join(" ")));
        }
        if !self.conf.invalid.is_empty() {
            line(format_args!("# Invalid nameservers: [{}]", self.conf.invalid.join(" ")));
        }
        line(format_args!("# Overrides: [{}]", self.overridden.join(" ")));
        if let Some(from) = self.ndots_from {
            line(format_args!("# Option ndots from: {from}"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "# Generated by Docker Engine.\n# This file can be edited; Docker Engine will not make further \
                        changes once it\n# has been modified.\n\n";

    fn overrides(servers: &[&str], search: &[&str], options: &[&str]) -> Overrides {
        let strings = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        Overrides {
            servers: servers.iter().map(|server| server.parse().unwrap()).collect(),
            search: strings(search),
            options: strings(options),
        }
    }

    fn host() -> ResolvConf {
        read("nameserver 10.255.255.53\n")
    }

    // The texts are what Docker 28.5.2 wrote for the same options.
    #[test]
    fn the_embedded_resolver_stands_in_for_the_hosts_servers() {
        let planned = plan_embedded(&host(), "/etc/resolv.conf", &Overrides::default());
        let body = "nameserver 127.0.0.11\noptions ndots:0\n\n# Based on host file: '/etc/resolv.conf' (internal resolver)\n\
                    # ExtServers: [host(10.255.255.53)]\n# Overrides: []\n# Option ndots from: internal\n";
        assert_eq!(planned.text, format!("{HEAD}{body}"));
        assert_eq!(planned.upstreams, ["10.255.255.53".parse::<IpAddr>().unwrap()]);
        assert!(!planned.ndots_set);
    }

    #[test]
    fn chosen_servers_searches_and_options_replace_the_hosts() {
        let chosen =
            overrides(&["192.0.2.1", "127.0.0.53"], &["example.com", "corp"], &["ndots:2", "timeout:1"]);
        let planned = plan_embedded(&host(), "/etc/resolv.conf", &chosen);
        let body = "nameserver 127.0.0.11\nsearch example.com corp\noptions ndots:2 timeout:1\n\n\
                    # Based on host file: '/etc/resolv.conf' (internal resolver)\n# ExtServers: [192.0.2.1 127.0.0.53]\n\
                    # Overrides: [nameservers search options]\n# Option ndots from: override\n";
        assert_eq!(planned.text, format!("{HEAD}{body}"));
        assert!(planned.ndots_set);
        let chosen = overrides(&["::1"], &["."], &["ndots:-1", "ndots:3", "attempts:1"]);
        let planned = plan_embedded(&host(), "/etc/resolv.conf", &chosen);
        let body = "nameserver 127.0.0.11\noptions ndots:3 attempts:1\n\n\
                    # Based on host file: '/etc/resolv.conf' (internal resolver)\n# ExtServers: [::1]\n\
                    # Overrides: [nameservers search options]\n# Option ndots from: override\n";
        assert_eq!(planned.text, format!("{HEAD}{body}"));
        let planned = plan_embedded(&host(), "/etc/resolv.conf", &overrides(&[], &[], &["ndots:x", "edns0"]));
        assert!(planned.text.contains("\noptions edns0 ndots:0\n"), "{}", planned.text);
        assert!(planned.text.ends_with("# Option ndots from: internal\n"));
        assert!(planned.ndots_set, "what is written wrongly was meant all the same");
    }

    #[test]
    fn the_default_bridge_gets_the_servers_it_can_reach() {
        let bridge = Place::Bridge { ipv6: false };
        let planned = plan_plain(&host(), "/etc/resolv.conf", &Overrides::default(), bridge);
        let body = "nameserver 10.255.255.53\n\n# Based on host file: '/etc/resolv.conf' (legacy)\n# Overrides: []\n";
        assert_eq!(planned.text, format!("{HEAD}{body}"));
        let local =
            read("nameserver 127.0.0.53\nnameserver ::1\nnameserver fd00::53\noptions edns0 trust-ad\n");
        let planned = plan_plain(&local, "/etc/resolv.conf", &Overrides::default(), bridge);
        let body = "nameserver 8.8.8.8\nnameserver 8.8.4.4\noptions edns0 trust-ad\n\n\
                    # Based on host file: '/etc/resolv.conf' (legacy)\n# Used default nameservers.\n# Overrides: []\n";
        assert_eq!(planned.text, format!("{HEAD}{body}"));
        let planned =
            plan_plain(&local, "/etc/resolv.conf", &Overrides::default(), Place::Bridge { ipv6: true });
        assert!(planned.text.contains("\nnameserver fd00::53\noptions"), "{}", planned.text);
        // Who names a server means it.
        let planned = plan_plain(&local, "/etc/resolv.conf", &overrides(&["::1"], &[], &[]), bridge);
        assert!(planned.text.contains("\nnameserver ::1\noptions"), "{}", planned.text);
    }

    #[test]
    fn the_hosts_network_keeps_the_hosts_servers() {
        let local = read("nameserver 127.0.0.53\nsearch lan\n");
        let planned = plan_plain(&local, "/etc/resolv.conf", &overrides(&[], &["x.y"], &[]), Place::Host);
        let body = "nameserver 127.0.0.53\nsearch x.y\n\n# Based on host file: '/etc/resolv.conf'\n# Overrides: [search]\n";
        assert_eq!(planned.text, format!("{HEAD}{body}"));
    }

    #[test]
    fn a_file_is_read_as_resolvers_read_it() {
        let conf = read(
            "# comment\n; comment\nnameserver\nnameserver 1.2.3.4 # first\nnameserver fe80::1%eth0\n\tnameserver ::1\ndomain old\n\
             search a.b c\noptions ndots:2\noptions rotate\nsortlist 10.0.0.0/8\nsearch\n",
        );
        let servers: Vec<IpAddr> = vec!["1.2.3.4".parse().unwrap(), "::1".parse().unwrap()];
        assert_eq!(conf.servers, servers);
        assert_eq!(conf.search, ["a.b", "c"]);
        assert_eq!(conf.options, ["ndots:2", "rotate"]);
        assert_eq!(conf.other, ["sortlist 10.0.0.0/8"]);
        assert_eq!(conf.invalid, ["fe80::1%eth0"]);
    }
}
