//! Files from elsewhere, for `ADD`.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use futures_util::future::BoxFuture;
use minke_base::Digest;

use super::scratch::Scratch;
use super::{Builds, blocking};
use crate::error::{Error, Result};

/// What was answered to a request for a file.
pub struct Fetched {
    /// Its bytes.
    pub body: Box<dyn Read + Send>,
    /// When it was changed, in seconds since 1970, if the server says.
    pub modified: Option<i64>,
}

impl std::fmt::Debug for Fetched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetched").field("modified", &self.modified).finish_non_exhaustive()
    }
}

/// Who fetches files over HTTP: the engine has no client of its own.
pub trait Fetch: Send + Sync + std::fmt::Debug {
    /// Opens an address.
    fn open(&self, url: &str) -> BoxFuture<'static, Result<Fetched>>;
}

/// The largest file that is fetched.
const SIZE_MAX: u64 = 64 << 30;

pub(super) fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

impl Builds {
    /// Fetches a file; answers with where it lies and what it is called.
    pub(super) async fn fetch(&self, url: &str, target: &str) -> Result<(Scratch, String)> {
        let Some(fetch) = self.fetch.get() else {
            return Err(Error::invalid(format!("{url} is not fetched: this engine has no client for it")));
        };
        let path = url.split(['?', '#']).next().unwrap_or(url);
        let path = path.split_once("://").map_or(path, |(_, rest)| rest);
        let name = path.split_once('/').map_or("", |(_, rest)| rest);
        let name = name.rsplit('/').next().unwrap_or_default().to_owned();
        if name.is_empty() && target.ends_with('/') {
            return Err(Error::invalid(format!("cannot determine filename from url: {url}")));
        }
        let fetched = fetch.open(url).await?;
        let scratch = self.scratch_file(b"", 0o600, (0, 0))?;
        let (to, shown) = (scratch.path().to_owned(), url.to_owned());
        blocking(move || {
            let failed = |source| Error::failed(format!("fetch {shown}"), source);
            let mut file = std::fs::File::create(&to).map_err(failed)?;
            let count = std::io::copy(&mut fetched.body.take(SIZE_MAX + 1), &mut file).map_err(failed)?;
            if count > SIZE_MAX {
                return Err(Error::invalid(format!(
                    "{shown} is larger than the {SIZE_MAX} bytes that are allowed"
                )));
            }
            let modified = u64::try_from(fetched.modified.unwrap_or(0)).unwrap_or(0);
            let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(modified);
            file.set_times(std::fs::FileTimes::new().set_modified(at)).map_err(failed)
        })
        .await?;
        Ok((scratch, name))
    }
}

/// A file's digest.
pub(super) fn sum(path: &Path) -> Result<Digest> {
    std::fs::File::open(path)
        .and_then(|file| minke_store::transplant::file_digest(&file))
        .map_err(|source| Error::failed(format!("read {}", path.display()), source))
}

/// Whether a file is one that `ADD` unpacks.
pub(super) fn is_archive(source: &OwnedFd, path: &[u8]) -> bool {
    use rustix::fs::{Mode, OFlags};
    let name = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(path);
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    minke_sys::beneath::open_in_root(source, name, flags, Mode::empty())
        .is_ok_and(|file| minke_store::transplant::is_archive(std::fs::File::from(file)))
}
