//! A build on the screen: plain lines as BuildKit numbers them, or a block that is drawn again and again on a terminal.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::failure::Failure;
use crate::printer::write_stderr;

/// Lines of a running step that a terminal shows.
const TAIL: usize = 6;
/// The block is not drawn more often than this.
const FRAME: Duration = Duration::from_millis(80);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Terminal,
    Quiet,
}

/// A build on the screen whose clocks go on while nothing is told.
pub(super) struct Live(Arc<Mutex<Show>>);

impl Live {
    pub(super) fn new(style: Style) -> Self {
        let show = Arc::new(Mutex::new(Show::new(style)));
        if style == Style::Terminal {
            let watched = Arc::downgrade(&show);
            // It ends with the build: there is nothing to look at any more.
            std::thread::spawn(move || tick(&watched));
        }
        Self(show)
    }

    pub(super) fn show(&self) -> MutexGuard<'_, Show> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tick(show: &Weak<Mutex<Show>>) {
    loop {
        std::thread::sleep(FRAME);
        let Some(show) = show.upgrade() else { return };
        let mut show = show.lock().unwrap_or_else(PoisonError::into_inner);
        if show.closed || show.draw(false).is_err() {
            return;
        }
    }
}

/// What is known of a build.
pub(super) struct Show {
    style: Style,
    begun: Instant,
    steps: BTreeMap<u64, Step>,
    next: usize,
    /// The step that the last plain line was about.
    last: Option<u64>,
    warnings: Vec<String>,
    drawn: usize,
    drawn_at: Option<Instant>,
    /// The last picture was drawn.
    closed: bool,
}

struct Step {
    name: String,
    number: usize,
    begun: Option<Instant>,
    took: Option<Duration>,
    state: State,
    log: Vec<u8>,
    told: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Working,
    Cached,
    Done,
    Failed,
}

impl Show {
    pub(super) fn new(style: Style) -> Self {
        Self {
            style,
            begun: Instant::now(),
            steps: BTreeMap::new(),
            next: 1,
            last: None,
            warnings: Vec::new(),
            drawn: 0,
            drawn_at: None,
            closed: false,
        }
    }

    /// A line about the build that is no step's.
    pub(super) fn note(&mut self, name: &str, detail: &str) -> Result<(), Failure> {
        let number = self.next;
        self.next += 1;
        match self.style {
            Style::Plain => say(&format!("#{number} {name}\n#{number} {detail}\n\n")),
            Style::Terminal | Style::Quiet => Ok(()),
        }
    }

    /// Takes in one of the engine's messages.
    pub(super) fn told(&mut self, message: &Value) -> Result<(), Failure> {
        let Some((kind, body)) = message.as_object().and_then(|object| object.iter().next()) else {
            return Ok(());
        };
        let text = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or_default();
        let id = body.get("id").and_then(Value::as_u64).unwrap_or_default();
        match kind.as_str() {
            "vertex" => {
                let step = Step {
                    name: text("name").to_owned(),
                    number: 0,
                    begun: None,
                    took: None,
                    state: State::Waiting,
                    log: Vec::new(),
                    told: 0,
                };
                self.steps.insert(id, step);
            }
            "started" => {
                if let Some(step) = self.steps.get_mut(&id) {
                    step.begun = Some(Instant::now());
                    step.state = State::Working;
                }
                self.head(id)?;
            }
            "log" => self.log(id, text("bytes"))?,
            "done" => {
                let cached = body.get("cached").and_then(Value::as_bool).unwrap_or(false);
                self.end(id, if cached { State::Cached } else { State::Done })?;
            }
            "failed" => self.failed(id, text("message"))?,
            "warning" => {
                let line = body.get("line").and_then(Value::as_u64).unwrap_or(0);
                let rule = text("rule");
                let rule = if rule.is_empty() { String::new() } else { format!("{rule}: ") };
                let place = if line == 0 { String::new() } else { format!(" (line {line})") };
                self.warnings.push(format!(" - {rule}{}{place}", text("message")));
            }
            _ => {}
        }
        self.draw(false)
    }

