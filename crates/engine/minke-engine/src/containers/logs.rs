//! Logs: what the keeper recorded, read back and followed.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use minke_api::container::LogConfig as WireLog;
use minke_base::ContainerId;
use minke_logs::config::{check_options, plan_attrs, plan_log as plan_options};
use minke_logs::{Cursor, Driver, LogConfig, LogLine, Options, Stream, Tail};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use super::Containers;
use super::container::Progress;
use super::log_tag;
use super::record::{Phase, Record};
use super::requests::LogOptions;
use crate::error::{Error, Result};

/// Checks the log driver and the names of its options, as create does.
pub(super) fn check_log_config(log: &WireLog) -> Result<()> {
    let options = log.config.clone().unwrap_or_default();
    check_options(&log.kind, &options)
        .map(|_driver| ())
        .map_err(|source| Error::invalid(source.to_string()).caused_by(source))
}

/// The log of a container.
pub(super) fn plan_log(record: &Record, id: &ContainerId, directory: &Path) -> Result<LogConfig> {
    let options = record.host.log_config.config.clone().unwrap_or_default();
    let failed = |source: minke_logs::ConfigError| {
        Error::system(format!(
            "failed to create task for container: failed to initialize logging driver: {source}"
        ))
        .caused_by(source)
    };
    let labels = record.labels();
    let env: Vec<(&str, &str)> =
        record.config.env.iter().flatten().filter_map(|entry| entry.split_once('=')).collect();
    let mut attrs = plan_attrs(
        &options,
        labels.iter().map(|(key, value)| (key.as_str(), value.as_str())),
        env.iter().copied(),
    )
    .map_err(failed)?;
    let path = log_path(record, id, directory);
    if let Some(tag) = options.get("tag").filter(|tag| !tag.is_empty()) {
        let text = log_tag::fill(tag, record, id, &path).map_err(|why| {
            Error::system(format!(
                "failed to create task for container: failed to initialize logging driver: {why}"
            ))
        })?;
        attrs.insert("tag".to_owned(), text);
    }
    plan_options(&record.host.log_config.kind, &options, path.into(), attrs).map_err(failed)
}

/// Where a container's log is; empty for drivers without a file.
pub(super) fn log_path(record: &Record, id: &ContainerId, directory: &Path) -> String {
    match Driver::parse(&record.host.log_config.kind) {
        Ok(Driver::JsonFile) => directory.join(format!("{id}-json.log")).to_string_lossy().into_owned(),
        Ok(Driver::Local) => directory.join("local-logs/container.log").to_string_lossy().into_owned(),
        Ok(Driver::None) | Err(_) => String::new(),
    }
}

/// Lines of a log, batch by batch.
#[derive(Debug)]
pub struct LogStream {
    cursor: Option<Cursor>,
    notices: Option<AsyncFd<OwnedFd>>,
    progress: watch::Receiver<Progress>,
    /// How many runs had ended when it was opened.
    exits: u64,
    options: LogOptions,
    tty: bool,
    ended: bool,
}

impl Containers {
    /// Opens a container's log. Who follows hears one run to its end, as on Docker: a client that wants the next one too, which a
    /// restart policy makes, hears of it by the events and asks again.
    pub fn logs(self: &Arc<Self>, reference: &str, options: LogOptions) -> Result<LogStream> {
        if !options.stdout && !options.stderr {
            return Err(Error::invalid(minke_api::texts::NO_LOG_STREAM));
        }
        let container = self.find(reference)?;
        let mut progress = container.progress.subscribe();
        let exits = progress.borrow_and_update().exits;
        let record = container.record();
        let directory = self.data_dir(container.id.as_str());
        let config = plan_log(&record, &container.id, &directory)?;
        std::fs::create_dir_all(Path::new(&config.path).parent().unwrap_or(&directory))
            .map_err(|source| Error::failed(format!("make {}", directory.display()), source))?;
        let cursor = minke_logs::read(
            &config,
            Options {
                since: options.since.map(|moment| moment.0),
                until: options.until.map(|moment| moment.0),
                tail: options.tail.map_or(Tail::All, Tail::Last),
                follow: options.follow,
            },
        )
        .map_err(|source| match source {
            minke_logs::ReadError::Unsupported => Error::new(
                minke_base::Kind::NotImplemented,
                "configured logging driver does not support reading",
            ),
            other => Error::failed("read the container's log", other),
        })?;
        let notices = match options.follow {
            true => Some(
                cursor
                    .as_fd()
                    .try_clone_to_owned()
                    .and_then(watch_readable)
                    .map_err(|source| Error::failed("follow the container's log", source))?,
            ),
            false => None,
        };
        Ok(LogStream {
            cursor: Some(cursor),
            notices,
            progress,
            exits,
            options,
            tty: record.config.tty,
            ended: container.life().phase == Phase::Restarting,
        })
    }
}

#[expect(deprecated, reason = "its successor is unsafe for descriptors that may close; an OwnedFd cannot")]
fn watch_readable(fd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE)
}

impl LogStream {
    /// Whether the container has a terminal: then lines go out bare, else in stdcopy frames.
    pub fn tty(&self) -> bool {
        self.tty
    }

    /// The next lines; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Vec<LogLine>>> {
        loop {
            let mut cursor = self.cursor.take()?;
            let read = tokio::task::spawn_blocking(move || {
                let batch = cursor.next_batch();
                (cursor, batch)
            });
            let (cursor, batch) = match read.await {
                Ok(read) => read,
                Err(source) => return Some(Err(Error::failed("read the container's log", source))),
            };
            let finished = cursor.is_finished();
            let mut batch = match batch {
                Ok(batch) => batch,
                Err(source) => return Some(Err(Error::failed("read the container's log", source))),
            };
            let empty = batch.is_empty();
            self.cursor = Some(cursor);
            batch.retain(|line| match line.stream {
                Stream::Stdout => self.options.stdout,
                Stream::Stderr => self.options.stderr,
            });
            if !batch.is_empty() {
                return Some(Ok(batch));
            }
            if !empty {
                continue;
            }
            if finished || !self.options.follow || self.ended {
                return None;
            }
            self.wait_for_more().await;
        }
    }

    /// Until something was written or the run ended. After the end, one more look suffices: the keeper reports
    /// an exit only when all output is in the log.
    async fn wait_for_more(&mut self) {
        let over = {
            let now = self.progress.borrow();
            !now.live || now.removed || now.exits != self.exits
        };
        if over {
            self.ended = true;
            return;
        }
        let Some(notices) = &self.notices else { return };
        tokio::select! {
            ready = notices.readable() => {
                if let Ok(mut guard) = ready {
                    guard.clear_ready();
                }
            }
            changed = self.progress.changed() => {
                if changed.is_err() {
                    self.ended = true;
                }
            }
        }
    }
}
