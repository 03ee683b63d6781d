//! `volume ls` and `volume inspect`: what volumes there are.

use super::inspect;
use super::ps::FORMAT;
use crate::command::{Args, Command, Outcome};
use crate::flag::{Complete, Flag, Kind, flag, short};
use crate::format::{Format, Row, Shape, filters, natural};
use crate::given::Given;
use crate::session::Session;
use minke_template::Value;
use serde_json::Value as Json;

const LS_FLAGS: &[Flag] = &[
    short("filter", 'f', Kind::Filter, "Show only what fits (\"dangling=true\")"),
    flag("format", Kind::Str, FORMAT),
    short("quiet", 'q', Kind::Bool, "Print names only"),
];

pub(crate) const LS: Command = Command {
    paths: &["volume ls", "volume list"],
    usage: "[OPTIONS]",
    about: "List volumes",
    details: "",
    args: Args::None,
    flags: &[LS_FLAGS],
    interspersed: true,
    complete: Complete::Nothing,
    run: list,
};

const SHAPE: Shape = Shape {
    type_name: "*formatter.volumeContext",
    columns: &[
        ("Driver", "DRIVER"),
        ("Name", "VOLUME NAME"),
        ("Scope", "SCOPE"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Labels", "LABELS"),
        ("Links", "LINKS"),
        ("Size", "SIZE"),
        ("Group", "GROUP"),
        ("Availability", "AVAILABILITY"),
        ("Status", "STATUS"),
    ],
    get: field,
};

const TABLE: &str = "{{.Driver}}\t{{.Name}}";

const RAW: &str = "name: {{.Name}}\ndriver: {{.Driver}}\n";

fn list(session: &Session, given: &Given) -> Outcome {
    let quiet = given.on("quiet");
    let text = match given.str("format") {
        "" | "table" if quiet => "{{.Name}}",
        "raw" if quiet => "name: {{.Name}}",
        "raw" => RAW,
        "" => session.config().text("volumesFormat").unwrap_or("table"),
        other => other,
    };
    let mut call = session.client()?.get("/volumes");
    if let Some(filters) = filters(&given.list("filter")) {
        call = call.query("filters", filters);
    }
    let mut answer = call.send()?.json()?;
    let Some(Json::Array(mut volumes)) = answer.get_mut("Volumes").map(Json::take) else {
        volumes_table(session, text, Vec::new())?;
        return Ok(0);
    };
    let name = |volume: &Json| volume.get("Name").and_then(Json::as_str).unwrap_or_default().to_owned();
    volumes.sort_by(|a, b| natural(&name(a), &name(b)));
    volumes_table(session, text, volumes)?;
    Ok(0)
}

fn volumes_table(session: &Session, text: &str, volumes: Vec<Json>) -> Result<(), crate::failure::Failure> {
    let rows: Vec<Row> = volumes.into_iter().map(|json| Row::new(&SHAPE, json, true)).collect();
    Format::parse_with(text, TABLE, true)?.print(session, &SHAPE, &rows)?;
    Ok(())
}

fn field(row: &Row, name: &str) -> Option<Value> {
    Some(Value::str(match name {
        "Driver" | "Name" | "Scope" | "Mountpoint" => row.str(name).to_owned(),
        "Labels" => row.joined_labels(),
        // Known to `system df` only, and to swarms.
        "Links" | "Size" | "Group" | "Availability" | "Status" => "N/A".to_owned(),
        _ => return None,
    }))
}

const INSPECT_FLAGS: &[Flag] = &[short("format", 'f', Kind::Str, inspect::FORMAT)];

pub(crate) const INSPECT: Command = Command {
    paths: &["volume inspect"],
    usage: "[OPTIONS] VOLUME [VOLUME...]",
    about: "Show all that is known of volumes",
    details: "",
    args: Args::AtLeast(1),
    flags: &[INSPECT_FLAGS],
    interspersed: true,
    complete: Complete::Volumes,
    run: |session, given| inspect::only(session, given, &inspect::VOLUME),
};

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_show_what_dockers_do() {
        let row = Row::new(
            &SHAPE,
            json!({"Name": "data", "Driver": "local", "Scope": "local", "Mountpoint": "/v/data/_data",
                "Labels": {"b": "2", "a": "1"}, "Options": null, "CreatedAt": "2026-11-21T18:34:24Z"}),
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
            ["local", "data", "local", "/v/data/_data", "a=1,b=2", "N/A", "N/A", "N/A", "N/A", "N/A"]
        );
    }
}
