//! What is mounted into a container beside its root: `-v`, `--mount`, `--tmpfs`, parsed once into one list.
//!
//! Volumes belong to a later issue: a named or anonymous one is refused with a sentence, never ignored. The words of
//! the refusals that Docker has too are Docker's.

use std::path::{Component, Path, PathBuf};

use minke_api::container::HostConfig;
use minke_api::mount::{Mount as WireMount, MountPoint};
use oci_spec::runtime::Mount;

use crate::error::{Error, Result};

/// One mount that a person asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountWish {
    /// Where in the container, absolute and clean.
    pub target: String,
    /// What.
    pub what: What,
    /// Whether it may be written to.
    pub writable: bool,
    /// The mode as typed (`ro,z`), which `inspect` shows.
    pub mode: String,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

/// Sorts out all mounts of a container, by target.
pub fn parse_mounts(host: &HostConfig) -> Result<Vec<MountWish>> {
    let mut wishes = Vec::new();
    for bind in host.binds.iter().flatten() {
        wishes.push(parse_bind(bind)?);
    }
    for mount in host.mounts.iter().flatten() {
        wishes.push(parse_mount(mount)?);
    }
    for (target, options) in host.tmpfs.iter().flatten() {
        wishes.push(parse_tmpfs(target, options)?);
    }
    wishes.sort_by(|a, b| a.target.cmp(&b.target));
    if let Some(pair) = wishes.windows(2).find(|pair| pair[0].target == pair[1].target) {
        return Err(Error::invalid(format!("Duplicate mount point: {}", pair[0].target)));
    }
    Ok(wishes)
}

