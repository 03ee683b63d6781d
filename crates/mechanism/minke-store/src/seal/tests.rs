use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use crate::archive::{self, SaveImage, build_image};
use crate::document::ImageConfig;
use crate::{Store, StoreOptions};

fn fill(dir: &Path) {
    fs::create_dir_all(dir.join("usr/bin")).unwrap();
    fs::write(dir.join("usr/bin/tool"), "x".repeat(700_000)).unwrap();
    fs::hard_link(dir.join("usr/bin/tool"), dir.join("usr/bin/alias")).unwrap();
    symlink("../bin/tool", dir.join("usr/link")).unwrap();
    fs::write(dir.join("empty"), "").unwrap();
}

fn bytes(store: &Store, digest: minke_base::Digest) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.open_blob(digest).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_sealed_tree_is_moved_and_stands_for_the_blob_it_would_have_had() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path(), &StoreOptions::default()).unwrap();
    let upper = root.path().join("upper");
    fill(&upper);
    let inode = fs::metadata(upper.join("usr/bin/tool")).unwrap().ino();
    let hold = store.hold();
    let sealed = store.seal(&upper).unwrap();
    assert!(!upper.exists() && !sealed.already);
    let path = store.layers().path(sealed.layer.diff_id);
    assert_eq!(fs::metadata(path.join("usr/bin/tool")).unwrap().ino(), inode, "no byte was copied");
    assert_eq!(sealed.layer.size, 700_000 + "../bin/tool".len() as u64);
    assert!(store.content().list().unwrap().is_empty(), "no blob was written");
    let blob = bytes(&store, sealed.blob.digest);
    assert_eq!(blob.len() as u64, sealed.blob.size);
    assert_eq!(store.blob_size(sealed.blob.digest).unwrap(), Some(sealed.blob.size));
    let mut tail = Vec::new();
    store.open_blob_at(sealed.blob.digest, 1000).unwrap().read_to_end(&mut tail).unwrap();
    assert!(tail == blob[1000..]);
    drop(hold);
    // It is found again at the next open, under the directory it was made in.
    drop(store);
    let store = Store::open(root.path(), &StoreOptions::default()).unwrap();
    assert!(bytes(&store, sealed.blob.digest) == blob);
    assert_eq!(store.layers().lowers(&[sealed.layer.diff_id]).unwrap(), [path]);
}

#[test]
fn a_layer_that_was_changed_behind_the_stores_back_is_not_passed_on() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path(), &StoreOptions::default()).unwrap();
    let upper = root.path().join("upper");
    fill(&upper);
    let sealed = store.seal(&upper).unwrap();
    fs::write(store.layers().path(sealed.layer.diff_id).join("empty"), "no longer").unwrap();
    let error = store.open_blob(sealed.blob.digest).unwrap().read_to_end(&mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("the data is corrupt"), "{error}");
}

#[test]
fn the_same_contents_are_one_layer_and_an_unfinished_snapshot_goes() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path(), &StoreOptions::default()).unwrap();
    let hold = store.hold();
    let trees = ["one", "two"].map(|name| {
        let upper = root.path().join(name);
        fs::create_dir(&upper).unwrap();
        fs::write(upper.join("file"), "same").unwrap();
        let time = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
        fs::File::options().write(true).open(upper.join("file")).unwrap().set_times(time).unwrap();
        store.take_snapshot(&upper).unwrap()
    });
    let sealed = [&trees[0], &trees[1]].map(|tree| store.finish_snapshot(tree).unwrap());
    assert_eq!(sealed[0].layer, sealed[1].layer);
    assert_eq!([sealed[0].already, sealed[1].already], [false, true]);
    let copy = store
        .seal_copy(|output| {
            crate::layer::diff::write_layer(trees[1].path(), output).unwrap();
            Ok(())
        })
        .unwrap();
    assert_eq!((copy.blob, copy.already), (sealed[0].blob.clone(), true));
    let paths = [trees[0].path().to_owned(), trees[1].path().to_owned()];
    drop(trees);
    assert!(paths[0].exists() && !paths[1].exists());
    // One that a crash left has no record and goes at the next open.
    let left = store.new_snapshot().unwrap();
    let path = left.path().to_owned();
    std::mem::forget(left);
    drop((hold, store));
    let store = Store::open(root.path(), &StoreOptions::default()).unwrap();
    assert!(paths[0].exists() && !path.exists());
    drop(store);
}

