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

/// A part of this length, touched so many hours ago.
fn part(dir: &tempfile::TempDir, hours: u64, length: u64) -> PathBuf {
    let digest = hash(&hours.to_le_bytes());
    let path = dir.path().join(format!("tmp/partial-{}", digest.hex()));
    let file = File::create(&path).unwrap();
    file.set_len(length).unwrap();
    let at = std::time::SystemTime::now() - std::time::Duration::from_secs(hours * 3600);
    file.set_modified(at).unwrap();
    path
}

#[test]
fn parts_stay_for_a_day_and_the_oldest_go_where_there_are_too_many() {
    let dir = tempfile::tempdir().unwrap();
    let first = store(&dir);
    let gigabyte = 1 << 30;
    let parts: Vec<PathBuf> = (0..6).map(|hours| part(&dir, hours, gigabyte)).collect();
    let old = part(&dir, 25, 1);
    drop(first);
    let store = store(&dir);
    let there: Vec<bool> = parts.iter().map(|path| path.exists()).collect();
    assert_eq!(there, [true, true, true, true, false, false]);
    assert!(!old.exists());
    assert_eq!(store.delete_parts().unwrap(), 4 * gigabyte);
    assert_eq!(leftovers(&dir), 0);
}

#[test]
fn a_part_that_is_being_written_stays_whatever_is_pruned() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir);
    let digest = hash(b"whole");
    let mut resumed = store.resume(digest, 5).unwrap();
    resumed.writer.append(b"who").unwrap();
    assert_eq!(store.delete_parts().unwrap(), 0);
    drop(resumed);
    assert_eq!(store.resume(digest, 5).unwrap().length, 3, "what came is there for the next one");
    assert_eq!(store.delete_parts().unwrap(), 3);
    assert_eq!(store.resume(digest, 5).unwrap().length, 0);
}
