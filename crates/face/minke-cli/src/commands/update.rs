//! `update`: other limits and another restart policy for containers that may be running.

use minke_client::Client;
use serde_json::{Map, Value};

use super::body;
use crate::check;
use crate::command::{Args, Command, Outcome};
use crate::flag::{Complete, Flag, Kind, flag, short};
use crate::given::Given;
use crate::printer::complain;
use crate::session::Session;

const FLAGS: &[Flag] = &[
    flag("blkio-weight", Kind::Uint16, "Share of block I/O, 10 to 1000, or 0 for none").default("0"),
    flag("cpu-period", Kind::Int, "CFS period in microseconds"),
    flag("cpu-quota", Kind::Int, "CFS quota in microseconds"),
    flag("cpu-rt-period", Kind::Int, "Real-time period in microseconds"),
    flag("cpu-rt-runtime", Kind::Int, "Real-time run time in microseconds"),
    short("cpu-shares", 'c', Kind::Int, "Relative share of CPU time"),
    flag("cpus", Kind::Decimal, "How many CPUs' worth of time"),
    flag("cpuset-cpus", Kind::Str, "CPUs to run on (0-3, 0,1)"),
    flag("cpuset-mems", Kind::Str, "Memory nodes to use (0-3, 0,1)"),
    short("memory", 'm', Kind::Bytes, "Limit of memory"),
    flag("memory-reservation", Kind::Bytes, "Soft limit of memory"),
    flag("memory-swap", Kind::Bytes, "Limit of memory plus swap; '-1' for no limit")
        .check(super::options::swap),
    flag("pids-limit", Kind::Int, "Most processes (-1 for no limit)"),
    flag("restart", Kind::Str, "What to do when the container exits"),
];

pub(crate) const UPDATE: Command = Command {
    paths: &["container update", "update"],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Change limits and restart policy of containers",
    details: "",
    args: Args::AtLeast(1),
    flags: &[FLAGS],
    interspersed: true,
    complete: Complete::Containers,
    run,
};

/// Numbers, by flag and by the request's name.
const NUMBERS: [(&str, &str); 7] = [
    ("blkio-weight", "BlkioWeight"),
    ("cpu-period", "CpuPeriod"),
    ("cpu-quota", "CpuQuota"),
    ("cpu-rt-period", "CpuRealtimePeriod"),
    ("cpu-rt-runtime", "CpuRealtimeRuntime"),
    ("cpu-shares", "CpuShares"),
    ("pids-limit", "PidsLimit"),
];
const SIZES: [(&str, &str); 3] =
    [("memory", "Memory"), ("memory-reservation", "MemoryReservation"), ("memory-swap", "MemorySwap")];
const TEXTS: [(&str, &str); 2] = [("cpuset-cpus", "CpusetCpus"), ("cpuset-mems", "CpusetMems")];

fn run(session: &Session, given: &Given) -> Outcome {
    if !FLAGS.iter().any(|flag| given.changed(flag.long)) {
        return Err("you must provide one or more flags when using this command".into());
    }
    let request = request(given)?;
    let client = session.client()?;
    let (mut warnings, mut code) = (Vec::new(), 0);
    for name in &given.args {
        let path = format!("/containers/{}/update", Client::segment(name));
        match client.post(&path).json(&request).send().and_then(|response| response.json()) {
            Ok(answer) => {
                session.out.line(name);
                let told = answer.get("Warnings").and_then(Value::as_array).into_iter().flatten();
                warnings.extend(told.filter_map(Value::as_str).map(str::to_owned));
            }
            Err(error) if error.unreachable() => return Err(error.into()),
            Err(error) => {
                session.out.flush()?;
                complain(&error.to_string());
                code = 1;
            }
        }
    }
    for warning in warnings {
        session.out.line(&warning);
    }
    Ok(code)
}

/// Only what was given: the rest stays as it is.
fn request(given: &Given) -> Result<Value, String> {
    let mut request = Map::new();
    for (flag, name) in NUMBERS {
        if let Some(number) = given.int(flag).filter(|_| given.changed(flag)) {
            request.insert(name.to_owned(), number.into());
        }
    }
    for (flag, name) in SIZES.iter().filter(|(flag, _)| given.changed(flag)) {
        request.insert((*name).to_owned(), body::size(given, flag).into());
    }
    for (flag, name) in TEXTS.iter().filter(|(flag, _)| given.changed(flag)) {
        request.insert((*name).to_owned(), given.str(flag).into());
    }
    if let Some(cpus) = given.get("cpus") {
        request.insert("NanoCpus".to_owned(), check::nano_cpus(cpus)?.into());
    }
    if !given.str("restart").is_empty() {
        request.insert("RestartPolicy".to_owned(), body::restart(given)?);
    }
    Ok(Value::Object(request))
}
