//! How much has to be installed: minke's one file against the programs Docker consists of.

use std::fs;

use super::daemon::PrivateDaemon;
use super::engines::{Engine, Peers};
use super::memory::docker_daemons_now;
use super::report::{Bound, Weight};

/// From engine to compose and registry; each may lie in any of [`DIRS`].
const DOCKER: [&str; 11] = [
    "dockerd",
    "docker",
    "docker-proxy",
    "docker-init",
    "tini",
    "containerd",
    "containerd-shim-runc-v2",
    "runc",
    "docker-compose",
    "docker-buildx",
    "docker-registry",
];
const PODMAN: [&str; 10] = [
    "podman",
    "crun",
    "conmon",
    "netavark",
    "aardvark-dns",
    "catatonit",
    "skopeo",
    "buildah",
    "rootlessport",
    "fuse-overlayfs",
];
const DIRS: [&str; 10] = [
    "usr/bin",
    "usr/sbin",
    "usr/local/bin",
    "usr/lib/podman",
    "usr/libexec/podman",
    "usr/libexec/docker",
    "usr/libexec/docker/cli-plugins",
    "usr/lib/docker/cli-plugins",
    "usr/local/lib/docker/cli-plugins",
    "usr/lib/conmon",
];

pub(crate) fn weigh(peers: &Peers, daemon: Option<&PrivateDaemon>) -> Weight {
    let mut weight = Weight::new(
        "binaries to install, from engine to compose and registry",
        Bound::Part { of: Engine::Docker, at_most: 1.0 / 10.0, stretch: 1.0 / 15.0 },
    );
    match daemon.map(|daemon| fs::metadata(&daemon.program)) {
        Some(Ok(file)) => weight.add(Engine::Minke, file.len() / 1024, "minke".to_owned()),
        Some(Err(error)) => weight.fail(Engine::Minke, error.to_string()),
        None => {}
    }
    // The programs lie where their daemon sees them.
    let daemons =
        if peers.has(Engine::Docker) { docker_daemons_now(&peers.docker_host) } else { Ok(Vec::new()) };
    match daemons {
        Ok(pids) => {
            if let Some(pid) = pids.first() {
                let root = format!("/proc/{pid}/root");
                add(&mut weight, Engine::Docker, &root, &DOCKER);
                if peers.has(Engine::Podman) {
                    add(&mut weight, Engine::Podman, &root, &PODMAN);
                }
            }
        }
        Err(error) => weight.fail(Engine::Docker, format!("{error:#}")),
    }
    weight
}

fn add(weight: &mut Weight, engine: Engine, root: &str, programs: &[&str]) {
    let mut total = 0;
    let mut found = Vec::new();
    for program in programs {
        let size =
            |dir: &str| fs::metadata(format!("{root}/{dir}/{program}")).ok().filter(fs::Metadata::is_file);
        if let Some(file) = DIRS.iter().copied().find_map(size) {
            total += file.len() / 1024;
            found.push(*program);
        }
    }
    weight.add(engine, total, found.join(" "));
}
