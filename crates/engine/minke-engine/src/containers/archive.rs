//! Files in and out of containers, and whole roots out: what `cp` and `export` are made of.
//!
//! The daemon enters no namespace and unpacks nothing: a porter does ([`minke_store::porter`]), one process per copy, which puts the container's
//! root together. A container that does not run is not started while that lasts.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::process::Child;
use std::sync::Arc;

use minke_base::Kind;
use minke_keeper::protocol::Rootfs;
use minke_store::copying::PathStat;
use minke_store::porter::{Place, Porter, Reply, Request, Staged, Why, Work};
use rustix::fs::{CWD, Mode, OFlags};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use super::Containers;
use super::container::Container;
use crate::error::{Error, Result};

/// What the engine writes for each container.
const OWN_FILES: [&str; 3] = ["hostname", "hosts", "resolv.conf"];

/// How much of an archive is taken at once, and how many such pieces may wait for a slow client.
const PIECE: usize = 64 << 10;
const DEPTH: usize = 8;

/// Pieces of an archive as they come. One that broke off ends with an error. Dropping it ends the copy.
pub type ArchivePieces = mpsc::Receiver<io::Result<Vec<u8>>>;

/// How an archive is put into a container.
#[derive(Clone, Debug, Default)]
pub struct PutOptions {
    /// The directory it is unpacked in.
    pub path: String,
    /// No directory is replaced by something else, nor anything else by a directory.
    pub keep_kinds: bool,
    /// Everything belongs to the container's user, not to whom the archive names.
    pub container_owner: bool,
}

/// A client's archive on its way in.
type Incoming = Box<dyn Read + Send>;

impl Containers {
    /// What a path in a container is.
    pub async fn archive_stat(self: &Arc<Self>, reference: &str, path: &str) -> Result<PathStat> {
        let container = self.find_for(reference, path)?;
        let (copy, _pieces) = self.begin(container, Work::Stat { path: absolute(path) }, None);
        match copy.first.await {
            Ok(Reply::Found(stat)) => Ok(stat),
            Ok(reply) => Err(refused(reply, reference, path)),
            Err(_gone) => Err(lost()),
        }
    }

    /// A file or a tree of a container as a tar archive.
    pub async fn archive_get(
        self: &Arc<Self>,
        reference: &str,
        path: &str,
    ) -> Result<(PathStat, ArchivePieces)> {
        let container = self.find_for(reference, path)?;
        let (copy, pieces) = self.begin(Arc::clone(&container), Work::Pack { path: absolute(path) }, None);
        match copy.first.await {
            Ok(Reply::Found(stat)) => {
                self.publish(&container, "archive-path", &[]);
                Ok((stat, pieces))
            }
            Ok(reply) => Err(refused(reply, reference, path)),
            Err(_gone) => Err(lost()),
        }
    }

    /// Unpacks a tar archive, compressed or not, into a directory of a container.
    pub async fn archive_put(
        self: &Arc<Self>,
        reference: &str,
        options: PutOptions,
        archive: Incoming,
    ) -> Result<()> {
        let container = self.find_for(reference, &options.path)?;
        let record = container.record();
        let points = self.mount_points(&record).into_iter().map(|point| (point.destination, point.rw));
        let owner = match options.container_owner && !record.config.user.is_empty() {
            true => Some(self.owner_inside(&container)?),
            false => None,
        };
        let work = Work::Unpack {
            path: absolute(&options.path),
            keep_kinds: options.keep_kinds,
            owner,
            points: points.collect(),
            readonly: record.host.readonly_rootfs,
        };
        let (copy, _pieces) = self.begin(Arc::clone(&container), work, Some(archive));
        match copy.first.await {
            Ok(Reply::Ready) => {}
            Ok(reply) => return Err(refused(reply, reference, &options.path)),
            Err(_gone) => return Err(lost()),
        }
        match copy.last.await {
            Ok(Reply::Done) => {
                self.publish(&container, "extract-to-dir", &[]);
                Ok(())
            }
            Ok(reply) => Err(refused(reply, reference, &options.path)),
            Err(_gone) => Err(lost()),
        }
    }

