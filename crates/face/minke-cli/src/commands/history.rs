//! `history`: the steps an image was made in.

use super::ps::FORMAT;
use crate::check;
use crate::command::{Args, Command, Outcome};
use crate::flag::{Complete, Flag, Kind, flag, short};
use crate::format::{Format, Row, Shape, ago, ellipsis, short_id};
use crate::given::Given;
use crate::session::Session;
use minke_base::size;
use minke_client::Client;
use minke_template::Value;
use serde_json::Value as Json;

const FLAGS: &[Flag] = &[
    flag("format", Kind::Str, FORMAT),
    short("human", 'H', Kind::Bool, "Print sizes and times for people").default("true"),
    flag("no-trunc", Kind::Bool, "Do not shorten"),
    flag("platform", Kind::Str, "Platform of an image that has several (os[/arch[/variant]])"),
    short("quiet", 'q', Kind::Bool, "Print IDs only"),
];

pub(crate) const HISTORY: Command = Command {
    paths: &["image history", "history"],
    usage: "[OPTIONS] IMAGE",
    about: "Show how an image was made",
    details: "",
    args: Args::Exactly(1),
    flags: &[FLAGS],
    interspersed: true,
    complete: Complete::Images,
    run,
};

const SHAPE: Shape = Shape {
    type_name: "*image.historyContext",
    columns: &[
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ],
    get: field,
};

fn run(session: &Session, given: &Given) -> Outcome {
    let human = given.on_unless("human");
    let created = if human { "{{.CreatedSince}}" } else { "{{.CreatedAt}}" };
    let table = format!("{{{{.ID}}}}\t{created}\t{{{{.CreatedBy}}}}\t{{{{.Size}}}}\t{{{{.Comment}}}}");
    let text = match given.str("format") {
        "" | "table" if given.on("quiet") => "{{.ID}}",
        other => other,
    };
    let format = Format::parse_with(text, &table, true)?;
    let mut call = session.client()?.get(&format!("/images/{}/history", Client::segment(&given.args[0])));
    if let Some(platform) = given.get("platform").filter(|p| !p.is_empty()) {
        call = call.query("platform", check::platform(platform)?.to_string());
    }
    let steps = call.send()?.json()?;
    let rows: Vec<Row> = steps
        .as_array()
        .into_iter()
        .flatten()
        .map(|step| {
            let mut row = Row::new(&SHAPE, step.clone(), !given.on("no-trunc"));
            row.extra.push(("human", human.to_string()));
            row
        })
        .collect();
    format.print(session, &SHAPE, &rows)?;
    Ok(0)
}

fn field(row: &Row, name: &str) -> Option<Value> {
    let human = row.extra("human") == "true";
    let created = row.int("Created");
    Some(Value::str(match name {
        "ID" if row.truncate => short_id(row.str("Id")).to_owned(),
        "ID" => row.str("Id").to_owned(),
        // Times before the epoch's first second are Go's zero time.
        "CreatedSince" if created <= -62_135_596_800 => "N/A".to_owned(),
        "CreatedSince" => ago(created),
        "CreatedAt" if created <= -62_135_596_800 => String::new(),
        "CreatedAt" => chrono::DateTime::from_timestamp(created, 0)
            .map(|at| at.with_timezone(&chrono::Local).to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
            .unwrap_or_default(),
        "CreatedBy" => {
            let text = row.str("CreatedBy").replace('\t', " ");
            if row.truncate { ellipsis(&text, 45) } else { text }
        }
        "Size" if human => size::human_with(u64::try_from(row.int("Size")).unwrap_or(0), 3),
        "Size" => row.json.get("Size").and_then(Json::as_i64).unwrap_or(0).to_string(),
        "Comment" => row.str("Comment").to_owned(),
        _ => return None,
    }))
}
