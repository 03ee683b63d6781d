//! What tests of registries share: accounts, certificates, addresses beyond loopback, a proxy, a credential helper.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Registry, RegistryOptions};
use crate::{Client, Daemon, Run, wait_until};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use serde_json::Value;

/// Lines of htpasswd files: `alice` with `secret`, `bob` with `word`.
pub const ALICE: &str = "alice:$2y$05$Kqx7RgLgy./r1rcf16cg/.AYJc6bcw0scI0eyFrJAYGvzRDGwmyMC";
pub const BOB: &str = "bob:$2y$05$oV/vjZ5QCS9gtyGKLulZx.NBeyBY0X/103ME/YivGwTGDLtO89IDi";

/// Logs in with a password on standard input.
#[track_caller]
pub fn login(daemon: &Daemon, client: Client, user: &str, password: &str, server: &str) -> Run {
    daemon.run_with_input(client, &["login", "-u", user, "--password-stdin", server], password.as_bytes())
}

pub fn file_config(path: &Path) -> Value {
    let bytes = std::fs::read(path).expect("config.json");
    serde_json::from_slice(&bytes).expect("JSON in config.json")
}

/// An authority and those it signs.
#[derive(Debug)]
pub struct Parties {
    pub authority: String,
    issuer: Issuer<'static, KeyPair>,
    names: Vec<String>,
}

impl Parties {
    pub fn new(names: &[&str]) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key).expect("an authority's certificate").pem();
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Self { authority, issuer: Issuer::new(params, key), names }
    }

    fn sign(&self, names: Vec<String>, purpose: ExtendedKeyUsagePurpose) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(names).expect("names");
        params.extended_key_usages = vec![purpose];
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    /// Certificate and key of a registry under these names.
    pub fn server(&self) -> (String, String) {
        self.sign(self.names.clone(), ExtendedKeyUsagePurpose::ServerAuth)
    }

    pub fn client(&self) -> (String, String) {
        self.sign(vec!["client".to_owned()], ExtendedKeyUsagePurpose::ClientAuth)
    }
}

/// A certificate that is its own authority, as `openssl req -x509` makes it, and its key.
#[must_use]
pub fn own_authority(names: &[&str]) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}

/// Gives the daemon's network an address that is not loopback's, and no other daemon's.
#[track_caller]
pub fn give_address(daemon: &Daemon) -> String {
    let number = daemon.netns_pid();
    let address = format!("10.{}.{}.1", 100 + number / 256 % 100, number % 256);
    let mut ip = daemon.in_netns("ip");
    // A link would count as left behind.
    ip.args(["addr", "add", &format!("{address}/24"), "dev", "lo"]);
    Run::new(ip, b"").ok().done();
    address
}

/// `certs.d` of one registry. Removed when dropped.
#[derive(Debug)]
pub struct Trusted(PathBuf);

impl Trusted {
    pub fn new(domain: &str) -> Self {
        let directory = Path::new("/etc/minke/certs.d").join(domain);
        std::fs::create_dir_all(&directory).expect("make certs.d");
        Self(directory)
    }

    pub fn add(&self, name: &str, pem: &str) {
        std::fs::write(self.0.join(name), pem).expect("write into certs.d");
    }
}

impl Drop for Trusted {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
        // Only what is empty goes: others may have theirs there.
        for directory in self.0.ancestors().skip(1).take(2) {
            std::fs::remove_dir(directory).ok();
        }
    }
}

/// Tells the daemon to read its file again, and waits until it has.
#[track_caller]
pub fn reload(daemon: &Daemon) {
    let count = || daemon.log().matches("configuration read again").count();
    let before = count();
    let pid = rustix::process::Pid::from_raw(daemon.pid().cast_signed()).expect("the daemon's pid");
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("SIGHUP");
    wait_until("the file is read again", Duration::from_secs(10), || count() > before);
}

