//! What every run shares: Debian's kernel, a first file system that finds the disks, and the root disk.
//!
//! Made once in `target/vm` and kept; delete the directory to have it made again.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::fixtures::debian;
use crate::step;

const INITRAMFS_SCRIPT: &str = include_str!("guest/initramfs.sh");

/// What the machine needs before it has its root, each after what it needs: the disks and the port.
const MODULES: [&str; 8] = [
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci",
    "drivers/block/virtio_blk",
    "drivers/char/virtio_console",
    "drivers/char/hw_random/virtio-rng",
];

/// systemd and its bus, what the tests drive, and Podman with the runtimes it knows.
const PACKAGES: [&str; 18] = [
    "systemd-sysv",
    "dbus",
    "dbus-user-session",
    "libpam-systemd",
    "udev",
    "kmod",
    "bash",
    "busybox-static",
    "iproute2",
    "procps",
    "curl",
    "podman",
    "netavark",
    "crun",
    "runc",
    "skopeo",
    "python3-docker",
    "nftables",
];

pub(crate) struct Machine {
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: PathBuf,
    pub(crate) root: PathBuf,
}

/// Where the machine is kept, beside the other things that are built.
pub(crate) fn dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| step::workspace().join("target"), PathBuf::from)
        .join("vm")
}

pub(crate) fn prepare(dir: &Path) -> Result<Machine> {
    std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    let (kernel, modules) = kernel(dir)?;
    let initramfs = initramfs(dir, &modules)?;
    let root = root(dir, &modules)?;
    Ok(Machine { kernel, initramfs, root })
}

/// Makes `dir/name` under another name first, so that what is interrupted is not taken for finished.
fn once(dir: &Path, name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let path = dir.join(name);
    if !path.exists() {
        step::say(&format!("== vm: making {name}"));
        let unfinished = dir.join(format!("{name}.unfinished"));
        if unfinished.is_dir() {
            std::fs::remove_dir_all(&unfinished)?;
        }
        make(&unfinished).with_context(|| format!("make {}", path.display()))?;
        std::fs::rename(&unfinished, &path)?;
    }
    Ok(path)
}

/// Debian's kernel for virtual machines, unpacked: its image, and the directory of its modules.
fn kernel(dir: &Path) -> Result<(PathBuf, PathBuf)> {
    let unpacked = once(dir, "kernel", |path| {
        std::fs::create_dir_all(path)?;
        // The package is empty and depends on the newest real one.
        let depends = step::output(&["apt-cache", "depends", "linux-image-cloud-amd64"])?;
        let package = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
        debian::unpack(&[package.context("linux-image-cloud-amd64 depends on no kernel")?], path)?;
        let version = only_entry(&path.join("lib/modules"))?;
        let version = version.file_name().unwrap_or_default().to_string_lossy().into_owned();
        step::output(&["depmod", "-b", &path.to_string_lossy(), &version]).map(drop)
    })?;
    let modules = only_entry(&unpacked.join("lib/modules"))?;
    let version = modules.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok((unpacked.join(format!("boot/vmlinuz-{version}")), modules))
}

fn only_entry(dir: &Path) -> Result<PathBuf> {
    let entry = std::fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))?.next();
    Ok(entry.with_context(|| format!("{} is empty", dir.display()))??.path())
}

fn initramfs(dir: &Path, modules: &Path) -> Result<PathBuf> {
    once(dir, "initramfs", |path| {
        let tree = tempfile::tempdir()?;
        let at = |name: &str| tree.path().join(name);
        for name in ["bin", "dev", "proc", "sys", "root", "modules"] {
            std::fs::create_dir(at(name))?;
        }
        std::fs::copy("/bin/busybox", at("bin/busybox"))?;
        for (number, module) in MODULES.iter().enumerate() {
            let from = modules.join(format!("kernel/{module}.ko"));
            std::fs::copy(&from, at(&format!("modules/{number}.ko")))
                .with_context(|| format!("copy {}", from.display()))?;
        }
        std::fs::write(at("init"), INITRAMFS_SCRIPT)?;
        std::fs::set_permissions(at("init"), std::fs::Permissions::from_mode(0o755))?;
        let line = format!(
            "cd '{}' && find . | cpio -o -H newc --quiet > '{}'",
            tree.path().display(),
            path.display()
        );
        step::output(&["sh", "-c", &line]).map(drop)
    })
}

fn root(dir: &Path, modules: &Path) -> Result<PathBuf> {
    let tree = once(dir, "root", |path| {
        debian::bootstrap(path, &PACKAGES)?;
        let version = modules.file_name().unwrap_or_default();
        let inside = path.join("lib/modules");
        std::fs::create_dir_all(&inside)?;
        step::output(&["cp", "-a", &modules.to_string_lossy(), &inside.join(version).to_string_lossy()])?;
        std::fs::write(path.join("etc/hostname"), "minke-vm\n")?;
        std::fs::write(path.join("etc/resolv.conf"), "")?;
        std::fs::write(path.join("etc/fstab"), "")?;
        // The root's password is empty and no terminal asks for it; services that wait for a network find none.
        std::fs::create_dir_all(path.join("vm"))?;
        Ok(())
    })?;
    once(dir, "root.img", |path| {
        // Sparse: what is not used takes no room here.
        let words = [
            "mke2fs",
            "-q",
            "-t",
            "ext4",
            "-E",
            "lazy_itable_init=0,nodiscard",
            "-d",
            &tree.to_string_lossy(),
        ];
        step::output(&[&words[..], &[&path.to_string_lossy(), "8G"]].concat()).map(drop)
    })
}
