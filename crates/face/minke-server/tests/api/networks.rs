//! Networks, endpoints, ports and links over the API: what clients see, in Docker 28.5's words.

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::harness::{Answer, Daemon};
use crate::network::enter;

fn made(answer: &Answer) -> String {
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["Id"].as_str().unwrap().to_owned()
}

fn network(daemon: &Daemon, body: &Value) -> String {
    made(&daemon.post("/networks/create", body))
}

/// A container that runs for long.
fn sleeper(daemon: &Daemon, name: &str, more: &Value) -> String {
    let id = waiting(daemon, name, more);
    daemon.start_container(name);
    id
}

fn waiting(daemon: &Daemon, name: &str, more: &Value) -> String {
    let mut body = json!({"Image": "busybox", "Cmd": ["sleep", "1000"], "StopSignal": "KILL"});
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    made(&daemon.post(&format!("/containers/create?name={name}"), &body))
}

fn inspect(daemon: &Daemon, name: &str) -> Value {
    daemon.get(&format!("/containers/{name}/json")).json()
}

fn said(answer: &Answer) -> (u16, String) {
    let text = if answer.body.is_empty() { String::new() } else { answer.message() };
    (answer.status, text)
}

fn file(daemon: &Daemon, name: &str, path: &str) -> String {
    let pid = inspect(daemon, name)["State"]["Pid"].as_i64().unwrap();
    std::fs::read_to_string(format!("/proc/{pid}/root{path}")).unwrap()
}

#[test]
fn what_cannot_be_made_is_refused_in_docker_s_words() {
    let daemon = Daemon::start();
    for (body, status, text) in [
        (json!({"Name": ""}), 400, "invalid name: name is empty"),
        (json!({"Name": "host"}), 403, "operation is not permitted on predefined host network "),
        (json!({"Name": "a", "Driver": "nosuch"}), 404, "plugin \"nosuch\" not found"),
        (json!({"Name": "a", "Driver": "host"}), 403, "only one instance of \"host\" network is allowed"),
        (json!({"Name": "a", "EnableIPv4": false}), 400, "IPv4 or IPv6 must be enabled"),
        (
            json!({"Name": "a", "IPAM": {"Config": [{"Subnet": "10.231.0.0/24", "Gateway": "10.9.9.9"}]}}),
            400,
            "invalid network config:\ninvalid gateway 10.9.9.9: parent subnet 10.231.0.0/24 doesn't contain this address",
        ),
    ] {
        assert_eq!(said(&daemon.post("/networks/create", &body)), (status, text.to_owned()), "{body}");
    }
    for (method, path, status, text) in [
        ("DELETE", "/networks/bridge", 403, "bridge is a pre-defined network and cannot be removed"),
        ("DELETE", "/networks/nosuch", 404, "network nosuch not found"),
        ("GET", "/networks?filters=%7B%22foo%22%3A%5B%22x%22%5D%7D", 400, "invalid filter 'foo'"),
        ("GET", "/networks?filters=%7B%22type%22%3A%5B%22x%22%5D%7D", 500, "invalid filter: 'type'='x'"),
    ] {
        assert_eq!(said(&daemon.ask(method, path)), (status, text.to_owned()), "{method} {path}");
    }
    let connect =
        |network: &str, body: &Value| said(&daemon.post(&format!("/networks/{network}/connect"), body));
    assert_eq!(connect("bridge", &json!({})), (400, "invalid name or ID supplied: \"\"".to_owned()));
    assert_eq!(connect("bridge", &json!({"Container": "no"})), (404, "No such container: no".to_owned()));
}

