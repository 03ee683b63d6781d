//! Network namespaces as hosts: code that runs inside one, links between them, and small servers and clients.
//!
//! A thread enters a namespace and opens sockets there, so that a test can be a server in a container, or a client on another
//! host, without a program in an image. What a server answers is the address it was asked from, which is what tests of
//! published ports want to know.

use std::fs::File;
use std::io::{self, BufRead as _, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::wait_until;

/// How long a client that expects silence listens.
const SILENCE: Duration = Duration::from_millis(1200);

/// How long a client waits for the answer that it expects: a busy machine stands still for seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// What an HTTP server has at an address, if anything.
type Answer = Option<Vec<u8>>;

/// A namespace that exists while this value, or anything else, holds it.
#[derive(Debug)]
pub struct Netns(File);

impl Netns {
    /// That of a process.
    #[must_use]
    #[track_caller]
    pub fn of(pid: u32) -> Self {
        let path = format!("/proc/{pid}/ns/net");
        Self(File::open(&path).unwrap_or_else(|e| panic!("{path}: {e}")))
    }

    /// Runs `work` in a thread of the namespace.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
                    use std::os::fd::AsFd;
                    move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
                        .expect("tests run as root and may enter network namespaces");
                    work()
                })
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Serves TCP at `address`: each client is told its address as the server sees it, then gets its own bytes back.
    #[must_use]
    #[track_caller]
    pub fn serve_tcp(&self, address: impl ToSocketAddrs + Send) -> Server {
        let listener = self.run(|| TcpListener::bind(address)).expect("bind a TCP server");
        let at = listener.local_addr().expect("the server's address");
        Server::start(at, move |stop| {
            listener.set_nonblocking(true)?;
            while !stop.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, from)) => drop(std::thread::spawn(move || greet(stream, from))),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    Err(e) => return Err(e),
                }
            }
            Ok(())
        })
    }

    /// Serves HTTP at `address`: `answer` is told each request's head and body, and gives what is there, if anything is.
    #[must_use]
    #[track_caller]
    pub fn serve_http(
        &self,
        address: impl ToSocketAddrs + Send,
        answer: impl Fn(&str, &[u8]) -> Answer + Send + Sync + 'static,
    ) -> Server {
        let listener = self.run(|| TcpListener::bind(address)).expect("bind an HTTP server");
        let at = listener.local_addr().expect("the server's address");
        let answer = Arc::new(answer);
        Server::start(at, move |stop| {
            listener.set_nonblocking(true)?;
            while !stop.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _from)) => {
                        let answer = Arc::clone(&answer);
                        drop(std::thread::spawn(move || reply(&stream, &*answer)));
                    }
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    Err(e) => return Err(e),
                }
            }
            Ok(())
        })
    }

    /// Serves UDP at `address`: each datagram is answered with its sender's address.
    #[must_use]
    #[track_caller]
    pub fn serve_udp(&self, address: impl ToSocketAddrs + Send) -> Server {
        let socket = self.run(|| UdpSocket::bind(address)).expect("bind a UDP server");
        let at = socket.local_addr().expect("the server's address");
        Server::start(at, move |stop| {
            socket.set_read_timeout(Some(Duration::from_millis(50)))?;
            let mut bytes = [0; 2048];
            while !stop.load(Ordering::Relaxed) {
                if let Ok((_, from)) = socket.recv_from(&mut bytes) {
                    socket.send_to(plain(from).to_string().as_bytes(), from).ok();
                }
            }
            Ok(())
        })
    }

    /// Connects and reads what the server greets with: this client's address as seen there.
    pub fn ask_tcp(&self, address: impl ToSocketAddrs + Send) -> io::Result<String> {
        self.run(move || greeted_at(first(address)?, PATIENCE))
    }

    /// Sends a datagram and reads the answer; asks again, as clients of UDP do, when none comes.
    pub fn ask_udp(&self, address: impl ToSocketAddrs + Send) -> io::Result<String> {
        self.run(move || answer_of(first(address)?, PATIENCE))
    }

    /// As [`Self::ask_tcp`], where nobody is expected to answer: listens only for a moment.
    pub fn knock_tcp(&self, address: impl ToSocketAddrs + Send) -> io::Result<String> {
        self.run(move || greeted_at(first(address)?, SILENCE))
    }

    /// As [`Self::ask_udp`], where nobody is expected to answer: listens only for a moment.
    pub fn knock_udp(&self, address: impl ToSocketAddrs + Send) -> io::Result<String> {
        self.run(move || answer_of(first(address)?, SILENCE))
    }
}

