//! Further processes in running containers.

use std::sync::Arc;

use hyper::StatusCode;
use minke_api::compat;
use minke_api::container::{ExecConfig, ExecStartRequest};
use minke_api::run::HEADER_EXEC;

use super::containers::window;
use super::run;
use crate::http::answer::{self, Outcome};
use crate::http::hijack::{Hijack, Wire, head};
use crate::http::{Call, Failure};
use crate::serve::Shared;

pub(super) async fn create(shared: &Shared, mut call: Call, name: &str) -> Outcome {
    let mut config: ExecConfig = call.document().await?;
    compat::requests::exec(call.version, &mut config);
    answer::created(&shared.engine.containers.exec_create(name, config)?)
}

pub(super) async fn start(shared: &Shared, mut call: Call, id: &str) -> Outcome {
    let mut request: ExecStartRequest = call.document().await?;
    compat::requests::exec_start(call.version, &mut request);
    let containers = Arc::clone(&shared.engine.containers);
    let accepted = containers.accept_exec(id, &request)?;
    if request.detach {
        shared.work.to_the_end(async move { containers.exec_start(accepted, None).await }).await?;
        return answer::done(StatusCode::OK);
    }
    let head = head(&call, accepted.tty, &shared.common_text);
    Ok(Hijack::new(head, Wire::Raw, move |client| async move {
        if let Err(error) = containers.exec_start(accepted, Some(client)).await {
            tracing::debug!("exec: {error}");
        }
    })
    .into())
}

/// `POST /minke/containers/{name}/exec`: create and start in one request. See `minke_api::run` for the contract.
pub(super) async fn whole(shared: &Shared, mut call: Call, name: &str) -> Outcome {
    let config: ExecConfig = call.document().await?;
    if !call.wants_upgrade() {
        return Err(Failure::invalid(run::NEEDS_UPGRADE));
    }
    let containers = Arc::clone(&shared.engine.containers);
    let accepted = containers.begin_exec(name, config)?;
    let head = run::head((HEADER_EXEC, accepted.id()), [].iter(), &shared.common_text);
    Ok(Hijack::new(head, Wire::Raw, move |client| async move {
        if let Err(error) = containers.exec_start(accepted, Some(client)).await {
            tracing::debug!("exec: {error}");
        }
    })
    .into())
}

pub(super) async fn resize(shared: &Shared, call: &Call, id: &str) -> Outcome {
    let (height, width) = window(call)?;
    shared.engine.containers.exec_resize(id, height, width).await?;
    answer::done(StatusCode::OK)
}

pub(super) async fn inspect(shared: &Shared, id: &str) -> Outcome {
    answer::json(&shared.engine.containers.exec_inspect(id).await?)
}
