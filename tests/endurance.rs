//! Restarts of the daemon under load: clients create, run, exec, log, attach, stop, rename and remove while the daemon is killed
//! (SIGKILL and SIGTERM in turn) and started again. Whatever a client was told must hold afterwards, and nothing may be left.
//!
//! How long and how often: `MINKE_ENDURANCE_MINUTES` and `MINKE_ENDURANCE_RESTARTS`, which `cargo xtask endurance --minutes 10
//! --restarts 100` sets; without them a short run, for CI.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use minke_testkit::{Client, Daemon, Run, Spawned};

const CLIENTS: usize = 8;
/// How long one command may take with the daemon away in between.
const LIMIT: Duration = Duration::from_secs(120);

/// How long nobody is there between two daemons.
const AWAY: Duration = Duration::from_millis(150);

fn setting(name: &str, default: f64) -> f64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What a client was told of a container of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    /// It is there; `Some`: it runs, with this pid and start, as long as nobody stops it.
    There { pid: Option<String> },
    /// It ended, with this status.
    Ended(i32),
    /// It is gone.
    Gone,
}

/// All that clients were told. A name is missing while a command about it is under way and nothing is certain.
#[derive(Debug, Default)]
struct Book(Mutex<BTreeMap<String, Told>>);

impl Book {
    fn write(&self, name: &str, told: Told) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), told);
    }

    fn strike(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    fn copy(&self) -> BTreeMap<String, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One command of a client's. The daemon that restarts takes the lock for writing, so that `spawn` has it whole; commands go on
/// meanwhile.
struct Desk<'a> {
    daemon: &'a RwLock<Daemon>,
    book: &'a Book,
    over: &'a AtomicBool,
    done: &'a AtomicU64,
    number: usize,
}

