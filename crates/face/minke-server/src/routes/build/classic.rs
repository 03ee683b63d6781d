//! The classic builder's story of a build: one step after the other, as JSON lines whose texts clients read.
//!
//! The engine works on several steps at once; what belongs to later ones is kept back until their turn.

use std::collections::BTreeMap;

use minke_api::progress::{ErrorDetail, ProgressMessage};
use minke_engine::builds::{BuildEvent, BuildOutcome, Output, Vertex, VertexId};
use serde_json::json;

/// What later steps may have written before their turn; beyond it they are cut, and say so.
const KEPT: usize = 16 << 20;

/// The story so far.
#[derive(Debug)]
pub(super) struct Classic {
    /// Only the image's id is told, or all of it when the build fails.
    quiet: bool,
    steps: BTreeMap<VertexId, Step>,
    /// The step whose turn it is, once it was begun.
    showing: Option<VertexId>,
    /// Triggers of the last `FROM` that have not been told yet.
    triggers: usize,
    kept: usize,
    warnings: Vec<String>,
    ready: Vec<ProgressMessage>,
    /// The last step was done: its id is the image's, which is known in the end.
    last_done: bool,
}

#[derive(Debug)]
struct Step {
    vertex: Vertex,
    triggers: usize,
    container: Option<String>,
    pending: Vec<ProgressMessage>,
    /// Bytes of an unfinished letter.
    partial: [Vec<u8>; 2],
    state: State,
    clipped: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Waiting,
    Working,
    Done { cached: bool, image: String },
    Failed,
}

impl Classic {
    pub(super) fn new(quiet: bool) -> Self {
        Self {
            quiet,
            steps: BTreeMap::new(),
            showing: None,
            triggers: 0,
            kept: 0,
            warnings: Vec::new(),
            ready: Vec::new(),
            last_done: false,
        }
    }

    /// Takes an event in; what can be told now.
    pub(super) fn event(&mut self, event: BuildEvent) -> Vec<ProgressMessage> {
        match event {
            BuildEvent::Vertex(vertex) => {
                let step = Step {
                    triggers: 0,
                    container: None,
                    pending: Vec::new(),
                    partial: [Vec::new(), Vec::new()],
                    state: State::Waiting,
                    clipped: false,
                    vertex,
                };
                self.steps.insert(step.vertex.id, step);
            }
            BuildEvent::Triggers { vertex, count } => self.change(vertex, |step| {
                step.triggers = count;
                let plural = if count == 1 { "" } else { "s" };
                step.say(format!("# Executing {count} build trigger{plural}\n"));
            }),
            BuildEvent::Started { vertex } => self.change(vertex, |step| step.state = State::Working),
            BuildEvent::Running { vertex, container } => self.change(vertex, |step| {
                step.say(format!(" ---> Running in {}\n", short(&container)));
                step.container = Some(container);
            }),
            BuildEvent::Log { vertex, output, bytes } => self.log(vertex, output, &bytes),
            BuildEvent::Done { vertex, cached, image } => {
                self.change(vertex, |step| step.state = State::Done { cached, image });
            }
            BuildEvent::Failed { vertex, .. } => self.change(vertex, |step| step.state = State::Failed),
            BuildEvent::Warning { message, .. } => self.warnings.push(message),
        }
        self.advance();
        if self.quiet { Vec::new() } else { std::mem::take(&mut self.ready) }
    }

    /// A line of a base image's pull.
    pub(super) fn pull(&self, line: ProgressMessage) -> Vec<ProgressMessage> {
        if self.quiet { Vec::new() } else { vec![line] }
    }

    /// The last lines of a build that succeeded.
    pub(super) fn built(
        mut self,
        outcome: &BuildOutcome,
        names: &[String],
        warning: Option<String>,
    ) -> Vec<ProgressMessage> {
        self.warnings.extend(warning);
        if self.quiet {
            return vec![ProgressMessage::stream(format!("{}\n", outcome.image))];
        }
        let mut lines = std::mem::take(&mut self.ready);
        if self.last_done {
            lines.push(ProgressMessage::stream(format!(" ---> {}\n", short(&outcome.image))));
        }
        lines.push(ProgressMessage { aux: Some(json!({"ID": outcome.image})), ..ProgressMessage::default() });
        lines.extend(self.warnings.iter().map(|text| ProgressMessage::stream(format!("[Warning] {text}\n"))));
        lines.push(ProgressMessage::stream(format!("Successfully built {}\n", short(&outcome.image))));
        lines.extend(
            names.iter().map(|name| ProgressMessage::stream(format!("Successfully tagged {name}\n"))),
        );
        lines
    }

