//! What keepers hold, and their proxies, in a network namespace of the test's own.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd, OwnedFd},
    process::Command,
};

use minke_keeper::protocol::{Body, Held, ProxyProtocol, ProxySpec, Refusal, Reply, SignalRequest, Target};

use crate::harness::*;

/// Runs a test on a thread with a network namespace of its own: the nursery and the keepers that it starts are in it too.
pub(crate) fn in_private_network(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        minke_sys::network::unshare_network().unwrap();
        assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn held(labels: &[&str]) -> Vec<Held> {
    labels.iter().map(|label| Held { label: (*label).into() }).collect()
}

pub(crate) fn tcp(label: &str, target: SocketAddr) -> ProxySpec {
    ProxySpec { label: label.into(), protocol: ProxyProtocol::Tcp, target }
}

/// Starts a container that sleeps, with these held.
pub(crate) fn sleeper(
    nursery: &minke_keeper::nursery::Nursery,
    fds: &[(&str, OwnedFd)],
    proxies: Vec<ProxySpec>,
) -> (Container, Daemon, i32) {
    let mut container = Container::of(&["/bin/sleep", "1000"]);
    container.launch.held = fds.iter().map(|(label, _)| Held { label: (*label).into() }).collect();
    container.launch.proxies = proxies;
    let mut daemon = Daemon::new(take(nursery));
    let borrowed: Vec<_> = fds.iter().map(|(_, fd)| fd.as_fd()).collect();
    let reply = daemon.ask(Body::Launch(Box::new(container.launch.clone())), &borrowed);
    let Reply::Launched { warnings, .. } = reply else { panic!("{reply:?}") };
    assert!(warnings.is_empty(), "{warnings:?}");
    let keeper = keeper_of(&mut daemon);
    (container, daemon, keeper)
}

pub(crate) fn end(mut daemon: Daemon) {
    let kill = SignalRequest { target: Target::Init, signo: 9, all: false };
    assert_eq!(daemon.ask(Body::Signal(kill), &[]), Reply::Done);
    daemon.exited();
    assert_eq!(daemon.ask(Body::Forget, &[]), Reply::Done);
}

/// Pids and titles of a process's children.
fn children(pid: i32) -> Vec<(i32, String)> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let title = |pid: &str| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned();
    list.split_whitespace().map(|pid| (pid.parse().unwrap(), text(title(pid)))).collect()
}

fn proxies_of(keeper: i32) -> Vec<i32> {
    children(keeper)
        .into_iter()
        .filter(|(_, title)| title.starts_with("minke:proxy "))
        .map(|(pid, _)| pid)
        .collect()
}

/// A server that answers each line with itself.
fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || drop(std::io::copy(&mut stream.try_clone().unwrap(), &mut stream)));
        }
    });
    address
}

fn says_back(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut back = [0; 5];
    stream.write_all(b"hello").is_ok() && stream.read_exact(&mut back).is_ok() && back == *b"hello"
}

#[test]
fn a_port_stays_taken_while_the_daemon_is_away_and_is_free_by_the_answer_to_forget() {
    in_private_network(|| {
        let nursery = nursery();
        let socket = TcpListener::bind("127.0.0.1:8080").unwrap();
        let (container, daemon, _) = sleeper(&nursery, &[("port/tcp/8080", socket.into())], vec![]);
        assert!(TcpListener::bind("127.0.0.1:8080").is_err());
        drop(daemon);
        assert!(TcpListener::bind("127.0.0.1:8080").is_err());
        end(container.reconnect());
        TcpListener::bind("127.0.0.1:8080").unwrap();
    });
}

#[test]
fn a_daemon_that_adopts_gets_the_same_sockets_back() {
    in_private_network(|| {
        let nursery = nursery();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let fds = [("port/1", other.into()), ("dns/udp", socket.into())];
        let (container, daemon, _) = sleeper(&nursery, &fds, vec![]);
        drop(fds);
        drop(daemon);
        // Asked while nobody was there.
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"waiting", address).unwrap();
        let mut daemon = container.reconnect();
        let (reply, fds) = daemon.ask_for(Body::Fetch { prefix: "dns/".into(), after: String::new() });
        assert_eq!(reply, Reply::Held { labels: vec!["dns/udp".into()], more: false });
        let socket = UdpSocket::from(fds.into_iter().next().unwrap());
        let mut buffer = [0; 20];
        assert_eq!(socket.recv(&mut buffer).unwrap(), 7);
        let (reply, fds) = daemon.ask_for(Body::Fetch { prefix: String::new(), after: String::new() });
        assert_eq!(reply, Reply::Held { labels: vec!["dns/udp".into(), "port/1".into()], more: false });
        assert_eq!(fds.len(), 2);
        end(daemon);
    });
}

