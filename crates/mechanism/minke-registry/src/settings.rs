//! How registries are reached: which need no TLS, which mirrors come first, which proxies stand between.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSetting {
    #[error("insecure registry {0} should not contain '://'")]
    InsecureScheme(String),
    #[error("insecure registry {0:?} is not a host, host:port or CIDR")]
    Insecure(String),
    #[error("invalid mirror: {0}")]
    Mirror(String),
    #[error("invalid proxy {0:?}: {1}")]
    Proxy(String, String),
}

/// Settings of a [`crate::Client`].
#[derive(Debug, Clone)]
pub struct Settings {
    pub insecure: Vec<Insecure>,
    /// Of Docker Hub, in order of preference.
    pub mirrors: Vec<Mirror>,
    /// Directories of `HOST[:PORT]/{*.crt,*.cert,*.key}`.
    pub certificates: Vec<PathBuf>,
    pub proxies: Proxies,
    pub user_agent: String,
    /// How often a transfer is tried without any progress.
    pub attempts: u32,
    pub patience: Patience,
}

/// How long a registry is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For the head of an answer.
    pub answer: Duration,
    /// For the next bytes of one.
    pub silence: Duration,
    /// For a whole document: one that comes byte by byte is given up, however steadily it comes.
    pub document: Duration,
    /// For a registry to take the next bytes of an upload.
    pub intake: Duration,
    /// For the end of an upload: a registry may have to move what it got.
    pub settling: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            answer: seconds(60),
            silence: seconds(30),
            document: seconds(300),
            intake: seconds(60),
            settling: seconds(600),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            insecure: Vec::new(),
            mirrors: Vec::new(),
            certificates: vec!["/etc/minke/certs.d".into(), "/etc/docker/certs.d".into()],
            proxies: Proxies::default(),
            user_agent: concat!("minke/", env!("CARGO_PKG_VERSION")).to_owned(),
            attempts: 5,
            patience: Patience::default(),
        }
    }
}

/// Registries that are spoken to also where TLS fails or is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Insecure {
    /// `host` or `host:port`, as written in references.
    Host(String),
    Network {
        address: IpAddr,
        prefix: u8,
    },
}

impl Insecure {
    pub fn parse(text: &str) -> Result<Self, InvalidSetting> {
        if text.contains("://") {
            return Err(InvalidSetting::InsecureScheme(text.to_owned()));
        }
        let bad = || InvalidSetting::Insecure(text.to_owned());
        if let Some((address, prefix)) = text.split_once('/') {
            let address: IpAddr = address.parse().map_err(|_source| bad())?;
            let prefix: u8 = prefix.parse().map_err(|_source| bad())?;
            let widest = if address.is_ipv4() { 32 } else { 128 };
            return if prefix <= widest { Ok(Self::Network { address, prefix }) } else { Err(bad()) };
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-.:[]_".contains(&b);
        if text.is_empty() || !text.bytes().all(plain) || text.starts_with('-') {
            return Err(bad());
        }
        Ok(Self::Host(text.to_owned()))
    }

    /// Whether this names the registry's domain, whose host has these addresses.
    pub(crate) fn covers(&self, domain: &str, addresses: &[IpAddr]) -> bool {
        match self {
            Self::Host(host) => host.eq_ignore_ascii_case(domain),
            Self::Network { address, prefix } => {
                addresses.iter().any(|candidate| in_network(*candidate, *address, *prefix))
            }
        }
    }
}

fn in_network(candidate: IpAddr, network: IpAddr, prefix: u8) -> bool {
    match (candidate.to_canonical(), network) {
        (IpAddr::V4(candidate), IpAddr::V4(network)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            candidate.to_bits() & mask == network.to_bits() & mask
        }
        (IpAddr::V6(candidate), IpAddr::V6(network)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            candidate.to_bits() & mask == network.to_bits() & mask
        }
        _ => false,
    }
}

/// Where Docker Hub's images may also be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror(pub(crate) Url);

impl Mirror {
    pub fn parse(text: &str) -> Result<Self, InvalidSetting> {
        let bad = |why: &str| InvalidSetting::Mirror(why.to_owned());
        let mut url: Url = text.parse().map_err(|_source| bad(&format!("{text:?} is not a valid URI")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad(&format!(
                "no scheme specified for {text:?}: must use either 'https://' or 'http://'"
            )));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("username/password not allowed in URI"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad(&format!("query or fragment at end of the URI {text:?}")));
        }
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        Ok(Self(url))
    }
}

/// As the environment has it: addresses of proxies, and hosts that are reached without.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    pub http: Option<String>,
    pub https: Option<String>,
    pub none: Option<String>,
}

impl Proxies {
    /// Reads `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`, in capitals or not.
    #[must_use]
    pub fn from_environment() -> Self {
        let read = |name: &str| {
            [name.to_owned(), name.to_lowercase()]
                .into_iter()
                .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        };
        Self { http: read("HTTP_PROXY"), https: read("HTTPS_PROXY"), none: read("NO_PROXY") }
    }

    /// Each that is missing here from there.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            http: self.http.or(other.http),
            https: self.https.or(other.https),
            none: self.none.or(other.none),
        }
    }

    /// Whether the addresses can be used.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        self.plan().map(drop)
    }

    pub(crate) fn plan(&self) -> Result<Vec<reqwest::Proxy>, InvalidSetting> {
        // Loopback is never behind a proxy.
        let none = format!("localhost,127.0.0.0/8,::1,{}", self.none.as_deref().unwrap_or_default());
        let none = reqwest::NoProxy::from_string(&none);
        let with = |address: &str| {
            if address.contains("://") { address.to_owned() } else { format!("http://{address}") }
        };
        let bad = |address: &str, error: reqwest::Error| {
            InvalidSetting::Proxy(address.to_owned(), error.to_string())
        };
        let mut plan = Vec::new();
        if let Some(address) = &self.http {
            let proxy = reqwest::Proxy::http(with(address)).map_err(|error| bad(address, error))?;
            plan.push(proxy.no_proxy(none.clone()));
        }
        if let Some(address) = &self.https {
            let proxy = reqwest::Proxy::https(with(address)).map_err(|error| bad(address, error))?;
            plan.push(proxy.no_proxy(none));
        }
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn insecure_registries_are_hosts_or_networks() {
        let network = Insecure::parse("10.0.0.0/8").unwrap();
        assert!(network.covers("r.example:5000", &["10.2.3.4".parse().unwrap()]));
        assert!(!network.covers("r.example:5000", &["11.2.3.4".parse().unwrap()]));
        assert!(Insecure::parse("::/0").unwrap().covers("r", &["fe80::1".parse().unwrap()]));
        assert!(Insecure::parse("r.example:5000").unwrap().covers("R.example:5000", &[]));
        assert!(!Insecure::parse("r.example").unwrap().covers("r.example:5000", &[]));
        for bad in ["", "http://x", "10.0.0.0/33", "a b", "-x", "x/y"] {
            assert!(Insecure::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn mirrors_are_addresses_without_secrets() {
        assert_eq!(Mirror::parse("https://m.example/hub").unwrap().0.as_str(), "https://m.example/hub/");
        for bad in ["m.example", "ftp://m.example", "https://a:b@m.example", "https://m.example/?x"] {
            assert!(Mirror::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bad_proxy_is_named() {
        let proxies = Proxies { https: Some("::".into()), ..Proxies::default() };
        assert!(proxies.check().unwrap_err().to_string().contains("\"::\""));
        let proxies = Proxies { http: Some("proxy.lan:3128".into()), ..Proxies::default() };
        proxies.check().unwrap();
    }
}
