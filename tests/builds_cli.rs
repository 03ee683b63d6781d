//! `build` by its clients: what each sends, shows and leaves. What a build does is told in `chapter8.rs`, what it comes to in
//! `dockerfiles.rs`.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use minke_testkit::registries::{Registry, RegistryOptions};
use minke_testkit::{Client, Daemon, Run, Terminal};

const BOTH: [Client; 2] = [Client::Minke, Client::Docker];

#[track_caller]
fn build(daemon: &Daemon, client: Client, args: &[&str], input: &str) -> Run {
    let mut command = daemon.command(client, &[&["build"], args].concat());
    command.env("DOCKER_BUILDKIT", "0").current_dir(daemon.path());
    Run::new(command, input.as_bytes())
}

fn write(directory: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, text).expect("written");
    }
}

#[track_caller]
fn ran(daemon: &Daemon, image: &str, line: &str) -> String {
    daemon.docker(&["run", "--rm", image, "sh", "-c", line]).ok().text().to_owned()
}

/// 8-C01, 8-C05, 8-C06 as clients show them.
#[test]
fn a_build_is_told_step_by_step_and_quietly_by_its_id() {
    let daemon = Daemon::start();
    write(
        daemon.path(),
        &[("ctx/Dockerfile", "FROM busybox\nRUN echo hello; echo oh >&2\nCMD [\"true\"]\n")],
    );
    let classic = build(&daemon, Client::Docker, &["-t", "told:1", "ctx"], "").ok();
    for line in [
        "Sending build context to Docker daemon",
        "Step 1/3 : FROM busybox\n ---> ",
        "Step 2/3 : RUN echo hello; echo oh >&2\n ---> Running in ",
        "hello\n",
        "\x1b[91moh\n\x1b[0m ---> Removed intermediate container ",
        "Successfully tagged told:1\n",
    ] {
        assert!(classic.stdout.contains(line), "{line:?} in {classic}");
    }
    let again = build(&daemon, Client::Docker, &["-t", "told:1", "ctx"], "").ok().says(" ---> Using cache\n");
    let id =
        again.stdout.split("Successfully built ").nth(1).and_then(|rest| rest.lines().next()).expect("an id");
    assert_eq!(
        again.stdout.matches(&format!(" ---> {id}\n")).count(),
        1,
        "the last step's is the image's: {again}"
    );
    let own = build(&daemon, Client::Minke, &["--no-cache", "-t", "told:1", "ctx"], "").ok();
    for line in ["[1/3] FROM busybox\n", "[2/3] RUN echo hello; echo oh >&2\n", " hello\n", " oh\n", " DONE "]
    {
        assert!(own.stderr.contains(line), "{line:?} in {own}");
    }
    own.says("Successfully built ").says("Successfully tagged told:1\n").done();
    for client in BOTH {
        let quiet = build(&daemon, client, &["-q", "-t", "told:1", "ctx"], "").ok();
        assert_eq!(quiet.text(), daemon.inspect("told:1", "{{.Id}}"), "{quiet}");
        assert!(client == Client::Docker || quiet.stderr.is_empty(), "{quiet}");
    }
}

