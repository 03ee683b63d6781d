//! `build`: files to the engine, and what it tells on the screen.
//!
//! minke's own engine is asked by `POST /minke/build` (see `minke_api::build` for the body), any other by `POST /build`,
//! which knows one archive and no secrets.

mod flags;
mod git;
mod output;
mod pack;
mod prune;
mod show;
mod source;

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minke_base::size;
use minke_client::Response;
use minke_dockerfile::{Around, Ignore, Rule, Warning};
use serde_json::{Map, Value, json};

use self::output::{Output, Sink};
use self::pack::Problem;
use self::show::{Live, Style};
use self::source::{Dockerfile, Files, Source};
use crate::command::{Args, Command, Outcome};
use crate::failure::{Failure, go_io};
use crate::flag::Complete;
use crate::given::Given;
use crate::progress::{self, To};
use crate::session::Session;

pub(crate) use self::prune::{CACHE, PRUNE};

pub(crate) const BUILD: Command = Command {
    paths: &["image build", "build", "buildx build", "builder build"],
    usage: "[OPTIONS] PATH | URL | -",
    about: "Build an image from a Dockerfile",
    details: "PATH is a directory, or an archive of one. URL is an archive, a Dockerfile, or a repository of git\n\
              (URL.git#BRANCH:DIRECTORY). With -, an archive or a Dockerfile is read from STDIN.",
    args: Args::Exactly(1),
    flags: &[flags::FLAGS],
    interspersed: true,
    complete: Complete::Files,
    run,
};

/// A secret is a password or a key.
const MAX_SECRET: u64 = 500 << 10;
/// Of a piece of an archive on its way.
const PIECE: usize = 256 << 10;

fn run(session: &Session, given: &Given) -> Outcome {
    flags::refuse(given)?;
    let style = style(given)?;
    let outputs = output::parse(&given.list("output"))?;
    let mut source = source::find(&given.args[0], given.get("file"))?;
    if given.on("check") {
        return check(&source);
    }
    let own = session.client()?.get("/_ping").send()?.from_minke();
    let plan = Plan { outputs, style, own };
    let Built { image, manifest } = if own {
        build(session, given, &plan, &mut source)?
    } else {
        let image = elsewhere(session, given, &plan, &mut source)?;
        Built { image, manifest: String::new() }
    };
    if let Some(path) = given.get("iidfile").filter(|path| !path.is_empty()) {
        write_file(path, image.as_bytes())?;
    }
    if let Some(path) = given.get("metadata-file").filter(|path| !path.is_empty()) {
        let names = given.list("tag").into_iter().chain(plan.names()).collect::<Vec<_>>().join(",");
        let mut metadata = json!({"containerimage.config.digest": image, "image.name": names});
        if !manifest.is_empty() {
            metadata["containerimage.digest"] = manifest.into();
        }
        write_file(path, serde_json::to_string_pretty(&metadata).unwrap_or_default().as_bytes())?;
    }
    Ok(0)
}

/// What an engine made, by digest; of the manifest only minke's tells.
struct Built {
    image: String,
    manifest: String,
}

struct Plan {
    outputs: Vec<Output>,
    style: Style,
    own: bool,
}

impl Plan {
    /// Names that outputs added to `--tag`.
    fn names(&self) -> impl Iterator<Item = &str> {
        self.outputs.iter().flat_map(|output| output.names.iter().map(String::as_str))
    }
}

fn style(given: &Given) -> Result<Style, Failure> {
    if given.on("quiet") {
        return Ok(Style::Quiet);
    }
    let named = given.get("progress").map(str::to_owned);
    let named = named.or_else(|| std::env::var("BUILDKIT_PROGRESS").ok()).unwrap_or_default();
    Ok(match named.as_str() {
        "" | "auto" if crate::terminal::stderr_is() => Style::Terminal,
        "" | "auto" | "plain" => Style::Plain,
        "tty" if crate::terminal::stderr_is() => Style::Terminal,
        "tty" => return Err("failed to get console: standard error is no terminal".into()),
        "quiet" | "none" => Style::Quiet,
        other => {
            return Err(Failure::new(
                1,
                format!("invalid progress mode {other:?}: want auto, plain, tty or quiet"),
            ));
        }
    })
}

fn write_file(path: &str, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes).map_err(|error| Failure::new(1, format!("open {path}: {}", go_io(&error))))
}

