//! minke's own story of a build: frames with events, then what `--output` asked for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use minke_api::build::BuildTold;
use minke_api::framing::{self, Stream};
use minke_dockerfile::{Dockerfile, Span, Warning};
use minke_engine::builds::{BuildEvent, BuildOutcome, Output, Vertex, VertexId};

use super::Heard;

/// Translates events, with the Dockerfile at hand for quoting.
#[derive(Debug)]
pub(super) struct Own {
    file: Option<Dockerfile>,
    vertices: Vec<Vertex>,
}

impl Own {
    pub(super) fn new(file: Option<Dockerfile>) -> Self {
        Self { file, vertices: Vec::new() }
    }

    /// Pulls are not told of: their step is at work meanwhile.
    pub(super) fn heard(&mut self, heard: Heard) -> Option<BuildTold> {
        match heard {
            Heard::Event(event) => self.event(event),
            Heard::Pull(_line) => None,
        }
    }

    fn event(&mut self, event: BuildEvent) -> Option<BuildTold> {
        Some(match event {
            BuildEvent::Vertex(vertex) => {
                let told = BuildTold::Vertex {
                    id: vertex.id.0,
                    name: vertex.name.clone(),
                    line: vertex.line,
                    inputs: vertex.inputs.iter().map(|input| input.0).collect(),
                };
                self.vertices.push(vertex);
                told
            }
            BuildEvent::Triggers { .. } | BuildEvent::Running { .. } => return None,
            BuildEvent::Started { vertex } => BuildTold::Started { id: vertex.0 },
            BuildEvent::Log { vertex, output, bytes } => BuildTold::Log {
                id: vertex.0,
                stderr: output == Output::Stderr,
                bytes: STANDARD.encode(bytes),
            },
            BuildEvent::Done { vertex, cached, .. } => BuildTold::Done { id: vertex.0, cached },
            BuildEvent::Failed { vertex, message, .. } => {
                BuildTold::Failed { id: vertex.0, message, excerpt: self.excerpt(vertex) }
            }
            BuildEvent::Warning { vertex, message } => BuildTold::Warning {
                rule: String::new(),
                message,
                line: vertex.map_or(0, |vertex| self.line(vertex)),
            },
        })
    }

    fn line(&self, id: VertexId) -> usize {
        self.vertices.iter().find(|vertex| vertex.id == id).map_or(0, |vertex| vertex.line)
    }

    /// The instruction's lines; a trigger has none of its own.
    fn excerpt(&self, id: VertexId) -> String {
        let (Some(file), Ok(line)) = (&self.file, u32::try_from(self.line(id))) else { return String::new() };
        let steps = file.globals.iter().chain(file.stages.iter().flat_map(|stage| &stage.steps));
        let spans = steps.map(|step| step.span).chain(file.stages.iter().map(|stage| stage.span));
        let span = spans
            .into_iter()
            .find(|span| span.first == line)
            .or((line > 0).then_some(Span { first: line, last: line }));
        span.map(|span| file.source.excerpt(span)).unwrap_or_default()
    }
}

pub(super) fn warning(warning: &Warning) -> BuildTold {
    BuildTold::Warning {
        rule: warning.rule.to_string(),
        message: warning.message.clone(),
        line: usize::try_from(warning.span.first).unwrap_or_default(),
    }
}

/// One that no line of the Dockerfile is to blame for.
pub(super) fn plain_warning(message: String) -> BuildTold {
    BuildTold::Warning { rule: String::new(), message, line: 0 }
}

pub(super) fn built(outcome: &BuildOutcome) -> BuildTold {
    BuildTold::Built {
        image: outcome.image.clone(),
        manifest: outcome.manifest.clone(),
        steps: outcome.steps,
        cached: outcome.cached,
    }
}

pub(super) fn control(told: &BuildTold) -> std::io::Result<Bytes> {
    let mut frame = Vec::new();
    framing::encode(Stream::Control, &serde_json::to_vec(told)?, &mut frame);
    Ok(Bytes::from(frame))
}

/// A piece of what `--output` asked for.
pub(super) fn piece(bytes: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(bytes.len() + framing::HEADER_LEN);
    framing::encode(Stream::Stdout, bytes, &mut frame);
    Bytes::from(frame)
}
