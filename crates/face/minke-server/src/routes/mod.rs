//! Which endpoint answers which path. One file per group of endpoints; each only decodes, calls a service, encodes.

mod archive;
mod attach;
mod build;
mod containers;
mod events;
mod exec;
mod images;
mod lifecycle;
mod logs;
mod networks;
mod registries;
mod run;
mod stats;
mod system;
mod transfer;
mod unbuilt;
mod volumes;

pub(crate) use build::wire;
use hyper::Method;
use minke_engine::{Filters, Moment, parse_moment};

use crate::http::{Call, Failure, Outcome};
use crate::serve::Shared;

/// No such page: the router's own 404, which unlike others carries none of the engine's headers.
#[derive(Debug)]
pub(crate) struct NoPage;

/// Finds the endpoint and runs it. `path` is what follows the version.
///
/// Names of images hold slashes, so they match any number of segments; a pattern of fixed words stands before the pattern
/// that would swallow it.
pub(crate) async fn dispatch(shared: &Shared, call: Call, path: &[&str]) -> Result<Outcome, NoPage> {
    let method = call.method.clone();
    Ok(match (method.as_str(), path) {
        ("GET" | "HEAD", ["_ping"]) => system::ping(shared),
        ("GET", ["version"]) => system::version(shared),
        ("GET", ["info"]) => system::info(shared, &call),
        ("GET", ["events"]) => events::follow(shared, &call),
        ("GET", ["system", "df"]) => system::disk_usage(shared, &call).await,
        ("POST", ["auth"]) => registries::login(shared, call).await,
        ("GET", ["distribution", name @ .., "json"]) if !name.is_empty() => {
            registries::inspect(shared, &call, &name.join("/")).await
        }
        ("GET", ["minke", "manifests"]) => registries::manifest(shared, &call).await,
        ("PUT", ["minke", "manifests"]) => registries::put_manifest(shared, call).await,
        ("POST", ["minke", "manifests"]) => registries::copy_manifest(shared, &call).await,
        ("POST", ["build"]) => build::build(shared, call).await,
        ("POST", ["build", "prune"]) => build::prune(shared, &call).await,
        ("POST", ["build", "cancel"]) => build::cancel(shared, &call),
        ("POST", ["minke", "build"]) => build::build_own(shared, call).await,
        ("POST", ["minke", "run"]) => run::run(shared, call).await,
        ("POST", ["minke", "containers", name, "exec"]) => exec::whole(shared, call, name).await,
        (_, ["containers", ..]) => return containers_pages(shared, call, &method, path).await,
        ("POST", ["exec", id, "start"]) => exec::start(shared, call, id).await,
        ("POST", ["exec", id, "resize"]) => exec::resize(shared, &call, id).await,
        ("GET", ["exec", id, "json"]) => exec::inspect(shared, id).await,
        ("POST", ["commit"]) => images::commit(shared, call).await,
        (_, ["images", ..]) => return images_pages(shared, call, &method, path).await,
        ("GET", ["networks"]) => networks::list(shared, &call),
        ("POST", ["networks", "prune"]) => networks::prune(shared, &call).await,
        ("POST", ["networks", "create"]) => networks::create(shared, call).await,
        ("POST", ["networks", name, "connect"]) => networks::connect(shared, call, name).await,
        ("POST", ["networks", name, "disconnect"]) => networks::disconnect(shared, call, name).await,
        ("DELETE", ["networks", name]) if !name.is_empty() => networks::remove(shared, name).await,
        ("GET", ["networks", name]) if !name.is_empty() => networks::inspect(shared, &call, name),
        ("GET", ["volumes"]) => volumes::list(shared, &call),
        ("POST", ["volumes", "prune"]) => volumes::prune(shared, &call).await,
        ("POST", ["volumes", "create"]) => volumes::create(shared, call).await,
        ("GET", ["volumes", name]) if !name.is_empty() => volumes::inspect(shared, name),
        ("PUT", ["volumes", name]) if !name.is_empty() => volumes::update(),
        ("DELETE", ["volumes", name]) if !name.is_empty() => volumes::remove(shared, &call, name).await,
        _ => return unbuilt::dispatch(&method, path).ok_or(NoPage),
    })
}

