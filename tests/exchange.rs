//! Images exchanged with others: by a registry with Docker, Podman and skopeo, by files with umoci too; and lines that break on the way.

use std::path::Path;
use std::process::Command;

use minke_testkit::registries::{Line, Registry, RegistryOptions};
use minke_testkit::{Client, Daemon, Options, Run, tools};
use sha2::{Digest as _, Sha256};

fn with(images: &[&'static str]) -> Daemon {
    Daemon::with(Options { images: images.to_vec(), ..Options::default() })
}

/// An image of two layers that nothing compresses.
fn make_image(daemon: &Daemon, name: &str, bytes: u32) {
    for (base, image) in [("busybox", "lower"), ("lower", name)] {
        let script = format!("head -c {bytes} /dev/urandom > /data-$(hostname)");
        daemon.minke(&["run", "--name", "maker", base, "sh", "-c", &script]).ok().done();
        daemon.minke(&["commit", "maker", image]).ok().done();
        daemon.minke(&["rm", "maker"]).ok().done();
    }
}

/// Every blob has the bytes that its name says.
#[track_caller]
fn blobs_are_sound(daemon: &Daemon) {
    let dir = daemon.data_root().join("content/sha256");
    for entry in std::fs::read_dir(dir).expect("the content store").flatten() {
        let digest = Sha256::digest(std::fs::read(entry.path()).expect("a blob"));
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(entry.file_name().to_string_lossy(), hex, "a corrupt blob");
    }
}

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

const LAYER: u32 = 300_000;

/// The line is cut once per pull and per push, at any byte; each goes on and comes to its end, and what it brings is right.
#[test]
fn a_line_that_is_cut_a_hundred_times_spoils_nothing() {
    let daemon = with(&["busybox"]);
    if daemon.is_peer() {
        return;
    }
    let registry = Registry::beside(&daemon, &RegistryOptions::default());
    let line = Line::to(&registry, &daemon);
    let mut dice = Dice(7);
    let name = line.name("cut:1");
    make_image(&daemon, &name, LAYER);
    daemon.minke(&["push", "-q", &name]).ok().done();
    let id = daemon.inspect(&name, "{{.Id}}");
    for round in 0..60 {
        daemon.minke(&["rmi", "-f", &name, "lower", "busybox"]).done();
        line.cut_after(dice.below(u64::from(LAYER) * 2));
        let pull = daemon.minke(&["pull", &name]);
        line.mend();
        assert_eq!(pull.code, 0, "round {round}: {pull}");
        assert_eq!(daemon.inspect(&name, "{{.Id}}"), id);
        blobs_are_sound(&daemon);
    }
    daemon.load("busybox");
    for round in 0..40 {
        let other = line.name(&format!("other{round}:1"));
        make_image(&daemon, &other, LAYER / 4);
        line.cut_after(dice.below(u64::from(LAYER) / 2));
        let push = daemon.minke(&["push", &other]);
        line.mend();
        assert_eq!(push.code, 0, "round {round}: {push}");
        let mut skopeo = daemon.in_netns("skopeo");
        skopeo.args(["copy", "-q", "--src-tls-verify=false", &format!("docker://{other}")]);
        skopeo.arg(format!("dir:{}", daemon.path().join(format!("copy{round}")).display()));
        Run::new(skopeo, b"").ok().done();
    }
    assert!(line.cuts() >= 80, "{} cuts", line.cuts());
}

/// A line that breaks and stays broken fails the pull and leaves nothing half there; the next pull fetches the rest.
#[test]
fn the_second_try_fetches_only_what_is_missing() {
    let mut daemon = with(&["busybox"]);
    if daemon.is_peer() {
        return;
    }
    let registry = Registry::beside(&daemon, &RegistryOptions::default());
    let line = Line::to(&registry, &daemon);
    let name = line.name("broken:1");
    make_image(&daemon, &name, 4 * LAYER);
    daemon.minke(&["push", "-q", &name]).ok().done();
    let forget = |daemon: &Daemon| daemon.minke(&["rmi", "-f", &name, "lower", "busybox"]).done();
    forget(&daemon);
    line.take_passed();
    daemon.minke(&["pull", "-q", &name]).ok().done();
    let whole = line.take_passed();
    for part in [2, 5, 8] {
        forget(&daemon);
        line.break_after(whole * part / 10);
        daemon.minke(&["pull", "-q", &name]).exits(1).done();
        assert_eq!(daemon.minke(&["images", "-q", "-a"]).ok().text(), "", "no half of an image");
        blobs_are_sound(&daemon);
        // Neither an engine that was killed forgets what it has.
        if part == 5 {
            daemon.kill();
            daemon.spawn();
        }
        line.take_passed();
        line.mend();
        daemon.minke(&["pull", "-q", &name]).ok().done();
        let rest = line.take_passed();
        // What had passed the line but lay unread in the sockets of the connections when they broke.
        let slack = 512 << 10;
        assert!(rest <= whole - whole * part / 10 + slack, "{rest} of {whole} bytes after {part} tenths");
        daemon.minke(&["run", "--rm", &name, "true"]).ok().done();
        blobs_are_sound(&daemon);
    }
}

/// What came of a pull that was given up is pruned with the images that nobody names, and fetched anew then.
#[test]
fn a_prune_takes_what_came_of_a_pull_that_was_given_up() {
    let daemon = with(&["busybox"]);
    if daemon.is_peer() {
        return;
    }
    let registry = Registry::beside(&daemon, &RegistryOptions::default());
    let line = Line::to(&registry, &daemon);
    let name = line.name("given-up:1");
    // More than what a broken connection may take along is missing of a layer, and more than that is there.
    make_image(&daemon, &name, 16 * LAYER);
    daemon.minke(&["push", "-q", &name]).ok().done();
    let forget = || daemon.minke(&["rmi", "-f", &name, "lower", "busybox"]).done();
    forget();
    line.take_passed();
    daemon.minke(&["pull", "-q", &name]).ok().done();
    let whole = line.take_passed();
    for (prune, goes) in [
        (&["image", "prune", "-f", "--filter", "until=1h"][..], false),
        (&["image", "prune", "-f"], true),
        (&["system", "prune", "-f"], true),
    ] {
        forget();
        line.break_after(whole * 8 / 10);
        daemon.minke(&["pull", "-q", &name]).exits(1).done();
        let parts = || std::fs::read_dir(daemon.data_root().join("content/tmp")).expect("parts").count();
        minke_testkit::wait_until("parts are there", std::time::Duration::from_secs(20), || parts() > 0);
        line.mend();
        let told = daemon.minke(prune).ok();
        assert_eq!(parts() == 0, goes, "{told}");
        line.take_passed();
        daemon.minke(&["pull", "-q", &name]).ok().done();
        let rest = line.take_passed();
        assert!(!goes || rest > whole * 9 / 10, "{rest} of {whole} bytes after {prune:?}");
    }
}

/// A push that broke off is told from the beginning, and sends only the layers that are not there; one whose line is cut goes on in
/// the middle of a layer.
#[test]
fn a_second_push_sends_only_what_is_missing() {
    let mut daemon = with(&["busybox"]);
    if daemon.is_peer() {
        return;
    }
    // One after the other, so that some are there when the line breaks.
    daemon.terminate();
    daemon.set_args(&["--max-concurrent-uploads", "1"]);
    daemon.spawn();
    let registry = Registry::beside(&daemon, &RegistryOptions::default());
    let line = Line::to(&registry, &daemon);
    let layer = u64::from(LAYER) * 8;
    daemon.minke(&["tag", "busybox", "under"]).ok().done();
    let make = |name: &str| {
        for image in ["under", "under", "under", name] {
            let script = "head -c 2400000 /dev/urandom > /data-$(hostname)";
            daemon.minke(&["run", "--name", "maker", "under", "sh", "-c", script]).ok().done();
            daemon.minke(&["commit", "maker", image]).ok().done();
            daemon.minke(&["rm", "maker"]).ok().done();
        }
        daemon.minke(&["tag", "busybox", "under"]).ok().done();
    };
    // The sockets of a connection hold so much at most that has passed the line and came to nothing.
    let slack = 1 << 20;
    for tenths in [4, 6, 9] {
        let name = line.name(&format!("half{tenths}:1"));
        make(&name);
        line.take_passed();
        line.break_after(layer * 4 * tenths / 10);
        daemon.minke(&["push", "-q", &name]).exits(1).done();
        line.mend();
        line.take_passed();
        daemon.minke(&["push", "-q", &name]).ok().done();
        let rest = line.take_passed();
        // Of the four layers, those before the break are there. busybox's own may be, from the push before.
        let there = 4 * tenths / 10;
        assert!(
            rest <= (4 - there + 1) * layer + slack,
            "{rest} bytes after {tenths} tenths of {}",
            layer * 4
        );
        assert!(rest >= (4 - there - 1) * layer, "{rest} bytes after {tenths} tenths");
        assert_eq!(digest_at(&daemon, &name), pushed(&daemon, &name));
    }
    let name = line.name("cut:1");
    make(&name);
    line.take_passed();
    line.cut_after(layer * 5 / 2);
    daemon.minke(&["push", "-q", &name]).ok().done();
    let all = line.take_passed();
    assert!(line.cuts() > 3 && all <= layer * 4 + layer / 2 + slack, "{all} bytes for {}", layer * 4);
    assert_eq!(digest_at(&daemon, &name), pushed(&daemon, &name));
}

/// The digest that a pushed name got.
fn pushed(daemon: &Daemon, name: &str) -> String {
    let repository = name.rsplit_once(':').map_or(name, |(repository, _)| repository);
    let digests = daemon.inspect(name, "{{range .RepoDigests}}{{.}} {{end}}");
    let found = digests.split_whitespace().find_map(|digest| digest.strip_prefix(&format!("{repository}@")));
    found.unwrap_or_default().to_owned()
}

/// A client that goes away ends its pull; two clients that want the same image fetch it once.
#[test]
fn a_pull_ends_with_its_client_and_two_share_one() {
    let daemon = with(&["busybox"]);
    if daemon.is_peer() {
        return;
    }
    let registry = Registry::beside(&daemon, &RegistryOptions::default());
    let line = Line::to(&registry, &daemon);
    let name = line.name("shared:1");
    make_image(&daemon, &name, 4 * LAYER);
    daemon.minke(&["push", "-q", &name]).ok().done();
    let forget = || daemon.minke(&["rmi", "-f", &name, "lower", "busybox"]).done();
    forget();
    line.take_passed();
    daemon.minke(&["pull", "-q", &name]).ok().done();
    let whole = line.take_passed();
    forget();
    let both = [Client::Minke, Client::Docker].map(|client| daemon.start_client(client, &["pull", &name]));
    for run in both.map(|client| client.finish(std::time::Duration::from_secs(60))) {
        // Who comes second may find the name given already.
        run.ok().says("Status: ").done();
    }
    let passed = line.take_passed();
    assert!(passed < whole + whole / 4, "{passed} bytes for two, {whole} for one");
    forget();
    line.slow_down();
    let client = daemon.start_client(Client::Docker, &["pull", &name]);
    let begun = || line.passed() > whole / 10;
    minke_testkit::wait_until("the pull has begun", std::time::Duration::from_secs(20), begun);
    client.signal(rustix::process::Signal::KILL);
    client.finish(std::time::Duration::from_secs(5)).done();
    let mut before = line.passed();
    minke_testkit::wait_until("nothing passes any more", std::time::Duration::from_secs(20), || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        let now = line.passed();
        std::mem::replace(&mut before, now) == now
    });
    assert!(line.take_passed() < whole * 9 / 10, "the pull went on without its client");
    assert_eq!(daemon.minke(&["images", "-q"]).ok().text(), "");
    // What came of it is for the next one.
    line.mend();
    daemon.minke(&["pull", "-q", &name]).ok().done();
}