/// `--check`: what the linter finds, without an engine.
fn check(source: &Source) -> Outcome {
    let Some((file, warnings)) = lint(source)? else {
        return Err("--check wants a Dockerfile that is here".into());
    };
    if warnings.is_empty() {
        crate::printer::write_stdout(b"Check complete, no warnings found.\n")?;
        return Ok(0);
    }
    let mut text = String::new();
    for warning in &warnings {
        let (rule, excerpt) = (warning.rule, file.source.excerpt(warning.span));
        text.push_str(&format!("WARNING: {rule}\n{}\n{excerpt}\n", warning.message));
    }
    let count = warnings.len();
    let plural = if count == 1 { " has" } else { "s have" };
    text.push_str(&format!("Check complete, {count} warning{plural} been found!\n"));
    crate::printer::write_stdout(text.as_bytes())?;
    Ok(1)
}

/// A Dockerfile that is here, and what the linter says of it, the context's ignore list at hand.
fn lint(source: &Source) -> Result<Option<(minke_dockerfile::Dockerfile, Vec<Warning>)>, Failure> {
    let Dockerfile::Text { name, bytes } = &source.dockerfile else { return Ok(None) };
    let file = minke_dockerfile::parse(name, bytes).map_err(|error| {
        let text = String::from_utf8_lossy(bytes);
        let source = minke_dockerfile::Source { name: name.as_str().into(), text: text.as_ref().into() };
        let excerpt = error.span.map(|span| source.excerpt(span)).unwrap_or_default();
        Failure::new(1, format!("{excerpt}ERROR: {error}"))
    })?;
    let ignored = match &source.files {
        Files::Directory { ignore, .. } => Some(ignore),
        _ => None,
    };
    let warnings = minke_dockerfile::lint(&file, &Around { ignored, ..Around::default() });
    Ok(Some((file, warnings)))
}

/// What the engine cannot warn of: it never sees what the context left out.
fn left_out(source: &Source) -> Result<Vec<Value>, Failure> {
    // What is wrong with the file the engine says better.
    let Ok(Some((file, mut warnings))) = lint(source) else { return Ok(Vec::new()) };
    warnings.retain(|warning| warning.rule == Rule::CopyIgnoredFile);
    match warnings.first() {
        Some(first) if file.directives.checks_are_errors => Err(Failure::new(
            1,
            format!(
                "{}{}: {}\nlint violation found for rules: the file says check=error=true",
                file.source.excerpt(first.span),
                first.rule,
                first.message
            ),
        )),
        _ => Ok(warnings
            .iter()
            .map(|warning| {
                let rule = warning.rule.to_string();
                json!({"warning": {"rule": rule, "message": warning.message, "line": warning.span.first}})
            })
            .collect()),
    }
}

/// `--secret id=NAME[,src=PATH|,env=VARIABLE]`
fn secrets(given: &Given) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let mut secrets = BTreeMap::new();
    for text in given.list("secret") {
        let (mut id, mut path, mut variable, mut kind) = (None, None, None, None);
        for field in super::mounts::fields(text)? {
            let (key, value) = field
                .split_once('=')
                .ok_or_else(|| format!("invalid field {field:?} must be a key=value pair"))?;
            let value = value.to_owned();
            match key.to_ascii_lowercase().as_str() {
                "id" => id = Some(value),
                "src" | "source" => path = Some(value),
                "env" => variable = Some(value),
                "type" if value == "file" || value == "env" => kind = Some(value),
                "type" => return Err(Failure::new(1, format!("unsupported secret type {value:?}"))),
                other => return Err(Failure::new(1, format!("unexpected key {other:?} in {field:?}"))),
            }
        }
        let id = id
            .filter(|id| !id.is_empty())
            .ok_or_else(|| format!("invalid secret {text:?}: it needs an id"))?;
        if kind.as_deref() == Some("env") && variable.is_none() {
            variable = path.take();
        }
        // An id alone is a variable of this name, or else a file.
        if path.is_none() && variable.is_none() && std::env::var_os(&id).is_some() {
            variable = Some(id.clone());
        }
        let bytes = match variable {
            Some(name) => std::env::var(&name)
                .map_err(|_unset| format!("secret {id}: the variable {name} is not set"))?
                .into_bytes(),
            None => read_secret(&id, Path::new(path.as_deref().unwrap_or(&id)))?,
        };
        secrets.insert(id, bytes);
    }
    Ok(secrets)
}

