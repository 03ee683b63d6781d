//! Layers from real and hostile archives.

use super::*;
use std::io::Cursor;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::process::Command;

use crate::tar::{Entry, Kind, Moment, Writer};
use proptest::prelude::*;

fn open(dir: &Path) -> LayerStore {
    LayerStore::open(dir, Arc::default(), Limits::default()).unwrap()
}

fn archive(entries: &[(Entry, &[u8])]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (entry, data) in entries {
        let size = if entry.kind == Kind::File { data.len() as u64 } else { 0 };
        writer.append(&Entry { size, ..entry.clone() }, &mut &**data).unwrap();
    }
    writer.finish().unwrap()
}

type Entries<'a> = Vec<(Entry, &'a [u8])>;

fn file(path: &str) -> Entry {
    Entry { path: path.into(), mode: 0o644, ..Entry::default() }
}

fn dir(path: &str) -> Entry {
    Entry { path: path.into(), kind: Kind::Directory, mode: 0o755, ..Entry::default() }
}

fn link(kind: Kind, path: &str, target: &str) -> Entry {
    Entry { path: path.into(), kind, link: target.into(), mode: 0o777, ..Entry::default() }
}

/// Applies and says where the layer is.
fn apply(store: &LayerStore, tar: &[u8]) -> Result<PathBuf, LayerError> {
    store.apply(Cursor::new(tar)).map(|layer| store.path(layer.diff_id))
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    let length = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

#[test]
fn an_image_layer_becomes_what_overlayfs_wants() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let mut capability = file("bin/ping");
    capability.mode = 0o4755;
    capability.uid = 7;
    capability.gid = 8;
    capability.mtime = Moment { seconds: 1_700_000_000, nanoseconds: 123_456_789 };
    // cap_net_raw+ep, revision 2.
    let value = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    capability.xattrs = vec![
        (b"security.capability".to_vec(), value.to_vec()),
        (b"trusted.overlay.redirect".to_vec(), b"/etc".to_vec()),
        (b"user.note".to_vec(), b"hi".to_vec()),
    ];
    let mut locked = dir("locked");
    locked.mode = 0o2500;
    locked.mtime = Moment { seconds: 5, nanoseconds: 6 };
    let null = Entry { device: (1, 3), mode: 0o666, ..link(Kind::CharDevice, "dev/null", "") };
    let tar = archive(&[
        (locked, b""),
        (file("locked/inside"), b"text"),
        (capability, b"ELF"),
        (link(Kind::HardLink, "bin/ping6", "bin/ping"), b""),
        (link(Kind::Symlink, "lib", "usr/lib"), b""),
        (null, b""),
        (link(Kind::Fifo, "run/pipe", ""), b""),
        (file("etc/.wh.gone"), b""),
        (file("var/.wh..wh..opq"), b""),
        (file("var/kept"), b"v"),
    ]);
    let layer = store.apply(Cursor::new(&tar)).unwrap();
    assert_eq!(layer.diff_id, crate::content::hash(&tar));
    // text + ELF once + the link's target + v
    assert_eq!((layer.size, layer.entries), (4 + 3 + 7 + 1, 10));
    let path = store.path(layer.diff_id);
    let ping = fs::metadata(path.join("bin/ping")).unwrap();
    assert_eq!((ping.mode() & 0o7777, ping.uid(), ping.gid(), ping.nlink()), (0o4755, 7, 8, 2));
    assert_eq!((ping.mtime(), ping.mtime_nsec()), (1_700_000_000, 123_456_789));
    assert_eq!(xattr(&path.join("bin/ping"), "security.capability").as_deref(), Some(&value[..]));
    assert_eq!(xattr(&path.join("bin/ping"), "user.note").as_deref(), Some(&b"hi"[..]));
    assert_eq!(xattr(&path.join("bin/ping"), "trusted.overlay.redirect"), None);
    let locked = fs::metadata(path.join("locked")).unwrap();
    assert_eq!((locked.mode() & 0o7777, locked.mtime(), locked.mtime_nsec()), (0o2500, 5, 6));
    assert_eq!(fs::metadata(path.join("locked/inside")).unwrap().gid(), 0);
    assert_eq!(fs::read_link(path.join("lib")).unwrap(), Path::new("usr/lib"));
    let null = fs::symlink_metadata(path.join("dev/null")).unwrap();
    assert_eq!((null.file_type().is_char_device(), null.rdev(), null.mode() & 0o777), (true, 0x103, 0o666));
    assert!(fs::symlink_metadata(path.join("run/pipe")).unwrap().file_type().is_fifo());
    let gone = fs::symlink_metadata(path.join("etc/gone")).unwrap();
    assert_eq!((gone.file_type().is_char_device(), gone.rdev()), (true, 0));
    assert_eq!(xattr(&path.join("var"), "trusted.overlay.opaque").as_deref(), Some(&b"y"[..]));
    assert!(!path.join("var/.wh..wh..opq").exists());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o755);
}

