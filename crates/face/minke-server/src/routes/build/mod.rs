//! `POST /build`, `/build/prune`, `/build/cancel`, and minke's own `POST /minke/build`.
//!
//! A client that goes away cancels its build: the build is a part of the answer's body and goes with it.

mod classic;
mod incoming;
mod own;
mod parameters;
mod ports;

use std::collections::{BTreeSet, VecDeque};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use hyper::StatusCode;
use minke_api::build::BuildTold;
use minke_api::compat::requests;
use minke_api::progress::ProgressMessage;
use minke_base::Reference;
use minke_dockerfile::{Around, Dockerfile, Given, Scope, Warning};
use minke_engine::Engine;
use minke_engine::builds::{BuildEvent, BuildOutcome, BuildRequest, Export, PruneRequest};
use serde_json::json;
use tokio::sync::mpsc;

use self::classic::Classic;
use self::own::Own;
use super::filters;
use crate::http::answer::{self, Outcome};
use crate::http::blocking::{BodyWriter, pieces};
use crate::http::{Call, Failure};
use crate::serve::Shared;

/// Gives the engine's builds what they ask of the rest; once, before the first.
pub(crate) fn wire(engine: &Engine) {
    engine.builds.set_fetch(Arc::new(ports::Web(engine.clone())));
}

type Building = Pin<Box<dyn Future<Output = minke_engine::Result<BuildOutcome>> + Send>>;

/// A build under way: what happens, then how it ended.
struct Run {
    events: mpsc::UnboundedReceiver<BuildEvent>,
    pulls: mpsc::Receiver<ProgressMessage>,
    /// What comes before anything else.
    ready: VecDeque<Heard>,
    building: Option<Building>,
    outcome: Option<minke_engine::Result<BuildOutcome>>,
    /// Build arguments that no `ARG` has asked for yet.
    unused: BTreeSet<String>,
}

/// Something happened.
enum Heard {
    Event(BuildEvent),
    /// A line of a base image's pull.
    Pull(ProgressMessage),
}

impl Run {
    fn start(shared: &Shared, request: BuildRequest, pulls: mpsc::Receiver<ProgressMessage>) -> Self {
        let builds = Arc::clone(&shared.engine.builds);
        let (send, events) = mpsc::unbounded_channel();
        let unused = request.args.keys().filter(|name| !Scope::is_predefined(name)).cloned().collect();
        let building: Building = Box::pin(async move { builds.build(request, send).await });
        Self { events, pulls, ready: VecDeque::new(), building: Some(building), outcome: None, unused }
    }

    /// What happens next; nothing when the build has ended and all is told.
    async fn next(&mut self) -> Option<Heard> {
        if let Some(ready) = self.ready.pop_front() {
            return Some(ready);
        }
        let mut heard = None;
        if let Some(building) = &mut self.building {
            tokio::select! {
                biased;
                Some(event) = self.events.recv() => heard = Some(event),
                Some(line) = self.pulls.recv() => return Some(Heard::Pull(line)),
                outcome = building => {
                    self.outcome = Some(outcome);
                    self.building = None;
                }
            }
        }
        let event = heard.or_else(|| self.events.try_recv().ok())?;
        if let BuildEvent::Vertex(vertex) = &event {
            let mut words = vertex.text.split_whitespace();
            if words.next().is_some_and(|word| word.eq_ignore_ascii_case("ARG")) {
                for word in words {
                    self.unused.remove(word.split('=').next().unwrap_or_default());
                }
            }
        }
        if matches!(event, BuildEvent::Done { .. } | BuildEvent::Failed { .. }) {
            // A pull that has ended is told of to its end before its step is done with.
            self.ready.extend(std::iter::from_fn(|| self.pulls.try_recv().ok()).map(Heard::Pull));
        }
        self.ready.push_back(Heard::Event(event));
        self.ready.pop_front()
    }

    /// What is odd about the arguments, once all steps are known.
    fn warning(&self) -> Option<String> {
        let names: Vec<&str> = self.unused.iter().map(String::as_str).collect();
        (!names.is_empty()).then(|| format!("One or more build-args [{}] were not consumed", names.join(" ")))
    }

    fn outcome(&mut self) -> Result<BuildOutcome, String> {
        match self.outcome.take() {
            Some(Ok(outcome)) => Ok(outcome),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("the build ended without saying how".to_owned()),
        }
    }

