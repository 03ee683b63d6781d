//! Which events pass a client's filters.

use super::Event;
use crate::filters::Filters;

/// Whether `event` passes `filters`, by Docker's rules: an exec action matches by its name before the colon, and a
/// container may be given by the beginning of its id or name, an image by id or name.
pub(super) fn passes(event: &Event, filters: &Filters) -> bool {
    if filters.is_empty() {
        return true;
    }
    filters.any("event", |wanted| action_matches(event, wanted))
        && filters.exact("type", event.kind)
        && filters.any("scope", |scope| scope == "local")
        && filters.labels("label", |key| event.attributes.get(key).map(String::as_str))
        && thing_matches(event, filters, "container")
        && image_matches(event, filters)
        && thing_matches(event, filters, "network")
        && thing_matches(event, filters, "volume")
        && thing_matches(event, filters, "plugin")
        && thing_matches(event, filters, "daemon")
}

fn action_matches(event: &Event, wanted: &str) -> bool {
    event.action == wanted || event.action.split_once(':').is_some_and(|(before, _)| before == wanted)
}

fn thing_matches(event: &Event, filters: &Filters, kind: &str) -> bool {
    if !filters.has(kind) {
        return true;
    }
    event.kind == kind
        && filters.any(kind, |wanted| {
            event.id.starts_with(wanted)
                || event
                    .attributes
                    .get("name")
                    .is_some_and(|name| name.starts_with(wanted.trim_start_matches('/')))
        })
}

fn image_matches(event: &Event, filters: &Filters) -> bool {
    if !filters.has("image") {
        return true;
    }
    let name = match event.kind {
        "image" => event.attributes.get("name"),
        _ => event.attributes.get("image"),
    };
    filters.any("image", |wanted| {
        (event.kind == "image" && event.id == wanted)
            || name.is_some_and(|name| name == wanted || untagged(name) == wanted)
    })
}

fn untagged(reference: &str) -> &str {
    let after_slash = reference.rfind('/').map_or(0, |at| at + 1);
    match reference[after_slash..].find([':', '@']) {
        Some(at) => &reference[..after_slash + at],
        None => reference,
    }
}
