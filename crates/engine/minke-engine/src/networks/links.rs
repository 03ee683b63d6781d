//! Links: what `--link` says, and the environment it brings.

use std::net::IpAddr;

use super::ports::Port;
use crate::error::{Error, Result};

/// One `--link`: whom, and under which name.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Link {
    /// A container's name or id, as given.
    pub target: String,
    /// What the container calls it.
    pub alias: String,
}

/// Reads `name`, `name:alias`, and the form in which inspect shows it, `/name:/container/alias`.
pub(crate) fn parse_link(text: &str) -> Result<Link> {
    if text.is_empty() {
        return Err(Error::system("empty string specified for links"));
    }
    let parts: Vec<&str> = text.split(':').collect();
    let (target, alias) = match parts[..] {
        [name] => (name, name),
        [name, ""] => (name, name),
        [name, alias] => (name, alias),
        _ => return Err(Error::invalid(format!("bad format for links: {text}"))),
    };
    let alias = match (target.starts_with('/'), alias.rsplit_once('/')) {
        (true, Some((_, alias))) => alias,
        _ => alias,
    };
    Ok(Link {
        target: target.strip_prefix('/').unwrap_or(target).to_owned(),
        alias: alias.strip_prefix('/').unwrap_or(alias).to_owned(),
    })
}

/// Why a container cannot start: what it is linked to does not run.
pub(crate) fn not_running(target: &str, container: &str, alias: &str) -> String {
    format!("Cannot link to a non running container: /{target} AS /{container}/{alias}")
}

/// What a link tells of its target.
#[derive(Clone, Debug)]
pub(crate) struct LinkFacts<'a> {
    /// The container that has the link.
    pub(crate) container: &'a str,
    pub(crate) alias: &'a str,
    pub(crate) address: IpAddr,
    /// Tcp first, then by number.
    pub(crate) ports: &'a [Port],
    pub(crate) environment: &'a [String],
}

/// The variables of one link, in Docker's order.
pub(crate) fn plan_environment(link: &LinkFacts<'_>) -> Vec<String> {
    let upper = link.alias.rsplit('/').next().unwrap_or_default().to_uppercase().replace('-', "_");
    let mut env = Vec::new();
    let url = |port: &Port| format!("{}://{}:{}", port.protocol, link.address, port.number);
    if let Some(first) = link.ports.first() {
        env.push(format!("{upper}_PORT={}", url(first)));
    }
    for run in runs(link.ports) {
        for port in run {
            let key = variable(&upper, port);
            env.push(format!("{key}={}", url(port)));
            env.push(format!("{key}_ADDR={}", link.address));
            env.push(format!("{key}_PORT={}", port.number));
            env.push(format!("{key}_PROTO={}", port.protocol));
        }
        if let [first, .., last] = run {
            let key = variable(&upper, first);
            env.push(format!("{key}_START={}", url(first)));
            env.push(format!("{key}_PORT_START={}", first.number));
            env.push(format!("{key}_END={}", url(last)));
            env.push(format!("{key}_PORT_END={}", last.number));
        }
    }
    env.push(format!("{upper}_NAME=/{}/{}", link.container, link.alias));
    for entry in link.environment {
        if let Some((key, _)) = entry.split_once('=')
            && !matches!(key, "HOME" | "PATH")
        {
            env.push(format!("{upper}_ENV_{entry}"));
        }
    }
    env
}

fn variable(upper: &str, port: &Port) -> String {
    format!("{upper}_PORT_{}_{}", port.number, port.protocol.name().to_uppercase())
}

/// Ports in runs without gaps.
fn runs(ports: &[Port]) -> impl Iterator<Item = &[Port]> {
    ports
        .chunk_by(|one, next| one.protocol == next.protocol && one.number.checked_add(1) == Some(next.number))
}

/// A container's hosts file in which the names of one link stand for a new address. What else is in the file stays, for the
/// container may have written it.
pub(crate) fn follow(hosts: &str, alias: &str, address: IpAddr) -> String {
    hosts
        .split_inclusive('\n')
        .map(|line| match line.split_once('\t') {
            Some((_, names)) if names.split_whitespace().next() == Some(alias) => {
                format!("{address}\t{names}")
            }
            _ => line.to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use minke_net::Protocol;

    use super::*;

    fn link(text: &str) -> (String, String) {
        let link = parse_link(text).expect("a link");
        (link.target, link.alias)
    }

    #[test]
    fn a_link_has_a_target_and_an_alias() {
        assert_eq!(link("db"), ("db".into(), "db".into()));
        assert_eq!(link("db:database"), ("db".into(), "database".into()));
        assert_eq!(link("/db:/web/database"), ("db".into(), "database".into()));
        assert_eq!(parse_link("").unwrap_err().message(), "empty string specified for links");
        assert_eq!(parse_link("a:b:c").unwrap_err().message(), "bad format for links: a:b:c");
    }

    #[test]
    fn the_environment_is_docker_s() {
        let port = |number, protocol| Port { number, protocol };
        let ports = [
            port(60, Protocol::Tcp),
            port(61, Protocol::Tcp),
            port(3333, Protocol::Tcp),
            port(4444, Protocol::Udp),
        ];
        let environment =
            ["PATH=/bin".to_owned(), "FOO=bar".to_owned(), "SP=a b=c".to_owned(), "BARE".to_owned()];
        let facts = LinkFacts {
            container: "web",
            alias: "data-base",
            address: "172.17.0.2".parse().unwrap(),
            ports: &ports,
            environment: &environment,
        };
        insta::assert_snapshot!(plan_environment(&facts).join("\n"));
    }

    #[test]
    fn a_target_without_ports_still_has_a_name() {
        let facts = LinkFacts {
            container: "web",
            alias: "db",
            address: "172.17.0.2".parse().unwrap(),
            ports: &[],
            environment: &[],
        };
        assert_eq!(plan_environment(&facts), ["DB_NAME=/web/db"]);
    }

    #[test]
    fn hosts_follow_the_target_and_keep_what_the_container_wrote() {
        let before = "127.0.0.1\tlocalhost\n172.17.0.2\tdb 77e017c2da48 lt-db\n172.17.0.3\tme\n9.9.9.9 own\n";
        let after = follow(before, "db", "172.17.0.9".parse().unwrap());
        assert_eq!(
            after,
            "127.0.0.1\tlocalhost\n172.17.0.9\tdb 77e017c2da48 lt-db\n172.17.0.3\tme\n9.9.9.9 own\n"
        );
        assert_eq!(follow(before, "lt-db", "172.17.0.9".parse().unwrap()), before);
    }
}
