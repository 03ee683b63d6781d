//! daemon.json: the same options as the flags, under dockerd's keys.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::flags::{FLAGS, Flag, FlagError, Given, Shape, Value, check_support};

#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("unable to configure the Docker daemon with file {}: open {}: {source}", path.display(), path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("unable to configure the Docker daemon with file {}: {what}", path.display())]
    Content { path: PathBuf, what: String },
}

const PROXIES: &[&str] = &["http-proxy", "https-proxy", "no-proxy"];

/// Reads the file. One that is missing is an error only when somebody named it.
pub(crate) fn read(path: &Path, named: bool) -> Result<Given, FileError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !named => return Ok(Given::new()),
        Err(source) => return Err(FileError::Read { path: path.to_owned(), source }),
    };
    parse(&bytes).map_err(|what| FileError::Content { path: path.to_owned(), what })
}

/// Reads the file's text; the error says what is wrong in dockerd's words.
pub(crate) fn parse(bytes: &[u8]) -> Result<Given, String> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(Given::new());
    }
    let document: Json = serde_json::from_slice(text).map_err(|error| {
        let what = if error.is_eof() { "unexpected end of JSON input".to_owned() } else { error.to_string() };
        format!("invalid JSON: {what}")
    })?;
    let Json::Object(document) = document else {
        return Err("invalid JSON: want an object".to_owned());
    };
    let mut given = Given::new();
    let mut unknown = Vec::new();
    // dockerd keeps these three in an object of their own.
    let proxies = match document.get("proxies") {
        None | Some(Json::Null) => serde_json::Map::new(),
        Some(Json::Object(proxies)) => proxies.clone(),
        Some(_) => return Err("invalid JSON: proxies: want an object".to_owned()),
    };
    for key in proxies.keys().filter(|key| !PROXIES.contains(&key.as_str())) {
        unknown.push(key.as_str());
    }
    for (key, json) in document.iter().filter(|(key, _)| *key != "proxies").chain(&proxies) {
        let Some(flag) = FLAGS.iter().find(|flag| flag.key == key && !key.is_empty()) else {
            unknown.push(key.as_str());
            continue;
        };
        if json.is_null() {
            continue;
        }
        let value = convert(flag, json)?;
        check_support(flag, &value).map_err(|error| match error {
            FlagError::Refused { value, because, .. } => format!("{key}: {value} is not possible: {because}"),
            other => other.to_string(),
        })?;
        given.insert(flag.name, value);
    }
    if !unknown.is_empty() {
        unknown.sort_unstable();
        return Err(format!(
            "the following directives don't match any configuration option: {}",
            unknown.join(", ")
        ));
    }
    Ok(given)
}

fn convert(flag: &Flag, json: &Json) -> Result<Value, String> {
    let (wanted, value) = match flag.shape {
        Shape::Bool => ("bool", json.as_bool().map(Value::Bool)),
        Shape::Text => ("string", json.as_str().map(|text| Value::Text(text.to_owned()))),
        Shape::Number => ("int", json.as_i64().map(Value::Number)),
        Shape::List => ("[]string", strings(json).map(Value::List)),
        Shape::Map => ("map[string]string", map(json).map(Value::Map)),
        Shape::Records => ("[]object", records(json).map(Value::List)),
    };
    value.ok_or_else(|| {
        let found = match json {
            Json::Null => "null",
            Json::Bool(_) => "bool",
            Json::Number(_) => "number",
            Json::String(_) => "string",
            Json::Array(_) => "array",
            Json::Object(_) => "object",
        };
        format!(
            "invalid JSON: json: cannot unmarshal {found} into Go struct field Config.{} of type {wanted}",
            flag.key
        )
    })
}

fn strings(json: &Json) -> Option<Vec<String>> {
    json.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}

/// Scalars of an object as text; what is deeper stays JSON.
fn map(json: &Json) -> Option<BTreeMap<String, String>> {
    let text = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Some(json.as_object()?.iter().map(|(key, value)| (key.clone(), text(value))).collect())
}

/// Objects as the flag would say them: `base=10.0.0.0/8,size=24`.
fn records(json: &Json) -> Option<Vec<String>> {
    let record = |fields: &serde_json::Map<String, Json>| {
        let text = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let pairs: Vec<String> = fields.iter().map(|(key, value)| format!("{key}={}", text(value))).collect();
        pairs.join(",")
    };
    match json {
        Json::Array(items) => items.iter().map(|item| item.as_object().map(record)).collect(),
        Json::Object(fields) => Some(fields.iter().map(|(key, value)| format!("{key}={value}")).collect()),
        _ => None,
    }
}

/// Flags and file together; what both say is an error, because nobody could tell which one counts.
pub(crate) fn merge(flags: Given, file: Given) -> Result<Given, String> {
    let mut merged = file;
    let mut conflicts = Vec::new();
    for (name, from_flag) in flags {
        if let Some(from_file) = merged.get(name) {
            let key = FLAGS.iter().find(|flag| flag.name == name).map_or(name, |flag| flag.key);
            conflicts.push(format!("{key}: (from flag: {from_flag}, from file: {from_file})"));
        }
        merged.insert(name, from_flag);
    }
    if conflicts.is_empty() {
        return Ok(merged);
    }
    Err(format!(
        "the following directives are specified both as a flag and in the configuration file: {}",
        conflicts.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn keys_have_dockerd_s_names_and_shapes() {
        let given = parse(
            br#"{"hosts": ["unix:///x"], "debug": true, "mtu": 1400, "log-opts": {"max-size": "1m", "max-file": 3},
                 "default-address-pools": [{"base": "10.0.0.0/8", "size": 24}], "features": {"buildkit": true}}"#,
        )
        .unwrap();
        assert_eq!(given["host"].to_string(), "[unix:///x]");
        assert_eq!(given["log-opt"].to_string(), "map[max-file:3 max-size:1m]");
        assert_eq!(given["default-address-pool"].to_string(), "[base=10.0.0.0/8,size=24]");
    }

    #[test]
    fn an_unknown_key_is_named() {
        assert_eq!(
            error(r#"{"nosuch": 1, "help": true}"#),
            "the following directives don't match any configuration option: help, nosuch"
        );
    }

    #[test]
    fn a_wrong_type_is_told_in_go_s_words() {
        assert_eq!(
            error(r#"{"debug": "x"}"#),
            "invalid JSON: json: cannot unmarshal string into Go struct field Config.debug of type bool"
        );
        assert_eq!(error(r#"{"debug":"#), "invalid JSON: unexpected end of JSON input");
    }

    #[test]
    fn what_cannot_be_had_is_refused_by_key() {
        assert!(error(r#"{"userns-remap": "default"}"#).starts_with("userns-remap: "));
        assert!(parse(br#"{"live-restore": true, "exec-opts": ["native.cgroupdriver=cgroupfs"]}"#).is_ok());
    }

    #[test]
    fn a_flag_and_the_file_must_not_say_the_same_thing() {
        let flags =
            Given::from([("debug", Value::Bool(true)), ("host", Value::List(vec!["unix:///y".into()]))]);
        let file =
            Given::from([("debug", Value::Bool(true)), ("host", Value::List(vec!["unix:///x".into()]))]);
        assert_eq!(
            merge(flags, file).unwrap_err(),
            "the following directives are specified both as a flag and in the configuration file: debug: (from flag: \
             true, from file: true), hosts: (from flag: [unix:///y], from file: [unix:///x])"
        );
    }
}