fn parse_bind(text: &str) -> Result<MountWish> {
    let refuse = || Error::system(format!("invalid volume specification: '{text}'"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, mode) = match parts.as_slice() {
        [source, target] => (*source, *target, ""),
        [source, target, mode] => (*source, *target, *mode),
        [_] => return Err(volumes_later()),
        _ => return Err(refuse()),
    };
    if source.is_empty() || target.is_empty() {
        return Err(refuse());
    }
    if parts.len() == 3 && target.starts_with('/') && mode.starts_with('/') {
        return Err(refuse());
    }
    let why = |why: String| {
        Error::system(format!(
            "invalid volume specification: '{text}': invalid mount config for type \"bind\": {why}"
        ))
    };
    if !target.starts_with('/') {
        return Err(why(format!("invalid mount path: '{target}' mount path must be absolute")));
    }
    let target = clean(target);
    if target == "/" {
        return Err(why("invalid specification: destination can't be '/'".to_owned()));
    }
    if !source.starts_with('/') {
        return Err(volumes_later());
    }
    let (writable, propagation) = parse_mode(mode)?;
    let what = What::Bind {
        source: PathBuf::from(clean(source)),
        propagation: propagation.unwrap_or_else(|| "rprivate".to_owned()),
        create: true,
        flat: false,
        shallow_readonly: false,
    };
    Ok(MountWish { target, what, writable, mode: mode.to_owned() })
}

fn volumes_later() -> Error {
    Error::invalid(
        "volumes are not built yet: bind mount a directory of the host instead, as in -v /host/path:/path/in/container",
    )
}

fn parse_mode(mode: &str) -> Result<(bool, Option<String>)> {
    let mut writable = None;
    let mut propagation = None;
    for word in mode.split(',').filter(|word| !word.is_empty()) {
        match word {
            "rw" if writable.is_none() => writable = Some(true),
            "ro" if writable.is_none() => writable = Some(false),
            "z" | "Z" | "nocopy" | "cached" | "delegated" | "consistent" => {}
            "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" if propagation.is_none() => {
                propagation = Some(word.to_owned());
            }
            _ => return Err(Error::system(format!("invalid mode: {mode}"))),
        }
    }
    Ok((writable.unwrap_or(true), propagation))
}

fn parse_mount(mount: &WireMount) -> Result<MountWish> {
    let why = |why: &str| Error::invalid(format!("invalid mount config for type \"{}\": {why}", mount.kind));
    if mount.target.is_empty() && matches!(mount.kind.as_str(), "bind" | "tmpfs" | "volume") {
        return Err(why("field Target must not be empty"));
    }
    let target = clean(&mount.target);
    let absolute = || match mount.target.starts_with('/') {
        true if target == "/" => Err(why("invalid specification: destination can't be '/'")),
        true => Ok(()),
        false => Err(why(&format!("invalid mount path: '{}' mount path must be absolute", mount.target))),
    };
    let what = match mount.kind.as_str() {
        "bind" => {
            absolute()?;
            if mount.source.is_empty() {
                return Err(why("field Source must not be empty"));
            }
            if !mount.source.starts_with('/') {
                return Err(why(&format!(
                    "invalid mount path: '{}' mount path must be absolute",
                    mount.source
                )));
            }
            let options = mount.bind_options.clone().unwrap_or_default();
            if !matches!(
                options.propagation.as_str(),
                "" | "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave"
            ) {
                return Err(why(&format!("invalid propagation mode: {}", options.propagation)));
            }
            let source = PathBuf::from(clean(&mount.source));
            if !options.create_mountpoint && !source.exists() {
                return Err(why(&format!("bind source path does not exist: {}", mount.source)));
            }
            What::Bind {
                source,
                propagation: if options.propagation.is_empty() {
                    "rprivate".to_owned()
                } else {
                    options.propagation
                },
                create: options.create_mountpoint,
                flat: options.non_recursive,
                shallow_readonly: options.read_only_non_recursive,
            }
        }
        "tmpfs" => {
            absolute()?;
            if !mount.source.is_empty() {
                return Err(why("field Source must not be specified"));
            }
            let wish = mount.tmpfs_options.clone().unwrap_or_default();
            let mut options = tmpfs_defaults();
            if wish.size_bytes > 0 {
                options.push(format!("size={}", wish.size_bytes));
            }
            if wish.mode != 0 {
                options.push(format!("mode={:o}", wish.mode));
            }
            options.extend(wish.options.iter().flatten().map(|pair| pair.join("=")));
            What::Tmpfs { options, listed: true }
        }
        "volume" => return Err(volumes_later()),
        "image" => {
            return Err(Error::invalid(
                "image mounts are not built yet: bind mount a directory of the host instead",
            ));
        }
        _ => return Err(why("mount type unknown")),
    };
    Ok(MountWish { target, what, writable: !mount.read_only, mode: String::new() })
}

fn tmpfs_defaults() -> Vec<String> {
    ["noexec", "nosuid", "nodev"].map(str::to_owned).to_vec()
}

fn parse_tmpfs(target: &str, text: &str) -> Result<MountWish> {
    if !target.starts_with('/') {
        return Err(Error::invalid(format!("invalid mount path: '{target}' mount path must be absolute")));
    }
    let mut options = tmpfs_defaults();
    let mut writable = true;
    for word in text.split(',').filter(|word| !word.is_empty()) {
        let name = word.split('=').next().unwrap_or(word);
        match name {
            "exec" | "suid" | "dev" => options.retain(|old| old.strip_prefix("no") != Some(name)),
            "ro" => writable = false,
            "rw" => writable = true,
            "noexec" | "nosuid" | "nodev" => continue,
            "size" | "mode" | "uid" | "gid" | "nr_inodes" | "nr_blocks" | "mpol" if word.contains('=') => {}
            "noatime" | "relatime" | "strictatime" | "nodiratime" | "diratime" | "atime" | "sync"
            | "async" | "dirsync" | "mand" | "nomand" | "noswap" | "huge" | "private" | "rprivate"
            | "shared" | "rshared" | "slave" | "rslave" | "unbindable" | "runbindable" | "defaults" => {}
            _ => return Err(Error::invalid(format!("invalid tmpfs option [{word:?}]"))),
        }
        options.push(word.to_owned());
    }
    Ok(MountWish {
        target: clean(target),
        what: What::Tmpfs { options, listed: false },
        writable,
        mode: text.to_owned(),
    })
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
    /// The mount for the runtime.
    pub fn plan(&self) -> Mount {
        let mut mount = Mount::default();
        mount.set_destination(PathBuf::from(&self.target));
        match &self.what {
            What::Bind { source, propagation, flat, shallow_readonly, .. } => {
                let mut options = vec![if *flat { "bind" } else { "rbind" }.to_owned()];
                if !self.writable {
                    options.push("ro".to_owned());
                    if !flat && !shallow_readonly {
                        // Below the top too where the kernel can (5.12), as Docker does since 25.
                        options.push("rro".to_owned());
                    }
                }
                options.push(propagation.clone());
                mount
                    .set_typ(Some("bind".to_owned()))
                    .set_source(Some(source.clone()))
                    .set_options(Some(options));
            }
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

    /// What `inspect` lists.
    pub fn to_mount_point(&self) -> Option<MountPoint> {
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
            What::Tmpfs { listed: true, .. } => point.kind = "tmpfs".to_owned(),
            What::Tmpfs { .. } => return None,
        }
        Some(point)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binds(list: &[&str]) -> Result<Vec<MountWish>> {
        let binds = Some(list.iter().map(|bind| (*bind).to_owned()).collect());
        parse_mounts(&HostConfig { binds, ..HostConfig::default() })
    }

    #[test]
    fn a_read_only_bind_is_read_only_all_the_way_down() {
        let wishes = binds(&["/tmp/../etc/:/conf/:ro"]).expect("well formed");
        let mount = wishes[0].plan();
        assert_eq!(mount.destination(), Path::new("/conf"));
        assert_eq!(mount.source().as_deref(), Some(Path::new("/etc")));
        assert_eq!(mount.options().as_deref().unwrap_or_default(), ["rbind", "ro", "rro", "rprivate"]);
    }

    #[test]
    fn refusals_are_in_dockers_words() {
        let text = |list: &[&str]| binds(list).expect_err("refused").message().to_owned();
        assert_eq!(text(&["/a:/b:/c:ro"]), "invalid volume specification: '/a:/b:/c:ro'");
        assert_eq!(text(&["/tmp:/x:zz"]), "invalid mode: zz");
        assert_eq!(text(&["/tmp:/x", "/etc:/x"]), "Duplicate mount point: /x");
        assert_eq!(
            text(&["/x:rel"]),
            "invalid volume specification: '/x:rel': invalid mount config for type \"bind\": invalid mount path: 'rel' mount path must be absolute"
        );
        assert_eq!(
            text(&["/tmp:/"]),
            "invalid volume specification: '/tmp:/': invalid mount config for type \"bind\": invalid specification: destination can't be '/'"
        );
        assert!(text(&["data:/x"]).starts_with("volumes are not built yet"));
    }

    #[test]
    fn a_tmpfs_may_be_made_executable() {
        let wish = parse_tmpfs("/run", "exec,size=64k").expect("known options");
        let What::Tmpfs { options, .. } = &wish.what else { panic!("a tmpfs") };
        assert_eq!(options, &["nosuid", "nodev", "exec", "size=64k"]);
        assert_eq!(
            parse_tmpfs("/run", "zz").expect_err("unknown").message(),
            "invalid tmpfs option [\"zz\"]"
        );
    }

    #[test]
    fn paths_are_cleaned_as_go_does() {
        for (path, wanted) in [("/a//b/", "/a/b"), ("/a/./b/../c", "/a/c"), ("/../..", "/")] {
            assert_eq!(clean(path), wanted);
        }
    }
}
