//! `container prune`, `image prune`, `system prune`.

use crate::command::{Args, Command, Outcome};
use crate::failure::Failure;
use crate::flag::{Complete, Flag, Kind, flag, short};
use crate::format::filters;
use crate::given::Given;
use crate::session::Session;
use minke_base::size;
use minke_client::Request;
use serde_json::Value;
use std::io::BufRead;

const CONTAINER_FLAGS: &[Flag] = &[
    flag("filter", Kind::Filter, "Remove only what fits (\"until=<timestamp>\")"),
    short("force", 'f', Kind::Bool, "Do not ask"),
];

pub(crate) const CONTAINER_PRUNE: Command = Command {
    paths: &["container prune"],
    usage: "[OPTIONS]",
    about: "Remove all stopped containers",
    details: "",
    args: Args::None,
    flags: &[CONTAINER_FLAGS],
    interspersed: true,
    complete: Complete::Nothing,
    run: |session, given| {
        if !sure(session, given, "WARNING! This will remove all stopped containers.")? {
            return Ok(0);
        }
        let (text, space) = containers(session, given)?;
        report(session, &text, space);
        Ok(0)
    },
};

const IMAGE_FLAGS: &[Flag] = &[
    short("all", 'a', Kind::Bool, "Remove every image that no container uses"),
    flag("filter", Kind::Filter, "Remove only what fits (\"until=<timestamp>\")"),
    short("force", 'f', Kind::Bool, "Do not ask"),
];

pub(crate) const IMAGE_PRUNE: Command = Command {
    paths: &["image prune"],
    usage: "[OPTIONS]",
    about: "Remove images that nothing uses",
    details: "",
    args: Args::None,
    flags: &[IMAGE_FLAGS],
    interspersed: true,
    complete: Complete::Nothing,
    run: |session, given| {
        let warning = if given.on("all") {
            "WARNING! This will remove all images without at least one container associated to them."
        } else {
            "WARNING! This will remove all dangling images."
        };
        if !sure(session, given, warning)? {
            return Ok(0);
        }
        let (text, space) = images(session, given)?;
        report(session, &text, space);
        Ok(0)
    },
};

const SYSTEM_FLAGS: &[Flag] = &[
    short("all", 'a', Kind::Bool, "Remove every image that no container uses"),
    flag("filter", Kind::Filter, "Remove only what fits (\"label=<key>=<value>\")"),
    short("force", 'f', Kind::Bool, "Do not ask"),
    flag("volumes", Kind::Bool, "Remove anonymous volumes too"),
];

pub(crate) const SYSTEM_PRUNE: Command = Command {
    paths: &["system prune"],
    usage: "[OPTIONS]",
    about: "Remove what nothing uses",
    details: "",
    args: Args::None,
    flags: &[SYSTEM_FLAGS],
    interspersed: true,
    complete: Complete::Nothing,
    run: system,
};

pub(crate) fn report(session: &Session, text: &str, space: u64) {
    if !text.is_empty() {
        session.out.line(text);
    }
    session.out.line(&format!("Total reclaimed space: {}", size::human(space)));
}

/// Asks on the terminal; only `y` means yes.
pub(crate) fn sure(session: &Session, given: &Given, warning: &str) -> Result<bool, Failure> {
    agreed(session, given, &format!("{warning}\nAre you sure you want to continue?"))
}

/// The same with a question of one's own.
pub(crate) fn agreed(session: &Session, given: &Given, question: &str) -> Result<bool, Failure> {
    if given.on("force") {
        return Ok(true);
    }
    session.out.text(&format!("{question} [y/N] "));
    session.out.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}

fn prune(session: &Session, given: &Given, path: &str, extra: &[&str]) -> Result<Value, Failure> {
    let mut wanted = given.list("filter");
    wanted.extend(extra);
    let mut call = session.client()?.post(path);
    if let Some(filters) = filters(&wanted) {
        call = call.query("filters", filters);
    }
    Ok(call.send()?.json()?)
}

fn space(answer: &Value) -> u64 {
    answer.get("SpaceReclaimed").and_then(Value::as_u64).unwrap_or(0)
}

pub(crate) fn names<'a>(answer: &'a Value, key: &str) -> Vec<&'a str> {
    answer.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

pub(crate) fn lines(title: &str, names: &[&str]) -> String {
    if names.is_empty() { String::new() } else { format!("{title}:\n{}\n", names.join("\n")) }
}

