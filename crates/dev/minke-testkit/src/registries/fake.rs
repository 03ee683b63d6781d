//! A registry in memory that does what a test tells it to do wrong: cut connections at given bytes, give other bytes than asked
//! for, send clients elsewhere, ask for credentials, forget how far an upload was.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::http::{Connection, Request};

/// What it does wrong. Nothing, unless told.
#[derive(Debug, Default, Clone)]
pub struct Tricks {
    /// How many bytes of each next blob go out before the connection ends.
    pub cut_downloads: VecDeque<usize>,
    /// How many bytes of each next upload are taken before the connection ends.
    pub cut_uploads: VecDeque<usize>,
    /// One byte of each blob is another one.
    pub flip: bool,
    /// Answers requests for a part with the whole.
    pub no_ranges: bool,
    /// Knows nothing of uploads that were interrupted.
    pub forgetful: bool,
    /// Sends those who ask for blobs to this address (`http://host:port`).
    pub redirect_blobs: Option<String>,
    /// What everybody gets who asks for a manifest.
    pub manifest: Option<Vec<u8>>,
    /// Wants to see this header before it answers, and says so by that challenge.
    pub demand: Option<(String, String)>,
    /// A hub with one account: tokens for everybody, writing below the account's name, and what is private to it.
    pub hub: Option<Hub>,
    /// So many next uploads find their token refused.
    pub refuse_patches: u32,
    /// Each mount is refused.
    pub no_mounts: bool,
    /// Where uploads go on (`http://host:port`).
    pub uploads_elsewhere: Option<String>,
    /// What those get who ask for what has this in its path.
    pub torments: Vec<(String, Torment)>,
    /// What `/v1/search` finds.
    pub search: String,
}

/// What comes instead of an answer, or of an answer's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Torment {
    /// Nothing at all.
    Silence,
    /// The head, and then a byte at a time, far apart.
    Drip,
    /// Bytes without end, and without a length.
    Flood,
}

/// One account at a hub.
#[derive(Debug, Clone)]
pub struct Hub {
    pub user: String,
    /// `Basic …` of the account.
    pub authorization: String,
    /// Repositories that only the account sees.
    pub private: Vec<String>,
}

/// A request that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub query: String,
    pub authorization: Option<String>,
    pub range: Option<String>,
}

#[derive(Debug, Default)]
struct State {
    tricks: Tricks,
    /// By repository and digest.
    blobs: BTreeMap<(String, String), Vec<u8>>,
    /// By repository and tag or digest.
    manifests: BTreeMap<(String, String), (String, Vec<u8>)>,
    uploads: BTreeMap<String, Vec<u8>>,
    seen: Vec<Seen>,
    counter: u32,
    served: u64,
}

/// The registry. Ends when dropped.
#[derive(Debug)]
pub struct FakeRegistry {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

/// `sha256:…` of bytes.
fn digest_of(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

impl FakeRegistry {
    /// On a free port of this namespace's loopback.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").expect("a port for the registry"))
    }

    /// On a socket that was opened elsewhere, as in a daemon's network namespace.
    #[must_use]
    #[track_caller]
    pub fn on(listener: TcpListener) -> Self {
        let address = listener.local_addr().expect("the registry's address");
        let (state, stop) = (Arc::default(), Arc::default());
        let mut registry = Self { address, state, stop, threads: Vec::new() };
        registry.also_on(listener);
        registry
    }

    /// On one more socket, as another daemon has its own network.
    #[track_caller]
    pub fn also_on(&mut self, listener: TcpListener) {
        listener.set_nonblocking(true).expect("a listener that is asked");
        let (shared, ended) = (Arc::clone(&self.state), Arc::clone(&self.stop));
        self.threads.push(std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let shared = Arc::clone(&shared);
                        std::thread::spawn(move || {
                            stream.set_nonblocking(false).ok();
                            stream.set_read_timeout(Some(Duration::from_secs(60))).ok();
                            // A connection ends as it likes.
                            serve(stream, &shared).ok();
                        });
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(2)),
                }
            }
        }));
    }

    /// `host:port`, as references have it.
    #[must_use]
    pub fn domain(&self) -> String {
        self.address.to_string()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub fn set(&self, tricks: Tricks) {
        self.state().tricks = tricks;
    }

    /// Puts a blob there; its digest.
    pub fn add_blob(&self, repository: &str, bytes: &[u8]) -> String {
        let digest = digest_of(bytes);
        self.state().blobs.insert((repository.to_owned(), digest.clone()), bytes.to_vec());
        digest
    }

    /// Puts a manifest there, under a tag and its digest; its digest.
    pub fn add_manifest(&self, repository: &str, tag: &str, media_type: &str, bytes: &[u8]) -> String {
        let digest = digest_of(bytes);
        let mut state = self.state();
        for name in [tag, &digest] {
            let value = (media_type.to_owned(), bytes.to_vec());
            state.manifests.insert((repository.to_owned(), name.to_owned()), value);
        }
        digest
    }

    #[must_use]
    pub fn blob(&self, repository: &str, digest: &str) -> Option<Vec<u8>> {
        self.state().blobs.get(&(repository.to_owned(), digest.to_owned())).cloned()
    }

    #[must_use]
    pub fn manifest(&self, repository: &str, tag: &str) -> Option<Vec<u8>> {
        self.state().manifests.get(&(repository.to_owned(), tag.to_owned())).map(|(_, bytes)| bytes.clone())
    }

    /// What was asked since the last time.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.state().seen)
    }

    /// How many bytes of blobs went out since the last time.
    #[must_use]
    pub fn served(&self) -> u64 {
        std::mem::take(&mut self.state().served)
    }
}

