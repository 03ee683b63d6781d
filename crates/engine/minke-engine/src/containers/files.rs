//! The files that a container has from its engine: `/etc/hostname`, `/etc/hosts`, `/etc/resolv.conf`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use minke_api::container::HostConfig;
use minke_net::files::{
    DnsRequest, ExtraHost, ResolvScope, parse_extra_host, plan_hostname, plan_hosts, plan_resolv_conf,
    read_host_resolv_conf,
};

use super::Containers;
use super::container::Container;
use crate::error::{Error, Result};
use crate::spec::SystemFiles;

/// Refuses an `--add-host` that cannot be used.
pub(super) fn check_extra_hosts(host: &HostConfig) -> Result<()> {
    for text in host.extra_hosts.iter().flatten() {
        // Any address stands in for the gateway, which is known only when the container starts.
        parse_extra_host(text, Some(IpAddr::from([127, 0, 0, 1]))).map_err(|source| {
            Error::invalid(format!("bad format for add-host: {text:?}")).caused_by(source)
        })?;
    }
    Ok(())
}

impl Containers {
    /// Where a container's files are.
    pub(super) fn system_files(&self, directory: &Path) -> SystemFiles {
        SystemFiles {
            hostname: Some(directory.join("hostname")),
            hosts: Some(directory.join("hosts")),
            resolv: Some(directory.join("resolv.conf")),
            shm: None,
        }
    }

    /// Writes the files for a start with these addresses.
    pub(super) fn write_system_files(
        &self,
        container: &Container,
        directory: &Path,
        address: Option<IpAddr>,
    ) -> Result<()> {
        let record = container.record();
        let (config, host) = (&record.config, &record.host);
        let gateway = self.parts.networks.gateway().map(IpAddr::from);
        let extra: Vec<ExtraHost> = host
            .extra_hosts
            .iter()
            .flatten()
            .map(|text| parse_extra_host(text, gateway))
            .collect::<Result<_, _>>()
            .map_err(|source| Error::invalid(source.to_string()).caused_by(source))?;
        let host_resolv = read_host_resolv_conf()
            .map_err(|source| Error::failed("read the host's /etc/resolv.conf", source))?;
        let scope = if host.network_mode == "host" { ResolvScope::Host } else { ResolvScope::Own };
        let resolv = plan_resolv_conf(&host_resolv, scope, &self.dns_request(host)?);
        let hosts = if host.network_mode == "host" {
            self.host_hosts(&extra)
        } else {
            plan_hosts(&config.hostname, &config.domainname, address, &extra)
        };
        for (name, text) in
            [("hostname", plan_hostname(&config.hostname)), ("hosts", hosts), ("resolv.conf", resolv)]
        {
            let path = directory.join(name);
            write_file(&path, &text)?;
        }
        Ok(())
    }

    fn host_hosts(&self, extra: &[ExtraHost]) -> String {
        let mut text = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
        for entry in extra {
            text.push_str(&format!("{}\t{}\n", entry.address, entry.name));
        }
        text
    }

    fn dns_request(&self, host: &HostConfig) -> Result<DnsRequest> {
        let config = &self.parts.config;
        let or_default = |own: &Option<Vec<String>>, default: &[String]| match own {
            Some(own) if !own.is_empty() => own.clone(),
            _ => default.to_vec(),
        };
        let servers = or_default(&host.dns, &config.dns)
            .iter()
            .map(|text| {
                text.parse().map_err(|source| {
                    Error::invalid(format!("bad nameserver address: {text}")).caused_by(source)
                })
            })
            .collect::<Result<_>>()?;
        Ok(DnsRequest {
            servers,
            search: or_default(&host.dns_search, &config.dns_search),
            options: or_default(&host.dns_options, &config.dns_options),
        })
    }
}

/// Writes over what was there: a bind mount of a running container would keep seeing the same file.
fn write_file(path: &PathBuf, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(|source| Error::failed(format!("write {}", path.display()), source))
}