#[test]
fn a_copied_tree_gives_the_layer_that_the_tree_itself_would() {
    let root = tempfile::tempdir().unwrap();
    let (one, two) = (root.path().join("a"), root.path().join("b"));
    let options = StoreOptions::default();
    let (copying, moving) = (Store::open(&one, &options).unwrap(), Store::open(&two, &options).unwrap());
    let upper = two.join("upper");
    fill(&upper);
    let copied = copying
        .seal_copy(|output| {
            crate::layer::diff::write_layer(&upper, output).unwrap();
            Ok(())
        })
        .unwrap();
    let moved = moving.seal(&upper).unwrap();
    assert_eq!((&copied.blob, copied.layer.size), (&moved.blob, moved.layer.size));
    assert!(bytes(&copying, copied.blob.digest) == bytes(&moving, moved.blob.digest));
}

#[test]
fn an_image_of_sealed_layers_is_saved_and_loads_elsewhere() {
    let root = tempfile::tempdir().unwrap();
    let options = StoreOptions::default();
    let store = Store::open(&root.path().join("a"), &options).unwrap();
    let upper = root.path().join("a/upper");
    fill(&upper);
    let sealed = store.seal(&upper).unwrap();
    let image =
        build_image(&store, ImageConfig::default(), vec![(sealed.blob, sealed.layer.diff_id)]).unwrap();
    let mut saved = Vec::new();
    let wanted = SaveImage { manifest: image.manifest.digest, names: Vec::new() };
    archive::save(&store, &[wanted], &mut saved).unwrap();
    let other = Store::open(&root.path().join("b"), &options).unwrap();
    let loaded =
        archive::load(&other, &saved[..], &archive::LoadOptions::default(), &mut |_step| {}).unwrap();
    assert_eq!(loaded[0].image.id, image.id);
    assert_eq!(other.layers().get(sealed.layer.diff_id).unwrap().size, sealed.layer.size);
}

#[test]
fn several_layers_become_one_that_shows_the_same() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path(), &StoreOptions::default()).unwrap();
    let tree = |name: &str| {
        let path = root.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    };
    let (low, high) = (tree("low"), tree("high"));
    fill(&low);
    fs::create_dir_all(low.join("gone/deep")).unwrap();
    fs::write(low.join("gone/deep/file"), "x").unwrap();
    fs::create_dir_all(high.join("usr")).unwrap();
    fs::write(high.join("empty"), "no longer").unwrap();
    fs::write(high.join("usr/new"), "new").unwrap();
    let device = rustix::fs::FileType::CharacterDevice;
    let mode = rustix::fs::Mode::empty();
    for name in ["gone", "usr/link"] {
        rustix::fs::mknodat(rustix::fs::CWD, high.join(name), device, mode, 0).unwrap();
    }
    let sealed = store.squash(&[low, high]).unwrap();
    let path = store.layers().path(sealed.layer.diff_id);
    assert_eq!(fs::read_to_string(path.join("empty")).unwrap(), "no longer");
    assert_eq!(fs::read_to_string(path.join("usr/new")).unwrap(), "new");
    assert!(path.join("usr/bin/alias").is_file());
    for name in ["gone", "usr/link"] {
        let found = fs::symlink_metadata(path.join(name)).unwrap();
        assert_eq!(
            (found.rdev(), found.is_dir()),
            (0, false),
            "the base may have it too: {name} stays hidden"
        );
    }
}
