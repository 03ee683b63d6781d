//! `inspect`: the engine's documents, whole or through a template.
//!
//! Without `--type` a name is looked for as a container, an image, a network, a volume, and so on, as docker does.
//! A template is tried on Docker's typed view first, and on the raw JSON when that fails.

use super::schema;
use crate::command::{Args, Command, Outcome};
use crate::failure::Failure;
use crate::flag::{Complete, Flag, Kind, flag, short};
use crate::given::Given;
use crate::session::Session;
use minke_client::{Client, ClientError};
use minke_template::{Mode, Template, Value};
use serde_json::Value as Json;

pub(crate) const FORMAT: &str =
    "How to print:\n'json':             JSON\n'TEMPLATE':         this Go template";

const GENERIC_FLAGS: &[Flag] = &[
    short("format", 'f', Kind::Str, FORMAT),
    short("size", 's', Kind::Bool, "Show sizes on disk of containers"),
    flag("type", Kind::Str, "Look only among objects of this type").complete(Complete::Words(&[
        "container",
        "image",
        "network",
        "volume",
    ])),
];

pub(crate) const INSPECT: Command = Command {
    paths: &["inspect"],
    usage: "[OPTIONS] NAME|ID [NAME|ID...]",
    about: "Show all that is known of an object",
    details: "",
    args: Args::AtLeast(1),
    flags: &[GENERIC_FLAGS],
    interspersed: true,
    complete: Complete::Containers,
    run: generic,
};

const CONTAINER_FLAGS: &[Flag] =
    &[short("format", 'f', Kind::Str, FORMAT), short("size", 's', Kind::Bool, "Show sizes on disk")];

pub(crate) const CONTAINER_INSPECT: Command = Command {
    paths: &["container inspect"],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Show all that is known of containers",
    details: "",
    args: Args::AtLeast(1),
    flags: &[CONTAINER_FLAGS],
    interspersed: true,
    complete: Complete::Containers,
    run: |session, given| only(session, given, &CONTAINER),
};

const IMAGE_FLAGS: &[Flag] = &[
    short("format", 'f', Kind::Str, FORMAT),
    flag("platform", Kind::Str, "Platform of an image that has several (os[/arch[/variant]])"),
];

pub(crate) const IMAGE_INSPECT: Command = Command {
    paths: &["image inspect"],
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Show all that is known of images",
    details: "",
    args: Args::AtLeast(1),
    flags: &[IMAGE_FLAGS],
    interspersed: true,
    complete: Complete::Images,
    run: |session, given| only(session, given, &IMAGE),
};

/// A type of object: where it is found, and Docker's typed view of it.
pub(crate) struct Noun {
    word: &'static str,
    path: fn(&str) -> String,
    typed: Option<fn(&Json) -> Value>,
}

const CONTAINER: Noun = Noun {
    word: "container",
    path: |name| format!("/containers/{name}/json"),
    typed: Some(|json| schema::container().read("Container", json)),
};

const IMAGE: Noun = Noun {
    word: "image",
    path: |name| format!("/images/{name}/json"),
    typed: Some(|json| schema::image().read("Image", json)),
};

pub(crate) const NETWORK: Noun = Noun {
    word: "network",
    path: |name| format!("/networks/{name}"),
    typed: Some(|json| schema::network().read("Network", json)),
};

pub(crate) const VOLUME: Noun = Noun {
    word: "volume",
    path: |name| format!("/volumes/{name}"),
    typed: Some(|json| schema::volume().read("Volume", json)),
};

/// In the order in which a name without type is looked for.
const KINDS: [Noun; 10] = [
    CONTAINER,
    IMAGE,
    NETWORK,
    VOLUME,
    Noun { word: "service", path: |name| format!("/services/{name}"), typed: None },
    Noun { word: "task", path: |name| format!("/tasks/{name}"), typed: None },
    Noun { word: "node", path: |name| format!("/nodes/{name}"), typed: None },
    Noun { word: "plugin", path: |name| format!("/plugins/{name}/json"), typed: None },
    Noun { word: "secret", path: |name| format!("/secrets/{name}"), typed: None },
    Noun { word: "config", path: |name| format!("/configs/{name}"), typed: None },
];

fn fetch(client: &Client, given: &Given, kind: &Noun, name: &str) -> Result<Vec<u8>, ClientError> {
    let mut call = client.get(&(kind.path)(&Client::segment(name)));
    if kind.word == "container" {
        call = call.flag("size", given.on("size"));
    }
    if kind.word == "network" && given.on("verbose") {
        call = call.query("verbose", "true");
    }
    if let Some(platform) = given.get("platform").and_then(|p| crate::check::platform(p).ok()) {
        call = call.query("platform", platform.to_string());
    }
    call.send()?.bytes()
}

