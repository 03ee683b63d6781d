//! Lies, floods and rubbish: none of it may reach another's answers, or bring the resolver down.

use std::{
    collections::HashSet,
    net::UdpSocket,
    sync::{Arc, Mutex, atomic::Ordering},
    time::{Duration, Instant},
};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::RecordType,
};
use minke_dns::{NetworkNames, View, fuzz};
use proptest::prelude::*;

use crate::harness::*;

#[test]
fn answers_with_another_id_or_question_are_not_believed() {
    let server = Server::start(|query| {
        let mut wrong_id = answered(query, "6.6.6.6");
        wrong_id[0] ^= 1;
        let stranger = query_bytes("other.example", query);
        let wrong_name = answered(&stranger, "6.6.6.6");
        let mut no_answer = answered(query, "6.6.6.6");
        no_answer[2] &= 0x7f;
        let rubbish = vec![0xff; 30];
        vec![wrong_id, wrong_name, no_answer, rubbish, answered(query, "192.0.2.1")]
    });
    let town = Town::new();
    let view = View { upstreams: vec![server.address], forward: true, ..view(&["n1"]) };
    let asker = town.container("asker", view);
    assert_eq!(asker.addresses("example.com"), ["192.0.2.1"]);
    server.stop();
}

/// A question for this name under another's id.
fn query_bytes(name: &str, other: &[u8]) -> Vec<u8> {
    let mut bytes = query(name, RecordType::A).to_vec().unwrap();
    bytes[..2].copy_from_slice(&other[..2]);
    bytes
}

#[test]
fn answers_from_elsewhere_are_not_taken_and_ports_and_ids_cannot_be_told_ahead() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.set_read_timeout(Some(PATIENCE)).unwrap();
    let town = Town::new();
    let view = View { upstreams: vec![udp.local_addr().unwrap()], forward: true, ..view(&["n1"]) };
    let asker = town.container("asker", view);
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut buffer = [0; 4096];
    for _ in 0..64 {
        asker.send("example.com", RecordType::A);
        let (length, client) = udp.recv_from(&mut buffer).unwrap();
        // With everything right but where it comes from.
        stranger.send_to(&answered(&buffer[..length], "6.6.6.6"), client).unwrap();
        udp.send_to(&answered(&buffer[..length], "192.0.2.1"), client).unwrap();
        assert_eq!(texts(&asker.receive()), ["192.0.2.1"]);
        seen.lock().unwrap().push((client.port(), [buffer[0], buffer[1]]));
    }
    let seen = seen.lock().unwrap();
    let ports: HashSet<_> = seen.iter().map(|(port, _)| port).collect();
    let ids: HashSet<_> = seen.iter().map(|(_, id)| id).collect();
    assert!(ports.len() > 48 && ids.len() > 60, "{} ports, {} ids", ports.len(), ids.len());
}

#[test]
fn one_that_asks_without_end_is_refused_and_its_neighbour_served() {
    let silent = Server::start(|_| Vec::new());
    let town = Town::new();
    let view = View { upstreams: vec![silent.address], forward: true, ..view(&["n1"]) };
    let flood = town.container("flood", view.clone());
    let neighbour = town.container("neighbour", view);
    for number in 0..1500 {
        flood.send(&format!("n{number}.example"), RecordType::A);
        if number % 25 == 0 {
            let begun = Instant::now();
            assert_eq!(neighbour.addresses("web"), ["172.20.0.2"]);
            assert!(begun.elapsed() < Duration::from_secs(1));
        }
    }
    let refused = flood.receive();
    assert_eq!(refused.metadata.response_code, ResponseCode::Refused);
    eventually("the server has been asked", || silent.asked.load(Ordering::Relaxed) >= 1000);
    assert!(silent.asked.load(Ordering::Relaxed) <= 1024);
    silent.stop();
}

#[test]
fn rubbish_is_answered_with_an_error_or_not_at_all() {
    let town = Town::new();
    let asker = town.container("asker", view(&["n1"]));
    let good = query("web", RecordType::A).to_vec().unwrap();
    let mut pointer = good.clone();
    // The name points to itself.
    pointer[12..14].copy_from_slice(&[0xc0, 12]);
    let mut update = good.clone();
    update[2] |= 5 << 3;
    let mut many = good.clone();
    many[5] = 2;
    let mut answer = good.clone();
    answer[2] |= 0x80;
    for (bytes, code) in [
        (&good[..20], Some(ResponseCode::FormErr)),
        (&pointer, Some(ResponseCode::FormErr)),
        (&update, Some(ResponseCode::NotImp)),
        (&many, Some(ResponseCode::FormErr)),
        (&answer, None),
        (&good[..11], None),
        (&[], None),
        (&vec![0; 5000], Some(ResponseCode::FormErr)),
    ] {
        asker.socket.send(bytes).unwrap();
        if let Some(code) = code {
            assert_eq!(asker.receive().metadata.response_code, code);
        }
        assert_eq!(asker.addresses("web"), ["172.20.0.2"], "after {bytes:?}");
    }
}

