//! Dockerfiles of the shape of well-known public projects: built by Docker and by minke they come to the same files and the same
//! configuration.
//!
//! `dockerfiles/cases/NAME` is a context, `dockerfiles/results/NAME.txt` what Docker 28.5 made of it: recorded by this test with
//! `MINKE_PEER_DOCKER` and `MINKE_BLESS=1`, compared with Docker when only the first is set, and with minke otherwise. Files are
//! compared by kind, mode, owner, link and digest, less those of the base image (which Debian's packages change); the
//! configuration less what is of no build. The classic builder builds what it can; what needs BuildKit is built by the one
//! inside dockerd. On minke each is built twice: by docker's client, and anew by minke's.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use minke_testkit::{Client, Daemon, Options, Run};
use serde_json::{Value, json};

/// A context and how it is built.
struct Case {
    name: &'static str,
    /// The image whose files are not told; empty when it is built from nothing.
    base: &'static str,
    /// Docker's classic builder does not know what is in it.
    buildkit: bool,
    /// What is told of it is the client's work: minke's is asked, and what was written down is from buildx.
    client: bool,
    args: &'static [&'static str],
}

const fn classic(name: &'static str, base: &'static str) -> Case {
    Case { name, base, buildkit: false, client: false, args: &[] }
}

const fn buildkit(name: &'static str, base: &'static str) -> Case {
    Case { name, base, buildkit: true, client: false, args: &[] }
}

const CASES: &[Case] = &[
    classic("archives", "busybox"),
    Case {
        args: &["--build-arg", "given=12:34", "--build-arg", "unused=x"],
        ..classic("arguments", "busybox")
    },
    classic("c-static", ""),
    classic("checksummed-download", "debian"),
    Case {
        args: &["--target", "test", "--build-arg", "WHO=me", "--label", "extra=1"],
        ..classic("chosen-stage", "busybox")
    },
    buildkit("copy-options", "busybox"),
    Case { args: &["--target", "export"], ..buildkit("diamond", "") },
    classic("entrypoint-script", "debian"),
    Case { args: &["--build-arg", "VERSION=1.2"], ..classic("go-distroless", "") },
    buildkit("heredocs", "debian"),
    classic("ignored", "busybox"),
    classic("links", "busybox"),
    classic("metadata", "busybox"),
    classic("metadata-reset", "busybox"),
    buildkit("mounts", "debian"),
    classic("node-app", "busybox"),
    Case { args: &["--build-arg", "EXTRA=more"], ..classic("onbuild", "busybox") },
    Case { args: &["-f", "Other.df"], client: true, ..buildkit("own-ignore", "busybox") },
    classic("places", "busybox"),
    buildkit("platforms", "busybox"),
    classic("python-venv", "debian"),
    classic("removals", "busybox"),
    classic("rust-chef", "debian"),
    classic("shells", "debian"),
    classic("users-and-modes", "debian"),
];

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dockerfiles")
}

/// A context as it would be after any checkout: permissions do not depend on somebody's umask.
fn context(case: &Case) -> tempfile::TempDir {
    let directory = tempfile::Builder::new().prefix("minke-context-").tempdir().expect("a directory");
    copy(&tests().join("cases").join(case.name), directory.path());
    if case.name == "archives" {
        let file = std::fs::File::create(directory.path().join("files.tar.gz")).expect("an archive");
        let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(file, flate2::Compression::fast()));
        for (name, mode, owner) in [("inside/plain", 0o644, 0), ("inside/tool", 0o4755, 7)] {
            let mut header = tar::Header::new_gnu();
            header.set_size(4);
            header.set_mode(mode);
            header.set_uid(owner);
            header.set_gid(owner);
            archive.append_data(&mut header, name, &b"abc\n"[..]).expect("an entry");
        }
        archive.into_inner().expect("the end").finish().expect("written");
    }
    directory
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a case") {
        let entry = entry.expect("an entry");
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(&path).expect("a link"), &target).expect("linked");
            continue;
        }
        if path.is_dir() {
            std::fs::create_dir(&target).expect("made");
            copy(&path, &target);
            std::fs::set_permissions(&target, PermissionsExt::from_mode(0o755)).expect("set");
            continue;
        }
        std::fs::copy(&path, &target).expect("copied");
        let script = std::fs::read(&path).expect("read").starts_with(b"#!");
        let mode = if script { 0o755 } else { 0o644 };
        std::fs::set_permissions(&target, PermissionsExt::from_mode(mode)).expect("set");
    }
}

/// `build` by one of the clients; docker's by its classic way.
#[track_caller]
fn build(daemon: &Daemon, client: Client, args: &[&str]) -> Run {
    let mut command = daemon.command(client, &[&["build"], args].concat());
    command.env("DOCKER_BUILDKIT", "0");
    let run = Run::new(command, b"");
    assert_eq!(run.code, 0, "{run}");
    run
}

