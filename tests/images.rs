//! Images in and out: load, save, import, tag, rmi, inspect, history, prune.

use minke_testkit::{Client, Daemon, Options, Run, fixtures, tools, wait_until};

const BOTH: [Client; 2] = [Client::Minke, Client::Docker];

fn with(images: &[&'static str]) -> Daemon {
    Daemon::with(Options { images: images.to_vec(), ..Options::default() })
}

#[test]
fn load_says_what_it_loaded_and_images_lists_it() {
    for client in BOTH {
        let daemon = with(&[]);
        let path = fixtures::archive("busybox");
        let path = path.to_string_lossy();
        daemon.run(client, &["load", "-i", &path]).ok().says("Loaded image: busybox:latest").done();
        let again = std::fs::read(&*path).expect("the archive");
        daemon
            .run_with_input(client, &["load", "-q"], &again)
            .ok()
            .says("Loaded image: busybox:latest")
            .done();
        let list = daemon.run(client, &["images"]).ok();
        let lines: Vec<&str> = list.stdout.lines().collect();
        assert!(lines[0].starts_with("REPOSITORY") && lines[0].contains("IMAGE ID"), "{list}");
        assert_eq!(lines.len(), 2, "{list}");
        assert!(lines[1].starts_with("busybox") && lines[1].contains("latest"), "{list}");
        let id = daemon.run(client, &["images", "-q", "--no-trunc"]).ok();
        assert_eq!(daemon.inspect("busybox", "{{.Id}}"), id.text());
    }
}

#[test]
fn an_image_is_named_by_tag_id_and_prefix_and_removed_last_tag_first() {
    for client in BOTH {
        let daemon = with(&["busybox"]);
        daemon.run(client, &["tag", "busybox", "localhost:5000/team/box:v1"]).ok().done();
        let id = daemon.inspect("busybox", "{{.Id}}");
        let hex = id.strip_prefix("sha256:").expect("a digest");
        for name in [
            &id,
            hex,
            &hex[..12],
            &hex[..5],
            "busybox:latest",
            "localhost:5000/team/box:v1",
            "docker.io/library/busybox",
        ] {
            daemon.run(client, &["run", "--rm", name, "true"]).ok().done();
        }
        daemon.run(client, &["rmi", &hex[..12]]).exits(1).complains("must be forced").done();
        daemon.run(client, &["rmi", "busybox"]).ok().says("Untagged: busybox:latest").done();
        daemon.run(client, &["create", "--name", "user", "localhost:5000/team/box:v1"]).ok().done();
        daemon.run(client, &["rmi", "localhost:5000/team/box:v1"]).exits(1).complains("conflict").done();
        daemon.minke(&["rm", "user"]).ok().done();
        daemon
            .run(client, &["rmi", "localhost:5000/team/box:v1"])
            .ok()
            .says("Untagged: localhost:5000/team/box:v1")
            .says(&format!("Deleted: {id}"))
            .done();
        assert_eq!(daemon.run(client, &["images", "-aq"]).ok().text(), "");
        let left =
            std::fs::read_dir(daemon.data_root().join("content/sha256")).expect("the content store").count();
        assert_eq!(left, 0, "the blobs went with the image");
        daemon.run(client, &["rmi", "busybox"]).exits(1).complains("No such image: busybox").done();
        daemon
            .run(client, &["tag", "busybox", "x"])
            .exits(1)
            .complains("No such image: busybox:latest")
            .done();
    }
}

#[test]
fn what_is_saved_loads_again_as_the_same_image() {
    for client in BOTH {
        let daemon = with(&["busybox", "wordpress"]);
        let id = daemon.inspect("wordpress:4", "{{.Id}}");
        let file = daemon.path().join("saved.tar");
        let path = file.to_string_lossy().into_owned();
        daemon.run(client, &["save", "-o", &path, "wordpress:4", "busybox"]).ok().done();
        daemon.minke(&["rmi", "-f", "wordpress:4", "busybox"]).ok().done();
        let load = daemon.run(client, &["load", "-i", &path]).ok();
        load.says("Loaded image: wordpress:4").says("Loaded image: busybox:latest").done();
        assert_eq!(daemon.inspect("wordpress:4", "{{.Id}}"), id);
        daemon
            .minke(&["run", "--rm", "--entrypoint", "cat", "wordpress:4", "/entrypoint.sh"])
            .ok()
            .says("WORDPRESS")
            .done();
        // Others read it too.
        let mut skopeo = std::process::Command::new("skopeo");
        skopeo.args([
            "inspect",
            "--config",
            &format!("docker-archive:{path}:docker.io/library/busybox:latest"),
        ]);
        Run::new(skopeo, b"").ok().says("\"Cmd\"").done();
        let copy = daemon.path().join("copy");
        let mut skopeo = std::process::Command::new("skopeo");
        skopeo.args([
            "--insecure-policy",
            "copy",
            &format!("docker-archive:{path}:docker.io/library/wordpress:4"),
        ]);
        skopeo.arg(format!("oci:{}:wp", copy.display()));
        Run::new(skopeo, b"").ok().done();
        // And an OCI layout made by another program loads.
        let layout = daemon.path().join("layout.tar");
        let mut tar = tar::Builder::new(std::fs::File::create(&layout).expect("create"));
        tar.append_dir_all(".", &copy).expect("pack the layout");
        tar.finish().expect("pack the layout");
        daemon.run(client, &["load", "-i", &layout.to_string_lossy()]).ok().says("Loaded image").done();
    }
}

#[test]
fn import_makes_an_image_of_a_tree_with_changes() {
    for client in BOTH {
        let daemon = with(&[]);
        let tree = daemon.path().join("tree.tar");
        let mut tar = tar::Builder::new(std::fs::File::create(&tree).expect("create"));
        tar.follow_symlinks(false);
        tar.append_dir_all(".", fixtures::busybox_rootfs()).expect("pack");
        let tar = tar.into_inner().expect("pack");
        drop(tar);
        let path = tree.to_string_lossy().into_owned();
        let run = daemon
            .run(
                client,
                &[
                    "import",
                    "-c",
                    "CMD [\"echo\", \"imported\"]",
                    "-c",
                    "ENV A=b C=d",
                    "-m",
                    "why",
                    &path,
                    "mine:1",
                ],
            )
            .ok();
        assert!(run.text().starts_with("sha256:"), "{run}");
        daemon.run(client, &["run", "--rm", "mine:1"]).ok().says("imported").done();
        assert_eq!(daemon.inspect("mine:1", "{{json .Config.Env}}"), "[\"A=b\",\"C=d\"]");
        daemon.run(client, &["history", "mine:1"]).ok().says("why").done();
        let bytes = std::fs::read(&tree).expect("the tree");
        daemon.run_with_input(client, &["import", "-", "mine:2"], &bytes).ok().done();
        daemon.run(client, &["run", "--rm", "mine:2", "echo", "hi"]).ok().says("hi").done();
        daemon.run(client, &["import", "-c", "RUN true", &path]).exits(1).complains("RUN").done();
    }
}

#[test]
fn import_reads_a_url() {
    let daemon = with(&[]);
    let dir = daemon.path().join("web");
    std::fs::create_dir(&dir).expect("a directory");
    let mut tar = tar::Builder::new(std::fs::File::create(dir.join("tree.tar")).expect("create"));
    tar.follow_symlinks(false);
    tar.append_dir_all(".", fixtures::busybox_rootfs()).expect("pack");
    drop(tar.into_inner().expect("pack"));
    // The daemon lives in a network namespace of its own, and so must the server it asks.
    let mut server = daemon.in_netns(&tools::resolve("busybox").to_string_lossy());
    server.args(["httpd", "-f", "-p", "127.0.0.1:8080", "-h"]).arg(&dir);
    if daemon.is_peer() {
        return;
    }
    let _server = minke_testkit::Spawned::new(server);
    let answers = || daemon.host_netns().run(|| std::net::TcpStream::connect(("127.0.0.1", 8080)).is_ok());
    wait_until("the web server answers", std::time::Duration::from_secs(20), answers);
    daemon.minke(&["import", "http://127.0.0.1:8080/tree.tar", "web:1"]).ok().done();
    daemon.minke(&["run", "--rm", "web:1", "echo", "from the web"]).ok().says("from the web").done();
    daemon.minke(&["import", "http://127.0.0.1:8080/nosuch.tar", "web:2"]).exits(1).complains("404").done();
}

#[test]
fn history_and_prune() {
    for client in BOTH {
        let daemon = with(&["wordpress"]);
        let history = daemon.run(client, &["history", "--no-trunc", "wordpress:4"]).ok();
        assert_eq!(history.stdout.lines().count(), 3, "{history}");
        assert!(history.stdout.contains("cargo xtask fixtures"), "{history}");
        daemon.load("busybox");
        let file = fixtures::archive("hello_world");
        daemon.run(client, &["load", "-q", "-i", &file.to_string_lossy()]).ok().done();
        // Untagging by moving the tag leaves a dangling image for prune.
        daemon.run(client, &["tag", "busybox", "dockerinaction/hello_world"]).ok().done();
        let dangling = daemon.run(client, &["images", "-q", "--filter", "dangling=true"]).ok();
        assert_eq!(dangling.text().lines().count(), 1, "{dangling}");
        daemon
            .run(client, &["image", "prune", "-f"])
            .ok()
            .says("deleted: sha256:")
            .says("Total reclaimed space")
            .done();
        daemon.run(client, &["run", "--rm", "busybox", "true"]).ok().done();
        daemon.run(client, &["image", "prune", "-af"]).ok().done();
        assert_eq!(daemon.run(client, &["images", "-q"]).ok().text(), "");
    }
}

/// Layers shared by two images are kept while either needs them.
#[test]
fn removing_one_image_leaves_what_another_shares() {
    let daemon = with(&["busybox", "wordpress"]);
    daemon.minke(&["rmi", "busybox"]).ok().done();
    daemon.minke(&["run", "--rm", "--entrypoint", "ls", "wordpress:4", "/bin/busybox"]).ok().done();
    daemon.minke(&["rmi", "wordpress:4"]).ok().done();
    if !daemon.is_peer() {
        let layers: Vec<_> =
            std::fs::read_dir(daemon.data_root().join("layers")).expect("layers").flatten().collect();
        let kept = ["tmp", "records"];
        let left: Vec<_> =
            layers.iter().filter(|entry| !kept.iter().any(|k| entry.file_name() == *k)).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// Works with the older formats: what Docker before 1.10 wrote (`repositories`, a directory per layer).
#[test]
fn an_archive_of_the_books_time_loads() {
    let daemon = with(&[]);
    if daemon.is_peer() {
        return;
    }
    let id = "0123456789abcdef".repeat(4);
    let archive = daemon.path().join("old.tar");
    let mut layer = tar::Builder::new(Vec::new());
    layer.follow_symlinks(false);
    layer.append_dir_all(".", fixtures::busybox_rootfs()).expect("pack");
    let layer = layer.into_inner().expect("pack");
    let json = serde_json::json!({
        "id": id, "created": "2015-10-01T10:00:00Z", "architecture": "amd64", "os": "linux", "docker_version": "1.8.2",
        "config": {"Cmd": ["echo", "old"], "Env": ["PATH=/bin"]},
    })
    .to_string();
    let repositories = serde_json::json!({"ancient/box": {"latest": id}}).to_string();
    let mut tar = tar::Builder::new(std::fs::File::create(&archive).expect("create"));
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes).expect("pack");
    };
    add(&format!("{id}/VERSION"), b"1.0");
    add(&format!("{id}/json"), json.as_bytes());
    add(&format!("{id}/layer.tar"), &layer);
    add("repositories", repositories.as_bytes());
    tar.finish().expect("pack");
    daemon.minke(&["load", "-i", &archive.to_string_lossy()]).ok().says("ancient/box:latest").done();
    daemon.docker(&["run", "--rm", "ancient/box"]).ok().says("old").done();
}