#[test]
fn connections_without_end_cost_the_oldest_its_own() {
    let town = Town::new();
    let asker = town.container("asker", view(&["n1"]));
    let held: Vec<_> = (0..200).map(|_| std::net::TcpStream::connect(asker.tcp).unwrap()).collect();
    assert_eq!(texts(&asker.ask_by_stream("web", RecordType::A)), ["172.20.0.2"]);
    let mut first = &held[0];
    first.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(std::io::Read::read(&mut first, &mut [0]).unwrap(), 0);
}

fn networks() -> Vec<NetworkNames> {
    vec![NetworkNames {
        id: "n1".into(),
        name: "front".into(),
        members: (0..100)
            .map(|number| {
                let names = [format!("m{number}"), "many".to_owned()];
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                member(
                    &format!("c{number}"),
                    &names,
                    &[&format!("10.0.0.{number}"), &format!("fd00::{number}")],
                )
            })
            .collect(),
        subnets: vec![("10.0.0.0".parse().unwrap(), 8)],
    }]
}

fn label() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9_]{1,12}",
        Just("many".to_owned()),
        Just("front".to_owned()),
        "[a-z]{63}",
        "m[0-9]{1,2}"
    ]
}

fn question() -> impl Strategy<Value = Vec<u8>> {
    let kinds = prop_oneof![
        Just(RecordType::A),
        Just(RecordType::AAAA),
        Just(RecordType::ANY),
        Just(RecordType::PTR),
        any::<u16>().prop_map(RecordType::from)
    ];
    let reverse = any::<[u8; 4]>().prop_map(|octets| {
        octets.map(|octet| octet.to_string()).into_iter().chain(["in-addr".into(), "arpa".into()]).collect()
    });
    let names = prop_oneof![proptest::collection::vec(label(), 0..4), reverse];
    (names, kinds, proptest::option::of(any::<u16>()), any::<u16>()).prop_map(|(labels, kind, edns, id)| {
        let mut message = query(&format!("{}.", labels.join(".")), kind);
        message.metadata.id = id;
        if let Some(size) = edns {
            let mut edns = hickory_proto::op::Edns::new();
            edns.set_max_payload(size);
            message.set_edns(edns);
        }
        message.to_vec().unwrap()
    })
}

/// A question that something has happened to.
fn spoiled() -> impl Strategy<Value = Vec<u8>> {
    let changes = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    (question(), changes, any::<prop::sample::Index>(), any::<bool>()).prop_map(
        |(mut bytes, changes, cut, whole)| {
            for (index, value) in changes {
                let at = index.index(bytes.len());
                bytes[at] = value;
            }
            if !whole {
                bytes.truncate(cut.index(bytes.len() + 1));
            }
            bytes
        },
    )
}

fn anything() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![3 => spoiled(), 1 => proptest::collection::vec(any::<u8>(), 0..600)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Whatever comes: no panic, never longer than allowed, and what goes out can be read by others.
    #[test]
    fn every_answer_is_a_message_within_its_limit(bytes in anything(), by_stream: bool) {
        let view = view(&["n1"]);
        if let Some(answer) = fuzz::answer(&networks(), &view, &bytes, by_stream) {
            let limit = match fuzz::read(&bytes) {
                _ if by_stream => 65_535,
                Some((.., limit)) => limit.min(4096),
                None => 512,
            };
            prop_assert!(answer.len() <= limit, "{} of {limit}", answer.len());
            let message = Message::from_vec(&answer).expect("an answer that can be read");
            prop_assert_eq!(&answer[..2], &bytes[..2]);
            prop_assert_eq!(message.metadata.message_type, hickory_proto::op::MessageType::Response);
        }
    }

    /// A question that is read says the same to us and to a library.
    #[test]
    fn questions_are_read_as_others_read_them(bytes in anything()) {
        if let (Some((name, kind, class, _)), Ok(message)) = (fuzz::read(&bytes), Message::from_vec(&bytes)) {
            let question = &message.queries[0];
            let theirs: Vec<u8> = question.name().iter().flat_map(|label| {
                let mut label = label.to_vec();
                label.make_ascii_lowercase();
                label.insert(0, u8::try_from(label.len()).unwrap());
                label
            }).collect();
            prop_assert_eq!(name, theirs);
            prop_assert_eq!(kind, u16::from(question.query_type()));
            prop_assert_eq!(class, u16::from(question.query_class()));
        }
    }

    /// A sound question is always understood.
    #[test]
    fn sound_questions_are_read(bytes in question()) {
        prop_assert!(fuzz::read(&bytes).is_some());
        prop_assert!(Message::from_vec(&fuzz::failure(&bytes)).is_ok());
    }

    /// Whatever a server says: no panic, and nothing is believed that has another id or is no answer.
    #[test]
    fn servers_can_say_what_they_like(query in question(), answer in anything(), limit in 0..5000_usize) {
        if let Some(believed) = fuzz::believe(&query, &answer, limit) {
            prop_assert_eq!(&believed[..2], &query[..2]);
            prop_assert!(believed.len() <= limit.max(512));
        }
        let mut echoed = query.clone();
        echoed[2] |= 0x80;
        prop_assert!(fuzz::believe(&query, &echoed, limit).is_some());
        echoed[1] ^= 0x40;
        prop_assert!(fuzz::believe(&query, &echoed, limit).is_none());
    }
}