/// Letter by letter what Docker 28.5's classic builder tells of these files, but for containers of steps that only change the
/// configuration: here they have none.
#[test]
fn the_classic_stream_is_docker_s() {
    let daemon = Daemon::start();
    let parent = "FROM busybox\nONBUILD RUN echo fired > /fired\nONBUILD ENV A=b\n";
    build(&daemon, Client::Docker, &["-t", "parent", "-"], parent).ok().done();
    let text = "ARG BASE=busybox\nFROM $BASE AS one\nRUN echo   x \\\n  > /x\nFROM parent\nARG used\n\
                COPY --from=one /x /\nRUN  [\"cat\",  \"/x\"]\nLABEL a=\"b c\"\n";
    let args =
        ["--build-arg", "used=1", "--build-arg", "typo=2", "--build-arg", "NO_PROXY=x", "-t", "told", "-"];
    let run = build(&daemon, Client::Docker, &args, text).ok();
    let told = "Step 1/8 : ARG BASE=busybox\nStep 2/8 : FROM $BASE AS one\n ---> ID\n\
                Step 3/8 : RUN echo   x   > /x\n ---> Running in ID\n ---> Removed intermediate container ID\n ---> ID\n\
                Step 4/8 : FROM parent\n# Executing 2 build triggers\n ---> Running in ID\n\
                \u{20}---> Removed intermediate container ID\n ---> ID\nStep 5/8 : ARG used\n ---> ID\n\
                Step 6/8 : COPY --from=one /x /\n ---> ID\n\
                Step 7/8 : RUN  [\"cat\",  \"/x\"]\n ---> Running in ID\nx\n ---> Removed intermediate container ID\n ---> ID\n\
                Step 8/8 : LABEL a=\"b c\"\n ---> ID\n[Warning] One or more build-args [typo] were not consumed\n\
                Successfully built ID\nSuccessfully tagged told:latest\n";
    let steps = run.stdout.find("Step 1/").map_or("", |at| &run.stdout[at..]);
    assert_eq!(nameless(steps), told, "{run}");
    let id = daemon.inspect("told", "{{.Id}}");
    let short = id.get(7..19).expect("an id");
    run.says(&format!(" ---> {short}\n[Warning]")).says(&format!("Successfully built {short}\n")).done();
    build(&daemon, Client::Minke, &args, text)
        .ok()
        .complains("One or more build-args [typo] were not consumed")
        .done();
}

/// A base image that is not here comes in sight of who waits for it.
#[test]
fn docker_s_client_sees_how_a_base_image_comes() {
    let daemon = Daemon::start();
    let registry = Registry::beside(&daemon, &RegistryOptions::default());
    let base = registry.named("base");
    daemon.minke(&["tag", "busybox", &base]).ok().done();
    daemon.minke(&["push", &base]).ok().done();
    daemon.minke(&["rmi", "-f", &base, "busybox"]).ok().done();
    let run = build(&daemon, Client::Docker, &["-"], &format!("FROM {base}\n")).ok();
    let told = &run.stdout;
    let at = |text: &str| told.find(text).unwrap_or_else(|| panic!("{text:?} in {run}"));
    let order = [
        "Step 1/1 : FROM",
        ": Pulling from base",
        "Status: Downloaded newer image",
        " ---> ",
        "Successfully built",
    ];
    assert!(order.map(at).is_sorted(), "{run}");
    run.done();
}

/// With `ID` instead of each.
fn nameless(text: &str) -> String {
    let mut out = String::new();
    for word in text.split_inclusive([' ', '\n']) {
        let bare = word.trim_end();
        let id = bare.len() == 12 && bare.bytes().all(|byte| byte.is_ascii_hexdigit());
        out.push_str(&if id { word.replace(bare, "ID") } else { word.to_owned() });
    }
    out
}

/// What is wrong is quoted with file, lines and an arrow; docker's client gets docker's words and the program's exit status.
#[test]
fn errors_quote_the_instruction() {
    let daemon = Daemon::start();
    let text = "FROM busybox\nRUN echo before; \\\n  exit 7\nCMD x\n";
    build(&daemon, Client::Minke, &["-"], text)
        .exits(1)
        .complains("Dockerfile:2\n--------------------\n   1 |     FROM busybox\n   2 | >>> RUN echo before; \\\n   3 | >>>   exit 7\n   4 |     CMD x\n")
        .complains("returned a non-zero code: 7")
        .done();
    build(&daemon, Client::Docker, &["-"], text).exits(7).complains("returned a non-zero code: 7").done();
    let text = "FROM busybox\nFOO bar\n";
    let words = "dockerfile parse error on line 2: unknown instruction: FOO (did you mean FROM?)";
    build(&daemon, Client::Minke, &["-"], text)
        .exits(1)
        .complains("   2 | >>> FOO bar\n")
        .complains(words)
        .done();
    build(&daemon, Client::Docker, &["-"], text).exits(1).complains(words).done();
    for client in BOTH {
        build(&daemon, client, &["--target", "nope", "-"], "FROM busybox\n")
            .exits(1)
            .complains("target stage \"nope\" could not be found")
            .done();
        build(&daemon, client, &["-f", "missing", "."], "").exits(1).done();
    }
    assert_eq!(daemon.docker(&["ps", "-aq"]).ok().text(), "", "nothing of a build stays");
}

