//! Command lines as runc reads them: `-flag` and `--flag`, `=value` or the next word, before or after the arguments.
//!
//! A table per command says what there is; the parser knows nothing else. Go's rules hold, because callers were written
//! against them: one dash or two, no clusters of short flags, `--` ends the flags, `--switch=false` turns a switch off.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::str::FromStr;

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    Nothing,
    Value,
    /// May be given several times.
    Values,
}

/// One flag of a command.
#[derive(Debug)]
pub(crate) struct Flag {
    /// The long name first.
    pub(crate) names: &'static [&'static str],
    pub(crate) takes: Takes,
    pub(crate) about: &'static str,
}

pub(crate) const fn switch(names: &'static [&'static str], about: &'static str) -> Flag {
    Flag { names, takes: Takes::Nothing, about }
}

pub(crate) const fn value(names: &'static [&'static str], about: &'static str) -> Flag {
    Flag { names, takes: Takes::Value, about }
}

pub(crate) const fn values(names: &'static [&'static str], about: &'static str) -> Flag {
    Flag { names, takes: Takes::Values, about }
}

/// Where flags may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Anywhere; the rest are arguments.
    Anywhere,
    /// The first argument ends them: what follows belongs to another program.
    First,
}

/// Why a command line makes no sense. Texts are those of the Go library runc uses.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FlagError {
    #[error("flag provided but not defined: -{0}")]
    Unknown(String),
    #[error("flag needs an argument: -{0}")]
    NeedsValue(String),
    #[error("invalid boolean value {value:?} for -{name}")]
    NotBoolean { name: String, value: String },
    #[error("invalid value {value:?} for flag -{name}: {reason}")]
    Invalid { name: &'static str, value: String, reason: &'static str },
}

/// Flags and arguments, apart.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    given: Vec<(&'static str, OsString)>,
    pub(crate) arguments: Vec<OsString>,
}

impl Parsed {
    /// Sorts `words` by the table. The list ends at `--`, or at the first argument under [`Order::First`].
    pub(crate) fn read(
        table: &'static [Flag],
        order: Order,
        words: impl IntoIterator<Item = OsString>,
    ) -> Result<Self, FlagError> {
        let mut parsed = Self::default();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let bytes = word.as_bytes();
            if bytes == b"--" {
                break;
            }
            // A lone dash is an argument (standard input).
            let Some(body) = bytes.strip_prefix(b"-").filter(|b| !b.is_empty()) else {
                parsed.arguments.push(word);
                if order == Order::First {
                    break;
                }
                continue;
            };
            let body = body.strip_prefix(b"-").unwrap_or(body);
            let (name, inline) = match body.iter().position(|b| *b == b'=') {
                Some(at) => (&body[..at], Some(OsString::from_vec(body[at + 1..].to_vec()))),
                None => (body, None),
            };
            let name = String::from_utf8_lossy(name).into_owned();
            let flag = table.iter().find(|f| f.names.contains(&name.as_str()));
            let flag = flag.ok_or_else(|| FlagError::Unknown(name.clone()))?;
            let content = match (flag.takes, inline) {
                (Takes::Nothing, None) => "true".into(),
                (Takes::Nothing, Some(text)) => boolean(&name, &text)?.to_string().into(),
                (_, Some(text)) => text,
                (_, None) => words.next().ok_or(FlagError::NeedsValue(name))?,
            };
            parsed.given.push((flag.names[0], content));
        }
        parsed.arguments.extend(words);
        Ok(parsed)
    }

    /// The last value given.
    pub(crate) fn get(&self, name: &str) -> Option<&OsStr> {
        self.given.iter().rev().find(|(n, _)| *n == name).map(|(_, v)| v.as_os_str())
    }

    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &OsStr> {
        self.given.iter().filter(move |(n, _)| *n == name).map(|(_, v)| v.as_os_str())
    }

    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.get(name).is_some_and(|v| v == "true")
    }

    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).filter(|v| !v.is_empty()).map(PathBuf::from)
    }

    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(|v| v.to_string_lossy().into_owned())
    }

    pub(crate) fn number<T: FromStr>(&self, name: &'static str) -> Result<Option<T>, FlagError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_unreadable) => {
                Err(FlagError::Invalid { name, value: text, reason: "a number in range is expected" })
            }
        }
    }
}

fn boolean(name: &str, text: &OsStr) -> Result<bool, FlagError> {
    match text.as_bytes() {
        b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => Ok(true),
        b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => Ok(false),
        _ => {
            let value = text.to_string_lossy().into_owned();
            Err(FlagError::NotBoolean { name: name.to_owned(), value })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static TABLE: &[Flag] = &[
        switch(&["force", "f"], ""),
        value(&["bundle", "b"], ""),
        values(&["env", "e"], ""),
        value(&["preserve-fds"], ""),
    ];

    fn read(order: Order, words: &str) -> Result<Parsed, FlagError> {
        Parsed::read(TABLE, order, words.split_whitespace().map(OsString::from))
    }

    #[test]
    fn one_dash_and_two_mean_the_same_and_values_come_inline_or_next() {
        for words in ["-bundle=/x c1", "--bundle /x c1", "-b /x c1", "c1 --b=/x"] {
            let parsed = read(Order::Anywhere, words).unwrap();
            assert_eq!(parsed.get("bundle"), Some(OsStr::new("/x")), "{words}");
            assert_eq!(parsed.arguments, ["c1"], "{words}");
        }
    }

    #[test]
    fn flags_after_arguments_count_unless_they_belong_to_another_program() {
        assert!(read(Order::Anywhere, "c1 --force").unwrap().is_set("force"));
        let exec = read(Order::First, "-f c1 ls -f --nothing").unwrap();
        assert!(exec.is_set("force"));
        assert_eq!(exec.arguments, ["c1", "ls", "-f", "--nothing"]);
    }

    #[test]
    fn two_dashes_end_the_flags_and_one_is_an_argument() {
        let parsed = read(Order::Anywhere, "- -- --force").unwrap();
        assert_eq!(parsed.arguments, ["-", "--force"]);
    }

    #[test]
    fn switches_can_be_turned_off_and_lists_add_up() {
        let parsed = read(Order::Anywhere, "-f --force=false -e a=1 --env=b=2").unwrap();
        assert!(!parsed.is_set("force"));
        assert_eq!(parsed.all("env").collect::<Vec<_>>(), ["a=1", "b=2"]);
    }

    #[test]
    fn mistakes_are_named_in_the_words_of_go() {
        let text = |words| read(Order::Anywhere, words).unwrap_err().to_string();
        assert_eq!(text("--nope"), "flag provided but not defined: -nope");
        assert_eq!(text("--bundle"), "flag needs an argument: -bundle");
        assert_eq!(text("--force=maybe"), "invalid boolean value \"maybe\" for -force");
        let parsed = read(Order::Anywhere, "--preserve-fds=x").unwrap();
        assert!(parsed.number::<u32>("preserve-fds").is_err());
    }
}
