//! Requests of older clients, as the newest version would have put them.

use std::collections::BTreeMap;

use crate::ApiVersion;
use crate::build::PruneLimits;
use crate::container::{ContainerCreateRequest, ContainerUpdateRequest, ExecConfig, ExecStartRequest};
use crate::mount::BindOptions;
use crate::network::EndpointSettings;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RequestError {
    #[error("Container cannot be created with multiple network endpoints")]
    SeveralNetworks,
    #[error("conflicting options: mac-address and the network mode")]
    MacWithoutNetwork,
    #[error("container-wide MAC address no longer supported; use endpoint-specific MAC address instead")]
    ContainerWideMac,
}

/// A limit of `/build/prune` that is no number of bytes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{name} is in bytes and expects an integer, got {text}: strconv.Atoi: parsing {text:?}: invalid syntax"
)]
pub struct BadLimit {
    name: String,
    text: String,
}

/// `POST /build/prune`: `keep-storage` until 1.48, since then `reserved-space` (the older name counts where that is not given)
/// and two more.
pub fn prune_limits<'a>(
    version: ApiVersion,
    given: impl Fn(&str) -> Option<&'a str>,
) -> Result<PruneLimits, BadLimit> {
    let bytes = |name: &str| match given(name) {
        None => Ok(0),
        Some(text) => text.parse().map_err(|_source: std::num::ParseIntError| BadLimit {
            name: name.to_owned(),
            text: text.to_owned(),
        }),
    };
    if version.before(48) {
        return Ok(PruneLimits { reserved_space: bytes("keep-storage")?, ..PruneLimits::default() });
    }
    let reserved_space = match bytes("reserved-space")? {
        0 => bytes("keep-storage")?,
        reserved => reserved,
    };
    Ok(PruneLimits {
        reserved_space,
        max_used_space: bytes("max-used-space")?,
        min_free_space: bytes("min-free-space")?,
    })
}

/// `POST /containers/create`: what an old client could not know of is as if not given, and what it took for granted is
/// said. Gives the warnings for the answer.
pub fn create(
    version: ApiVersion,
    request: &mut ContainerCreateRequest,
) -> Result<Vec<String>, RequestError> {
    let mut warnings = Vec::new();
    let host = &mut request.host_config;
    if version.before(25) {
        // Such clients remove the container themselves.
        host.auto_remove = false;
    }
    if version.before(40) {
        host.kernel_memory_tcp = 0;
        if host.ipc_mode.is_empty() {
            host.ipc_mode = "shareable".to_owned();
        }
    }
    if version.before(41) && host.cgroupns_mode.is_empty() {
        host.cgroupns_mode = "host".to_owned();
    }
    if version.before(42) {
        host.console_size = [0, 0];
        for mount in host.mounts.iter_mut().flatten() {
            // Options of another type of mount were let pass.
            match mount.kind.as_str() {
                "bind" => (mount.volume_options, mount.tmpfs_options) = (None, None),
                "volume" => (mount.bind_options, mount.tmpfs_options) = (None, None),
                "tmpfs" => (mount.bind_options, mount.volume_options) = (None, None),
                _ => {}
            }
            if let Some(options) = &mut mount.bind_options {
                options.create_mountpoint = false;
            }
        }
    } else {
        host.kernel_memory = 0;
    }
    if version.before(43) {
        host.annotations = None;
    }
    if version.before(44) {
        if let Some(check) = &mut request.config.healthcheck {
            check.start_interval = 0;
        }
        for mount in host.mounts.iter_mut().flatten().filter(|mount| mount.kind == "bind") {
            // Read-only was not recursive.
            let options = mount.bind_options.get_or_insert_with(BindOptions::default);
            options.read_only_non_recursive = true;
            options.read_only_force_recursive = false;
        }
        if request.networking_config.endpoints_config.as_ref().is_some_and(|endpoints| endpoints.len() > 1) {
            return Err(RequestError::SeveralNetworks);
        }
    }
    if version.before(45) {
        for mount in host.mounts.iter_mut().flatten() {
            if let Some(options) = &mut mount.volume_options {
                options.subpath.clear();
            }
        }
    }
    if version.before(46) {
        for mount in host.mounts.iter_mut().flatten() {
            if let Some(options) = &mut mount.tmpfs_options {
                options.options = None;
            }
        }
    }
    if version.before(48) {
        for endpoint in request.networking_config.endpoints_config.iter_mut().flat_map(BTreeMap::values_mut) {
            endpoint.gw_priority = 0;
        }
    }
    if !version.before(52) {
        host.kernel_memory_tcp = 0;
    }
    if version.before(56) {
        host.umask = None;
    }
    move_mac(version, request, &mut warnings)?;
    Ok(warnings)
}