    /// The whole root of a container as a tar archive, without what is mounted into it.
    pub async fn export(self: &Arc<Self>, reference: &str) -> Result<ArchivePieces> {
        let container = self.find(reference)?;
        let (copy, pieces) = self.begin(Arc::clone(&container), Work::Export, None);
        match copy.first.await {
            Ok(Reply::Ready) => {
                self.publish(&container, "export", &[]);
                Ok(pieces)
            }
            Ok(Reply::Failed { text, .. }) => Err(Error::system(format!("{}: {text}", container.id))),
            Ok(_) | Err(_) => Err(lost()),
        }
    }

    fn find_for(&self, reference: &str, path: &str) -> Result<Arc<Container>> {
        if path.is_empty() {
            // Docker's text, missing blank and all.
            return Err(Error::invalid("bad parameter: pathcannot be empty"));
        }
        self.find(reference)
    }

    /// Who the container's program is.
    fn owner_inside(&self, container: &Container) -> Result<(u32, u32)> {
        let accounts = match container.phase().is_live() {
            true => self.exec_accounts(container),
            false => self.read_accounts(container, &self.data_dir(container.id.as_str())),
        };
        let identity = accounts.resolve(&container.record().config.user, &[])?;
        Ok((identity.uid, identity.gid))
    }

    /// Starts a copy in a task of its own, which ends with the copy or when nobody waits for it any more.
    fn begin(
        self: &Arc<Self>,
        container: Arc<Container>,
        work: Work,
        archive: Option<Incoming>,
    ) -> (Copy, ArchivePieces) {
        let (pieces, receive) = mpsc::channel(DEPTH);
        let (tell_first, first) = oneshot::channel();
        let (tell_last, last) = oneshot::channel();
        let containers = Arc::clone(self);
        tokio::spawn(async move {
            let teller = Teller { first: Some(tell_first), last: Some(tell_last), pieces };
            containers.carry(&container, work, archive, teller).await;
        });
        (Copy { first, last }, receive)
    }

    async fn carry(
        self: &Arc<Self>,
        container: &Arc<Container>,
        work: Work,
        archive: Option<Incoming>,
        mut teller: Teller,
    ) {
        let failed = |error: &Error| Reply::Failed { why: Why::Other, text: error.to_string() };
        // Held to the end: what is put together here must not be started meanwhile.
        let mut resting = None;
        let live = open_live_root(container);
        if live.is_none() {
            resting = Some(container.transition.lock().await);
        }
        // Somebody may have started it before the lock was ours.
        let live = live.or_else(|| open_live_root(container));
        if live.is_some() {
            resting = None;
        }
        let place = match &live {
            Some((pid, _root)) => Ok((self.place_of_live(container, *pid), Vec::new())),
            None => self.place_at_rest(Arc::clone(container)).await,
        };
        let mut held = Vec::new();
        let started = match place {
            Ok((place, parts)) => {
                held = parts;
                start_porter(self, Request { place, work }, live.map(|(_, root)| root)).await
            }
            Err(error) => Err(error),
        };
        match started {
            Ok(mut errand) => errand.run(archive, &mut teller).await,
            Err(error) => teller.tell(failed(&error)).await,
        }
        drop(held);
        if resting.is_some() {
            let (containers, container) = (Arc::clone(self), Arc::clone(container));
            let leave = move || containers.leave_volumes(&container);
            if let Err(error) = tokio::task::spawn_blocking(leave).await {
                tracing::error!(%error, "the volumes of a copy are not left");
            }
        }
        drop(resting);
    }

    /// What is seen of a container that runs: its own files, its volumes and the engine's files.
    fn place_of_live(&self, container: &Container, pid: u32) -> Place {
        let record = container.record();
        let mounts = self.mount_points(&record);
        let mut points: Vec<String> =
            mounts.into_iter().filter(|point| point.kind != "tmpfs").map(|point| point.destination).collect();
        points.extend(OWN_FILES.iter().map(|name| format!("/etc/{name}")));
        points.sort_unstable();
        points.dedup();
        Place::Live { pid, at: self.data_dir(container.id.as_str()), points }
    }

