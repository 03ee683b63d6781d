//! A line to a registry that counts what passes and can be cut.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Registry;
use crate::{Daemon, Netns};

#[derive(Debug, Default)]
struct State {
    /// How many more bytes pass before the connection that carries them is cut.
    left: Mutex<Option<u64>>,
    passed: AtomicU64,
    cuts: AtomicU64,
    /// Once it is cut it stays so.
    for_good: AtomicBool,
    dead: AtomicBool,
    slow: AtomicBool,
    over: AtomicBool,
}

impl State {
    /// Takes bytes off what is left; `false` when the line is cut now.
    fn pass(&self, bytes: u64) -> bool {
        if self.dead.load(Ordering::Relaxed) {
            return false;
        }
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rest) = *left {
            if rest <= bytes {
                *left = None;
                self.dead.store(self.for_good.load(Ordering::Relaxed), Ordering::Relaxed);
                self.cuts.fetch_add(1, Ordering::Relaxed);
                return false;
            }
            *left = Some(rest - bytes);
        }
        self.passed.fetch_add(bytes, Ordering::Relaxed);
        true
    }
}

/// A proxy in front of a registry that counts what passes and can be cut.
#[derive(Debug)]
pub struct Line {
    port: u16,
    state: Arc<State>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Line {
    /// A line to a registry, beside it in the network namespace that a daemon calls its host's.
    #[must_use]
    #[track_caller]
    pub fn to(registry: &Registry, daemon: &Daemon) -> Self {
        let netns = daemon.host_netns();
        let to: SocketAddr = registry.domain().parse().expect("the registry's address");
        let listener =
            netns.run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("bind the line's end");
        let port = listener.local_addr().expect("the line's address").port();
        listener.set_nonblocking(true).expect("a listener that can be stopped");
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || serve(&listener, &netns, to, &shared));
        Self { port, state, thread: Some(thread) }
    }

    /// An image's name by this line.
    #[must_use]
    pub fn name(&self, image: &str) -> String {
        format!("127.0.0.1:{}/{image}", self.port)
    }

    /// Cuts once, after so many more bytes in either direction.
    pub fn cut_after(&self, bytes: u64) {
        *self.state.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(bytes);
    }

    /// Cuts after so many more bytes; nobody gets through any more until it is mended.
    pub fn break_after(&self, bytes: u64) {
        self.state.for_good.store(true, Ordering::Relaxed);
        self.cut_after(bytes);
    }

    /// A few megabytes a second pass from now on.
    pub fn slow_down(&self) {
        self.state.slow.store(true, Ordering::Relaxed);
    }

    /// Cuts no more, and is as fast as it can be.
    pub fn mend(&self) {
        self.state.slow.store(false, Ordering::Relaxed);
        self.state.for_good.store(false, Ordering::Relaxed);
        self.state.dead.store(false, Ordering::Relaxed);
        *self.state.left.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Bytes that have passed since the last call.
    pub fn take_passed(&self) -> u64 {
        self.state.passed.swap(0, Ordering::Relaxed)
    }

    /// Bytes that have passed since [`Self::take_passed`].
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.state.passed.load(Ordering::Relaxed)
    }

    /// How often it was cut.
    #[must_use]
    pub fn cuts(&self) -> u64 {
        self.state.cuts.load(Ordering::Relaxed)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn serve(listener: &TcpListener, netns: &Netns, to: SocketAddr, state: &Arc<State>) {
    while !state.over.load(Ordering::Relaxed) {
        let Ok((client, _)) = listener.accept() else {
            std::thread::sleep(Duration::from_millis(2));
            continue;
        };
        if state.dead.load(Ordering::Relaxed) {
            continue;
        }
        let Ok(server) = netns.run(|| TcpStream::connect(to)) else { continue };
        client.set_nonblocking(false).ok();
        for (from, into) in [(&client, &server), (&server, &client)] {
            let (Ok(from), Ok(into)) = (from.try_clone(), into.try_clone()) else { continue };
            let state = Arc::clone(state);
            std::thread::spawn(move || copy(from, into, &state));
        }
    }
}

fn copy(mut from: TcpStream, mut into: TcpStream, state: &State) {
    let mut buffer = vec![0; 4 << 10];
    while let Ok(got) = from.read(&mut buffer) {
        if got == 0 || !state.pass(got as u64) || into.write_all(&buffer[..got]).is_err() {
            break;
        }
        if state.slow.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    into.shutdown(Shutdown::Both).ok();
    from.shutdown(Shutdown::Both).ok();
}
