//! The table, as text for people and as JSON with every sample for whoever wants to look closer.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::daemon::PrivateDaemon;
use super::engines::{Engine, Peers};
use super::memory::kilobytes;
use super::options::Options;
use super::rows::{Promise, Row};
use super::stats::{Samples, milliseconds};
use crate::step;

/// What a weight must stay below.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bound {
    Part { of: Engine, at_most: f64, stretch: f64 },
    Kilobytes { at_most: u64, stretch: u64 },
}

/// One engine's weight: kilobytes with a note, or why there is none.
type WeightCell = Result<(u64, String), String>;

/// Kilobytes per engine.
#[derive(Debug)]
pub(crate) struct Weight {
    title: &'static str,
    bound: Bound,
    shown: fn(u64) -> String,
    cells: Vec<(Engine, WeightCell)>,
}

impl Weight {
    pub(crate) fn new(title: &'static str, bound: Bound) -> Self {
        Self { title, bound, shown: kilobytes, cells: Vec::new() }
    }

    /// Amounts that are milliseconds instead of kilobytes.
    pub(crate) fn in_milliseconds(mut self) -> Self {
        self.shown = |amount| format!("{amount} ms");
        self
    }

    pub(crate) fn add(&mut self, engine: Engine, amount: u64, note: String) {
        self.cells.push((engine, Ok((amount, note))));
    }

    pub(crate) fn fail(&mut self, engine: Engine, why: String) {
        self.cells.push((engine, Err(why)));
    }

    fn amount(&self, engine: Engine) -> Option<u64> {
        let (_, cell) = self.cells.iter().find(|(found, _)| *found == engine)?;
        cell.as_ref().ok().map(|(amount, _)| *amount)
    }

    fn verdict(&self) -> (String, String) {
        let Some(ours) = self.amount(Engine::Minke) else { return (String::new(), "no figure".to_owned()) };
        match self.bound {
            Bound::Kilobytes { at_most, stretch } => (
                format!("{} ({})", kilobytes(at_most), kilobytes(stretch)),
                word(ours <= at_most, ours <= stretch),
            ),
            Bound::Part { of, at_most, stretch } => {
                let promise = format!("{} ({}) of {}", part(at_most), part(stretch), of.title());
                let Some(theirs) = self.amount(of) else { return (promise, "no peer".to_owned()) };
                #[expect(clippy::cast_precision_loss, reason = "kilobytes are far below 2^52")]
                let ratio = ours as f64 / theirs as f64;
                (promise, format!("{} {}", part(ratio), word(ratio <= at_most, ratio <= stretch)))
            }
        }
    }
}

/// `1/20` for small parts, `0.65 ×` for those near one.
fn part(ratio: f64) -> String {
    if ratio <= 0.26 { format!("1/{:.1}", 1.0 / ratio).replace(".0", "") } else { format!("{ratio:.2} ×") }
}

fn word(held: bool, stretched: bool) -> String {
    match (held, stretched) {
        (_, true) => "held, stretch too",
        (true, false) => "held",
        (false, false) => "MISSED",
    }
    .to_owned()
}

/// One line of the table.
#[derive(Debug)]
struct Line {
    title: String,
    cells: Vec<(Engine, String)>,
    promise: String,
    verdict: String,
    data: Value,
}

/// Everything measured so far, and about what machine.
#[derive(Debug)]
pub(crate) struct Report {
    machine: Vec<(&'static str, String)>,
    engines: Vec<Engine>,
    lines: Vec<Line>,
    failures: Vec<String>,
}

impl Report {
    pub(crate) fn new(
        options: &Options,
        peers: &Peers,
        daemon: Option<&PrivateDaemon>,
        load: String,
    ) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
        let model = model.trim_start_matches(['\t', ' ', ':']);
        let processors = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        let commit =
            step::output(&["git", "describe", "--always", "--dirty", "--abbrev=12"]).unwrap_or_default();
        let machine = vec![
            ("date", now()),
            ("kernel", read("/proc/sys/kernel/osrelease").trim().to_owned()),
            ("processors", format!("{processors} × {model}")),
            ("processors were", load),
            ("commit", commit.trim().to_owned()),
            ("engines", peers.names().join(", ")),
            ("data", {
                let docker =
                    peers.docker_backing().map_or(String::new(), |kind| format!(", Docker on {kind}"));
                let own = daemon.map_or("nothing", |daemon| &daemon.backing);
                format!("minke on {own}{docker}")
            }),
            ("pause before each sample", format!("{} ms", options.idle.as_millis())),
        ];
        Self { machine, engines: peers.engines().collect(), lines: Vec::new(), failures: Vec::new() }
    }

