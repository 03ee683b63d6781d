//! One control connection: requests out, replies matched by number, events in order.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use minke_keeper::protocol::{
    Body, Decoder, Event, FrameError, Message, Refusal, Reply, Request, VERSION, encode, socket,
};
use tokio::io::Interest;
use tokio::sync::{mpsc, oneshot};

/// A keeper could not be asked, or said no.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The socket could not be reached or broke.
    #[error("talk to the keeper")]
    Socket(#[from] io::Error),
    /// A frame could not be made or read.
    #[error("talk to the keeper")]
    Frame(#[from] FrameError),
    /// It went away before it answered.
    #[error("the keeper went away before it answered")]
    Gone,
    /// It said no.
    #[error("{text}")]
    Refused {
        /// For the program.
        refusal: Refusal,
        /// For the person.
        text: String,
    },
    /// It answered something else than was asked.
    #[error("the keeper answered {0} out of turn")]
    OutOfTurn(String),
}

impl KeeperError {
    /// Whether the keeper is not there any more.
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Gone => true,
            Self::Socket(error) => {
                matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
            }
            _ => false,
        }
    }
}

/// A reply with the descriptors that rode along.
pub type Answer = (Reply, Vec<OwnedFd>);

type Waiting = Mutex<Option<HashMap<u64, oneshot::Sender<Answer>>>>;

/// The connection. It closes when the receiver of its events is dropped, which a keeper survives.
#[derive(Debug)]
pub struct Connection {
    stream: tokio::net::UnixStream,
    /// Requests whose reply is still to come; `None` once the keeper is gone.
    waiting: Waiting,
    next: AtomicU64,
    /// Keeps frames whole when several tasks ask at once.
    sending: tokio::sync::Mutex<()>,
}

impl Connection {
    /// Wraps a keeper's non-blocking socket. Events come out of the receiver, which ends when the keeper is gone.
    pub fn start(stream: UnixStream) -> Result<(Arc<Self>, mpsc::UnboundedReceiver<Event>), KeeperError> {
        stream.set_nonblocking(true)?;
        let connection = Arc::new(Self {
            stream: tokio::net::UnixStream::from_std(stream)?,
            waiting: Mutex::new(Some(HashMap::new())),
            next: AtomicU64::new(1),
            sending: tokio::sync::Mutex::new(()),
        });
        let (events, received) = mpsc::unbounded_channel();
        tokio::spawn(read_all(Arc::clone(&connection), events));
        Ok((connection, received))
    }

    /// Asks, with descriptors riding along, and waits for the answer.
    pub async fn ask(&self, body: Body, fds: Vec<OwnedFd>) -> Result<Reply, KeeperError> {
        self.ask_for_fds(body, fds).await.map(|(reply, _fds)| reply)
    }

    /// The first word to a blank. The caller keeps the descriptors: when the blank is dead they go to another one.
    pub async fn launch(&self, request: &Request, fds: &[OwnedFd]) -> Result<Reply, KeeperError> {
        self.next.fetch_max(request.seq + 1, Ordering::Relaxed);
        let answer = self.expect_answer(request.seq)?;
        self.send(request, fds).await?;
        match answer.await {
            Ok((Reply::Refused { refusal, text }, _fds)) => Err(KeeperError::Refused { refusal, text }),
            Ok((reply, _fds)) => Ok(reply),
            Err(_gone) => Err(KeeperError::Gone),
        }
    }

