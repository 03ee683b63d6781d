//! One image in memory: its documents, and what starting containers of it needs, worked out once.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use minke_base::Digest;
use minke_store::Store;
use minke_store::document::{ContainerConfig, ImageConfig};
use minke_store::layer::chain_id;
use minke_store::stack::Stack;

use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::spec::identity::Accounts;

/// Account files are read whole; a larger one is none.
const ACCOUNTS_MAX: u64 = 4 << 20;

/// An image.
#[derive(Debug)]
pub struct Image {
    /// `sha256:…` of its configuration.
    pub id: String,
    pub(crate) manifest: Option<Digest>,
    /// Digests of its layers' trees, bottom first.
    pub diff_ids: Vec<String>,
    digests: Vec<Digest>,
    pub(crate) config: ImageConfig,
    /// What its containers inherit.
    pub defaults: ContainerConfig,
    /// Bytes of its layers.
    pub size: i64,
    /// The image that it was made on top of here, if it was.
    pub parent: Option<String>,
    /// When it was made; never when it does not say.
    pub created: Moment,
    /// Paths that it declares as volumes.
    pub volumes: Vec<String>,
    stack: OnceLock<Arc<[PathBuf]>>,
    accounts: OnceLock<Arc<Accounts>>,
}

impl Image {
    /// From the store's documents.
    pub(crate) fn new(image: &minke_store::Image, size: u64, parent: Option<String>) -> Arc<Self> {
        Self::build(
            image.id.to_string(),
            Some(image.manifest.digest),
            image.diff_ids().to_vec(),
            image.config.clone(),
            size,
            parent,
        )
    }

    /// Of a container whose image is gone from the records: its layers are all that is left.
    pub(crate) fn orphan(id: String, diff_ids: &[String]) -> Arc<Self> {
        let digests = diff_ids.iter().filter_map(|text| text.parse().ok()).collect();
        Self::build(id, None, digests, ImageConfig::default(), 0, None)
    }

    /// Of a build's step: directories, top first, with the mount points among them.
    pub(crate) fn standing_on(stack: Vec<PathBuf>) -> Arc<Self> {
        let image = Self::build(String::new(), None, Vec::new(), ImageConfig::default(), 0, None);
        // It was made a moment ago: nothing is in there.
        drop(image.stack.set(stack.into()));
        image
    }

    fn build(
        id: String,
        manifest: Option<Digest>,
        digests: Vec<Digest>,
        config: ImageConfig,
        size: u64,
        parent: Option<String>,
    ) -> Arc<Self> {
        let defaults = config.container_defaults();
        let created = config
            .created
            .as_deref()
            .and_then(|text| chrono::DateTime::parse_from_rfc3339(text).ok())
            .and_then(|at| at.timestamp_nanos_opt())
            .unwrap_or_default();
        Arc::new(Self {
            id,
            manifest,
            diff_ids: digests.iter().map(ToString::to_string).collect(),
            digests,
            volumes: defaults.volumes.keys().cloned().collect(),
            defaults,
            config,
            size: i64::try_from(size).unwrap_or(i64::MAX),
            parent,
            created: Moment(created),
            stack: OnceLock::new(),
            accounts: OnceLock::new(),
        })
    }

    /// The id without algorithm, first twelve digits.
    pub(crate) fn short_id(&self) -> &str {
        self.id.strip_prefix("sha256:").and_then(|hex| hex.get(..12)).unwrap_or(&self.id)
    }

    /// The directories that a container of it stands on, top first, the layer of mount points on top. Worked out once.
    pub(crate) fn stack(&self, store: &Store) -> Result<Arc<[PathBuf]>> {
        if let Some(stack) = self.stack.get() {
            return Ok(Arc::clone(stack));
        }
        let lowers = self.layers(store)?;
        let chain =
            chain_id(&self.digests).map_or_else(|| "empty".to_owned(), minke_store::layer::short_name);
        let stack = store
            .driver()
            .init_layer(&chain, &lowers)
            .map_err(|source| Error::failed(format!("prepare image {} for containers", self.id), source))?;
        Ok(Arc::clone(self.stack.get_or_init(|| stack.into())))
    }

    /// Its layers' directories, top first.
    pub(crate) fn layers(&self, store: &Store) -> Result<Vec<PathBuf>> {
        store
            .layers()
            .lowers(&self.digests)
            .map_err(|source| Error::failed(format!("the layers of image {} are damaged", self.id), source))
    }

    /// The image's account files. Read once.
    pub(crate) fn accounts(&self, store: &Store) -> Arc<Accounts> {
        if let Some(accounts) = self.accounts.get() {
            return Arc::clone(accounts);
        }
        let Ok(stack) = self.stack(store) else { return Arc::default() };
        Arc::clone(self.accounts.get_or_init(|| Arc::new(read_accounts(stack.to_vec()))))
    }
}

/// The account files that a process on top of these layers would see.
pub(crate) fn read_accounts(lowers: Vec<PathBuf>) -> Accounts {
    let stack = Stack::new(lowers);
    let read = |path: &str| match stack.read_file(Path::new(path), ACCOUNTS_MAX) {
        Ok(Some(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
        Ok(None) => String::new(),
        Err(error) => {
            tracing::warn!(path, %error, "an image's account file cannot be read");
            String::new()
        }
    };
    Accounts { passwd: read("/etc/passwd"), group: read("/etc/group") }
}

/// The account files as they are for a running process, read beneath its root. `None` when it is gone.
pub(crate) fn read_accounts_of(pid: i32) -> Option<Accounts> {
    use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
    use std::io::Read as _;
    let root = rustix::fs::open(
        format!("/proc/{pid}/root"),
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .ok()?;
    let read = |path: &str| {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let Ok(fd) = openat2(&root, path, flags, Mode::empty(), resolve) else { return String::new() };
        let file = std::fs::File::from(fd);
        // A device or a pipe in its place is no account file.
        if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            return String::new();
        }
        let mut bytes = Vec::new();
        match file.take(ACCOUNTS_MAX).read_to_end(&mut bytes) {
            Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(_unreadable) => String::new(),
        }
    };
    Some(Accounts { passwd: read("etc/passwd"), group: read("etc/group") })
}
