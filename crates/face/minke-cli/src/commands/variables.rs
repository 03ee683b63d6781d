//! Variables and labels: from files, from flags, and from the environment the command runs in.
//!
//! `exec` reads its variables the same way.

use crate::failure::go_io;
use crate::given::Given;
use serde_json::{Map, Value};
use std::fs;

/// Lines of an env or label file, without comments and blanks.
fn read_lines(path: &str) -> Result<Vec<String>, String> {
    let bytes = fs::read(path).map_err(|e| format!("open {path}: {}", go_io(&e)))?;
    let text =
        String::from_utf8(bytes).map_err(|_e| format!("env file {path} contains invalid utf8 bytes"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned();
    let lines = text.lines().map(str::trim_start).filter(|l| !l.is_empty() && !l.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

/// Reads variables: files first, then flags; a bare name takes the value it has here.
pub(crate) fn environment(files: &[&str], flags: &[&str]) -> Result<Vec<String>, String> {
    let mut out = Vec::new();
    for path in files {
        for line in read_lines(path)? {
            match line.split_once('=') {
                Some((name, _)) if name.contains(char::is_whitespace) => {
                    return Err(format!("invalid env file ({path}): variable '{name}' contains whitespaces"));
                }
                Some(("", _)) => {
                    return Err(format!("invalid env file ({path}): no variable name on line '{line}'"));
                }
                Some(_) => out.push(line),
                None => {
                    let name = line.trim();
                    if name.contains(char::is_whitespace) {
                        return Err(format!(
                            "invalid env file ({path}): variable '{name}' contains whitespaces"
                        ));
                    }
                    out.extend(std::env::var(name).ok().map(|v| format!("{name}={v}")));
                }
            }
        }
    }
    for flag in flags {
        // A bare name that has no value here goes as it is: the engine takes it for "without this variable".
        match std::env::var(flag) {
            Ok(value) if !flag.contains('=') => out.push(format!("{flag}={value}")),
            _ => out.push((*flag).to_owned()),
        }
    }
    Ok(out)
}

pub(crate) fn labels(given: &Given) -> Result<Map<String, Value>, String> {
    let mut lines = Vec::new();
    for path in given.list("label-file") {
        for line in read_lines(path)? {
            let name = line.split('=').next().unwrap_or_default();
            if name.contains(char::is_whitespace) {
                return Err(format!("invalid label '{line}': label name contains whitespaces"));
            }
            // A line without a value says nothing, as in Docker's files.
            lines.extend(line.contains('=').then_some(line));
        }
    }
    lines.extend(given.list("label").into_iter().map(str::to_owned));
    Ok(super::body::pairs(&lines))
}
