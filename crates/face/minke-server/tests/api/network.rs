//! TCP and TLS.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;

use crate::harness::{Daemon, read_answer, read_head, request};

/// Runs something inside the daemon's network namespace, on a thread that is thrown away.
pub(crate) fn enter<T: Send>(daemon: &Daemon, work: impl FnOnce() -> T + Send) -> T {
    let namespace = std::fs::File::open(format!("/proc/{}/ns/net", daemon.pid())).unwrap();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            use std::os::fd::AsFd;
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        });
        thread.join().unwrap()
    })
}

#[test]
fn plain_tcp_is_for_loopback_only() {
    let daemon = Daemon::with(&["-H", "tcp://127.0.0.1:2375"]);
    enter(&daemon, || {
        let mut stream = TcpStream::connect("127.0.0.1:2375").unwrap();
        stream.write_all(&request("GET", "/_ping", &[], b"")).unwrap();
        assert_eq!(read_answer(&mut stream, false).text(), "OK");
    });
    let warnings = daemon.get("/info").json()["Warnings"].clone();
    assert_eq!(warnings[0], "WARNING: API is accessible on tcp://127.0.0.1:2375 without encryption.");
}

struct Party {
    certificate: String,
    key: String,
}

/// An authority, and one certificate for each name.
fn certificates(names: &[&str]) -> (String, Vec<Party>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let parties = names.iter().map(|name| {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec![(*name).to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        Party { certificate: certificate.pem(), key: key.serialize_pem() }
    });
    (authority.pem(), parties.collect())
}

#[test]
fn tls_asks_for_a_certificate_and_carries_hijacked_streams() {
    let files = tempfile::tempdir().unwrap();
    let at = |name: &str| files.path().join(name).to_string_lossy().into_owned();
    let (authority, parties) = certificates(&["localhost", "client"]);
    std::fs::write(at("ca"), &authority).unwrap();
    std::fs::write(at("cert"), &parties[0].certificate).unwrap();
    std::fs::write(at("key"), &parties[0].key).unwrap();
    let (ca, cert, key) = (at("ca"), at("cert"), at("key"));
    let flags = [
        "-H",
        "tcp://127.0.0.1:2376",
        "--tlsverify",
        "--tlscacert",
        &ca,
        "--tlscert",
        &cert,
        "--tlskey",
        &key,
    ];
    let daemon = Daemon::with(&flags);
    let imported = daemon.ask_with(
        "POST",
        "/images/create?fromSrc=-&repo=busybox&changes=ENV%20PATH%3D/bin",
        &[],
        &crate::harness::busybox_archive(),
    );
    assert_eq!(imported.status, 200);
    daemon.create("sealed", &["cat"], &json!({"OpenStdin": true, "StdinOnce": true}));

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let builder = || ClientConfig::builder().with_root_certificates(roots.clone());
    let chain = vec![CertificateDer::from_pem_slice(parties[1].certificate.as_bytes()).unwrap()];
    let client_key = PrivateKeyDer::from_pem_slice(parties[1].key.as_bytes()).unwrap();
    let known = Arc::new(builder().with_client_auth_cert(chain, client_key).unwrap());
    let stranger = Arc::new(builder().with_no_client_auth());
    enter(&daemon, || {
        let connect = |config: &Arc<ClientConfig>| {
            let connection =
                ClientConnection::new(Arc::clone(config), ServerName::try_from("localhost").unwrap());
            StreamOwned::new(connection.unwrap(), TcpStream::connect("127.0.0.1:2376").unwrap())
        };
        let mut refused = connect(&stranger);
        let asked =
            refused.write_all(&request("GET", "/_ping", &[], b"")).and_then(|()| refused.read(&mut [0; 1]));
        assert!(asked.is_err(), "a client without a certificate was served");

        let mut stream = connect(&known);
        let path = "/containers/sealed/attach?stream=1&stdin=1&stdout=1";
        stream
            .write_all(&request("POST", path, &[("Connection", "Upgrade"), ("Upgrade", "tcp")], b""))
            .unwrap();
        assert_eq!(read_head(&mut stream).0, 101);
        daemon.start_container("sealed");
        stream.write_all(b"over TLS").unwrap();
        let mut echo = [0; 16];
        stream.read_exact(&mut echo).unwrap();
        assert_eq!(&echo, b"\x01\0\0\0\0\0\0\x08over TLS");
    });
}