#[test]
fn a_layer_may_replace_its_own_entries() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let tar = archive(&[
        (dir("a"), b""),
        (file("a/old"), b"12345"),
        (file("a"), b"now a file"),
        (file("f"), b"first"),
        (file("f"), b"2nd"),
        (file(".wh.d"), b""),
        (file("d/new"), b"n"),
        (dir("e"), b""),
        (file(".wh.e"), b""),
    ]);
    let layer = store.apply(Cursor::new(&tar)).unwrap();
    let path = store.path(layer.diff_id);
    assert_eq!(fs::read(path.join("a")).unwrap(), b"now a file");
    assert_eq!(fs::read(path.join("f")).unwrap(), b"2nd");
    assert_eq!(layer.size, 10 + 3 + 1, "what was replaced is not counted");
    for hidden in ["d", "e"] {
        assert_eq!(
            xattr(&path.join(hidden), "trusted.overlay.opaque").as_deref(),
            Some(&b"y"[..]),
            "{hidden}"
        );
    }
}

#[test]
fn names_are_taken_as_docker_takes_them() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let tar = archive(&[
        (dir("./"), b""),
        (file("/absolute"), b"1"),
        (file("./a/../b"), b"2"),
        (file("/../top"), b"3"),
        (link(Kind::Symlink, "out", "/real"), b""),
        (dir("real"), b""),
        (file("out/through"), b"4"),
        (link(Kind::HardLink, "hard", "/absolute"), b""),
        (file(".wh..wh.plnk/1.2"), b"aufs"),
    ]);
    let path = apply(&store, &tar).unwrap();
    for (name, text) in [("absolute", "1"), ("b", "2"), ("top", "3"), ("real/through", "4"), ("hard", "1")] {
        assert_eq!(fs::read_to_string(path.join(name)).unwrap(), text, "{name}");
    }
    assert!(!path.join(".wh..wh.plnk").exists() && !path.join("a").exists());
}