/// The BuildKit inside dockerd builds what a request without a session brings.
fn build_with_buildkit(daemon: &Daemon, context: &Path, tag: &str, args: &[&str]) {
    let given = |flag: &str| args.iter().position(|arg| *arg == flag).map(|at| args[at + 1]);
    let (file, target) = (given("-f").unwrap_or("Dockerfile"), given("--target").unwrap_or_default());
    // A frontend would be fetched; the one that is built in is as new.
    let dockerfile = context.join(file);
    let text = std::fs::read_to_string(&dockerfile).expect("a Dockerfile").replace("# syntax=", "# was: ");
    std::fs::write(&dockerfile, text).expect("written");
    let mut archive = tar::Builder::new(Vec::new());
    archive.follow_symlinks(false);
    archive.append_dir_all(".", context).expect("a context");
    let body = archive.into_inner().expect("an archive");
    let socket = daemon.host();
    let mut stream = UnixStream::connect(socket.trim_start_matches("unix://")).expect("Docker's socket");
    let head = format!(
        "POST /v1.51/build?version=2&t={tag}&dockerfile={file}&target={target} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\
         Content-Type: application/x-tar\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains("moby.image.id"), "BuildKit could not build {tag}: {answer}");
}

/// What an image holds: for each path a line.
fn tree(daemon: &Daemon, image: &str) -> BTreeMap<String, String> {
    let name = format!("{}-export", daemon.tag());
    daemon.docker(&["create", "--name", &name, image, "x"]).ok().done();
    let file = daemon.path().join("export.tar");
    daemon.docker(&["export", "-o", &file.display().to_string(), &name]).ok().done();
    daemon.docker(&["rm", &name]).ok().done();
    let mut archive = tar::Archive::new(std::fs::File::open(&file).expect("the export"));
    let mut lines = BTreeMap::new();
    for entry in archive.entries().expect("an archive") {
        let mut entry = entry.expect("an entry");
        let path = String::from_utf8_lossy(&entry.path_bytes()).trim_end_matches('/').to_owned();
        let header = entry.header();
        let (mode, uid, gid) = (
            header.mode().expect("a mode") & 0o7777,
            header.uid().expect("a user"),
            header.gid().expect("a group"),
        );
        let kind = header.entry_type();
        let link = entry.link_name_bytes().map(|name| String::from_utf8_lossy(&name).into_owned());
        let what = match link {
            // Which of two names comes first is an accident of the archive.
            Some(link) if kind.is_symlink() => format!("-> {link}"),
            Some(link) => lines.get(link.trim_start_matches("./")).cloned().unwrap_or(link),
            None if kind.is_file() => {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).expect("a file");
                if matches!(path.trim_start_matches("./"), "etc/shadow" | "etc/shadow-") {
                    bytes = without_days(&bytes);
                }
                format!("{} {:08x}", bytes.len(), checksum(&bytes))
            }
            None => String::new(),
        };
        let word = match kind {
            tar::EntryType::Directory => "directory",
            tar::EntryType::Symlink => "symlink",
            tar::EntryType::Link => {
                lines.insert(path, what);
                continue;
            }
            tar::EntryType::Fifo => "fifo",
            _ => "file",
        };
        let mode = if word == "symlink" { 0o777 } else { mode };
        lines.insert(path, format!("{word} {mode:o} {uid}:{gid} {what}").trim_end().to_owned());
    }
    lines
}

/// Accounts without the day of their last password, which is the day on which the fixture, or the image, was made.
fn without_days(shadow: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(shadow);
    let lines = text.lines().map(|line| {
        let fields: Vec<&str> =
            line.split(':').enumerate().map(|(at, word)| if at == 2 { "day" } else { word }).collect();
        fields.join(":") + "\n"
    });
    lines.collect::<String>().into_bytes()
}

/// FNV-1a: two different files of these sizes do not meet by accident.
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The configuration a build decides about, the same whether a value is missing or empty.
fn configuration(daemon: &Daemon, image: &str) -> Value {
    let inspected = daemon.docker(&["image", "inspect", image]).ok().json();
    let image = &inspected[0];
    let mut kept = serde_json::Map::new();
    for key in [
        "Cmd",
        "Entrypoint",
        "Env",
        "ExposedPorts",
        "Healthcheck",
        "Labels",
        "OnBuild",
        "Shell",
        "StopSignal",
        "User",
        "Volumes",
        "WorkingDir",
    ] {
        let value = &image["Config"][key];
        let empty = match value {
            Value::Null => true,
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            // BuildKit writes a root where the classic builder writes nothing.
            Value::String(text) => text.is_empty() || (key == "WorkingDir" && text == "/"),
            _ => false,
        };
        if !empty {
            kept.insert(key.to_owned(), value.clone());
        }
    }
    for key in ["Author", "Os", "Architecture"] {
        kept.insert(key.to_owned(), json!(image[key].as_str().unwrap_or_default()));
    }
    let mut kept = Value::Object(kept);
    kept.sort_all_objects();
    kept
}