    fn expect_answer(&self, seq: u64) -> Result<oneshot::Receiver<Answer>, KeeperError> {
        let (sender, answer) = oneshot::channel();
        match &mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(waiting) => drop(waiting.insert(seq, sender)),
            None => return Err(KeeperError::Gone),
        }
        Ok(answer)
    }

    async fn ask_for_fds(&self, body: Body, fds: Vec<OwnedFd>) -> Result<Answer, KeeperError> {
        let answer = self.begin(body, fds).await?;
        match answer.await {
            Ok((Reply::Refused { refusal, text }, _fds)) => Err(KeeperError::Refused { refusal, text }),
            Ok(answer) => Ok(answer),
            Err(_gone) => Err(KeeperError::Gone),
        }
    }

    /// Copies of the descriptors that the keeper holds under labels that begin with `prefix`.
    pub async fn fetch(&self, prefix: &str) -> Result<Vec<(String, OwnedFd)>, KeeperError> {
        let mut held = Vec::new();
        loop {
            let after = held.last().map(|(label, _): &(String, OwnedFd)| label.clone()).unwrap_or_default();
            let body = Body::Fetch { prefix: prefix.to_owned(), after };
            match self.ask_for_fds(body, Vec::new()).await? {
                (Reply::Held { labels, more }, fds) => {
                    let empty = labels.is_empty();
                    held.extend(labels.into_iter().zip(fds));
                    if !more || empty {
                        return Ok(held);
                    }
                }
                (other, _fds) => return Err(KeeperError::OutOfTurn(format!("{other:?}"))),
            }
        }
    }

    /// Asks, and leaves the answer to be waited for later. It fails when the keeper goes away instead.
    pub async fn begin(
        &self,
        body: Body,
        fds: Vec<OwnedFd>,
    ) -> Result<oneshot::Receiver<Answer>, KeeperError> {
        let seq = self.next.fetch_add(1, Ordering::Relaxed);
        let answer = self.expect_answer(seq)?;
        self.send(&Request::new(seq, body), &fds).await?;
        // They are the keeper's now.
        drop(fds);
        Ok(answer)
    }

    /// Asks for something whose only answer is that it is done.
    pub async fn order(&self, body: Body, fds: Vec<OwnedFd>) -> Result<(), KeeperError> {
        match self.ask(body, fds).await? {
            Reply::Done => Ok(()),
            other => Err(KeeperError::OutOfTurn(format!("{other:?}"))),
        }
    }

    /// Says something without waiting for the answer.
    pub async fn tell(&self, body: Body) -> Result<(), KeeperError> {
        let seq = self.next.fetch_add(1, Ordering::Relaxed);
        self.send(&Request::new(seq, body), &[]).await
    }

    async fn send(&self, request: &Request, fds: &[OwnedFd]) -> Result<(), KeeperError> {
        let bytes = encode(request)?;
        let borrowed: Vec<BorrowedFd<'_>> = fds.iter().map(std::os::fd::AsFd::as_fd).collect();
        let _whole = self.sending.lock().await;
        let mut sent = 0;
        while sent < bytes.len() {
            let riding: &[BorrowedFd<'_>] = if sent == 0 { &borrowed } else { &[] };
            sent += self
                .stream
                .async_io(Interest::WRITABLE, || socket::send(self.stream.as_fd(), &bytes[sent..], riding))
                .await?;
        }
        Ok(())
    }

    fn answer(&self, seq: u64, answer: Answer) {
        let sender = self
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
            .and_then(|waiting| waiting.remove(&seq));
        if let Some(sender) = sender {
            // Whoever asked may have stopped waiting.
            drop(sender.send(answer));
        }
    }

    fn end(&self) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Reads until the keeper is gone or nobody wants its events.
async fn read_all(connection: Arc<Connection>, events: mpsc::UnboundedSender<Event>) {
    if let Err(error) = read_frames(&connection, &events).await {
        tracing::debug!(error = %crate::error::chain(&error), "keeper's connection broke");
    }
    connection.end();
}

async fn read_frames(
    connection: &Connection,
    events: &mpsc::UnboundedSender<Event>,
) -> Result<(), KeeperError> {
    let mut decoder = Decoder::new();
    loop {
        let received = tokio::select! {
            received = connection.stream.async_io(Interest::READABLE, || socket::receive(connection.stream.as_fd(), &mut decoder)) => received?,
            // Nobody listens any more: the container's task has ended.
            () = events.closed() => return Ok(()),
        };
        if received == 0 {
            return Ok(());
        }
        loop {
            match decoder.next_message::<Message>() {
                Ok(Some((Message::Reply { seq, reply, .. }, fds))) => connection.answer(seq, (reply, fds)),
                Ok(Some((Message::Event(event), _fds))) => drop(events.send(event)),
                Ok(None) => break,
                Err(error) if error.is_fatal() => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(error = %crate::error::chain(&error), "keeper said something unknown")
                }
            }
        }
    }
}

/// Connects to a running keeper by its socket and greets it.
pub async fn connect(path: &Path) -> Result<(Arc<Connection>, mpsc::UnboundedReceiver<Event>), KeeperError> {
    let stream = connect_socket(path)?;
    let (connection, events) = Connection::start(stream)?;
    match connection.ask(Body::Hello { version: VERSION }, Vec::new()).await? {
        Reply::Hello { .. } => Ok((connection, events)),
        other => Err(KeeperError::OutOfTurn(format!("{other:?}"))),
    }
}

/// A path longer than a socket address holds is reached through a descriptor of its directory.
fn connect_socket(path: &Path) -> io::Result<UnixStream> {
    if path.as_os_str().len() < 108 {
        return UnixStream::connect(path);
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let directory = std::fs::File::open(parent)?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&directory);
    UnixStream::connect(Path::new(&format!("/proc/self/fd/{number}")).join(name))
}
