//! `GET /containers/{id}/stats`.

use bytes::Bytes;
use futures_util::stream;
use minke_api::compat;
use minke_engine::containers::Sampling;

use crate::http::Call;
use crate::http::answer::{self, Failure, Outcome};
use crate::serve::Shared;

pub(super) async fn stats(shared: &Shared, call: &Call, name: &str) -> Outcome {
    let streams = call.query.flag_or("stream", true);
    let one_shot = !call.version.before(41) && call.query.flag("one-shot");
    let sampling = match (streams, one_shot) {
        (true, true) => {
            return Err(Failure::invalid("cannot have stream=true and one-shot=true"));
        }
        (true, false) => Sampling::Stream,
        (false, false) => Sampling::Once,
        (false, true) => Sampling::OneShot,
    };
    let version = call.version;
    let mut samples = shared.engine.containers.stats(name, sampling)?;
    if sampling != Sampling::Stream {
        return match samples.next().await {
            Some(sample) => answer::json(&compat::containers::stats(version, sample?)),
            None => Err(Failure::new(minke_base::Kind::NotFound, minke_api::texts::no_such_container(name))),
        };
    }
    let body = stream::unfold(samples, move |mut samples| async move {
        // The head is out: what fails now can only end the stream.
        let sample = samples.next().await?.ok()?;
        let mut line = serde_json::to_vec(&compat::containers::stats(version, sample)).ok()?;
        line.push(b'\n');
        Some((Ok(Bytes::from(line)), samples))
    });
    answer::stream("application/json", Box::pin(body))
}
