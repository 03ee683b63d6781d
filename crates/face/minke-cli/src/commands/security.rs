//! `--security-opt` as the API's field: profiles are read here, because the engine may be on another machine.

use crate::failure::go_io;
use crate::given::Given;
use serde_json::Value;
use std::fs;

/// What the request carries, in the spelling that was typed; `seccomp=FILE` carries the file's content. The second part
/// says whether system paths are to be unmasked.
pub(crate) fn options(given: &Given) -> Result<(Vec<String>, bool), String> {
    let mut out = Vec::new();
    let mut unmasked = false;
    for option in given.list("security-opt") {
        let pair = option.split_once('=');
        let pair = pair.or_else(|| option.split_once(':').filter(|_| option != "no-new-privileges"));
        let (key, value) = pair.unwrap_or((option, ""));
        // The only word that needs no value.
        if value.is_empty() && key != "no-new-privileges" {
            return Err(format!("Invalid --security-opt: {option:?}"));
        }
        match (key, value) {
            ("seccomp", value) if value != "unconfined" && value != "builtin" => {
                out.push(format!("seccomp={}", profile(value)?));
            }
            _ if option == "systempaths=unconfined" => unmasked = true,
            _ => out.push(option.to_owned()),
        }
    }
    Ok((out, unmasked))
}

fn profile(path: &str) -> Result<Value, String> {
    let text = fs::read_to_string(path)
        .map_err(|e| format!("opening seccomp profile ({path}) failed: open {path}: {}", go_io(&e)))?;
    serde_json::from_str(&text)
        .map_err(|e| format!("compacting json for seccomp profile ({path}) failed: {e}"))
}
