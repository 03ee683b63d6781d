//! Archives that want out of their layer, or more of the host than they are worth: a clear error, nothing outside touched, the
//! store as it was.

use std::io::Write;
use std::path::{Path, PathBuf};

use minke_testkit::{Client, Daemon, Options};
use tar::{EntryType, Header};

/// What a test changes about an honest archive.
struct Archive {
    layer: Vec<u8>,
    /// Replaces the layer's real diff id.
    diff_id: Option<String>,
}

impl Archive {
    fn of(layer: Vec<u8>) -> Self {
        Self { layer, diff_id: None }
    }

    /// A docker-archive named `hostile:latest`.
    fn write(&self, to: &Path) {
        let diff_id = self.diff_id.clone().unwrap_or_else(|| format!("sha256:{}", sha256(&self.layer)));
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "config": {"Cmd": ["true"]},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        })
        .to_string();
        let manifest =
            serde_json::json!([{"Config": "config.json", "RepoTags": ["hostile:latest"], "Layers": ["layer.tar"]}])
                .to_string();
        let mut tar = tar::Builder::new(std::fs::File::create(to).expect("create the archive"));
        for (name, bytes) in [
            ("manifest.json", manifest.as_bytes()),
            ("config.json", config.as_bytes()),
            ("layer.tar", &self.layer),
        ] {
            let mut header = Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, bytes).expect("write the archive");
        }
        tar.finish().expect("finish the archive");
    }
}

fn sha256(bytes: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), bytes).expect("write");
    let output =
        std::process::Command::new("sha256sum").arg(file.path()).output().expect("sha256sum (coreutils)");
    String::from_utf8_lossy(&output.stdout).split(' ').next().expect("a digest").to_owned()
}

/// A member whose name and link target are written as they are, however wrong.
fn member(kind: EntryType, name: &str, target: &str, bytes: &[u8]) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_size(bytes.len() as u64);
    let raw = header.as_mut_bytes();
    raw[..name.len()].copy_from_slice(name.as_bytes());
    raw[157..157 + target.len()].copy_from_slice(target.as_bytes());
    header.set_cksum();
    let mut all = header.as_bytes().to_vec();
    all.extend_from_slice(bytes);
    all.resize(all.len().next_multiple_of(512), 0);
    all
}

fn layer(members: &[Vec<u8>]) -> Vec<u8> {
    let mut all = members.concat();
    all.extend_from_slice(&[0; 1024]);
    all
}

fn file(name: &str) -> Vec<u8> {
    member(EntryType::Regular, name, "", b"owned")
}

/// Loads `archive` with both clients' way and asserts that it failed in words, and that nothing changed.
#[track_caller]
fn refused(daemon: &Daemon, archive: &Path, words: &[&str]) {
    let before = state(daemon);
    let path = archive.to_string_lossy();
    for client in [Client::Minke, Client::Docker] {
        let run = daemon.run(client, &["load", "-i", &path]).exits(1);
        assert!(words.iter().any(|word| run.stderr.contains(word)), "one of {words:?} in {run}");
        assert!(!run.stderr.contains("panicked"), "{run}");
    }
    assert_eq!(state(daemon), before, "the store is as it was");
    let images = daemon.minke(&["images", "-a"]).ok();
    assert!(!images.stdout.contains("hostile"), "{images}");
}

/// Names of all blobs and layers.
fn state(daemon: &Daemon) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = ["content/sha256", "content/tmp", "layers", "layers/tmp"]
        .iter()
        .flat_map(|dir| std::fs::read_dir(daemon.data_root().join(dir)).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .collect();
    all.sort();
    all
}

fn fresh() -> Daemon {
    Daemon::with(Options { images: vec!["busybox"], ..Options::default() })
}

