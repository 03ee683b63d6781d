//! `cp`: files between a container and this host. What a copy makes of its two ends (directory or file, there or not) is docker's table:
//! it stands in [`plan`].

mod local;
mod plan;

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use minke_client::{Client, ClientError, Response};
use minke_store::copying::{Unpack, unpack_below};
use serde_json::Value;

use self::plan::{Destination, Source, plan};
use crate::command::{Args, Command, Outcome};
use crate::failure::{Failure, go_io};
use crate::flag::{Complete, Flag, Kind, short};
use crate::given::Given;
use crate::session::Session;

const FLAGS: &[Flag] = &[
    short("archive", 'a', Kind::Bool, "Give what is put into a container to the container's user"),
    short("follow-link", 'L', Kind::Bool, "Copy what a symbolic link in SRC_PATH leads to"),
    short("quiet", 'q', Kind::Bool, "Do not say how much was copied (nothing is said without a terminal)"),
];

pub(crate) const CP: Command = Command {
    paths: &["container cp", "cp"],
    usage: "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-",
    about: "Copy files between a container and this host",
    details: "The other way round: cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH\n\n\
              With - as the source, a tar archive is read from STDIN and unpacked in a directory of the\n\
              container; with - as the destination, a tar archive of what the container has goes to STDOUT.",
    args: Args::Exactly(2),
    flags: &[FLAGS],
    interspersed: true,
    complete: Complete::Files,
    run,
};

/// Go's bits of a mode, as the engine gives them.
const MODE_DIR: u64 = 1 << 31;
const MODE_LINK: u64 = 1 << 27;
const MODE_DEVICE: u64 = 1 << 26;
const MODE_ODD: u64 = 1 << 19;

/// One end in a container.
struct Inside<'a> {
    container: &'a str,
    path: &'a str,
}

/// `CONTAINER:PATH`; an absolute or explicitly relative path is one of this host, colons and all.
fn inside(text: &str) -> Option<Inside<'_>> {
    if text.starts_with('/') || text.starts_with('.') {
        return None;
    }
    text.split_once(':')
        .filter(|(container, _)| !container.is_empty())
        .map(|(container, path)| Inside { container, path })
}

fn run(session: &Session, given: &Given) -> Outcome {
    let (source, destination) = (&given.args[0], &given.args[1]);
    if source.is_empty() {
        return Err("source can not be empty".into());
    }
    if destination.is_empty() {
        return Err("destination can not be empty".into());
    }
    let quiet = if given.changed("quiet") { given.on("quiet") } else { !crate::terminal::stdout_is() };
    let follow = given.on("follow-link");
    let (bytes, to) = match (inside(source), inside(destination)) {
        (Some(from), None) => copy_out(session, &from, destination, follow)?,
        (None, Some(to)) => copy_in(session, source, &to, follow, given.on("archive"))?,
        (Some(_), Some(_)) => return Err("copying between containers is not supported".into()),
        (None, None) => return Err("must specify at least one container source".into()),
    };
    if !quiet && destination != "-" {
        crate::printer::complain(&format!("Successfully copied {} to {to}", minke_base::size::human(bytes)));
    }
    Ok(0)
}

/// What a path in a container is.
struct Stat {
    mode: u64,
    link_target: String,
}

impl Stat {
    fn is(&self, bits: u64) -> bool {
        self.mode & bits != 0
    }

    fn read(response: &Response) -> Result<Stat, Failure> {
        let header = response.header("x-docker-container-path-stat").unwrap_or_default();
        let json = base64::engine::general_purpose::STANDARD.decode(header).unwrap_or_default();
        let json: Value = serde_json::from_slice(&json)
            .map_err(|e| format!("unable to decode container path stat header: {e}"))?;
        Ok(Stat {
            mode: json.get("mode").and_then(Value::as_u64).unwrap_or(0),
            link_target: json.get("linkTarget").and_then(Value::as_str).unwrap_or_default().to_owned(),
        })
    }
}

fn archive_path(container: &str) -> String {
    format!("/containers/{}/archive", Client::segment(container))
}

