//! A connection to systemd: its own socket, or a message bus it is on.
//!
//! Synchronous, one call at a time; signals that come between are kept. EXTERNAL authentication without a name: the other end
//! knows who we are from the socket, also when a user namespace calls us root.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::wire::{Call, ERROR, FIXED_HEADER, Message, REPLY, SIGNAL, Writer};

/// For a whole conversation, the job of a unit included.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) const SYSTEMD: &str = "org.freedesktop.systemd1";
pub(super) const MANAGER: &str = "org.freedesktop.systemd1.Manager";
pub(super) const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const BUS: &str = "org.freedesktop.DBus";

/// Why systemd could not be talked to.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    #[error("{name}: {text}")]
    Refused { name: String, text: String },
    #[error("the answer is not D-Bus")]
    Malformed,
    #[error("authentication was refused: {0}")]
    Authentication(String),
    #[error("no answer within {} s", PATIENCE.as_secs())]
    TimedOut,
    #[error("connect to {}", path.display())]
    Connect { path: PathBuf, source: io::Error },
    #[error("exchange messages")]
    Io(#[source] io::Error),
}

impl BusError {
    /// Whether systemd answered with this error of its own.
    pub(super) fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::Refused { name, .. } if name.rsplit('.').next() == Some(wanted))
    }
}

impl From<io::Error> for BusError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Io(error),
        }
    }
}

#[derive(Debug)]
pub(super) struct Bus {
    stream: UnixStream,
    /// A message bus, where systemd has to be named; its own socket leads nowhere else.
    named: bool,
    serial: u32,
    signals: VecDeque<Message>,
    deadline: Instant,
}

impl Bus {
    /// systemd's own socket.
    pub(super) fn connect_private(path: &Path) -> Result<Self, BusError> {
        Self::connect(path, false)
    }

    /// A message bus; asks for the end of jobs to be announced.
    pub(super) fn connect_bus(path: &Path) -> Result<Self, BusError> {
        let mut bus = Self::connect(path, true)?;
        bus.call_bus("Hello", "", &[])?;
        let mut rule = Writer::default();
        rule.text(&format!(
            "type='signal',sender='{SYSTEMD}',path='{MANAGER_PATH}',interface='{MANAGER}',member='JobRemoved'"
        ));
        bus.call_bus("AddMatch", "s", &rule.bytes)?;
        bus.call("Subscribe", "", &[])?;
        Ok(bus)
    }

    fn connect(path: &Path, named: bool) -> Result<Self, BusError> {
        let stream = UnixStream::connect(path)
            .map_err(|source| BusError::Connect { path: path.to_owned(), source })?;
        let deadline = Instant::now() + PATIENCE;
        let mut bus = Self { stream, named, serial: 0, signals: VecDeque::new(), deadline };
        bus.authenticate()?;
        Ok(bus)
    }

    fn authenticate(&mut self) -> Result<(), BusError> {
        self.stream.set_write_timeout(Some(PATIENCE))?;
        self.stream.write_all(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        loop {
            let line = self.read_line()?;
            match line.split(' ').next() {
                Some("DATA") => {}
                Some("OK") => return Ok(()),
                _ => return Err(BusError::Authentication(line)),
            }
        }
    }

    /// Byte by byte: what follows the last line is a message.
    fn read_line(&mut self) -> Result<String, BusError> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.read_exact(&mut byte)?;
            line.extend(byte);
            if line.len() > 1024 {
                return Err(BusError::Malformed);
            }
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    fn read_exact(&mut self, bytes: &mut [u8]) -> Result<(), BusError> {
        let left = self.deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero());
        self.stream.set_read_timeout(Some(left.ok_or(BusError::TimedOut)?))?;
        Ok(self.stream.read_exact(bytes)?)
    }

    fn receive(&mut self) -> Result<Message, BusError> {
        let mut header = [0; FIXED_HEADER];
        self.read_exact(&mut header)?;
        let length = Message::length(&header).ok_or(BusError::Malformed)?;
        let mut bytes = header.to_vec();
        bytes.resize(length, 0);
        self.read_exact(&mut bytes[FIXED_HEADER..])?;
        Message::decode(&bytes).ok_or(BusError::Malformed)
    }

    /// Calls a method of systemd's manager.
    pub(super) fn call(&mut self, member: &str, signature: &str, body: &[u8]) -> Result<Message, BusError> {
        let destination = self.named.then_some(SYSTEMD);
        let call = Call { destination, path: MANAGER_PATH, interface: MANAGER, member, signature, body };
        self.exchange(&call)
    }

    fn call_bus(&mut self, member: &str, signature: &str, body: &[u8]) -> Result<Message, BusError> {
        let call = Call {
            destination: Some(BUS),
            path: "/org/freedesktop/DBus",
            interface: BUS,
            member,
            signature,
            body,
        };
        self.exchange(&call)
    }

