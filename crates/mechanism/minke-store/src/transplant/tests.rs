use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::*;
use crate::layer::diff::open_dir;

fn all(_name: &[u8], _is_dir: bool) -> bool {
    false
}

fn simple(pattern: &str, name: &str) -> bool {
    pattern.strip_prefix('*').map_or(pattern == name, |rest| name.ends_with(rest))
}

fn source(dir: &Path) {
    fs::create_dir_all(dir.join("src/deep")).unwrap();
    fs::write(dir.join("src/a.c"), "a").unwrap();
    fs::write(dir.join("src/deep/b.c"), "b").unwrap();
    fs::write(dir.join("src/run.sh"), "#!").unwrap();
    fs::set_permissions(dir.join("src/run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("src/a.c", dir.join("link")).unwrap();
}

#[test]
fn modes_are_octal_or_symbolic() {
    let apply = |text: &str, mode, is_dir| ModeChange::parse(text).unwrap().apply(mode, is_dir);
    assert_eq!(apply("640", 0o755, false), 0o640);
    assert_eq!(apply("u=rwX,go=rX", 0o600, false), 0o644);
    assert_eq!(apply("u=rwX,go=rX", 0o700, true), 0o755);
    assert_eq!(apply("a+x", 0o644, false), 0o755);
    assert_eq!(apply("go-rwx", 0o777, false), 0o700);
    assert_eq!(apply("+t,u+s", 0o755, true), 0o5755);
    for wrong in ["", "9", "u~r", "q=r", "77777"] {
        assert_eq!(ModeChange::parse(wrong), None, "{wrong:?}");
    }
}

#[test]
fn patterns_choose_names_and_follow_links_inside() {
    let dir = tempfile::tempdir().unwrap();
    source(dir.path());
    symlink("/etc", dir.path().join("out")).unwrap();
    let root = Root::new(open_dir(dir.path()).unwrap());
    let names = |pattern: &str| {
        let found = choose(&root, pattern, &simple).unwrap();
        found.into_iter().map(|f| String::from_utf8(f.path).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(names("src/*.c"), ["src/a.c"]);
    assert_eq!(names("/link"), ["src/a.c"]);
    assert_eq!(names("."), [""]);
    assert_eq!(names("nothing*"), [""; 0]);
    assert!(choose(&root, "nothing", &simple).is_err());
    assert!(choose(&root, "out/passwd", &simple).is_err(), "the link leads to the tree's own /etc");
}

#[test]
fn trees_are_copied_with_owners_and_modes_and_their_digest_ignores_times() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir_all(&to).unwrap();
    source(&from);
    let from_fd = open_dir(&from).unwrap();
    let items = [Item::Tree { path: b"src", name: b"" }, Item::Bytes { name: b"note", bytes: b"hello" }];
    let before = digest(&from_fd, &items, &all, &Sums::new(), false).unwrap();
    let dress = Dress { owner: Some((7, 8)), mode: ModeChange::parse("go-rwx") };
    let skip = |name: &[u8], _dir: bool| name.ends_with(b"b.c");
    transplant(&from_fd, &items, &skip, &dress, &Root::new(open_dir(&to).unwrap()), b"/new/app").unwrap();
    let found = fs::metadata(to.join("new/app/run.sh")).unwrap();
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (7, 8, 0o700));
    assert_eq!(fs::metadata(to.join("new")).unwrap().uid(), 7);
    assert_eq!(fs::read_to_string(to.join("new/app/note")).unwrap(), "hello");
    assert!(to.join("new/app/deep").is_dir() && !to.join("new/app/deep/b.c").exists());
    let time = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
    fs::File::options().write(true).open(from.join("src/a.c")).unwrap().set_times(time).unwrap();
    assert_eq!(digest(&from_fd, &items, &all, &Sums::new(), false).unwrap(), before);
    fs::write(from.join("src/a.c"), "changed").unwrap();
    assert_ne!(digest(&from_fd, &items, &all, &Sums::new(), false).unwrap(), before);
}

#[test]
fn what_is_received_is_summed_and_stays_inside() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir_all(&to).unwrap();
    source(&from);
    let mut tar = Vec::new();
    crate::layer::diff::write_layer(&from, &mut tar).unwrap();
    let sums = receive(&tar[..], &open_dir(&to).unwrap()).unwrap();
    assert_eq!(sums[&b"src/a.c"[..]], crate::content::hash(b"a"));
    assert_eq!(sums.len(), 3);
    let items = [Item::Tree { path: b"", name: b"" }];
    let of = |dir: &Path, sums: &Sums| digest(&open_dir(dir).unwrap(), &items, &all, sums, false).unwrap();
    assert_eq!(of(&to, &sums), of(&from, &Sums::new()));
    let mut writer = crate::tar::Writer::new(Vec::new());
    let entry = Entry { path: b"../out".to_vec(), mode: 0o644, ..Entry::default() };
    writer.append(&entry, &mut std::io::empty()).unwrap();
    let hostile = writer.finish().unwrap();
    assert!(receive(&hostile[..], &open_dir(&to).unwrap()).is_err());
    assert!(!dir.path().join("out").exists());
}

#[test]
fn a_tree_is_put_right_before_it_becomes_a_layer() {
    let dir = tempfile::tempdir().unwrap();
    source(dir.path());
    fs::create_dir_all(dir.path().join("cache/inner")).unwrap();
    clamp_times(dir.path(), 1000).unwrap();
    assert_eq!(fs::metadata(dir.path().join("src/a.c")).unwrap().mtime(), 1000);
    assert_eq!(fs::symlink_metadata(dir.path().join("link")).unwrap().mtime(), 1000);
    let stubs = [b"cache/inner".to_vec(), b"src/deep".to_vec(), b"missing".to_vec()];
    remove_stubs(dir.path(), &stubs, &|_path| true).unwrap();
    assert!(!dir.path().join("cache").exists() && dir.path().join("src/deep/b.c").exists());
}

#[test]
fn a_layer_is_the_same_whenever_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    source(&one);
    source(&two);
    let time = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
    fs::File::options().write(true).open(two.join("src/a.c")).unwrap().set_times(time).unwrap();
    assert_eq!(tree_digest(&one).unwrap(), tree_digest(&two).unwrap());
    fs::set_permissions(two.join("src/a.c"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_ne!(tree_digest(&one).unwrap(), tree_digest(&two).unwrap());
}
