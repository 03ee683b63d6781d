//! Which stages of a Dockerfile a build needs, and how their steps are numbered. Pure.

use std::collections::BTreeSet;

use minke_dockerfile::{Dockerfile, Instruction, MountKind, Scope, Stage};

use super::event::VertexId;
use crate::error::{Error, Result};

/// Room between the numbers of a stage's steps, for the triggers that a `FROM` brings.
const STRIDE: usize = 1000;

/// What is to be done.
#[derive(Debug)]
pub(super) struct Plan {
    /// The stage that is built.
    pub(super) target: usize,
    /// It and what it stands on or copies from, in order.
    pub(super) stages: BTreeSet<usize>,
    /// How many steps are counted.
    pub(super) total: usize,
    /// The number of each stage's `FROM`, counted from one.
    first: Vec<usize>,
    /// Steps of the target that the file does not have (labels that were given).
    pub(super) added: usize,
}

impl Plan {
    /// The classic builder's number of a step; 0 is the `FROM`.
    pub(super) fn number(&self, stage: usize, step: usize) -> usize {
        self.first[stage] + step
    }

    /// The vertex of a step; 0 is the `FROM`.
    pub(super) fn vertex(&self, stage: usize, step: usize) -> VertexId {
        VertexId(self.number(stage, step) * STRIDE)
    }

    /// The vertex of an `ARG` before the first `FROM`.
    pub(super) const fn global(index: usize) -> VertexId {
        VertexId((index + 1) * STRIDE)
    }

    /// The vertex of a trigger.
    pub(super) fn trigger(&self, stage: usize, index: usize) -> VertexId {
        VertexId(self.vertex(stage, 0).0 + 1 + index.min(STRIDE - 2))
    }
}

/// Plans a build of `target` (the last stage when empty).
pub(super) fn plan(file: &Dockerfile, target: &str, globals: &Scope, labels: usize) -> Result<Plan> {
    let last = file.stages.len() - 1;
    let target = match target {
        "" => last,
        name => file
            .stage(name)
            .ok_or_else(|| Error::invalid(format!("failed to reach build target {name} in Dockerfile")))?,
    };
    let mut stages = BTreeSet::new();
    let mut open = vec![target];
    while let Some(stage) = open.pop() {
        if stages.insert(stage) {
            open.extend(needed_by(file, stage, globals));
        }
    }
    let (mut first, mut next) = (Vec::with_capacity(file.stages.len()), file.globals.len() + 1);
    for (index, stage) in file.stages.iter().enumerate() {
        first.push(next);
        if stages.contains(&index) {
            next += 1 + stage.steps.len();
        }
    }
    Ok(Plan { target, stages, total: next - 1 + labels, first, added: labels })
}

/// The earlier stages that a stage stands on, copies from or mounts.
fn needed_by(file: &Dockerfile, index: usize, globals: &Scope) -> BTreeSet<usize> {
    let stage: &Stage = &file.stages[index];
    let mut needed = BTreeSet::new();
    let mut add = |name: &str| match file.stages[..index].iter().position(|earlier| is_called(earlier, name))
    {
        Some(found) => drop(needed.insert(found)),
        // Its value is known only when it is built: all may be meant.
        None if name.contains('$') => needed.extend(0..index),
        None => {
            if let Some(number) = name.parse().ok().filter(|number| *number < index) {
                needed.insert(number);
            }
        }
    };
    let base = globals.expand(&stage.from.image).unwrap_or_else(|_| stage.from.image.clone());
    // A number is no name of a stage for FROM.
    if base.parse::<usize>().is_err() {
        add(&base);
    }
    for step in &stage.steps {
        match &step.instruction {
            Instruction::Copy(transfer) | Instruction::Add(transfer) => {
                transfer.from.iter().for_each(|name| add(name));
            }
            Instruction::Run(run) => {
                for mount in &run.mounts {
                    match &mount.kind {
                        MountKind::Bind(bind) => bind.from.iter().for_each(|name| add(name)),
                        MountKind::Cache { from, .. } => from.iter().for_each(|name| add(name)),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    needed
}

/// Whether a stage has this name.
pub(super) fn is_called(stage: &Stage, name: &str) -> bool {
    stage.from.name.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn planned(text: &str, target: &str) -> Result<Plan> {
        let file = minke_dockerfile::parse("Dockerfile", text.as_bytes()).expect("a Dockerfile");
        let globals = Scope::of_globals(&file, Arc::default()).expect("its arguments");
        plan(&file, target, &globals, 0)
    }

    #[test]
    fn only_what_the_target_needs_is_built() {
        let text = "ARG BASE=first\nFROM a AS first\nRUN x\nFROM b AS unused\nRUN y\nFROM c AS tools\nRUN z\n\
                    FROM ${BASE}\nCOPY --from=tools /t /t\nCMD []\n";
        let plan = planned(text, "").expect("a plan");
        assert_eq!(plan.stages.iter().copied().collect::<Vec<_>>(), [0, 2, 3]);
        assert_eq!((plan.total, plan.number(2, 1), plan.number(3, 0)), (8, 5, 6));
        let plan = planned(text, "unused").expect("a plan");
        assert_eq!((plan.stages.len(), plan.total), (1, 3));
        assert!(planned(text, "missing").is_err());
    }

    #[test]
    fn mounts_and_numbers_name_stages_too() {
        let text = "FROM a\nFROM b AS two\nFROM c\nRUN --mount=from=0,target=/m true\nCOPY --from=1 /x /\n";
        assert_eq!(planned(text, "").expect("a plan").stages.len(), 3);
        let text = "FROM a\nFROM b AS two\nFROM c\nRUN --mount=type=cache,from=two,target=/m true\n";
        assert_eq!(planned(text, "").expect("a plan").stages.len(), 2);
    }
}
