//! Files in and out of containers: `cp`, `export`, `diff`. What goes over the wire is the same for both clients, so each scenario runs
//! with both, and on a real Docker first where nothing of minke's is looked at.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use minke_testkit::{Client, Daemon, wait_until};

const BOTH: [Client; 2] = [Client::Minke, Client::Docker];

/// `src/f` (owned by 1000:1001), `src/sub/g`, and `src/l`, a link to `f`.
fn source() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("src/sub")).expect("make src/sub");
    fs::write(at("src/f"), "hi\n").expect("write src/f");
    fs::write(at("src/sub/g"), "2\n").expect("write src/sub/g");
    symlink("f", at("src/l")).expect("make src/l");
    std::os::unix::fs::chown(at("src/f"), Some(1000), Some(1001)).expect("chown src/f");
    dir
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of this test")
}

/// The names in a tar archive, sorted.
fn names(archive: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().expect("an archive");
    let mut names: Vec<String> = entries
        .map(|entry| String::from_utf8_lossy(&entry.expect("an entry").path_bytes()).into_owned())
        .collect();
    names.sort();
    names
}

fn name(client: Client, what: &str) -> String {
    format!("copy-{what}-{client:?}").to_lowercase()
}

#[track_caller]
fn make(daemon: &Daemon, client: Client, name: &str, running: bool, args: &[&str]) {
    let verb: &[&str] = if running { &["run", "-d"] } else { &["create"] };
    daemon.run(client, &[verb, &["--name", name], args, &["busybox", "sleep", "1000"]].concat()).ok().done();
}

#[track_caller]
fn drop_all(daemon: &Daemon, names: &[&str]) {
    daemon.docker(&[&["rm", "-f", "-v"], names].concat()).ok().done();
}

/// What comes where, into a container and out again, stopped and running.
#[test]
fn files_come_where_docker_s_rules_say() {
    let daemon = Daemon::start();
    let source = source();
    let src = source.path().join("src");
    let src = text(&src);
    for (client, running) in BOTH.into_iter().flat_map(|client| [(client, false), (client, true)]) {
        let box_name = name(client, if running { "up" } else { "down" });
        make(&daemon, client, &box_name, running, &[]);
        let cp = |from: &str, to: &str| daemon.run(client, &["cp", from, to]);
        let inside = |path: &str| format!("{box_name}:{path}");
        cp(&format!("{src}/f"), &inside("/tmp/f")).ok().done();
        cp(src, &inside("/tmp/fresh")).ok().done();
        cp(&format!("{src}/."), &inside("/tmp")).ok().done();
        cp(src, &inside("/tmp")).ok().done();
        cp(&format!("{src}/f"), &inside("/tmp/src/renamed")).ok().done();

        let out = tempfile::tempdir().expect("a directory");
        let at = |name: &str| out.path().join(name);
        cp(&inside("/tmp"), text(&at("all"))).ok().done();
        for file in ["f", "l", "sub/g", "fresh/f", "fresh/sub/g", "src/f", "src/renamed"] {
            assert!(
                at("all").join(file).symlink_metadata().is_ok(),
                "{file} is missing, {client:?} {running}"
            );
        }
        assert!(!at("all/fresh/src").exists());
        cp(&inside("/tmp/f"), text(out.path())).ok().done();
        cp(&inside("/tmp/f"), text(&at("other"))).ok().done();
        cp(&inside("/tmp/src/."), text(&at("contents"))).ok().done();
        assert_eq!(fs::read_to_string(at("f")).expect("copied"), "hi\n");
        assert_eq!(fs::read_to_string(at("other")).expect("copied"), "hi\n");
        assert!(at("contents/renamed").exists());
        // What comes out is its taker's; what went in kept its owner.
        assert_eq!(fs::metadata(at("f")).expect("copied").uid(), 0);
        let mut tar = tar::Archive::new(std::io::Cursor::new(
            daemon.run(client, &["cp", &inside("/tmp/f"), "-"]).ok().stdout.into_bytes(),
        ));
        let header = tar.entries().expect("a tar").next().expect("one").expect("whole").header().clone();
        assert_eq!((header.uid().expect("uid"), header.gid().expect("gid")), (1000, 1001));
        drop_all(&daemon, &[&box_name]);
    }
}

