//! `import -c`: single Dockerfile instructions that set an image's configuration.
//!
//! Only those that need no build are known; the rest is refused by name, as Docker does.

use minke_store::document::{ContainerConfig, Healthcheck};
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Applies one instruction.
pub(super) fn apply(config: &mut ContainerConfig, text: &str) -> Result<()> {
    let text = text.trim();
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let (word, rest) = (word.to_ascii_uppercase(), rest.trim());
    let needs = || Error::invalid(format!("{word} requires at least one argument"));
    if rest.is_empty() && word != "CMD" && word != "ENTRYPOINT" {
        return Err(if KNOWN.contains(&word.as_str()) { needs() } else { unknown(&word) });
    }
    match word.as_str() {
        "CMD" => config.cmd = Some(command(rest, config)),
        "ENTRYPOINT" => {
            config.entrypoint = Some(command(rest, config));
        }
        "ENV" => {
            for (key, value) in pairs(rest, "ENV")? {
                config.env.retain(|entry| entry.split('=').next() != Some(key.as_str()));
                config.env.push(format!("{key}={value}"));
            }
        }
        "LABEL" => config.labels.extend(pairs(rest, "LABEL")?),
        "EXPOSE" => {
            for port in words(rest)? {
                let (number, protocol) = port.split_once('/').unwrap_or((&port, "tcp"));
                let valid = number.split('-').all(|part| part.parse::<u16>().is_ok());
                if !valid || !matches!(protocol, "tcp" | "udp" | "sctp") {
                    return Err(Error::invalid(format!("invalid containerPort: {port}")));
                }
                config.exposed_ports.insert(format!("{number}/{protocol}"), Value::Object(Map::new()));
            }
        }
        "VOLUME" => {
            let paths = json_list(rest).map_or_else(|| words(rest), Ok)?;
            for path in paths {
                config.volumes.insert(path, Value::Object(Map::new()));
            }
        }
        "USER" => rest.clone_into(&mut config.user),
        "WORKDIR" => {
            config.working_dir = if rest.starts_with('/') {
                crate::spec::mounts::clean(rest)
            } else {
                crate::spec::mounts::clean(&format!("{}/{rest}", config.working_dir))
            };
        }
        "STOPSIGNAL" => {
            crate::containers::signal::parse(rest)?;
            config.stop_signal = Some(rest.to_owned());
        }
        "ONBUILD" => config.on_build.push(rest.to_owned()),
        "HEALTHCHECK" => config.healthcheck = Some(healthcheck(rest)?),
        "SHELL" => {
            config.shell = Some(
                json_list(rest)
                    .ok_or_else(|| Error::invalid("SHELL requires the arguments to be in JSON form"))?,
            );
        }
        _ => return Err(unknown(&word)),
    }
    Ok(())
}

const KNOWN: &[&str] =
    &["ENV", "LABEL", "EXPOSE", "VOLUME", "USER", "WORKDIR", "STOPSIGNAL", "ONBUILD", "HEALTHCHECK", "SHELL"];

fn unknown(word: &str) -> Error {
    match word {
        "FROM" | "RUN" | "COPY" | "ADD" | "ARG" | "MAINTAINER" => {
            Error::invalid(format!("{word} is not a valid change command"))
        }
        _ => Error::invalid(format!("dockerfile parse error on line 1: unknown instruction: {word}")),
    }
}

fn json_list(text: &str) -> Option<Vec<String>> {
    serde_json::from_str(text).ok()
}

/// The JSON form is the program itself, anything else is for the shell.
fn command(text: &str, config: &ContainerConfig) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    json_list(text).unwrap_or_else(|| {
        let mut line = config.shell.clone().unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()]);
        line.push(text.to_owned());
        line
    })
}

/// `a=1 b="x y"`, or the old form `a rest of the line`.
fn pairs(text: &str, word: &str) -> Result<Vec<(String, String)>> {
    let list = words(text)?;
    if !list.first().is_some_and(|first| first.contains('=')) {
        let (key, value) = text
            .split_once(char::is_whitespace)
            .ok_or_else(|| Error::invalid(format!("{word} must have two arguments")))?;
        return Ok(vec![(key.to_owned(), value.trim().to_owned())]);
    }
    list.into_iter()
        .map(|entry| {
            entry.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())).ok_or_else(|| {
                Error::invalid(format!(
                    "Syntax error - can't find = in {entry:?}. Must be of the form: name=value"
                ))
            })
        })
        .collect()
}

