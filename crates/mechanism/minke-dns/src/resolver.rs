//! The handle that the engine holds: starts the thread at the first container, and tells it what changes.

use std::{
    io,
    os::fd::OwnedFd,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use rustix::event::{
    EventfdFlags,
    epoll::{self, CreateFlags, EventData, EventFlags},
};

use crate::{
    best_effort,
    server::{Command, Kind, Server, Shared, token},
    view::{Member, NetworkNames, Sockets, View},
};

/// Why the resolver cannot do what it is told.
#[derive(Debug, thiserror::Error)]
pub enum ResolverError {
    /// The thread could not be started.
    #[error("start the resolver's thread")]
    Start(#[source] io::Error),
    /// A container's sockets cannot be served.
    #[error("serve names to container {container}")]
    Sockets {
        /// The container.
        container: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// The resolver. Clones are handles on the same one; its thread starts with the first container and ends with the last handle.
///
/// What [`Resolver::update`], [`Resolver::join`] and [`Resolver::leave`] say is true for every question that is asked after
/// they return; they cost no system call.
#[derive(Debug, Clone)]
pub struct Resolver(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// So many changes may wait for the thread to look at them on its own.
const WAITING: usize = 256;

impl Resolver {
    /// Gets ready.
    ///
    /// # Errors
    /// When the kernel has no descriptor left.
    pub fn start() -> Result<Self, ResolverError> {
        let start = |errno: rustix::io::Errno| ResolverError::Start(errno.into());
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(start)?;
        let wake =
            rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(start)?;
        epoll::add(&epoll, &wake, EventData::new_u64(token(Kind::Command, 0)), EventFlags::IN)
            .map_err(start)?;
        let shared = Arc::new(Shared {
            epoll,
            wake,
            commands: Mutex::new(Vec::new()),
            pending: AtomicBool::new(false),
            next_key: AtomicU64::new(1),
        });
        Ok(Self(Arc::new(Handle { shared, thread: Mutex::new(None) })))
    }

    /// Answers what comes over these sockets, as the view says. Sockets and view the container had before are replaced.
    ///
    /// The sockets keep the container's network namespace alive until [`Resolver::stop`].
    ///
    /// # Errors
    /// When the sockets are none that can be waited for, or the thread cannot be started.
    pub fn serve(&self, container: &str, sockets: Sockets, view: View) -> Result<(), ResolverError> {
        let failed = |errno: rustix::io::Errno| ResolverError::Sockets {
            container: container.to_owned(),
            source: errno.into(),
        };
        let shared = &self.0.shared;
        let key = shared.next_key.fetch_add(1, Ordering::Relaxed);
        let (udp, tcp) = (Arc::new(sockets.udp), Arc::new(sockets.tcp));
        // Accepting must not wait when the caller has gone meanwhile.
        rustix::io::ioctl_fionbio(&tcp, true).map_err(failed)?;
        self.0.ensure_thread()?;
        let (view_udp, view_tcp) = (Arc::clone(&udp), Arc::clone(&tcp));
        self.0.tell(Command::Serve {
            key,
            container: container.to_owned(),
            udp: view_udp,
            tcp: view_tcp,
            view,
        });
        // From here on the thread hears of questions; that it knows the container by then is sure, as it takes commands first.
        let watched = watch(&shared.epoll, &udp, Kind::Datagram, key)
            .and_then(|()| watch(&shared.epoll, &tcp, Kind::Caller, key));
        watched.map_err(|errno| {
            self.stop(container);
            failed(errno)
        })
    }

    /// Changes what a container may see; its sockets stay. Nothing happens for one that is not served.
    pub fn look(&self, container: &str, view: View) {
        self.0.tell(Command::Look { container: container.to_owned(), view });
    }

    /// Stops serving a container and drops its sockets, a moment later.
    pub fn stop(&self, container: &str) {
        self.0.tell(Command::Stop { container: container.to_owned() });
        // Sockets hold the namespace: they are not to wait for the next question.
        self.0.wake();
    }

    /// Replaces a network's whole table. A network is told of before its members join.
    pub fn update(&self, network: NetworkNames) {
        self.0.tell(Command::Update(network));
    }

    /// Adds one container to a network's table, or changes its entry.
    pub fn join(&self, network: &str, member: Member) {
        self.0.tell(Command::Join { network: network.to_owned(), member });
    }

    /// Takes one container out of a network's table.
    pub fn leave(&self, network: &str, container: &str) {
        self.0.tell(Command::Leave { network: network.to_owned(), container: container.to_owned() });
    }

    /// Drops a network's table.
    pub fn forget(&self, network: &str) {
        self.0.tell(Command::Forget { network: network.to_owned() });
    }
}

fn watch(epoll: &OwnedFd, socket: &OwnedFd, kind: Kind, key: u64) -> rustix::io::Result<()> {
    epoll::add(epoll, socket, EventData::new_u64(token(kind, key)), EventFlags::IN)
}

impl Handle {
    fn tell(&self, command: Command) {
        let waiting = {
            let mut commands = self.shared.commands.lock().unwrap_or_else(PoisonError::into_inner);
            commands.push(command);
            commands.len()
        };
        self.shared.pending.store(true, Ordering::Release);
        if waiting >= WAITING && waiting.is_multiple_of(WAITING) {
            // Rather a thread with nothing to answer than a list that grows for ever.
            drop(self.ensure_thread());
            self.wake();
        }
    }

    fn wake(&self) {
        // A counter that is full has woken the thread already.
        best_effort(rustix::io::write(&self.shared.wake, &1_u64.to_ne_bytes()));
    }

    fn ensure_thread(&self) -> Result<(), ResolverError> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_some() {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let serve = move || {
            let mut server = Server::new(shared);
            // One question that brings us down must not take the others' names with it.
            while catch_unwind(AssertUnwindSafe(|| server.run())).is_err() {
                tracing::error!("the resolver failed over one question and goes on");
            }
        };
        let spawned = std::thread::Builder::new().name("minke-dns".into()).spawn(serve);
        *thread = Some(spawned.map_err(ResolverError::Start)?);
        Ok(())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        self.tell(Command::End);
        self.wake();
        // It has caught what went wrong in it.
        drop(thread.join());
    }
}
