//! Round trips and hostile bytes.

use std::{io, os::fd::AsFd, os::unix::net::UnixStream};

use super::{frame::PREFIX, *};

fn round_trip(body: Body) -> Body {
    let mut decoder = Decoder::new();
    let request = Request::new(7, body);
    decoder.push(&encode(&request).unwrap());
    for _ in 0..request.fds {
        decoder.push_fds([io::stdin().as_fd().try_clone_to_owned().unwrap()]);
    }
    let (back, fds): (Request, _) = decoder.next_message().unwrap().unwrap();
    assert_eq!(back.seq, 7);
    assert_eq!(fds.len(), usize::from(request.fds));
    back.body
}

#[test]
fn an_attach_comes_back_with_its_bytes_and_its_descriptor() {
    let spec = AttachSpec {
        id: 3,
        stdin: true,
        stdout: true,
        stderr: false,
        wire: Wire::Framed,
        detach_keys: vec![16, 17],
        early: vec![0, 255, 10],
    };
    let back = round_trip(Body::Attach { target: Target::Exec("e1".into()), spec: spec.clone() });
    match back {
        Body::Attach { target, spec: got } => {
            assert_eq!(target, Target::Exec("e1".into()));
            assert_eq!(got, spec);
        }
        other => panic!("came back as {other:?}"),
    }
}

#[test]
fn a_launch_comes_back_whole() {
    let launch = LaunchRequest {
        id: "ab".repeat(32),
        spec: Box::new(oci_spec::runtime::Spec::default()),
        rootfs: Rootfs::Path("/rootfs".into()),
        open_stdin: true,
        stdin_once: true,
        log: minke_logs::LogConfig::default(),
        container_dir: "/c".into(),
        exec_root_dir: "/e".into(),
        init: true,
        attach: vec![AttachSpec { id: 1, ..AttachSpec::default() }],
        netns: true,
        seccomp: Some(SeccompFilter { program: vec![6, 0, 0, 0, 0, 0, 255, 127], flags: 4 }),
        systemd: false,
        runtime: None,
        strict_limits: false,
        held: Vec::new(),
        proxies: Vec::new(),
    };
    assert_eq!(Body::Launch(Box::new(launch.clone())).fds_needed(), 2);
    match round_trip(Body::Launch(Box::new(launch.clone()))) {
        Body::Launch(back) => assert_eq!(*back, launch),
        other => panic!("came back as {other:?}"),
    }
}

#[test]
fn an_unknown_request_still_tells_its_number_and_the_next_frame_is_good() {
    let mut decoder = Decoder::new();
    decoder.push(&encode(&serde_json::json!({"seq": 9, "body": {"dance": {}}})).unwrap());
    decoder.push(&encode(&Request::new(10, Body::Query)).unwrap());
    let error = decoder.next_message::<Request>().unwrap_err();
    assert!(matches!(error, FrameError::Malformed { seq: Some(9), .. }), "{error:?}");
    assert!(!error.is_fatal());
    let (next, _) = decoder.next_message::<Request>().unwrap().unwrap();
    assert_eq!(next.seq, 10);
}

#[test]
fn unknown_fields_are_ignored() {
    let mut decoder = Decoder::new();
    let json = serde_json::json!({"seq": 1, "mood": 1, "body": {"signal": {"signo": 9, "colour": "red"}}});
    decoder.push(&encode(&json).unwrap());
    let (request, _) = decoder.next_message::<Request>().unwrap().unwrap();
    assert!(matches!(request.body, Body::Signal(SignalRequest { signo: 9, all: false, .. })));
}

#[test]
fn an_unknown_event_leaves_the_connection_good() {
    let mut decoder = Decoder::new();
    decoder.push(&encode(&serde_json::json!({"event": {"rained": {"mm": 3}}})).unwrap());
    decoder.push(&encode(&Message::Event(Event::OomKilled)).unwrap());
    assert!(!decoder.next_message::<Message>().unwrap_err().is_fatal());
    let (message, _) = decoder.next_message::<Message>().unwrap().unwrap();
    assert_eq!(message, Message::Event(Event::OomKilled));
}

#[test]
fn a_frame_over_the_limit_is_refused_before_it_is_read() {
    let mut decoder = Decoder::new();
    decoder.push(&u32::try_from(MAX_FRAME + 1).unwrap().to_le_bytes());
    assert!(matches!(decoder.next_message::<Request>(), Err(FrameError::TooLong { .. })));
    let long = "x".repeat(MAX_FRAME);
    assert!(matches!(encode(&long), Err(FrameError::TooLong { .. })));
}

#[test]
fn frames_cut_at_every_byte_come_out_the_same() {
    let mut stream = Vec::new();
    for seq in 0..3 {
        stream.extend(encode(&Request::new(seq, Body::Hello { version: VERSION })).unwrap());
    }
    for cut in 0..stream.len() {
        let mut decoder = Decoder::new();
        let mut seen = Vec::new();
        for part in [&stream[..cut], &stream[cut..]] {
            decoder.push(part);
            while let Some((request, _)) = decoder.next_message::<Request>().unwrap() {
                seen.push(request.seq);
            }
        }
        assert_eq!(seen, [0, 1, 2], "cut at {cut}");
    }
}

