//! One build at work: stages side by side, each as soon as somebody wants it, steps one after the other.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use minke_base::Kind;
use minke_dockerfile::{Dockerfile, Instruction, Pair, Scope, Span, Step};
use minke_store::Hold;
use minke_store::document::History;
use tokio::sync::{OnceCell, Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use super::ahead::{Ahead, Lookout};
use super::borrow::Lender;
use super::cache::{Key, Record};
use super::clean::Clean;
use super::event::{BuildEvent, Vertex, VertexId};
use super::plan::Plan;
use super::request::BuildRequest;
use super::state::{Layer, State};
use super::{Builds, borrow, metadata};
use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::images::Image;

/// How many files a build fetches from elsewhere at the same time.
const FETCHED_AT_ONCE: usize = 4;

/// Why a build ended, told to everyone who waits for the same stage.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    pub(super) message: String,
    /// The exit code of a program that failed.
    pub(super) code: Option<i64>,
}

/// An image, once somebody has found it.
type FoundImage = Arc<OnceCell<Arc<Image>>>;

/// A stage that somebody builds.
pub(super) type StageFuture = Shared<BoxFuture<'static, Result<Arc<State>, Arc<Failure>>>>;

/// One build.
#[derive(Debug)]
pub(super) struct Build {
    pub(super) builds: Arc<Builds>,
    pub(super) file: Dockerfile,
    pub(super) request: BuildRequest,
    pub(super) plan: Plan,
    /// Variables outside of the stages.
    pub(super) globals: Scope,
    /// `SOURCE_DATE_EPOCH`: nothing is younger.
    pub(super) epoch: Option<i64>,
    events: mpsc::UnboundedSender<BuildEvent>,
    /// Keeps every layer that is found or made.
    pub(super) hold: Arc<Hold>,
    /// Records that wait for their layers' digests.
    pub(super) recording: Mutex<JoinSet<()>>,
    /// Records that were of use.
    pub(super) used: Mutex<BTreeSet<String>>,
    /// The records that it stands on, found or made.
    records: Mutex<BTreeSet<String>>,
    pub(super) cached: AtomicUsize,
    /// Behind what holds layers: they are looked through when those are gone.
    pub(super) clean: Arc<Clean>,
    /// The steps that were said to be at work.
    begun: Mutex<BTreeSet<VertexId>>,
    /// Something was not found and is done.
    pub(super) busy: watch::Sender<bool>,
    /// Who may fetch files from elsewhere.
    pub(super) fetching: Semaphore,
    /// Images by name and platform.
    pub(super) images: Mutex<HashMap<(String, String), FoundImage>>,
    /// The images of `--cache-from`, looked up once.
    pub(super) lenders: OnceCell<Vec<Arc<Lender>>>,
    /// The last step, once it is done, and whether it was found: it is told of when its image has an id.
    last: Mutex<Option<(VertexId, bool, String)>>,
}

/// A step at work.
pub(super) struct Place<'a> {
    pub(super) vertex: VertexId,
    pub(super) stage: usize,
    pub(super) span: Span,
    pub(super) text: &'a str,
    /// The stages before, as far as the build needs them.
    pub(super) earlier: &'a [Option<StageFuture>],
    /// What was done of it already.
    pub(super) ahead: Option<&'a Ahead>,
}

/// What a step that makes files came to.
pub(super) struct Made {
    /// Under which keys it is found again.
    pub(super) keys: Vec<Key>,
    /// What the history says.
    pub(super) by: String,
    pub(super) layer: Option<Layer>,
    /// It was found.
    pub(super) record: Option<Record>,
}

impl Build {
    pub(super) fn new(
        builds: Arc<Builds>,
        file: Dockerfile,
        request: BuildRequest,
        plan: Plan,
        globals: Scope,
        events: mpsc::UnboundedSender<BuildEvent>,
    ) -> Arc<Self> {
        let epoch = request.args.get("SOURCE_DATE_EPOCH").and_then(|value| value.as_ref()?.parse().ok());
        let hold = builds.store.hold();
        let clean = Clean::new(&builds);
        let busy = watch::Sender::new(request.no_cache);
        Arc::new(Self {
            builds,
            file,
            request,
            plan,
            globals,
            epoch,
            events,
            hold: Arc::new(hold),
            recording: Mutex::default(),
            used: Mutex::default(),
            records: Mutex::default(),
            cached: AtomicUsize::new(0),
            clean,
            begun: Mutex::default(),
            busy,
            fetching: Semaphore::new(FETCHED_AT_ONCE),
            images: Mutex::default(),
            lenders: OnceCell::new(),
            last: Mutex::default(),
        })
    }

