//! `volume create`, `rm`, `prune`, `update`: what changes volumes. Looking at them is in `volume_list.rs`.

use super::each::for_each_of;
use super::prune;
use crate::check;
use crate::command::{Args, Command};
use crate::failure::Failure;
use crate::flag::{Complete, Flag, Kind, flag, short};
use crate::format::filters;
use crate::given::Given;
use minke_base::size;
use minke_client::Client;
use serde_json::{Value, json};

const CREATE_FLAGS: &[Flag] = &[
    short("driver", 'd', Kind::Str, "Driver of the volume")
        .default("local")
        .complete(Complete::Words(&["local"])),
    flag("label", Kind::List, "Label of the volume").check(check::label),
    short("opt", 'o', Kind::Map, "Option of the driver").default("map[]"),
];

pub(crate) const CREATE: Command = Command {
    paths: &["volume create"],
    usage: "[OPTIONS] [VOLUME]",
    about: "Make a volume",
    details: "Without a name it gets one of 64 hexadecimal digits. The driver `local` takes `type`, `device` and `o` as mount(8) does: \
        `-o type=tmpfs -o device=tmpfs -o o=size=64m`.",
    args: Args::Between(0, 1),
    flags: &[CREATE_FLAGS],
    interspersed: true,
    complete: Complete::Nothing,
    run: |session, given| {
        let answer = session.client()?.post("/volumes/create").json(&creation(given)).send()?.json()?;
        session.out.line(answer.get("Name").and_then(Value::as_str).unwrap_or_default());
        Ok(0)
    },
};

/// The document for `POST /volumes/create`.
fn creation(given: &Given) -> Value {
    json!({
        "Name": given.args.first().map_or("", String::as_str),
        "Driver": given.get("driver").unwrap_or("local"),
        "DriverOpts": super::body::pairs(&given.list("opt")),
        "Labels": super::body::pairs(&given.list("label")),
    })
}

const RM_FLAGS: &[Flag] = &[short("force", 'f', Kind::Bool, "A volume that is not there is no error")];

pub(crate) const RM: Command = Command {
    paths: &["volume rm", "volume remove"],
    usage: "[OPTIONS] VOLUME [VOLUME...]",
    about: "Remove volumes that no container has",
    details: "",
    args: Args::AtLeast(1),
    flags: &[RM_FLAGS],
    interspersed: true,
    complete: Complete::Volumes,
    run: |session, given| {
        let client = session.client()?;
        for_each_of("volumes", session, given, |_, path| match given.on("force") {
            true => client.delete(&path).flag("force", true),
            false => client.delete(&path),
        })
    },
};

const PRUNE_FLAGS: &[Flag] = &[
    short("all", 'a', Kind::Bool, "Those that a person has named, too"),
    flag("filter", Kind::Filter, "Remove only what fits (\"label=<label>\")"),
    short("force", 'f', Kind::Bool, "Do not ask"),
];

pub(crate) const PRUNE: Command = Command {
    paths: &["volume prune"],
    usage: "[OPTIONS]",
    about: "Remove volumes that no container has",
    details: "",
    args: Args::None,
    flags: &[PRUNE_FLAGS],
    interspersed: true,
    complete: Complete::Nothing,
    run: |session, given| {
        let mut wanted = given.list("filter");
        let kind = if given.on("all") {
            if wanted.iter().any(|filter| filter.starts_with("all=")) {
                return Err(Failure::new(
                    1,
                    "conflicting options: cannot specify both --all and --filter all=1",
                ));
            }
            wanted.push("all=true");
            "all local volumes"
        } else {
            "anonymous local volumes"
        };
        let warning = format!("WARNING! This will remove {kind} not used by at least one container.");
        if !prune::sure(session, given, &warning)? {
            return Ok(0);
        }
        let mut call = session.client()?.post("/volumes/prune");
        if let Some(filters) = filters(&wanted) {
            call = call.query("filters", filters);
        }
        let answer = call.send()?.json()?;
        let deleted = prune::lines("Deleted Volumes", &prune::names(&answer, "VolumesDeleted"));
        if !deleted.is_empty() {
            session.out.line(&deleted);
        }
        let space = answer.get("SpaceReclaimed").and_then(Value::as_u64).unwrap_or(0);
        session.out.line(&format!("Total reclaimed space: {}", size::human(space)));
        Ok(0)
    },
};

const UPDATE_FLAGS: &[Flag] =
    &[flag("availability", Kind::Str, "Availability of a volume of a swarm").default("active")];

pub(crate) const UPDATE: Command = Command {
    paths: &["volume update"],
    usage: "[OPTIONS] [VOLUME]",
    about: "Change a volume of a swarm",
    details: "Volumes of one host cannot be changed.",
    args: Args::Exactly(1),
    flags: &[UPDATE_FLAGS],
    interspersed: true,
    complete: Complete::Volumes,
    run: |session, given| {
        let path = format!("/volumes/{}", Client::segment(&given.args[0]));
        let client = session.client()?;
        client.get(&path).send()?.json()?;
        Err(Failure::new(1, "Can only update cluster volumes"))
    },
};
