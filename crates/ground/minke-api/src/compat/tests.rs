//! Documents that Docker 28.5 gave to clients of several versions, made anonymous: from its newest form every older one must
//! come out, field for field.

use serde_json::{Value, json};

use super::*;
use crate::ApiVersion;
use crate::container::{ContainerCreateRequest, ContainerInspect, ContainerSummary};
use crate::image::{ImageInspect, ImageSummary};
use crate::lenient;
use crate::network::{EndpointSettings, NetworkCreateRequest, NetworkResource, NetworkStatus};
use crate::system::{BuildCacheRecord, DiskUsage, EventMessage, Info};

const VERSIONS: [u16; 8] = [24, 39, 41, 43, 44, 46, 49, 51];

/// The document for a version: a fixture holds those that differ from the next newer one.
fn captured(fixture: &str, minor: u16) -> Value {
    let documents: Value = serde_json::from_str(fixture).unwrap();
    (minor..=51).find_map(|minor| documents.get(minor.to_string())).unwrap().clone()
}

fn check<T: serde::de::DeserializeOwned>(fixture: &str, adapt: impl Fn(ApiVersion, &T) -> Value) {
    let newest: T = lenient::from_value(&captured(fixture, 51)).unwrap();
    for minor in VERSIONS {
        let expected = captured(fixture, minor);
        assert_eq!(adapt(ApiVersion::v1(minor), &newest), expected, "version 1.{minor}");
    }
}

#[test]
fn container_inspect_is_docker_s() {
    check(include_str!("fixtures/container.json"), |version, container: &ContainerInspect| {
        containers::inspect(version, container)
    });
}

#[test]
fn container_list_is_docker_s() {
    check(include_str!("fixtures/containers.json"), |version, list: &Vec<ContainerSummary>| {
        list.iter().map(|entry| json!(containers::summary(version, entry.clone()))).collect()
    });
}

#[test]
fn network_inspect_is_docker_s() {
    check(include_str!("fixtures/network.json"), |version, network: &NetworkResource| {
        json!(networks::inspect(version, network.clone()))
    });
}

#[test]
fn network_list_is_docker_s() {
    let newest: Vec<NetworkResource> =
        lenient::from_value(&captured(include_str!("fixtures/networks.json"), 24)).unwrap();
    for minor in VERSIONS {
        let list: Value =
            newest.iter().map(|entry| networks::summary(ApiVersion::v1(minor), entry)).collect();
        assert_eq!(list, captured(include_str!("fixtures/networks.json"), minor), "version 1.{minor}");
    }
}

#[test]
fn a_network_s_members_and_figures_come_and_go_with_the_versions() {
    let network = NetworkResource { status: Some(NetworkStatus::default()), ..NetworkResource::default() };
    assert!(networks::inspect(ApiVersion::v1(51), network.clone()).status.is_none());
    assert_eq!(json!(networks::inspect(ApiVersion::v1(52), network.clone()))["Status"], json!({"IPAM": {}}));
    let newest = networks::summary(ApiVersion::v1(52), &network);
    assert!(newest.get("Containers").is_none() && newest.get("Status").is_none());
}

#[test]
fn a_container_in_two_networks_is_inspected_as_docker_does() {
    check(include_str!("fixtures/connected.json"), |version, container: &ContainerInspect| {
        containers::inspect(version, container)
    });
}

#[test]
fn what_older_clients_could_not_say_about_networks_is_not_heard() {
    let mut request = NetworkCreateRequest { enable_ipv4: Some(false), ..NetworkCreateRequest::default() };
    networks::create(ApiVersion::v1(47), &mut request);
    assert_eq!(request.enable_ipv4, None);
    let mut endpoint = EndpointSettings {
        mac_address: "02:42:00:00:00:01".into(),
        gw_priority: 3,
        ..EndpointSettings::default()
    };
    networks::connect(ApiVersion::v1(44), &mut endpoint);
    assert_eq!((endpoint.mac_address.as_str(), endpoint.gw_priority), ("02:42:00:00:00:01", 0));
    networks::connect(ApiVersion::v1(43), &mut endpoint);
    assert!(endpoint.mac_address.is_empty());
}

#[test]
fn image_inspect_is_docker_s() {
    check(include_str!("fixtures/image.json"), |version, image: &ImageInspect| {
        images::inspect(version, image)
    });
}

#[test]
fn docker_compose_of_old_gets_the_images_it_can_read() {
    let (newest, old) = (ApiVersion::MAX, ApiVersion::v1(24));
    let compose = "docker-compose/1.29.2 Linux/6.1.0";
    assert_eq!(images::understood_by(compose, newest), ApiVersion::v1(44));
    assert_eq!(images::understood_by(compose, old), old);
    assert_eq!(images::understood_by("compose/v2.40.0", newest), newest);
}

