//! The engine's JSON progress, live.
//!
//! On a terminal every layer has a line of its own with a bar, moved to by cursor escapes; elsewhere only whole lines
//! are printed and bars are left out, so that logs stay readable.

use crate::failure::Failure;
use crate::printer::{write_stderr, write_stdout};
use minke_base::size;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};

/// Where progress goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    Stdout,
    Stderr,
}

impl To {
    fn write(self, text: &str) -> Result<(), Failure> {
        match self {
            To::Stdout => write_stdout(text.as_bytes())?,
            To::Stderr => write_stderr(text.as_bytes())?,
        }
        Ok(())
    }

    fn terminal(self) -> bool {
        match self {
            To::Stdout => crate::terminal::stdout_is(),
            To::Stderr => crate::terminal::stderr_is(),
        }
    }
}

/// Shows a stream of progress messages; an error message in it is the failure.
pub(crate) fn show(stream: impl Read, to: To) -> Result<(), Failure> {
    let width = if to.terminal() { usize::from(crate::terminal::size().1) } else { 200 };
    let mut display = Display { terminal: to.terminal(), width, ids: Vec::new() };
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        // Messages may sit side by side on a line.
        for message in serde_json::Deserializer::from_slice(&line).into_iter::<Value>() {
            let message = message.map_err(|e| format!("the engine's progress is not JSON: {e}"))?;
            to.write(&display.render(&message)?)?;
        }
    }
}

/// Hears a stream of progress messages for its errors only.
pub(crate) fn listen(stream: impl Read) -> Result<(), Failure> {
    let mut display = Display { terminal: false, width: 200, ids: Vec::new() };
    for message in serde_json::Deserializer::from_reader(BufReader::new(stream)).into_iter::<Value>() {
        let message = message.map_err(|e| format!("the engine's progress is not JSON: {e}"))?;
        display.render(&message)?;
    }
    Ok(())
}

struct Display {
    terminal: bool,
    width: usize,
    /// Lines on screen, by the order of their first message.
    ids: Vec<String>,
}

fn text<'m>(message: &'m Value, key: &str) -> &'m str {
    message.get(key).and_then(Value::as_str).unwrap_or_default()
}

impl Display {
    fn render(&mut self, message: &Value) -> Result<String, Failure> {
        let error = message.pointer("/errorDetail/message").and_then(Value::as_str);
        let error = error.or_else(|| message.get("error").and_then(Value::as_str));
        if let Some(error) = error {
            return Err(Failure::new(1, error));
        }
        if message.get("aux").is_some() {
            return Ok(String::new());
        }
        let id = text(message, "id");
        let detail = message.get("progressDetail").filter(|d| !d.is_null());
        let progress = detail.map(|d| bar(d, self.width));
        let mut out = String::new();
        let mut below = 0;
        if !id.is_empty() && (progress.is_some() || !text(message, "progress").is_empty()) {
            let at = match self.ids.iter().position(|i| i == id) {
                Some(at) => at,
                None => {
                    self.ids.push(id.to_owned());
                    if self.terminal {
                        out.push('\n');
                    }
                    self.ids.len() - 1
                }
            };
            below = self.ids.len() - at;
            if self.terminal {
                out.push_str(&format!("\x1b[{below}A"));
            }
        } else {
            self.ids.clear();
        }
        self.line(message, progress, &mut out);
        if !id.is_empty() && self.terminal && below > 0 {
            out.push_str(&format!("\x1b[{below}B"));
        }
        Ok(out)
    }

    fn line(&self, message: &Value, progress: Option<String>, out: &mut String) {
        let stream = text(message, "stream");
        let mut end = "";
        match &progress {
            Some(_) if self.terminal && stream.is_empty() => {
                out.push_str("\x1b[2K\r");
                end = "\r";
            }
            Some(bar) if !bar.is_empty() => return,
            _ => {}
        }
        let id = text(message, "id");
        if !id.is_empty() {
            out.push_str(&format!("{id}: "));
        }
        let status = text(message, "status");
        match progress {
            Some(bar) if self.terminal => out.push_str(&format!("{status} {bar}{end}")),
            _ if !stream.is_empty() => out.push_str(&format!("{stream}{end}")),
            _ => out.push_str(&format!("{status}{end}\n")),
        }
    }
}

/// `[=====>      ]  1.2MB/4.5MB`
fn bar(detail: &Value, width: usize) -> String {
    let number = |key| detail.get(key).and_then(Value::as_i64).unwrap_or(0);
    let (current, total) = (number("current"), number("total"));
    if current <= 0 && total <= 0 {
        return String::new();
    }
    let units = text(detail, "units");
    let human = |n: i64| {
        let n = u64::try_from(n).unwrap_or(0);
        if units.is_empty() { size::human(n) } else { format!("{n} {units}") }
    };
    if total <= 0 {
        return format!("{:>8}", human(current));
    }
    let wide = width > 110;
    let done = usize::try_from(current.saturating_mul(100) / total / 2).unwrap_or(0).min(50);
    let picture =
        if wide { format!("[{}>{}] ", "=".repeat(done), " ".repeat(50 - done)) } else { String::new() };
    let hide = detail.get("hidecounts").and_then(Value::as_bool).unwrap_or(false);
    let numbers = match hide {
        true => String::new(),
        false if current > total => format!("{:>8}", human(current)),
        false => format!("{:>8}/{}", human(current), human(total)),
    };
    picture + &numbers
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn render(terminal: bool, messages: &[Value]) -> String {
        let mut display = Display { terminal, width: 200, ids: Vec::new() };
        messages.iter().map(|m| display.render(m).unwrap()).collect()
    }

    fn layers() -> Vec<Value> {
        vec![
            json!({"status": "Loading layer", "progressDetail": {"current": 1, "total": 2}, "id": "a"}),
            json!({"status": "Loading layer", "progressDetail": {"current": 2, "total": 2}, "id": "b"}),
            json!({"status": "Loading layer", "progressDetail": {"current": 2, "total": 2}, "id": "a"}),
            json!({"stream": "Loaded image: x\n"}),
        ]
    }

    #[test]
    fn each_layer_keeps_its_line_on_a_terminal() {
        let half = format!("[{}>{}]", "=".repeat(25), " ".repeat(25));
        let full = format!("[{}>]", "=".repeat(50));
        let expected = format!(
            "\n\x1b[1A\x1b[2K\ra: Loading layer {half}       1B/2B\r\x1b[1B\
             \n\x1b[1A\x1b[2K\rb: Loading layer {full}       2B/2B\r\x1b[1B\
             \x1b[2A\x1b[2K\ra: Loading layer {full}       2B/2B\r\x1b[2BLoaded image: x\n"
        );
        assert_eq!(render(true, &layers()), expected);
    }

    #[test]
    fn bars_are_left_out_where_there_is_no_terminal() {
        assert_eq!(render(false, &layers()), "Loaded image: x\n");
        assert_eq!(
            render(false, &[json!({"status": "Pulling from x", "id": "latest"})]),
            "latest: Pulling from x\n"
        );
    }

    #[test]
    fn an_error_in_the_stream_fails_the_command() {
        let mut display = Display { terminal: false, width: 200, ids: Vec::new() };
        let failed = display.render(&json!({"errorDetail": {"message": "disk full"}, "error": "disk full"}));
        assert_eq!(failed.unwrap_err().text, "disk full");
    }
}