    fn exchange(&mut self, call: &Call<'_>) -> Result<Message, BusError> {
        self.deadline = Instant::now() + PATIENCE;
        self.serial += 1;
        self.stream.write_all(&call.encode(self.serial))?;
        loop {
            let message = self.receive()?;
            match message.kind {
                REPLY if message.reply_to == self.serial => return Ok(message),
                ERROR if message.reply_to == self.serial => {
                    let text = message.reader().text().unwrap_or_default().to_owned();
                    return Err(BusError::Refused { name: message.error, text });
                }
                SIGNAL => self.signals.push_back(message),
                _ => {}
            }
        }
    }

    /// Waits for the end of a job; answers its result (`done`, `failed`, `timeout` …).
    pub(super) fn wait_for_job(&mut self, job: &str) -> Result<String, BusError> {
        self.deadline = Instant::now() + PATIENCE;
        loop {
            let message = match self.signals.pop_front() {
                Some(message) => message,
                None => self.receive()?,
            };
            if message.kind != SIGNAL || message.interface != MANAGER || message.member != "JobRemoved" {
                continue;
            }
            let mut reader = message.reader();
            let read = (reader.u32(), reader.text(), reader.text(), reader.text());
            if let (Some(_), Some(path), Some(_), Some(result)) = read
                && path == job
            {
                return Ok(result.to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire;
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::thread;

    /// Reads the client's opening and one message, and answers with `replies`, each with the serial it saw.
    fn serve(
        listener: UnixListener,
        replies: Vec<Box<dyn Fn(u32) -> Vec<u8> + Send>>,
    ) -> thread::JoinHandle<Message> {
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut opening = [0; 29];
            stream.read_exact(&mut opening).unwrap();
            assert_eq!(opening, *b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n");
            stream.write_all(b"DATA\r\nOK 0123456789abcdef\r\n").unwrap();
            let mut header = [0; FIXED_HEADER];
            stream.read_exact(&mut header).unwrap();
            let mut bytes = header.to_vec();
            bytes.resize(Message::length(&header).unwrap(), 0);
            stream.read_exact(&mut bytes[FIXED_HEADER..]).unwrap();
            let serial = u32::from_le_bytes(header[8..12].try_into().unwrap());
            for reply in replies {
                stream.write_all(&reply(serial)).unwrap();
            }
            Message::decode(&bytes).unwrap()
        })
    }

    /// A message with the given kind and fields, of which only texts and the serial it answers exist.
    fn message(kind: u8, reply_to: u32, fields: &[(u8, &str)], body: &[u8]) -> Vec<u8> {
        let mut writer = Writer { bytes: vec![b'l', kind, 0, 1] };
        writer.u32(u32::try_from(body.len()).unwrap());
        writer.u32(99);
        let numbers = [(5u8, "u", reply_to.to_string())];
        let texts = fields.iter().map(|(code, text)| (*code, "s", (*text).to_owned()));
        writer.array(8, numbers.into_iter().chain(texts), |w, (code, kind, text)| {
            w.bytes.extend([code, 1, kind.as_bytes()[0], 0]);
            if kind == "u" { w.u32(text.parse().unwrap()) } else { w.text(&text) }
        });
        writer.bytes.resize(writer.bytes.len().next_multiple_of(8), 0);
        writer.bytes.extend(body);
        writer.bytes
    }

    fn removed(job: &str, result: &str) -> Vec<u8> {
        let mut body = Writer::default();
        body.u32(1);
        for text in [job, "x.scope", result] {
            body.text(text);
        }
        message(wire::SIGNAL, 0, &[(2, MANAGER), (3, "JobRemoved")], &body.bytes)
    }

    #[test]
    fn a_job_that_ends_before_its_call_is_answered_is_not_missed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("private");
        let mut answer = Writer::default();
        answer.text("/job/1");
        let server = serve(
            UnixListener::bind(&path).unwrap(),
            vec![
                Box::new(|_| removed("/job/2", "failed")),
                Box::new(|_| removed("/job/1", "done")),
                Box::new(move |serial| message(wire::REPLY, serial, &[], &answer.bytes)),
            ],
        );
        let mut bus = Bus::connect_private(&path).unwrap();
        let reply = bus.call("StartTransientUnit", "", &[]).unwrap();
        assert_eq!(reply.reader().text(), Some("/job/1"));
        assert_eq!(bus.wait_for_job("/job/1").unwrap(), "done");
        assert_eq!(server.join().unwrap().member, "StartTransientUnit");
    }

    #[test]
    fn a_refusal_comes_with_its_name_and_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("private");
        let mut text = Writer::default();
        text.text("Unit x.scope not loaded.");
        let name = "org.freedesktop.systemd1.NoSuchUnit";
        let reply = move |serial| message(wire::ERROR, serial, &[(4, name)], &text.bytes);
        let server = serve(UnixListener::bind(&path).unwrap(), vec![Box::new(reply)]);
        let error = Bus::connect_private(&path).unwrap().call("StopUnit", "", &[]).unwrap_err();
        assert!(error.is("NoSuchUnit") && !error.is("UnitExists"));
        assert_eq!(error.to_string(), format!("{name}: Unit x.scope not loaded."));
        server.join().unwrap();
    }
}
