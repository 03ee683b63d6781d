//! `system df`: what takes how much space.

use super::ps::FORMAT;
use crate::command::{Args, Command, Outcome};
use crate::flag::{Complete, Flag, Kind, flag, short};
use crate::format::{Format, Row, Shape, ago};
use crate::given::Given;
use crate::session::Session;
use minke_base::size;
use minke_template::{List, Mode, Record, Template, Value};
use serde_json::{Value as Json, json};
use std::rc::Rc;

const FLAGS: &[Flag] =
    &[flag("format", Kind::Str, FORMAT), short("verbose", 'v', Kind::Bool, "Show each object")];

pub(crate) const DF: Command = Command {
    paths: &["system df"],
    usage: "[OPTIONS]",
    about: "Show what takes how much space",
    details: "",
    args: Args::None,
    flags: &[FLAGS],
    interspersed: true,
    complete: Complete::Nothing,
    run,
};

const SHAPE: Shape = Shape {
    type_name: "*formatter.diskUsageImagesContext",
    columns: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ],
    get: |row, name| Some(Value::str(row.str(name))),
};

fn human(bytes: i64) -> String {
    size::human(u64::try_from(bytes).unwrap_or(0))
}

/// The objects of a kind: at the top, or since API 1.52 under `…Usage`.
fn items<'j>(usage: &'j Json, key: &str) -> &'j [Json] {
    let newer = || usage.pointer(&format!("/{}/Items", newer_name(key)));
    usage.get(key).or_else(newer).and_then(Json::as_array).map_or(&[], Vec::as_slice)
}

/// What API 1.52 calls the usage of a kind.
fn newer_name(key: &str) -> &'static str {
    match key {
        "Images" => "ImageUsage",
        "Containers" => "ContainerUsage",
        "Volumes" => "VolumeUsage",
        _ => "BuildCacheUsage",
    }
}

/// The sums that engines since API 1.52 give themselves.
fn counted(usage: &Json) -> Option<Vec<Json>> {
    const KINDS: [(&str, &str); 4] = [
        ("Images", "Images"),
        ("Containers", "Containers"),
        ("Volumes", "Local Volumes"),
        ("BuildCache", "Build Cache"),
    ];
    KINDS
        .iter()
        .map(|(key, title)| {
            let sums = usage.get(newer_name(key))?;
            let count = |name: &str| usize::try_from(int(sums, name)).unwrap_or(0);
            let (size, free) = (int(sums, "TotalSize"), int(sums, "Reclaimable"));
            Some(row(title, count("TotalCount"), count("ActiveCount"), size, free, *key != "BuildCache"))
        })
        .collect()
}

fn int(item: &Json, key: &str) -> i64 {
    item.get(key).and_then(Json::as_i64).unwrap_or(0)
}

fn run(session: &Session, given: &Given) -> Outcome {
    let verbose_wanted = given.on("verbose");
    let usage = session.client()?.get("/system/df").flag("verbose", verbose_wanted).send()?.json()?;
    if verbose_wanted {
        return match given.str("format") {
            "" | "table" => verbose(session, &usage),
            format => formatted(session, &usage, format),
        };
    }
    let table = "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";
    let format = Format::parse_with(given.str("format"), table, true)?;
    let rows: Vec<Row> = counted(&usage)
        .unwrap_or_else(|| summary(&usage))
        .into_iter()
        .map(|json| Row::new(&SHAPE, json, true))
        .collect();
    format.print(session, &SHAPE, &rows)?;
    Ok(0)
}

fn row(kind: &str, total: usize, active: usize, bytes: i64, reclaimable: i64, percent: bool) -> Json {
    let mut text = human(reclaimable);
    if percent && bytes > 0 {
        text.push_str(&format!(" ({}%)", reclaimable.saturating_mul(100) / bytes));
    }
    json!({"Type": kind, "TotalCount": total.to_string(), "Active": active.to_string(),
        "Size": human(bytes), "Reclaimable": text})
}