    /// The first event, or the refusal of a build that never began.
    async fn begin(&mut self) -> Result<Option<Heard>, Failure> {
        match self.next().await {
            Some(heard) => Ok(Some(heard)),
            None => match self.outcome.take() {
                Some(Err(error)) => Err(error.into()),
                outcome => {
                    self.outcome = outcome;
                    Ok(None)
                }
            },
        }
    }
}

pub(super) async fn build(shared: &Shared, call: Call) -> Outcome {
    let quiet = call.query.flag("q");
    let mut request = parameters::request(&call.query)?;
    let (bases, pulls) = ports::Bases::of(&shared.engine, &call)?;
    request.pull_by = Some(Arc::new(bases));
    incoming::files(&shared.engine, call, &mut request).await?;
    let names: Vec<String> = request.names.iter().map(Reference::familiar).collect();
    parse(&request).map_err(|refused| Failure::invalid(refused.message))?;
    let mut run = Run::start(shared, request, pulls);
    let first = run.begin().await?;
    let mut classic = Classic::new(quiet);
    let begun = first.map(|heard| tell(&mut classic, heard)).unwrap_or_default();
    let state = (run, Some(classic), names, VecDeque::from(begun));
    let body = stream::unfold(state, |(mut run, mut classic, names, mut lines)| async move {
        loop {
            if let Some(line) = lines.pop_front() {
                return Some((encode(&line), (run, classic, names, lines)));
            }
            match run.next().await {
                Some(heard) => lines.extend(tell(classic.as_mut()?, heard)),
                None => {
                    let classic = classic.take()?;
                    let warning = run.warning();
                    lines.extend(match run.outcome() {
                        Ok(outcome) => classic.built(&outcome, &names, warning),
                        Err(message) => classic.failed(&message),
                    });
                }
            }
        }
    });
    answer::stream("application/json", Box::pin(body))
}

fn tell(classic: &mut Classic, heard: Heard) -> Vec<ProgressMessage> {
    match heard {
        Heard::Event(event) => classic.event(event),
        Heard::Pull(line) => classic.pull(line),
    }
}

fn encode(line: &ProgressMessage) -> io::Result<Bytes> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.extend_from_slice(b"\r\n");
    Ok(Bytes::from(bytes))
}

/// What is wrong with a Dockerfile: in Docker's words, and with its lines.
struct Refused {
    message: String,
    excerpt: String,
}

fn parse(request: &BuildRequest) -> Result<Dockerfile, Refused> {
    let source = &request.dockerfile;
    let file = minke_dockerfile::parse(&source.name, &source.text).map_err(|error| Refused {
        message: error.to_string(),
        excerpt: match (error.span, std::str::from_utf8(&source.text)) {
            (Some(span), Ok(text)) => {
                minke_dockerfile::Source { name: source.name.as_str().into(), text: text.into() }
                    .excerpt(span)
            }
            _ => String::new(),
        },
    })?;
    if !request.target.is_empty() && file.stage(&request.target).is_none() {
        let message = format!("target stage {:?} could not be found", request.target);
        return Err(Refused { message, excerpt: String::new() });
    }
    Ok(file)
}

/// What is odd about a Dockerfile, as far as it can be told: base images that are here bring variables.
fn lint(engine: &Engine, request: &BuildRequest, file: &Dockerfile) -> Vec<Warning> {
    let arguments = request.args.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
    let given = Given { arguments: arguments.collect(), ..Given::default() };
    let scope = Scope::of_globals(file, Arc::new(given)).ok();
    let variables = |image: &str| {
        let image = engine.images.resolve(&scope.as_ref()?.expand(image).ok()?).ok()?;
        let name = |text: &String| text.split('=').next().unwrap_or_default().to_owned();
        Some(image.defaults.env.iter().map(name).collect())
    };
    minke_dockerfile::lint(file, &Around { ignored: None, variables: Some(&variables) })
}

