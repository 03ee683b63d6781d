//! One suite, run by both drivers.

use super::*;
use crate::layer::ChangeKind;
use crate::tar::{Entry, Kind, Writer};
use crate::{LayerStore, Limits};
use rustix::fs::{AtFlags, Mode, OFlags};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

struct Scene {
    dir: tempfile::TempDir,
    layers: LayerStore,
    lowers: Vec<PathBuf>,
}

fn scene() -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let layers = LayerStore::open(&dir.path().join("layers"), Arc::default(), Limits::default()).unwrap();
    let mut lowers = Vec::new();
    for entries in [
        &[
            ("bin/sh", "shell"),
            ("etc/hosts", "image's own"),
            ("etc/passwd", "root"),
            ("old/a", "a"),
            ("old/b", "b"),
            ("tree/x/y", "y"),
        ][..],
        &[(".wh.old", ""), ("etc/passwd", "root2")],
    ] {
        let mut writer = Writer::new(Vec::new());
        for (path, text) in entries {
            let entry = Entry {
                path: (*path).into(),
                mode: 0o640,
                uid: 3,
                size: text.len() as u64,
                ..Entry::default()
            };
            writer.append(&entry, &mut text.as_bytes()).unwrap();
        }
        if lowers.is_empty() {
            let link = |kind, path: &str, to: &str| Entry {
                path: path.into(),
                kind,
                link: to.into(),
                ..Entry::default()
            };
            for entry in [link(Kind::HardLink, "bin/bash", "bin/sh"), link(Kind::Symlink, "proc", "bin")] {
                writer.append(&entry, &mut io::empty()).unwrap();
            }
        }
        let tar = writer.finish().unwrap();
        lowers.insert(0, layers.path(layers.apply(&tar[..]).unwrap().diff_id));
    }
    Scene { dir, layers, lowers }
}

fn write(root: &OwnedFd, path: &str, text: &str) {
    let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY;
    let file = rustix::fs::openat(root, path, flags, Mode::from_raw_mode(0o600)).unwrap();
    rustix::io::write(file, text.as_bytes()).unwrap();
}

fn read(root: &OwnedFd, path: &str) -> Option<String> {
    let file = rustix::fs::openat(root, path, OFlags::RDONLY, Mode::empty()).ok()?;
    io::read_to_string(fs::File::from(file)).ok()
}

/// What a driver must do, from image to removal.
fn check_driver(driver: &dyn RootfsDriver) {
    let Scene { dir, layers, lowers } = scene();
    let container = dir.path().join("container");
    fs::create_dir(&container).unwrap();
    let stack = driver.init_layer("key", &lowers).unwrap();
    assert_eq!(driver.init_layer("key", &lowers).unwrap(), stack, "made once");
    let rootfs = driver.prepare(&stack, &container, PrepareOptions::default()).unwrap();
    assert_eq!(rootfs, driver.rootfs(&stack, &container, PrepareOptions::default()));

    // A fresh container shows the image and the mount points, and nothing has changed.
    let root = driver.open_root(&rootfs).unwrap();
    assert_eq!(read(&root, "etc/passwd").as_deref(), Some("root2"));
    assert_eq!(read(&root, "old/a"), None);
    assert_eq!(read(&root, "etc/hosts").as_deref(), Some(""), "the engine's own file covers the image's");
    for point in ["proc", "sys", "dev/pts", "dev/shm"] {
        rustix::fs::openat(&root, point, OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty()).expect(point);
    }
    assert_eq!(rustix::fs::readlinkat(&root, "etc/mtab", Vec::new()).unwrap().to_bytes(), b"/proc/mounts");
    let stat = |path| rustix::fs::statat(&root, path, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    assert_eq!((stat("bin/sh").st_uid, stat("bin/sh").st_mode & 0o7777), (3, 0o640));
    assert_eq!(stat(".").st_mode & 0o7777, 0o755);
    assert_eq!(driver.changes(&stack, &container).unwrap(), []);
    assert_eq!(driver.usage(&stack, &container).unwrap().bytes, 0);

    // Changes of every sort.
    write(&root, "etc/passwd", "root3!");
    write(&root, "etc/new", "12345");
    rustix::fs::mkdirat(&root, "srv", Mode::RWXU).unwrap();
    write(&root, "srv/data", "d");
    rustix::fs::unlinkat(&root, "bin/bash", AtFlags::empty()).unwrap();
    for (path, flags) in
        [("tree/x/y", AtFlags::empty()), ("tree/x", AtFlags::REMOVEDIR), ("tree", AtFlags::REMOVEDIR)]
    {
        rustix::fs::unlinkat(&root, path, flags).unwrap();
    }
    drop(root);
    let found: Vec<String> = driver
        .changes(&stack, &container)
        .unwrap()
        .into_iter()
        .map(|change| {
            let letter = match change.kind {
                ChangeKind::Added => 'A',
                ChangeKind::Modified => 'C',
                ChangeKind::Deleted => 'D',
            };
            format!("{letter} {}", change.path.display())
        })
        .collect();
    let expected = [
        "C /bin",
        "D /bin/bash",
        "C /etc",
        "A /etc/new",
        "C /etc/passwd",
        "A /srv",
        "A /srv/data",
        "D /tree",
    ];
    assert_eq!(found, expected);
    assert_eq!(driver.usage(&stack, &container).unwrap().bytes, 6 + 5 + 1);

    // The difference is a layer: on top of the image it gives the container's root.
    let mut tar = Vec::new();
    driver.diff(&stack, &container, &mut tar).unwrap();
    let layer = layers.apply(&tar[..]).unwrap();
    let mut committed = vec![layers.path(layer.diff_id)];
    committed.extend(lowers.iter().cloned());
    let view = crate::stack::Stack::new(committed);
    let text =
        |path: &str| view.read_file(Path::new(path), 100).unwrap().map(|b| String::from_utf8(b).unwrap());
    assert_eq!(text("etc/passwd").as_deref(), Some("root3!"));
    assert_eq!(text("etc/new").as_deref(), Some("12345"));
    assert_eq!(text("srv/data").as_deref(), Some("d"));
    assert_eq!((text("bin/bash"), text("tree/x/y")), (None, None));
    assert_eq!(text("bin/sh").as_deref(), Some("shell"));

    // The whole root as one archive.
    let mut whole = Vec::new();
    driver.export(&rootfs, &mut whole).unwrap();
    let plain = layers.path(layers.apply(&whole[..]).unwrap().diff_id);
    assert_eq!(fs::read_to_string(plain.join("etc/passwd")).unwrap(), "root3!");
    assert_eq!(fs::metadata(plain.join("bin/sh")).unwrap().uid(), 3);
    assert!(!plain.join("tree").exists() && plain.join("sys").is_dir());

    driver.remove(&container).unwrap();
    driver.remove(&container).unwrap();
    assert_eq!(fs::read_dir(&container).unwrap().count(), 0);
    driver.remove_init_layers(&|_| false).unwrap();
}

#[test]
fn overlay_does_what_a_driver_must() {
    let dir = tempfile::tempdir().unwrap();
    let driver = Overlay::open(dir.path()).unwrap();
    check_driver(&driver);
    assert_eq!(fs::read_dir(dir.path().join("init")).unwrap().count(), 0, "no scratch stays");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(dir.path().to_str().unwrap()), "nothing is mounted where anyone could see it");
}