/// `None` when it is not there, or cannot be told: the copy itself will say.
fn stat(client: &Client, container: &str, path: &str) -> Result<Option<Stat>, Failure> {
    match client.head(&archive_path(container)).query("path", path).send() {
        Ok(response) => Stat::read(&response).map(Some),
        Err(ClientError::Refused { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Where a link in a container leads, seen from the root.
fn target_of(path: &str, stat: &Stat) -> String {
    if stat.link_target.starts_with('/') {
        return stat.link_target.clone();
    }
    let (parent, _) = plan::split(path);
    plan::clean(&format!("{parent}/{}", stat.link_target))
}

fn copy_out(
    session: &Session,
    from: &Inside<'_>,
    destination: &str,
    follow: bool,
) -> Result<(u64, String), Failure> {
    let client = session.client()?;
    let to_stdout = destination == "-";
    let destination = if to_stdout { destination.to_owned() } else { local::absolute(destination)? };
    if !to_stdout {
        local::check_output(&destination)?;
    }
    let (mut path, mut rebase) = (from.path.to_owned(), None);
    if follow
        && let Some(stat) = stat(client, from.container, &path)?
        && stat.is(MODE_LINK)
    {
        (path, rebase) = plan::rebase_name(&path, target_of(&path, &stat));
    }
    let mut response = client.get(&archive_path(from.container)).query("path", &path).send()?;
    if to_stdout {
        return Ok((super::save::copy(&mut response, crate::printer::write_stdout)?, destination));
    }
    let source = Source { path, is_dir: Stat::read(&response)?.is(MODE_DIR), rebase };
    let end = local::destination(&destination)?;
    let planned = plan(&source, &end)?;
    let directory = local::open_directory(&planned.directory)?;
    let how = Unpack { keep_kinds: true, owner: None, rename: planned.rename };
    let (archive, mut pipe) = io::pipe()?;
    let (copied, unpacked) = std::thread::scope(|scope| {
        let unpacking = scope.spawn(|| unpack_below(&directory, archive, how));
        let copied = super::save::copy(&mut response, |bytes| pipe.write_all(bytes));
        drop(pipe);
        (copied, unpacking.join())
    });
    let unpacked = unpacked.map_err(|_panicked| Failure::from("the archive could not be unpacked"))?;
    unpacked.map_err(|e| plan::sentence(&e))?;
    Ok((copied?, destination))
}

fn copy_in(
    session: &Session,
    source: &str,
    to: &Inside<'_>,
    follow: bool,
    archive: bool,
) -> Result<(u64, String), Failure> {
    let client = session.client()?;
    let source = if source == "-" { source.to_owned() } else { local::absolute(source)? };
    let mut end = Destination { path: to.path.to_owned(), exists: false, is_dir: false };
    let mut found = stat(client, to.container, to.path)?;
    if let Some(link) = found.as_ref().filter(|stat| stat.is(MODE_LINK)) {
        end.path = target_of(to.path, link);
        found = stat(client, to.container, &end.path)?;
    }
    if let Some(found) = &found {
        let odd = match (found.is(MODE_DEVICE), found.is(MODE_ODD)) {
            (true, _) => Some("got a device"),
            (_, true) => Some("got an irregular file"),
            _ => None,
        };
        if let Some(odd) = odd {
            let place = format!("{}:{}", to.container, to.path);
            return Err(
                format!("destination \"{place}\" must be a directory or a regular file: {odd}").into()
            );
        }
        (end.exists, end.is_dir) = (true, found.is(MODE_DIR));
    }
    let shown = format!("{}:{}", to.container, end.path);
    let call = |directory: &str| {
        let call = client.put(&archive_path(to.container)).query("path", directory);
        call.query("noOverwriteDirNonDir", "true").flag("copyUIDGID", archive)
    };
    let count = Arc::new(AtomicU64::new(0));
    let total = Arc::clone(&count);
    let put = |directory: &str, body: Box<dyn Read + Send>| -> Result<(), Failure> {
        let call = call(directory).header("Content-Type", "application/x-tar");
        drop(call.send_body(Counted { inner: body, count })?.bytes()?);
        Ok(())
    };
    if source == "-" {
        if !end.is_dir {
            return Err(format!("destination \"{}:{}\" must be a directory", to.container, to.path).into());
        }
        put(&end.path, Box::new(io::stdin()))?;
        return Ok((total.load(Ordering::Relaxed), shown));
    }
    let origin = local::source(&source, follow)?;
    let planned = plan(&origin, &end)?;
    let name = planned.final_name(&origin);
    let archive = local::pack(&origin.path, name)?;
    let problem = archive.problem.clone();
    put(&planned.directory, Box::new(archive))?;
    // The engine took what there was; that it was all is for this side to say.
    match problem.lock().ok().and_then(|mut problem| problem.take()) {
        Some(error) => Err(Failure::new(1, go_io(&error))),
        None => Ok((total.load(Ordering::Relaxed), shown)),
    }
}

/// Counts what goes through.
struct Counted<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// The name of a file of this host, for messages.
fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_a_colon_may_be_one_of_this_host() {
        for local in ["/a:b", "./a:b", "../a:b", "plain", ":x"] {
            assert!(inside(local).is_none(), "{local}");
        }
        let found = inside("web:/etc/a:b").expect("a container's");
        assert_eq!((found.container, found.path), ("web", "/etc/a:b"));
    }
}
