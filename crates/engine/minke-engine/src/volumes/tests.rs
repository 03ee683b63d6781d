//! The service over a directory of its own: makings, holdings, removals, and what a crash leaves.

use std::os::unix::fs::MetadataExt as _;

use minke_api::volume::VolumeCreateRequest;

use super::*;
use crate::filters::Filters;
use crate::spec::mounts::{MountWish, VolumeWish, What};

struct Bench {
    dir: tempfile::TempDir,
    volumes: Volumes,
}

fn open(dir: &Path) -> Volumes {
    let ledger = Arc::new(Ledger::open(&dir.join("minke.db")).expect("a ledger"));
    Volumes::open(dir, ledger, Arc::new(Events::new()), &Registry::default()).expect("opened")
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let volumes = open(dir.path());
        Self { dir, volumes }
    }

    fn reopened(self) -> Self {
        let Self { dir, volumes } = self;
        drop(volumes);
        let volumes = open(dir.path());
        Self { dir, volumes }
    }

    fn create(&self, name: &str) -> minke_api::volume::Volume {
        let request = VolumeCreateRequest { name: name.to_owned(), ..VolumeCreateRequest::default() };
        self.volumes.create(request).expect("made")
    }

    fn names(&self) -> Vec<String> {
        let list = self.volumes.list(&Filters::default()).expect("listed");
        list.volumes.into_iter().map(|volume| volume.name).collect()
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join("volumes").join(below)
    }
}

fn wish(name: &str) -> MountWish {
    let volume = VolumeWish { name: name.to_owned(), ..VolumeWish::default() };
    MountWish { target: "/x".to_owned(), what: What::Volume(volume), writable: true, mode: String::new() }
}

fn name_of(wish: &MountWish) -> String {
    wish.volume().expect("a volume").name.clone()
}

#[test]
fn a_volume_is_a_directory_with_docker_s_modes() {
    let bench = Bench::new();
    assert_eq!(bench.create("data").mountpoint, bench.path("data/_data").to_string_lossy());
    let mode = |path: &str| bench.path(path).metadata().expect("there").mode() & 0o7777;
    assert_eq!([mode(""), mode("data"), mode("data/_data")], [0o701, 0o701, 0o755]);
    // Making it again changes nothing, and neither does another engine.
    std::fs::write(bench.path("data/_data/file"), "kept").expect("written");
    bench.create("data");
    let bench = bench.reopened();
    assert_eq!(bench.names(), ["data"]);
    assert!(bench.path("data/_data/file").exists());
}

#[test]
fn refusals_are_in_dockers_words() {
    let bench = Bench::new();
    let refused = |json: serde_json::Value| {
        let request = serde_json::from_value(json).expect("a request");
        bench.volumes.create(request).expect_err("refused").message().to_owned()
    };
    assert_eq!(
        refused(serde_json::json!({"Name": "a/b"})),
        "create a/b: \"a/b\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
    );
    assert_eq!(
        refused(serde_json::json!({"Name": "x"})),
        "create x: volume name is too short, names should be at least two alphanumeric characters"
    );
    assert_eq!(
        refused(serde_json::json!({"Name": "v2", "Driver": "nosuch"})),
        "create v2: error looking up volume plugin nosuch: plugin \"nosuch\" not found"
    );
    let gone = bench.volumes.remove("nosuch", false).expect_err("there is none");
    assert_eq!(gone.message(), "get nosuch: no such volume");
    bench.volumes.remove("nosuch", true).expect("as good as removed");
    let filters = Filters::from_iter([("dangling", "maybe")]);
    let error = bench.volumes.list(&filters).expect_err("neither");
    assert_eq!(error.message(), "invalid filter 'dangling=[maybe]'");
    assert_eq!(bench.names(), Vec::<String>::new());
}

