//! The client: makes requests, reuses connections, turns refusals into errors.
//!
//! One request is one write. Several may be under way on connections of their own ([`Request::start`]), which is how
//! `stop a b c` stops all three at once without a thread.

use crate::connection::Connection;
use crate::endpoint::Endpoint;
use crate::error::ClientError;
use crate::http::{Idle, Response};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::rc::Rc;

/// A client of one engine.
#[derive(Debug)]
pub struct Client {
    endpoint: Endpoint,
    /// `/v1.44`, or empty for the engine's newest.
    prefix: String,
    headers: Vec<(String, String)>,
    idle: Idle,
    /// Start the engine when nothing answers.
    autostart: bool,
}

/// Requests over TCP name their host; over a socket any name does.
const SOCKET_HOST: &str = "docker";

impl Client {
    pub fn new(endpoint: Endpoint) -> Client {
        Client { endpoint, prefix: String::new(), headers: Vec::new(), idle: Rc::default(), autostart: false }
    }

    /// Asks for an API version by name.
    #[must_use]
    pub fn with_version(mut self, version: &str) -> Client {
        self.prefix = format!("/v{}", version.trim_start_matches('v'));
        self
    }

    /// Headers of every request (`HttpHeaders` of docker's config).
    #[must_use]
    pub fn with_headers(mut self, headers: Vec<(String, String)>) -> Client {
        self.headers = headers;
        self
    }

    /// Starts the engine when nothing answers on the socket.
    #[must_use]
    pub fn with_autostart(mut self) -> Client {
        self.autostart = true;
        self
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The API version the user asked for.
    pub fn version(&self) -> Option<&str> {
        self.prefix.strip_prefix("/v")
    }

    pub fn get(&self, path: &str) -> Request<'_> {
        self.request("GET", path)
    }

    pub fn post(&self, path: &str) -> Request<'_> {
        self.request("POST", path)
    }

    pub fn put(&self, path: &str) -> Request<'_> {
        self.request("PUT", path)
    }

    pub fn delete(&self, path: &str) -> Request<'_> {
        self.request("DELETE", path)
    }

    pub fn head(&self, path: &str) -> Request<'_> {
        self.request("HEAD", path)
    }

    fn request(&self, method: &'static str, path: &str) -> Request<'_> {
        let target = format!("{}{path}", self.prefix);
        Request { client: self, method, target, queried: false, headers: String::new(), body: None }
    }

    fn connect(&self) -> Result<Connection, ClientError> {
        match Connection::open(&self.endpoint) {
            Err(ClientError::Absent { .. }) if self.autostart => {
                crate::autostart::start(&self.endpoint)?;
                Connection::open(&self.endpoint)
            }
            other => other,
        }
    }
}

/// A request being put together.
#[derive(Debug)]
pub struct Request<'a> {
    client: &'a Client,
    method: &'static str,
    target: String,
    queried: bool,
    headers: String,
    body: Option<Vec<u8>>,
}

/// A request that was written and not yet answered.
#[derive(Debug)]
pub struct Pending {
    connection: Connection,
    head_only: bool,
    idle: Idle,
}

impl Pending {
    /// Waits for the answer; a refusal is an error.
    pub fn finish(self) -> Result<Response, ClientError> {
        let response = Response::read(self.connection, self.head_only, self.idle)?;
        if response.status < 400 {
            return Ok(response);
        }
        let (status, minke) = (response.status, response.from_minke());
        let body = response.bytes().unwrap_or_default();
        let json: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
        let message = json.as_ref().and_then(|j| j.get("message")).and_then(serde_json::Value::as_str);
        let message = match message {
            Some(text) => text.trim().to_owned(),
            None => String::from_utf8_lossy(&body).trim().to_owned(),
        };
        let message =
            if message.is_empty() { format!("the engine answered with status {status}") } else { message };
        Err(ClientError::Refused { status, message, minke })
    }
}

impl<'a> Request<'a> {
    /// Adds `name=value` to the query.
    #[must_use]
    pub fn query(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.target.push(if self.queried { '&' } else { '?' });
        self.queried = true;
        escape(&mut self.target, name);
        self.target.push('=');
        escape(&mut self.target, value.as_ref());
        self
    }

    /// Adds `name=1` when `on`.
    #[must_use]
    pub fn flag(self, name: &str, on: bool) -> Self {
        if on { self.query(name, "1") } else { self }
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let clean: String = value.chars().filter(|c| !c.is_control()).collect();
        write!(self.headers, "{name}: {clean}\r\n").unwrap_or_default();
        self
    }

