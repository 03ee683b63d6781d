//! Device nodes and the links every Linux program expects in `/dev`.

use std::path::Path;

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};

use super::{c_path, c_string};
use crate::error::LaunchError;
use crate::steps::{DeviceStep, Step};

const CHARACTER: u32 = 0o020_000;
const BLOCK: u32 = 0o060_000;
const FIFO: u32 = 0o010_000;

/// What a container has unless its configuration says otherwise: path, major, minor.
const DEFAULT: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/tty", 5, 0),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
];

const LINKS: [(&str, &str); 4] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

/// Plans the nodes of the configuration, the default ones it does not name, and the links.
pub fn plan_devices(devices: &[LinuxDevice], has_kcore: bool) -> Result<Vec<Step>, LaunchError> {
    let mut steps = Vec::with_capacity(devices.len() + DEFAULT.len() + LINKS.len() + 2);
    for device in devices {
        // ptmx belongs to the container's own devpts, and the console is the container's terminal.
        if [Path::new("/dev/ptmx"), Path::new("/dev/console")].contains(&device.path().as_path()) {
            continue;
        }
        steps.push(Step::Device(Box::new(plan_device(device)?)));
    }
    for (path, major, minor) in DEFAULT {
        if devices.iter().any(|device| device.path() == Path::new(path)) {
            continue;
        }
        steps.push(Step::Device(Box::new(DeviceStep {
            path: c_string(path, "device")?,
            mode: CHARACTER | 0o666,
            dev: rustix::fs::makedev(major, minor),
            uid: 0,
            gid: 0,
            host: c_string(path, "device")?,
        })));
    }
    let core = has_kcore.then_some(("/dev/core", "/proc/kcore"));
    for (path, to) in LINKS.into_iter().chain(core) {
        steps.push(Step::Symlink {
            path: c_string(path, "link")?,
            to: c_string(to, "link")?,
            replace: false,
        });
    }
    steps.push(Step::Symlink { path: c"/dev/ptmx".into(), to: c"pts/ptmx".into(), replace: true });
    Ok(steps)
}

fn plan_device(device: &LinuxDevice) -> Result<DeviceStep, LaunchError> {
    let shown = device.path().display();
    let kind = match device.typ() {
        LinuxDeviceType::B => BLOCK,
        LinuxDeviceType::C | LinuxDeviceType::U => CHARACTER,
        LinuxDeviceType::P => FIFO,
        LinuxDeviceType::A => {
            return Err(LaunchError::plan(format!(
                "device {shown}: type \"a\" is for access rules, not for nodes"
            )));
        }
    };
    let number = |value: i64| {
        u32::try_from(value)
            .map_err(|_range| LaunchError::plan(format!("device {shown}: number {value} is out of range")))
    };
    let dev =
        if kind == FIFO { 0 } else { rustix::fs::makedev(number(device.major())?, number(device.minor())?) };
    let path = c_path(&Path::new("/").join(device.path()), "device")?;
    Ok(DeviceStep {
        host: path.clone(),
        path,
        mode: kind | device.file_mode().unwrap_or(0o666) & 0o7777,
        dev,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
    })
}
