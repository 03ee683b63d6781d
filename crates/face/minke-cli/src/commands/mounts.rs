//! `--mount`, `--volume` and `--tmpfs` as the API's fields.

use serde_json::{Map, Value, json};

/// Reads `type=bind,src=/a,dst=/b,readonly` into the API's `Mount`.
pub(crate) fn parse_mount(text: &str) -> Result<Value, String> {
    let mut mount = Map::new();
    mount.insert("Type".into(), "volume".into());
    let mut bind = Map::new();
    let mut volume = Map::new();
    let mut tmpfs = Map::new();
    let mut image = Map::new();
    let mut driver = Map::new();
    let mut readonly = false;
    let mut recursive = "";
    for field in fields(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(value.to_owned())),
            None => (field.to_ascii_lowercase(), None),
        };
        let flag = |value: &Option<String>| match value.as_deref() {
            None => Ok(true),
            Some(v) => crate::check::boolean(v).map_err(|_e| format!("invalid value for {key}: {v}")),
        };
        // These need no value.
        match key.as_str() {
            "readonly" | "ro" => {
                readonly = flag(&value)?;
                continue;
            }
            "volume-nocopy" => {
                volume.insert("NoCopy".into(), flag(&value)?.into());
                continue;
            }
            "bind-nonrecursive" => {
                return Err("bind-nonrecursive is deprecated, use bind-recursive=disabled instead".into());
            }
            _ => {}
        }
        let Some(value) = value else {
            return Err(format!("invalid field '{field}' must be a key=value pair"));
        };
        match key.as_str() {
            "type" => drop(mount.insert("Type".into(), value.to_ascii_lowercase().into())),
            "source" | "src" => {
                let absolute = if value.starts_with('.') { absolute(&value) } else { value };
                mount.insert("Source".into(), absolute.into());
            }
            "target" | "dst" | "destination" => drop(mount.insert("Target".into(), value.into())),
            "consistency" => drop(mount.insert("Consistency".into(), value.to_ascii_lowercase().into())),
            "bind-propagation" => drop(bind.insert("Propagation".into(), value.to_ascii_lowercase().into())),
            "bind-recursive" => match value.as_str() {
                "enabled" => {}
                "disabled" => drop(bind.insert("NonRecursive".into(), true.into())),
                "writable" => recursive = "writable",
                "readonly" => recursive = "readonly",
                _ => {
                    return Err(format!(
                        "invalid value for {key}: {value} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"
                    ));
                }
            },
            "volume-subpath" => drop(volume.insert("Subpath".into(), value.into())),
            "volume-label" => put_pair(&mut volume, "Labels", &value),
            "volume-driver" => drop(driver.insert("Name".into(), value.into())),
            "volume-opt" => put_pair(&mut driver, "Options", &value),
            "image-subpath" => drop(image.insert("Subpath".into(), value.into())),
            "tmpfs-size" => {
                let bytes = minke_base::size::parse_ram(&value)
                    .map_err(|_e| format!("invalid value for {key}: {value}"))?;
                tmpfs.insert("SizeBytes".into(), bytes.into());
            }
            "tmpfs-mode" => {
                let mode = u32::from_str_radix(&value, 8)
                    .map_err(|_e| format!("invalid value for {key}: {value}"))?;
                tmpfs.insert("Mode".into(), mode.into());
            }
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    let kind = mount.get("Type").and_then(Value::as_str).unwrap_or_default().to_owned();
    if kind.is_empty() {
        return Err("type is required".into());
    }
    if mount.get("Target").and_then(Value::as_str).is_none_or(str::is_empty) {
        return Err("target is required".into());
    }
    match recursive {
        "writable" => drop(bind.insert("ReadOnlyNonRecursive".into(), true.into())),
        "readonly" => {
            if !readonly {
                return Err(
                    "option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction"
                        .into(),
                );
            }
            if bind.get("Propagation").and_then(Value::as_str) != Some("rprivate") {
                return Err("option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction".into());
            }
            bind.insert("ReadOnlyForceRecursive".into(), true.into());
        }
        _ => {}
    }
    if !driver.is_empty() {
        volume.insert("DriverConfig".into(), Value::Object(driver));
    }
    let sets = [("bind", bind), ("volume", volume), ("image", image), ("tmpfs", tmpfs)];
    for (name, set) in &sets {
        if !set.is_empty() && *name != kind {
            return Err(format!("cannot mix '{name}-*' options with mount type '{kind}'"));
        }
    }
    // The order in which Docker writes a mount.
    let mut out = Map::new();
    for key in ["Type", "Source", "Target"] {
        if let Some(value) = mount.shift_remove(key) {
            out.insert(key.into(), value);
        }
    }
    if readonly {
        out.insert("ReadOnly".into(), true.into());
    }
    if let Some(value) = mount.shift_remove("Consistency") {
        out.insert("Consistency".into(), value);
    }
    for (name, set) in sets {
        if !set.is_empty() {
            let key = format!("{}{}Options", name[..1].to_ascii_uppercase(), &name[1..]);
            out.insert(key, Value::Object(set));
        }
    }
    Ok(Value::Object(out))
}

