//! The content store against bad data, crashes and neighbours.

use super::*;

fn store(dir: &tempfile::TempDir) -> ContentStore {
    ContentStore::open(dir.path(), Arc::default()).unwrap()
}

fn leftovers(dir: &tempfile::TempDir) -> usize {
    fs::read_dir(dir.path().join("tmp")).unwrap().count()
}

#[test]
fn a_blob_reads_back_verified() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let blob = store.put(b"hello").unwrap();
    assert_eq!(store.read(blob.digest).unwrap(), b"hello");
    assert_eq!(store.list().unwrap(), vec![blob]);
    store.delete(blob.digest).unwrap();
    store.delete(blob.digest).unwrap();
    assert!(matches!(store.read(blob.digest), Err(ContentError::Missing(_))));
}

#[test]
fn what_is_not_as_announced_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let right = hash(b"data");
    let ingest = |bytes: &[u8], expected| store.ingest(&mut &*bytes, expected).unwrap_err();
    assert!(matches!(ingest(b"dat", Expected::exactly(right, 4)), ContentError::Digest { .. }));
    assert!(matches!(ingest(b"data+", Expected::exactly(right, 4)), ContentError::Size { .. }));
    let short = Expected { size: Some(9), ..Expected::default() };
    assert!(matches!(ingest(b"data", short), ContentError::Size { .. }));
    let small = Expected { max: Some(3), ..Expected::default() };
    assert!(matches!(ingest(b"data", small), ContentError::TooLarge { .. }));
    assert_eq!((store.list().unwrap().len(), leftovers(&dir)), (0, 0));
}

#[test]
fn a_blob_that_rotted_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let blob = store.put(b"hello").unwrap();
    fs::write(store.path(blob.digest), b"jello").unwrap();
    assert!(matches!(store.read(blob.digest), Err(ContentError::Digest { .. })));
    let mut sink = Vec::new();
    let error = store.open_verified(blob.digest).unwrap().read_to_end(&mut sink).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

#[test]
fn opening_removes_what_a_crash_left() {
    let dir = tempfile::tempdir().unwrap();
    let blob = store(&dir).put(b"kept").unwrap();
    fs::write(dir.path().join("tmp/17"), b"half").unwrap();
    let again = store(&dir);
    assert_eq!((again.list().unwrap(), leftovers(&dir)), (vec![blob], 0));
}

#[test]
fn many_writers_of_one_blob_agree() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let bytes = vec![7_u8; 300_000];
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| store.ingest(&mut &*bytes, Expected::default()).unwrap());
        }
    });
    assert_eq!(store.list().unwrap(), vec![Blob { digest: hash(&bytes), size: 300_000 }]);
    assert_eq!(leftovers(&dir), 0);
}
