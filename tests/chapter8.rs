//! Chapter 8 of the book: Dockerfiles, and images that are hard to misuse. Scenarios 8-S01 to 8-S16; the rows (8-Cnn, 8-Bnn) that a scenario does not
//! name are beside what shows them. Docker's client builds the classic way (`DOCKER_BUILDKIT=0`). The book's `git` and its mailers are scripts here:
//! what is promised is how images carry them. 8-S06 and 8-S09, with the rows about what is started and what is left out, are in `hardening.rs`.

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use minke_testkit::registries::{Registry, RegistryOptions};
use minke_testkit::{Client, Daemon, Options, Run};

const BOTH: [Client; 2] = [Client::Minke, Client::Docker];

/// One client on one daemon, in a directory of its own.
struct On<'d> {
    daemon: &'d Daemon,
    client: Client,
    directory: tempfile::TempDir,
    /// The names that were given to images.
    tags: RefCell<Vec<String>>,
    /// Containers that were there before.
    before: Vec<String>,
}

fn on(images: &[&'static str], clients: &[Client], mut work: impl FnMut(&On<'_>)) {
    let daemon = Daemon::with(Options { images: images.to_vec(), ..Options::default() });
    for client in clients {
        let containers = |daemon: &Daemon| -> Vec<String> {
            daemon.minke(&["ps", "-aq"]).ok().text().lines().map(str::to_owned).collect()
        };
        let before = containers(&daemon);
        let directory = tempfile::tempdir().expect("a directory");
        let on = On { daemon: &daemon, client: *client, directory, tags: RefCell::default(), before };
        work(&on);
        for container in containers(&daemon).iter().filter(|container| !on.before.contains(container)) {
            daemon.minke(&["rm", "-vf", container]).ok().done();
        }
        // What one client has built is no cache for the next. A Docker that others use keeps what is not of here.
        for tag in on.tags.borrow().iter() {
            drop(daemon.minke(&["rmi", "-f", tag]));
        }
        if !daemon.is_peer() {
            daemon.minke(&["image", "prune", "-f"]).ok().done();
            daemon.minke(&["builder", "prune", "-af"]).ok().done();
        }
    }
}

impl On<'_> {
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("made");
        std::fs::write(&path, text).expect("written");
        path
    }

    #[track_caller]
    fn run(&self, args: &[&str]) -> Run {
        self.daemon.run(self.client, args)
    }

    #[track_caller]
    fn text(&self, args: &[&str]) -> String {
        self.run(args).ok().text().to_owned()
    }

    /// Builds with a Dockerfile of this text.
    #[track_caller]
    fn build(&self, text: &str, args: &[&str]) -> Run {
        self.write("Dockerfile", text);
        self.build_here(args)
    }

    #[track_caller]
    fn build_here(&self, args: &[&str]) -> Run {
        let named = args.windows(2).filter(|pair| matches!(pair[0], "-t" | "--tag"));
        self.tags.borrow_mut().extend(named.map(|pair| pair[1].to_owned()));
        let mut words = vec!["build"];
        words.extend(args);
        words.push(".");
        let mut command = self.daemon.command(self.client, &words);
        command.env("DOCKER_BUILDKIT", "0").current_dir(self.directory.path());
        Run::new(command, b"")
    }

    fn json(&self, name: &str, field: &str) -> serde_json::Value {
        serde_json::from_str(&self.daemon.inspect(name, &format!("{{{{json {field}}}}}"))).expect("JSON")
    }

    fn id(&self, name: &str) -> String {
        self.daemon.inspect(name, "{{.Id}}")
    }
}

/// Everything a client printed: minke tells its story on standard error, docker's classic build on standard output.
fn said(run: &Run) -> String {
    format!("{}{}", run.stdout, run.stderr)
}

/// How many steps were found in the cache.
fn hits(run: &Run) -> usize {
    said(run).lines().filter(|line| line.contains("Using cache") || line.ends_with(" CACHED")).count()
}

fn make_executable(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("chmod");
}

const GIT: &str = "FROM debian\nMAINTAINER \"dockerinaction@allingeek.com\"\n# a comment\n\n\
    RUN printf '#!/bin/sh\\nif [ \"$1\" = version ]; then echo git version 1.9.1; else echo usage: git COMMAND; fi\\n' \\\n  \
    > /usr/bin/git && chmod 755 /usr/bin/git\nENTRYPOINT [\"git\"]\n";

