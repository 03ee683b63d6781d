//! Instructions that change an image's configuration and none of its files.

use minke_dockerfile::{Command, Healthcheck, Instruction};
use minke_store::document::Healthcheck as StoredCheck;
use serde_json::{Map, Value};

use super::state::State;
use crate::error::{Error, Result};

/// Applies an instruction (expanded) and answers what the history says of it. `None`: it is none of these.
pub(super) fn apply(state: &mut State, instruction: &Instruction) -> Result<Option<String>> {
    let config = &mut state.config;
    Ok(Some(match instruction {
        Instruction::Arg(arguments) => {
            state.scope.declare(arguments);
            let words = arguments.iter().map(|argument| match &argument.default {
                Some(value) => format!("{}={value}", argument.name),
                None => argument.name.clone(),
            });
            format!("#(nop)  ARG {}", words.collect::<Vec<_>>().join(" "))
        }
        Instruction::Cmd(command) => {
            let words = program(command, &state.shell());
            let text = format!("#(nop)  CMD {}", list(&words));
            state.config.cmd = Some(words);
            state.command_set = true;
            text
        }
        Instruction::Entrypoint(command) => {
            let words = program(command, &state.shell());
            let text = format!("#(nop)  ENTRYPOINT {}", list(&words));
            state.config.entrypoint = Some(words);
            if !state.command_set {
                // What the base image passes on was meant for another program.
                state.config.cmd = None;
            }
            text
        }
        Instruction::Env(pairs) => {
            state.scope.set(pairs);
            config.env = state.scope.environment();
            let words = pairs.iter().map(|pair| format!("{}={}", pair.key, pair.value));
            format!("#(nop)  ENV {}", words.collect::<Vec<_>>().join(" "))
        }
        Instruction::Expose(ports) => {
            let mut all = Vec::new();
            for port in ports {
                all.extend(expose(port)?);
            }
            let text = format!("#(nop)  EXPOSE {}", all.join(" "));
            config.exposed_ports.extend(all.into_iter().map(|port| (port, Value::Object(Map::new()))));
            text
        }
        Instruction::Healthcheck(check) => {
            let stored = health(check, &state.shell());
            let text = format!("#(nop)  HEALTHCHECK {}", list(&stored.test));
            state.config.healthcheck = Some(stored);
            text
        }
        Instruction::Label(pairs) => {
            let words = pairs.iter().map(|pair| format!("{}={}", pair.key, pair.value));
            let text = format!("#(nop)  LABEL {}", words.collect::<Vec<_>>().join(" "));
            config.labels.extend(pairs.iter().map(|pair| (pair.key.clone(), pair.value.clone())));
            text
        }
        Instruction::Maintainer(name) => {
            state.author = Some(name.clone());
            format!("#(nop)  MAINTAINER {name}")
        }
        Instruction::Onbuild(trigger) => {
            config.on_build.push(trigger.clone());
            format!("#(nop)  ONBUILD {trigger}")
        }
        Instruction::Shell(words) => {
            config.shell = Some(words.clone());
            format!("#(nop)  SHELL {}", list(words))
        }
        Instruction::Stopsignal(signal) => {
            crate::containers::signal::parse(signal)?;
            config.stop_signal = Some(signal.clone());
            format!("#(nop)  STOPSIGNAL {signal}")
        }
        Instruction::User(user) => {
            config.user.clone_from(user);
            format!("#(nop)  USER {user}")
        }
        Instruction::Volume(paths) => {
            for path in paths {
                if path.trim().is_empty() {
                    return Err(Error::invalid("VOLUME specified can not be an empty string"));
                }
                config.volumes.insert(path.clone(), Value::Object(Map::new()));
            }
            format!("#(nop)  VOLUME [{}]", paths.join(" "))
        }
        Instruction::Add(_) | Instruction::Copy(_) | Instruction::Run(_) | Instruction::Workdir(_) => {
            return Ok(None);
        }
    }))
}

/// A command's words, the stage's shell in front where it has none of its own.
pub(super) fn program(command: &Command, shell: &[String]) -> Vec<String> {
    match command {
        Command::Exec(words) => words.clone(),
        Command::Shell(text) => shell.iter().cloned().chain([text.clone()]).collect(),
    }
}

/// As Docker's history has it: `["a" "b"]`.
fn list(words: &[String]) -> String {
    format!("[{}]", words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" "))
}

/// `80`, `53/udp`, `8000-8010/tcp` as the ports they are.
fn expose(text: &str) -> Result<Vec<String>> {
    let invalid = || Error::invalid(format!("invalid containerPort: {text}"));
    let (numbers, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    // A host's port in front means nothing to an image.
    let numbers = numbers.rsplit(':').next().unwrap_or(numbers);
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(Error::invalid(format!("invalid proto: {protocol}")));
    }
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    let number = |text: &str| text.parse::<u16>().map_err(|_source| invalid());
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(invalid());
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

fn health(check: &Healthcheck, shell: &[String]) -> StoredCheck {
    match check {
        Healthcheck::None => StoredCheck { test: vec!["NONE".to_owned()], ..StoredCheck::default() },
        Healthcheck::Check { command, interval, timeout, start_period, start_interval, retries } => {
            let test = match command {
                Command::Exec(words) => {
                    std::iter::once("CMD".to_owned()).chain(words.iter().cloned()).collect()
                }
                // The shell of the container runs it, whichever that is by then.
                Command::Shell(text) => {
                    let _by_the_container = shell;
                    vec!["CMD-SHELL".to_owned(), text.clone()]
                }
            };
            StoredCheck {
                test,
                interval: *interval,
                timeout: *timeout,
                start_period: *start_period,
                start_interval: *start_interval,
                retries: *retries,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_written_in_many_ways() {
        assert_eq!(expose("80").expect("a port"), ["80/tcp"]);
        assert_eq!(expose("53/UDP").expect("a port"), ["53/udp"]);
        assert_eq!(expose("8000-8002/tcp").expect("ports"), ["8000/tcp", "8001/tcp", "8002/tcp"]);
        for wrong in ["", "x", "80/icmp", "9-8", "70000"] {
            assert!(expose(wrong).is_err(), "{wrong:?}");
        }
    }
}
