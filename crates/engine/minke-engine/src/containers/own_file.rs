//! Files of the engine's that a running container may have changed: its hosts and resolv.conf.
//!
//! They are mounted into the container, whose root may have made of them what it likes: many gigabytes of holes, for one. What is read
//! is bounded, what is no plain file any more is refused, and nothing waits.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

use crate::error::{Error, Result};

/// Longer than any hosts file of use; what is longer is the container's own affair.
const LONGEST: u64 = 1 << 20;
const FLAGS: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let file = options.custom_flags(FLAGS.bits().cast_signed()).open(path)?;
    let facts = file.metadata()?;
    if !facts.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a plain file any more"));
    }
    if facts.len() > LONGEST {
        let text =
            format!("the container made it {} bytes long: more than {LONGEST} are not read", facts.len());
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(file)
}

fn text_of(mut file: &File) -> io::Result<String> {
    let mut bytes = Vec::new();
    // It may grow under the reader.
    file.take(LONGEST).read_to_end(&mut bytes)?;
    file.rewind()?;
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Makes of the file what `change` makes of its text, in the same file: the container's mount would keep seeing the old one otherwise.
pub(super) fn change(path: &Path, change: impl FnOnce(&str) -> String) -> Result<()> {
    let changed = || {
        let mut file = open(path, OpenOptions::new().read(true).write(true))?;
        let before = text_of(&file)?;
        let after = change(&before);
        if after == before {
            return Ok(());
        }
        file.set_len(0)?;
        file.write_all(after.as_bytes())
    };
    changed().map_err(|source: io::Error| Error::failed(format!("change {}", path.display()), source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_changed_in_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hosts");
        std::fs::write(&path, "a long line\n").unwrap();
        let held = File::open(&path).unwrap();
        change(&path, |text| text.replace("a long", "one")).unwrap();
        assert_eq!(text_of(&held).unwrap(), "one line\n");
    }

    #[test]
    fn what_a_container_made_of_it_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hosts");
        let refused = |part: &str| {
            let error = change(&path, |text| format!("{text}more")).unwrap_err();
            let told = crate::error::chain(&error);
            assert!(told.contains(part), "{told}");
            std::fs::remove_file(&path).unwrap();
        };
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        refused("1099511627776 bytes");
        std::os::unix::fs::symlink("/etc/hosts", &path).unwrap();
        refused("change");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_bits_truncate(0o600),
            0,
        )
        .unwrap();
        refused("not a plain file");
        std::fs::write(&path, b"\xff\xfe").unwrap();
        refused("change");
    }
}
