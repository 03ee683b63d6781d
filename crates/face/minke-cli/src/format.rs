//! `--format`: templates and tables over the rows of a list.
//!
//! A list command says its rows as a [`Shape`]: the names templates may use, their headings, and a function that gives
//! a value. Default tables are templates as well, so one path prints all.

use crate::failure::Failure;
use crate::session::Session;
use minke_template::{Mode, Record, Template, Value, table};
use serde_json::Value as Json;
use std::rc::Rc;

/// The rows of one list.
#[derive(Debug)]
pub(crate) struct Shape {
    /// Go's name of the row type, which error texts show.
    pub(crate) type_name: &'static str,
    /// Names and headings, in the order of Go's headers.
    pub(crate) columns: &'static [(&'static str, &'static str)],
    pub(crate) get: fn(&Row, &str) -> Option<Value>,
}

/// One row: the engine's JSON and how to show it.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) shape: &'static Shape,
    pub(crate) json: Rc<Json>,
    /// Values the JSON does not have, such as the tag of an image's row.
    pub(crate) extra: Vec<(&'static str, String)>,
    pub(crate) truncate: bool,
}

impl Row {
    pub(crate) fn new(shape: &'static Shape, json: Json, truncate: bool) -> Row {
        Row { shape, json: Rc::new(json), extra: Vec::new(), truncate }
    }

    pub(crate) fn str(&self, key: &str) -> &str {
        self.json.get(key).and_then(Json::as_str).unwrap_or_default()
    }

    pub(crate) fn int(&self, key: &str) -> i64 {
        self.json.get(key).and_then(Json::as_i64).unwrap_or_default()
    }

    pub(crate) fn extra(&self, key: &str) -> &str {
        self.extra.iter().find(|(k, _)| *k == key).map_or("", |(_, v)| v)
    }

    fn labels(&self) -> Vec<(&str, &str)> {
        let map = self.json.get("Labels").and_then(Json::as_object);
        let mut pairs: Vec<_> =
            map.into_iter().flatten().map(|(k, v)| (k.as_str(), v.as_str().unwrap_or_default())).collect();
        pairs.sort_unstable();
        pairs
    }

    /// `a=b,c=d`
    pub(crate) fn joined_labels(&self) -> String {
        self.labels().iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",")
    }
}

impl Record for Row {
    fn type_name(&self) -> Rc<str> {
        self.shape.type_name.into()
    }

    fn get(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
        if name == "Label" && self.shape.columns.iter().any(|(n, _)| *n == "Labels") {
            return Some(match args {
                [Value::Str(key)] => {
                    let found = self.labels().into_iter().find(|(k, _)| *k == key.as_ref());
                    Ok(Value::str(found.map_or("", |(_, v)| v)))
                }
                other => Err(format!("wrong number of args for Label: want 1 got {}", other.len())),
            });
        }
        if !self.shape.columns.iter().any(|(n, _)| *n == name) {
            return None;
        }
        if !args.is_empty() {
            return Some(Err(format!("wrong number of args for {name}: want 0 got {}", args.len())));
        }
        (self.shape.get)(self, name).map(Ok)
    }

    fn fields(&self) -> Vec<Value> {
        self.shape.columns.iter().filter_map(|(name, _)| (self.shape.get)(self, name)).collect()
    }

    fn json(&self) -> Json {
        let mut names: Vec<_> = self.shape.columns.iter().map(|(n, _)| *n).collect();
        names.sort_unstable();
        let value = |name: &str| (self.shape.get)(self, name).map_or(Json::Null, |v| v.to_json());
        Json::Object(names.into_iter().map(|n| (n.to_owned(), value(n))).collect())
    }

    fn escapes_html(&self) -> bool {
        true
    }
}