fn summary(usage: &Json) -> Vec<Json> {
    let images = items(usage, "Images");
    let used = images.iter().filter(|i| int(i, "Containers") > 0);
    let layers = int(usage, "LayersSize");
    let in_use: i64 = images
        .iter()
        .filter(|i| int(i, "Containers") != 0)
        .filter(|i| int(i, "Size") != -1 && int(i, "SharedSize") != -1)
        .map(|i| int(i, "Size") - int(i, "SharedSize"))
        .sum();
    let containers = items(usage, "Containers");
    let live = |c: &Json| {
        let state = c.get("State").and_then(Json::as_str).unwrap_or_default();
        ["running", "paused", "restarting"].contains(&state)
    };
    let all: i64 = containers.iter().map(|c| int(c, "SizeRw")).sum();
    let idle: i64 = containers.iter().filter(|c| !live(c)).map(|c| int(c, "SizeRw")).sum();
    let volumes = items(usage, "Volumes");
    let usage_of =
        |v: &Json, key: &str| v.pointer(&format!("/UsageData/{key}")).and_then(Json::as_i64).unwrap_or(0);
    let volume_size: i64 = volumes.iter().map(|v| usage_of(v, "Size").max(0)).sum();
    let volume_idle: i64 =
        volumes.iter().filter(|v| usage_of(v, "RefCount") == 0).map(|v| usage_of(v, "Size").max(0)).sum();
    let cache = items(usage, "BuildCache");
    let flag = |c: &Json, key: &str| c.get(key).and_then(Json::as_bool).unwrap_or(false);
    let cache_size: i64 = cache.iter().filter(|c| !flag(c, "Shared")).map(|c| int(c, "Size")).sum();
    let cache_busy: i64 =
        cache.iter().filter(|c| flag(c, "InUse") && !flag(c, "Shared")).map(|c| int(c, "Size")).sum();
    vec![
        row("Images", images.len(), used.count(), layers, layers - in_use, true),
        row("Containers", containers.len(), containers.iter().filter(|c| live(c)).count(), all, idle, true),
        row(
            "Local Volumes",
            volumes.len(),
            volumes.iter().filter(|v| usage_of(v, "RefCount") > 0).count(),
            volume_size,
            volume_idle,
            true,
        ),
        row(
            "Build Cache",
            cache.len(),
            cache.iter().filter(|c| flag(c, "InUse")).count(),
            cache_size,
            cache_size - cache_busy,
            false,
        ),
    ]
}

const VOLUME: Shape = Shape {
    type_name: "*formatter.volumeContext",
    columns: &[("Name", "VOLUME NAME"), ("Links", "LINKS"), ("Size", "SIZE")],
    get: |row, name| {
        let number = |key: &str| row.json.pointer(&format!("/UsageData/{key}")).and_then(Json::as_i64);
        Some(Value::str(match name {
            "Name" => row.str("Name").to_owned(),
            "Links" => number("RefCount").map_or("N/A".into(), |n| n.to_string()),
            _ => number("Size").map_or("N/A".into(), human),
        }))
    },
};

const CACHE: Shape = Shape {
    type_name: "*formatter.buildCacheContext",
    columns: &[
        ("ID", "CACHE ID"),
        ("CacheType", "CACHE TYPE"),
        ("Size", "SIZE"),
        ("CreatedSince", "CREATED"),
        ("LastUsedSince", "LAST USED"),
        ("UsageCount", "USAGE"),
        ("Shared", "SHARED"),
    ],
    get: |row, name| {
        let since = |key: &str| {
            let at = chrono::DateTime::parse_from_rfc3339(row.str(key)).ok();
            at.map(|at| ago(at.timestamp())).unwrap_or_default()
        };
        Some(Value::str(match name {
            "ID" => row.str("ID").get(..12).unwrap_or(row.str("ID")).to_owned(),
            "CacheType" => row.str("Type").to_owned(),
            "Size" => human(row.int("Size")),
            "CreatedSince" => since("CreatedAt"),
            "LastUsedSince" => since("LastUsedAt"),
            "UsageCount" => row.int("UsageCount").to_string(),
            _ => row.json.get("Shared").and_then(Json::as_bool).unwrap_or(false).to_string(),
        }))
    },
};

/// Each kind's rows, as the sections of the long form show them.
#[derive(Debug)]
struct Sections {
    images: Vec<Row>,
    containers: Vec<Row>,
    volumes: Vec<Row>,
    cache: Vec<Row>,
}

