//! `-v SOURCE:TARGET:MODE`, and the mode of `--volumes-from`.

use std::path::PathBuf;

use super::{MountWish, VolumeWish, What, clean};
use crate::error::{Error, Result};

/// What the third part says.
#[derive(Debug, Default)]
struct Mode {
    readonly: bool,
    propagation: Option<String>,
    no_copy: bool,
}

pub(super) fn parse_bind(text: &str, driver: &str) -> Result<MountWish> {
    // Docker's own fault by its status, which clients know.
    let refuse = || Error::system(format!("invalid volume specification: '{text}'"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, mode) = match parts.as_slice() {
        [target] => ("", *target, ""),
        [source, target] => (*source, *target, ""),
        [source, target, mode] => (*source, *target, *mode),
        _ => return Err(refuse()),
    };
    if target.is_empty() || (source.is_empty() && parts.len() > 1) {
        return Err(refuse());
    }
    if parts.len() == 3 && target.starts_with('/') && mode.starts_with('/') {
        return Err(refuse());
    }
    let is_bind = source.starts_with('/');
    let kind = if is_bind { "bind" } else { "volume" };
    let why = |why: String| {
        Error::system(format!(
            "invalid volume specification: '{text}': invalid mount config for type \"{kind}\": {why}"
        ))
    };
    let said = parse_mode(mode).map_err(Error::system)?;
    if !target.starts_with('/') {
        return Err(why(format!("invalid mount path: '{target}' mount path must be absolute")));
    }
    let target = clean(target);
    if target == "/" {
        return Err(why("invalid specification: destination can't be '/'".to_owned()));
    }
    let what = if is_bind {
        if said.no_copy {
            return Err(why("field VolumeOptions must not be specified".to_owned()));
        }
        What::Bind {
            source: PathBuf::from(clean(source)),
            propagation: said.propagation.unwrap_or_else(|| "rprivate".to_owned()),
            create: true,
            flat: false,
            shallow_readonly: false,
        }
    } else {
        if said.propagation.is_some() {
            return Err(why("field BindOptions must not be specified".to_owned()));
        }
        What::Volume(VolumeWish {
            name: source.to_owned(),
            driver: driver.to_owned(),
            no_copy: said.no_copy,
            ..VolumeWish::default()
        })
    };
    // Docker shows `z` for a volume nobody said anything about.
    let mode = if mode.is_empty() && !is_bind && !source.is_empty() { "z" } else { mode };
    Ok(MountWish { target, what, writable: !said.readonly, mode: mode.to_owned() })
}

/// Each kind of word once.
fn parse_mode(mode: &str) -> std::result::Result<Mode, String> {
    let mut said = Mode::default();
    let (mut access, mut label, mut consistency) = (false, false, false);
    let once = |seen: &mut bool| !std::mem::replace(seen, true);
    for word in mode.split(',').filter(|_| !mode.is_empty()) {
        let fine = match word {
            "rw" => once(&mut access),
            "ro" => {
                said.readonly = true;
                once(&mut access)
            }
            "z" | "Z" => once(&mut label),
            "nocopy" => !std::mem::replace(&mut said.no_copy, true),
            "cached" | "delegated" | "consistent" | "default" => once(&mut consistency),
            "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" => {
                said.propagation.replace(word.to_owned()).is_none()
            }
            _ => false,
        };
        if !fine {
            return Err(format!("invalid mode: {mode}"));
        }
    }
    Ok(said)
}

/// `CONTAINER[:MODE]`: the container, and whether its volumes may be written to.
pub(crate) fn parse_volumes_from(text: &str) -> Result<(&str, bool)> {
    let Some((container, mode)) = text.split_once(':') else {
        return match text {
            "" => Err(Error::invalid("volumes-from specification cannot be an empty string")),
            _ => Ok((text, true)),
        };
    };
    let refused = || Error::invalid(format!("invalid mode: {mode}"));
    // They spread and are filled as in the container they come from.
    let said = parse_mode(mode).map_err(Error::invalid)?;
    if said.propagation.is_some() || said.no_copy {
        return Err(refused());
    }
    Ok((container, !said.readonly))
}