fn skopeo(daemon: &Daemon, args: &[&str]) -> Run {
    let mut command = daemon.in_netns("skopeo");
    command.arg("--insecure-policy").args(args);
    Run::new(command, b"").ok()
}

/// The digest that skopeo finds.
fn digest_at(daemon: &Daemon, name: &str) -> String {
    let place = format!("docker://{name}");
    skopeo(daemon, &["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &place]).text().to_owned()
}

/// Pushed by minke, pulled by skopeo with the same digest, pushed on, and back: nothing is rewritten on the way.
#[test]
fn digests_survive_the_way_to_skopeo_and_back() {
    let daemon = with(&["busybox"]);
    if daemon.is_peer() {
        return;
    }
    let registry = Registry::beside(&daemon, &RegistryOptions::default());
    let (first, second) = (registry.named("first:1"), registry.named("second:1"));
    make_image(&daemon, &first, LAYER);
    daemon.minke(&["push", "-q", &first]).ok().done();
    let digest = daemon.inspect(&first, "{{index .RepoDigests 0}}");
    let digest = digest.rsplit('@').next().expect("a digest").to_owned();
    assert_eq!(digest_at(&daemon, &first), digest);
    let id = daemon.inspect(&first, "{{.Id}}");
    // To an OCI layout and to another repository by skopeo's hands.
    let layout = format!("oci:{}:x", daemon.path().join("layout").display());
    skopeo(&daemon, &["copy", "-q", "--src-tls-verify=false", &format!("docker://{first}"), &layout]).done();
    skopeo(&daemon, &["copy", "-q", "--dest-tls-verify=false", &layout, &format!("docker://{second}")])
        .done();
    assert_eq!(digest_at(&daemon, &second), digest);
    daemon.minke(&["rmi", "-f", &first, "lower", "busybox"]).done();
    daemon.docker(&["pull", &second]).ok().says(&format!("Digest: {digest}")).done();
    assert_eq!(daemon.inspect(&second, "{{.Id}}"), id);
    // And what came is pushed as it came, zstd and all.
    let zstd = registry.named("zstd:1");
    let plain = format!("dir:{}", daemon.path().join("plain").display());
    let from = format!("docker://{second}");
    skopeo(&daemon, &["copy", "-q", "--src-tls-verify=false", "--dest-decompress", &from, &plain]).done();
    let packed = format!("dir:{}", daemon.path().join("packed").display());
    let compress = ["--dest-compress", "--dest-compress-format", "zstd"];
    skopeo(&daemon, &[&["copy", "-q"][..], &compress, &[&plain, &packed]].concat()).done();
    let to = format!("docker://{zstd}");
    let args = ["copy", "-q", "--preserve-digests", "--dest-tls-verify=false", &packed, &to];
    skopeo(&daemon, &args).done();
    let digest = digest_at(&daemon, &zstd);
    daemon.minke(&["rmi", "-f", &second]).ok().done();
    daemon.minke(&["pull", &zstd]).ok().says(&format!("Digest: {digest}")).done();
    assert_eq!(daemon.inspect(&zstd, "{{.Id}}"), id, "the same image in other clothes");
    let raw = skopeo(&daemon, &["inspect", "--raw", "--tls-verify=false", &to]);
    raw.says("tar+zstd").done();
    let again = registry.named("again:1");
    daemon.minke(&["tag", &zstd, &again]).ok().done();
    daemon.minke(&["push", "-q", &again]).ok().done();
    assert_eq!(digest_at(&daemon, &again), digest);
}

/// Of several platforms the right one comes, another when it is asked for, and a missing one is named.
#[test]
fn a_platform_is_chosen_out_of_an_index() {
    let daemon = with(&["busybox"]);
    if daemon.is_peer() {
        return;
    }
    let registry = Registry::beside(&daemon, &RegistryOptions::default());
    let name = registry.named("many:1");
    let mut manifests = Vec::new();
    for (arch, variant) in [("amd64", ""), ("arm64", "v8")] {
        let part = registry.named(&format!("many:{arch}"));
        let platform = format!("linux/{arch}{}{variant}", if variant.is_empty() { "" } else { "/" });
        daemon
            .minke(&["run", "--name", "maker", "busybox", "sh", "-c", &format!("echo {arch} > /arch")])
            .ok()
            .done();
        let tar = daemon.path().join("root.tar");
        let tar = tar.to_string_lossy();
        daemon.minke(&["export", "-o", &tar, "maker"]).ok().done();
        daemon.minke(&["rm", "maker"]).ok().done();
        daemon.minke(&["import", "--platform", &platform, &tar, &part]).ok().done();
        daemon.minke(&["push", "-q", &part]).ok().done();
        let digest = digest_at_raw(&daemon, &part);
        manifests.push(serde_json::json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest.0, "size": digest.1,
            "platform": {"os": "linux", "architecture": arch},
        }));
        daemon.minke(&["rmi", "-f", &part]).ok().done();
    }
    let kind = "application/vnd.oci.image.index.v1+json";
    let index =
        serde_json::json!({"schemaVersion": 2, "mediaType": kind, "manifests": manifests}).to_string();
    put_manifest(&daemon, &registry, "many", "1", kind, &index);
    let wanted = format!("sha256:{}", hex(&Sha256::digest(index.as_bytes())));
    for (platform, arch) in [("", "amd64"), ("linux/arm64", "arm64"), ("linux/amd64", "amd64")] {
        let given = ["--platform", platform];
        let given = if platform.is_empty() { &[][..] } else { &given[..] };
        daemon
            .docker(&[&["pull"][..], given, &[&name]].concat())
            .ok()
            .says(&format!("Digest: {wanted}"))
            .done();
        assert_eq!(daemon.inspect(&name, "{{.Architecture}}"), arch, "{platform}");
        daemon.minke(&["rmi", "-f", &name]).ok().done();
    }
    let none = "no matching manifest for linux/s390x in the manifest list entries";
    daemon.docker(&["pull", "--platform", "linux/s390x", &name]).exits(1).complains(none).done();
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn digest_at_raw(daemon: &Daemon, name: &str) -> (String, usize) {
    let raw = skopeo(daemon, &["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")]);
    (format!("sha256:{}", hex(&Sha256::digest(raw.stdout.as_bytes()))), raw.stdout.len())
}

