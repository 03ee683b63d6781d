//! The registry that Docker's documentation means: `docker-registry` of Debian's package, on a port of its own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::{Daemon, Netns, wait_until};

/// What differs from an open registry on loopback.
#[derive(Debug, Clone)]
pub struct RegistryOptions {
    pub address: IpAddr,
    /// Certificate and key, as PEM.
    pub tls: Option<(String, String)>,
    /// The authority that clients' certificates have to be signed by, as PEM.
    pub clients: Option<String>,
    /// Lines of an htpasswd file.
    pub users: Option<String>,
    /// Where its data is, to be found again by another one; a directory of its own otherwise.
    pub storage: Option<PathBuf>,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self { address: Ipv4Addr::LOCALHOST.into(), tls: None, clients: None, users: None, storage: None }
    }
}

/// A running registry. Stopped when dropped.
#[derive(Debug)]
pub struct Registry {
    dir: tempfile::TempDir,
    at: SocketAddr,
    storage: PathBuf,
    process: Child,
}

impl Registry {
    /// In the network namespace that a daemon calls its host's.
    #[must_use]
    #[track_caller]
    pub fn beside(daemon: &Daemon, options: &RegistryOptions) -> Self {
        Self::start(daemon.host_pid(), options)
    }

    /// In a process's network namespace.
    #[must_use]
    #[track_caller]
    pub fn start(pid: u32, options: &RegistryOptions) -> Self {
        let dir = tempfile::Builder::new().prefix("minke-registry-").tempdir().expect("a directory");
        let storage = options.storage.clone().unwrap_or_else(|| dir.path().join("data"));
        let netns = Netns::of(pid);
        // Somebody else may take the port in between; then it does not start, and the next one is tried.
        for _ in 0..5 {
            let free = netns.run(|| TcpListener::bind((options.address, 0)).and_then(|l| l.local_addr()));
            let at = free.expect("a free port");
            let mut process = spawn(pid, dir.path(), &storage, at, options);
            let mut ended = false;
            wait_until("the registry answers or ends", Duration::from_secs(20), || {
                ended = process.try_wait().is_ok_and(|status| status.is_some());
                ended || netns.run(|| TcpStream::connect(at)).is_ok()
            });
            if !ended {
                return Self { dir, at, storage, process };
            }
        }
        panic!("docker-registry does not start: {}", read(&dir.path().join("log")));
    }

    /// `host:port`, as references have it.
    #[must_use]
    pub fn domain(&self) -> String {
        self.at.to_string()
    }

    /// `host:port/path`.
    #[must_use]
    pub fn named(&self, path: &str) -> String {
        format!("{}/{path}", self.at)
    }

    #[must_use]
    pub fn storage(&self) -> &Path {
        &self.storage
    }

    /// What it has logged: a line for each request among others.
    #[must_use]
    pub fn log(&self) -> String {
        read(&self.dir.path().join("log"))
    }

    /// Lines of its log about requests that have this in them (`PUT /v2/x/blobs`).
    #[must_use]
    pub fn requests(&self, part: &str) -> usize {
        self.log().lines().filter(|line| line.contains("HTTP/") && line.contains(part)).count()
    }

    /// Other users from now on: the file is read for each request.
    pub fn set_users(&self, users: &str) {
        std::fs::write(self.dir.path().join("htpasswd"), users).expect("write the users");
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn spawn(pid: u32, dir: &Path, storage: &Path, at: SocketAddr, options: &RegistryOptions) -> Child {
    let mut http = format!("http: {{addr: \"{at}\"");
    if let Some((certificate, key)) = &options.tls {
        std::fs::write(dir.join("cert.pem"), certificate).expect("write the certificate");
        std::fs::write(dir.join("key.pem"), key).expect("write the key");
        let dir = dir.display().to_string();
        let clients = match &options.clients {
            None => String::new(),
            Some(authority) => {
                std::fs::write(format!("{dir}/clients.pem"), authority)
                    .expect("write the clients' authority");
                format!(", clientcas: [{dir}/clients.pem]")
            }
        };
        http += &format!(", tls: {{certificate: {dir}/cert.pem, key: {dir}/key.pem{clients}}}");
    }
    let mut config = format!(
        "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n{http}}}\n",
        storage.display()
    );
    if let Some(users) = &options.users {
        std::fs::write(dir.join("htpasswd"), users).expect("write the users");
        config += &format!("auth: {{htpasswd: {{realm: test, path: {}/htpasswd}}}}\n", dir.display());
    }
    std::fs::write(dir.join("config.yml"), config).expect("write the registry's settings");
    let log = std::fs::File::create(dir.join("log")).expect("the registry's log");
    Command::new("nsenter")
        .arg(format!("--net=/proc/{pid}/ns/net"))
        .args(["--", "docker-registry", "serve"])
        .arg(dir.join("config.yml"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle of the log"))
        .stderr(log)
        .spawn()
        .expect("docker-registry (Debian: docker-registry)")
}
