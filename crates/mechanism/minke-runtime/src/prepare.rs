//! What the parent has ready before the child exists: namespaces, bind sources, id-mapped mounts, views of cgroups.

use std::ffi::CString;
use std::os::fd::OwnedFd;

use minke_cgroup::{Host, Version};
use minke_sys::{Errno, mount, ns};
use oci_spec::runtime::LinuxIdMapping;
use rustix::fs::CWD;

use crate::error::{LaunchError, Stage, chain};
use crate::launch::{Launch, cannot};
use crate::plan::mounts::{IdMap, Prepared};
use crate::plan::{CgroupView, Plan};
use crate::userns;

/// The hierarchies that a `cgroup` mount of the configuration would show; none when it has no such mount.
pub(crate) fn cgroup_views(request: &Launch<'_>) -> Result<Vec<CgroupView>, LaunchError> {
    let wanted = request
        .spec
        .mounts()
        .iter()
        .flatten()
        .any(|mount| matches!(mount.typ().as_deref(), Some("cgroup" | "cgroup2")));
    if !wanted {
        return Ok(Vec::new());
    }
    let probed;
    let host = match request.cgroup_host {
        Some(host) => host,
        None => {
            probed = Host::probe().map_err(|error| LaunchError::new(Stage::Prepare, chain(&error)))?;
            &probed
        }
    };
    let own = request.cgroup.map(minke_cgroup::Cgroup::paths).unwrap_or_default();
    let views = host.hierarchies().iter().map(|hierarchy| CgroupView {
        name: hierarchy.name().to_owned(),
        data: hierarchy.mount_data(),
        controllers: hierarchy.controllers().to_vec(),
        directory: own
            .iter()
            .find(|path| path.starts_with(hierarchy.mount_point()))
            .map_or_else(|| hierarchy.locate(".".as_ref()), Clone::clone),
        is_unified: hierarchy.version() == Version::V2,
    });
    Ok(views.collect())
}

/// The `HOME` entry of the environment.
pub(crate) fn home(request: &Launch<'_>, uid: u32) -> CString {
    CString::new(format!("HOME={}", request.home_of(uid))).unwrap_or_else(|_nul| c"HOME=/".into())
}

/// Opens the namespaces to join.
pub(crate) fn namespaces(plan: &Plan) -> Result<Vec<(OwnedFd, u64)>, LaunchError> {
    let open = |joined: &crate::plan::Joined| {
        let fd = ns::open(&joined.path).map_err(|errno| {
            let doing = format_args!("cannot open namespace {}", joined.path.display());
            LaunchError::with_errno(Stage::Prepare, doing, errno)
        })?;
        Ok((fd, joined.kind))
    };
    plan.joined.iter().map(open).collect()
}

/// Makes the bind mounts that the child could not make itself.
pub(crate) fn mounts(plan: &Plan) -> Result<Vec<OwnedFd>, LaunchError> {
    plan.prepared.iter().map(|prepared| prepare(plan, prepared)).collect()
}

fn prepare(plan: &Plan, prepared: &Prepared) -> Result<OwnedFd, LaunchError> {
    let source = prepared.source.display();
    let fail =
        |errno| LaunchError::with_errno(Stage::Prepare, format_args!("error mounting {source}"), errno);
    let tree = mount::clone_tree(CWD, &*prepared.source, prepared.depth).map_err(fail)?;
    if !prepared.shared {
        // The clone would otherwise exchange mount events with the host's.
        let private =
            mount::AttrChange { propagation: Some(mount::Propagation::Slave), ..Default::default() };
        mount::set_attributes(&tree, private, prepared.depth).map_err(fail)?;
    }
    if let Some(map) = &prepared.idmap {
        let userns = user_namespace(plan, map)?;
        mount::set_idmap(&tree, &userns, map.depth).map_err(|errno| {
            let doing = format_args!("error mounting {source}: the file system does not do id-mapped mounts");
            LaunchError::with_errno(Stage::Prepare, doing, errno)
        })?;
    }
    Ok(tree)
}

fn user_namespace(plan: &Plan, map: &IdMap) -> Result<OwnedFd, LaunchError> {
    let (uids, gids): (&[LinuxIdMapping], &[LinuxIdMapping]) = if map.uids.is_empty() {
        let maps = plan.maps.as_ref().ok_or_else(|| {
            LaunchError::plan(
                "an idmap mount without its own mappings needs a container with a new user namespace",
            )
        })?;
        (&maps.uids, &maps.gids)
    } else {
        (&map.uids, &map.gids)
    };
    userns::detached(uids, gids)
        .map_err(|error: Errno| cannot("make a user namespace for an id-mapped mount")(error))
}
