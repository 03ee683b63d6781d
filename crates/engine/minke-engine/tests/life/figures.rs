//! How long things take in the engine, without HTTP and without a client: `cargo test --release … figures -- --ignored`.

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use minke_api::run::RunControl;
use minke_engine::Containers;
use minke_engine::containers::{ClientStream, ListOptions, RemoveOptions, RunRequest, Streams};

use super::harness::{Sandbox, create};

#[expect(clippy::print_stdout, reason = "a measurement is printed for the person who asked for it")]
fn show(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: usize| times[(times.len() - 1) * share / 100].as_micros();
    println!("{what:32} p50 {:6} µs  p95 {:6} µs  (n={})", at(50), at(95), times.len());
}

/// One run to its end, as minke's own client sees it; gives the moments of start and end.
async fn run_once(containers: &Arc<Containers>, network: &str) -> (Duration, Duration) {
    let began = Instant::now();
    let mut request = create(&["true"]);
    request.host_config.network_mode = network.into();
    request.host_config.auto_remove = true;
    let run = RunRequest {
        create: request,
        attach: Streams { stdin: false, stdout: true, stderr: true },
        ..RunRequest::default()
    };
    let begun = containers.begin_run(run).await.expect("begun");
    let (mut ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    let reader = tokio::task::spawn_blocking(move || {
        let mut header = [0; 8];
        let mut started = Duration::ZERO;
        loop {
            ours.read_exact(&mut header).expect("a frame");
            let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
            let mut payload = vec![0; usize::try_from(length).expect("small")];
            ours.read_exact(&mut payload).expect("its payload");
            if header[0] != 4 {
                continue;
            }
            match serde_json::from_slice(&payload).expect("control JSON") {
                RunControl::Started(_) => started = began.elapsed(),
                RunControl::Exit { code: 0 } => return (started, began.elapsed()),
                other => panic!("unexpected {other:?}"),
            }
        }
    });
    containers.run_attached(begun, ClientStream { socket: theirs.into(), early: Vec::new() }).await;
    reader.await.expect("the reader ends")
}

#[test]
#[ignore = "a measurement, not a check"]
fn figures() {
    let sandbox = Sandbox::open();
    let engine = sandbox.engine();
    sandbox.block_on(async move {
        let containers = engine.containers;
        for network in ["none", "host", "bridge"] {
            let (mut starts, mut ends) = (Vec::new(), Vec::new());
            for _ in 0..60 {
                let (start, end) = run_once(&containers, network).await;
                starts.push(start);
                ends.push(end);
                tokio::time::sleep(Duration::from_millis(60)).await;
            }
            show(&format!("run --rm true, {network}: started"), starts);
            show(&format!("run --rm true, {network}: ended"), ends);
        }
        let mut lists = Vec::new();
        for number in 0..20 {
            let name = format!("c{number}");
            containers.create(Some(&name), None, create(&["sleep", "100"])).await.expect("created");
        }
        for _ in 0..100 {
            let began = Instant::now();
            containers.list(ListOptions { all: true, ..ListOptions::default() }).await.expect("listed");
            lists.push(began.elapsed());
        }
        show("ps -a of 20", lists);
        let mut removals = Vec::new();
        for number in 0..20 {
            let name = format!("c{number}");
            containers.start(&name).await.expect("started");
            tokio::time::sleep(Duration::from_millis(30)).await;
            let began = Instant::now();
            let force = RemoveOptions { force: true, ..RemoveOptions::default() };
            containers.remove(&name, force).await.expect("removed");
            removals.push(began.elapsed());
        }
        show("rm -f of a running one", removals);
    });
    sandbox.close();
}
