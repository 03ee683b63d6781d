//! One engine per data-root and per exec-root.
//!
//! A lock on an open file goes with its process, however that ends, so no stale lock is ever found. The holder's pid is
//! written inside for the sentence that the second one says.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::error::{Error, Result};

/// Held as long as the engine is open.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes `directory` for this process.
    pub(crate) fn take(directory: &Path) -> Result<Self> {
        let path = directory.join("lock");
        let failed = |source: std::io::Error| Error::failed(format!("lock {}", path.display()), source);
        std::fs::create_dir_all(directory).map_err(failed)?;
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        if let Err(errno) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            let mut holder = String::new();
            drop(file.read_to_string(&mut holder));
            let holder = holder.trim();
            let who = if holder.is_empty() { String::new() } else { format!(" (pid {holder})") };
            return Err(Error::conflict(format!(
                "{} is in use by another minke daemon{who}: stop it, or give this one its own --data-root and --exec-root",
                directory.display()
            ))
            .caused_by(std::io::Error::from(errno)));
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_one_is_told_who_holds_it() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let first = Lock::take(directory.path()).expect("free");
        let error = Lock::take(directory.path()).expect_err("held");
        assert!(error.message().contains(&format!("pid {}", std::process::id())), "{error}");
        drop(first);
        assert!(Lock::take(directory.path()).is_ok());
    }
}
