//! Update: other limits and another restart policy for a container that may be running.

use std::sync::Arc;

use minke_api::container::{ContainerUpdateRequest, ContainerUpdateResponse, HostConfig};
use minke_keeper::protocol::Body;

use super::record::Phase;
use super::{Containers, validate};
use crate::error::{Error, Result};
use crate::spec::resources;

impl Containers {
    /// Changes what the request sets and leaves the rest.
    pub async fn update(
        self: &Arc<Self>,
        reference: &str,
        request: ContainerUpdateRequest,
    ) -> Result<ContainerUpdateResponse> {
        let mut checked = HostConfig::default();
        merge(&mut checked, &request);
        validate::check_update(&mut checked, &self.parts.facts)?;
        let container = self.find(reference)?;
        let _held = container.transition.lock().await;
        let context = |error: Error| {
            Error::new(error.kind(), format!("Cannot update container {}: {error}", container.id))
                .caused_by(error)
        };
        if matches!(container.phase(), Phase::Removing | Phase::Dead) {
            return Err(context(Error::conflict("container is marked for removal and cannot be \"update\"")));
        }
        let mut record = (*container.record()).clone();
        check_conflicts(&record.host, &request).map_err(context)?;
        merge(&mut record.host, &request);
        let warnings = validate::check_update(&mut record.host, &self.parts.facts)?;
        if record.host.auto_remove && !matches!(record.host.restart_policy.name.as_str(), "" | "no") {
            return Err(context(Error::invalid(
                "Restart policy cannot be updated because AutoRemove is enabled for the container",
            )));
        }
        if container.phase().is_live() {
            let mut own = HostConfig::default();
            merge(&mut own, &request);
            let resources = Box::new(resources::plan_resources(&own)?);
            self.order(&container, Body::Update { resources }, "Cannot update container").await?;
        }
        let name = record.name.clone();
        self.parts.ledger.save_record(container.id.as_str(), &name, &record)?;
        container.set_record(record);
        self.publish(&container, "update", &[]);
        Ok(ContainerUpdateResponse { warnings: Some(warnings).filter(|list| !list.is_empty()) })
    }
}

fn merge(host: &mut HostConfig, request: &ContainerUpdateRequest) {
    fn set<T: Clone + Default + PartialEq>(own: &mut T, new: &T) {
        if *new != T::default() {
            own.clone_from(new);
        }
    }
    set(&mut host.nano_cpus, &request.nano_cpus);
    set(&mut host.cpu_shares, &request.cpu_shares);
    set(&mut host.cpu_period, &request.cpu_period);
    set(&mut host.cpu_quota, &request.cpu_quota);
    set(&mut host.cpu_realtime_period, &request.cpu_realtime_period);
    set(&mut host.cpu_realtime_runtime, &request.cpu_realtime_runtime);
    set(&mut host.cpuset_cpus, &request.cpuset_cpus);
    set(&mut host.cpuset_mems, &request.cpuset_mems);
    set(&mut host.memory, &request.memory);
    set(&mut host.memory_swap, &request.memory_swap);
    set(&mut host.memory_reservation, &request.memory_reservation);
    set(&mut host.pids_limit, &request.pids_limit);
    set(&mut host.blkio_weight, &request.blkio_weight);
    if !request.restart_policy.name.is_empty() {
        host.restart_policy = request.restart_policy.clone();
    }
}

/// What cannot be set because of what was set before, in Docker's words.
fn check_conflicts(own: &HostConfig, request: &ContainerUpdateRequest) -> Result<()> {
    let conflict = |what: &str, with: &str| {
        Err(Error::conflict(format!(
            "Conflicting options: {what} cannot be updated as {with} has already been set"
        )))
    };
    if request.nano_cpus > 0 && own.cpu_period > 0 {
        return conflict("Nano CPUs", "CPU Period");
    }
    if request.nano_cpus > 0 && own.cpu_quota > 0 {
        return conflict("Nano CPUs", "CPU Quota");
    }
    if request.cpu_period > 0 && own.nano_cpus > 0 {
        return conflict("CPU Period", "NanoCPUs");
    }
    if request.cpu_quota > 0 && own.nano_cpus > 0 {
        return conflict("CPU Quota", "NanoCPUs");
    }
    if request.memory != 0 && request.memory_swap == 0 && request.memory > own.memory_swap {
        return Err(Error::conflict(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
        ));
    }
    Ok(())
}
