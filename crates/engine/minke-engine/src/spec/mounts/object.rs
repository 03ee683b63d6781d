//! `--mount`: one object per mount.

use std::path::PathBuf;

use minke_api::mount::{BindOptions, Mount as WireMount};

use super::{ImageWish, MountWish, VolumeWish, What, check_subpath, clean, tmpfs};
use crate::error::{Error, Result};

pub(super) fn parse_mount(mount: &WireMount) -> Result<MountWish> {
    let why = |why: &str| Error::invalid(format!("invalid mount config for type \"{}\": {why}", mount.kind));
    if !matches!(mount.kind.as_str(), "bind" | "volume" | "tmpfs" | "image") {
        return Err(why("mount type unknown"));
    }
    if mount.target.is_empty() {
        return Err(why("field Target must not be empty"));
    }
    let target = clean(&mount.target);
    if !mount.target.starts_with('/') {
        return Err(why(&format!("invalid mount path: '{}' mount path must be absolute", mount.target)));
    }
    if target == "/" {
        return Err(why("invalid specification: destination can't be '/'"));
    }
    for (given, field, kind) in [
        (mount.bind_options.is_some(), "BindOptions", "bind"),
        (mount.volume_options.is_some(), "VolumeOptions", "volume"),
        (mount.tmpfs_options.is_some(), "TmpfsOptions", "tmpfs"),
        (mount.image_options.is_some(), "ImageOptions", "image"),
    ] {
        if given && kind != mount.kind {
            return Err(why(&format!("field {field} must not be specified")));
        }
    }
    if !matches!(mount.consistency.as_str(), "" | "default" | "consistent" | "cached" | "delegated") {
        return Err(why(&format!("invalid consistency: {}", mount.consistency)));
    }
    let (what, writable, mode) = match mount.kind.as_str() {
        "bind" => (bind(mount).map_err(|text| why(&text))?, !mount.read_only, ""),
        "tmpfs" => (tmpfs_of(mount).map_err(|text| why(&text))?, !mount.read_only, ""),
        "volume" => (volume(mount).map_err(|text| why(&text))?, !mount.read_only, "z"),
        _ => (image(mount).map_err(|text| why(&text))?, false, ""),
    };
    Ok(MountWish { target, what, writable, mode: mode.to_owned() })
}

fn bind(mount: &WireMount) -> std::result::Result<What, String> {
    let source = &mount.source;
    if source.is_empty() {
        return Err("field Source must not be empty".to_owned());
    }
    if !source.starts_with('/') {
        return Err(format!("invalid mount path: '{source}' mount path must be absolute"));
    }
    let options = mount.bind_options.clone().unwrap_or_default();
    let propagation = match options.propagation.as_str() {
        "" => "rprivate",
        word @ ("private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave") => word,
        other => return Err(format!("invalid propagation mode: {other}")),
    };
    check_recursion(mount, &options)?;
    let path = PathBuf::from(clean(source));
    if !options.create_mountpoint && path.symlink_metadata().is_err() {
        return Err(format!("bind source path does not exist: {source}"));
    }
    Ok(What::Bind {
        source: path,
        propagation: propagation.to_owned(),
        create: options.create_mountpoint,
        flat: options.non_recursive,
        shallow_readonly: options.read_only_non_recursive,
    })
}

fn check_recursion(mount: &WireMount, options: &BindOptions) -> std::result::Result<(), String> {
    if options.read_only_non_recursive && options.read_only_force_recursive {
        return Err(
            "ReadOnlyNonRecursive and ReadOnlyForceRecursive must not be specified together".to_owned()
        );
    }
    if options.read_only_force_recursive {
        if !mount.read_only {
            return Err("ReadOnlyForceRecursive must not be specified without ReadOnly".to_owned());
        }
        if options.non_recursive {
            return Err("ReadOnlyForceRecursive must not be specified with NonRecursive".to_owned());
        }
        if !matches!(options.propagation.as_str(), "" | "rprivate") {
            return Err(
                "ReadOnlyForceRecursive must be specified with Propagation set to rprivate".to_owned()
            );
        }
    }
    if options.read_only_non_recursive && !mount.read_only {
        return Err("ReadOnlyNonRecursive must not be specified without ReadOnly".to_owned());
    }
    Ok(())
}

fn tmpfs_of(mount: &WireMount) -> std::result::Result<What, String> {
    if !mount.source.is_empty() {
        return Err("field Source must not be specified".to_owned());
    }
    let wish = mount.tmpfs_options.clone().unwrap_or_default();
    if wish.size_bytes < 0 {
        return Err(format!("invalid tmpfs size: {}", wish.size_bytes));
    }
    let mut options = tmpfs::defaults();
    if wish.size_bytes > 0 {
        options.push(format!("size={}", wish.size_bytes));
    }
    if wish.mode != 0 {
        options.push(format!("mode={:o}", wish.mode));
    }
    for pair in wish.options.iter().flatten() {
        tmpfs::add_option(&mut options, &pair.join("="))?;
    }
    Ok(What::Tmpfs { options, listed: true })
}

fn volume(mount: &WireMount) -> std::result::Result<What, String> {
    let options = mount.volume_options.clone().unwrap_or_default();
    if mount.source.is_empty() && !options.subpath.is_empty() {
        return Err("must not set Subpath when using anonymous volumes".to_owned());
    }
    check_subpath(&options.subpath)?;
    let driver = options.driver_config.unwrap_or_default();
    Ok(What::Volume(VolumeWish {
        name: mount.source.clone(),
        driver: driver.name,
        anonymous: false,
        no_copy: options.no_copy,
        subpath: options.subpath,
        labels: options.labels,
        options: driver.options,
    }))
}

fn image(mount: &WireMount) -> std::result::Result<What, String> {
    if mount.source.is_empty() {
        return Err("field Source must not be empty".to_owned());
    }
    let subpath = mount.image_options.clone().unwrap_or_default().subpath;
    check_subpath(&subpath)?;
    Ok(What::Image(ImageWish { reference: mount.source.clone(), subpath, ..ImageWish::default() }))
}
