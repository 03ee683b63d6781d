//! Archives of every kind that is about, whole and broken.

use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::path::Path;
use std::process::Command;

use minke_base::{Digest, Reference};
use serde_json::{Value, json};

use super::*;
use crate::content::hash;
use crate::document::{Descriptor, media_type};
use crate::store::{Live, Store, StoreOptions};
use crate::tar::{Entry, Kind, Writer};

fn open(dir: &tempfile::TempDir) -> Store {
    Store::open(dir.path(), &StoreOptions::default()).unwrap()
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (path, data) in files {
        let (kind, link) = match data.strip_prefix(b"->") {
            Some(target) => (Kind::Symlink, target.to_vec()),
            None => (Kind::File, Vec::new()),
        };
        let size = if kind == Kind::File { data.len() as u64 } else { 0 };
        let entry = Entry { path: (*path).into(), mode: 0o644, kind, link, size, ..Entry::default() };
        writer.append(&entry, &mut &**data).unwrap();
    }
    writer.finish().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn load_bytes(store: &Store, bytes: &[u8], options: &LoadOptions) -> Result<Vec<LoadedImage>, ArchiveError> {
    load(store, Cursor::new(bytes), options, &mut |_progress| {})
}

fn names(loaded: &LoadedImage) -> Vec<String> {
    loaded.names.iter().map(Reference::familiar).collect()
}

/// The store holds no trace of anything.
fn is_empty(store: &Store) -> bool {
    let tmp = |part: &str| std::fs::read_dir(store.root().join(part)).unwrap().count();
    store.content().list().unwrap().is_empty()
        && store.layers().list().is_empty()
        && tmp("content/tmp") + tmp("layers/tmp") == 0
}

fn config(diff_ids: &[Digest], architecture: &str) -> Vec<u8> {
    json!({"architecture": architecture, "os": "linux", "config": {"Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": []})
    .to_string()
    .into_bytes()
}

/// Collects the entries of an OCI layout.
#[derive(Default)]
struct Layout {
    files: BTreeMap<String, Vec<u8>>,
}

impl Layout {
    fn add(&mut self, media_type: &str, bytes: Vec<u8>) -> Descriptor {
        let descriptor = Descriptor::new(media_type, hash(&bytes), bytes.len() as u64);
        self.files.insert(held::blob_name(descriptor.digest), bytes);
        descriptor
    }

    fn image(&mut self, layer: &[u8], compressed: Vec<u8>, architecture: &str) -> Descriptor {
        let layer_type = crate::compression::Compression::detect(&compressed).layer_media_type();
        let config = self.add(media_type::OCI_CONFIG, config(&[hash(layer)], architecture));
        let blob = self.add(layer_type, compressed);
        let manifest =
            json!({"schemaVersion": 2, "config": config, "layers": [blob], "kept": "byte  for byte"});
        let mut descriptor =
            self.add(media_type::OCI_MANIFEST, serde_json::to_vec_pretty(&manifest).unwrap());
        descriptor.platform = Some(crate::Platform::new("linux", architecture, None));
        descriptor
    }

    fn index(&mut self, manifests: &[Descriptor]) -> Descriptor {
        let bytes = json!({"schemaVersion": 2, "manifests": manifests}).to_string().into_bytes();
        self.add(media_type::OCI_INDEX, bytes)
    }

    fn pack(&self, top: &[Value]) -> Vec<u8> {
        let index = json!({"schemaVersion": 2, "manifests": top}).to_string();
        let mut files: Vec<(&str, &[u8])> = vec![("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)];
        files.extend(self.files.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])));
        files.push(("./index.json", index.as_bytes()));
        tar(&files)
    }
}

fn named(descriptor: &Descriptor, key: &str, name: &str) -> Value {
    let mut descriptor = descriptor.clone();
    descriptor.annotations.insert(key.to_owned(), name.to_owned());
    serde_json::to_value(descriptor).unwrap()
}

#[test]
fn an_oci_layout_keeps_every_digest_and_finds_its_platform_through_nested_indexes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let layer = tar(&[("hello", b"text")]);
    let mut layout = Layout::default();
    let host = crate::Platform::host().architecture;
    let other = layout.image(&tar(&[("other", b"x")]), gzip(&tar(&[("other", b"x")])), "s390x");
    let mine = layout.image(&layer, gzip(&layer), &host);
    let mut attestation = other.clone();
    attestation.platform = Some(crate::Platform::new("unknown", "unknown", None));
    let index = layout.index(&[attestation, other, mine.clone()]);
    let outer = layout.index(&[index]);
    let archive = layout.pack(&[named(&outer, annotation_key(), "docker.io/library/app:1")]);
    for bytes in [archive.clone(), gzip(&archive), zstd::encode_all(&archive[..], 1).unwrap()] {
        let loaded = load_bytes(&store, &bytes, &LoadOptions::default()).unwrap();
        assert_eq!(names(&loaded[0]), ["app:1"]);
        assert_eq!(loaded[0].image.manifest.digest, mine.digest);
        let kept = String::from_utf8(store.content().read(mine.digest).unwrap()).unwrap();
        assert!(kept.contains("byte  for byte"));
        assert_eq!(store.layers().get(hash(&layer)).unwrap().size, 4);
        assert!(loaded[0].index.is_some());
    }
    let wanted = LoadOptions { platform: Some(crate::Platform::parse("linux/s390x").unwrap()) };
    let loaded = load_bytes(&store, &archive, &wanted).unwrap();
    assert_eq!(loaded[0].image.config.architecture, "s390x");
    let missing = LoadOptions { platform: Some(crate::Platform::parse("linux/riscv64").unwrap()) };
    let error = load_bytes(&store, &archive, &missing).unwrap_err().to_string();
    assert!(error.contains("linux/riscv64") && error.contains("s390x"), "{error}");
}