/// The container-wide address of the time before 1.44 belongs to the container's one network.
fn move_mac(
    version: ApiVersion,
    request: &mut ContainerCreateRequest,
    warnings: &mut Vec<String>,
) -> Result<(), RequestError> {
    let mac = std::mem::take(&mut request.config.mac_address);
    let endpoints = &mut request.networking_config.endpoints_config;
    if mac.is_empty() {
        if version.before(44) {
            for endpoint in endpoints.iter_mut().flat_map(BTreeMap::values_mut) {
                endpoint.mac_address.clear();
            }
        }
        return Ok(());
    }
    if !version.before(52) {
        return Err(RequestError::ContainerWideMac);
    }
    let mode = match request.host_config.network_mode.as_str() {
        "" => "default",
        mode => mode,
    };
    if matches!(mode, "host" | "none") || mode.starts_with("container:") {
        return Err(RequestError::MacWithoutNetwork);
    }
    let endpoints = endpoints.get_or_insert_with(BTreeMap::new);
    if endpoints.is_empty() {
        endpoints.insert(mode.to_owned(), EndpointSettings::default());
    }
    for endpoint in endpoints.values_mut() {
        if version.before(44) || endpoint.mac_address.is_empty() {
            endpoint.mac_address.clone_from(&mac);
        }
    }
    if !version.before(44) {
        warnings.push(
            "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."
                .to_owned(),
        );
    }
    Ok(())
}

/// `POST /containers/{id}/update`.
pub fn update(version: ApiVersion, request: &mut ContainerUpdateRequest) {
    if version.before(40) {
        request.pids_limit = None;
    }
    if !version.before(42) {
        request.kernel_memory = 0;
    }
    if !version.before(52) {
        request.kernel_memory_tcp = 0;
    }
    if version.before(55) {
        request.blkio_weight_device = None;
        request.blkio_device_read_bps = None;
        request.blkio_device_write_bps = None;
        request.blkio_device_read_iops = None;
        request.blkio_device_write_iops = None;
    }
    // Docker reads both as "no limit"; below, only -1 is.
    if request.pids_limit == Some(0) {
        request.pids_limit = Some(-1);
    }
}

/// `POST /containers/{id}/exec`.
pub fn exec(version: ApiVersion, request: &mut ExecConfig) {
    if version.before(42) {
        request.console_size = None;
    }
}

/// `POST /exec/{id}/start`.
pub fn exec_start(version: ApiVersion, request: &mut ExecStartRequest) {
    if version.before(42) || !request.tty {
        request.console_size = None;
    }
}

/// The `signal` parameter of stop and restart, since 1.42.
pub fn stop_signal(version: ApiVersion, signal: Option<&str>) -> Option<&str> {
    signal.filter(|_| !version.before(42))
}

/// Until 1.41 `POST /volumes/prune` removed volumes that a person has named, too.
pub fn prunes_all_volumes(version: ApiVersion) -> bool {
    version.before(42)
}

/// The `platform` parameter of create, since 1.41.
pub fn create_platform(version: ApiVersion, platform: Option<&str>) -> Option<&str> {
    platform.filter(|_| !version.before(41))
}
