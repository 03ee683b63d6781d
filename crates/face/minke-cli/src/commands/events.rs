//! `events`: what happens in the engine, as it happens.

use super::inspect::FORMAT;
use super::schema;
use crate::command::{Args, Command, Outcome};
use crate::failure::Failure;
use crate::flag::{Complete, Flag, Kind, flag, short};
use crate::format::filters;
use crate::given::Given;
use crate::session::Session;
use minke_template::{Mode, Template};
use serde_json::Value;
use std::io::{BufRead, BufReader};

const FLAGS: &[Flag] = &[
    short("filter", 'f', Kind::Filter, "Show only what fits"),
    flag("format", Kind::Str, FORMAT),
    flag("since", Kind::Str, "Show events from this time on"),
    flag("until", Kind::Str, "Show events up to this time"),
];

pub(crate) const EVENTS: Command = Command {
    paths: &["system events", "events"],
    usage: "[OPTIONS]",
    about: "Show what happens in the engine",
    details: "",
    args: Args::None,
    flags: &[FLAGS],
    interspersed: true,
    complete: Complete::Nothing,
    run,
};

fn run(session: &Session, given: &Given) -> Outcome {
    let template = match given.str("format") {
        "" => None,
        "json" => Some("{{json .}}".to_owned()),
        text => Some(crate::format::unescape(text)),
    };
    let template = template
        .map(|t| Template::parse(&t))
        .transpose()
        .map_err(|e| Failure::new(64, format!("Error parsing format: {e}")))?;
    let mut call = session.client()?.get("/events");
    for name in ["since", "until"] {
        if let Some(text) = given.get(name).filter(|t| !t.is_empty()) {
            call = call.query(name, super::logs::moment(name, text)?);
        }
    }
    if let Some(filters) = filters(&given.list("filter")) {
        call = call.query("filters", filters);
    }
    let mut reader = BufReader::new(call.send()?);
    let schema = template.as_ref().map(|_| schema::event());
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(0);
        }
        for event in serde_json::Deserializer::from_slice(&line).into_iter::<Value>() {
            let event = event.map_err(|e| format!("the engine's event is not JSON: {e}"))?;
            match (&template, &schema) {
                (Some(template), Some(schema)) => {
                    let mut out = String::new();
                    let value = schema.read("Event", &with_old_names(event));
                    template
                        .execute(&value, Mode::Lenient, &mut out)
                        .map_err(|e| Failure::new(1, e.to_string()))?;
                    session.out.line(&out);
                }
                _ => session.out.line(&text(&event)),
            }
            // More may follow at once; what is here is shown now.
            session.out.flush()?;
        }
    }
}

/// Templates may still use the names that API 1.52 dropped: `.ID`, `.Status`, `.From`.
fn with_old_names(mut event: Value) -> Value {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let found =
        [("id", text("/Actor/ID")), ("status", text("/Action")), ("from", text("/Actor/Attributes/image"))];
    let kind = text("/Type").unwrap_or_default();
    if let Some(event) = event.as_object_mut().filter(|e| !e.contains_key("id")) {
        for (name, value) in found {
            let had =
                if name == "from" { kind == "container" } else { kind == "container" || kind == "image" };
            if let Some(value) = value.filter(|_| had) {
                event.insert(name.to_owned(), value.into());
            }
        }
    }
    event
}

/// `2026-11-21T16:15:22.440254504Z container destroy ID (image=busybox, name=web)`, in local time.
fn text(event: &Value) -> String {
    let word = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default();
    let number = |key: &str| event.get(key).and_then(Value::as_i64).unwrap_or(0);
    let mut out = String::new();
    let at = match number("timeNano") {
        0 => chrono::DateTime::from_timestamp(number("time"), 0),
        nanos => Some(chrono::DateTime::from_timestamp_nanos(nanos)),
    };
    if let Some(at) = at {
        let local = at.with_timezone(&chrono::Local);
        out.push_str(&local.to_rfc3339_opts(chrono::SecondsFormat::Nanos, true));
        out.push(' ');
    }
    let id = event.pointer("/Actor/ID").and_then(Value::as_str).unwrap_or_default();
    out.push_str(&format!("{} {} {id}", word("Type"), word("Action")));
    let attributes = event.pointer("/Actor/Attributes").and_then(Value::as_object);
    if let Some(attributes) = attributes.filter(|a| !a.is_empty()) {
        let mut pairs: Vec<String> =
            attributes.iter().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect();
        pairs.sort();
        out.push_str(&format!(" ({})", pairs.join(", ")));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_read_like_dockers() {
        let event = json!({"Type": "container", "Action": "die", "timeNano": 1_000_000_001_i64,
            "Actor": {"ID": "ab", "Attributes": {"name": "x", "exitCode": "0"}}});
        let line = text(&event);
        assert!(line.ends_with(" container die ab (exitCode=0, name=x)"), "{line}");
    }
}
