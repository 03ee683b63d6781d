//! `context ls|use|show|inspect|create|update|rm`: named engines.

use super::inspect::FORMAT as DOCUMENT_FORMAT;
use super::ps::FORMAT;
use crate::check;
use crate::command::{Args, Command, Outcome};
use crate::failure::{Failure, go_io};
use crate::flag::{Complete, Flag, Kind, flag, short};
use crate::format::{Format, Row, Shape};
use crate::given::Given;
use crate::printer::complain;
use crate::session::Session;
use minke_client::Endpoint;
use minke_client::contexts::{Context, ContextError, DEFAULT, TLS_FILES, check_name};
use minke_template::Value;
use serde_json::{Value as Json, json};
use std::env;

const NONE: Complete = Complete::Nothing;

const fn command(
    paths: &'static [&'static str],
    usage: &'static str,
    about: &'static str,
    args: Args,
    flags: &'static [&'static [Flag]],
    run: fn(&Session, &Given) -> Outcome,
) -> Command {
    let complete = match args {
        Args::None => NONE,
        _ => Complete::Contexts,
    };
    Command { paths, usage, about, details: "", args, flags, interspersed: true, complete, run }
}

const LS_FLAGS: &[Flag] =
    &[flag("format", Kind::Str, FORMAT), short("quiet", 'q', Kind::Bool, "Print names only")];

pub(crate) const LS: Command =
    command(&["context ls", "context list"], "[OPTIONS]", "List contexts", Args::None, &[LS_FLAGS], list);

pub(crate) const USE: Command =
    command(&["context use"], "CONTEXT", "Make a context the current one", Args::Exactly(1), &[], choose);

pub(crate) const SHOW: Command =
    command(&["context show"], "", "Print the current context's name", Args::None, &[], |session, _| {
        session.out.line(&session.context_name()?);
        Ok(0)
    });

const INSPECT_FLAGS: &[Flag] = &[short("format", 'f', Kind::Str, DOCUMENT_FORMAT)];

pub(crate) const INSPECT: Command = command(
    &["context inspect"],
    "[OPTIONS] [CONTEXT] [CONTEXT...]",
    "Show all that is known of contexts",
    Args::AtLeast(0),
    &[INSPECT_FLAGS],
    inspect,
);

const CREATE_FLAGS: &[Flag] = &[
    flag("description", Kind::Str, "What the context is for"),
    flag("docker", Kind::Pairs, "Where the engine is: host=, ca=, cert=, key=, skip-tls-verify=, from=")
        .default("[]"),
    flag("from", Kind::Str, "Context to copy").complete(Complete::Contexts),
];

pub(crate) const CREATE: Command = command(
    &["context create"],
    "[OPTIONS] CONTEXT",
    "Make a context",
    Args::Exactly(1),
    &[CREATE_FLAGS],
    create,
);

const UPDATE_FLAGS: &[Flag] = &[CREATE_FLAGS[0], CREATE_FLAGS[1]];

pub(crate) const UPDATE: Command = command(
    &["context update"],
    "[OPTIONS] CONTEXT",
    "Change a context",
    Args::Exactly(1),
    &[UPDATE_FLAGS],
    update,
);

const RM_FLAGS: &[Flag] = &[short("force", 'f', Kind::Bool, "Remove it even when it is the current one")];

pub(crate) const RM: Command = command(
    &["context rm", "context remove"],
    "CONTEXT [CONTEXT...]",
    "Remove contexts",
    Args::AtLeast(1),
    &[RM_FLAGS],
    remove,
);

const SHAPE: Shape = Shape {
    type_name: "*formatter.clientContextContext",
    columns: &[
        ("Name", "NAME"),
        ("Description", "DESCRIPTION"),
        ("DockerEndpoint", "DOCKER ENDPOINT"),
        ("Current", ""),
        ("Error", "ERROR"),
    ],
    get: |row, name| match name {
        "Current" => Some(Value::Bool(row.json.get("Current") == Some(&Json::Bool(true)))),
        "Error" if row.truncate => Some(Value::str(crate::format::ellipsis(row.str("Error"), 45))),
        _ => Some(Value::str(row.str(name))),
    },
};

fn host_variable() -> Option<String> {
    env::var("DOCKER_HOST").ok().filter(|v| !v.is_empty())
}

/// Where the default context points.
fn default_host(session: &Session) -> Result<String, Failure> {
    Ok(match session.named_host()? {
        Some(host) => host,
        None => Endpoint::Unix(minke_client::DEFAULT_SOCKET.into()).to_string(),
    })
}

