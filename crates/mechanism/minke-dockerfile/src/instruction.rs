//! Lines into instructions: arguments counted, flags checked, in Docker's words where they are wrong.

use crate::arguments::{blanks, json, json_or_blanks, pairs, words};
use crate::ast::{
    AddOptions, Argument, Command, Copy, Form, Healthcheck, Instruction, Network, Pair, Run, Security,
    Transfer,
};
use crate::error::Error;
use crate::flags::{Flags, meant};
use crate::heredoc;
use crate::lexer::Line;
use crate::mounts;

pub(crate) const WORDS: &[&str] = &[
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Any instruction but `FROM`.
pub(crate) fn read(line: &Line, escape: char) -> Result<Instruction, Error> {
    let keyword = line.keyword();
    let keyword = keyword.as_str();
    let rest = line.rest.as_str();
    if !matches!(keyword, "ADD" | "COPY" | "RUN" | "HEALTHCHECK") && WORDS.contains(&keyword) {
        Flags::check(&line.flags, &[], &[], &[])?;
    }
    let one = || {
        if rest.is_empty() {
            Err(wrong(format!("{keyword} requires exactly one argument")))
        } else {
            Ok(rest.to_owned())
        }
    };
    let some = || {
        if rest.is_empty() { Err(wrong(format!("{keyword} requires at least one argument"))) } else { Ok(()) }
    };
    Ok(match keyword {
        "ADD" | "COPY" => transfer(line, keyword)?,
        "ARG" => {
            some()?;
            arg(rest, escape)?
        }
        "CMD" => Instruction::Cmd(command(rest)?),
        "ENTRYPOINT" => Instruction::Entrypoint(command(rest)?),
        "ENV" | "LABEL" => {
            some()?;
            let (list, _) = pairs(rest, escape, keyword)?;
            let pairs = list.into_iter().map(|(key, value)| match key.is_empty() {
                true => Err(wrong(format!("{keyword} names can not be blank"))),
                false => Ok(Pair { key, value }),
            });
            let pairs = pairs.collect::<Result<_, _>>()?;
            if keyword == "ENV" { Instruction::Env(pairs) } else { Instruction::Label(pairs) }
        }
        "EXPOSE" => {
            some()?;
            Instruction::Expose(blanks(rest))
        }
        "HEALTHCHECK" => {
            some()?;
            Instruction::Healthcheck(healthcheck(line)?)
        }
        "MAINTAINER" => Instruction::Maintainer(one()?),
        "ONBUILD" => {
            some()?;
            Instruction::Onbuild(onbuild(line)?)
        }
        "RUN" => Instruction::Run(run(line)?),
        "SHELL" => {
            let list = json(rest)?.ok_or_else(|| wrong("SHELL requires the arguments to be in JSON form"))?;
            if list.is_empty() {
                return Err(wrong("SHELL requires at least one argument"));
            }
            Instruction::Shell(list)
        }
        "STOPSIGNAL" => Instruction::Stopsignal(one()?),
        "USER" => Instruction::User(one()?),
        "VOLUME" => {
            some()?;
            let list: Vec<String> = json_or_blanks(rest)?.iter().map(|path| path.trim().to_owned()).collect();
            if list.is_empty() {
                return Err(wrong("VOLUME requires at least one argument"));
            }
            if list.iter().any(String::is_empty) {
                return Err(wrong("VOLUME specified can not be an empty string"));
            }
            Instruction::Volume(list)
        }
        "WORKDIR" => Instruction::Workdir(one()?),
        _ => return Err(wrong(format!("unknown instruction: {}{}", line.word, meant(keyword, WORDS)))),
    })
}

fn wrong(message: impl Into<String>) -> Error {
    Error::instruction(message)
}

fn command(rest: &str) -> Result<Command, Error> {
    Ok(match json(rest)? {
        Some(list) => Command::Exec(list),
        None => Command::Shell(rest.to_owned()),
    })
}

fn arg(rest: &str, escape: char) -> Result<Instruction, Error> {
    let arguments = words(rest, escape).into_iter().map(|word| {
        let (name, default) = match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word, None),
        };
        if name.is_empty() {
            Err(wrong("ARG names can not be blank"))
        } else {
            Ok(Argument { name, default })
        }
    });
    arguments.collect::<Result<_, _>>().map(Instruction::Arg)
}

fn transfer(line: &Line, keyword: &str) -> Result<Instruction, Error> {
    let flags = if keyword == "ADD" {
        Flags::check(
            &line.flags,
            &["chown", "chmod", "checksum"],
            &["exclude"],
            &["link", "keep-git-dir", "unpack"],
        )?
    } else {
        Flags::check(&line.flags, &["from", "chown", "chmod"], &["exclude"], &["link", "parents"])?
    };
    let mut words = json_or_blanks(&line.rest)?;
    let target = words.pop().filter(|_| !words.is_empty()).ok_or_else(|| {
        wrong(format!(
            "{keyword} requires at least two arguments, but only one was provided. Destination could not be determined"
        ))
    })?;
    if heredoc::of_word(&target).is_some() {
        return Err(wrong(format!("{keyword} cannot accept a heredoc as a destination")));
    }
    let sources = words.into_iter().map(|word| match heredoc::of_word(&word) {
        None => Copy::Path(word),
        Some(named) => match line.heredocs.iter().find(|heredoc| heredoc.name == named.name) {
            Some(heredoc) => Copy::Inline(heredoc.finished()),
            None => Copy::Path(word),
        },
    });
    let transfer = Transfer {
        sources: sources.collect(),
        target,
        from: flags.value("from"),
        chown: flags.value("chown"),
        chmod: flags.value("chmod"),
        link: flags.switch("link").unwrap_or(false),
        parents: flags.switch("parents").unwrap_or(false),
        exclude: flags.values("exclude"),
        add: AddOptions {
            checksum: flags.value("checksum"),
            keep_git_dir: flags.switch("keep-git-dir").unwrap_or(false),
            unpack: flags.switch("unpack"),
        },
        flags: flags.names(),
    };
    Ok(if keyword == "ADD" { Instruction::Add(transfer) } else { Instruction::Copy(transfer) })
}

