//! Mounts as typed, and what becomes of them.

use super::runtime::Sources;
use super::*;

fn host(binds: &[&str]) -> HostConfig {
    let binds = Some(binds.iter().map(|bind| (*bind).to_owned()).collect());
    HostConfig { binds, ..HostConfig::default() }
}

fn binds(list: &[&str]) -> Result<Vec<MountWish>> {
    parse_mounts(&host(list))
}

fn mount(json: serde_json::Value) -> Result<MountWish> {
    object::parse_mount(&serde_json::from_value(json).expect("a mount"))
}

#[test]
fn a_read_only_bind_is_read_only_all_the_way_down() {
    let wishes = binds(&["/tmp/../etc/:/conf/:ro"]).expect("well formed");
    let mount = wishes[0].plan(&Sources::new());
    assert_eq!(mount.destination(), Path::new("/conf"));
    assert_eq!(mount.source().as_deref(), Some(Path::new("/etc")));
    assert_eq!(mount.options().as_deref().unwrap_or_default(), ["rbind", "ro", "rro", "rprivate"]);
}

#[test]
fn refusals_are_in_dockers_words() {
    let text = |list: &[&str]| binds(list).expect_err("refused").message().to_owned();
    assert_eq!(text(&["/a:/b:/c:ro"]), "invalid volume specification: '/a:/b:/c:ro'");
    assert_eq!(text(&["/tmp:/x:zz"]), "invalid mode: zz");
    assert_eq!(text(&["data:/x:ro,rw"]), "invalid mode: ro,rw");
    assert_eq!(text(&["/tmp:/x:z,Z"]), "invalid mode: z,Z");
    assert_eq!(text(&["/tmp:/x", "/etc:/x"]), "Duplicate mount point: /x");
    assert_eq!(text(&["data:/x", "/etc:/x"]), "Duplicate mount point: /x");
    assert_eq!(
        text(&["/x:rel"]),
        "invalid volume specification: '/x:rel': invalid mount config for type \"bind\": invalid mount path: 'rel' mount path must be absolute"
    );
    assert_eq!(
        text(&["data:/"]),
        "invalid volume specification: 'data:/': invalid mount config for type \"volume\": invalid specification: destination can't be '/'"
    );
    assert_eq!(
        text(&["data:/x:shared"]),
        "invalid volume specification: 'data:/x:shared': invalid mount config for type \"volume\": field BindOptions must not be specified"
    );
    assert_eq!(
        text(&["/tmp:/x:nocopy"]),
        "invalid volume specification: '/tmp:/x:nocopy': invalid mount config for type \"bind\": field VolumeOptions must not be specified"
    );
}

#[test]
fn refusals_of_objects_are_in_dockers_words() {
    let text = |json| mount(json).expect_err("refused").message().to_owned();
    let check = |json: serde_json::Value, wanted: &str| {
        let kind = json["Type"].as_str().unwrap_or_default().to_owned();
        assert_eq!(text(json), format!("invalid mount config for type \"{kind}\": {wanted}"));
    };
    check(serde_json::json!({"Type": "npipe", "Target": "/x"}), "mount type unknown");
    check(serde_json::json!({"Type": "volume"}), "field Target must not be empty");
    check(
        serde_json::json!({"Type": "bind", "Target": "/x", "Source": "rel"}),
        "invalid mount path: 'rel' mount path must be absolute",
    );
    check(
        serde_json::json!({"Type": "bind", "Target": "/x", "Source": "/no/such/path"}),
        "bind source path does not exist: /no/such/path",
    );
    check(
        serde_json::json!({"Type": "tmpfs", "Target": "/x", "Source": "/tmp"}),
        "field Source must not be specified",
    );
    check(serde_json::json!({"Type": "image", "Target": "/x"}), "field Source must not be empty");
    for (kind, field) in [("volume", "VolumeOptions"), ("image", "ImageOptions")] {
        check(
            serde_json::json!({"Type": kind, "Target": "/x", "Source": "a", field: {"Subpath": "../x"}}),
            "subpath must be a relative path within the volume",
        );
    }
    check(
        serde_json::json!({"Type": "volume", "Target": "/x", "TmpfsOptions": {"SizeBytes": 1}}),
        "field TmpfsOptions must not be specified",
    );
    check(
        serde_json::json!({"Type": "bind", "Target": "/x", "Source": "/tmp", "BindOptions": {"ReadOnlyForceRecursive": true}}),
        "ReadOnlyForceRecursive must not be specified without ReadOnly",
    );
}