async fn containers_pages(
    shared: &Shared,
    call: Call,
    method: &Method,
    path: &[&str],
) -> Result<Outcome, NoPage> {
    let mut rest = path[1..].to_vec();
    let link_name;
    // A link has a name of two parts, by which its target is found.
    if method != Method::DELETE && rest.len() == 3 && rest[1..] != ["attach", "ws"] {
        link_name = format!("{}/{}", rest[0], rest[1]);
        rest.splice(..2, [link_name.as_str()]);
    }
    Ok(match (method.as_str(), &rest[..]) {
        ("GET", ["json"]) => containers::list(shared, &call).await,
        ("POST", ["create"]) => lifecycle::create(shared, call).await,
        ("POST", ["prune"]) => lifecycle::prune(shared, &call).await,
        ("GET", [name, "json"]) => containers::inspect(shared, &call, name).await,
        ("GET", [name, "top"]) => containers::top(shared, &call, name).await,
        ("GET", [name, "changes"]) => containers::changes(shared, name).await,
        ("GET", [name, "logs"]) => logs::logs(shared, &call, name),
        ("GET", [name, "stats"]) => stats::stats(shared, &call, name).await,
        ("GET", [name, "export"]) => archive::export(shared, name).await,
        ("GET", [name, "attach", "ws"]) => attach::attach_websocket(shared, &call, name),
        ("HEAD", [name, "archive"]) => archive::stat(shared, &call, name).await,
        ("GET", [name, "archive"]) => archive::get(shared, &call, name).await,
        ("PUT", [name, "archive"]) => archive::put(shared, call, name).await,
        ("POST", [name, "attach"]) => attach::attach(shared, &call, name),
        ("POST", [name, "start"]) => lifecycle::start(shared, call, name).await,
        ("POST", [name, "stop"]) => lifecycle::stop(shared, &call, name).await,
        ("POST", [name, "restart"]) => lifecycle::restart(shared, &call, name).await,
        ("POST", [name, "kill"]) => lifecycle::kill(shared, &call, name).await,
        ("POST", [name, "pause"]) => lifecycle::pause(shared, name).await,
        ("POST", [name, "unpause"]) => lifecycle::unpause(shared, name).await,
        ("POST", [name, "rename"]) => lifecycle::rename(shared, &call, name).await,
        ("POST", [name, "update"]) => lifecycle::update(shared, call, name).await,
        ("POST", [name, "resize"]) => containers::resize(shared, &call, name).await,
        ("POST", [name, "wait"]) => containers::wait(shared, &call, name).await,
        ("POST", [name, "exec"]) => exec::create(shared, call, name).await,
        ("DELETE", name) if !name.is_empty() => lifecycle::remove(shared, &call, &name.join("/")).await,
        _ => return Err(NoPage),
    })
}

async fn images_pages(
    shared: &Shared,
    call: Call,
    method: &Method,
    path: &[&str],
) -> Result<Outcome, NoPage> {
    Ok(match (method.as_str(), &path[1..]) {
        ("GET", ["json"]) => images::list(shared, &call).await,
        ("GET", ["search"]) => registries::search(shared, &call).await,
        ("GET", ["get"]) => transfer::save_many(shared, &call).await,
        ("POST", ["load"]) => transfer::load(shared, call).await,
        ("POST", ["create"]) => transfer::create(shared, call).await,
        ("POST", ["prune"]) => images::prune(shared, &call).await,
        ("GET", [name @ .., "json"]) => images::inspect(shared, &call, &name.join("/")).await,
        ("GET", [name @ .., "history"]) if !name.is_empty() => {
            images::history(shared, &call, &name.join("/")).await
        }
        ("GET", [name @ .., "get"]) => transfer::save_one(shared, &call, name.join("/")).await,
        ("GET", [name @ .., "attestations"]) if !name.is_empty() => unbuilt::attestations(),
        ("POST", [name @ .., "tag"]) if !name.is_empty() => images::tag(shared, &call, &name.join("/")).await,
        ("POST", [name @ .., "push"]) if !name.is_empty() => {
            transfer::push(shared, &call, &name.join("/")).await
        }
        ("DELETE", name) if !name.is_empty() => images::remove(shared, &call, &name.join("/")).await,
        _ => return Err(NoPage),
    })
}

/// The `filters` parameter for a service, which knows the names it takes.
fn filters(call: &Call) -> Result<Filters, Failure> {
    Ok(minke_api::filters::Filters::parse(call.query.get("filters"))?.into())
}

/// The same with one more.
fn filters_and(call: &Call, more: Option<(&str, &str)>) -> Result<Filters, Failure> {
    let given = minke_api::filters::Filters::parse(call.query.get("filters"))?;
    Ok(given.names().flat_map(|name| given.get(name).map(move |value| (name, value))).chain(more).collect())
}

/// A `since` or `until` parameter.
fn moment(call: &Call, name: &str) -> Result<Option<Moment>, Failure> {
    parse_moment(call.query.get(name)).map_err(|error| Failure::invalid(error.to_string()))
}
