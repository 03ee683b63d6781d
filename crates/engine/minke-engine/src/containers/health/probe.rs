//! A probe: the check's program, run as an exec in the container, with an end to how long it may take and how much of what
//! it says is kept.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use minke_api::container::ExecConfig;
use minke_api::framing::Decoder;
use minke_keeper::protocol::{Body, SignalRequest, Target};
use tokio::io::AsyncReadExt as _;

use super::super::container::Container;
use super::super::requests::ClientStream;
use super::super::{Containers, signal};
use super::check::{Check, Outcome};
use crate::clock::Moment;
use crate::error::{Error, Result};

/// How much of what a probe says is kept.
const OUTPUT: usize = 4096;
/// How long a probe that was killed may take to be gone.
const AFTERMATH: Duration = Duration::from_secs(5);

/// The beginning of an output.
#[derive(Debug, Default)]
struct Beginning {
    bytes: Vec<u8>,
    cut: bool,
}

impl Beginning {
    fn add(&mut self, bytes: &[u8]) {
        let room = OUTPUT - self.bytes.len();
        self.cut |= bytes.len() > room;
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn text(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.bytes).into_owned();
        if self.cut {
            text.push_str("...");
        }
        text
    }
}

impl Containers {
    /// Asks once. A failure to ask is an answer too.
    pub(super) async fn probe(self: &Arc<Self>, container: &Arc<Container>, check: &Check) -> Outcome {
        let start = Moment::now();
        let (exit_code, output) = match self.try_probe(container, check).await {
            Ok(answer) => answer,
            Err(error) => (-1, error.to_string()),
        };
        Outcome { start, end: Moment::now(), exit_code, output }
    }

    async fn try_probe(self: &Arc<Self>, container: &Arc<Container>, check: &Check) -> Result<(i64, String)> {
        let config = ExecConfig {
            attach_stdout: true,
            attach_stderr: true,
            cmd: Some(check.command.clone().into()),
            ..ExecConfig::default()
        };
        let accepted = self.begin_probe(container, config)?;
        let id = accepted.id().to_owned();
        let failed = |source| Error::failed("listen to a health check", source);
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
        let mut ours = tokio::net::UnixStream::from_std(ours).map_err(failed)?;
        let client = ClientStream { socket: OwnedFd::from(theirs), early: Vec::new() };
        let mut said = Beginning::default();
        let asked = async {
            self.exec_start(accepted, Some(client)).await?;
            listen(&mut ours, &mut said).await.map_err(failed)
        };
        let over = match tokio::time::timeout(check.timeout, asked).await {
            Ok(answered) => answered.map(|()| false),
            Err(_elapsed) => Ok(true),
        };
        if matches!(over, Ok(true)) {
            self.end_probe(container, &id, &mut ours).await;
        }
        let known = self.exec_inspect(&id).await;
        self.forget_exec(container, &id);
        if over? {
            let said = said.text();
            let said = if said.is_empty() { said } else { format!(": {said}") };
            return Ok((-1, format!("Health check exceeded timeout ({}){said}", go_duration(check.timeout))));
        }
        let exit_code = known?.exit_code.unwrap_or(-1);
        Ok((exit_code, said.text()))
    }

    async fn end_probe(&self, container: &Container, id: &str, ours: &mut tokio::net::UnixStream) {
        let request = SignalRequest { target: Target::Exec(id.to_owned()), signo: signal::KILL, all: false };
        if let Err(error) = self.order(container, Body::Signal(request), "end a health check of").await {
            tracing::debug!(%error, "a health check ended by itself");
        }
        let mut unheard = Beginning::default();
        if tokio::time::timeout(AFTERMATH, listen(ours, &mut unheard)).await.is_err() {
            tracing::warn!(
                container = container.id.as_str(),
                "a health check that took too long is still there"
            );
        }
    }
}

/// Until the exec has ended.
async fn listen(from: &mut tokio::net::UnixStream, into: &mut Beginning) -> std::io::Result<()> {
    let mut frames = Decoder::default();
    let mut buffer = vec![0; 8192];
    loop {
        let length = match from.read(&mut buffer).await {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error),
        };
        frames.push(&buffer[..length]);
        while let Some((_, payload)) = frames.next_frame().map_err(std::io::Error::other)? {
            into.add(payload);
        }
    }
}

/// As Go prints a duration: `1s`, `500ms`, `1m30s`.
fn go_duration(span: Duration) -> String {
    minke_base::duration::format_go(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_beginning_of_what_is_said_is_kept() {
        let mut said = Beginning::default();
        said.add(&[b'x'; 4000]);
        said.add(&[b'y'; 96]);
        assert_eq!(said.text().len(), OUTPUT);
        said.add(b"z");
        assert!(said.text().ends_with("y..."));
    }
}
