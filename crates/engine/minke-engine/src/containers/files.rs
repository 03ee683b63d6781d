//! The files that a container has from its engine: `/etc/hostname`, `/etc/hosts`, `/etc/resolv.conf`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use minke_api::container::HostConfig;
use minke_dns::resolv_conf::{self, Overrides, Planned};
use minke_net::files::{
    ExtraHost, own_line, parse_extra_host, plan_hostname, plan_hosts, read_host_resolv_conf,
};

use super::Containers;
use super::container::Container;
use super::links::Linked;
use super::own_file;
use super::record::{NameDefaults, Record};
use crate::error::{Error, Result, chain};
use crate::networks::{Mode, Place, ResolverNames};
use crate::spec::SystemFiles;

/// What `--add-host` calls the host.
const HOST_GATEWAY: &str = "host-gateway";

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

/// A container's own addresses, network by network.
fn own_addresses(places: &[Place]) -> Vec<IpAddr> {
    places
        .iter()
        .filter_map(|place| place.endpoint.as_ref())
        .flat_map(minke_net::Endpoint::addresses)
        .collect()
}

/// Whether names are answered by the embedded resolver.
pub(super) fn has_resolver(places: &[Place]) -> bool {
    places.iter().any(|place| place.endpoint.is_some() && Mode::parse(&place.name).is_of_the_users())
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

    /// Writes the files for a start in these places.
    pub(super) fn write_system_files(
        &self,
        container: &Container,
        directory: &Path,
        places: &[Place],
        linked: &[Linked],
    ) -> Result<ResolverNames> {
        let record = container.record();
        let (config, host) = (&record.config, &record.host);
        let mut extra = self.extra_hosts(host)?;
        extra.extend(linked.iter().map(|link| ExtraHost { name: link.host_names(), address: link.address }));
        let hosts = if host.network_mode == "host" {
            self.host_hosts(&extra)
        } else {
            plan_hosts(&config.hostname, &config.domainname, &own_addresses(places), &extra)
        };
        let planned = self.plan_resolv_conf(&record, places)?;
        for (name, text) in [
            ("hostname", plan_hostname(&config.hostname)),
            ("hosts", hosts),
            ("resolv.conf", planned.text.clone()),
        ] {
            write_file(&directory.join(name), &text)?;
        }
        Ok(planned.into())
    }

    /// What the resolver has to know, without writing anything.
    pub(super) fn plan_names(&self, record: &Record, places: &[Place]) -> Result<ResolverNames> {
        let planned = self.plan_resolv_conf(record, places)?;
        Ok(planned.into())
    }

    /// `--add-host`, one line per address that `host-gateway` stands for.
    fn extra_hosts(&self, host: &HostConfig) -> Result<Vec<ExtraHost>> {
        let mut extra = Vec::new();
        for text in host.extra_hosts.iter().flatten() {
            let refused = |source: minke_net::files::ExtraHostError| {
                Error::invalid(source.to_string()).caused_by(source)
            };
            if text.split_once(':').is_some_and(|(_, address)| address == HOST_GATEWAY) {
                let gateways = self.parts.networks.host_gateways();
                if gateways.is_empty() {
                    extra.push(parse_extra_host(text, None).map_err(refused)?);
                }
                for gateway in gateways {
                    extra.push(parse_extra_host(text, Some(gateway)).map_err(refused)?);
                }
            } else {
                extra.push(parse_extra_host(text, None).map_err(refused)?);
            }
        }
        Ok(extra)
    }

    fn plan_resolv_conf(&self, record: &Record, places: &[Place]) -> Result<Planned> {
        let host = read_host_resolv_conf()
            .map_err(|source| Error::failed("read the host's /etc/resolv.conf", source))?;
        let path = host.path.to_string_lossy();
        let (conf, overrides) = (resolv_conf::read(&host.text), self.overrides(record)?);
        if has_resolver(places) {
            return Ok(resolv_conf::plan_embedded(&conf, &path, &overrides));
        }
        let ipv6 = own_addresses(places).iter().any(IpAddr::is_ipv6);
        let place = match record.host.network_mode.as_str() {
            "host" => resolv_conf::Place::Host,
            _ => resolv_conf::Place::Bridge { ipv6 },
        };
        Ok(resolv_conf::plan_plain(&conf, &path, &overrides, place))
    }

    fn host_hosts(&self, extra: &[ExtraHost]) -> String {
        let mut text = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
        for entry in extra {
            text.push_str(&format!("{}\t{}\n", entry.address, entry.name));
        }
        text
    }

    /// What the container's owner, or the engine's options when it was made, said about names.
    fn overrides(&self, record: &Record) -> Result<Overrides> {
        let host = &record.host;
        let now = match &record.names {
            Some(names) => names.clone(),
            None => self.name_defaults(),
        };
        let NameDefaults { servers, search, options } = now;
        let or = |own: &Option<Vec<String>>, default: Vec<String>| match own {
            Some(own) if !own.is_empty() => own.clone(),
            _ => default,
        };
        let servers = or(&host.dns, servers)
            .iter()
            .map(|text| {
                text.parse().map_err(|source| {
                    Error::invalid(format!("bad nameserver address: {text}")).caused_by(source)
                })
            })
            .collect::<Result<_>>()?;
        Ok(Overrides {
            servers,
            search: or(&host.dns_search, search),
            options: or(&host.dns_options, options),
        })
    }

    /// A running container has come to a network: its hosts file says so, and its resolv.conf when names are answered from
    /// now on. What the container wrote itself stays, and a file that it spoilt.
    pub(super) fn add_own_lines(
        &self,
        container: &Container,
        before: &[Place],
        place: &Place,
    ) -> Result<ResolverNames> {
        let record = container.record();
        let lines = own_lines(&record, place);
        self.change_hosts(container, |text| [text, &lines.concat()].concat());
        let mut after = before.to_vec();
        after.push(place.clone());
        let planned = self.plan_resolv_conf(&record, &after)?;
        if has_resolver(&after) && !has_resolver(before) {
            let path = self.data_dir(container.id.as_str()).join("resolv.conf");
            let old = self.plan_resolv_conf(&record, before)?.text;
            let changed =
                own_file::change(
                    &path,
                    |text| {
                        if text == old { planned.text.clone() } else { text.to_owned() }
                    },
                );
            if let Err(error) = changed {
                tracing::warn!(error = %chain(&error), "a container does not ask the resolver");
            }
        }
        Ok(planned.into())
    }

    /// A running container has left a network.
    pub(super) fn remove_own_lines(&self, container: &Container, place: &Place) {
        let gone = own_lines(&container.record(), place);
        self.change_hosts(container, |text| {
            text.split_inclusive('\n').filter(|line| !gone.iter().any(|own| own == line)).collect()
        });
    }

    fn change_hosts(&self, container: &Container, change: impl FnOnce(&str) -> String) {
        if let Err(error) = own_file::change(&self.hosts_path(container), change) {
            tracing::warn!(error = %chain(&error), "a container's hosts file does not follow its networks");
        }
    }
}

/// What a container's hosts file says of its addresses on one network.
fn own_lines(record: &Record, place: &Place) -> Vec<String> {
    let (name, domain) = (&record.config.hostname, &record.config.domainname);
    own_addresses(std::slice::from_ref(place))
        .into_iter()
        .map(|address| own_line(name, domain, address))
        .collect()
}

/// Writes over what was there: a bind mount of a running container would keep seeing the same file.
fn write_file(path: &PathBuf, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(|source| Error::failed(format!("write {}", path.display()), source))
}
