//! Builds whose daemon is killed, whose client goes away, beside which is pruned: they leave nothing, and the next one is as if nothing
//! had been.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use minke_testkit::{Client, Daemon, Options, Spawned, wait_until};
use rustix::process::Signal;

use crate::{build, build_command, context};

/// A file that takes its time to come.
fn serve_slowly(daemon: &Daemon) -> String {
    let listener = daemon.host_netns().run(|| TcpListener::bind("127.0.0.1:0")).expect("a port");
    let address = format!("http://{}/slow", listener.local_addr().expect("its address"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Who is killed in the middle does not read to the end.
            std::thread::spawn(move || drip(stream).ok());
        }
    });
    address
}

fn drip(mut stream: TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", 16 << 14)?;
    for _ in 0..16 {
        stream.write_all(&[7; 1 << 14])?;
        std::thread::sleep(Duration::from_millis(6));
    }
    Ok(())
}

/// Moments that nobody foresees.
struct Moments(u64);

impl Moments {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        Self((u64::from(now.subsec_nanos()) << 20) | 1)
    }

    fn within(&mut self, span: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        span.mul_f64((self.0 % 1000) as f64 / 1000.0)
    }
}

/// What a build that is over may have left beside the daemon's own.
fn leftovers(daemon: &Daemon) -> Vec<String> {
    let found = daemon.leaks();
    let names = |path: std::path::PathBuf| {
        let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
        entries.map(|entry| entry.path().display().to_string()).collect::<Vec<_>>()
    };
    let mut left = found.mounts;
    left.extend(found.files.iter().map(|path| path.display().to_string()));
    let own = |path: &std::path::Path| path.file_name().is_some_and(|name| name.len() == 64);
    left.extend(found.cgroups.iter().filter(|path| own(path)).map(|path| path.display().to_string()));
    left.extend(found.processes.into_iter().map(|(_, line)| line).filter(|line| line.starts_with("minke:")));
    for path in ["builds/tmp", "layers/tmp", "containers"] {
        left.extend(names(daemon.data_root().join(path)));
    }
    for path in ["builds", "containers"] {
        left.extend(names(daemon.exec_root().join(path)));
    }
    left
}

