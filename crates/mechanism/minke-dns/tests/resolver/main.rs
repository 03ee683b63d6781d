//! The resolver over real sockets on loopback: containers that ask, servers that answer, lie or say nothing.

#![expect(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

mod forwarding;
mod harness;
mod hostile;

use harness::*;
use hickory_proto::{op::ResponseCode, rr::RecordType};
use minke_dns::{Link, Member, NetworkNames, Resolver, View};

#[test]
fn a_neighbour_is_found_by_name_alias_short_id_and_with_the_networks_name() {
    let town = Town::new();
    let asker = town.container("asker", view(&["n1"]));
    for name in ["web", "WEB", "www", "0123456789ab", "web.front", "WWW.Front", "web."] {
        assert_eq!(asker.addresses(name), ["172.20.0.2"], "{name}");
    }
    // A name with dots, and a network whose name has some.
    assert_eq!(asker.addresses("my.app"), ["172.20.0.3"]);
    assert_eq!(asker.addresses("my.app.front"), ["172.20.0.3"]);
    let other = town.container("other", view(&["n2"]));
    assert_eq!(other.addresses("db.back.end"), ["172.21.0.2"]);
}

#[test]
fn who_is_on_another_network_is_not_seen() {
    let town = Town::new();
    let asker = town.container("asker", view(&["n1"]));
    let answer = asker.ask("db", RecordType::A);
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    let answer = asker.ask("web.back.end", RecordType::A);
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    // From both, it is; the first network is preferred.
    let both = town.container("both", view(&["n2", "n1"]));
    assert_eq!(both.addresses("db"), ["172.21.0.2"]);
    assert_eq!(both.addresses("web"), ["172.21.0.9"]);
    assert_eq!(both.addresses("web.front"), ["172.20.0.2"]);
}

#[test]
fn an_answer_has_the_flags_and_the_lifetime_of_dockers() {
    let town = Town::new();
    let asker = town.container("asker", view(&["n1"]));
    let answer = asker.ask("web", RecordType::A);
    assert!(answer.metadata.recursion_available && answer.metadata.recursion_desired);
    assert!(!answer.metadata.authoritative);
    assert_eq!(answer.answers[0].ttl, 600);
    assert_eq!(answer.queries.len(), 1);
}

#[test]
fn a_name_without_such_an_address_is_answered_with_nothing_and_asked_of_nobody() {
    let server = Server::start(|_| panic!("an own name leaked out"));
    let town = Town::new();
    let asker =
        town.container("asker", View { upstreams: vec![server.address], forward: true, ..view(&["n1"]) });
    for kind in [RecordType::AAAA, RecordType::MX, RecordType::TXT, RecordType::HTTPS, RecordType::SRV] {
        let answer = asker.ask("web", kind);
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError, "{kind}");
        assert!(answer.answers.is_empty(), "{kind}");
    }
    server.stop();
}

#[test]
fn any_gives_addresses_of_both_families() {
    let town = Town::new();
    let asker = town.container("asker", view(&["n1"]));
    assert_eq!(asker.records("two", RecordType::ANY), ["172.20.0.4", "fd00:20::4"]);
    assert_eq!(asker.records("two", RecordType::AAAA), ["fd00:20::4"]);
}

#[test]
fn containers_with_one_alias_take_turns_and_are_all_there() {
    let town = Town::new();
    let asker = town.container("asker", view(&["n1"]));
    let mut firsts = Vec::new();
    for _ in 0..3 {
        let addresses = asker.addresses("pool");
        let mut sorted = addresses.clone();
        sorted.sort();
        assert_eq!(sorted, ["172.20.0.2", "172.20.0.3", "172.20.0.4"]);
        firsts.push(addresses[0].clone());
    }
    firsts.sort();
    assert_eq!(firsts, ["172.20.0.2", "172.20.0.3", "172.20.0.4"]);
}

#[test]
fn an_address_has_its_containers_name_and_reverse_questions_of_ours_stay_here() {
    let server = Server::start(|_| panic!("a reverse question leaked out"));
    let town = Town::new();
    let asker =
        town.container("asker", View { upstreams: vec![server.address], forward: true, ..view(&["n1"]) });
    assert_eq!(asker.records("2.0.20.172.in-addr.arpa", RecordType::PTR), ["web.front."]);
    let of_v6 = format!("4.0.0.0.{}0.2.0.0.0.0.d.f.ip6.arpa", "0.".repeat(20));
    assert_eq!(asker.records(&of_v6, RecordType::PTR), ["two.front."]);
    // Nobody's, the gateway's, and one of a network that it is not on.
    for name in ["77.0.20.172.in-addr.arpa", "1.0.20.172.in-addr.arpa", "2.0.21.172.in-addr.arpa"] {
        assert_eq!(asker.ask(name, RecordType::PTR).metadata.response_code, ResponseCode::NXDomain, "{name}");
    }
    server.stop();
}

#[test]
fn a_link_is_a_name_for_one_container_alone() {
    let town = Town::new();
    let mut linked = view(&["n1"]);
    linked.networks[0].links = vec![
        Link { alias: "database".into(), target: "web".into() },
        Link { alias: "www".into(), target: "two".into() },
    ];
    let asker = town.container("asker", linked);
    assert_eq!(asker.addresses("Database"), ["172.20.0.2"]);
    assert_eq!(asker.addresses("database.front"), ["172.20.0.2"]);
    // Its own word for a name counts before the network's.
    assert_eq!(asker.addresses("www"), ["172.20.0.4"]);
    let other = town.container("other", view(&["n1"]));
    assert_eq!(other.ask("database", RecordType::A).metadata.response_code, ResponseCode::ServFail);
    assert_eq!(other.addresses("www"), ["172.20.0.2"]);
}