fn annotation_key() -> &'static str {
    crate::document::annotation::IMAGE_NAME
}

#[test]
fn layers_that_begin_like_text_and_readers_that_give_crumbs_do_not_confuse_it() {
    struct Crumbs<'a>(&'a [u8]);
    impl std::io::Read for Crumbs<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let count = buffer.len().min(7);
            std::io::Read::read(&mut self.0, &mut buffer[..count])
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let (odd, zipped) = (tar(&[("{\"name\"}", b"1")]), tar(&[("b", b"2")]));
    let mut layout = Layout::default();
    let architecture = crate::Platform::host().architecture;
    let first = layout.image(&odd, odd.clone(), &architecture);
    let second = layout.image(&zipped, zstd::encode_all(&zipped[..], 1).unwrap(), &architecture);
    let archive = layout.pack(&[
        named(&first, annotation_key(), "docker.io/library/odd:1"),
        named(&second, annotation_key(), "docker.io/library/zipped:1"),
    ]);
    let loaded = load(&store, Crumbs(&archive), &LoadOptions::default(), &mut |_progress| {}).unwrap();
    assert_eq!(loaded.len(), 2);
    assert_eq!(store.layers().get(hash(&zipped)).unwrap().size, 1);
}

#[test]
fn names_come_from_either_annotation_and_one_manifest_may_have_several() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let layer = tar(&[("f", b"1")]);
    let mut layout = Layout::default();
    let image = layout.image(&layer, layer.clone(), &crate::Platform::host().architecture);
    let ref_name = crate::document::annotation::REF_NAME;
    let archive = layout.pack(&[
        named(&image, annotation_key(), "docker.io/library/a:1"),
        named(&image, ref_name, "quay.io/x/b:2"),
        named(&image, ref_name, "latest"),
    ]);
    let loaded = load_bytes(&store, &archive, &LoadOptions::default()).unwrap();
    assert_eq!(loaded.len(), 1);
    assert_eq!(names(&loaded[0]), ["a:1", "quay.io/x/b:2"]);
}

