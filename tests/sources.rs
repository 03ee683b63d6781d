//! Chapter 9's distribution by sources: an image built from a repository, by hand and by a push (S9-4, S9-9).

use std::path::{Path, PathBuf};
use std::process::Command;

use minke_testkit::registries::parts::open;
use minke_testkit::{Client, Daemon, Options, Run};

const BOTH: [Client; 2] = [Client::Minke, Client::Docker];
const GOOD: &str = "FROM busybox:latest\nLABEL source=git\nCMD echo Hello World\n";

/// A repository on a server, and somebody's copy of it.
struct Sources {
    bare: PathBuf,
    own: PathBuf,
}

#[track_caller]
fn git(at: &Path, args: &[&str]) -> Run {
    let mut command = Command::new("git");
    command.arg("-C").arg(at).args([
        "-c",
        "user.email=a@b.c",
        "-c",
        "user.name=alice",
        "-c",
        "init.defaultBranch=master",
    ]);
    command.args(args).env("GIT_CONFIG_NOSYSTEM", "1").env("HOME", at);
    Run::new(command, b"")
}

impl Sources {
    #[track_caller]
    fn new(daemon: &Daemon) -> Self {
        let (bare, own) = (daemon.path().join("server.git"), daemon.path().join("own"));
        for directory in [&bare, &own] {
            std::fs::create_dir(directory).expect("make a directory");
        }
        git(&bare, &["init", "-q", "--bare"]).ok().done();
        git(&own, &["init", "-q"]).ok().done();
        git(&own, &["remote", "add", "origin", &bare.to_string_lossy()]).ok().done();
        Self { bare, own }
    }

    #[track_caller]
    fn publish(&self, dockerfile: &str) -> Run {
        std::fs::write(self.own.join("Dockerfile"), dockerfile).expect("write the Dockerfile");
        git(&self.own, &["add", "Dockerfile"]).ok().done();
        git(&self.own, &["commit", "-q", "-m", "a commit"]).ok().done();
        git(&self.own, &["push", "-u", "origin", "master"]).ok()
    }
}

/// The client builds as it did before BuildKit.
fn build(daemon: &Daemon, client: Client, args: &[&str]) -> Run {
    let mut command = daemon.command(client, &[&["build"], args].concat());
    command.env("DOCKER_BUILDKIT", "0");
    Run::new(command, b"")
}

/// S9-9 (9C-36, 9C-37; 9B-37): published by a push, cloned, built and run by somebody who has no account anywhere.
#[test]
fn s9_09_source_distribution() {
    for client in BOTH {
        let daemon = Daemon::with(Options { images: vec!["busybox"], ..Options::default() });
        let sources = Sources::new(&daemon);
        sources.publish(GOOD).done();
        let name = minke_testkit::unique("alice/repo");
        git(daemon.path(), &["clone", "-q", &sources.bare.to_string_lossy(), "copy"]).ok().done();
        let copy = daemon.path().join("copy");
        build(&daemon, client, &["-t", &name, &copy.to_string_lossy()]).ok().done();
        daemon.run(client, &["run", "--rm", &name]).ok().says("Hello World").done();
        assert_eq!(daemon.inspect(&name, "{{.Config.Labels.source}}"), "git");
        daemon.minke(&["rmi", &name]).ok().done();
    }
}

/// S9-4 (9C-11, 9C-12; 9B-14 to 9B-17): a push to the repository builds the image and pushes it; a broken one leaves the tag as it was.
#[test]
fn s9_04_automated_build() {
    for client in BOTH {
        let daemon = Daemon::with(Options { images: vec!["busybox"], ..Options::default() });
        let sources = Sources::new(&daemon);
        let registry = open(&daemon);
        let name = registry.named(&minke_testkit::unique("hello"));
        // What a hub has behind its web hook: sources of the commit, a build, a push.
        let client_command = |args: &[&str]| {
            let command = daemon.command(client, args);
            let words = std::iter::once(command.get_program()).chain(command.get_args());
            words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        let log = daemon.path().join("builds.log");
        let script = format!(
            "#!/bin/sh\nexec >> {log} 2>&1\nwhile read old new ref; do\n  work=$(mktemp -d {root}/work.XXXXXX)\n  \
             git archive $new | tar -x -C $work\n  export DOCKER_BUILDKIT=0 DOCKER_CONFIG={root}/config\n  \
             if {build} -t {name} $work && {push}; then echo built $new; else echo failed $new; fi\n  rm -r $work\ndone\n",
            log = log.display(),
            root = daemon.path().display(),
            build = client_command(&["build"]),
            push = client_command(&["push", &name]),
        );
        let hook = sources.bare.join("hooks/post-receive");
        std::fs::create_dir_all(sources.bare.join("hooks")).expect("the hooks' directory");
        std::fs::write(&hook, script).expect("write the hook");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&hook, mode).expect("make the hook a program");
        let head = || git(&sources.own, &["rev-parse", "HEAD"]).ok().text().to_owned();
        let record = || std::fs::read_to_string(&log).expect("the record of builds");
        sources.publish(GOOD).done();
        assert!(record().contains(&format!("built {}", head())), "{}", record());
        daemon.minke(&["rmi", &name]).ok().done();
        daemon.run(client, &["run", "--rm", "--pull", "always", &name]).ok().says("Hello World").done();
        let before = daemon.inspect(&name, "{{.Id}}");
        sources.publish("FROM busybox:latest\nRUN false\n").done();
        assert!(record().contains(&format!("failed {}", head())), "{}", record());
        daemon.run(client, &["pull", &name]).ok().says("Image is up to date").done();
        assert_eq!(daemon.inspect(&name, "{{.Id}}"), before);
        daemon.minke(&["rmi", "-f", &name]).ok().done();
    }
}
