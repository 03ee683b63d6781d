//! Asking about containers: list, inspect, top, changes, wait; and the terminal's size.

use bytes::Bytes;
use futures_util::stream;
use minke_api::compat;
use minke_engine::containers::{ListOptions, WaitCondition};

use super::filters;
use crate::http::Call;
use crate::http::answer::{self, Failure, Outcome};
use crate::serve::Shared;

pub(super) async fn list(shared: &Shared, call: &Call) -> Outcome {
    let options = ListOptions {
        all: call.query.flag("all"),
        limit: call.query.number("limit")?.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(0),
        size: call.query.flag("size"),
        filters: filters(call)?,
    };
    let list = shared.engine.containers.list(options).await?;
    let list: Vec<_> =
        list.into_iter().map(|entry| compat::containers::summary(call.version, entry)).collect();
    answer::json(&list)
}

pub(super) async fn inspect(shared: &Shared, call: &Call, name: &str) -> Outcome {
    let container = shared.engine.containers.inspect(name, call.query.flag("size")).await?;
    answer::json(&compat::containers::inspect(call.version, &container))
}

pub(super) async fn top(shared: &Shared, call: &Call, name: &str) -> Outcome {
    let ps_args = call.query.text("ps_args").unwrap_or("-ef");
    answer::json(&shared.engine.containers.top(name, ps_args).await?)
}

pub(super) async fn changes(shared: &Shared, name: &str) -> Outcome {
    let changes = shared.engine.containers.changes(name).await?;
    // Docker's answer to "nothing changed" is null.
    answer::json(&Some(changes).filter(|changes| !changes.is_empty()))
}

pub(super) async fn wait(shared: &Shared, call: &Call, name: &str) -> Outcome {
    let plan = compat::containers::wait_plan(call.version, call.query.get("condition"));
    let waiter = shared.engine.containers.wait(name, WaitCondition::parse(plan.condition)?)?;
    if !plan.early_head {
        return answer::json(&waiter.outcome().await);
    }
    let body = stream::once(async move {
        let mut bytes = serde_json::to_vec(&waiter.outcome().await)?;
        bytes.push(b'\n');
        Ok(Bytes::from(bytes))
    });
    answer::stream("application/json", Box::pin(body))
}

/// A terminal's size from the parameters `h` and `w`.
pub(super) fn window(call: &Call) -> Result<(u16, u16), Failure> {
    let side = |name: &str, what: &str| {
        let text = call.query.get(name);
        text.parse::<u16>().map_err(|error| {
            let why = match error.kind() {
                std::num::IntErrorKind::PosOverflow => "value out of range",
                _ => "invalid syntax",
            };
            Failure::invalid(format!("invalid resize {what} {text:?}: {why}"))
        })
    };
    Ok((side("h", "height")?, side("w", "width")?))
}

pub(super) async fn resize(shared: &Shared, call: &Call, name: &str) -> Outcome {
    let (height, width) = window(call)?;
    shared.engine.containers.resize(name, height, width).await?;
    answer::done(hyper::StatusCode::OK)
}
