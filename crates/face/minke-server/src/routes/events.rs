//! `GET /events`: what happens, as it happens.

use bytes::Bytes;
use futures_util::stream;
use minke_api::compat;
use minke_api::compat::streams::EventsFormat;
use minke_api::system::{Actor, EventMessage};
use minke_engine::clock::Moment;
use minke_engine::events::Event;

use super::{filters, moment};
use crate::http::answer::{self, Outcome};
use crate::http::{Call, Failure};
use crate::serve::Shared;

pub(super) fn follow(shared: &Shared, call: &Call) -> Outcome {
    // Elsewhere zero stands for no moment at all; events since zero are all that are kept.
    let from_the_start = call.query.text("since") == Some("0");
    let since = if from_the_start { Some(Moment::NEVER) } else { moment(call, "since")? };
    let until = moment(call, "until")?;
    if let (Some(since), Some(until)) = (since, until)
        && since > until
    {
        return Err(Failure::invalid(format!(
            "`since` time ({}) cannot be after `until` time ({})",
            call.query.get("since"),
            call.query.get("until")
        )));
    }
    let format = compat::streams::events_format(call.version, call.header("accept"));
    let version = call.version;
    let events = shared.engine.events.subscribe(since, until, filters(call)?);
    let pieces = stream::unfold(events, move |mut events| async move {
        let event = events.next().await?;
        let mut line = Vec::with_capacity(512);
        if format == EventsFormat::Sequence {
            line.push(0x1e);
        }
        let document = compat::system::event(version, &message(&event));
        let piece = match serde_json::to_writer(&mut line, &document) {
            Ok(()) => {
                line.push(b'\n');
                Ok(Bytes::from(line))
            }
            Err(error) => Err(error.into()),
        };
        Some((piece, events))
    });
    answer::stream(format.content_type(), Box::pin(pieces))
}

fn message(event: &Event) -> EventMessage {
    EventMessage {
        kind: event.kind.to_owned(),
        action: event.action.clone(),
        actor: Actor { id: event.id.clone(), attributes: event.attributes.clone() },
        scope: "local".to_owned(),
        time: event.at.seconds(),
        time_nano: event.at.0,
    }
}
