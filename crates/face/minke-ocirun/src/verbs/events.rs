//! `events`: usage and out-of-memory events as JSON lines, in runc's shape.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use minke_cgroup::stats::{BlkioEntry, MemoryAmount};
use minke_cgroup::{Cgroup, Stats};
use rustix::event::{PollFd, Timespec, poll};
use serde_json::{Map, Value, json};

use super::id;
use crate::flags::{FlagError, Parsed};
use crate::report::print;
use crate::state::{Home, Status};
use crate::{Globals, OciError};

pub(super) fn events(globals: &Globals, parsed: &Parsed) -> Result<ExitCode, OciError> {
    let interval = interval(parsed)?;
    let home = Home::new(&globals.root, &id(parsed))?;
    let record = home.load()?;
    if record.status(&home) == Status::Stopped {
        return Err(OciError::NotRunning);
    }
    let group = record.require_cgroup()?;
    if parsed.is_set("stats") {
        print_stats(&home.id, &group)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut watch = group.watch_oom()?;
    let mut next = Instant::now() + interval;
    while record.is_alive() {
        let left = next.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).expect("an interval fits a timespec");
        let mut fds: Vec<PollFd<'_>> =
            watch.iter().map(|w| PollFd::from_borrowed_fd(w.fd(), w.interest())).collect();
        let ready = match poll(&mut fds, Some(&timeout)) {
            Ok(count) => count > 0,
            Err(rustix::io::Errno::INTR) => false,
            Err(e) => return Err(OciError::kernel("wait for events", e)),
        };
        if ready && let Some(watch) = &mut watch {
            for _ in 0..watch.take()? {
                print(&(json!({"type": "oom", "id": home.id}).to_string() + "\n"))?;
            }
        }
        if Instant::now() >= next {
            print_stats(&home.id, &group)?;
            next += interval;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn interval(parsed: &Parsed) -> Result<Duration, OciError> {
    let Some(text) = parsed.text("interval") else { return Ok(Duration::from_secs(5)) };
    let nanos = minke_base::duration::parse_go(&text).ok().and_then(|n| u64::try_from(n).ok());
    let reason = "duration interval must be greater than 0";
    let wrong = FlagError::Invalid { name: "interval", value: text, reason };
    nanos.filter(|n| *n > 0).map(Duration::from_nanos).ok_or(wrong.into())
}

fn print_stats(id: &str, group: &Cgroup) -> Result<(), OciError> {
    let data = document(&group.read_stats()?);
    print(&(json!({"type": "stats", "id": id, "data": data}).to_string() + "\n"))
}

/// An object without the keys whose value is zero or empty: Go's `omitempty`.
fn compact(pairs: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let empty = |v: &Value| match v {
        Value::Number(n) => n.as_u64() == Some(0),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    };
    let kept = pairs.into_iter().filter(|(_, v)| !empty(v)).map(|(k, v)| (k.to_owned(), v));
    Value::Object(kept.collect::<Map<_, _>>())
}

/// Keys that Go writes even when they are zero.
fn with(mut object: Value, pairs: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    for (key, value) in pairs {
        object[key] = value;
    }
    object
}

fn amount(amount: &MemoryAmount) -> Value {
    let rest = compact([("usage", amount.usage.into()), ("max", amount.max_usage.into())]);
    with(
        json!({"limit": amount.limit}),
        rest.as_object()
            .cloned()
            .unwrap_or_default()
            .into_iter()
            .map(|(k, v)| (if k == "usage" { "usage" } else { "max" }, v))
            .chain([("failcnt", amount.failcnt.into())]),
    )
}

fn entries(list: &[BlkioEntry]) -> Value {
    let entry = |e: &BlkioEntry| {
        compact([
            ("major", e.major.into()),
            ("minor", e.minor.into()),
            ("op", e.op.as_str().into()),
            ("value", e.value.into()),
        ])
    };
    list.iter().map(entry).collect()
}

fn document(stats: &Stats) -> Value {
    let (cpu, memory, io) = (&stats.cpu, &stats.memory, &stats.blkio);
    let usage = with(
        compact([
            ("total", cpu.total.into()),
            ("percpu", cpu.percpu.clone().into()),
            ("percpu_kernel", cpu.percpu_kernel.clone().into()),
            ("percpu_user", cpu.percpu_user.clone().into()),
        ]),
        [("kernel", cpu.kernel.into()), ("user", cpu.user.into())],
    );
    let throttling = compact([
        ("periods", cpu.periods.into()),
        ("throttledPeriods", cpu.throttled_periods.into()),
        ("throttledTime", cpu.throttled_time.into()),
    ]);
    let raw: Map<String, Value> = memory.stats.iter().map(|(k, v)| (k.clone(), (*v).into())).collect();
    let hugetlb: Map<String, Value> = stats
        .hugetlb
        .iter()
        .map(|(size, h)| {
            let value = with(
                compact([("usage", h.usage.into()), ("max", h.max_usage.into())]),
                [("failcnt", h.failcnt.into())],
            );
            (size.clone(), value)
        })
        .collect();
    json!({
        "cpu": {"usage": usage, "throttling": throttling},
        "cpuset": {},
        "memory": with(compact([("cache", memory.cache.into())]), [
            ("usage", amount(&memory.usage)),
            ("swap", amount(&memory.swap)),
            ("kernel", amount(&memory.kernel)),
            ("kernelTCP", amount(&memory.kernel_tcp)),
            ("raw", Value::Object(raw)),
        ]),
        "pids": compact([("current", stats.pids.current.into()), ("limit", stats.pids.limit.into())]),
        "blkio": compact([
            ("ioServiceBytesRecursive", entries(&io.service_bytes)),
            ("ioServicedRecursive", entries(&io.serviced)),
            ("ioQueueRecursive", entries(&io.queued)),
            ("ioServiceTimeRecursive", entries(&io.service_time)),
            ("ioWaitTimeRecursive", entries(&io.wait_time)),
            ("ioMergedRecursive", entries(&io.merged)),
            ("ioTimeRecursive", entries(&io.time)),
            ("sectorsRecursive", entries(&io.sectors)),
        ]),
        "hugetlb": hugetlb,
        "intel_rdt": {},
        "network_interfaces": Value::Null,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_runcs_keys_and_leaves_zeroes_out_where_go_does() {
        let mut stats = Stats::default();
        stats.cpu.total = 7;
        stats.memory.usage = MemoryAmount { usage: 5, max_usage: 0, failcnt: 0, limit: 9 };
        stats.pids.current = 2;
        stats.blkio.service_bytes.push(BlkioEntry { major: 8, minor: 0, op: "Read".into(), value: 4 });
        let document = document(&stats);
        assert_eq!(document["cpu"], json!({"usage": {"total": 7, "kernel": 0, "user": 0}, "throttling": {}}));
        assert_eq!(document["memory"]["usage"], json!({"limit": 9, "usage": 5, "failcnt": 0}));
        assert_eq!(document["pids"], json!({"current": 2}));
        let expected = json!({"ioServiceBytesRecursive": [{"major": 8, "op": "Read", "value": 4}]});
        assert_eq!(document["blkio"], expected);
    }
}
