//! A private engine: its own directories, network namespace, cgroup parent and image.

use std::io::Cursor;
use std::path::PathBuf;
use std::time::Duration;

use minke_api::container::{ContainerConfig, ContainerCreateRequest, HostConfig, StrSlice};
use minke_engine::containers::{ListOptions, RemoveOptions};
use minke_engine::images::ImportRequest;
use minke_engine::{Config, Engine};
use minke_testkit::Leaks;
use tokio::runtime::Runtime;

/// The engine under test and what it stands on.
pub(crate) struct Sandbox {
    running: Option<(Runtime, Engine)>,
    config: Config,
    directory: tempfile::TempDir,
}

/// A container of the test image that needs no bridge.
pub(crate) fn create(words: &[&str]) -> ContainerCreateRequest {
    ContainerCreateRequest {
        config: ContainerConfig {
            image: "busybox".into(),
            cmd: Some(StrSlice(words.iter().map(|word| (*word).to_owned()).collect())),
            ..ContainerConfig::default()
        },
        host_config: HostConfig { network_mode: "none".into(), ..HostConfig::default() },
        ..ContainerCreateRequest::default()
    }
}

/// The keeper's roles, built beside this test.
fn keeper_program() -> PathBuf {
    let own = std::env::current_exe().expect("this test has a path");
    let target = own.parent().and_then(|deps| deps.parent()).expect("it lies in target/…/deps");
    let program = target.join("examples/engine-keeper");
    assert!(
        program.exists(),
        "{} is missing: run `cargo build -p minke-engine --example engine-keeper` first",
        program.display()
    );
    program
}

fn busybox_archive() -> Vec<u8> {
    let busybox = std::fs::read("/bin/busybox").expect("the package busybox-static is installed");
    let mut archive = tar::Builder::new(Vec::new());
    let mut file = |path: &str, mode: u32, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(mode);
        archive.append_data(&mut header, path, bytes).expect("into memory");
    };
    file("bin/busybox", 0o755, &busybox);
    file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n");
    file("etc/group", 0o644, b"root:x:0:\n");
    for applet in ["sh", "echo", "sleep", "true", "cat", "ls", "env", "id"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        archive.append_link(&mut header, format!("bin/{applet}"), "busybox").expect("into memory");
    }
    archive.into_inner().expect("into memory")
}

impl Sandbox {
    /// The test's thread moves into a network namespace of its own, and every thread and process of the engine with it: whatever
    /// happens to the test, its bridge and its rules go with them.
    pub(crate) fn open() -> Self {
        minke_sys::network::unshare_network().expect("these tests need root");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut config = Config {
            data_root: directory.path().join("data"),
            exec_root: directory.path().join("run"),
            keeper_program: keeper_program(),
            cgroup_parent: format!("/minke-test-{}", minke_base::ContainerId::random().short()),
            blanks: 2,
            isolated_ready: 1,
            ..Config::default()
        };
        config.networks.fabric.ready = 2;
        config.networks.fabric.ip_forward = false;
        let mut sandbox = Self { running: None, config, directory };
        sandbox.reopen();
        let images = sandbox.engine().images;
        sandbox.block_on(async move {
            let request = ImportRequest {
                repository: "busybox".into(),
                changes: vec!["ENV PATH=/bin".into()],
                ..ImportRequest::default()
            };
            images.import(Box::new(Cursor::new(busybox_archive())), request).await.expect("imported");
        });
        sandbox
    }

    pub(crate) fn engine(&self) -> Engine {
        self.running.as_ref().expect("it was opened").1.clone()
    }

    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.running.as_ref().expect("it was opened").0.block_on(work)
    }

    /// The engine goes away in the middle of whatever it does: its tasks are dropped where they stand and its sockets
    /// close, which is what its keepers see of a kill. As in the daemon one thread runs them all, so that none sees another gone.
    pub(crate) fn kill(&mut self) {
        let (runtime, engine) = self.running.take().expect("it was opened");
        runtime.shutdown_timeout(Duration::from_secs(5));
        drop(engine);
    }

    /// An engine over the same directories.
    pub(crate) fn reopen(&mut self) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be had");
        let engine = runtime.block_on(Engine::open(self.config.clone())).expect("the engine opens");
        self.running = Some((runtime, engine));
    }

    /// Removes what is left, and looks whether the host is as before.
    pub(crate) fn close(mut self) {
        let engine = self.engine();
        self.block_on(async move {
            let options = ListOptions { all: true, ..ListOptions::default() };
            for container in engine.containers.list(options).await.expect("listed") {
                let force = RemoveOptions { force: true, ..RemoveOptions::default() };
                engine.containers.remove(&container.id, force).await.expect("removed");
            }
            engine.shutdown().await;
        });
        self.kill();
        let entries = |path: PathBuf| std::fs::read_dir(path).map_or(0, |list| list.count());
        assert_eq!(
            entries(self.config.data_root.join("containers")),
            0,
            "directories of containers are left"
        );
        assert_eq!(entries(self.config.exec_root.join("containers")), 0, "run directories are left");
        let host = minke_cgroup::Host::probe().expect("cgroups are there");
        for hierarchy in host.hierarchies() {
            let path = hierarchy.locate(std::path::Path::new(&self.config.cgroup_parent));
            assert!(!path.exists(), "{} is left", path.display());
        }
    }
}

impl Drop for Sandbox {
    /// A test that failed leaves no process and no cgroup either.
    fn drop(&mut self) {
        if self.running.is_some() {
            self.kill();
            let tag = self.config.cgroup_parent.trim_start_matches('/');
            Leaks::read(tag, self.directory.path(), std::process::id()).sweep();
        }
    }
}