fn read_secret(id: &str, path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: io::Error| {
        Failure::new(1, format!("secret {id}: open {}: {}", path.display(), go_io(&error)))
    };
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_SECRET + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_SECRET {
        return Err(Failure::new(1, format!("secret {id} is larger than {MAX_SECRET} bytes")));
    }
    Ok(bytes)
}

/// Directories by the name of their context.
type Directories = Vec<(String, PathBuf)>;

/// What `--build-context NAME=…` names: a directory here, or an image.
fn named_contexts(given: &Given) -> Result<(Directories, Map<String, Value>), Failure> {
    let (mut directories, mut images) = (Directories::new(), Map::new());
    for text in given.list("build-context") {
        let (name, value) = text
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| format!("invalid context value: {text}, expected key=value"))?;
        if let Some(image) = value.strip_prefix("docker-image://") {
            images.insert(name.to_owned(), json!(image));
            continue;
        }
        if value.contains("://") {
            return Err(Failure::new(
                1,
                format!("--build-context {text:?}: a directory or docker-image://NAME is what is built"),
            ));
        }
        if !Path::new(value).is_dir() {
            return Err(Failure::new(1, format!("--build-context {name}: {value} is no directory")));
        }
        directories.push((name.to_owned(), PathBuf::from(value)));
    }
    Ok((directories, images))
}

/// The build by minke's own engine.
fn build(session: &Session, given: &Given, plan: &Plan, source: &mut Source) -> Result<Built, Failure> {
    let problem = Problem::default();
    let left_out = left_out(source)?;
    let (directories, images) = named_contexts(given)?;
    let mut names: Vec<String> = Vec::new();
    let mut bodies: Vec<Box<dyn Read + Send>> = Vec::new();
    let mut call = flags::query(session, given, session.client()?.post("/minke/build"))?;
    for name in plan.names() {
        call = call.query("t", name);
    }
    match std::mem::replace(&mut source.files, Files::None) {
        Files::None => {}
        Files::Directory { path, ignore } => {
            names.push(String::new());
            bodies.push(Box::new(source::pack(&path, ignore, &problem)?));
        }
        Files::Archive(archive) => {
            names.push(String::new());
            bodies.push(archive);
        }
        Files::Remote(address) => call = call.query("remote", address),
    }
    for (name, path) in directories {
        bodies.push(Box::new(source::pack(&path, Ignore::default(), &problem)?));
        names.push(name);
    }
    let encoded: Map<String, Value> =
        secrets(given)?.into_iter().map(|(id, bytes)| (id, json!(STANDARD.encode(bytes)))).collect();
    let dockerfile = match &source.dockerfile {
        Dockerfile::Text { name, bytes } => json!({"Name": name, "Content": STANDARD.encode(bytes)}),
        Dockerfile::There(path) => {
            call = call.query("dockerfile", path);
            Value::Null
        }
    };
    let head = json!({
        "Dockerfile": dockerfile,
        "Contexts": names.iter().map(|name| json!({"Name": name})).collect::<Vec<_>>(),
        "Images": images,
        "Secrets": encoded,
        "NoCacheStages": given.strings("no-cache-filter"),
        "Output": plan.outputs.iter().map(|output| output.kind).collect::<Vec<_>>().join(","),
    });
    let head = head.to_string().into_bytes();
    let length = u32::try_from(head.len()).map_err(|_toolarge| "the secrets are too large")?;
    let mut body: Box<dyn Read + Send> = Box::new(Cursor::new([&length.to_be_bytes()[..], &head].concat()));
    let sent = Arc::new(AtomicU64::new(0));
    for archive in bodies {
        body = Box::new(body.chain(Pieces::new(archive, problem.clone(), Arc::clone(&sent))));
    }
    let written = plan.outputs.iter().filter(|output| output.place != output::Place::Nowhere);
    let sinks = written.map(|output| Sink::open(&output.place)).collect::<Result<_, _>>()?;
    let live = Live::new(plan.style);
    let answered = call.header("Content-Type", "application/vnd.minke.build").send_body(body);
    let told = answered.map_err(Failure::from).and_then(|response| {
        let sent = size::human(sent.load(Ordering::Relaxed));
        for warning in &left_out {
            live.show().told(warning)?;
        }
        live.show().note("[internal] load build context", &format!("transferring context: {sent} done"))?;
        follow(response, &live, sinks)
    });
    // Files that could not be read are why the engine had nothing to build from.
    if let Some(text) = problem.take() {
        return Err(Failure::new(1, format!("unable to prepare context: {text}")));
    }
    let built = told?;
    let text = |key: &str| built.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let image = text("image");
    let makes_image = plan.outputs.iter().any(|output| output.kind == "image");
    let only_fills = plan.outputs.iter().all(|output| output.kind == "none");
    if plan.outputs.iter().all(|output| output.place != output::Place::Stdout) && !only_fills {
        if plan.style == Style::Quiet {
            session.out.line(&image);
        } else if makes_image {
            session.out.line(&format!("Successfully built {}", crate::format::short_id(&image)));
            for name in given.list("tag").into_iter().chain(plan.names()) {
                let name = minke_base::Reference::parse(name)
                    .map_or_else(|_| name.to_owned(), |name| name.or_latest().familiar());
                session.out.line(&format!("Successfully tagged {name}"));
            }
        }
    }
    Ok(Built { image, manifest: text("manifest") })
}

