//! minke's own CLI: flags, texts, exit statuses, formats; each beside what the `docker` CLI says of the same daemon.

use minke_testkit::{Client, Daemon, wait_until};
use std::time::Duration;

/// Both clients' words on the same daemon, which must be equal. Listings tell the time: a second that ends between the two is
/// no difference, so there is another try.
#[track_caller]
fn same(daemon: &Daemon, args: &[&str]) {
    let scrub = |text: &str| text.replace("docker", "minke");
    let mut words = None;
    for _ in 0..4 {
        // The same API version for both: `docker` speaks an older one, whose answers have other fields.
        let mut command = daemon.command(Client::Minke, args);
        command.env("DOCKER_API_VERSION", "1.50");
        let (ours, theirs) = (minke_testkit::Run::new(command, b""), daemon.docker(args));
        let said = |run: &minke_testkit::Run| (run.code, scrub(&run.stdout), scrub(&run.stderr));
        if said(&ours) == said(&theirs) {
            return;
        }
        words = Some((said(&ours), said(&theirs)));
    }
    let (ours, theirs) = words.expect("it was tried");
    assert_eq!(ours, theirs, "{args:?}");
}

#[test]
fn errors_of_the_command_line_read_as_dockers() {
    let daemon = Daemon::start();
    for args in [
        &["run"][..],
        &["run", "--nosuch", "busybox"],
        &["run", "-Z", "busybox"],
        &["run", "--memory"],
        &["run", "--name=a", "--rm=perhaps", "busybox"],
        &["rm"],
        &["ps", "extra"],
        &["stop"],
        &["inspect"],
        &["logs"],
        &["logs", "a", "b"],
        &["rename", "a"],
        &["inspect", "nosuch"],
        &["logs", "nosuch"],
        &["rm", "nosuch", "nosuch2"],
        &["kill", "nosuch"],
        &["stop", "nosuch"],
        &["wait", "nosuch"],
        &["pause", "nosuch"],
        &["unpause"],
        &["top", "nosuch"],
        &["exec", "nosuch"],
        &["ps", "--filter", "nosuch=1"],
        &["ps", "--format", "{{.Nosuch}}"],
        &["ps", "--format", "{{"],
        &["container", "nosuch"],
    ] {
        same(&daemon, args);
    }
}

#[test]
fn listings_read_as_dockers() {
    let daemon = Daemon::start();
    daemon
        .minke(&["run", "-d", "--name", "up", "--label", "a=b", "--label", "c", "busybox", "sleep", "1000"])
        .ok()
        .done();
    daemon.minke(&["run", "--name", "down", "busybox", "sh", "-c", "exit 3"]).exits(3).done();
    daemon
        .minke(&["create", "--name", "fresh", "busybox", "echo", "a rather long command line to be cut"])
        .ok()
        .done();
    for args in [
        &["ps"][..],
        &["ps", "-a"],
        &["ps", "-aq"],
        &["ps", "-a", "--no-trunc"],
        &["ps", "-l"],
        &["ps", "-n", "2"],
        &["ps", "-a", "--format", "table {{.Names}}\t{{.Status}}\t{{.Image}}"],
        &[
            "ps",
            "-a",
            "--format",
            "{{.ID}} {{.Names}} {{.Command}} {{.State}} {{.Ports}} {{.Networks}} {{.Mounts}}",
        ],
        &["ps", "-a", "--format", "{{json .}}", "--no-trunc"],
        &["ps", "-a", "--format", "json"],
        &["ps", "-a", "--filter", "status=exited"],
        &["ps", "-a", "--filter", "exited=3", "-q"],
        &["ps", "-a", "--filter", "name=^/?do"],
        &["ps", "-a", "--filter", "label=a=b"],
        &["ps", "-a", "--filter", "label=c"],
        &["ps", "-a", "--filter", "ancestor=busybox"],
        &["ps", "-a", "--filter", "before=fresh"],
        &["ps", "-a", "--filter", "since=up"],
        &["container", "ls", "-a"],
        &["images"],
        &["images", "--no-trunc"],
        &["images", "--digests"],
        &["images", "--format", "{{.Repository}} {{.Tag}} {{.ID}} {{.Size}}"],
        &["image", "ls", "-q"],
        &["history", "busybox"],
        &["top", "up"],
        &["logs", "down"],
        &["inspect", "down"],
        &["inspect", "--format", "{{json .State.ExitCode}} {{.Name}} {{index .Config.Labels \"a\"}}", "up"],
        &["inspect", "--format", "{{range .Config.Env}}{{println .}}{{end}}", "up"],
        &["inspect", "-f", "{{if .State.Running}}yes{{else}}no{{end}} {{join .Config.Cmd \",\"}}", "up"],
        &["inspect", "busybox"],
        &["container", "inspect", "up"],
        &["version", "--format", "{{.Server.APIVersion}} {{.Server.Os}}"],
        &["info", "--format", "{{.Containers}} {{.ContainersRunning}} {{.Images}} {{.Driver}}"],
        &["network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}"],
        &["events", "--since", "1", "--until", "2"],
    ] {
        if args[0] != "network" {
            same(&daemon, args);
        }
    }
}

