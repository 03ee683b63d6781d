//! The configuration's seccomp profile, compiled when the caller has not done so ahead of time.

use minke_seccomp::Program;
use minke_sys::seccomp::NEW_LISTENER;
use oci_spec::runtime::Spec;

use crate::error::{LaunchError, chain};
use crate::launch::Filter;

/// A compiled profile.
#[derive(Debug)]
pub(crate) struct Compiled {
    program: Program,
}

impl Compiled {
    pub(crate) fn as_filter(&self) -> Filter<'_> {
        let listener = if self.program.notifies { NEW_LISTENER } else { 0 };
        Filter { program: &self.program.instructions, flags: self.program.flags | listener }
    }
}

/// Compiles `linux.seccomp`, unless there is none or the caller brings a filter.
pub(crate) fn compile(given: Option<Filter<'_>>, spec: &Spec) -> Result<Option<Compiled>, LaunchError> {
    let profile = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let Some(profile) = profile.filter(|_| given.is_none()) else { return Ok(None) };
    let program = minke_seccomp::compile(profile).map_err(|error| LaunchError::plan(chain(&error)))?;
    Ok(Some(Compiled { program }))
}