impl Desk<'_> {
    fn start(&self, client: Client, args: &[&str]) -> Spawned {
        self.daemon.read().unwrap_or_else(PoisonError::into_inner).start_client(client, args)
    }

    fn run(&self, args: &[&str]) -> Run {
        let client = if self.number.is_multiple_of(2) { Client::Minke } else { Client::Docker };
        let run = self.start(client, args).finish(LIMIT);
        self.done.fetch_add(1, Ordering::Relaxed);
        run
    }

    /// Again and again until the daemon was there for all of it.
    fn sure(&self, args: &[&str]) -> Run {
        loop {
            let run = self.run(args);
            if run.code == 0 || !is_cut(&run) {
                return run;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The command failed because the daemon went away, and says nothing about what was asked.
fn is_cut(run: &Run) -> bool {
    [
        "Cannot connect to the Docker daemon",
        "cannot connect",
        "connection",
        "EOF",
        "broken pipe",
        "Is the docker daemon",
        "is the daemon running",
        "shutting down",
    ]
    .iter()
    .any(|word| run.stderr.to_lowercase().contains(&word.to_lowercase()))
}

/// A container that counts while it runs: its log shows whether a line is lost or doubled.
const COUNTER: &str = "trap 'exit 5' TERM; i=0; while :; do echo tick $i; i=$((i+1)); sleep 0.05; done";

fn work(desk: &Desk<'_>) {
    let mut round = 0;
    while !desk.over.load(Ordering::Relaxed) {
        let name = format!("e{}x{round}", desk.number);
        match (round + desk.number) % 4 {
            0 => long_life(desk, &name),
            1 => short_lives(desk, &name),
            2 => by_hand(desk, &name),
            _ => attached(desk, &name),
        }
        round += 1;
    }
}

/// Runs, is looked at, logs without a gap, is stopped with its own status, removed.
fn long_life(desk: &Desk<'_>, name: &str) {
    let run = desk.run(&["run", "-d", "--name", name, "busybox", "sh", "-c", COUNTER]);
    if run.code != 0 {
        assert!(is_cut(&run), "{run}");
        // It may be there or not: nobody was told.
        desk.sure(&["rm", "-f", name]);
        return;
    }
    let pid = desk.sure(&["inspect", "-f", "{{.State.Pid}}", name]).ok().text().to_owned();
    desk.book.write(name, Told::There { pid: Some(pid.clone()) });
    for _ in 0..6 {
        let exec = desk.run(&["exec", name, "sh", "-c", "exit 7"]);
        // 255 is what docker's own client says, without a word, when nobody can tell it the status any more.
        let cut = is_cut(&exec) || exec.code == 255 || exec.stderr.contains("No such exec");
        assert!(exec.code == 7 || cut, "{exec}");
        let seen = desk.sure(&["inspect", "-f", "{{.State.Running}} {{.State.Pid}}", name]).ok();
        assert_eq!(seen.text(), format!("true {pid}"), "{name} runs on");
    }
    let logs = desk.sure(&["logs", name]).ok();
    for (number, line) in logs.stdout.lines().enumerate() {
        assert_eq!(line, format!("tick {number}"), "no line of {name} is lost or doubled");
    }
    desk.book.strike(name);
    let stopped = desk.sure(&["stop", name]);
    assert_eq!(stopped.code, 0, "{stopped}");
    desk.book.write(name, Told::Ended(5));
    assert_eq!(desk.sure(&["wait", name]).ok().text(), "5");
    desk.book.strike(name);
    let removed = desk.sure(&["rm", name]);
    assert!(removed.code == 0 || removed.stderr.contains("No such container"), "{removed}");
    desk.book.write(name, Told::Gone);
}

/// Containers that are thrown away: their exit status and output arrive although the daemon does not live to see it.
fn short_lives(desk: &Desk<'_>, name: &str) {
    for number in 0..3 {
        let name = format!("{name}s{number}");
        let run = desk.run(&["run", "--rm", "--name", &name, "busybox", "sh", "-c", "echo out; exit 3"]);
        if run.code == 3 {
            assert_eq!(run.stdout, "out\n", "{run}");
            desk.book.write(&name, Told::Gone);
        } else {
            assert!(run.code == 125 || is_cut(&run) || (run.code == 137 && run.stderr.is_empty()), "{run}");
            desk.sure(&["rm", "-f", &name]);
        }
    }
}

/// Created, started, renamed, killed: each word that was given holds.
fn by_hand(desk: &Desk<'_>, name: &str) {
    let created = desk.run(&["create", "--name", name, "busybox", "sleep", "1000"]);
    if created.code != 0 {
        assert!(is_cut(&created), "{created}");
        desk.sure(&["rm", "-f", name]);
        return;
    }
    desk.book.write(name, Told::There { pid: None });
    let started = desk.sure(&["start", name]);
    assert_eq!(started.code, 0, "{started}");
    let paused = desk.sure(&["pause", name]);
    assert!(paused.code == 0 || paused.stderr.contains("already paused"), "{paused}");
    let thawed = desk.sure(&["unpause", name]);
    assert!(thawed.code == 0 || thawed.stderr.contains("is not paused"), "{thawed}");
    let after = format!("{name}r");
    desk.book.strike(name);
    let renamed = desk.sure(&["rename", name, &after]);
    assert!(renamed.code == 0 || renamed.stderr.contains("No such container"), "{renamed}");
    desk.book.write(name, Told::Gone);
    desk.book.write(&after, Told::There { pid: None });
    let killed = desk.sure(&["kill", &after]);
    assert!(killed.code == 0 || killed.stderr.contains("is not running"), "{killed}");
    assert_eq!(desk.sure(&["wait", &after]).ok().text(), "137");
    desk.book.strike(&after);
    let removed = desk.sure(&["rm", "-f", &after]);
    assert_eq!(removed.code, 0, "{removed}");
    desk.book.write(&after, Told::Gone);
}

/// A client of minke's own stays attached through every restart, and gets every byte and the status.
fn attached(desk: &Desk<'_>, name: &str) {
    let script = "i=0; while [ $i -lt 60 ]; do echo line $i; i=$((i+1)); sleep 0.02; done; exit 9";
    let client = desk.start(Client::Minke, &["run", "--name", name, "busybox", "sh", "-c", script]);
    let run = client.finish(LIMIT);
    desk.done.fetch_add(1, Ordering::Relaxed);
    let unknown = || desk.sure(&["inspect", name]).code != 0;
    if run.code == 137 && unknown() {
        // The daemon was killed after the launch and before the record: the next one undoes a start that it knows nothing of, and the
        // client hears that its program was killed.
        return;
    }
    if run.code != 9 {
        // Cut before it began: then there is nothing of it, or something that nobody was told of.
        assert!(run.stdout.is_empty() && (is_cut(&run) || run.code == 125), "{run}");
        desk.sure(&["rm", "-f", name]);
        return;
    }
    let wanted: String = (0..60).map(|number| format!("line {number}\n")).collect();
    assert_eq!(run.stdout, wanted, "{name}");
    assert_eq!(desk.sure(&["inspect", "-f", "{{.State.ExitCode}}", name]).ok().text(), "9");
    assert_eq!(desk.sure(&["logs", name]).ok().stdout, wanted, "the log has the same");
    desk.sure(&["rm", "-f", name]).ok().done();
    desk.book.write(name, Told::Gone);
}

/// What the daemon that has just come says, against what clients were told. Taken before and after, because clients go on.
fn compare(daemon: &Daemon, book: &Book) {
    let before = book.copy();
    let listed = daemon.minke(&["ps", "-a", "--no-trunc", "--format", "{{.Names}} {{.State}}"]).ok();
    let after = book.copy();
    let found: BTreeMap<&str, &str> = listed.stdout.lines().filter_map(|line| line.split_once(' ')).collect();
    for (name, told) in before.iter().filter(|(name, told)| after.get(*name) == Some(told)) {
        let state = found.get(name.as_str()).copied();
        match told {
            Told::Gone => assert_eq!(state, None, "{name} was removed and is back"),
            Told::There { pid: Some(_) } => assert_eq!(state, Some("running"), "{name} runs"),
            Told::There { pid: None } => assert!(state.is_some(), "{name} was acknowledged and is lost"),
            Told::Ended(_) => assert_eq!(state, Some("exited"), "{name} has ended"),
        }
    }
}

#[test]
fn restarts_under_load_lose_nothing_and_leave_nothing() {
    let daemon = Daemon::start();
    if daemon.is_peer() {
        return;
    }
    let minutes = setting("MINKE_ENDURANCE_MINUTES", 0.25);
    let restarts = setting("MINKE_ENDURANCE_RESTARTS", 8.0).max(1.0);
    let pause = Duration::from_secs_f64(minutes * 60.0 / restarts);
    let (book, over, done) = (Book::default(), AtomicBool::new(false), AtomicU64::new(0));
    let daemon = RwLock::new(daemon);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let desk = Desk { daemon: &daemon, book: &book, over: &over, done: &done, number };
                scope.spawn(move || work(&desk))
            })
            .collect();
        let mut restart = 0.0;
        while restart < restarts && clients.iter().all(|client| !client.is_finished()) {
            std::thread::sleep(pause);
            let write = || daemon.write().unwrap_or_else(PoisonError::into_inner);
            if restart % 2.0 == 0.0 {
                write().kill()
            } else {
                write().terminate()
            }
            // Clients find nobody for a while.
            std::thread::sleep(AWAY);
            write().spawn();
            compare(&daemon.read().unwrap_or_else(PoisonError::into_inner), &book);
            restart += 1.0;
        }
        over.store(true, Ordering::Relaxed);
        // A client that failed says why; the others come to their end.
        for client in clients {
            client.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
    let daemon = daemon.into_inner().unwrap_or_else(PoisonError::into_inner);
    compare(&daemon, &book);
    let left = daemon.minke(&["ps", "-a", "--format", "{{.Names}}"]).ok();
    assert_eq!(left.text(), "", "every client removed what it made");
    assert_eq!(daemon.leaks().mounts, Vec::<String>::new());
    assert_eq!(
        daemon.leaks().cgroups.len(),
        daemon.leaks().cgroups.iter().filter(|path| path.ends_with(daemon.tag())).count()
    );
    let done = done.load(Ordering::Relaxed);
    assert!(done > 20, "clients came to do something: {done} commands");
    println!("{restarts} restarts, {done} commands, {CLIENTS} clients, {:?}", start.elapsed());
    // The daemon's end looks for processes, mounts, links, cgroups and files.
}
