//! `ps`: the list of containers.

use crate::command::{Args, Command, Outcome};
use crate::failure::Failure;
use crate::flag::{Complete, Flag, Kind, flag, short};
use crate::format::{Format, Row, Shape, ago, ellipsis, filters, local_time, short_id};
use crate::given::Given;
use crate::session::Session;
use minke_base::size;
use minke_template::{Mode, Template, Value};
use serde_json::Value as Json;
use std::rc::Rc;

/// What `--format` takes, said alike everywhere.
pub(crate) const FORMAT: &str = "How to print:\n'table':            a table with headings (default)\n'table TEMPLATE':   a table of this Go template\n'json':             JSON\n'TEMPLATE':         this Go template";

const FLAGS: &[Flag] = &[
    short("all", 'a', Kind::Bool, "Show stopped containers too"),
    short("filter", 'f', Kind::Filter, "Show only what fits"),
    flag("format", Kind::Str, FORMAT),
    short("last", 'n', Kind::Int, "Show this many, the newest, in any state").default("-1"),
    short("latest", 'l', Kind::Bool, "Show the newest container, in any state"),
    flag("no-trunc", Kind::Bool, "Do not shorten"),
    short("quiet", 'q', Kind::Bool, "Print IDs only"),
    short("size", 's', Kind::Bool, "Show sizes on disk"),
];

pub(crate) const PS: Command = Command {
    paths: &["container ls", "container list", "container ps", "ps"],
    usage: "[OPTIONS]",
    about: "List containers",
    details: "",
    args: Args::None,
    flags: &[FLAGS],
    interspersed: true,
    complete: Complete::Nothing,
    run,
};

