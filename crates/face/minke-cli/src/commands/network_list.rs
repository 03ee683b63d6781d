//! `network ls` and `network inspect`: what networks there are.

use super::inspect;
use super::ps::FORMAT;
use crate::command::{Args, Command, Outcome};
use crate::flag::{Complete, Flag, Kind, flag, short};
use crate::format::{Format, Row, Shape, filters, natural, short_id};
use crate::given::Given;
use crate::session::Session;
use minke_template::{Value, go_time};
use serde_json::Value as Json;

const LS_FLAGS: &[Flag] = &[
    short("filter", 'f', Kind::Filter, "Show only what fits (\"driver=bridge\")"),
    flag("format", Kind::Str, FORMAT),
    flag("no-trunc", Kind::Bool, "Do not shorten"),
    short("quiet", 'q', Kind::Bool, "Print IDs only"),
];

pub(crate) const LS: Command = Command {
    paths: &["network ls", "network list"],
    usage: "[OPTIONS]",
    about: "List networks",
    details: "",
    args: Args::None,
    flags: &[LS_FLAGS],
    interspersed: true,
    complete: Complete::Nothing,
    run: list,
};

const SHAPE: Shape = Shape {
    type_name: "*network.networkContext",
    columns: &[
        ("ID", "NETWORK ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("CreatedAt", "CREATED AT"),
    ],
    get: field,
};

const TABLE: &str = "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}";

const RAW: &str = "network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n";

fn list(session: &Session, given: &Given) -> Outcome {
    let quiet = given.on("quiet");
    let text = match given.str("format") {
        "" | "table" if quiet => "{{.ID}}",
        "raw" if quiet => "network_id: {{.ID}}",
        "raw" => RAW,
        "" => session.config().text("networksFormat").unwrap_or("table"),
        other => other,
    };
    let mut call = session.client()?.get("/networks");
    if let Some(filters) = filters(&given.list("filter")) {
        call = call.query("filters", filters);
    }
    let Json::Array(mut networks) = call.send()?.json()? else { return Ok(0) };
    let name = |network: &Json| network.get("Name").and_then(Json::as_str).unwrap_or_default().to_owned();
    networks.sort_by(|a, b| natural(&name(a), &name(b)));
    let truncate = !given.on("no-trunc");
    let rows: Vec<Row> = networks.into_iter().map(|json| Row::new(&SHAPE, json, truncate)).collect();
    let format = Format::parse_with(text, TABLE, true)?;
    format.print(session, &SHAPE, &rows)?;
    Ok(0)
}

fn field(row: &Row, name: &str) -> Option<Value> {
    let on = |key: &str| row.json.get(key).and_then(Json::as_bool).unwrap_or_default().to_string();
    Some(Value::str(match name {
        "ID" if row.truncate => short_id(row.str("Id")).to_owned(),
        "ID" => row.str("Id").to_owned(),
        "Name" | "Driver" | "Scope" => row.str(name).to_owned(),
        "IPv4" => on("EnableIPv4"),
        "IPv6" => on("EnableIPv6"),
        "Internal" => on("Internal"),
        "Labels" => row.joined_labels(),
        "CreatedAt" => match row.str("Created") {
            "" => go_time("0001-01-01T00:00:00Z"),
            at => go_time(at),
        },
        _ => return None,
    }))
}

const INSPECT_FLAGS: &[Flag] = &[
    short("format", 'f', Kind::Str, inspect::FORMAT),
    short("verbose", 'v', Kind::Bool, "Tell more, for diagnosis"),
];

pub(crate) const INSPECT: Command = Command {
    paths: &["network inspect"],
    usage: "[OPTIONS] NETWORK [NETWORK...]",
    about: "Show all that is known of networks",
    details: "",
    args: Args::AtLeast(1),
    flags: &[INSPECT_FLAGS],
    interspersed: true,
    complete: Complete::Networks,
    run: |session, given| inspect::only(session, given, &inspect::NETWORK),
};

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_show_what_dockers_do() {
        let row = Row::new(
            &SHAPE,
            json!({"Id": "6df4eaa875e60447e50e", "Name": "n", "Driver": "bridge", "Scope": "local", "EnableIPv4": true,
                "Internal": false, "Labels": {"b": "2", "a": "1"}, "Created": "2026-11-21T18:34:24.234811865Z"}),
            true,
        );
        let shown: Vec<String> = SHAPE
            .columns
            .iter()
            .map(|(name, _)| match field(&row, name) {
                Some(Value::Str(text)) => text.to_string(),
                other => format!("{other:?}"),
            })
            .collect();
        assert_eq!(
            shown,
            [
                "6df4eaa875e6",
                "n",
                "bridge",
                "local",
                "true",
                "false",
                "false",
                "a=1,b=2",
                "2026-11-21 18:34:24.234811865 +0000 UTC"
            ]
        );
    }
}