    /// What is said in the end, before the result.
    pub(super) fn close(&mut self) -> Result<(), Failure> {
        self.draw(true)?;
        self.closed = true;
        if self.style != Style::Quiet && !self.warnings.is_empty() {
            let count = self.warnings.len();
            let plural = if count == 1 { "" } else { "s" };
            say(&format!("\n {count} warning{plural} found:\n{}\n", self.warnings.join("\n")))?;
        }
        Ok(())
    }

    fn head(&mut self, id: u64) -> Result<(), Failure> {
        let next = self.next;
        let Some(step) = self.steps.get_mut(&id) else { return Ok(()) };
        if step.number == 0 {
            step.number = next;
            self.next += 1;
        }
        if self.style != Style::Plain || self.last == Some(id) {
            return Ok(());
        }
        let gap = if self.last.is_some() { "\n" } else { "" };
        self.last = Some(id);
        say(&format!("{gap}#{} {}\n", step.number, step.name))
    }

    fn log(&mut self, id: u64, encoded: &str) -> Result<(), Failure> {
        use base64::Engine as _;
        let bytes = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap_or_default();
        let Some(step) = self.steps.get_mut(&id) else { return Ok(()) };
        step.log.extend_from_slice(&bytes);
        if self.style == Style::Plain {
            self.lines(id, false)?;
        }
        Ok(())
    }

    /// Whole lines of a step's output, at its end also the last one.
    fn lines(&mut self, id: u64, all: bool) -> Result<(), Failure> {
        let Some(step) = self.steps.get_mut(&id) else { return Ok(()) };
        let fresh = &step.log[step.told..];
        let whole = match fresh.iter().rposition(|byte| *byte == b'\n') {
            Some(at) => at + 1,
            None => 0,
        };
        let whole = if all { fresh.len() } else { whole };
        if whole == 0 {
            return Ok(());
        }
        let passed = step.begun.map_or(0.0, |begun| begun.elapsed().as_secs_f64());
        let text = String::from_utf8_lossy(&fresh[..whole]).into_owned();
        step.told += whole;
        let number = step.number;
        self.head(id)?;
        say(&text.lines().map(|line| format!("#{number} {passed:.3} {line}\n")).collect::<String>())
    }

    fn end(&mut self, id: u64, state: State) -> Result<(), Failure> {
        if self.style == Style::Plain {
            self.lines(id, true)?;
        }
        self.head(id)?;
        let Some(step) = self.steps.get_mut(&id) else { return Ok(()) };
        step.state = state;
        let took = step.begun.map_or(Duration::ZERO, |begun| begun.elapsed());
        step.took = Some(took);
        if self.style != Style::Plain {
            return Ok(());
        }
        self.last = Some(id);
        match state {
            State::Cached => say(&format!("#{} CACHED\n", step.number)),
            _ => say(&format!("#{} DONE {:.1}s\n", step.number, took.as_secs_f64())),
        }
    }

    fn failed(&mut self, id: u64, message: &str) -> Result<(), Failure> {
        if self.style == Style::Plain {
            self.lines(id, true)?;
        }
        self.head(id)?;
        let Some(step) = self.steps.get_mut(&id) else { return Ok(()) };
        step.state = State::Failed;
        step.took = step.begun.map(|begun| begun.elapsed());
        let (number, name) = (step.number, step.name.clone());
        if self.style == Style::Plain {
            say(&format!("#{number} ERROR: {message}\n"))?;
        }
        // Who watched a block, or nothing, has not seen what the step wrote.
        let log = String::from_utf8_lossy(&step.log).into_owned();
        self.draw(true)?;
        self.closed = true;
        let log: String = log.lines().map(|line| format!("{line}\n")).collect();
        say(&format!("------\n > {name}:\n{log}------\n"))
    }

