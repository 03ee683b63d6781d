//! What the engine must not forget: one SQLite file, one transaction per change that a client was told about.
//!
//! Services keep their state in memory and answer reads from there; the ledger is written before a change is
//! acknowledged and read once, when the engine opens. It knows rows, not nouns: what is in a record is its owner's.
//!
//! `synchronous=NORMAL` on a write-ahead log: a commit is one write into the log without a sync, so that it is cheap
//! enough for the way of `run`. A killed daemon loses nothing (the kernel has the bytes); a power cut may lose the last
//! instants and never leaves an unreadable file. Moving the log into the file costs syncs and is done by
//! [`Ledger::checkpoint`] off the way, on a connection of its own.

mod builds;
mod schema;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension as _, params};
use serde::Serialize;

pub use builds::BuildRow;

/// How many commits go by before a checkpoint is due.
const CHECKPOINT_EVERY: u32 = 400;

/// The ledger could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file could not be opened.
    #[error("open the ledger {}", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// A migration failed; the file is as before that step.
    #[error("bring the ledger to schema step {step}")]
    Migrate {
        /// Which step.
        step: usize,
        /// Why.
        source: rusqlite::Error,
    },
    /// A newer minke has been here.
    #[error("the ledger has schema {found}, this minke knows {known}: use the newer minke that wrote it")]
    TooNew {
        /// What the file has.
        found: usize,
        /// What this program knows.
        known: usize,
    },
    /// A statement failed.
    #[error("{what} in the ledger")]
    Statement {
        /// What was being done.
        what: &'static str,
        /// Why.
        source: rusqlite::Error,
    },
    /// A record could not be written as JSON.
    #[error("write a record as JSON")]
    Encode(#[from] serde_json::Error),
}

impl From<LedgerError> for crate::Error {
    fn from(error: LedgerError) -> Self {
        Self::failed("the change was not recorded", error)
    }
}

/// A container's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerRow {
    /// Full id.
    pub id: String,
    /// Its name, without slash.
    pub name: String,
    /// What was asked for, as JSON.
    pub record: String,
    /// How it is, as JSON.
    pub life: String,
}

/// An image's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRow {
    /// `sha256:…` of the configuration.
    pub id: String,
    /// `sha256:…` of the manifest.
    pub manifest: String,
    /// The rest, as JSON.
    pub record: String,
}

/// A tag's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagRow {
    /// Canonical reference.
    pub reference: String,
    /// The image's id.
    pub image: String,
    /// When, in nanoseconds since 1970.
    pub tagged_at: i64,
}

/// A volume's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeRow {
    /// Its name.
    pub name: String,
    /// The rest, as JSON.
    pub record: String,
    /// The container that it was made for and would go with.
    pub maker: Option<String>,
}

/// The open ledger. Every method is one transaction and takes tens of microseconds.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    connection: Mutex<Connection>,
    commits: AtomicU32,
}

