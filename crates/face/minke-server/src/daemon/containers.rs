//! What containers get when nobody says otherwise: the daemon's `--default-…` options, and its runtimes.

use std::collections::BTreeMap;

use minke_api::container::Ulimit;
use minke_engine::ContainerDefaults;
use minke_engine::runtimes::RuntimeProgram;
use serde::Deserialize;

use super::options::Reader;

/// Reads the options; what they name must be there.
pub(crate) fn plan(options: &Reader<'_>) -> Result<ContainerDefaults, String> {
    let word = |name: &str, words: &[&str]| match options.text(name) {
        text if text.is_empty() || words.contains(&text) => Ok(text.to_owned()),
        other => Err(format!("{name}: {other}: want {}", words.join(" or "))),
    };
    let shm = options.text("default-shm-size");
    let mut defaults = ContainerDefaults {
        runtimes: plan_runtimes(&options.map("add-runtime"))?,
        runtime: options.text("default-runtime").to_owned(),
        ipc_mode: word("default-ipc-mode", &["private", "shareable"])?,
        cgroupns_mode: word("default-cgroupns-mode", &["private", "host"])?,
        shm_size: minke_base::size::parse_ram(shm).map_err(|error| format!("default-shm-size: {error}"))?,
        ulimits: options.list("default-ulimit").iter().map(|text| ulimit(text)).collect::<Result<_, _>>()?,
        no_new_privileges: options.flag("no-new-privileges"),
        seccomp: plan_profile(options.text("seccomp-profile"))?,
    };
    defaults.check()?;
    Ok(defaults)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    path: String,
    #[serde(default)]
    runtime_args: Vec<String>,
    #[serde(default)]
    runtime_type: String,
}

/// `name=/path` as a flag, `{"name": {"path": …, "runtimeArgs": […]}}` in the file.
fn plan_runtimes(given: &BTreeMap<String, String>) -> Result<BTreeMap<String, RuntimeProgram>, String> {
    let mut runtimes = BTreeMap::new();
    for (name, text) in given {
        let entry = if text.starts_with('{') {
            serde_json::from_str::<Entry>(text).map_err(|error| format!("runtimes: {name}: {error}"))?
        } else {
            Entry { path: text.clone(), runtime_args: Vec::new(), runtime_type: String::new() }
        };
        if !entry.runtime_type.is_empty() && entry.path.is_empty() {
            return Err(format!(
                "runtimes: {name}: {} is a shim of containerd's, which minke has none of: give the \"path\" of an OCI \
                 runtime instead",
                entry.runtime_type
            ));
        }
        if entry.path.is_empty() {
            return Err(format!("runtimes: {name}: \"path\" is missing: where the program is"));
        }
        runtimes.insert(name.clone(), RuntimeProgram { path: entry.path.into(), args: entry.runtime_args });
    }
    Ok(runtimes)
}

/// `nofile=64:128` as a flag, `{"nofile": {"Hard": 128, "Soft": 64}}` in the file.
fn ulimit(text: &str) -> Result<Ulimit, String> {
    let wrong = || format!("default-ulimit: {text}: want NAME=SOFT[:HARD]");
    let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(wrong)?;
    let mut limit = if value.starts_with('{') {
        serde_json::from_str::<Ulimit>(value).map_err(|error| format!("default-ulimits: {name}: {error}"))?
    } else {
        let (soft, hard) = value.split_once(':').unwrap_or((value, value));
        let number = |text: &str| text.parse::<i64>().map_err(|_bad| wrong());
        Ulimit { name: String::new(), soft: number(soft)?, hard: number(hard)? }
    };
    limit.name = name.to_owned();
    minke_engine::spec::resources::plan_rlimits(std::slice::from_ref(&limit))
        .map_err(|error| format!("default-ulimit: {}", error.message()))?;
    Ok(limit)
}

fn plan_profile(given: &str) -> Result<String, String> {
    match given {
        "" | "builtin" | "default" => Ok(String::new()),
        "unconfined" => Ok("unconfined".to_owned()),
        path => std::fs::read_to_string(path)
            .map_err(|error| format!("opening seccomp profile ({path}) failed: {error}"))
            .and_then(|text| match serde_json::from_str::<serde_json::Value>(&text) {
                Ok(_) => Ok(text),
                Err(error) => Err(format!("seccomp-profile: {path}: {error}")),
            }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{file, flags};
    use super::*;

    fn planned(words: &[&str]) -> Result<ContainerDefaults, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        plan(&Reader(&flags::parse(&words).map_err(|error| error.to_string())?))
    }

    #[test]
    fn flags_and_the_file_say_the_same() {
        let text = br#"{"runtimes": {"mine": {"path": "sh", "runtimeArgs": ["--x"]}}, "default-runtime": "mine",
            "default-ulimits": {"nofile": {"Name": "nofile", "Hard": 128, "Soft": 64}}, "default-shm-size": "1M"}"#;
        let defaults = plan(&Reader(&file::parse(text).unwrap())).unwrap();
        assert_eq!(defaults.runtimes["mine"].args, ["--x"]);
        assert_eq!(
            (defaults.shm_size, defaults.ulimits[0].soft, defaults.ulimits[0].hard),
            (1 << 20, 64, 128)
        );
        let flags = planned(&[
            "--add-runtime",
            "mine=sh",
            "--default-runtime",
            "mine",
            "--default-ulimit",
            "nofile=64:128",
        ]);
        assert_eq!(flags.unwrap().ulimits, defaults.ulimits);
    }

    #[test]
    fn wrong_values_are_told_by_option() {
        for (words, expected) in [
            (&["--default-ipc-mode", "host"][..], "default-ipc-mode: host: want"),
            (&["--default-runtime", "nosuch"], "default-runtime: unknown or invalid runtime name: nosuch"),
            (&["--add-runtime", "x=/nonexistent"], "runtimes: x: /nonexistent: there is no such program"),
            (&["--default-ulimit", "nope=1"], "default-ulimit: invalid ulimit type: nope"),
            (&["--default-shm-size", "much"], "default-shm-size: invalid"),
            (&["--seccomp-profile", "/nonexistent"], "opening seccomp profile (/nonexistent) failed"),
        ] {
            let error = planned(words).unwrap_err();
            assert!(error.starts_with(expected), "{words:?}: {error}");
        }
    }
}