#[test]
fn what_cannot_be_copied_is_refused_in_docker_s_words() {
    let daemon = Daemon::start();
    let source = source();
    let at = |name: &str| text(&source.path().join(name)).to_owned();
    for client in BOTH {
        let box_name = name(client, "no");
        let bind = format!("{}:/ro:ro", at("src"));
        make(&daemon, client, &box_name, false, &["-v", &bind]);
        let cp = |from: &str, to: &str| daemon.run(client, &["cp", from, to]).exits(1);
        let inside = |path: &str| format!("{box_name}:{path}");
        daemon.run(client, &["cp", &at("src/f"), &inside("/tmp/f")]).ok().done();
        cp(&at("src"), &inside("/tmp/f")).complains("cannot copy directory").done();
        cp(&at("src/f"), &inside("/nodir/")).complains("no such directory").done();
        cp(&at("src/f"), &inside("/nodir/x"))
            .complains(&format!("Could not find the file /nodir in container {box_name}"))
            .done();
        cp(&at("src/nope"), &inside("/tmp")).complains("no such file or directory").done();
        cp(&at("src/f"), &inside("/ro/x")).complains("mounted volume is marked read-only").done();
        cp(&inside("/nope"), "-").complains("Could not find the file /nope in container").done();
        cp("copy-nobody:/x", ".").complains("No such container: copy-nobody").done();
        cp(&inside("/a"), &inside("/b")).complains("copying between containers is not supported").done();
        cp("a", "b").complains("must specify at least one container source").done();
        drop_all(&daemon, &[&box_name]);
    }
}

#[test]
fn a_read_only_root_takes_files_in_its_volumes_only() {
    let daemon = Daemon::start();
    if daemon.is_peer() {
        // Its mounts may not be this process's.
        return;
    }
    let (source, target) = (source(), tempfile::tempdir().expect("a directory"));
    let f = source.path().join("src/f");
    for (client, running) in BOTH.into_iter().flat_map(|client| [(client, false), (client, true)]) {
        let box_name = name(client, if running { "rorun" } else { "ro" });
        let bind = format!("{}:/data", text(target.path()));
        make(&daemon, client, &box_name, running, &["--read-only", "-v", &bind]);
        daemon
            .run(client, &["cp", text(&f), &format!("{box_name}:/tmp/f")])
            .exits(1)
            .complains("container rootfs is marked read-only")
            .done();
        daemon.run(client, &["cp", text(&f), &format!("{box_name}:/data/f")]).ok().done();
        assert_eq!(fs::read_to_string(target.path().join("f")).expect("through the bind"), "hi\n");
        fs::remove_file(target.path().join("f")).expect("remove it");
        drop_all(&daemon, &[&box_name]);
    }
}

/// A tar archive on STDIN and STDOUT; links followed with `-L`; owners of the container's user with `-a`.
#[test]
fn archives_links_and_owners() {
    let daemon = Daemon::start();
    let source = source();
    for client in BOTH {
        let box_name = name(client, "tar");
        make(&daemon, client, &box_name, true, &["-u", "7:8"]);
        let inside = |path: &str| format!("{box_name}:{path}");
        let mut archive = tar::Builder::new(Vec::new());
        archive.follow_symlinks(false);
        archive.append_dir_all("tree", source.path().join("src")).expect("pack it");
        let archive = archive.into_inner().expect("pack it");
        daemon.run_with_input(client, &["cp", "-", &inside("/tmp")], &archive).ok().done();
        let whole = daemon.run(client, &["cp", &inside("/tmp/tree"), "-"]).ok();
        assert_eq!(
            names(whole.stdout.as_bytes()),
            ["tree/", "tree/f", "tree/l", "tree/sub/", "tree/sub/g"],
            "{client:?}"
        );
        daemon
            .run_with_input(client, &["cp", "-", &inside("/tmp/tree/f")], &archive)
            .exits(1)
            .complains("must be a directory")
            .done();
        let f = source.path().join("src/f");
        daemon.run(client, &["cp", "-a", text(&f), &inside("/tmp/mine")]).ok().done();
        let owner = daemon.run(client, &["exec", &box_name, "stat", "-c", "%u:%g", "/tmp/mine"]).ok();
        assert_eq!(owner.text(), "7:8");
        let out = tempfile::tempdir().expect("a directory");
        daemon.run(client, &["cp", &inside("/tmp/tree/l"), text(out.path())]).ok().done();
        assert!(out.path().join("l").is_symlink());
        fs::remove_file(out.path().join("l")).expect("remove it");
        daemon.run(client, &["cp", "-L", &inside("/tmp/tree/l"), text(out.path())]).ok().done();
        assert_eq!(fs::read_to_string(out.path().join("l")).expect("followed"), "hi\n");
        assert!(!out.path().join("l").is_symlink());
        drop_all(&daemon, &[&box_name]);
    }
}

