//! `manifest`: documents of registries looked at, and lists of images made of several and pushed.
//!
//! Lists being made are files below `manifests/` of the config directory, as docker's CLI keeps them: what one began the other
//! ends. Registries are asked by the engine.

mod drafts;

use self::drafts::{Drafts, Entry};
use crate::command::{Args, Command, Outcome};
use crate::credentials;
use crate::failure::Failure;
use crate::flag::{Complete, Flag, Kind, flag, short};
use crate::given::Given;
use crate::session::Session;
use base64::Engine as _;
use minke_base::Reference;
use minke_client::ClientError;
use minke_template::json::indent;
use serde_json::{Map, Value, json};

const INSECURE: Flag = flag("insecure", Kind::Bool, "Speak to a registry without TLS");

const fn command(
    paths: &'static [&'static str],
    usage: &'static str,
    about: &'static str,
    args: Args,
    flags: &'static [&'static [Flag]],
    run: fn(&Session, &Given) -> Outcome,
) -> Command {
    Command {
        paths,
        usage,
        about,
        details: "",
        args,
        flags,
        interspersed: true,
        complete: Complete::Nothing,
        run,
    }
}

pub(crate) const INSPECT: Command = command(
    &["manifest inspect"],
    "[OPTIONS] [MANIFEST_LIST] MANIFEST",
    "Show an image's manifest, or a list of them",
    Args::Between(1, 2),
    &[&[INSECURE, short("verbose", 'v', Kind::Bool, "Show layers and platforms too")]],
    inspect,
);

pub(crate) const CREATE: Command = command(
    &["manifest create"],
    "MANIFEST_LIST MANIFEST [MANIFEST...]",
    "Begin a list of images to push under one name",
    Args::AtLeast(2),
    &[&[INSECURE, short("amend", 'a', Kind::Bool, "Add to a list that was begun")]],
    create,
);

pub(crate) const ANNOTATE: Command = command(
    &["manifest annotate"],
    "[OPTIONS] MANIFEST_LIST MANIFEST",
    "Say what an image of a list runs on",
    Args::Exactly(2),
    &[&[
        flag("arch", Kind::Str, "Architecture"),
        flag("os", Kind::Str, "Operating system"),
        flag("os-features", Kind::Strings, "Feature of the operating system"),
        flag("os-version", Kind::Str, "Version of the operating system"),
        flag("variant", Kind::Str, "Variant of the architecture"),
    ]],
    annotate,
);

pub(crate) const PUSH: Command = command(
    &["manifest push"],
    "[OPTIONS] MANIFEST_LIST",
    "Send a list to its registry",
    Args::Exactly(1),
    &[&[INSECURE, short("purge", 'p', Kind::Bool, "Forget the list afterwards")]],
    push,
);

pub(crate) const RM: Command = command(
    &["manifest rm"],
    "MANIFEST_LIST [MANIFEST_LIST...]",
    "Forget lists that were begun",
    Args::AtLeast(1),
    &[],
    rm,
);

fn reference(text: &str) -> Result<Reference, Failure> {
    Reference::parse(text).map(Reference::or_latest).map_err(|why| why.to_string().into())
}

/// A document of a registry.
struct Document {
    media_type: String,
    digest: String,
    bytes: Vec<u8>,
    platform: Value,
}

impl Document {
    fn is_list(&self) -> bool {
        self.media_type.ends_with(".list.v2+json") || self.media_type.ends_with(".image.index.v1+json")
    }

    fn into_entry(self, name: &Reference) -> Entry {
        Entry {
            name: name.familiar(),
            descriptor: json!({
                "mediaType": self.media_type,
                "digest": self.digest,
                "size": self.bytes.len(),
                "platform": self.platform,
            }),
            raw: self.bytes,
        }
    }
}

fn fetch(session: &Session, name: &Reference, insecure: bool) -> Result<Document, Failure> {
    let mut call =
        session.client()?.get("/minke/manifests").query("name", name.to_string()).flag("insecure", insecure);
    if let Some(header) = credentials::header(session, name.domain())? {
        call = call.header("X-Registry-Auth", &header);
    }
    let response = call.send().map_err(|error| match error {
        ClientError::Refused { status: 404, .. } => {
            Failure::from(format!("no such manifest: {}", name.familiar()))
        }
        other => other.into(),
    })?;
    let header = |name| response.header(name).unwrap_or_default().to_owned();
    let platforms: Value = serde_json::from_str(&header("minke-platforms")).unwrap_or_default();
    let (media_type, digest) = (header("content-type"), header("docker-content-digest"));
    Ok(Document { media_type, digest, platform: platforms[0].clone(), bytes: response.bytes()? })
}