/// 8-S01 (8-C01 to 8-C03; 8-B01 to 8-B03, 8-B08, 8-B15 to 8-B19) and 8-S02 (8-C06 to 8-C08; 8-B21 to 8-B25).
#[test]
fn s8_01_and_s8_02_a_first_build_its_cache_and_its_failures() {
    on(&["debian"], &BOTH, |on| {
        let built = on.build(GIT, &["--tag", "ubuntu-git:auto"]).ok();
        if on.client == Client::Docker {
            for part in [
                "Sending build context",
                "Step 1/4 : FROM debian",
                " ---> Running in ",
                "Successfully built ",
            ] {
                assert!(built.stdout.contains(part), "{part}: {built}");
            }
            assert!(built.stdout.contains("Removed intermediate container"), "{built}");
            let id = &on.id("ubuntu-git:auto")[7..19];
            let shown = format!(" ---> {id}\nSuccessfully built {id}\n");
            assert!(built.stdout.contains(&shown), "{shown}: {built}");
        }
        assert!(on.text(&["images", "--format", "{{.Repository}} {{.Tag}}"]).contains("ubuntu-git auto"));
        assert_eq!(on.text(&["run", "--rm", "ubuntu-git:auto"]), "usage: git COMMAND");
        assert_eq!(on.text(&["run", "--rm", "ubuntu-git:auto", "version"]), "git version 1.9.1");
        assert_eq!(on.json("ubuntu-git:auto", ".Config.Entrypoint"), serde_json::json!(["git"]));
        assert!(
            on.json("ubuntu-git:auto", ".Author").as_str().is_some_and(|author| author.contains("allingeek"))
        );
        let containers = on.text(&["ps", "-aq"]);
        let stayed = containers.lines().filter(|id| !on.before.iter().any(|known| known == id)).count();
        assert_eq!(stayed, 0, "no container of the build stays: {containers}");
        let first = on.id("ubuntu-git:auto");

        // A line that cannot work: the steps before are found, the name stays where it was.
        let broken = on.build(&format!("{GIT}RUN This will not work\n"), &["--tag", "ubuntu-git:auto"]);
        assert_ne!(broken.code, 0);
        let text = said(&broken);
        assert!(text.contains("This: not found") && text.contains("returned a non-zero code: 127"), "{text}");
        assert_eq!(hits(&broken), 3, "{text}");
        if on.client == Client::Minke && !on.daemon.is_peer() {
            assert!(text.contains("Dockerfile:8") && text.contains(">>> RUN This will not work"), "{text}");
        }
        assert_eq!(on.id("ubuntu-git:auto"), first);
        let fixed = on.build(&format!("{GIT}RUN echo this works\n"), &["--tag", "fixed"]).ok();
        assert_eq!(hits(&fixed), 3, "{fixed}");
        let again = on.build(GIT, &["--tag", "again"]).ok();
        assert_eq!((hits(&again), on.id("again")), (3, first.clone()), "{again}");
        let afresh = on.build(GIT, &["--no-cache", "--tag", "afresh"]).ok();
        assert_eq!(hits(&afresh), 0, "{afresh}");
        assert_ne!(on.id("afresh"), first);
        // From the line that was edited on; the one before it is found.
        let edited = GIT.replace("1.9.1", "1.9.2");
        let changed = on.build(&edited, &["--tag", "edited"]).ok();
        assert_eq!(
            (hits(&changed), on.text(&["run", "--rm", "edited", "version"]).as_str()),
            (1, "git version 1.9.2"),
            "{changed}"
        );
        // A file that is copied changes: that step and what follows it are done anew.
        let copying = "FROM debian\nRUN echo before\nCOPY data /data\nRUN cat /data\n";
        on.write("data", "one");
        on.build(copying, &["-t", "copied"]).ok().done();
        on.write("data", "two");
        let changed = on.build(copying, &["-t", "copied"]).ok();
        assert_eq!(hits(&changed), 1, "{changed}");
        assert_eq!(on.text(&["run", "--rm", "copied", "cat", "/data"]), "two");
        // 8-C04 and 8-C05: another name for the file, and nothing but the id.
        on.write("BuildScript", "FROM debian\nLABEL quiet=yes\n");
        let quiet = on.build_here(&["--file", "BuildScript", "--quiet", "-t", "quiet"]).ok();
        assert!(quiet.text().starts_with("sha256:") && quiet.text().lines().count() == 1, "{quiet}");
    });
}

