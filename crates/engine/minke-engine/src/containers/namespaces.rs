//! Which namespaces a container has of its own and whose it joins, and what goes with them: host name, files of the
//! network, shared memory.

use std::path::{Path, PathBuf};

use super::Containers;
use super::container::Container;
use super::record::Record;
use crate::error::{Error, Result};
use crate::spec::{NamespacePlan, Namespaces, SystemFiles};

impl Containers {
    /// The host name that the container's program sees.
    pub(super) fn hostname_inside(&self, record: &Record) -> String {
        match record.host.network_mode.strip_prefix("container:").and_then(|id| self.find(id).ok()) {
            Some(owner) => owner.record().config.hostname.clone(),
            None => record.config.hostname.clone(),
        }
    }

    pub(super) fn plan_namespaces(&self, record: &Record) -> Result<Namespaces> {
        let joined = |mode: &str, kind: &str, what: &str| -> Result<NamespacePlan> {
            let Some(target) = mode.strip_prefix("container:") else {
                return Ok(if mode == "host" { NamespacePlan::Host } else { NamespacePlan::New });
            };
            let owner = self
                .find(target)
                .map_err(|error| Error::system(format!("joining {what} namespace of container: {error}")))?;
            if !owner.phase().is_live() {
                return Err(Error::conflict(format!(
                    "cannot join {what} namespace of a non running container: container {} is {}",
                    owner.record().name.trim_start_matches('/'),
                    owner.phase().word()
                )));
            }
            Ok(NamespacePlan::Join(PathBuf::from(format!("/proc/{}/ns/{kind}", owner.pid()))))
        };
        let host = &record.host;
        let net = joined(&host.network_mode, "net", "network")?;
        let uts = match host.uts_mode.as_str() {
            "host" => NamespacePlan::Host,
            _ => NamespacePlan::New,
        };
        let cgroup = match host.cgroupns_mode.as_str() {
            "private" => NamespacePlan::New,
            _ => NamespacePlan::Host,
        };
        Ok(Namespaces {
            net,
            pid: joined(&host.pid_mode, "pid", "PID")?,
            ipc: joined(&host.ipc_mode, "ipc", "IPC")?,
            uts,
            cgroup,
        })
    }

    pub(super) fn plan_files(
        &self,
        container: &Container,
        record: &Record,
        directory: &Path,
    ) -> Result<SystemFiles> {
        let owner = record.host.network_mode.strip_prefix("container:").and_then(|id| self.find(id).ok());
        let mut files = match owner {
            Some(owner) => self.system_files(&self.data_dir(owner.id.as_str())),
            None => self.system_files(directory),
        };
        files.shm = self.shared_memory(container, record, directory)?;
        Ok(files)
    }

    /// Where `/dev/shm` comes from when it is shared with the host or with other containers.
    fn shared_memory(
        &self,
        container: &Container,
        record: &Record,
        directory: &Path,
    ) -> Result<Option<PathBuf>> {
        if let Some(target) = record.host.ipc_mode.strip_prefix("container:") {
            let owner = self.find(target)?;
            let mode = owner.record().host.ipc_mode.clone();
            return match mode.as_str() {
                "shareable" => Ok(Some(self.data_dir(owner.id.as_str()).join("shm"))),
                "host" => Ok(Some(PathBuf::from("/dev/shm"))),
                _ => Err(Error::conflict(format!(
                    "can't join IPC of container {}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
                    owner.id
                ))),
            };
        }
        match record.host.ipc_mode.as_str() {
            "host" => Ok(Some(PathBuf::from("/dev/shm"))),
            "shareable" => {
                let path = directory.join("shm");
                super::remove::unmount_shared_memory(&path);
                std::fs::create_dir_all(&path)
                    .map_err(|source| Error::failed(format!("make {}", path.display()), source))?;
                let options = format!("mode=1777,size={}", record.host.shm_size);
                let flags = rustix::mount::MountFlags::NOSUID
                    | rustix::mount::MountFlags::NODEV
                    | rustix::mount::MountFlags::NOEXEC;
                let options = std::ffi::CString::new(options).unwrap_or_default();
                rustix::mount::mount("shm", &path, "tmpfs", flags, Some(options.as_c_str())).map_err(
                    |errno| {
                        Error::failed(
                            format!("mount shared memory of {}", container.id),
                            std::io::Error::from(errno),
                        )
                    },
                )?;
                Ok(Some(path))
            }
            _ => Ok(None),
        }
    }
}
