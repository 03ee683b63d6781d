//! Figures, for `cargo test --release -p minke-keeper -- --ignored --nocapture figures`.

use std::time::{Duration, Instant};

use minke_keeper::protocol::{Body, Wire};

use crate::harness::*;

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort();
    times[(times.len() - 1) * percent / 100]
}

#[test]
#[ignore = "figures of the release build"]
fn figures_of_a_start() {
    let nursery = nursery();
    let (mut launched, mut exited, mut forgotten) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..100 {
        let container = Container::of(&["/bin/true"]);
        std::thread::sleep(Duration::from_millis(30));
        let blank = take(&nursery);
        std::thread::sleep(Duration::from_millis(30));
        let mut daemon = Daemon::new(blank);
        let begun = Instant::now();
        daemon.ask(Body::Launch(Box::new(container.launch.clone())), &[]);
        launched.push(begun.elapsed());
        assert_eq!(daemon.exited().code, 0);
        exited.push(begun.elapsed());
        daemon.ask(Body::Forget, &[]);
        forgotten.push(begun.elapsed());
    }
    for (what, times) in [("launched", &mut launched), ("exited", &mut exited), ("forgotten", &mut forgotten)]
    {
        println!("{what}: p50 {:?}, p95 {:?}", percentile(times, 50), percentile(times, 95));
    }
}

#[test]
#[ignore = "figures of the release build"]
fn figures_of_an_exec() {
    let nursery = nursery();
    let container = Container::of(&["/bin/sleep", "1000"]);
    let (mut daemon, _) = container.start(&nursery, vec![]);
    let (mut started, mut exited) = (Vec::new(), Vec::new());
    for number in 0..100 {
        let mut request = exec(&format!("e{number}"), "");
        request.process.set_args(Some(vec!["/bin/true".into()]));
        std::thread::sleep(Duration::from_millis(20));
        let begun = Instant::now();
        daemon.ask(Body::Exec(Box::new(request)), &[]);
        started.push(begun.elapsed());
        daemon.event();
        exited.push(begun.elapsed());
    }
    for (what, times) in [("exec started", &mut started), ("exec exited", &mut exited)] {
        println!("{what}: p50 {:?}, p95 {:?}", percentile(times, 50), percentile(times, 95));
    }
    daemon.ask(Body::Shutdown, &[]);
}

#[test]
#[ignore = "figures of the release build"]
fn figures_of_output() {
    let nursery = nursery();
    for (what, script) in [
        ("100,000 lines of seq", "seq 1 100000"),
        (
            "1,000,000 lines of 100 bytes",
            "yes 123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789 | head -n 1000000",
        ),
    ] {
        for driver in [minke_logs::Driver::JsonFile, minke_logs::Driver::Local] {
            let mut container = Container::new(script);
            container.launch.log.driver = driver;
            let begun = Instant::now();
            let (mut daemon, _) = container.start(&nursery, vec![]);
            assert_eq!(daemon.exited().code, 0);
            let ran = begun.elapsed();
            let begun = Instant::now();
            let (mut lines, mut bytes) = (0, 0);
            let mut cursor = minke_logs::read(&container.launch.log, minke_logs::Options::default()).unwrap();
            let mut count =
                |line: minke_logs::LineRef<'_>| (lines, bytes) = (lines + 1, bytes + line.bytes.len());
            while cursor.visit_batch(&mut count).unwrap() {}
            println!(
                "{what}, {driver:?}: written in {ran:?}, {lines} lines, {bytes} bytes read in {:?}",
                begun.elapsed()
            );
            daemon.ask(Body::Forget, &[]);
        }
    }
}

#[test]
#[ignore = "figures of the release build"]
fn figures_of_memory() {
    let nursery = nursery();
    let containers: Vec<_> = (0..50).map(|_| Container::of(&["/bin/sleep", "100"])).collect();
    let mut daemons: Vec<_> =
        containers.iter().map(|container| container.start(&nursery, vec![]).0).collect();
    let keepers: Vec<_> = daemons.iter_mut().map(keeper_of).collect();
    std::thread::sleep(Duration::from_millis(1000));
    for field in ["Rss:", "Pss:", "Pss_Anon", "Pss_File", "Private_Clean", "Private_Dirty"] {
        let sum: u64 = keepers.iter().map(|pid| memory(*pid, field)).sum();
        println!("{field} {} kB on average of {}", sum / keepers.len() as u64, keepers.len());
    }
    println!("{}", std::fs::read_to_string(format!("/proc/{}/smaps", keepers[10])).unwrap());
    for daemon in &mut daemons {
        daemon.ask(Body::Shutdown, &[]);
    }
    let busy = Container::new("seq 1 100000; sleep 100");
    let (client, mut ours) = client(attach(1, false, Wire::Raw));
    let (mut daemon, _) = busy.start(&nursery, vec![client]);
    read_until(&mut ours, "100000\n");
    let keeper = keeper_of(&mut daemon);
    println!("while busy: Private_Dirty {} kB", memory(keeper, "Private_Dirty"));
    std::thread::sleep(Duration::from_millis(1000));
    println!(
        "a second later: Private_Dirty {} kB, Pss {} kB",
        memory(keeper, "Private_Dirty"),
        memory(keeper, "Pss:")
    );
    daemon.ask(Body::Shutdown, &[]);
}

/// Bytes a second through a stream to this address, whose server reads to the end and answers with one byte.
fn throughput(address: std::net::SocketAddr) -> f64 {
    use std::io::{Read, Write};
    const BYTES: usize = 2 << 30;
    let block = vec![7; 256 << 10];
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let begun = Instant::now();
    for _ in 0..BYTES / block.len() {
        stream.write_all(&block).unwrap();
    }
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    stream.read_exact(&mut [0]).unwrap();
    BYTES as f64 / begun.elapsed().as_secs_f64() / 1e9
}

/// Connections a second, each with one byte there and back.
fn connections(address: std::net::SocketAddr) -> f64 {
    use std::io::{Read, Write};
    const COUNT: usize = 3000;
    let begun = Instant::now();
    for _ in 0..COUNT {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(&[1]).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        stream.read_exact(&mut [0]).unwrap();
    }
    COUNT as f64 / begun.elapsed().as_secs_f64()
}

#[test]
#[ignore = "figures of the release build"]
fn figures_of_the_proxy() {
    use std::io::{Read, Write};
    super::holding::in_private_network(|| {
        let nursery = nursery();
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let target = server.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in server.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    let mut buffer = vec![0; 256 << 10];
                    while stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
                    drop(stream.write_all(&[1]));
                });
            }
        });
        let socket = std::net::TcpListener::bind("[::1]:0").unwrap();
        let address = socket.local_addr().unwrap();
        let proxies = vec![super::holding::tcp("port", target)];
        let (_container, daemon, _) = super::holding::sleeper(&nursery, &[("port", socket.into())], proxies);
        let begun = Instant::now();
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        stream.read_exact(&mut [0]).unwrap();
        println!("first connection, with the proxy's start: {:?}", begun.elapsed());
        for _ in 0..3 {
            println!(
                "direct {:.2} GB/s, {:.0} connections/s; by the proxy {:.2} GB/s, {:.0} connections/s",
                throughput(target),
                connections(target),
                throughput(address),
                connections(address)
            );
        }
        super::holding::end(daemon);
    });
}