    /// The last lines of a build that failed.
    pub(super) fn failed(mut self, message: &str) -> Vec<ProgressMessage> {
        let mut lines = std::mem::take(&mut self.ready);
        let code = message
            .rsplit_once("returned a non-zero code: ")
            .and_then(|(_, code)| code.trim().parse().ok())
            .unwrap_or_default();
        lines.push(ProgressMessage {
            error_detail: Some(ErrorDetail { code, message: message.to_owned() }),
            error: message.to_owned(),
            ..ProgressMessage::default()
        });
        lines
    }

    fn change(&mut self, vertex: VertexId, change: impl FnOnce(&mut Step)) {
        if let Some(step) = self.steps.get_mut(&vertex) {
            change(step);
        }
    }

    fn log(&mut self, vertex: VertexId, output: Output, bytes: &[u8]) {
        let live = self.showing == Some(vertex);
        let full = self.kept > KEPT && !live;
        let Some(step) = self.steps.get_mut(&vertex) else { return };
        if full {
            if !std::mem::replace(&mut step.clipped, true) {
                step.say("[output of a step that was ahead of its turn is cut here]\n".to_owned());
            }
            return;
        }
        let text = step.text(output, bytes);
        if text.is_empty() {
            return;
        }
        if !live {
            self.kept += text.len();
        }
        step.say(match output {
            Output::Stdout => text,
            Output::Stderr => format!("\x1b[91m{text}\x1b[0m"),
        });
    }

    /// Tells what can be told: the step at hand, and those that follow it and are ready.
    fn advance(&mut self) {
        while let Some((&id, _)) = self.steps.first_key_value() {
            let id = self.showing.unwrap_or(id);
            let Some(step) = self.steps.get_mut(&id) else {
                self.showing = None;
                continue;
            };
            if step.state == State::Waiting {
                return;
            }
            if self.showing.is_none() {
                self.showing = Some(id);
                begin(step, &mut self.ready);
            }
            self.ready.append(&mut step.pending);
            match step.state.clone() {
                State::Waiting | State::Working => return,
                State::Failed => {}
                State::Done { cached, image } => {
                    if step.vertex.step.is_none() {
                        self.triggers = self.triggers.saturating_sub(1);
                    } else {
                        self.triggers = step.triggers;
                    }
                    self.last_done = step.vertex.step.is_some_and(|(number, total)| number == total);
                    let last = self.triggers == 0 && !self.last_done;
                    end(step, cached, &image, last, &mut self.ready);
                }
            }
            self.steps.remove(&id);
            self.showing = None;
        }
    }
}

fn begin(step: &Step, ready: &mut Vec<ProgressMessage>) {
    if let Some((number, total)) = step.vertex.step {
        let first = step.vertex.text.lines().next().unwrap_or_default();
        ready.push(ProgressMessage::stream(format!("Step {number}/{total} : {first}")));
        ready.push(ProgressMessage::stream("\n"));
    }
}

fn end(step: &Step, cached: bool, image: &str, last: bool, ready: &mut Vec<ProgressMessage>) {
    if cached && !step.is_from() {
        ready.push(ProgressMessage::stream(" ---> Using cache\n"));
    }
    if let Some(container) = &step.container {
        let text = format!(" ---> Removed intermediate container {}\n", short(container));
        ready.push(ProgressMessage::stream(text));
    }
    // Between triggers nothing stands that could be named, nor before the first FROM.
    if last && !image.is_empty() {
        ready.push(ProgressMessage::stream(format!(" ---> {}\n", short(image))));
    }
}

impl Step {
    fn is_from(&self) -> bool {
        self.vertex.text.split_whitespace().next().is_some_and(|word| word.eq_ignore_ascii_case("from"))
    }

