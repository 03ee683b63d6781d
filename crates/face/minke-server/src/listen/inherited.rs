//! Sockets that a service manager opened (`LISTEN_FDS`, from 3 on).
#![expect(unsafe_code, reason = "taking over descriptors by number is a promise nobody can check")]

use std::os::fd::RawFd;
use std::sync::Arc;

use rustix::net::AddressFamily;
use tokio_rustls::TlsAcceptor;

use super::{ListenError, Listener, Protection};

const FIRST: RawFd = 3;

/// The sockets that `fd://NAME` means: all of them, one by number, or those of a name.
pub(super) fn take(name: &str, protection: &Protection) -> Result<Vec<Listener>, ListenError> {
    let wrong = |text: String| ListenError::Inherited(text);
    let pid = std::env::var("LISTEN_PID").ok().and_then(|pid| pid.parse::<u32>().ok());
    let count: RawFd = match std::env::var("LISTEN_FDS").ok().and_then(|count| count.parse().ok()) {
        Some(count) if pid == Some(std::process::id()) => count,
        _ => return Err(wrong("no socket was passed: start the daemon by socket activation".to_owned())),
    };
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let names: Vec<&str> = names.split(':').collect();
    let chosen: Vec<RawFd> = (0..count)
        .filter(|index| {
            let named = usize::try_from(*index)
                .ok()
                .and_then(|index| names.get(index))
                .is_some_and(|known| *known == name);
            name.is_empty() || named || name.parse() == Ok(FIRST + index)
        })
        .map(|index| FIRST + index)
        .collect();
    if chosen.is_empty() {
        return Err(wrong(format!("no socket named {name} was passed")));
    }
    let mut listeners = Vec::new();
    for number in chosen {
        // SAFETY: the numbers from 3 on are LISTEN_FDS', which belong to nobody else in this process: it is addressed by
        // LISTEN_PID, this runs once at start, and each number is taken once.
        let socket = unsafe { minke_sys::fds::take_inherited(number) }
            .map_err(|error| wrong(format!("descriptor {number}: {error}")))?;
        let address = rustix::net::getsockname(&socket)
            .map_err(|error| wrong(format!("descriptor {number}: {error}")))?;
        listeners.push(match address.address_family() {
            AddressFamily::UNIX => Listener::Unix { listener: socket.into(), path: None },
            AddressFamily::INET | AddressFamily::INET6 => match &protection.tls {
                Some(tls) => Listener::Tls(socket.into(), TlsAcceptor::from(Arc::new(tls.server_config()?))),
                None => Listener::Tcp(socket.into()),
            },
            other => return Err(wrong(format!("descriptor {number}: unknown kind of socket {other:?}"))),
        });
    }
    Ok(listeners)
}