pub(super) async fn build_own(shared: &Shared, call: Call) -> Outcome {
    let mut request = parameters::request(&call.query)?;
    let (bases, pulls) = ports::Bases::of(&shared.engine, &call)?;
    request.pull_by = Some(Arc::new(bases));
    incoming::own_files(&shared.engine, call, &mut request).await?;
    let file = parse(&request)
        .map_err(|refused| Failure::invalid(format!("{}{}", refused.excerpt, refused.message)))?;
    let warnings = lint(&shared.engine, &request, &file);
    if file.directives.checks_are_errors && !warnings.is_empty() {
        let lines: Vec<String> = warnings
            .iter()
            .map(|warning| {
                format!("{}{}: {}", file.source.excerpt(warning.span), warning.rule, warning.message)
            })
            .collect();
        let text =
            format!("{}\nlint violation found for rules: the file says check=error=true", lines.join("\n"));
        return Err(Failure::invalid(text));
    }
    let mut run = Run::start(shared, request, pulls);
    let first = run.begin().await?;
    let mut own = Own::new(Some(file));
    let told = warnings.iter().map(own::warning).chain(first.and_then(|heard| own.heard(heard)));
    let state = (run, own, told.collect::<VecDeque<BuildTold>>(), After::Events);
    let body = stream::unfold(state, |(mut run, mut own, mut told, mut after)| async move {
        loop {
            if let Some(line) = told.pop_front() {
                return Some((own::control(&line), (run, own, told, after)));
            }
            match &mut after {
                After::Nothing => return None,
                After::Archive { archive, number, rest } => match archive.next().await {
                    Some(Ok(bytes)) => return Some((Ok(own::piece(&bytes)), (run, own, told, after))),
                    Some(Err(error)) => {
                        told.push_back(BuildTold::Error { message: error.to_string() });
                        after = After::Nothing;
                    }
                    None => after = After::next(std::mem::take(rest), *number + 1, &mut told),
                },
                After::Events => match run.next().await {
                    Some(heard) => told.extend(own.heard(heard)),
                    None => {
                        after = After::Nothing;
                        let warning = run.warning();
                        match run.outcome() {
                            Ok(mut outcome) => {
                                told.extend(warning.map(own::plain_warning));
                                told.push_back(own::built(&outcome));
                                after =
                                    After::next(std::mem::take(&mut outcome.exports).into(), 0, &mut told);
                            }
                            Err(message) => told.push_back(BuildTold::Error { message }),
                        }
                    }
                },
            }
        }
    });
    answer::stream("application/vnd.minke.build", Box::pin(body))
}

type Archive = Pin<Box<dyn futures_util::Stream<Item = io::Result<Bytes>> + Send>>;

/// What follows the events.
enum After {
    Events,
    /// An output's archive, and those behind it.
    Archive {
        archive: Archive,
        number: usize,
        rest: VecDeque<Export>,
    },
    Nothing,
}

impl After {
    /// The next archive, which is announced.
    fn next(mut exports: VecDeque<Export>, number: usize, told: &mut VecDeque<BuildTold>) -> Self {
        let Some(export) = exports.pop_front() else { return Self::Nothing };
        told.push_back(BuildTold::Export { output: number });
        Self::Archive { archive: archive(export), number, rest: exports }
    }
}

/// An export as pieces; an error of its making is the last of them.
fn archive(export: Export) -> Archive {
    let (writer, received) = BodyWriter::new();
    let work = tokio::spawn(async move { export.write(Box::new(writer)).await });
    let end = stream::once(async move {
        match work.await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(Err(io::Error::other(error.to_string()))),
            Err(error) => Some(Err(io::Error::other(error))),
        }
    });
    Box::pin(pieces(None, received).chain(end.filter_map(|end| async move { end })))
}

pub(super) async fn prune(shared: &Shared, call: &Call) -> Outcome {
    let limits = requests::prune_limits(call.version, |name| call.query.text(name))
        .map_err(|error| Failure::invalid(error.to_string()))?;
    let request = PruneRequest { all: call.query.flag("all"), limits, filters: filters(call)? };
    let builds = Arc::clone(&shared.engine.builds);
    let pruned = shared.work.to_the_end(async move { builds.prune(request).await }).await?;
    let deleted = if pruned.ids.is_empty() { json!(null) } else { json!(pruned.ids) };
    answer::json(&json!({"CachesDeleted": deleted, "SpaceReclaimed": pruned.bytes}))
}

pub(super) fn cancel(shared: &Shared, call: &Call) -> Outcome {
    let id = call.query.text("id").ok_or_else(|| Failure::invalid("build ID not provided"))?;
    // As Docker: that there is no such build any more is what was wanted.
    let _found = shared.engine.builds.cancel(id);
    answer::done(StatusCode::OK)
}