const MAILER: &str = "FROM debian\nMAINTAINER \"dockerinaction@allingeek.com\"\nRUN groupadd -r -g 2200 example && \\\n  \
    useradd -rM -g example -u 2200 example\nENV APPROOT=\"/app\" \\\n  APP=\"mailer.sh\" \\\n  VERSION=\"0.6\"\n\
    LABEL base.name=\"Mailer Archetype\" \\\n  base.version=\"${VERSION}\"\nWORKDIR $APPROOT\nADD . $APPROOT\n\
    ENTRYPOINT [\"/app/mailer.sh\"]\nEXPOSE 33333\n";

/// 8-S03 (8-B26) and 8-S04 (8-C09 to 8-C11; 8-B04 to 8-B07, 8-B27 to 8-B31): what is left out of the context, and what an image is made to say.
#[test]
fn s8_03_and_s8_04_a_base_with_metadata() {
    on(&["debian"], &BOTH, |on| {
        on.write(".dockerignore", ".dockerignore\nmailer-base.df\nmailer-logging.df\nmailer-live.df\n");
        on.write("mailer-base.df", MAILER);
        on.write("mailer-logging.df", "");
        on.write("mailer-live.df", "");
        on.write("data.txt", "kept");
        let built = on.build_here(&["-t", "dockerinaction/mailer-base:0.6", "-f", "mailer-base.df"]).ok();
        if on.client == Client::Docker {
            let steps = built.stdout.lines().filter(|line| line.starts_with("Step ")).count();
            assert_eq!(steps, 9, "as many steps as instructions: {built}");
        }
        let base = "dockerinaction/mailer-base:0.6";
        assert_eq!(on.text(&["run", "--rm", "--entrypoint", "ls", base, "-A", "/app"]), "data.txt");
        let env = on.json(base, ".Config.Env");
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        assert_eq!(env, serde_json::json!([path, "APPROOT=/app", "APP=mailer.sh", "VERSION=0.6"]));
        let labels = on.json(base, ".Config.Labels");
        assert_eq!(
            (&labels["base.name"], &labels["base.version"]),
            (&"Mailer Archetype".into(), &"0.6".into())
        );
        assert_eq!(on.json(base, ".Config.WorkingDir"), "/app");
        assert_eq!(on.json(base, ".Config.ExposedPorts"), serde_json::json!({"33333/tcp": {}}));
        on.run(&["run", "--rm", base]).exits(127).done();
        // 8-C28: what a flag says at run time wins, or comes to what the image says.
        assert_eq!(on.text(&["run", "--rm", "--entrypoint", "pwd", "--workdir", "/tmp", base]), "/tmp");
        let flags = [
            "-e",
            "APP=other",
            "--label",
            "base.version=1",
            "--expose",
            "44444",
            "--user",
            "example",
            "--volume",
            "/kept",
        ];
        let name = ["--name", "flagged", "--entrypoint", "sh"];
        let line =
            [&["run"], &name[..], &flags, &[base, "-c", "id -un; echo $APP $VERSION; ls -d /kept"]].concat();
        assert_eq!(on.text(&line), "example\nother 0.6\n/kept");
        let config = on.json("flagged", ".Config");
        assert_eq!(config["ExposedPorts"], serde_json::json!({"33333/tcp": {}, "44444/tcp": {}}));
        assert_eq!(
            (&config["Labels"]["base.name"], &config["Labels"]["base.version"]),
            (&"Mailer Archetype".into(), &"1".into())
        );
        assert_eq!(on.json("flagged", "(index .Mounts 0).Destination"), "/kept");
    });
}

