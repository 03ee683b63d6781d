//! Keepers as real processes with real containers. Needs root and Debian's busybox-static.

#![expect(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

mod figures;
mod harness;
mod holding;

use std::{
    io::{Read, Write},
    net::Shutdown,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use harness::*;
use minke_keeper::protocol::{
    AttachSpec, Body, EXIT_RECORD, Event, Refusal, Reply, ResizeRequest, SOCKET_NAME, SignalRequest, Stage,
    State, Status, Target, Wire,
};

/// Runs a container to its end, as a daemon would.
fn finish(mut daemon: Daemon) -> i32 {
    let exit = daemon.exited();
    assert_eq!(daemon.ask(Body::Forget, &[]), Reply::Done);
    assert!(daemon.is_hung_up());
    exit.code
}

#[test]
fn a_container_runs_logs_and_leaves_nothing() {
    let nursery = nursery();
    let container = Container::new("echo out; echo err >&2; exit 3");
    let (mut daemon, pid) = container.start(&nursery, vec![]);
    assert!(pid > 0);
    assert!(container.path("run").join(SOCKET_NAME).exists());
    let exit = daemon.exited();
    assert_eq!((exit.code, exit.oom_killed), (3, false));
    assert_eq!(daemon.ask(Body::Forget, &[]), Reply::Done);
    assert!(daemon.is_hung_up());
    let mut lines: Vec<_> =
        container.log().into_iter().map(|line| (line.stream.name(), line.bytes)).collect();
    lines.sort();
    assert_eq!(lines, [("stderr", b"err\n".to_vec()), ("stdout", b"out\n".to_vec())]);
    eventually("the cgroup goes", || !container.cgroup().exists());
    eventually("the socket goes", || !container.path("run").exists());
    assert!(!container.path(EXIT_RECORD).exists());
}

#[test]
fn a_missing_program_fails_in_dockers_words() {
    let nursery = nursery();
    let container = Container::of(&["nosuch"]);
    let (_, reply) = container.try_start(&nursery, vec![]);
    let Reply::Failed(failure) = reply else { panic!("{reply:?}") };
    assert!(
        failure.text.contains(r#"exec: "nosuch": executable file not found in $PATH"#),
        "{}",
        failure.text
    );
    assert_eq!((failure.stage, failure.exit_code), (Stage::Program, 127));
    eventually("the cgroup goes", || !container.cgroup().exists());
    assert!(!container.path("run").exists());
}

#[test]
fn three_clients_of_three_kinds_see_the_same_output() {
    let nursery = nursery();
    let container = Container::new("cat; echo done; echo err >&2").with_stdin(true);
    let (raw, mut raw_end) = client(attach(1, true, Wire::Raw));
    let (stdcopy, mut stdcopy_end) = client(attach(2, false, Wire::Stdcopy));
    let (framed, mut framed_end) = client(attach(3, false, Wire::Framed));
    let (mut daemon, _) = container.start(&nursery, vec![raw, stdcopy, framed]);
    raw_end.write_all(b"typed\n").unwrap();
    read_until(&mut raw_end, "typed\n");
    raw_end.shutdown(Shutdown::Write).unwrap();
    let mut rest = String::new();
    raw_end.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("done\n") && rest.contains("err\n"), "{rest}");
    let mut seen = frames(&mut stdcopy_end);
    seen.sort();
    assert_eq!(seen, [(1, "typed\ndone\n".into()), (2, "err\n".into())]);
    assert_eq!(daemon.exited().code, 0);
    daemon.ask(Body::Forget, &[]);
    let seen = frames(&mut framed_end);
    assert_eq!(seen[0], (4, r#"{"started":true}"#.into()));
    assert_eq!(seen.last().unwrap(), &(4, r#"{"exit":{"code":0}}"#.into()));
}

#[test]
fn framed_input_reaches_the_process_and_its_end_too() {
    let nursery = nursery();
    let container = Container::new("cat; exit 5").with_stdin(true);
    let (mut spec, mut ours) = client(attach(1, true, Wire::Framed));
    // What the daemon had read before the handover: the first frame and half of the second.
    let (first, second) = (frame(0, b"early "), frame(0, b"late\n"));
    spec.0.early = [&first[..], &second[..5]].concat();
    let (mut daemon, _) = container.start(&nursery, vec![spec]);
    ours.write_all(&second[5..]).unwrap();
    ours.write_all(&frame(0, b"")).unwrap();
    assert_eq!(daemon.exited().code, 5);
    daemon.ask(Body::Forget, &[]);
    let seen = frames(&mut ours);
    assert_eq!(seen[1], (1, "early late\n".into()));
    assert_eq!(seen[2], (4, r#"{"exit":{"code":5}}"#.into()));
}

#[test]
fn detach_keys_end_one_visit_and_leave_the_container_and_the_others() {
    let nursery = nursery();
    let container =
        Container::new("stty -echo; echo ready; read x; echo got $x").with_tty().with_stdin(false);
    let keys = AttachSpec { detach_keys: vec![16, 17], ..attach(1, true, Wire::Raw) };
    let (leaver, mut leaver_end) = client(keys);
    let (stayer, mut stayer_end) = client(attach(2, true, Wire::Raw));
    let (mut daemon, _) = container.start(&nursery, vec![leaver, stayer]);
    read_until(&mut leaver_end, "ready");
    leaver_end.write_all(&[16]).unwrap();
    leaver_end.write_all(&[17]).unwrap();
    assert_eq!(daemon.event(), Event::Detached { attach: 1, by_keys: true });
    leaver_end.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(daemon.state().attached, [2]);
    stayer_end.write_all(b"word\n").unwrap();
    read_until(&mut stayer_end, "got word");
    assert_eq!(finish(daemon), 0);
}

#[test]
fn a_terminal_has_the_size_it_is_given() {
    let nursery = nursery();
    let container = Container::new("read x; stty size; tty; test -t 1 && test -t 2 && echo terminal")
        .with_tty()
        .with_stdin(false);
    let (spec, mut ours) = client(attach(1, true, Wire::Raw));
    let (mut daemon, _) = container.start(&nursery, vec![spec]);
    let resize = ResizeRequest { target: Target::Init, width: 123, height: 45 };
    assert_eq!(daemon.ask(Body::Resize(resize), &[]), Reply::Done);
    ours.write_all(b"\n").unwrap();
    let text = read_until(&mut ours, "terminal");
    assert!(text.contains("45 123") && text.contains("/dev/"), "{text}");
    assert_eq!(finish(daemon), 0);
    assert!(container.log_text().contains("45 123"));
}

#[test]
fn without_open_stdin_the_process_reads_its_end() {
    let nursery = nursery();
    let container = Container::new("cat; echo over");
    let (daemon, _) = container.start(&nursery, vec![]);
    assert_eq!(finish(daemon), 0);
    assert_eq!(container.log_text(), "over\n");
}

#[test]
fn stdin_closes_on_request() {
    let nursery = nursery();
    let container = Container::new("cat; echo over").with_stdin(false);
    let (mut daemon, _) = container.start(&nursery, vec![]);
    assert_eq!(daemon.ask(Body::CloseStdin { target: Target::Init }, &[]), Reply::Done);
    assert_eq!(finish(daemon), 0);
}

#[test]
fn dev_stdout_can_be_opened_again_by_the_containers_user() {
    let nursery = nursery();
    let mut container = Container::new("echo again > /proc/self/fd/1; echo error > /proc/self/fd/2; id -u");
    container.process(|process| {
        process.user_mut().set_uid(1234);
    });
    let (daemon, _) = container.start(&nursery, vec![]);
    assert_eq!(finish(daemon), 0);
    let text = container.log_text();
    assert!(text.contains("again\n") && text.contains("error\n") && text.contains("1234\n"), "{text}");
}

#[test]
fn a_signal_ends_the_container_with_128_and_its_number() {
    let nursery = nursery();
    let container = Container::of(&["/bin/sleep", "100"]);
    let (mut daemon, _) = container.start(&nursery, vec![]);
    let signal = |signo| Body::Signal(SignalRequest { target: Target::Init, signo, all: false });
    assert_eq!(daemon.ask(signal(9), &[]), Reply::Done);
    assert_eq!(daemon.exited().code, 137);
    let reply = daemon.ask(signal(9), &[]);
    assert!(matches!(reply, Reply::Refused { refusal: Refusal::NotRunning, .. }), "{reply:?}");
    daemon.ask(Body::Forget, &[]);
}

#[test]
fn a_paused_container_says_so_and_goes_on_when_resumed() {
    let nursery = nursery();
    let container = Container::new("read x; exit 7").with_stdin(false);
    let (spec, mut ours) = client(attach(1, true, Wire::Raw));
    let (mut daemon, _) = container.start(&nursery, vec![spec]);
    assert_eq!(daemon.ask(Body::Pause, &[]), Reply::Done);
    assert_eq!(daemon.state().status, Status::Paused);
    ours.write_all(b"\n").unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(daemon.ask(Body::Resume, &[]), Reply::Done);
    assert_eq!(finish(daemon), 7);
}

#[test]
fn execs_have_their_own_stdio_and_exit_codes() {
    let nursery = nursery();
    let container = Container::of(&["/bin/sleep", "100"]);
    let (mut daemon, _) = container.start(&nursery, vec![]);
    let mut first = exec("e1", "cat; echo $HOSTNAME err >&2; exit 4");
    first.open_stdin = true;
    let ((spec, theirs), mut ours) = client(attach(1, true, Wire::Stdcopy));
    first.attach = vec![spec];
    let reply = daemon.ask(Body::Exec(Box::new(first)), &[theirs.as_fd()]);
    assert!(matches!(reply, Reply::ExecStarted { .. }), "{reply:?}");
    drop(theirs);
    let reply = daemon.ask(Body::Exec(Box::new(exec("e2", "sleep 100"))), &[]);
    assert!(matches!(reply, Reply::ExecStarted { .. }), "{reply:?}");
    ours.write_all(b"in\n").unwrap();
    ours.shutdown(Shutdown::Write).unwrap();
    let mut seen = frames(&mut ours);
    seen.sort();
    assert_eq!(seen, [(1, "in\n".into()), (2, "tested err\n".into())]);
    let Event::ExecExited { exec: id, exit } = daemon.event() else { panic!() };
    assert_eq!((id.as_str(), exit.code), ("e1", 4));
    let state = daemon.state();
    assert_eq!(state.execs.len(), 2);
    assert_eq!(state.execs[0].exit.map(|exit| exit.code), Some(4));
    assert!(state.execs[1].pid > 0);
    let kill = SignalRequest { target: of_exec("e2"), signo: 15, all: false };
    assert_eq!(daemon.ask(Body::Signal(kill), &[]), Reply::Done);
    let Event::ExecExited { exit, .. } = daemon.event() else { panic!() };
    assert_eq!(exit.code, 143);
    let missing = daemon.ask(Body::Exec(Box::new(exec("e3", "exit 9"))), &[]);
    assert!(matches!(missing, Reply::ExecStarted { .. }));
    let mut nosuch = exec("e4", "");
    nosuch.process.set_args(Some(vec!["nosuch".into()]));
    let reply = daemon.ask(Body::Exec(Box::new(nosuch)), &[]);
    let Reply::Failed(failure) = reply else { panic!("{reply:?}") };
    assert!(
        failure.text.contains(r#"exec: "nosuch": executable file not found in $PATH"#),
        "{}",
        failure.text
    );
    assert_eq!(failure.exit_code, 127);
    daemon.ask(Body::Shutdown, &[]);
}

#[test]
fn an_exec_can_have_a_terminal() {
    let nursery = nursery();
    let container = Container::of(&["/bin/sleep", "100"]);
    let (mut daemon, _) = container.start(&nursery, vec![]);
    let mut request = exec("e1", "stty -echo; echo ready; read x; stty size; echo got $x");
    request.open_stdin = true;
    request.process.set_terminal(Some(true));
    let ((spec, theirs), mut ours) = client(attach(1, true, Wire::Raw));
    request.attach = vec![spec];
    let reply = daemon.ask(Body::Exec(Box::new(request)), &[theirs.as_fd()]);
    assert!(matches!(reply, Reply::ExecStarted { .. }), "{reply:?}");
    read_until(&mut ours, "ready");
    let resize = ResizeRequest { target: of_exec("e1"), width: 99, height: 11 };
    assert_eq!(daemon.ask(Body::Resize(resize), &[]), Reply::Done);
    ours.write_all(b"word\n").unwrap();
    let text = read_until(&mut ours, "got word");
    assert!(text.contains("11 99"), "{text}");
    daemon.ask(Body::Shutdown, &[]);
}

#[test]
fn the_container_outlives_the_daemon_and_is_found_again() {
    let nursery = nursery();
    let container = Container::new("read x; echo $x; exit 8").with_stdin(false);
    let (spec, mut ours) = client(attach(1, true, Wire::Raw));
    let (mut daemon, pid) = container.start(&nursery, vec![spec]);
    daemon.ask(Body::Exec(Box::new(exec("e1", "sleep 100"))), &[]);
    drop(daemon);
    drop(nursery);
    let mut daemon = container.reconnect();
    let state = daemon.state();
    assert_eq!((state.pid, state.status, state.attached.as_slice()), (pid, Status::Running, &[1][..]));
    assert_eq!(state.execs[0].id, "e1");
    // A second daemon takes over from the first.
    let mut second = container.reconnect();
    assert!(daemon.is_hung_up());
    ours.write_all(b"still here\n").unwrap();
    read_until(&mut ours, "still here");
    assert_eq!(second.exited().code, 8);
    second.ask(Body::Forget, &[]);
}

#[test]
fn an_exit_without_a_daemon_is_written_down_and_clients_are_told() {
    let nursery = nursery();
    let container = Container::new("read x; exit 8").with_stdin(false);
    let (spec, mut ours) = client(attach(1, true, Wire::Framed));
    let (daemon, _) = container.start(&nursery, vec![spec]);
    drop(daemon);
    ours.write_all(&frame(0, b"\n")).unwrap();
    assert_eq!(frames(&mut ours).last().unwrap(), &(4, r#"{"exit":{"code":8}}"#.into()));
    eventually("the keeper leaves", || !container.path("run").exists());
    let state: State = serde_json::from_slice(&std::fs::read(container.path(EXIT_RECORD)).unwrap()).unwrap();
    assert_eq!((state.id.as_str(), state.status), (container.id.as_str(), Status::Exited));
    assert_eq!(state.exit.unwrap().code, 8);
    assert!(!container.cgroup().exists());
}

#[test]
fn a_daemon_that_dies_between_exit_and_forget_finds_the_record() {
    let nursery = nursery();
    let container = Container::new("exit 6");
    let (mut daemon, _) = container.start(&nursery, vec![]);
    assert_eq!(daemon.exited().code, 6);
    drop(daemon);
    eventually("the record is there", || container.path(EXIT_RECORD).exists());
    eventually("the keeper leaves", || !container.path("run").exists());
}

#[test]
fn a_container_starts_again_while_its_last_keeper_still_serves_a_slow_client() {
    let nursery = nursery();
    let container = Container::new("seq 1 200000");
    let (spec, mut slow) = client(attach(1, false, Wire::Raw));
    let (mut daemon, _) = container.start(&nursery, vec![spec]);
    assert_eq!(daemon.exited().code, 0);
    assert_eq!(daemon.ask(Body::Forget, &[]), Reply::Done);
    assert!(!container.path("run").exists(), "the socket is gone by the answer");
    let (mut again, _) = container.start(&nursery, vec![]);
    let mut bytes = Vec::new();
    slow.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 200_000);
    assert!(daemon.is_hung_up());
    assert!(container.path("run").join(SOCKET_NAME).exists(), "the second keeper's socket is its own");
    again.exited();
    again.ask(Body::Forget, &[]);
}

#[test]
fn bad_frames_do_no_harm() {
    let nursery = nursery();
    let container = Container::of(&["/bin/sleep", "100"]);
    let (first, _) = container.start(&nursery, vec![]);
    let mut strange = container.reconnect();
    strange.send_bytes(
        &minke_keeper::protocol::encode(&serde_json::json!({"seq": 77, "body": "dance"})).unwrap(),
    );
    let reply = strange.reply_to(77);
    assert!(matches!(reply, Reply::Refused { refusal: Refusal::Unknown, .. }), "{reply:?}");
    strange.send_bytes(&u32::MAX.to_le_bytes());
    assert!(strange.is_hung_up());
    drop(first);
    let mut daemon = container.reconnect();
    assert_eq!(daemon.state().status, Status::Running);
    assert_eq!(daemon.ask(Body::Shutdown, &[]), Reply::Done);
    assert!(!container.cgroup().exists());
}

#[test]
fn a_flood_nobody_reads_neither_stops_nor_fills_memory() {
    let nursery = nursery();
    let mut container = Container::new("seq 1 2000000; echo end >&2");
    container.launch.log.driver = minke_logs::Driver::None;
    let (spec, ours) = client(attach(1, false, Wire::Stdcopy));
    let (mut daemon, _) = container.start(&nursery, vec![spec]);
    let keeper = keeper_of(&mut daemon);
    let started = Instant::now();
    let mut most = 0;
    let exit = loop {
        most = most.max(memory(keeper, "Anonymous"));
        let state = daemon.state();
        if let Some(exit) = state.exit {
            break exit;
        }
        assert!(started.elapsed() < PATIENCE, "the flood was stopped by a client that does not read");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(exit.code, 0);
    assert!(most < 3000, "{most} kB");
    daemon.ask(Body::Forget, &[]);
    // It comes back at last, and nothing is missing.
    let mut ours = ours;
    let seen = frames(&mut ours);
    let lines: usize = seen.iter().filter(|(kind, _)| *kind == 1).map(|(_, text)| text.lines().count()).sum();
    assert_eq!(lines, 2_000_000);
}

#[test]
fn a_fast_writer_waits_for_a_slow_reader() {
    let nursery = nursery();
    let container = Container::new("seq 1 300000");
    let (spec, mut ours) = client(attach(1, false, Wire::Raw));
    let (mut daemon, _) = container.start(&nursery, vec![spec]);
    let mut bytes = Vec::new();
    let mut part = vec![0; 64 << 10];
    loop {
        match ours.read(&mut part).unwrap() {
            0 => break,
            length => bytes.extend_from_slice(&part[..length]),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 300_000);
    assert_eq!(daemon.exited().code, 0);
    daemon.ask(Body::Forget, &[]);
    assert_eq!(container.log().len(), 300_000);
}

#[test]
fn output_rotates_and_compresses_while_it_comes() {
    let nursery = nursery();
    let mut container = Container::new("seq 1 30000");
    container.launch.log.max_size = Some(200_000);
    container.launch.log.max_file = 100;
    container.launch.log.compress = true;
    let (daemon, _) = container.start(&nursery, vec![]);
    assert_eq!(finish(daemon), 0);
    let expected: String = (1..=30000).map(|number| format!("{number}\n")).collect();
    eventually("the keeper leaves", || !container.path("run").exists());
    assert!(container.log_text() == expected);
    let zipped = std::fs::read_dir(container.directory.path()).unwrap().filter(|entry| {
        entry.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "gz")
    });
    assert!(zipped.count() > 5);
}

#[test]
fn an_init_forwards_signals_reaps_orphans_and_passes_the_code_on() {
    let nursery = nursery();
    let script = "trap 'exit 9' TERM; (sleep 0.1 &) ; echo ready; while :; do sleep 0.05; done";
    let mut container = Container::new(script);
    container.launch.init = true;
    let (spec, mut ours) = client(attach(1, false, Wire::Raw));
    let (mut daemon, pid) = container.start(&nursery, vec![spec]);
    read_until(&mut ours, "ready");
    let title = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(title.starts_with(b"/sbin/docker-init\0--\0/bin/sh\0"), "{}", String::from_utf8_lossy(&title));
    let zombies = || {
        let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        text.split_whitespace().count()
    };
    eventually("only the program is left", || zombies() == 1);
    let term = SignalRequest { target: Target::Init, signo: 15, all: false };
    assert_eq!(daemon.ask(Body::Signal(term), &[]), Reply::Done);
    assert_eq!(finish(daemon), 9);
}

#[test]
fn processes_left_in_a_shared_pid_namespace_go_with_the_container() {
    let nursery = nursery();
    let mut container = Container::new("sleep 1000 & echo started");
    let linux = container.launch.spec.linux_mut().as_mut().unwrap();
    let namespaces = linux.namespaces().clone().unwrap();
    let kept = namespaces.into_iter().filter(|one| one.typ() != oci_spec::runtime::LinuxNamespaceType::Pid);
    linux.set_namespaces(Some(kept.collect()));
    let (daemon, _) = container.start(&nursery, vec![]);
    let started = Instant::now();
    assert_eq!(finish(daemon), 0);
    assert!(started.elapsed() < Duration::from_secs(2));
    assert!(!container.cgroup().exists());
}

#[test]
fn a_memory_hog_is_reported() {
    let nursery = nursery();
    let mut container = Container::new("dd if=/dev/zero of=/dev/null bs=200M count=1");
    let linux = container.launch.spec.linux_mut().as_mut().unwrap();
    let limits = serde_json::json!({"memory": {"limit": 20 << 20, "swap": 20 << 20}, "devices": [{"allow": true, "access": "rwm"}]});
    linux.set_resources(Some(serde_json::from_value(limits).unwrap()));
    let (mut daemon, _) = container.start(&nursery, vec![]);
    let exit = daemon.exited();
    assert!(exit.oom_killed, "{exit:?}");
    assert_eq!(exit.code, 137);
    daemon.ask(Body::Forget, &[]);
}

#[test]
fn a_waiting_keeper_is_small() {
    let nursery = nursery();
    let containers: Vec<_> = (0..10).map(|_| Container::of(&["/bin/sleep", "100"])).collect();
    let mut daemons: Vec<_> =
        containers.iter().map(|container| container.start(&nursery, vec![]).0).collect();
    let keepers: Vec<_> = daemons.iter_mut().map(keeper_of).collect();
    std::thread::sleep(Duration::from_millis(600));
    let pss: Vec<_> = keepers.iter().map(|pid| memory(*pid, "Pss:")).collect();
    let private: Vec<_> = keepers.iter().map(|pid| memory(*pid, "Private_Dirty")).collect();
    println!("PSS {pss:?} kB, private {private:?} kB");
    for daemon in &mut daemons {
        daemon.ask(Body::Shutdown, &[]);
    }
    // The promise is for the release binary; this guards against growth.
    assert!(private.iter().all(|kilobytes| *kilobytes < 250), "{private:?}");
}

#[test]
fn a_start_that_nobody_hears_of_is_undone() {
    let nursery = nursery();
    let container = Container::new("exec sleep 600");
    container.start_unheard(&nursery);
    eventually("its log is opened", || container.path(&format!("{}-json.log", container.id)).exists());
    eventually("nothing of it is left", || !container.cgroup().exists() && !container.path("run").exists());
    assert!(!container.path(EXIT_RECORD).exists(), "there is nothing to say of it");
}
