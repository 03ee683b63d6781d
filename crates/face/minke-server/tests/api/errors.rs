//! Heads, versions, and errors in Docker's words.

use std::io::Write;

use serde_json::json;

use crate::harness::{Daemon, read_answer, request};

#[test]
fn every_answer_carries_the_engine_s_headers() {
    let daemon = Daemon::start();
    let ping = daemon.get("/_ping");
    assert_eq!((ping.status, ping.text().as_str()), (200, "OK"));
    for (name, value) in [
        ("Api-Version", "1.56"),
        ("Docker-Experimental", "false"),
        ("Ostype", "linux"),
        ("Builder-Version", "2"),
        ("Swarm", "inactive"),
        ("Cache-Control", "no-cache, no-store, must-revalidate"),
    ] {
        assert_eq!(ping.header(name), value, "{name}");
    }
    let head = daemon.ask("HEAD", "/v1.24/_ping");
    assert_eq!((head.status, head.header("Content-Length"), head.header("Api-Version")), (200, "0", "1.56"));
    assert_eq!(daemon.get("/containers/nosuch/json").header("Api-Version"), "1.56");
}

#[test]
fn versions_outside_the_range_are_refused() {
    let daemon = Daemon::start();
    let new = daemon.get("/v1.99/info");
    assert_eq!(new.status, 400);
    assert_eq!(new.message(), "client version 1.99 is too new. Maximum supported API version is 1.56");
    let old = daemon.get("/v1.10/info");
    assert_eq!((old.status, old.header("Content-Type")), (400, "text/plain; charset=utf-8"));
    assert!(
        old.text().starts_with("client version 1.10 is too old. Minimum supported API version is 1.24, ")
    );
    assert_eq!(daemon.get("/v1.24/info").status, 200);
}

#[test]
fn pages_that_are_not_there_are_not_found() {
    let daemon = Daemon::start();
    for (method, path) in
        [("GET", "/nosuch"), ("PUT", "/containers/create"), ("GET", "/v1.x/info"), ("GET", "/")]
    {
        let answer = daemon.ask(method, path);
        assert_eq!((answer.status, answer.message().as_str()), (404, "page not found"), "{method} {path}");
        assert_eq!(answer.header("Api-Version"), "");
    }
    let doubled = daemon.get("/v1.51//info?x=1");
    assert_eq!((doubled.status, doubled.header("Location")), (301, "/v1.51/info?x=1"));
}

#[test]
fn missing_things_have_docker_s_texts() {
    let daemon = Daemon::start();
    for (method, path, message) in [
        ("GET", "/containers/nosuch/json", "No such container: nosuch"),
        ("DELETE", "/containers/json", "No such container: json"),
        ("GET", "/containers/nosuch/stats", "No such container: nosuch"),
        ("GET", "/images/nosuch/json", "No such image: nosuch:latest"),
        ("GET", "/exec/nosuch/json", "No such exec instance: nosuch"),
        ("GET", "/networks/nosuch", "network nosuch not found"),
        ("GET", "/volumes/nosuch", "get nosuch: no such volume"),
        ("GET", "/plugins/nosuch/json", "plugin \"nosuch\" not found"),
    ] {
        let answer = daemon.ask(method, path);
        assert_eq!((answer.status, answer.message().as_str()), (404, message), "{method} {path}");
    }
}