#[test]
fn a_volume_goes_with_its_last_holder_only_when_the_engine_named_it() {
    let bench = Bench::new();
    let mut first = [wish(""), MountWish { target: "/y".to_owned(), ..wish("named") }];
    bench.volumes.hold("c1", &mut first).expect("held");
    let anonymous = name_of(&first[0]);
    assert_eq!(anonymous.len(), 64);
    // As --volumes-from has it.
    let mut second = first.clone();
    bench.volumes.hold("c2", &mut second).expect("held");
    assert_eq!(bench.volumes.in_use_by(&anonymous), ["c1", "c2"]);
    let error = bench.volumes.remove("named", true).expect_err("in use");
    assert_eq!(error.message(), "remove named: volume is in use - [c1, c2]");
    let doomed = bench.volumes.part("c1", &first, true);
    assert!(doomed.names().is_empty());
    bench.volumes.forget(doomed);
    let doomed = bench.volumes.part("c2", &second, true);
    assert_eq!(doomed.names(), [anonymous.as_str()]);
    bench.volumes.forget(doomed);
    assert_eq!(bench.names(), ["named"]);
    assert!(!bench.path(&anonymous).exists());
}

#[test]
fn a_removal_that_was_not_recorded_did_not_happen() {
    let bench = Bench::new();
    let mut mounts = [wish("")];
    bench.volumes.hold("c1", &mut mounts).expect("held");
    let name = name_of(&mounts[0]);
    std::fs::write(bench.path(&name).join("_data/file"), "kept").expect("written");
    let doomed = bench.volumes.part("c1", &mounts, true);
    assert!(!bench.path(&name).exists());
    bench.volumes.keep("c1", &mounts, doomed);
    assert_eq!(bench.volumes.in_use_by(&name), ["c1"]);
    assert!(bench.path(&name).join("_data/file").exists());
}

#[test]
fn killed_in_the_middle_of_a_removal_the_volume_is_back() {
    let bench = Bench::new();
    bench.create("data");
    std::fs::write(bench.path("data/_data/file"), "kept").expect("written");
    bench.volumes.move_away("data").expect("moved").expect("it was there");
    let bench = bench.reopened();
    assert!(bench.path("data/_data/file").exists());
}

#[test]
fn killed_after_a_removal_was_recorded_the_rest_goes() {
    let bench = Bench::new();
    bench.create("data");
    std::fs::write(bench.path("data/_data/file"), "gone").expect("written");
    let gone = bench.volumes.move_away("data").expect("moved").expect("it was there");
    bench.volumes.ledger.remove_volume("data").expect("recorded");
    let bench = bench.reopened();
    assert_eq!(bench.names(), Vec::<String>::new());
    assert!(!gone.exists());
}

#[test]
fn killed_before_a_making_was_recorded_nothing_is_left() {
    let bench = Bench::new();
    place::make_directory(&bench.path("half")).expect("made");
    std::fs::create_dir(bench.path("half/_new")).expect("made");
    let bench = bench.reopened();
    assert!(!bench.path("half").exists());
    assert_eq!(bench.names(), Vec::<String>::new());
}

#[test]
fn data_that_no_record_knows_is_not_thrown_away() {
    let bench = Bench::new();
    place::make_directory(&bench.path("found")).expect("made");
    std::fs::write(bench.path("found/_data/file"), "somebody's").expect("written");
    let bench = bench.reopened();
    assert_eq!(bench.names(), ["found"]);
    assert!(bench.path("found/_data/file").exists());
}

#[test]
fn what_was_made_for_a_container_that_nobody_was_told_of_goes() {
    let bench = Bench::new();
    let mut mounts = [wish(""), wish("named")];
    bench.volumes.hold("c1", &mut mounts).expect("held");
    assert_eq!(bench.names().len(), 2);
    // The next engine knows no container c1.
    let bench = bench.reopened();
    assert_eq!(bench.names(), ["named"]);
}

#[test]
fn what_a_removed_container_left_stays() {
    let bench = Bench::new();
    let mut mounts = [wish("")];
    bench.volumes.hold("c1", &mut mounts).expect("held");
    let doomed = bench.volumes.part("c1", &mounts, false);
    bench.volumes.ledger.remove_container_and("c1", &doomed.names()).expect("recorded");
    bench.volumes.forget(doomed);
    let bench = bench.reopened();
    assert_eq!(bench.names(), [name_of(&mounts[0])]);
    let dangling = Filters::from_iter([("dangling", "true")]);
    assert_eq!(bench.volumes.list(&dangling).expect("listed").volumes.len(), 1);
}

