//! `save`: images into a tar archive.
//!
//! A file is written under another name first, so that a failed save leaves no half archive behind.

use crate::check;
use crate::command::{Args, Command, Outcome};
use crate::failure::{Failure, go_io};
use crate::flag::{Complete, Flag, Kind, flag, short};
use crate::given::Given;
use crate::printer::write_stdout;
use crate::session::Session;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

const FLAGS: &[Flag] = &[
    short("output", 'o', Kind::Str, "Write to this file instead of STDOUT").complete(Complete::Files),
    flag("platform", Kind::List, "Save only this platform's variant (os[/arch[/variant]])"),
];

pub(crate) const SAVE: Command = Command {
    paths: &["image save", "save"],
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Save images to a tar archive (STDOUT if not told otherwise)",
    details: "",
    args: Args::AtLeast(1),
    flags: &[FLAGS],
    interspersed: true,
    complete: Complete::Images,
    run,
};

fn run(session: &Session, given: &Given) -> Outcome {
    let output = given.str("output");
    if output.is_empty() && crate::terminal::stdout_is() {
        return Err("cowardly refusing to save to a terminal. Use the -o flag or redirect".into());
    }
    let target = target(output, WHAT)?;
    let mut call = session.client()?.get("/images/get");
    for name in &given.args {
        call = call.query("names", name);
    }
    for platform in given.list("platform") {
        call = call.query("platform", check::platform(platform)?.to_string());
    }
    deliver(&mut call.send()?, target, WHAT)?;
    Ok(0)
}

const WHAT: &str = "failed to save image";

/// The file that is asked for, checked; `None` is stdout.
pub(super) fn target(output: &str, what: &str) -> Result<Option<PathBuf>, Failure> {
    if output.is_empty() { Ok(None) } else { check_path(output, what).map(Some) }
}

/// Writes an answer's body to stdout, or under another name first and then under its own.
pub(super) fn deliver(response: &mut impl Read, target: Option<PathBuf>, what: &str) -> Result<(), Failure> {
    let Some(path) = target else {
        copy(response, write_stdout)?;
        return Ok(());
    };
    let fresh = fresh_name(&path);
    let failed = |e: io::Error| Failure::new(1, format!("{what}: {}: {}", path.display(), go_io(&e)));
    let mut file = File::create(&fresh).map_err(failed)?;
    let written = copy(response, |bytes| file.write_all(bytes));
    if let Err(error) = written.and_then(|_count| fs::rename(&fresh, &path)) {
        drop(fs::remove_file(&fresh));
        return Err(failed(error));
    }
    Ok(())
}

/// Copies all there is; says how many bytes that was.
pub(super) fn copy(from: &mut impl Read, mut to: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<u64> {
    let mut buffer = vec![0u8; 128 * 1024];
    let mut total = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(count) => {
                to(&buffer[..count])?;
                total += count as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

fn fresh_name(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.tmp", std::process::id()))
}

/// Refuses a directory, a missing parent, and devices.
fn check_path(output: &str, what: &str) -> Result<PathBuf, Failure> {
    let refuse = |why: String| Err(Failure::new(1, format!("{what}: {why}")));
    let path = Path::new(output);
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    if let Some(parent) = parent
        && let Err(e) = fs::metadata(parent)
    {
        return refuse(format!("invalid output path: stat {}: {}", parent.display(), go_io(&e)));
    }
    use std::os::unix::fs::FileTypeExt;
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => refuse("cannot write to a directory".into()),
        Ok(meta) if meta.file_type().is_char_device() => {
            refuse("cannot write to a character device file".into())
        }
        Ok(meta) if meta.file_type().is_block_device() => {
            refuse("cannot write to a block device file".into())
        }
        _ => Ok(path.to_owned()),
    }
}
