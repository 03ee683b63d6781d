//! Endpoints of later issues: each says in a sentence that it is not there, none pretends.

use hyper::{Method, StatusCode};
use minke_base::Kind;
use serde_json::json;

use crate::http::answer::{self, Failure, Outcome};

fn not_built(what: &str) -> Outcome {
    Err(Failure::not_built(what))
}

pub(super) fn attestations() -> Outcome {
    not_built("listing attestations of images is")
}

/// Groups of endpoints that are missing as a whole; `None` when Docker has no such page either.
pub(super) fn dispatch(method: &Method, path: &[&str]) -> Option<Outcome> {
    Some(match (method.as_str(), path) {
        ("POST", ["session"] | ["grpc"]) => {
            not_built("BuildKit's sessions (docker build without DOCKER_BUILDKIT=0) are")
        }
        ("GET", ["plugins"]) => answer::json(&json!([])),
        // `docker inspect NAME` asks for a plugin of that name last.
        ("GET", ["plugins", name, "json"]) => {
            Err(Failure::new(Kind::NotFound, format!("plugin {name:?} not found")))
        }
        (_, ["plugins", _, ..]) => not_built("running plugins is"),
        ("POST", ["swarm", "init" | "join"]) => not_built("swarm mode is"),
        ("POST", ["swarm", "leave"]) => {
            Err(Failure::new(Kind::Unavailable, "This node is not part of a swarm"))
        }
        (_, ["swarm" | "nodes" | "services" | "tasks" | "secrets" | "configs", ..]) => Err(Failure::new(
            Kind::Unavailable,
            "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node \
             to swarm and try again.",
        )),
        ("OPTIONS", _) => answer::done(StatusCode::OK),
        _ => return None,
    })
}
