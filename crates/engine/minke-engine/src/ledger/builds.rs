//! The rows of the build cache.

use std::sync::atomic::Ordering;

use rusqlite::{OptionalExtension as _, params};

use super::{Ledger, LedgerError};

/// What a build's step came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildRow {
    /// Everything that it depends on, digested.
    pub key: String,
    /// The layer that it made, by diff ID.
    pub layer: Option<String>,
    /// The rest, as JSON.
    pub record: String,
    /// When it was done, in nanoseconds since 1970.
    pub created_at: i64,
    /// When it was last of use.
    pub used_at: i64,
    /// How often it was.
    pub uses: i64,
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<BuildRow> {
    Ok(BuildRow {
        key: row.get(0)?,
        layer: row.get(1)?,
        record: row.get(2)?,
        created_at: row.get(3)?,
        used_at: row.get(4)?,
        uses: row.get(5)?,
    })
}

impl Ledger {
    /// The row with this key.
    pub fn build_row(&self, key: &str) -> Result<Option<BuildRow>, LedgerError> {
        let failed = |source| LedgerError::Statement { what: "read the build cache", source };
        let sql = "SELECT key, layer, record, created_at, used_at, uses FROM builds WHERE key = ?1";
        let connection = self.lock();
        let mut statement = connection.prepare_cached(sql).map_err(failed)?;
        statement.query_row(params![key], read).optional().map_err(failed)
    }

    /// All rows.
    pub fn build_rows(&self) -> Result<Vec<BuildRow>, LedgerError> {
        let sql = "SELECT key, layer, record, created_at, used_at, uses FROM builds";
        self.rows("read the build cache", sql, read)
    }

    /// New rows, or newer ones.
    pub fn add_build_rows(&self, rows: &[BuildRow]) -> Result<(), LedgerError> {
        let failed = |source| LedgerError::Statement { what: "add to the build cache", source };
        let mut connection = self.lock();
        let transaction = connection.transaction().map_err(failed)?;
        for row in rows {
            transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO builds (key, layer, record, created_at, used_at, uses)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )
                .map_err(failed)?
                .execute(params![row.key, row.layer, row.record, row.created_at, row.used_at, row.uses])
                .map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
        drop(connection);
        self.commits.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Rows were of use.
    pub fn touch_build_rows(&self, keys: &[String], now: i64) -> Result<(), LedgerError> {
        let failed = |source| LedgerError::Statement { what: "note the use of the build cache", source };
        let mut connection = self.lock();
        let transaction = connection.transaction().map_err(failed)?;
        for key in keys {
            transaction
                .execute("UPDATE builds SET used_at = ?2, uses = uses + 1 WHERE key = ?1", params![key, now])
                .map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
        drop(connection);
        self.commits.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Rows are gone.
    pub fn remove_build_rows(&self, keys: &[String]) -> Result<(), LedgerError> {
        let failed = |source| LedgerError::Statement { what: "remove from the build cache", source };
        let mut connection = self.lock();
        let transaction = connection.transaction().map_err(failed)?;
        for key in keys {
            transaction.execute("DELETE FROM builds WHERE key = ?1", params![key]).map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
        drop(connection);
        self.commits.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