    pub(crate) fn add_row(&mut self, row: &Row, cells: Vec<(Engine, Result<Samples, String>)>) {
        let ours = if row.promise.against.is_oci() { Engine::MinkeOci } else { Engine::Minke };
        let median = |engine: Engine| {
            let (_, cell) = cells.iter().find(|(found, _)| *found == engine)?;
            cell.as_ref().ok().and_then(Samples::median)
        };
        let (mut promise, mut verdict) = judge(row.promise, median(ours), median(row.promise.against));
        if let Some(other) = row.also {
            let (second, found) = judge(other, median(ours), median(other.against));
            promise = format!("{promise}, {second}");
            verdict = format!("{verdict}; {found}");
        }
        let mut texts = Vec::new();
        let mut data = Map::new();
        for (engine, cell) in &cells {
            match cell {
                Ok(samples) => {
                    texts.push((*engine, time_cell(samples, median(ours).filter(|_| *engine != ours))));
                    let nanos: Vec<_> = samples
                        .all()
                        .iter()
                        .map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
                        .collect();
                    data.insert(engine.name().to_owned(), json!({ "nanoseconds": nanos }));
                }
                Err(error) => {
                    texts.push((*engine, "failed".to_owned()));
                    data.insert(engine.name().to_owned(), json!({ "failed": error }));
                    self.failures.push(format!("{}, {}: {error}", row.title, engine.title()));
                }
            }
        }
        let data = json!({ "row": row.key, "engines": data });
        self.lines.push(Line { title: row.title.to_owned(), cells: texts, promise, verdict, data });
    }

    pub(crate) fn add_weight(&mut self, weight: Weight) {
        let (promise, verdict) = weight.verdict();
        let mut texts = Vec::new();
        let mut data = Map::new();
        for (engine, cell) in &weight.cells {
            match cell {
                Ok((amount, note)) => {
                    // A list of programs would burst the table; the JSON has it.
                    let short = if note.len() <= 16 && note != engine.name() {
                        format!(" ({note})")
                    } else {
                        String::new()
                    };
                    texts.push((*engine, format!("{}{short}", (weight.shown)(*amount))));
                    data.insert(
                        engine.name().to_owned(),
                        json!({ "amount": (weight.shown)(*amount), "kilobytes": amount, "note": note }),
                    );
                }
                Err(error) => {
                    texts.push((*engine, "failed".to_owned()));
                    self.failures.push(format!("{}, {}: {error}", weight.title, engine.title()));
                }
            }
        }
        let data = json!({ "row": weight.title, "engines": data });
        self.lines.push(Line { title: weight.title.to_owned(), cells: texts, promise, verdict, data });
    }

    /// The newest line, for people who watch.
    pub(crate) fn last_line(&self) -> String {
        let Some(line) = self.lines.last() else { return String::new() };
        let cells: Vec<_> =
            line.cells.iter().map(|(engine, text)| format!("{} {text}", engine.title())).collect();
        format!("{}: {} [{}]", line.title, cells.join(" | "), line.verdict)
    }