#[track_caller]
fn expect_nothing_left(daemon: &Daemon, when: &str) {
    let end = Instant::now() + minke_testkit::patience(Duration::from_secs(20));
    loop {
        let left = leftovers(daemon);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < end, "{when}: {left:#?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

const EPOCH: [&str; 2] = ["--build-arg", "SOURCE_DATE_EPOCH=1000000"];

/// A build with every kind of work in it, whose image is the same each time.
fn big_context(daemon: &Daemon) -> String {
    let url = serve_slowly(daemon);
    let text = format!(
        "FROM busybox:latest\nCOPY files/ /files/\nADD {url} /slow\nRUN sleep 0.1; echo ran > /ran\n\
         RUN dd if=/dev/zero of=/zeros bs=64k count=64 2>/dev/null\nCOPY --link files/ /linked/\nLABEL done=yes\n"
    );
    let directory = context(daemon, "context", &text, &[]);
    std::fs::create_dir(directory.join("files")).expect("make a directory");
    for number in 0..300 {
        std::fs::write(directory.join(format!("files/{number}")), format!("file {number}"))
            .expect("write a file");
    }
    directory.to_string_lossy().into_owned()
}

fn layers(daemon: &Daemon) -> usize {
    std::fs::read_dir(daemon.data_root().join("layers")).expect("layers").count()
}

#[track_caller]
fn forget(daemon: &Daemon, name: &str) {
    daemon.minke(&["rmi", "-f", name]).done();
    daemon.minke(&["builder", "prune", "-af"]).ok().done();
}

/// kill -9 at twenty moments of a build: the next daemon finds nothing of it, and the same build comes to the same image.
#[test]
fn a_daemon_that_is_killed_in_a_build_leaves_nothing_of_it() {
    let mut daemon = Daemon::with(Options { images: vec!["busybox"], ..Options::default() });
    let directory = big_context(&daemon);
    let before = layers(&daemon);
    let args = [&EPOCH[..], &["-q", "-t", "whole", &directory]].concat();
    let began = Instant::now();
    let id = build(&daemon, Client::Minke, &args).ok().text().to_owned();
    let span = began.elapsed();
    let mut moments = Moments::new();
    for round in 0..20 {
        if round % 2 == 0 {
            // Otherwise the build that was disturbed finds what the one before it left in the cache.
            forget(&daemon, "whole");
        }
        let cold = [&args[..], &["--no-cache"]].concat();
        let client = Spawned::new(build_command(&daemon, Client::Minke, &cold));
        let moment = moments.within(span);
        std::thread::sleep(moment);
        daemon.kill();
        drop(client.finish(Duration::from_secs(20)));
        daemon.spawn();
        expect_nothing_left(&daemon, &format!("killed {moment:?} into the build"));
        let run = build(&daemon, Client::Minke, &args).ok();
        assert_eq!(run.text(), id, "killed {moment:?} into the build before");
        let said =
            daemon.minke(&["run", "--rm", "whole", "sh", "-c", "cat /ran /files/77; ls /linked | wc -l"]);
        assert_eq!(said.ok().text(), "ran\nfile 77300");
    }
    forget(&daemon, "whole");
    assert_eq!(layers(&daemon), before, "layers stay that nobody knows");
}

/// A client that goes away ends its build, whatever that does.
#[test]
fn a_client_that_goes_away_takes_its_build_along() {
    let daemon = Daemon::with(Options { images: vec!["busybox"], ..Options::default() });
    let directory = big_context(&daemon);
    let before = layers(&daemon);
    let args = [&EPOCH[..], &["-t", "whole", &directory]].concat();
    let began = Instant::now();
    build(&daemon, Client::Minke, &args).ok().done();
    let span = began.elapsed();
    forget(&daemon, "whole");
    let mut moments = Moments::new();
    for client in [Client::Minke, Client::Docker].into_iter().cycle().take(10) {
        let spawned = Spawned::new(build_command(&daemon, client, &[&args[..], &["--no-cache"]].concat()));
        let moment = moments.within(span);
        std::thread::sleep(moment);
        spawned.signal(Signal::KILL);
        drop(spawned.finish(Duration::from_secs(20)));
        expect_nothing_left(&daemon, &format!("{client:?} left {moment:?} into the build"));
    }
    // A step that would never end by itself.
    let text = "FROM busybox:latest\nRUN echo begun; sleep 10000\n";
    let endless = context(&daemon, "endless", text, &[]);
    let mut command = build_command(&daemon, Client::Docker, &["--no-cache", &endless.to_string_lossy()]);
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("build");
    let mut said = String::new();
    let mut output = child.stdout.take().expect("its output");
    while !said.contains("begun") {
        let mut bytes = [0; 512];
        let count = output.read(&mut bytes).expect("its output");
        assert!(count > 0, "the build ended: {said}");
        said.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    child.kill().expect("it runs");
    child.wait().expect("it is gone");
    expect_nothing_left(&daemon, "the client of a running step left");
    forget(&daemon, "whole");
    wait_until("layers of builds that were given up are gone", Duration::from_secs(20), || {
        layers(&daemon) == before
    });
}

/// Where nobody answers when it is missing.
const BASE: &str = "localhost:1/base";

/// Whoever prunes, and removes what a build stands on, leaves it what it needs.
#[test]
fn pruning_beside_a_build_takes_nothing_away_from_it() {
    let daemon = Daemon::with(Options { images: vec!["busybox"], ..Options::default() });
    let base = context(&daemon, "base", "FROM busybox:latest\nRUN echo base > /base\n", &[]);
    let base = base.to_string_lossy();
    let text = "FROM localhost:1/base AS one\nCOPY a /a\nRUN cat /base > /one\nFROM localhost:1/base\nRUN sleep 0.2; cat /base > /two\n\
                COPY --from=one /one /one\nCOPY --link a /linked\nRUN cat /one /two /linked > /all\n";
    let directory = context(&daemon, "context", text, &[("a", "A\n")]);
    let directory = directory.to_string_lossy();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                for args in
                    [&["builder", "prune", "-af"][..], &["rmi", "-f", BASE], &["image", "prune", "-f"]]
                {
                    // What is in use, or not there, may be refused.
                    daemon.minke(args).done();
                }
            }
        });
        for round in 0..8 {
            let name = format!("whole{round}");
            // Its base may be taken away before the build has seen it.
            let mut built = false;
            for _ in 0..20 {
                build(&daemon, Client::Minke, &["-q", "-t", BASE, &base]).ok().done();
                let run = build(&daemon, Client::Minke, &["-q", "-t", &name, &directory]);
                built = run.code == 0;
                if built {
                    break;
                }
                assert!(run.stderr.contains(BASE), "only its base may be missing: {run}");
            }
            assert!(built, "its base was never there");
            let said = daemon.minke(&["run", "--rm", &name, "cat", "/all"]).ok();
            assert_eq!(said.text(), "base\nbase\nA");
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