#[test]
fn a_named_volume_shows_docker_s_mode_and_an_anonymous_one_none() {
    let config: ContainerConfig =
        serde_json::from_value(serde_json::json!({"Volumes": {"/a": {}}})).expect("ok");
    let host = host(&["data:/b", "data:/c:ro"]);
    let mut wishes = parse_mounts(&host).expect("well formed");
    add_declared(&mut wishes, &config, &host).expect("well formed");
    let shown: Vec<(String, String, bool)> = wishes
        .iter()
        .filter_map(|wish| wish.to_mount_point(|name| PathBuf::from(name)))
        .map(|point| (point.name, point.mode, point.rw))
        .collect();
    let row = |name: &str, mode: &str, rw| (name.to_owned(), mode.to_owned(), rw);
    assert_eq!(shown, [row("", "", true), row("data", "z", true), row("data", "ro", false)]);
}

#[test]
fn what_a_person_mounts_stands_before_what_the_image_declares() {
    let config: ContainerConfig =
        serde_json::from_value(serde_json::json!({"Volumes": {"/a": {}, "/b/": {}, "/t": {}}})).expect("ok");
    let mut host = host(&["/tmp:/a"]);
    host.tmpfs = Some([("/t".to_owned(), String::new())].into());
    let mut wishes = parse_mounts(&host).expect("well formed");
    add_declared(&mut wishes, &config, &host).expect("well formed");
    let kinds: Vec<(&str, bool)> =
        wishes.iter().map(|wish| (wish.target.as_str(), wish.volume().is_some())).collect();
    assert_eq!(kinds, [("/a", false), ("/b", true), ("/t", false)]);
}

#[test]
fn volumes_from_says_whether_they_may_be_written_to() {
    assert_eq!(parse_volumes_from("data").expect("fine"), ("data", true));
    assert_eq!(parse_volumes_from("data:ro,z").expect("fine"), ("data", false));
    for refused in ["data:zz", "data:nocopy", "data:rslave"] {
        let mode = refused.strip_prefix("data:").unwrap_or_default();
        let error = parse_volumes_from(refused).expect_err("refused");
        assert_eq!(error.message(), format!("invalid mode: {mode}"));
    }
}

#[test]
fn an_image_is_one_read_only_tree_of_its_layers() {
    let wish = mount(serde_json::json!({"Type": "image", "Target": "/i", "Source": "nginx"})).expect("fine");
    let sources = Sources::from([("/i".to_owned(), vec!["/l/a:b".into(), "/l".into()])]);
    let planned = wish.plan(&sources);
    assert_eq!(planned.typ().as_deref(), Some("overlay"));
    assert_eq!(planned.options().as_deref().unwrap_or_default(), ["ro", "lowerdir=/l/a\\:b:/l"]);
}

#[test]
fn a_tmpfs_may_be_made_executable() {
    let wish = tmpfs::parse_tmpfs("/run", "exec,size=64k").expect("known options");
    let What::Tmpfs { options, .. } = &wish.what else { panic!("a tmpfs") };
    assert_eq!(options, &["nosuid", "nodev", "exec", "size=64k"]);
    assert_eq!(
        tmpfs::parse_tmpfs("/run", "zz").expect_err("unknown").message(),
        "invalid tmpfs option [\"zz\"]"
    );
}

#[test]
fn paths_are_cleaned_as_go_does() {
    for (path, wanted) in [("/a//b/", "/a/b"), ("/a/./b/../c", "/a/c"), ("/../..", "/")] {
        assert_eq!(clean(path), wanted);
    }
}