#[test]
fn image_list_is_docker_s() {
    check(include_str!("fixtures/images.json"), |version, list: &Vec<ImageSummary>| {
        list.iter().map(|entry| images::summary(version, entry)).collect()
    });
}

#[test]
fn info_is_docker_s() {
    check(include_str!("fixtures/info.json"), |version, info: &Info| {
        let mut document = system::info(version, info);
        // Docker 28 left this one out for 1.24, though its documentation of 1.24 has it; harmless and kept.
        if let Value::Object(map) = &mut document {
            map.shift_remove("ExecutionDriver");
        }
        document
    });
}

#[test]
fn disk_usage_is_docker_s() {
    check(include_str!("fixtures/df.json"), |version, usage: &DiskUsage| {
        system::disk_usage(version, false, usage)
    });
}

#[test]
fn disk_usage_becomes_totals_in_1_52() {
    let usage: DiskUsage = lenient::from_value(&captured(include_str!("fixtures/df.json"), 51)).unwrap();
    let both = system::disk_usage(ApiVersion::v1(52), false, &usage);
    assert!(both.get("Images").is_some() && both.get("ImageUsage").is_some());
    let newest = system::disk_usage(ApiVersion::v1(53), false, &usage);
    assert!(newest.get("Images").is_none() && newest["ImageUsage"].get("Items").is_none());
    let verbose = system::disk_usage(ApiVersion::v1(53), true, &usage);
    assert_eq!(verbose["ImageUsage"]["Items"].as_array().unwrap().len(), usage.images.len());
}

#[test]
fn network_settings_repeat_nothing_since_1_52() {
    let container: ContainerInspect =
        lenient::from_value(&captured(include_str!("fixtures/container.json"), 51)).unwrap();
    let newest = containers::inspect(ApiVersion::MAX, &container);
    let mut names: Vec<&str> =
        newest["NetworkSettings"].as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["Networks", "Ports", "SandboxID", "SandboxKey"]);
    assert!(newest["Config"].get("OnBuild").is_none());
}

#[test]
fn image_inspect_leaves_out_what_is_empty_since_1_52() {
    let image: ImageInspect =
        lenient::from_value(&captured(include_str!("fixtures/image.json"), 51)).unwrap();
    let newest = images::inspect(ApiVersion::MAX, &image);
    assert!(newest.get("Author").is_none());
    let mut names: Vec<&str> = newest["Config"].as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["Cmd", "Env"]);
}

#[test]
fn events_say_everything_twice_until_1_51() {
    let message: EventMessage = serde_json::from_value(json!({
        "Type": "container", "Action": "start", "Actor": {"ID": "abc", "Attributes": {"image": "busybox", "name": "x"}},
        "scope": "local", "time": 1, "timeNano": 1_000_000_001,
    }))
    .unwrap();
    let old = system::event(ApiVersion::v1(51), &message);
    assert_eq!(
        (&old["status"], &old["id"], &old["from"]),
        (&json!("start"), &json!("abc"), &json!("busybox"))
    );
    assert!(system::event(ApiVersion::v1(52), &message).get("status").is_none());
}

#[test]
fn the_short_id_is_an_alias_until_1_44() {
    let container = ContainerInspect {
        id: "0123456789abcdef".to_owned(),
        network_settings: lenient::from_value(
            &json!({"Networks": {"mine": {"Aliases": ["web"]}, "bridge": {}}}),
        )
        .unwrap(),
        ..ContainerInspect::default()
    };
    let aliases = |minor| {
        let document = containers::inspect(ApiVersion::v1(minor), &container);
        document["NetworkSettings"]["Networks"]["mine"]["Aliases"].clone()
    };
    assert_eq!(aliases(44), json!(["web", "0123456789ab"]));
    assert_eq!(aliases(45), json!(["web"]));
}

fn create(body: Value, minor: u16) -> (ContainerCreateRequest, Result<Vec<String>, requests::RequestError>) {
    let mut request = ContainerCreateRequest::from_value(&body).unwrap();
    let result = requests::create(ApiVersion::v1(minor), &mut request);
    (request, result)
}

#[test]
fn old_clients_share_ipc_and_see_the_host_s_cgroups() {
    let (old, _) = create(json!({}), 39);
    assert_eq!(
        (old.host_config.ipc_mode.as_str(), old.host_config.cgroupns_mode.as_str()),
        ("shareable", "host")
    );
    let (new, _) = create(json!({}), 41);
    assert_eq!((new.host_config.ipc_mode.as_str(), new.host_config.cgroupns_mode.as_str()), ("", ""));
}

