//! `search`: repositories of a registry that are about something.

use super::ps::FORMAT;
use crate::command::{Args, Command, Outcome};
use crate::credentials;
use crate::flag::{Complete, Flag, Kind, flag, short};
use crate::format::{Format, Row, Shape, ellipsis};
use crate::given::Given;
use crate::session::Session;
use minke_template::Value;
use std::collections::BTreeMap;

const FLAGS: &[Flag] = &[
    short("filter", 'f', Kind::Filter, "Show only what matches (\"is-official=true\", \"stars=3\")"),
    flag("format", Kind::Str, FORMAT),
    flag("limit", Kind::Int, "Number of results at most"),
    flag("no-trunc", Kind::Bool, "Do not shorten"),
];

pub(crate) const SEARCH: Command = Command {
    paths: &["search"],
    usage: "[OPTIONS] TERM",
    about: "Search a registry for images",
    details: "Search Docker Hub for images, or the registry that the term begins with.",
    args: Args::Exactly(1),
    flags: &[FLAGS],
    interspersed: true,
    complete: Complete::Nothing,
    run,
};

const SHAPE: Shape = Shape {
    type_name: "*command.searchContext",
    columns: &[
        ("Name", "NAME"),
        ("Description", "DESCRIPTION"),
        ("StarCount", "STARS"),
        ("IsOfficial", "OFFICIAL"),
        ("IsAutomated", "AUTOMATED"),
    ],
    get: field,
};

const TABLE: &str = "{{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}";
/// Descriptions are for a line of a terminal.
const DESCRIPTION: usize = 45;

fn run(session: &Session, given: &Given) -> Outcome {
    let format = Format::parse_with(given.str("format"), TABLE, false)?;
    let term = &given.args[0];
    let domain = match term.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "",
    };
    let mut call = session.client()?.get("/images/search").query("term", term);
    if let Some(limit) = given.int("limit") {
        call = call.query("limit", limit.to_string());
    }
    let mut filters: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for filter in given.list("filter") {
        if let Some((name, value)) = filter.split_once('=') {
            filters.entry(name).or_default().push(value);
        }
    }
    if !filters.is_empty() {
        call = call.query("filters", serde_json::json!(filters).to_string());
    }
    if let Some(header) = credentials::header(session, domain)? {
        call = call.header("X-Registry-Auth", &header);
    }
    let mut found = call.send()?.json()?;
    let hits = found.as_array_mut().map(std::mem::take).unwrap_or_default();
    let rows: Vec<Row> = hits.into_iter().map(|hit| Row::new(&SHAPE, hit, !given.on("no-trunc"))).collect();
    format.print(session, &SHAPE, &rows)?;
    Ok(0)
}

fn field(row: &Row, name: &str) -> Option<Value> {
    let yes = |key: &str| if row.json[key] == true { "[OK]" } else { "" };
    Some(match name {
        "Name" => Value::str(row.str("name")),
        "Description" => {
            let text = row.str("description").replace(['\n', '\r'], " ");
            Value::str(if row.truncate { ellipsis(&text, DESCRIPTION) } else { text })
        }
        "StarCount" => Value::str(row.int("star_count").to_string()),
        "IsOfficial" => Value::str(yes("is_official")),
        "IsAutomated" => Value::str(yes("is_automated")),
        _ => return None,
    })
}