fn put_pair(map: &mut Map<String, Value>, key: &str, pair: &str) {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    let inner = map.entry(key.to_owned()).or_insert_with(|| json!({}));
    if let Some(inner) = inner.as_object_mut() {
        inner.insert(name.to_owned(), value.into());
    }
}

/// Splits at commas, with double quotes as in CSV.
pub(crate) fn fields(text: &str) -> Result<Vec<String>, String> {
    let mut out = vec![String::new()];
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let field = out.last_mut();
        match (c, field) {
            ('"', Some(field)) if quoted => {
                if chars.next_if_eq(&'"').is_some() {
                    field.push('"');
                } else {
                    quoted = false;
                }
            }
            ('"', Some(field)) if field.is_empty() => quoted = true,
            ('"', _) => return Err("parse error on line 1: bare \" in non-quoted-field".into()),
            (',', _) if !quoted => out.push(String::new()),
            (c, Some(field)) => field.push(c),
            (_, None) => {}
        }
    }
    if quoted {
        return Err("parse error on line 1: extraneous or missing \" in quoted-field".into());
    }
    Ok(out)
}

/// A relative path from here.
fn absolute(path: &str) -> String {
    let joined = std::env::current_dir().unwrap_or_default().join(path);
    let mut clean = std::path::PathBuf::new();
    for part in joined.components() {
        match part {
            std::path::Component::ParentDir => drop(clean.pop()),
            std::path::Component::CurDir => {}
            other => clean.push(other),
        }
    }
    clean.to_string_lossy().into_owned()
}

/// What `-v` means: a bind (or named volume) for the engine, or a directory for an anonymous volume.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Volume {
    Bind(String),
    Anonymous(String),
}

/// Reads one `-v`.
pub(crate) fn parse_volume(text: &str) -> Result<Volume, String> {
    if text.is_empty() {
        return Err("invalid empty volume spec".into());
    }
    let Some((source, rest)) = text.split_once(':') else { return Ok(Volume::Anonymous(text.to_owned())) };
    if source.starts_with('.') || source.starts_with("~/") {
        return Ok(Volume::Bind(format!("{}:{rest}", absolute(source))));
    }
    Ok(Volume::Bind(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Value) {
        assert_eq!(parse_mount(text), Ok(expected), "{text}");
    }

    #[test]
    fn mounts_become_the_documents_docker_sends() {
        check(
            "type=bind,src=/tmp,dst=/y,readonly",
            json!({"Type": "bind", "Source": "/tmp", "Target": "/y", "ReadOnly": true}),
        );
        check(
            "type=tmpfs,dst=/z,tmpfs-size=1m,tmpfs-mode=1770",
            json!({"Type": "tmpfs", "Target": "/z", "TmpfsOptions": {"SizeBytes": 1_048_576, "Mode": 1016}}),
        );
        check(
            "type=volume,dst=/zz,src=v1,volume-opt=a=b,volume-nocopy",
            json!({"Type": "volume", "Source": "v1", "Target": "/zz",
                "VolumeOptions": {"NoCopy": true, "DriverConfig": {"Options": {"a": "b"}}}}),
        );
        check(
            "type=bind,src=/a,dst=/b,bind-propagation=rshared,bind-recursive=disabled",
            json!({"Type": "bind", "Source": "/a", "Target": "/b", "BindOptions": {"Propagation": "rshared", "NonRecursive": true}}),
        );
        check("\"dst=/a,b\"", json!({"Type": "volume", "Target": "/a,b"}));
    }

    #[test]
    fn broken_mounts_are_refused_in_dockers_words() {
        let fails = |text, why: &str| assert_eq!(parse_mount(text), Err(why.to_owned()), "{text}");
        fails("type=x", "target is required");
        fails("foo", "invalid field 'foo' must be a key=value pair");
        fails("foo=bar,dst=/x", "unexpected key 'foo' in 'foo=bar'");
        fails("type=tmpfs,dst=/x,volume-nocopy", "cannot mix 'volume-*' options with mount type 'tmpfs'");
    }

    #[test]
    fn volumes_are_binds_or_anonymous() {
        assert_eq!(parse_volume("/data"), Ok(Volume::Anonymous("/data".into())));
        assert_eq!(parse_volume("/a:/b:ro"), Ok(Volume::Bind("/a:/b:ro".into())));
        assert!(
            matches!(parse_volume("./a:/b"), Ok(Volume::Bind(b)) if b.starts_with('/') && b.ends_with("/a:/b"))
        );
        assert!(parse_volume("").is_err());
    }
}
