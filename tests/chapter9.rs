//! Chapter 9 of the book: public and private software distribution (S9-4 and S9-9 are in `sources.rs`). The client's rows (9-Cnn, 9-Bnn) are beside what shows them.
//! The private registries are the real `docker-registry`; the hub is one in memory with an account, tokens and a search.

use std::net::TcpListener;
use std::path::Path;

use minke_testkit::registries::parts::{
    self, ALICE, BOB, Parties, file_config, layered, login, open, pushed_digest,
};
use minke_testkit::registries::{FakeRegistry, Hub, Registry, RegistryOptions, Tricks};
use minke_testkit::{Client, Daemon, Options, Run};

const BOTH: [Client; 2] = [Client::Minke, Client::Docker];

fn with(images: &[&'static str]) -> Daemon {
    Daemon::with(Options { images: images.to_vec(), ..Options::default() })
}

/// A hub that both daemons reach under one name.
fn hub(daemons: &[&Daemon], private: &[&str]) -> FakeRegistry {
    let mut sockets = daemons.iter().map(|daemon| daemon.host_netns());
    let first = sockets.next().expect("a daemon").run(|| TcpListener::bind("127.0.0.1:0"));
    let mut hub = FakeRegistry::on(first.expect("a port for the hub"));
    for netns in sockets {
        let port = hub.domain();
        hub.also_on(netns.run(|| TcpListener::bind(port)).expect("the hub's port in another network"));
    }
    let account = Hub {
        user: "alice".to_owned(),
        authorization: "Basic YWxpY2U6c2VjcmV0".to_owned(),
        private: private.iter().map(|name| (*name).to_owned()).collect(),
    };
    hub.set(Tricks { hub: Some(account), ..Tricks::default() });
    hub
}

/// S9-1 (9C-01 to 9C-05, 9C-08 to 9C-10; 9B-02 to 9B-04, 9B-06 to 9B-08): published, found, pulled by somebody else; another's name is
/// refused.
#[test]
fn s9_01_publish_hello_world_to_a_hub() {
    for client in BOTH {
        let (here, there) = (with(&["busybox"]), with(&[]));
        // Two engines are one there.
        if here.is_peer() {
            return;
        }
        let hub = hub(&[&here, &there], &[]);
        let name = format!("{}/alice/hello-dockerfile", hub.domain());
        let context = here.path().join("hello");
        std::fs::create_dir(&context).expect("a directory");
        std::fs::write(context.join("HelloWorld.df"), "FROM busybox:latest\nCMD echo Hello World\n")
            .expect("write");
        let mut build = here.command(client, &["build", "-t", &name, "-f", "HelloWorld.df", "."]);
        build.env("DOCKER_BUILDKIT", "0").current_dir(&context);
        Run::new(build, b"").ok().done();
        let command = here.inspect(&format!("{name}:latest"), "{{json .Config.Cmd}}");
        assert_eq!(command, r#"["/bin/sh","-c","echo Hello World"]"#);
        here.run(client, &["run", "--rm", &name]).ok().says("Hello World").done();
        here.run(client, &["push", &name]).exits(1).complains("denied").done();
        login(&here, client, "alice", "wrong", &hub.domain()).exits(1).complains("incorrect").done();
        login(&here, client, "alice", "secret", &hub.domain()).ok().says("Login Succeeded").done();
        let pushed = here.run(client, &["push", &name]).ok();
        assert!(pushed.stdout.contains(&format!("The push refers to repository [{name}]")), "{pushed}");
        assert!(pushed_digest(&pushed).len() == 71, "{pushed}");
        let again = here.run(client, &["push", &name]).ok().says("Layer already exists");
        assert_eq!(pushed_digest(&again), pushed_digest(&pushed));
        let other = format!("{}/bob/hello", hub.domain());
        here.minke(&["tag", &name, &other]).ok().done();
        here.run(client, &["push", &other])
            .exits(1)
            .complains("denied: requested access to the resource is denied")
            .done();
        assert!(hub.manifest("bob/hello", "latest").is_none());
        let pulled = there.run(client, &["pull", &name]).ok();
        assert!(pulled.stdout.contains(&format!("Digest: {}", pushed_digest(&pushed))), "{pulled}");
        there.run(client, &["run", "--rm", &name]).ok().says("Hello World").done();
        search(&hub, &there, client);
    }
}

fn search(hub: &FakeRegistry, daemon: &Daemon, client: Client) {
    let long = "words ".repeat(20);
    let found = serde_json::json!({"num_results": 2, "query": "hello", "results": [
        {"name": "alice/hello-dockerfile", "description": long, "star_count": 3, "is_official": false, "is_automated": false},
        {"name": "hello", "description": "a greeting", "star_count": 40, "is_official": true, "is_automated": false}]});
    hub.set(Tricks { search: found.to_string(), ..Tricks::default() });
    let term = format!("{}/hello", hub.domain());
    let list = daemon.run(client, &["search", &term]).ok();
    let lines: Vec<&str> = list.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{list}");
    assert!(lines[0].starts_with("NAME") && lines[0].ends_with("OFFICIAL"), "{list}");
    assert!(lines[2].starts_with("hello ") && lines[2].trim_end().ends_with("[OK]"), "{list}");
    assert!(lines[1].starts_with("alice/hello-dockerfile") && lines[1].contains('…'), "{list}");
    let whole = daemon.run(client, &["search", "--no-trunc", &term]).ok();
    assert!(whole.stdout.contains(long.trim_end()), "{whole}");
    let names = |more: &[&str]| {
        let args = [&["search", "--format", "{{.Name}} {{.StarCount}}"], more, &[&term]].concat();
        daemon.run(client, &args).ok().text().to_owned()
    };
    assert_eq!(names(&["--filter", "is-official=true"]), "hello 40");
    assert_eq!(names(&["--filter", "stars=4"]), "hello 40");
    assert_eq!(names(&["--filter", "is-official=false"]), "alice/hello-dockerfile 3");
    daemon.run(client, &["search", "--limit", "101", &term]).exits(1).complains("outside the range").done();
    daemon.run(client, &["search", "--filter", "x=y", &term]).exits(1).complains("invalid filter 'x").done();
}

/// S9-2 (9C-04 to 9C-07; 9B-04, 9B-23): three registries, each with its own entry in the file; passwords that are wrong change nothing;
/// nobody to ask is said; logout forgets one; a file of docker's early days counts.
#[test]
fn s9_02_login_matrix() {
    for client in BOTH {
        let daemon = with(&[]);
        let parties = Parties::new(&["127.0.0.1"]);
        let users = Some(format!("{ALICE}\n{BOB}"));
        let tls = Some(parties.server());
        let options = RegistryOptions { users: users.clone(), ..RegistryOptions::default() };
        let registries = [
            Registry::beside(&daemon, &options),
            Registry::beside(&daemon, &RegistryOptions { tls, ..options.clone() }),
            Registry::beside(&daemon, &options),
        ];
        let names: Vec<String> = registries.iter().map(Registry::domain).collect();
        for name in &names {
            login(&daemon, client, "alice", "secret", name)
                .ok()
                .says("Login Succeeded")
                .complains("stored unencrypted")
                .done();
        }
        let path = daemon.path().join("config/config.json");
        let keys = |path: &Path| -> Vec<String> {
            let auths = file_config(path)["auths"].clone();
            auths.as_object().map(|auths| auths.keys().cloned().collect()).unwrap_or_default()
        };
        let mut sorted = names.clone();
        sorted.sort();
        let mut known = keys(&path);
        known.sort();
        assert_eq!(known, sorted);
        let text = std::fs::read_to_string(&path).expect("config.json");
        assert!(!text.contains("secret"), "{text}");
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).expect("config.json"));
        assert_eq!(mode & 0o777, 0o600);
        login(&daemon, client, "alice", "wrong", &names[0]).exits(1).complains("401 Unauthorized").done();
        assert_eq!(std::fs::read_to_string(&path).expect("config.json"), text);
        daemon
            .run(client, &["login", "-u", "bob", "127.0.0.1:1"])
            .exits(1)
            .complains("Cannot perform an interactive login from a non TTY device")
            .done();
        daemon
            .run(client, &["login", "-u", "bob", "-p", "word", "--password-stdin", &names[0]])
            .exits(1)
            .complains("--password-stdin")
            .done();
        daemon.run(client, &["login", &names[1]]).ok().says("Login Succeeded").done();
        daemon.run(client, &["logout", &names[1]]).ok().says("Removing login credentials for").done();
        assert!(!keys(&path).contains(&names[1]) && keys(&path).len() == 2);
        // An entry of before the file had sections.
        if client == Client::Minke && !daemon.is_peer() {
            std::fs::remove_file(&path).expect("remove config.json");
            let old = serde_json::json!({names[0].clone(): {"auth": "YWxpY2U6c2VjcmV0", "email": "a@b.c"}});
            std::fs::write(daemon.path().join(".dockercfg"), old.to_string()).expect("write .dockercfg");
            daemon.run(client, &["login", &names[0]]).ok().says("Login Succeeded").done();
            assert_eq!(keys(&path), [names[0].clone()]);
        }
    }
}

