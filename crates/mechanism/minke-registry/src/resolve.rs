//! Names become addresses: `/etc/hosts`, then DNS by a resolver of our own (never NSS, which a static binary cannot have).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hickory_resolver::TokioResolver;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The resolver of all connections.
#[derive(Debug)]
pub(crate) struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = lookup(name.as_str()).await?;
            Ok(Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}

/// The addresses of a host, which may be an address itself.
pub(crate) async fn lookup(host: &str) -> Result<Vec<IpAddr>, Failure> {
    let bare = host.trim_matches(['[', ']']);
    if let Ok(address) = bare.parse() {
        return Ok(vec![address]);
    }
    if let Some(found) = lookup_hosts(&std::fs::read_to_string("/etc/hosts").unwrap_or_default(), bare) {
        return Ok(found);
    }
    if bare.eq_ignore_ascii_case("localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let resolver = TokioResolver::builder_tokio().and_then(|builder| builder.build())?;
    match resolver.lookup_ip(bare).await {
        Ok(found) => Ok(found.iter().collect()),
        Err(error) if error.is_no_records_found() => Err(format!("lookup {bare}: no such host").into()),
        Err(error) => Err(format!("lookup {bare}: {error}").into()),
    }
}

/// The addresses that a hosts file gives a name.
fn lookup_hosts(file: &str, name: &str) -> Option<Vec<IpAddr>> {
    let found: Vec<IpAddr> = file
        .lines()
        .filter_map(|line| {
            let mut words = line.split('#').next()?.split_whitespace();
            let address = words.next()?.parse().ok()?;
            words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
        })
        .collect();
    (!found.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_file_comes_first() {
        let file = "127.0.0.1 localhost # me\n::1 localhost ip6\n10.0.0.1\tMirror.lan mirror\n";
        assert_eq!(lookup_hosts(file, "localhost").unwrap().len(), 2);
        assert_eq!(lookup_hosts(file, "mirror.LAN"), Some(vec!["10.0.0.1".parse().unwrap()]));
        assert_eq!(lookup_hosts(file, "me"), None);
    }
}
