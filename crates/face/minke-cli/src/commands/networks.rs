//! `--network` and its companions as the API's endpoint settings.

use crate::given::Given;
use serde_json::{Map, Value, json};

/// One network to join.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Attachment {
    pub(crate) name: String,
    aliases: Vec<String>,
    driver_options: Map<String, Value>,
    ipv4: String,
    ipv6: String,
    link_local: Vec<String>,
    links: Vec<String>,
    mac: String,
    priority: i64,
}

/// Reads `host`, `my-net`, or `name=my-net,alias=x,ip=1.2.3.4`.
pub(crate) fn parse(text: &str) -> Result<Attachment, String> {
    let long =
        text.split(',').any(|f| f.split_once('=').is_some_and(|(k, _)| is_key(&k.to_ascii_lowercase())));
    if !long {
        return Ok(Attachment { name: text.to_owned(), ..Attachment::default() });
    }
    let mut out = Attachment::default();
    for field in super::mounts::fields(text)? {
        let Some((key, value)) = field.split_once('=') else {
            return Err(format!("invalid field {field}: must be a key=value pair"));
        };
        let value = value.trim().to_owned();
        match key.trim().to_ascii_lowercase().as_str() {
            "name" => out.name = value,
            "alias" => out.aliases.push(value),
            "ip" => out.ipv4 = value,
            "ip6" => out.ipv6 = value,
            "mac-address" => out.mac = value,
            "link-local-ip" => out.link_local.push(value),
            "driver-opt" => {
                let Some((name, value)) = value.split_once('=') else {
                    return Err("invalid key value pair format in driver options".into());
                };
                out.driver_options.insert(name.trim().to_ascii_lowercase(), value.trim().into());
            }
            "gw-priority" => {
                out.priority =
                    value.parse().map_err(|_e| format!("invalid gw-priority ({value}): invalid syntax"))?;
            }
            other => return Err(format!("invalid field key {other}")),
        }
    }
    if out.name.is_empty() {
        return Err("network name/id is not specified".into());
    }
    Ok(out)
}

fn is_key(key: &str) -> bool {
    matches!(
        key,
        "name" | "alias" | "ip" | "ip6" | "mac-address" | "link-local-ip" | "driver-opt" | "gw-priority"
    )
}

/// Modes that are not networks of their own.
fn user_defined(name: &str) -> bool {
    !matches!(name, "" | "default" | "bridge" | "host" | "none") && !name.starts_with("container:")
}

const MIXED: &str = "conflicting options: cannot attach both user-defined and non-user-defined network-modes";

/// The network mode and the endpoint settings of a request.
pub(crate) fn plan(given: &Given) -> Result<(String, Value), String> {
    let names: Vec<&str> = given.list("network").into_iter().chain(given.list("net")).collect();
    let mut wanted: Vec<Attachment> = names.into_iter().map(parse).collect::<Result<_, _>>()?;
    // A single network without settings needs no entry: the engine makes one.
    let single = wanted.len() == 1;
    if wanted.is_empty() {
        wanted.push(Attachment { name: "default".into(), ..Attachment::default() });
    }
    let first = &mut wanted[0];
    fill(first, given)?;
    let mode = first.name.clone();
    let mixed = wanted.iter().any(|a| user_defined(&a.name)) && !wanted.iter().all(|a| user_defined(&a.name));
    let mut endpoints = Map::new();
    for attachment in wanted {
        attachment.check()?;
        let name = attachment.name.clone();
        if endpoints.contains_key(&name) {
            return Err(format!("network \"{name}\" is specified multiple times"));
        }
        if single && attachment == (Attachment { name: name.clone(), ..Attachment::default() }) {
            continue;
        }
        endpoints.insert(name, attachment.settings());
    }
    if mixed {
        return Err(MIXED.into());
    }
    Ok((mode, Value::Object(endpoints)))
}

/// Six, eight or twenty bytes, in pairs with colons or dashes or in fours with dots.
fn is_hardware_address(text: &str) -> bool {
    let (width, separator) =
        if text.contains('.') { (4, '.') } else { (2, if text.contains('-') { '-' } else { ':' }) };
    let groups: Vec<&str> = text.split(separator).collect();
    let hex = |group: &&str| group.len() == width && group.bytes().all(|b| b.is_ascii_hexdigit());
    groups.iter().all(hex) && matches!(groups.len() * width / 2, 6 | 8 | 20)
}

/// Flags that belong to the first network.
fn fill(first: &mut Attachment, given: &Given) -> Result<(), String> {
    let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let aliases: Vec<&str> = given.list("network-alias").into_iter().chain(given.list("net-alias")).collect();
    if !first.aliases.is_empty() && !aliases.is_empty() {
        return Err("conflicting options: cannot specify both --network-alias and per-network alias".into());
    }
    first.aliases.extend(own(&aliases));
    let links = given.list("link");
    if !links.is_empty() && user_defined(&first.name) {
        first.links = own(&links);
    }
    for (flag, slot, text) in [
        ("ip", &mut first.ipv4, "conflicting options: cannot specify both --ip and per-network IPv4 address"),
        (
            "ip6",
            &mut first.ipv6,
            "conflicting options: cannot specify both --ip6 and per-network IPv6 address",
        ),
        (
            "mac-address",
            &mut first.mac,
            "conflicting options: cannot specify both --mac-address and per-network MAC address",
        ),
    ] {
        if let Some(value) = given.get(flag) {
            if !slot.is_empty() {
                return Err(text.into());
            }
            *slot = value.to_owned();
        }
    }
    let local = given.list("link-local-ip");
    if !first.link_local.is_empty() && !local.is_empty() {
        return Err("conflicting options: cannot specify both --link-local-ip and per-network link-local IP addresses".into());
    }
    first.link_local.extend(own(&local));
    Ok(())
}

impl Attachment {
    fn check(&self) -> Result<(), String> {
        if self.name.trim().is_empty() {
            return Err("no name set for network".into());
        }
        if !user_defined(&self.name) && !self.aliases.is_empty() {
            return Err("network-scoped aliases are only supported for user-defined networks".into());
        }
        if !self.mac.is_empty() && !is_hardware_address(self.mac.trim()) {
            return Err(format!("{} is not a valid mac address", self.mac));
        }
        Ok(())
    }

    fn settings(self) -> Value {
        let mut ipam = Map::new();
        if !self.ipv4.is_empty() {
            ipam.insert("IPv4Address".into(), self.ipv4.into());
        }
        if !self.ipv6.is_empty() {
            ipam.insert("IPv6Address".into(), self.ipv6.into());
        }
        if !self.link_local.is_empty() {
            ipam.insert("LinkLocalIPs".into(), self.link_local.into());
        }
        let list = |items: Vec<String>| if items.is_empty() { Value::Null } else { items.into() };
        let object = |map: Map<String, Value>| if map.is_empty() { Value::Null } else { Value::Object(map) };
        json!({
            "IPAMConfig": object(ipam),
            "Links": list(self.links),
            "Aliases": list(self.aliases),
            "MacAddress": self.mac,
            "DriverOpts": object(self.driver_options),
            "GwPriority": self.priority,
            "NetworkID": "", "EndpointID": "", "Gateway": "", "IPAddress": "", "IPPrefixLen": 0,
            "IPv6Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "DNSNames": null,
        })
    }
}