/// The heading row.
#[derive(Debug)]
struct Headings(&'static Shape);

impl Record for Headings {
    fn type_name(&self) -> Rc<str> {
        "formatter.SubHeaderContext".into()
    }

    fn get(&self, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
        if let ("Label", [Value::Str(key)]) = (name, args) {
            let last = key.rsplit('.').next().unwrap_or_default();
            return Some(Ok(Value::str(last.replace(['-', '_'], " "))));
        }
        let heading = self.0.columns.iter().find(|(n, heading)| *n == name && !heading.is_empty());
        heading.map(|(_, heading)| Ok(Value::str(heading)))
    }

    fn fields(&self) -> Vec<Value> {
        Vec::new()
    }

    fn json(&self) -> Json {
        Json::Null
    }

    fn open(&self) -> bool {
        true
    }
}

/// How a list is to be printed.
#[derive(Debug)]
pub(crate) struct Format {
    pub(crate) template: Template,
    table: bool,
    /// `template parsing error: ` where the command says so instead of the usual words.
    old_words: bool,
}

impl Format {
    /// Reads `--format`; `default` is the command's table without the word `table`.
    pub(crate) fn parse(text: &str, default: &str) -> Result<Format, Failure> {
        Format::parse_with(text, default, false)
    }

    /// As [`Format::parse`], for commands that kept older error texts.
    pub(crate) fn parse_with(text: &str, default: &str, old_words: bool) -> Result<Format, Failure> {
        let is_table = text.is_empty() || text.starts_with("table");
        let body = match text {
            "" | "table" => default.to_owned(),
            "json" => "{{json .}}".to_owned(),
            other => unescape(other.strip_prefix("table").unwrap_or(other).trim_matches(' ')),
        };
        let words = if old_words { "template parsing error" } else { "failed to parse template" };
        let template = Template::parse(&body).map_err(|e| format!("{words}: {e}"))?;
        Ok(Format { template, table: is_table, old_words })
    }

    /// Prints rows.
    pub(crate) fn print(
        &self,
        session: &Session,
        shape: &'static Shape,
        rows: &[Row],
    ) -> Result<(), Failure> {
        session.out.text(&self.render(shape, rows)?);
        Ok(())
    }

    /// Rows as they would be printed.
    pub(crate) fn render(&self, shape: &'static Shape, rows: &[Row]) -> Result<String, Failure> {
        let mut out = String::new();
        let words = if self.old_words { "template parsing error" } else { "failed to execute template" };
        let failed = |e: minke_template::ExecError| Failure::new(1, format!("{words}: {e}"));
        let mut body = String::new();
        for row in rows {
            let value = Value::Record(Rc::new(row.clone()));
            self.template.execute(&value, Mode::Lenient, &mut body).map_err(failed)?;
            body.push('\n');
        }
        if rows.is_empty() {
            // Names are checked even when there is no row to show.
            let probe = Value::Record(Rc::new(Row::new(shape, Json::Null, true)));
            self.template.execute(&probe, Mode::Lenient, &mut String::new()).map_err(failed)?;
        }
        if self.table {
            let headings = Value::Record(Rc::new(Headings(shape)));
            self.template.execute_header(&headings, &mut out).map_err(failed)?;
            out.push('\n');
            out.push_str(&body);
            return Ok(table::LIST.align(&out));
        }
        Ok(body)
    }
}

/// `\t` and `\n` as users type them.
pub(crate) fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

/// Cuts to `width` characters, the last of which is `…`.
pub(crate) fn ellipsis(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    if width <= 1 {
        return text.chars().take(width).collect();
    }
    let mut out: String = text.chars().take(width - 1).collect();
    out.push('…');
    out
}

/// Compares as people count: `a2` before `a10`.
pub(crate) fn natural(a: &str, b: &str) -> std::cmp::Ordering {
    use std::cmp::Ordering;
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let digits = |text: &[u8]| text.iter().take_while(|c| c.is_ascii_digit()).count();
    let (mut i, mut j) = (0, 0);
    while i < a.len() && j < b.len() {
        if !(a[i].is_ascii_digit() && b[j].is_ascii_digit()) {
            if a[i] != b[j] {
                return a[i].cmp(&b[j]);
            }
            (i, j) = (i + 1, j + 1);
            continue;
        }
        let (x, y) = (&a[i..i + digits(&a[i..])], &b[j..j + digits(&b[j..])]);
        let value = |text: &'_ [u8]| text.iter().take_while(|c| **c == b'0').count();
        let (zeros_x, zeros_y) = (value(x), value(y));
        let (number_x, number_y) = (&x[zeros_x..], &y[zeros_y..]);
        let order = number_x.len().cmp(&number_y.len()).then_with(|| number_x.cmp(number_y));
        let order = order.then_with(|| zeros_x.cmp(&zeros_y));
        if order != Ordering::Equal {
            return order;
        }
        (i, j) = (i + x.len(), j + y.len());
    }
    (a.len() - i).cmp(&(b.len() - j))
}

/// An id without its algorithm, twelve digits long.
pub(crate) fn short_id(id: &str) -> &str {
    let id = id.split_once(':').map_or(id, |(_, hex)| hex);
    id.get(..12).unwrap_or(id)
}

/// `2 hours ago` for a time in seconds.
pub(crate) fn ago(unix: i64) -> String {
    let now = chrono::Utc::now().timestamp();
    let seconds = u64::try_from(now.saturating_sub(unix)).unwrap_or(0);
    format!("{} ago", minke_base::duration::human(std::time::Duration::from_secs(seconds)))
}

/// `2006-01-02 15:04:05 -0700 MST`, local, as Go prints a time.
pub(crate) fn local_time(unix: i64) -> String {
    use chrono::TimeZone;
    let Some(at) = chrono::Local.timestamp_opt(unix, 0).single() else { return unix.to_string() };
    let offset = at.format("%z").to_string();
    // chrono knows no zone names; the C library's is in TZ or the zone file, and +0000 is UTC.
    let zone =
        zone_name(unix).unwrap_or_else(|| if offset == "+0000" { "UTC".into() } else { offset.clone() });
    format!("{} {offset} {zone}", at.format("%Y-%m-%d %H:%M:%S"))
}

/// The local zone's abbreviation at a time, read from the zone file.
fn zone_name(unix: i64) -> Option<String> {
    let file = match std::env::var("TZ") {
        Ok(name) if name.is_empty() => return Some("UTC".into()),
        Ok(name) => {
            let name = name.trim_start_matches(':').to_owned();
            if name.contains("..") {
                return None;
            } else {
                std::fs::read(format!("/usr/share/zoneinfo/{name}"))
            }
        }
        Err(_) => std::fs::read("/etc/localtime"),
    };
    abbreviation(&file.ok()?, unix)
}

/// From a version 2 TZif file: the type in force at `unix`, by its transition table, and after the last one that one's.
fn abbreviation(file: &[u8], unix: i64) -> Option<String> {
    let word = |at: usize| Some(u32::from_be_bytes(file.get(at..at + 4)?.try_into().ok()?) as usize);
    let counts = |at: usize| {
        Some([word(at + 20)?, word(at + 24)?, word(at + 28)?, word(at + 32)?, word(at + 36)?, word(at + 40)?])
    };
    if file.get(..4)? != b"TZif" {
        return None;
    }
    let [utc, std, leap, times, types, chars] = counts(0)?;
    let second = 44 + times * 5 + types * 6 + chars + leap * 8 + std + utc;
    let [_, _, _, times, types, chars] = counts(second)?;
    let start = second + 44;
    let moment =
        |n: usize| Some(i64::from_be_bytes(file.get(start + n * 8..start + n * 8 + 8)?.try_into().ok()?));
    let before = (0..times).take_while(|n| moment(*n).is_some_and(|m| m <= unix)).count();
    let kind = match before {
        0 => 0,
        n => usize::from(*file.get(start + times * 8 + n - 1)?),
    };
    let info = start + times * 9;
    let name = usize::from(*file.get(info + kind.min(types.checked_sub(1)?) * 6 + 5)?);
    let text = file.get(info + types * 6 + name..info + types * 6 + chars)?;
    let end = text.iter().position(|b| *b == 0)?;
    Some(String::from_utf8_lossy(&text[..end]).into_owned())
}

/// `--filter a=b` flags as the API's JSON, keys sorted as Go writes them.
pub(crate) fn filters(given: &[&str]) -> Option<String> {
    let mut sets: std::collections::BTreeMap<String, std::collections::BTreeSet<String>> = Default::default();
    for text in given {
        if let Ok((name, value)) = crate::check::filter(text) {
            sets.entry(name).or_default().insert(value);
        }
    }
    if sets.is_empty() {
        return None;
    }
    let object: serde_json::Map<String, Json> = sets
        .into_iter()
        .map(|(name, values)| {
            (name, Json::Object(values.into_iter().map(|v| (v, Json::Bool(true))).collect()))
        })
        .collect();
    Some(Json::Object(object).to_string())
}
