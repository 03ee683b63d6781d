//! `RUN --mount=type=…,key=value,…`

use crate::ast::{Bind, Mount, MountKind, Sharing};
use crate::error::Error;
use crate::flags::meant;

const KEYS: &[&str] = &[
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "required",
    "size",
    "sharing",
    "id",
    "mode",
    "uid",
    "gid",
    "env",
];

type Expand<'a> = &'a dyn Fn(&str) -> Result<String, Error>;

#[derive(Default)]
struct Fields {
    kind: Option<String>,
    from: Option<String>,
    source: Option<String>,
    target: Option<String>,
    readonly: Option<bool>,
    required: bool,
    size: Option<u64>,
    sharing: Option<Sharing>,
    id: Option<String>,
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    env: Option<String>,
}

/// Reads one mount. `expand` is nothing while the file is being parsed: values with variables are then believed.
pub(crate) fn parse(text: &str, expand: Option<Expand<'_>>) -> Result<Option<Mount>, Error> {
    let mut fields = Fields::default();
    let mut open = false;
    for field in csv(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(value)),
            None => (field.to_ascii_lowercase(), None),
        };
        let Some(value) = value else {
            match key.as_str() {
                "readonly" | "ro" => fields.readonly = Some(true),
                "readwrite" | "rw" => fields.readonly = Some(false),
                "required" => fields.required = true,
                _ => return Err(wrong(format!("invalid field '{field}' must be a key=value pair"))),
            }
            continue;
        };
        if !KEYS.contains(&key.as_str()) {
            return Err(wrong(format!("unexpected key '{key}' in '{field}'{}", meant(&key, KEYS))));
        }
        let value = match expand {
            Some(expand) => expand(value)?,
            None if value.contains('$') => {
                open = true;
                continue;
            }
            None => value.to_owned(),
        };
        fields.set(&key, value)?;
    }
    if open {
        return Ok(None);
    }
    fields.finish().map(Some)
}

fn wrong(message: String) -> Error {
    Error::instruction(message)
}

impl Fields {
    fn set(&mut self, key: &str, value: String) -> Result<(), Error> {
        let boolean = |value: &str| match value {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err(wrong(format!("invalid value for {key}: {value}"))),
        };
        let number = |value: &str, radix| {
            u32::from_str_radix(value, radix)
                .map_err(|source| wrong(format!("invalid value {value} for {key}: {source}")))
        };
        match key {
            "type" => {
                let kind = value.to_ascii_lowercase();
                if !matches!(kind.as_str(), "bind" | "cache" | "tmpfs" | "secret" | "ssh") {
                    return Err(wrong(format!("unsupported mount type {value:?}")));
                }
                self.kind = Some(kind);
            }
            "from" => self.from = Some(value),
            "source" | "src" => self.source = Some(value),
            "target" | "dst" | "destination" => self.target = Some(value),
            "readonly" | "ro" => self.readonly = Some(boolean(&value)?),
            "readwrite" | "rw" => self.readonly = Some(!boolean(&value)?),
            "required" => self.required = boolean(&value)?,
            "size" => {
                let size = minke_base::size::parse_ram(&value).ok().and_then(|size| u64::try_from(size).ok());
                self.size = Some(size.ok_or_else(|| wrong(format!("invalid value for {key}: {value}")))?);
            }
            "sharing" => {
                self.sharing = Some(match value.to_ascii_lowercase().as_str() {
                    "shared" => Sharing::Shared,
                    "private" => Sharing::Private,
                    "locked" => Sharing::Locked,
                    _ => return Err(wrong(format!("unsupported sharing value {value:?}"))),
                });
            }
            "id" => self.id = Some(value),
            "mode" => self.mode = Some(number(&value, 8)?),
            "uid" => self.uid = Some(number(&value, 10)?),
            "gid" => self.gid = Some(number(&value, 10)?),
            _ => self.env = Some(value),
        }
        Ok(())
    }