    fn draw(&mut self, last: bool) -> Result<(), Failure> {
        if self.style != Style::Terminal || self.closed || (self.steps.is_empty() && !last) {
            return Ok(());
        }
        if !last && self.drawn_at.is_some_and(|at| at.elapsed() < FRAME) {
            return Ok(());
        }
        self.drawn_at = Some(Instant::now());
        let (height, width) = crate::terminal::size();
        let lines = self.block(usize::from(height).saturating_sub(1).max(4), usize::from(width).max(20));
        let mut text = String::new();
        if self.drawn > 0 {
            text.push_str(&format!("\x1b[{}A", self.drawn));
        }
        text.push_str("\x1b[0J");
        for line in &lines {
            text.push_str(line);
            text.push('\n');
        }
        self.drawn = if last { 0 } else { lines.len() };
        say(&text)
    }

    fn block(&self, height: usize, width: usize) -> Vec<String> {
        let finished = |step: &&Step| matches!(step.state, State::Cached | State::Done | State::Failed);
        let done = self.steps.values().filter(finished).count();
        let state = if done == self.steps.len() && done > 0 { " FINISHED" } else { "" };
        let seconds = self.begun.elapsed().as_secs_f64();
        let mut lines = vec![format!("[+] Building {seconds:.1}s ({done}/{}){state}", self.steps.len())];
        for step in self.steps.values().filter(|step| step.state != State::Waiting) {
            let took = step.took.or(step.begun.map(|begun| begun.elapsed())).unwrap_or_default();
            let took = format!("{:.1}s", took.as_secs_f64());
            let word = match step.state {
                State::Cached => "CACHED ",
                State::Failed => "ERROR ",
                _ => "",
            };
            let left: String = format!(" => {word}{}", step.name)
                .chars()
                .take(width.saturating_sub(took.len() + 2))
                .collect();
            let gap = width.saturating_sub(left.chars().count() + took.len() + 1);
            lines.push(format!("{left}{}{took}", " ".repeat(gap)));
            if step.state == State::Working {
                let text = String::from_utf8_lossy(&step.log);
                let tail: Vec<&str> = text.lines().rev().take(TAIL).collect();
                lines.extend(tail.into_iter().rev().map(|line| {
                    let clean = line.rsplit('\r').next().unwrap_or_default();
                    let clean: String = clean.chars().filter(|letter| !letter.is_control()).collect();
                    format!(" => => # {clean}").chars().take(width.saturating_sub(1)).collect()
                }));
            }
        }
        // The newest are what one wants to see.
        if lines.len() > height {
            lines.drain(1..=lines.len() - height);
        }
        lines
    }
}

fn say(text: &str) -> Result<(), Failure> {
    write_stderr(text.as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_block_has_a_line_for_each_step_and_a_tail_for_those_at_work() {
        let mut show = Show::new(Style::Quiet);
        for message in [
            json!({"vertex": {"id": 0, "name": "[1/3] FROM a", "line": 1, "inputs": []}}),
            json!({"vertex": {"id": 1, "name": "[2/3] RUN b", "line": 2, "inputs": [0]}}),
            json!({"vertex": {"id": 2, "name": "[3/3] RUN c", "line": 3, "inputs": [1]}}),
            json!({"started": {"id": 0}}),
            json!({"done": {"id": 0, "cached": true}}),
            json!({"started": {"id": 1}}),
            json!({"log": {"id": 1, "stderr": false, "bytes": "aGVsbG8K"}}),
        ] {
            show.told(&message).expect("shown");
        }
        let block = show.block(24, 40);
        assert!(block[0].ends_with("(1/3)"), "{block:?}");
        assert!(block[1].starts_with(" => CACHED [1/3] FROM a") && block[1].ends_with("0.0s"));
        assert!(block[2].starts_with(" => [2/3] RUN b"));
        assert_eq!(block[3], " => => # hello");
        assert_eq!(block.len(), 4);
        assert_eq!(show.block(3, 40).len(), 3);
    }
}
