//! A flag: one value that owns its name, kind, help, completion and checks.
//!
//! The kind says what the help calls the value and which texts are refused while parsing, in docker's words. What a
//! value means for a request is said where the command builds the request.

use crate::check;

/// What follows a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Str,
    Int,
    Uint16,
    /// May be given several times.
    List,
    /// The same, and each may name several with commas between them.
    Strings,
    /// `key=value`, several times.
    Map,
    /// `512m`.
    Bytes,
    /// `1m30s`.
    Duration,
    /// `0.5`.
    Decimal,
    /// `name=value`, several times.
    Filter,
    Mount,
    Network,
    Ulimit,
    Gpus,
    /// docker's `stringToString`.
    Pairs,
}

/// What the shell may offer for a value or an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Complete {
    Nothing,
    Files,
    Containers,
    Running,
    Images,
    Networks,
    /// Names of volumes.
    Volumes,
    Contexts,
    Words(&'static [&'static str]),
}

/// Refuses a value, and says why.
pub(crate) type Check = fn(&str) -> Result<(), String>;

/// One flag of a command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    pub(crate) long: &'static str,
    /// The one-letter form; NUL when there is none.
    pub(crate) short: char,
    pub(crate) kind: Kind,
    /// Shown in the help as `(default …)`, and the value when the flag is not given.
    pub(crate) default: &'static str,
    pub(crate) about: &'static str,
    /// Old names that still work and are not shown.
    pub(crate) hidden: bool,
    pub(crate) complete: Complete,
    /// A check of its own, before the kind's.
    pub(crate) check: Option<Check>,
}

/// A flag with a long name only.
pub(crate) const fn flag(long: &'static str, kind: Kind, about: &'static str) -> Flag {
    short(long, '\0', kind, about)
}

/// A flag with a short form.
pub(crate) const fn short(long: &'static str, short: char, kind: Kind, about: &'static str) -> Flag {
    Flag { long, short, kind, default: "", about, hidden: false, complete: Complete::Nothing, check: None }
}

impl Flag {
    pub(crate) const fn default(self, default: &'static str) -> Flag {
        Flag { default, ..self }
    }

    pub(crate) const fn hidden(self) -> Flag {
        Flag { hidden: true, ..self }
    }

    pub(crate) const fn complete(self, complete: Complete) -> Flag {
        Flag { complete, ..self }
    }

    pub(crate) const fn check(self, check: Check) -> Flag {
        Flag { check: Some(check), ..self }
    }

    /// The word that stands for the value in a help text.
    pub(crate) fn type_word(&self) -> &'static str {
        match self.kind {
            Kind::Bool => "",
            Kind::Str => "string",
            Kind::Int => "int",
            Kind::Uint16 => "uint16",
            Kind::List => "list",
            Kind::Strings => "strings",
            Kind::Map => "map",
            Kind::Bytes => "bytes",
            Kind::Duration => "duration",
            Kind::Decimal => "decimal",
            Kind::Filter => "filter",
            Kind::Mount => "mount",
            Kind::Network => "network",
            Kind::Ulimit => "ulimit",
            Kind::Gpus => "gpu-request",
            Kind::Pairs => "stringToString",
        }
    }

    /// `-m, --memory`, as error texts name it.
    pub(crate) fn shown(&self) -> String {
        if self.short == '\0' {
            format!("--{}", self.long)
        } else {
            format!("-{}, --{}", self.short, self.long)
        }
    }

    /// Refuses a value that cannot be one.
    pub(crate) fn accept(&self, value: &str) -> Result<(), String> {
        let verdict = match self.check {
            Some(check) => check(value),
            None => self.kind_accepts(value),
        };
        verdict.map_err(|why| format!("invalid argument {value:?} for \"{}\" flag: {why}", self.shown()))
    }

    fn kind_accepts(&self, value: &str) -> Result<(), String> {
        match self.kind {
            Kind::Bool => check::boolean(value).map(drop),
            Kind::Int => check::integer(value).map(drop),
            Kind::Uint16 => check::unsigned(value, u16::MAX.into()),
            Kind::Bytes => check::bytes(value).map(drop),
            Kind::Duration => minke_base::duration::parse_go(value).map(drop).map_err(|e| e.to_string()),
            Kind::Decimal => check::nano_cpus(value).map(drop),
            Kind::Filter => check::filter(value).map(drop),
            Kind::Strings => crate::commands::mounts::fields(value).map(drop),
            Kind::Pairs => value.split(',').try_for_each(|pair| match pair.split_once('=') {
                Some(_) => Ok(()),
                None => Err(format!("{pair} must be formatted as key=value")),
            }),
            _ => Ok(()),
        }
    }
}
