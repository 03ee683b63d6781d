//! Archives: what `load` takes, and a tar as a layer and as files to copy.
//!
//! Checksums of headers are made right first: without that hardly any change would come further than to them.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use minke_store::archive::{LoadOptions, import, load};
use minke_store::copying::{Unpack, unpack_below};
use minke_store::{ImageConfig, Limits, Live, Store, StoreError, StoreOptions};

const BLOCK: usize = 512;
/// A disk is a disk: what says that it is more than this is refused here, and would be there.
const LARGEST: u64 = 64 << 20;

struct Place {
    store: Store,
    outside: PathBuf,
    _directory: tempfile::TempDir,
}

/// One for all inputs: to make a store takes longer than to look at an archive.
static PLACE: LazyLock<Place> = LazyLock::new(|| {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().join("store");
    std::fs::create_dir(&root).expect("a place for the store");
    let options = StoreOptions {
        limits: Limits { bytes: LARGEST, ratio_floor: LARGEST / 4, ..Limits::default() },
        ..StoreOptions::default()
    };
    let store = Store::open(&root, &options).expect("a store");
    Place { store, outside: directory.path().to_owned(), _directory: directory }
});

impl Place {
    /// Forgets what came, and looks around.
    fn clear(&self) {
        let swept = self.store.collect(|| Ok::<_, StoreError>(Live::default()));
        swept.expect("an empty store");
        assert_eq!(names_in(&self.outside), 1, "something was made beside the store");
    }
}

fn names_in(directory: &Path) -> usize {
    std::fs::read_dir(directory).expect("the directory").count()
}

/// `load` of any bytes: an error or images, and nothing outside the store's directory.
pub fn archive(bytes: &[u8]) {
    let place = &*PLACE;
    let hold = place.store.hold();
    let _outcome = load(&place.store, &*with_checksums(bytes), &LoadOptions::default(), &mut |_| {});
    drop(hold);
    place.clear();
}

/// A tar as a layer, and over a directory as `cp` and `ADD` unpack it.
pub fn tar(bytes: &[u8]) {
    let bytes = with_checksums(bytes);
    let place = &*PLACE;
    let hold = place.store.hold();
    let _outcome = import(&place.store, &mut &*bytes, ImageConfig::default());
    drop(hold);
    place.clear();
    if sizes(&bytes).sum::<u64>() > LARGEST {
        return;
    }
    let outside = tempfile::tempdir().expect("a directory");
    let inside = outside.path().join("inside");
    std::fs::create_dir(&inside).expect("a directory to unpack into");
    let directory = OwnedFd::from(std::fs::File::open(&inside).expect("the directory"));
    let _outcome = unpack_below(&directory, &*bytes, Unpack::default());
    assert_eq!(names_in(outside.path()), 1, "something was made beside the directory");
}

/// Offsets of what would be read as headers.
fn headers(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let found = at;
        let block = bytes.get(found..found + BLOCK)?;
        let content = usize::try_from(size(block)).unwrap_or(usize::MAX).min(bytes.len());
        at = found + BLOCK + content.next_multiple_of(BLOCK);
        Some(found)
    })
}

fn sizes(bytes: &[u8]) -> impl Iterator<Item = u64> {
    headers(bytes).map(|at| size(&bytes[at..at + BLOCK]).min(1 << 40))
}

fn size(header: &[u8]) -> u64 {
    let field = header[124..136].split(|byte| matches!(byte, 0 | b' ')).next().unwrap_or_default();
    std::str::from_utf8(field).ok().and_then(|text| u64::from_str_radix(text, 8).ok()).unwrap_or(0)
}

fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut fixed = bytes.to_vec();
    for at in headers(bytes) {
        let block = &mut fixed[at..at + BLOCK];
        if block.iter().all(|byte| *byte == 0) || block.starts_with(&[0x1f, 0x8b]) {
            continue;
        }
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    fixed
}