#[test]
fn contexts_come_from_directories_archives_addresses_and_git() {
    let daemon = Daemon::start();
    let dir = daemon.path();
    write(
        dir,
        &[
            ("ctx/Dockerfile", "FROM busybox\nCOPY f /f\n"),
            ("ctx/f", "here\n"),
            ("ctx/drop", "x\n"),
            ("ctx/.dockerignore", "drop\nDockerfile\n.dockerignore\n"),
            ("all.df", "FROM busybox\nCOPY . /all\n"),
        ],
    );
    let ok = |client, args: &[&str], input: &str| {
        build(&daemon, client, &[args, &["-t", "got"]].concat(), input).ok().done()
    };
    for client in BOTH {
        ok(client, &["-f", "all.df", "ctx"], "");
        assert_eq!(ran(&daemon, "got", "ls -A /all"), "f");
        ok(client, &["-f", "-", "ctx"], "FROM busybox\nCOPY f /piped\n");
        assert_eq!(ran(&daemon, "got", "cat /piped"), "here");
    }
    let done = Command::new("tar")
        .args(["-czf", "ctx.tgz", "-C", "ctx", "."])
        .current_dir(dir)
        .status()
        .expect("tar");
    assert!(done.success());
    ok(Client::Minke, &["ctx.tgz"], "");
    assert_eq!(ran(&daemon, "got", "cat /f"), "here");
    let server = Served::start(&daemon, dir.join("ctx.tgz"));
    ok(Client::Minke, &[&server.url], "");
    let server = Served::start(&daemon, dir.join("all.df"));
    ok(Client::Minke, &["-f", &server.url, "ctx"], "");
    assert_eq!(ran(&daemon, "got", "ls -A /all"), "f");
    let git = |args: &[&str]| {
        let who = ["-c", "user.name=n", "-c", "user.email=n@example.org"];
        let done =
            Command::new("git").args(who).args(args).current_dir(dir.join("ctx")).status().expect("git");
        assert!(done.success(), "{args:?}");
    };
    if Command::new("git").arg("--version").output().is_ok() {
        git(&["init", "-q", "-b", "main", "."]);
        git(&["add", "-A"]);
        git(&["commit", "-qm", "x"]);
        ok(Client::Minke, &[&format!("file://{}/ctx/.git#main", dir.display())], "");
    }
}

/// A file at an address, once, in the daemon's network.
struct Served {
    url: String,
}

impl Served {
    fn start(daemon: &Daemon, path: std::path::PathBuf) -> Self {
        let bytes = std::fs::read(path).expect("a file");
        let listener: TcpListener =
            daemon.host_netns().run(|| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let url = format!("http://{}/file", listener.local_addr().expect("an address"));
        std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().expect("a client");
            let mut request = [0; 4096];
            let read = socket.read(&mut request).expect("a request");
            assert!(request[..read].starts_with(b"GET "));
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", bytes.len());
            socket.write_all(head.as_bytes()).and_then(|()| socket.write_all(&bytes)).expect("sent");
        });
        Self { url }
    }
}