/// S9-3 (9C-14; 9B-10, 9B-19 to 9B-22): a private repository is there for its owner alone, and nobody else learns that it is.
#[test]
fn s9_03_private_repository() {
    for client in BOTH {
        let (owner, stranger) = (with(&["busybox"]), with(&[]));
        if owner.is_peer() {
            return;
        }
        let hub = hub(&[&owner, &stranger], &["alice/private"]);
        let name = format!("{}/alice/private", hub.domain());
        owner.minke(&["tag", "busybox", &name]).ok().done();
        login(&owner, client, "alice", "secret", &hub.domain()).ok().done();
        owner.run(client, &["push", &name]).ok().done();
        let missing = format!("{}/alice/nothing", hub.domain());
        let told = |name: &str| {
            let refused = stranger.run(client, &["pull", name]).exits(1);
            assert!(!refused.stderr.is_empty(), "{refused}");
            refused.stderr.replace(name, "NAME")
        };
        assert_eq!(told(&name), told(&missing));
        stranger.run(client, &["run", "--rm", &name, "true"]).exits(125).done();
        login(&stranger, client, "alice", "secret", &hub.domain()).ok().done();
        stranger.run(client, &["run", "--rm", &name, "echo", "let in"]).ok().says("let in").done();
    }
}

/// S9-5 (9C-15 to 9C-25; 9B-24, 9B-27 to 9B-29): from one registry to a private one and back; what it keeps outlives it.
#[test]
fn s9_05_copy_to_a_private_registry_and_consume() {
    for client in BOTH {
        let daemon = with(&["busybox"]);
        let registry = open(&daemon);
        let from = format!("dockerinaction/{}", minke_testkit::unique("ch9_registry_bound"));
        daemon.minke(&["create", "--name", "maker", "busybox"]).ok().done();
        // As others may have the book's.
        let label = format!("LABEL dia_exercise={}", minke_testkit::unique(&format!("bound-{client:?}")));
        let filter = label.replacen("LABEL ", "label=", 1);
        daemon.minke(&["commit", "-c", &label, "maker", &from]).ok().done();
        daemon.minke(&["rm", "maker"]).ok().done();
        let own = registry.named(&from);
        let list = || {
            let args = ["images", "-f", &filter, "--format", "{{.Repository}}"];
            let mut names: Vec<String> =
                daemon.run(client, &args).ok().stdout.lines().map(str::to_owned).collect();
            names.sort();
            names
        };
        let id = daemon.inspect(&from, "{{.Id}}");
        daemon.run(client, &["tag", &from, &own]).ok().done();
        assert_eq!(list().len(), 2);
        daemon.run(client, &["push", &own]).ok().done();
        assert!(registry.storage().join("docker/registry/v2/repositories/dockerinaction").is_dir());
        daemon.run(client, &["rmi", &from, &own]).ok().says("Deleted: ").done();
        assert!(list().is_empty());
        daemon.run(client, &["pull", &own]).ok().done();
        assert_eq!(list(), std::slice::from_ref(&own));
        assert_eq!(daemon.inspect(&own, "{{.Id}}"), id);
        // Another registry on the same directory has it again.
        let storage = Some(registry.storage().to_owned());
        let second = Registry::beside(&daemon, &RegistryOptions { storage, ..RegistryOptions::default() });
        daemon.run(client, &["rmi", &own]).ok().done();
        let again = second.named(&from);
        daemon.run(client, &["pull", &again]).ok().done();
        assert_eq!(daemon.inspect(&again, "{{.Id}}"), id);
    }
}

