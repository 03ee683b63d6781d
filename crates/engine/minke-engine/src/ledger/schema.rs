//! The ledger's tables and how an older file becomes a newer one.
//!
//! A step is never edited once it has been released; a change is a new step at the end. `user_version` counts the steps
//! that a file has seen. A file from a newer minke is refused rather than guessed at.

use rusqlite::Connection;

use super::LedgerError;

/// One step per entry, in order.
const STEPS: &[&str] = &[
    // 1: containers, images, tags, settings.
    "CREATE TABLE settings (
        key   TEXT PRIMARY KEY,
        value TEXT NOT NULL
     ) WITHOUT ROWID;
     CREATE TABLE containers (
        id     TEXT PRIMARY KEY,
        name   TEXT NOT NULL UNIQUE,
        record TEXT NOT NULL,
        life   TEXT NOT NULL
     );
     CREATE TABLE images (
        id       TEXT PRIMARY KEY,
        manifest TEXT NOT NULL,
        record   TEXT NOT NULL
     );
     CREATE TABLE tags (
        reference TEXT PRIMARY KEY,
        image     TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,
        tagged_at INTEGER NOT NULL
     ) WITHOUT ROWID;
     CREATE INDEX tags_by_image ON tags (image);",
    // 2: networks of the user's own. A container's places in them are part of its life, so that a start stays one commit.
    "CREATE TABLE networks (
        id     TEXT PRIMARY KEY,
        name   TEXT NOT NULL UNIQUE,
        record TEXT NOT NULL
     );",
    // 3: volumes. `maker` is the container that one was made for, as long as it would go with that container.
    "CREATE TABLE volumes (
        name   TEXT PRIMARY KEY,
        record TEXT NOT NULL,
        maker  TEXT
     ) WITHOUT ROWID;
     CREATE INDEX volumes_by_maker ON volumes (maker) WHERE maker IS NOT NULL;",
    // 4: what steps of builds came to, by everything that they depend on.
    "CREATE TABLE builds (
        key        TEXT PRIMARY KEY,
        layer      TEXT,
        record     TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        used_at    INTEGER NOT NULL,
        uses       INTEGER NOT NULL
     ) WITHOUT ROWID;",
];

/// Brings the file to the newest step, each in its own transaction.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), LedgerError> {
    let seen: usize = connection
        .query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0))
        .map_err(|source| LedgerError::Migrate { step: 0, source })?
        .try_into()
        .unwrap_or(usize::MAX);
    if seen > STEPS.len() {
        return Err(LedgerError::TooNew { found: seen, known: STEPS.len() });
    }
    for (at, step) in STEPS.iter().enumerate().skip(seen) {
        let failed = |source| LedgerError::Migrate { step: at + 1, source };
        let transaction = connection.transaction().map_err(failed)?;
        transaction.execute_batch(step).map_err(failed)?;
        transaction
            .pragma_update(None, "user_version", i64::try_from(at + 1).unwrap_or(i64::MAX))
            .map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    Ok(())
}