/// 8-S05 (8-C12, 8-C13; 8-B13, 8-B20, 8-B33): an image on top of the base, with a user, a volume and its own program.
#[test]
fn s8_05_a_logging_mailer() {
    on(&["busybox"], &[Client::Docker], |on| {
        let script = "#!/bin/sh\nprintf 'Logging Mailer has started.\\n'\nwhile true\ndo\n  MESSAGE=$(nc -l -p 33333)\n  \
            printf '[Message]: %s\\n' \"$MESSAGE\" > \"$1\"\n  sleep 1\ndone\n";
        on.write("log-impl/mailer.sh", script);
        let base = MAILER.replace("FROM debian", "FROM busybox").replace(
            "RUN groupadd -r -g 2200 example && \\\n  useradd -rM -g example -u 2200 example",
            "RUN sed -i /^example:/d /etc/passwd /etc/group && echo example:x:2200: >> /etc/group && echo example:x:2200:2200::/:/bin/sh >> /etc/passwd",
        );
        on.write(".dockerignore", "*");
        on.build(&base, &["-t", "dockerinaction/mailer-base:0.6"]).ok().done();
        on.write(".dockerignore", "");
        let text = "FROM dockerinaction/mailer-base:0.6\nCOPY [\"./log-impl\", \"${APPROOT}\"]\n\
            RUN mkdir -p /var/log && chmod a+x ${APPROOT}/${APP} && chown example:example /var/log\nUSER example:example\nVOLUME [\"/var/log\"]\n\
            CMD [\"/var/log/mailer.log\"]\n";
        on.build(text, &["-t", "dockerinaction/mailer-logging"]).ok().done();
        on.run(&["run", "-d", "--name", "logging-mailer", "dockerinaction/mailer-logging"]).ok().done();
        let until = |what: &str, holds: &dyn Fn() -> bool| {
            let end = Instant::now() + Duration::from_secs(30);
            while !holds() {
                assert!(Instant::now() < end, "{what}");
                std::thread::sleep(Duration::from_millis(50));
            }
        };
        until("it starts", &|| {
            on.run(&["logs", "logging-mailer"]).stdout.contains("Logging Mailer has started.")
        });
        let show = |script: &str| on.run(&["exec", "logging-mailer", "sh", "-c", script]).stdout;
        let seen = show("id -u; pwd; tr '\\0' ' ' < /proc/1/cmdline");
        assert!(seen.contains("2200\n/app\n/bin/sh /app/mailer.sh /var/log/mailer.log"), "{seen:?}");
        assert_eq!(on.json("logging-mailer", "(index .Mounts 0).Destination"), "/var/log");
        let address = on.daemon.address_of("logging-mailer", "bridge");
        until("the message arrives", &|| {
            let send = format!("echo something has happened | nc -w 1 {address} 33333");
            drop(on.run(&["run", "--rm", "--entrypoint", "sh", "busybox", "-c", &send]));
            show("cat /var/log/mailer.log").contains("[Message]: something has happened")
        });
        assert_eq!(on.json("logging-mailer", "(index .Mounts 0).Type"), "volume");
        assert_eq!(
            show("stat -c %U:%G /var/log; touch /var/log/by-hand && echo may"),
            "example:example\nmay\n"
        );
        // Another word, another file; the latest message only.
        on.run(&["run", "-d", "--name", "elsewhere", "dockerinaction/mailer-logging", "/var/log/other"])
            .ok()
            .done();
        let address = on.daemon.address_of("elsewhere", "bridge");
        let kept = || on.run(&["exec", "elsewhere", "cat", "/var/log/other"]).stdout;
        for message in ["first", "second"] {
            until(message, &|| {
                let send = format!("echo {message} | nc -w 1 {address} 33333");
                drop(on.run(&["run", "--rm", "--entrypoint", "sh", "busybox", "-c", &send]));
                kept() == format!("[Message]: {message}\n")
            });
        }
    });
}