#[test]
fn fields_of_the_future_are_ignored() {
    let body = json!({
        "Healthcheck": {"StartInterval": 5},
        "HostConfig": {"Annotations": {"a": "b"}, "ConsoleSize": [1, 2], "KernelMemory": 7, "Umask": 18},
    });
    let (old, _) = create(body.clone(), 41);
    assert_eq!(old.config.healthcheck.unwrap().start_interval, 0);
    assert_eq!((old.host_config.console_size, old.host_config.annotations), ([0, 0], None));
    assert_eq!((old.host_config.kernel_memory, old.host_config.umask), (7, None));
    let (new, _) = create(body, 56);
    assert_eq!((new.host_config.kernel_memory, new.host_config.umask), (0, Some(18)));
    assert_eq!(new.host_config.console_size, [1, 2]);
}

#[test]
fn one_network_only_until_1_43() {
    let body = json!({"NetworkingConfig": {"EndpointsConfig": {"a": {}, "b": {}}}});
    assert_eq!(create(body.clone(), 43).1, Err(requests::RequestError::SeveralNetworks));
    assert_eq!(create(body, 44).1, Ok(vec![]));
}

#[test]
fn a_container_wide_mac_moves_to_its_network() {
    let body = json!({"MacAddress": "02:42:ac:11:00:02"});
    for (minor, warnings) in [(43, 0), (44, 1), (51, 1)] {
        let (request, result) = create(body.clone(), minor);
        assert_eq!(result.unwrap().len(), warnings, "1.{minor}");
        assert_eq!(
            request.networking_config.endpoints_config.unwrap()["default"].mac_address,
            "02:42:ac:11:00:02"
        );
    }
    assert_eq!(create(body, 52).1, Err(requests::RequestError::ContainerWideMac));
}

#[test]
fn waits_begin_early_since_1_30() {
    assert_eq!(
        containers::wait_plan(ApiVersion::v1(29), "removed"),
        containers::WaitPlan { condition: "", early_head: false }
    );
    assert!(containers::wait_plan(ApiVersion::v1(30), "removed").early_head);
}

#[test]
fn streams_say_what_they_are_since_1_42() {
    assert_eq!(streams::content_type(ApiVersion::v1(41), false), streams::RAW);
    assert_eq!(streams::content_type(ApiVersion::v1(42), false), streams::MULTIPLEXED);
    assert_eq!(streams::content_type(ApiVersion::v1(42), true), streams::RAW);
}

#[test]
fn events_are_sent_as_asked_for() {
    let format = |minor, accept| streams::events_format(ApiVersion::v1(minor), accept).content_type();
    assert_eq!(format(56, "*/*"), "application/json");
    assert_eq!(format(56, "text/x, application/jsonl;q=1"), "application/jsonl");
    assert_eq!(format(52, "application/jsonl"), "application/json");
    assert_eq!(format(52, "application/json-seq"), "application/json-seq");
    assert_eq!(format(51, "application/x-ndjson"), "application/json");
}

#[test]
fn records_of_the_build_cache_have_parents_since_1_42() {
    let record = |id: &str, size, shared, in_use| BuildCacheRecord {
        id: id.to_owned(),
        parents: Some(vec!["p".to_owned()]),
        size,
        shared,
        in_use,
        ..BuildCacheRecord::default()
    };
    let usage = DiskUsage {
        build_cache: vec![
            record("a", 5, false, false),
            record("b", 7, true, false),
            record("c", 11, false, true),
        ],
        ..DiskUsage::default()
    };
    let old = system::disk_usage(ApiVersion::v1(41), false, &usage);
    assert_eq!((&old["BuilderSize"], old["BuildCache"][0].get("Parents")), (&json!(23), None));
    let later = system::disk_usage(ApiVersion::v1(42), false, &usage);
    assert_eq!((later.get("BuilderSize"), &later["BuildCache"][0]["Parents"]), (None, &json!(["p"])));
    let newest = system::disk_usage(ApiVersion::v1(52), true, &usage);
    let sums = json!({"ActiveCount": 1, "TotalCount": 3, "Reclaimable": 5, "TotalSize": 16});
    for (name, sum) in sums.as_object().unwrap() {
        assert_eq!(&newest["BuildCacheUsage"][name], sum, "{name}");
    }
    assert_eq!(newest["BuildCacheUsage"]["Items"].as_array().unwrap().len(), 3);
}

#[test]
fn limits_of_a_prune_are_read_by_version() {
    let given = |name: &str| match name {
        "keep-storage" => Some("5"),
        "max-used-space" => Some("7"),
        "min-free-space" => Some("9"),
        _ => None,
    };
    let limits = |version| {
        let limits = requests::prune_limits(ApiVersion::v1(version), given).unwrap();
        (limits.reserved_space, limits.max_used_space, limits.min_free_space)
    };
    assert_eq!(limits(47), (5, 0, 0));
    assert_eq!(limits(48), (5, 7, 9));
    let error = requests::prune_limits(ApiVersion::MAX, |_| Some("x")).unwrap_err().to_string();
    let words = "reserved-space is in bytes and expects an integer, got x: strconv.Atoi: parsing \"x\": invalid syntax";
    assert_eq!(error, words);
}