/// What is mounted is copied, and what is below a mount is not exported.
#[test]
fn mounts_are_copied_and_not_exported() {
    let daemon = Daemon::start();
    if daemon.is_peer() {
        // Its mounts may not be this process's.
        return;
    }
    let source = source();
    let bind = format!("{}:/data", text(&source.path().join("src")));
    for (client, running) in BOTH.into_iter().flat_map(|client| [(client, false), (client, true)]) {
        let box_name = name(client, if running { "mounted" } else { "resting" });
        make(&daemon, client, &box_name, running, &["-v", &bind]);
        let copied = daemon.run(client, &["cp", &format!("{box_name}:/data/sub"), "-"]).ok();
        assert_eq!(names(copied.stdout.as_bytes()), ["sub/", "sub/g"]);
        let file = source.path().join("export.tar");
        daemon.run(client, &["export", "-o", text(&file), &box_name]).ok().done();
        let exported = names(&fs::read(&file).expect("the archive"));
        assert!(exported.iter().any(|name| name == "bin/busybox"), "{exported:?}");
        assert!(exported.iter().any(|name| name == ".dockerenv"), "{exported:?}");
        for point in ["data/", "proc/", "sys/"] {
            let below = |name: &&String| name.starts_with(point) && name.as_str() != point;
            assert_eq!(exported.iter().find(below), None);
        }
        drop_all(&daemon, &[&box_name]);
    }
}

#[test]
fn diff_tells_what_was_added_changed_and_deleted() {
    let daemon = Daemon::start();
    for client in BOTH {
        let box_name = name(client, "diff");
        let script =
            "mkdir -p /made/deep; echo x > /made/deep/file; echo y >> /etc/passwd; rm /bin/wget; sleep 1000";
        daemon.run(client, &["run", "-d", "--name", &box_name, "busybox", "sh", "-c", script]).ok().done();
        let diff = || daemon.run(client, &["diff", &box_name]).ok();
        wait_until("all of it was done", Duration::from_secs(5), || diff().stdout.contains("D /bin/wget"));
        let shown = diff();
        let mut lines: Vec<&str> = shown.text().lines().collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                "A /made",
                "A /made/deep",
                "A /made/deep/file",
                "C /bin",
                "C /etc",
                "C /etc/passwd",
                "D /bin/wget"
            ],
            "{client:?}"
        );
        drop_all(&daemon, &[&box_name]);
    }
}

/// The container swaps a directory for links to the host, over and over, while files go in and out: nothing of the host's is read or
/// written.
#[test]
fn a_container_that_swaps_links_reaches_nothing_of_the_host() {
    let daemon = Daemon::start();
    if daemon.is_peer() {
        return;
    }
    // The same name exists on the host, with something else in it.
    let host = tempfile::Builder::new().prefix("minke-swap-").tempdir().expect("a directory");
    fs::set_permissions(host.path(), fs::Permissions::from_mode(0o755)).expect("readable");
    fs::write(host.path().join("file"), "the host's secret").expect("write it");
    let outside = text(host.path());
    let script = format!(
        "mkdir -p {outside} /w/real; echo inside > {outside}/file; echo inside > /w/real/file; cd /w; \
         while :; do ln -sfn {outside} x; ln -sfn ../../../../../../{outside} x; rm x; mv real x; mv x real; done"
    );
    daemon.minke(&["run", "-d", "--name", "swap", "busybox", "sh", "-c", &script]).ok().done();
    let (payload, out) = (source(), tempfile::tempdir().expect("a directory"));
    let payload = payload.path().join("src/f");
    for round in 0..25 {
        // Each may fail, since what it means may be gone: but not reach outside.
        let taken = daemon.minke(&["cp", "swap:/w/x/file", "-"]);
        assert!(!taken.stdout.contains("secret"), "round {round}");
        let taken = daemon.minke(&["cp", "-L", "swap:/w/x", text(&out.path().join(round.to_string()))]);
        assert!(!taken.stderr.contains("panicked"), "{taken}");
        daemon.minke(&["cp", text(&payload), "swap:/w/x/planted"]);
    }
    for file in walk(out.path()) {
        let content = fs::read_to_string(&file).unwrap_or_default();
        assert!(!content.contains("secret"), "{}", file.display());
    }
    assert_eq!(fs::read_to_string(host.path().join("file")).expect("still there"), "the host's secret");
    assert_eq!(fs::read_dir(host.path()).expect("still there").count(), 1);
    daemon.minke(&["rm", "-f", "swap"]).ok().done();
}

fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(walk(&path)),
            Ok(kind) if kind.is_file() => files.push(path),
            _ => {}
        }
    }
    files
}