#[test]
fn things_can_be_held_and_released_later_and_many_are_fetched_in_parts() {
    in_private_network(|| {
        let nursery = nursery();
        let (_container, mut daemon, _) = sleeper(&nursery, &[], vec![]);
        for part in 0..3 {
            let labels: Vec<String> = (0..200).map(|number| format!("p{part}/{number:03}")).collect();
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            let sockets: Vec<_> = labels.iter().map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
            let fds: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
            assert_eq!(daemon.ask(Body::Hold { held: held(&labels) }, &fds), Reply::Done);
        }
        let (mut after, mut seen, mut parts) = (String::new(), 0, 0);
        loop {
            let (reply, fds) = daemon.ask_for(Body::Fetch { prefix: String::new(), after });
            let Reply::Held { labels, more } = reply else { panic!("{reply:?}") };
            assert_eq!(labels.len(), fds.len());
            (seen, parts) = (seen + fds.len(), parts + 1);
            after = labels.last().unwrap().clone();
            if !more {
                break;
            }
        }
        assert_eq!((seen, parts), (600, 3));
        // Replaced by its label, dropped by its label; what is not there is no error.
        let socket = TcpListener::bind("127.0.0.1:8080").unwrap();
        assert_eq!(daemon.ask(Body::Hold { held: held(&["p0/000"]) }, &[socket.as_fd()]), Reply::Done);
        drop(socket);
        assert!(TcpListener::bind("127.0.0.1:8080").is_err());
        let labels = vec!["p0/000".to_owned(), "nosuch".to_owned()];
        assert_eq!(daemon.ask(Body::Release { labels }, &[]), Reply::Done);
        TcpListener::bind("127.0.0.1:8080").unwrap();
        // A proxy may be spoken of before its listener is there.
        let target = echo_server();
        let proxies = vec![tcp("late", target)];
        assert_eq!(daemon.ask(Body::SetProxies { proxies }, &[]), Reply::Done);
        let socket = TcpListener::bind("[::1]:0").unwrap();
        let address = socket.local_addr().unwrap();
        assert_eq!(daemon.ask(Body::Hold { held: held(&["late"]) }, &[socket.as_fd()]), Reply::Done);
        drop(socket);
        assert!(says_back(address));
        // What cannot listen is said.
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let reply = daemon.ask(Body::Hold { held: held(&["late"]) }, &[udp.as_fd()]);
        assert!(matches!(&reply, Reply::Refused { refusal: Refusal::System, .. }), "{reply:?}");
        end(daemon);
    });
}

#[test]
fn a_proxy_is_there_from_the_first_connection_and_gone_with_the_container() {
    in_private_network(|| {
        let nursery = nursery();
        let target = echo_server();
        // Bound, and made to listen by the keeper.
        let (family, kind) = (rustix::net::AddressFamily::INET6, rustix::net::SocketType::STREAM);
        let flags = rustix::net::SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, kind, flags, None).unwrap();
        let address: SocketAddr = "[::1]:8080".parse().unwrap();
        // As whoever binds ports must: connections that linger would keep the port from being bound again.
        rustix::net::sockopt::set_socket_reuseaddr(&socket, true).unwrap();
        rustix::net::bind(&socket, &address).unwrap();
        let (container, daemon, keeper) = sleeper(&nursery, &[("port", socket)], vec![tcp("port", target)]);
        assert!(proxies_of(keeper).is_empty());
        // Also while the daemon is away.
        drop(daemon);
        assert!(says_back(address));
        let [proxy] = proxies_of(keeper)[..] else { panic!("{:?}", children(keeper)) };
        let short = &container.id[..12];
        assert!(children(keeper).iter().any(|(_, title)| *title == format!("minke:proxy {short}")));
        let status = std::fs::read_to_string(format!("/proc/{proxy}/status")).unwrap();
        for expected in
            ["CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"]
        {
            assert!(status.contains(expected), "{expected} in {status}");
        }
        // Its descriptors: three of the keeper's nulls, the listener, the orders, epoll.
        let mut held_open = TcpStream::connect(address).unwrap();
        held_open.write_all(b"x").unwrap();
        held_open.read_exact(&mut [0]).unwrap();
        assert_eq!(std::fs::read_dir(format!("/proc/{proxy}/fd")).unwrap().count(), 6 + 6);
        end(container.reconnect());
        assert!(!std::path::Path::new(&format!("/proc/{proxy}/fd")).exists());
        assert_eq!(held_open.read(&mut [0]).unwrap_or(0), 0);
        TcpListener::bind(address).unwrap();
    });
}