/// 8-S07 (8-C16, 8-C17; 8-B14, 8-B35 to 8-B37): triggers fire in the child's build, once, and see the child's files.
#[test]
fn s8_07_triggers_fire_once() {
    on(&["busybox"], &BOTH, |on| {
        on.write(
            "base.df",
            "FROM busybox\nWORKDIR /app\nRUN touch /app/base-evidence\nONBUILD RUN ls -al /app\n",
        );
        on.write(
            "downstream.df",
            "FROM dockerinaction/ch8_onbuild\nRUN touch downstream-evidence\nRUN ls -al .\n",
        );
        on.build_here(&["-t", "dockerinaction/ch8_onbuild", "-f", "base.df"]).ok().done();
        let triggers = on.json("dockerinaction/ch8_onbuild", ".Config.OnBuild");
        assert_eq!(triggers, serde_json::json!(["RUN ls -al /app"]));
        let down = on.build_here(&["-t", "dockerinaction/ch8_onbuild_down", "-f", "downstream.df"]).ok();
        let text = said(&down);
        if on.client == Client::Docker {
            assert!(text.contains("# Executing 1 build trigger"), "{text}");
        }
        let (first, second) = text.split_once("downstream-evidence").expect("it is made");
        assert!(first.contains("base-evidence") && second.contains("downstream-evidence"), "{text}");
        assert_eq!(on.json("dockerinaction/ch8_onbuild_down", ".Config.OnBuild"), serde_json::Value::Null);
        let grandchild =
            on.build("FROM dockerinaction/ch8_onbuild_down\nRUN echo mine\n", &["-t", "grand"]).ok();
        assert!(!said(&grandchild).contains("build trigger"), "{grandchild}");
        // The child's context, and a trigger that fails.
        on.build(
            "FROM busybox\nONBUILD COPY . /var/myapp\nONBUILD RUN cat /var/myapp/own\n",
            &["-t", "taking"],
        )
        .ok()
        .done();
        on.write("own", "of the child");
        assert!(said(&on.build("FROM taking\n", &["-t", "child"]).ok()).contains("of the child"));
        assert_eq!(on.text(&["run", "--rm", "child", "cat", "/var/myapp/own"]), "of the child");
        std::fs::remove_file(on.directory.path().join("own")).expect("gone");
        assert_ne!(on.build("FROM taking\n", &["-t", "child"]).code, 0);
    });
}