impl Drop for FakeRegistry {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(stream: std::net::TcpStream, state: &Mutex<State>) -> io::Result<()> {
    let mut connection = Connection::new(stream)?;
    while let Some(request) = connection.request()? {
        let demand = {
            let mut state = lock(state);
            if request.method == "PATCH" && state.tricks.refuse_patches > 0 {
                state.tricks.refuse_patches -= 1;
                if let Some((wanted, _)) = &mut state.tricks.demand {
                    // Another one each time would do; the same one, asked for again, is enough here.
                    wanted.insert(0, '!');
                }
            } else if let Some((wanted, _)) = &mut state.tricks.demand {
                *wanted = wanted.trim_start_matches('!').to_owned();
            }
            state.seen.push(Seen {
                method: request.method.clone(),
                path: request.path.clone(),
                query: request.query.clone(),
                authorization: request.header("authorization").map(str::to_owned),
                range: request.header("range").map(str::to_owned),
            });
            state.tricks.demand.clone()
        };
        let (hub, torment) = {
            let tricks = &lock(state).tricks;
            let torment = tricks.torments.iter().find(|(part, _)| request.path.contains(part));
            (tricks.hub.clone(), torment.map(|(_, torment)| *torment))
        };
        if let Some(torment) = torment {
            return connection.torment(torment);
        }
        if let Some(hub) = hub {
            if let Some((status, headers, body)) = doorkeeper(&hub, &request) {
                connection.body(&request, &mut Vec::new(), usize::MAX)?;
                connection.answer(status, &headers, body.as_bytes(), None)?;
                continue;
            }
        } else if request.path == "/token" {
            connection.answer(200, &[], br#"{"token": "a-token", "expires_in": 60}"#, None)?;
            continue;
        }
        if let Some((wanted, challenge)) = demand
            && request.header("authorization") != Some(&wanted)
        {
            let mut body = Vec::new();
            connection.body(&request, &mut body, usize::MAX)?;
            let headers = [("WWW-Authenticate", challenge)];
            let errors = br#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
            connection.answer(401, &headers, errors, None)?;
            continue;
        }
        answer(&mut connection, &request, state)?;
    }
    Ok(())
}

type Reply = (u16, Vec<(&'static str, String)>, String);

fn denial(code: &str, message: &str) -> String {
    format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#)
}

/// Whom a hub does not let in, and what it says then.
fn doorkeeper(hub: &Hub, request: &Request) -> Option<Reply> {
    let shown = request.header("authorization");
    if request.path == "/token" {
        return Some(match shown {
            None => (200, vec![], r#"{"token": "anybody", "expires_in": 60}"#.to_owned()),
            Some(shown) if shown == hub.authorization => {
                (200, vec![], r#"{"token": "account", "expires_in": 60}"#.to_owned())
            }
            Some(_) => (401, vec![], denial("UNAUTHORIZED", "incorrect username or password")),
        });
    }
    let path = request.path.strip_prefix("/v2/")?;
    let account = shown == Some("Bearer account");
    if !account && shown != Some("Bearer anybody") {
        let host = request.header("host").unwrap_or_default();
        let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"hub\"");
        return Some((
            401,
            vec![("WWW-Authenticate", challenge)],
            denial("UNAUTHORIZED", "authentication required"),
        ));
    }
    let private = hub.private.iter().any(|name| path.starts_with(&format!("{name}/")));
    let writes = !matches!(request.method.as_str(), "GET" | "HEAD");
    let own = path.starts_with(&format!("{}/", hub.user));
    let denied = || denial("DENIED", "requested access to the resource is denied");
    if private && !account {
        // As for what is not there: nobody is to learn that it is.
        return Some((404, vec![], denial("NAME_UNKNOWN", "repository name not known to registry")));
    }
    (writes && !(account && own)).then(|| (403, vec![], denied()))
}

fn unknown(connection: &mut Connection, code: &str) -> io::Result<()> {
    let text = code.to_lowercase().replace('_', " ");
    let body = format!(r#"{{"errors":[{{"code":"{code}","message":"{text}"}}]}}"#);
    connection.answer(404, &[("Content-Type", "application/json".to_owned())], body.as_bytes(), None)
}

fn answer(connection: &mut Connection, request: &Request, state: &Mutex<State>) -> io::Result<()> {
    if request.path == "/v1/search" {
        let found = lock(state).tricks.search.clone();
        return connection.answer(200, &[], found.as_bytes(), None);
    }
    let Some(rest) = request.path.strip_prefix("/v2/") else { return connection.answer(404, &[], b"", None) };
    if rest.is_empty() {
        return connection.answer(200, &[], b"{}", None);
    }
    if let Some((repository, id)) = rest.split_once("/blobs/uploads/") {
        return upload(connection, request, state, repository, id);
    }
    if let Some((repository, digest)) = rest.split_once("/blobs/") {
        return blob(connection, request, state, repository, digest);
    }
    if let Some((repository, name)) = rest.split_once("/manifests/") {
        return manifest(connection, request, state, repository, name);
    }
    connection.answer(404, &[], b"", None)
}

fn manifest(
    connection: &mut Connection,
    request: &Request,
    state: &Mutex<State>,
    repository: &str,
    name: &str,
) -> io::Result<()> {
    if request.method == "PUT" {
        let mut bytes = Vec::new();
        if !connection.body(request, &mut bytes, usize::MAX)? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let media_type = request.header("content-type").unwrap_or_default().to_owned();
        let digest = digest_of(&bytes);
        let mut state = lock(state);
        for name in [name, &digest] {
            let value = (media_type.clone(), bytes.clone());
            state.manifests.insert((repository.to_owned(), name.to_owned()), value);
        }
        drop(state);
        return connection.answer(201, &[("Docker-Content-Digest", digest)], b"", None);
    }
    let (found, other) = {
        let state = lock(state);
        let found = state.manifests.get(&(repository.to_owned(), name.to_owned())).cloned();
        (found, state.tricks.manifest.clone())
    };
    let Some((media_type, bytes)) = found else {
        let known = lock(state).manifests.keys().any(|(known, _)| known == repository);
        if known {
            return unknown(connection, "MANIFEST_UNKNOWN");
        }
        let body = denial("NAME_UNKNOWN", "repository name not known to registry");
        return connection.answer(404, &[], body.as_bytes(), None);
    };
    let headers = [("Content-Type", media_type), ("Docker-Content-Digest", digest_of(&bytes))];
    let bytes = other.unwrap_or(bytes);
    if request.method == "HEAD" {
        return connection.head(200, &headers, bytes.len());
    }
    connection.answer(200, &headers, &bytes, None)
}

fn blob(
    connection: &mut Connection,
    request: &Request,
    state: &Mutex<State>,
    repository: &str,
    digest: &str,
) -> io::Result<()> {
    let (found, tricks) = {
        let mut state = lock(state);
        let found = state.blobs.get(&(repository.to_owned(), digest.to_owned())).cloned();
        let tricks = state.tricks.clone();
        if request.method == "GET" && tricks.redirect_blobs.is_none() {
            state.tricks.cut_downloads.pop_front();
        }
        (found, tricks)
    };
    let Some(mut bytes) = found else { return unknown(connection, "BLOB_UNKNOWN") };
    if request.method == "HEAD" {
        return connection.head(200, &[("Docker-Content-Digest", digest.to_owned())], bytes.len());
    }
    if let Some(elsewhere) = tricks.redirect_blobs {
        let target = format!("{elsewhere}{}", request.path);
        return connection.answer(307, &[("Location", target)], b"", None);
    }
    if tricks.flip
        && let Some(byte) = bytes.last_mut()
    {
        *byte ^= 1;
    }
    let from: Option<usize> = request
        .header("range")
        .filter(|_| !tricks.no_ranges)
        .and_then(|range| range.strip_prefix("bytes=")?.trim_end_matches('-').parse().ok());
    let (status, part) = match from {
        Some(from) if from < bytes.len() => (206, &bytes[from..]),
        Some(_) => return connection.answer(416, &[], b"", None),
        None => (200, &bytes[..]),
    };
    let mut headers = Vec::new();
    if let Some(from) = from {
        headers.push(("Content-Range", format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len())));
    }
    let cut = tricks.cut_downloads.front().copied().filter(|cut| *cut < part.len());
    lock(state).served += cut.unwrap_or(part.len()) as u64;
    connection.answer(status, &headers, part, cut)
}

fn upload(
    connection: &mut Connection,
    request: &Request,
    state: &Mutex<State>,
    repository: &str,
    id: &str,
) -> io::Result<()> {
    let elsewhere = lock(state).tricks.uploads_elsewhere.clone().unwrap_or_default();
    let location = |id: &str| ("Location", format!("{elsewhere}/v2/{repository}/blobs/uploads/{id}"));
    match request.method.as_str() {
        "POST" => {
            if let (Some(digest), Some(from)) = (request.parameter("mount"), request.parameter("from")) {
                let mut state = lock(state);
                let held = state.blobs.get(&(from, digest.clone())).cloned();
                if let Some(bytes) = held.filter(|_| !state.tricks.no_mounts) {
                    state.blobs.insert((repository.to_owned(), digest), bytes);
                    drop(state);
                    return connection.answer(201, &[location("mounted")], b"", None);
                }
            }
            let id = {
                let mut state = lock(state);
                state.counter += 1;
                let id = format!("u{}", state.counter);
                state.uploads.insert(id.clone(), Vec::new());
                id
            };
            connection.answer(202, &[location(&id), ("Range", "0-0".to_owned())], b"", None)
        }
        "GET" => {
            let length = {
                let state = lock(state);
                state.uploads.get(id).map(Vec::len).filter(|_| !state.tricks.forgetful)
            };
            let Some(length) = length else { return unknown(connection, "BLOB_UPLOAD_UNKNOWN") };
            let range = format!("0-{}", length.saturating_sub(1));
            connection.answer(204, &[location(id), ("Range", range)], b"", None)
        }
        "PATCH" => {
            let Some(mut bytes) = lock(state).uploads.get(id).cloned() else {
                return unknown(connection, "BLOB_UPLOAD_UNKNOWN");
            };
            let cut = lock(state).tricks.cut_uploads.pop_front();
            let whole = connection.body(request, &mut bytes, cut.unwrap_or(usize::MAX));
            let length = bytes.len();
            lock(state).uploads.insert(id.to_owned(), bytes);
            if !whole? {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            let range = format!("0-{}", length.saturating_sub(1));
            connection.answer(202, &[location(id), ("Range", range)], b"", None)
        }
        "PUT" => {
            let Some(bytes) = lock(state).uploads.remove(id) else {
                return unknown(connection, "BLOB_UPLOAD_UNKNOWN");
            };
            let digest = digest_of(&bytes);
            if request.parameter("digest").as_deref() != Some(&digest) {
                let body = br#"{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match uploaded content"}]}"#;
                return connection.answer(400, &[], body, None);
            }
            lock(state).blobs.insert((repository.to_owned(), digest.clone()), bytes);
            connection.answer(201, &[("Docker-Content-Digest", digest)], b"", None)
        }
        _ => {
            lock(state).uploads.remove(id);
            connection.answer(204, &[], b"", None)
        }
    }
}
