//! `images` and `rmi`.

use super::ps::FORMAT;
use crate::command::{Args, Command, Outcome};
use crate::failure::Failure;
use crate::flag::{Complete, Flag, Kind, flag, short};
use crate::format::{Format, Row, Shape, ago, filters, local_time, short_id};
use crate::given::Given;
use crate::printer::complain;
use crate::session::Session;
use minke_base::size;
use minke_client::Client;
use minke_template::Value;
use serde_json::Value as Json;

const FLAGS: &[Flag] = &[
    short("all", 'a', Kind::Bool, "Show intermediate images too"),
    flag("digests", Kind::Bool, "Show digests"),
    short("filter", 'f', Kind::Filter, "Show only what fits"),
    flag("format", Kind::Str, FORMAT),
    flag("no-trunc", Kind::Bool, "Do not shorten"),
    short("quiet", 'q', Kind::Bool, "Print IDs only"),
    flag("tree", Kind::Bool, "Show platforms as a tree (not built yet)"),
];

pub(crate) const IMAGES: Command = Command {
    paths: &["image ls", "image list", "images"],
    usage: "[OPTIONS] [REPOSITORY[:TAG]]",
    about: "List images",
    details: "",
    args: Args::AtMost(1),
    flags: &[FLAGS],
    interspersed: true,
    complete: Complete::Images,
    run,
};

pub(crate) const SHAPE: Shape = Shape {
    type_name: "*formatter.imageContext",
    columns: &[
        ("ID", "IMAGE ID"),
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("Digest", "DIGEST"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("Size", "SIZE"),
        ("Containers", "CONTAINERS"),
        ("VirtualSize", "SIZE"),
        ("SharedSize", "SHARED SIZE"),
        ("UniqueSize", "UNIQUE SIZE"),
    ],
    get: field,
};

const CREATED: &str = "{{if .CreatedSince }}{{.CreatedSince}}{{else}}N/A{{end}}";

fn run(session: &Session, given: &Given) -> Outcome {
    if given.on("tree") {
        return Err("--tree is not built yet in this version of minke; leave it out for the list".into());
    }
    let quiet = given.on("quiet");
    let digests = given.on("digests");
    let digest_column = if digests { "{{.Digest}}\t" } else { "" };
    let table =
        format!("{{{{.Repository}}}}\t{{{{.Tag}}}}\t{digest_column}{{{{.ID}}}}\t{CREATED}\t{{{{.Size}}}}");
    let raw = if digests {
        "repository: {{ .Repository }}\ntag: {{.Tag}}\ndigest: {{.Digest}}\nimage_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n"
    } else {
        "repository: {{.Repository}}\ntag: {{.Tag}}\nimage_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n"
    };
    let text = match given.str("format") {
        "" | "table" if quiet => "{{.ID}}",
        "raw" if quiet => "image_id: {{.ID}}",
        "raw" => raw,
        "" => session.config().text("imagesFormat").unwrap_or("table"),
        other => other,
    };
    let format = Format::parse_with(text, &table, true)?;
    let mut wanted = given.list("filter");
    let reference;
    if let Some(name) = given.args.first() {
        reference = format!("reference={name}");
        wanted.push(&reference);
    }
    let mut call = session.client()?.get("/images/json").flag("all", given.on("all"));
    if let Some(filters) = filters(&wanted) {
        call = call.query("filters", filters);
    }
    let list = call.send()?.json()?;
    let images = match list {
        Json::Array(images) => images,
        _ => Vec::new(),
    };
    let truncate = !given.on("no-trunc");
    let digests = digests || format.template.mentions("Digest") && text != "json";
    let rows: Vec<Row> = images.into_iter().flat_map(|image| rows(&image, truncate, digests)).collect();
    format.print(session, &SHAPE, &rows)?;
    Ok(0)
}

/// One row for each tag, and for each digest where digests are shown or there is no tag.
pub(crate) fn rows(image: &Json, truncate: bool, digests: bool) -> Vec<Row> {
    const NONE: &str = "<none>";
    let list = |key: &str| -> Vec<&str> {
        image.get(key).and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str).collect()
    };
    let (tags, all_digests) = (list("RepoTags"), list("RepoDigests"));
    let row = |repository: &str, tag: &str, digest: &str| {
        let mut row = Row::new(&SHAPE, image.clone(), truncate);
        row.extra = vec![
            ("Repository", repository.to_owned()),
            ("Tag", tag.to_owned()),
            ("Digest", digest.to_owned()),
        ];
        row
    };
    let dangling = (tags.is_empty() && all_digests.is_empty())
        || (tags == ["<none>:<none>"] && all_digests.iter().all(|d| *d == "<none>@<none>"));
    if dangling {
        return vec![row(NONE, NONE, NONE)];
    }
    let mut out = Vec::new();
    let mut named: Vec<&str> = Vec::new();
    for reference in tags {
        let Some((repository, tag)) = reference.rsplit_once(':') else { continue };
        named.push(repository);
        let of_this = all_digests.iter().filter_map(|d| d.rsplit_once('@')).filter(|(r, _)| *r == repository);
        let of_this: Vec<&str> = if digests { of_this.map(|(_, d)| d).collect() } else { Vec::new() };
        if of_this.is_empty() {
            out.push(row(repository, tag, NONE));
        }
        out.extend(of_this.into_iter().map(|digest| row(repository, tag, digest)));
    }
    for (repository, digest) in all_digests.iter().filter_map(|d| d.rsplit_once('@')) {
        if !named.contains(&repository) {
            out.push(row(repository, NONE, digest));
        }
    }
    out
}