    /// A JSON body.
    #[must_use]
    pub fn json(mut self, body: &serde_json::Value) -> Self {
        self.body = Some(body.to_string().into_bytes());
        self.header("Content-Type", "application/json")
    }

    /// A body of any kind.
    #[must_use]
    pub fn body(mut self, content_type: &str, body: Vec<u8>) -> Self {
        self.body = Some(body);
        self.header("Content-Type", content_type)
    }

    /// Asks to turn the connection into a raw stream.
    #[must_use]
    pub fn upgrading(self) -> Self {
        self.header("Connection", "Upgrade").header("Upgrade", "tcp")
    }

    fn head(&self, framing: &str) -> Vec<u8> {
        let host = match &self.client.endpoint {
            Endpoint::Unix(_) => SOCKET_HOST.to_owned(),
            Endpoint::Tcp { host, port, .. } => format!("{host}:{port}"),
        };
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Minke-Client/{} (linux)\r\n",
            self.method,
            self.target,
            env!("CARGO_PKG_VERSION"),
        );
        for (name, value) in &self.client.headers {
            write!(head, "{name}: {value}\r\n").unwrap_or_default();
        }
        head.push_str(&self.headers);
        head.push_str(framing);
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// Writes the request and does not wait.
    pub fn start(self) -> Result<Pending, ClientError> {
        let framing = match &self.body {
            Some(body) => format!("Content-Length: {}\r\n", body.len()),
            None if self.method == "POST" => "Content-Length: 0\r\n".to_owned(),
            None => String::new(),
        };
        let mut message = self.head(&framing);
        message.extend_from_slice(self.body.as_deref().unwrap_or_default());
        let idle = self.client.idle.borrow_mut().pop();
        if let Some(mut connection) = idle {
            // The engine may have closed a connection kept from before. That is looked at before the request goes out:
            // afterwards a quick answer and its close would look the same, and the request would be made twice.
            if !closed(&connection) && connection.write_all(&message).is_ok() {
                return Ok(self.pending(connection));
            }
        }
        let mut connection = self.client.connect()?;
        connection.write_all(&message)?;
        Ok(self.pending(connection))
    }

    fn pending(&self, connection: Connection) -> Pending {
        Pending { connection, head_only: self.method == "HEAD", idle: self.client.idle.clone() }
    }

    /// Sends and waits for the answer; a refusal is an error.
    pub fn send(self) -> Result<Response, ClientError> {
        self.start()?.finish()
    }

    /// Sends a body of unknown length. Where the transport allows, the answer is read while the body still goes out.
    pub fn send_body(self, mut body: impl Read + Send + 'static) -> Result<Response, ClientError> {
        let head = self.head("Transfer-Encoding: chunked\r\n");
        let mut connection = self.client.connect()?;
        connection.write_all(&head)?;
        match connection.writer() {
            Some(mut writer) => {
                // Ends with the body, or when the engine stops reading; the answer then says why.
                std::thread::spawn(move || copy_chunks(&mut body, &mut writer));
            }
            None => {
                if let Err(error) = copy_chunks(&mut body, &mut connection) {
                    return self.pending(connection).finish().map_err(|_refused| error.into());
                }
            }
        }
        self.pending(connection).finish()
    }
}

fn closed(connection: &Connection) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(connection, PollFlags::IN | PollFlags::RDHUP)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP)
}

fn copy_chunks(body: &mut impl Read, out: &mut impl Write) -> std::io::Result<()> {
    let mut chunk = vec![0u8; 128 * 1024];
    loop {
        let count = match body.read(&mut chunk) {
            Ok(count) => count,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        if count == 0 {
            out.write_all(b"0\r\n\r\n")?;
            return out.flush();
        }
        out.write_all(format!("{count:x}\r\n").as_bytes())?;
        out.write_all(&chunk[..count])?;
        out.write_all(b"\r\n")?;
    }
}

/// Percent-escapes for a query or one segment of a path.
pub(crate) fn escape(out: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b => write!(out, "%{b:02X}").unwrap_or_default(),
        }
    }
}

impl Client {
    /// `text` as one segment of a path; slashes stay, because image names have them.
    pub fn segment(text: &str) -> String {
        let mut out = String::new();
        for (at, part) in text.split('/').enumerate() {
            if at > 0 {
                out.push('/');
            }
            let mut escaped = String::new();
            escape(&mut escaped, part);
            // Tags and digests read better, and engines route on them, unescaped.
            out.push_str(&escaped.replace("%3A", ":").replace("%40", "@"));
        }
        out
    }
}
