//! What steps came to, by keys made of what went into them.
//!
//! A key covers everything a step's result depends on and nothing else: what it stands on, the program with its variables, or the
//! digest of the files it takes. So a step is found again in another build, under another name, after a restart. Records are rows of the
//! ledger; a record whose layer is gone counts as none.

use std::sync::Arc;

use minke_base::Digest;
use minke_store::{Descriptor, Store};
use serde::{Deserialize, Serialize};

use crate::clock::Moment;
use crate::error::Result;
use crate::ledger::{BuildRow, Ledger};

/// What a step came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// What the step is shown as, `sha256:…`.
    pub(super) id: String,
    /// What it was made on: other records, or an image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) parents: Vec<String>,
    /// When it was done; its image is as old.
    pub(super) created: String,
    /// The layer that it made, if it made one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) layer: Option<Descriptor>,
    /// The layer's diff ID, where its blob is not plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) diff_id: Option<Digest>,
    /// The instruction.
    pub(super) description: String,
    /// What the history says.
    pub(super) by: String,
    /// The key that its files go by, whichever it was found under.
    pub(super) files: String,
    /// Bytes of the layer's files.
    #[serde(default)]
    pub(super) size: u64,
}

impl Record {
    /// The diff ID of the layer that it made.
    pub(super) fn diff_id(&self) -> Option<Digest> {
        self.diff_id.or_else(|| self.layer.as_ref().map(|layer| layer.digest))
    }
}

/// The records.
#[derive(Debug)]
pub(super) struct Cache {
    ledger: Arc<Ledger>,
    store: Arc<Store>,
}

impl Cache {
    pub(super) const fn new(ledger: Arc<Ledger>, store: Arc<Store>) -> Self {
        Self { ledger, store }
    }

    /// What a step with this key came to. Its layer is pinned for who holds the store.
    pub(super) fn find(&self, key: &Key) -> Result<Option<Record>> {
        let Some(row) = self.ledger.build_row(&key.0)? else { return Ok(None) };
        let Ok(record) = serde_json::from_str::<Record>(&row.record) else { return Ok(None) };
        if let Some(layer) = &record.layer
            && !self.store.keep_layer(layer.digest)
        {
            self.ledger.remove_build_rows(std::slice::from_ref(&key.0))?;
            return Ok(None);
        }
        Ok(Some(record))
    }

    /// Steps with these keys were of use.
    pub(super) fn touch(&self, keys: &[String]) -> Result<()> {
        Ok(self.ledger.touch_build_rows(keys, Moment::now().0)?)
    }

    /// Remembers what a step came to, under each of its keys.
    pub(super) fn add(&self, keys: &[Key], record: &Record) -> Result<()> {
        let text = serde_json::to_string(record)
            .map_err(|source| crate::Error::failed("record a build step", source))?;
        let now = Moment::now().0;
        let rows: Vec<BuildRow> = keys
            .iter()
            .map(|key| BuildRow {
                key: key.0.clone(),
                layer: record.layer.as_ref().map(|layer| layer.digest.to_string()),
                record: text.clone(),
                created_at: now,
                used_at: now,
                uses: 0,
            })
            .collect();
        Ok(self.ledger.add_build_rows(&rows)?)
    }
}

/// Names everything that a result depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key(pub(super) String);

impl Key {
    /// Of parts that cannot run into each other.
    pub(super) fn of(parts: &[&str]) -> Self {
        let mut whole = Vec::new();
        for part in parts {
            whole.extend_from_slice(&(part.len() as u64).to_le_bytes());
            whole.extend_from_slice(part.as_bytes());
        }
        Self(minke_store::content::hash(&whole).hex())
    }

    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// What something made just now under this key is shown as.
    pub(super) fn fresh_id(&self) -> String {
        let random = minke_base::ContainerId::random();
        format!("sha256:{}", Self::of(&[&self.0, random.as_str()]).0)
    }
}