/// S9-5 again, with Debian's registry as a container that restarts (9C-15, 9C-19, 9C-20, 9C-25): what it keeps is on the host, and stays there.
#[test]
fn s9_05_a_registry_in_a_container() {
    for client in BOTH {
        let daemon = with(&["busybox", "debian"]);
        if daemon.is_peer() {
            return;
        }
        let context = daemon.path().join("registry");
        std::fs::create_dir(&context).expect("a directory");
        std::fs::copy("/usr/bin/docker-registry", context.join("registry"))
            .expect("Debian's docker-registry");
        let settings = "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: /tmp/registry-dev\nhttp:\n  addr: :5000\n";
        std::fs::write(context.join("config.yml"), settings).expect("write");
        let dockerfile = "FROM debian\nCOPY registry config.yml /\nEXPOSE 5000\nCMD [\"/registry\", \"serve\", \"/config.yml\"]\n";
        std::fs::write(context.join("Dockerfile"), dockerfile).expect("write");
        let mut build = daemon.command(client, &["build", "-t", "registry:2", "."]);
        build.env("DOCKER_BUILDKIT", "0").current_dir(&context);
        Run::new(build, b"").ok().done();
        let data = daemon.path().join("data-of-it");
        let bind = format!("{}:/tmp/registry-dev", data.display());
        let start =
            ["run", "-d", "-p", "5000:5000", "-v", &bind, "--restart=always", "--name", "local-registry"];
        let own = "localhost:5000/dockerinaction/ch9_registry_bound";
        daemon.run(client, &["tag", "busybox", own]).ok().done();
        for again in [false, true] {
            daemon.run(client, &[&start[..], &["registry:2"]].concat()).ok().done();
            if again {
                daemon.run(client, &["rmi", own]).ok().done();
            }
            let verb = if again { "pull" } else { "push" };
            minke_testkit::wait_until("the registry answers", std::time::Duration::from_secs(30), || {
                daemon.run(client, &[verb, own]).code == 0
            });
            daemon.run(client, &["rm", "-vf", "local-registry"]).ok().done();
            assert_eq!(daemon.run(client, &["ps", "-aq"]).ok().text(), "", "it does not come back");
            assert!(data.join("docker/registry/v2/repositories/dockerinaction").is_dir());
        }
        daemon.run(client, &["run", "--rm", own, "true"]).ok().done();
    }
}

