//! Steps that need not wait for the one before: what they copy is looked for, fetched and digested as soon as it can be, and a layer that
//! stands alone (`--link`) is written.
//!
//! What a step means is forecast by its variables and working directory alone, which no step with files changes. When its turn comes and
//! it means something else, the forecast is dropped. Sources that have names of their own (stages, images) are not digested
//! while everything is found in the cache: there they need not be.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use minke_dockerfile::{Copy, Instruction, MountKind, Scope, Step, Transfer};
use minke_store::transplant::Dress;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::event::VertexId;
use super::metadata;
use super::pick::{Chosen, Pick, elsewhere};
use super::put::Put;
use super::solve::{Build, Failure, StageFuture};
use super::state::{Layer, State};

type Later<T> = Shared<BoxFuture<'static, Result<T, Arc<Failure>>>>;

/// What a step copies, looked for before its turn or in it.
#[derive(Debug, Clone)]
pub(super) struct Ahead {
    transfer: Transfer,
    /// Where the files come from.
    pub(super) picked: Later<Arc<Pick>>,
    /// The files.
    pub(super) chosen: Later<Arc<Chosen>>,
    /// Its turn has come.
    turn: Arc<watch::Sender<bool>>,
    linked: Option<Arc<Linked>>,
}

/// A layer that was written before its turn.
#[derive(Debug)]
struct Linked {
    put: Put,
    layer: Later<Layer>,
}

/// Everything that is done ahead for one stage; it is given up with the stage.
#[derive(Debug, Default)]
pub(super) struct Lookout {
    steps: HashMap<VertexId, Ahead>,
    work: JoinSet<()>,
}

impl Lookout {
    pub(super) fn of(&self, vertex: VertexId) -> Option<&Ahead> {
        self.steps.get(&vertex)
    }
}

impl Ahead {
    /// The same step as was forecast.
    pub(super) fn fits(&self, transfer: &Transfer) -> bool {
        self.transfer == *transfer
    }

    /// Nothing is held back any more.
    pub(super) fn begin(&self) {
        self.turn.send_replace(true);
    }

    /// The layer that was written, if it was written so.
    pub(super) fn linked(&self, target: &str, dress: &Dress) -> Option<Later<Layer>> {
        let linked = self.linked.as_ref()?;
        (linked.put.target == target && linked.put.dress == *dress).then(|| linked.layer.clone())
    }
}

impl Build {
    /// What a step copies, from now on.
    pub(super) fn look(
        self: &Arc<Self>,
        transfer: &Transfer,
        add: bool,
        vertex: VertexId,
        stage: usize,
        earlier: &[Option<StageFuture>],
    ) -> Ahead {
        let (build, wanted, stages) = (Arc::clone(self), transfer.clone(), earlier.to_vec());
        let picked: Later<Arc<Pick>> = async move {
            let pick = build.pick(&wanted, add, stage, &stages).await;
            pick.map(Arc::new).map_err(Arc::new)
        }
        .boxed()
        .shared();
        let (turn, mut come) = watch::channel(false);
        let (build, wanted, pick) = (Arc::clone(self), transfer.clone(), picked.clone());
        let chosen: Later<Arc<Chosen>> = async move {
            let pick = pick.await?;
            if pick.source.key().is_some() {
                let mut busy = build.busy.subscribe();
                tokio::select! {
                    _ = busy.wait_for(|busy| *busy) => {}
                    _ = come.wait_for(|come| *come) => {}
                }
            }
            if elsewhere(&wanted).next().is_some() {
                build.start(vertex);
            }
            build.choose(&wanted, pick).await.map(Arc::new).map_err(Arc::new)
        }
        .boxed()
        .shared();
        Ahead { transfer: transfer.clone(), picked, chosen, turn: Arc::new(turn), linked: None }
    }

    /// Begins with what depends on no variable, before it is known what a stage stands on.
    pub(super) fn look_before(
        self: &Arc<Self>,
        lookout: &mut Lookout,
        stage: usize,
        earlier: &[Option<StageFuture>],
    ) {
        let nothing = self.globals.of_stage(&[]);
        for (at, step) in self.file.stages[stage].steps.iter().enumerate() {
            if !step.text.contains('$') {
                self.look_at(lookout, step, &nothing, (stage, at + 1), earlier);
            }
        }
    }