    /// A step is at work, which is told once.
    pub(super) fn start(&self, vertex: VertexId) {
        if self.begun.lock().unwrap_or_else(PoisonError::into_inner).insert(vertex) {
            self.tell(BuildEvent::Started { vertex });
        }
    }

    pub(super) fn tell(&self, event: BuildEvent) {
        // Nobody has to listen.
        drop(self.events.send(event));
    }

    /// The time that is written into what this build makes.
    pub(super) fn now(&self) -> String {
        match self.epoch {
            Some(seconds) => Moment(seconds.saturating_mul(1_000_000_000)).rfc3339(),
            None => Moment::now().rfc3339(),
        }
    }

    /// Builds the target.
    pub(super) async fn run(self: &Arc<Self>) -> Result<Arc<State>, Arc<Failure>> {
        self.announce();
        let (failed, mut failure) = mpsc::unbounded_channel();
        let mut stages: Vec<Option<StageFuture>> = Vec::with_capacity(self.file.stages.len());
        // Aborted when this is dropped: a build that nobody waits for ends.
        let mut tasks = JoinSet::new();
        for index in 0..self.file.stages.len() {
            if !self.plan.stages.contains(&index) {
                stages.push(None);
                continue;
            }
            let (build, earlier) = (Arc::clone(self), stages.clone());
            let stage = async move { build.stage(index, earlier).await.map_err(Arc::new) };
            let stage: StageFuture = stage.boxed().shared();
            let (watched, failed) = (stage.clone(), failed.clone());
            tasks.spawn(async move {
                if let Err(why) = watched.await {
                    drop(failed.send(why));
                }
            });
            stages.push(Some(stage));
        }
        let target = stages[self.plan.target].clone();
        drop((failed, stages));
        let Some(target) = target else {
            return Err(Arc::new(Failure::from(Error::system("the target is not among the stages"))));
        };
        tokio::select! {
            built = target => built,
            Some(why) = failure.recv() => Err(why),
        }
    }

    /// The last step is done, and what stands there is the image, if one was made.
    pub(super) fn tell_last(&self, image: Option<&str>) {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((vertex, cached, id)) = last {
            let image = image.map_or(id, str::to_owned);
            self.tell(BuildEvent::Done { vertex, cached, image });
        }
    }

    /// The records that this build stands on, by id.
    pub(super) fn stands_on(&self) -> BTreeSet<String> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Labels that were given beside the file, each a step of its own.
    pub(super) fn label_texts(&self) -> impl Iterator<Item = String> {
        self.request.labels.iter().map(|(key, value)| format!("LABEL {key}={value}"))
    }

    async fn stage(
        self: Arc<Self>,
        index: usize,
        earlier: Vec<Option<StageFuture>>,
    ) -> Result<Arc<State>, Failure> {
        let stage = &self.file.stages[index];
        let texts: Vec<String> = self.label_texts().collect();
        let place = |step: usize, text, span| Place {
            vertex: self.plan.vertex(index, step),
            stage: index,
            span,
            text,
            earlier: &earlier,
            ahead: None,
        };
        let mut lookout = Lookout::default();
        self.look_before(&mut lookout, index, &earlier);
        let from = place(0, &stage.text, stage.span);
        let mut state = self.from(&from).await?;
        let triggers = std::mem::take(&mut state.config.on_build);
        self.fire(&mut state, &triggers, &from).await?;
        self.look_after(&mut lookout, &state, index, &earlier);
        for (at, step) in stage.steps.iter().enumerate() {
            let place = place(at + 1, &step.text, step.span);
            let ahead = lookout.of(place.vertex);
            self.step(&mut state, step, &Place { ahead, ..place }).await?;
        }
        let added = if index == self.plan.target { self.plan.added } else { 0 };
        let labels = texts.iter().zip(&self.request.labels).take(added);
        for (at, (text, (key, value))) in labels.enumerate() {
            let label = Instruction::Label(vec![Pair { key: key.clone(), value: value.clone() }]);
            let place = place(stage.steps.len() + 1 + at, text, stage.span);
            self.start(place.vertex);
            self.metadata(&mut state, &label, &place)?;
        }
        Ok(Arc::new(state))
    }

    /// What a base image wants done in every build that stands on it.
    async fn fire(
        self: &Arc<Self>,
        state: &mut State,
        triggers: &[String],
        from: &Place<'_>,
    ) -> Result<(), Failure> {
        for (at, trigger) in triggers.iter().enumerate() {
            let vertex = self.plan.trigger(from.stage, at);
            let step = minke_dockerfile::parse_trigger(trigger)
                .map_err(|error| Failure::from(Error::invalid(error.to_string())))?;
            self.tell(BuildEvent::Vertex(Vertex {
                id: vertex,
                name: format!("[trigger {}/{}] {trigger}", at + 1, triggers.len()),
                text: trigger.clone(),
                step: None,
                line: from.span.first as usize,
                stage: String::new(),
                inputs: vec![from.vertex],
            }));
            let place = Place { vertex, text: trigger, ahead: None, ..*from };
            self.step(state, &step, &place).await?;
        }
        Ok(())
    }

