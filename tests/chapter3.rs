//! Chapter 3 of the book: installing software, with a registry of Debian's on loopback in the place of Docker Hub and quay.io. More about searching and
//! logging in is beside the registry's other rows (`chapter9.rs`, `registries.rs`). B3-23 is about a web site.

use std::net::TcpListener;
use std::time::Duration;

use minke_testkit::registries::parts::{ALICE, layered};
use minke_testkit::registries::{FakeRegistry, Line, Registry, RegistryOptions, Tricks};
use minke_testkit::{Client, Daemon, Options, Terminal};

const BOTH: [Client; 2] = [Client::Minke, Client::Docker];

fn with(images: &[&'static str]) -> Daemon {
    Daemon::with(Options { images: images.to_vec(), ..Options::default() })
}

fn text(daemon: &Daemon, client: Client, args: &[&str]) -> String {
    daemon.run(client, args).ok().text().to_owned()
}

/// Every blob of an engine's store.
fn blobs(daemon: &Daemon) -> usize {
    std::fs::read_dir(daemon.data_root().join("content/sha256")).expect("the content store").count()
}

/// A listener in the daemon's network, on loopback.
fn listener(daemon: &Daemon) -> TcpListener {
    daemon.host_netns().run(|| TcpListener::bind("127.0.0.1:0")).expect("a free port")
}

/// S3-01 (C3-01, C3-02; B3-07): what is found is told with its stars and whether it is official, and is not installed by that; who finds nobody is
/// told so.
#[test]
fn s3_01_find_and_install() {
    for client in BOTH {
        let daemon = with(&["busybox"]);
        let silent = listener(&daemon);
        let nobody = format!("{}/postgres", silent.local_addr().expect("its address"));
        // A real Docker waits for ever.
        let waiting = (!daemon.is_peer()).then(|| daemon.start_client(client, &["search", &nobody]));
        let registry = Registry::beside(&daemon, &RegistryOptions::default());
        let name = registry.named("postgres");
        daemon.run(client, &["tag", "busybox", &name]).ok().done();
        daemon.run(client, &["push", &name]).ok().done();
        daemon.run(client, &["rmi", &name]).ok().done();
        let found = serde_json::json!({"num_results": 2, "query": "postgres", "results": [
            {"name": "postgres", "description": "a database", "star_count": 14000, "is_official": true, "is_automated": false},
            {"name": "somebody/postgres", "description": "another one", "star_count": 7, "is_official": false, "is_automated": true}]});
        let hub = FakeRegistry::on(listener(&daemon));
        hub.set(Tricks { search: found.to_string(), ..Tricks::default() });
        let images = || text(&daemon, client, &["images", "-aq", "--no-trunc"]);
        let before = images();
        let list = daemon.run(client, &["search", &format!("{}/postgres", hub.domain())]).ok();
        let rows: Vec<Vec<&str>> = list.stdout.lines().map(|row| row.split_whitespace().collect()).collect();
        assert_eq!(rows[0], ["NAME", "DESCRIPTION", "STARS", "OFFICIAL"], "{list}");
        assert_eq!(rows[1], ["postgres", "a", "database", "14000", "[OK]"], "{list}");
        assert_eq!(rows[2], ["somebody/postgres", "another", "one", "7"], "{list}");
        assert_eq!(images(), before, "nothing is installed");
        daemon.run(client, &["pull", &name]).ok().says("Status: ").done();
        let names = text(&daemon, client, &["images", "--format", "{{.Repository}}:{{.Tag}}"]);
        assert!(names.lines().any(|found| found == format!("{name}:latest")), "{names}");
        let gone = listener(&daemon).local_addr().expect("its address");
        let failed = daemon.run(client, &["search", &format!("{gone}/postgres")]).exits(1);
        failed.complains("connection refused").done();
        if let Some(waiting) = waiting {
            waiting.finish(Duration::from_secs(60)).exits(1).complains("no answer for 15 s").done();
        }
    }
}

/// S3-07 (C3-03, C3-04; B3-09): a registry that wants to know who asks, from the first refusal to the one after the logout.
#[test]
fn s3_07_a_private_repository() {
    for client in BOTH {
        let daemon = with(&["busybox"]);
        let users = Some(ALICE.to_owned());
        let registry = Registry::beside(&daemon, &RegistryOptions { users, ..RegistryOptions::default() });
        let (server, name) = (registry.domain(), registry.named("alice/private"));
        daemon.run(client, &["tag", "busybox", &name]).ok().done();
        let refused = |verb: &str| {
            daemon.run(client, &[verb, &name]).exits(1).complains("no basic auth credentials").done();
        };
        refused("push");
        let login = daemon.command(client, &["login", &server]);
        let mut terminal = Terminal::spawn(&login, 24, 120);
        terminal.expect("Username: ");
        terminal.send("alice\r");
        terminal.expect("Password: ");
        terminal.send("secret\r");
        terminal.expect("Login Succeeded");
        assert_eq!(terminal.wait(), 0);
        for verb in ["push", "pull"] {
            daemon.run(client, &[verb, &name]).ok().done();
        }
        daemon.run(client, &["rmi", &name]).ok().done();
        daemon.run(client, &["run", "--rm", &name, "echo", "let in"]).ok().says("let in").done();
        daemon
            .run(client, &["logout", &server])
            .ok()
            .says(&format!("Removing login credentials for {server}"))
            .done();
        daemon.run(client, &["rmi", &name]).ok().done();
        refused("pull");
        daemon
            .run(client, &["run", "--rm", &name, "true"])
            .exits(125)
            .complains("no basic auth credentials")
            .done();
    }
}

/// B3-01, B3-02, B3-04 and C3-15: an image is files and what is known of them; each change makes another, whose long id nobody could have guessed; a
/// name points to one at a time, and one may have many; steps without a name are shown by `images -a` alone, and go by their ids.
#[test]
fn an_image_is_files_and_what_is_known_of_them() {
    for client in BOTH {
        let daemon = with(&["busybox"]);
        let run = |args: &[&str]| daemon.run(client, args).ok();
        let inspect = |name: &str, what: &str| daemon.inspect(name, what);
        let known =
            ["-c", "EXPOSE 80", "-c", "VOLUME /data", "-c", "LABEL a=b", "-c", "CMD [\"cat\", \"/file\"]"];
        run(&["run", "--name", "maker", "busybox", "sh", "-c", "echo content > /file"]).done();
        let step = text(&daemon, client, &[&["commit"][..], &known, &["maker"]].concat());
        run(&["rm", "maker"]).done();
        layered(&daemon, &step, "echo more > /more", "app:1");
        let first = inspect("app:1", "{{.Id}}");
        let shown = inspect(
            "app:1",
            "{{json .Config.ExposedPorts}} {{json .Config.Volumes}} {{.Config.Labels.a}} {{.Parent}}",
        );
        assert_eq!(shown, format!("{{\"80/tcp\":{{}}}} {{\"/data\":{{}}}} b {step}"));
        let history =
            text(&daemon, client, &["history", "--no-trunc", "--format", "{{.CreatedBy}}", "app:1"]);
        assert!(
            history.contains("echo more > /more") && history.contains("echo content > /file"),
            "{history}"
        );
        assert_eq!(text(&daemon, client, &["run", "--rm", &step]), "content", "by its id alone");

        // A change of the files and one of what is known make another image each.
        layered(&daemon, "app:1", "echo changed > /more", "app:2");
        run(&["create", "--name", "same", "app:1"]).done();
        run(&["commit", "-c", "LABEL a=c", "same", "app:3"]).done();
        run(&["rm", "-v", "same"]).done();
        let ids = ["busybox", "app:1", "app:2", "app:3"].map(|name| inspect(name, "{{.Id}}"));
        for (at, id) in ids.iter().enumerate() {
            let hex = id.strip_prefix("sha256:").expect("the algorithm");
            assert!(hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
            assert!(!ids[..at].contains(id), "{ids:?}");
        }
        let layers = |name: &str| inspect(name, "{{json .RootFS.Layers}}");
        assert!(layers("app:1") == layers("app:3") && layers("app:1") != layers("app:2"));

        // Names.
        run(&["tag", "app:1", "app:stable"]).done();
        run(&["tag", "app:1", "app:2"]).done();
        for tag in ["app:1", "app:stable", "app:2"] {
            assert_eq!(inspect(tag, "{{.Id}}"), first);
        }
        let tags = inspect(&first, "{{len .RepoTags}}");
        assert_eq!((tags.as_str(), inspect(&ids[2], "{{len .RepoTags}}").as_str()), ("3", "0"), "{ids:?}");

        // C3-15.
        let rows = |args: &[&str]| {
            let shown = ["images", "--no-trunc", "--format", "{{.Repository}} {{.ID}}"];
            text(&daemon, client, &[&shown[..], args].concat())
        };
        assert!(rows(&["-a"]).lines().any(|row| row == format!("<none> {step}")), "{}", rows(&["-a"]));
        assert!(!rows(&[]).contains(&step), "{}", rows(&[]));
        run(&["rmi", "-f", "app:1", "app:2", "app:3", "app:stable", &ids[2]]).done();
        daemon.run(client, &["inspect", &step]).exits(1).done();
    }
}

/// What maps a file, changes it by its name and looks again.
const MAPS: &str = "import mmap, os, sys\n\
    with open(sys.argv[1], 'r+b') as file:\n    seen = mmap.mmap(os.open(sys.argv[1], os.O_RDONLY), 0, prot=mmap.PROT_READ)\n    \
    file.write(b'X')\n    file.flush()\n    print(seen[:1] == b'X')";

/// B3-21: what is mapped from an image's file is the image's, and a change is a copy's; a volume is a file system like any other.
#[test]
fn b3_21_a_volume_is_for_files_that_are_mapped() {
    for client in BOTH {
        let daemon = with(&["supervised"]);
        let run = |args: &[&str]| {
            let script = [
                "supervised",
                "sh",
                "-c",
                "cp /etc/passwd /data/file; for file in $1; do python3 -c \"$0\" $file; done",
                MAPS,
            ];
            text(&daemon, client, &[&["run", "--rm", "-v", "/data"], &script[..], args].concat())
        };
        assert_eq!(run(&["/data/file"]), "True");
        // What a mapping of the other kind shows is the kernel's affair; the image is what it was.
        let first = run(&["/etc/passwd"]);
        assert!(first == "True" || first == "False", "{first}");
        assert_eq!(
            text(&daemon, client, &["run", "--rm", "supervised", "head", "-c", "1", "/etc/passwd"]),
            "r"
        );
    }
}

/// S3-03 (C3-02, C3-08, C3-09, C3-23; 7-C32; B3-03, B3-05, B3-08, B3-10): a registry beside the Hub, a push and a pull, `latest` where no tag is said, all tags only
/// with `-a` (P3-01).
#[test]
fn s3_03_an_alternative_registry() {
    for client in BOTH {
        let daemon = with(&["busybox"]);
        let registry = Registry::beside(&daemon, &RegistryOptions::default());
        let name = registry.named("dockerinaction/ch3_hello_registry");
        let run = |args: &[&str]| daemon.run(client, args).ok();
        run(&["run", "--name", "hello", "busybox", "touch", "/made"]).done();
        run(&["commit", "-c", "CMD [\"echo\", \"hello world\"]", "hello", &name]).done();
        run(&["rm", "hello"]).done();
        run(&["tag", &name, &format!("{name}:old")]).done();
        run(&["tag", "busybox", &format!("{name}:box")]).done();
        let push = run(&["push", "-a", &name]);
        push.says(&format!("The push refers to repository [{name}]"))
            .says("latest: digest: sha256:")
            .says("box: digest: sha256:")
            .done();
        let id = daemon.inspect(&name, "{{.Id}}");
        for tag in ["latest", "old", "box"] {
            run(&["rmi", "-f", &format!("{name}:{tag}")]).done();
        }
        assert_eq!(text(&daemon, client, &["images", "-q", &name]), "");

        let pull = run(&["pull", &name]);
        let pull = pull
            .says("Using default tag: latest")
            .says("latest: Pulling from dockerinaction/ch3_hello_registry");
        let pull = pull.says("Pull complete").says("Digest: sha256:");
        pull.says(&format!("Status: Downloaded newer image for {name}:latest\n{name}:latest\n")).done();
        run(&["pull", &name]).says(&format!("Status: Image is up to date for {name}:latest")).done();
        assert_eq!(daemon.inspect(&name, "{{.Id}}"), id);
        let rows = text(&daemon, client, &["images", "--format", "{{.Repository}}:{{.Tag}}", &name]);
        assert_eq!(rows, format!("{name}:latest"), "one tag and no more");
        assert_eq!(text(&daemon, client, &["run", "--rm", &name]), "hello world");
        let digest = daemon.inspect(&name, "{{index .RepoDigests 0}}");
        assert!(digest.starts_with(&format!("{name}@sha256:")), "{digest}");
        run(&["rmi", &name])
            .says(&format!("Untagged: {name}:latest"))
            .says(&format!("Untagged: {digest}"))
            .done();
        assert_eq!(text(&daemon, client, &["images", "-q", &name]), "");

        // By digest, which names it for good; and every tag.
        run(&["pull", &digest]).done();
        assert_eq!(text(&daemon, client, &["run", "--rm", &digest]), "hello world");
        let digests =
            text(&daemon, client, &["images", "--digests", "--format", "{{.Tag}} {{.Digest}}", &name]);
        assert_eq!(digests, format!("<none> {}", &digest[name.len() + 1..]));
        run(&["pull", "-q", "-a", &name]).done();
        let mut tags: Vec<String> = text(&daemon, client, &["images", "--format", "{{.Tag}}", &name])
            .lines()
            .map(str::to_owned)
            .collect();
        tags.sort_unstable();
        tags.dedup();
        tags.retain(|tag| tag != "<none>");
        assert_eq!(tags, ["box", "latest", "old"]);
        daemon.run(client, &["pull", &registry.named("nosuch")]).exits(1).complains("not found").done();
        let missing = format!("manifest for {name}:nosuch not found: manifest unknown");
        daemon.run(client, &["pull", &format!("{name}:nosuch")]).exits(1).complains(&missing).done();
        let gone = "An image does not exist locally with the tag";
        daemon.run(client, &["push", &registry.named("nosuch")]).exits(1).complains(gone).done();
        let events = daemon
            .docker(&[
                "events",
                "--since",
                "0",
                "--until",
                &minke_testkit::now_and_a_second().to_string(),
                "--filter",
                "type=image",
                "--format",
                "{{.Action}} {{.Actor.ID}}",
            ])
            .ok();
        for event in [format!("pull {name}:latest"), format!("push {name}")] {
            assert!(events.stdout.lines().any(|line| line == event), "{event}: {events}");
        }
    }
}

/// `run` and `create` fetch what is missing (B3-06's rule, a registry of one's own), when they are told to.
#[test]
fn run_fetches_a_missing_image_when_it_may() {
    for client in BOTH {
        let daemon = with(&["busybox"]);
        let registry = Registry::beside(&daemon, &RegistryOptions::default());
        let name = registry.named("box:1");
        let run = |args: &[&str]| daemon.run(client, args).ok();
        run(&["tag", "busybox", &name]).done();
        run(&["push", "-q", &name]).done();
        run(&["rmi", "-f", &name, "busybox"]).done();
        let never = daemon.run(client, &["run", "--rm", "--pull", "never", &name, "true"]);
        never.exits(125).complains("No such image").done();
        let first = run(&["run", "--rm", &name, "echo", "here"]);
        assert_eq!(first.text(), "here");
        let first = first.complains(&format!("Unable to find image '{name}' locally"));
        let first = first.complains(&format!("Status: Downloaded newer image for {name}"));
        // A Docker that others use has the layer still.
        if !daemon.is_peer() {
            first.complains("Pull complete").done();
        }
        let again = run(&["run", "--rm", &name, "echo", "here"]);
        assert_eq!(again.stderr, "");
        let always = run(&["run", "--rm", "--pull", "always", &name, "true"]);
        always.complains("Image is up to date").done();
        run(&["rmi", &name]).done();
        let quiet = run(&["create", "-q", "--name", "made", &name]);
        assert!(!quiet.stderr.contains("Pull complete"), "{quiet}");
        run(&["rm", "made"]).done();
    }
}

/// S3-04 (C3-10 to C3-14, B3-11, B3-12).
#[test]
fn s3_04_an_image_as_a_file() {
    for client in BOTH {
        let daemon = with(&["busybox"]);
        let id = daemon.inspect("busybox", "{{.Id}}");
        let file = daemon.path().join("myfile.tar");
        let path = file.to_string_lossy().into_owned();
        let saved = daemon.run(client, &["save", "-o", &path, "busybox:latest"]).ok();
        assert_eq!(saved.stdout, "");
        let mut tar = tar::Archive::new(std::fs::File::open(&file).expect("the archive"));
        assert!(tar.entries().expect("entries").all(|entry| entry.is_ok()));
        daemon.run(client, &["rmi", "busybox"]).ok().done();
        let names = ["images", "--format", "{{.Repository}}:{{.Tag}}"];
        assert!(!text(&daemon, client, &names).lines().any(|name| name == "busybox:latest"));
        daemon.run(client, &["load", "-i", &path]).ok().says("Loaded image: busybox:latest").done();
        assert_eq!(daemon.inspect("busybox:latest", "{{.Id}}"), id);
        let mut command = daemon.command(client, &["save", "busybox:latest"]);
        let piped = daemon.path().join("piped.tar");
        command.stdout(std::fs::File::create(&piped).expect("a file"));
        assert!(command.status().expect("save runs").success());
        daemon.run(client, &["rmi", "busybox"]).ok().done();
        let bytes = std::fs::read(&piped).expect("the archive");
        daemon.run_with_input(client, &["load"], &bytes).ok().says("Loaded image: busybox:latest").done();
        assert_eq!(daemon.inspect("busybox", "{{.Id}}"), id);
        let command = daemon.command(client, &["save", "busybox"]);
        let mut terminal = Terminal::spawn(&command, 24, 80);
        terminal.expect("terminal");
        assert_ne!(terminal.wait(), 0, "an archive is nothing for a terminal");
    }
}

/// S3-06 (C3-18 to C3-20; B3-14 to B3-19, B3-22): what two images share travels and is kept once.
#[test]
fn s3_06_layers_are_reused() {
    for client in BOTH {
        let daemon = with(&["debian"]);
        let registry = Registry::beside(&daemon, &RegistryOptions::default());
        let run = |args: &[&str]| daemon.run(client, args).ok();
        let (mine, other) = (registry.named("ch3_myapp"), registry.named("ch3_myotherapp"));
        for name in [&mine, &other] {
            run(&["run", "--name", "app", "debian", "sh", "-c", &format!("echo {name} > /app")]).done();
            run(&["commit", "app", name]).done();
            run(&["rm", "app"]).done();
            run(&["push", name]).done();
        }
        // A layer that the registry has under another name is not sent again.
        run(&["tag", &mine, &registry.named("third")]).done();
        run(&["push", &registry.named("third")]).says("Mounted from ch3_myapp").done();
        run(&["rmi", "-f", "debian", &mine, &other, &registry.named("third")]).done();
        if !daemon.is_peer() {
            assert_eq!(blobs(&daemon), 0);
        }
        let line = Line::to(&registry, &daemon);
        let (mine, other) = (line.name("ch3_myapp"), line.name("ch3_myotherapp"));
        run(&["pull", &mine]).done();
        let first = line.take_passed();
        run(&["pull", &other]).says("Already exists").done();
        let second = line.take_passed();
        assert!(second * 20 < first, "{second} bytes after {first}");
        let shared = text(&daemon, client, &["system", "df", "-v", "--format", "{{json .}}"]);
        assert!(shared.contains("SharedSize"), "{shared}");
        let failed = daemon.run(client, &["rmi", &mine, "java:6"]);
        failed.exits(1).says(&format!("Untagged: {mine}:latest")).complains("No such image: java:6").done();
        run(&["run", "--rm", &other, "cat", "/app"]).says("ch3_myotherapp").done();
        run(&["rmi", &other]).done();
        if !daemon.is_peer() {
            assert_eq!(blobs(&daemon), 0, "with the last image its base goes");
        }
    }
}

/// S3-08 (C3-21, C3-22, B3-20): the driver is the daemon's choice. Docker keeps images by driver and shows none of the other's; here they are the
/// engine's, and whichever driver there is runs them.
#[test]
fn s3_08_a_storage_driver_is_chosen() {
    let mut daemon = with(&["busybox"]);
    if daemon.is_peer() {
        return;
    }
    assert_eq!(daemon.docker(&["info", "--format", "{{.Driver}}"]).ok().text(), "overlay2");
    daemon.docker(&["info"]).ok().says("Storage Driver: overlay2").says("Backing Filesystem: ").done();
    let before = daemon.inspect("busybox", "{{.Id}}");
    daemon.terminate();
    daemon.set_args(&["--storage-driver", "vfs"]);
    daemon.spawn();
    assert_eq!(daemon.minke(&["info", "--format", "{{.Driver}}"]).ok().text(), "vfs");
    daemon.minke(&["run", "--rm", "busybox", "echo", "copied"]).ok().says("copied").done();
    daemon.terminate();
    daemon.set_args(&[]);
    daemon.spawn();
    assert_eq!(daemon.inspect("busybox", "{{.Id}}"), before);
    daemon.minke(&["run", "--rm", "busybox", "echo", "stacked"]).ok().says("stacked").done();
}

/// The book's hunt, a BusyBox script: it asks for a password and knows only its sum.
const HUNT: &str = r#"printf "Enter the password: "; read word; sum=$(echo "$word" | sha1sum | cut -d ' ' -f 1)
if [ "$sum" = "$(cat /sum)" ]; then echo Congratulations; else echo "Incorrect: look for another repository of dockerinaction"; exit 1; fi"#;

/// S3-02 (C3-05 to C3-07): the scavenger hunt, its two images out of a registry. What `search` finds is beside the registry's rows.
#[test]
fn s3_02_the_scavenger_hunt() {
    for client in BOTH {
        let daemon = with(&["busybox"]);
        let registry = Registry::beside(&daemon, &RegistryOptions::default());
        let (hunt, answer) = (
            registry.named("dockerinaction/ch3_ex2_hunt"),
            registry.named("dockerinaction/ch3_ex2_huntanswer"),
        );
        let run = |args: &[&str]| daemon.run(client, args).ok();
        for (name, prepare, command) in [
            (&hunt, "echo opensesame | sha1sum | cut -d ' ' -f 1 > /sum", HUNT),
            (&answer, "true", "echo opensesame"),
        ] {
            run(&["run", "--name", "maker", "busybox", "sh", "-c", prepare]).done();
            let command = serde_json::json!(["sh", "-c", command]);
            let change = format!("CMD {command}");
            run(&["commit", "-c", "USER nobody", "-c", &change, "maker", name]).done();
            run(&["rm", "maker"]).done();
            run(&["push", "-q", name]).done();
            run(&["rmi", name]).done();
        }
        let try_word = |word: &str, reply: &str| {
            let command = daemon.command(client, &["run", "-it", "--rm", &hunt]);
            let mut terminal = Terminal::spawn(&command, 24, 120);
            terminal.expect("Enter the password: ");
            terminal.send(&format!("{word}\r"));
            terminal.expect(reply);
            terminal.wait()
        };
        assert_eq!(try_word("nonsense", "Incorrect"), 1);
        let word = text(&daemon, client, &["run", "--rm", &answer]);
        assert_eq!(try_word(&word, "Congratulations"), 0);
        for image in [&hunt, &answer] {
            assert_eq!(text(&daemon, client, &["ps", "-aq", "--filter", &format!("ancestor={image}")]), "");
        }
        run(&["rmi", &hunt, &answer]).done();
    }
}

/// S3-05 (C3-16, C3-17, B3-13): the book's Dockerfile, installed by building it.
#[test]
fn s3_05_an_image_from_a_dockerfile() {
    use std::os::unix::fs::PermissionsExt as _;
    for client in BOTH {
        let daemon = with(&["busybox"]);
        let context = daemon.path().join("ch3_dockerfile");
        std::fs::create_dir(&context).expect("a directory");
        let dockerfile = "FROM busybox:latest\nMAINTAINER dia@allingeek.com\nADD demo.sh /demo/\nWORKDIR /demo\nCMD ./demo.sh\n";
        std::fs::write(context.join("Dockerfile"), dockerfile).expect("write");
        let script = context.join("demo.sh");
        std::fs::write(&script, "#!/bin/sh\necho built from a Dockerfile\n").expect("write");
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("chmod");
        let args = ["build", "-t", "dia_ch3/dockerfile:latest", &context.to_string_lossy()];
        let mut command = daemon.command(client, &args);
        command.env("DOCKER_BUILDKIT", "0");
        minke_testkit::Run::new(command, b"").ok().done();
        assert_eq!(text(&daemon, client, &["images", "-q", "dia_ch3/dockerfile"]).lines().count(), 1);
        assert_eq!(text(&daemon, client, &["run", "--rm", "dia_ch3/dockerfile"]), "built from a Dockerfile");
        let gone = daemon.run(client, &["rmi", "dia_ch3/dockerfile"]).ok();
        gone.says("Untagged: dia_ch3/dockerfile:latest").says("Deleted: sha256:").done();
    }
}