#[test]
fn secrets_and_further_contexts_reach_the_steps_that_ask() {
    let daemon = Daemon::start();
    let dir = daemon.path();
    write(dir, &[("ctx/own", "own\n"), ("more/o", "other\n"), ("token", "s3cret")]);
    let file = "FROM busybox\nCOPY --from=more o /o\nCOPY own /own\nCOPY --from=base /etc/passwd /p\n\
                RUN --mount=type=secret,id=t,required wc -c < /run/secrets/t > /length\n\
                RUN --mount=type=secret,id=e,env=E echo $E > /e\n";
    let mut command = daemon.command(
        Client::Minke,
        &[
            "build",
            "-t",
            "s",
            "-f",
            "-",
            "--build-context",
            "more=more",
            "--build-context",
            "base=docker-image://busybox",
            "--secret",
            "id=t,src=token",
            "--secret",
            "id=e,env=THE_SECRET",
            "ctx",
        ],
    );
    command.env("THE_SECRET", "from outside").current_dir(dir);
    Run::new(command, file.as_bytes()).ok().done();
    assert_eq!(
        ran(&daemon, "s", "cat /o /own /length /e; test -s /p && ! test -e /run/secrets/t"),
        "other\nown\n6\nfrom outside"
    );
    build(&daemon, Client::Minke, &["-f", "-", "--build-context", "more=more", "ctx"], file)
        .exits(1)
        .complains("secret")
        .done();
}

#[test]
fn results_go_where_output_says() {
    let daemon = Daemon::start();
    let dir = daemon.path();
    let file = "FROM scratch\nCOPY f /deep/f\nCMD [\"x\"]\n";
    write(dir, &[("ctx/f", "x\n"), ("ctx/Dockerfile", file)]);
    build(&daemon, Client::Minke, &["-o", "out", "ctx"], "").ok().done();
    assert_eq!(std::fs::read_to_string(dir.join("out/deep/f")).expect("a file"), "x\n");
    build(&daemon, Client::Minke, &["-o", "type=tar,dest=out.tar", "ctx"], "").ok().done();
    let mut archive = tar::Archive::new(std::fs::File::open(dir.join("out.tar")).expect("an archive"));
    let names: Vec<String> = archive
        .entries()
        .expect("entries")
        .map(|entry| entry.expect("an entry").path().expect("a path").display().to_string())
        .collect();
    assert!(names.iter().any(|name| name.trim_start_matches("./") == "deep/f"), "{names:?}");
    for kind in ["docker", "oci"] {
        let file = format!("{kind}.tar");
        build(
            &daemon,
            Client::Minke,
            &["-q", "-t", &format!("to-{kind}:1"), "-o", &format!("type={kind},dest={file}"), "ctx"],
            "",
        )
        .ok()
        .done();
        daemon.minke(&["load", "-i", &dir.join(file).display().to_string()]).ok().says("Loaded image").done();
    }
    build(
        &daemon,
        Client::Minke,
        &["--iidfile", "id", "--metadata-file", "meta", "-t", "in:1", "-t", "in:2", "--label", "l=v", "ctx"],
        "",
    )
    .ok()
    .done();
    let id = std::fs::read_to_string(dir.join("id")).expect("an id");
    assert_eq!(id, daemon.inspect("in:2", "{{.Id}}"));
    assert!(std::fs::read_to_string(dir.join("meta")).expect("metadata").contains(&id));
    assert_eq!(daemon.inspect("in:1", "{{.Config.Labels.l}}"), "v");
    build(&daemon, Client::Minke, &["-o", "type=nonsense", "ctx"], "")
        .exits(1)
        .complains("unknown output type")
        .done();
    build(&daemon, Client::Minke, &["--push", "ctx"], "").exits(1).complains("minke push").done();
}

