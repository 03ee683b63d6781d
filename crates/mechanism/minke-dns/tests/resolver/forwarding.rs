//! What is passed on: over which way, to which server, and what comes back.

use std::{net::UdpSocket, sync::atomic::Ordering, time::Instant};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::RecordType,
};
use minke_dns::View;

use crate::harness::*;

fn forwarding(servers: &[std::net::SocketAddr]) -> View {
    View { upstreams: servers.to_vec(), forward: true, ..view(&["n1"]) }
}

#[test]
fn a_strangers_name_is_asked_of_the_server_and_its_answer_comes_back() {
    let server = Server::start(|query| {
        let question = Message::from_vec(query).unwrap();
        assert!(question.metadata.recursion_desired);
        vec![answered(query, "192.0.2.1")]
    });
    let town = Town::new();
    let asker = town.container("asker", forwarding(&[server.address]));
    assert_eq!(asker.addresses("example.com"), ["192.0.2.1"]);
    assert_eq!(asker.addresses("5.2.0.192.in-addr.arpa"), ["192.0.2.1"]);
    assert_eq!(server.asked.load(Ordering::Relaxed), 2);
    server.stop();
}

#[test]
fn what_is_asked_over_a_stream_is_passed_on_over_a_stream() {
    let server = Server::start(|query| vec![answered(query, "192.0.2.1")]);
    let town = Town::new();
    let asker = town.container("asker", forwarding(&[server.address]));
    assert_eq!(texts(&asker.ask_by_stream("example.com", RecordType::A)), ["192.0.2.1"]);
    assert_eq!(server.asked.load(Ordering::Relaxed), 0);
    assert_eq!(server.asked_by_stream.load(Ordering::Relaxed), 1);
    server.stop();
}

#[test]
fn several_questions_of_one_stream_are_all_answered() {
    use std::io::Write;
    let server = Server::start(|query| vec![answered(query, "192.0.2.1")]);
    let town = Town::new();
    let asker = town.container("asker", forwarding(&[server.address]));
    let mut stream = std::net::TcpStream::connect(asker.tcp).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut ids = Vec::new();
    let mut bytes = Vec::new();
    for name in ["web", "example.com", "two", "example.org"] {
        let query = query(name, RecordType::A);
        ids.push(query.metadata.id);
        bytes.extend(framed(&query.to_vec().unwrap()));
    }
    // In two pieces that end in the middle of a question, and with the end said at once.
    stream.write_all(&bytes[..40]).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    stream.write_all(&bytes[40..]).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answered: Vec<u16> =
        (0..4).map(|_| Message::from_vec(&read_framed(&mut stream).unwrap()).unwrap().metadata.id).collect();
    answered.sort_unstable();
    assert_eq!(answered, ids);
    assert!(read_framed(&mut stream).is_err(), "and then it is closed");
    server.stop();
}

#[test]
fn the_next_server_is_asked_when_one_fails_refuses_or_is_not_there() {
    let failing = Server::start(|query| vec![coded(query, ResponseCode::ServFail)]);
    let refusing = Server::start(|query| vec![coded(query, ResponseCode::Refused)]);
    let good = Server::start(|query| vec![answered(query, "192.0.2.1")]);
    let town = Town::new();
    let asker = town.container("asker", forwarding(&[failing.address, refusing.address, good.address]));
    assert_eq!(asker.addresses("example.com"), ["192.0.2.1"]);
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let asker = town.container("asker", forwarding(&[closed, good.address]));
    assert_eq!(asker.addresses("example.com"), ["192.0.2.1"]);
    assert_eq!(texts(&asker.ask_by_stream("example.com", RecordType::A)), ["192.0.2.1"]);
    // All fail: so does the answer. A fourth is not tried.
    let bad = failing.address;
    let asker = town.container("asker", forwarding(&[bad, closed, refusing.address, good.address]));
    assert_eq!(asker.ask("example.com", RecordType::A).metadata.response_code, ResponseCode::ServFail);
    for server in [failing, refusing, good] {
        server.stop();
    }
}

