//! Hooks: which run where, with which document on their standard input.
//!
//! `prestart` and `createRuntime` run in the runtime's namespaces when the mounts are in place, `createContainer` in the
//! container's before the root changes, `startContainer` there just before the program, `poststart` and `poststop` in the
//! runtime's again. The state document is the same but for status and pid.

use std::collections::HashMap;
use std::ffi::CString;
use std::path::Path;

use oci_spec::runtime::{Hook, Spec};
use serde::Serialize;

use super::{Inputs, c_path, c_string};
use crate::error::LaunchError;
use crate::steps::{HookStep, Step};

/// A state document must fit into a pipe, so that writing it never waits for the hook to read.
const STATE_LIMIT: usize = 60 * 1024;

/// The state of a container as hooks and `state` commands are told.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StateDocument<'a> {
    /// Version of the OCI runtime specification.
    pub oci_version: &'a str,
    /// The container's name.
    pub id: &'a str,
    /// `creating`, `created`, `running` or `stopped`.
    pub status: &'a str,
    /// The first process; 0 is left out.
    #[serde(skip_serializing_if = "is_zero")]
    pub pid: u32,
    /// The bundle's directory.
    pub bundle: &'a Path,
    /// Annotations of the configuration.
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    pub annotations: HashMap<String, String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(pid: &u32) -> bool {
    *pid == 0
}

/// The points at which the child runs hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildPoint {
    /// Before the root changes.
    CreateContainer,
    /// Before the program.
    StartContainer,
}

/// What the parent's hooks need.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ParentHooks {
    /// `prestart`, then `createRuntime`, each with its name and position.
    pub runtime: Vec<(&'static str, usize, Hook)>,
    /// `poststart`; the one who starts the container runs them.
    pub poststart: Vec<(&'static str, usize, Hook)>,
}

/// Whether the parent has hooks to run in the middle of the child's work.
#[must_use]
pub fn wants_runtime_phase(spec: &Spec) -> bool {
    runtime_lists(spec).any(|(_, hooks)| !hooks.is_empty())
}

fn runtime_lists(spec: &Spec) -> impl Iterator<Item = (&'static str, &[Hook])> {
    let hooks = spec.hooks().as_ref();
    let prestart = hooks.and_then(|hooks| hooks.prestart().as_deref());
    let create = hooks.and_then(|hooks| hooks.create_runtime().as_deref());
    [("prestart", prestart.unwrap_or_default()), ("createRuntime", create.unwrap_or_default())].into_iter()
}

/// Collects the parent's hooks.
pub fn plan_parent_hooks(spec: &Spec) -> Result<ParentHooks, LaunchError> {
    let mut plan = ParentHooks::default();
    for (name, hooks) in runtime_lists(spec) {
        for (index, hook) in hooks.iter().enumerate() {
            check(hook, name, index)?;
            plan.runtime.push((name, index, hook.clone()));
        }
    }
    let poststart = spec.hooks().as_ref().and_then(|hooks| hooks.poststart().as_deref()).unwrap_or_default();
    for (index, hook) in poststart.iter().enumerate() {
        check(hook, "poststart", index)?;
        plan.poststart.push(("poststart", index, hook.clone()));
    }
    Ok(plan)
}

fn check(hook: &Hook, name: &str, index: usize) -> Result<(), LaunchError> {
    if !hook.path().is_absolute() {
        return Err(LaunchError::plan(format!(
            "{name} hook #{index}: path {:?} is not absolute",
            hook.path()
        )));
    }
    if hook.timeout().is_some_and(|timeout| timeout <= 0) {
        return Err(LaunchError::plan(format!("{name} hook #{index}: timeout must be greater than zero")));
    }
    Ok(())
}

/// Adds the hooks the child itself runs.
pub fn push_child_hooks(
    steps: &mut Vec<Step>,
    spec: &Spec,
    inputs: &Inputs<'_>,
    point: ChildPoint,
) -> Result<(), LaunchError> {
    let Some(hooks) = spec.hooks().as_ref() else { return Ok(()) };
    let (name, list, status) = match point {
        ChildPoint::CreateContainer => ("createContainer", hooks.create_container(), "creating"),
        ChildPoint::StartContainer => ("startContainer", hooks.start_container(), "created"),
    };
    for (index, hook) in list.iter().flatten().enumerate() {
        check(hook, name, index)?;
        steps.push(Step::Hook(Box::new(plan_child_hook(hook, (name, index), spec, inputs, status)?)));
    }
    Ok(())
}

fn plan_child_hook(
    hook: &Hook,
    name: (&'static str, usize),
    spec: &Spec,
    inputs: &Inputs<'_>,
    status: &str,
) -> Result<HookStep, LaunchError> {
    let path = c_path(hook.path(), "hook path")?;
    let strings = |list: &Option<Vec<String>>| -> Result<Vec<CString>, LaunchError> {
        list.iter().flatten().map(|text| c_string(text, "hook argument")).collect()
    };
    let mut args = strings(hook.args())?;
    if args.is_empty() {
        args.push(path.clone());
    }
    // The child learns its pid when it runs; the document is cut where the number goes.
    let marker = u32::MAX;
    let document = StateDocument {
        oci_version: spec.version(),
        id: inputs.id,
        status,
        pid: marker,
        bundle: inputs.bundle,
        annotations: spec.annotations().clone().unwrap_or_default(),
    };
    let text = serde_json::to_string(&document)
        .map_err(|error| LaunchError::plan(format!("{} hook #{}: {error}", name.0, name.1)))?;
    if text.len() > STATE_LIMIT {
        return Err(LaunchError::plan(format!("{} hook #{}: the annotations are too long", name.0, name.1)));
    }
    let needle = format!("\"pid\":{marker}");
    let at = text.find(&needle).map_or(text.len(), |at| at + "\"pid\":".len());
    let rest = (at + marker.to_string().len()).min(text.len());
    Ok(HookStep {
        path,
        args,
        env: strings(hook.env())?,
        timeout: u64::try_from(hook.timeout().unwrap_or(0)).unwrap_or(0),
        state: (text.as_bytes()[..at].to_vec(), text.as_bytes()[rest..].to_vec()),
        name,
    })
}