#[test]
fn hostile_archives_are_refused_by_name_and_touch_nothing_outside() {
    let root = tempfile::tempdir().unwrap();
    let outside = root.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    let store = open(&root.path().join("layers"));
    let absolute = outside.to_str().unwrap();
    let up = "../../../outside";
    let device = Entry { device: (8, 0), ..link(Kind::BlockDevice, "x/../../sda", "") };
    let cases: Vec<(&str, Entries<'_>)> = vec![
        ("../evil", vec![(file("../evil"), b"x")]),
        ("a/../../evil", vec![(file("a/../../evil"), b"x")]),
        ("../../../outside/secret", vec![(file("../../../outside/secret"), b"x")]),
        ("hard", vec![(link(Kind::HardLink, "hard", "../../../outside/secret"), b"")]),
        ("hard", vec![(link(Kind::HardLink, "hard", &format!("{absolute}/secret")), b"")]),
        (
            "hard",
            vec![(link(Kind::Symlink, "dir", up), b""), (link(Kind::HardLink, "hard", "dir/secret"), b"")],
        ),
        ("dir/evil", vec![(link(Kind::Symlink, "dir", up), b""), (file("dir/evil"), b"x")]),
        ("dir/evil", vec![(link(Kind::Symlink, "dir", absolute), b""), (file("dir/evil"), b"x")]),
        ("dir/.wh.secret", vec![(link(Kind::Symlink, "dir", absolute), b""), (file("dir/.wh.secret"), b"")]),
        (
            "dir/.wh..wh..opq",
            vec![(link(Kind::Symlink, "dir", absolute), b""), (file("dir/.wh..wh..opq"), b"")],
        ),
        ("x/../../sda", vec![(device, b"")]),
        (".wh...", vec![(file("a/.wh..."), b"")]),
        (".wh.", vec![(file(".wh."), b"")]),
        ("f/below", vec![(file("f"), b"x"), (file("f/below"), b"x")]),
        ("odd", vec![(Entry { kind: Kind::Other(b'Z'), ..file("odd") }, b"")]),
        ("loop/x", vec![(link(Kind::Symlink, "loop", "loop"), b""), (file("loop/x"), b"x")]),
        ("hard", vec![(dir("d"), b""), (link(Kind::HardLink, "hard", "d"), b"")]),
    ];
    for (name, entries) in cases {
        let error = apply(&store, &archive(&entries)).expect_err(name);
        let text = error.to_string();
        assert!(text.contains(name), "{name}: {text}");
    }
    assert_eq!(fs::read_to_string(outside.join("secret")).unwrap(), "secret");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(xattr(&outside, "trusted.overlay.opaque"), None);
    assert!(!root.path().join("evil").exists() && !root.path().join("layers/evil").exists());
    assert!(store.list().is_empty());
    assert_eq!(fs::read_dir(root.path().join("layers/tmp")).unwrap().count(), 0, "nothing half-made stays");
}

#[test]
fn a_link_to_itself_as_last_component_is_replaced_and_never_followed() {
    let root = tempfile::tempdir().unwrap();
    let victim = root.path().join("victim");
    fs::write(&victim, "untouched").unwrap();
    let store = open(&root.path().join("layers"));
    let target = victim.to_str().unwrap();
    let tar = archive(&[(link(Kind::Symlink, "f", target), b""), (file("f"), b"mine")]);
    let path = apply(&store, &tar).unwrap();
    assert_eq!(fs::read(path.join("f")).unwrap(), b"mine");
    // A directory that became a link keeps its attributes to itself.
    let mut locked = dir("d");
    locked.mode = 0;
    let tar = archive(&[(locked, b""), (link(Kind::Symlink, "d", root.path().to_str().unwrap()), b"")]);
    apply(&store, &tar).unwrap();
    assert_ne!(fs::metadata(root.path()).unwrap().permissions().mode() & 0o777, 0);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
}

#[test]
fn limits_end_an_unpacking_and_leave_nothing() {
    let root = tempfile::tempdir().unwrap();
    let limits = Limits { entries: 3, bytes: 1000, ratio: 10, ratio_floor: 100_000 };
    let store = LayerStore::open(root.path(), Arc::default(), limits).unwrap();
    let refused = |tar: &[u8], words: &str| {
        let text = store.apply(Cursor::new(tar)).unwrap_err().to_string();
        assert!(text.contains(words), "{text}");
        assert_eq!(fs::read_dir(root.path().join("tmp")).unwrap().count(), 0);
    };
    refused(
        &archive(&[(dir("a"), b""), (dir("b"), b""), (dir("c"), b""), (dir("d"), b"")]),
        "more entries than the 3",
    );
    refused(&archive(&[(file("a"), &[0; 600]), (file("b"), &[0; 600])]), "more bytes than the 1000");
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    io::Write::write_all(&mut gz, &archive(&[(file("zeros"), &vec![0; 900])])).unwrap();
    io::Write::write_all(&mut gz, &vec![0; 400_000]).unwrap();
    refused(&gz.finish().unwrap(), "decompression bomb");
}

/// A filesystem of its own that nobody else sees, reached through its descriptor.
fn small_disk(size: &str) -> (std::os::fd::OwnedFd, PathBuf) {
    use minke_sys::mount::{Attrs, FsContext};
    use std::os::fd::AsRawFd;
    let context = FsContext::open("tmpfs").unwrap().string("size", size).unwrap().create().unwrap();
    let mount = context.mount(Attrs::empty()).unwrap();
    let path = PathBuf::from(format!("/proc/self/fd/{}/layers", mount.as_raw_fd()));
    (mount, path)
}