/// `manifest.json` as Docker wrote it from 1.10 to 24: a directory per layer, equal layers as links.
fn docker_archive(layers: &[Vec<u8>], tags: &Value) -> Vec<u8> {
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| hash(layer)).collect();
    let config = config(&diff_ids, &crate::Platform::host().architecture);
    let name = format!("{}.json", hash(&config).hex());
    let mut files: Vec<(String, Vec<u8>)> = vec![(name.clone(), config)];
    let mut paths = Vec::new();
    for (i, layer) in layers.iter().enumerate() {
        let path = format!("{i:064x}/layer.tar");
        match layers[..i].iter().position(|earlier| earlier == layer) {
            Some(same) => files.push((path.clone(), format!("->../{same:064x}/layer.tar").into_bytes())),
            None => files.push((path.clone(), layer.clone())),
        }
        files.push((format!("{i:064x}/VERSION"), b"1.0".to_vec()));
        paths.push(path);
    }
    let manifest = json!([{"Config": name, "RepoTags": tags, "Layers": paths}]).to_string().into_bytes();
    files.push(("manifest.json".to_owned(), manifest));
    tar(&files.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect::<Vec<_>>())
}

#[test]
fn a_docker_archive_with_linked_layers_is_loaded_and_its_layers_are_shared() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let (a, b, empty) = (tar(&[("a", b"1")]), tar(&[("b", b"22")]), tar(&[]));
    let archive = docker_archive(&[a.clone(), empty.clone(), b.clone(), empty], &json!(["app", "app:old"]));
    let mut heard = Vec::new();
    let loaded = load(&store, Cursor::new(&archive), &LoadOptions::default(), &mut |progress| {
        if let Progress::Read { layer } = progress {
            heard.push(layer.to_owned());
        }
    })
    .unwrap();
    assert_eq!(names(&loaded[0]), ["app:latest", "app:old"]);
    assert_eq!(heard.len(), 3);
    let image = store.read_image(loaded[0].image.manifest.digest).unwrap();
    assert_eq!(store.image_size(&image).unwrap(), 3);
    assert_eq!(store.image_lowers(&image).unwrap().len(), 3, "the empty layer once");
    let untagged =
        load_bytes(&store, &docker_archive(&[a, b], &Value::Null), &LoadOptions::default()).unwrap();
    assert!(untagged[0].names.is_empty());
    assert_eq!(store.layers().list().len(), 3, "nothing is stored twice");
}

#[test]
fn an_archive_from_before_manifests_becomes_an_image_with_history() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let (bottom, top) = ("b".repeat(64), "t".repeat(64));
    let layers = [tar(&[("a", b"1")]), tar(&[("b", b"2")])];
    let json_of = |id: &str, parent: Option<&str>| {
        json!({"id": id, "parent": parent, "created": "2014-01-01T00:00:00Z", "architecture": "amd64", "os": "linux",
            "container_config": {"Cmd": ["/bin/sh", "-c", "echo"]}, "config": {"Cmd": "sh"}, "Size": 5})
        .to_string()
    };
    let repositories = json!({"app": {"latest": top, "v1": top}}).to_string();
    let archive = tar(&[
        ("repositories", repositories.as_bytes()),
        (&format!("{bottom}/json"), json_of(&bottom, None).as_bytes()),
        (&format!("{bottom}/VERSION"), b"1.0"),
        (&format!("{bottom}/layer.tar"), &layers[0]),
        (&format!("{top}/json"), json_of(&top, Some(&bottom)).as_bytes()),
        (&format!("{top}/layer.tar"), &gzip(&layers[1])),
    ]);
    let loaded = load_bytes(&store, &archive, &LoadOptions::default()).unwrap();
    assert_eq!(names(&loaded[0]), ["app:latest", "app:v1"]);
    let image = store.read_image(loaded[0].image.manifest.digest).unwrap();
    assert_eq!(image.diff_ids(), [hash(&layers[0]), hash(&layers[1])]);
    assert_eq!(image.config.container_defaults().cmd, Some(vec!["sh".to_owned()]));
    let history = store.image_history(&image).unwrap();
    assert_eq!(history.len(), 2);
    assert_eq!(history[0].entry.created_by.as_deref(), Some("/bin/sh -c echo"));
}

