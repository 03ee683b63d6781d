//! The `filters` parameter once decoded: names with the values that were given for each.
//!
//! All list and prune endpoints share it. Reading the two JSON forms of the wire is the API's work; here is what a
//! filter means: values of one name are alternatives, names all have to match.

use std::collections::BTreeMap;

use crate::clock::{Moment, parse_moment};
use crate::error::{Error, Result};

/// Names of filters with their values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, Vec<String>>);

impl From<BTreeMap<String, Vec<String>>> for Filters {
    fn from(map: BTreeMap<String, Vec<String>>) -> Self {
        Self(map)
    }
}

impl From<minke_api::filters::Filters> for Filters {
    fn from(wire: minke_api::filters::Filters) -> Self {
        let values = |name: &str| wire.get(name).map(str::to_owned).collect();
        Self(wire.names().map(|name| (name.to_owned(), values(name))).collect())
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Filters {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut map: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in pairs {
            map.entry(name.into()).or_default().push(value.into());
        }
        Self(map)
    }
}

impl Filters {
    /// The moment that `until` names; only one may be given.
    pub fn until(&self) -> Result<Option<Moment>> {
        match self.values("until") {
            [] => Ok(None),
            [one] => parse_moment(one).map_err(|source| Error::invalid(source.to_string()).caused_by(source)),
            _ => Err(Error::invalid("more than one until filter specified")),
        }
    }

    /// The same filters and one value more.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.entry(name.into()).or_default().push(value.into());
        self
    }

    /// Whether nothing is filtered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values given for `name`.
    pub fn values(&self, name: &str) -> &[String] {
        self.0.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether `name` was given at all.
    pub fn has(&self, name: &str) -> bool {
        !self.values(name).is_empty()
    }

    /// Refuses names outside `known`, in Docker's words.
    pub fn allow_only(&self, known: &[&str]) -> Result<()> {
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(Error::invalid(format!("invalid filter '{name}'"))),
            None => Ok(()),
        }
    }

    /// True when `name` was not given, or one of its values satisfies `matches`.
    pub fn any(&self, name: &str, matches: impl Fn(&str) -> bool) -> bool {
        let values = self.values(name);
        values.is_empty() || values.iter().any(|value| matches(value))
    }

    /// True when `name` was not given, or `subject` equals one of its values.
    pub fn exact(&self, name: &str, subject: &str) -> bool {
        self.any(name, |value| value == subject)
    }

    /// True when every `key` or `key=value` given for `name` is among `labels`.
    pub fn labels<'a>(&self, name: &str, labels: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.values(name).iter().all(|wanted| match wanted.split_once('=') {
            Some((key, value)) => labels(key) == Some(value),
            None => labels(wanted).is_some(),
        })
    }

    fn refuse_all(&self, name: &str) -> Error {
        Error::invalid(format!("invalid filter '{name}=[{}]'", self.values(name).join(" ")))
    }

    /// The same for a filter that means something by being there: without a value it is true.
    pub fn switch(&self, name: &str) -> Result<Option<bool>> {
        if self.0.get(name).is_some_and(Vec::is_empty) { Ok(Some(true)) } else { self.boolean(name) }
    }

    /// The single truth value of `name`: `None` when absent, an error for anything but one spelling of true or false.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>> {
        let mut found = None;
        for value in self.values(name) {
            let truth = match value.as_str() {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
                "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
                _ => return Err(self.refuse_all(name)),
            };
            if found.is_some_and(|before| before != truth) {
                return Err(self.refuse_all(name));
            }
            found = Some(truth);
        }
        Ok(found)
    }
}

/// Whether `subject` matches `pattern` as Docker's name filters do: as a regular expression found anywhere, or as a
/// plain substring when the pattern is not a valid expression.
pub(crate) fn pattern_matches(pattern: &str, subject: &str) -> bool {
    let plain = pattern.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-' || b == b'/');
    if plain {
        return subject.contains(pattern);
    }
    match regex::Regex::new(pattern) {
        Ok(expression) => expression.is_match(subject),
        Err(_) => subject.contains(pattern),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_one_name_are_alternatives() {
        let filters = Filters::from_iter([("status", "exited"), ("status", "created")]);
        assert!(filters.exact("status", "created"));
        assert!(!filters.exact("status", "running"));
        assert!(filters.exact("name", "anything"));
    }

    #[test]
    fn labels_all_have_to_match() {
        let filters = Filters::from_iter([("label", "a"), ("label", "b=2")]);
        let has = |key: &str| match key {
            "a" => Some("1"),
            "b" => Some("2"),
            _ => None,
        };
        assert!(filters.labels("label", has));
        assert!(!filters.labels("label", |key| has(key).filter(|_| key == "a")));
    }

    #[test]
    fn an_unknown_filter_is_named() {
        let filters = Filters::from_iter([("colour", "red")]);
        let error = filters.allow_only(&["name"]).expect_err("colour is unknown");
        assert_eq!(error.message(), "invalid filter 'colour'");
    }

    #[test]
    fn a_name_pattern_is_an_expression() {
        assert!(pattern_matches("^/web$", "/web"));
        assert!(!pattern_matches("^/web$", "/web2"));
        assert!(pattern_matches("we", "/web2"));
    }
}
