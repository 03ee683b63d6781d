//! `--output`: what becomes of the result, and where it goes here.

use std::fs::File;
use std::io::{self, PipeWriter, Write};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use minke_store::copying::{Unpack, unpack_below};
use rustix::fs::{Mode, OFlags};

use crate::failure::{Failure, go_io};
use crate::printer::write_stdout;

/// What the engine makes and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Output {
    /// The engine's word: `image`, `tar`, `oci`, `docker`, `none`.
    pub(super) kind: &'static str,
    pub(super) place: Place,
    /// Names that `name=` added.
    pub(super) names: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Nowhere,
    Stdout,
    File(PathBuf),
    Directory(PathBuf),
}

/// Reads the flags; without any the result is an image.
pub(super) fn parse(list: &[&str]) -> Result<Vec<Output>, Failure> {
    let mut outputs: Vec<Output> = list.iter().map(|text| parse_one(text)).collect::<Result<_, _>>()?;
    if outputs.is_empty() {
        outputs.push(Output { kind: "image", place: Place::Nowhere, names: Vec::new() });
    }
    if outputs.iter().filter(|output| output.place == Place::Stdout).count() > 1 {
        return Err("only one --output can go to standard output".into());
    }
    Ok(outputs)
}

fn parse_one(text: &str) -> Result<Output, Failure> {
    let fields = super::super::mounts::fields(text)?;
    if let [only] = fields.as_slice()
        && !only.contains('=')
    {
        let place = if only == "-" { Place::Stdout } else { Place::Directory(PathBuf::from(only)) };
        return Ok(Output { kind: "tar", place, names: Vec::new() });
    }
    let (mut kind, mut destination, mut names) = (None, None, Vec::new());
    for field in &fields {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| Failure::new(1, format!("invalid value {field}: --output wants key=value")))?;
        match key.trim().to_ascii_lowercase().as_str() {
            "type" => kind = Some(value.to_owned()),
            "dest" => destination = Some(value.to_owned()),
            "name" => names.extend(value.split(',').map(str::to_owned)),
            "tar" if value == "true" => {}
            "push" if value == "false" => {}
            "push" => return Err("--output push=true: pushing is a command of its own: minke push".into()),
            other => {
                return Err(Failure::new(1, format!("--output: the attribute {other:?} is not built yet")));
            }
        }
    }
    let kind = kind.ok_or("type is required for output")?;
    let place = match destination.as_deref() {
        None => Place::Nowhere,
        Some("-") => Place::Stdout,
        Some(path) => Place::File(PathBuf::from(path)),
    };
    let stdout_if_nowhere = |place: Place| if place == Place::Nowhere { Place::Stdout } else { place };
    let (kind, place) = match (kind.as_str(), place) {
        ("local", Place::File(path)) => ("tar", Place::Directory(path)),
        ("local", _) => return Err("dest is required for local output".into()),
        ("tar", place) => ("tar", stdout_if_nowhere(place)),
        ("oci", place) => ("oci", stdout_if_nowhere(place)),
        ("docker", Place::Nowhere) | ("image", Place::Nowhere) => ("image", Place::Nowhere),
        ("docker", place) => ("docker", place),
        ("image", _) => return Err("--output type=image goes to no file: use type=docker or type=oci".into()),
        ("cacheonly", _) => ("none", Place::Nowhere),
        ("registry", _) => {
            return Err("--output type=registry: pushing is a command of its own: minke push".into());
        }
        (other, _) => return Err(Failure::new(1, format!("unknown output type {other:?}"))),
    };
    if place == Place::Stdout && crate::terminal::stdout_is() {
        return Err("dest file is required for this output. refusing to write to a terminal".into());
    }
    Ok(Output { kind, place, names })
}

/// Takes the bytes of the result.
pub(super) enum Sink {
    None,
    Stdout,
    File { file: File, new: PathBuf, path: PathBuf },
    Directory { pipe: PipeWriter, unpacking: JoinHandle<Result<(), String>> },
}

impl Sink {
    pub(super) fn open(place: &Place) -> Result<Self, Failure> {
        let failed = |path: &Path| {
            let path = path.display().to_string();
            move |error: io::Error| Failure::new(1, format!("open {path}: {}", go_io(&error)))
        };
        Ok(match place {
            Place::Nowhere => Self::None,
            Place::Stdout => Self::Stdout,
            Place::File(path) => {
                let mut name = path.as_os_str().to_owned();
                name.push(format!(".{}", std::process::id()));
                let new = PathBuf::from(name);
                Self::File { file: File::create(&new).map_err(failed(&new))?, new, path: path.clone() }
            }
            Place::Directory(path) => {
                std::fs::create_dir_all(path).map_err(failed(path))?;
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let directory = rustix::fs::open(path, flags, Mode::empty())
                    .map_err(|error| failed(path)(error.into()))?;
                let (archive, pipe) = io::pipe()?;
                let owner = Some((rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw()))
                    .filter(|(user, _)| *user != 0);
                let how = Unpack { keep_kinds: false, owner, rename: None };
                let unpacking = std::thread::spawn(move || {
                    unpack_below(&directory, archive, how).map_err(|error| error.to_string())
                });
                Self::Directory { pipe, unpacking }
            }
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self {
            Self::None => {}
            Self::Stdout => write_stdout(bytes)?,
            Self::File { file, .. } => file.write_all(bytes)?,
            Self::Directory { pipe, unpacking } => match pipe.write_all(bytes) {
                // Why it stopped reading, its thread says.
                Err(_closed) if unpacking.is_finished() => {}
                result => result?,
            },
        }
        Ok(())
    }

    /// Everything was there: the result takes its place.
    pub(super) fn finish(self) -> Result<(), Failure> {
        match self {
            Self::None | Self::Stdout => Ok(()),
            Self::File { file, new, path } => {
                file.sync_all()?;
                std::fs::rename(&new, &path).map_err(|error| {
                    Failure::new(
                        1,
                        format!("rename {} to {}: {}", new.display(), path.display(), go_io(&error)),
                    )
                })
            }
            Self::Directory { pipe, unpacking } => {
                drop(pipe);
                let done = unpacking.join().map_err(|_panicked| "the result could not be unpacked")?;
                done.map_err(|text| Failure::new(1, text))
            }
        }
    }

    /// Nothing of a failed build stays where a file was asked for.
    pub(super) fn abandon(self) {
        if let Self::File { new, .. } = self {
            drop(std::fs::remove_file(new));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_has_a_kind_and_a_place() {
        let parsed = |text: &str| {
            parse_one(text).map(|output| (output.kind, output.place)).map_err(|error| error.text)
        };
        assert_eq!(parsed("out").expect("a directory"), ("tar", Place::Directory("out".into())));
        assert_eq!(parsed("type=local,dest=d").expect("a directory"), ("tar", Place::Directory("d".into())));
        assert_eq!(parsed("type=oci,dest=f").expect("a file"), ("oci", Place::File("f".into())));
        assert_eq!(parsed("type=docker").expect("an image"), ("image", Place::Nowhere));
        assert_eq!(parsed("type=cacheonly").expect("nothing"), ("none", Place::Nowhere));
        assert!(parsed("dest=x").expect_err("no type").contains("type is required"));
        assert!(parsed("type=local").expect_err("no place").contains("dest is required"));
        assert_eq!(parse(&[]).expect("an image")[0].kind, "image");
        assert_eq!(parse(&["a", "type=oci,dest=f", "type=image"]).expect("three").len(), 3);
        assert!(parse(&["-", "type=oci,dest=-"]).expect_err("twice").text.contains("only one"));
    }
}