/// 8-S08 (8-B38 to 8-B40): a script that checks before it hands over, in an image of its own.
#[test]
fn s8_08_startup_is_validated() {
    on(&["busybox"], &[Client::Minke], |on| {
        let script = "#!/bin/sh\nif [ -n \"$WEB_PORT_80_TCP\" ]; then\n  if [ -z \"$WEB_HOST\" ]; then export WEB_HOST='web'\n  \
            else >&2 echo '[WARN]: Linked container, \"web\" overridden by $WEB_HOST.'; fi\nfi\nif [ -z \"$WEB_HOST\" ]; then\n  \
            >&2 echo '[ERROR]: specify a linked container, \"web\" or WEB_HOST environment variable'; exit 1\nfi\nexec \"$@\"\n";
        make_executable(&on.write("check.sh", script));
        let text = "FROM busybox\nCOPY check.sh /check.sh\nENTRYPOINT [\"/check.sh\"]\nCMD [\"sh\", \"-c\", \"echo to $WEB_HOST\"]\n";
        on.build(text, &["-t", "checked"]).ok().done();
        on.run(&["run", "--rm", "checked"]).exits(1).complains("[ERROR]").done();
        assert_eq!(on.text(&["run", "--rm", "-e", "WEB_HOST=x", "checked"]), "to x");
        on.run(&["run", "-d", "--name", "server", "--expose", "80", "busybox", "sleep", "300"]).ok().done();
        assert_eq!(on.text(&["run", "--rm", "--link", "server:web", "checked"]), "to web");
        on.run(&["run", "--rm", "--link", "server:web", "-e", "WEB_HOST=x", "checked"])
            .ok()
            .complains("[WARN]")
            .says("to x")
            .done();
        on.run(&["run", "-d", "--name", "loop", "--restart", "always", "checked"]).ok().done();
        let end = Instant::now() + Duration::from_secs(30);
        while on.daemon.inspect("loop", "{{.RestartCount}}").parse::<u32>().unwrap_or(0) < 2 {
            assert!(Instant::now() < end, "it is restarted");
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_ne!(on.run(&["exec", "loop", "true"]).code, 0, "nobody enters what is not there");
    });
}

/// 8-S10 (8-C18, 8-C19; 8-B42): a base that is named by its digest stays what it was.
#[test]
fn s8_10_a_base_by_digest() {
    on(&["busybox"], &[Client::Minke], |on| {
        let registry = Registry::beside(on.daemon, &RegistryOptions::default());
        let name = registry.named("base");
        on.run(&["tag", "busybox", &name]).ok().done();
        let pushed = on.run(&["push", &name]).ok();
        let digest = pushed
            .stdout
            .split("digest: ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next())
            .expect("a digest")
            .to_owned();
        let pinned = format!("FROM {name}@{digest}\nRUN echo pinned\n");
        on.run(&["pull", &name]).ok().says(&format!("Digest: {digest}")).done();
        on.run(&["pull", &format!("{name}@{digest}")]).ok().done();
        on.build(&pinned, &["-t", "one"]).ok().done();
        let layers = on.json("one", "(index .RootFS.Layers 0)");
        // The tag moves, the digest does not.
        on.build("FROM busybox\nRUN echo other > /other\n", &["-t", &name]).ok().done();
        on.run(&["push", &name]).ok().done();
        on.build(&pinned, &["--no-cache", "-t", "two"]).ok().done();
        assert_eq!(on.json("two", "(index .RootFS.Layers 0)"), layers);
        assert!(on.text(&["images", "--digests"]).contains(&digest));
        let wrong = format!("FROM {name}@sha256:{}\n", "0".repeat(64));
        assert_ne!(on.build(&wrong, &[]).code, 0);
    });
}

/// 8-S11 (8-C20; 8-B10, 8-B44) and 8-S12 (8-C21, 8-C22; 8-B43, 8-B45): users in builds, and ports that users may not have.
#[test]
fn s8_11_and_s8_12_users() {
    on(&["busybox"], &BOTH, |on| {
        let early = on.build("FROM busybox\nUSER 1000:1000\nRUN touch /bin/busybox\n", &["-t", "early"]);
        assert_ne!(early.code, 0);
        assert!(said(&early).contains("touch: /bin/busybox: Permission denied"), "{early}");
        on.build("FROM busybox\nRUN touch /bin/busybox\nUSER 1000:1000\n", &["-t", "late"]).ok().done();
        assert_eq!(on.text(&["run", "--rm", "late", "id", "-u"]), "1000");
        let text =
            "FROM busybox\nUSER 1000:1000\nENTRYPOINT [\"nc\"]\nCMD [\"-l\", \"-p\", \"80\", \"0.0.0.0\"]\n";
        on.build(text, &["-t", "dockerinaction/ch8_perm_denied"]).ok().done();
        let limit = "net.ipv4.ip_unprivileged_port_start=1024";
        let denied = on.run(&["run", "--rm", "--sysctl", limit, "dockerinaction/ch8_perm_denied"]);
        assert_ne!(denied.code, 0);
        assert!(said(&denied).contains("ermission denied"), "{denied}");
        for flags in [&[][..], &["--sysctl", limit, "-u", "root"]] {
            let mut words = vec!["run", "-d"];
            words.extend(flags);
            words.push("dockerinaction/ch8_perm_denied");
            let id = on.text(&words);
            minke_testkit::wait_until("it listens", Duration::from_secs(20), || {
                on.run(&["exec", &id, "cat", "/proc/net/tcp"]).stdout.contains(":0050 ")
            });
        }
    });
}

/// 8-S13 (8-C23, 8-C24; 8-B47) and 8-S14 (8-C25 to 8-C27; 8-B48): a setuid bit, and an image without any.
#[test]
fn s8_13_and_s8_14_setuid_bits() {
    on(&["debian"], &[Client::Docker], |on| {
        let text = "FROM debian\nRUN chmod u+s /usr/bin/whoami\nRUN useradd -m example\nUSER example\n\
            CMD printf \"Container running as:          %s\\n\" $(id -u -n) && \\\n    \
            printf \"Effectively running whoami as: %s\\n\" $(whoami)\n";
        on.build(text, &["-t", "dockerinaction/ch8_whoami"]).ok().done();
        let lines = on.text(&["run", "--rm", "dockerinaction/ch8_whoami"]);
        assert!(lines.contains("as:          example") && lines.contains("whoami as: root"), "{lines}");
        let held =
            on.text(&["run", "--rm", "--security-opt", "no-new-privileges", "dockerinaction/ch8_whoami"]);
        assert!(held.contains("whoami as: example"), "{held}");
        let find = "find / -xdev -type f \\( -perm /4000 -o -perm /2000 \\) | wc -l";
        let count = |image: &str| {
            on.text(&["run", "--rm", "-u", "root", image, "sh", "-c", find]).parse::<u32>().expect("a number")
        };
        assert!(count("dockerinaction/ch8_whoami") > 1);
        let hard = "FROM dockerinaction/ch8_whoami\nUSER root\n\
            RUN for i in $(find / -xdev -type f \\( -perm /4000 -o -perm /2000 \\)); do chmod ug-s $i; done\nUSER example\n";
        on.build(hard, &["-t", "hardened"]).ok().done();
        assert_eq!(count("hardened"), 0);
        let size = |image: &str| on.json(image, ".Size").as_i64().expect("a size");
        assert!(size("hardened") > size("dockerinaction/ch8_whoami"), "what was changed is there twice");
        assert!(on.text(&["run", "--rm", "hardened"]).contains("whoami as: example"));
        // Bits go along when an image is pushed and pulled, saved and loaded.
        let registry = Registry::beside(on.daemon, &RegistryOptions::default());
        let far = registry.named("whoami");
        on.run(&["tag", "dockerinaction/ch8_whoami", &far]).ok().done();
        on.run(&["push", &far]).ok().done();
        on.run(&["rmi", "-f", &far, "dockerinaction/ch8_whoami", "hardened"]).ok().done();
        on.run(&["pull", &far]).ok().done();
        assert!(on.text(&["run", "--rm", &far]).contains("whoami as: root"));
        on.run(&["tag", &far, "dockerinaction/ch8_whoami"]).ok().done();
        on.run(&["rmi", &far]).ok().done();
        let archive = on.directory.path().join("whoami.tar");
        let archive = archive.to_str().expect("a path");
        on.run(&["save", "-o", archive, "dockerinaction/ch8_whoami"]).ok().done();
        on.run(&["rmi", "-f", "dockerinaction/ch8_whoami"]).ok().done();
        on.run(&["load", "-i", archive]).ok().done();
        assert!(on.text(&["run", "--rm", "dockerinaction/ch8_whoami"]).contains("whoami as: root"));
    });
}

/// 8-S15 (8-B08, 8-B09, 8-B32): which words a container runs with.
#[test]
fn s8_15_entrypoints_and_commands() {
    on(&["busybox"], &[Client::Docker], |on| {
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let forms = |verb: &str, exec: &[&str]| {
            let shell = exec.join(" ");
            [
                (String::new(), Vec::new()),
                (format!("{verb} {shell}\n"), words(&["/bin/sh", "-c", &shell])),
                (format!("{verb} {}\n", serde_json::json!(exec)), words(exec)),
            ]
        };
        for (e, (entry_line, entry)) in forms("ENTRYPOINT", &["echo", "e"]).into_iter().enumerate() {
            for (c, (cmd_line, cmd)) in forms("CMD", &["ls", "/"]).into_iter().enumerate() {
                let image = format!("m{e}{c}");
                // The base's own CMD is not what this is about.
                let text = format!("FROM busybox\nCMD []\n{entry_line}{cmd_line}");
                on.build(&text, &["-t", &image]).ok().done();
                for args in [&[][..], &["a", "b"]] {
                    for over in [None, Some("cat")] {
                        let mut line = vec!["create"];
                        over.iter().for_each(|program| line.extend(["--entrypoint", program]));
                        line.push(&image);
                        line.extend(args);
                        let wanted: Vec<String> = match (over, args.is_empty()) {
                            (Some(program), _) => [words(&[program]), words(args)].concat(),
                            (None, true) => [entry.clone(), cmd.clone()].concat(),
                            (None, false) => [entry.clone(), words(args)].concat(),
                        };
                        let made = on.run(&line);
                        if wanted.is_empty() {
                            assert_ne!(made.code, 0, "{text}: nothing to run");
                            continue;
                        }
                        let id = made.ok().text().to_owned();
                        let mut found = vec![on.daemon.inspect(&id, "{{.Path}}")];
                        found.extend(
                            on.json(&id, ".Args")
                                .as_array()
                                .expect("a list")
                                .iter()
                                .map(|word| word.as_str().expect("a word").to_owned()),
                        );
                        assert_eq!(found, wanted, "{text} {line:?}");
                    }
                }
            }
        }
    });
}

/// 8-S16 (8-B11, 8-B12): what COPY and ADD do with owners, names, directories and archives.
#[test]
fn s8_16_copy_and_add() {
    on(&["busybox"], &BOTH, |on| {
        on.write("a file", "with a blank");
        on.write("dir/one", "1");
        on.write("dir/deep/two", "2");
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(3);
        header.set_mode(0o600);
        header.set_uid(11);
        header.set_gid(12);
        archive.append_data(&mut header, "packed/file", &b"abc"[..]).expect("into memory");
        let bytes = archive.into_inner().expect("into memory");
        std::fs::write(on.directory.path().join("packed.tar"), bytes).expect("written");
        let text = "FROM busybox\nUSER 1000:1000\nARG TO=/made\nCOPY [\"a file\", \"${TO}/b c\"]\nCOPY dir /dir\nCOPY dir/o* dir/deep/two /several/\n\
            ADD packed.tar /unpacked/\nCOPY packed.tar /kept/\n";
        on.build(text, &["-t", "copied"]).ok().done();
        let show = |script: &str| on.text(&["run", "--rm", "-u", "0", "copied", "sh", "-c", script]);
        assert_eq!(show("cat '/made/b c'; stat -c ' %u:%g' '/made/b c' /made"), "with a blank 0:0\n 0:0");
        assert_eq!(show("cd /dir; find . | sort"), ".\n./deep\n./deep/two\n./one");
        assert_eq!(show("ls /several"), "one\ntwo");
        assert_eq!(show("stat -c '%u:%g %a' /unpacked/packed/file; ls /kept"), "11:12 600\npacked.tar");
        // What comes from an address is not unpacked.
        let packed = std::fs::read(on.directory.path().join("packed.tar")).expect("the archive");
        let gateway = on.daemon.inspect("bridge", "{{(index .IPAM.Config 0).Gateway}}");
        let server = on
            .daemon
            .host_netns()
            .serve_http((gateway.as_str(), 0), move |_head, _body| Some(packed.clone()));
        let text = format!("FROM busybox\nADD http://{}/far.tar /from/\n", server.address());
        on.build(&text, &["-t", "fetched"]).ok().done();
        assert_eq!(
            on.text(&["run", "--rm", "fetched", "sh", "-c", "ls /from; stat -c '%u:%g %a' /from/far.tar"]),
            "far.tar\n0:0 600"
        );
        let refused = |line: &str, why: &str| {
            let run = on.build(&format!("FROM busybox\n{line}\n"), &[]);
            assert!(run.code != 0 && said(&run).contains(why), "{line}: {run}");
        };
        refused("COPY missing /", "file not found in build context or excluded by .dockerignore");
        refused("COPY missing* /", "no source files were specified");
        refused("COPY ../out /", "forbidden path outside the build context");
        refused("COPY dir/one dir/deep/two /not-a-directory", "must be a directory and end with a /");
    });
}

/// Beyond the book: stages, mounts, secrets, the same bytes twice, a build that is given up.
#[test]
fn later_kinds_of_steps() {
    on(&["busybox"], &[Client::Minke], |on| {
        if on.daemon.is_peer() {
            // Docker's classic builder has none of them.
            return;
        }
        let text = "FROM busybox AS build\nRUN echo made > /result\nFROM busybox AS unused\nRUN exit 1\nFROM busybox\n\
            COPY --from=build --chown=5:6 --chmod=u=rw,go=r /result /out/\n\
            RUN --mount=type=cache,target=/c --mount=type=secret,id=word cat /run/secrets/word > /seen; echo x >> /c/log\n\
            RUN --mount=type=cache,target=/c wc -l < /c/log > /count\nRUN <<END\necho one\necho two > /two\nEND\n";
        on.write("secret", "hidden");
        on.build(text, &["-t", "later", "--secret", "id=word,src=secret"]).ok().done();
        let show = |script: &str| on.text(&["run", "--rm", "later", "sh", "-c", script]);
        assert_eq!(
            show("stat -c '%u:%g %a' /out/result; cat /seen; echo; cat /count /two"),
            "5:6 644\nhidden\n1\ntwo"
        );
        assert_eq!(show("ls -d /c /run/secrets 2>/dev/null | wc -l"), "0", "no place of a mount stays");
        // The same bytes, wherever and whenever.
        let text = "FROM scratch\nCOPY secret /d/\n";
        on.write("secret", "plain");
        on.build(text, &["--no-cache", "--build-arg", "SOURCE_DATE_EPOCH=1000", "-t", "one"]).ok().done();
        on.write("secret", "plain");
        on.build(text, &["--no-cache", "--build-arg", "SOURCE_DATE_EPOCH=1000", "-t", "two"]).ok().done();
        assert_eq!(on.id("one"), on.id("two"));
        // One layer over the base.
        on.build("FROM busybox\nRUN echo a > /a\nRUN rm /a; echo b > /b\n", &["--squash", "-t", "squashed"])
            .ok()
            .done();
        assert_eq!(on.json("squashed", ".RootFS.Layers").as_array().map(Vec::len), Some(2));
        assert_eq!(
            on.text(&["run", "--rm", "squashed", "sh", "-c", "cat /b; ls /a 2>/dev/null || true"]),
            "b"
        );
    });
}
