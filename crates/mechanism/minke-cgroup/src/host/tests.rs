use super::*;

fn fake(mountinfo: &str, own: &str, files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    put("proc/self/mountinfo", mountinfo);
    put("proc/self/cgroup", own);
    files.iter().for_each(|(name, text)| put(name, text));
    dir
}

const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
50 31 0:30 / /mnt/again rw,relatime - cgroup cgroup rw,memory
";
const HYBRID_OWN: &str = "4:memory:/user/a\n3:name=systemd:/\n2:cpu,cpuacct:/\n0::/s\n";

#[test]
fn a_host_with_controllers_in_v1_and_a_v2_mount_is_hybrid() {
    let dir = fake(HYBRID, HYBRID_OWN, &[("sys/fs/cgroup/unified/cgroup.controllers", "hugetlb\n")]);
    let host = Host::probe_under(dir.path()).unwrap();
    assert_eq!(host.mode(), Mode::Hybrid);
    let names: Vec<_> = host.hierarchies().iter().map(|h| h.name().to_owned()).collect();
    assert_eq!(names, ["cpu,cpuacct", "memory", "systemd", "unified"]);
    assert_eq!(host.layout().version_of("cpuacct"), Some(Version::V1));
    assert_eq!(host.layout().version_of("hugetlb"), Some(Version::V2));
    assert_eq!(host.layout().version_of("pids"), None);
    assert_eq!(host.hierarchies()[0].mount_data(), "cpu,cpuacct");
    assert_eq!(host.hierarchies()[2].mount_data(), "none,name=systemd");
}

#[test]
fn absolute_paths_count_from_the_mount_and_relative_ones_from_our_own_cgroup() {
    let dir = fake(HYBRID, HYBRID_OWN, &[]);
    let host = Host::probe_under(dir.path()).unwrap();
    let memory = host.hierarchy_of("memory").unwrap();
    let base = dir.path().join("sys/fs/cgroup/memory");
    assert_eq!(memory.locate(Path::new("/minke/x")), base.join("minke/x"));
    assert_eq!(memory.locate(Path::new("x")), base.join("user/a/x"));
}

#[test]
fn dots_in_a_path_cannot_leave_the_hierarchy() {
    let dir = fake(HYBRID, HYBRID_OWN, &[]);
    let host = Host::probe_under(dir.path()).unwrap();
    let memory = host.hierarchy_of("memory").unwrap();
    let base = dir.path().join("sys/fs/cgroup/memory");
    assert_eq!(memory.locate(Path::new("/../../etc/./x/../y")), base.join("etc/y"));
    assert_eq!(memory.locate(Path::new("../../../z")), base.join("user/a/z"));
}

#[test]
fn a_host_with_only_cgroup2_is_v2_even_beside_a_named_v1_hierarchy() {
    let mounts = "29 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw,nsdelegate\n\
                  30 23 0:27 / /run/old rw - cgroup none rw,name=old\n";
    let files = [("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n")];
    let dir = fake(mounts, "1:name=old:/\n0::/init.scope\n", &files);
    let host = Host::probe_under(dir.path()).unwrap();
    assert_eq!(host.mode(), Mode::V2);
    assert_eq!(host.hierarchies().len(), 1);
    assert_eq!(host.layout().version_of("memory"), Some(Version::V2));
    assert!(host.layout().unified);
}

#[test]
fn inside_a_container_the_mounted_root_is_taken_off_our_own_path() {
    let mounts = "33 31 0:30 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
    let dir = fake(mounts, "4:memory:/docker/abc/sub\n", &[]);
    let host = Host::probe_under(dir.path()).unwrap();
    assert_eq!(host.mode(), Mode::V1);
    let located = host.hierarchies()[0].locate(Path::new("x"));
    assert_eq!(located, dir.path().join("sys/fs/cgroup/memory/sub/x"));
}

#[test]
fn a_host_without_cgroups_is_an_error_that_says_so() {
    let dir = fake("22 27 0:21 / /proc rw - proc proc rw\n", "", &[]);
    assert!(matches!(Host::probe_under(dir.path()), Err(CgroupError::NoHierarchy)));
}

#[test]
fn octal_escapes_in_mountinfo_become_their_bytes() {
    assert_eq!(unescape(r"/a\040b\134c"), PathBuf::from(r"/a b\c"));
    assert_eq!(unescape(r"/a\9"), PathBuf::from(r"/a\9"));
}
