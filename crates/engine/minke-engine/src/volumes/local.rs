//! The local driver: its options, and the file system that they name.

use std::ffi::CString;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::path::Path;

use minke_api::StringMap;
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

/// A file system as the options name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileSystem {
    kind: String,
    device: String,
    options: String,
}

/// Refuses options that the driver does not know, in Docker's words.
pub(super) fn check_options(options: &StringMap) -> Result<(), String> {
    if let Some(unknown) =
        options.keys().find(|key| !matches!(key.as_str(), "type" | "o" | "device" | "size"))
    {
        return Err(format!("invalid option: {unknown:?}"));
    }
    if options.contains_key("size") {
        return Err("quota size requested but no quota support".to_owned());
    }
    match ["device", "type"].iter().find(|key| !options.contains_key(**key)) {
        Some(missing) if !options.is_empty() => Err(format!("missing required option: {missing:?}")),
        _ => Ok(()),
    }
}

impl FileSystem {
    /// From options that were checked.
    pub(super) fn of(options: &StringMap) -> Self {
        let text = |key: &str| options.get(key).cloned().unwrap_or_default();
        Self { kind: text("type"), device: text("device"), options: text("o") }
    }

    /// The kernel's bits, and what is left for the file system itself.
    fn plan(&self) -> (MountFlags, Vec<&str>) {
        let mut flags = MountFlags::empty();
        let mut data = Vec::new();
        for word in self.options.split(',').filter(|word| !word.is_empty()) {
            match flag_of(word) {
                Some((flag, set)) => flags.set(flag, set),
                None => data.push(word),
            }
        }
        (flags, data)
    }

    /// Mounts it. The mount is nobody else's: it does not spread to others that share the host's table.
    pub(super) fn mount(&self, target: &Path) -> Result<(), String> {
        let (flags, data) = self.plan();
        let mut words: Vec<String> = data.into_iter().map(str::to_owned).collect();
        if self.kind.starts_with("nfs") || self.kind == "cifs" {
            for word in &mut words {
                if let Some(host) = word.strip_prefix("addr=") {
                    *word = format!("addr={}", resolve(host)?);
                }
            }
        }
        let data = words.join(",");
        self.call(target, flags, &data).map_err(|errno| {
            let said = if data.is_empty() { String::new() } else { format!(", data: {data}") };
            let code = flags.bits();
            let why = std::io::Error::from(errno).to_string();
            let why = why.split(" (os error").next().unwrap_or_default().to_lowercase();
            format!(
                "failed to mount local volume: mount {}:{}, flags: {code:#x}{said}: {why}",
                self.device,
                target.display()
            )
        })
    }

    fn call(&self, target: &Path, flags: MountFlags, data: &str) -> Result<(), Errno> {
        let data = CString::new(data).map_err(|_nul| Errno::INVAL)?;
        let kind = if self.kind == "none" { "" } else { self.kind.as_str() };
        let given = Some(data.as_c_str()).filter(|data| !data.is_empty());
        rustix::mount::mount(self.device.as_str(), target, kind, flags, given)?;
        let bind = MountFlags::BIND;
        let rest = flags - bind - MountFlags::REC;
        if flags.contains(bind) && !rest.is_empty() {
            // A bind takes its other flags only afterwards.
            let again = rustix::mount::mount_remount(target, bind | rest, c"");
            if let Err(errno) = again {
                detach(target);
                return Err(errno);
            }
        }
        rustix::mount::mount_change(target, MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
    }
}

/// Takes whatever is mounted on `target` away; nothing is fine.
pub(super) fn detach(target: &Path) {
    while let Ok(()) = rustix::mount::unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {}
}

fn resolve(host: &str) -> Result<IpAddr, String> {
    if let Ok(address) = host.parse() {
        return Ok(address);
    }
    (host, 0)
        .to_socket_addrs()
        .ok()
        .and_then(|mut found| found.next())
        .map(|found| found.ip())
        .ok_or_else(|| format!("error resolving passed in network volume address: {host}"))
}

fn flag_of(word: &str) -> Option<(MountFlags, bool)> {
    Some(match word {
        "defaults" => (MountFlags::empty(), false),
        "ro" => (MountFlags::RDONLY, true),
        "rw" => (MountFlags::RDONLY, false),
        "suid" => (MountFlags::NOSUID, false),
        "nosuid" => (MountFlags::NOSUID, true),
        "dev" => (MountFlags::NODEV, false),
        "nodev" => (MountFlags::NODEV, true),
        "exec" => (MountFlags::NOEXEC, false),
        "noexec" => (MountFlags::NOEXEC, true),
        "sync" => (MountFlags::SYNCHRONOUS, true),
        "async" => (MountFlags::SYNCHRONOUS, false),
        "dirsync" => (MountFlags::DIRSYNC, true),
        "mand" => (MountFlags::PERMIT_MANDATORY_FILE_LOCKING, true),
        "nomand" => (MountFlags::PERMIT_MANDATORY_FILE_LOCKING, false),
        "atime" => (MountFlags::NOATIME, false),
        "noatime" => (MountFlags::NOATIME, true),
        "diratime" => (MountFlags::NODIRATIME, false),
        "nodiratime" => (MountFlags::NODIRATIME, true),
        "relatime" => (MountFlags::RELATIME, true),
        "norelatime" => (MountFlags::RELATIME, false),
        "strictatime" => (MountFlags::STRICTATIME, true),
        "nostrictatime" => (MountFlags::STRICTATIME, false),
        "bind" => (MountFlags::BIND, true),
        "rbind" => (MountFlags::BIND | MountFlags::REC, true),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> StringMap {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn refusals_are_in_dockers_words() {
        let text = |pairs: &[(&str, &str)]| check_options(&options(pairs)).expect_err("refused");
        assert_eq!(text(&[("foo", "bar")]), "invalid option: \"foo\"");
        assert_eq!(text(&[("type", "tmpfs")]), "missing required option: \"device\"");
        assert_eq!(text(&[("o", "size=1")]), "missing required option: \"device\"");
        assert_eq!(text(&[("device", "tmpfs")]), "missing required option: \"type\"");
        assert_eq!(text(&[("size", "10M")]), "quota size requested but no quota support");
        check_options(&options(&[])).expect("none is fine");
    }

    #[test]
    fn words_become_flags_and_the_rest_is_the_file_systems() {
        let system = FileSystem::of(&options(&[
            ("type", "nfs"),
            ("device", ":/srv"),
            ("o", "addr=10.0.0.1,ro,nosuid,vers=4"),
        ]));
        assert_eq!(system.plan(), (MountFlags::RDONLY | MountFlags::NOSUID, vec!["addr=10.0.0.1", "vers=4"]));
    }

    #[test]
    fn a_device_that_is_not_there_is_named_as_docker_names_it() {
        let system =
            FileSystem::of(&options(&[("type", "none"), ("o", "bind"), ("device", "/no/such/place")]));
        let target = tempfile::tempdir().expect("a directory");
        let text = system.mount(target.path()).expect_err("there is no such place");
        // Without the right to mount, the kernel does not get as far as looking.
        if !text.ends_with("operation not permitted") {
            assert_eq!(
                text,
                format!(
                    "failed to mount local volume: mount /no/such/place:{}, flags: 0x1000: no such file or directory",
                    target.path().display()
                )
            );
        }
    }
}
