use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::tar::Reader;

fn root_of(path: &Path) -> Root {
    Root::new(minke_sys::beneath::open_root(path).unwrap())
}

fn packed(root: &Root, path: &str) -> Vec<u8> {
    let mut archive = Vec::new();
    pack(root, path, &mut archive).unwrap();
    archive
}

fn names(archive: &[u8]) -> Vec<String> {
    let mut reader = Reader::new(archive);
    let mut names = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        names.push(String::from_utf8(entry.path).unwrap());
    }
    names
}

/// A tree that holds `dir/file`, and links into it and out of it.
fn tree() -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    let at = |name: &str| tree.path().join(name);
    fs::create_dir(at("dir")).unwrap();
    fs::write(at("dir/file"), "content").unwrap();
    symlink("/dir", at("absolute")).unwrap();
    symlink("../../../../dir/file", at("climbing")).unwrap();
    symlink("nowhere", at("broken")).unwrap();
    tree
}

#[test]
fn names_start_with_the_last_component_of_what_was_asked_for() {
    let tree = tree();
    let root = root_of(tree.path());
    assert_eq!(names(&packed(&root, "/dir")), ["dir/", "dir/file"]);
    assert_eq!(names(&packed(&root, "/dir/")), ["dir/", "dir/file"]);
    assert_eq!(names(&packed(&root, "/dir/.")), ["./", "./file"]);
    assert_eq!(names(&packed(&root, "/dir/file")), ["file"]);
    assert_eq!(names(&packed(&root, "/absolute")), ["absolute"]);
    assert_eq!(names(&packed(&root, "/absolute/")), ["absolute/", "absolute/file"]);
    assert_eq!(names(&packed(&root, "/"))[..2], ["/", "/absolute"]);
}

#[test]
fn links_lead_inside_the_root_only() {
    let tree = tree();
    let root = root_of(tree.path());
    assert_eq!(root.stat("/absolute").unwrap().link_target, "/dir");
    assert_eq!(root.stat("/climbing").unwrap().link_target, "/dir/file");
    assert_eq!(root.stat("/broken").unwrap().link_target, "/nowhere");
    assert_eq!(root.real_path(b"/absolute/../absolute").unwrap(), b"/dir");
    assert!(matches!(root.stat("/no/such"), Err(CopyError::Missing { .. })));
    assert!(matches!(root.real_path(b"/broken"), Err(CopyError::Missing { .. })));
}

#[test]
fn an_archive_goes_over_what_is_there() {
    let (from, to) = (tree(), tree());
    fs::write(from.path().join("dir/file"), "newer").unwrap();
    fs::set_permissions(from.path().join("dir/file"), fs::Permissions::from_mode(0o4711)).unwrap();
    let archive = packed(&root_of(from.path()), "/dir/.");
    unpack_inside(&root_of(to.path()), b"/dir", &archive[..], Unpack::default()).unwrap();
    assert_eq!(fs::read_to_string(to.path().join("dir/file")).unwrap(), "newer");
    let mode = fs::metadata(to.path().join("dir/file")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o4711);
}

#[test]
fn a_directory_is_kept_from_becoming_a_file() {
    let (from, to) = (tree(), tree());
    fs::create_dir(to.path().join("dir/inner")).unwrap();
    fs::write(from.path().join("inner"), "a file").unwrap();
    let archive = packed(&root_of(from.path()), "/inner");
    let how = Unpack { keep_kinds: true, ..Unpack::default() };
    let error = unpack_inside(&root_of(to.path()), b"/dir", &archive[..], how).unwrap_err();
    assert_eq!(error.to_string(), "cannot overwrite a directory with non-directory \"inner\"");
    unpack_inside(&root_of(to.path()), b"/dir", &archive[..], Unpack::default()).unwrap();
    assert!(to.path().join("dir/inner").is_file());
}

#[test]
fn an_entry_may_be_given_another_name() {
    let (from, to) = (tree(), tempfile::tempdir().unwrap());
    let archive = packed(&root_of(from.path()), "/dir");
    let how = Unpack { rename: Some((b"dir".to_vec(), b"other".to_vec())), ..Unpack::default() };
    let directory = fs::File::open(to.path()).unwrap().into();
    unpack_below(&directory, &archive[..], how).unwrap();
    assert_eq!(fs::read_to_string(to.path().join("other/file")).unwrap(), "content");
}

#[test]
fn a_name_of_a_layer_s_is_a_name_like_others() {
    let (from, to) = (tempfile::tempdir().unwrap(), tree());
    fs::write(from.path().join(".wh.file"), "not hidden").unwrap();
    let archive = packed(&root_of(from.path()), "/.");
    unpack_inside(&root_of(to.path()), b"/dir", &archive[..], Unpack::default()).unwrap();
    assert!(to.path().join("dir/file").exists());
    assert!(to.path().join("dir/.wh.file").exists());
}

/// An archive whose link points out of the directory, and which then writes through the link.
#[test]
fn nothing_is_written_through_a_link_out_of_the_caller_s_directory() {
    let (to, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    symlink(outside.path(), to.path().join("dir")).unwrap();
    let archive = packed(&root_of(tree().path()), "/dir/file");
    let how = Unpack { rename: Some((b"file".to_vec(), b"dir/file".to_vec())), ..Unpack::default() };
    let directory = fs::File::open(to.path()).unwrap().into();
    unpack_below(&directory, &archive[..], how).unwrap_err();
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

/// Somebody inside swaps a directory for a link to the outside, over and over, while files go in and out.
#[test]
fn a_link_swapped_meanwhile_leads_nowhere_outside() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("file"), "secret").unwrap();
    let inside = tree();
    let (dir, spare) = (inside.path().join("dir"), inside.path().join("spare"));
    symlink(outside.path(), &spare).unwrap();
    let climbing = inside.path().join("up");
    symlink(format!("../../../../..{}", outside.path().display()), &climbing).unwrap();
    let archive = packed(&root_of(tree().path()), "/dir/.");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for link in [&spare, &climbing] {
                    let flags = rustix::fs::RenameFlags::EXCHANGE;
                    for _ in 0..2 {
                        rustix::fs::renameat_with(rustix::fs::CWD, &dir, rustix::fs::CWD, link, flags)
                            .unwrap();
                    }
                }
            }
        });
        let root = root_of(inside.path());
        for _ in 0..500 {
            let mut out = Vec::new();
            // It may fail: what was there a moment ago is something else now.
            drop(pack(&root, "/dir/.", &mut out));
            let mut text = String::new();
            drop((&out[..]).read_to_string(&mut text));
            assert!(!text.contains("secret"));
            drop(unpack_inside(&root, b"/dir", &archive[..], Unpack::default()));
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(fs::read_to_string(outside.path().join("file")).unwrap(), "secret");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}
