//! `--name=value` in front of an instruction's arguments, and names that were meant.

use crate::error::Error;

/// The flags of one instruction while they are being taken.
pub(crate) struct Flags {
    given: Vec<(String, Option<String>)>,
}

impl Flags {
    /// Checks names and numbers: which take a value once, which many times, which are switches.
    pub(crate) fn check(
        words: &[String],
        once: &[&str],
        many: &[&str],
        switches: &[&str],
    ) -> Result<Self, Error> {
        let mut given: Vec<(String, Option<String>)> = Vec::new();
        for word in words {
            let bare = word.strip_prefix("--").unwrap_or(word);
            let (name, value) = match bare.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (bare, None),
            };
            let known = [once, many, switches].concat();
            if !known.contains(&name) {
                return Err(Error::instruction(format!("unknown flag: --{name}{}", meant(name, &known))));
            }
            if !many.contains(&name) && given.iter().any(|(own, _)| own == name) {
                return Err(Error::instruction(format!("duplicate flag specified: {name}")));
            }
            if switches.contains(&name) {
                match value.as_deref().map(str::to_ascii_lowercase).as_deref() {
                    None | Some("" | "true" | "false") => {}
                    Some(other) => {
                        return Err(Error::instruction(format!(
                            "expecting boolean value for flag --{name}, not: {other}"
                        )));
                    }
                }
            } else if value.is_none() {
                return Err(Error::instruction(format!("missing a value on flag: --{name}")));
            }
            given.push((name.to_owned(), value));
        }
        Ok(Self { given })
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.given.iter().map(|(name, _)| name.clone()).collect()
    }

    /// A value, unless it is empty: that is as good as not given.
    pub(crate) fn value(&self, name: &str) -> Option<String> {
        self.values(name).into_iter().next().filter(|value| !value.is_empty())
    }

    pub(crate) fn values(&self, name: &str) -> Vec<String> {
        self.given.iter().filter(|(own, _)| own == name).filter_map(|(_, value)| value.clone()).collect()
    }

    pub(crate) fn switch(&self, name: &str) -> Option<bool> {
        let (_, value) = self.given.iter().find(|(own, _)| own == name)?;
        Some(!value.as_deref().unwrap_or("true").eq_ignore_ascii_case("false"))
    }
}

/// ` (did you mean X?)` when something known is at most two letters away.
pub(crate) fn meant(word: &str, known: &[&str]) -> String {
    let lower = word.to_lowercase();
    if known.iter().any(|candidate| candidate.to_lowercase() == lower) {
        return String::new();
    }
    let near = near(&lower, known.iter().copied(), str::to_lowercase);
    near.map_or_else(String::new, |name| format!(" (did you mean {name}?)"))
}

/// The first of those that are nearest to a word, at most two letters away.
pub(crate) fn near<'k>(
    word: &str,
    known: impl Iterator<Item = &'k str>,
    form: impl Fn(&str) -> String,
) -> Option<&'k str> {
    let far = known.map(|candidate| (distance(word, &form(candidate)), candidate));
    far.filter(|(far, _)| *far < 3).min_by_key(|(far, _)| *far).map(|(_, candidate)| candidate)
}

/// Levenshtein's.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.chars().take(64).enumerate() {
        let mut corner = row[0];
        row[0] = index + 1;
        for place in 0..other.len() {
            let changed = corner + usize::from(other[place] != letter);
            corner = row[place + 1];
            row[place + 1] = changed.min(corner + 1).min(row[place] + 1);
        }
    }
    row[other.len()]
}