/// Words with quotes and backslashes as in a Dockerfile.
fn words(text: &str) -> Result<Vec<String>> {
    let mut list = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('\\', None | Some('"')) => word.get_or_insert_default().extend(letters.next()),
            (mark, Some(open)) if mark == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (blank, None) if blank.is_whitespace() => list.extend(word.take()),
            (other, _) => word.get_or_insert_default().push(other),
        }
    }
    if quote.is_some() {
        return Err(Error::invalid(format!(
            "unexpected end of statement while looking for matching quote in {text:?}"
        )));
    }
    list.extend(word);
    Ok(list)
}

fn healthcheck(text: &str) -> Result<Healthcheck> {
    let mut check = Healthcheck::default();
    let mut rest = text;
    while let Some(flag) = rest.strip_prefix("--") {
        let (flag, after) = flag.split_once(char::is_whitespace).unwrap_or((flag, ""));
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        let span = || {
            minke_base::duration::parse_go(value)
                .map_err(|source| Error::invalid(source.to_string()).caused_by(source))
        };
        match name {
            "interval" => check.interval = span()?,
            "timeout" => check.timeout = span()?,
            "start-period" => check.start_period = span()?,
            "start-interval" => check.start_interval = span()?,
            "retries" => {
                check.retries = value.parse().map_err(|source: std::num::ParseIntError| {
                    Error::invalid(format!("invalid retries {value:?}")).caused_by(source)
                })?;
            }
            _ => return Err(Error::invalid(format!("unknown flag: {name}"))),
        }
        rest = after.trim_start();
    }
    let (kind, line) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    check.test = match kind.to_ascii_uppercase().as_str() {
        "NONE" => vec!["NONE".to_owned()],
        "CMD" => match json_list(line.trim()) {
            Some(list) => std::iter::once("CMD".to_owned()).chain(list).collect(),
            None => vec!["CMD-SHELL".to_owned(), line.trim().to_owned()],
        },
        other => return Err(Error::invalid(format!("Unknown type {other:?} in HEALTHCHECK (try CMD)"))),
    };
    Ok(check)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(changes: &[&str]) -> ContainerConfig {
        let mut config = ContainerConfig::default();
        for change in changes {
            apply(&mut config, change).expect(change);
        }
        config
    }

    #[test]
    fn commands_have_two_forms() {
        let config = applied(&["CMD [\"sh\", \"-l\"]", "ENTRYPOINT exec top -b"]);
        assert_eq!(config.cmd.expect("set"), ["sh", "-l"]);
        assert_eq!(config.entrypoint.expect("set"), ["/bin/sh", "-c", "exec top -b"]);
    }

    #[test]
    fn variables_and_labels_may_be_quoted() {
        let config = applied(&["ENV A=1 B=\"x y\"", "ENV A=2", "ENV OLD the whole rest", "LABEL a='b c'"]);
        assert_eq!(config.env, ["B=x y", "A=2", "OLD the whole rest".replacen(' ', "=", 1).as_str()]);
        assert_eq!(config.labels["a"], "b c");
    }

    #[test]
    fn ports_volumes_and_places_are_kept() {
        let config =
            applied(&["EXPOSE 80 53/udp", "VOLUME [\"/data\"]", "WORKDIR /a", "WORKDIR b", "USER web"]);
        assert_eq!(config.exposed_ports.keys().collect::<Vec<_>>(), ["53/udp", "80/tcp"]);
        assert!(config.volumes.contains_key("/data"));
        assert_eq!((config.working_dir.as_str(), config.user.as_str()), ("/a/b", "web"));
    }

    #[test]
    fn what_needs_a_build_is_refused() {
        let error = apply(&mut ContainerConfig::default(), "RUN true").expect_err("needs a build");
        assert_eq!(error.message(), "RUN is not a valid change command");
        assert!(apply(&mut ContainerConfig::default(), "FLY away").is_err());
        assert!(apply(&mut ContainerConfig::default(), "ENV").is_err());
    }
}