    /// Begins with the rest, once a stage has its base.
    pub(super) fn look_after(
        self: &Arc<Self>,
        lookout: &mut Lookout,
        state: &State,
        stage: usize,
        earlier: &[Option<StageFuture>],
    ) {
        let mut forecast = state.clone();
        for (at, step) in self.file.stages[stage].steps.iter().enumerate() {
            self.look_at(lookout, step, &forecast.scope, (stage, at + 1), earlier);
            // What is wrong with a step is said in its turn.
            let Ok(instruction) = step.instruction.expanded(&forecast.scope) else { return };
            match &instruction {
                Instruction::Copy(transfer) | Instruction::Add(transfer) if transfer.link => {
                    self.link_ahead(lookout, transfer, &forecast, (stage, at + 1));
                }
                Instruction::Workdir(path) => {
                    forecast.config.working_dir = forecast.absolute(path).trim_end_matches('/').to_owned();
                }
                _ => {
                    if metadata::apply(&mut forecast, &instruction).is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn look_at(
        self: &Arc<Self>,
        lookout: &mut Lookout,
        step: &Step,
        scope: &Scope,
        (stage, at): (usize, usize),
        earlier: &[Option<StageFuture>],
    ) {
        let vertex = self.plan.vertex(stage, at);
        if lookout.steps.contains_key(&vertex) {
            return;
        }
        let Ok(instruction) = step.instruction.expanded(scope) else { return };
        let (transfer, add) = match &instruction {
            Instruction::Copy(transfer) => (transfer, false),
            Instruction::Add(transfer) => (transfer, true),
            Instruction::Run(run) => {
                let from = run.mounts.iter().filter_map(|mount| match &mount.kind {
                    MountKind::Bind(bind) => bind.from.clone(),
                    MountKind::Cache { from, .. } => from.clone(),
                    _ => None,
                });
                for name in from.filter(|name| self.is_image(name, stage)) {
                    let build = Arc::clone(self);
                    lookout
                        .work
                        .spawn(async move { drop(build.image(&name, &build.request.platform).await) });
                }
                return;
            }
            _ => return,
        };
        // A here-document is read with the variables of its turn.
        if transfer.sources.iter().all(|source| matches!(source, Copy::Path(_))) {
            let ahead = self.look(transfer, add, vertex, stage, earlier);
            let chosen = ahead.chosen.clone();
            lookout.work.spawn(async move { drop(chosen.await) });
            lookout.steps.insert(vertex, ahead);
        }
    }

    /// Writes a layer that stands alone, unless it is known.
    fn link_ahead(
        self: &Arc<Self>,
        lookout: &mut Lookout,
        transfer: &Transfer,
        forecast: &State,
        (stage, at): (usize, usize),
    ) {
        let vertex = self.plan.vertex(stage, at);
        let Some(ahead) = lookout.steps.get_mut(&vertex).filter(|ahead| ahead.fits(transfer)) else { return };
        let Ok(Some(dress)) = super::copy::dress(transfer, || None) else { return };
        let put = Put { dress, target: forecast.absolute(&transfer.target) };
        let (build, wanted, own, forward) = (Arc::clone(self), transfer.clone(), put.clone(), ahead.clone());
        let layer: Later<Layer> = async move {
            let (pick, chosen) = (forward.picked.await?, forward.chosen.await?);
            let wrong = |error| Arc::new(Failure::from(error));
            let key = build.copy_key("linked", &wanted, &pick, &own, &chosen);
            if let Some(record) = build.find(stage, std::slice::from_ref(&key)).map_err(wrong)?
                && let Some(layer) = build.recorded_layer(&record)
            {
                return Ok(layer);
            }
            build.start(vertex);
            build.busy.send_replace(true);
            build.write_layer(Vec::new(), own, pick, chosen).await.map_err(wrong)
        }
        .boxed()
        .shared();
        let work = layer.clone();
        lookout.work.spawn(async move { drop(work.await) });
        ahead.linked = Some(Arc::new(Linked { put, layer }));
    }
}