    fn say(&mut self, text: String) {
        self.pending.push(ProgressMessage::stream(text));
    }

    /// The letters that are whole; the rest waits for its next bytes.
    fn text(&mut self, output: Output, bytes: &[u8]) -> String {
        let partial = &mut self.partial[usize::from(output == Output::Stderr)];
        partial.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(partial) {
            Ok(_) => partial.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => partial.len(),
        };
        let text = String::from_utf8_lossy(&partial[..whole]).into_owned();
        partial.drain(..whole);
        text
    }
}

/// Twelve letters of an id.
fn short(id: &str) -> &str {
    let bare = id.strip_prefix("sha256:").unwrap_or(id);
    bare.get(..12).unwrap_or(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vertex(id: usize, step: Option<(usize, usize)>, text: &str) -> BuildEvent {
        BuildEvent::Vertex(Vertex {
            id: VertexId(id),
            name: text.to_owned(),
            text: text.to_owned(),
            step,
            line: id + 1,
            stage: "0".to_owned(),
            inputs: Vec::new(),
        })
    }

    fn done(id: usize, cached: bool) -> BuildEvent {
        BuildEvent::Done { vertex: VertexId(id), cached, image: format!("sha256:{id:064}") }
    }

    fn tell(classic: &mut Classic, events: Vec<BuildEvent>) -> String {
        events.into_iter().flat_map(|event| classic.event(event)).map(|line| line.stream).collect()
    }

    fn log(id: usize, output: Output, bytes: &[u8]) -> BuildEvent {
        BuildEvent::Log { vertex: VertexId(id), output, bytes: bytes.to_vec() }
    }

    #[test]
    fn steps_are_told_in_order_though_they_end_out_of_it() {
        let mut classic = Classic::new(false);
        let begun = tell(
            &mut classic,
            vec![
                vertex(0, Some((1, 3)), "FROM a"),
                vertex(1, Some((2, 3)), "RUN b"),
                BuildEvent::Started { vertex: VertexId(1) },
                BuildEvent::Running { vertex: VertexId(1), container: "c".repeat(64) },
                log(1, Output::Stdout, b"hello\n"),
            ],
        );
        assert_eq!(begun, "");
        let rest = tell(
            &mut classic,
            vec![
                BuildEvent::Started { vertex: VertexId(0) },
                done(0, true),
                log(1, Output::Stderr, b"oh \xc3"),
                log(1, Output::Stderr, b"\xa4\n"),
                done(1, false),
            ],
        );
        assert_eq!(
            rest,
            "Step 1/3 : FROM a\n ---> 000000000000\nStep 2/3 : RUN b\n ---> Running in cccccccccccc\nhello\n\
             \x1b[91moh \x1b[0m\x1b[91mä\n\x1b[0m ---> Removed intermediate container cccccccccccc\n ---> 000000000000\n"
        );
    }

    #[test]
    fn triggers_are_announced_and_end_with_one_id() {
        let mut classic = Classic::new(false);
        let told = tell(
            &mut classic,
            vec![
                vertex(0, Some((1, 2)), "FROM a"),
                BuildEvent::Triggers { vertex: VertexId(0), count: 2 },
                vertex(1, None, "RUN x"),
                vertex(2, None, "ENV y=z"),
                BuildEvent::Started { vertex: VertexId(0) },
                done(0, false),
                BuildEvent::Started { vertex: VertexId(1) },
                done(1, false),
                BuildEvent::Started { vertex: VertexId(2) },
                done(2, false),
            ],
        );
        assert_eq!(told, "Step 1/2 : FROM a\n# Executing 2 build triggers\n ---> 000000000000\n");
    }

    #[test]
    fn a_quiet_build_tells_its_id_or_everything() {
        let events = || vec![vertex(0, Some((1, 1)), "FROM a"), done(0, false)];
        let mut classic = Classic::new(true);
        assert_eq!(tell(&mut classic, events()), "");
        let lines = classic.failed("The command '/bin/sh -c x' returned a non-zero code: 7");
        assert_eq!(lines[0].stream, "Step 1/1 : FROM a");
        let last = lines.last().and_then(|line| line.error_detail.clone()).expect("an error");
        assert_eq!(last.code, 7);
    }
}
