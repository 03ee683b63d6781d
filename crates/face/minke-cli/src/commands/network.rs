//! `network create`, `connect`, `disconnect`, `rm`, `prune`: what changes networks.
//!
//! Looking at them is in `network_list.rs`; how `run` and `create` join them is in `networks.rs`. Subnets, ranges and
//! gateways are matched here, as docker's client does, so that a pair that does not fit is refused before the engine
//! is asked.

use super::{prune, subnets};
use crate::check;
use crate::command::{Args, Command};
use crate::failure::Failure;
use crate::flag::{Complete, Flag, Kind, flag, short};
use crate::format::filters;
use crate::given::Given;
use crate::printer::complain;
use minke_client::Client;
use serde_json::{Map, Value, json};

const CREATE_FLAGS: &[Flag] = &[
    flag("attachable", Kind::Bool, "Let single containers join a network of a swarm"),
    flag("aux-address", Kind::Map, "Address that containers must not get (name=address)").default("map[]"),
    flag("config-from", Kind::Str, "Network to copy the settings from").complete(Complete::Networks),
    flag("config-only", Kind::Bool, "Keep settings only, for others to copy"),
    short("driver", 'd', Kind::Str, "Driver of the network")
        .default("bridge")
        .complete(Complete::Words(&["bridge", "macvlan"])),
    flag("gateway", Kind::Strings, "Gateway of a subnet"),
    flag("ingress", Kind::Bool, "Make the routing mesh of a swarm"),
    flag("internal", Kind::Bool, "No way in or out"),
    flag("ip-range", Kind::Strings, "Part of a subnet that containers get addresses from"),
    flag("ipam-driver", Kind::Str, "Driver that hands out addresses").default("default"),
    flag("ipam-opt", Kind::Map, "Option of that driver").default("map[]"),
    flag("ipv4", Kind::Bool, "Give out IPv4 addresses").default("true"),
    flag("ipv6", Kind::Bool, "Give out IPv6 addresses"),
    flag("label", Kind::List, "Label of the network").check(check::label),
    short("opt", 'o', Kind::Map, "Option of the driver").default("map[]"),
    flag("scope", Kind::Str, "Scope of the network"),
    flag("subnet", Kind::Strings, "Subnet, as address/bits"),
];

pub(crate) const CREATE: Command = Command {
    paths: &["network create"],
    usage: "[OPTIONS] NETWORK",
    about: "Make a network",
    details: "",
    args: Args::Exactly(1),
    flags: &[CREATE_FLAGS],
    interspersed: true,
    complete: Complete::Nothing,
    run: |session, given| {
        let body = creation(given)?;
        let answer = session.client()?.post("/networks/create").json(&body).send()?.json()?;
        if let Some(warning) = answer.get("Warning").and_then(Value::as_str).filter(|w| !w.is_empty()) {
            complain(&format!("WARNING: {warning}"));
        }
        session.out.line(answer.get("Id").and_then(Value::as_str).unwrap_or_default());
        Ok(0)
    },
};

/// The document for `POST /networks/create`.
pub(crate) fn creation(given: &Given) -> Result<Value, String> {
    let auxiliary = super::body::pairs(&given.list("aux-address"));
    let blocks = subnets::plan(
        &given.strings("subnet"),
        &given.strings("ip-range"),
        &given.strings("gateway"),
        &auxiliary,
    )?;
    let text = |name: &str, default: &str| given.get(name).unwrap_or(default).to_owned();
    let mut body = Map::new();
    let mut put = |key: &str, value: Value| drop(body.insert(key.to_owned(), value));
    put("Driver", text("driver", "bridge").into());
    put("Scope", text("scope", "").into());
    for (flag, key) in [("ipv4", "EnableIPv4"), ("ipv6", "EnableIPv6")] {
        if given.changed(flag) {
            put(key, given.on(flag).into());
        }
    }
    put(
        "IPAM",
        json!({
            "Driver": text("ipam-driver", "default"),
            "Options": super::body::pairs(&given.list("ipam-opt")),
            "Config": blocks,
        }),
    );
    for (flag, key) in [
        ("internal", "Internal"),
        ("attachable", "Attachable"),
        ("ingress", "Ingress"),
        ("config-only", "ConfigOnly"),
    ] {
        put(key, given.on(flag).into());
    }
    put("ConfigFrom", given.get("config-from").map_or(Value::Null, |name| json!({"Network": name})));
    put("Options", Value::Object(super::body::pairs(&given.list("opt"))));
    put("Labels", Value::Object(super::body::pairs(&given.list("label"))));
    put("Name", given.args[0].clone().into());
    Ok(Value::Object(body))
}

const CONNECT_FLAGS: &[Flag] = &[
    flag("alias", Kind::Strings, "Further name of the container on this network"),
    flag("driver-opt", Kind::Strings, "Option of the network's driver"),
    flag("gw-priority", Kind::Int, "The network with the highest one gives the default gateway"),
    flag("ip", Kind::Str, "IPv4 address (172.30.100.104)"),
    flag("ip6", Kind::Str, "IPv6 address (2001:db8::33)"),
    flag("link", Kind::List, "Link to another container").check(check::link).complete(Complete::Containers),
    flag("link-local-ip", Kind::Strings, "Link-local address"),
];

