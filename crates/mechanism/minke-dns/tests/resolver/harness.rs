//! A town of two networks, containers that ask, and servers to be asked, all on loopback.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, Record, RecordType, rdata::A},
};
use minke_dns::{Member, NetworkNames, NetworkView, Resolver, Sockets, View};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The resolver with two networks: `front` (n1) and `back.end` (n2).
pub(crate) struct Town {
    pub(crate) resolver: Resolver,
}

impl Town {
    pub(crate) fn new() -> Self {
        let resolver = Resolver::start().unwrap();
        resolver.update(NetworkNames {
            id: "n1".into(),
            name: "front".into(),
            members: vec![
                member("c-web", &["web", "www", "0123456789ab", "pool"], &["172.20.0.2"]),
                member("c-app", &["my.app", "pool"], &["172.20.0.3"]),
                member("c-two", &["two", "pool"], &["172.20.0.4", "fd00:20::4"]),
            ],
            subnets: vec![("172.20.0.0".parse().unwrap(), 16), ("fd00:20::".parse().unwrap(), 64)],
        });
        resolver.update(NetworkNames {
            id: "n2".into(),
            name: "back.end".into(),
            members: vec![
                member("c-db", &["db"], &["172.21.0.2"]),
                member("c-other", &["web"], &["172.21.0.9"]),
            ],
            subnets: vec![("172.21.0.0".parse().unwrap(), 16)],
        });
        Self { resolver }
    }

    pub(crate) fn container(&self, id: &str, view: View) -> Asker {
        let (sockets, asker) = Asker::new();
        self.resolver.serve(id, sockets, view).unwrap();
        asker
    }
}

pub(crate) fn member(container: &str, names: &[&str], addresses: &[&str]) -> Member {
    Member {
        container: container.into(),
        names: names.iter().map(ToString::to_string).collect(),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
    }
}

/// A view of these networks that passes nothing on.
pub(crate) fn view(networks: &[&str]) -> View {
    let networks = networks.iter().map(|id| NetworkView { id: (*id).into(), links: Vec::new() }).collect();
    View { networks, ..View::default() }
}

/// A container that asks.
pub(crate) struct Asker {
    pub(crate) socket: UdpSocket,
    pub(crate) tcp: SocketAddr,
}

static IDS: AtomicU16 = AtomicU16::new(1);

pub(crate) fn query(name: &str, kind: RecordType) -> Message {
    let id = IDS.fetch_add(1, Ordering::Relaxed);
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let mut name = Name::from_ascii(name).unwrap();
    name.set_fqdn(true);
    message.add_query(Query::query(name, kind));
    message
}

impl Asker {
    pub(crate) fn new() -> (Sockets, Self) {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(udp.local_addr().unwrap()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let asker = Self { socket, tcp: tcp.local_addr().unwrap() };
        (Sockets { udp: udp.into(), tcp: tcp.into() }, asker)
    }

    pub(crate) fn send(&self, name: &str, kind: RecordType) -> u16 {
        let message = query(name, kind);
        self.socket.send(&message.to_vec().unwrap()).unwrap();
        message.metadata.id
    }

    pub(crate) fn receive(&self) -> Message {
        let mut buffer = vec![0; 65_535];
        let length = self.socket.recv(&mut buffer).unwrap();
        Message::from_vec(&buffer[..length]).unwrap()
    }

    pub(crate) fn ask(&self, name: &str, kind: RecordType) -> Message {
        let id = self.send(name, kind);
        let answer = self.receive();
        assert_eq!(answer.metadata.id, id);
        answer
    }

    pub(crate) fn ask_with_edns(&self, name: &str, kind: RecordType, size: u16) -> Message {
        let mut message = query(name, kind);
        let mut edns = Edns::new();
        edns.set_max_payload(size);
        message.set_edns(edns);
        self.socket.send(&message.to_vec().unwrap()).unwrap();
        self.receive()
    }

    pub(crate) fn ask_by_stream(&self, name: &str, kind: RecordType) -> Message {
        let mut stream = TcpStream::connect(self.tcp).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&framed(&query(name, kind).to_vec().unwrap())).unwrap();
        Message::from_vec(&read_framed(&mut stream).unwrap()).unwrap()
    }

    pub(crate) fn records(&self, name: &str, kind: RecordType) -> Vec<String> {
        texts(&self.ask(name, kind))
    }

    pub(crate) fn addresses(&self, name: &str) -> Vec<String> {
        self.records(name, RecordType::A)
    }
}

pub(crate) fn texts(answer: &Message) -> Vec<String> {
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    answer.answers.iter().map(|record| record.data.to_string()).collect()
}

pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

pub(crate) fn read_framed(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    Ok(message)
}

/// The answer to a question with this address.
pub(crate) fn answered(query: &[u8], address: &str) -> Vec<u8> {
    let mut message = Message::from_vec(query).unwrap().into_response();
    let name = message.queries[0].name().clone();
    let address: Ipv4Addr = address.parse().unwrap();
    message.add_answer(Record::from_rdata(name, 60, RData::A(A(address))));
    message.to_vec().unwrap()
}

/// The answer to a question that ends with this code.
pub(crate) fn coded(query: &[u8], code: ResponseCode) -> Vec<u8> {
    let mut message = Message::from_vec(query).unwrap().into_response();
    message.metadata.response_code = code;
    message.to_vec().unwrap()
}

/// A server that answers each question with what its script gives, over datagrams and streams.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) asked: Arc<AtomicU32>,
    pub(crate) asked_by_stream: Arc<AtomicU32>,
    end: Arc<AtomicBool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Server {
    pub(crate) fn start(script: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        Self::start_two(move |query, _| script(query))
    }

    /// As [`Server::start`], with a script that is told whether the question came by a stream.
    pub(crate) fn start_two(script: impl Fn(&[u8], bool) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let (end, script) = (Arc::new(AtomicBool::new(false)), Arc::new(script));
        let (asked, asked_by_stream) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let by_datagram = {
            let (end, script, asked) = (Arc::clone(&end), Arc::clone(&script), Arc::clone(&asked));
            udp.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            std::thread::spawn(move || {
                let mut buffer = vec![0; 65_535];
                while !end.load(Ordering::Relaxed) {
                    let Ok((length, client)) = udp.recv_from(&mut buffer) else { continue };
                    asked.fetch_add(1, Ordering::Relaxed);
                    for answer in script(&buffer[..length], false) {
                        udp.send_to(&answer, client).unwrap();
                    }
                }
            })
        };
        let by_stream = {
            let (end, asked) = (Arc::clone(&end), Arc::clone(&asked_by_stream));
            tcp.set_nonblocking(true).unwrap();
            std::thread::spawn(move || {
                while !end.load(Ordering::Relaxed) {
                    let Ok((mut stream, _)) = tcp.accept() else {
                        std::thread::sleep(Duration::from_millis(2));
                        continue;
                    };
                    stream.set_nonblocking(false).unwrap();
                    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
                    while let Ok(query) = read_framed(&mut stream) {
                        asked.fetch_add(1, Ordering::Relaxed);
                        for answer in script(&query, true) {
                            drop(stream.write_all(&framed(&answer)));
                        }
                    }
                }
            })
        };
        let threads = Mutex::new(vec![by_datagram, by_stream]);
        Self { address, asked, asked_by_stream, end, threads }
    }

    /// Ends it, and passes on what went wrong in its script.
    pub(crate) fn stop(&self) {
        self.end.store(true, Ordering::Relaxed);
        for thread in self.threads.lock().unwrap().drain(..) {
            thread.join().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
    }
}

pub(crate) fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !check() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