fn inspect(session: &Session, given: &Given) -> Outcome {
    let drafts = Drafts::of(session);
    let (verbose, insecure) = (given.on("verbose"), given.on("insecure"));
    if let [list, name] = &given.args[..] {
        let (list, name) = (reference(list)?, reference(name)?);
        let entry = match drafts.entry(&list, &name)? {
            Some(entry) => entry,
            None => fetch(session, &name, insecure)?.into_entry(&name),
        };
        show(session, &entry, verbose);
        return Ok(0);
    }
    let name = reference(&given.args[0])?;
    let entries = drafts.entries(&name)?;
    if !entries.is_empty() {
        show_list(session, &entries, verbose)?;
        return Ok(0);
    }
    let document = fetch(session, &name, insecure)?;
    if document.is_list() {
        let entries = members(session, &name, &document, insecure, verbose)?;
        show_list(session, &entries, verbose)?;
    } else {
        show(session, &document.into_entry(&name), verbose);
    }
    Ok(0)
}

/// The images of a list that a registry has; their manifests only where they are shown.
fn members(
    session: &Session,
    name: &Reference,
    list: &Document,
    insecure: bool,
    verbose: bool,
) -> Result<Vec<Entry>, Failure> {
    let document: Value = serde_json::from_slice(&list.bytes).map_err(|why| why.to_string())?;
    let mut entries = Vec::new();
    for descriptor in document["manifests"].as_array().into_iter().flatten() {
        let digest = descriptor["digest"].as_str().unwrap_or_default();
        let digest = digest.parse().map_err(|why: minke_base::digest::InvalidDigest| why.to_string())?;
        let own = name.with_digest(digest);
        let raw = if verbose { fetch(session, &own, insecure)?.bytes } else { Vec::new() };
        // The order that docker's CLI has, whatever the list's was.
        let mut ordered = Map::new();
        for key in ["mediaType", "digest", "size", "platform"] {
            if let Some(value) = descriptor.get(key) {
                ordered.insert(key.to_owned(), value.clone());
            }
        }
        let shown = format!(
            "{}@{digest}",
            if name.digest().is_some() { name.familiar_name() } else { name.familiar() }
        );
        entries.push(Entry { name: shown, descriptor: Value::Object(ordered), raw });
    }
    Ok(entries)
}

fn show(session: &Session, entry: &Entry, verbose: bool) {
    let text = if verbose {
        indent(&entry.verbose().to_string(), "", "\t")
    } else {
        indent(&String::from_utf8_lossy(&entry.raw), "", "\t")
    };
    session.out.line(&text);
}

fn show_list(session: &Session, entries: &[Entry], verbose: bool) -> Result<(), Failure> {
    if verbose {
        let all: Vec<Value> = entries.iter().map(Entry::verbose).collect();
        session.out.line(&indent(&Value::from(all).to_string(), "", "\t"));
    } else {
        session.out.line(&list_document(entries)?.1);
    }
    Ok(())
}

/// The media type and the text of a list: byte for byte what docker's CLI makes of the same images.
fn list_document(entries: &[Entry]) -> Result<(&'static str, String), Failure> {
    let first = entries.first().map(|entry| entry.descriptor["mediaType"].as_str().unwrap_or_default());
    let media_type = match first {
        Some("application/vnd.oci.image.manifest.v1+json") => "application/vnd.oci.image.index.v1+json",
        _ => "application/vnd.docker.distribution.manifest.list.v2+json",
    };
    let mut manifests = Vec::new();
    for entry in entries {
        let own = &entry.descriptor;
        let text = |key: &str| own["platform"][key].as_str().unwrap_or_default();
        if text("architecture").is_empty() || text("os").is_empty() {
            return Err(format!(
                "manifest {} must have an OS and Architecture to be pushed to a registry",
                entry.name
            )
            .into());
        }
        let mut platform = Map::new();
        platform.insert("architecture".to_owned(), text("architecture").into());
        platform.insert("os".to_owned(), text("os").into());
        for key in ["os.version", "os.features", "variant"] {
            match &own["platform"][key] {
                Value::Null => {}
                Value::String(text) if text.is_empty() => {}
                value => drop(platform.insert(key.to_owned(), value.clone())),
            }
        }
        manifests.push(json!({
            "mediaType": own["mediaType"], "size": own["size"], "digest": own["digest"], "platform": platform,
        }));
    }
    let list = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests});
    Ok((media_type, indent(&list.to_string(), "", "   ")))
}

