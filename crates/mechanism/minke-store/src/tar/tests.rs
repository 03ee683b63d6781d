//! The format's corners, and that no bytes make the reader panic.

use std::io::Read;
use std::process::Command;

use proptest::prelude::*;

use super::*;

fn read_all(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, TarError> {
    let mut reader = Reader::new(bytes);
    let mut found = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut data = Vec::new();
        loop {
            let chunk = reader.chunk()?;
            if chunk.is_empty() {
                break;
            }
            data.extend_from_slice(chunk);
            let count = chunk.len();
            reader.consume(count);
        }
        found.push((entry, data));
    }
    Ok(found)
}

fn write_all(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (entry, data) in entries {
        writer.append(entry, &mut &data[..]).unwrap();
    }
    writer.finish().unwrap()
}

fn any_entry() -> impl Strategy<Value = (Entry, Vec<u8>)> {
    let name = || {
        prop::collection::vec(1_u8..=255, 1..300)
            .prop_filter("no slash at the end", |n| n.last() != Some(&b'/'))
    };
    let mtime = (-10_000_000_000_i64..100_000_000_000, 0_u32..1_000_000_000);
    let xattrs =
        prop::collection::btree_map("user\\.[a-z]{1,9}", prop::collection::vec(any::<u8>(), 0..40), 0..3);
    let kind = prop_oneof![
        Just(Kind::File),
        Just(Kind::Directory),
        Just(Kind::Symlink),
        Just(Kind::HardLink),
        Just(Kind::CharDevice),
        Just(Kind::Fifo)
    ];
    let owner = (any::<u32>(), any::<u32>(), 0_u32..0o10000);
    (name(), name(), kind, owner, mtime, xattrs, prop::collection::vec(any::<u8>(), 0..2000)).prop_map(
        |(path, link, kind, (uid, gid, mode), (seconds, nanoseconds), xattrs, data)| {
            let data = if kind == Kind::File { data } else { Vec::new() };
            let entry = Entry {
                path,
                kind,
                link: if matches!(kind, Kind::Symlink | Kind::HardLink) { link } else { Vec::new() },
                mode,
                uid,
                gid,
                size: data.len() as u64,
                mtime: Moment { seconds, nanoseconds },
                device: if kind == Kind::CharDevice { (5, 1) } else { (0, 0) },
                xattrs: xattrs.into_iter().map(|(k, v)| (k.into_bytes(), v)).collect(),
                sparse: None,
            };
            (entry, data)
        },
    )
}