/// S9-6 (9B-27, 9B-30): without TLS only on this machine, until the settings say otherwise.
#[test]
fn s9_06_insecure_refusal() {
    let mut daemon = with(&["busybox"]);
    if daemon.is_peer() {
        return;
    }
    let address = parts::give_address(&daemon);
    let registry = Registry::beside(
        &daemon,
        &RegistryOptions { address: "0.0.0.0".parse().expect("an address"), ..RegistryOptions::default() },
    );
    let port = registry.domain().rsplit(':').next().unwrap_or_default().to_owned();
    let (far, near) = (format!("{address}:{port}/x"), format!("localhost:{port}/x"));
    daemon.minke(&["tag", "busybox", &near]).ok().done();
    daemon.minke(&["tag", "busybox", &far]).ok().done();
    daemon.minke(&["push", &near]).ok().done();
    for client in BOTH {
        daemon
            .run(client, &["pull", &far])
            .exits(1)
            .complains("http: server gave HTTP response to HTTPS client")
            .done();
        daemon.run(client, &["push", &far]).exits(1).complains("HTTPS client").done();
        daemon.run(client, &["pull", &near]).ok().done();
    }
    let file = daemon.path().join("daemon.json");
    let settings = |insecure: &[String]| {
        let document = serde_json::json!({"insecure-registries": insecure});
        std::fs::write(&file, document.to_string()).expect("write daemon.json");
    };
    settings(&[]);
    daemon.terminate();
    daemon.set_args(&["--config-file", &file.to_string_lossy()]);
    daemon.spawn();
    daemon.minke(&["pull", &far]).exits(1).done();
    for allowed in [format!("{address}:{port}"), format!("{address}/24")] {
        settings(&[allowed]);
        parts::reload(&daemon);
        for client in BOTH {
            daemon.run(client, &["pull", &far]).ok().done();
            daemon.run(client, &["push", &far]).ok().done();
        }
        settings(&[]);
        parts::reload(&daemon);
        daemon.minke(&["pull", &far]).exits(1).done();
    }
}