fn list(session: &Session, given: &Given) -> Outcome {
    let current = session.context_name()?;
    let quiet = given.on("quiet");
    let text = match given.str("format") {
        "" | "table" if quiet => "{{.Name}}",
        other => other,
    };
    let table = "{{.Name}}{{if .Current}} *{{end}}\t{{.Description}}\t{{.DockerEndpoint}}\t{{.Error}}";
    let format = Format::parse_with(text, table, true)?;
    let mut contexts: Vec<Json> = vec![json!({
        "Name": DEFAULT, "Description": "Current DOCKER_HOST based configuration",
        "DockerEndpoint": default_host(session)?, "Current": current == DEFAULT, "Error": "",
    })];
    for context in session.contexts().list()? {
        contexts.push(json!({
            "Name": context.name, "Description": context.description, "DockerEndpoint": context.host,
            "Current": current == context.name, "Error": "",
        }));
    }
    if !contexts.iter().any(|c| c["Name"] == current.as_str()) {
        let error = session.contexts().get(&current).err().map(|e| e.to_string()).unwrap_or_default();
        contexts.push(json!({"Name": current, "Description": "", "DockerEndpoint": "", "Current": true, "Error": error}));
    }
    contexts.sort_by(|a, b| a["Name"].as_str().cmp(&b["Name"].as_str()));
    let truncate = given.str("format").is_empty();
    let rows: Vec<Row> = contexts.into_iter().map(|json| Row::new(&SHAPE, json, truncate)).collect();
    format.print(session, &SHAPE, &rows)?;
    session.out.flush()?;
    if host_variable().is_some() {
        complain(
            "Warning: DOCKER_HOST environment variable overrides the active context. To use a context, either set the global --context flag, or unset DOCKER_HOST environment variable.",
        );
    }
    Ok(0)
}

fn choose(session: &Session, given: &Given) -> Outcome {
    let name = &given.args[0];
    if name != DEFAULT {
        session.contexts().get(name)?;
    }
    let stored = session.config().text("currentContext").unwrap_or(DEFAULT);
    if stored != name {
        session.config().store("currentContext", Some(name.as_str()).filter(|n| *n != DEFAULT))?;
    }
    session.out.line(name);
    session.out.flush()?;
    complain(&format!("Current context is now \"{name}\""));
    if name != DEFAULT && host_variable().is_some() {
        complain(&format!(
            "Warning: DOCKER_HOST environment variable overrides the active context. To use \"{name}\", either set the global --context flag, or unset DOCKER_HOST environment variable."
        ));
    }
    Ok(0)
}

fn document(session: &Session, name: &str) -> Result<Json, Failure> {
    if name == DEFAULT {
        return Ok(json!({
            "Name": DEFAULT, "Metadata": {},
            "Endpoints": {"docker": {"Host": default_host(session)?, "SkipTLSVerify": false}},
            "TLSMaterial": {},
            "Storage": {"MetadataPath": "<IN MEMORY>", "TLSPath": "<IN MEMORY>"},
        }));
    }
    let store = session.contexts();
    let mut document = store.get(name)?.document;
    let files = store.tls_material(name);
    let material = if files.is_empty() { json!({}) } else { json!({"docker": files}) };
    document["TLSMaterial"] = material;
    document["Storage"] = json!({"MetadataPath": store.meta_dir(name), "TLSPath": store.tls_dir(name)});
    Ok(document)
}

fn inspect(session: &Session, given: &Given) -> Outcome {
    let names = if given.args.is_empty() { vec![session.context_name()?] } else { given.args.clone() };
    let mut documents = Vec::new();
    let mut failure = None;
    for name in &names {
        match document(session, name) {
            Ok(document) => documents.push(document),
            Err(why) => {
                failure = Some(why);
                break;
            }
        }
    }
    let format = given.str("format");
    match format {
        "" => {
            let whole = minke_template::json::compact(&Json::Array(documents), true);
            session.out.line(&minke_template::json::indent(&whole, "", "    "));
        }
        "json" => session.out.line(&minke_template::json::compact(&Json::Array(documents), true)),
        text => {
            let template = minke_template::Template::parse(&crate::format::unescape(text))
                .map_err(|e| Failure::new(64, format!("template parsing error: {e}")))?;
            let mut out = String::new();
            for document in &documents {
                let value = super::schema::context().read("Context", document);
                template
                    .execute(&value, minke_template::Mode::Lenient, &mut out)
                    .map_err(|e| Failure::new(1, format!("template parsing error: {e}")))?;
                out.push('\n');
            }
            session.out.text(if out.is_empty() { "\n" } else { &out });
        }
    }
    session.out.flush()?;
    failure.map_or(Ok(0), Err)
}

