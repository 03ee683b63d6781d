//! What a container's log is: driver, file, limits, attributes.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

/// How output is recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// Docker's format: one JSON object per line.
    #[default]
    JsonFile,
    /// Compact binary records.
    Local,
    /// Nothing is kept.
    None,
}

/// A container's log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    /// How output is recorded.
    pub driver: Driver,
    /// The newest file; older ones are `<path>.1`, `<path>.2`, … (`.gz` when compressed). Unused for `none`.
    pub path: PathBuf,
    /// Start a new file when this many bytes would be passed; `None` = never.
    #[serde(default)]
    pub max_size: Option<u64>,
    /// How many files there may be, the newest included. 0 counts as 1.
    #[serde(default)]
    pub max_file: u32,
    /// Compress files that are no longer written.
    #[serde(default)]
    pub compress: bool,
    /// What `labels`, `env` and `tag` options chose: written with every json-file line, shown by `--details`.
    #[serde(default)]
    pub attrs: BTreeMap<String, String>,
}

/// Why log options are refused. The texts are Docker's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// No such driver.
    #[error("logger: no log driver named '{name}' is registered")]
    Driver {
        /// What was asked for.
        name: String,
    },
    /// The driver does not know this option.
    #[error("unknown log opt '{option}' for {driver} log driver")]
    Option {
        /// The option.
        option: String,
        /// The driver.
        driver: &'static str,
    },
    /// The option's value makes no sense.
    #[error("invalid value '{value}' for log opt '{option}'{hint}")]
    Value {
        /// The option.
        option: &'static str,
        /// What was given.
        value: String,
        /// What would have been right.
        hint: &'static str,
    },
}
