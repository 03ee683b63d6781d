//! `--device` and `--gpus` as the API's fields.

use serde_json::{Map, Value, json};

/// `/dev/a[:/dev/b][:rwm]`; a name like `vendor.com/class=name` is a CDI device and goes to the engine as one.
pub(crate) fn parse_device(text: &str) -> Result<Value, String> {
    let valid_mode =
        |mode: &str| !mode.is_empty() && mode.chars().all(|c| "rwm".contains(c)) && mode.len() <= 3;
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, mode) = match parts.as_slice() {
        [host] => (*host, *host, "rwm"),
        [host, second] if valid_mode(second) => (*host, *host, *second),
        [host, container] => (*host, *container, "rwm"),
        [host, container, mode] => (*host, *container, *mode),
        _ => return Err(format!("invalid device specification: {text}")),
    };
    if !valid_mode(mode) {
        return Err(format!("bad mode specified: {mode}"));
    }
    if host.is_empty() {
        return Err(format!("invalid device specification: {text}"));
    }
    for path in [host, container] {
        if !path.starts_with('/') {
            return Err(format!("{path} is not an absolute path"));
        }
    }
    Ok(json!({"PathOnHost": host, "PathInContainer": container, "CgroupPermissions": mode}))
}

/// CDI names look like `vendor.com/class=name`.
pub(crate) fn is_cdi(text: &str) -> bool {
    match text.split_once('=') {
        Some((kind, name)) => {
            !text.starts_with('/')
                && !name.is_empty()
                && kind.split_once('/').is_some_and(|(v, c)| !v.is_empty() && !c.is_empty())
        }
        None => false,
    }
}

/// `all`, `2`, `device=0,1`, `"capabilities=compute"`.
pub(crate) fn parse_gpus(text: &str) -> Result<Value, String> {
    let mut driver = String::new();
    let mut count: Option<i64> = None;
    let mut ids: Option<Vec<String>> = None;
    let mut capabilities: Vec<String> = vec!["gpu".into()];
    let mut options = Map::new();
    let mut seen = Vec::new();
    for field in super::mounts::fields(text)? {
        let (key, value) = field.split_once('=').unwrap_or(("count", &field));
        if seen.contains(&key.to_owned()) {
            return Err(format!("gpu request key '{key}' can be specified only once"));
        }
        seen.push(key.to_owned());
        match key {
            "count" if value == "all" => count = Some(-1),
            "count" => {
                let bad = || {
                    format!(
                        "invalid count ({value}): value must be either \"all\" or an integer: invalid syntax"
                    )
                };
                count = Some(value.parse().map_err(|_e| bad())?);
            }
            "device" => ids = Some(value.split(',').map(str::to_owned).collect()),
            "driver" => driver = value.to_owned(),
            "capabilities" => {
                capabilities.extend(value.split(',').map(str::to_owned));
                capabilities.sort();
                capabilities.dedup();
            }
            "options" => {
                for pair in super::mounts::fields(value)? {
                    let (name, value) = pair.split_once('=').unwrap_or((&pair, ""));
                    options.insert(name.to_owned(), value.into());
                }
            }
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    let count = if ids.is_some() { 0 } else { count.unwrap_or(1) };
    Ok(
        json!({"Driver": driver, "Count": count, "DeviceIDs": ids, "Capabilities": [capabilities], "Options": options}),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_and_gpus_are_read_as_docker_reads_them() {
        assert_eq!(
            parse_device("/dev/null:/dev/xx:rw").unwrap(),
            json!({"PathOnHost": "/dev/null", "PathInContainer": "/dev/xx", "CgroupPermissions": "rw"})
        );
        assert_eq!(parse_device("/dev/null:r").unwrap()["PathInContainer"], "/dev/null");
        assert_eq!(parse_device("x:y:zz"), Err("bad mode specified: zz".into()));
        assert_eq!(parse_gpus("all").unwrap()["Count"], -1);
        assert_eq!(
            parse_gpus("\"device=0,1\",\"capabilities=compute\"").unwrap(),
            json!({"Driver": "", "Count": 0, "DeviceIDs": ["0", "1"], "Capabilities": [["compute", "gpu"]], "Options": {}})
        );
        assert_eq!(parse_gpus("foo=bar"), Err("unexpected key 'foo' in 'foo=bar'".into()));
        assert!(is_cdi("nvidia.com/gpu=all") && !is_cdi("/dev/a=b"));
    }
}