/// One build, its result in several forms: each is whole, and standard output has one of them.
#[test]
fn a_build_may_have_several_outputs() {
    let daemon = Daemon::start();
    let dir = daemon.path();
    write(dir, &[("ctx/f", "x\n"), ("ctx/Dockerfile", "FROM scratch\nCOPY f /deep/f\n")]);
    let args = [
        "-t",
        "several",
        "-o",
        "type=oci,dest=oci.tar",
        "-o",
        "out",
        "-o",
        "type=image,name=more:1",
        "-o",
        "type=docker,dest=-",
        "--metadata-file",
        "meta",
        "ctx",
    ];
    let mut command = daemon.command(Client::Minke, &[&["build"], &args[..]].concat());
    let mut child = command
        .current_dir(dir)
        .stdout(std::fs::File::create(dir.join("docker.tar")).expect("a file"))
        .spawn()
        .expect("a client");
    assert!(child.wait().expect("its end").success());
    assert_eq!(std::fs::read_to_string(dir.join("out/deep/f")).expect("a file"), "x\n");
    let id = daemon.inspect("several", "{{.Id}}");
    assert_eq!(daemon.inspect("more:1", "{{.Id}}"), id);
    let metadata = std::fs::read_to_string(dir.join("meta")).expect("metadata");
    assert!(
        metadata.contains(&id) && metadata.contains("\"containerimage.digest\": \"sha256:"),
        "{metadata}"
    );
    for archive in ["oci.tar", "docker.tar"] {
        daemon.minke(&["rmi", "several", "more:1"]).ok().done();
        daemon
            .minke(&["load", "-i", &dir.join(archive).display().to_string()])
            .ok()
            .says("several:latest")
            .done();
        assert_eq!(daemon.inspect("several", "{{.Id}}"), id, "{archive}");
        daemon.minke(&["tag", "several", "more:1"]).ok().done();
    }
    build(&daemon, Client::Minke, &["-o", "-", "-o", "type=oci,dest=-", "ctx"], "")
        .exits(1)
        .complains("only one --output")
        .done();
    // A build that fails leaves none of them.
    write(dir, &[("ctx/Dockerfile", "FROM scratch\nCOPY missing /\n")]);
    build(&daemon, Client::Minke, &["-o", "type=oci,dest=a.tar", "-o", "type=tar,dest=b.tar", "ctx"], "")
        .exits(1)
        .done();
    let left = std::fs::read_dir(dir).expect("a directory").flatten().map(|entry| entry.file_name());
    assert!(
        left.into_iter().all(
            |name| !name.to_string_lossy().contains("a.tar") && !name.to_string_lossy().contains("b.tar")
        )
    );
    for quiet in [&["-q"][..], &[]] {
        let mut args = vec!["build", "--iidfile", "id"];
        args.extend(quiet);
        args.push("-");
        let mut command = daemon.command(Client::Minke, &args);
        command.current_dir(dir);
        Run::new(command, b"FROM busybox\nLABEL quiet=yes\n").ok().done();
        assert!(std::fs::read_to_string(dir.join("id")).expect("an id").starts_with("sha256:"));
    }
}

#[test]
fn the_linter_warns_with_lines_and_can_fail_a_build() {
    let daemon = Daemon::start();
    let file = "FROM busybox as Base\nCMD x\n";
    let run = build(&daemon, Client::Minke, &["-"], file).ok();
    run.complains("3 warnings found").complains(" - JSONArgsRecommended: ").complains("(line 2)").done();
    build(&daemon, Client::Minke, &["--check", "-"], file)
        .exits(1)
        .says("WARNING: StageNameCasing")
        .says("   1 | >>> FROM busybox as Base")
        .done();
    build(&daemon, Client::Minke, &["--check", "-"], "FROM busybox\n").ok().says("no warnings found").done();
    build(&daemon, Client::Minke, &["-"], "FROM busybox\nENV X=$PATH Y=$PAHT\n")
        .ok()
        .complains(" - UndefinedVar: Usage of undefined variable '$PAHT' (did you mean $PATH?) (line 2)")
        .done();
    let copies = "# check=experimental=all\nFROM busybox\nRUN true\nCOPY --link a.md b /\n";
    write(
        daemon.path(),
        &[("ctx/a.md", "a"), ("ctx/b", "b"), ("ctx/Dockerfile", copies), ("ctx/.dockerignore", "*.md\n")],
    );
    let told = "Attempting to Copy file \"a.md\" that is excluded by .dockerignore";
    build(&daemon, Client::Minke, &["--check", "ctx"], "").exits(1).says(told).done();
    build(&daemon, Client::Minke, &["ctx"], "")
        .exits(1)
        .complains("CopyIgnoredFile: ")
        .complains(told)
        .done();
    build(&daemon, Client::Minke, &["-"], &format!("# check=error=true\n{file}"))
        .exits(1)
        .complains("lint violation found")
        .done();
}