#[test]
fn what_was_saved_loads_elsewhere_with_the_same_digests_and_saves_to_the_same_bytes() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let stores = [open(&dirs[0]), open(&dirs[1])];
    let layers = [tar(&[("a", b"1")]), tar(&[("b", b"2")])];
    let archive = docker_archive(&layers, &json!(["app:1"]));
    let docker = load_bytes(&stores[0], &archive, &LoadOptions::default()).unwrap().remove(0);
    let mut layout = Layout::default();
    let image = layout.image(&layers[0], gzip(&layers[0]), &crate::Platform::host().architecture);
    let archive = layout.pack(&[named(&image, annotation_key(), "docker.io/library/zipped:2")]);
    let oci = load_bytes(&stores[0], &archive, &LoadOptions::default()).unwrap().remove(0);
    let wanted = [&docker, &oci]
        .map(|loaded| SaveImage { manifest: loaded.image.manifest.digest, names: loaded.names.clone() });
    let mut saved = Vec::new();
    save(&stores[0], &wanted, &mut saved).unwrap();
    let again = load_bytes(&stores[1], &saved, &LoadOptions::default()).unwrap();
    assert_eq!(again.iter().map(names).collect::<Vec<_>>(), [["app:1"], ["zipped:2"]]);
    for (before, after) in [docker, oci].iter().zip(&again) {
        assert_eq!(before.image.manifest.digest, after.image.manifest.digest);
        assert_eq!(before.image.id, after.image.id);
    }
    let mut twice = Vec::new();
    save(&stores[1], &wanted, &mut twice).unwrap();
    assert!(saved == twice);
    // GNU tar lists it, and the documents other tools look for are there.
    let mut list = Command::new("tar")
        .args(["-t"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    list.stdin.take().unwrap().write_all(&saved).unwrap();
    let listed = String::from_utf8(list.wait_with_output().unwrap().stdout).unwrap();
    for name in ["index.json", "manifest.json", "oci-layout", "repositories"] {
        assert!(listed.lines().any(|line| line == name), "{listed}");
    }
}

#[test]
fn a_blob_that_rotted_is_not_saved() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let archive = docker_archive(&[tar(&[("a", b"1")])], &json!(["app"]));
    let image = load_bytes(&store, &archive, &LoadOptions::default()).unwrap().remove(0).image;
    let path = store.content().path(image.layers[0].digest);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[600] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let wanted = [SaveImage { manifest: image.manifest.digest, names: Vec::new() }];
    assert!(save(&store, &wanted, &mut Vec::new()).is_err());
}

