//! Images in and out.

use std::io::{Read, Write};
use std::net::TcpListener;

use crate::harness::{Daemon, busybox_archive};
use crate::network::enter;

#[test]
fn what_is_saved_can_be_loaded() {
    let daemon = Daemon::with_busybox();
    let saved = daemon.get("/images/busybox/get");
    assert_eq!((saved.status, saved.header("Content-Type")), (200, "application/x-tar"));
    let id = daemon.get("/images/busybox/json").json()["Id"].clone();
    let removed = daemon.ask("DELETE", "/images/busybox");
    assert_eq!(removed.json()[0]["Untagged"], "busybox:latest");
    assert_eq!(daemon.get("/images/busybox/json").status, 404);
    let loaded = daemon.ask_with("POST", "/images/load?quiet=0", &[], &saved.body);
    assert!(loaded.text().contains("Loaded image: busybox:latest"), "{}", loaded.text());
    assert_eq!(daemon.get("/images/busybox/json").json()["Id"], id);
}

#[test]
fn an_archive_that_is_none_is_an_error_with_a_status() {
    let daemon = Daemon::start();
    let answer = daemon.ask_with("POST", "/images/load", &[], b"this is no archive");
    assert_eq!(answer.status, 500, "{}", answer.text());
    assert!(answer.message().contains("archive"), "{}", answer.message());
    let unknown = daemon.get("/images/get?names=nosuch");
    assert_eq!(unknown.status, 404);
    assert!(unknown.message().starts_with("No such image: nosuch"), "{}", unknown.message());
}

#[test]
fn a_body_that_breaks_off_leaves_no_image() {
    let daemon = Daemon::start();
    let archive = busybox_archive();
    let mut stream = daemon.connect();
    let head = format!(
        "POST /images/create?fromSrc=-&repo=half HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n",
        archive.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&archive[..archive.len() / 2]).unwrap();
    drop(stream);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(daemon.get("/images/json?all=1").text(), "[]\n");
}

#[test]
fn an_image_is_imported_from_an_address_through_redirects() {
    let daemon = Daemon::start();
    let served = enter(&daemon, || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for _ in 0..2 {
                let (mut client, _) = listener.accept().unwrap();
                let mut request = [0; 2048];
                let count = client.read(&mut request).unwrap();
                if request[..count].starts_with(b"GET /moved ") {
                    client
                        .write_all(b"HTTP/1.1 302 Found\r\nLocation: /root.tar\r\nContent-Length: 0\r\n\r\n")
                        .unwrap();
                } else {
                    let body = busybox_archive();
                    write!(client, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).unwrap();
                    client.write_all(&body).unwrap();
                }
            }
        });
        port
    });
    // "localhost" is found in /etc/hosts, not asked of a name server.
    let path = format!("/images/create?fromSrc=http%3A%2F%2Flocalhost%3A{served}%2Fmoved&repo=far");
    let answer = daemon.ask("POST", &path);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().contains("\"status\":\"sha256:"), "{}", answer.text());
    assert_eq!(daemon.get("/images/far/json").json()["RepoTags"][0], "far:latest");
    let refused = daemon.ask("POST", "/images/create?fromSrc=http%3A%2F%2F127.0.0.1%3A9%2Fx&repo=far");
    assert_eq!(refused.status, 500);
    assert_eq!(
        refused.message(),
        "Get \"http://127.0.0.1:9/x\": dial tcp 127.0.0.1:9: connect: connection refused"
    );
}
