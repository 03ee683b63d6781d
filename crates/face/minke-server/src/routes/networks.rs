//! Networks: list, inspect, create, remove, connect, disconnect, prune.

use std::sync::Arc;

use minke_api::compat;
use minke_api::network::{NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest};

use super::filters;
use crate::http::Call;
use crate::http::answer::{self, Outcome};
use crate::serve::Shared;

pub(super) fn list(shared: &Shared, call: &Call) -> Outcome {
    let list = shared.engine.networks.list(&filters(call)?)?;
    let list: Vec<_> = list.iter().map(|network| compat::networks::summary(call.version, network)).collect();
    answer::json(&list)
}

pub(super) fn inspect(shared: &Shared, call: &Call, name: &str) -> Outcome {
    let network = shared.engine.networks.inspect(name, call.query.text("scope"))?;
    answer::json(&compat::networks::inspect(call.version, network))
}

pub(super) async fn create(shared: &Shared, mut call: Call) -> Outcome {
    let mut request: NetworkCreateRequest = call.document().await?;
    compat::networks::create(call.version, &mut request);
    let networks = Arc::clone(&shared.engine.networks);
    answer::created(&shared.work.apart("change the networks", move || networks.create(request)).await?)
}

pub(super) async fn remove(shared: &Shared, name: &str) -> Outcome {
    let (networks, name) = (Arc::clone(&shared.engine.networks), name.to_owned());
    shared.work.apart("change the networks", move || networks.remove(&name)).await?;
    answer::no_content()
}

pub(super) async fn prune(shared: &Shared, call: &Call) -> Outcome {
    let (networks, filters) = (Arc::clone(&shared.engine.networks), filters(call)?);
    answer::json(&shared.work.apart("change the networks", move || networks.prune(&filters)).await?)
}

pub(super) async fn connect(shared: &Shared, mut call: Call, name: &str) -> Outcome {
    let mut request: NetworkConnectRequest = call.document().await?;
    if let Some(endpoint) = &mut request.endpoint_config {
        compat::networks::connect(call.version, endpoint);
    }
    let (containers, name) = (Arc::clone(&shared.engine.containers), name.to_owned());
    shared
        .work
        .to_the_end(
            async move { containers.connect(&name, &request.container, request.endpoint_config).await },
        )
        .await?;
    answer::done(hyper::StatusCode::OK)
}

pub(super) async fn disconnect(shared: &Shared, mut call: Call, name: &str) -> Outcome {
    let request: NetworkDisconnectRequest = call.document().await?;
    let (containers, name) = (Arc::clone(&shared.engine.containers), name.to_owned());
    shared
        .work
        .to_the_end(async move { containers.disconnect(&name, &request.container, request.force).await })
        .await?;
    answer::done(hyper::StatusCode::OK)
}