fn human(bytes: i64, digits: usize) -> String {
    size::human_with(u64::try_from(bytes).unwrap_or(0), digits)
}

fn field(row: &Row, name: &str) -> Option<Value> {
    let number = |key: &str| row.json.get(key).and_then(Json::as_i64).unwrap_or(-1);
    let known = |value: i64, text: String| if value == -1 { "N/A".to_owned() } else { text };
    Some(Value::str(match name {
        "ID" if row.truncate => short_id(row.str("Id")).to_owned(),
        "ID" => row.str("Id").to_owned(),
        "Repository" | "Tag" | "Digest" => row.extra(name).to_owned(),
        "CreatedSince" => match row.int("Created") {
            0 if row.json.get("Created").is_none() => String::new(),
            at => ago(at),
        },
        "CreatedAt" => local_time(row.int("Created")),
        "Size" => human(row.int("Size"), 3),
        "Containers" => known(number("Containers"), number("Containers").to_string()),
        "VirtualSize" => human(row.int("Size"), 4),
        "SharedSize" => known(number("SharedSize"), human(number("SharedSize"), 4)),
        "UniqueSize" => {
            let shared = number("SharedSize");
            known(shared, human(row.int("Size") - shared, 4))
        }
        _ => return None,
    }))
}

const RMI_FLAGS: &[Flag] = &[
    short("force", 'f', Kind::Bool, "Remove even when it is in use or tagged more than once"),
    flag("no-prune", Kind::Bool, "Keep parents that have no tag"),
    flag("platform", Kind::List, "Remove only this platform's variant (os[/arch[/variant]])"),
];

pub(crate) const RMI: Command = Command {
    paths: &["image rm", "image remove", "rmi"],
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Remove images",
    details: "",
    args: Args::AtLeast(1),
    flags: &[RMI_FLAGS],
    interspersed: true,
    complete: Complete::Images,
    run: remove,
};

fn remove(session: &Session, given: &Given) -> Outcome {
    let client = session.client()?;
    let platforms: Vec<Json> =
        given.list("platform").into_iter().map(crate::check::platform).collect::<Result<_, _>>()?;
    let mut errors = Vec::new();
    let mut fatal = false;
    for name in &given.args {
        let mut call = client
            .delete(&format!("/images/{}", Client::segment(name)))
            .flag("force", given.on("force"))
            .flag("noprune", given.on("no-prune"));
        for platform in &platforms {
            call = call.query("platforms", platform.to_string());
        }
        match call.send().and_then(minke_client::Response::json) {
            Ok(answer) => session.out.text(&deletions(&answer)),
            Err(error) if error.unreachable() => return Err(error.into()),
            Err(error) => {
                fatal |= error.status() != Some(404);
                errors.push(error.to_string());
            }
        }
    }
    if errors.is_empty() {
        return Ok(0);
    }
    session.out.flush()?;
    let text = errors.join("\n");
    if !given.on("force") || fatal {
        return Err(Failure::new(1, text));
    }
    complain(&text);
    Ok(0)
}

/// `Untagged: x` and `Deleted: y` lines.
fn deletions(answer: &Json) -> String {
    let mut out = String::new();
    for item in answer.as_array().into_iter().flatten() {
        for (key, word) in [("Deleted", "Deleted"), ("Untagged", "Untagged")] {
            if let Some(name) = item.get(key).and_then(Json::as_str).filter(|n| !n.is_empty()) {
                out.push_str(&format!("{word}: {name}\n"));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(image: &Json, digests: bool) -> Vec<String> {
        let join = |r: &Row| [r.extra("Repository"), r.extra("Tag"), r.extra("Digest")].join(" ");
        rows(image, true, digests).iter().map(join).collect()
    }

    #[test]
    fn each_tag_has_a_row_and_digests_only_on_request() {
        let image = json!({"RepoTags": ["a:1", "h:5000/b:2"], "RepoDigests": ["a@sha256:x", "c@sha256:y"]});
        assert_eq!(shown(&image, false), ["a 1 <none>", "h:5000/b 2 <none>", "c <none> sha256:y"]);
        assert_eq!(shown(&image, true), ["a 1 sha256:x", "h:5000/b 2 <none>", "c <none> sha256:y"]);
        assert_eq!(shown(&json!({"RepoTags": null, "RepoDigests": []}), false), ["<none> <none> <none>"]);
    }
}