pub(crate) const SHAPE: Shape = Shape {
    type_name: "*formatter.ContainerContext",
    columns: &[
        ("ID", "CONTAINER ID"),
        ("Names", "NAMES"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("CreatedAt", "CREATED AT"),
        ("RunningFor", "CREATED"),
        ("Ports", "PORTS"),
        ("State", "STATE"),
        ("Status", "STATUS"),
        ("Size", "SIZE"),
        ("Labels", "LABELS"),
        ("Mounts", "MOUNTS"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Networks", "NETWORKS"),
        ("Platform", "PLATFORM"),
    ],
    get: field,
};

const TABLE: &str = "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";

const RAW: &str = "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\nstate: {{- pad .State 1 0}}\nstatus: {{- pad .Status 1 0}}\nnames: {{.Names}}\nlabels: {{- pad .Labels 1 0}}\nports: {{- pad .Ports 1 0}}\n";

fn run(session: &Session, given: &Given) -> Outcome {
    let quiet = given.on("quiet");
    let own = given.str("format");
    let text = match own {
        "" if quiet => "{{.ID}}",
        "table" if quiet => "{{.ID}}",
        "raw" if quiet => "container_id: {{.ID}}",
        "" => session.config().text("psFormat").unwrap_or("table"),
        other => other,
    };
    let mut size = given.on("size");
    let mut table = TABLE.to_owned();
    if size {
        table.push_str("\t{{.Size}}");
    }
    let raw;
    let text = if text == "raw" {
        raw = if size { format!("{RAW}size: {{{{.Size}}}}\n") } else { RAW.to_owned() };
        raw.as_str()
    } else {
        text
    };
    let format = Format::parse(text, &table)?;
    if !matches!(text, "table" | "json") {
        probe(text)?;
    }
    // Sizes cost the engine a walk; they are asked for when a template shows them by name.
    size = size || (!given.changed("size") && format.template.mentions("Size") && text != "json");
    let last = if given.on("latest") && given.int("last").is_none_or(|n| n == -1) {
        1
    } else {
        given.int("last").unwrap_or(-1)
    };
    let mut call =
        session.client()?.get("/containers/json").flag("all", given.on("all") || given.on("latest"));
    if last > 0 {
        call = call.query("limit", last.to_string());
    }
    call = call.flag("size", size);
    if let Some(filters) = filters(&given.list("filter")) {
        call = call.query("filters", filters);
    }
    let list = call.send()?.json()?;
    let truncate = !given.on("no-trunc");
    let items = match list {
        Json::Array(items) => items,
        _ => Vec::new(),
    };
    let rows: Vec<Row> = items.into_iter().map(|json| Row::new(&SHAPE, json, truncate)).collect();
    format.print(session, &SHAPE, &rows)?;
    Ok(0)
}

/// Docker tries a template, with the word `table` and all, on an empty row before it asks the engine.
fn probe(text: &str) -> Result<(), Failure> {
    let template = Template::parse(text).map_err(|e| format!("failed to parse template: {e}"))?;
    let empty = Value::Record(Rc::new(Row::new(&SHAPE, Json::Null, true)));
    let ran = template.execute(&empty, Mode::Lenient, &mut String::new());
    ran.map_err(|e| format!("failed to execute template: {e}").into())
}

pub(crate) fn field(row: &Row, name: &str) -> Option<Value> {
    Some(match name {
        "ID" => Value::str(if row.truncate { short_id(row.str("Id")) } else { row.str("Id") }),
        "Names" => Value::str(names(row)),
        "Image" => Value::str(image(row)),
        "Command" => {
            let command = row.str("Command");
            let command = if row.truncate { ellipsis(command, 20) } else { command.to_owned() };
            Value::str(quote(&command))
        }
        "CreatedAt" => Value::str(local_time(row.int("Created"))),
        "RunningFor" => Value::str(ago(row.int("Created"))),
        "Ports" => Value::str(ports(&row.json)),
        "State" => Value::str(row.str("State")),
        "Status" => Value::str(row.str("Status")),
        "Size" => Value::str(sizes(row)),
        "Labels" => Value::str(row.joined_labels()),
        "Mounts" => Value::str(mounts(row)),
        "LocalVolumes" => {
            let local = |m: &&Json| m.get("Driver").and_then(Json::as_str) == Some("local");
            Value::str(list(row, "Mounts").iter().filter(local).count().to_string())
        }
        "Networks" => {
            let map = row.json.pointer("/NetworkSettings/Networks").and_then(Json::as_object);
            Value::str(map.into_iter().flatten().map(|(k, _)| k.as_str()).collect::<Vec<_>>().join(","))
        }
        "Platform" => platform(&row.json),
        _ => return None,
    })
}

fn platform(json: &Json) -> Value {
    let Some(platform) = json.pointer("/ImageManifestDescriptor/platform").filter(|p| !p.is_null()) else {
        return Value::NilPtr("*formatter.Platform".into());
    };
    let part = |key| platform.get(key).and_then(Json::as_str).unwrap_or_default();
    let parts = [part("os"), part("architecture"), part("variant")];
    Value::str(parts.into_iter().filter(|p| !p.is_empty()).collect::<Vec<_>>().join("/"))
}

fn list<'r>(row: &'r Row, key: &str) -> &'r [Json] {
    row.json.get(key).and_then(Json::as_array).map_or(&[], Vec::as_slice)
}

/// Go's `strconv.Quote`, as far as a command line needs it.
fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Names without the slash; shortened lists leave out names that links gave.
fn names(row: &Row) -> String {
    let strip = |n: &str| n.strip_prefix('/').unwrap_or(n).to_owned();
    let all = list(row, "Names").iter().filter_map(Json::as_str);
    let shown: Vec<String> = all.filter(|n| !row.truncate || n.split('/').count() == 2).map(strip).collect();
    shown.join(",")
}

fn image(row: &Row) -> String {
    let image = row.str("Image");
    if image.is_empty() {
        return "<no image>".into();
    }
    if !row.truncate {
        return image.to_owned();
    }
    let id = row.str("ImageID");
    if !id.is_empty() && short_id(id) == short_id(image) {
        return short_id(image).to_owned();
    }
    // A digest behind a tag says too much for a table.
    match image.split_once('@') {
        Some((name, _)) if name.rsplit('/').next().is_some_and(|n| n.contains(':')) => name.to_owned(),
        _ => image.to_owned(),
    }
}

fn sizes(row: &Row) -> String {
    let human = |key| size::human_with(u64::try_from(row.int(key)).unwrap_or(0), 3);
    if row.int("SizeRootFs") > 0 {
        return format!("{} (virtual {})", human("SizeRw"), human("SizeRootFs"));
    }
    human("SizeRw")
}

