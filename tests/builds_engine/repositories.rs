//! `ADD` of git repositories, and contexts that the engine fetches with git, from a server that only gives files.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use minke_testkit::{Client, Daemon, Run, wait_until};

use crate::{build, context};

/// Repositories behind a web server.
struct Hub {
    root: PathBuf,
    address: String,
}

#[track_caller]
fn git(at: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.arg("-C").arg(at).args(["-c", "user.email=a@b.c", "-c", "user.name=alice"]);
    command.args(args).env("GIT_CONFIG_NOSYSTEM", "1").env("HOME", at);
    Run::new(command, b"").ok().text().to_owned()
}

impl Hub {
    #[track_caller]
    fn new(daemon: &Daemon) -> Self {
        let root = daemon.path().join("hub");
        std::fs::create_dir(&root).expect("make a directory");
        let listener = daemon.host_netns().run(|| TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("its address"));
        let served = root.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Who goes away in the middle is no fault of the server.
                answer(stream, &served).ok();
            }
        });
        Self { root, address }
    }

    fn url(&self, name: &str) -> String {
        format!("{}/{name}.git", self.address)
    }

    /// Makes a commit of these files and serves it; answers with its number.
    #[track_caller]
    fn publish(&self, name: &str, files: &[(&str, &str)], modules: &[(&str, &str, &str)]) -> String {
        let own = self.root.join(name);
        std::fs::create_dir_all(&own).expect("make a directory");
        if !own.join(".git").exists() {
            git(&own, &["init", "-q", "--initial-branch=trunk"]);
        }
        for (path, text) in files {
            let path = own.join(path);
            std::fs::create_dir_all(path.parent().expect("a directory")).expect("make a directory");
            std::fs::write(path, text).expect("write a file");
        }
        for (path, source, commit) in modules {
            let text = format!("[submodule \"{path}\"]\n\tpath = {path}\n\turl = ../{source}.git\n");
            std::fs::write(own.join(".gitmodules"), text).expect("write a file");
            git(&own, &["add", "."]);
            git(&own, &["update-index", "--add", "--cacheinfo", &format!("160000,{commit},{path}")]);
        }
        if modules.is_empty() {
            git(&own, &["add", "."]);
        }
        git(&own, &["commit", "-q", "--allow-empty", "-m", "a commit"]);
        let commit = git(&own, &["rev-parse", "HEAD"]);
        let bare = format!("{name}.git");
        if self.root.join(&bare).exists() {
            std::fs::remove_dir_all(self.root.join(&bare)).expect("remove the old one");
        }
        git(&self.root, &["clone", "-q", "--bare", name, &bare]);
        git(&self.root.join(&bare), &["update-server-info"]);
        commit
    }
}

fn answer(mut stream: TcpStream, root: &Path) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let path = first.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default();
    let found = std::fs::read(root.join(path.trim_start_matches('/')));
    let (status, body) = found.map_or_else(|_| ("404 Not Found", Vec::new()), |bytes| ("200 OK", bytes));
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    stream.write_all(&body)
}

fn show(daemon: &Daemon, name: &str, script: &str) -> String {
    daemon.minke(&["run", "--rm", name, "sh", "-c", script]).ok().text().to_owned()
}

/// A branch, a tag, a directory and a commit of a repository, with its submodules and without what git keeps for itself.
#[test]
fn repositories_are_added_as_they_are_at_a_ref() {
    let daemon = Daemon::start();
    let hub = Hub::new(&daemon);
    let part = hub.publish("part", &[("p", "of another")], &[]);
    let first = hub.publish("whole", &[("a", "first"), ("deep/b", "B")], &[("mod", "part", &part)]);
    let whole = hub.root.join("whole");
    git(&whole, &["tag", "-a", "-m", "a tag", "v1"]);
    let second = hub.publish("whole", &[("a", "second")], &[("mod", "part", &part)]);
    let url = hub.url("whole");
    let text = format!(
        "FROM busybox:latest\nADD {url} /head\nADD {url}#v1 /tag\nADD {url}#trunk:deep /deep/\n\
         ADD --checksum={first} {url}#{first} /commit\nADD --keep-git-dir=true --chown=7:8 {url} /kept/\n\
         ADD {url}?tag=v1&subdir=deep /queried/\n"
    );
    let directory = context(&daemon, "context", &text, &[]);
    let directory = directory.to_string_lossy();
    build(&daemon, Client::Minke, &["-t", "added", &directory]).ok().done();
    let said = show(
        &daemon,
        "added",
        "cd /; cat head/a tag/a deep/b commit/a kept/a queried/b head/mod/p; ls -a head deep",
    );
    assert!(said.starts_with("secondfirstBfirstsecondBof another"), "{said}");
    assert!(!said.contains(".git\n"), "what git keeps is left out: {said}");
    let said = show(&daemon, "added", "cat /kept/.git/HEAD; stat -c '%u:%g %a' /kept/a /kept/deep");
    assert_eq!(said, format!("{second}\n7:8 644\n7:8 755"));
    // Nothing new there: nothing new here.
    let again = build(&daemon, Client::Minke, &[&directory]).ok();
    assert_eq!(again.stderr.matches("CACHED").count(), 6, "{again}");
    for (line, complaint) in [
        (format!("ADD --checksum={second} {url}#v1 /x"), "expected checksum to match".to_owned()),
        (format!("ADD {url}#missing /x"), "does not contain ref missing".to_owned()),
        (format!("ADD {url}#:nowhere /x"), "nowhere of the repository".to_owned()),
        (format!("ADD {url}#--upload-pack=x /x"), "invalid ref".to_owned()),
        (format!("ADD {} /x", hub.url("none")), "not found".to_owned()),
        (
            "COPY --from=busybox /bin/sh /x\nADD --keep-git-dir=true a /x".to_owned(),
            "none of the sources".to_owned(),
        ),
    ] {
        let bad = context(&daemon, "bad", &format!("FROM busybox:latest\n{line}\n"), &[("a", "A")]);
        build(&daemon, Client::Minke, &[&bad.to_string_lossy()]).exits(1).complains(&complaint).done();
    }
    let left = daemon.data_root().join("builds/tmp");
    wait_until("nothing is left of what was fetched", Duration::from_secs(20), || {
        std::fs::read_dir(&left).expect("it is there").count() == 0
    });
}

/// `POST /build?remote=…`: the engine fetches the context.
#[test]
fn a_context_is_fetched_by_the_engine() {
    let daemon = Daemon::start();
    let hub = Hub::new(&daemon);
    let files = [
        ("docker/Dockerfile", "FROM busybox:latest\nCOPY . /c/\nCMD [\"ls\", \"-a\", \"/c\"]\n"),
        ("docker/told", "told"),
        ("docker/secret", "secret"),
        ("docker/.dockerignore", "secret\n"),
    ];
    hub.publish("image", &files, &[]);
    let remote = format!("{}%23trunk:docker", hub.url("image"));
    let mut command = Command::new("curl");
    command.args(["-sS", "-X", "POST", "--unix-socket"]).arg(daemon.socket());
    command.arg(format!("http://d/build?t=remote&remote={remote}"));
    Run::new(command, b"").ok().says("Successfully tagged remote:latest").done();
    let said = daemon.minke(&["run", "--rm", "remote"]).ok().text().to_owned();
    assert!(said.contains("told") && !said.contains("secret") && !said.contains(".git"), "{said}");
}
