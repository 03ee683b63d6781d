//! What was typed: flags with their values, and arguments, by pflag's rules.
//!
//! Clustered short flags (`-itd`), values behind a blank or `=`, `--rm=false`, repeated lists, `--` to end flags, and
//! flags after arguments except where the rest is another program's command line.

use crate::check;
use crate::flag::{Flag, Kind};

/// A parsed command line.
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// The command as typed, canonical spelling.
    pub(crate) path: String,
    values: Vec<(&'static Flag, String)>,
    pub(crate) args: Vec<String>,
    /// `--help`, or the old `-h`.
    pub(crate) help: Option<Help>,
}

/// How help was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Help {
    Long,
    /// `-h` where it means nothing else: works, with a word that it is old.
    Short,
}

impl Given {
    /// Reads `words` by `flags`.
    pub(crate) fn parse(
        flags: &[&'static Flag],
        interspersed: bool,
        words: &[String],
    ) -> Result<Given, String> {
        let mut given = Given::default();
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            if word == "--" {
                given.args.extend(rest.cloned());
                break;
            }
            if let Some(long) = word.strip_prefix("--") {
                given.long(flags, word, long, &mut rest)?;
            } else if word.len() > 1 && word.starts_with('-') {
                given.shorts(flags, word, &mut rest)?;
            } else {
                given.args.push(word.clone());
                if !interspersed {
                    given.args.extend(rest.cloned());
                    break;
                }
            }
            if given.help.is_some() {
                break;
            }
        }
        Ok(given)
    }

    fn long<'a>(
        &mut self,
        flags: &[&'static Flag],
        word: &str,
        long: &str,
        rest: &mut impl Iterator<Item = &'a String>,
    ) -> Result<(), String> {
        let (name, value) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (long, None),
        };
        if name.is_empty() || name.starts_with('-') || name.starts_with('=') {
            return Err(format!("bad flag syntax: {word}"));
        }
        let Some(flag) = flags.iter().find(|f| f.long == name).copied() else {
            if name == "help" {
                let wanted = value.is_none_or(|v| check::boolean(&v) != Ok(false));
                self.help = wanted.then_some(Help::Long);
                return Ok(());
            }
            let shown = flags.iter().filter(|flag| !flag.hidden).map(|flag| flag.long);
            let near: Vec<String> =
                crate::table::near(name, shown).into_iter().map(|near| format!("--{near}")).collect();
            return Err(format!("unknown flag: --{name}{}", crate::table::did_you_mean(&near)));
        };
        let value = match value {
            Some(value) => value,
            None if flag.kind == Kind::Bool => "true".to_owned(),
            None => rest.next().cloned().ok_or_else(|| format!("flag needs an argument: --{name}"))?,
        };
        self.set(flag, value)
    }

    fn shorts<'a>(
        &mut self,
        flags: &[&'static Flag],
        word: &str,
        rest: &mut impl Iterator<Item = &'a String>,
    ) -> Result<(), String> {
        let cluster = &word[1..];
        for (at, letter) in cluster.char_indices() {
            let tail = &cluster[at + letter.len_utf8()..];
            let Some(flag) = flags.iter().find(|f| f.short == letter && letter != '\0').copied() else {
                if letter == 'h' {
                    self.help = Some(Help::Short);
                    return Ok(());
                }
                return Err(format!("unknown shorthand flag: '{letter}' in -{}", &cluster[at..]));
            };
            let value = if let Some(value) = tail.strip_prefix('=') {
                value.to_owned()
            } else if flag.kind == Kind::Bool {
                self.set(flag, "true".to_owned())?;
                continue;
            } else if tail.is_empty() {
                let missing = || format!("flag needs an argument: '{letter}' in -{}", &cluster[at..]);
                rest.next().cloned().ok_or_else(missing)?
            } else {
                tail.to_owned()
            };
            return self.set(flag, value);
        }
        Ok(())
    }

    fn set(&mut self, flag: &'static Flag, value: String) -> Result<(), String> {
        flag.accept(&value)?;
        self.values.push((flag, value));
        Ok(())
    }

    /// Whether the flag was given at all.
    pub(crate) fn changed(&self, name: &str) -> bool {
        self.values.iter().any(|(f, _)| f.long == name)
    }

    /// The last value given, or none.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values.iter().rev().find(|(f, _)| f.long == name).map(|(_, v)| v.as_str())
    }

    /// The last value given, or empty.
    pub(crate) fn str(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// A switch; off unless given.
    pub(crate) fn on(&self, name: &str) -> bool {
        self.get(name).is_some_and(|v| check::boolean(v) == Ok(true))
    }

    /// A switch that is on unless turned off.
    pub(crate) fn on_unless(&self, name: &str) -> bool {
        self.get(name).is_none_or(|v| check::boolean(v) == Ok(true))
    }

    /// A number, if given.
    pub(crate) fn int(&self, name: &str) -> Option<i64> {
        self.get(name).and_then(|v| check::integer(v).ok())
    }

    /// Every value given, those with commas taken apart as pflag's string slices are.
    pub(crate) fn strings(&self, name: &str) -> Vec<String> {
        let split =
            |text: &str| crate::commands::mounts::fields(text).unwrap_or_else(|_| vec![text.to_owned()]);
        self.list(name).into_iter().filter(|text| !text.is_empty()).flat_map(split).collect()
    }

    /// Every value given, in order.
    pub(crate) fn list(&self, name: &str) -> Vec<&str> {
        self.values.iter().filter(|(f, _)| f.long == name).map(|(_, v)| v.as_str()).collect()
    }
}
