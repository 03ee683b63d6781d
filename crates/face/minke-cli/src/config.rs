//! docker's `config.json`: read once, only when something asks, and only if it is there.
//!
//! Kept as JSON, because writing it back (`context use`) must not lose keys of other programs.

use crate::failure::{Failure, go_io};
use crate::printer::complain;
use serde_json::{Map, Value};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// The config directory and the file in it.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) directory: PathBuf,
    json: Value,
}

impl Config {
    /// Where the config is: `--config`, `DOCKER_CONFIG`, `~/.docker`.
    pub(crate) fn locate(flag: Option<&str>) -> PathBuf {
        if let Some(path) = flag {
            return path.into();
        }
        match env::var_os("DOCKER_CONFIG").filter(|v| !v.is_empty()) {
            Some(path) => path.into(),
            None => PathBuf::from(env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".docker"),
        }
    }

    /// Reads the file; one that cannot be read is a warning, as with docker.
    pub(crate) fn read(directory: PathBuf) -> Config {
        let path = directory.join("config.json");
        let json = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|e| {
                complain(&format!("WARNING: Error loading config file: {}: {e}", path.display()));
                Value::Object(Map::new())
            }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Value::Object(Map::new()),
            Err(e) => {
                let why = go_io(&e);
                let path = path.display();
                complain(&format!("WARNING: Error loading config file: open {path}: {why}"));
                Value::Object(Map::new())
            }
        };
        Config { directory, json }
    }

    /// A text setting; empty counts as not set.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.json.get(key).and_then(Value::as_str).filter(|v| !v.is_empty())
    }

    /// Any setting.
    pub(crate) fn value(&self, key: &str) -> Option<&Value> {
        self.json.get(key)
    }

    /// Headers to send with every request.
    pub(crate) fn headers(&self) -> Vec<(String, String)> {
        let map = self.json.get("HttpHeaders").and_then(Value::as_object);
        let pair = |(k, v): (&String, &Value)| Some((k.clone(), v.as_str()?.to_owned()));
        map.into_iter().flatten().filter_map(pair).collect()
    }

    /// Proxy variables docker puts into containers (`proxies.default`), as `NAME=value`.
    pub(crate) fn proxies(&self, host: &str) -> Vec<(String, String)> {
        const NAMES: [(&str, &str); 5] = [
            ("httpProxy", "HTTP_PROXY"),
            ("httpsProxy", "HTTPS_PROXY"),
            ("noProxy", "NO_PROXY"),
            ("ftpProxy", "FTP_PROXY"),
            ("allProxy", "ALL_PROXY"),
        ];
        let Some(proxies) = self.json.get("proxies") else { return Vec::new() };
        let Some(chosen) = proxies.get(host).or_else(|| proxies.get("default")) else { return Vec::new() };
        let mut out = Vec::new();
        for (key, name) in NAMES {
            if let Some(value) = chosen.get(key).and_then(Value::as_str).filter(|v| !v.is_empty()) {
                out.push((name.to_owned(), value.to_owned()));
                out.push((name.to_lowercase(), value.to_owned()));
            }
        }
        out
    }

    /// Sets or removes a key and writes the file, new name first.
    pub(crate) fn store(&self, key: &str, value: Option<&str>) -> Result<(), Failure> {
        self.store_value(key, value.map(Value::from))
    }

    /// The same with a value of any shape.
    pub(crate) fn store_value(&self, key: &str, value: Option<Value>) -> Result<(), Failure> {
        let mut json = self.json.clone();
        if let Some(map) = json.as_object_mut() {
            match value {
                Some(value) => drop(map.insert(key.to_owned(), value)),
                None => drop(map.shift_remove(key)),
            }
        }
        let path = self.directory.join("config.json");
        write_atomically(&path, minke_template::json::indent(&json.to_string(), "", "\t").as_bytes(), 0o600)
    }
}

/// Writes a file so that readers see the old one or the new one.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let fresh = directory.join(format!(".{name}.{}.new", std::process::id()));
    let explain = |what: &str, at: &Path, e: &std::io::Error| {
        Failure::new(1, format!("{what} {}: {}", at.display(), go_io(e)))
    };
    fs::create_dir_all(directory).map_err(|e| explain("mkdir", directory, &e))?;
    let written = fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(mode)
        .open(&fresh)
        .and_then(|mut file| file.write_all(bytes));
    let done = written.and_then(|()| fs::rename(&fresh, path));
    done.map_err(|e| {
        drop(fs::remove_file(&fresh));
        explain("open", path, &e)
    })
}
