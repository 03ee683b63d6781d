//! What is remembered of a volume, and which names are allowed.

use minke_api::StringMap;
use serde::{Deserialize, Serialize};

use crate::clock::Moment;
use crate::error::{Error, Result};

/// A volume as somebody asked for it. Never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VolumeRecord {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Moment,
    /// Labels; `None` when nobody said anything about them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<StringMap>,
    /// Options of the local driver; `None` when nobody said anything about them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<StringMap>,
}

impl VolumeRecord {
    /// Whether the engine chose its name.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.labels.as_ref().is_some_and(|labels| labels.contains_key(super::ANONYMOUS))
    }

    /// Whether it has a file system of its own, mounted while it is used.
    pub(crate) fn has_file_system(&self) -> bool {
        self.options.as_ref().is_some_and(|options| !options.is_empty())
    }
}

/// Refuses a name that a directory of the engine's cannot have.
pub(super) fn check_name(name: &str) -> Result<()> {
    if name.len() == 1 {
        return Err(Error::invalid(format!(
            "create {name}: volume name is too short, names should be at least two alphanumeric characters"
        )));
    }
    let fits = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    if !fits {
        return Err(Error::invalid(format!(
            "create {name}: \"{name}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
        )));
    }
    if name.len() > 255 {
        return Err(Error::invalid(format!(
            "create {name}: a volume's name has at most 255 characters, as a directory's"
        )));
    }
    Ok(())
}

/// 64 hexadecimal digits.
pub(super) fn new_name() -> String {
    minke_base::ContainerId::random().as_str().to_owned()
}
