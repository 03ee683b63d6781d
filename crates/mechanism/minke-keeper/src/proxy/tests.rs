//! A proxy on a thread of the test's, without its confinement: what it carries, and when it leaves.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread::JoinHandle,
};

use super::*;
use crate::protocol::socket::send_message;

const PATIENCE: Duration = Duration::from_secs(20);

struct Running {
    orders: UnixStream,
    thread: JoinHandle<i32>,
}

fn start(served: Vec<(ProxySpec, OwnedFd)>, room: usize, idle: Duration) -> Running {
    let (orders, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let thread = std::thread::spawn(move || {
        let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
        let mut proxy = Proxy::new(epoll, theirs, room, idle).unwrap();
        for (spec, listener) in served {
            proxy.serve(spec, listener);
        }
        proxy.run()
    });
    Running { orders, thread }
}

fn spec(label: &str, protocol: ProxyProtocol, target: SocketAddr) -> ProxySpec {
    ProxySpec { label: label.into(), protocol, target }
}

/// A server that answers each connection with what came, upper case, once all of it has come.
fn shouting_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut text = Vec::new();
                stream.read_to_end(&mut text).unwrap();
                text.make_ascii_uppercase();
                stream.write_all(&text).unwrap();
            });
        }
    });
    address
}

fn listener(address: &str) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(address).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn a_stream_is_carried_both_ways_with_its_half_close() {
    let (socket, address) = listener("[::1]:0");
    let target = shouting_server();
    let running = start(vec![(spec("a", ProxyProtocol::Tcp, target), socket.into())], 1000, PATIENCE);
    let clients: Vec<_> = (0..20_u8)
        .map(|number| {
            std::thread::spawn(move || {
                let mut client = connect(address);
                let text = vec![b'a' + number; 3_000_000];
                client.write_all(&text).unwrap();
                client.shutdown(Shutdown::Write).unwrap();
                let mut back = Vec::new();
                client.read_to_end(&mut back).unwrap();
                assert_eq!(back.len(), text.len());
                assert!(back.iter().all(|byte| *byte == b'A' + number));
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    drop(running.orders);
    assert_eq!(running.thread.join().unwrap(), 0, "it ends with its keeper");
}

#[test]
fn a_side_that_says_no_more_may_still_be_told() {
    let (socket, address) = listener("[::1]:0");
    let (server, target) = listener("127.0.0.1:0");
    let running = start(vec![(spec("a", ProxyProtocol::Tcp, target), socket.into())], 1000, PATIENCE);
    let mut client = connect(address);
    let (mut far, _) = server.accept().unwrap();
    far.write_all(b"banner").unwrap();
    far.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "banner");
    client.write_all(b"after the end").unwrap();
    drop(client);
    text.clear();
    far.read_to_string(&mut text).unwrap();
    assert_eq!(text, "after the end");
    drop(running);
}

#[test]
fn where_nobody_listens_the_client_is_broken_off() {
    let (socket, address) = listener("[::1]:0");
    let (closed, target) = listener("127.0.0.1:0");
    drop(closed);
    let running = start(vec![(spec("a", ProxyProtocol::Tcp, target), socket.into())], 1000, PATIENCE);
    let mut client = connect(address);
    let ended = client.read(&mut [0]);
    assert!(ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset));
    drop(running);
}

#[test]
fn what_the_container_breaks_off_is_broken_off() {
    let (socket, address) = listener("[::1]:0");
    let (server, target) = listener("127.0.0.1:0");
    let running = start(vec![(spec("a", ProxyProtocol::Tcp, target), socket.into())], 1000, PATIENCE);
    let mut client = connect(address);
    let (far, _) = server.accept().unwrap();
    rustix::net::sockopt::set_socket_linger(&far, Some(Duration::ZERO)).unwrap();
    drop(far);
    let ended = client.read(&mut [0]);
    assert!(ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset));
    drop(running);
}

#[test]
fn beyond_its_room_connections_wait_and_are_not_lost() {
    let (socket, address) = listener("[::1]:0");
    let (server, target) = listener("127.0.0.1:0");
    // Room for eight.
    let running = start(vec![(spec("a", ProxyProtocol::Tcp, target), socket.into())], 0, PATIENCE);
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let mut client = connect(address);
            std::thread::spawn(move || {
                let mut text = String::new();
                client.read_to_string(&mut text).unwrap();
                text
            })
        })
        .collect();
    server.set_nonblocking(true).unwrap();
    let mut far = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while far.len() < 8 && Instant::now() < deadline {
        far.extend(server.accept());
    }
    std::thread::sleep(Duration::from_millis(50));
    assert!(server.accept().is_err(), "a ninth is not taken");
    let mut served = 0;
    while served < 20 && Instant::now() < deadline {
        for (mut stream, _) in far.drain(..) {
            stream.write_all(b"hello").unwrap();
            served += 1;
        }
        far.extend(server.accept());
    }
    assert_eq!(served, 20);
    for client in clients {
        assert_eq!(client.join().unwrap(), "hello");
    }
    drop(running);
}