#[test]
fn no_member_leaves_its_layer() {
    let daemon = fresh();
    let outside = daemon.path().join("outside");
    std::fs::create_dir(&outside).expect("a directory outside");
    std::fs::write(outside.join("secret"), "secret").expect("a file outside");
    let target = outside.to_string_lossy().into_owned();
    let archive = daemon.path().join("hostile.tar");
    let up = format!("{}{}/evil", "../".repeat(12), &target[1..]);
    let link = |name: &str, to: &str| member(EntryType::Symlink, name, to, b"");
    let hard = |name: &str, to: &str| member(EntryType::Link, name, to, b"");
    let deep = format!("{}{}", "../".repeat(12), &target[1..]);
    let cases: Vec<(&str, Vec<Vec<u8>>)> = vec![
        ("dot-dot in the name", vec![file(&up)]),
        ("an absolute name", vec![file(&format!("{target}/evil"))]),
        ("a file behind an absolute symlink", vec![link("d", &target), file("d/evil")]),
        ("a file behind a relative symlink", vec![link("d", &deep), file("d/evil")]),
        (
            "a directory over a symlink",
            vec![link("d", &target), member(EntryType::Directory, "d", "", b""), file("d/evil")],
        ),
        ("a hard link to the outside", vec![hard("h", &format!("{target}/secret")), file("h")]),
        ("a hard link through a symlink", vec![link("d", &target), hard("h", "d/secret"), file("h")]),
        ("a whiteout of the outside", vec![file(&format!("{deep}/.wh.secret"))]),
        ("a whiteout of dot-dot", vec![file(".wh..."), file("d/.wh..")]),
        ("a symlink chain", vec![link("a", "b"), link("b", &target), file("a/evil")]),
    ];
    for (what, members) in cases {
        Archive::of(layer(&members)).write(&archive);
        let run = daemon.minke(&["load", "-i", &archive.to_string_lossy()]);
        // Refused with a sentence, or kept beneath the layer's root as Docker does for some; never outside.
        assert!(run.code == 0 || !run.stderr.trim().is_empty(), "{what}: {run}");
        assert!(!run.stderr.contains("panicked"), "{what}: {run}");
        assert!(!outside.join("evil").exists(), "{what}: wrote outside: {run}");
        assert_eq!(
            std::fs::read_to_string(outside.join("secret")).expect("the secret"),
            "secret",
            "{what}: {run}"
        );
        if run.code == 0 {
            daemon.minke(&["rmi", "-f", "hostile"]).ok().done();
        }
    }
}

#[test]
fn a_device_in_a_layer_stays_closed_in_the_container() {
    let daemon = fresh();
    let archive = daemon.path().join("hostile.tar");
    // Block 254:0 is a disk of many hosts; whoever opens it in a container must be refused.
    let mut device = Header::new_ustar();
    device.set_entry_type(EntryType::Block);
    device.set_mode(0o666);
    device.set_path("disk").expect("a short path");
    device.set_device_major(254).expect("ustar");
    device.set_device_minor(0).expect("ustar");
    device.set_size(0);
    device.set_cksum();
    let busybox =
        std::fs::read(minke_testkit::fixtures::busybox_rootfs().join("bin/busybox")).expect("busybox");
    let sh = member(EntryType::Regular, "sh", "", &busybox);
    Archive::of(layer(&[device.as_bytes().to_vec(), sh])).write(&archive);
    daemon.minke(&["load", "-i", &archive.to_string_lossy()]).ok().done();
    let run = daemon.minke(&["run", "--rm", "--entrypoint", "/sh", "hostile", "-c", "read x < /disk"]);
    assert_ne!(run.code, 0);
    run.complains("ermitted").done();
}

#[test]
fn a_gzip_bomb_is_refused_early() {
    let daemon = Daemon::with(Options { images: vec!["busybox"], ..Options::default() });
    let archive = daemon.path().join("hostile.tar");
    // 4 GiB of zeros in one member: about 4 MB on the way in.
    let size: u64 = 4 << 30;
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_path("zeros").expect("a short path");
    header.set_size(size);
    header.set_cksum();
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    bomb.write_all(header.as_bytes()).expect("compress");
    let block = vec![0; 1 << 20];
    for _ in 0..size >> 20 {
        bomb.write_all(&block).expect("compress");
    }
    bomb.write_all(&[0; 1024]).expect("compress");
    let bomb = bomb.finish().expect("compress");
    Archive { layer: bomb, diff_id: Some(format!("sha256:{}", "0".repeat(64))) }.write(&archive);
    refused(&daemon, &archive, &["decompression bomb"]);
}

#[test]
fn truncated_corrupt_and_mislabelled_archives_are_refused() {
    let daemon = fresh();
    let archive = daemon.path().join("hostile.tar");
    let honest = std::fs::read(minke_testkit::fixtures::archive("busybox")).expect("the fixture");
    for cut in [0, 100, 512, 5000, honest.len() / 2, honest.len() - 20_000] {
        std::fs::write(&archive, &honest[..cut]).expect("write");
        refused(
            &daemon,
            &archive,
            &["unexpected", "truncated", "EOF", "ends", "manifest", "not an image", "invalid"],
        );
    }
    let mut corrupt = honest.clone();
    let middle = honest.len() / 2;
    corrupt[middle..middle + 64].iter_mut().for_each(|byte| *byte ^= 0x55);
    std::fs::write(&archive, &corrupt).expect("write");
    refused(&daemon, &archive, &["the data is corrupt", "diffID"]);
    std::fs::write(&archive, b"this is not a tar archive at all".repeat(100)).expect("write");
    refused(&daemon, &archive, &["tar", "archive", "invalid", "header"]);
    let wrong = Archive { layer: layer(&[file("a")]), diff_id: Some(format!("sha256:{}", "ab".repeat(32))) };
    wrong.write(&archive);
    refused(&daemon, &archive, &["the data is corrupt", "diffID"]);
    // The honest one still loads and runs.
    std::fs::write(&archive, &honest).expect("write");
    daemon.minke(&["load", "-i", &archive.to_string_lossy()]).ok().done();
    daemon.minke(&["run", "--rm", "busybox", "true"]).ok().done();
}