    fn finish(self) -> Result<Mount, Error> {
        let kind = self.kind.as_deref().unwrap_or("bind");
        let holds_file = matches!(kind, "secret" | "ssh" | "cache");
        for (given, name) in
            [(self.mode.is_some(), "mode"), (self.uid.is_some(), "uid"), (self.gid.is_some(), "gid")]
        {
            if given && !holds_file {
                return Err(wrong(format!("{name} not allowed for {kind:?} type mounts")));
            }
        }
        if self.sharing.is_some() && kind != "cache" {
            return Err(wrong(format!("invalid cache sharing set for {kind} mount")));
        }
        if self.env.is_some() && kind != "secret" {
            return Err(wrong(format!("env not allowed for {kind:?} type mounts")));
        }
        if self.size.is_some() && kind != "tmpfs" {
            return Err(wrong(format!("size not allowed for {kind:?} type mounts")));
        }
        let target = self.target.clone().unwrap_or_default();
        if target.is_empty() && matches!(kind, "bind" | "cache" | "tmpfs") {
            return Err(wrong(format!("a {kind} mount needs a target")));
        }
        let (required, mode, uid, gid) = (self.required, self.mode, self.uid, self.gid);
        let kind = match kind {
            "cache" => MountKind::Cache {
                id: self.id.filter(|id| !id.is_empty()).unwrap_or_else(|| target.clone()),
                readonly: self.readonly.unwrap_or(false),
                sharing: self.sharing.unwrap_or(Sharing::Shared),
                from: self.from,
                source: self.source.unwrap_or_else(|| "/".to_owned()),
                mode,
                uid,
                gid,
            },
            "tmpfs" => MountKind::Tmpfs { size: self.size },
            "secret" => return secret(self),
            "ssh" => MountKind::Ssh {
                id: self.id.unwrap_or_else(|| "default".to_owned()),
                required,
                mode,
                uid,
                gid,
            },
            _ => MountKind::Bind(Bind {
                from: self.from,
                source: self.source.unwrap_or_else(|| "/".to_owned()),
                writable: self.readonly == Some(false),
            }),
        };
        Ok(Mount { kind, target })
    }
}

/// The name may come from the id, the source or the target; the place from the name.
fn secret(fields: Fields) -> Result<Mount, Error> {
    if fields.from.is_some() {
        return Err(wrong("secret mount should not have a from".to_owned()));
    }
    if fields.source.is_some() && fields.id.is_some() {
        return Err(wrong("both source and id can't be set".to_owned()));
    }
    let base = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let id = fields.id.or(fields.source).or_else(|| fields.target.as_deref().map(base)).unwrap_or_default();
    if id.is_empty() {
        return Err(wrong("invalid secret mount. one of source, target required".to_owned()));
    }
    let target = match fields.target {
        Some(target) => target,
        None if fields.env.is_some() => String::new(),
        None => format!("/run/secrets/{}", base(&id)),
    };
    let kind = MountKind::Secret {
        id,
        required: fields.required,
        mode: fields.mode,
        uid: fields.uid,
        gid: fields.gid,
        env: fields.env,
    };
    Ok(Mount { kind, target })
}

/// Fields between commas, a field may stand in double quotes.
fn csv(text: &str) -> Result<Vec<String>, Error> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, after) = if let Some(quoted) = rest.strip_prefix('"') {
            let mut field = String::new();
            let mut letters = quoted.char_indices().peekable();
            let end = loop {
                match letters.next() {
                    None => {
                        return Err(wrong(format!(
                            "failed to parse csv mounts: a quote without its end in {text:?}"
                        )));
                    }
                    Some((_, '"')) if letters.next_if(|(_, next)| *next == '"').is_some() => field.push('"'),
                    Some((place, '"')) => break place + 1,
                    Some((_, letter)) => field.push(letter),
                }
            };
            (field, &quoted[end..])
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            (rest[..end].to_owned(), &rest[end..])
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(fields),
            None => {
                return Err(wrong(format!("failed to parse csv mounts: text behind a quote in {text:?}")));
            }
        }
    }
}