#[test]
fn no_such_name_is_an_answer() {
    let server = Server::start(|query| vec![coded(query, ResponseCode::NXDomain)]);
    let town = Town::new();
    let asker = town.container("asker", forwarding(&[server.address]));
    assert_eq!(asker.ask("nosuch.example", RecordType::A).metadata.response_code, ResponseCode::NXDomain);
    server.stop();
}

#[test]
fn a_silent_server_is_given_four_seconds() {
    let silent = Server::start(|_| Vec::new());
    let good = Server::start(|query| vec![answered(query, "192.0.2.1")]);
    let town = Town::new();
    let asker = town.container("asker", forwarding(&[silent.address, good.address]));
    let begun = Instant::now();
    assert_eq!(asker.addresses("example.com"), ["192.0.2.1"]);
    let took = begun.elapsed().as_secs_f64();
    assert!((3.9..5.0).contains(&took), "{took}");
    silent.stop();
    good.stop();
}

#[test]
fn a_network_that_is_internal_passes_nothing_on() {
    let server = Server::start(|_| panic!("it was passed on"));
    let town = Town::new();
    let asker = town.container("asker", View { forward: false, ..forwarding(&[server.address]) });
    assert_eq!(asker.ask("example.com", RecordType::A).metadata.response_code, ResponseCode::ServFail);
    assert_eq!(asker.addresses("web"), ["172.20.0.2"]);
    server.stop();
}

#[test]
fn who_takes_long_datagrams_gets_a_cut_answer_whole() {
    let server = Server::start_two(|query, by_stream| {
        if by_stream {
            return vec![answered(query, "192.0.2.9")];
        }
        let mut message = Message::from_vec(query).unwrap().into_response();
        message.metadata.truncation = true;
        vec![message.to_vec().unwrap()]
    });
    let town = Town::new();
    let asker = town.container("asker", forwarding(&[server.address]));
    let answer = asker.ask_with_edns("example.com", RecordType::A, 4096);
    assert_eq!(texts(&answer), ["192.0.2.9"]);
    assert_eq!(server.asked_by_stream.load(Ordering::Relaxed), 1);
    // Who takes short ones only is told to come by a stream itself.
    let answer = asker.ask("example.com", RecordType::A);
    assert!(answer.metadata.truncation);
    assert_eq!(server.asked_by_stream.load(Ordering::Relaxed), 1);
    assert_eq!(texts(&asker.ask_by_stream("example.com", RecordType::A)), ["192.0.2.9"]);
    server.stop();
}

#[test]
fn an_answer_longer_than_its_asker_takes_is_cut_and_says_so() {
    let server = Server::start(|query| {
        let mut message = Message::from_vec(&answered(query, "192.0.2.1")).unwrap();
        let record = message.answers[0].clone();
        for _ in 0..60 {
            message.add_answer(record.clone());
        }
        vec![message.to_vec().unwrap()]
    });
    let town = Town::new();
    let asker = town.container("asker", forwarding(&[server.address]));
    let answer = asker.ask("example.com", RecordType::A);
    assert!(answer.metadata.truncation && answer.answers.is_empty());
    assert_eq!(answer.queries.len(), 1);
    assert_eq!(asker.ask_with_edns("example.com", RecordType::A, 4000).answers.len(), 61);
    server.stop();
}

#[test]
fn edns_is_passed_through_both_ways() {
    let server = Server::start(|query| {
        let question = Message::from_vec(query).unwrap();
        assert_eq!(question.edns.as_ref().unwrap().max_payload(), 1400);
        let mut message = Message::from_vec(&answered(query, "192.0.2.1")).unwrap();
        message.set_edns(question.edns.unwrap());
        vec![message.to_vec().unwrap()]
    });
    let town = Town::new();
    let asker = town.container("asker", forwarding(&[server.address]));
    let answer = asker.ask_with_edns("example.com", RecordType::A, 1400);
    assert_eq!(answer.edns.unwrap().max_payload(), 1400);
    server.stop();
}
