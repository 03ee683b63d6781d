//! `version`, and the one line of `--version`.

use super::inspect::FORMAT;
use super::schema;
use crate::command::{Args, Command, Outcome};
use crate::failure::Failure;
use crate::flag::{Complete, Flag, Kind, short as short_flag};
use crate::given::Given;
use crate::session::Session;
use minke_template::table::Tabwriter;
use minke_template::{Mode, Template};
use serde_json::{Value, json};
use std::fmt::Write;

const FLAGS: &[Flag] = &[short_flag("format", 'f', Kind::Str, FORMAT)];

pub(crate) const VERSION: Command = Command {
    paths: &["version"],
    usage: "[OPTIONS]",
    about: "Show versions of client and engine",
    details: "",
    args: Args::None,
    flags: &[FLAGS],
    interspersed: true,
    complete: Complete::Nothing,
    run,
};

/// The newest API version this client speaks.
pub(crate) const API: &str = "1.56";

/// The commit this was built from, when the build says so.
const COMMIT: &str = match option_env!("MINKE_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// When it was built, when the build says so.
const BUILT: &str = match option_env!("MINKE_BUILT") {
    Some(time) => time,
    None => "unknown",
};

/// The compiler, where Docker names Go's.
const COMPILER: &str = concat!("rust", env!("CARGO_PKG_RUST_VERSION"));

/// `Docker version 28.2.2, build e6534b4`, with our name.
pub(crate) fn short(program: &str) -> String {
    let name = if program == "docker" { "Docker" } else { "minke" };
    format!("{name} version {}, build {COMMIT}", crate::VERSION)
}

fn machine() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

/// What is known of this client, as Docker's `ClientVersion`.
pub(crate) fn client(session: &Session, negotiated: &str) -> Result<Value, Failure> {
    Ok(json!({
        "Version": crate::VERSION,
        "ApiVersion": negotiated,
        "DefaultAPIVersion": API,
        "GitCommit": COMMIT,
        "GoVersion": COMPILER,
        "Os": "linux",
        "Arch": machine(),
        "BuildTime": BUILT,
        "Context": session.context_name()?,
    }))
}

/// The lower of two API versions.
pub(crate) fn lower<'a>(a: &'a str, b: &'a str) -> &'a str {
    let number =
        |v: &str| v.split_once('.').and_then(|(x, y)| Some((x.parse::<u32>().ok()?, y.parse::<u32>().ok()?)));
    match (number(a), number(b)) {
        (Some(x), Some(y)) if y < x => b,
        _ => a,
    }
}

fn run(session: &Session, given: &Given) -> Outcome {
    let client_api = session.client()?.version().unwrap_or(API).to_owned();
    let template = match given.str("format") {
        "" => None,
        "json" => Some("{{json .}}".to_owned()),
        text => Some(crate::format::unescape(text)),
    };
    let template = template
        .map(|text| Template::parse(&text).map_err(|e| e.named("version")))
        .transpose()
        .map_err(|e| Failure::new(64, format!("template parsing error: {e}")))?;
    let answer = session.client()?.get("/version").send().and_then(minke_client::Response::json);
    let (server, error) = match answer {
        Ok(mut server) => {
            readable_times(&mut server);
            (Some(server), None)
        }
        Err(error) => (None, Some(error)),
    };
    let server_api = server.as_ref().and_then(|s| s.get("ApiVersion")).and_then(Value::as_str);
    let negotiated = lower(&client_api, server_api.unwrap_or(&client_api)).to_owned();
    let client = client(session, &negotiated)?;
    match template {
        None => session.out.text(&text(&client, server.as_ref())),
        Some(template) => {
            let document = json!({"Client": client, "Server": server});
            let value = schema::version().read("Version", &document);
            let mut out = String::new();
            let ran = template.execute(&value, Mode::Lenient, &mut out);
            session.out.line(&out);
            ran.map_err(|e| Failure::new(1, e.named("version").to_string()))?;
        }
    }
    match error {
        None => Ok(0),
        Some(error) => {
            session.out.flush()?;
            Err(error.into())
        }
    }
}

/// Docker's client shows the build time of the engine's component in its own form.
fn readable_times(server: &mut Value) {
    for component in server.get_mut("Components").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(time) = component.pointer_mut("/Details/BuildTime") {
            *time = built(time.as_str().unwrap_or_default()).into();
        }
    }
}

fn word<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// `Fri May 30 12:07:14 2025` from the API's time.
fn built(text: &str) -> String {
    match chrono::DateTime::parse_from_rfc3339(text) {
        Ok(at) => at.to_utc().format("%a %b %e %H:%M:%S %Y").to_string(),
        Err(_) => text.to_owned(),
    }
}

fn text(client: &Value, server: Option<&Value>) -> String {
    let mut out = String::from("Client:\n");
    let mut put = |depth: usize, key: &str, value: &str| {
        let blank = " ".repeat(depth);
        let _infallible = writeln!(out, "{blank}{key}:\t{value}");
    };
    let api = match (word(client, "ApiVersion"), word(client, "DefaultAPIVersion")) {
        (a, b) if a == b => a.to_owned(),
        (a, b) => format!("{a} (downgraded from {b})"),
    };
    put(1, "Version", word(client, "Version"));
    put(1, "API version", &api);
    put(1, "Go version", word(client, "GoVersion"));
    put(1, "Git commit", word(client, "GitCommit"));
    put(1, "Built", &built(word(client, "BuildTime")));
    put(1, "OS/Arch", &format!("{}/{}", word(client, "Os"), word(client, "Arch")));
    put(1, "Context", word(client, "Context"));
    if let Some(server) = server {
        let platform = server.pointer("/Platform/Name").and_then(Value::as_str).unwrap_or_default();
        let title = if platform.is_empty() { String::new() } else { format!(" {platform}") };
        out.push_str(&format!("\nServer:{title}\n"));
        let mut put = |depth: usize, key: &str, value: &str| {
            let blank = " ".repeat(depth);
            let tab = if value.is_empty() && key != "GitCommit" { "" } else { "\t" };
            let _infallible = writeln!(out, "{blank}{key}:{tab}{value}");
        };
        for component in server.get("Components").and_then(Value::as_array).into_iter().flatten() {
            put(1, word(component, "Name"), "");
            put(2, "Version", word(component, "Version"));
            let details = component.get("Details").cloned().unwrap_or_default();
            let detail = |key: &str| details.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            if word(component, "Name") == "Engine" {
                put(
                    2,
                    "API version",
                    &format!("{} (minimum version {})", detail("ApiVersion"), detail("MinAPIVersion")),
                );
                put(2, "Go version", &detail("GoVersion"));
                put(2, "Git commit", &detail("GitCommit"));
                put(2, "Built", &built(&detail("BuildTime")));
                put(2, "OS/Arch", &format!("{}/{}", detail("Os"), detail("Arch")));
                put(2, "Experimental", &detail("Experimental"));
            } else {
                let mut names: Vec<&String> =
                    details.as_object().map(|d| d.keys().collect()).unwrap_or_default();
                names.sort();
                for name in names {
                    put(2, name, &detail(name));
                }
            }
        }
    }
    Tabwriter { min_width: 20, padding: 1 }.align(&out)
}
