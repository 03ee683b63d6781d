//! A settled wish as the runtime mounts it, and as `inspect` shows it.

use std::path::{Path, PathBuf};

use minke_api::mount::MountPoint;
use oci_spec::runtime::Mount;

use super::{MountWish, What};

/// Where the data of volumes and images was found, by target.
pub(crate) type Sources = std::collections::BTreeMap<String, Vec<PathBuf>>;

impl MountWish {
    /// The mount for the runtime. Volumes and images are found in `sources`.
    pub(crate) fn plan(&self, sources: &Sources) -> Mount {
        let mut mount = Mount::default();
        mount.set_destination(PathBuf::from(&self.target));
        let found = sources.get(&self.target).map(Vec::as_slice).unwrap_or_default();
        match &self.what {
            What::Bind { source, propagation, flat, shallow_readonly, .. } => {
                bind(&mut mount, source, self.bind_options(*flat, *shallow_readonly, propagation));
            }
            What::Volume(_) => {
                let source = found.first().map_or(Path::new(""), PathBuf::as_path);
                bind(&mut mount, source, self.bind_options(false, false, "rprivate"));
            }
            What::Image(_) => match found {
                [file] if !file.is_dir() => {
                    bind(&mut mount, file, self.bind_options(false, false, "rprivate"));
                }
                parts => image(&mut mount, parts),
            },
            What::Tmpfs { options, .. } => {
                let mut options = options.clone();
                if !self.writable && !options.iter().any(|word| word == "ro") {
                    options.push("ro".to_owned());
                }
                mount
                    .set_typ(Some("tmpfs".to_owned()))
                    .set_source(Some(PathBuf::from("tmpfs")))
                    .set_options(Some(options));
            }
        }
        mount
    }

    fn bind_options(&self, flat: bool, shallow_readonly: bool, propagation: &str) -> Vec<String> {
        let mut options = vec![if flat { "bind" } else { "rbind" }.to_owned()];
        if !self.writable {
            options.push("ro".to_owned());
            if !flat && !shallow_readonly {
                // Below the top too where the kernel can (5.12), as Docker does since 25.
                options.push("rro".to_owned());
            }
        }
        options.push(propagation.to_owned());
        options
    }

    /// What `inspect` lists; `data` says where a volume's data is.
    pub(crate) fn to_mount_point(&self, data: impl Fn(&str) -> PathBuf) -> Option<MountPoint> {
        let mut point = MountPoint {
            destination: self.target.clone(),
            mode: self.mode.clone(),
            rw: self.writable,
            ..MountPoint::default()
        };
        match &self.what {
            What::Bind { source, propagation, .. } => {
                point.kind = "bind".to_owned();
                point.source = source.to_string_lossy().into_owned();
                point.propagation.clone_from(propagation);
            }
            What::Volume(volume) => {
                point.kind = "volume".to_owned();
                point.source = data(&volume.name).to_string_lossy().into_owned();
                point.name.clone_from(&volume.name);
                point.driver.clone_from(&volume.driver);
            }
            What::Image(image) => {
                point.kind = "image".to_owned();
                point.name.clone_from(&image.reference);
                point.propagation = "rprivate".to_owned();
            }
            What::Tmpfs { listed: true, .. } => point.kind = "tmpfs".to_owned(),
            What::Tmpfs { .. } => return None,
        }
        Some(point)
    }
}

fn bind(mount: &mut Mount, source: &Path, options: Vec<String>) {
    mount.set_typ(Some("bind".to_owned())).set_source(Some(source.to_owned())).set_options(Some(options));
}

/// Directories of layers, top first, as one read-only tree. overlayfs wants two.
fn image(mount: &mut Mount, parts: &[PathBuf]) {
    let escape = |path: &PathBuf| path.to_string_lossy().replace('\\', "\\\\").replace(':', "\\:");
    let lower: Vec<String> = parts.iter().map(escape).collect();
    mount
        .set_typ(Some("overlay".to_owned()))
        .set_source(Some(PathBuf::from("overlay")))
        .set_options(Some(vec!["ro".to_owned(), format!("lowerdir={}", lower.join(":"))]));
}
