//! Answers about the engine.

use serde_json::{Map, Value, json};

use super::object;
use crate::ApiVersion;
use crate::system::{BuildCacheRecord, DiskUsage, EventMessage, Info, UsageTotals};

/// One event.
pub fn event(version: ApiVersion, event: &EventMessage) -> Value {
    let document = object(event);
    if !version.before(52) {
        return Value::Object(document);
    }
    // Fields of the time before events had types; only containers and images had events then.
    let mut legacy = Map::new();
    let from = match event.kind.as_str() {
        "container" => event.actor.attributes.get("image").cloned(),
        "image" => Some(String::new()),
        _ => None,
    };
    if let Some(from) = from {
        legacy.insert("status".to_owned(), event.action.clone().into());
        legacy.insert("id".to_owned(), event.actor.id.clone().into());
        if !from.is_empty() {
            legacy.insert("from".to_owned(), from.into());
        }
    }
    legacy.extend(document);
    Value::Object(legacy)
}

/// `GET /info`.
pub fn info(version: ApiVersion, info: &Info) -> Value {
    let mut document = object(info);
    if !version.before(52) {
        document.shift_remove("KernelMemoryTCP");
    }
    if version.before(50) {
        document.shift_remove("DiscoveredDevices");
        document.insert("BridgeNfIptables".to_owned(), json!(false));
        document.insert("BridgeNfIp6tables".to_owned(), json!(false));
    }
    if version.before(49) {
        document.shift_remove("FirewallBackend");
        for name in ["ContainerdCommit", "RuncCommit", "InitCommit"] {
            let Some(Value::Object(commit)) = document.get_mut(name) else { continue };
            if let Some(id) = commit.get("ID").filter(|id| *id != "").cloned() {
                commit.insert("Expected".to_owned(), id);
            }
        }
    }
    if version.before(47)
        && let Some(Value::Object(registry)) = document.get_mut("RegistryConfig")
    {
        registry.insert("AllowNondistributableArtifactsCIDRs".to_owned(), Value::Null);
        registry.insert("AllowNondistributableArtifactsHostnames".to_owned(), Value::Null);
    }
    if version.before(46) {
        document.shift_remove("Containerd");
    }
    if version.before(44)
        && let Some(Value::Object(runtimes)) = document.get_mut("Runtimes")
    {
        for runtime in runtimes.values_mut().filter_map(Value::as_object_mut) {
            runtime.shift_remove("status");
        }
    }
    if version.before(42) && info.kernel_memory_tcp {
        document.insert("KernelMemory".to_owned(), json!(true));
    }
    if version.before(39) {
        for name in ["KernelVersion", "OperatingSystem"] {
            if document.get(name).is_some_and(|value| value == "") {
                document.insert(name.to_owned(), json!("<unknown>"));
            }
        }
    }
    if version.before(25) {
        let options: Vec<&str> = info.security_options.iter().map(|option| option_name(option)).collect();
        document.insert("SecurityOptions".to_owned(), json!(options));
        document.insert("ExecutionDriver".to_owned(), json!("<not supported>"));
    }
    Value::Object(document)
}

/// `name=seccomp,profile=builtin` was just `seccomp` until 1.24.
fn option_name(option: &str) -> &str {
    option.split(',').find_map(|pair| pair.strip_prefix("name=")).unwrap_or(option)
}

/// `GET /system/df`: until 1.42 without the parents of the build cache's records, lists until 1.52, totals since 1.52 (`verbose` adds the items to them).
pub fn disk_usage(version: ApiVersion, verbose: bool, usage: &DiskUsage) -> Value {
    let mut document = Map::new();
    if version.before(53) && !verbose {
        let mut legacy = object(usage);
        let images = usage.images.iter().map(|image| {
            let mut entry = object(image);
            for (name, empty) in
                [("RepoTags", image.repo_tags.is_empty()), ("RepoDigests", image.repo_digests.is_empty())]
            {
                if empty {
                    entry.insert(name.to_owned(), Value::Null);
                }
            }
            if version.before(44) {
                entry.insert("VirtualSize".to_owned(), image.size.into());
            }
            Value::Object(entry)
        });
        legacy.insert("Images".to_owned(), images.collect());
        if version.before(42) {
            let records =
                usage.build_cache.iter().map(|record| BuildCacheRecord { parents: None, ..record.clone() });
            legacy.insert(
                "BuildCache".to_owned(),
                records.map(|record| Value::Object(object(&record))).collect(),
            );
            let size: i64 = usage.build_cache.iter().map(|record| record.size).sum();
            if size > 0 {
                legacy.insert("BuilderSize".to_owned(), size.into());
            }
        }
        document.extend(legacy);
    }
    if !version.before(52) {
        let totals = [
            ("ImageUsage", image_totals(usage), json!(usage.images)),
            ("ContainerUsage", container_totals(usage), json!(usage.containers)),
            ("VolumeUsage", volume_totals(usage), json!(usage.volumes)),
            ("BuildCacheUsage", build_totals(usage), json!(usage.build_cache)),
        ];
        for (name, totals, items) in totals {
            let mut entry = object(&totals);
            if verbose {
                entry.insert("Items".to_owned(), items);
            }
            document.insert(name.to_owned(), Value::Object(entry));
        }
    }
    Value::Object(document)
}

fn count<T>(items: &[T]) -> i64 {
    i64::try_from(items.len()).unwrap_or(i64::MAX)
}

fn image_totals(usage: &DiskUsage) -> UsageTotals {
    let active = usage.images.iter().filter(|image| image.containers > 0);
    let used: i64 = active.clone().map(|image| image.size - image.shared_size.max(0)).sum();
    UsageTotals {
        active_count: i64::try_from(active.count()).unwrap_or(i64::MAX),
        total_count: count(&usage.images),
        reclaimable: (usage.layers_size - used).max(0),
        total_size: usage.layers_size,
    }
}

fn container_totals(usage: &DiskUsage) -> UsageTotals {
    let is_active = |state: &str| matches!(state, "running" | "paused" | "restarting");
    let (active, idle): (Vec<_>, Vec<_>) =
        usage.containers.iter().partition(|container| is_active(&container.state));
    UsageTotals {
        active_count: count(&active),
        total_count: count(&usage.containers),
        reclaimable: idle.iter().map(|container| container.size_rw).sum(),
        total_size: usage.containers.iter().map(|container| container.size_rw).sum(),
    }
}

fn volume_totals(usage: &DiskUsage) -> UsageTotals {
    let measured = |used: bool| {
        usage
            .volumes
            .iter()
            .filter_map(|volume| volume.usage_data.as_ref())
            .filter(move |data| !used || data.ref_count > 0)
    };
    let total_size: i64 = measured(false).map(|data| data.size).sum();
    UsageTotals {
        active_count: i64::try_from(measured(true).count()).unwrap_or(i64::MAX),
        total_count: count(&usage.volumes),
        reclaimable: total_size - measured(true).map(|data| data.size).sum::<i64>(),
        total_size,
    }
}

/// What images have as well counts there.
fn build_totals(usage: &DiskUsage) -> UsageTotals {
    let own = || usage.build_cache.iter().filter(|record| !record.shared);
    UsageTotals {
        active_count: count(&usage.build_cache.iter().filter(|record| record.in_use).collect::<Vec<_>>()),
        total_count: count(&usage.build_cache),
        reclaimable: own().filter(|record| !record.in_use).map(|record| record.size).sum(),
        total_size: own().map(|record| record.size).sum(),
    }
}