/// Follows the engine's frames to the end; what it built.
fn follow(mut response: Response, live: &Live, mut sinks: Vec<Sink>) -> Result<Value, Failure> {
    let mut built = None;
    let mut output = 0;
    let mut excerpt = String::new();
    let mut payload = Vec::new();
    loop {
        let mut header = [0_u8; 8];
        match response.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error.into()),
        }
        let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        payload.resize(usize::try_from(length).unwrap_or(usize::MAX).min(16 << 20), 0);
        response.read_exact(&mut payload)?;
        if header[0] != 4 {
            let sink = sinks.get_mut(output).ok_or("the engine sent a result that nobody asked for")?;
            sink.write(&payload)?;
            continue;
        }
        let message: Value = serde_json::from_slice(&payload)
            .map_err(|error| format!("the engine's answer is not JSON: {error}"))?;
        if let Some(error) = message.get("error") {
            live.show().close()?;
            sinks.into_iter().for_each(Sink::abandon);
            let text = error.get("message").and_then(Value::as_str).unwrap_or_default();
            return Err(Failure::new(1, format!("{excerpt}ERROR: failed to build: {text}")));
        }
        if let Some(body) = message.get("built") {
            built = Some(body.clone());
        }
        if let Some(number) = message.pointer("/export/output").and_then(Value::as_u64) {
            output = usize::try_from(number).unwrap_or(usize::MAX);
        }
        if let Some(text) = message.pointer("/failed/excerpt").and_then(Value::as_str) {
            text.clone_into(&mut excerpt);
        }
        live.show().told(&message)?;
    }
    live.show().close()?;
    let Some(built) = built else {
        sinks.into_iter().for_each(Sink::abandon);
        return Err("the engine closed the connection before the build had ended".into());
    };
    sinks.into_iter().try_for_each(Sink::finish)?;
    Ok(built)
}

/// An archive in pieces with their lengths, and an empty one at the end.
struct Pieces<R> {
    archive: R,
    piece: Vec<u8>,
    given: usize,
    ended: bool,
    problem: Problem,
    /// Bytes of archives so far.
    sent: Arc<AtomicU64>,
}

/// The length that says: there is no more, and it is not all.
const BROKEN: u32 = u32::MAX;

impl<R: Read> Pieces<R> {
    fn new(archive: R, problem: Problem, sent: Arc<AtomicU64>) -> Self {
        Self { archive, piece: Vec::with_capacity(PIECE + 4), given: 0, ended: false, problem, sent }
    }

    fn fill(&mut self) {
        self.given = 0;
        self.piece.clear();
        self.piece.resize(4, 0);
        let read = (&mut self.archive).take(PIECE as u64).read_to_end(&mut self.piece);
        let length = match read {
            Ok(count) => {
                self.sent.fetch_add(count as u64, Ordering::Relaxed);
                u32::try_from(count).unwrap_or(BROKEN)
            }
            Err(error) => {
                self.problem.set(go_io(&error));
                self.piece.truncate(4);
                BROKEN
            }
        };
        self.ended = length == 0 || length == BROKEN;
        self.piece[..4].copy_from_slice(&length.to_be_bytes());
    }
}

impl<R: Read> Read for Pieces<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.given == self.piece.len() {
            if self.ended {
                return Ok(0);
            }
            self.fill();
        }
        let ready = &self.piece[self.given..];
        let count = ready.len().min(out.len());
        out[..count].copy_from_slice(&ready[..count]);
        self.given += count;
        Ok(count)
    }
}