#[test]
fn a_full_disk_is_told_by_the_entry_and_leaves_nothing() {
    let (_disk, path) = small_disk("4m");
    let store = open(&path);
    let check = |size: usize, words: &str| {
        let tar = archive(&[(file("small"), b"x"), (file("large"), &vec![1; size])]);
        let text = apply(&store, &tar).unwrap_err().to_string();
        assert!(text.contains("large") && text.contains(words), "{text}");
        assert_eq!(fs::read_dir(path.join("tmp")).unwrap().count(), 0);
    };
    check(6 << 20, "No space left on device");
    check(80 << 20, "bytes wanted");
    apply(&store, &archive(&[(file("fits"), &vec![1; 1 << 20])])).unwrap();
}

#[test]
fn the_same_layer_unpacked_by_many_at_once_is_there_once() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let tar = archive(&[(file("a/b/c"), &[7; 50_000]), (dir("d"), b"")]);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| apply(&store, &tar).unwrap());
        }
    });
    assert_eq!(store.list().len(), 1);
    assert_eq!(fs::read_dir(root.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn a_corrupt_or_cut_stream_is_refused_and_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let tar = archive(&[(file("a"), &[7; 100_000]), (file("b"), &[8; 100_000])]);
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    io::Write::write_all(&mut gz, &tar).unwrap();
    let gz = gz.finish().unwrap();
    let mut wrong_sum = gz.clone();
    let at = wrong_sum.len() - 6;
    wrong_sum[at] ^= 1;
    for bad in [
        &tar[..150_000],
        &gz[..gz.len() / 2],
        &wrong_sum,
        b"not an archive at all, really not".repeat(40).as_slice(),
    ] {
        apply(&store, bad).unwrap_err();
    }
    assert_eq!((store.list().len(), fs::read_dir(root.path().join("tmp")).unwrap().count()), (0, 0));
}

#[test]
fn lowers_are_top_first_without_repetition_and_end_at_an_opaque_layer() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let add = |name: &str| store.apply(Cursor::new(archive(&[(file(name), b"x")]))).unwrap().diff_id;
    let (a, b, opaque) = (add("a"), add("b"), add(".wh..wh..opq"));
    let path = |id| store.path(id);
    assert_eq!(store.lowers(&[a, b]).unwrap(), [path(b), path(a)]);
    assert_eq!(store.lowers(&[a, b, a]).unwrap(), [path(a), path(b)]);
    assert_eq!(store.lowers(&[a, opaque, b]).unwrap(), [path(b), path(opaque)]);
    let missing = crate::content::hash(b"nothing");
    assert!(matches!(store.lowers(&[missing]), Err(LayerError::Missing(_))));
    assert_eq!(short_name(a).len(), 26);
    assert_eq!(chain_id(&[a]), Some(a));
    assert_eq!(chain_id(&[a, b]), Some(crate::content::hash(format!("{a} {b}").as_bytes())));
}

#[test]
fn opening_again_keeps_whole_layers_and_drops_what_a_crash_or_power_cut_left() {
    let root = tempfile::tempdir().unwrap();
    let ids: Vec<Digest> = {
        let store = open(root.path());
        let ids = ["kept", "tree lost", "record lost", "power cut"]
            .map(|name| store.apply(Cursor::new(archive(&[(file(name), b"x")]))).unwrap().diff_id);
        remove_tree_at(&store.path(ids[1])).unwrap();
        ids.to_vec()
    };
    // The background sync may still rewrite records.
    std::thread::sleep(std::time::Duration::from_millis(300));
    let store = open(root.path());
    let record = |id| store.record_path(id);
    fs::remove_file(record(ids[2])).unwrap();
    let text = fs::read_to_string(record(ids[3])).unwrap();
    let mut record: serde_json::Value = serde_json::from_str(&text).unwrap();
    record["unsynced"] = "another boot".into();
    fs::write(store.record_path(ids[3]), record.to_string()).unwrap();
    fs::create_dir(root.path().join("tmp/staged-old-0")).unwrap();
    let again = open(root.path());
    let found: Vec<bool> = ids.iter().map(|id| again.find(*id).is_some()).collect();
    assert_eq!(found, [true, false, false, false]);
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 3, "one layer, tmp, records");
}