#[test]
fn a_proxy_that_was_killed_is_followed_by_another() {
    in_private_network(|| {
        let nursery = nursery();
        let target = echo_server();
        let socket = TcpListener::bind("[::1]:0").unwrap();
        let address = socket.local_addr().unwrap();
        let (_container, daemon, keeper) =
            sleeper(&nursery, &[("port", socket.into())], vec![tcp("port", target)]);
        for _ in 0..3 {
            assert!(says_back(address));
            let [proxy] = proxies_of(keeper)[..] else { panic!("{:?}", children(keeper)) };
            let pid = rustix::process::Pid::from_raw(proxy).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
            eventually("the proxy ends", || proxies_of(keeper).is_empty());
        }
        end(daemon);
    });
}

#[test]
fn several_listeners_share_one_proxy_and_can_change() {
    in_private_network(|| {
        let nursery = nursery();
        let target = echo_server();
        let sockets: Vec<_> = (0..3).map(|_| TcpListener::bind("[::1]:0").unwrap()).collect();
        let addresses: Vec<_> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
        let udp = UdpSocket::bind("[::1]:0").unwrap();
        let udp_address = udp.local_addr().unwrap();
        let udp_target = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut fds: Vec<(&str, OwnedFd)> =
            ["a", "b", "c"].into_iter().zip(sockets.into_iter().map(OwnedFd::from)).collect();
        fds.push(("u", udp.into()));
        let of_udp = ProxySpec {
            label: "u".into(),
            protocol: ProxyProtocol::Udp,
            target: udp_target.local_addr().unwrap(),
        };
        let proxies = vec![tcp("a", target), tcp("b", target), of_udp.clone()];
        let (_container, mut daemon, keeper) = sleeper(&nursery, &fds, proxies);
        drop(fds);
        assert!(says_back(addresses[0]) && says_back(addresses[1]));
        let client = UdpSocket::bind("[::1]:0").unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.connect(udp_address).unwrap();
        client.send(b"question").unwrap();
        let mut buffer = [0; 20];
        let (_, from) = udp_target.recv_from(&mut buffer).unwrap();
        udp_target.send_to(b"answer", from).unwrap();
        assert_eq!(client.recv(&mut buffer).unwrap(), 6);
        let before = proxies_of(keeper);
        assert_eq!(before.len(), 1);
        // One more, one less: the same process goes on, and a connection that stays does too.
        let mut stays = TcpStream::connect(addresses[1]).unwrap();
        stays.set_read_timeout(Some(PATIENCE)).unwrap();
        stays.write_all(b"x").unwrap();
        stays.read_exact(&mut [0]).unwrap();
        let proxies = vec![tcp("b", target), tcp("c", target), of_udp];
        assert_eq!(daemon.ask(Body::SetProxies { proxies }, &[]), Reply::Done);
        assert!(says_back(addresses[2]));
        stays.write_all(b"y").unwrap();
        stays.read_exact(&mut [0]).unwrap();
        assert_eq!(proxies_of(keeper), before);
        // Released: the port is free although the proxy lives.
        assert_eq!(daemon.ask(Body::Release { labels: vec!["c".into()] }, &[]), Reply::Done);
        eventually("the port is free", || TcpListener::bind(addresses[2]).is_ok());
        assert_eq!(proxies_of(keeper), before);
        end(daemon);
    });
}

#[test]
fn held_things_cost_the_keeper_next_to_nothing() {
    in_private_network(|| {
        let nursery = nursery();
        let dirty = |sockets: usize| {
            let labels: Vec<String> =
                (0..sockets).map(|number| format!("port/tcp/0.0.0.0/{number}")).collect();
            let fds: Vec<(&str, OwnedFd)> = labels
                .iter()
                .map(|label| (label.as_str(), UdpSocket::bind("127.0.0.1:0").unwrap().into()))
                .collect();
            let (_container, daemon, keeper) = sleeper(&nursery, &fds, vec![]);
            std::thread::sleep(std::time::Duration::from_millis(800));
            let dirty = memory(keeper, "Private_Dirty");
            end(daemon);
            dirty
        };
        let (none, many) = (dirty(0), dirty(100));
        assert!(many <= none + 32, "{none} kB without, {many} kB with a hundred");
    });
}
