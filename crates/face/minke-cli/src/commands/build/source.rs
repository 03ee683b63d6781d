//! What is built: which Dockerfile, which files. Directories, archives, standard input, addresses, git.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use minke_dockerfile::Ignore;

use super::pack::{Pack, Problem};
use crate::failure::{Failure, go_io};

const DEFAULT: &str = "Dockerfile";
const IGNORE: &str = ".dockerignore";
/// Dockerfiles and ignore lists are written by hand.
const MAX_TEXT: u64 = 16 << 20;

/// The parts of a build that are files.
pub(super) struct Source {
    pub(super) dockerfile: Dockerfile,
    pub(super) files: Files,
    /// A clone that goes with this.
    pub(super) checkout: Option<Checkout>,
}

/// Where the Dockerfile is.
pub(super) enum Dockerfile {
    /// Here.
    Text { name: String, bytes: Vec<u8> },
    /// In the files, or at an address the engine reads.
    There(String),
}

/// Where the files are.
pub(super) enum Files {
    None,
    /// A directory, less what is ignored.
    Directory {
        path: PathBuf,
        ignore: Ignore,
    },
    /// An archive as it is.
    Archive(Box<dyn Read + Send>),
    /// An address the engine reads.
    Remote(String),
}

/// A directory that is removed with this.
pub(super) struct Checkout(pub(super) PathBuf);

impl Drop for Checkout {
    fn drop(&mut self) {
        // Nothing depends on it: what stays is in the directory for temporary files.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Finds out what the argument and `--file` mean.
pub(super) fn find(context: &str, file: Option<&str>) -> Result<Source, Failure> {
    if file == Some("-") && context == "-" {
        return Err("invalid argument: can't use stdin for both build context and dockerfile".into());
    }
    let given = match file {
        Some("-") => Some(text("-", io::stdin())?),
        _ => None,
    };
    if context == "-" {
        return from_stdin(file, io::stdin());
    }
    if super::git::is_git(context) {
        let checkout = super::git::clone(context)?;
        let mut source =
            from_directory(&checkout.directory, file.map(|name| checkout.directory.join(name)), given)?;
        source.checkout = Some(checkout.root);
        return Ok(source);
    }
    if is_url(context) {
        let dockerfile = given.unwrap_or_else(|| Dockerfile::There(file.unwrap_or(DEFAULT).to_owned()));
        return Ok(Source { dockerfile, files: Files::Remote(context.to_owned()), checkout: None });
    }
    let path = Path::new(context);
    let meta = std::fs::metadata(path).map_err(|error| {
        Failure::new(1, format!("unable to prepare context: path {context:?} not found: {}", go_io(&error)))
    })?;
    if meta.is_file() {
        let archive = File::open(path)
            .map_err(|error| Failure::new(1, format!("open {context}: {}", go_io(&error))))?;
        return from_stdin(file, archive);
    }
    if let (None, Some(address)) = (&given, file.filter(|file| is_url(file))) {
        let ignore = read_ignore(path, None)?;
        let files = Files::Directory { path: path.to_owned(), ignore };
        return Ok(Source { dockerfile: Dockerfile::There(address.to_owned()), files, checkout: None });
    }
    from_directory(path, file.filter(|file| *file != "-").map(PathBuf::from), given)
}

fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

fn text(name: &str, input: impl Read) -> Result<Dockerfile, Failure> {
    let mut bytes = Vec::new();
    input
        .take(MAX_TEXT + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::new(1, format!("read {name}: {}", go_io(&error))))?;
    if bytes.len() as u64 > MAX_TEXT {
        return Err(Failure::new(
            1,
            format!("{name} is larger than {MAX_TEXT} bytes: that is no Dockerfile"),
        ));
    }
    let name = if name == "-" { DEFAULT } else { name };
    Ok(Dockerfile::Text { name: name.to_owned(), bytes })
}

/// Standard input, or a file: an archive, or a Dockerfile that stands alone.
fn from_stdin(file: Option<&str>, mut input: impl Read + Send + 'static) -> Result<Source, Failure> {
    let mut head = Vec::with_capacity(512);
    (&mut input).take(512).read_to_end(&mut head)?;
    if head.is_empty() {
        return Err("failed to read context from STDIN: it is empty".into());
    }
    let archive = is_archive(&head);
    let whole = Cursor::new(head).chain(input);
    if !archive {
        let files = Files::None;
        return Ok(Source { dockerfile: text("-", whole)?, files, checkout: None });
    }
    let dockerfile = match file {
        Some("-") => {
            return Err("invalid argument: can't use stdin for both build context and dockerfile".into());
        }
        file => Dockerfile::There(file.unwrap_or(DEFAULT).to_owned()),
    };
    Ok(Source { dockerfile, files: Files::Archive(Box::new(whole)), checkout: None })
}

fn is_archive(head: &[u8]) -> bool {
    const MAGIC: &[&[u8]] =
        &[&[0x1f, 0x8b], b"BZh", &[0xfd, b'7', b'z', b'X', b'Z', 0], &[0x28, 0xb5, 0x2f, 0xfd]];
    MAGIC.iter().any(|magic| head.starts_with(magic))
        || head.get(257..262) == Some(b"ustar")
        || head.contains(&0)
}

fn from_directory(
    context: &Path,
    file: Option<PathBuf>,
    given: Option<Dockerfile>,
) -> Result<Source, Failure> {
    let path = match file {
        Some(path) => path,
        None => {
            let usual = context.join(DEFAULT);
            let lower = context.join(DEFAULT.to_lowercase());
            if !usual.exists() && lower.exists() { lower } else { usual }
        }
    };
    let (dockerfile, beside) = match given {
        Some(dockerfile) => (dockerfile, None),
        None => {
            let opened = File::open(&path).map_err(|error| {
                let name = path.display();
                Failure::new(1, format!("unable to prepare context: unable to evaluate symlinks in Dockerfile path: open {name}: {}", go_io(&error)))
            })?;
            let name = path.strip_prefix(context).unwrap_or(&path).display().to_string();
            (text(&name, opened)?, Some(path))
        }
    };
    let ignore = read_ignore(context, beside.as_deref())?;
    Ok(Source { dockerfile, files: Files::Directory { path: context.to_owned(), ignore }, checkout: None })
}

/// `<Dockerfile>.dockerignore` before `.dockerignore`.
fn read_ignore(context: &Path, dockerfile: Option<&Path>) -> Result<Ignore, Failure> {
    let own = dockerfile.map(|path| {
        let mut name = path.as_os_str().to_owned();
        name.push(IGNORE);
        PathBuf::from(name)
    });
    for path in own.into_iter().chain([context.join(IGNORE)]) {
        match std::fs::read(&path) {
            Ok(bytes) => {
                return Ignore::parse(&bytes).map_err(|error| {
                    Failure::new(1, format!("error checking context: {}: {error}", path.display()))
                });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(Failure::new(1, format!("failed to read {}: {}", path.display(), go_io(&error))));
            }
        }
    }
    Ok(Ignore::default())
}

/// A directory as an archive.
pub(super) fn pack(path: &Path, ignore: Ignore, problem: &Problem) -> Result<Pack, Failure> {
    Pack::new(path, ignore, None, problem.clone()).map_err(|error| {
        Failure::new(1, format!("unable to prepare context: {}: {}", path.display(), go_io(&error)))
    })
}