    /// What the root of a container that does not run is made of.
    async fn place_at_rest(self: &Arc<Self>, container: Arc<Container>) -> Result<(Place, Vec<OwnedFd>)> {
        let containers = Arc::clone(self);
        let plan = move || -> Result<(Place, Vec<OwnedFd>)> {
            let directory = containers.data_dir(container.id.as_str());
            let record = container.record();
            let rootfs = match containers.prepare_rootfs(&container, &record, &directory)? {
                Rootfs::Overlay { lower, upper, work, .. } => {
                    minke_store::Rootfs::Overlay { lower, upper, work, volatile: false, readonly: false }
                }
                Rootfs::Path(path) => minke_store::Rootfs::Path(path),
            };
            let (mut mounts, held) = containers.enter_at_rest(&container, &record)?;
            // The engine's own files, once there was a start that made them.
            for name in OWN_FILES {
                let (source, target) = (directory.join(name), format!("/etc/{name}"));
                if source.exists() && mounts.iter().all(|mount| mount.target != target) {
                    let writable = !record.host.readonly_rootfs;
                    mounts.push(Staged { source, layers: Vec::new(), target, writable, recursive: false });
                }
            }
            mounts.retain(|mount| !mount.layers.is_empty() || mount.source.exists());
            mounts.sort_by(|a, b| a.target.cmp(&b.target));
            Ok((Place::Rest { rootfs, at: directory, mounts }, held))
        };
        tokio::task::spawn_blocking(plan)
            .await
            .map_err(|source| Error::failed("put the container's root together", source))?
    }
}

/// A copy that was begun, as the one who wants it sees it.
struct Copy {
    first: oneshot::Receiver<Reply>,
    last: oneshot::Receiver<Reply>,
}

/// The same from the other side.
struct Teller {
    first: Option<oneshot::Sender<Reply>>,
    last: Option<oneshot::Sender<Reply>>,
    pieces: mpsc::Sender<io::Result<Vec<u8>>>,
}

impl Teller {
    /// Passes a reply on: the first, then the last. Who has stopped listening misses nothing that matters.
    async fn tell(&mut self, reply: Reply) {
        let Some(sender) = self.first.take() else {
            if let Reply::Failed { text, .. } = &reply {
                drop(self.pieces.send(Err(io::Error::other(text.clone()))).await);
            }
            if let Some(last) = self.last.take() {
                drop(last.send(reply));
            }
            return;
        };
        drop(sender.send(reply));
    }
}

/// A porter on its way.
struct Errand {
    replies: Lines<BufReader<UnixStream>>,
    archive: Option<std::os::unix::net::UnixStream>,
    child: Option<Child>,
}

async fn start_porter(containers: &Containers, request: Request, root: Option<OwnedFd>) -> Result<Errand> {
    let program = containers.parts.config.keeper_program.clone();
    let porter = tokio::task::spawn_blocking(move || Porter::start(&program, &request, root))
        .await
        .map_err(|source| Error::failed("start a porter", source))?
        .map_err(|source| Error::failed("start a porter", source))?;
    let Porter { control, archive, child } = porter;
    let mut errand =
        Errand { replies: BufReader::new(into_async(control)?).lines(), archive: Some(archive), child: None };
    errand.child = Some(child);
    Ok(errand)
}

fn into_async(socket: std::os::unix::net::UnixStream) -> Result<UnixStream> {
    socket
        .set_nonblocking(true)
        .and_then(|()| UnixStream::from_std(socket))
        .map_err(|source| Error::failed("talk to a porter", source))
}