/// The build by an engine that only knows Docker's own request.
fn elsewhere(session: &Session, given: &Given, plan: &Plan, source: &mut Source) -> Result<String, Failure> {
    let only_minke = ["secret", "build-context", "no-cache-filter"];
    if let Some(flag) = only_minke.iter().find(|flag| given.changed(flag)) {
        return Err(Failure::new(
            1,
            format!("--{flag} needs minke's engine: {} is another", session.endpoint()?.0),
        ));
    }
    if plan.outputs.iter().any(|output| output.kind != "image") {
        return Err("--output to a file needs minke's engine".into());
    }
    debug_assert!(!plan.own, "minke has a request of its own");
    let problem = Problem::default();
    let mut call = flags::query(session, given, session.client()?.post("/build"))?;
    // A name that no context has: the Dockerfile goes along, wherever it was.
    let sent = format!(".dockerfile.{}", std::process::id());
    let body: Box<dyn Read + Send> =
        match (std::mem::replace(&mut source.files, Files::None), &source.dockerfile) {
            (Files::Remote(address), Dockerfile::There(path)) => {
                call = call.query("remote", address).query("dockerfile", path);
                Box::new(io::empty())
            }
            (Files::Remote(_), Dockerfile::Text { .. }) => {
                return Err("a Dockerfile from here with files from an address needs minke's engine".into());
            }
            (Files::Archive(archive), Dockerfile::There(path)) => {
                call = call.query("dockerfile", path);
                archive
            }
            (Files::Directory { path, ignore }, Dockerfile::Text { bytes, .. }) => {
                call = call.query("dockerfile", &sent);
                let first = Some((sent.as_str(), bytes.as_slice()));
                Box::new(pack::Pack::new(&path, ignore, first, problem.clone())?)
            }
            (Files::None, Dockerfile::Text { bytes, .. }) => {
                let mut builder = tar::Builder::new(Vec::new());
                let mut header = tar::Header::new_gnu();
                header.set_size(bytes.len() as u64);
                header.set_mode(0o600);
                builder.append_data(&mut header, "Dockerfile", bytes.as_slice())?;
                Box::new(Cursor::new(builder.into_inner()?))
            }
            _ => return Err("this combination of Dockerfile and files needs minke's engine".into()),
        };
    let quiet = plan.style == Style::Quiet;
    let response = call.flag("q", quiet).header("Content-Type", "application/x-tar").send_body(body);
    if let Some(text) = problem.take() {
        return Err(Failure::new(1, format!("unable to prepare context: {text}")));
    }
    let mut told = Told { response: response?, seen: Vec::new(), id: String::new() };
    progress::show(&mut told, To::Stdout)?;
    Ok(told.id)
}

/// Keeps the image's id out of what goes by.
struct Told {
    response: Response,
    seen: Vec<u8>,
    id: String,
}

impl Read for Told {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.response.read(out)?;
        self.seen.extend_from_slice(&out[..count]);
        while let Some(end) = self.seen.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.seen.drain(..=end).collect();
            let message: Option<Value> = serde_json::from_slice(&line).ok();
            let Some(message) = message else { continue };
            // A quiet build says nothing but its id.
            let quiet = message.get("stream").and_then(Value::as_str).map(str::trim_end);
            let quiet = quiet.filter(|text| text.len() == 71 && text.starts_with("sha256:"));
            let told = message.pointer("/aux/ID").and_then(Value::as_str);
            if let Some(id) = told.or(quiet) {
                id.clone_into(&mut self.id);
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_goes_in_pieces_and_ends_with_an_empty_one() {
        let mut out = Vec::new();
        let mut pieces = Pieces::new(Cursor::new(b"hello"), Problem::default(), Arc::default());
        pieces.read_to_end(&mut out).expect("read");
        assert_eq!(out, b"\0\0\0\x05hello\0\0\0\0");
    }

    #[test]
    fn an_archive_that_breaks_says_so() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _out: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("gone"))
            }
        }
        let problem = Problem::default();
        let mut out = Vec::new();
        Pieces::new(Broken, problem.clone(), Arc::default()).read_to_end(&mut out).expect("read");
        assert_eq!(out, [0xff; 4]);
        assert_eq!(problem.take().as_deref(), Some("gone"));
    }
}
