//! Registries that want harm: what they send is refused, nothing of it gets a name, and what was told to one is not told to another.

use std::net::TcpListener;

use minke_testkit::registries::{FakeRegistry, Tricks};
use minke_testkit::{Client, Daemon, Options, Run, fixtures};

const BOTH: [Client; 2] = [Client::Minke, Client::Docker];
const BASIC: (&str, &str) = ("Basic YWxpY2U6c2VjcmV0", "Basic realm=\"x\"");

fn beside(daemon: &Daemon) -> FakeRegistry {
    FakeRegistry::on(daemon.host_netns().run(|| TcpListener::bind("127.0.0.1:0")).expect("a port"))
}

/// A registry that busybox was pushed to as `team/x`, by a daemon that has forgotten it.
fn with_image() -> (Daemon, FakeRegistry, String) {
    let daemon = Daemon::with(Options { images: vec!["busybox"], ..Options::default() });
    let registry = beside(&daemon);
    let name = format!("{}/team/x", registry.domain());
    daemon.minke(&["tag", "busybox", &name]).ok().done();
    daemon.minke(&["push", &name]).ok().done();
    daemon.minke(&["rmi", "-f", "busybox", &name]).ok().done();
    assert!(fixtures::archive("busybox").exists());
    (daemon, registry, name)
}

#[track_caller]
fn refused(daemon: &Daemon, client: Client, name: &str) -> Run {
    let run = daemon.run(client, &["pull", name]).exits(1);
    assert_eq!(daemon.minke(&["images", "-aq"]).ok().text(), "", "{run}");
    run
}

#[test]
fn blobs_that_are_others_than_their_digest_get_no_name() {
    let (daemon, registry, name) = with_image();
    for client in BOTH {
        registry.set(Tricks { flip: true, ..Tricks::default() });
        refused(&daemon, client, &name).done();
    }
    registry.set(Tricks::default());
    daemon.minke(&["pull", &name]).ok().done();
    daemon.minke(&["run", "--rm", &name, "true"]).ok().done();
}

#[test]
fn manifests_that_are_too_large_or_others_are_refused() {
    let (daemon, registry, name) = with_image();
    for client in BOTH {
        registry.set(Tricks { manifest: Some(vec![b' '; (4 << 20) + 1]), ..Tricks::default() });
        refused(&daemon, client, &name).complains("longer than the 4194304 bytes").done();
        let other = br#"{"schemaVersion": 2, "layers": []}"#.to_vec();
        registry.set(Tricks { manifest: Some(other), ..Tricks::default() });
        refused(&daemon, client, &name).complains("digest").done();
    }
}

#[test]
fn documents_that_are_none_are_refused_with_a_sentence() {
    let (daemon, registry, _) = with_image();
    let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    let huge = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:{}","size":9223372036854775807}},"layers":[]}}"#,
        "a".repeat(64)
    );
    for (tag, bytes) in [
        ("deep", deep),
        ("huge", huge.into_bytes()),
        ("empty", Vec::new()),
        ("one", br#"{"schemaVersion":1}"#.to_vec()),
    ] {
        registry.add_manifest("team/x", tag, "application/vnd.oci.image.manifest.v1+json", &bytes);
        let name = format!("{}/team/x:{tag}", registry.domain());
        let run = refused(&daemon, Client::Minke, &name);
        assert!(!run.stderr.trim().is_empty(), "{run}");
    }
    daemon.minke(&["info"]).ok().done();
}

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Puts an image there, of layers (digest, size, more of its description) and diff IDs that need not fit.
fn put(
    registry: &FakeRegistry,
    tag: &str,
    layers: &[(String, usize, serde_json::Value)],
    diff_ids: &[String],
) -> String {
    let config = serde_json::json!({
        "architecture": std::env::consts::ARCH.replace("x86_64", "amd64").replace("aarch64", "arm64"), "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = config.to_string();
    let digest = registry.add_blob("team/x", config.as_bytes());
    let layers: Vec<_> = layers
        .iter()
        .map(|(digest, size, more)| {
            let mut layer = serde_json::json!({"digest": digest, "size": size});
            layer["mediaType"] = "application/vnd.oci.image.layer.v1.tar".into();
            for (name, value) in more.as_object().into_iter().flatten() {
                layer[name] = value.clone();
            }
            layer
        })
        .collect();
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "layers": layers,
        "config": {"mediaType": CONFIG, "digest": digest, "size": config.len()},
    });
    registry.add_manifest("team/x", tag, MANIFEST, manifest.to_string().as_bytes());
    format!("{}/team/x:{tag}", registry.domain())
}

fn diff_id(fill: char) -> String {
    format!("sha256:{}", fill.to_string().repeat(64))
}

#[test]
fn layers_that_are_too_many_others_or_elsewhere_are_refused() {
    let (daemon, registry, _) = with_image();
    let tar = vec![0; 1024];
    let layer = (registry.add_blob("team/x", &tar), tar.len(), serde_json::Value::Null);
    let other = diff_id('a');
    let many = vec![layer.clone(); 10_000];
    let name = put(&registry, "crowd", &many, &vec![other.clone(); 10_000]);
    for client in BOTH {
        refused(&daemon, client, &name).complains("max depth exceeded").complains("10000 layers").done();
    }
    let name = put(&registry, "uneven", &many, std::slice::from_ref(&other));
    refused(&daemon, Client::Minke, &name).complains("names 10000 layers, its configuration 1").done();
    // The bytes are those of the digest, and unpack to something else than the configuration says.
    let name = put(&registry, "other", std::slice::from_ref(&layer), std::slice::from_ref(&other));
    for client in BOTH {
        refused(&daemon, client, &name).complains(&other).done();
    }
    let urls = serde_json::json!({"urls": ["https://elsewhere.example/layer"]});
    let name = put(&registry, "foreign", &[(diff_id('b'), 5, urls)], std::slice::from_ref(&other));
    drop(registry.seen());
    refused(&daemon, Client::Minke, &name).complains("Windows images").complains("elsewhere.example").done();
    assert!(registry.seen().iter().all(|seen| !seen.path.ends_with(&diff_id('b'))));
    let parts = std::fs::read_dir(daemon.data_root().join("content/tmp")).expect("parts");
    assert_eq!(parts.count(), 0, "what is wrong is not kept for another try");
}

#[test]
fn credentials_stay_with_their_registry() {
    let (daemon, registry, name) = with_image();
    let elsewhere = beside(&daemon);
    let demand = Some((BASIC.0.to_owned(), BASIC.1.to_owned()));
    for client in BOTH {
        registry.set(Tricks { demand: demand.clone(), ..Tricks::default() });
        let args = ["login", "-u", "alice", "--password-stdin", &registry.domain()];
        daemon.run_with_input(client, &args, b"secret").ok().done();
        registry.set(Tricks {
            demand: demand.clone(),
            redirect_blobs: Some(format!("http://{}", elsewhere.domain())),
            ..Tricks::default()
        });
        refused(&daemon, client, &name).done();
        assert!(registry.seen().iter().any(|seen| seen.authorization.is_some()));
        let seen = elsewhere.seen();
        assert!(!seen.is_empty() && seen.iter().all(|seen| seen.authorization.is_none()), "{seen:?}");
    }
}
