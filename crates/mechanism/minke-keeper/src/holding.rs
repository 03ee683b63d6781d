//! What a keeper holds beside its container: sockets that keep ports taken and names askable while no daemon is there, and the
//! proxy for listeners whose connections the kernel's rules cannot carry.
//!
//! Held descriptors cost the keeper their labels, nothing else. A proxy exists only while there is work: the keeper polls the
//! listener, and at the first connection forks the proxy, which takes over all listeners of the container until it has been
//! idle for a minute ([`crate::proxy`]).

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use minke_sys::{forked, pidfd};

use crate::{
    best_effort,
    protocol::{Held, ProxyProtocol, ProxySpec, socket},
    proxy::{self, Orders},
};

/// Connections that wait for the proxy. The kernel allows no more than `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// A proxy that ends badly sooner than this is not followed by the next at once.
const HASTE: Duration = Duration::from_secs(1);

/// See the page above.
#[derive(Debug, Default)]
pub(crate) struct Holding {
    /// Sorted by label.
    held: Vec<(String, OwnedFd)>,
    proxies: Vec<ProxySpec>,
    child: Option<Child>,
    /// Connections wait until then.
    rest_until: Option<Instant>,
}

/// The proxy that runs.
#[derive(Debug)]
struct Child {
    pid: i32,
    pidfd: OwnedFd,
    /// Tells it of changes; it ends when this closes.
    orders: UnixStream,
    since: Instant,
}

impl Holding {
    /// Holds these. A label that is there already means the new one from now on.
    pub(crate) fn hold(
        &mut self,
        held: Vec<Held>,
        fds: impl IntoIterator<Item = OwnedFd>,
    ) -> Result<(), String> {
        for (Held { label }, fd) in held.into_iter().zip(fds) {
            match self.find(&label) {
                Ok(index) => self.held[index].1 = fd,
                Err(index) => self.held.insert(index, (label, fd)),
            }
        }
        self.listen()
    }

    fn find(&self, label: &str) -> Result<usize, usize> {
        self.held.binary_search_by(|(held, _)| held.as_str().cmp(label))
    }

    /// Drops these, and the proxies of them.
    pub(crate) fn release(&mut self, labels: &[String]) {
        self.held.retain(|(label, _)| !labels.contains(label));
        self.proxies.retain(|proxy| !labels.contains(&proxy.label));
        self.held.shrink_to_fit();
        self.tell_child();
    }

    /// Copies of what is held, as many as ride with one frame: labels, whether there are more, descriptors.
    pub(crate) fn fetch(&self, prefix: &str, after: &str) -> io::Result<(Vec<String>, bool, Vec<OwnedFd>)> {
        let mut wanted =
            self.held.iter().filter(|(label, _)| label.starts_with(prefix) && label.as_str() > after);
        let (mut labels, mut fds) = (Vec::new(), Vec::new());
        for (label, fd) in wanted.by_ref().take(socket::MAX_FDS) {
            fds.push(fd.try_clone()?);
            labels.push(label.clone());
        }
        Ok((labels, wanted.next().is_some(), fds))
    }

    /// Has these listeners served by a proxy, and no others. One that is not held yet is served once it is.
    pub(crate) fn set_proxies(&mut self, proxies: Vec<ProxySpec>) -> Result<(), String> {
        self.proxies = proxies;
        self.listen()
    }

    /// Makes the listeners that have a proxy listen, if they do not yet, and tells the proxy. One that cannot has none.
    fn listen(&mut self) -> Result<(), String> {
        let mut outcome = Ok(());
        let held = &self.held;
        self.proxies.retain(|proxy| {
            let found = held.binary_search_by(|(label, _)| label.as_str().cmp(&proxy.label));
            let Some((_, listener)) = found.ok().map(|index| &held[index]) else { return true };
            if proxy.protocol == ProxyProtocol::Udp {
                return true;
            }
            let listens = rustix::net::listen(listener, BACKLOG);
            if let Err(errno) = listens {
                outcome = Err(format!("listen on {}: {}", proxy.label, io::Error::from(errno)));
            }
            listens.is_ok()
        });
        self.tell_child();
        outcome
    }