#[test]
fn a_network_is_made_listed_inspected_and_removed() {
    let daemon = Daemon::start();
    let ipam = json!({"Config": [{"Subnet": "10.231.0.0/24", "IPRange": "10.231.0.128/25", "Gateway": "10.231.0.1"}]});
    let id =
        network(&daemon, &json!({"Name": "front", "Labels": {"tier": "1"}, "Internal": true, "IPAM": ipam}));
    assert_eq!(
        said(&daemon.post("/networks/create", &json!({"Name": "front"}))),
        (409, "network with name front already exists".to_owned())
    );
    let overlap = json!({"Name": "b", "IPAM": {"Config": [{"Subnet": "10.231.0.0/25"}]}});
    assert_eq!(
        said(&daemon.post("/networks/create", &overlap)),
        (403, "invalid pool request: Pool overlaps with other one on this address space".to_owned())
    );
    let shown = daemon.get(&format!("/v1.51/networks/{}", &id[..12])).json();
    assert_eq!(shown["Name"], "front");
    assert_eq!(
        (&shown["Driver"], &shown["Scope"], &shown["Internal"]),
        (&json!("bridge"), &json!("local"), &json!(true))
    );
    assert_eq!(shown["IPAM"]["Config"], ipam["Config"]);
    assert_eq!(shown["Containers"], json!({}));
    let names = |filters: &Value| -> Vec<String> {
        let query = filters.to_string().replace('"', "%22").replace('{', "%7B").replace('}', "%7D");
        let list = daemon
            .get(&format!("/networks?filters={}", query.replace('[', "%5B").replace(']', "%5D")))
            .json();
        let mut names: Vec<String> =
            list.as_array().unwrap().iter().map(|one| one["Name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&json!({})), ["bridge", "front", "host", "none"]);
    assert_eq!(names(&json!({"type": ["custom"]})), ["front"]);
    assert_eq!(names(&json!({"label": ["tier=1"]})), ["front"]);
    assert_eq!(names(&json!({"dangling": ["true"]})), ["front"]);
    assert_eq!(names(&json!({"driver": ["null"]})), ["none"]);
    assert_eq!(daemon.ask("POST", "/networks/prune").json(), json!({"NetworksDeleted": ["front"]}));
    assert_eq!(daemon.get("/networks/front").status, 404);
}

#[test]
fn a_container_in_two_networks_has_a_place_in_each() {
    let daemon = Daemon::with_busybox();
    for (name, subnet) in [("na", "10.231.1.0/24"), ("nb", "10.231.2.0/24")] {
        network(&daemon, &json!({"Name": name, "IPAM": {"Config": [{"Subnet": subnet}]}}));
    }
    let settings = json!({"Aliases": ["www"], "IPAMConfig": {"IPv4Address": "10.231.1.50"}});
    let id = sleeper(
        &daemon,
        "web",
        &json!({
            "HostConfig": {"NetworkMode": "na"},
            "NetworkingConfig": {"EndpointsConfig": {"na": settings, "nb": {"MacAddress": "02:42:ac:11:00:99"}}}
        }),
    );
    let networks = inspect(&daemon, "web")["NetworkSettings"]["Networks"].clone();
    let (na, nb) = (&networks["na"], &networks["nb"]);
    assert_eq!((&na["IPAddress"], &na["Gateway"]), (&json!("10.231.1.50"), &json!("10.231.1.1")));
    assert_eq!(na["DNSNames"], json!(["web", "www", &id[..12]]));
    assert_eq!((&nb["IPAddress"], &nb["MacAddress"]), (&json!("10.231.2.2"), &json!("02:42:ac:11:00:99")));
    let hosts = file(&daemon, "web", "/etc/hosts");
    assert!(hosts.ends_with(&format!("10.231.1.50\t{0}\n10.231.2.2\t{0}\n", &id[..12])), "{hosts}");
    let resolv = file(&daemon, "web", "/etc/resolv.conf");
    assert!(resolv.contains("\nnameserver 127.0.0.11\noptions ndots:0\n"), "{resolv}");
    assert_eq!(
        said(&daemon.post("/networks/nb/connect", &json!({"Container": "web"}))),
        (403, "endpoint with name web already exists in network nb".to_owned())
    );
    let (status, text) = said(&daemon.ask("DELETE", "/networks/na"));
    assert_eq!(status, 403);
    assert!(
        text.starts_with("error while removing network: network na has active endpoints (name:\"web\" id:\""),
        "{text}"
    );
    let members = daemon.get("/networks/na").json()["Containers"][&id].clone();
    assert_eq!((&members["Name"], &members["IPv4Address"]), (&json!("web"), &json!("10.231.1.50/24")));

    let answer = daemon.post("/networks/na/disconnect", &json!({"Container": "web"}));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(!file(&daemon, "web", "/etc/hosts").contains("10.231.1.50"));
    assert!(inspect(&daemon, "web")["NetworkSettings"]["Networks"]["na"].is_null());
    assert_eq!(
        said(&daemon.post("/networks/na/disconnect", &json!({"Container": "web"}))),
        (500, format!("container {id} is not connected to network na"))
    );
    let again = json!({"Container": "web", "EndpointConfig": {"Aliases": ["again"]}});
    assert_eq!(daemon.post("/networks/na/connect", &again).status, 200);
    let na = inspect(&daemon, "web")["NetworkSettings"]["Networks"]["na"].clone();
    assert_eq!((&na["IPAddress"], &na["Aliases"]), (&json!("10.231.1.2"), &json!(["again"])));
    assert_eq!(daemon.ask("POST", "/containers/web/restart?t=0").status, 204);
    let networks = inspect(&daemon, "web")["NetworkSettings"]["Networks"].clone();
    assert_eq!(networks.as_object().unwrap().len(), 2);
    assert_eq!(networks["nb"]["MacAddress"], "02:42:ac:11:00:99");
}

#[test]
fn what_modes_do_not_allow_is_refused() {
    let daemon = Daemon::with_busybox();
    network(&daemon, &json!({"Name": "na"}));
    sleeper(&daemon, "alone", &json!({"HostConfig": {"NetworkMode": "none"}}));
    sleeper(&daemon, "joined", &json!({"HostConfig": {"NetworkMode": "container:alone"}}));
    sleeper(&daemon, "own", &json!({"HostConfig": {"NetworkMode": "na"}}));
    let connect = |network: &str, container: &str| {
        said(&daemon.post(&format!("/networks/{network}/connect"), &json!({"Container": container})))
    };
    assert_eq!(
        connect("na", "alone"),
        (403, "container cannot be connected to multiple networks with one of the networks in private (none) mode".to_owned())
    );
    assert_eq!(
        connect("na", "joined"),
        (403, "container sharing network namespace with another container or host cannot be connected to any other network".to_owned())
    );
    assert_eq!(
        connect("host", "own"),
        (
            403,
            "cannot connect container to host network - container must be created in host network mode"
                .to_owned()
        )
    );
    assert_eq!(inspect(&daemon, "joined")["NetworkSettings"]["Networks"], json!({}));
    // A container that leaves none may join others.
    assert_eq!(daemon.post("/networks/none/disconnect", &json!({"Container": "alone"})).status, 200);
    assert_eq!(connect("na", "alone").0, 200);
    let start = |name: &str, mode: &str| {
        waiting(&daemon, name, &json!({"HostConfig": {"NetworkMode": mode}}));
        said(&daemon.ask("POST", &format!("/containers/{name}/start")))
    };
    assert_eq!(
        start("lost", "nosuch"),
        (404, "failed to set up container networking: network nosuch not found".to_owned())
    );
    assert_eq!(inspect(&daemon, "lost")["State"]["Status"], "created");
}

#[test]
fn ports_are_published_once_and_given_back() {
    let daemon = Daemon::with_busybox();
    let bindings = json!({
        "80/tcp": [{"HostPort": "18080"}],
        "81/udp": [{"HostIp": "127.0.0.1", "HostPort": "18081"}],
        "82/tcp": [{}]
    });
    let exposed = json!({"80/tcp": {}, "90/tcp": {}});
    let host = json!({"PortBindings": bindings});
    sleeper(&daemon, "web", &json!({"ExposedPorts": exposed, "HostConfig": host}));
    let ports = inspect(&daemon, "web")["NetworkSettings"]["Ports"].clone();
    assert_eq!(
        ports["80/tcp"],
        json!([{"HostIp": "0.0.0.0", "HostPort": "18080"}, {"HostIp": "::", "HostPort": "18080"}])
    );
    assert_eq!(ports["81/udp"], json!([{"HostIp": "127.0.0.1", "HostPort": "18081"}]));
    assert_eq!(ports["90/tcp"], Value::Null);
    let dynamic = ports["82/tcp"][0]["HostPort"].as_str().unwrap().to_owned();
    assert!(dynamic.parse::<u16>().unwrap() >= 1024);
    let listed = daemon.get("/containers/json").json()[0]["Ports"].clone();
    assert!(
        listed
            .as_array()
            .unwrap()
            .contains(&json!({"IP": "127.0.0.1", "PrivatePort": 81, "PublicPort": 18081, "Type": "udp"})),
        "{listed}"
    );

    let refused = |name: &str, port: &str| {
        let host = json!({"PortBindings": {"80/tcp": [{"HostPort": port}]}});
        waiting(&daemon, name, &json!({"HostConfig": host}));
        let (status, text) = said(&daemon.ask("POST", &format!("/containers/{name}/start")));
        assert_eq!(status, 500, "{text}");
        let head = format!(
            "failed to set up container networking: driver failed programming external connectivity on endpoint {name} ("
        );
        let rest = text.strip_prefix(&head).unwrap_or_else(|| panic!("{text}"));
        let state = inspect(&daemon, name)["State"].clone();
        assert_eq!((&state["Status"], &state["ExitCode"]), (&json!("created"), &json!(128)));
        rest[64..].to_owned()
    };
    assert_eq!(refused("second", "18080"), "): Bind for 0.0.0.0:18080 failed: port is already allocated");
    let taken = enter(&daemon, || TcpListener::bind("127.0.0.1:18055").unwrap());
    let text = refused("third", "18055");
    assert!(
        text.starts_with("): failed to bind host port for 0.0.0.0:18055:")
            && text.ends_with(":80/tcp: address already in use"),
        "{text}"
    );
    drop(taken);
    daemon.start_container("third");
    // What failed and what ended leaves its ports to others.
    assert_eq!(daemon.ask("POST", "/containers/web/stop?t=0").status, 204);
    daemon.start_container("second");
    assert_eq!(inspect(&daemon, "web")["NetworkSettings"]["Ports"], json!({}));
}

#[test]
fn links_bring_names_and_variables_and_follow_their_target() {
    let daemon = Daemon::with_busybox();
    let target = sleeper(
        &daemon,
        "db",
        &json!({"ExposedPorts": {"3306/tcp": {}, "4444/udp": {}}, "Env": ["SECRET=x y"]}),
    );
    let links = json!({"HostConfig": {"Links": ["db:database"]}});
    waiting(&daemon, "web", &links);
    assert_eq!(inspect(&daemon, "web")["HostConfig"]["Links"], json!(["/db:/web/database"]));
    daemon.start_container("web");
    let address = |name: &str| {
        let networks = inspect(&daemon, name)["NetworkSettings"]["Networks"].clone();
        networks["bridge"]["IPAddress"].as_str().unwrap().to_owned()
    };
    let before = address("db");
    let line = |address: &str| format!("{address}\tdatabase {} db\n", &target[..12]);
    assert!(file(&daemon, "web", "/etc/hosts").contains(&line(&before)));
    let environment = file(&daemon, "web", "/proc/1/environ");
    for variable in [
        format!("DATABASE_PORT=tcp://{before}:3306"),
        format!("DATABASE_PORT_4444_UDP_ADDR={before}"),
        "DATABASE_NAME=/web/database".to_owned(),
        "DATABASE_ENV_SECRET=x y".to_owned(),
    ] {
        assert!(environment.split('\0').any(|entry| entry == variable), "{variable} in {environment:?}");
    }
    assert_eq!(daemon.get("/containers/web%2Fdatabase/json").json()["Name"], "/db");

    assert_eq!(daemon.ask("POST", "/containers/db/stop?t=0").status, 204);
    // The address is free once the kernel has let its link go; until then a thief gets another.
    let stolen = (0..50).any(|number| {
        let thief = format!("thief{number}");
        sleeper(&daemon, &thief, &json!({}));
        std::thread::sleep(std::time::Duration::from_millis(20));
        address(&thief) == before
    });
    assert!(stolen, "nobody got {before}");
    daemon.start_container("db");
    let after = address("db");
    assert_ne!(after, before);
    assert!(file(&daemon, "web", "/etc/hosts").contains(&line(&after)));

    for name in ["db", "web"] {
        assert_eq!(daemon.ask("POST", &format!("/containers/{name}/stop?t=0")).status, 204);
    }
    assert_eq!(
        said(&daemon.ask("POST", "/containers/web/start")),
        (500, "Cannot link to a non running container: /db AS /web/database".to_owned())
    );
    let missing = json!({"Image": "busybox", "HostConfig": {"Links": ["nosuch:x"]}});
    assert_eq!(
        said(&daemon.post("/containers/create", &missing)),
        (400, "could not get container for nosuch: No such container: nosuch".to_owned())
    );
    assert_eq!(daemon.ask("DELETE", "/containers/web%2Fdatabase?link=1").status, 204);
    assert_eq!(inspect(&daemon, "web")["HostConfig"]["Links"], json!([]));
    daemon.start_container("web");
}