#[test]
fn broken_archives_are_refused_with_the_reason_and_leave_the_store_as_it_was() {
    let good = docker_archive(&[tar(&[("a", b"1")]), tar(&[("b", b"2")])], &json!(["app"]));
    let replace = |from: &[u8], to: &[u8]| {
        let at = good.windows(from.len()).position(|window| window == from).unwrap();
        [&good[..at], to, &good[at + from.len()..]].concat()
    };
    let mut layout = Layout::default();
    let layer = tar(&[("a", b"1")]);
    let image = layout.image(&layer, layer.clone(), &crate::Platform::host().architecture);
    let mut without_layer = Layout { files: layout.files.clone() };
    without_layer.files.remove(&held::blob_name(hash(&layer)));
    let mut wrong_layer = Layout { files: layout.files.clone() };
    wrong_layer.files.insert(held::blob_name(hash(&layer)), tar(&[("a", b"2")]));
    let mut wrong_manifest = Layout { files: layout.files.clone() };
    wrong_manifest.files.insert(held::blob_name(image.digest), b"{}".to_vec());
    let top = [named(&image, annotation_key(), "docker.io/library/a:1")];
    let escaping = {
        let mut writer = Writer::new(Vec::new());
        let entry = Entry { path: b"../../evil".to_vec(), size: 1, ..Entry::default() };
        writer.append(&entry, &mut &b"x"[..]).unwrap();
        writer.finish().unwrap()
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("neither a docker archive", tar(&[("readme", b"nothing here")])),
        ("neither a docker archive", Vec::new()),
        ("ends in the middle", good[..good.len() / 2 + 300].to_vec()),
        ("is malformed", b"this is no tar at all. ".repeat(100)),
        ("corrupt", replace(b"\"Cmd\":[\"sh\"]", b"\"Cmd\":[\"xx\"]")),
        ("is missing", replace(b"1/layer.tar\"]", b"9/layer.tar\"]")),
        ("is not readable", replace(b"[{\"Config\"", b"[[\"Config\"")),
        ("is missing", without_layer.pack(&top)),
        ("corrupt", wrong_layer.pack(&top)),
        ("corrupt", wrong_manifest.pack(&top)),
        ("leads outside the layer", docker_archive(&[escaping], &json!(["evil"]))),
        ("corrupt", {
            // The second layer's bytes are not those of its diff ID.
            let changed = tar(&[("b", b"3")]);
            replace(&tar(&[("b", b"2")]), &changed)
        }),
    ];
    for (words, bytes) in cases {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir);
        let error = load_bytes(&store, &bytes, &LoadOptions::default()).expect_err(words).to_string();
        assert!(error.contains(words), "{words}: {error}");
        assert!(is_empty(&store), "{words}");
    }
}

#[test]
fn a_bomb_in_an_archive_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let limits = crate::Limits { ratio: 50, ratio_floor: 1 << 20, ..crate::Limits::default() };
    let store = Store::open(dir.path(), &StoreOptions { limits, ..StoreOptions::default() }).unwrap();
    let layer = tar(&[("zeros", &vec![0; 8 << 20])]);
    let mut layout = Layout::default();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&layer).unwrap();
    let image = layout.image(&layer, encoder.finish().unwrap(), &crate::Platform::host().architecture);
    let archive = layout.pack(&[named(&image, annotation_key(), "docker.io/library/bomb:1")]);
    let error = load_bytes(&store, &archive, &LoadOptions::default()).unwrap_err().to_string();
    assert!(error.contains("decompression bomb"), "{error}");
    assert!(is_empty(&store));
}

#[test]
fn a_root_filesystem_is_imported_as_it_came() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let rootfs = gzip(&tar(&[("bin/sh", b"shell")]));
    let config =
        crate::ImageConfig { architecture: "amd64".into(), os: "linux".into(), ..Default::default() };
    let image = import(&store, &mut &*rootfs, config).unwrap();
    assert_eq!(image.layers[0].digest, hash(&rootfs));
    assert_eq!(image.layers[0].media_type, media_type::OCI_LAYER_GZIP);
    let lowers = store.container_lowers(&store.read_image(image.manifest.digest).unwrap()).unwrap();
    assert_eq!(std::fs::read(lowers[1].join("bin/sh")).unwrap(), b"shell");
    assert!(lowers[0].join("proc").is_dir());
    let error = import(&store, &mut &b"plain text"[..], crate::ImageConfig::default()).unwrap_err();
    assert!(error.to_string().contains("the first entry"), "{error}");
}