    /// What a connection may come to; nothing while a proxy sees to them.
    pub(crate) fn listeners(&self) -> impl Iterator<Item = &OwnedFd> {
        let ours = self.child.is_none() && self.rest_until.is_none();
        self.proxies
            .iter()
            .filter(move |_| ours)
            .filter_map(|proxy| self.find(&proxy.label).ok().map(|index| &self.held[index].1))
    }

    /// The proxy's process, if one runs.
    pub(crate) fn child(&self) -> Option<&OwnedFd> {
        self.child.as_ref().map(|child| &child.pidfd)
    }

    /// Whether this is the proxy's process.
    pub(crate) fn is(&self, pid: i32) -> bool {
        self.child.as_ref().is_some_and(|child| child.pid == pid)
    }

    /// When connections are looked at again.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.rest_until
    }

    pub(crate) fn look_again(&mut self, now: Instant) {
        self.rest_until = self.rest_until.filter(|until| *until > now);
    }

    /// Somebody connects: starts the proxy.
    pub(crate) fn start_proxy(&mut self, container: &str) {
        if self.child.is_none() && !self.proxies.is_empty() {
            // Without room for it connections wait a while.
            match self.fork(container) {
                Ok(child) => self.child = Some(child),
                Err(_) => self.rest_until = Some(Instant::now() + HASTE),
            }
        }
    }

    fn fork(&self, container: &str) -> io::Result<Child> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        let (specs, mut fds) = self.served()?;
        fds.push(theirs.into());
        let name = container.get(..12).unwrap_or(container);
        let pid = forked::run_with(fds, |mut fds| match fds.pop() {
            Some(orders) => proxy::live(name, specs, fds, UnixStream::from(orders)),
            None => 2,
        })?;
        let pidfd = pidfd::open(pid)?;
        Ok(Child { pid: i32::try_from(pid).unwrap_or(0), pidfd, orders: ours, since: Instant::now() })
    }

    /// What a proxy is to serve: specifications and listeners.
    fn served(&self) -> io::Result<(Vec<ProxySpec>, Vec<OwnedFd>)> {
        let (mut specs, mut fds) = (Vec::new(), Vec::new());
        for proxy in &self.proxies {
            if let Ok(index) = self.find(&proxy.label) {
                fds.push(self.held[index].1.try_clone()?);
                specs.push(proxy.clone());
            }
        }
        Ok((specs, fds))
    }

    /// Tells a proxy that runs what it serves from now on.
    fn tell_child(&mut self) {
        let Some(child) = &self.child else { return };
        let told = (|| {
            let (proxies, fds) = self.served().ok()?;
            let count =
                u8::try_from(fds.len()).ok().filter(|count| usize::from(*count) <= socket::MAX_FDS)?;
            let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
            socket::send_message(&child.orders, &Orders { fds: count, proxies }, &fds).ok()
        })();
        if told.is_none() {
            // It does not listen, or these are too many: the next one is born knowing.
            self.end_proxy();
        }
    }

    /// The proxy may have ended.
    pub(crate) fn reap(&mut self) {
        let Some(child) = &self.child else { return };
        let ended_well = match pidfd::try_wait(&child.pidfd) {
            Ok(None) => return,
            Ok(Some(exit)) => exit.code() == 0,
            Err(_) => false,
        };
        let now = Instant::now();
        if !ended_well && child.since + HASTE > now {
            self.rest_until = Some(now + HASTE);
        }
        self.child = None;
    }

    fn end_proxy(&mut self) {
        if let Some(child) = self.child.take() {
            // Until it is gone it has the listeners too.
            best_effort(pidfd::send_signal(&child.pidfd, 9));
            best_effort(pidfd::wait(&child.pidfd));
        }
    }

    /// Drops everything: by the time this returns ports are free.
    pub(crate) fn drop_all(&mut self) {
        self.proxies = Vec::new();
        self.end_proxy();
        self.held = Vec::new();
    }
}