fn generic(session: &Session, given: &Given) -> Outcome {
    let client = session.client()?;
    if let Some(word) = given.get("type").filter(|t| !t.is_empty()) {
        let Some(kind) = KINDS.iter().find(|k| k.word == word) else {
            let mut words: Vec<_> = KINDS.iter().map(|k| format!("\"{}\"", k.word)).collect();
            words.sort();
            return Err(format!("unknown type: {word:?}: must be one of {}", words.join(", ")).into());
        };
        return show(session, given, |name| Ok((fetch(client, given, kind, name)?, kind.typed)));
    }
    show(session, given, |name| {
        for kind in &KINDS {
            match fetch(client, given, kind, name) {
                Ok(bytes) => return Ok((bytes, kind.typed)),
                Err(error) if error.unreachable() => return Err(error.into()),
                // Not one of these; or a kind that this engine does not keep at all.
                Err(ClientError::Refused { status: 404 | 500 | 501 | 503 | 400 | 406, .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Failure::new(1, format!("Error: No such object: {name}")))
    })
}

pub(crate) fn only(session: &Session, given: &Given, kind: &Noun) -> Outcome {
    let client = session.client()?;
    if let Some(platform) = given.get("platform") {
        crate::check::platform(platform)?;
    }
    show(session, given, |name| Ok((fetch(client, given, kind, name)?, kind.typed)))
}

type Found = (Vec<u8>, Option<fn(&Json) -> Value>);

/// Prints what `find` gives for each name; errors come after what was found.
pub(crate) fn show(
    session: &Session,
    given: &Given,
    find: impl Fn(&str) -> Result<Found, Failure>,
) -> Outcome {
    let format = given.str("format");
    let mut errors: Vec<String> = Vec::new();
    let mut documents: Vec<String> = Vec::new();
    let mut printed = String::new();
    let template = match format {
        "" | "json" => None,
        text => Some(
            Template::parse(&crate::format::unescape(text))
                .map_err(|e| Failure::new(64, format!("template parsing error: {e}")))?,
        ),
    };
    for name in &given.args {
        let (bytes, typed) = match find(name) {
            Ok(found) => found,
            Err(failure) => {
                errors.push(failure.text);
                continue;
            }
        };
        let text = String::from_utf8_lossy(&bytes).trim().to_owned();
        match &template {
            None => documents.push(text),
            Some(template) => {
                if let Err(why) = execute(template, &text, typed, &mut printed) {
                    errors.push(why);
                    continue;
                }
                printed.push('\n');
            }
        }
    }
    if template.is_some() {
        // Docker's client ends the line even when there is nothing on it.
        session.out.text(if printed.is_empty() { "\n" } else { &printed });
    } else if format == "json" {
        session.out.line(&format!("[{}]", documents.join(",")));
    } else {
        let whole = format!("[{}]", documents.join(","));
        session.out.line(&minke_template::json::indent(&whole, "", "    "));
    }
    if errors.is_empty() {
        return Ok(0);
    }
    session.out.flush()?;
    Err(Failure::new(1, errors.join("\n")))
}

fn execute(
    template: &Template,
    text: &str,
    typed: Option<fn(&Json) -> Value>,
    out: &mut String,
) -> Result<(), String> {
    let mut json: Json =
        serde_json::from_str(text).map_err(|e| format!("unable to read inspect data: {e}"))?;
    let before = out.len();
    if let Some(typed) = typed {
        if template.execute(&typed(&json), Mode::Lenient, out).is_ok() {
            return Ok(());
        }
        out.truncate(before);
        add_old_volumes(&mut json);
    }
    template.execute(&Value::from_json(&json), Mode::Strict, out).map_err(|e| {
        out.truncate(before);
        format!("template parsing error: {e}")
    })
}

/// What books and scripts of Docker's first years ask for: where each volume's data is, and whether it may be written to, by path.
fn add_old_volumes(container: &mut Json) {
    let Some(mounts) = container.get("Mounts").and_then(Json::as_array) else { return };
    let by_path = |field: &str| -> Json {
        let rows = mounts.iter().filter(|mount| mount.get("Type").is_none_or(|kind| kind != "tmpfs"));
        let pairs = rows.filter_map(|mount| {
            Some((mount.get("Destination")?.as_str()?.to_owned(), mount.get(field)?.clone()))
        });
        Json::Object(pairs.collect())
    };
    let (sources, writable) = (by_path("Source"), by_path("RW"));
    if let Some(map) = container.as_object_mut() {
        map.entry("Volumes").or_insert(sources);
        map.entry("VolumesRW").or_insert(writable);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_book_s_map_of_volumes_is_there_for_templates() {
        let text = r#"{"Mounts":[{"Type":"volume","Source":"/v/a","Destination":"/b","RW":true},
            {"Type":"tmpfs","Source":"","Destination":"/t","RW":true},
            {"Type":"bind","Source":"/x","Destination":"/a","RW":false}]}"#;
        let mut out = String::new();
        let template = Template::parse("{{json .Volumes}} {{json .VolumesRW}}").expect("a template");
        execute(&template, text, CONTAINER.typed, &mut out).expect("shown");
        assert_eq!(out, r#"{"/a":"/x","/b":"/v/a"} {"/a":false,"/b":true}"#);
    }
}