#[test]
fn flags_cluster_and_take_values_in_every_form() {
    let daemon = Daemon::start();
    let id = daemon.minke(&["run", "-itd", "--name=clustered", "busybox"]).ok().text().to_owned();
    assert_eq!(daemon.inspect(&id, "{{.Config.Tty}} {{.Config.OpenStdin}}"), "true true");
    let run = daemon.minke(&[
        "run",
        "--rm=true",
        "-e",
        "A=1",
        "-eB=2",
        "--env=C=3",
        "-w=/tmp",
        "busybox",
        "sh",
        "-c",
        "echo $A$B$C $PWD",
    ]);
    assert_eq!(run.ok().text(), "123 /tmp");
    let file = daemon.path().join("env");
    std::fs::write(&file, "# a comment\nFROM_FILE=a b\nPASSED\n\n").expect("write");
    let mut command = daemon.command(
        Client::Minke,
        &["run", "--rm", "--env-file", &file.to_string_lossy(), "-e", "ALSO", "busybox", "env"],
    );
    command.env("PASSED", "through").env("ALSO", "this");
    minke_testkit::Run::new(command, b"")
        .ok()
        .says("FROM_FILE=a b\n")
        .says("PASSED=through\n")
        .says("ALSO=this\n")
        .done();
}

#[test]
fn input_and_output_pass_through() {
    let daemon = Daemon::start();
    for client in [Client::Minke, Client::Docker] {
        let big = vec![b'x'; 3 << 20];
        let run = daemon.run_with_input(client, &["run", "--rm", "-i", "busybox", "wc", "-c"], &big).ok();
        assert_eq!(run.text(), (3 << 20).to_string());
        let run = daemon.run_with_input(client, &["run", "--rm", "-i", "busybox", "cat"], b"to and fro").ok();
        assert_eq!(run.stdout, "to and fro");
        let run = daemon.run_with_input(client, &["run", "--rm", "busybox", "cat"], b"not for you").ok();
        assert_eq!(run.stdout, "");
        let run = daemon.run(client, &["run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2"]).ok();
        assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("out\n", "err\n"));
        let run = daemon
            .run(client, &["run", "--rm", "-a", "stderr", "busybox", "sh", "-c", "echo out; echo err >&2"])
            .ok();
        assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", "err\n"));
    }
    daemon.minke(&["run", "-d", "--name", "box1", "busybox", "sleep", "1000"]).ok().done();
    for client in [Client::Minke, Client::Docker] {
        let run = daemon.run_with_input(client, &["exec", "-i", "box1", "cat"], b"into exec").ok();
        assert_eq!(run.stdout, "into exec");
        let run = daemon
            .run(
                client,
                &[
                    "exec",
                    "-e",
                    "A=1",
                    "-w",
                    "/tmp",
                    "-u",
                    "example",
                    "box1",
                    "sh",
                    "-c",
                    "echo $A $PWD; id -u",
                ],
            )
            .ok();
        assert_eq!(run.stdout, "1 /tmp\n1000\n");
        daemon.run(client, &["exec", "-d", "box1", "touch", "/detached"]).ok().done();
        wait_until("it was run", Duration::from_secs(5), || {
            daemon.minke(&["exec", "box1", "rm", "/detached"]).code == 0
        });
    }
}

#[test]
fn signals_reach_the_program() {
    let daemon = Daemon::start();
    for client in [Client::Minke, Client::Docker] {
        let script = "trap 'echo caught; exit 4' TERM; echo ready; while :; do sleep 0.05; done";
        let name = if client == Client::Minke { "sig-m" } else { "sig-d" };
        let running = daemon.start_client(client, &["run", "--name", name, "busybox", "sh", "-c", script]);
        wait_until("it is ready", Duration::from_secs(10), || {
            daemon.minke(&["logs", name]).stdout.contains("ready")
        });
        running.signal(rustix::process::Signal::TERM);
        running.finish(Duration::from_secs(10)).exits(4).says("caught").done();
    }
}