#[test]
fn retired_layers_are_gone_at_once_and_deleted_later() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let id = store.apply(Cursor::new(archive(&[(file("deep/er/file"), b"x")]))).unwrap().diff_id;
    store.retire(id).unwrap();
    store.retire(id).unwrap();
    assert!(store.find(id).is_none() && !store.path(id).exists());
    store.delete_retired().unwrap();
    assert_eq!(fs::read_dir(root.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn a_tree_deeper_than_any_descriptor_limit_is_removed() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    // As deep as one path can be, then refused: the removal has to cope.
    let path = "d/".repeat(2000);
    let error = apply(&store, &archive(&[(dir(&path), b""), (file("../x"), b"")])).unwrap_err();
    assert!(matches!(error, LayerError::Escapes { .. }), "{error}");
    assert_eq!(fs::read_dir(root.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn what_gnu_tar_and_bsdtar_packed_unpacks_the_same() {
    let root = tempfile::tempdir().unwrap();
    let tree = root.path().join("tree");
    fs::create_dir_all(tree.join("dir")).unwrap();
    fs::write(tree.join("dir").join("n".repeat(180)), "long").unwrap();
    fs::write(tree.join("file"), "text").unwrap();
    fs::hard_link(tree.join("file"), tree.join("hard")).unwrap();
    std::os::unix::fs::symlink("file", tree.join("soft")).unwrap();
    rustix::fs::setxattr(tree.join("file"), "user.k", b"v", rustix::fs::XattrFlags::empty()).unwrap();
    let sparse = fs::File::create(tree.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", 5 << 20).unwrap();
    drop(sparse);
    let store = open(&root.path().join("layers"));
    let mut tried = 0;
    for command in [
        &["tar", "--xattrs", "-cSf", "-", "--format=posix", "."][..],
        &["tar", "-cSf", "-", "--format=gnu", "."],
        &["tar", "-czf", "-", "--format=ustar", "--exclude=nn*", "."],
        &["tar", "-cJf", "-", "."],
        &["bsdtar", "-cf", "-", "--format=pax", "."],
        &["bsdtar", "--zstd", "-cf", "-", "."],
    ] {
        let Ok(output) = Command::new(command[0]).args(&command[1..]).current_dir(&tree).output() else {
            continue;
        };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        tried += 1;
        let path = apply(&store, &output.stdout).unwrap();
        assert_eq!(fs::read_to_string(path.join("file")).unwrap(), "text", "{command:?}");
        assert_eq!(
            fs::metadata(path.join("hard")).unwrap().ino(),
            fs::metadata(path.join("file")).unwrap().ino()
        );
        assert_eq!(fs::read_link(path.join("soft")).unwrap(), Path::new("file"));
        let sparse = fs::metadata(path.join("sparse")).unwrap();
        assert_eq!(sparse.len(), (5 << 20) + 3);
        if command.contains(&"-cSf") {
            assert!(sparse.blocks() * 512 < 1 << 20, "{command:?}: holes stay holes");
            assert_eq!(
                fs::metadata(path.join("file")).unwrap().mtime(),
                fs::metadata(tree.join("file")).unwrap().mtime()
            );
        }
        if command.contains(&"--xattrs") || command.contains(&"--format=pax") {
            assert_eq!(xattr(&path.join("file"), "user.k").as_deref(), Some(&b"v"[..]), "{command:?}");
        }
    }
    assert!(tried >= 4, "GNU tar is part of every Debian");
}

fn layer_entries() -> impl Strategy<Value = Vec<(Entry, Vec<u8>)>> {
    let name = prop_oneof![
        "[a-c]",
        "[a-c]/[d-f]",
        "[a-c]/[d-f]/[g-i]",
        "[a-c]/\\.wh\\.[d-f]",
        "[a-c]/\\.wh\\.\\.wh\\.\\.opq"
    ];
    let kind = prop_oneof![4 => Just(Kind::File), 3 => Just(Kind::Directory), 1 => Just(Kind::Symlink), 1 => Just(Kind::Fifo)];
    let one = (
        name,
        kind,
        0_u32..0o10000,
        0_u32..70000,
        0_i64..2_000_000_000,
        prop::collection::vec(any::<u8>(), 0..50),
    );
    prop::collection::vec(one, 0..14).prop_map(|entries| {
        entries
            .into_iter()
            .map(|(path, kind, mode, owner, seconds, data)| {
                let kind = if path.contains(".wh.") { Kind::File } else { kind };
                let data = if kind == Kind::File && !path.contains(".wh.") { data } else { Vec::new() };
                let link = if kind == Kind::Symlink { b"nowhere".to_vec() } else { Vec::new() };
                let mtime = Moment { seconds, nanoseconds: 42 };
                let size = data.len() as u64;
                let entry = Entry {
                    path: path.into(),
                    kind,
                    mode,
                    uid: owner,
                    gid: owner,
                    size,
                    mtime,
                    link,
                    ..Entry::default()
                };
                (entry, data)
            })
            .collect()
    })
}

/// A tree as text: everything that a layer is.
fn describe(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    walk::walk(&diff::open_dir(root).unwrap(), &mut |node| {
        let stat = &node.stat;
        let data = if node.kind() == rustix::fs::FileType::RegularFile {
            fs::read(root.join(std::ffi::OsStr::from_bytes(node.path))).unwrap()
        } else {
            Vec::new()
        };
        // Implied parents carry the time of unpacking.
        let time = if node.kind() == rustix::fs::FileType::Directory { 0 } else { stat.st_mtime };
        let whiteout = is_whiteout(stat);
        let (owner, mode, time) = if whiteout { (0, 0, 0) } else { (stat.st_uid, stat.st_mode, time) };
        let attributes = node.attributes().unwrap();
        lines.push(format!(
            "{} {mode:o} {owner} {time} {whiteout} {data:?} {attributes:?}",
            String::from_utf8_lossy(node.path)
        ));
        Ok(walk::Descend::Yes)
    })
    .unwrap();
    lines
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn a_layer_written_back_unpacks_to_the_same_tree(entries in layer_entries()) {
        let root = tempfile::tempdir().unwrap();
        let store = open(root.path());
        let tar = archive(&entries.iter().map(|(e, d)| (e.clone(), &d[..])).collect::<Vec<_>>());
        // Some of these trees contradict themselves (a file with children); those are refused, which is fine.
        if let Ok(path) = apply(&store, &tar) {
            let mut again = Vec::new();
            diff::write_layer(&path, &mut again).unwrap();
            let mut twice = Vec::new();
            diff::write_layer(&path, &mut twice).unwrap();
            prop_assert!(again == twice, "not deterministic");
            let copy = apply(&store, &again).unwrap();
            prop_assert_eq!(describe(&path), describe(&copy));
        }
        prop_assert_eq!(fs::read_dir(root.path().join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn no_bytes_leave_the_layer_or_a_mess(
        entries in layer_entries(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
    ) {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("canary"), "alive").unwrap();
        let store = open(&root.path().join("layers"));
        let mut tar = archive(&entries.iter().map(|(e, d)| (e.clone(), &d[..])).collect::<Vec<_>>());
        for (at, value) in changes {
            let at = at.index(tar.len());
            tar[at] = value;
            let block = at / 512 * 512;
            let sum: u32 = tar[block..block + 512].iter().enumerate()
                .map(|(i, b)| if (148..156).contains(&i) { 32 } else { u32::from(*b) }).sum();
            tar[block + 148..block + 155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        }
        drop(apply(&store, &tar));
        prop_assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2);
        prop_assert_eq!(fs::read_dir(root.path().join("layers/tmp")).unwrap().count(), 0);
    }
}