impl Sections {
    fn of(usage: &Json, truncate: bool) -> Self {
        let plain = |shape: &'static Shape, key: &str| -> Vec<Row> {
            items(usage, key).iter().map(|item| Row::new(shape, item.clone(), truncate)).collect()
        };
        let own = |container: &Json| {
            let mut container = container.clone();
            // Only what the container itself takes counts here.
            container["SizeRootFs"] = 0.into();
            Row::new(&super::ps::SHAPE, container, truncate)
        };
        Self {
            images: items(usage, "Images")
                .iter()
                .flat_map(|i| super::images::rows(i, truncate, false))
                .collect(),
            containers: items(usage, "Containers").iter().map(own).collect(),
            volumes: plain(&VOLUME, "Volumes"),
            cache: plain(&CACHE, "BuildCache"),
        }
    }

    fn named(&self, name: &str) -> Option<&[Row]> {
        Some(match name {
            "Images" => &self.images,
            "Containers" => &self.containers,
            "Volumes" => &self.volumes,
            "BuildCache" => &self.cache,
            _ => return None,
        })
    }
}

const SECTIONS: [&str; 4] = ["Images", "Containers", "Volumes", "BuildCache"];

/// What a template of the long form sees.
impl Record for Sections {
    fn type_name(&self) -> Rc<str> {
        "*formatter.diskUsageContext".into()
    }

    fn get(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
        let rows = self.named(name)?;
        if !args.is_empty() {
            return Some(Err(format!("wrong number of args for {name}: want 0 got {}", args.len())));
        }
        let items = rows.iter().map(|row| Value::Record(Rc::new(row.clone()))).collect();
        Some(Ok(Value::List(Rc::new(List { items, type_name: "[]interface {}".into(), nil: false }))))
    }

    fn fields(&self) -> Vec<Value> {
        SECTIONS.iter().filter_map(|name| self.get(name, &[])?.ok()).collect()
    }

    fn json(&self) -> Json {
        let rows =
            |name: &str| -> Json { self.named(name).into_iter().flatten().map(Record::json).collect() };
        Json::Object(SECTIONS.iter().map(|name| ((*name).to_owned(), rows(name))).collect())
    }

    fn escapes_html(&self) -> bool {
        true
    }
}

fn formatted(session: &Session, usage: &Json, format: &str) -> Outcome {
    let text = match format {
        "json" => "{{json .}}".to_owned(),
        text => crate::format::unescape(text.strip_prefix("table").unwrap_or(text).trim_matches(' ')),
    };
    let template = Template::parse(&text).map_err(|e| format!("template parsing error: {e}"))?;
    let mut out = String::new();
    let sections = Value::Record(Rc::new(Sections::of(usage, false)));
    template
        .execute(&sections, Mode::Lenient, &mut out)
        .map_err(|e| format!("template parsing error: {e}"))?;
    session.out.line(&out);
    Ok(0)
}

fn verbose(session: &Session, usage: &Json) -> Outcome {
    session.out.text("Images space usage:\n\n");
    let table = "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{if .CreatedSince }}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}";
    let sections = Sections::of(usage, true);
    Format::parse("", table)?.print(session, &super::images::SHAPE, &sections.images)?;
    session.out.text("\nContainers space usage:\n\n");
    let table = "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}";
    Format::parse("", table)?.print(session, &super::ps::SHAPE, &sections.containers)?;
    session.out.text("\nLocal Volumes space usage:\n\n");
    Format::parse("", "{{.Name}}\t{{.Links}}\t{{.Size}}")?.print(session, &VOLUME, &sections.volumes)?;
    let cache = items(usage, "BuildCache");
    let total: i64 = cache
        .iter()
        .filter(|c| c.get("Shared").and_then(Json::as_bool) != Some(true))
        .map(|c| int(c, "Size"))
        .sum();
    session.out.text(&format!("\nBuild cache usage: {}\n\n", human(total)));
    let table = "{{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t{{.LastUsedSince}}\t{{.UsageCount}}\t{{.Shared}}";
    Format::parse("", table)?.print(session, &CACHE, &sections.cache)?;
    Ok(0)
}