pub(crate) const CONNECT: Command = Command {
    paths: &["network connect"],
    usage: "[OPTIONS] NETWORK CONTAINER",
    about: "Let a container join a network",
    details: "",
    args: Args::Exactly(2),
    flags: &[CONNECT_FLAGS],
    interspersed: true,
    complete: Complete::Networks,
    run: |session, given| {
        let body = connection(given)?;
        session.client()?.post(&path(&given.args[0], "/connect")?).json(&body).send()?;
        Ok(0)
    },
};

/// The document for `POST /networks/N/connect`.
pub(crate) fn connection(given: &Given) -> Result<Value, String> {
    let mut ipam = Map::new();
    for (flag, key) in [("ip", "IPv4Address"), ("ip6", "IPv6Address")] {
        if let Some(address) = given.get(flag).filter(|a| !a.is_empty()) {
            ipam.insert(key.into(), address.into());
        }
    }
    let local = given.strings("link-local-ip");
    if !local.is_empty() {
        ipam.insert("LinkLocalIPs".into(), local.into());
    }
    let mut options = Map::new();
    for option in given.strings("driver-opt") {
        let Some((key, value)) = option.split_once('=') else {
            return Err("invalid key/value pair format in driver options".into());
        };
        options.insert(key.to_owned(), value.into());
    }
    let links = given.list("link");
    if given.args[0].is_empty() {
        return Err("invalid network name or ID: value is empty".into());
    }
    if given.args[1].is_empty() {
        return Err("invalid container name or ID: value is empty".into());
    }
    Ok(json!({
        "Container": given.args[1],
        "EndpointConfig": {
            "IPAMConfig": ipam,
            "Links": if links.is_empty() { Value::Null } else { json!(links) },
            "Aliases": given.strings("alias"),
            "MacAddress": "",
            "DriverOpts": options,
            "GwPriority": given.int("gw-priority").unwrap_or(0),
            "NetworkID": "", "EndpointID": "", "Gateway": "", "IPAddress": "", "IPPrefixLen": 0,
            "IPv6Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "DNSNames": null,
        },
    }))
}

const DISCONNECT_FLAGS: &[Flag] =
    &[short("force", 'f', Kind::Bool, "Even when the container does not let go")];

pub(crate) const DISCONNECT: Command = Command {
    paths: &["network disconnect"],
    usage: "[OPTIONS] NETWORK CONTAINER",
    about: "Take a container off a network",
    details: "",
    args: Args::Exactly(2),
    flags: &[DISCONNECT_FLAGS],
    interspersed: true,
    complete: Complete::Networks,
    run: |session, given| {
        let path = path(&given.args[0], "/disconnect")?;
        if given.args[1].is_empty() {
            return Err("invalid container name or ID: value is empty".into());
        }
        let body = json!({"Container": given.args[1], "Force": given.on("force")});
        session.client()?.post(&path).json(&body).send()?;
        Ok(0)
    },
};

const RM_FLAGS: &[Flag] = &[short("force", 'f', Kind::Bool, "A network that is not there is no error")];

pub(crate) const RM: Command = Command {
    paths: &["network rm", "network remove"],
    usage: "NETWORK [NETWORK...]",
    about: "Remove networks",
    details: "",
    args: Args::AtLeast(1),
    flags: &[RM_FLAGS],
    interspersed: true,
    complete: Complete::Networks,
    run: |session, given| {
        let client = session.client()?;
        let mut failed = false;
        for name in &given.args {
            let path = match path(name, "") {
                Ok(path) => path,
                Err(why) => {
                    complain(&why);
                    failed = true;
                    continue;
                }
            };
            match client.delete(&path).send() {
                Ok(response) => {
                    drop(response.bytes());
                    session.out.line(name);
                }
                Err(error) if error.unreachable() => return Err(error.into()),
                Err(error) if given.on("force") && error.status() == Some(404) => {}
                Err(error) => {
                    session.out.flush()?;
                    complain(&error.to_string());
                    failed = true;
                }
            }
        }
        // The last word of docker's client, which scripts have come to see.
        if failed { Err(Failure::new(1, "exit status 1")) } else { Ok(0) }
    },
};

fn path(name: &str, tail: &str) -> Result<String, String> {
    if name.trim().is_empty() {
        return Err("invalid network name or ID: value is empty".into());
    }
    Ok(format!("/networks/{}{tail}", Client::segment(name)))
}

const PRUNE_FLAGS: &[Flag] = &[
    flag("filter", Kind::Filter, "Remove only what fits (\"until=<timestamp>\")"),
    short("force", 'f', Kind::Bool, "Do not ask"),
];

pub(crate) const PRUNE: Command = Command {
    paths: &["network prune"],
    usage: "[OPTIONS]",
    about: "Remove networks that no container uses",
    details: "",
    args: Args::None,
    flags: &[PRUNE_FLAGS],
    interspersed: true,
    complete: Complete::Nothing,
    run: |session, given| {
        let warning = "WARNING! This will remove all custom networks not used by at least one container.";
        if !prune::sure(session, given, warning)? {
            return Ok(0);
        }
        let mut call = session.client()?.post("/networks/prune");
        if let Some(filters) = filters(&given.list("filter")) {
            call = call.query("filters", filters);
        }
        let answer = call.send()?.json()?;
        let deleted = prune::lines("Deleted Networks", &prune::names(&answer, "NetworksDeleted"));
        if !deleted.is_empty() {
            session.out.line(&deleted);
        }
        Ok(0)
    },
};