impl Errand {
    async fn run(&mut self, incoming: Option<Incoming>, teller: &mut Teller) {
        let first = self.reply().await;
        let goes_on = match &first {
            Reply::Found(_) | Reply::Ready => true,
            Reply::Done | Reply::Failed { .. } => false,
        };
        teller.tell(first).await;
        if !goes_on {
            return;
        }
        let Some(archive) = self.archive.take() else { return };
        if let Some(mut incoming) = incoming {
            // Ends with the archive, or when the porter does; its reply says how it went.
            tokio::task::spawn_blocking(move || io::copy(&mut incoming, &mut &archive));
            let last = self.reply().await;
            teller.tell(last).await;
            return;
        }
        match into_async(archive) {
            Ok(mut archive) => {
                if pump(&mut archive, &teller.pieces).await.is_ok() {
                    let last = self.reply().await;
                    teller.tell(last).await;
                }
            }
            Err(error) => teller.tell(Reply::Failed { why: Why::Other, text: error.to_string() }).await,
        }
    }

    /// What the porter says next.
    async fn reply(&mut self) -> Reply {
        let failed = |text: String| Reply::Failed { why: Why::Other, text };
        match self.replies.next_line().await {
            Ok(Some(line)) => serde_json::from_str(&line)
                .unwrap_or_else(|error| failed(format!("the porter's words make no sense: {error}"))),
            Ok(None) => failed("the porter has ended before its work was done".to_owned()),
            Err(error) => failed(format!("hear the porter: {error}")),
        }
    }
}

/// Passes the archive on piece by piece; an error when nobody takes it any more.
async fn pump(archive: &mut UnixStream, pieces: &mpsc::Sender<io::Result<Vec<u8>>>) -> io::Result<()> {
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        if archive.read_buf(&mut piece).await? == 0 {
            return Ok(());
        }
        if pieces.send(Ok(piece)).await.is_err() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
    }
}

impl Drop for Errand {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // Whatever it still does, nobody waits for.
        let mut reap = move || {
            drop(child.kill());
            drop(child.wait());
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(reap)),
            Err(_no_runtime) => reap(),
        }
    }
}

/// A running container's process and its root, as a handle that stays valid.
fn open_live_root(container: &Container) -> Option<(u32, OwnedFd)> {
    if !container.phase().is_live() {
        return None;
    }
    let pid = u32::try_from(container.pid()).ok().filter(|pid| *pid > 0)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, format!("/proc/{pid}/root"), flags, Mode::empty()).ok()?;
    // It lived before and after: the number was its own.
    let still = container.phase().is_live() && u32::try_from(container.pid()) == Ok(pid);
    still.then_some((pid, root))
}

/// The path from the container's root, its end kept as it is: a slash or a dot there has a meaning.
fn absolute(path: &str) -> String {
    let clean = crate::spec::mounts::clean(path);
    let dot = path == "." || path.ends_with("/.");
    match (clean.as_str(), dot, path.ends_with('/')) {
        ("/", true, _) => "/.".to_owned(),
        ("/", ..) => clean,
        (_, true, _) => format!("{clean}/."),
        (_, _, true) => format!("{clean}/"),
        _ => clean,
    }
}

fn lost() -> Error {
    Error::system("the copy was given up inside the engine")
}

/// Why a copy was refused, in Docker's words.
fn refused(reply: Reply, reference: &str, path: &str) -> Error {
    let Reply::Failed { why, text } = reply else { return lost() };
    match why {
        Why::Missing => Error::not_found(format!("Could not find the file {path} in container {reference}")),
        Why::NotDirectory => Error::invalid("extraction point is not a directory"),
        Why::ReadonlyMount => Error::invalid("mounted volume is marked read-only"),
        Why::ReadonlyRoot => Error::invalid("container rootfs is marked read-only"),
        Why::Archive => Error::new(Kind::InvalidParameter, text),
        Why::Other => Error::system(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_path_keeps_its_meaning() {
        for (given, wanted) in [
            ("tmp", "/tmp"),
            ("/tmp/", "/tmp/"),
            ("/tmp/../etc/.", "/etc/."),
            ("/", "/"),
            ("/.", "/."),
            (".", "/."),
            ("..", "/"),
        ] {
            assert_eq!(absolute(given), wanted, "{given}");
        }
    }
}
