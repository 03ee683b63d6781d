//! `port`: where a container's ports are published.

use crate::check;
use crate::command::{Args, Command, Outcome};
use crate::flag::Complete;
use crate::format::natural;
use crate::given::Given;
use crate::session::Session;
use minke_client::Client;
use serde_json::{Map, Value};

pub(crate) const PORT: Command = Command {
    paths: &["container port", "port"],
    usage: "CONTAINER [PRIVATE_PORT[/PROTO]]",
    about: "Show where a container's ports are published",
    details: "",
    args: Args::Between(1, 2),
    flags: &[],
    interspersed: true,
    complete: Complete::Running,
    run,
};

fn run(session: &Session, given: &Given) -> Outcome {
    let name = &given.args[0];
    if name.trim_matches('/').is_empty() {
        return Err("invalid container name or ID: value is empty".into());
    }
    let path = format!("/containers/{}/json", Client::segment(name));
    let container = session.client()?.get(&path).send()?.json()?;
    let none = Map::new();
    let ports = container.pointer("/NetworkSettings/Ports").and_then(Value::as_object).unwrap_or(&none);
    for line in lines(ports, name, given.args.get(1).map_or("", String::as_str))? {
        session.out.line(&line);
    }
    Ok(0)
}

/// One line for each binding; only those of `wanted` when it is given.
fn lines(ports: &Map<String, Value>, name: &str, wanted: &str) -> Result<Vec<String>, String> {
    let mut out = Vec::new();
    if wanted.is_empty() {
        for (port, bindings) in ports {
            out.extend(addresses(bindings).map(|address| format!("{port} -> {address}")));
        }
    } else {
        let (port, protocol) = wanted.split_once('/').unwrap_or((wanted, "tcp"));
        check::unsigned(port, u16::MAX.into()).map_err(|e| format!("Error: invalid port ({port}): {e}"))?;
        match ports.get(&format!("{port}/{protocol}")) {
            Some(bindings) if !bindings.is_null() => out.extend(addresses(bindings)),
            _ => return Err(format!("Error: No public port '{wanted}' published for {name}")),
        }
    }
    out.sort_by(|a, b| natural(a, b));
    Ok(out)
}

fn addresses(bindings: &Value) -> impl Iterator<Item = String> {
    bindings.as_array().into_iter().flatten().map(|binding| {
        let text = |key: &str| binding.get(key).and_then(Value::as_str).unwrap_or_default();
        let (ip, port) = (text("HostIp"), text("HostPort"));
        if ip.contains([':', '%']) { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bindings_are_listed_in_natural_order_or_by_port() {
        let both = json!([{"HostIp": "0.0.0.0", "HostPort": "32768"}, {"HostIp": "::", "HostPort": "32768"}]);
        let ports =
            json!({"7000/tcp": both, "500/udp": [{"HostIp": "127.0.0.1", "HostPort": "5"}], "9/tcp": null});
        let ports = ports.as_object().unwrap();
        assert_eq!(
            lines(ports, "c", "").unwrap(),
            ["500/udp -> 127.0.0.1:5", "7000/tcp -> 0.0.0.0:32768", "7000/tcp -> [::]:32768"]
        );
        assert_eq!(lines(ports, "c", "7000").unwrap(), ["0.0.0.0:32768", "[::]:32768"]);
        assert_eq!(lines(ports, "c", "500/udp").unwrap(), ["127.0.0.1:5"]);
        let refused = |wanted: &str| lines(ports, "c", wanted).unwrap_err();
        assert_eq!(refused("9"), "Error: No public port '9' published for c");
        assert_eq!(refused("500"), "Error: No public port '500' published for c");
        assert_eq!(
            refused("x/udp"),
            "Error: invalid port (x): strconv.ParseUint: parsing \"x\": invalid syntax"
        );
    }
}