/// S9-7 without the FTP server (9C-28, 9C-32 to 9C-34; 9B-31, 9B-34): an image as a file by another way, the same when it is back.
#[test]
fn s9_07_images_as_files() {
    for client in BOTH {
        let daemon = with(&["busybox"]);
        // Others have names for the same image there.
        if daemon.is_peer() {
            return;
        }
        let id = daemon.inspect("busybox", "{{.Id}}");
        let file = daemon.path().join("registry.2.tar");
        let file = file.to_string_lossy();
        daemon.run(client, &["tag", "busybox", "registry:2"]).ok().done();
        let saved = daemon.run(client, &["save", "-o", &file, "registry:2"]).ok();
        assert_eq!(saved.stdout, "");
        daemon.run(client, &["create", "--name", "user", "registry:2"]).ok().done();
        daemon.run(client, &["rmi", "busybox"]).ok().done();
        daemon.run(client, &["rmi", "registry:2"]).exits(1).complains("conflict").done();
        daemon.run(client, &["rm", "user"]).ok().done();
        daemon.run(client, &["rmi", "registry:2"]).ok().done();
        daemon.run(client, &["load", "-i", &file]).ok().says("Loaded image: registry:2").done();
        assert_eq!(daemon.inspect("registry:2", "{{.Id}}"), id);
    }
}

/// S9-8 (9C-35; 9B-32, 9B-33): a flattened file has no history and nothing that was deleted.
#[test]
fn s9_08_flattened_file_path() {
    for client in BOTH {
        let daemon = with(&["busybox"]);
        layered(&daemon, "busybox", "echo hidden > /secret", "one");
        layered(&daemon, "one", "rm /secret", "two");
        let (saved, flat) = (daemon.path().join("saved.tar"), daemon.path().join("flat.tar"));
        let (saved, flat) = (saved.to_string_lossy(), flat.to_string_lossy());
        daemon.run(client, &["save", "-o", &saved, "two"]).ok().done();
        daemon.run(client, &["create", "--name", "flat", "two"]).ok().done();
        daemon.run(client, &["export", "-o", &flat, "flat"]).ok().done();
        daemon.run(client, &["rm", "flat"]).ok().done();
        let holds = |file: &str| {
            let bytes = std::fs::read(file).expect("the archive");
            parts::names_in(&bytes).iter().any(|name| name.ends_with("secret"))
        };
        assert!(
            parts::layers_of(Path::new(&*saved))
                .iter()
                .any(|layer| { parts::names_in(layer).iter().any(|name| name == "secret") })
        );
        assert!(!holds(&flat));
        daemon.run(client, &["import", &flat, "flat"]).ok().done();
        let layers = daemon.inspect("flat", "{{len .RootFS.Layers}} {{.Config.Cmd}} {{.Config.Env}}");
        assert!(layers.starts_with("1 []") || layers.starts_with("1 <no value>"), "{layers}");
        daemon.run(client, &["import", "-c", "CMD [\"true\"]", &flat, "changed"]).ok().done();
        daemon.run(client, &["run", "--rm", "changed"]).ok().done();
    }
}

/// S9-10 (9B-11): by digest; a flipped byte and another manifest are refused, and nothing gets a name.
#[test]
fn s9_10_integrity() {
    for client in BOTH {
        let daemon = with(&["busybox"]);
        if daemon.is_peer() {
            return;
        }
        let registry = open(&daemon);
        let name = registry.named("x");
        daemon.minke(&["tag", "busybox", &name]).ok().done();
        let digest = pushed_digest(&daemon.run(client, &["push", &name]).ok());
        let by_digest = format!("{name}@{digest}");
        daemon.run(client, &["rmi", "-f", "busybox", &name]).ok().done();
        daemon.run(client, &["pull", &by_digest]).ok().says(&format!("Digest: {digest}")).done();
        daemon.run(client, &["run", "--rm", &by_digest, "true"]).ok().done();
        daemon.run(client, &["rmi", "-f", &by_digest]).ok().done();
        assert_eq!(daemon.minke(&["images", "-aq"]).ok().text(), "");
        let blobs = registry.storage().join("docker/registry/v2/blobs/sha256");
        parts::flip_largest(&blobs);
        daemon.run(client, &["pull", &name]).exits(1).done();
        assert_eq!(daemon.minke(&["images", "-aq"]).ok().text(), "");
        let hex = digest.trim_start_matches("sha256:");
        let manifest = blobs.join(&hex[..2]).join(hex).join("data");
        std::fs::write(&manifest, "{\"schemaVersion\": 2}").expect("another manifest");
        daemon.run(client, &["pull", &by_digest]).exits(1).done();
        assert_eq!(daemon.minke(&["images", "-aq"]).ok().text(), "");
    }
}

