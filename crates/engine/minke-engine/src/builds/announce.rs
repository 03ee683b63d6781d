//! What a build is going to do, told before it begins.

use super::event::{BuildEvent, Vertex};
use super::plan::Plan;
use super::solve::Build;

impl Build {
    pub(super) fn announce(&self) {
        for (index, step) in self.file.globals.iter().enumerate() {
            self.tell(BuildEvent::Vertex(Vertex {
                id: Plan::global(index),
                name: format!("[internal] {}", step.text),
                text: step.text.clone(),
                step: Some((index + 1, self.plan.total)),
                line: step.span.first as usize,
                stage: String::new(),
                inputs: Vec::new(),
            }));
        }
        for index in self.plan.stages.iter().copied() {
            let stage = &self.file.stages[index];
            let own = if index == self.plan.target { self.plan.added } else { 0 };
            let count = stage.steps.len() + 1 + own;
            let name = stage.from.name.clone().unwrap_or_else(|| format!("stage-{index}"));
            let shown = |at: usize| match self.file.stages.len() {
                1 => format!("[{}/{count}]", at + 1),
                _ => format!("[{name} {}/{count}]", at + 1),
            };
            let texts = std::iter::once((stage.text.clone(), stage.span))
                .chain(stage.steps.iter().map(|step| (step.text.clone(), step.span)))
                .chain(self.label_texts().take(own).map(|text| (text, stage.span)));
            for (at, (text, span)) in texts.enumerate() {
                self.tell(BuildEvent::Vertex(Vertex {
                    id: self.plan.vertex(index, at),
                    name: format!("{} {text}", shown(at)),
                    text,
                    step: Some((self.plan.number(index, at), self.plan.total)),
                    line: span.first as usize,
                    stage: name.clone(),
                    inputs: (at > 0).then(|| self.plan.vertex(index, at - 1)).into_iter().collect(),
                }));
            }
        }
        for index in 0..self.file.globals.len() {
            let vertex = Plan::global(index);
            self.tell(BuildEvent::Started { vertex });
            self.tell(BuildEvent::Done { vertex, cached: false, image: String::new() });
        }
    }
}