fn mounts(row: &Row) -> String {
    let text = |m: &Json, key: &str| m.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
    let name = |m: &Json| {
        let name = text(m, "Name");
        let name = if name.is_empty() { text(m, "Source") } else { name };
        if row.truncate { ellipsis(&name, 15) } else { name }
    };
    list(row, "Mounts").iter().map(name).collect::<Vec<_>>().join(",")
}

/// Ports in groups: `80/tcp`, `0.0.0.0:8080->80/tcp`, `90-92/tcp`.
pub(crate) fn ports(json: &Json) -> String {
    struct Port<'j> {
        private: u64,
        public: u64,
        ip: &'j str,
        proto: &'j str,
    }
    let number = |p: &Json, key: &str| p.get(key).and_then(Json::as_u64).unwrap_or(0);
    let list = json.get("Ports").and_then(Json::as_array);
    let mut ports: Vec<Port<'_>> = list
        .into_iter()
        .flatten()
        .map(|p| Port {
            private: number(p, "PrivatePort"),
            public: number(p, "PublicPort"),
            ip: p.get("IP").and_then(Json::as_str).unwrap_or_default(),
            proto: p.get("Type").and_then(Json::as_str).unwrap_or_default(),
        })
        .collect();
    ports.sort_by_key(|p| (p.private, p.ip.to_owned(), p.public, p.proto.to_owned()));
    let host = |ip: &str, port: String| {
        if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
    };
    let form = |(ip, proto): &(&str, &str), first: u64, last: u64| {
        let group = if first == last { first.to_string() } else { format!("{first}-{last}") };
        if ip.is_empty() {
            format!("{group}/{proto}")
        } else {
            format!("{}->{group}/{proto}", host(ip, group.clone()))
        }
    };
    let mut out = Vec::new();
    let mut mapped = Vec::new();
    let mut groups: Vec<((&str, &str), u64, u64)> = Vec::new();
    for port in &ports {
        if !port.ip.is_empty() && port.public != port.private {
            mapped.push(format!(
                "{}->{}/{}",
                host(port.ip, port.public.to_string()),
                port.private,
                port.proto
            ));
            continue;
        }
        let key = (port.ip, port.proto);
        match groups.iter_mut().find(|(k, _, _)| *k == key) {
            None => groups.push((key, port.private, port.private)),
            Some((_, _, last)) if port.private == *last + 1 => *last = port.private,
            Some((key, first, last)) => {
                out.push(form(key, *first, *last));
                (*first, *last) = (port.private, port.private);
            }
        }
    }
    out.extend(groups.iter().map(|(key, first, last)| form(key, *first, *last)));
    out.extend(mapped);
    out.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn neighbouring_ports_are_shown_as_a_range() {
        let shown = ports(&json!({"Ports": [
            {"PrivatePort": 91, "Type": "tcp"}, {"PrivatePort": 90, "Type": "tcp"}, {"PrivatePort": 99, "Type": "tcp"},
            {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
            {"IP": "::", "PrivatePort": 81, "PublicPort": 81, "Type": "udp"}
        ]}));
        assert_eq!(shown, "90-91/tcp, [::]:81->81/udp, 99/tcp, 0.0.0.0:8080->80/tcp");
    }

    #[test]
    fn rows_show_what_dockers_do() {
        let json = json!({"Id": "0123456789abcdef", "Names": ["/web", "/other/link"], "Image": "busybox:1@sha256:ab",
            "Command": "sh -c 'echo a very long line'", "Labels": {"b": "2", "a": "1"}, "SizeRw": 1500, "SizeRootFs": 2000});
        let row = Row::new(&SHAPE, json, true);
        let text = |name| match field(&row, name) {
            Some(Value::Str(s)) => s.to_string(),
            other => format!("{other:?}"),
        };
        assert_eq!(text("ID"), "0123456789ab");
        assert_eq!(text("Names"), "web");
        assert_eq!(text("Image"), "busybox:1");
        assert_eq!(text("Command"), "\"sh -c 'echo a very …\"");
        assert_eq!(text("Labels"), "a=1,b=2");
        assert_eq!(text("Size"), "1.5kB (virtual 2kB)");
    }
}