proptest! {
    #[test]
    fn what_was_written_is_read(entries in prop::collection::vec(any_entry(), 0..6)) {
        prop_assert_eq!(read_all(&write_all(&entries)).unwrap(), entries);
    }

    #[test]
    fn no_mutation_makes_the_reader_panic(
        entries in prop::collection::vec(any_entry(), 1..4),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = write_all(&entries);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
            // A checksum that holds lets the change through to the fields.
            let block = at / BLOCK * BLOCK;
            let sum: u32 = bytes[block..block + BLOCK].iter().enumerate()
                .map(|(i, b)| if (148..156).contains(&i) { 32 } else { u32::from(*b) }).sum();
            bytes[block + 148..block + 155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        drop(read_all(&bytes));
    }
}

#[test]
fn a_cut_archive_is_told_from_a_whole_one() {
    let entry = Entry { path: b"file".to_vec(), size: 1000, ..Entry::default() };
    let whole = write_all(&[(entry, vec![1; 1000])]);
    for length in [100, 512, 600, 1511] {
        let error = read_all(&whole[..length]).unwrap_err();
        assert!(matches!(error, TarError::Truncated { .. }), "{length}: {error}");
    }
    assert_eq!(read_all(&whole[..1512]).unwrap().len(), 1, "padding and end mark may be missing");
}

#[test]
fn what_claims_too_much_memory_is_refused() {
    let mut header = Writer::new(Vec::new());
    header
        .append(
            &Entry { path: b"x".to_vec(), kind: Kind::Other(b'x'), ..Entry::default() },
            &mut std::io::empty(),
        )
        .unwrap();
    let mut block = header.finish().unwrap();
    block[124..135].copy_from_slice(b"77777777777");
    let sum: u32 = block[..512]
        .iter()
        .enumerate()
        .map(|(i, b)| if (148..156).contains(&i) { 32 } else { u32::from(*b) })
        .sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    assert!(matches!(read_all(&block), Err(TarError::Extension { .. })));
}

fn gnu_tar(dir: &std::path::Path, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("tar").current_dir(dir).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn every_format_of_gnu_tar_with_sparse_files_and_long_names_is_read() {
    use std::os::unix::fs::FileExt;
    let dir = tempfile::tempdir().unwrap();
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(200));
    std::fs::create_dir(dir.path().join("d".repeat(120))).unwrap();
    std::fs::write(dir.path().join(&long), "long").unwrap();
    let sparse = std::fs::File::create(dir.path().join("sparse")).unwrap();
    // Enough pieces that old GNU headers need continuation blocks.
    for piece in 0..40_u8 {
        sparse.write_all_at(&[piece + 1; 4096], u64::from(piece) * 65536).unwrap();
    }
    sparse.set_len(50 * 65536).unwrap();
    let mut expected = vec![0; 50 * 65536];
    (&std::fs::File::open(dir.path().join("sparse")).unwrap()).read_exact(&mut expected).unwrap();
    for format in [
        &["--format=gnu"][..],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ] {
        let bytes = gnu_tar(dir.path(), &[&["-cS"][..], format, &["-f", "-", &long, "sparse"]].concat());
        let entries = read_all(&bytes).unwrap();
        assert_eq!(entries[0].0.path, long.as_bytes(), "{format:?}");
        assert_eq!(entries[0].1, b"long");
        let (entry, data) = &entries[1];
        assert_eq!((entry.path.as_slice(), entry.size), (&b"sparse"[..], 50 * 65536), "{format:?}");
        let map = entry.sparse.as_ref().expect("a sparse map");
        let mut file = vec![0; expected.len()];
        let mut at = 0;
        for segment in map {
            let (offset, length) =
                (usize::try_from(segment.offset).unwrap(), usize::try_from(segment.length).unwrap());
            file[offset..offset + length].copy_from_slice(&data[at..at + length]);
            at += length;
        }
        assert!(file == expected && data.len() < expected.len(), "{format:?}");
    }
    for format in ["v7", "oldgnu", "ustar"] {
        let bytes = gnu_tar(dir.path(), &["-c", "--format", format, "-f", "-", "sparse"]);
        assert_eq!(read_all(&bytes).unwrap()[0].1, expected, "{format}");
    }
}

#[test]
fn a_hostile_sparse_map_is_refused() {
    let check = |map: &str, real: u64| {
        let mut records = Vec::new();
        pax::append_record(&mut records, b"GNU.sparse.map", map.as_bytes());
        pax::append_record(&mut records, b"GNU.sparse.size", real.to_string().as_bytes());
        let mut writer = Writer::new(Vec::new());
        let head = Entry { path: b"h".to_vec(), size: records.len() as u64, ..Entry::default() };
        writer.append(&head, &mut &records[..]).unwrap();
        let file = Entry { path: b"f".to_vec(), size: 10, ..Entry::default() };
        writer.append(&file, &mut &[1; 10][..]).unwrap();
        let mut bytes = writer.finish().unwrap();
        bytes[156] = b'x';
        let sum: u32 = bytes[..512]
            .iter()
            .enumerate()
            .map(|(i, b)| if (148..156).contains(&i) { 32 } else { u32::from(*b) })
            .sum();
        bytes[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        read_all(&bytes)
    };
    assert!(check("0,5,100,5", 200).is_ok());
    for (map, real) in [
        ("100,5,0,5", 200),
        ("0,5,4,5", 200),
        ("0,10", 5),
        ("0,20", 200),
        ("18446744073709551615,10", 200),
        ("1,2,3", 200),
        ("a,b", 200),
    ] {
        assert!(matches!(check(map, real), Err(TarError::Malformed { .. })), "{map}");
    }
}

#[test]
fn numbers_in_base_256_and_old_headers_are_read() {
    assert_eq!(header::signed(&[0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]), Some(1 << 32));
    assert_eq!(header::signed(&[0xff; 12]), Some(-1));
    assert_eq!(header::signed(&[0xbf; 12]), None, "more than 64 bits");
    assert_eq!(header::signed(b"  644 \0 "), Some(0o644));
    assert_eq!(header::signed(b"\0\0\0\0"), Some(0));
    assert_eq!(header::signed(b"12x4"), None);
}
