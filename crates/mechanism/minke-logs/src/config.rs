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
    /// Start a new file once the newest has this many bytes; `None` = never.
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
    #[error("error looking up logging plugin {0}: plugin \"{0}\" not found")]
    Driver(String),
    /// `none` takes no options.
    #[error("invalid logging opts for driver none")]
    NoneWithOptions,
    /// json-file does not know this option.
    #[error("unknown log opt '{0}' for json-file log driver")]
    JsonFileOption(String),
    /// local does not know this option.
    #[error("unknown log opt '{0}' for log driver local")]
    LocalOption(String),
    /// Neither `blocking` nor `non-blocking`.
    #[error("logger: logging mode not supported: {0}")]
    Mode(String),
    /// `max-buffer-size` without the mode it belongs to.
    #[error("logger: max-buffer-size option is only supported with 'mode=non-blocking'")]
    BufferWithoutMode,
    /// `max-buffer-size` is no size.
    #[error("error parsing option max-buffer-size: invalid size: '{0}'")]
    BufferSize(String),
    /// json-file's `max-size` is no size.
    #[error("invalid size: '{0}'")]
    Size(String),
    /// local's `max-size` is no size.
    #[error("invalid value for max-size: {0}: invalid size: '{0}'")]
    LocalSize(String),
    /// json-file's `max-size` is 0.
    #[error("max-size must be a positive number")]
    SizeNotPositive,
    /// `max-file` is no number.
    #[error("strconv.Atoi: parsing \"{0}\": invalid syntax")]
    FileCount(String),
    /// `max-file` is 0 or less.
    #[error("max-file cannot be less than 1")]
    NoFiles,
    /// `compress` is no truth value.
    #[error("strconv.ParseBool: parsing \"{0}\": invalid syntax")]
    Compress(String),
    /// local's `compress` is no truth value.
    #[error("error reading compress log option: strconv.ParseBool: parsing \"{0}\": invalid syntax")]
    LocalCompress(String),
    /// json-file has nothing to compress.
    #[error("compress cannot be true when max-file is less than 2 or max-size is not set")]
    NothingToCompress,
    /// local has nothing to compress.
    #[error("compression cannot be enabled when max file count is 1")]
    NothingToCompressLocal,
    /// A `labels-regex` or `env-regex` is no regular expression.
    #[error("error parsing regexp: {0}")]
    Regex(String),
}

/// Options of json-file; `tag` is resolved by the caller, the rest here.
const JSON_FILE_OPTIONS: [&str; 8] =
    ["max-file", "max-size", "compress", "labels", "labels-regex", "env", "env-regex", "tag"];
const LOCAL_OPTIONS: [&str; 3] = ["max-file", "max-size", "compress"];
/// Options of every driver. Both are promises the keeper keeps anyway: it never makes a container wait for a log.
const COMMON_OPTIONS: [&str; 2] = ["mode", "max-buffer-size"];

/// Checks what Docker checks when a container is created: the driver and the names of its options.
///
/// # Errors
/// See [`ConfigError`].
pub fn check_options(driver: &str, options: &BTreeMap<String, String>) -> Result<Driver, ConfigError> {
    let driver = Driver::parse(driver)?;
    if driver == Driver::None {
        return if options.is_empty() { Ok(driver) } else { Err(ConfigError::NoneWithOptions) };
    }
    let non_blocking = match options.get("mode").map(String::as_str) {
        None | Some("" | "blocking") => false,
        Some("non-blocking") => true,
        Some(other) => return Err(ConfigError::Mode(other.into())),
    };
    if let Some(size) = options.get("max-buffer-size") {
        if !non_blocking {
            return Err(ConfigError::BufferWithoutMode);
        }
        parse_size(size).ok_or_else(|| ConfigError::BufferSize(size.clone()))?;
    }
    for name in options.keys().filter(|name| !COMMON_OPTIONS.contains(&name.as_str())) {
        match driver {
            Driver::Local if !LOCAL_OPTIONS.contains(&name.as_str()) => {
                return Err(ConfigError::LocalOption(name.clone()));
            }
            Driver::JsonFile if !JSON_FILE_OPTIONS.contains(&name.as_str()) => {
                return Err(ConfigError::JsonFileOption(name.clone()));
            }
            _ => {}
        }
    }
    Ok(driver)
}

/// The log that options ask for. Docker finds these errors when a container is started, and says
/// `failed to create task for container: failed to initialize logging driver: ` before them.
///
/// # Errors
/// See [`ConfigError`].
pub fn plan_log(
    driver: &str,
    options: &BTreeMap<String, String>,
    path: PathBuf,
    attrs: BTreeMap<String, String>,
) -> Result<LogConfig, ConfigError> {
    let driver = check_options(driver, options)?;
    let size = options.get("max-size").map(String::as_str);
    let files = options
        .get("max-file")
        .map(|text| text.parse::<i64>().map_err(|_not_a_number| ConfigError::FileCount(text.clone())));
    let compress = options.get("compress");
    match driver {
        Driver::None => Ok(LogConfig { driver, ..LogConfig::default() }),
        Driver::JsonFile => {
            let max_size = match size {
                None | Some("-1") => None,
                Some(text) => Some(parse_size(text).ok_or_else(|| ConfigError::Size(text.into()))?),
            };
            if max_size == Some(0) {
                return Err(ConfigError::SizeNotPositive);
            }
            let max_file = checked_file_count(files.transpose()?.unwrap_or(1))?;
            let compress = compress
                .map(|text| parse_bool(text).ok_or_else(|| ConfigError::Compress(text.clone())))
                .transpose()?
                .unwrap_or(false);
            if compress && (max_file < 2 || max_size.is_none()) {
                return Err(ConfigError::NothingToCompress);
            }
            Ok(LogConfig { driver, path, max_size, max_file, compress, attrs })
        }
        Driver::Local => {
            let max_size = match size {
                None => 20 << 20,
                Some(text) => parse_size(text).ok_or_else(|| ConfigError::LocalSize(text.into()))?,
            };
            let count = files.transpose()?.unwrap_or(5);
            let compress = compress
                .map(|text| parse_bool(text).ok_or_else(|| ConfigError::LocalCompress(text.clone())))
                .transpose()?
                .unwrap_or(true);
            if compress && count < 2 {
                return Err(ConfigError::NothingToCompressLocal);
            }
            let max_file = checked_file_count(count)?;
            let max_size = (max_size > 0).then_some(max_size);
            Ok(LogConfig { driver, path, max_size, max_file, compress, attrs: BTreeMap::new() })
        }
    }
}