#[test]
fn descriptors_go_to_the_frame_they_rode_with() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (client, mut far) = UnixStream::pair().unwrap();
    socket::send_message(&ours, &Request::new(1, Body::Query), &[]).unwrap();
    let attach = Body::Attach { target: Target::Init, spec: AttachSpec::default() };
    socket::send_message(&ours, &Request::new(2, attach), &[client.as_fd()]).unwrap();
    socket::send_message(&ours, &Request::new(3, Body::Query), &[]).unwrap();
    drop(client);
    let mut decoder = Decoder::new();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        socket::receive(&theirs, &mut decoder).unwrap();
        while let Some((request, fds)) = decoder.next_message::<Request>().unwrap() {
            seen.push((request.seq, fds));
        }
    }
    assert_eq!(seen.iter().map(|(seq, fds)| (*seq, fds.len())).collect::<Vec<_>>(), [(1, 0), (2, 1), (3, 0)]);
    io::Write::write_all(&mut UnixStream::from(seen.remove(1).1.remove(0)), b"hi").unwrap();
    let mut got = [0; 2];
    io::Read::read_exact(&mut far, &mut got).unwrap();
    assert_eq!(&got, b"hi");
}

#[test]
fn a_frame_that_names_descriptors_it_did_not_bring_ends_the_connection() {
    let mut decoder = Decoder::new();
    let attach = Body::Attach { target: Target::Init, spec: AttachSpec::default() };
    decoder.push(&encode(&Request::new(2, attach)).unwrap());
    assert!(decoder.next_message::<Request>().unwrap_err().is_fatal());
}

#[test]
fn random_bytes_never_panic_the_decoder() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..2000 {
        let mut decoder = Decoder::new();
        let mut bytes = Vec::new();
        for _ in 0..64 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            bytes.push(seed.to_le_bytes()[7]);
        }
        // Half of them get a plausible length, so that the JSON half is reached.
        if seed.is_multiple_of(2) {
            bytes[..PREFIX].copy_from_slice(&8_u32.to_le_bytes());
        }
        decoder.push(&bytes);
        while let Ok(Some(_)) = decoder.next_message::<Request>() {}
    }
}

#[test]
fn a_state_survives_the_way_through_the_exit_record() {
    let state = State {
        version: VERSION,
        id: "c".into(),
        pid: 0,
        started_at: 1,
        status: Status::Exited,
        exit: Some(Exit { code: 137, oom_killed: true, at: 2 }),
        execs: vec![ExecState { id: "e".into(), pid: 5, exit: None }],
        attached: vec![],
    };
    let text = serde_json::to_vec(&state).unwrap();
    assert_eq!(serde_json::from_slice::<State>(&text).unwrap(), state);
}

#[test]
fn an_answer_brings_its_descriptors_and_the_next_has_none() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let held = Reply::Held { labels: vec!["a".into(), "b".into()], more: true };
    let stdin = io::stdin();
    socket::send_message(&ours, &Message::reply(4, held.clone()), &[stdin.as_fd(), stdin.as_fd()]).unwrap();
    socket::send_message(&ours, &Message::reply(5, Reply::Done), &[]).unwrap();
    let mut decoder = Decoder::new();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        socket::receive(&theirs, &mut decoder).unwrap();
        while let Some((message, fds)) = decoder.next_message::<Message>().unwrap() {
            seen.push((message, fds.len()));
        }
    }
    assert_eq!(seen[0], (Message::Reply { seq: 4, fds: 2, reply: held }, 2));
    assert_eq!(seen[1], (Message::Reply { seq: 5, fds: 0, reply: Reply::Done }, 0));
}

#[test]
fn what_version_one_says_and_hears_has_not_changed() {
    // A daemon of version 1 launches without anything to hold.
    let mut launch = serde_json::to_value(LaunchRequest {
        id: "c".into(),
        spec: Box::new(oci_spec::runtime::Spec::default()),
        rootfs: Rootfs::Path("/".into()),
        open_stdin: false,
        stdin_once: false,
        log: minke_logs::LogConfig::default(),
        container_dir: "/c".into(),
        exec_root_dir: "/e".into(),
        init: false,
        attach: Vec::new(),
        netns: false,
        systemd: false,
        runtime: None,
        seccomp: None,
        strict_limits: false,
        held: vec![Held { label: "x".into() }],
        proxies: Vec::new(),
    })
    .unwrap();
    let fields = launch.as_object_mut().unwrap();
    assert!(fields.remove("held").is_some() && fields.remove("proxies").is_none());
    let launch: LaunchRequest = serde_json::from_value(launch).unwrap();
    assert!(launch.held.is_empty() && launch.proxies.is_empty());
    // And its answers look as they did.
    let text = serde_json::to_string(&Message::reply(1, Reply::Done)).unwrap();
    assert_eq!(text, r#"{"reply":{"seq":1,"reply":"done"}}"#);
}