#[test]
fn bodies_that_are_wrong_are_told_in_docker_s_words() {
    let daemon = Daemon::start();
    let create = |body: &str, kind: &str| {
        daemon.ask_with("POST", "/containers/create", &[("Content-Type", kind)], body.as_bytes())
    };
    for (body, message) in [
        ("", "invalid JSON: got EOF while reading request body"),
        (r#"{"Image":"#, "invalid JSON: unexpected EOF"),
        (r#"{"Image":"x"} y"#, "unexpected content after JSON"),
        (
            r#"{"Image":5}"#,
            "invalid JSON: json: cannot unmarshal number into Go struct field .Image of type string",
        ),
        ("{}", "config cannot be empty in order to create a container"),
    ] {
        let answer = create(body, "application/json");
        assert_eq!((answer.status, answer.message().as_str()), (400, message), "{body}");
    }
    assert_eq!(
        create("{}", "text/plain").message(),
        "unsupported Content-Type header (text/plain): must be 'application/json'"
    );
    let unknown = daemon.post("/containers/create", &json!({"Image": "nosuch"}));
    assert_eq!((unknown.status, unknown.message().as_str()), (404, "No such image: nosuch:latest"));
}

#[test]
fn filters_and_numbers_that_are_wrong_are_refused() {
    let daemon = Daemon::start();
    for path in
        ["containers/json?filters=x", "images/json?filters=x", "volumes?filters=x", "events?filters=x"]
    {
        let answer = daemon.get(&format!("/{path}"));
        assert_eq!((answer.status, answer.message().as_str()), (400, "invalid filter"), "{path}");
    }
    let unknown = daemon.get("/containers/json?filters=%7B%22a%22:%5B%22b%22%5D%7D");
    assert_eq!(unknown.message(), "invalid filter 'a'");
    assert_eq!(
        daemon.get("/containers/json?limit=x").message(),
        "strconv.Atoi: parsing \"x\": invalid syntax"
    );
}

#[test]
fn what_is_not_built_says_so() {
    let daemon = Daemon::start();
    for (method, path) in [
        ("POST", "/session"),
        ("POST", "/grpc"),
        ("POST", "/swarm/init"),
        ("POST", "/swarm/join"),
        ("POST", "/plugins/nosuch/enable"),
        ("GET", "/images/nosuch/attestations"),
    ] {
        let answer = daemon.ask(method, path);
        assert_eq!(answer.status, 501, "{method} {path}");
        assert!(
            answer.message().contains("not built into this version of minke yet"),
            "{}",
            answer.message()
        );
    }
    assert_eq!(daemon.get("/swarm").status, 503);
}

#[test]
fn answers_of_older_versions_have_their_fields() {
    let daemon = Daemon::with_busybox();
    daemon.create("old", &["true"], &json!({}));
    let settings = |version: &str| {
        daemon.get(&format!("/v{version}/containers/old/json")).json()["NetworkSettings"].clone()
    };
    assert!(settings("1.51").get("HairpinMode").is_some());
    assert!(settings("1.52").get("HairpinMode").is_none());
    let image = |version: &str| daemon.get(&format!("/v{version}/images/busybox/json")).json();
    assert!(image("1.43").get("VirtualSize").is_some() && image("1.44").get("VirtualSize").is_none());
    assert!(image("1.51").get("Author").is_some() && image("1.52").get("Author").is_none());
    assert!(
        daemon.get("/v1.51/info").json().get("FirewallBackend").is_none()
            || daemon.get("/v1.48/info").json().get("FirewallBackend").is_none()
    );
}

#[test]
fn a_refusal_reaches_a_client_that_goes_on_sending_and_the_connection_serves_on() {
    let daemon = Daemon::start();
    let chunk = |bytes: &[u8]| [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(13);
    header.set_mode(0o644);
    archive.append_data(&mut header, "Dockerfile", &b"FROM scratch\n"[..]).unwrap();
    let archive = archive.into_inner().unwrap();
    // Read as far as the archive's end, and refused before anything is read.
    for (query, words) in [("target=nope", "target stage \"nope\""), ("isolation=hyperv", "isolation")] {
        let mut stream = daemon.connect();
        let headers = [("Content-Type", "application/x-tar"), ("Transfer-Encoding", "chunked")];
        let head = request("PUT", &format!("/build?{query}"), &headers, b"");
        let head = String::from_utf8(head).unwrap().replacen("PUT", "POST", 1);
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&chunk(&archive)).unwrap();
        let answer = read_answer(&mut stream, false);
        assert_eq!(answer.status, 400);
        assert!(answer.message().contains(words), "{}", answer.text());
        for _ in 0..64 {
            stream.write_all(&chunk(&[0; 64 << 10])).unwrap();
        }
        stream.write_all(b"0\r\n\r\n").unwrap();
        stream.write_all(&request("GET", "/_ping", &[], b"")).unwrap();
        assert_eq!(read_answer(&mut stream, false).text(), "OK");
    }
}
