//! What `RUN --mount=type=cache` keeps from build to build.
//!
//! A cache is a directory beside a file that ends in `.used`, which says what it is called, how often it was mounted and, by its time,
//! when it was last. Prune takes none that a step has mounted: opening one and taking it away exclude each other.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use minke_dockerfile::Sharing;
use tokio::sync::OwnedMutexGuard;

use crate::error::{Error, Result};

/// The caches.
#[derive(Debug)]
pub(super) struct Caches {
    directory: PathBuf,
    locks: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    users: Arc<Users>,
}

/// How many steps have each mounted, by name.
#[derive(Debug, Default)]
struct Users(Mutex<HashMap<String, usize>>);

/// A cache while a step has it mounted.
#[derive(Debug)]
pub(super) struct CacheUse {
    path: PathBuf,
    name: String,
    users: Arc<Users>,
    /// Keeps others out, when it is not shared.
    _lock: Option<OwnedMutexGuard<()>>,
}

impl CacheUse {
    /// Where it is, or is to be made.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for CacheUse {
    fn drop(&mut self) {
        let mut users = self.users.lock();
        if let Some(count) = users.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                users.remove(&self.name);
            }
        }
    }
}

impl Users {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Caches {
    pub(super) fn open_at(directory: PathBuf) -> Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::create_dir_all(&directory)
            .and_then(|()| std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o700)))
            .map_err(|source| Error::failed(format!("make {}", directory.display()), source))?;
        Ok(Self { directory, locks: Mutex::default(), users: Arc::default() })
    }

    /// Where they are.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    fn lock(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(locks.entry(name.to_owned()).or_default())
    }

    /// The cache `id`; who has it not shared has it alone.
    pub(super) async fn open(&self, id: &str, sharing: Sharing) -> CacheUse {
        let name = minke_store::layer::short_name(minke_store::content::hash(id.as_bytes()));
        let (name, lock) = match sharing {
            Sharing::Shared => (name, None),
            Sharing::Locked => {
                let lock = self.lock(&name).lock_owned().await;
                (name, Some(lock))
            }
            Sharing::Private => {
                let mut number = 0_u32;
                loop {
                    let own = if number == 0 { name.clone() } else { format!("{name}-{number}") };
                    if let Ok(lock) = self.lock(&own).try_lock_owned() {
                        break (own, Some(lock));
                    }
                    number += 1;
                }
            }
        };
        let path = self.directory.join(&name);
        let mut users = self.users.lock();
        *users.entry(name.clone()).or_default() += 1;
        let (uses, _id) = read_mark(&path);
        if let Err(error) = std::fs::write(path.with_extension("used"), format!("{} {id}", uses + 1)) {
            tracing::debug!(%error, "nobody knows when a cache was of use");
        }
        drop(users);
        CacheUse { path, name, users: Arc::clone(&self.users), _lock: lock }
    }

    /// Whether a step has it mounted, by the name of its directory.
    pub(super) fn is_in_use(&self, name: &str) -> bool {
        let name = name.split_once('.').map_or(name, |(name, _)| name);
        self.users.lock().contains_key(name)
    }

    /// Takes a cache out of the way, unless a step has it mounted; whether it did.
    pub(super) fn take_away(&self, path: &Path, to: &Path) -> Result<bool> {
        let users = self.users.lock();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if users.contains_key(&*name) {
            return Ok(false);
        }
        match std::fs::rename(path, to) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(Error::failed(format!("remove {}", path.display()), error)),
            Ok(()) => {}
        }
        drop(std::fs::remove_file(path.with_extension("used")));
        drop(users);
        Ok(true)
    }
}

/// How often a cache was mounted, and its id.
pub(super) fn read_mark(path: &Path) -> (i64, Option<String>) {
    let text = std::fs::read_to_string(path.with_extension("used")).unwrap_or_default();
    match text.split_once(' ').and_then(|(uses, id)| Some((uses.parse().ok()?, id.to_owned()))) {
        Some((uses, id)) => (uses, Some(id)),
        None => (0, None),
    }
}
