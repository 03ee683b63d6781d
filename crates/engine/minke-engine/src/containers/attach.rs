//! Attach: hand a client's socket to the keeper, or hold it until the container starts.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use minke_api::framing;
use minke_keeper::protocol::{AttachSpec, Body, ResizeRequest, Target, Wire, detach_keys};
use minke_logs::LogLine;

use super::Containers;
use super::container::{Container, EarlyClient};
use super::record::Phase;
use super::requests::{AcceptedAttach, AttachOptions, ClientStream, LogOptions};
use crate::error::{Error, Result};

impl Containers {
    /// Checks an attach. What can fail for the client's fault fails here, before the connection is upgraded.
    pub fn accept_attach(
        self: &Arc<Self>,
        reference: &str,
        options: AttachOptions,
    ) -> Result<AcceptedAttach> {
        let container = self.find(reference)?;
        let record = container.record();
        let detach_keys = parse_detach_keys(options.detach_keys.as_deref(), record.config.tty)?;
        match container.phase() {
            Phase::Paused => Err(Error::conflict(format!(
                "container {reference} is paused, unpause the container before attach"
            ))),
            Phase::Restarting => Err(Error::conflict(format!(
                "container {reference} is restarting, wait until the container is running"
            ))),
            _ => Ok(AcceptedAttach { tty: record.config.tty, container, options, detach_keys }),
        }
    }

    /// Joins a client to an accepted attach.
    pub async fn attach(self: &Arc<Self>, accepted: AcceptedAttach, client: ClientStream) -> Result<()> {
        let AcceptedAttach { tty, container, options, detach_keys } = accepted;
        if options.logs {
            self.replay_logs(&container, &options, tty, &client).await?;
        }
        if !options.stream {
            self.publish(&container, "attach", &[]);
            return Ok(());
        }
        let spec = AttachSpec {
            id: container.next_client(),
            stdin: options.streams.stdin && container.record().config.open_stdin,
            stdout: options.streams.stdout,
            stderr: options.streams.stderr,
            wire: if tty { Wire::Raw } else { Wire::Stdcopy },
            detach_keys,
            early: client.early.clone(),
        };
        container.prune_early_clients();
        container.add_early_client(EarlyClient { spec, stream: client });
        let joined = self.deliver_early_clients(&container).await;
        // Who waits for the event finds the client there.
        self.publish(&container, "attach", &[]);
        joined
    }

    /// Gives waiting clients to the keeper, if there is one.
    async fn deliver_early_clients(&self, container: &Arc<Container>) -> Result<()> {
        if !container.phase().is_live() {
            return Ok(());
        }
        let Some(keeper) = container.keeper() else { return Ok(()) };
        for client in container.take_early_clients() {
            let body = Body::Attach { target: Target::Init, spec: client.spec };
            keeper
                .order(body, vec![client.stream.socket])
                .await
                .map_err(|source| Error::failed(format!("attach to container {}", container.id), source))?;
        }
        Ok(())
    }

    /// A client may have come between the launch and the moment the container counts as running.
    pub(super) fn deliver_early_clients_soon(self: &Arc<Self>, container: &Arc<Container>) {
        if !container.has_early_clients() {
            return;
        }
        let (containers, container) = (Arc::clone(self), Arc::clone(container));
        tokio::spawn(async move {
            if let Err(error) = containers.deliver_early_clients(&container).await {
                tracing::warn!(error = %crate::error::chain(&error), "a client could not be attached");
            }
        });
    }

    async fn replay_logs(
        self: &Arc<Self>,
        container: &Arc<Container>,
        options: &AttachOptions,
        tty: bool,
        client: &ClientStream,
    ) -> Result<()> {
        let wanted = LogOptions {
            stdout: options.streams.stdout,
            stderr: options.streams.stderr,
            ..LogOptions::default()
        };
        let mut lines = self.logs(container.id.as_str(), wanted)?;
        while let Some(batch) = lines.next().await {
            let bytes = frame_lines(&batch?, tty);
            let socket = client
                .socket
                .try_clone()
                .map_err(|source| Error::failed("hold on to the client's socket", source))?;
            write_all(socket, bytes).await;
        }
        Ok(())
    }

    /// Tells the terminal of a container its new size.
    pub async fn resize(self: &Arc<Self>, reference: &str, height: u16, width: u16) -> Result<()> {
        let container = self.find(reference)?;
        if !container.phase().is_live() {
            return Err(super::kill::not_running(&container));
        }
        let request = ResizeRequest { target: Target::Init, width, height };
        self.order(&container, Body::Resize(request), "resize the terminal of container").await?;
        let more = [("height", height.to_string()), ("width", width.to_string())];
        self.publish(&container, "resize", &more);
        Ok(())
    }
}

/// Log lines as an attached client expects them.
fn frame_lines(lines: &[LogLine], tty: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for line in lines {
        if tty {
            out.extend_from_slice(&line.bytes);
            continue;
        }
        let stream = match line.stream {
            minke_logs::Stream::Stdout => framing::Stream::Stdout,
            minke_logs::Stream::Stderr => framing::Stream::Stderr,
        };
        framing::encode(stream, &line.bytes, &mut out);
    }
    out
}

/// Writes all of it to a client's socket on a thread that may wait; a client that went away is nobody's fault.
pub(super) async fn write_all(socket: OwnedFd, bytes: Vec<u8>) {
    let written = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut left = bytes.as_slice();
        while !left.is_empty() {
            match rustix::net::send(&socket, left, rustix::net::SendFlags::NOSIGNAL) {
                Ok(sent) => left = &left[sent..],
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    let mut fds = [PollFd::new(&socket, PollFlags::OUT)];
                    let patience = Timespec { tv_sec: 30, tv_nsec: 0 };
                    if poll(&mut fds, Some(&patience))? == 0 {
                        return Err(std::io::Error::from(std::io::ErrorKind::TimedOut));
                    }
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    })
    .await;
    if let Ok(Err(error)) = written {
        tracing::debug!(%error, "a client went away");
    }
}

/// Keys as people write them (`ctrl-p,ctrl-q`, `a`) as the bytes a terminal sends. Without a terminal there are none
/// unless they were asked for.
pub(super) fn parse_detach_keys(text: Option<&str>, tty: bool) -> Result<Vec<u8>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(if tty { detach_keys::DEFAULT.to_vec() } else { Vec::new() });
    };
    detach_keys::parse(text).ok_or_else(|| Error::invalid(format!("Invalid detach keys ({text}) provided")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detach_keys_are_read_as_docker_reads_them() {
        assert_eq!(parse_detach_keys(None, true).expect("default"), [16, 17]);
        assert!(parse_detach_keys(None, false).expect("none").is_empty());
        assert_eq!(parse_detach_keys(Some("ctrl-a,x,ctrl-["), true).expect("known"), [1, b'x', 27]);
        let error = parse_detach_keys(Some("ctrl-aa"), true).expect_err("two letters");
        assert_eq!(error.message(), "Invalid detach keys (ctrl-aa) provided");
    }
}