#[test]
fn vfs_does_what_a_driver_must() {
    check_driver(&Vfs);
}

#[test]
fn a_copied_sparse_file_keeps_its_holes_and_its_bytes() {
    use std::os::unix::fs::FileExt;
    let dir = tempfile::tempdir().unwrap();
    let layer = dir.path().join("layer");
    fs::create_dir(&layer).unwrap();
    let file = fs::File::create(layer.join("sparse")).unwrap();
    file.write_all_at(b"start", 0).unwrap();
    file.write_all_at(b"middle", 8 << 20).unwrap();
    file.set_len(16 << 20).unwrap();
    Vfs.prepare(std::slice::from_ref(&layer), dir.path(), PrepareOptions::default()).unwrap();
    let copy = dir.path().join("rootfs/sparse");
    assert!(fs::read(&copy).unwrap() == fs::read(layer.join("sparse")).unwrap());
    assert!(fs::metadata(&copy).unwrap().blocks() * 512 < 1 << 20);
}

#[test]
fn a_volatile_container_can_be_looked_into_after_it_ended() {
    let Scene { dir, lowers, .. } = scene();
    let driver = Overlay::open(dir.path()).unwrap();
    let container = dir.path().join("container");
    fs::create_dir(&container).unwrap();
    let options = PrepareOptions { volatile: true, readonly: false };
    let rootfs = driver.prepare(&lowers, &container, options).unwrap();
    fs::create_dir_all(container.join("work/work/incompat/volatile")).unwrap();
    let root = driver.open_root(&rootfs).unwrap();
    assert_eq!(read(&root, "etc/passwd").as_deref(), Some("root2"));
}

#[test]
fn a_stack_of_many_layers_mounts() {
    let dir = tempfile::tempdir().unwrap();
    let layers = LayerStore::open(&dir.path().join("layers"), Arc::default(), Limits::default()).unwrap();
    let mut lowers = Vec::new();
    for number in 0..127 {
        let mut writer = Writer::new(Vec::new());
        let entry = Entry { path: format!("f{number}").into(), mode: 0o644, size: 1, ..Entry::default() };
        writer.append(&entry, &mut &b"x"[..]).unwrap();
        lowers.push(layers.path(layers.apply(&writer.finish().unwrap()[..]).unwrap().diff_id));
    }
    let driver = Overlay::open(dir.path()).unwrap();
    let stack = driver.init_layer("many", &lowers).unwrap();
    let rootfs = driver.prepare(&stack, dir.path(), PrepareOptions::default()).unwrap();
    let root = driver.open_root(&rootfs).unwrap();
    assert_eq!((read(&root, "f0").as_deref(), read(&root, "f126").as_deref()), (Some("x"), Some("x")));
}