/// What a build came to, as it is written down.
fn result(daemon: &Daemon, image: &str, base: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    let made = tree(daemon, image);
    for (path, line) in &made {
        if base.get(path) != Some(line) {
            writeln!(text, "/{path}: {line}").expect("a string takes all");
        }
    }
    for path in base.keys().filter(|path| !made.contains_key(*path)) {
        writeln!(text, "/{path}: gone").expect("a string takes all");
    }
    let configuration = serde_json::to_string_pretty(&configuration(daemon, image)).expect("JSON");
    format!("{text}\n{configuration}\n")
}

fn check(daemon: &Daemon, case: &Case, base: &BTreeMap<String, String>) -> Vec<String> {
    let context = context(case);
    let path = context.path().display().to_string();
    let mark = daemon.tag();
    if context.path().join("base.df").exists() {
        let (file, name) = (format!("{path}/base.df"), format!("parity-{}-base", case.name));
        build(daemon, Client::Docker, &["-t", &name, "-f", &file, &path]).done();
    }
    let image = format!("{mark}-{}", case.name);
    let mut args: Vec<String> = case.args.iter().map(|arg| (*arg).to_owned()).collect();
    if let Some(file) = args.iter().position(|arg| arg == "-f").map(|at| at + 1) {
        args[file] = format!("{path}/{}", args[file]);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).chain(["-t", &image, &path]).collect();
    let mut results = Vec::new();
    if case.client {
        if !daemon.is_peer() {
            build(daemon, Client::Minke, &args).done();
            results.push(result(daemon, &image, base));
        }
        return results;
    }
    if daemon.is_peer() && case.buildkit {
        build_with_buildkit(daemon, context.path(), &image, case.args);
        results.push(result(daemon, &image, base));
    } else {
        build(daemon, Client::Docker, &args).says("Successfully built").done();
        results.push(result(daemon, &image, base));
        if !daemon.is_peer() {
            build(daemon, Client::Minke, &[&["--no-cache"], args.as_slice()].concat()).done();
            results.push(result(daemon, &image, base));
        }
    }
    if daemon.is_peer() {
        daemon.docker(&["rmi", &image]).ok().done();
    }
    results
}

/// Every case, of one base after the other.
fn parity(base: &'static str) {
    let mut images = vec!["busybox"];
    images
        .extend(CASES.iter().any(|case| case.base == base).then_some("debian").filter(|_| base != "busybox"));
    let daemon = Daemon::with(Options { images, ..Options::default() });
    let bases = match base {
        "" => {
            let file = "FROM scratch\nLABEL empty=1\n";
            let empty = format!("{}-empty", daemon.tag());
            let mut command = daemon.command(Client::Docker, &["build", "-t", &empty, "-"]);
            command.env("DOCKER_BUILDKIT", "0");
            Run::new(command, file.as_bytes()).ok().done();
            tree(&daemon, &empty)
        }
        name => tree(&daemon, name),
    };
    let mut wrong = String::new();
    let only = std::env::var("MINKE_CASE").ok();
    for case in
        CASES.iter().filter(|case| case.base == base && only.as_deref().is_none_or(|only| only == case.name))
    {
        let place = tests().join("results").join(format!("{}.txt", case.name));
        for found in check(&daemon, case, &bases) {
            if daemon.is_peer() && std::env::var_os("MINKE_BLESS").is_some() {
                std::fs::write(&place, &found).expect("written down");
            }
            let expected = std::fs::read_to_string(&place).unwrap_or_default();
            if found != expected {
                writeln!(wrong, "=== {}\n{}", case.name, difference(&expected, &found))
                    .expect("a string takes all");
            }
        }
    }
    assert!(wrong.is_empty(), "not as Docker builds it (- Docker, + here):\n{wrong}");
}

fn difference(expected: &str, found: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), found.lines().collect());
    let minus = old.iter().filter(|line| !new.contains(line)).map(|line| format!("- {line}\n"));
    let plus = new.iter().filter(|line| !old.contains(line)).map(|line| format!("+ {line}\n"));
    minus.chain(plus).collect()
}

#[test]
fn dockerfiles_on_busybox_come_to_what_docker_makes_of_them() {
    parity("busybox");
}

#[test]
fn dockerfiles_on_debian_come_to_what_docker_makes_of_them() {
    parity("debian");
}

#[test]
fn dockerfiles_from_nothing_come_to_what_docker_makes_of_them() {
    parity("");
}