fn put_manifest(daemon: &Daemon, registry: &Registry, path: &str, tag: &str, kind: &str, document: &str) {
    use std::io::{Read as _, Write as _};
    let at: std::net::SocketAddr = registry.domain().parse().expect("an address");
    let mut stream = daemon.host_netns().run(|| std::net::TcpStream::connect(at)).expect("the registry");
    let head = format!(
        "PUT /v2/{path}/manifests/{tag} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        document.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(document.as_bytes())).expect("put");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
}

/// What a directory is made a tar of.
fn pack(dir: &Path, tar: &Path) {
    let mut builder = tar::Builder::new(std::fs::File::create(tar).expect("create"));
    builder.append_dir_all(".", dir).expect("pack");
    builder.finish().expect("pack");
}

/// Files: what minke saves is read by skopeo, umoci and Podman; what they write loads as the same image.
#[test]
fn archives_are_exchanged_with_skopeo_umoci_and_podman() {
    let daemon = with(&["busybox"]);
    if daemon.is_peer() {
        return;
    }
    make_image(&daemon, "exchange:1", LAYER);
    let id = daemon.inspect("exchange:1", "{{.Id}}");
    let dir = daemon.path();
    let saved = dir.join("saved.tar");
    daemon.minke(&["save", "-o", &saved.to_string_lossy(), "exchange:1", "busybox"]).ok().done();
    let reload = |file: &Path, what: &str| {
        daemon.minke(&["rmi", "-f", "exchange:1", "lower"]).done();
        daemon.minke(&["load", "-i", &file.to_string_lossy()]).ok().says("Loaded image").done();
        assert_eq!(daemon.minke(&["inspect", "--format", "{{.Id}}", &id]).ok().text(), id, "{what}");
        daemon.minke(&["run", "--rm", &id, "true"]).ok().done();
        daemon.minke(&["tag", &id, "exchange:1"]).ok().done();
    };
    // skopeo, both kinds of archives and back.
    let archive = format!("docker-archive:{}:docker.io/library/exchange:1", saved.display());
    let copy = dir.join("copy.tar");
    skopeo(&daemon, &["copy", "-q", &archive, &format!("docker-archive:{}:exchange:1", copy.display())])
        .done();
    reload(&copy, "skopeo's docker-archive");
    let layout = dir.join("layout");
    skopeo(&daemon, &["copy", "-q", &archive, &format!("oci:{}:one", layout.display())]).done();
    let packed = dir.join("layout.tar");
    pack(&layout, &packed);
    daemon.minke(&["load", "-i", &packed.to_string_lossy()]).ok().says("Loaded image").done();
    let oci = dir.join("oci.tar");
    skopeo(&daemon, &["copy", "-q", &archive, &format!("oci-archive:{}:one", oci.display())]).done();
    daemon.minke(&["load", "-i", &oci.to_string_lossy()]).ok().says("Loaded image").done();
    // What minke writes is an OCI layout as it is.
    let unpacked = dir.join("unpacked");
    std::fs::create_dir(&unpacked).expect("a directory");
    tar::Archive::new(std::fs::File::open(&saved).expect("open")).unpack(&unpacked).expect("unpack");
    if tools::on_path("umoci") {
        let run = |args: &[&str]| {
            let mut umoci = Command::new("umoci");
            umoci.args(args);
            Run::new(umoci, b"").ok()
        };
        let layout = unpacked.to_string_lossy().into_owned();
        run(&["list", "--layout", &layout]).says("1").done();
        let bundle = dir.join("bundle");
        run(&["unpack", "--image", &format!("{layout}:1"), &bundle.to_string_lossy()]).done();
        assert!(bundle.join("rootfs/bin/busybox").exists());
        run(&["config", "--image", &format!("{layout}:1"), "--config.label", "by=umoci"]).done();
        let tar = dir.join("umoci.tar");
        pack(&unpacked, &tar);
        daemon.minke(&["load", "-i", &tar.to_string_lossy()]).ok().says("Loaded image").done();
    }
    if tools::on_path("podman") {
        let store = dir.join("podman");
        let podman = |args: &[&str]| {
            let mut podman = Command::new("podman");
            podman.arg("--root").arg(store.join("root")).arg("--runroot").arg(store.join("run"));
            podman.args(["--storage-driver", "vfs"]).args(args);
            Run::new(podman, b"")
        };
        podman(&["load", "-i", &saved.to_string_lossy()]).ok().says("exchange:1").done();
        let found = podman(&["inspect", "--type", "image", "--format", "{{.Id}}", "exchange:1"]).ok();
        assert_eq!(format!("sha256:{}", found.text()), id);
        for format in ["docker-archive", "oci-archive"] {
            let file = dir.join(format!("{format}.tar"));
            podman(&["save", "-q", "--format", format, "-o", &file.to_string_lossy(), "exchange:1"])
                .ok()
                .done();
            if format == "docker-archive" {
                reload(&file, "Podman's docker-archive");
            } else {
                daemon.minke(&["load", "-i", &file.to_string_lossy()]).ok().says("Loaded image").done();
            }
        }
        podman(&["rmi", "-af"]).ok().done();
    }
}
