//! Three layers, seen as overlayfs would show them.

use super::*;
use crate::layer::LayerStore;
use crate::tar::{Entry, Kind, Writer};
use std::sync::Arc;

fn layer(store: &LayerStore, entries: &[(&str, Kind, &str)]) -> PathBuf {
    let mut writer = Writer::new(Vec::new());
    for (path, kind, text) in entries {
        let file = *kind == Kind::File;
        let entry = Entry {
            path: path.as_bytes().to_vec(),
            kind: *kind,
            mode: 0o755,
            size: if file { text.len() as u64 } else { 0 },
            link: if file { Vec::new() } else { text.as_bytes().to_vec() },
            ..Entry::default()
        };
        writer.append(&entry, &mut text.as_bytes()).unwrap();
    }
    let tar = writer.finish().unwrap();
    store.path(store.apply(&tar[..]).unwrap().diff_id)
}

#[test]
fn whiteouts_opaque_directories_and_links_are_honoured() {
    let dir = tempfile::tempdir().unwrap();
    let store = LayerStore::open(dir.path(), Arc::default(), crate::Limits::default()).unwrap();
    let bottom = layer(
        &store,
        &[
            ("etc/passwd", Kind::File, "old"),
            ("etc/group", Kind::File, "group"),
            ("gone/file", Kind::File, "x"),
            ("covered/below", Kind::File, "x"),
            ("lib", Kind::Symlink, "/usr/lib"),
            ("usr/lib/so", Kind::File, "library"),
            ("escape", Kind::Symlink, "../../../../etc/passwd"),
            ("loop", Kind::Symlink, "loop"),
        ],
    );
    let middle = layer(
        &store,
        &[
            ("etc/passwd", Kind::File, "new"),
            (".wh.gone", Kind::File, ""),
            ("covered/.wh..wh..opq", Kind::File, ""),
            ("covered/above", Kind::File, "y"),
        ],
    );
    let top = layer(&store, &[("usr/lib/other", Kind::File, "z")]);
    let stack = Stack::new(vec![top, middle, bottom]);
    let read = |path: &str| {
        stack.read_file(Path::new(path), 1000).unwrap().map(|bytes| String::from_utf8(bytes).unwrap())
    };
    assert_eq!(read("/etc/passwd").as_deref(), Some("new"));
    assert_eq!(read("etc/group").as_deref(), Some("group"));
    assert_eq!(read("/gone/file"), None);
    assert_eq!(read("/covered/below"), None);
    assert_eq!(read("/covered/above").as_deref(), Some("y"));
    assert_eq!(read("/lib/so").as_deref(), Some("library"));
    assert_eq!(read("/usr/lib/other").as_deref(), Some("z"));
    assert_eq!(read("/escape").as_deref(), Some("new"), "a link cannot leave the stack");
    assert_eq!(read("/etc"), None, "a directory is no file");
    assert_eq!(read("/etc/passwd/x"), None);
    assert!(stack.read_file(Path::new("/loop"), 10).is_err());
    assert!(stack.read_file(Path::new("/etc/group"), 2).is_err());
    assert!(stack.lstat(Path::new("/")).unwrap().is_some());
    assert!(stack.stat(Path::new("/usr/..")).unwrap().is_some());
    let names: Vec<_> =
        stack.root().unwrap().entries().unwrap().into_keys().map(|n| n.into_string().unwrap()).collect();
    assert_eq!(names, ["covered", "escape", "etc", "lib", "loop", "usr"]);
}
