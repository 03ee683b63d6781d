//! Answers about containers.

use serde_json::{Map, Value, json};

use super::{fill, object};
use crate::ApiVersion;
use crate::container::stats::StatsResponse;
use crate::container::{ContainerInspect, ContainerSummary};

/// `GET /containers/{id}/json`.
pub fn inspect(version: ApiVersion, container: &ContainerInspect) -> Value {
    let mut document = object(container);
    if version.before(45)
        && let Some(Value::Object(settings)) = document.get_mut("NetworkSettings")
    {
        add_short_id_alias(settings, &container.id);
    }
    if version.before(52) {
        if let Some(Value::Object(config)) = document.get_mut("Config") {
            fill(config, "OnBuild", Value::Null);
        }
        if let Some(Value::Object(settings)) = document.get_mut("NetworkSettings") {
            repeat_default_bridge(settings);
        }
    } else if let Some(Value::Object(host)) = document.get_mut("HostConfig") {
        host.shift_remove("KernelMemoryTCP");
    }
    Value::Object(document)
}

/// `GET /containers/{id}/stats`.
pub fn stats(version: ApiVersion, mut sample: StatsResponse) -> StatsResponse {
    if !version.before(52) {
        sample.os_type = Some("linux".to_owned());
    }
    sample
}

/// Until 1.51 `NetworkSettings` repeated the container's end in the default bridge, with fields nobody fills any more.
fn repeat_default_bridge(settings: &mut Map<String, Value>) {
    let bridge =
        settings.get("Networks").and_then(|networks| networks.get("bridge")).cloned().unwrap_or(Value::Null);
    let copy = |name: &str, missing: Value| bridge.get(name).cloned().unwrap_or(missing);
    let legacy = [
        ("Bridge", json!("")),
        ("HairpinMode", json!(false)),
        ("LinkLocalIPv6Address", json!("")),
        ("LinkLocalIPv6PrefixLen", json!(0)),
        ("SecondaryIPAddresses", Value::Null),
        ("SecondaryIPv6Addresses", Value::Null),
        ("EndpointID", copy("EndpointID", json!(""))),
        ("Gateway", copy("Gateway", json!(""))),
        ("GlobalIPv6Address", copy("GlobalIPv6Address", json!(""))),
        ("GlobalIPv6PrefixLen", copy("GlobalIPv6PrefixLen", json!(0))),
        ("IPAddress", copy("IPAddress", json!(""))),
        ("IPPrefixLen", copy("IPPrefixLen", json!(0))),
        ("IPv6Gateway", copy("IPv6Gateway", json!(""))),
        ("MacAddress", copy("MacAddress", json!(""))),
    ];
    for (name, value) in legacy {
        fill(settings, name, value);
    }
}

/// Until 1.44 the aliases in a network of the user's own held the short id too.
fn add_short_id_alias(settings: &mut Map<String, Value>, id: &str) {
    let Some(Value::Object(networks)) = settings.get_mut("Networks") else { return };
    for (name, endpoint) in networks {
        if matches!(name.as_str(), "bridge" | "host" | "none" | "default") || id.len() < 12 {
            continue;
        }
        let short = Value::from(&id[..12]);
        match endpoint.get_mut("Aliases") {
            Some(Value::Array(aliases)) if !aliases.contains(&short) => aliases.push(short),
            Some(missing @ Value::Null) => *missing = Value::Array(vec![short]),
            _ => {}
        }
    }
}

/// One entry of `GET /containers/json`.
pub fn summary(version: ApiVersion, mut container: ContainerSummary) -> ContainerSummary {
    if version.before(52) {
        container.health = None;
    }
    if version.before(46) {
        container.host_config.annotations = None;
    }
    container
}

/// What `POST /containers/{id}/wait` does in a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitPlan<'a> {
    pub condition: &'a str,
    /// The head goes out before the container stops, so that the client knows the wait has begun.
    pub early_head: bool,
}

pub fn wait_plan(version: ApiVersion, condition: &str) -> WaitPlan<'_> {
    if version.before(30) {
        WaitPlan { condition: "", early_head: false }
    } else {
        WaitPlan { condition, early_head: true }
    }
}