fn first(address: impl ToSocketAddrs) -> io::Result<SocketAddr> {
    address.to_socket_addrs()?.next().ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

fn greeted_at(address: SocketAddr, patience: Duration) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    let mut line = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte)? == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

fn answer_of(address: SocketAddr, patience: Duration) -> io::Result<String> {
    let socket = UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(SILENCE))?;
    let began = Instant::now();
    let mut bytes = [0; 256];
    loop {
        socket.send(b"who am I?")?;
        match socket.recv(&mut bytes) {
            Ok(count) => return Ok(String::from_utf8_lossy(&bytes[..count]).into_owned()),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock && began.elapsed() < patience => {}
            Err(e) => return Err(e),
        }
    }
}

fn greet(mut stream: TcpStream, from: SocketAddr) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    writeln!(stream, "{}", plain(from))?;
    let mut copy = stream.try_clone()?;
    io::copy(&mut stream, &mut copy).map(drop)
}

/// One request and its answer; the connection ends with it.
fn reply(stream: &TcpStream, answer: &dyn Fn(&str, &[u8]) -> Answer) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    let mut reader = io::BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    let (status, found) = match answer(&head, &body) {
        Some(found) => ("200 OK", found),
        None => ("404 Not Found", Vec::new()),
    };
    let mut writer = stream;
    write!(writer, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", found.len())?;
    writer.write_all(&found)
}

/// An IPv4 address even where a socket for both families saw it.
fn plain(from: SocketAddr) -> IpAddr {
    from.ip().to_canonical()
}

/// A server that stops when it is dropped.
#[derive(Debug)]
pub struct Server {
    at: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<io::Result<()>>>,
}

impl Server {
    fn start(at: SocketAddr, serve: impl FnOnce(&AtomicBool) -> io::Result<()> + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        Self { at, stop, thread: Some(std::thread::spawn(move || serve(&seen))) }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.at
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// A host: a namespace of its own that ends with this value.
#[derive(Debug)]
pub struct Machine {
    holder: Child,
    pub netns: Netns,
}

impl Machine {
    /// With only a loopback interface, which is up.
    #[must_use]
    #[track_caller]
    pub fn new() -> Self {
        let holder = Command::new("unshare")
            .args(["-n", "--", "sleep", "infinity"])
            .stdin(Stdio::null())
            .spawn()
            .expect("unshare (util-linux) gives a network namespace; tests run as root");
        let path = format!("/proc/{}/ns/net", holder.id());
        wait_until("the network namespace is there", Duration::from_secs(5), || {
            std::fs::read_link(&path).ok() != std::fs::read_link("/proc/self/ns/net").ok()
        });
        let netns = Netns::of(holder.id());
        let machine = Self { holder, netns };
        machine.ip("link set lo up");
        machine
    }

    /// A process of the namespace.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// `ip …` in the namespace.
    #[track_caller]
    pub fn ip(&self, line: &str) {
        ip(self.pid(), line);
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.holder.kill().ok();
        self.holder.wait().ok();
    }
}

/// `ip …` in the namespace of `pid`.
#[track_caller]
pub fn ip(pid: u32, line: &str) {
    let done = Command::new("nsenter")
        .arg(format!("--net=/proc/{pid}/ns/net"))
        .args(["--", "ip"])
        .args(line.split(' '))
        .output()
        .expect("ip (iproute2) and nsenter (util-linux)");
    assert!(done.status.success(), "ip {line}: {}", String::from_utf8_lossy(&done.stderr));
}
