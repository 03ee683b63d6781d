//! `RUN`: a program in a container of its own, whose changes become a layer.

use std::sync::Arc;

use minke_api::container::{ContainerConfig, HostConfig, StrSlice};
use minke_dockerfile::{Form, Network, Run, Security};

use super::blocking;
use super::borrow::can_be_lent;
use super::cache::Key;
use super::event::{BuildEvent, Output};
use super::mounts::Mounts;
use super::solve::{Build, Failure, Made, Place};
use super::state::{Layer, State};
use crate::containers::{EndedStep, Step, StepEvent};
use crate::error::{Error, Result};

impl Build {
    pub(super) async fn do_run(&self, state: &State, run: &Run, place: &Place<'_>) -> Result<Made, Failure> {
        if run.security == Security::Insecure {
            return Err(Error::invalid(
                "RUN --security=insecure is refused: a step of a build has the rights of an ordinary container",
            )
            .into());
        }
        let words = match &run.form {
            Form::Exec(words) => words.clone(),
            Form::Shell(text) => state.shell().into_iter().chain([text.clone()]).collect(),
            Form::Script { name, .. } => vec![format!("/dev/pipes/{name}")],
        };
        let network = match run.network {
            Network::Default => self.request.network.clone(),
            Network::None => "none".to_owned(),
            Network::Host => "host".to_owned(),
        };
        let mut arguments: Vec<String> =
            state.scope.cached_arguments().iter().map(|(name, value)| format!("{name}={value}")).collect();
        arguments.sort();
        let mut mounts = self.plan_mounts(state, run, place).await?;
        let key = Key::of(&[
            "run",
            state.key.text(),
            &json(&words),
            &json(&state.config.env),
            &json(&arguments),
            &state.config.user,
            &state.config.working_dir,
            &network,
            &mounts.key,
            &self.era(),
        ]);
        let shown = words.join(" ");
        let by = match arguments.len() {
            0 => shown.clone(),
            count => format!("|{count} {} {shown}", arguments.join(" ")),
        };
        let made = if can_be_lent(run, &arguments) {
            self.borrow_step(state, std::slice::from_ref(&key), &by, place)?
        } else {
            self.find_step(std::slice::from_ref(&key), &by, place)?
        };
        if let Some(made) = made {
            return Ok(made);
        }
        self.busy.send_replace(true);
        self.fill_mounts(&mut mounts).await?;
        let ended = self.run_words(state, words, network, &mounts, place).await?;
        if ended.exit.code != 0 {
            let code = i64::from(ended.exit.code);
            return Err(Failure {
                kind: minke_base::Kind::System,
                message: format!("The command '{shown}' returned a non-zero code: {code}"),
                code: Some(code),
            });
        }
        let layer = self.take_written(state, ended, mounts).await?;
        Ok(Made { keys: vec![key], by, layer: Some(layer), record: None })
    }

    async fn run_words(
        &self,
        state: &State,
        words: Vec<String>,
        network: String,
        mounts: &Mounts,
        place: &Place<'_>,
    ) -> Result<EndedStep, Failure> {
        let mut env = state.config.env.clone();
        env.extend(state.scope.arguments().iter().map(|(name, value)| format!("{name}={value}")));
        env.extend(mounts.environment.iter().cloned());
        let limits = &self.request.limits;
        let config = ContainerConfig {
            cmd: Some(StrSlice(words)),
            env: Some(env),
            user: state.config.user.clone(),
            working_dir: state.config.working_dir.clone(),
            ..ContainerConfig::default()
        };
        let some = |list: &[String]| Some(list.to_vec()).filter(|list| !list.is_empty());
        let host = HostConfig {
            network_mode: network,
            memory: limits.memory,
            memory_swap: limits.memory_swap,
            shm_size: limits.shm_size,
            cpu_shares: limits.cpu_shares,
            cpu_period: limits.cpu_period,
            cpu_quota: limits.cpu_quota,
            cpuset_cpus: limits.cpuset_cpus.clone(),
            cpuset_mems: limits.cpuset_mems.clone(),
            cgroup_parent: limits.cgroup_parent.clone(),
            ulimits: Some(limits.ulimits.clone()).filter(|list| !list.is_empty()),
            security_opt: some(&limits.security),
            extra_hosts: some(&self.request.extra_hosts),
            ..HostConfig::default()
        };
        let step = Step {
            config,
            host,
            mounts: mounts.wishes.clone(),
            sources: mounts.sources.clone(),
            stack: state.stack(),
        };
        let vertex = place.vertex;
        let tell = |event: StepEvent| match event {
            StepEvent::Running(container) => self.tell(BuildEvent::Running { vertex, container }),
            StepEvent::Output(error, bytes) => {
                let output = if error { Output::Stderr } else { Output::Stdout };
                self.tell(BuildEvent::Log { vertex, output, bytes });
            }
        };
        Ok(self.builds.containers.run_step(step, &tell).await?)
    }

    /// What the program wrote becomes a layer, without what was only there to be mounted on.
    async fn take_written(&self, state: &State, ended: EndedStep, mounts: Mounts) -> Result<Layer> {
        let store = Arc::clone(&self.builds.store);
        let (stack, epoch) = (state.stack(), self.epoch);
        let snapshot = blocking(move || {
            let upper = ended.upper();
            let stubs = mounts.stubs();
            if !stubs.is_empty() {
                let below = minke_store::stack::Stack::new(stack);
                let made = |path: &[u8]| {
                    let path = std::path::Path::new("/").join(as_path(path));
                    matches!(below.lstat(&path), Ok(None))
                };
                minke_store::transplant::remove_stubs(&upper, &stubs, &made)
                    .map_err(|source| Error::failed("clear the places of mounts", source))?;
            }
            if let Some(epoch) = epoch {
                minke_store::transplant::clamp_times(&upper, epoch)
                    .map_err(|source| Error::failed("set the times of files", source))?;
            }
            store.take_snapshot(&upper).map_err(|source| Error::failed("keep what a step wrote", source))
        })
        .await?;
        Ok(self.seal(snapshot))
    }
}

fn as_path(bytes: &[u8]) -> &std::path::Path {
    std::path::Path::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(bytes))
}

pub(super) fn json(list: &[String]) -> String {
    serde_json::to_string(list).unwrap_or_default()
}