/// A proxy that notes what it is asked for and refuses it.
#[derive(Debug)]
pub struct Proxy {
    address: std::net::SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    #[track_caller]
    pub fn beside(daemon: &Daemon) -> Self {
        let listener = daemon.host_netns().run(|| TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("the proxy's address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut line = String::new();
                if let Ok(copy) = stream.try_clone() {
                    BufReader::new(copy).read_line(&mut line).ok();
                }
                noted.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").ok();
            }
        });
        Self { address, asked }
    }

    pub fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// `docker-credential-test` in a directory: a file per registry.
pub fn write_helper(bin: &Path, kept: &Path) {
    std::fs::create_dir_all(bin).expect("a directory of programs");
    std::fs::create_dir_all(kept).expect("the helper's directory");
    let kept = kept.display();
    let script = format!(
        "#!/bin/sh\ninput=$(cat)\nname() {{ printf %s \"$1\" | tr -c 'a-z0-9.\\n' _; }}\ncase $1 in\n\
         store) server=$(printf %s \"$input\" | sed 's/.*\"ServerURL\":\"\\([^\"]*\\)\".*/\\1/'); printf %s \"$input\" > {kept}/$(name \"$server\");;\n\
         get) cat {kept}/$(name \"$input\") 2>/dev/null || {{ echo credentials not found in native keychain; exit 1; }};;\n\
         erase) rm -f {kept}/$(name \"$input\");;\nlist) echo '{{}}';;\nesac\n"
    );
    let path = bin.join("docker-credential-test");
    std::fs::write(&path, script).expect("write the helper");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, mode).expect("make the helper a program");
}

/// Paths in a tar, compressed or not.
pub fn names_in(bytes: &[u8]) -> Vec<String> {
    let reader: Box<dyn Read + '_> = if bytes.starts_with(&[0x1f, 0x8b]) {
        Box::new(flate2::read::GzDecoder::new(bytes))
    } else {
        Box::new(bytes)
    };
    let mut archive = tar::Archive::new(reader);
    let entries = archive.entries().expect("a tar").flatten();
    entries
        .map(|entry| entry.path().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default())
        .collect()
}

/// The layers in a saved image: whatever in it is a tar itself.
pub fn layers_of(file: &Path) -> Vec<Vec<u8>> {
    let mut archive = tar::Archive::new(std::fs::File::open(file).expect("the saved image"));
    let mut layers = Vec::new();
    for entry in archive.entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("an entry's bytes");
        if bytes.starts_with(&[0x1f, 0x8b]) || bytes.get(257..262) == Some(b"ustar") {
            layers.push(bytes);
        }
    }
    layers
}

/// Changes one byte of the largest blob below a directory.
pub fn flip_largest(blobs: &Path) {
    let mut largest: Option<(u64, PathBuf)> = None;
    let mut left = vec![blobs.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(directory).expect("the registry's data").flatten() {
            let facts = entry.metadata().expect("a file's facts");
            if facts.is_dir() {
                left.push(entry.path());
            } else if largest.as_ref().is_none_or(|(size, _)| facts.len() > *size) {
                largest = Some((facts.len(), entry.path()));
            }
        }
    }
    let (size, path) = largest.expect("a blob");
    let mut bytes = std::fs::read(&path).expect("the blob");
    bytes[usize::try_from(size / 2).unwrap_or(0)] ^= 1;
    std::fs::write(&path, bytes).expect("write the blob");
}

/// An open registry beside a daemon.
pub fn open(daemon: &Daemon) -> Registry {
    Registry::beside(daemon, &RegistryOptions::default())
}

/// `digest` of the line that a push ends with.
pub fn pushed_digest(run: &Run) -> String {
    let last = run.stdout.lines().rev().find(|line| line.contains("digest: ")).unwrap_or_default();
    last.split_whitespace().find(|word| word.starts_with("sha256:")).unwrap_or_default().to_owned()
}

/// A container's change as a new image.
pub fn layered(daemon: &Daemon, from: &str, script: &str, name: &str) {
    daemon.minke(&["run", "--name", "maker", from, "sh", "-c", script]).ok().done();
    daemon.minke(&["commit", "maker", name]).ok().done();
    daemon.minke(&["rm", "maker"]).ok().done();
}