impl Ledger {
    /// Opens (or makes) the file and brings it to this program's schema.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let failed = |source| LedgerError::Open { path: path.to_owned(), source };
        let mut connection = Connection::open(path).map_err(failed)?;
        connection.busy_timeout(std::time::Duration::from_secs(5)).map_err(failed)?;
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;
                 PRAGMA cache_size = -256; PRAGMA temp_store = MEMORY; PRAGMA wal_autocheckpoint = 0;",
            )
            .map_err(failed)?;
        connection.set_prepared_statement_cache_capacity(24);
        schema::migrate(&mut connection)?;
        Ok(Self { path: path.to_owned(), connection: Mutex::new(connection), commits: AtomicU32::new(0) })
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn execute(
        &self,
        what: &'static str,
        sql: &str,
        values: impl rusqlite::Params,
    ) -> Result<usize, LedgerError> {
        let connection = self.lock();
        let failed = |source| LedgerError::Statement { what, source };
        let changed = connection.prepare_cached(sql).map_err(failed)?.execute(values).map_err(failed)?;
        drop(connection);
        self.commits.fetch_add(1, Ordering::Relaxed);
        Ok(changed)
    }

    /// A new container.
    pub fn insert_container(
        &self,
        id: &str,
        name: &str,
        record: &impl Serialize,
        life: &impl Serialize,
    ) -> Result<(), LedgerError> {
        let (record, life) = (serde_json::to_string(record)?, serde_json::to_string(life)?);
        self.execute(
            "insert a container",
            "INSERT INTO containers (id, name, record, life) VALUES (?1, ?2, ?3, ?4)",
            params![id, name, record, life],
        )?;
        Ok(())
    }

    /// How a container is now.
    pub fn save_life(&self, id: &str, life: &impl Serialize) -> Result<(), LedgerError> {
        let life = serde_json::to_string(life)?;
        self.execute(
            "save a container's state",
            "UPDATE containers SET life = ?2 WHERE id = ?1",
            params![id, life],
        )?;
        Ok(())
    }

    /// A container's changed name or settings.
    pub fn save_record(&self, id: &str, name: &str, record: &impl Serialize) -> Result<(), LedgerError> {
        let record = serde_json::to_string(record)?;
        self.execute(
            "save a container's record",
            "UPDATE containers SET name = ?2, record = ?3 WHERE id = ?1",
            params![id, name, record],
        )?;
        Ok(())
    }

    /// A container is gone.
    pub fn remove_container(&self, id: &str) -> Result<(), LedgerError> {
        self.execute("remove a container", "DELETE FROM containers WHERE id = ?1", params![id])?;
        Ok(())
    }

    /// A container is gone, and these volumes with it; its other volumes stay for good.
    pub fn remove_container_and(&self, id: &str, volumes: &[String]) -> Result<(), LedgerError> {
        let failed = |source| LedgerError::Statement { what: "remove a container with its volumes", source };
        let mut connection = self.lock();
        let transaction = connection.transaction().map_err(failed)?;
        transaction.execute("DELETE FROM containers WHERE id = ?1", params![id]).map_err(failed)?;
        for name in volumes {
            transaction.execute("DELETE FROM volumes WHERE name = ?1", params![name]).map_err(failed)?;
        }
        transaction
            .execute("UPDATE volumes SET maker = NULL WHERE maker = ?1", params![id])
            .map_err(failed)?;
        transaction.commit().map_err(failed)?;
        drop(connection);
        self.commits.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// A new volume; `maker` is the container that it is made for and would go with.
    pub fn insert_volume(
        &self,
        name: &str,
        record: &impl Serialize,
        maker: Option<&str>,
    ) -> Result<(), LedgerError> {
        let record = serde_json::to_string(record)?;
        self.execute(
            "insert a volume",
            "INSERT INTO volumes (name, record, maker) VALUES (?1, ?2, ?3)",
            params![name, record, maker],
        )?;
        Ok(())
    }

    /// A volume is gone.
    pub fn remove_volume(&self, name: &str) -> Result<(), LedgerError> {
        self.execute("remove a volume", "DELETE FROM volumes WHERE name = ?1", params![name])?;
        Ok(())
    }

    /// All volumes.
    pub fn volumes(&self) -> Result<Vec<VolumeRow>, LedgerError> {
        self.rows("read the volumes", "SELECT name, record, maker FROM volumes", |row| {
            Ok(VolumeRow { name: row.get(0)?, record: row.get(1)?, maker: row.get(2)? })
        })
    }

    /// A container's changed settings and how it is, together.
    pub fn save_both(
        &self,
        id: &str,
        record: &impl Serialize,
        life: &impl Serialize,
    ) -> Result<(), LedgerError> {
        let (record, life) = (serde_json::to_string(record)?, serde_json::to_string(life)?);
        self.execute(
            "save a container",
            "UPDATE containers SET record = ?2, life = ?3 WHERE id = ?1",
            params![id, record, life],
        )?;
        Ok(())
    }

    /// A new network.
    pub fn insert_network(&self, id: &str, name: &str, record: &impl Serialize) -> Result<(), LedgerError> {
        let record = serde_json::to_string(record)?;
        self.execute(
            "insert a network",
            "INSERT INTO networks (id, name, record) VALUES (?1, ?2, ?3)",
            params![id, name, record],
        )?;
        Ok(())
    }

    /// A network is gone.
    pub fn remove_network(&self, id: &str) -> Result<(), LedgerError> {
        self.execute("remove a network", "DELETE FROM networks WHERE id = ?1", params![id])?;
        Ok(())
    }

    /// All networks: ids and records.
    pub fn networks(&self) -> Result<Vec<(String, String)>, LedgerError> {
        self.rows("read the networks", "SELECT id, record FROM networks", |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
    }

    /// All containers.
    pub fn containers(&self) -> Result<Vec<ContainerRow>, LedgerError> {
        self.rows("read the containers", "SELECT id, name, record, life FROM containers", |row| {
            Ok(ContainerRow { id: row.get(0)?, name: row.get(1)?, record: row.get(2)?, life: row.get(3)? })
        })
    }

    fn rows<T>(
        &self,
        what: &'static str,
        sql: &str,
        read: impl Fn(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, LedgerError> {
        let failed = |source| LedgerError::Statement { what, source };
        let connection = self.lock();
        let mut statement = connection.prepare(sql).map_err(failed)?;
        let rows = statement.query_map([], |row| read(row)).map_err(failed)?;
        rows.collect::<Result<_, _>>().map_err(failed)
    }

    /// New images and the tags that now point at them, all or nothing.
    pub fn record_images(&self, images: &[ImageRow], tags: &[TagRow]) -> Result<(), LedgerError> {
        let failed = |source| LedgerError::Statement { what: "record images", source };
        let mut connection = self.lock();
        let transaction = connection.transaction().map_err(failed)?;
        for image in images {
            transaction
                .execute(
                    "INSERT INTO images (id, manifest, record) VALUES (?1, ?2, ?3)
                     ON CONFLICT (id) DO UPDATE SET manifest = ?2, record = ?3",
                    params![image.id, image.manifest, image.record],
                )
                .map_err(failed)?;
        }
        for tag in tags {
            transaction
                .execute(
                    "INSERT INTO tags (reference, image, tagged_at) VALUES (?1, ?2, ?3)
                     ON CONFLICT (reference) DO UPDATE SET image = ?2, tagged_at = ?3",
                    params![tag.reference, tag.image, tag.tagged_at],
                )
                .map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
        drop(connection);
        self.commits.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Tags and images that are gone, all or nothing.
    pub fn remove_images(&self, tags: &[String], images: &[String]) -> Result<(), LedgerError> {
        let failed = |source| LedgerError::Statement { what: "remove images", source };
        let mut connection = self.lock();
        let transaction = connection.transaction().map_err(failed)?;
        for tag in tags {
            transaction.execute("DELETE FROM tags WHERE reference = ?1", params![tag]).map_err(failed)?;
        }
        for image in images {
            transaction.execute("DELETE FROM images WHERE id = ?1", params![image]).map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
        drop(connection);
        self.commits.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// All images.
    pub fn images(&self) -> Result<Vec<ImageRow>, LedgerError> {
        self.rows("read the images", "SELECT id, manifest, record FROM images", |row| {
            Ok(ImageRow { id: row.get(0)?, manifest: row.get(1)?, record: row.get(2)? })
        })
    }

    /// All tags.
    pub fn tags(&self) -> Result<Vec<TagRow>, LedgerError> {
        self.rows("read the tags", "SELECT reference, image, tagged_at FROM tags", |row| {
            Ok(TagRow { reference: row.get(0)?, image: row.get(1)?, tagged_at: row.get(2)? })
        })
    }

    /// The setting `key`, made by `default` when it was never set.
    pub fn setting(&self, key: &str, default: impl FnOnce() -> String) -> Result<String, LedgerError> {
        let found = self
            .lock()
            .query_row("SELECT value FROM settings WHERE key = ?1", params![key], |row| {
                row.get::<_, String>(0)
            })
            .optional()
            .map_err(|source| LedgerError::Statement { what: "read a setting", source })?;
        if let Some(value) = found {
            return Ok(value);
        }
        let value = default();
        self.execute(
            "save a setting",
            "INSERT INTO settings (key, value) VALUES (?1, ?2)",
            params![key, value],
        )?;
        Ok(value)
    }

    /// Whether enough was written that [`Self::checkpoint`] should be called.
    pub fn checkpoint_due(&self) -> bool {
        self.commits.load(Ordering::Relaxed) >= CHECKPOINT_EVERY
    }

    /// Moves the log into the file. Takes syncs, so call it on a thread of its own; writers go on meanwhile.
    pub fn checkpoint(&self) -> Result<(), LedgerError> {
        self.commits.store(0, Ordering::Relaxed);
        let failed = |source| LedgerError::Statement { what: "checkpoint", source };
        let connection = Connection::open(&self.path).map_err(failed)?;
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).map_err(failed)
    }
}

#[cfg(test)]
mod tests;
