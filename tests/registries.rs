//! Registries beside the book's scenarios: credential helpers, authorities of one's own, mirrors, proxies, what is said when
//! something is not there, manifests as docker's CLI shows and pushes them.

use std::net::TcpListener;
use std::time::Duration;

use minke_testkit::registries::parts::{self, ALICE, Parties, layered, open, pushed_digest, reload};
use minke_testkit::registries::{FakeRegistry, Registry, RegistryOptions, Torment, Tricks};
use minke_testkit::{Client, Daemon, Options, Run, Terminal, fixtures, tools, wait_until};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);
const BOTH: [Client; 2] = [Client::Minke, Client::Docker];

fn with(images: &[&'static str]) -> Daemon {
    Daemon::with(Options { images: images.to_vec(), ..Options::default() })
}

/// 9B-04: credentials in a helper, for all registries or for one, never in the file.
#[test]
fn credential_helpers_keep_what_the_file_does_not() {
    for client in BOTH {
        let daemon = with(&["busybox"]);
        let users = Some(ALICE.to_owned());
        let registry = Registry::beside(&daemon, &RegistryOptions { users, ..RegistryOptions::default() });
        let bin = daemon.path().join("bin");
        parts::write_helper(&bin, &daemon.path().join("kept"));
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        let run = |args: &[&str], input: &str| {
            let mut command = daemon.command(client, args);
            command.env("PATH", &path);
            Run::new(command, input.as_bytes())
        };
        let config = daemon.path().join("config");
        std::fs::create_dir_all(&config).expect("the config's directory");
        for settings in [
            serde_json::json!({"credsStore": "test"}),
            serde_json::json!({"credHelpers": {registry.domain(): "test"}, "credsStore": "missing"}),
        ] {
            std::fs::write(config.join("config.json"), settings.to_string()).expect("write config.json");
            let args = ["login", "-u", "alice", "--password-stdin", &registry.domain()];
            let done = run(&args, "secret").ok().says("Login Succeeded");
            assert!(!done.stderr.contains("unencrypted"), "{done}");
            let text = std::fs::read_to_string(config.join("config.json")).expect("config.json");
            assert!(!text.contains("YWxpY2U6c2VjcmV0") && text.contains(&registry.domain()), "{text}");
            let name = registry.named("alice/x");
            daemon.minke(&["tag", "busybox", &name]).ok().done();
            run(&["push", &name], "").ok().done();
            run(&["logout", &registry.domain()], "").ok().done();
            let anonymous = run(&["push", &name], "");
            assert_eq!(anonymous.code, 1, "{anonymous}");
        }
    }
}

/// 9B-26: a registry's own authority in `certs.d`, a certificate for the client, and nobody in between.
#[test]
fn private_authorities_and_client_certificates() {
    let daemon = with(&["busybox"]);
    if daemon.is_peer() {
        return;
    }
    let address = parts::give_address(&daemon);
    let parties = Parties::new(&[&address]);
    let registry = Registry::beside(
        &daemon,
        &RegistryOptions {
            address: address.parse().expect("an address"),
            tls: Some(parties.server()),
            clients: Some(parties.authority.clone()),
            ..RegistryOptions::default()
        },
    );
    let name = registry.named("x");
    daemon.minke(&["tag", "busybox", &name]).ok().done();
    daemon.minke(&["push", &name]).exits(1).complains("x509: certificate signed by unknown authority").done();
    let trusted = parts::Trusted::new(&registry.domain());
    trusted.add("ca.crt", &parties.authority);
    // It is known now, and wants to know who is there.
    let refused = daemon.minke(&["push", &name]).exits(1);
    assert!(!refused.stderr.contains("unknown authority"), "{refused}");
    let (certificate, key) = parties.client();
    trusted.add("client.cert", &certificate);
    daemon.minke(&["push", &name]).exits(1).complains("missing key").done();
    trusted.add("client.key", &key);
    for client in BOTH {
        daemon.run(client, &["push", &name]).ok().done();
        daemon.run(client, &["pull", &name]).ok().done();
    }
}

/// 9B-25, 9P-02: a mirror of the hub is asked first, and made up for when it fails.
#[test]
fn a_mirror_stands_in_for_the_hub() {
    let mut daemon = with(&["busybox"]);
    if daemon.is_peer() {
        return;
    }
    let registry = open(&daemon);
    daemon.minke(&["tag", "busybox", &registry.named("library/greeting:1")]).ok().done();
    daemon.minke(&["push", &registry.named("library/greeting:1")]).ok().done();
    daemon.terminate();
    daemon.set_args(&[
        "--registry-mirror",
        "http://127.0.0.1:1",
        "--registry-mirror",
        &format!("http://{}", registry.domain()),
    ]);
    daemon.spawn();
    for client in BOTH {
        daemon.run(client, &["pull", "greeting:1"]).ok().done();
        daemon.run(client, &["run", "--rm", "greeting:1", "true"]).ok().done();
        daemon.run(client, &["rmi", "greeting:1"]).ok().done();
    }
    let info: Value = daemon.docker(&["info", "--format", "{{json .RegistryConfig.Mirrors}}"]).ok().json();
    assert_eq!(info.as_array().map(Vec::len), Some(2), "{info}");
}

/// 9B-25: through a proxy, which is not asked for what is on this machine.
#[test]
fn a_proxy_is_used_for_what_is_far_away() {
    let mut daemon = with(&["busybox"]);
    if daemon.is_peer() {
        return;
    }
    let proxy = parts::Proxy::beside(&daemon);
    daemon.terminate();
    daemon.set_args(&[
        "--http-proxy",
        &proxy.address(),
        "--https-proxy",
        &proxy.address(),
        "--no-proxy",
        "no.example",
    ]);
    daemon.spawn();
    let registry = open(&daemon);
    daemon.minke(&["tag", "busybox", &registry.named("x")]).ok().done();
    daemon.minke(&["push", &registry.named("x")]).ok().done();
    daemon.minke(&["pull", "far.example/x"]).exits(1).done();
    daemon.minke(&["pull", "no.example/x"]).exits(1).done();
    let asked = proxy.asked();
    assert!(asked.iter().any(|line| line.starts_with("CONNECT far.example:443")), "{asked:?}");
    assert!(
        asked.iter().all(|line| !line.contains("127.0.0.1") && !line.contains("no.example")),
        "{asked:?}"
    );
    let info = daemon.docker(&["info", "--format", "{{.HTTPProxy}}"]).ok();
    assert_eq!(info.text(), proxy.address());
}

/// 9C-16, 9C-26: what is not there is said in docker's words.
#[test]
fn what_cannot_be_pulled_is_said_in_docker_s_words() {
    for client in BOTH {
        let daemon = with(&["busybox"]);
        let users = Some(ALICE.to_owned());
        let (free, shut) = (
            open(&daemon),
            Registry::beside(&daemon, &RegistryOptions { users, ..RegistryOptions::default() }),
        );
        let missing = free.named("nothing");
        daemon
            .run(client, &["pull", &missing])
            .exits(1)
            .complains(&format!(
                "manifest for {missing}:latest not found: manifest unknown: manifest unknown"
            ))
            .done();
        daemon
            .run(client, &["pull", &shut.named("x")])
            .exits(1)
            .complains("no basic auth credentials")
            .done();
        daemon.minke(&["tag", "busybox", &shut.named("x")]).ok().done();
        daemon
            .run(client, &["push", &shut.named("x")])
            .exits(1)
            .complains("no basic auth credentials")
            .done();
        let gone = free.domain();
        drop(free);
        daemon
            .run(client, &["pull", &format!("{gone}/x")])
            .exits(1)
            .complains(&format!("Get \"http://{gone}/v2/\": dial tcp {gone}: connect: connection refused"))
            .done();
    }
}

/// What `docker manifest` and others ask: `GET /distribution/NAME/json`.
#[test]
fn a_name_s_descriptor_and_platforms_are_told() {
    let daemon = with(&["busybox"]);
    let registry = open(&daemon);
    let name = registry.named("x:1");
    daemon.minke(&["tag", "busybox", &name]).ok().done();
    let digest = pushed_digest(&daemon.minke(&["push", &name]).ok());
    let mut curl = std::process::Command::new("curl");
    curl.args(["-sS", "--unix-socket"]).arg(daemon.host().trim_start_matches("unix://"));
    curl.arg(format!("http://d/v1.44/distribution/{name}/json"));
    let told = Run::new(curl, b"").ok().json();
    assert_eq!(told["Descriptor"]["digest"], digest);
    assert_eq!(told["Platforms"][0]["os"], "linux");
}

/// `manifest` says and pushes byte for byte what docker's CLI does, which asks the registry itself.
#[test]
fn manifests_are_shown_and_lists_pushed_as_docker_s_cli_does() {
    let daemon = with(&["busybox"]);
    if daemon.is_peer() {
        return;
    }
    let registry = open(&daemon);
    let [one, two, list, missing] =
        ["t/x:1", "t/x:2", "t/list:1", "t/nothing"].map(|name| registry.named(name));
    layered(&daemon, "busybox", "echo 2 > /two", &two);
    daemon.minke(&["tag", "busybox", &one]).ok().done();
    daemon.minke(&["push", "-a", &registry.named("t/x")]).ok().done();
    let script: &[&[&str]] = &[
        &["inspect", "--insecure", &one],
        &["inspect", "--insecure", "-v", &one],
        &["inspect", "--insecure", &missing],
        &["create", "--insecure", &list, &one],
        &["create", "--insecure", &list, &two],
        &["create", "--insecure", "--amend", &list, &two],
        &["annotate", "--arch", "arm64", "--variant", "v8", &list, &two],
        &["annotate", &list, &missing],
        &["inspect", &list],
        &["inspect", &list, &two],
        &["push", "--insecure", &list],
        &["rm", &list],
        &["rm", &list],
        &["inspect", "--insecure", &list],
        &["inspect", "--insecure", "-v", &list],
        &["create", "--insecure", &registry.named("t/other"), &list],
    ];
    let said = BOTH.map(|client| {
        let mut all = Vec::new();
        for args in script {
            // docker's CLI speaks to the registry from where it runs.
            let command = daemon.command(client, &[&["manifest"], *args].concat());
            let mut inside = daemon.in_netns(&command.get_program().to_string_lossy());
            inside.args(command.get_args());
            for (name, value) in command.get_envs() {
                match value {
                    Some(value) => inside.env(name, value),
                    None => inside.env_remove(name),
                };
            }
            let run = Run::new(inside, b"");
            all.push((args.join(" "), run.code, run.stdout, run.stderr));
        }
        all
    });
    for (own, docker) in said[0].iter().zip(&said[1]) {
        assert_eq!(own, docker);
    }
}

/// Fixtures are from Debian's packages, as is the registry.
#[test]
fn the_registry_is_the_real_one() {
    assert!(tools::on_path("docker-registry"), "docker-registry (Debian: docker-registry)");
    assert!(fixtures::archive("busybox").exists());
    let daemon = with(&[]);
    if daemon.is_peer() {
        return;
    }
    let registry = open(&daemon);
    let mut curl = daemon.in_netns("curl");
    curl.args(["-sSi", &format!("http://{}/v2/", registry.domain())]);
    wait_until("the registry says what it is", std::time::Duration::from_secs(5), || {
        registry.log().contains("listening on")
    });
    Run::new(curl, b"").ok().says("200 OK").done();
}

/// 10C-19, 9B-26: the certificate of the book's examples is its own authority. It is taken where somebody put it down, under its name.
#[test]
fn a_certificate_that_is_its_own_authority_is_taken_by_name() {
    let daemon = with(&["busybox"]);
    if daemon.is_peer() {
        return;
    }
    let address = parts::give_address(&daemon);
    for (names, code) in [([address.as_str()], 0), (["other.example"], 1)] {
        let (certificate, key) = parts::own_authority(&names);
        let registry = Registry::beside(
            &daemon,
            &RegistryOptions {
                address: address.parse().expect("an address"),
                tls: Some((certificate.clone(), key)),
                ..RegistryOptions::default()
            },
        );
        let name = registry.named("x");
        daemon.minke(&["tag", "busybox", &name]).ok().done();
        daemon.minke(&["push", &name]).exits(1).complains("tls: failed to verify certificate").done();
        let trusted = parts::Trusted::new(&registry.domain());
        let (another, _) = parts::own_authority(&names);
        trusted.add("ca.crt", &another);
        daemon.minke(&["push", &name]).exits(1).complains("tls: failed to verify certificate").done();
        trusted.add("ca.crt", &certificate);
        daemon.minke(&["push", &name]).exits(code).done();
    }
}

/// 9C-04: who is at a terminal is asked, and what is typed as a password is not shown.
#[test]
fn login_asks_at_the_terminal() {
    for client in BOTH {
        let daemon = with(&[]);
        let users = Some(ALICE.to_owned());
        let registry = Registry::beside(&daemon, &RegistryOptions { users, ..RegistryOptions::default() });
        let command = daemon.command(client, &["login", &registry.domain()]);
        let mut terminal = Terminal::spawn(&command, 24, 120);
        terminal.expect("Username: ");
        terminal.send("alice\r");
        terminal.expect("Password: ");
        terminal.send("secret\r");
        terminal.expect("Login Succeeded");
        assert_eq!(terminal.wait(), 0);
        assert!(!terminal.shown().contains("secret"), "{}", terminal.shown());
    }
}

/// How many layers travel at once is read again with the file, and counts for pulls that have begun.
#[test]
fn layers_at_once_are_as_many_as_the_file_says_now() {
    let mut daemon = with(&["busybox"]);
    if daemon.is_peer() {
        return;
    }
    let file = daemon.path().join("daemon.json");
    let settings = |downloads: u32| {
        let document =
            serde_json::json!({"max-concurrent-downloads": downloads, "max-concurrent-uploads": 7});
        std::fs::write(&file, document.to_string()).expect("write daemon.json");
    };
    settings(1);
    daemon.terminate();
    daemon.set_args(&["--config-file", &file.to_string_lossy()]);
    daemon.spawn();
    let registry =
        FakeRegistry::on(daemon.host_netns().run(|| TcpListener::bind("127.0.0.1:0")).expect("a port"));
    let name = format!("{}/team/x", registry.domain());
    layered(&daemon, "busybox", "echo one > /one", "one");
    layered(&daemon, "one", "echo two > /two", &name);
    daemon.minke(&["push", "-q", &name]).ok().done();
    daemon.minke(&["rmi", "-f", &name, "one", "busybox"]).ok().done();
    let manifest: serde_json::Value =
        serde_json::from_slice(&registry.manifest("team/x", "latest").expect("pushed")).expect("JSON");
    let layers: Vec<&str> =
        manifest["layers"].as_array().expect("layers").iter().filter_map(|l| l["digest"].as_str()).collect();
    // The configuration comes, no layer does.
    let torments = layers.iter().map(|layer| ((*layer).to_owned(), Torment::Silence)).collect();
    registry.set(Tricks { torments, ..Tricks::default() });
    drop(registry.seen());
    let client = daemon.start_client(Client::Minke, &["pull", &name]);
    let mut asked = std::collections::BTreeSet::new();
    let mut count = |registry: &FakeRegistry| {
        asked.extend(
            registry
                .seen()
                .into_iter()
                .map(|seen| seen.path)
                .filter(|path| layers.iter().any(|layer| path.ends_with(layer))),
        );
        asked.len()
    };
    wait_until("one layer is asked for", SOON, || count(&registry) >= 1);
    assert_eq!(count(&registry), 1);
    settings(2);
    reload(&daemon);
    wait_until("another one is asked for", SOON, || count(&registry) >= 2);
    settings(9);
    reload(&daemon);
    wait_until("all are asked for", SOON, || count(&registry) == layers.len());
    drop(client);
    let parts = || std::fs::read_dir(daemon.data_root().join("content/tmp")).expect("parts").count();
    wait_until("nothing is left of what never began", SOON, || parts() == 0);
    let said = "max-concurrent-downloads=9, max-concurrent-uploads=7";
    wait_until("the reload is told", SOON, || {
        let events = daemon.minke(&["events", "--since", "1h", "--until", "0s", "--filter", "event=reload"]);
        events.stdout.contains(said)
    });
}
