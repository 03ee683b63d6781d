//! Figures of the resolver, to be taken beside another's on the same machine.
//!
//! `flood wire`: reading a question and writing its answer, ours and a message library's.
//! `flood serve`: the resolver in a network namespace of its own; prints the process, the descriptor of the namespace and the
//! ports of its sockets. `flood serve --plain` uses the namespace it is started in.
//! `flood ask ADDRESS NAME SECONDS WINDOW`: asks for a name as fast as answers come, with so many questions under way.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for measuring says what went wrong by panicking"
)]

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{Name, RData, Record, RecordType, rdata::A},
};
use minke_dns::{Member, NetworkNames, NetworkView, Resolver, Sockets, View, fuzz::Desk};
use minke_sys::datagrams::{Inbox, Outbox, Peer, SLOTS};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["wire"] => wire(),
        ["serve"] => serve(true),
        ["serve", "--plain"] => serve(false),
        ["ask", address, name, seconds, window] => {
            ask(address.parse().unwrap(), name, seconds.parse().unwrap(), window.parse().unwrap());
        }
        _ => println!("wire | serve [--plain] | ask ADDRESS NAME SECONDS WINDOW"),
    }
}

/// Three hundred containers on one network, as `n1`.
fn network() -> NetworkNames {
    let member = |number: u16| {
        let [high, low] = number.to_be_bytes();
        Member {
            container: format!("{number:064x}"),
            names: vec![format!("web{number}"), format!("{number:012x}"), "pool".into()],
            addresses: vec![Ipv4Addr::new(172, 20, high, low).into()],
        }
    };
    NetworkNames {
        id: "n1".into(),
        name: "front".into(),
        members: (2..302).map(member).collect(),
        subnets: vec![(Ipv4Addr::new(172, 20, 0, 0).into(), 16)],
    }
}

fn view() -> View {
    View { networks: vec![NetworkView { id: "n1".into(), links: Vec::new() }], ..View::default() }
}

fn question(name: &str) -> Vec<u8> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let mut name = Name::from_ascii(name).unwrap();
    name.set_fqdn(true);
    message.add_query(Query::query(name, RecordType::A));
    message.to_vec().unwrap()
}

fn wire() {
    const ROUNDS: u32 = 1_000_000;
    let query = question("web77");
    let desk = Desk::new(&[network()], &view());
    let mut buffer = [0; 4096];
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        let length = desk.answer(std::hint::black_box(&query), &mut buffer, false).unwrap();
        std::hint::black_box(&buffer[..length]);
    }
    let ours = begun.elapsed() / ROUNDS;
    let names: std::collections::HashMap<Name, Ipv4Addr> = (2..302_u16)
        .map(|number| (Name::from_ascii(format!("web{number}.")).unwrap(), Ipv4Addr::new(172, 20, 0, 77)))
        .collect();
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        let message = Message::from_vec(std::hint::black_box(&query)).unwrap();
        let name = message.queries[0].name().clone();
        let address = names.get(&name).unwrap();
        let mut answer = message.into_response();
        answer.add_answer(Record::from_rdata(name, 600, RData::A(A(*address))));
        std::hint::black_box(answer.to_vec().unwrap());
    }
    let theirs = begun.elapsed() / ROUNDS;
    println!("question to answer: ours {ours:?}, a message library's {theirs:?}");
}

fn serve(private: bool) {
    let sockets = std::thread::spawn(move || {
        if private {
            minke_sys::network::unshare_network().unwrap();
            assert!(
                std::process::Command::new("ip")
                    .args(["link", "set", "lo", "up"])
                    .status()
                    .unwrap()
                    .success()
            );
        }
        let udp = UdpSocket::bind("127.0.0.11:0").unwrap();
        let tcp = TcpListener::bind("127.0.0.11:0").unwrap();
        (udp, tcp, File::open("/proc/thread-self/ns/net").unwrap())
    });
    let (udp, tcp, namespace) = sockets.join().unwrap();
    println!(
        "{} {} {} {}",
        std::process::id(),
        namespace.as_raw_fd(),
        udp.local_addr().unwrap().port(),
        tcp.local_addr().unwrap().port()
    );
    let resolver = Resolver::start().unwrap();
    resolver.update(network());
    resolver.serve("measured", Sockets { udp: udp.into(), tcp: tcp.into() }, view()).unwrap();
    loop {
        std::thread::park();
    }
}

fn ask(address: SocketAddr, name: &str, seconds: u64, window: usize) {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect(address).unwrap();
    let query = question(name);
    let (mut inbox, mut outbox) = (Inbox::new(600), Outbox::new(600));
    let peer = Peer::from(address);
    let begun = Instant::now();
    let end = begun + Duration::from_secs(seconds);
    let (mut under_way, mut answers, mut lost, mut last) = (0, 0_u64, 0, Instant::now());
    let mut times = Vec::new();
    while Instant::now() < end {
        let asked = Instant::now();
        while under_way < window {
            for _ in 0..(window - under_way).min(SLOTS) {
                outbox.next_slot().unwrap()[..query.len()].copy_from_slice(&query);
                outbox.commit(query.len(), peer);
                under_way += 1;
            }
            outbox.send(&socket);
        }
        let mut fds = [rustix::event::PollFd::new(&socket, rustix::event::PollFlags::IN)];
        let moment = rustix::event::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        rustix::event::poll(&mut fds, Some(&moment)).unwrap();
        match inbox.receive(&socket) {
            Ok(count) => {
                if answers == 0 {
                    let answer = Message::from_vec(inbox.get(0).bytes).unwrap();
                    assert!(!answer.answers.is_empty(), "{answer}");
                }
                if window == 1 {
                    times.push(asked.elapsed());
                }
                answers += count as u64;
                under_way -= count.min(under_way);
                last = Instant::now();
            }
            // Lost on the way: asked again.
            Err(_) if last.elapsed() > Duration::from_millis(90) => {
                lost += under_way;
                under_way = 0;
            }
            Err(_) => {}
        }
    }
    let rate = answers as f64 / begun.elapsed().as_secs_f64();
    print!("{name}, {window} under way: {rate:.0} answers a second, {lost} lost");
    times.sort();
    if let Some(middle) = times.get(times.len() / 2) {
        print!(", p50 {middle:?}, p99 {:?}", times[times.len() * 99 / 100]);
    }
    println!();
}
