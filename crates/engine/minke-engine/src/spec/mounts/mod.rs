//! What is mounted into a container beside its root: `-v`, `--mount`, `--tmpfs`, parsed once into one list.
//!
//! A wish is a decision, not a promise: which volume a nameless wish becomes, whether a volume exists, and where its data is are
//! the volumes service's to say. The list is what a container's record keeps. The words of the refusals are Docker's.
//!
//! | file | what |
//! |---|---|
//! | `text` | `-v SOURCE:TARGET:MODE` |
//! | `object` | `--mount` |
//! | `tmpfs` | `--tmpfs`, and the options of both kinds of tmpfs |
//! | `runtime` | a wish as the runtime's mount, and as `inspect` shows it |

mod object;
mod runtime;
#[cfg(test)]
mod tests;
mod text;
mod tmpfs;

use std::path::{Component, Path, PathBuf};

use minke_api::StringMap;
use minke_api::container::{ContainerConfig, HostConfig};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

pub(crate) use runtime::Sources;
pub(crate) use text::parse_volumes_from;

/// One mount of a container: as a person asked for it, then (in its record) as it was settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountWish {
    /// Where in the container, absolute and clean.
    pub target: String,
    /// What.
    pub what: What,
    /// Whether it may be written to.
    pub writable: bool,
    /// The mode as typed (`ro,z`), which `inspect` shows.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mode: String,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// A path of the host.
    Bind {
        /// The path.
        source: PathBuf,
        /// How mounts spread (`rprivate` …).
        propagation: String,
        /// Make the directory when it is missing, as `-v` does.
        create: bool,
        /// Only the mount itself, not what is mounted below it.
        flat: bool,
        /// With `ro`: only the top, not what is mounted below it.
        shallow_readonly: bool,
    },
    /// Memory.
    Tmpfs {
        /// Mount options.
        options: Vec<String>,
        /// Whether it came by `--mount`, which `inspect` lists (and `--tmpfs` not).
        listed: bool,
    },
    /// A volume.
    Volume(VolumeWish),
    /// The files of an image, read-only.
    Image(ImageWish),
}

/// Which volume, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeWish {
    /// Its name; empty until the engine has chosen one.
    pub name: String,
    /// Its driver; empty for the usual one.
    pub driver: String,
    /// The engine chose the name: it goes with its last container when that is removed with its volumes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub anonymous: bool,
    /// What the image has there is not copied into an empty volume.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_copy: bool,
    /// Only this part of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subpath: String,
    /// Labels for a volume that has to be made; not kept.
    #[serde(skip)]
    pub labels: Option<StringMap>,
    /// Options of its driver for a volume that has to be made; not kept.
    #[serde(skip)]
    pub options: Option<StringMap>,
}

/// Which image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageWish {
    /// As it was named.
    pub reference: String,
    /// Only this part of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subpath: String,
    /// Its id, once it was found.
    pub id: String,
    /// Its layers, which stay as long as the container.
    pub layers: Vec<String>,
}

/// Sorts out the mounts that a person asks for, by target.
pub fn parse_mounts(host: &HostConfig) -> Result<Vec<MountWish>> {
    let mut wishes = Vec::new();
    for bind in host.binds.iter().flatten() {
        wishes.push(text::parse_bind(bind, &host.volume_driver)?);
    }
    for mount in host.mounts.iter().flatten() {
        wishes.push(object::parse_mount(mount)?);
    }
    wishes.sort_by(|a: &MountWish, b| a.target.cmp(&b.target));
    if let Some(pair) = wishes.windows(2).find(|pair| pair[0].target == pair[1].target) {
        return Err(duplicate(&pair[0].target));
    }
    for (target, options) in host.tmpfs.iter().flatten() {
        let wish = tmpfs::parse_tmpfs(target, options)?;
        match wishes.iter().position(|known| known.target == wish.target) {
            // Said twice; the one with its own options counts.
            Some(at) if matches!(wishes[at].what, What::Tmpfs { .. }) => drop(wishes.remove(at)),
            Some(_) => return Err(duplicate(&wish.target)),
            None => {}
        }
        wishes.push(wish);
    }
    wishes.sort_by(|a, b| a.target.cmp(&b.target));
    Ok(wishes)
}

/// Adds an anonymous volume for each path that a container's configuration declares as one and where nothing is yet.
pub fn add_declared(wishes: &mut Vec<MountWish>, config: &ContainerConfig, host: &HostConfig) -> Result<()> {
    for target in config.volumes.iter().flatten().map(|(target, _)| target) {
        let target = clean(target);
        if target == "/" {
            return Err(Error::invalid(
                "invalid mount config for type \"volume\": invalid specification: destination can't be '/'",
            ));
        }
        if !wishes.iter().any(|known| known.target == target) {
            let wish = VolumeWish { driver: host.volume_driver.clone(), ..VolumeWish::default() };
            wishes.push(MountWish { target, what: What::Volume(wish), writable: true, mode: String::new() });
        }
    }
    wishes.sort_by(|a, b| a.target.cmp(&b.target));
    Ok(())
}

fn duplicate(target: &str) -> Error {
    Error::invalid(format!("Duplicate mount point: {target}"))
}

/// A part of a volume or an image that a person named.
fn check_subpath(subpath: &str) -> std::result::Result<(), &'static str> {
    let stays = !subpath.starts_with('/')
        && Path::new(subpath).components().all(|part| !matches!(part, Component::ParentDir));
    if stays { Ok(()) } else { Err("subpath must be a relative path within the volume") }
}

/// The path without `.`, `..`, doubled and trailing slashes, as Go's `path.Clean` has it.
pub fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => parts.push(name.to_str().unwrap_or_default()),
            Component::ParentDir => drop(parts.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    format!("/{}", parts.join("/"))
}

impl MountWish {
    /// The volume's part of it.
    pub(crate) fn volume(&self) -> Option<&VolumeWish> {
        match &self.what {
            What::Volume(volume) => Some(volume),
            _ => None,
        }
    }
}