fn create(session: &Session, given: &Given) -> Outcome {
    let drafts = Drafts::of(session);
    let list = reference(&given.args[0])?;
    if !drafts.entries(&list)?.is_empty() && !given.on("amend") {
        return Err("refusing to amend an existing manifest list with no --amend flag".into());
    }
    for name in &given.args[1..] {
        let name = reference(name)?;
        let document = fetch(session, &name, given.on("insecure"))?;
        if document.is_list() {
            return Err(format!("{} is a manifest list", name.familiar()).into());
        }
        drafts.keep(&list, &name, &document.into_entry(&name))?;
    }
    session.out.line(&format!("Created manifest list {}", list.familiar()));
    Ok(0)
}

fn annotate(session: &Session, given: &Given) -> Outcome {
    let drafts = Drafts::of(session);
    let (list, name) = (reference(&given.args[0])?, reference(&given.args[1])?);
    let missing = || format!("manifest for image {} does not exist in {}", given.args[1], given.args[0]);
    let mut entry = drafts.entry(&list, &name)?.ok_or_else(missing)?;
    let platform = &mut entry.descriptor["platform"];
    if platform.is_null() {
        *platform = json!({});
    }
    for (flag, key) in
        [("os", "os"), ("arch", "architecture"), ("variant", "variant"), ("os-version", "os.version")]
    {
        if let Some(value) = given.get(flag).filter(|value| !value.is_empty()) {
            platform[key] = value.into();
        }
    }
    let features = given.strings("os-features");
    if !features.is_empty() {
        platform["os.features"] = features.into();
    }
    drafts.keep(&list, &name, &entry)?;
    Ok(0)
}

fn push(session: &Session, given: &Given) -> Outcome {
    let drafts = Drafts::of(session);
    let list = reference(&given.args[0])?;
    let entries = drafts.entries(&list)?;
    if entries.is_empty() {
        return Err(format!("No such manifest: {}", list.familiar()).into());
    }
    let (media_type, document) = list_document(&entries)?;
    let header = credentials::header(session, list.domain())?;
    let insecure = given.on("insecure");
    for entry in &entries {
        let digest = entry.descriptor["digest"].as_str().unwrap_or_default();
        let from = reference(&entry.name)?;
        let from = format!("{}@{digest}", from.canonical_name());
        let mut call = session.client()?.post("/minke/manifests").query("name", list.to_string());
        call = call.query("from", from).flag("insecure", insecure);
        if let Some(header) = &header {
            call = call.header("X-Registry-Auth", header);
        }
        call.send()?;
        let own = format!("{}@{digest}", list.familiar_name());
        session.out.line(&format!("Pushed ref {own} with digest: {digest}"));
        session.out.flush()?;
    }
    let mut call = session.client()?.put("/minke/manifests").query("name", list.to_string());
    call = call.flag("insecure", insecure).body(media_type, document.into_bytes());
    if let Some(header) = &header {
        call = call.header("X-Registry-Auth", header);
    }
    let answer = call.send()?.json()?;
    session.out.line(answer["Digest"].as_str().unwrap_or_default());
    if given.on("purge") {
        drafts.forget(&list)?;
    }
    Ok(0)
}

fn rm(session: &Session, given: &Given) -> Outcome {
    let drafts = Drafts::of(session);
    let mut missing = Vec::new();
    for name in &given.args {
        let list = reference(name)?;
        if drafts.entries(&list)?.is_empty() {
            missing.push(format!("No such manifest: {}", list.familiar()));
        } else {
            drafts.forget(&list)?;
        }
    }
    if missing.is_empty() { Ok(0) } else { Err(missing.join("\n").into()) }
}

impl Entry {
    /// As `inspect -v` shows it and docker's CLI keeps it.
    fn verbose(&self) -> Value {
        let mut document = Map::new();
        document.insert("Ref".to_owned(), self.name.as_str().into());
        document.insert("Descriptor".to_owned(), self.descriptor.clone());
        let raw = base64::engine::general_purpose::STANDARD.encode(&self.raw);
        document.insert("Raw".to_owned(), raw.into());
        let own: Value = serde_json::from_slice(&self.raw).unwrap_or_default();
        let kind = match self.descriptor["mediaType"].as_str() {
            Some("application/vnd.oci.image.manifest.v1+json") => "OCIManifest",
            _ => "SchemaV2Manifest",
        };
        document.insert(kind.to_owned(), own);
        Value::Object(document)
    }
}
