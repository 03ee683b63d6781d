//! `load` of any bytes: an error or images, and nothing outside the store's directory.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use minke_store::archive::{LoadOptions, load};
use minke_store::{Store, StoreOptions};

struct Place {
    store: Store,
    outside: std::path::PathBuf,
    _directory: tempfile::TempDir,
}

static PLACE: LazyLock<Place> = LazyLock::new(|| {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().join("store");
    std::fs::create_dir(&root).expect("a place for the store");
    let store = Store::open(&root, &StoreOptions::default()).expect("a store");
    Place { store, outside: directory.path().to_owned(), _directory: directory }
});

fuzz_target!(|bytes: &[u8]| {
    let place = &*PLACE;
    let _hold = place.store.hold();
    let _outcome = load(&place.store, bytes, &LoadOptions::default(), &mut |_| {});
    let names = std::fs::read_dir(&place.outside).expect("the directory").count();
    assert_eq!(names, 1, "something was made beside the store");
});