#[test]
fn a_terminal_sees_the_steps_at_work() {
    let daemon = Daemon::start();
    write(daemon.path(), &[("ctx/Dockerfile", "FROM busybox\nRUN echo line one; sleep 1\n")]);
    let path = daemon.path().join("ctx").display().to_string();
    let mut terminal = Terminal::spawn(&daemon.command(Client::Minke, &["build", &path]), 24, 80);
    terminal.expect("[+] Building");
    terminal.expect(" => => # line one");
    terminal.expect("(2/2) FINISHED");
    assert_eq!(terminal.wait(), 0);
}

/// docker-py, and docker-compose 1 both through it and through docker's client.
#[test]
fn python_s_clients_build() {
    let daemon = Daemon::start();
    let dir = daemon.path().join("project");
    write(
        &dir,
        &[
            (
                "Dockerfile",
                "FROM busybox AS base\nARG who\nRUN echo $who > /who\nFROM base AS final\nCMD cat /who\nFROM busybox\nRUN exit 1\n",
            ),
            (
                "docker-compose.yml",
                "version: \"3.7\"\nservices:\n  web:\n    build:\n      context: .\n      args: {who: compose}\n      target: final\n    image: composed:1\n",
            ),
        ],
    );
    let script = "import docker, io, sys\n\
                  c = docker.DockerClient(base_url=sys.argv[1])\n\
                  image, log = c.images.build(path=sys.argv[2], tag='py:1', target='final', buildargs={'who': 'python'})\n\
                  print(image.tags, any('Successfully built' in line.get('stream', '') for line in log))\n\
                  try:\n    c.images.build(fileobj=io.BytesIO(b'FROM busybox\\nRUN exit 3\\n'))\n\
                  except docker.errors.BuildError as error:\n    print(error)\n\
                  print(sorted(c.api.prune_builds()))\n";
    let mut command = Command::new("python3");
    command.args(["-c", script, &daemon.host(), &dir.display().to_string()]);
    let run = Run::new(command, b"").ok();
    assert_eq!(
        run.text(),
        "['py:1'] True\nThe command '/bin/sh -c exit 3' returned a non-zero code: 3\n['CachesDeleted', 'SpaceReclaimed']"
    );
    assert_eq!(ran(&daemon, "py:1", "cat /who"), "python");
    let said = daemon.compose(&dir, daemon.tag(), &["build"]);
    assert!(said.contains("Successfully tagged composed:1"), "{said}");
    assert_eq!(ran(&daemon, "composed:1", "cat /who"), "compose");
}

/// A client that goes away takes its build along.
#[test]
fn a_build_ends_with_its_client() {
    let daemon = Daemon::start();
    write(daemon.path(), &[("ctx/Dockerfile", "FROM busybox\nRUN echo begun; sleep 600\n")]);
    let path = daemon.path().join("ctx").display().to_string();
    for client in BOTH {
        let mut command = daemon.command(client, &["build", "-t", "never", &path]);
        command.env("DOCKER_BUILDKIT", "0");
        let running = minke_testkit::Spawned::new(command);
        minke_testkit::wait_until("the step runs", std::time::Duration::from_secs(20), || sleeps(&daemon));
        running.signal(rustix::process::Signal::KILL);
        drop(running);
        minke_testkit::wait_until("the step has ended", std::time::Duration::from_secs(20), || {
            !sleeps(&daemon)
        });
    }
    assert_eq!(daemon.docker(&["images", "-q", "never"]).ok().text(), "");
}

/// Whether a step's program of this daemon runs: its cgroup is below the daemon's.
fn sleeps(daemon: &Daemon) -> bool {
    let processes = std::fs::read_dir("/proc").expect("procfs").flatten().map(|entry| entry.path());
    processes.into_iter().any(|path| {
        let read = |name: &str| std::fs::read_to_string(path.join(name)).unwrap_or_default();
        read("cmdline").contains("sleep\x00600") && read("cgroup").contains(daemon.tag())
    })
}