fn run(line: &Line) -> Result<Run, Error> {
    let flags = Flags::check(&line.flags, &["network", "security"], &["mount"], &[])?;
    let network = match flags.value("network").as_deref() {
        None | Some("default") => Network::Default,
        Some("none") => Network::None,
        Some("host") => Network::Host,
        Some(other) => {
            return Err(wrong(format!(
                "invalid network mode: {other}{}",
                meant(other, &["default", "none", "host"])
            )));
        }
    };
    let security = match flags.value("security").as_deref() {
        None | Some("sandbox") => Security::Sandbox,
        Some("insecure") => Security::Insecure,
        Some(other) => return Err(wrong(format!("security {other:?} is not valid"))),
    };
    let raw_mounts = flags.values("mount");
    let mut mounts = Vec::with_capacity(raw_mounts.len());
    for raw in &raw_mounts {
        mounts.extend(mounts::parse(raw, None)?);
    }
    let form = match json(&line.rest)? {
        Some(list) => Form::Exec(list),
        None => shell_form(line),
    };
    Ok(Run { form, mounts, network, security, flags: flags.names(), raw_mounts })
}

/// A here-document alone is the script; among other words it goes to the shell as it is.
fn shell_form(line: &Line) -> Form {
    let Some(first) = line.heredocs.first() else { return Form::Shell(line.rest.clone()) };
    if heredoc::of_word(&line.rest).is_some() && line.heredocs.len() == 1 {
        let document = first.finished();
        if document.content.starts_with("#!") {
            return Form::Script { name: document.name, content: document.content };
        }
        return Form::Shell(document.content);
    }
    let mut text = line.rest.clone();
    for document in &line.heredocs {
        text.push('\n');
        text.push_str(&document.content);
        text.push_str(&document.name);
    }
    Form::Shell(text)
}

fn healthcheck(line: &Line) -> Result<Healthcheck, Error> {
    let flags = Flags::check(
        &line.flags,
        &["interval", "timeout", "start-period", "start-interval", "retries"],
        &[],
        &[],
    )?;
    let (kind, rest) = line.rest.split_once(char::is_whitespace).unwrap_or((&line.rest, ""));
    let kind = kind.to_ascii_uppercase();
    if kind == "NONE" {
        return if rest.trim().is_empty() {
            Ok(Healthcheck::None)
        } else {
            Err(wrong("HEALTHCHECK NONE takes no arguments"))
        };
    }
    if kind != "CMD" {
        return Err(wrong(format!("Unknown type {kind:?} in HEALTHCHECK (try CMD)")));
    }
    let command = command(rest.trim())?;
    if matches!(&command, Command::Exec(list) if list.is_empty()) || command == Command::Shell(String::new())
    {
        return Err(wrong("Missing command after HEALTHCHECK CMD"));
    }
    let span = |name: &str| -> Result<i64, Error> {
        let Some(text) = flags.value(name) else { return Ok(0) };
        let nanos = minke_base::duration::parse_go(&text).map_err(|source| wrong(source.to_string()))?;
        if nanos != 0 && nanos < 1_000_000 {
            return Err(wrong(format!("Interval {name:?} cannot be less than 1ms")));
        }
        Ok(nanos)
    };
    let retries = match flags.value("retries") {
        None => 0,
        Some(text) => {
            text.parse::<i32>().map_err(|source| wrong(format!("invalid retries {text:?}: {source}")))?
        }
    };
    if retries < 0 {
        return Err(wrong(format!("--retries cannot be negative ({retries})")));
    }
    Ok(Healthcheck::Check {
        command,
        interval: span("interval")?,
        timeout: span("timeout")?,
        start_period: span("start-period")?,
        start_interval: span("start-interval")?,
        retries: i64::from(retries),
    })
}

/// The trigger is kept as text, with its here-documents; it is read when it fires.
fn onbuild(line: &Line) -> Result<String, Error> {
    let word = line.rest.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    match word.as_str() {
        "ONBUILD" => return Err(wrong("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")),
        "MAINTAINER" | "FROM" => return Err(wrong(format!("{word} isn't allowed as an ONBUILD trigger"))),
        _ => {}
    }
    let mut text = line.rest.clone();
    for document in &line.heredocs {
        text.push('\n');
        text.push_str(&document.content);
        text.push_str(&document.name);
    }
    Ok(text)
}