#[test]
fn events_tell_a_containers_life() {
    let daemon = Daemon::start();
    let start =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    daemon.minke(&["run", "--rm", "--name", "told", "busybox", "sh", "-c", "exit 2"]).exits(2).done();
    for client in [Client::Minke, Client::Docker] {
        let (since, until) = (start.to_string(), (start + 3600).to_string());
        let running = daemon.start_client(
            client,
            &[
                "events",
                "--since",
                &since,
                "--filter",
                "container=told",
                "--format",
                "{{.Action}} {{index .Actor.Attributes \"exitCode\"}}",
            ],
        );
        wait_until("what happened is told", Duration::from_secs(20), || running.said().contains("destroy"));
        running.signal(rustix::process::Signal::TERM);
        let run = running.finish(Duration::from_secs(5));
        let actions: Vec<&str> = run.stdout.lines().filter_map(|line| line.split(' ').next()).collect();
        for action in ["create", "start", "die", "destroy"] {
            assert!(actions.contains(&action), "{action} until {until}: {run}");
        }
        assert!(run.stdout.contains("die 2"), "{run}");
    }
}

#[test]
fn what_is_not_built_yet_is_refused_with_a_sentence() {
    let daemon = Daemon::start();
    if daemon.is_peer() {
        return;
    }
    for args in [
        &["run", "--rm", "--storage-opt", "size=1g", "busybox", "true"][..],
        &["run", "--rm", "--gpus", "all", "busybox", "true"],
    ] {
        for client in [Client::Minke, Client::Docker] {
            let run = daemon.run(client, args).exits(125);
            assert!(run.stderr.split_whitespace().count() > 5, "a sentence: {run}");
        }
    }
    for args in [
        &["build", "."][..],
        &["pull", "busybox"],
        &["push", "busybox"],
        &["network", "create", "-d", "overlay", "far"],
        &["network", "create", "-d", "ipvlan", "thin"],
        &["swarm", "init"],
    ] {
        let run = daemon.minke(args);
        assert_ne!(run.code, 0, "{run}");
        assert!(run.stderr.split_whitespace().count() > 5, "a sentence: {run}");
    }
    assert_eq!(daemon.minke(&["ps", "-aq"]).ok().text(), "", "nothing half-made stays");
}

/// C2-01, C2-02 and what goes with them.
#[test]
fn help_and_completions_name_every_command() {
    let daemon = Daemon::start();
    let help = daemon.minke(&["help"]).ok();
    for command in ["run", "ps", "exec", "cp", "images", "logs", "events", "container", "image", "context"] {
        assert!(help.stdout.lines().any(|line| line.trim_start().starts_with(command)), "{command}: {help}");
        assert_eq!(
            daemon.minke(&["help", command]).ok().stdout,
            daemon.minke(&[command, "--help"]).ok().stdout
        );
    }
    for shell in ["bash", "zsh", "fish"] {
        daemon.minke(&["completion", shell]).ok().says("container").done();
    }
    let run = daemon.minke(&["imagse"]);
    assert_ne!(run.code, 0);
    run.complains("images").done();
}

#[test]
fn contexts_name_engines() {
    let daemon = Daemon::start();
    let run = |args: &[&str]| {
        let mut command = std::process::Command::new(minke_testkit::tools::minke());
        command.args(args).env("DOCKER_CONFIG", daemon.path().join("config")).env("MINKE_AUTOSTART", "0");
        for name in ["DOCKER_HOST", "DOCKER_CONTEXT"] {
            command.env_remove(name);
        }
        minke_testkit::Run::new(command, b"")
    };
    if daemon.is_peer() {
        return;
    }
    run(&["context", "create", "mine", "--docker", &format!("host={}", daemon.host())])
        .ok()
        .says("mine")
        .done();
    run(&["--context", "mine", "run", "--rm", "busybox", "echo", "there"]).ok().says("there").done();
    run(&["context", "use", "mine"]).ok().done();
    run(&["run", "--rm", "busybox", "echo", "there"]).ok().says("there").done();
    assert_eq!(run(&["context", "show"]).ok().text(), "mine");
    run(&["context", "ls"]).ok().says("mine *").says(&daemon.host()).done();
    run(&["context", "use", "nosuch"]).exits(1).done();
    run(&["context", "rm", "-f", "mine"]).ok().done();
}
