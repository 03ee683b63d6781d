//! A small virtual machine with cgroup v2 alone, to run minke's tests on a host like most users have.
//!
//! The machine is Debian: its kernel, and a root made by debootstrap, both kept in `target/vm`. Nothing is installed on the
//! host but qemu. A run gives it a second disk with the files it needs, at the paths they have here, and a script; what the
//! script prints comes back through a virtio port, with its exit status. Not part of `test`: it is for rehearsals.

mod image;
mod options;
mod payload;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::step;
use options::Options;

/// Opens the last line of a run.
const STATUS: &str = "minke-vm: exit ";

const PROGRAMS: &[(&str, &str)] = &[
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("debootstrap", "debootstrap"),
    ("dpkg-deb", "dpkg"),
    ("depmod", "kmod"),
    ("mke2fs", "e2fsprogs"),
    ("cpio", "cpio"),
    ("/bin/busybox", "busybox-static"),
];

pub(crate) fn main(args: &[String]) -> Result<()> {
    let Some(options) = Options::parse(args)? else {
        step::say(options::HELP);
        return Ok(());
    };
    step::ensure(PROGRAMS)?;
    let dir = image::dir();
    let machine = image::prepare(&dir)?;
    let payload = payload::make(&dir, &options)?;
    let start = std::time::Instant::now();
    let status = boot(&machine, payload.path(), &dir.join("console.log"), &options)?;
    step::say(&format!("== {:.1} s in the machine, exit {status}", start.elapsed().as_secs_f32()));
    if status != 0 {
        bail!("the script ended with {status}");
    }
    Ok(())
}

/// Boots, shows what the script prints, and answers its exit status.
fn boot(machine: &image::Machine, payload: &Path, console: &Path, options: &Options) -> Result<i32> {
    let init = options.init.program();
    let accelerator = if options.kvm { "kvm" } else { "tcg,thread=multi" };
    let drive = |path: &Path, more: &str| format!("if=virtio,format=raw,file={}{more}", path.display());
    let limit = options.timeout.as_secs().to_string();
    // `timeout` and not a thread: it ends the machine also when this process is interrupted.
    let mut qemu = Command::new("timeout");
    qemu.args([
        "--foreground",
        "--kill-after=5",
        &limit,
        "qemu-system-x86_64",
        "-M",
        "pc",
        "-cpu",
        "max",
        "-accel",
    ])
    .arg(accelerator)
    .args(["-smp", &options.cpus.to_string(), "-m", &options.memory.to_string()])
    .args(["-nodefaults", "-no-reboot", "-display", "none", "-nic", "none", "-device", "virtio-rng-pci"])
    .args(["-serial".to_owned(), format!("file:{}", console.display())])
    .args(["-device", "virtio-serial-pci", "-chardev", "file,id=job,path=/proc/self/fd/1"])
    .args(["-device", "virtserialport,chardev=job,name=job"])
    .args(["-drive", &drive(&machine.root, ",snapshot=on")])
    .args(["-drive", &drive(payload, ",snapshot=on")])
    .arg("-kernel")
    .arg(&machine.kernel)
    .arg("-initrd")
    .arg(&machine.initramfs)
    .args(["-append", &format!("console=ttyS0 panic=-1 minke.init={init} {}", options.append)])
    .stdin(Stdio::null())
    .stdout(Stdio::piped());
    let mut qemu = qemu.spawn().context("start qemu")?;
    let mut status = None;
    let output = qemu.stdout.take().context("qemu's standard output")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("read what the machine prints")?;
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end_matches('\r');
        if let Some(code) = line.strip_prefix(STATUS) {
            status = code.trim().parse().ok();
        } else {
            step::say(line);
        }
    }
    let ended = qemu.wait().context("wait for qemu")?;
    match status {
        Some(status) => Ok(status),
        None => {
            let log = std::fs::read(console).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(40)..].join("\n");
            bail!("the machine stopped ({ended}) before the script had ended; its console said last:\n{tail}")
        }
    }
}