fn containers(session: &Session, given: &Given) -> Result<(String, u64), Failure> {
    let answer = prune(session, given, "/containers/prune", &[])?;
    Ok((lines("Deleted Containers", &names(&answer, "ContainersDeleted")), space(&answer)))
}

fn images(session: &Session, given: &Given) -> Result<(String, u64), Failure> {
    let dangling = if given.on("all") { "dangling=false" } else { "dangling=true" };
    let answer = prune(session, given, "/images/prune", &[dangling])?;
    let mut text = String::new();
    let list = answer.get("ImagesDeleted").and_then(Value::as_array);
    for item in list.into_iter().flatten() {
        for (key, word) in [("Untagged", "untagged"), ("Deleted", "deleted")] {
            if let Some(name) = item.get(key).and_then(Value::as_str).filter(|n| !n.is_empty()) {
                text.push_str(&format!("{word}: {name}\n"));
            }
        }
    }
    if !text.is_empty() {
        text.insert_str(0, "Deleted Images:\n");
    }
    Ok((text, space(&answer)))
}

/// The request for a prune with the filters that were given.
fn request<'s>(session: &'s Session, given: &Given, path: &str) -> Result<Request<'s>, Failure> {
    let call = session.client()?.post(path);
    Ok(match filters(&given.list("filter")) {
        Some(filters) => call.query("filters", filters),
        None => call,
    })
}

/// The cache of builds, as far as the limits want it.
pub(crate) fn builds(
    session: &Session,
    given: &Given,
    limits: &[(&str, String)],
) -> Result<(String, u64), Failure> {
    let mut call = request(session, given, "/build/prune")?.flag("all", given.on("all"));
    for (name, bytes) in limits {
        call = call.query(name, bytes);
    }
    let answer = call.send()?.json()?;
    Ok((lines(CACHE.1, &names(&answer, CACHE.0)), space(&answer)))
}

/// The list in the answer, and its title.
const CACHE: (&str, &str) = ("CachesDeleted", "Deleted build cache objects");

/// What this engine keeps besides containers and images; one without them says 404 or 501.
fn optional(call: Request<'_>, (key, title): (&str, &str)) -> Result<(String, u64), Failure> {
    match call.send() {
        Ok(response) => {
            let answer = response.json()?;
            Ok((lines(title, &names(&answer, key)), space(&answer)))
        }
        Err(error) if matches!(error.status(), Some(404 | 501)) => Ok((String::new(), 0)),
        Err(error) => Err(error.into()),
    }
}

fn system(session: &Session, given: &Given) -> Outcome {
    let until = given.list("filter").iter().any(|f| f.starts_with("until="));
    if given.on("volumes") && until {
        return Err("ERROR: The \"until\" filter is not supported with \"--volumes\"".into());
    }
    let mut parts = vec!["all stopped containers", "all networks not used by at least one container"];
    if given.on("volumes") {
        parts.push("all anonymous volumes not used by at least one container");
    }
    parts.push(if given.on("all") {
        "all images without at least one container associated to them"
    } else {
        "all dangling images"
    });
    parts.push(if given.on("all") { "all build cache" } else { "unused build cache" });
    let mut warning = String::from("WARNING! This will remove:\n");
    for part in parts {
        warning.push_str(&format!("  - {part}\n"));
    }
    let wanted = given.list("filter");
    if !wanted.is_empty() {
        warning.push_str("\n  Items to be pruned will be filtered with:\n");
        for filter in wanted {
            warning.push_str(&format!("  - {filter}\n"));
        }
    }
    if !sure(session, given, &warning)? {
        return Ok(0);
    }
    let mut total = 0;
    let mut out = String::new();
    let mut add = |(text, space): (String, u64)| {
        if !text.is_empty() {
            out.push_str(&text);
            out.push('\n');
        }
        total += space;
    };
    add(containers(session, given)?);
    let networks = request(session, given, "/networks/prune")?;
    add(optional(networks, ("NetworksDeleted", "Deleted Networks"))?);
    if given.on("volumes") {
        let volumes = request(session, given, "/volumes/prune")?;
        add(optional(volumes, ("VolumesDeleted", "Deleted Volumes"))?);
    }
    add(images(session, given)?);
    let cache = request(session, given, "/build/prune")?.flag("all", given.on("all"));
    add(optional(cache, CACHE)?);
    session.out.text(&out);
    report(session, "", total);
    Ok(0)
}