    /// The whole table, in Markdown.
    pub(crate) fn table(&self) -> String {
        let columns: Vec<Engine> =
            self.engines.iter().copied().filter(|engine| *engine != Engine::MinkeOci).collect();
        let mut text = String::from("| work |");
        for engine in &columns {
            text.push_str(&format!(" {} |", engine.title()));
        }
        text.push_str(" promise (stretch) | now |\n|---|");
        text.push_str(&"---|".repeat(columns.len() + 2));
        text.push('\n');
        for line in &self.lines {
            text.push_str(&format!("| {} |", line.title));
            for engine in &columns {
                let shown = |found: Engine| {
                    found == *engine || (found == Engine::MinkeOci && *engine == Engine::Minke)
                };
                let cell = line.cells.iter().find(|(found, _)| shown(*found)).map_or("–", |(_, text)| text);
                text.push_str(&format!(" {cell} |"));
            }
            text.push_str(&format!(" {} | {} |\n", line.promise, line.verdict));
        }
        if !self.failures.is_empty() {
            text.push_str("\nFailed:\n\n");
            for failure in &self.failures {
                text.push_str(&format!("- {}\n", failure.replace('\n', " ")));
            }
        }
        text
    }

    /// Writes the table and the samples as `DATE-KERNEL.md` and `.json`; answers their names.
    pub(crate) fn write(&self, dir: &Path) -> Result<Vec<String>> {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let fact =
            |key: &str| self.machine.iter().find(|(found, _)| *found == key).map_or("", |(_, value)| value);
        let stem = format!("{}-{}", fact("date").get(..10).unwrap_or_default(), fact("kernel"));
        let mut text = format!("# Benchmark of {}\n\n", fact("date"));
        for (key, value) in &self.machine {
            text.push_str(&format!("- {key}: {value}\n"));
        }
        text.push_str("\nMedian (95th percentile); in the other columns, how many times minke's median.\n\n");
        text.push_str(&self.table());
        let machine: Map<String, Value> =
            self.machine.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
        let rows: Vec<_> = self.lines.iter().map(|line| &line.data).collect();
        let data = serde_json::to_string(&json!({ "machine": machine, "rows": rows }))?;
        let mut names = Vec::new();
        for (suffix, content) in [("md", text), ("json", data)] {
            let path = dir.join(format!("{stem}.{suffix}"));
            fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
            names.push(path.display().to_string());
        }
        Ok(names)
    }
}

fn judge(promise: Promise, ours: Option<Duration>, theirs: Option<Duration>) -> (String, String) {
    let text =
        format!("{} ({}) of {}", part(promise.at_most), part(promise.stretch), promise.against.title());
    let verdict = match (ours, theirs) {
        (Some(ours), Some(theirs)) => {
            let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
            format!("{} {}", part(ratio), word(ratio <= promise.at_most, ratio <= promise.stretch))
        }
        (None, _) => "no figure".to_owned(),
        (_, None) => "no peer".to_owned(),
    };
    (text, verdict)
}

fn time_cell(samples: &Samples, ours: Option<Duration>) -> String {
    let (Some(median), Some(p95)) = (samples.median(), samples.p95()) else { return "–".to_owned() };
    let times =
        ours.map_or(String::new(), |ours| format!(", ×{:.1}", median.as_secs_f64() / ours.as_secs_f64()));
    format!("{} ({}) ms{times}", figure(milliseconds(median)), figure(milliseconds(p95)))
}

/// Three figures are as many as repeat.
fn figure(value: f64) -> String {
    match value {
        0.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// The moment in UTC, by the `date` program: the bench needs no calendar of its own.
fn now() -> String {
    step::output(&["date", "-u", "+%Y-%m-%d %H:%M UTC"])
        .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_read_like_the_promises() {
        assert_eq!(
            [part(0.05), part(0.65), part(1.0 / 12.5), part(0.25)],
            ["1/20", "0.65 ×", "1/12.5", "1/4"]
        );
    }

    #[test]
    fn a_promise_is_held_missed_or_stretched() {
        let promise = Promise { against: Engine::Docker, at_most: 0.05, stretch: 0.025 };
        let verdict = |ours: u64| {
            judge(promise, Some(Duration::from_millis(ours)), Some(Duration::from_millis(1000))).1
        };
        assert_eq!(
            [verdict(20), verdict(50), verdict(51)],
            ["1/50 held, stretch too", "1/20 held", "1/19.6 MISSED"]
        );
        assert_eq!(judge(promise, None, None).1, "no figure");
        assert_eq!(judge(promise, Some(Duration::from_millis(1)), None).1, "no peer");
    }
}
