//! Where messages go: the log file its caller reads (`--log`, text or JSON), and standard error.
//!
//! containerd and Podman find out why a command failed from the last error line of the JSON log, so its three keys and
//! the level names are runc's.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Format {
    #[default]
    Text,
    Json,
}

/// How serious a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Debug,
    Warning,
    Error,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// The log of one command.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// `None`: standard error.
    pub(crate) path: Option<PathBuf>,
    pub(crate) format: Format,
    pub(crate) debug: bool,
}

impl Log {
    pub(crate) fn warn(&self, message: &str) {
        self.write(Level::Warning, message);
    }

    pub(crate) fn debug(&self, message: &str) {
        if self.debug {
            self.write(Level::Debug, message);
        }
    }

    /// The end of a failed command: into the log, and to standard error when the log is elsewhere.
    pub(crate) fn fail(&self, message: &str) {
        self.write(Level::Error, message);
        if self.path.is_some() {
            complain(message);
        }
    }

    fn write(&self, level: Level, message: &str) {
        let time = chrono::Local::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        let line = line(self.format, level, message, &time);
        let written = match &self.path {
            None => std::io::stderr().write_all(line.as_bytes()),
            Some(path) => OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .and_then(|mut file| file.write_all(line.as_bytes())),
        };
        if let (Err(e), Some(path)) = (written, &self.path) {
            complain(&format!("write log {}: {e}", path.display()));
        }
    }
}

fn line(format: Format, level: Level, message: &str, time: &str) -> String {
    let level = level.word();
    match format {
        Format::Json => {
            let mut line = serde_json::json!({"level": level, "msg": message, "time": time}).to_string();
            line.push('\n');
            line
        }
        Format::Text => format!("time={time:?} level={level} msg={message:?}\n"),
    }
}

/// Standard error is the last place to say something; when it is closed nobody listens.
pub(crate) fn complain(message: &str) {
    drop(writeln!(std::io::stderr(), "{message}"));
}

/// Prints a result.
pub(crate) fn print(text: &str) -> Result<(), crate::OciError> {
    let mut out = std::io::stdout().lock();
    let fail = |e| crate::OciError::kernel("write to standard output", e);
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_line_has_the_three_keys_that_callers_read() {
        let line = line(Format::Json, Level::Error, "container \"x\"", "2026-01-02T03:04:05Z");
        assert_eq!(
            line,
            "{\"level\":\"error\",\"msg\":\"container \\\"x\\\"\",\"time\":\"2026-01-02T03:04:05Z\"}\n"
        );
    }

    #[test]
    fn a_text_line_quotes_time_and_message() {
        let line = line(Format::Text, Level::Warning, "no", "2026-01-02T03:04:05Z");
        assert_eq!(line, "time=\"2026-01-02T03:04:05Z\" level=warning msg=\"no\"\n");
    }
}