#[test]
fn datagrams_find_their_way_back_from_the_address_that_was_asked() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let target = server.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 2000];
        while let Ok((length, client)) = server.recv_from(&mut buffer) {
            buffer[..length].make_ascii_uppercase();
            // Each answer names the client as the container sees it.
            let text = format!("{} {}", String::from_utf8_lossy(&buffer[..length]), client.port());
            server.send_to(text.as_bytes(), client).unwrap();
        }
    });
    let listener = UdpSocket::bind("[::]:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let running = start(vec![(spec("u", ProxyProtocol::Udp, target), listener.into())], 1000, PATIENCE);
    let mut seen = Vec::new();
    for (from, to) in [("[::1]:0", "::1"), ("127.0.0.1:0", "127.0.0.7"), ("127.0.0.1:0", "127.0.0.8")] {
        let client = UdpSocket::bind(from).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        // Connected: nothing from elsewhere is taken.
        client.connect((to, port)).unwrap();
        let mut ports = Vec::new();
        for text in ["one", "two"] {
            client.send(text.as_bytes()).unwrap();
            let mut buffer = [0; 2000];
            let length = client.recv(&mut buffer).unwrap();
            let answer = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let (word, port) = answer.split_once(' ').unwrap();
            assert_eq!(word, text.to_uppercase());
            ports.push(port.to_owned());
        }
        assert_eq!(ports[0], ports[1], "one client, one socket");
        seen.extend(ports.pop());
    }
    seen.dedup();
    assert_eq!(seen.len(), 3);
    drop(running);
}

#[test]
fn without_work_it_leaves_and_with_work_it_stays() {
    let (socket, address) = listener("[::1]:0");
    let target = shouting_server();
    let idle = Duration::from_millis(300);
    let running = start(vec![(spec("a", ProxyProtocol::Tcp, target), socket.into())], 1000, idle);
    let begun = Instant::now();
    let mut client = connect(address);
    std::thread::sleep(Duration::from_millis(700));
    assert!(!running.thread.is_finished());
    client.shutdown(Shutdown::Write).unwrap();
    client.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(running.thread.join().unwrap(), 0);
    assert!(begun.elapsed() >= Duration::from_millis(1000), "{:?}", begun.elapsed());
}

#[test]
fn what_the_keeper_takes_away_ends_and_what_stays_goes_on() {
    let ((first, first_at), (second, second_at)) = (listener("[::1]:0"), listener("[::1]:0"));
    let (server, target) = listener("127.0.0.1:0");
    let specs = [spec("a", ProxyProtocol::Tcp, target), spec("b", ProxyProtocol::Tcp, target)];
    let listeners = [OwnedFd::from(first.try_clone().unwrap()), OwnedFd::from(second.try_clone().unwrap())];
    let running = start(specs.clone().into_iter().zip(listeners).collect(), 1000, PATIENCE);
    let mut stays = connect(second_at);
    let (mut far_stays, _) = server.accept().unwrap();
    let mut goes = connect(first_at);
    let (_far_goes, _) = server.accept().unwrap();
    let (third, third_at) = listener("127.0.0.1:0");
    let orders = Orders { fds: 2, proxies: vec![specs[1].clone(), spec("c", ProxyProtocol::Tcp, target)] };
    send_message(&running.orders, &orders, &[second.as_fd(), third.as_fd()]).unwrap();
    assert_eq!(goes.read(&mut [0]).unwrap_or(0), 0, "its listener is no longer served");
    stays.write_all(b"x").unwrap();
    far_stays.read_exact(&mut [0]).unwrap();
    let _new = connect(third_at);
    server.accept().unwrap();
    drop(running);
}
