//! Handing a filter's listener to the agent that the configuration names (`seccomp.listenerPath`).

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use minke_sys::scm;
use oci_spec::runtime::Spec;
use serde_json::json;

use crate::error::{LaunchError, Stage};
use crate::hooks::state_document;

/// Sends `listener` to the agent, if there is one to send it to, and answers whether there was. The agent is told the container's state, as the OCI
/// specification's `containerProcessState` has it.
pub(crate) fn deliver(
    spec: &Spec,
    id: &str,
    bundle: &Path,
    pid: u32,
    listener: BorrowedFd<'_>,
) -> Result<bool, LaunchError> {
    let profile = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let Some(path) = profile.and_then(|profile| profile.listener_path().as_deref()) else { return Ok(false) };
    let fail = |reason: String| {
        LaunchError::new(
            Stage::Credentials,
            format!("cannot hand the seccomp listener to {}: {reason}", path.display()),
        )
    };
    let state: serde_json::Value = serde_json::from_str(&state_document(spec, id, bundle, "creating", pid))
        .map_err(|error| fail(error.to_string()))?;
    let message = json!({
        "ociVersion": spec.version(),
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": profile.and_then(|profile| profile.listener_metadata().as_deref()).unwrap_or_default(),
        "state": state,
    });
    let agent = UnixStream::connect(path).map_err(|error| fail(error.to_string()))?;
    scm::send_all(agent.as_fd(), message.to_string().as_bytes(), &[listener])
        .map_err(|errno| fail(crate::words::errno_text(errno).to_owned()))?;
    Ok(true)
}