#[test]
fn what_is_told_counts_for_the_next_question() {
    let town = Town::new();
    let asker = town.container("asker", view(&["n1"]));
    for round in 0..200_u8 {
        let id = format!("c{round}");
        town.resolver.join("n1", member(&id, &["moving"], &[&format!("172.20.1.{round}")]));
        assert_eq!(asker.addresses("moving"), [format!("172.20.1.{round}")]);
        town.resolver.leave("n1", &id);
        assert_eq!(asker.ask("moving", RecordType::A).metadata.response_code, ResponseCode::ServFail);
    }
    // A changed address replaces the one before, also where it points back.
    town.resolver.join("n1", member("c-web", &["web"], &["172.20.0.77"]));
    assert_eq!(asker.addresses("web"), ["172.20.0.77"]);
    assert_eq!(asker.ask("www", RecordType::A).metadata.response_code, ResponseCode::ServFail);
    assert_eq!(asker.records("77.0.20.172.in-addr.arpa", RecordType::PTR), ["web.front."]);
    assert_eq!(
        asker.ask("2.0.20.172.in-addr.arpa", RecordType::PTR).metadata.response_code,
        ResponseCode::NXDomain
    );
    // A view as well.
    town.resolver.look("asker", view(&["n2"]));
    assert_eq!(asker.addresses("db"), ["172.21.0.2"]);
    town.resolver.update(NetworkNames { id: "n2".into(), name: "later".into(), ..NetworkNames::default() });
    assert_eq!(asker.ask("db", RecordType::A).metadata.response_code, ResponseCode::ServFail);
    town.resolver.join("n2", member("c-db", &["db"], &["172.21.0.3"]));
    assert_eq!(asker.addresses("db.later"), ["172.21.0.3"]);
    town.resolver.forget("n2");
    assert_eq!(asker.ask("db", RecordType::A).metadata.response_code, ResponseCode::ServFail);
}

#[test]
fn questions_that_came_while_nobody_served_are_answered_afterwards() {
    let town = Town::new();
    let (sockets, asker) = Asker::new();
    asker.send("web", RecordType::A);
    std::thread::sleep(std::time::Duration::from_millis(20));
    town.resolver.serve("late", sockets, view(&["n1"])).unwrap();
    assert_eq!(texts(&asker.receive()), ["172.20.0.2"]);
}

#[test]
fn a_container_that_is_no_longer_served_has_its_sockets_closed() {
    let town = Town::new();
    let asker = town.container("asker", view(&["n1"]));
    assert_eq!(asker.addresses("web"), ["172.20.0.2"]);
    town.resolver.stop("asker");
    eventually("the stream socket is closed", || std::net::TcpStream::connect(asker.tcp).is_err());
    // Served again over new sockets, twice: the second replaces the first.
    let first = town.container("asker", view(&["n1"]));
    let second = town.container("asker", view(&["n1"]));
    assert_eq!(second.addresses("web"), ["172.20.0.2"]);
    eventually("the first's sockets are closed", || std::net::TcpStream::connect(first.tcp).is_err());
}

#[test]
fn an_answer_that_is_too_long_says_so_and_is_whole_over_a_stream() {
    let town = Town::new();
    for number in 0..200 {
        let address = format!("172.20.2.{number}");
        town.resolver
            .join("n1", member(&format!("m{number}"), &[&format!("m{number}"), "many"], &[&address]));
    }
    let asker = town.container("asker", view(&["n1"]));
    let cut = asker.ask("many", RecordType::A);
    assert!(cut.metadata.truncation);
    assert!(cut.answers.len() > 20 && cut.answers.len() < 32, "{}", cut.answers.len());
    let bytes = asker.ask_with_edns("many", RecordType::A, 2000);
    assert!(bytes.metadata.truncation && bytes.answers.len() > 110 && bytes.answers.len() < 125);
    assert!(bytes.edns.is_some(), "who speaks EDNS is answered so");
    let whole = asker.ask_by_stream("many", RecordType::A);
    assert!(!whole.metadata.truncation);
    assert_eq!(whole.answers.len(), 200);
}

#[test]
fn names_of_one_label_are_not_passed_on_when_ndots_is_set() {
    let server = Server::start(|query| vec![answered(query, "192.0.2.7")]);
    let town = Town::new();
    let forwarding = View { upstreams: vec![server.address], forward: true, ..view(&["n1"]) };
    let asker = town.container("plain", forwarding.clone());
    assert_eq!(asker.addresses("nosuch"), ["192.0.2.7"]);
    let asker = town.container("dotted", View { ndots_set: true, ..forwarding });
    let answer = asker.ask("nosuch", RecordType::A);
    assert_eq!((answer.metadata.response_code, answer.answers.len()), (ResponseCode::NoError, 0));
    assert_eq!(asker.addresses("nosuch.example"), ["192.0.2.7"]);
    assert_eq!(asker.addresses("web"), ["172.20.0.2"]);
    server.stop();
}

#[test]
fn a_resolver_that_serves_nobody_has_no_thread() {
    let threads = || {
        std::fs::read_dir("/proc/self/task")
            .unwrap()
            .filter(|task| {
                let comm = task.as_ref().unwrap().path().join("comm");
                std::fs::read_to_string(comm).is_ok_and(|name| name.trim() == "minke-dns")
            })
            .count()
    };
    // Other tests have theirs: so this one is only said not to add any.
    let before = threads();
    let resolver = Resolver::start().unwrap();
    resolver.join("n", Member::default());
    std::thread::sleep(std::time::Duration::from_millis(5));
    assert!(threads() <= before + 16);
    drop(resolver);
}