#[test]
fn pruning_spares_what_a_person_named_unless_told_otherwise() {
    let bench = Bench::new();
    bench.create("named");
    bench.create("");
    std::fs::write(bench.path("named/_data/file"), "seven b").expect("written");
    let report = bench.volumes.prune(&Filters::default()).expect("pruned");
    assert_eq!((report.volumes_deleted.expect("a list").len(), report.space_reclaimed), (1, 0));
    let kept = Filters::from_iter([("all", "1"), ("label", "x")]);
    assert_eq!(bench.volumes.prune(&kept).expect("pruned").volumes_deleted, Some(vec![]));
    let all = Filters::from_iter([("all", "1"), ("label!", "x")]);
    let report = bench.volumes.prune(&all).expect("pruned");
    assert_eq!((report.volumes_deleted, report.space_reclaimed), (Some(vec!["named".to_owned()]), 7));
}

fn image(dir: &Path) -> Vec<PathBuf> {
    let layer = dir.join("layer");
    std::fs::create_dir_all(layer.join("srv/sub")).expect("made");
    std::fs::write(layer.join("srv/file"), "of the image").expect("written");
    vec![layer]
}

#[test]
fn an_empty_volume_is_filled_and_one_with_data_is_not() {
    let bench = Bench::new();
    let layers = image(bench.dir.path());
    bench.create("data");
    bench.volumes.fill("data", &layers, Path::new("/srv")).expect("filled");
    let read = || std::fs::read_to_string(bench.path("data/_data/file")).expect("there");
    assert_eq!(read(), "of the image");
    std::fs::write(bench.path("data/_data/file"), "mine").expect("written");
    bench.volumes.fill("data", &layers, Path::new("/srv")).expect("left alone");
    assert_eq!(read(), "mine");
    assert!(!bench.path("data/_new").exists());
}

#[test]
fn a_volume_in_use_keeps_its_directory_when_it_is_filled() {
    let bench = Bench::new();
    let layers = image(bench.dir.path());
    let mut mounts = [wish("data")];
    bench.volumes.hold("c1", &mut mounts).expect("held");
    bench.volumes.enter("c1", mounts[0].volume().expect("a volume")).expect("entered");
    let inode = || bench.path("data/_data").metadata().expect("there").ino();
    let before = inode();
    bench.volumes.fill("data", &layers, Path::new("/srv")).expect("filled");
    assert_eq!(inode(), before);
    assert!(bench.path("data/_data/sub").is_dir());
    assert!(bench.path("data/_data/file").exists());
}

#[test]
fn a_part_of_a_volume_that_leads_out_of_it_is_refused() {
    let bench = Bench::new();
    bench.create("data");
    std::os::unix::fs::symlink("/etc", bench.path("data/_data/out")).expect("linked");
    std::fs::create_dir(bench.path("data/_data/sub")).expect("made");
    let enter = |subpath: &str| {
        let volume =
            VolumeWish { subpath: subpath.to_owned(), ..wish("data").volume().expect("one").clone() };
        bench.volumes.enter("c1", &volume)
    };
    let data = bench.path("data/_data");
    assert_eq!(
        enter("out").expect_err("refused").message(),
        format!("path concatenation escapes the base directory, base: {}, subpath: out", data.display())
    );
    assert_eq!(
        enter("nosuch").expect_err("refused").message(),
        format!("cannot access path {0}/nosuch: lstat {0}/nosuch: no such file or directory", data.display())
    );
    let entered = enter("sub").expect("it stays inside");
    // Whatever becomes of the path, it is the directory that was found.
    std::fs::rename(bench.path("data/_data/sub"), bench.path("data/_data/old")).expect("moved");
    std::os::unix::fs::symlink("/etc", bench.path("data/_data/sub")).expect("linked");
    let meant = std::fs::canonicalize(&entered.source).expect("still there");
    assert_eq!(meant, std::fs::canonicalize(bench.path("data/_data/old")).expect("there"));
}
