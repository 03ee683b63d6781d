//! A container's mounts at a start: what has to be there before its keeper binds it, and what goes when it has ended.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use minke_store::porter::Staged;

use super::Containers;
use super::container::Container;
use super::record::Record;
use super::volumes::is_filled;
use crate::error::{Error, Result};
use crate::spec::mounts::{ImageWish, MountWish, Sources, What};

/// Where everything is, as long as this is kept.
#[derive(Debug, Default)]
pub(super) struct Mounted {
    pub(super) sources: Sources,
    held: Vec<OwnedFd>,
}

impl Mounted {
    /// What somebody else has found.
    pub(super) fn of(sources: Sources) -> Self {
        Self { sources, held: Vec::new() }
    }
}

impl Containers {
    /// Finds the data of volumes and images. Nothing happens for a container without.
    pub(super) async fn enter_volumes(self: &Arc<Self>, container: &Arc<Container>) -> Result<Mounted> {
        let record = container.record();
        let mounts = record.mounts();
        if !mounts.iter().any(|wish| matches!(wish.what, What::Volume(_) | What::Image(_))) {
            return Ok(Mounted::default());
        }
        let slow = |wish: &MountWish| {
            wish.volume().is_some_and(|volume| self.parts.volumes.is_filled_late(&volume.name))
        };
        let entered = if mounts.iter().any(slow) {
            // A file server may take its time.
            let (containers, container) = (Arc::clone(self), Arc::clone(container));
            tokio::task::spawn_blocking(move || containers.enter_all(&container))
                .await
                .map_err(|source| Error::failed("mount the container's volumes", source))?
        } else {
            self.enter_all(container)
        };
        match &entered {
            Ok(_) => self.parts.volumes.announce(container.id.as_str(), &mounts),
            Err(_) => self.leave_volumes(container),
        }
        entered
    }

    fn enter_all(&self, container: &Container) -> Result<Mounted> {
        let mut mounted = Mounted::default();
        for wish in container.record().mounts().iter() {
            let found = match &wish.what {
                What::Volume(volume) => {
                    let entered = self.parts.volumes.enter(container.id.as_str(), volume)?;
                    mounted.held.extend(entered.held);
                    if is_filled(volume) && self.parts.volumes.is_filled_late(&volume.name) {
                        self.fill_volume(container, &wish.target, volume)?;
                    }
                    vec![entered.source]
                }
                What::Image(image) => self.image_parts(image)?,
                _ => continue,
            };
            mounted.sources.insert(wish.target.clone(), found);
        }
        Ok(mounted)
    }

    /// The directories that an image's mount is made of.
    fn image_parts(&self, wish: &ImageWish) -> Result<Vec<PathBuf>> {
        let image = self.parts.images.of_container(&wish.id, &wish.layers);
        let layers = image.layers(&self.parts.store)?;
        let path = Path::new("/").join(&wish.subpath);
        let found = minke_store::rootfs::parts(&layers, &path)
            .map_err(|source| Error::failed(format!("look into image {}", wish.reference), source))?;
        let mut parts = found.ok_or_else(|| {
            Error::system(format!(
                "cannot access path {} of image {}: no such file or directory",
                path.display(),
                wish.reference
            ))
        })?;
        if let [one] = &parts[..]
            && one.is_dir()
        {
            // overlayfs wants two.
            parts.push(self.parts.volumes.empty_directory()?);
        }
        Ok(parts)
    }

    /// What a container that does not run would have below its root, for those who look into it from outside: its volumes are
    /// entered, and left again with [`Self::leave_volumes`]. The descriptors keep parts of volumes what they are until then.
    pub(super) fn enter_at_rest(
        &self,
        container: &Container,
        record: &Record,
    ) -> Result<(Vec<Staged>, Vec<OwnedFd>)> {
        let (mut mounts, mut held) = (Vec::new(), Vec::new());
        for wish in record.mounts().iter() {
            let (mut layers, mut recursive) = (Vec::new(), true);
            let source = match &wish.what {
                What::Bind { source, flat, .. } => {
                    recursive = !flat;
                    source.clone()
                }
                What::Volume(volume) => {
                    let entered = self.parts.volumes.enter(container.id.as_str(), volume)?;
                    held.extend(entered.held);
                    entered.source
                }
                What::Image(image) => match &self.image_parts(image)?[..] {
                    [file] if !file.is_dir() => file.clone(),
                    parts => {
                        layers = parts.to_vec();
                        PathBuf::new()
                    }
                },
                What::Tmpfs { .. } => continue,
            };
            let (target, writable) = (wish.target.clone(), wish.writable);
            mounts.push(Staged { source, layers, target, writable, recursive });
        }
        Ok((mounts, held))
    }

    /// A container has ended, or did not come to run.
    pub(super) fn leave_volumes(&self, container: &Container) {
        let record = container.record();
        if record.has_volumes() {
            self.parts.volumes.leave(container.id.as_str(), &record.mounts());
        }
    }
}

/// `-v` makes a missing directory of the host, as Docker does. A bind that is to spread must be one that can.
pub(super) fn make_bind_sources(wishes: &[MountWish]) -> Result<()> {
    for wish in wishes {
        let What::Bind { source, create, propagation, .. } = &wish.what else { continue };
        if *create && source.symlink_metadata().is_err() {
            std::fs::create_dir_all(source).map_err(|error| {
                Error::failed(format!("error while creating mount source path '{}'", source.display()), error)
            })?;
        }
        let wanted: &[&str] = match propagation.as_str() {
            "shared" | "rshared" => &["shared"],
            "slave" | "rslave" => &["shared", "master"],
            _ => continue,
        };
        let (point, spreads) = read_propagation(source)?;
        if !spreads.keys().any(|word| wanted.contains(&word.as_str())) {
            let kind = if wanted.len() == 1 { "a shared" } else { "a shared or slave" };
            return Err(Error::system(format!(
                "path {} is mounted on {} but it is not {kind} mount",
                source.display(),
                point.display()
            )));
        }
    }
    Ok(())
}

/// The mount that a path is on, and its optional fields (`shared:1`, `master:2`).
fn read_propagation(path: &Path) -> Result<(PathBuf, BTreeMap<String, String>)> {
    let failed = |source| Error::failed("read the host's mounts", source);
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let table = std::fs::read_to_string("/proc/self/mountinfo").map_err(failed)?;
    let rows = table.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(4);
        let point = PathBuf::from(unescape(words.next()?));
        let fields = words.skip(1).take_while(|word| *word != "-").filter_map(|word| word.split_once(':'));
        let fields = fields.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Some((point, fields))
    });
    // The last of several on one point is what is seen.
    let found =
        rows.filter(|(point, _)| path.starts_with(point)).max_by_key(|(point, _)| point.components().count());
    Ok(found.unwrap_or_else(|| (PathBuf::from("/"), BTreeMap::new())))
}

fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (code, plain)| text.replace(code, plain))
}
