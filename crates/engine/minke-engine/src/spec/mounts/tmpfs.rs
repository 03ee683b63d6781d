//! Memory as a file system: `--tmpfs TARGET:OPTIONS`, and the options of `--mount type=tmpfs`.

use super::{MountWish, What, clean};
use crate::error::{Error, Result};

pub(super) fn defaults() -> Vec<String> {
    ["noexec", "nosuid", "nodev"].map(str::to_owned).to_vec()
}

/// Adds one option as typed; `ro` and `rw` are the caller's.
pub(super) fn add_option(options: &mut Vec<String>, word: &str) -> std::result::Result<(), String> {
    let name = word.split('=').next().unwrap_or(word);
    match name {
        "exec" | "suid" | "dev" => options.retain(|old| old.strip_prefix("no") != Some(name)),
        "noexec" | "nosuid" | "nodev" => return Ok(()),
        "size" | "mode" | "uid" | "gid" | "nr_inodes" | "nr_blocks" | "mpol" if word.contains('=') => {}
        "ro" | "rw" | "noatime" | "relatime" | "strictatime" | "nodiratime" | "diratime" | "atime"
        | "sync" | "async" | "dirsync" | "mand" | "nomand" | "noswap" | "huge" | "private" | "rprivate"
        | "shared" | "rshared" | "slave" | "rslave" | "unbindable" | "runbindable" | "defaults" => {}
        _ => return Err(format!("invalid tmpfs option [{word:?}]")),
    }
    options.push(word.to_owned());
    Ok(())
}

pub(super) fn parse_tmpfs(target: &str, text: &str) -> Result<MountWish> {
    if !target.starts_with('/') {
        return Err(Error::invalid(format!("invalid mount path: '{target}' mount path must be absolute")));
    }
    let mut options = defaults();
    let mut writable = true;
    for word in text.split(',').filter(|word| !word.is_empty()) {
        match word {
            "ro" => writable = false,
            "rw" => writable = true,
            _ => {}
        }
        add_option(&mut options, word).map_err(Error::invalid)?;
    }
    Ok(MountWish {
        target: clean(target),
        what: What::Tmpfs { options, listed: false },
        writable,
        mode: text.to_owned(),
    })
}