    async fn step(
        self: &Arc<Self>,
        state: &mut State,
        step: &Step,
        place: &Place<'_>,
    ) -> Result<(), Failure> {
        self.start(place.vertex);
        let done = self.do_step(state, step, place).await;
        done.inspect_err(|failure| {
            self.tell(BuildEvent::Failed {
                vertex: place.vertex,
                message: failure.message.clone(),
                code: failure.code,
                excerpt: self.file.source.excerpt(place.span),
            });
        })
    }

    async fn do_step(
        self: &Arc<Self>,
        state: &mut State,
        step: &Step,
        place: &Place<'_>,
    ) -> Result<(), Failure> {
        let expanded = step.instruction.expanded(&state.scope);
        let instruction = expanded.map_err(|error| Error::invalid(error.to_string()))?;
        let made = match &instruction {
            Instruction::Run(run) => self.do_run(state, run, place).await?,
            Instruction::Copy(transfer) => self.do_copy(state, transfer, false, place).await?,
            Instruction::Add(transfer) => self.do_copy(state, transfer, true, place).await?,
            Instruction::Workdir(path) => self.do_workdir(state, path, place).await?,
            _ => return Ok(self.metadata(state, &instruction, place)?),
        };
        self.take(state, made, place);
        Ok(())
    }

    fn metadata(&self, state: &mut State, instruction: &Instruction, place: &Place<'_>) -> Result<()> {
        let Some(by) = metadata::apply(state, instruction)? else {
            return Err(Error::system(format!("{} is not only metadata", instruction.name())));
        };
        if let Instruction::Env(pairs) = instruction {
            borrow::check_variables(state, pairs);
        }
        let config = serde_json::to_string(&state.config).unwrap_or_default();
        let key = Key::of(&["metadata", state.key.text(), &state.id, &config, place.text, &by, &self.era()]);
        let by = format!("/bin/sh -c {by}");
        let made = self.borrow_step(state, std::slice::from_ref(&key), &by, place)?;
        let made = made.unwrap_or(Made { keys: vec![key], by, layer: None, record: None });
        self.take(state, made, place);
        Ok(())
    }

    /// What a step came to becomes part of its stage.
    fn take(&self, state: &mut State, made: Made, place: &Place<'_>) {
        let Made { keys, by, layer, record } = made;
        let cached = record.is_some();
        let fresh = record.is_none();
        let record = record.unwrap_or_else(|| Record {
            id: keys.first().map(Key::fresh_id).unwrap_or_default(),
            parents: vec![state.id.clone()],
            created: self.now(),
            layer: None,
            diff_id: None,
            description: place.text.to_owned(),
            by,
            files: keys.first().map(|key| key.0.clone()).unwrap_or_default(),
            size: 0,
        });
        self.records.lock().unwrap_or_else(PoisonError::into_inner).insert(record.id.clone());
        if cached {
            self.cached.fetch_add(1, Ordering::Relaxed);
            let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
            used.extend(keys.iter().map(|key| key.0.clone()));
        }
        state.history.push(History {
            created: Some(record.created.clone()),
            created_by: Some(record.by.clone()),
            author: state.author.clone(),
            comment: None,
            empty_layer: layer.is_none(),
        });
        state.id.clone_from(&record.id);
        state.created = Some(record.created.clone());
        state.changed = true;
        if layer.is_some() {
            // What stands on these files is found by what they are made of.
            state.key = Key::of(&["files", &record.files]);
        }
        if fresh {
            self.remember(keys, record.clone(), layer.clone());
        }
        let known = cached || layer.is_none();
        state.layers.extend(layer);
        borrow::follow(state, record.diff_id(), known);
        let stage = &self.file.stages[self.plan.target];
        if place.vertex == self.plan.vertex(self.plan.target, stage.steps.len() + self.plan.added) {
            let done = Some((place.vertex, cached, record.id));
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = done;
        } else {
            self.tell(BuildEvent::Done { vertex: place.vertex, cached, image: record.id });
        }
    }

    /// Times are part of what a build makes only where they were set from outside.
    pub(super) fn era(&self) -> String {
        self.epoch.map(|epoch| epoch.to_string()).unwrap_or_default()
    }
}

impl Failure {
    /// The same for another who waited.
    pub(super) fn again(failure: Arc<Self>) -> Self {
        Self { kind: failure.kind, message: failure.message.clone(), code: failure.code }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { kind: error.kind(), message: error.message().to_owned(), code: None }
    }
}