#[test]
fn collection_keeps_what_is_named_or_just_being_added_and_removes_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let (a, b) = (tar(&[("a", b"1")]), tar(&[("b", b"2")]));
    let hold = store.hold();
    let kept = load_bytes(
        &store,
        &docker_archive(std::slice::from_ref(&a), &json!(["kept"])),
        &LoadOptions::default(),
    );
    let kept = kept.unwrap().remove(0).image;
    let gone =
        load_bytes(&store, &docker_archive(&[a, b.clone()], &json!(["gone"])), &LoadOptions::default());
    let gone = gone.unwrap().remove(0).image;
    store.container_lowers(&kept).unwrap();
    store.container_lowers(&gone).unwrap();
    let live = || Ok::<_, StoreError>(Live { manifests: vec![kept.manifest.digest], stacks: Vec::new() });
    let held = store.collect(live).unwrap().unwrap();
    assert_eq!((held.blobs.len(), held.layers.len()), (0, 0), "the hold spares all");
    drop(hold);
    let stack = || Ok::<_, StoreError>(Live { stacks: vec![gone.diff_ids().to_vec()], ..live()? });
    let first = store.collect(stack).unwrap().unwrap();
    assert_eq!(
        (first.blobs.len(), first.layers.len()),
        (3, 0),
        "a container's layers stay, the image's blobs go"
    );
    let second = store.collect(live).unwrap().unwrap();
    assert_eq!(second.layers, [hash(&b)]);
    for tmp in ["content/tmp", "layers/tmp"] {
        assert_eq!(std::fs::read_dir(dir.path().join(tmp)).unwrap().count(), 0, "{tmp}");
    }
    assert_eq!(std::fs::read_dir(dir.path().join("init")).unwrap().count(), 1);
    assert!(store.read_image(kept.manifest.digest).is_ok());
    assert!(store.read_image(gone.manifest.digest).is_err());
    assert_eq!(store.collect(live).unwrap().unwrap(), crate::Collected::default());
}

#[test]
fn a_layer_that_was_lost_is_unpacked_again_from_its_blob() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let archive = docker_archive(&[tar(&[("a", b"1")])], &json!(["app"]));
    let image = load_bytes(&store, &archive, &LoadOptions::default()).unwrap().remove(0).image;
    store.layers().retire(image.diff_ids()[0]).unwrap();
    assert!(store.image_lowers(&image).is_err());
    store.unpack_image(&image).unwrap();
    assert_eq!(std::fs::read(store.image_lowers(&image).unwrap()[0].join("a")).unwrap(), b"1");
}

/// Set `MINKE_PEER_DOCKER` to a docker host (`unix:///…`) that has an image `busybox`.
#[test]
#[ignore = "needs a real Docker; run with MINKE_PEER_DOCKER=unix:///path --ignored"]
fn what_docker_saves_loads_and_what_we_save_docker_loads() {
    let host = std::env::var("MINKE_PEER_DOCKER").expect("MINKE_PEER_DOCKER names the docker to ask");
    let docker = |arguments: &[&str]| {
        let output = Command::new("docker").args(["-H", &host]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let archive = docker(&["save", "busybox"]);
    let loaded = load_bytes(&store, &archive, &LoadOptions::default()).unwrap().remove(0);
    let id = String::from_utf8(docker(&["inspect", "-f", "{{.Id}} {{.Size}}", "busybox"])).unwrap();
    assert_eq!(id.trim(), format!("{} {}", loaded.image.id, store.image_size(&loaded.image).unwrap()));
    let name = Reference::parse("minke-store-test:roundtrip").unwrap();
    let path = dir.path().join("saved.tar");
    let mut file = std::fs::File::create(&path).unwrap();
    save(&store, &[SaveImage { manifest: loaded.image.manifest.digest, names: vec![name] }], &mut file)
        .unwrap();
    docker(&["load", "-i", Path::new(&path).to_str().unwrap()]);
    let again = docker(&["inspect", "-f", "{{.Id}}", "minke-store-test:roundtrip"]);
    docker(&["rmi", "minke-store-test:roundtrip"]);
    assert_eq!(String::from_utf8(again).unwrap().trim(), loaded.image.id.to_string());
}