/// The keys of `--docker`.
fn docker_options(given: &Given) -> Result<Vec<(String, String)>, Failure> {
    let mut out = Vec::new();
    for pair in given.list("docker").iter().flat_map(|text| text.split(',')) {
        let Some((key, value)) = pair.split_once('=') else { continue };
        if !["host", "ca", "cert", "key", "skip-tls-verify", "from"].contains(&key) {
            return Err(
                format!("unable to create docker endpoint config: unrecognized config key: {key}").into()
            );
        }
        out.push((key.to_owned(), value.to_owned()));
    }
    Ok(out)
}

type Files = Vec<(&'static str, Vec<u8>)>;

/// Host, skipped verification and certificate files that the options ask for.
fn endpoint(
    session: &Session,
    given: &Given,
    options: &[(String, String)],
) -> Result<(String, bool, Files), Failure> {
    let find = |key: &str| options.iter().rev().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
    let bad = |why: String| Failure::new(1, format!("unable to create docker endpoint config: {why}"));
    if let Some(from) = find("from").or_else(|| given.get("from")) {
        if from == DEFAULT {
            return Ok((default_host(session)?, false, Vec::new()));
        }
        let store = session.contexts();
        let context = store.get(from)?;
        let directory = store.tls_dir(from).join("docker");
        let read = |name: &'static str| std::fs::read(directory.join(name)).ok().map(|bytes| (name, bytes));
        return Ok((context.host, context.skip_tls_verify, TLS_FILES.into_iter().filter_map(read).collect()));
    }
    let host = match find("host") {
        Some(host) if !host.is_empty() => host.to_owned(),
        _ => default_host(session)?,
    };
    Endpoint::parse(&host, None).map_err(|e| bad(e.to_string()))?;
    let skip = match find("skip-tls-verify") {
        Some(text) => check::boolean(text).map_err(bad)?,
        None => false,
    };
    let mut files = Vec::new();
    for (key, name) in [("ca", "ca.pem"), ("cert", "cert.pem"), ("key", "key.pem")] {
        if let Some(path) = find(key).filter(|p| !p.is_empty()) {
            let path = match path.strip_prefix("~/") {
                Some(rest) => format!("{}/{rest}", env::var("HOME").unwrap_or_default()),
                None => path.to_owned(),
            };
            let bytes = std::fs::read(&path).map_err(|e| bad(format!("open {path}: {}", go_io(&e))))?;
            files.push((name, bytes));
        }
    }
    Ok((host, skip, files))
}

fn create(session: &Session, given: &Given) -> Outcome {
    let name = &given.args[0];
    check_name(name)?;
    let store = session.contexts();
    if store.get(name).is_ok() {
        return Err(ContextError::Exists { name: name.clone() }.into());
    }
    let options = docker_options(given)?;
    let (host, skip, files) = endpoint(session, given, &options)?;
    store.save(&Context::new(name, given.str("description"), &host, skip), &files)?;
    session.out.line(name);
    session.out.flush()?;
    complain(&format!("Successfully created context \"{name}\""));
    Ok(0)
}

fn update(session: &Session, given: &Given) -> Outcome {
    let name = &given.args[0];
    check_name(name)?;
    let store = session.contexts();
    let before = store.get(name)?;
    let description = given.get("description").unwrap_or(&before.description).to_owned();
    let options = docker_options(given)?;
    let (host, skip, files) = if options.is_empty() {
        (before.host.clone(), before.skip_tls_verify, Vec::new())
    } else {
        endpoint(session, given, &options)?
    };
    store.save(&Context::new(name, &description, &host, skip), &files)?;
    session.out.line(name);
    session.out.flush()?;
    complain(&format!("Successfully updated context \"{name}\""));
    Ok(0)
}

fn remove(session: &Session, given: &Given) -> Outcome {
    let store = session.contexts();
    let current = session.context_name()?;
    let mut errors = Vec::new();
    for name in &given.args {
        if name == DEFAULT {
            errors.push("context \"default\" cannot be removed".to_owned());
            continue;
        }
        if *name == current {
            if !given.on("force") {
                errors.push(format!("context {name:?} is in use, set -f flag to force remove"));
                continue;
            }
            session.config().store("currentContext", None)?;
        }
        match store.remove(name) {
            Ok(()) => session.out.line(name),
            Err(ContextError::Missing { .. }) if given.on("force") => session.out.line(name),
            Err(ContextError::Missing { .. }) => errors.push(format!("context {name:?} does not exist")),
            Err(error) => errors.push(error.to_string()),
        }
    }
    if errors.is_empty() {
        return Ok(0);
    }
    session.out.flush()?;
    Err(Failure::new(1, errors.join("\n")))
}