/// S9-11 (9B-09): only what is missing travels, and several at once.
#[test]
fn s9_11_layer_economy_and_parallelism() {
    for client in BOTH {
        let (daemon, fresh) = (with(&["busybox"]), with(&[]));
        if daemon.is_peer() {
            return;
        }
        let registry = open(&daemon);
        layered(&daemon, "busybox", "echo base > /base", "base");
        layered(&daemon, "base", "echo 1 > /top", &registry.named("x:1"));
        layered(&daemon, "base", "echo 2 > /top", &registry.named("x:2"));
        daemon.run(client, &["push", &registry.named("x:1")]).ok().done();
        let uploads = || registry.requests("\"PATCH /v2/x/blobs/uploads/");
        let before = uploads();
        let second = daemon.run(client, &["push", &registry.named("x:2")]).ok();
        assert_eq!(second.stdout.matches("Layer already exists").count(), 2, "{second}");
        // The layer and the configuration.
        assert_eq!(uploads() - before, 2, "{}", registry.log());
        let mut last = "base".to_owned();
        for number in 0..5 {
            let next = format!("deep{number}");
            layered(&daemon, &last, &format!("echo {number} > /n{number}"), &next);
            last = next;
        }
        daemon.minke(&["tag", &last, &registry.named("deep")]).ok().done();
        daemon.run(client, &["push", &registry.named("deep")]).ok().done();
        // Somebody else, to whom everything is new, on the same data.
        let storage = Some(registry.storage().to_owned());
        let there = Registry::beside(&fresh, &RegistryOptions { storage, ..RegistryOptions::default() });
        fresh.run(client, &["pull", &there.named("x:1")]).ok().done();
        let gets = |name: &str| there.requests(&format!("\"GET /v2/{name}/blobs/sha256:"));
        let pulled = fresh.run(client, &["pull", &there.named("deep")]).ok();
        assert_eq!(pulled.stdout.matches("Already exists").count(), 2, "{pulled}");
        assert_eq!(gets("deep"), 6, "{}", there.log());
    }
}

/// S9-12 (9B-13; 9C-18): every tag from one registry to another, with the digests it had; by skopeo as well.
#[test]
fn s9_12_host_migration() {
    for client in BOTH {
        let daemon = with(&["busybox"]);
        if daemon.is_peer() {
            return;
        }
        let (old, new) = (open(&daemon), open(&daemon));
        layered(&daemon, "busybox", "echo 1 > /top", &old.named("team/x:1"));
        daemon.minke(&["tag", "busybox", &old.named("team/x:base")]).ok().done();
        daemon.run(client, &["push", "-a", &old.named("team/x")]).ok().done();
        daemon
            .minke(&["rmi", "-f", "busybox", &old.named("team/x:1"), &old.named("team/x:base")])
            .ok()
            .done();
        daemon.run(client, &["pull", "-a", &old.named("team/x")]).ok().done();
        for tag in ["1", "base"] {
            let (from, to) = (old.named(&format!("team/x:{tag}")), new.named(&format!("team/x:{tag}")));
            daemon.run(client, &["tag", &from, &to]).ok().done();
            daemon.run(client, &["push", &to]).ok().done();
            assert_eq!(skopeo_digest(&daemon, &from), skopeo_digest(&daemon, &to));
        }
        let third = open(&daemon);
        let mut copy = daemon.in_netns("skopeo");
        copy.args(["copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"])
            .arg(format!("docker://{}", old.named("team/x:1")))
            .arg(format!("docker://{}", third.named("team/x:1")));
        Run::new(copy, b"").ok().done();
        daemon.run(client, &["pull", &third.named("team/x:1")]).ok().done();
        let ids = [&old, &third].map(|at| daemon.inspect(&at.named("team/x:1"), "{{.Id}}"));
        assert_eq!(ids[0], ids[1]);
    }
}

fn skopeo_digest(daemon: &Daemon, name: &str) -> String {
    let mut command = daemon.in_netns("skopeo");
    command
        .args(["inspect", "--tls-verify=false", "--format", "{{.Digest}}"])
        .arg(format!("docker://{name}"));
    Run::new(command, b"").ok().text().to_owned()
}
