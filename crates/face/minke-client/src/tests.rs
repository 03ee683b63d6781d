//! The client against a listener that plays engine.

use crate::contexts::{Context, ContextError, Contexts, check_name};
use crate::{Client, ClientError, Endpoint, EndpointError};
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::thread::JoinHandle;

/// Answers each connection's requests with the given texts, and returns what was asked.
fn engine(answers: Vec<&'static str>) -> (tempfile::TempDir, Client, JoinHandle<Vec<String>>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let thread = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut asked = Vec::new();
        for answer in answers {
            let mut request = vec![0; 4096];
            let n = socket.read(&mut request).unwrap();
            asked.push(String::from_utf8_lossy(&request[..n]).into_owned());
            socket.write_all(answer.as_bytes()).unwrap();
        }
        asked
    });
    (dir, Client::new(Endpoint::Unix(path)), thread)
}

#[test]
fn a_body_with_a_length_leaves_the_connection_for_the_next_request() {
    let ok = "HTTP/1.1 200 OK\r\nServer: Minke/1\r\nContent-Length: 2\r\n\r\n{}";
    let (_dir, client, engine) = engine(vec![ok, ok]);
    let first =
        client.get("/a").query("filters", "{\"a b\":1}").flag("all", true).flag("no", false).send().unwrap();
    assert!(first.from_minke());
    assert_eq!(first.json().unwrap(), serde_json::json!({}));
    client.post("/b").json(&serde_json::json!({"x": 1})).send().unwrap().bytes().unwrap();
    let asked = engine.join().unwrap();
    assert!(
        asked[0].starts_with("GET /a?filters=%7B%22a%20b%22%3A1%7D&all=1 HTTP/1.1\r\nHost: docker\r\n"),
        "{asked:?}"
    );
    assert!(
        asked[1].ends_with("Content-Type: application/json\r\nContent-Length: 7\r\n\r\n{\"x\":1}"),
        "{asked:?}"
    );
}

#[test]
fn chunks_of_any_size_are_joined() {
    let (_dir, client, _engine) = engine(vec![
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;x=y\r\nd\r\n0\r\n\r\n",
    ]);
    assert_eq!(client.get("/").send().unwrap().bytes().unwrap(), b"abcd");
}

#[test]
fn a_truncated_body_is_an_error_and_not_a_short_answer() {
    let (_dir, client, _engine) = engine(vec!["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"]);
    assert!(matches!(client.get("/").send().unwrap().bytes(), Err(ClientError::Io { .. })));
}

#[test]
fn a_refusal_carries_the_daemons_message() {
    let (_dir, client, _engine) = engine(vec![
        "HTTP/1.1 404 Not Found\r\nContent-Length: 39\r\n\r\n{\"message\":\"No such container: nosuch\"}",
    ]);
    let error = client.get("/").send().unwrap_err();
    assert_eq!(
        (error.status(), error.to_string()),
        (Some(404), "Error response from daemon: No such container: nosuch".into())
    );
}

#[test]
fn an_upgrade_hands_over_bytes_that_came_with_the_head() {
    let (_dir, client, _engine) =
        engine(vec!["HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nhello"]);
    let mut stream = client.post("/attach").upgrading().send().unwrap().upgrade().unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
}

#[test]
fn something_else_than_http_is_named_as_such() {
    let (_dir, client, _engine) = engine(vec!["SSH-2.0-OpenSSH\r\n\r\n"]);
    assert!(matches!(client.get("/").send(), Err(ClientError::Protocol(_))));
}

#[test]
fn nobody_there_is_said_in_dockers_words() {
    let client = Client::new(Endpoint::Unix("/nonexistent/s".into()));
    assert_eq!(
        client.get("/").send().unwrap_err().to_string(),
        "Cannot connect to the Docker daemon at unix:///nonexistent/s. Is the docker daemon running?"
    );
}

#[test]
fn addresses_are_read_as_docker_reads_them() {
    let parse = |t| Endpoint::parse(t, None).map(|e| e.to_string());
    assert_eq!(parse("unix:///a/b").unwrap(), "unix:///a/b");
    assert_eq!(parse("tcp://h").unwrap(), "tcp://h:2375");
    assert_eq!(parse("tcp://:5555").unwrap(), "tcp://127.0.0.1:5555");
    assert_eq!(parse("tcp://[::1]:1").unwrap(), "tcp://[::1]:1");
    assert_eq!(parse("localhost:99").unwrap(), "tcp://localhost:99");
    assert_eq!(parse("bogus://x"), Err(EndpointError::Format("bogus://x".into())));
    assert!(parse("ssh://me@host").unwrap_err().to_string().contains("not built yet"));
    assert!(parse("tcp://h:port").is_err());
}

#[test]
fn contexts_are_stored_as_docker_stores_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = Contexts::new(dir.path());
    assert!(store.list().unwrap().is_empty());
    store
        .save(&Context::new("far", "over there", "tcp://far:2376", true), &[("ca.pem", b"x".to_vec())])
        .unwrap();
    let id = minke_base::id::hex(&<sha2::Sha256 as sha2::Digest>::digest(b"far"));
    assert!(dir.path().join("contexts/meta").join(&id).join("meta.json").exists());
    assert_eq!(store.get("far").unwrap().description, "over there");
    let Endpoint::Tcp { tls: Some(tls), .. } = store.endpoint("far").unwrap() else { panic!("no TLS") };
    assert!(!tls.verify && tls.ca.is_some() && tls.key.is_none());
    store.remove("far").unwrap();
    assert!(matches!(store.get("far"), Err(ContextError::Missing { .. })));
    assert!(check_name("default").is_err() && check_name("a b").is_err() && check_name("ok.1").is_ok());
}

#[test]
fn path_segments_keep_what_image_names_need() {
    assert_eq!(Client::segment("a/b:c@sha256:d e?"), "a/b:c@sha256:d%20e%3F");
}
