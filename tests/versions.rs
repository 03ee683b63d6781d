//! Create, inspect and list as each API version has them, from its first to its last.
//!
//! `versions/docker-28.5.json` is what Docker 28.5 answered to `versions/requests.json`, without what no two engines share; it
//! was recorded by this test with `MINKE_PEER_DOCKER` and `MINKE_BLESS=1`. Docker 28.5 ends at 1.51: what 1.56 may say is in
//! `versions/fields-1.56.json`, the names of the fields in that version's published description.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use minke_testkit::Daemon;
use serde_json::{Value, json};

const VERSIONS: [&str; 5] = ["1.24", "1.30", "1.41", "1.44", "1.51"];
const NAME: &str = "mkt-fixture";
const REQUESTS: &str = include_str!("versions/requests.json");

/// One request over the engine's socket; status and body.
#[track_caller]
fn call(daemon: &Daemon, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
    let socket = daemon.host();
    let socket = socket.strip_prefix("unix://").expect("a socket");
    let mut stream = UnixStream::connect(socket).expect("the engine listens");
    let body = body.map(Value::to_string).unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("sent");
    stream.write_all(body.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, text) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, serde_json::from_str(text).unwrap_or(Value::Null))
}

/// What no two engines share is taken out, and lists without an order are sorted.
fn normalise(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map.iter_mut() {
                match key.as_str() {
                    "Id" | "Created" | "Image" | "ImageID" | "Runtime" | "Data" | "ResolvConfPath"
                    | "HostnamePath" | "HostsPath" | "LogPath" => *inner = json!("…"),
                    _ => normalise(inner),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(normalise),
        _ => {}
    }
}

/// Create, inspect, list, remove.
#[track_caller]
fn round_trip(daemon: &Daemon, version: &str, request: &Value) -> Value {
    let at = |path: &str| format!("/v{version}/containers/{path}");
    let (status, created) = call(daemon, "POST", &at(&format!("create?name={NAME}")), Some(request));
    assert_eq!(status, 201, "{version}: {created}");
    let (status, mut inspect) = call(daemon, "GET", &at(&format!("{NAME}/json")), None);
    assert_eq!(status, 200, "{version}: {inspect}");
    assert_eq!(inspect["Id"], created["Id"]);
    let (status, mut list) =
        call(daemon, "GET", &at("json?all=1&filters=%7B%22name%22%3A%5B%22mkt-fixture%22%5D%7D"), None);
    assert_eq!((status, list.as_array().map(Vec::len)), (200, Some(1)), "{version}: {list}");
    assert_eq!(list[0]["Id"], created["Id"]);
    if inspect["Config"]["Hostname"].as_str() == created["Id"].as_str().map(|id| &id[..12]) {
        inspect["Config"]["Hostname"] = json!("…");
    }
    normalise(&mut inspect);
    normalise(&mut list);
    let (status, _) = call(daemon, "DELETE", &at(NAME), None);
    assert_eq!(status, 204);
    json!({"warnings": created["Warnings"], "inspect": inspect, "list": list})
}

fn requests() -> BTreeMap<String, Value> {
    serde_json::from_str(REQUESTS).expect("the requests")
}

/// Where two documents differ, by path.
fn differences(path: &str, wanted: &Value, found: &Value, out: &mut Vec<String>) {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => {
            let keys: std::collections::BTreeSet<&String> = wanted.keys().chain(found.keys()).collect();
            for key in keys {
                match (wanted.get(key), found.get(key)) {
                    (Some(wanted), Some(found)) => differences(&format!("{path}.{key}"), wanted, found, out),
                    (wanted, found) => out.push(format!("{path}.{key}: Docker {wanted:?}, here {found:?}")),
                }
            }
        }
        (wanted, found) if wanted == found => {}
        (wanted, found) => out.push(format!("{path}: Docker {wanted}, here {found}")),
    }
}

#[test]
fn each_version_answers_as_docker_does() {
    let daemon = Daemon::start();
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("versions/docker-28.5.json");
    let mut answers: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
    for version in VERSIONS {
        for (name, request) in requests() {
            let answer = round_trip(&daemon, version, &request);
            answers.entry(version.to_owned()).or_default().insert(name, answer);
        }
    }
    if daemon.is_peer() && std::env::var_os("MINKE_BLESS").is_some() {
        let text = serde_json::to_string_pretty(&answers).expect("JSON") + "\n";
        std::fs::write(recorded, text).expect("write Docker's answers");
        return;
    }
    let text = std::fs::read_to_string(&recorded).expect("Docker's answers");
    let docker: Value = serde_json::from_str(&text).expect("JSON");
    let mut found = Vec::new();
    differences("", &docker, &serde_json::to_value(&answers).expect("JSON"), &mut found);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_newest_version_says_nothing_its_description_lacks() {
    let daemon = Daemon::start();
    if daemon.is_peer() {
        return;
    }
    let fields: BTreeMap<String, Vec<String>> =
        serde_json::from_str(include_str!("versions/fields-1.56.json")).expect("the fields");
    for (name, request) in requests() {
        let at = |path: &str| format!("/v1.56/containers/{path}");
        let (status, created) = call(&daemon, "POST", &at(&format!("create?name={NAME}")), Some(&request));
        assert_eq!(status, 201, "{name}: {created}");
        for running in [false, true] {
            if running && call(&daemon, "POST", &at(&format!("{NAME}/start")), None).0 != 204 {
                continue;
            }
            let (_, inspect) = call(&daemon, "GET", &at(&format!("{NAME}/json")), None);
            let (_, list) = call(&daemon, "GET", &at("json?all=1"), None);
            for (what, value) in [
                ("ContainerInspectResponse", &inspect),
                ("HostConfig", &inspect["HostConfig"]),
                ("ContainerConfig", &inspect["Config"]),
                ("NetworkSettings", &inspect["NetworkSettings"]),
                ("ContainerState", &inspect["State"]),
                ("ContainerSummary", &list[0]),
            ] {
                let map = value.as_object().unwrap_or_else(|| panic!("{what} is no object: {value}"));
                let known = &fields[what];
                let unknown: Vec<&String> = map.keys().filter(|key| !known.contains(key)).collect();
                assert!(unknown.is_empty(), "{name}: {what} of 1.56 has no {unknown:?}");
            }
            // What was asked for is what is answered.
            let mut wrong = Vec::new();
            for (key, value) in request["HostConfig"].as_object().into_iter().flatten() {
                let found = &inspect["HostConfig"][key];
                if found != value && !value.is_null() && value != &json!("") {
                    wrong.push(format!("{key}: asked {value}, found {found}"));
                }
            }
            assert!(wrong.is_empty(), "{name}: {wrong:?}");
        }
        call(&daemon, "DELETE", &format!("{}?force=1", at(NAME)), None);
    }
}