/// The attributes that `labels`, `labels-regex`, `env` and `env-regex` choose.
///
/// # Errors
/// When a regular expression is none.
pub fn plan_attrs<'a>(
    options: &BTreeMap<String, String>,
    labels: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    env: impl Iterator<Item = (&'a str, &'a str)> + Clone,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut attrs = BTreeMap::new();
    let mut choose = |option: &str, pairs: &mut dyn Iterator<Item = (&'a str, &'a str)>| {
        let Some(names) = options.get(option) else { return };
        attrs.extend(
            pairs
                .filter(|(name, _)| names.split(',').any(|chosen| chosen == *name))
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
    };
    choose("labels", &mut labels.clone());
    choose("env", &mut env.clone());
    for (option, pairs) in [("labels-regex", labels.collect::<Vec<_>>()), ("env-regex", env.collect())] {
        let Some(text) = options.get(option).filter(|text| !text.is_empty()) else { continue };
        let pattern = regex::Regex::new(text).map_err(|error| ConfigError::Regex(error.to_string()))?;
        attrs.extend(
            pairs
                .iter()
                .filter(|(name, _)| pattern.is_match(name))
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
    }
    Ok(attrs)
}

impl Driver {
    /// The driver of this name.
    ///
    /// # Errors
    /// [`ConfigError::Driver`].
    pub fn parse(name: &str) -> Result<Self, ConfigError> {
        match name {
            "json-file" => Ok(Self::JsonFile),
            "local" => Ok(Self::Local),
            "none" => Ok(Self::None),
            other => Err(ConfigError::Driver(other.into())),
        }
    }
}

fn checked_file_count(count: i64) -> Result<u32, ConfigError> {
    u32::try_from(count).ok().filter(|count| *count > 0).ok_or(ConfigError::NoFiles)
}

fn parse_size(text: &str) -> Option<u64> {
    minke_base::size::parse_ram(text).ok().and_then(|size| u64::try_from(size).ok())
}

fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> BTreeMap<String, String> {
        text.split_whitespace()
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    fn check(driver: &str, given: &str, expected: Result<(Option<u64>, u32, bool), &str>) {
        let planned = plan_log(driver, &options(given), "/log".into(), BTreeMap::new());
        let got =
            planned.map(|log| (log.max_size, log.max_file, log.compress)).map_err(|error| error.to_string());
        assert_eq!(got, expected.map_err(str::to_owned), "{driver} {given}");
    }

    /// Texts and defaults were taken from Docker 28.
    #[test]
    fn options_mean_and_fail_as_with_docker() {
        check("json-file", "", Ok((None, 1, false)));
        check("json-file", "max-size=10k max-file=3 compress=true", Ok((Some(10 << 10), 3, true)));
        check("json-file", "max-size=x", Err("invalid size: 'x'"));
        check("json-file", "max-size=-2", Err("invalid size: '-2'"));
        check("json-file", "max-size=0", Err("max-size must be a positive number"));
        check("json-file", "max-file=0", Err("max-file cannot be less than 1"));
        check("json-file", "max-file=x", Err("strconv.Atoi: parsing \"x\": invalid syntax"));
        check("json-file", "compress=maybe", Err("strconv.ParseBool: parsing \"maybe\": invalid syntax"));
        let nothing = "compress cannot be true when max-file is less than 2 or max-size is not set";
        check("json-file", "max-size=1k compress=true", Err(nothing));
        check("json-file", "foo=1", Err("unknown log opt 'foo' for json-file log driver"));
        check("json-file", "mode=x", Err("logger: logging mode not supported: x"));
        let without = "logger: max-buffer-size option is only supported with 'mode=non-blocking'";
        check("json-file", "max-buffer-size=1m", Err(without));
        check("local", "", Ok((Some(20 << 20), 5, true)));
        check("local", "max-size=-1", Err("invalid value for max-size: -1: invalid size: '-1'"));
        check("local", "max-file=1", Err("compression cannot be enabled when max file count is 1"));
        check("local", "labels=x", Err("unknown log opt 'labels' for log driver local"));
        check("none", "max-size=3", Err("invalid logging opts for driver none"));
        check("bad", "", Err("error looking up logging plugin bad: plugin \"bad\" not found"));
    }

    #[test]
    fn attributes_are_chosen_by_name_and_by_pattern() {
        let labels = [("com.a", "1"), ("com.b", "2"), ("x", "3")];
        let env = [("FOO", "bar"), ("BAR", "foo")];
        let given = options("labels=x env=FOO,NONE labels-regex=^com");
        let attrs = plan_attrs(&given, labels.into_iter(), env.into_iter()).unwrap();
        let names: Vec<_> = attrs.keys().map(String::as_str).collect();
        assert_eq!(names, ["FOO", "com.a", "com.b", "x"]);
    }
}