/// Volumes are reached in a container that runs, what is mounted over its files besides (memory, processes, devices) is not: as with Docker,
/// who copies `/` gets files, and what is copied to such a place is beneath it.
#[test]
fn memory_and_kernel_file_systems_are_not_copied() {
    let daemon = Daemon::start();
    let source = source();
    let f = source.path().join("src/f");
    for client in BOTH {
        let (box_name, volume) = (name(client, "memory"), name(client, "volume"));
        let mounts = ["--tmpfs", "/tm", "--mount", "type=tmpfs,dst=/tm2", "-v", &format!("{volume}:/data")];
        let script = "touch /tm/in /tm2/in /data/in /dev/shm/in /beside; sleep 1000";
        let start =
            [&["run", "-d", "--name", &box_name], &mounts[..], &["busybox", "sh", "-c", script]].concat();
        daemon.run(client, &start).ok().done();
        wait_until("its files are made", Duration::from_secs(20), || {
            daemon.run(client, &["exec", &box_name, "ls", "/beside"]).code == 0
        });
        let copied = |path: &str| {
            let run = daemon.run(client, &["cp", &format!("{box_name}:{path}"), "-"]).ok();
            names(run.stdout.as_bytes())
        };
        for (path, found) in [
            ("/tm", &["tm/"][..]),
            ("/tm2", &["tm2/"]),
            ("/proc", &["proc/"]),
            ("/sys", &["sys/"]),
            ("/dev/shm", &["shm/"]),
            ("/data", &["data/", "data/in"]),
            ("/etc/hosts", &["hosts"]),
        ] {
            assert_eq!(copied(path), found, "{client:?} {path}");
        }
        let whole = source.path().join(format!("{client:?}"));
        daemon.run(client, &["cp", &format!("{box_name}:/."), text(&whole)]).ok().done();
        let there = ["bin/busybox", "data/in", "beside", "proc", "proc/1", "tm/in"]
            .map(|name| whole.join(name).exists());
        assert_eq!(there, [true, true, true, true, false, false], "{client:?}");
        let gone = daemon.run(client, &["cp", &format!("{box_name}:/tm/in"), "-"]).exits(1);
        gone.complains(&format!("Could not find the file /tm/in in container {box_name}")).done();
        for place in ["/tm/", "/data/"] {
            daemon.run(client, &["cp", text(&f), &format!("{box_name}:{place}new")]).ok().done();
        }
        assert_eq!(copied("/tm/new"), ["new"], "beneath the memory");
        let seen = daemon.run(client, &["exec", &box_name, "ls", "/tm", "/data"]).ok();
        assert_eq!(seen.text(), "/data:\nin\nnew\n\n/tm:\nin", "{client:?}");
        drop_all(&daemon, &[&box_name]);
        daemon.run(client, &["volume", "rm", &volume]).ok().done();
    }
}

/// A client that goes away in the middle leaves no process behind, and the container can be started at once.
#[test]
fn a_copy_that_nobody_waits_for_ends() {
    let daemon = Daemon::start();
    if daemon.is_peer() {
        return;
    }
    daemon.minke(&["create", "--name", "left", "busybox", "sleep", "1000"]).ok().done();
    let mut copy = daemon.command(Client::Minke, &["cp", "left:/", "-"]);
    let mut copy = copy.stdout(std::process::Stdio::piped()).spawn().expect("start a copy");
    std::thread::sleep(Duration::from_millis(300));
    copy.kill().expect("it waits for its reader");
    copy.wait().expect("it was killed");
    let started = daemon.start_client(Client::Minke, &["start", "left"]);
    started.finish(Duration::from_secs(10)).ok().done();
    daemon.minke(&["rm", "-f", "left"]).ok().done();
}

/// Named volumes, a part of one, and one that is a file system of its own are reached while the container rests too.
#[test]
fn volumes_are_reached_while_the_container_rests() {
    let daemon = Daemon::start();
    let source = source();
    let f = source.path().join("src/f");
    for client in BOTH {
        let (box_name, volume) = (name(client, "rest"), name(client, "volume"));
        daemon.run(client, &["volume", "create", &volume]).ok().done();
        let (whole, part) =
            (format!("{volume}:/whole"), format!("type=volume,src={volume},dst=/part,volume-subpath=in"));
        let script = "mkdir /whole/in; echo deep > /whole/in/file";
        daemon.run(client, &["run", "--rm", "-v", &whole, "busybox", "sh", "-c", script]).ok().done();
        make(&daemon, client, &box_name, false, &["-v", &whole, "--mount", &part]);
        let seen = daemon.run(client, &["cp", &format!("{box_name}:/part"), "-"]).ok();
        assert_eq!(names(seen.stdout.as_bytes()), ["part/", "part/file"], "{client:?}");
        daemon.run(client, &["cp", text(&f), &format!("{box_name}:/part/new")]).ok().done();
        let seen = daemon.run(client, &["cp", &format!("{box_name}:/whole/in/new"), "-"]).ok();
        assert_eq!(names(seen.stdout.as_bytes()), ["new"], "{client:?}");
        daemon.run(client, &["rm", &box_name]).ok().done();
        daemon.run(client, &["volume", "rm", &volume]).ok().done();
    }
}
