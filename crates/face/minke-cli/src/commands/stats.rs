//! `stats`: what containers use, as a table that is written anew every second.
//!
//! Every container is asked for one sample at once, side by side; the processor's share comes of two samples that follow each other.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use minke_base::size;
use minke_client::Client;
use minke_template::Value;
use serde_json::Value as Json;

use super::ps::FORMAT;
use crate::command::{Args, Command, Outcome};
use crate::failure::Failure;
use crate::flag::{Complete, Flag, Kind, flag, short};
use crate::format::{Format, Row, Shape, short_id};
use crate::given::Given;
use crate::session::Session;

const FLAGS: &[Flag] = &[
    short("all", 'a', Kind::Bool, "Show stopped containers too"),
    flag("format", Kind::Str, FORMAT),
    flag("no-stream", Kind::Bool, "Show the figures once and end"),
    flag("no-trunc", Kind::Bool, "Do not shorten"),
];

pub(crate) const STATS: Command = Command {
    paths: &["container stats", "stats"],
    usage: "[OPTIONS] [CONTAINER...]",
    about: "Show what containers use, as it changes",
    details: "",
    args: Args::AtLeast(0),
    flags: &[FLAGS],
    interspersed: true,
    complete: Complete::Running,
    run,
};

const SHAPE: Shape = Shape {
    type_name: "*container.statsContext",
    columns: &[
        ("Container", "CONTAINER"),
        ("Name", "NAME"),
        ("ID", "CONTAINER ID"),
        ("CPUPerc", "CPU %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("MemPerc", "MEM %"),
        ("NetIO", "NET I/O"),
        ("BlockIO", "BLOCK I/O"),
        ("PIDs", "PIDS"),
    ],
    get: field,
};

const TABLE: &str =
    "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";

/// The time between two tables.
const INTERVAL: Duration = Duration::from_secs(1);
/// To the corner of the screen; to the end of a line; to the end of the screen.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_REST: &str = "\x1b[J";

fn run(session: &Session, given: &Given) -> Outcome {
    let text = match given.str("format") {
        "" => session.config().text("statsFormat").unwrap_or("table"),
        own => own,
    };
    let format = Format::parse(text, TABLE)?;
    let (once, truncate) = (given.on("no-stream"), !given.on("no-trunc"));
    let mut before: BTreeMap<String, Json> = BTreeMap::new();
    loop {
        let began = Instant::now();
        let names = if given.args.is_empty() { list(session, given.on("all"))? } else { given.args.clone() };
        let samples = samples(session, &names, once, given.args.is_empty())?;
        let rows: Vec<Row> =
            samples.iter().map(|(name, sample)| row(name, sample, before.get(name), truncate)).collect();
        let table = format.render(&SHAPE, &rows)?;
        if once {
            session.out.text(&table);
            return Ok(0);
        }
        let lines: String = table.lines().map(|line| format!("{line}{CLEAR_LINE}\n")).collect();
        session.out.text(&format!("{HOME}{lines}{CLEAR_REST}"));
        session.out.flush()?;
        before = samples.into_iter().collect();
        std::thread::sleep(INTERVAL.saturating_sub(began.elapsed()));
    }
}

/// The containers there are.
fn list(session: &Session, all: bool) -> Result<Vec<String>, Failure> {
    let answer = session.client()?.get("/containers/json").flag("all", all).send()?.json()?;
    let ids = answer.as_array().into_iter().flatten();
    Ok(ids.filter_map(|c| c.get("Id").and_then(Json::as_str)).map(|id| short_id(id).to_owned()).collect())
}

/// One sample of each. `once`: with the figures of a second before in it. One that is gone is left out when nobody named it.
fn samples(
    session: &Session,
    names: &[String],
    once: bool,
    listed: bool,
) -> Result<Vec<(String, Json)>, Failure> {
    let client = session.client()?;
    let ask = |name: &String| {
        let path = format!("/containers/{}/stats", Client::segment(name));
        client.get(&path).query("stream", "0").flag("one-shot", !once).start()
    };
    let started: Vec<_> = names.iter().map(ask).collect();
    let mut found = Vec::new();
    for (name, pending) in names.iter().zip(started) {
        match pending.and_then(minke_client::Pending::finish).and_then(|response| response.json()) {
            Ok(sample) => found.push((name.clone(), sample)),
            Err(error) if listed && !error.unreachable() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

fn number(json: &Json, pointer: &str) -> u64 {
    json.pointer(pointer).and_then(Json::as_u64).unwrap_or(0)
}

#[expect(clippy::cast_precision_loss, reason = "a share needs no more than 52 bits")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// All of a sample's figures as the table shows them.
fn row(name: &str, sample: &Json, before: Option<&Json>, truncate: bool) -> Row {
    let id = sample.get("id").and_then(Json::as_str).unwrap_or_default();
    let own_name = sample.get("name").and_then(Json::as_str).unwrap_or_default();
    let (used, limit) = (memory(sample), number(sample, "/memory_stats/limit"));
    let (received, sent) = networks(sample);
    let (read, written) = disks(sample);
    let pair = |a: u64, b: u64| format!("{} / {}", size::human_with(a, 3), size::human_with(b, 3));
    let figures = [
        ("Container", name.to_owned()),
        ("Name", own_name.trim_start_matches('/').to_owned()),
        ("ID", if truncate { short_id(id).to_owned() } else { id.to_owned() }),
        ("CPUPerc", format!("{:.2}%", processor(sample, before))),
        ("MemUsage", format!("{} / {}", size::binary(used), size::binary(limit))),
        ("MemPerc", format!("{:.2}%", 100.0 * share(used, limit))),
        ("NetIO", pair(received, sent)),
        ("BlockIO", pair(read, written)),
        ("PIDs", number(sample, "/pids_stats/current").to_string()),
    ];
    let json = figures.into_iter().map(|(name, text)| (name.to_owned(), Json::String(text))).collect();
    Row::new(&SHAPE, Json::Object(json), truncate)
}

fn field(row: &Row, name: &str) -> Option<Value> {
    Some(Value::str(row.str(name)))
}

/// What it had of all processors since the sample before, one processor being 100.
fn processor(sample: &Json, before: Option<&Json>) -> f64 {
    let own = |json: &Json, at: &str| {
        (
            number(json, &format!("{at}/cpu_usage/total_usage")),
            number(json, &format!("{at}/system_cpu_usage")),
        )
    };
    let (used, all) = own(sample, "/cpu_stats");
    let (used_before, all_before) = match before {
        Some(before) => own(before, "/cpu_stats"),
        None => own(sample, "/precpu_stats"),
    };
    if all_before == 0 || used <= used_before || all <= all_before {
        return 0.0;
    }
    let listed =
        sample.pointer("/cpu_stats/cpu_usage/percpu_usage").and_then(Json::as_array).map_or(0, Vec::len);
    let count = match number(sample, "/cpu_stats/online_cpus") {
        0 => listed as u64,
        count => count,
    };
    #[expect(clippy::cast_precision_loss, reason = "nobody has so many processors")]
    let count = count as f64;
    100.0 * count * share(used - used_before, all - all_before)
}

/// Without the cache that the kernel gives back when it is asked to.
fn memory(sample: &Json) -> u64 {
    let usage = number(sample, "/memory_stats/usage");
    let cached = sample
        .pointer("/memory_stats/stats/total_inactive_file")
        .or_else(|| sample.pointer("/memory_stats/stats/inactive_file"))
        .and_then(Json::as_u64)
        .unwrap_or(0);
    if cached < usage { usage - cached } else { usage }
}

fn networks(sample: &Json) -> (u64, u64) {
    let all = sample.get("networks").and_then(Json::as_object).into_iter().flatten();
    all.fold((0, 0), |(received, sent), (_, link)| {
        (received + number(link, "/rx_bytes"), sent + number(link, "/tx_bytes"))
    })
}

fn disks(sample: &Json) -> (u64, u64) {
    let all = sample.pointer("/blkio_stats/io_service_bytes_recursive").and_then(Json::as_array);
    all.into_iter().flatten().fold((0, 0), |(read, written), entry| {
        let value = number(entry, "/value");
        match entry.get("op").and_then(Json::as_str).and_then(|op| op.chars().next()) {
            Some('r' | 'R') => (read + value, written),
            Some('w' | 'W') => (read, written + value),
            _ => (read, written),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn figures_are_worked_out_as_docker_s_table_has_them() {
        let sample = json!({
            "name": "/web", "id": "0123456789abcdef",
            "cpu_stats": {"cpu_usage": {"total_usage": 3_000}, "system_cpu_usage": 20_000, "online_cpus": 2},
            "precpu_stats": {"cpu_usage": {"total_usage": 1_000}, "system_cpu_usage": 10_000},
            "memory_stats": {"usage": 3 << 20, "limit": 64 << 20, "stats": {"total_inactive_file": 1 << 20}},
            "networks": {"eth0": {"rx_bytes": 1086, "tx_bytes": 126}, "eth1": {"rx_bytes": 4, "tx_bytes": 0}},
            "blkio_stats": {"io_service_bytes_recursive": [{"op": "Read", "value": 5}, {"op": "write", "value": 7}]},
            "pids_stats": {"current": 3},
        });
        let row = row("web", &sample, None, true);
        let shown: Vec<&str> = SHAPE.columns.iter().map(|(name, _)| row.str(name)).collect();
        assert_eq!(
            shown,
            [
                "web",
                "web",
                "0123456789ab",
                "40.00%",
                "2MiB / 64MiB",
                "3.12%",
                "1.09kB / 126B",
                "5B / 7B",
                "3"
            ]
        );
    }

    #[test]
    fn without_a_sample_before_the_processor_s_share_is_not_known() {
        let sample = json!({"cpu_stats": {"cpu_usage": {"total_usage": 3}, "system_cpu_usage": 9}});
        assert!(processor(&sample, None).abs() < f64::EPSILON);
    }
}
