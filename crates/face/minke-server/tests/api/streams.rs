//! Connections that stop being HTTP.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use minke_api::framing::{self, Decoder, Stream};
use serde_json::json;

use crate::harness::{Daemon, read_head, request};

const UPGRADE: [(&str, &str); 2] = [("Connection", "Upgrade"), ("Upgrade", "tcp")];

/// Everything until the other side closes. It may do so without having read all that was sent, which the kernel calls a reset.
fn read_rest(stream: &mut UnixStream) -> Vec<u8> {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{error} after {rest:?}"),
    }
    rest
}

fn frames(bytes: &[u8]) -> Vec<(Stream, String)> {
    let mut decoder = Decoder::default();
    decoder.push(bytes);
    let mut frames = Vec::new();
    while let Some((stream, payload)) = decoder.next_frame().unwrap() {
        frames.push((stream, String::from_utf8_lossy(payload).into_owned()));
    }
    assert!(decoder.is_empty(), "half a frame at the end of {bytes:?}");
    frames
}

#[test]
fn attach_gives_101_with_the_version_s_content_type_to_who_asks_for_an_upgrade() {
    let daemon = Daemon::with_busybox();
    for (version, content_type) in
        [("1.41", "application/vnd.docker.raw-stream"), ("1.42", "application/vnd.docker.multiplexed-stream")]
    {
        daemon.create("joined", &["sh", "-c", "echo out; echo err >&2"], &json!({}));
        let mut stream = daemon.connect();
        let path = format!("/v{version}/containers/joined/attach?stream=1&stdout=1&stderr=1");
        stream.write_all(&request("POST", &path, &UPGRADE, b"")).unwrap();
        let (status, head) = read_head(&mut stream);
        assert_eq!(status, 101);
        assert!(head.contains(&format!("Content-Type: {content_type}\r\n")), "{head}");
        assert!(head.contains("Upgrade: tcp\r\n") && head.contains("Api-Version: 1.56\r\n"), "{head}");
        daemon.start_container("joined");
        let mut frames = frames(&read_rest(&mut stream));
        frames.sort_by_key(|(stream, _)| *stream as u8);
        assert_eq!(frames, [(Stream::Stdout, "out\n".to_owned()), (Stream::Stderr, "err\n".to_owned())]);
        assert_eq!(daemon.ask("DELETE", "/containers/joined").status, 204);
    }
}

#[test]
fn attach_without_upgrade_gives_200_and_the_bare_socket() {
    let daemon = Daemon::with_busybox();
    daemon.create("typed", &["cat"], &json!({"OpenStdin": true, "StdinOnce": true}));
    let mut stream = daemon.connect();
    let path = "/v1.51/containers/typed/attach?stream=1&stdin=1&stdout=1";
    // What follows the request in the same write is input already.
    let bytes = [request("POST", path, &[], b""), b"early ".to_vec()].concat();
    stream.write_all(&bytes).unwrap();
    let (status, head) = read_head(&mut stream);
    assert_eq!((status, head.as_str()), (200, "Content-Type: application/vnd.docker.raw-stream\r\n\r\n"));
    daemon.start_container("typed");
    stream.write_all(b"late").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let output: String = frames(&read_rest(&mut stream)).into_iter().map(|(_, text)| text).collect();
    assert_eq!(output, "early late");
}

#[test]
fn an_attach_that_cannot_be_is_an_ordinary_error() {
    let daemon = Daemon::start();
    let answer = daemon.ask_with("POST", "/containers/nosuch/attach?stream=1", &UPGRADE, b"");
    assert_eq!((answer.status, answer.message().as_str()), (404, "No such container: nosuch"));
}

#[test]
fn a_whole_run_is_one_request() {
    let daemon = Daemon::with_busybox();
    let run = |command: &[&str], input: &[u8]| {
        let body = json!({
            "Image": "busybox", "Cmd": command, "OpenStdin": true, "StdinOnce": true,
            "HostConfig": {"NetworkMode": "none", "AutoRemove": true},
            "Minke": {"AttachStdin": true, "AttachStdout": true, "AttachStderr": true},
        });
        let headers = [&UPGRADE[..], &[("Content-Type", "application/json")]].concat();
        let mut stream = daemon.connect();
        stream
            .write_all(&request("POST", "/minke/run?name=whole", &headers, body.to_string().as_bytes()))
            .unwrap();
        let (status, head) = read_head(&mut stream);
        assert_eq!(status, 101, "{head}");
        assert!(head.contains("Minke-Container: "), "{head}");
        let mut bytes = Vec::new();
        framing::encode(Stream::Stdin, input, &mut bytes);
        framing::encode(Stream::Stdin, b"", &mut bytes);
        stream.write_all(&bytes).unwrap();
        frames(&read_rest(&mut stream))
    };
    let control = |text: &str| (Stream::Control, text.to_owned());
    assert_eq!(
        run(&["sh", "-c", "cat; exit 3"], b"typed"),
        [
            control(r#"{"started":true}"#),
            (Stream::Stdout, "typed".to_owned()),
            control(r#"{"exit":{"code":3}}"#)
        ]
    );
    assert_eq!(daemon.get("/containers/whole/json").status, 404, "gone when the last frame is here");
    let failed = run(&["nosuch"], b"");
    assert!(
        failed[0].1.contains("executable file not found") && failed[0].1.contains("\"exit_code\":127"),
        "{failed:?}"
    );
}

#[test]
fn logs_are_framed_and_follow_until_the_end() {
    let daemon = Daemon::with_busybox();
    daemon.create("logged", &["sh", "-c", "echo one; sleep 0.3; echo two >&2"], &json!({}));
    daemon.start_container("logged");
    let followed = daemon.get("/v1.51/containers/logged/logs?stdout=1&stderr=1&follow=1");
    assert_eq!(followed.header("Content-Type"), "application/vnd.docker.multiplexed-stream");
    assert_eq!(
        frames(&followed.body),
        [(Stream::Stdout, "one\n".to_owned()), (Stream::Stderr, "two\n".to_owned())]
    );
    let tail = daemon.get("/containers/logged/logs?stdout=1&stderr=1&tail=1&timestamps=1");
    let (_, line) = frames(&tail.body).remove(0);
    assert!(
        line.ends_with("Z two\n") && line.len() == "2006-01-02T15:04:05.000000000Z two\n".len(),
        "{line}"
    );
    let neither = daemon.get("/containers/logged/logs");
    assert_eq!(neither.message(), "Bad parameters: you must choose at least one stream");
}

#[test]
fn a_websocket_carries_the_streams_unframed() {
    let daemon = Daemon::with_busybox();
    daemon.create("webbed", &["cat"], &json!({"OpenStdin": true, "StdinOnce": true}));
    daemon.start_container("webbed");
    let mut stream = daemon.connect();
    let headers = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let path = "/v1.51/containers/webbed/attach/ws?stream=1&stdin=1&stdout=1";
    stream.write_all(&request("GET", path, &headers, b"")).unwrap();
    let (status, head) = read_head(&mut stream);
    assert_eq!(status, 101);
    assert!(head.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
    // A masked text message "hi\n" with a mask of zeros, which leaves the text readable.
    stream.write_all(b"\x81\x83\0\0\0\0hi\n").unwrap();
    let mut echo = [0; 5];
    stream.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"\x82\x03hi\n");
}
